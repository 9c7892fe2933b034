//! Time points whose slices are not at the same places: the patient was followed, or moved.

use super::super::Steps;
use super::super::finding::Findings;
use super::super::item::{Item, Orientation};
use super::super::order::{Arrangement, slots};
use super::super::timing;
use super::super::vector::{Vector, dot, norm, sub};
use super::{TIME_KEYS, TimeKey, in_time};

/// What names time points even where their slices are not at the same places.
pub(in super::super) const MOVING_KEYS: [&str; 2] =
    ["TemporalPositionIdentifier", "AcquisitionNumber"];

/// Time points this part of a slice apart are one array still, at the places of the first.
const MOVED_MAX_SLICES: f64 = 0.25;

/// One time point: its label and its slices along the normal.
struct Volume<'a> {
    label: f64,
    slices: Vec<Item<'a>>,
    positions: Vec<Vector>,
}

/// Frames in the time points that one of `keywords` names, where each is a stack that overlaps the
/// others but does not lie at the same places. One array if they hardly moved,
/// else one for each; `None` where no such label is there.
pub(in super::super) fn moving<'a>(
    items: &[Item<'a>],
    orientation: &Orientation,
    keywords: &[&str],
) -> Option<Vec<Arrangement<'a>>> {
    let keys = TIME_KEYS.iter().filter(|key| keywords.contains(&key.name));
    keys.into_iter().find_map(|key| {
        let volumes = volumes(items, orientation, key)?;
        let (first, others) = volumes.split_first()?;
        let ends = |volume: &Volume<'_>| {
            let along = |p: Option<&Vector>| p.map(|p| dot(*p, orientation.normal));
            Some((
                along(volume.positions.first())?,
                along(volume.positions.last())?,
            ))
        };
        let (start, end) = ends(first)?;
        let count = first.slices.len();
        let spacing_mm = (end - start) / (count.checked_sub(1).filter(|n| *n > 0)? as f64);
        let (mut moved_mm, mut is_regular) = (0.0_f64, true);
        for volume in others {
            let (other_start, other_end) = ends(volume)?;
            // Slabs side by side are no time points.
            if other_start > end || other_end < start {
                return None;
            }
            is_regular &= volume.slices.len() == count;
            let pairs = first.positions.iter().zip(&volume.positions);
            let most = pairs.map(|(a, b)| norm(sub(*a, *b))).fold(0.0, f64::max);
            moved_mm = moved_mm.max(most);
        }
        // A number of acquisition may be one of part of a stack; what counts time is not.
        if !is_regular && key.name != MOVING_KEYS[0] {
            return None;
        }
        if !is_regular || moved_mm > MOVED_MAX_SLICES * spacing_mm {
            let alone =
                |volume: Volume<'a>| Arrangement::new(volume.slices, 1, Findings::default());
            return Some(volumes.into_iter().map(alone).collect());
        }
        Some(vec![together(volumes, key, moved_mm)])
    })
}

fn volumes<'a>(
    items: &[Item<'a>],
    orientation: &Orientation,
    key: &TimeKey,
) -> Option<Vec<Volume<'a>>> {
    let mut labelled: Vec<(f64, Item<'a>)> = items
        .iter()
        .map(|item| Some(((key.value)(item).filter(|v| v.is_finite())?, *item)))
        .collect::<Option<_>>()?;
    labelled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let groups = labelled.chunk_by(|a, b| a.0 == b.0);
    let volumes: Vec<Volume<'a>> = groups
        .map(|group| {
            let items = group.iter().map(|entry| entry.1).collect();
            let slots = slots(items, orientation);
            let is_stack = slots.iter().all(|slot| slot.len() == 1);
            let slices: Vec<Item<'a>> = slots.into_iter().flatten().collect();
            is_stack.then(|| Volume {
                label: group.first().map_or(0.0, |entry| entry.0),
                positions: slices.iter().filter_map(Item::position).collect(),
                slices,
            })
        })
        .collect::<Option<_>>()?;
    (volumes.len() > 1).then_some(volumes)
}

fn together<'a>(volumes: Vec<Volume<'a>>, key: &TimeKey, moved_mm: f64) -> Arrangement<'a> {
    let mut findings = Findings::default();
    findings.push(
        "time_axis",
        format!("{} time points in order of {}", volumes.len(), key.name),
    );
    findings.push(
        "moving_positions",
        format!(
            "slices move by up to {moved_mm:.4} mm: the affine is that of the first time point"
        ),
    );
    let at_first: Vec<Item<'a>> = volumes
        .iter()
        .filter_map(|volume| volume.slices.first().copied())
        .collect();
    let steps = Steps {
        keyword: key.name,
        values: volumes.iter().map(|volume| volume.label).collect(),
        interval_s: timing::interval_s(&at_first, key.name),
    };
    let times = volumes.len();
    let slices: Vec<Vec<Item<'a>>> = volumes.into_iter().map(|volume| volume.slices).collect();
    // Ordered by time, then position: in_time takes them by position, then time.
    let positions = slices.first().map_or(0, Vec::len);
    let by_position: Vec<Vec<Item<'a>>> = (0..positions)
        .map(|z| {
            slices
                .iter()
                .filter_map(|volume| volume.get(z).copied())
                .collect()
        })
        .collect();
    let mut arrangement = Arrangement::new(in_time(&by_position, times), times, findings);
    arrangement.steps = Some(steps);
    arrangement
}
