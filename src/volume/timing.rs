//! When things were acquired: the interval of a `t` axis and the times of slices.
//!
//! Says nothing where the headers do not, and nothing that the times contradict.

use super::item::Item;
use crate::dicom::Value;

/// Times of the day are below this; what has a date counts from 1970.
const DAY_MS: f64 = 86_400_000.0;

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

/// When a frame was acquired, ms: by Frame Acquisition DateTime, else by Acquisition Date and Time,
/// since a series may run past midnight.
pub(super) fn acquisition_ms(item: &Item<'_>) -> Option<f64> {
    dated(
        item,
        item.get(|a| a.acquisition_time_ms)?,
        "AcquisitionDate",
    )
}

/// Content Date and Time of a frame, ms.
pub(super) fn content_ms(item: &Item<'_>) -> Option<f64> {
    dated(item, item.get(|a| a.content_time_ms)?, "ContentDate")
}

/// Whether a time in ms counts from 1970 and not from midnight.
pub(super) fn has_date(time_ms: f64) -> bool {
    time_ms >= DAY_MS
}

fn dated(item: &Item<'_>, time_ms: f64, keyword: &str) -> Option<f64> {
    if has_date(time_ms) {
        return Some(time_ms);
    }
    let days = match item.record.instance.attributes.get(keyword) {
        Some(Value::Text(date)) => days_since_1970(&date),
        _ => None,
    };
    Some(time_ms + days.unwrap_or(0.0) * DAY_MS)
}

/// Days from 1970-01-01 to a date `YYYYMMDD` (PS3.5 6.2, DA) of the Gregorian calendar; `None` for
/// what is none, or is earlier.
fn days_since_1970(date: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let is_date = date.len() == 8 && (1..=12).contains(&month) && (1..=31).contains(&day);
    // Years that begin in March have their leap day last.
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let days = years * 365 + leaps + (153 * months + 2) / 5 + day - 1 - 719_468;
    (is_date && days > 0).then_some(days as f64)
}

/// Seconds between time points, from the frames of one position in order of time: by Trigger Time
/// where that orders them, else by Acquisition Time. `None` where they are not even, or where the
/// axis is none of time (b-values, inversion times, ...).
pub(super) fn interval_s(frames: &[Item<'_>], keyword: &str) -> Option<f64> {
    let time_ms = |item: &Item<'_>| match keyword {
        "TriggerTime" => item.get(|a| a.trigger_time_ms),
        "TemporalPositionTimeOffset" => item.get(|a| a.temporal_position_offset_s).map(|s| s * 1e3),
        "ContentTime" => content_ms(item),
        "FrameReferenceTime" => item.numbers(keyword)?.first().copied(),
        _ if CLOCKS.contains(&keyword) => acquisition_ms(item),
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
        _ if item.record.instance.modality == "MR" => acquisition_ms(item),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (date, days) in [
            ("19700102", Some(1.0)),
            ("20000229", Some(11_016.0)),
            ("20000301", Some(11_017.0)),
            ("20261120", Some(20_777.0)),
            ("19700101", None),
            ("19691231", None),
            ("20261320", None),
            ("2026.11.20", None),
            ("2026112", None),
            ("", None),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", None),
        ] {
            assert_eq!(days_since_1970(date), days, "{date}");
        }
    }
}
