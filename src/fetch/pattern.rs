//! How one open file is being read, and how far ahead that is worth working.
//!
//! Pure bookkeeping: no frames are touched here.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A read this close behind the end of the one before continues it. The kernel's own readahead
/// sends 128 KiB requests from several threads, so neighbours may arrive swapped.
const NEAR_BYTES: u64 = 512 * 1024;

/// Sequential reads before the whole volume is worth making: one is a header, two may be a slice.
const SEQUENTIAL_RUN_MIN: u32 = 3;

/// What one open file has been asked for so far.
#[derive(Debug, Default)]
pub struct Pattern(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    end_bytes: u64,
    sequential_run: u32,
    last_frame: usize,
    ascending_run: u32,
    started: bool,
}

impl Pattern {
    /// Notes a read and says how many frames after it are worth making now: all of them for a
    /// reader that goes through the file, `workers` for one that climbs frame by frame (a patch:
    /// a few rows of each slice), none for one that jumps about.
    pub fn observe(&self, range: &Range<u64>, frames: &Range<usize>, workers: usize) -> usize {
        if frames.is_empty() {
            return 0;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let near = seen.started && range.start.abs_diff(seen.end_bytes) <= NEAR_BYTES;
        let whole_frames = frames.len() > 2;
        seen.sequential_run = if near || whole_frames {
            seen.sequential_run + 1
        } else {
            0
        };
        let last = frames.end - 1;
        let climbs = seen.started && (last == seen.last_frame || last == seen.last_frame + 1);
        seen.ascending_run = match climbs {
            true => seen.ascending_run + u32::from(last != seen.last_frame),
            false => 0,
        };
        seen.started = true;
        seen.end_bytes = range.end;
        seen.last_frame = last;
        if seen.sequential_run >= SEQUENTIAL_RUN_MIN && seen.ascending_run >= 1 {
            usize::MAX
        } else if seen.ascending_run >= 2 {
            workers
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 512 * 1024;

    fn run(reads: impl IntoIterator<Item = Range<u64>>) -> usize {
        let pattern = Pattern::default();
        let mut ahead = 0;
        for read in reads {
            let frames = (read.start / FRAME) as usize..((read.end - 1) / FRAME) as usize + 1;
            ahead = pattern.observe(&read, &frames, 4);
        }
        ahead
    }

    #[test]
    fn whole_volume_for_a_reader_that_goes_through() {
        let step = 128 * 1024;
        assert_eq!(run((0..12).map(|n| n * step..(n + 1) * step)), usize::MAX);
        assert_eq!(run((0..4).map(|n| n * FRAME..(n + 1) * FRAME)), usize::MAX);
    }

    #[test]
    fn a_few_frames_for_a_patch() {
        // 64 rows of 1 KiB in the middle of each of eight frames.
        let reads = (0..8).map(|n| n * FRAME + 200 * 1024..n * FRAME + 264 * 1024);
        assert!(matches!(run(reads), 4 | usize::MAX));
    }

    #[test]
    fn nothing_for_one_slice_or_random_reads() {
        let step = 128 * 1024;
        assert_eq!(
            run((0..4).map(|n| 7 * FRAME + n * step..7 * FRAME + (n + 1) * step)),
            0
        );
        assert_eq!(
            run([5, 1, 9, 3, 7].map(|n: u64| n * FRAME..n * FRAME + 4096)),
            0
        );
    }
}
