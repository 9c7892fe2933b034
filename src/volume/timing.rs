//! When things were acquired: the interval of a `t` axis and the times of slices.
//!
//! Says nothing where the headers do not, and nothing that the times contradict.

use super::item::Item;

/// Keywords whose values are times of the volume itself.
const CLOCKS: [&str; 4] = [
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "AcquisitionTime",
    "InstanceNumber",
];

/// How far a time point may be off an even grid, as a part of the interval: times in headers are
/// rounded, some to 10 ms.
const UNEVEN_MAX: f64 = 0.05;

/// Seconds between time points, from the frames of one position in order of time: by Trigger Time
/// where that orders them, else by Acquisition Time. `None` where they are not even, or where the
/// axis is none of time (b-values, inversion times, ...).
pub(super) fn interval_s(frames: &[Item<'_>], keyword: &str) -> Option<f64> {
    let time_ms = |item: &Item<'_>| match keyword {
        "TriggerTime" => item.get(|a| a.trigger_time_ms),
        "ContentTime" => item.get(|a| a.content_time_ms),
        "FrameReferenceTime" => item.numbers(keyword)?.first().copied(),
        _ if CLOCKS.contains(&keyword) => item.get(|a| a.acquisition_time_ms),
        _ => None,
    };
    let times_ms: Vec<f64> = frames.iter().map(time_ms).collect::<Option<_>>()?;
    let (first, last) = (*times_ms.first()?, *times_ms.last()?);
    let steps = times_ms.len().checked_sub(1).filter(|steps| *steps > 0)?;
    let interval_ms = (last - first) / steps as f64;
    let is_even = times_ms.iter().enumerate().all(|(step, time)| {
        (time - first - step as f64 * interval_ms).abs() <= UNEVEN_MAX * interval_ms
    });
    (interval_ms > 0.0 && interval_ms.is_finite() && is_even).then_some(interval_ms / 1000.0)
}

/// Seconds from the first slice of the first time point to each, by `z`; empty where the headers
/// do not say, or where the slices were not acquired within one interval.
pub(super) fn slice_times_s(slices: &[Item<'_>], interval_s: Option<f64>) -> Vec<f64> {
    let time_ms = |item: &Item<'_>| match (&item.record.instance.mosaic, item.tile) {
        (Some(mosaic), Some(tile)) => mosaic.slice_times_ms.get(tile.index as usize).copied(),
        _ if item.record.instance.modality == "MR" => item.get(|a| a.acquisition_time_ms),
        _ => None,
    };
    let times_ms: Option<Vec<f64>> = slices.iter().map(time_ms).collect();
    let times_ms = times_ms.unwrap_or_default();
    let earliest = times_ms.iter().copied().fold(f64::INFINITY, f64::min);
    let latest = times_ms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span_s = (latest - earliest) / 1000.0;
    let is_tile = slices.iter().all(|item| item.tile.is_some());
    let is_within = is_tile || interval_s.is_some_and(|interval_s| span_s < interval_s);
    // All the same is the time of the series, not of its slices.
    if !(span_s > 0.0 && span_s.is_finite() && is_within) {
        return Vec::new();
    }
    times_ms.iter().map(|ms| (ms - earliest) / 1000.0).collect()
}
