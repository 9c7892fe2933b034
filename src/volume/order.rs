//! The order of frames that lie in parallel planes: z along the normal, t where positions repeat.
//!
//! InstanceNumber and file names never order slices. InstanceNumber orders time only where the
//! header itself says how many time points there are (see [`by_instance_number`]); else it is the
//! last tie-break between frames that nothing tells apart, and then the verdict is bad.

use super::finding::Findings;
use super::geometry::SAME_POSITION_MM;
use super::item::{Item, Orientation};
use super::vector::{dot, max_difference};
use crate::dicom::Value;

/// Frames at one place may differ by this across the plane: the rounding of positions.
const SAME_PLACE_MM: f64 = 0.01;

/// Frames in volume order: C order over (t, z).
pub(super) struct Arrangement<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) times: usize,
    pub(super) slices: usize,
    pub(super) findings: Findings,
    /// Nothing ordered the repeated positions: the frames were dealt out arbitrarily.
    pub(super) is_arbitrary: bool,
}

impl<'a> Arrangement<'a> {
    fn new(items: Vec<Item<'a>>, times: usize, findings: Findings) -> Self {
        Arrangement {
            slices: items.len() / times.max(1),
            items,
            times,
            findings,
            is_arbitrary: false,
        }
    }
}

/// All frames at one distance along the normal.
type Slot<'a> = Vec<Item<'a>>;

/// An attribute that may tell time points apart.
struct TimeKey {
    name: &'static str,
    /// The same values must occur at every position (they name time points); else they only order
    /// the frames of a position.
    is_label: bool,
    value: fn(&Item<'_>) -> Option<f64>,
}

/// In the order they are tried.
const TIME_KEYS: [TimeKey; 6] = [
    TimeKey {
        name: "TemporalPositionIdentifier",
        is_label: true,
        value: |item| item.get(|a| a.temporal_position).map(|x| x as f64),
    },
    TimeKey {
        name: "TriggerTime",
        is_label: false,
        value: |item| item.get(|a| a.trigger_time_ms),
    },
    TimeKey {
        name: "AcquisitionNumber",
        is_label: true,
        value: |item| item.get(|a| a.acquisition_number).map(|x| x as f64),
    },
    TimeKey {
        name: "AcquisitionTime",
        is_label: false,
        value: |item| item.get(|a| a.acquisition_time_ms),
    },
    TimeKey {
        name: "ContentTime",
        is_label: false,
        value: |item| item.get(|a| a.content_time_ms),
    },
    TimeKey {
        name: "DiffusionBValue",
        is_label: true,
        value: |item| item.get(|a| a.diffusion_b_value),
    },
];

/// Arranges frames of one orientation that all have a position. More than one arrangement where
/// positions repeat and no time axis holds them all.
pub(super) fn arrange<'a>(items: Vec<Item<'a>>) -> Vec<Arrangement<'a>> {
    let Some(orientation) = items.first().and_then(Item::orientation) else {
        return Vec::new();
    };
    let slots = slots(items, &orientation);
    if slots.iter().all(|slot| slot.len() == 1) {
        let items = slots.into_iter().flatten().collect();
        return vec![Arrangement::new(items, 1, Findings::default())];
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
        if let Some(arrangements) = by_label(&slots) {
            return arrangements;
        }
    }
    deal_out(slots, &orientation, same_place)
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

/// Groups frames by distance along the normal, ascending.
fn slots<'a>(items: Vec<Item<'a>>, orientation: &Orientation) -> Vec<Slot<'a>> {
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

/// One volume with a leading t axis, when every position occurs as often and one attribute orders
/// its frames strictly at each.
fn time_axis<'a>(slots: &[Slot<'a>]) -> Option<Arrangement<'a>> {
    let times = slots.first()?.len();
    if times < 2 || slots.iter().any(|slot| slot.len() != times) {
        return None;
    }
    TIME_KEYS.iter().find_map(|key| {
        let items = in_time(&order_slots(slots, key)?, times);
        let mut findings = Findings::default();
        findings.push(
            "time_axis",
            format!("{times} frames at each position, in order of {}", key.name),
        );
        Some(Arrangement::new(items, times, findings))
    })
}

/// Frames of ordered slots in C order over (t, z).
fn in_time<'a>(ordered: &[Slot<'a>], times: usize) -> Vec<Item<'a>> {
    (0..times)
        .flat_map(|time| {
            ordered
                .iter()
                .filter_map(move |slot| slot.get(time).copied())
        })
        .collect()
}

/// GE writes functional series with no attribute of time at all, only Number of Temporal Positions
/// (0020,0105). Where that is what the positions show, and Instance Number runs through whole
/// volumes one after the other, or through all times of one slice after the other, there is one
/// reading only. It is still a reading, so the verdict is at least `warn`.
fn by_instance_number<'a>(slots: &[Slot<'a>]) -> Option<Arrangement<'a>> {
    let times = slots.first()?.len();
    let stated = |item: &Item<'_>| {
        let attributes = &item.record.instance.attributes;
        attributes.get("NumberOfTemporalPositions") == Some(Value::Int(times as i64))
    };
    let is_regular = slots.iter().all(|slot| slot.len() == times);
    if times < 2 || !is_regular || !slots.iter().flatten().all(stated) {
        return None;
    }
    let mut numbered: Vec<(i64, usize)> = Vec::with_capacity(slots.len() * times);
    for (z, slot) in slots.iter().enumerate() {
        for item in slot {
            numbered.push((item.get(|a| a.instance_number)?, z));
        }
    }
    numbered.sort_unstable();
    let is_unique = numbered.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let whole_volumes = numbered.chunks(slots.len()).all(|volume| {
        let mut seen = vec![false; slots.len()];
        volume
            .iter()
            .all(|(_, z)| !std::mem::replace(&mut seen[*z], true))
    });
    let mut one_slice = numbered.chunks(times);
    let whole_slices = one_slice.all(|slice| slice.iter().all(|(_, z)| *z == slice[0].1));
    if !is_unique || !(whole_volumes || whole_slices) {
        return None;
    }
    let mut ordered = slots.to_vec();
    for slot in &mut ordered {
        slot.sort_by_key(Item::tie_key);
    }
    let mut findings = Findings::default();
    findings.push(
        "assumed_time_axis",
        format!(
            "{times} frames at each position, as NumberOfTemporalPositions says, in order of \
             InstanceNumber for want of any time"
        ),
    );
    Some(Arrangement::new(in_time(&ordered, times), times, findings))
}

/// Each slot ordered by the key; `None` when it is absent somewhere, repeats within a position,
/// or is a label that differs from position to position.
fn order_slots<'a>(slots: &[Slot<'a>], key: &TimeKey) -> Option<Vec<Slot<'a>>> {
    let mut labels: Option<Vec<f64>> = None;
    let mut ordered = Vec::with_capacity(slots.len());
    for slot in slots {
        let mut keyed = keyed(slot, key)?;
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        if keyed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return None;
        }
        if key.is_label {
            let values: Vec<f64> = keyed.iter().map(|(value, _)| *value).collect();
            if *labels.get_or_insert_with(|| values.clone()) != values {
                return None;
            }
        }
        ordered.push(keyed.into_iter().map(|(_, item)| item).collect());
    }
    Some(ordered)
}

fn keyed<'a>(slot: &Slot<'a>, key: &TimeKey) -> Option<Vec<(f64, Item<'a>)>> {
    slot.iter()
        .map(|item| {
            (key.value)(item)
                .filter(|value| value.is_finite())
                .map(|value| (value, *item))
        })
        .collect()
}

/// Where positions repeat irregularly: a label that occurs at most once at each position splits
/// the frames. Complete time points stay together, each incomplete one is on its own.
fn by_label<'a>(slots: &[Slot<'a>]) -> Option<Vec<Arrangement<'a>>> {
    TIME_KEYS
        .iter()
        .filter(|key| key.is_label)
        .find_map(|key| split_by(slots, key))
}

fn split_by<'a>(slots: &[Slot<'a>], key: &TimeKey) -> Option<Vec<Arrangement<'a>>> {
    let mut groups: Vec<(f64, Vec<Item<'a>>)> = Vec::new();
    for slot in slots {
        let mut keyed = keyed(slot, key)?;
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        if keyed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return None;
        }
        for (value, item) in keyed {
            match groups.binary_search_by(|group| group.0.total_cmp(&value)) {
                Ok(index) => groups[index].1.push(item),
                Err(index) => groups.insert(index, (value, vec![item])),
            }
        }
    }
    let (complete, incomplete): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|(_, items)| items.len() == slots.len());
    let mut arrangements = Vec::new();
    let times = complete.len();
    let mut findings = Findings::default();
    if times >= 2 {
        findings.push(
            "incomplete_time_point",
            format!(
                "{times} time points by {} are whole, {} lack slices and stand alone",
                key.name,
                incomplete.len()
            ),
        );
    }
    if times >= 1 {
        let items = complete.into_iter().flat_map(|(_, items)| items).collect();
        arrangements.push(Arrangement::new(items, times, findings.clone()));
    }
    for (_, items) in incomplete {
        arrangements.push(Arrangement::new(items, 1, findings.clone()));
    }
    Some(arrangements)
}

/// Nothing orders the frames: the first of each position, the second of each, and so on.
fn deal_out<'a>(
    mut slots: Vec<Slot<'a>>,
    orientation: &Orientation,
    same_place: bool,
) -> Vec<Arrangement<'a>> {
    let place = |item: &Item<'_>| {
        let p = item.position().unwrap_or_default();
        let key = |x: f64| (x / SAME_PLACE_MM).round() as i64;
        (
            key(dot(p, orientation.row)),
            key(dot(p, orientation.column)),
        )
    };
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
        findings.push("duplicate_positions", detail.clone());
        let mut arrangement = Arrangement::new(items, 1, findings);
        arrangement.is_arbitrary = true;
        arrangement
    };
    ranks.into_iter().map(arrangement).collect()
}
