//! One series: its volumes, their names and what they say of each other.
//!
//! Puts the other steps together; decides the suffixes of names.

use std::collections::{BTreeMap, HashMap};

use super::assemble::{Layout, identity, records, volume};
use super::contrast::{contrasts, described, maps, mixed_echo_times};
use super::duplicates::{Resolved, resolve};
use super::expand::is_mosaic;
use super::item::Item;
use super::order::{Arrangement, arrange, repeated};
use super::segments;
use super::split::{Kind, groups};
use super::timing::slice_times_s;
use super::values::is_segmentation;
use super::{Built, Finding, PixelDigests, Status, Volume};

/// How many siblings a `split_from` finding names.
const SIBLINGS_NAMED: usize = 8;

/// The first frame of each image of a series, with what `admit` found odd.
pub(super) type Images<'a> = Vec<(Item<'a>, Vec<Finding>)>;

/// Builds the volumes of one series. `items` is sorted by path.
pub(super) fn build_series<'a>(
    name: &str,
    items: Images<'a>,
    has_uid: bool,
    digests: &PixelDigests,
    built: &mut Built,
) {
    let mut odd: HashMap<usize, Vec<Finding>> = HashMap::new();
    let mut images = Vec::with_capacity(items.len());
    for (item, findings) in items {
        if !findings.is_empty() {
            odd.insert(identity(item.record), findings);
        }
        images.push(item);
    }
    let lay_out = |digests: &PixelDigests| {
        let mut resolved = resolve(images.clone(), digests);
        let layouts = layouts(std::mem::take(&mut resolved.sets));
        (resolved, layouts)
    };
    let (mut resolved, mut layouts) = lay_out(digests);
    // Copies are left out only if that settles what repeats: of a series that was acquired twice the
    // planes with nothing in them are no copies.
    if !digests.is_empty() && layouts.iter().any(|layout| !layout.undecided.is_empty()) {
        (resolved, layouts) = lay_out(&PixelDigests::new());
    }
    let Resolved { dropped, notes, .. } = resolved;
    built.findings.extend(dropped);
    let first_volume = built.volumes.len();
    for mut layout in layouts {
        if !has_uid {
            layout.findings.push(
                "no_series_uid",
                "Series Instance UID is absent: the instance stands alone",
            );
        }
        let of_files = records(&layout.items)
            .iter()
            .flat_map(|record| {
                let odd = odd.get(&identity(record)).into_iter().flatten();
                let notes = notes.get(record.instance.sop_instance_uid.as_str());
                let notes = notes.into_iter().flatten();
                odd.chain(notes).cloned().collect::<Vec<_>>()
            })
            .collect();
        layout.findings.push_of_files(of_files);
        built.undecided.append(&mut layout.undecided);
        let volume_name = format!("{name}{}", layout.suffix);
        match volume(volume_name, layout) {
            Ok(volume) => built.volumes.push(volume),
            Err(refused) => built.findings.extend(refused),
        }
    }
    name_siblings(name, &mut built.volumes[first_volume..]);
}

/// All arrays of a series with their suffixes; the first has none.
fn layouts<'a>(sets: Vec<Vec<Item<'a>>>) -> Vec<Layout<'a>> {
    let mut layouts = Vec::new();
    let (mut orientations, mut images) = (1, 1);
    let mut is_first = true;
    for (set_index, set) in sets.into_iter().enumerate() {
        for group in groups(set) {
            // Other versions of instances, and frames that are no slices, count as images.
            let suffix = if is_first {
                String::new()
            } else if set_index == 0 && group.kind == Kind::Stack {
                orientations += 1;
                format!("_o{orientations}")
            } else {
                images += 1;
                format!("_i{images}")
            };
            is_first = false;
            match group.kind {
                Kind::Stack => stack(&suffix, group.items, &mut layouts),
                Kind::Alone => alone(&suffix, group.items, &mut layouts),
                Kind::Stored(why) => layouts.push(stored(suffix, group.items, why)),
                Kind::Lone => layouts.push(lone(suffix, group.items)),
            }
        }
    }
    layouts
}

/// Frames in parallel planes.
fn stack<'a>(suffix: &str, items: Vec<Item<'a>>, layouts: &mut Vec<Layout<'a>>) {
    for (contrast, reconstructions) in contrasts(items) {
        let arranged = reconstructions.into_iter().flat_map(arranged);
        for (index, layout) in arranged.enumerate() {
            let repeat = match index {
                0 => String::new(),
                _ => format!("_a{}", index + 1),
            };
            layouts.push(Layout {
                suffix: format!("{suffix}{contrast}{repeat}"),
                ..layout
            });
        }
    }
}

/// Frames of one contrast as volumes, the largest first. Where nothing orders repeated positions,
/// multi-frame instances are taken one by one, and one that has the same trouble is shown in its
/// stored order.
fn arranged(items: Vec<Item<'_>>) -> Vec<Layout<'_>> {
    let mut arrangements = arrange(items.clone());
    // Words say what is another image only where nothing says that it is another time.
    if arrangements.iter().any(|a| a.is_arbitrary)
        && let Some((keyword, classes)) = described(&items)
    {
        arrangements = classes.into_iter().flat_map(arrange).collect();
        let detail = format!("nothing but {keyword} tells apart frames at the same positions");
        for arrangement in &mut arrangements {
            let findings = &mut arrangement.findings;
            findings.push("duplicate_positions", detail.clone());
        }
    }
    // Stable: among equals the order of acquisition stays.
    arrangements.sort_by_key(|a| std::cmp::Reverse(a.items.len()));
    let is_arbitrary = arrangements.iter().any(|a| a.is_arbitrary);
    let is_multi_frame = items.iter().any(|item| item.image.number_of_frames > 1);
    if !is_arbitrary || !is_multi_frame {
        let mut layouts: Vec<Layout<'_>> = arrangements.into_iter().map(placed).collect();
        if let Some(first) = layouts.first_mut().filter(|_| is_arbitrary) {
            first.undecided = records(&repeated(&items));
        }
        return layouts;
    }
    let mut instances: BTreeMap<usize, Vec<Item<'_>>> = BTreeMap::new();
    let mut order = Vec::new();
    for item in items {
        let id = identity(item.record);
        let frames = instances.entry(id).or_insert_with(|| {
            order.push(id);
            Vec::new()
        });
        frames.push(item);
    }
    if order.len() == 1 {
        let why = Finding {
            code: "duplicate_positions",
            detail: "positions repeat and nothing orders the frames in time: stored order".into(),
        };
        let mut items = instances.into_values().next().unwrap_or_default();
        items.sort_by_key(|item| item.frame_index);
        return vec![stored(String::new(), items, why)];
    }
    let mut layouts: Vec<Layout<'_>> = order
        .iter()
        .filter_map(|id| instances.remove(id))
        .flat_map(arranged)
        .collect();
    layouts.sort_by_key(|layout| std::cmp::Reverse(layout.items.len()));
    layouts
}

fn placed(arrangement: Arrangement<'_>) -> Layout<'_> {
    let mut layout = Layout::new(arrangement.items, ('z', arrangement.slices));
    if arrangement.times > 1 {
        layout.leading.insert(0, ('t', arrangement.times as u64));
    }
    layout.steps = arrangement.steps;
    layout.is_stack = true;
    layout.findings = arrangement.findings;
    let interval_s = layout.steps.as_ref().and_then(|steps| steps.interval_s);
    let slices = layout.items.get(..arrangement.slices).unwrap_or_default();
    layout.slice_times_s = slice_times_s(slices, interval_s);
    if layout
        .items
        .iter()
        .any(|item| is_mosaic(item) && item.tile.is_none())
    {
        layout.is_stack = false;
        layout.findings.push(
            "mosaic_not_split",
            "Image Type says MOSAIC, but nothing says how its tiles lie: shown as it is",
        );
    }
    let is_in_volume = |item: &Item<'_>| item.get(|a| a.is_in_volume.then_some(())).is_some();
    if layout.items.iter().any(is_in_volume) {
        layout.findings.push(
            "volume_coordinates",
            "Image Position (Volume) is counted from the transducer's volume, not in the patient",
        );
    }
    if let Some((low, high)) = mixed_echo_times(&layout.items) {
        layout.findings.push(
            "mixed_echo_time",
            format!("slices have echo times from {low} to {high} ms"),
        );
    }
    let mut frames_of_reference = layout
        .items
        .iter()
        .map(|item| item.record.instance.frame_of_reference_uid.as_str());
    let first = frames_of_reference.next().unwrap_or_default();
    if frames_of_reference.any(|uid| uid != first) {
        layout.findings.push(
            "mixed_frame_of_reference",
            "the slices name different Frames of Reference",
        );
    }
    layout
}

/// The frames of an instance that goes with no other: one volume, or one for each of the maps that a
/// parametric map holds.
fn alone<'a>(suffix: &str, items: Vec<Item<'a>>, layouts: &mut Vec<Layout<'a>>) {
    let first = items.first().copied();
    let uid = first.map(|item| item.record.instance.sop_class_uid.as_str());
    let parts = match uid.is_some_and(is_segmentation) {
        true => vec![segmentation(items)],
        false => maps(items).into_iter().map(one_map).collect(),
    };
    for (index, mut layout) in parts.into_iter().enumerate() {
        if let Some(first) = first.filter(|_| layout.segments.is_empty()) {
            layout.segments = first.record.instance.segments.clone();
        }
        layout.suffix = match index {
            0 => suffix.to_owned(),
            _ => format!("{suffix}_a{}", index + 1),
        };
        layouts.push(layout);
    }
}

fn segmentation(items: Vec<Item<'_>>) -> Layout<'_> {
    match segments::arrange(items.clone()) {
        Ok(segmented) => {
            let mut layout = Layout::new(segmented.items, ('z', segmented.slices));
            if let Some(count) = segmented.count {
                layout.leading.insert(0, ('s', count as u64));
            }
            layout.segments = segmented.segments;
            layout.is_stack = true;
            layout.findings = segmented.findings;
            layout
        }
        Err(why) => stored(String::new(), items, why),
    }
}

/// One map of an instance; in stored order where that is all there is.
fn one_map(items: Vec<Item<'_>>) -> Layout<'_> {
    let mut arrangements = arrange(items.clone());
    match arrangements.pop() {
        Some(only) if arrangements.is_empty() && !only.is_arbitrary => placed(only),
        _ => {
            let why = Finding {
                code: "duplicate_positions",
                detail: "positions repeat and nothing orders the frames: stored order".into(),
            };
            stored(String::new(), items, why)
        }
    }
}

/// Frames in stored order.
fn stored(suffix: String, items: Vec<Item<'_>>, why: Finding) -> Layout<'_> {
    // A single stored frame (a mosaic that stays whole) is a slice like any other image.
    let axis = if items.len() == 1 { 'z' } else { 'f' };
    let count = items.len();
    // A position that only the instance states is not that of each of its frames.
    let is_placed = items.iter().all(|item| {
        let described = item.record.instance.per_frame.len();
        let frames = item.image.number_of_frames;
        item.shift_mm.is_some() || described == frames as usize || frames == 1
    });
    let mut layout = Layout::new(items, (axis, count));
    layout.is_placed = is_placed;
    layout.suffix = suffix;
    let status = match why.code {
        "duplicate_positions" => Status::Bad,
        _ => Status::Ok,
    };
    layout.findings.push_as(why.code, status, why.detail);
    layout
}

/// One frame that does not say where it lies.
fn lone(suffix: String, items: Vec<Item<'_>>) -> Layout<'_> {
    let count = items.len();
    let malformed = items.first().and_then(Item::malformed_geometry);
    let mut layout = Layout::new(items, ('z', count));
    layout.suffix = suffix;
    match malformed {
        Some(why) => layout.findings.push("malformed_geometry", why),
        None => layout.findings.push(
            "no_geometry",
            "Image Position (Patient) or Image Orientation (Patient) is absent",
        ),
    }
    layout
}

/// Tells each volume of a split series of the others.
pub(super) fn name_siblings(series: &str, volumes: &mut [Volume]) {
    if volumes.len() < 2 {
        return;
    }
    let names: Vec<String> = volumes.iter().map(|volume| volume.name.clone()).collect();
    for (index, volume) in volumes.iter_mut().enumerate() {
        let others = names
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let named: Vec<&str> = others
            .take(SIBLINGS_NAMED)
            .map(|(_, name)| name.as_str())
            .collect();
        let more = names.len() - 1 - named.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        volume.findings.push(Finding {
            code: "split_from",
            detail: format!(
                "series {series} is {} volumes; the others: {}{more}",
                names.len(),
                named.join(", ")
            ),
        });
    }
}
