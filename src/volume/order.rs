//! The order of frames that lie in parallel planes: z along the normal, t where positions repeat.
//!
//! InstanceNumber and file names never order slices. What orders time is in `time`; where nothing
//! does, InstanceNumber is the last tie-break between frames, and then the verdict is bad.

use super::finding::Findings;
use super::geometry::{SAME_POSITION_MM, off_line_mm, tolerance};
use super::item::{Item, Orientation};
use super::time::{
    MOVING_KEYS, TIME_KEYS, by_instance_number, by_label, by_rank, moving, time_axis,
};
use super::vector::{dot, max_difference};
use super::{Status, Steps};

/// Frames at one place may differ by this across the plane: the rounding of positions.
const SAME_PLACE_MM: f64 = 0.01;

/// Frames in volume order: C order over (t, z).
pub(super) struct Arrangement<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) times: usize,
    pub(super) slices: usize,
    pub(super) steps: Option<Steps>,
    pub(super) findings: Findings,
    /// Nothing ordered the repeated positions: the frames were dealt out arbitrarily.
    pub(super) is_arbitrary: bool,
}

impl<'a> Arrangement<'a> {
    pub(super) fn new(items: Vec<Item<'a>>, times: usize, findings: Findings) -> Self {
        Arrangement {
            slices: items.len() / times.max(1),
            items,
            times,
            steps: None,
            findings,
            is_arbitrary: false,
        }
    }
}

/// All frames at one distance along the normal.
pub(super) type Slot<'a> = Vec<Item<'a>>;

/// Arranges frames of one orientation that all have a position. More than one arrangement where
/// positions repeat and no time axis holds them all.
pub(super) fn arrange<'a>(items: Vec<Item<'a>>) -> Vec<Arrangement<'a>> {
    let Some(orientation) = items.first().and_then(Item::orientation) else {
        return Vec::new();
    };
    let slots = slots(items.clone(), &orientation);
    if slots.iter().all(|slot| slot.len() == 1) {
        // Slices of several times between each other's are no stack. An acquisition in two parts
        // may be one: where that fills the gaps evenly, it is.
        let keys = match is_even(&slots, &orientation) {
            true => &MOVING_KEYS[..1],
            false => &MOVING_KEYS[..],
        };
        return moving(&items, &orientation, keys).unwrap_or_else(|| {
            let items = slots.into_iter().flatten().collect();
            vec![Arrangement::new(items, 1, Findings::default())]
        });
    }
    let same_place = slots.iter().all(|slot| {
        let first = slot.first().and_then(Item::position).unwrap_or_default();
        slot.iter()
            .filter_map(Item::position)
            .all(|p| max_difference(&p, &first) <= SAME_PLACE_MM)
    });
    if same_place {
        if let Some(arrangement) = time_axis(&slots).or_else(|| by_instance_number(&slots)) {
            return vec![arrangement];
        }
        if let Some(arrangements) = by_label(&slots).or_else(|| by_rank(&slots)) {
            return arrangements;
        }
    }
    moving(&items, &orientation, &MOVING_KEYS)
        .or_else(|| side_by_side(&slots, &orientation))
        .unwrap_or_else(|| deal_out(slots, &orientation, same_place))
}

fn is_even(slots: &[Slot<'_>], orientation: &Orientation) -> bool {
    let positions = slots.iter().filter_map(|slot| slot.first()?.position());
    let along: Vec<f64> = positions.map(|p| dot(p, orientation.normal)).collect();
    let gaps: Vec<f64> = along.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
    gaps.iter()
        .all(|gap| (gap - mean).abs() <= 2.0 * tolerance(mean))
}

/// Whether frames of one orientation lie in planes of which some repeat.
pub(super) fn positions_repeat(items: &[Item<'_>]) -> bool {
    let Some(orientation) = items.first().and_then(Item::orientation) else {
        return false;
    };
    slots(items.to_vec(), &orientation)
        .iter()
        .any(|slot| slot.len() > 1)
}

/// The frames that share their position with another.
pub(super) fn repeated<'a>(items: &[Item<'a>]) -> Vec<Item<'a>> {
    let Some(orientation) = items.first().and_then(Item::orientation) else {
        return Vec::new();
    };
    let slots = slots(items.to_vec(), &orientation);
    let repeated = slots.into_iter().filter(|slot| slot.len() > 1);
    repeated.flatten().collect()
}

/// At how many positions frames lie along the normal of an orientation.
pub(super) fn count_slots(items: &[Item<'_>], orientation: &Orientation) -> usize {
    slots(items.to_vec(), orientation).len()
}

/// Groups frames by distance along the normal, ascending.
pub(super) fn slots<'a>(items: Vec<Item<'a>>, orientation: &Orientation) -> Vec<Slot<'a>> {
    let mut placed: Vec<(f64, Item<'a>)> = items
        .into_iter()
        .map(|item| {
            let position = item.position().unwrap_or_default();
            (dot(position, orientation.normal), item)
        })
        .collect();
    placed.sort_by(|a, b| {
        a.0.total_cmp(&b.0)
            .then_with(|| a.1.tie_key().cmp(&b.1.tie_key()))
    });
    let mut slots: Vec<Slot<'a>> = Vec::new();
    // Compared with the slot's first, so that a chain of near positions cannot creep.
    let mut slot_start = f64::NEG_INFINITY;
    for (distance, item) in placed {
        match slots.last_mut() {
            Some(slot) if distance - slot_start <= SAME_POSITION_MM => slot.push(item),
            _ => {
                slot_start = distance;
                slots.push(vec![item]);
            }
        }
    }
    slots
}

/// Stacks that lie beside each other in the same planes: reconstructions of other parts of the plane.
/// Each position has as many frames, apart across the plane, and those of each place are in line: three
/// positions at least, since two always are.
fn side_by_side<'a>(slots: &[Slot<'a>], orientation: &Orientation) -> Option<Vec<Arrangement<'a>>> {
    let count = slots.first()?.len();
    if count < 2 || slots.len() < 3 || slots.iter().any(|slot| slot.len() != count) {
        return None;
    }
    let mut stacks: Vec<Vec<Item<'a>>> = vec![Vec::new(); count];
    for slot in slots {
        let mut slot = slot.clone();
        slot.sort_by_key(|item| place(item, orientation));
        let is_apart = |pair: &[Item<'_>]| {
            let [a, b] = [pair[0], pair[1]].map(|item| item.position().unwrap_or_default());
            max_difference(&a, &b) > SAME_PLACE_MM
        };
        if !slot.windows(2).all(is_apart) {
            return None;
        }
        for (stack, item) in stacks.iter_mut().zip(slot) {
            stack.push(item);
        }
    }
    let is_in_line = |stack: &Vec<Item<'_>>| {
        let positions: Vec<_> = stack.iter().filter_map(Item::position).collect();
        off_line_mm(&positions, orientation.normal) <= SAME_PLACE_MM
    };
    let alone = |stack| Arrangement::new(stack, 1, Findings::default());
    let is_sound = stacks.iter().all(is_in_line);
    is_sound.then(|| stacks.into_iter().map(alone).collect())
}

/// Where a frame lies across its plane, to [`SAME_PLACE_MM`].
fn place(item: &Item<'_>, orientation: &Orientation) -> (i64, i64) {
    let p = item.position().unwrap_or_default();
    let key = |x: f64| (x / SAME_PLACE_MM).round() as i64;
    (
        key(dot(p, orientation.row)),
        key(dot(p, orientation.column)),
    )
}

/// Nothing orders the frames: the first of each position, the second of each, and so on.
fn deal_out<'a>(
    mut slots: Vec<Slot<'a>>,
    orientation: &Orientation,
    same_place: bool,
) -> Vec<Arrangement<'a>> {
    let place = |item: &Item<'_>| place(item, orientation);
    let times = |item: &Item<'_>| {
        TIME_KEYS.map(|key| {
            let value = (key.value)(item).filter(|value| value.is_finite());
            value.map_or(i64::MAX, |value| value as i64)
        })
    };
    for slot in &mut slots {
        slot.sort_by(|a, b| {
            (place(a), times(a), a.tie_key()).cmp(&(place(b), times(b), b.tie_key()))
        });
    }
    let repeated = slots.iter().filter(|slot| slot.len() > 1).count();
    let most = slots.iter().map(Vec::len).max().unwrap_or(0);
    let why = if same_place {
        "nothing orders them in time"
    } else {
        "they differ across the plane"
    };
    let detail = format!(
        "{repeated} of {} positions occur up to {most} times and {why}",
        slots.len()
    );
    // One pass, not one a rank: both numbers may be large in a hostile archive.
    let mut ranks: Vec<Vec<Item<'a>>> = Vec::new();
    ranks.resize_with(most, Vec::new);
    for slot in slots {
        for (rank, item) in ranks.iter_mut().zip(slot) {
            rank.push(item);
        }
    }
    let arrangement = |items| {
        let mut findings = Findings::default();
        findings.push_as("duplicate_positions", Status::Bad, detail.clone());
        let mut arrangement = Arrangement::new(items, 1, findings);
        arrangement.is_arbitrary = true;
        arrangement
    };
    ranks.into_iter().map(arrangement).collect()
}
