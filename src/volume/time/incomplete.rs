//! Positions that repeat irregularly: time points that lack slices.

use super::super::Steps;
use super::super::finding::Findings;
use super::super::item::Item;
use super::super::order::{Arrangement, Slot};
use super::super::timing;
use super::coherent::{keyed, order_slots};
use super::{TIME_KEYS, TimeKey, values};

/// Where positions repeat irregularly: a label that occurs at most once at each position splits
/// the frames. Complete time points stay together, each incomplete one is on its own.
pub(in super::super) fn by_label<'a>(slots: &[Slot<'a>]) -> Option<Vec<Arrangement<'a>>> {
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
pub(in super::super) fn by_rank<'a>(slots: &[Slot<'a>]) -> Option<Vec<Arrangement<'a>>> {
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
