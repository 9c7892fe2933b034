//! When slices were acquired and along which axis the phase was encoded, in NIfTI's few words.

use crate::dicom::Value;
use crate::format::grid::Grid;
use crate::volume::Volume;

/// How far a slice may be off an even rhythm, as a part of the time a slice takes: scanners give
/// times in steps of 2.5 ms.
const RHYTHM_TOLERANCE: f64 = 0.1;

/// `dim_info` numbers x, y and z from 1.
const X: u8 = 1;
const Y: u8 = 2;
const Z: u8 = 3;

/// What a header says of the acquisition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Timing {
    /// Axes of frequency (bits 0 and 1), phase (2 and 3) and slice (4 and 5) encoding; 0 unknown.
    pub(super) dim_info: u8,
    /// First slice that `slice_code` speaks of.
    pub(super) slice_start: i64,
    /// Last slice that `slice_code` speaks of.
    pub(super) slice_end: i64,
    /// Time from one slice to the next.
    pub(super) slice_duration_s: f64,
    /// The order of slices: 1 to 6, or 0 for none of these.
    pub(super) slice_code: u8,
}

/// The timing of a volume. NIfTI ties it to the third dimension, so without `z` there is none.
pub(super) fn of(volume: &Volume, grid: &Grid<'_>) -> Timing {
    let mut timing = Timing::default();
    let Some(z) = grid
        .fastest_first()
        .nth(2)
        .filter(|axis| axis.letter == 'z')
    else {
        return timing;
    };
    if let Some((frequency, phase)) = encoding(volume) {
        timing.dim_info = Z << 4 | phase << 2 | frequency;
    }
    let times = &volume.slice_times_s;
    if times.len() as u64 != z.len {
        return timing;
    }
    if let Some((code, duration_s)) = slice_order(times) {
        timing.dim_info |= Z << 4;
        timing.slice_code = code;
        timing.slice_duration_s = duration_s;
        timing.slice_end = times.len() as i64 - 1;
    }
    timing
}

/// The axes of frequency and phase encoding, by In-plane Phase Encoding Direction (0018,1312).
fn encoding(volume: &Volume) -> Option<(u8, u8)> {
    let attributes = &volume.records.first()?.instance.attributes;
    match attributes.get("InPlanePhaseEncodingDirection")? {
        // Phase encoded along the rows: it is x that runs along a row.
        Value::Text(text) if text == "ROW" => Some((Y, X)),
        Value::Text(text) if text == "COL" || text == "COLUMN" => Some((X, Y)),
        _ => None,
    }
}

/// `slice_code` and the time a slice takes, where one of NIfTI's six orders gives these times.
fn slice_order(times_s: &[f64]) -> Option<(u8, f64)> {
    let count = times_s.len();
    let last = times_s.iter().copied().fold(0.0, f64::max);
    let duration_s = last / count.checked_sub(1).filter(|gaps| *gaps > 0)? as f64;
    let follows = |code: &u8| {
        acquired(*code, count).enumerate().all(|(turn, slice)| {
            let off = times_s
                .get(slice)
                .map(|t| (t - turn as f64 * duration_s).abs());
            off.is_some_and(|off| off <= RHYTHM_TOLERANCE * duration_s)
        })
    };
    // A time of zero for all would follow any order.
    let is_timed = duration_s.is_finite() && duration_s > 0.0;
    let code = (1..=6).filter(|_| is_timed).find(follows)?;
    Some((code, duration_s))
}

/// The slices in the order that a `slice_code` says they were acquired in.
fn acquired(code: u8, count: usize) -> impl Iterator<Item = usize> {
    // Even codes run downwards. 1 and 2 take all slices in one pass; the others every other one,
    // then the rest, 3 and 4 beginning with the first in their direction, 5 and 6 with the second.
    let (start, step, second_start) = match code {
        1 | 2 => (0, 1, count),
        3 | 4 => (0, 2, 1),
        _ => (1, 2, 0),
    };
    let turns = (start..count)
        .step_by(step)
        .chain((second_start..count).step_by(step));
    turns.map(move |n| {
        if code.is_multiple_of(2) {
            count - 1 - n
        } else {
            n
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_those_of_nifti1_h() {
        let table: [(u8, [usize; 5]); 6] = [
            (1, [0, 1, 2, 3, 4]),
            (2, [4, 3, 2, 1, 0]),
            (3, [0, 2, 4, 1, 3]),
            (4, [4, 2, 0, 3, 1]),
            (5, [1, 3, 0, 2, 4]),
            (6, [3, 1, 4, 2, 0]),
        ];
        for (code, order) in table {
            assert_eq!(acquired(code, 5).collect::<Vec<_>>(), order, "{code}");
            let mut times = [0.0; 5];
            for (turn, slice) in order.into_iter().enumerate() {
                // Rounded to 2.5 ms as scanners do.
                times[slice] = (turn as f64 * 0.0613 / 0.0025).round() * 0.0025;
            }
            let (got, duration_s) = slice_order(&times).unwrap();
            assert_eq!(got, code);
            assert!((duration_s - 0.0613).abs() < 0.001, "{duration_s}");
        }
    }

    #[test]
    fn other_times_have_no_code() {
        let table: [&[f64]; 7] = [
            &[],
            &[0.0],
            &[0.0, 0.0, 0.0],
            // Two slices at a time.
            &[0.0, 0.1, 0.0, 0.1],
            &[0.0, 0.1, 0.35, 0.4],
            &[0.0, f64::NAN, 0.2],
            &[0.0, f64::INFINITY],
        ];
        for times in table {
            assert_eq!(slice_order(times), None, "{times:?}");
        }
    }
}
