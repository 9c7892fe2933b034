//! One series: its volumes, their names and what they say of each other.
//!
//! Puts the other steps together; decides the suffixes of DESIGN 1.1.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::admit::report_headers;
use super::duplicates::{Resolved, resolve};
use super::finding::Findings;
use super::geometry::geometry;
use super::item::Item;
use super::order::{Arrangement, arrange};
use super::split::{Group, Kind, Plane, contrasts, groups};
use super::values::{Ruled, rule};
use super::variant::{FRAME_BYTES_MAX, VOLUME_BYTES_MAX};
use super::{Built, Finding, Frame, StoredFrame, Variant, Volume};
use crate::archive::Record;

/// How many siblings a `split_from` finding names.
const SIBLINGS_NAMED: usize = 8;

/// Frames in volume order, before the value rule.
struct Layout<'a> {
    suffix: String,
    items: Vec<Item<'a>>,
    /// Lengths of the axes before `y`, with their letters.
    leading: Vec<(char, u64)>,
    /// Whether positions mean something for each frame.
    is_placed: bool,
    /// Whether an affine may be computed from the first `z` frames.
    is_stack: bool,
    findings: Findings,
}

/// The first frame of each image of a series, with what `admit` found odd.
pub(super) type Images<'a> = Vec<(Item<'a>, Vec<Finding>)>;

/// Builds the volumes of one series. `items` is sorted by path.
pub(super) fn build_series<'a>(name: &str, items: Images<'a>, has_uid: bool, built: &mut Built) {
    let mut odd: HashMap<usize, Vec<Finding>> = HashMap::new();
    let mut images = Vec::with_capacity(items.len());
    for (item, findings) in items {
        if !findings.is_empty() {
            odd.insert(identity(item.record), findings);
        }
        images.push(item);
    }
    let Resolved {
        sets,
        dropped,
        notes,
    } = resolve(images);
    built.findings.extend(dropped);
    let first_volume = built.volumes.len();
    for mut layout in layouts(sets) {
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
                let notes = notes.into_iter().flatten().map(|note| Finding {
                    code: "duplicate_instance",
                    detail: note.clone(),
                });
                odd.cloned().chain(notes).collect::<Vec<_>>()
            })
            .collect();
        layout.findings.push_of_files(of_files);
        let volume_name = format!("{name}{}", layout.suffix);
        match volume(volume_name, layout) {
            Ok(volume) => built.volumes.push(volume),
            Err(refused) => built.findings.extend(refused),
        }
    }
    name_siblings(name, &mut built.volumes[first_volume..]);
}

/// A record's identity within one build.
fn identity(record: &Arc<Record>) -> usize {
    Arc::as_ptr(record).addr()
}

/// The records of frames, in order of first use.
fn records(items: &[Item<'_>]) -> Vec<Arc<Record>> {
    let mut seen = HashSet::new();
    items
        .iter()
        .filter(|item| seen.insert(identity(item.record)))
        .map(|item| Arc::clone(item.record))
        .collect()
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
                Kind::Stack => stack(&suffix, group, &mut layouts),
                Kind::MultiFrame => layouts.push(multi_frame(suffix, &group)),
                Kind::Lone => layouts.push(lone(suffix, group)),
            }
        }
    }
    layouts
}

/// Single frames in parallel planes.
fn stack<'a>(suffix: &str, group: Group<'a>, layouts: &mut Vec<Layout<'a>>) {
    for (contrast, items) in contrasts(group.items) {
        let mut arrangements = arrange(items);
        // Stable: among equals the order of acquisition stays.
        arrangements.sort_by_key(|a| std::cmp::Reverse(a.items.len()));
        for (index, arrangement) in arrangements.into_iter().enumerate() {
            let repeat = match index {
                0 => String::new(),
                _ => format!("_a{}", index + 1),
            };
            layouts.push(placed(format!("{suffix}{contrast}{repeat}"), arrangement));
        }
    }
}

fn placed<'a>(suffix: String, arrangement: Arrangement<'a>) -> Layout<'a> {
    let mut leading = vec![('z', arrangement.slices as u64)];
    if arrangement.times > 1 {
        leading.insert(0, ('t', arrangement.times as u64));
    }
    let mut layout = Layout {
        suffix,
        items: arrangement.items,
        leading,
        is_placed: true,
        is_stack: true,
        findings: arrangement.findings,
    };
    let mosaic = |item: &Item<'_>| item.image_type().iter().any(|term| term == "MOSAIC");
    if layout.items.iter().any(mosaic) {
        layout.is_stack = false;
        layout.findings.push(
            "mosaic_not_split",
            "Image Type says MOSAIC: each frame holds many slices and is shown as it is",
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

/// One frame that does not say where it lies.
fn lone<'a>(suffix: String, group: Group<'a>) -> Layout<'a> {
    let mut findings = Findings::default();
    match group.items.first().and_then(Item::malformed_geometry) {
        Some(why) => findings.push("malformed_geometry", why),
        None => findings.push(
            "no_geometry",
            "Image Position (Patient) or Image Orientation (Patient) is absent",
        ),
    }
    Layout {
        suffix,
        leading: vec![('z', group.items.len() as u64)],
        items: group.items,
        is_placed: true,
        is_stack: false,
        findings,
    }
}

/// All frames of a multi-frame instance: in planes where its functional groups say so, else as
/// stored.
fn multi_frame<'a>(suffix: String, group: &Group<'a>) -> Layout<'a> {
    let items: Vec<Item<'a>> = group
        .items
        .iter()
        .flat_map(|first| {
            (0..first.image.number_of_frames).map(|frame_index| Item {
                frame_index,
                ..*first
            })
        })
        .collect();
    let mut findings = Findings::default();
    let is_placed = group.items.iter().all(|item| {
        let described = item.record.instance.per_frame.len();
        described == item.image.number_of_frames as usize || item.grid_offset_mm().is_some()
    });
    match stored_order_reason(&items, is_placed) {
        Some((code, why)) => findings.push(code, why),
        None => {
            let mut arrangements = arrange(items.clone());
            match arrangements.pop() {
                Some(only) if arrangements.is_empty() && !only.is_arbitrary => {
                    return placed(suffix, only);
                }
                _ => findings.push(
                    "duplicate_positions",
                    "positions repeat and nothing orders the frames in time: stored order",
                ),
            }
        }
    }
    Layout {
        suffix,
        leading: vec![('f', items.len() as u64)],
        items,
        is_placed,
        is_stack: false,
        findings,
    }
}

/// Why the frames of an instance stay in stored order, if they must.
fn stored_order_reason(
    items: &[Item<'_>],
    is_placed: bool,
) -> Option<(&'static str, &'static str)> {
    if !is_placed {
        return Some((
            "no_geometry",
            "nothing says where each frame lies: stored order",
        ));
    }
    if let Some(why) = items.iter().find_map(Item::malformed_geometry) {
        return Some(("malformed_geometry", why));
    }
    let first = items.first()?;
    let Some(plane) = Plane::new(first).filter(|_| items.iter().all(Item::has_geometry)) else {
        return Some((
            "no_geometry",
            "some frames do not say where they lie: stored order",
        ));
    };
    let parallel = |item: &Item<'_>| Plane::new(item).is_some_and(|other| plane.is_like(&other));
    if !items.iter().all(parallel) {
        return Some((
            "no_geometry",
            "frames differ in orientation or pixel spacing: stored order",
        ));
    }
    let segment = |item: &Item<'_>| item.get(|a| a.segment_number);
    let first_segment = segment(first);
    if items.iter().any(|item| segment(item) != first_segment) {
        return Some((
            "segments_not_split",
            "frames belong to several segments: stored order",
        ));
    }
    None
}

/// Makes a volume of a layout, or says for each of its files why not.
fn volume(name: String, layout: Layout<'_>) -> Result<Volume, Vec<(PathBuf, Finding)>> {
    let mut findings = layout.findings;
    let records = records(&layout.items);
    let slices = match layout.leading.last() {
        Some((_, slices)) if layout.is_stack => *slices as usize,
        _ => 0,
    };
    let geometry = geometry(
        layout.items.get(..slices).unwrap_or_default(),
        &mut findings,
    );
    let ruled = rule(&layout.items, &mut findings);
    report_headers(&records, &mut findings);
    let refuse = |code: &'static str, detail: &str| {
        let finding = Finding {
            code,
            detail: detail.to_owned(),
        };
        let paths = records.iter().map(|record| record.path.clone());
        paths.map(|path| (path, finding.clone())).collect()
    };
    let (Some(ruled), Some(first)) = (ruled, layout.items.first()) else {
        return Err(refuse("malformed_header", "no dtype holds these samples"));
    };
    let volume = Volume {
        name,
        frames: frames(&layout.items, &records, &ruled, layout.is_placed),
        shape: shape(&layout.leading, first, &ruled),
        axes: axes(&layout.leading, first, &ruled),
        values: ruled.values,
        stored_dtype: ruled.stored_dtype,
        geometry,
        steps: None,
        slice_times_s: Vec::new(),
        segments: Vec::new(),
        status: findings.status,
        findings: findings.list,
        records: records.clone(),
    };
    let is_too_large = |variant: Variant| {
        volume.frame_len_bytes(variant) > FRAME_BYTES_MAX
            || volume.len_bytes(variant) > VOLUME_BYTES_MAX
    };
    if [Variant::Values, Variant::Stored]
        .into_iter()
        .any(is_too_large)
    {
        return Err(refuse(
            "too_large",
            "the volume, or a frame of it, is over the limit of size",
        ));
    }
    Ok(volume)
}

fn frames(
    items: &[Item<'_>],
    records: &[Arc<Record>],
    ruled: &Ruled,
    is_placed: bool,
) -> Vec<Frame> {
    let index: HashMap<usize, usize> = records.iter().map(identity).zip(0..).collect();
    let rescale = ruled.rescale.iter();
    items
        .iter()
        .zip(rescale)
        .map(|(item, (slope, intercept))| Frame {
            stored: Some(StoredFrame {
                record: index.get(&identity(item.record)).copied().unwrap_or(0),
                frame_index: item.frame_index,
                tile: None,
            }),
            position_lps_mm: item.position().filter(|_| is_placed),
            slope: *slope,
            intercept: *intercept,
        })
        .collect()
}

/// Samples of a pixel of the values shown.
fn channels(first: &Item<'_>, ruled: &Ruled) -> u16 {
    match ruled.values.transform {
        super::Transform::Palette => 3,
        _ => first.image.samples_per_pixel,
    }
}

fn shape(leading: &[(char, u64)], first: &Item<'_>, ruled: &Ruled) -> Vec<u64> {
    let mut shape: Vec<u64> = leading.iter().map(|axis| axis.1).collect();
    shape.push(first.image.rows.into());
    shape.push(first.image.columns.into());
    if channels(first, ruled) > 1 {
        shape.push(channels(first, ruled).into());
    }
    shape
}

fn axes(leading: &[(char, u64)], first: &Item<'_>, ruled: &Ruled) -> String {
    let mut axes: String = leading.iter().map(|axis| axis.0).collect();
    axes.push_str("yx");
    if channels(first, ruled) > 1 {
        axes.push('c');
    }
    axes
}

/// Tells each volume of a split series of the others.
fn name_siblings(series: &str, volumes: &mut [Volume]) {
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
