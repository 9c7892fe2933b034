//! What orders frames that lie at the same positions: the `t` axis.
//!
//! Each way says for itself when it holds; `order` tries them in turn. None guesses: where an
//! attribute does not tell all frames of a position apart, or the same for all positions, the next
//! one is tried.

mod coherent;
mod dimensions;
mod incomplete;
mod moving;

use super::Steps;
use super::finding::Findings;
use super::item::Item;
use super::order::{Arrangement, Slot};
use super::timing;
use crate::dicom::Value;
use coherent::{are_same_times, is_coherent, order_slots};
use dimensions::order_by_dimensions;

pub(super) use incomplete::{by_label, by_rank};
pub(super) use moving::{MOVING_KEYS, moving};

/// An attribute that may tell time points apart.
pub(super) struct TimeKey {
    pub(super) name: &'static str,
    /// The same values must occur at every position (they name time points); else they only order
    /// the frames of a position.
    is_label: bool,
    pub(super) value: fn(&Item<'_>) -> Option<f64>,
}

/// In the order they are tried.
pub(super) const TIME_KEYS: [TimeKey; 14] = [
    TimeKey {
        name: "TemporalPositionIdentifier",
        is_label: true,
        value: |item| item.get(|a| a.temporal_position).map(|x| x as f64),
    },
    TimeKey {
        name: "TemporalPositionTimeOffset",
        is_label: true,
        value: |item| {
            item.get(|a| a.temporal_position_offset_s)
                .map(|s| s * 1000.0)
        },
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
        value: timing::acquisition_ms,
    },
    TimeKey {
        name: "FrameReferenceTime",
        is_label: false,
        value: |item| {
            let numbers = item.numbers("FrameReferenceTime")?;
            numbers.first().copied()
        },
    },
    TimeKey {
        name: "DiffusionBValue",
        is_label: true,
        value: |item| item.get(|a| a.diffusion_b_value),
    },
    TimeKey {
        name: "DiffusionGradientOrientation",
        is_label: true,
        value: |item| {
            let stated = item.get(|a| a.diffusion_gradient.or(a.gradient_as_written));
            Some(direction_rank(stated))
        },
    },
    TimeKey {
        name: "VelocityEncodingDirection",
        is_label: true,
        value: |item| Some(direction_rank(item.get(|a| a.velocity_direction))),
    },
    TimeKey {
        name: "NominalPercentageOfCardiacPhase",
        is_label: true,
        value: |item| item.get(|a| a.cardiac_phase_percent),
    },
    TimeKey {
        name: "NominalPercentageOfRespiratoryPhase",
        is_label: true,
        value: |item| item.get(|a| a.respiratory_phase_percent),
    },
    TimeKey {
        name: "InversionTime",
        is_label: true,
        value: |item| item.get(|a| a.inversion_time_ms),
    },
    TimeKey {
        name: "FlipAngle",
        is_label: true,
        value: |item| item.get(|a| a.flip_angle_deg),
    },
    TimeKey {
        name: "ContentTime",
        is_label: false,
        value: timing::content_ms,
    },
];

/// A number for each direction (of a diffusion gradient, of velocity), to a thousandth; 0 without one.
fn direction_rank(direction: Option<[f64; 3]>) -> f64 {
    let Some(direction) = direction.filter(|d| d.iter().any(|part| *part != 0.0)) else {
        return 0.0;
    };
    let step = |part: f64| (part.clamp(-1.0, 1.0) * 1000.0).round() + 1000.0;
    direction
        .iter()
        .fold(0.0, |rank, part| rank * 2001.0 + step(*part))
}

/// One volume with a leading t axis, when every position occurs as often and one attribute, or two
/// together, order its frames strictly at each.
pub(super) fn time_axis<'a>(slots: &[Slot<'a>]) -> Option<Arrangement<'a>> {
    let times = slots.first()?.len();
    if times < 2 || slots.iter().any(|slot| slot.len() != times) {
        return None;
    }
    // What names the time points also says which order of a clock is theirs.
    let labels = TIME_KEYS.iter().filter(|key| key.is_label);
    let named = labels.clone().find_map(|key| order_slots(slots, key));
    let named = named.or_else(|| order_by_dimensions(slots));
    let by_key = |key: &TimeKey| {
        let ordered = order_slots(slots, key)?;
        let is_sound = match &named {
            _ if key.is_label => true,
            Some(named) => are_same_times(&ordered, named),
            None => is_coherent(&ordered, key),
        };
        let values = values(ordered.first()?, key);
        let told = key.name.to_owned();
        is_sound.then(|| on_axis(ordered, key.name, told, values))
    };
    let (last, keys) = TIME_KEYS.split_last()?;
    let by_any = keys.iter().find_map(by_key);
    // The moment of writing comes last of all.
    by_any
        .or_else(|| labels.clone().find_map(|outer| by_two(slots, outer)))
        .or_else(|| {
            let ordered = order_by_dimensions(slots)?;
            let keyword = "DimensionIndexValues";
            let values = (1..=times).map(|rank| rank as f64).collect();
            Some(on_axis(ordered, keyword, keyword.to_owned(), values))
        })
        .or_else(|| by_key(last))
}

/// By two attributes: one that names groups of frames, the same at all positions (dynamics,
/// b-values), and one that orders the frames of each group (phases, directions).
fn by_two<'a>(slots: &[Slot<'a>], outer: &TimeKey) -> Option<Arrangement<'a>> {
    let groups = groups(slots, outer)?;
    if groups.len() < 2 {
        return None;
    }
    let inner = TIME_KEYS.iter().filter(|key| key.name != outer.name);
    inner.into_iter().find_map(|inner| {
        let mut ordered: Vec<Slot<'a>> = vec![Vec::new(); slots.len()];
        for (_, group) in &groups {
            let part = order_slots(group, inner)?;
            if !inner.is_label && !is_coherent(&part, inner) {
                return None;
            }
            for (slot, more) in ordered.iter_mut().zip(part) {
                slot.extend(more);
            }
        }
        let values = values(ordered.first()?, outer);
        let told = format!("{} and {}", outer.name, inner.name);
        Some(on_axis(ordered, outer.name, told, values))
    })
}

/// The frames of each slot by the value of a key, ascending: as many of each value at each position.
fn groups<'a>(slots: &[Slot<'a>], key: &TimeKey) -> Option<Vec<(f64, Vec<Slot<'a>>)>> {
    let mut groups: Vec<(f64, Vec<Slot<'a>>)> = Vec::new();
    for (z, slot) in slots.iter().enumerate() {
        for item in slot {
            let value = (key.value)(item).filter(|value| value.is_finite())?;
            let at = groups.binary_search_by(|group| group.0.total_cmp(&value));
            let at = at.unwrap_or_else(|at| {
                groups.insert(at, (value, vec![Vec::new(); slots.len()]));
                at
            });
            groups.get_mut(at)?.1.get_mut(z)?.push(*item);
        }
        // A position that lacks a value, or adds one, ends it early: hostile archives have many.
        let counts = |z: usize| groups.iter().map(move |group| group.1.get(z).map(Vec::len));
        if !counts(0).eq(counts(z)) {
            return None;
        }
    }
    Some(groups)
}

/// The values of a key at the frames of one position, in their order: of a clock, ms after the first.
fn values(frames: &[Item<'_>], key: &TimeKey) -> Vec<f64> {
    let values: Vec<f64> = frames.iter().filter_map(key.value).collect();
    let is_clock = matches!(key.name, "AcquisitionTime" | "ContentTime");
    let start = values.first().copied().filter(|_| is_clock).unwrap_or(0.0);
    values.iter().map(|value| value - start).collect()
}

fn on_axis<'a>(
    ordered: Vec<Slot<'a>>,
    keyword: &'static str,
    told: String,
    values: Vec<f64>,
) -> Arrangement<'a> {
    let first = ordered.first().map_or(&[][..], Vec::as_slice);
    let times = first.len();
    let mut findings = Findings::default();
    findings.push(
        "time_axis",
        format!("{times} frames at each position, in order of {told}"),
    );
    let steps = Steps {
        interval_s: timing::interval_s(first, keyword),
        keyword,
        values,
    };
    let mut arrangement = Arrangement::new(in_time(&ordered, times), times, findings);
    arrangement.steps = Some(steps);
    arrangement
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
pub(super) fn by_instance_number<'a>(slots: &[Slot<'a>]) -> Option<Arrangement<'a>> {
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
    let mut arrangement = Arrangement::new(in_time(&ordered, times), times, findings);
    let number = |item: &Item<'_>| item.get(|a| a.instance_number).map(|x| x as f64);
    arrangement.steps = Some(Steps {
        keyword: "InstanceNumber",
        values: ordered.first()?.iter().filter_map(number).collect(),
        interval_s: None,
    });
    Some(arrangement)
}
