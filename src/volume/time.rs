//! What orders frames that lie at the same positions: the `t` axis (DESIGN 1.1, 1.2).
//!
//! Each way says for itself when it holds; `order` tries them in turn. None guesses: where an
//! attribute does not tell all frames of a position apart, the next one is tried.

use super::Steps;
use super::finding::Findings;
use super::item::Item;
use super::order::{Arrangement, Slot};
use super::timing;
use crate::archive::Record;
use crate::dicom::{Instance, Value};

/// An attribute that may tell time points apart.
pub(super) struct TimeKey {
    pub(super) name: &'static str,
    /// The same values must occur at every position (they name time points); else they only order
    /// the frames of a position.
    is_label: bool,
    pub(super) value: fn(&Item<'_>) -> Option<f64>,
}

/// In the order they are tried.
pub(super) const TIME_KEYS: [TimeKey; 9] = [
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

/// One volume with a leading t axis, when every position occurs as often and one attribute orders
/// its frames strictly at each.
pub(super) fn time_axis<'a>(slots: &[Slot<'a>]) -> Option<Arrangement<'a>> {
    let times = slots.first()?.len();
    if times < 2 || slots.iter().any(|slot| slot.len() != times) {
        return None;
    }
    let (last, keys) = TIME_KEYS.split_last()?;
    let by_key = |key: &TimeKey| {
        let ordered = order_slots(slots, key)?;
        let values = values(ordered.first()?, key);
        Some(on_axis(ordered, key.name, values, times))
    };
    // The moment of writing comes last of all.
    let by_any = keys.iter().find_map(by_key);
    by_any
        .or_else(|| by_dimensions(slots, times))
        .or_else(|| by_key(last))
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
    values: Vec<f64>,
    times: usize,
) -> Arrangement<'a> {
    let mut findings = Findings::default();
    findings.push(
        "time_axis",
        format!("{times} frames at each position, in order of {keyword}"),
    );
    let mut arrangement = Arrangement::new(in_time(&ordered, times), times, findings);
    arrangement.steps = Some(Steps {
        interval_s: timing::interval_s(ordered.first().map_or(&[], Vec::as_slice), keyword),
        keyword,
        values,
    });
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

/// By what tells the frames of an instance apart where they lie at the same place: in lexical
/// order, where it is unique at each position and the same at all.
fn by_dimensions<'a>(slots: &[Slot<'a>], times: usize) -> Option<Arrangement<'a>> {
    let vectors = Vectors::of(slots.first()?.first()?);
    let mut labels: Option<Vec<Vec<i64>>> = None;
    let mut ordered = Vec::with_capacity(slots.len());
    for slot in slots {
        let mut keyed: Vec<(Vec<i64>, Item<'a>)> = slot
            .iter()
            .map(|item| {
                let key = index_values(item).or_else(|| vectors.at(item))?;
                Some((key, *item))
            })
            .collect::<Option<_>>()?;
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        if keyed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let keys: Vec<Vec<i64>> = keyed.iter().map(|entry| entry.0.clone()).collect();
        if *labels.get_or_insert_with(|| keys.clone()) != keys {
            return None;
        }
        ordered.push(keyed.into_iter().map(|(_, item)| item).collect());
    }
    let values = (1..=times).map(|rank| rank as f64).collect();
    Some(on_axis(ordered, "DimensionIndexValues", values, times))
}

/// Dimension Index Values (0020,9157) without those that say where a frame lies.
fn index_values(item: &Item<'_>) -> Option<Vec<i64>> {
    /// Stack ID, In-Stack Position Number, Image Position (Patient).
    const SPATIAL: [(u16, u16); 3] = [(0x0020, 0x9056), (0x0020, 0x9057), (0x0020, 0x0032)];
    let pointers = &item.record.instance.dimension_pointers;
    let values = item.get(|a| {
        let values = a.dimension_index_values.as_slice();
        (!values.is_empty()).then_some(values)
    })?;
    if values.len() != pointers.len() {
        return None;
    }
    let told = values.iter().zip(pointers);
    let told = told.filter(|(_, pointer)| !SPATIAL.contains(pointer));
    Some(told.map(|(value, _)| i64::from(*value)).collect())
}

/// The vectors of a nuclear medicine image, one entry a frame, without that of slices (PS3.3
/// C.8.4.8). Its frames go together with no other's.
struct Vectors<'a> {
    instance: &'a Instance,
    entries: Vec<Vec<f64>>,
}

impl<'a> Vectors<'a> {
    fn of(item: &Item<'a>) -> Self {
        const KEYWORDS: [&str; 8] = [
            "EnergyWindowVector",
            "DetectorVector",
            "PhaseVector",
            "RotationVector",
            "RRIntervalVector",
            "TimeSlotVector",
            "AngularViewVector",
            "TimeSliceVector",
        ];
        let record: &'a Record = item.record;
        let entries = KEYWORDS.iter().filter_map(|keyword| item.numbers(keyword));
        Vectors {
            instance: &record.instance,
            entries: entries.collect(),
        }
    }

    fn at(&self, item: &Item<'_>) -> Option<Vec<i64>> {
        let is_same = std::ptr::eq(self.instance, &item.record.instance);
        let index = item.frame_index as usize;
        let entries = self.entries.iter();
        let key: Vec<i64> = entries
            .map(|vector| vector.get(index).map(|number| *number as i64))
            .collect::<Option<_>>()?;
        (is_same && !key.is_empty()).then_some(key)
    }
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

/// Each slot ordered by the key; `None` when it is absent somewhere, repeats within a position,
/// or is a label that differs from position to position.
fn order_slots<'a>(slots: &[Slot<'a>], key: &TimeKey) -> Option<Vec<Slot<'a>>> {
    let values = || slots.iter().flatten().filter_map(key.value);
    // Some with a date and some without: one of another day may lie anywhere among them.
    if !key.is_label && values().any(timing::has_date) && !values().all(timing::has_date) {
        return None;
    }
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
pub(super) fn by_label<'a>(slots: &[Slot<'a>]) -> Option<Vec<Arrangement<'a>>> {
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
        let values = complete.iter().map(|(value, _)| *value).collect();
        let items = complete.into_iter().flat_map(|(_, items)| items).collect();
        let mut arrangement = Arrangement::new(items, times, findings.clone());
        let first: Vec<Item<'a>> = arrangement
            .items
            .iter()
            .step_by(slots.len())
            .copied()
            .collect();
        arrangement.steps = (times >= 2).then(|| Steps {
            keyword: key.name,
            values,
            interval_s: timing::interval_s(&first, key.name),
        });
        arrangements.push(arrangement);
    }
    for (_, items) in incomplete {
        arrangements.push(Arrangement::new(items, 1, findings.clone()));
    }
    Some(arrangements)
}

/// Where only the last time points lack slices and a clock orders the frames: all frames of a time
/// point come before all of the next, so that the rank at a position is the time point.
pub(super) fn by_rank<'a>(slots: &[Slot<'a>]) -> Option<Vec<Arrangement<'a>>> {
    let complete = slots.iter().map(Vec::len).min()?;
    let most = slots.iter().map(Vec::len).max()?;
    if complete == most {
        return None;
    }
    let clocks = TIME_KEYS.iter().filter(|key| !key.is_label);
    clocks.into_iter().find_map(|key| {
        let ordered = order_slots(slots, key)?;
        let ranks: Vec<Vec<Item<'a>>> = (0..most)
            .map(|rank| {
                ordered
                    .iter()
                    .filter_map(|slot| slot.get(rank).copied())
                    .collect()
            })
            .collect();
        let ends = |rank: &Vec<Item<'a>>| {
            let values = || rank.iter().filter_map(key.value);
            (
                values().fold(f64::INFINITY, f64::min),
                values().fold(f64::NEG_INFINITY, f64::max),
            )
        };
        let ends: Vec<(f64, f64)> = ranks.iter().map(ends).collect();
        if ends.windows(2).any(|pair| pair[0].1 >= pair[1].0) {
            return None;
        }
        let mut findings = Findings::default();
        findings.push(
            "incomplete_time_point",
            format!(
                "{complete} time points by {} are whole, {} lack slices and stand alone",
                key.name,
                most - complete
            ),
        );
        let mut arrangements = Vec::new();
        let (whole, partial) = ranks.split_at(complete);
        let items = whole.iter().flatten().copied().collect();
        let mut arrangement = Arrangement::new(items, complete, findings.clone());
        let first: Vec<Item<'a>> = whole
            .iter()
            .filter_map(|rank| rank.first())
            .copied()
            .collect();
        arrangement.steps = (complete >= 2).then(|| Steps {
            keyword: key.name,
            values: values(&first, key),
            interval_s: timing::interval_s(&first, key.name),
        });
        arrangements.push(arrangement);
        for rank in partial {
            arrangements.push(Arrangement::new(rank.clone(), 1, findings.clone()));
        }
        Some(arrangements)
    })
}
