//! Times of a header as BIDS writes them.

use crate::dicom::Value;
use crate::volume::Volume;

/// Length of a day in ms.
const DAY_MS: f64 = 86_400_000.0;

/// Milliseconds as seconds: the double nearest to the decimal number that is shown, where a division
/// would now and then show fifteen nines.
pub(super) fn seconds(ms: f64) -> Option<f64> {
    if !ms.is_finite() {
        return None;
    }
    format!("{ms}e-3").parse().ok()
}

/// Acquisition Time (0008,0032) of the first frame's file, else the time of its Acquisition DateTime
/// (0008,002A), as `HH:MM:SS.ffffff`.
pub(super) fn acquisition_time(volume: &Volume) -> Option<String> {
    let stored = volume.frames.iter().find_map(|frame| frame.stored)?;
    let attributes = &volume.records.get(stored.record)?.instance.attributes;
    if let Some(Value::Text(time)) = attributes.get("AcquisitionTime") {
        return time_of_day(&time);
    }
    match attributes.get("AcquisitionDateTime") {
        // Without what follows the date there is no time in it.
        Some(Value::Text(text)) => {
            let zone = text.find(['+', '-']).unwrap_or(text.len());
            time_of_day(text.get(..zone)?.get(8..)?)
        }
        _ => None,
    }
}

/// A TM value (PS3.5 6.2), with the colons of older files or without.
pub(super) fn time_of_day(tm: &str) -> Option<String> {
    let tm = tm.trim().replace(':', "");
    let (whole, fraction) = tm.split_once('.').unwrap_or((&tm, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = matches!(whole.len(), 2 | 4 | 6) && fraction.len() <= 6;
    if !is_time || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let part = |at: usize, limit: u32| {
        let number = whole.get(at..at + 2).unwrap_or("00").parse::<u32>().ok()?;
        (number < limit).then_some(number)
    };
    // 60 is a leap second.
    let (hour, minute, second) = (part(0, 24)?, part(2, 60)?, part(4, 61)?);
    Some(format!("{hour:02}:{minute:02}:{second:02}.{fraction:0<6}"))
}

/// A time in ms of the day, or of the days since an epoch, as `HH:MM:SS.ffffff`.
pub(super) fn clock(ms: f64) -> Option<String> {
    if !ms.is_finite() {
        return None;
    }
    let us = (ms.rem_euclid(DAY_MS) * 1000.0).round() as u64;
    let s = us / 1_000_000;
    let (hour, minute, second) = (s / 3600 % 24, s / 60 % 60, s % 60);
    Some(format!(
        "{hour:02}:{minute:02}:{second:02}.{:06}",
        us % 1_000_000
    ))
}
