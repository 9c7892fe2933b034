//! Frames of each position in the order of one key, and whether that order is the same time at all
//! positions.
//!
//! A label (AcquisitionNumber, a b-value) is the same at all positions or it is none. A clock differs
//! from slice to slice, and the delay of a gated shot (TriggerTime) does so at random: the third
//! frame of one slice need not be of the time point that the third of another is.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::item::Item;
use super::super::order::Slot;
use super::super::timing;
use super::TimeKey;

/// How far a frame may be from its place in the time of its position, in intervals.
const OFF_MAX: f64 = 0.25;

/// Each slot ordered by the key; `None` when it is absent somewhere, repeats within a position,
/// or is a label that differs from position to position.
pub(super) fn order_slots<'a>(slots: &[Slot<'a>], key: &TimeKey) -> Option<Vec<Slot<'a>>> {
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

pub(super) fn keyed<'a>(slot: &Slot<'a>, key: &TimeKey) -> Option<Vec<(f64, Item<'a>)>> {
    slot.iter()
        .map(|item| {
            (key.value)(item)
                .filter(|value| value.is_finite())
                .map(|value| (value, *item))
        })
        .collect()
}

/// Whether the frames of each rank of one order are those of one rank of another: the same time
/// points, whatever comes first.
pub(super) fn are_same_times(ordered: &[Slot<'_>], named: &[Slot<'_>]) -> bool {
    let id = |item: &Item<'_>| {
        let tile = item.tile.map(|tile| tile.index);
        (Arc::as_ptr(item.record).addr(), item.frame_index, tile)
    };
    let ranks: HashMap<_, usize> = named
        .iter()
        .flat_map(|slot| slot.iter().map(id).zip(0..))
        .collect();
    let ranked = |slot: &Slot<'_>| {
        let ranks = slot.iter().map(|item| ranks.get(&id(item)).copied());
        ranks.collect::<Vec<_>>()
    };
    let Some(first) = ordered.first().map(ranked) else {
        return false;
    };
    ordered.iter().all(|slot| ranked(slot) == first)
}

/// Whether the ranks of a clock are the same times at all positions: all frames of one come before
/// all of the next, or each position is acquired on its own and in the same rhythm.
pub(super) fn is_coherent(ordered: &[Slot<'_>], clock: &TimeKey) -> bool {
    let times: Vec<Vec<f64>> = ordered
        .iter()
        .map(|slot| slot.iter().filter_map(clock.value).collect())
        .collect();
    is_separated(&times) || is_parallel(&times)
}

/// Times by position and rank: is each rank over before the next begins?
fn is_separated(times: &[Vec<f64>]) -> bool {
    let ranks = times.first().map_or(0, Vec::len);
    let of_rank = |rank: usize| times.iter().filter_map(move |row| row.get(rank).copied());
    (1..ranks).all(|rank| {
        let end = of_rank(rank - 1).fold(f64::NEG_INFINITY, f64::max);
        let start = of_rank(rank).fold(f64::INFINITY, f64::min);
        end < start
    })
}

/// Times by position and rank: does each rank come at the same part of its position's time? That
/// may last longer at one than at another: heartbeats do.
fn is_parallel(times: &[Vec<f64>]) -> bool {
    let ranks = times.first().map_or(0, Vec::len);
    let intervals = ranks.saturating_sub(1) as f64;
    let spans: Option<Vec<f64>> = times
        .iter()
        .map(|row| Some(row.last()? - row.first()?))
        .collect();
    let spans = spans.unwrap_or_default();
    let mean_span = spans.iter().sum::<f64>() / spans.len().max(1) as f64;
    // A NaN is refused too.
    if mean_span.is_nan() || mean_span <= 0.0 {
        return false;
    }
    // With two there is no rhythm: then the interval itself has to be the same.
    if ranks == 2 {
        return spans
            .iter()
            .all(|span| (span - mean_span).abs() <= OFF_MAX * mean_span);
    }
    (1..ranks - 1).all(|rank| {
        let parts = times.iter().zip(&spans);
        let parts: Vec<f64> = parts
            .map(|(row, span)| (row[rank] - row[0]) / span)
            .collect();
        let mean = parts.iter().sum::<f64>() / parts.len() as f64;
        parts
            .iter()
            .all(|part| (part - mean).abs() * intervals <= OFF_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let cases: [(&[&[f64]], bool); 9] = [
            // Whole volumes one after the other, slices in any order within.
            (&[&[0.0, 10.0, 20.0], &[5.0, 12.0, 29.0]], true),
            // One position after the other, in one rhythm.
            (&[&[0.0, 1.0, 2.0], &[100.0, 101.1, 202.0 - 100.0]], true),
            // The same phases of longer and shorter heartbeats.
            (&[&[0.0, 30.0, 60.0, 90.0], &[5.0, 45.0, 85.0, 125.0]], true),
            // Delays at random.
            (&[&[3.0, 4.0, 40.0], &[5.0, 35.0, 39.0]], false),
            (&[&[3.0, 4.0, 40.0], &[7.0, 20.0, 41.0]], false),
            // Two phases: the same interval, or another at each position.
            (&[&[0.0, 300.0], &[400.0, 690.0]], true),
            (&[&[0.0, 300.0], &[280.0, 900.0], &[310.0, 700.0]], false),
            (&[&[0.0], &[0.0]], true),
            (&[], true),
        ];
        for (times, expected) in cases {
            let times: Vec<Vec<f64>> = times.iter().map(|row| row.to_vec()).collect();
            assert_eq!(
                is_separated(&times) || is_parallel(&times),
                expected,
                "{times:?}"
            );
        }
    }
}
