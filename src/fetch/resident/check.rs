//! Frames that a device has read by itself, compared with what the CPU makes of them.
//!
//! The first of each residence, some of the rest, and each that may be of one value, which is what memory
//! looks like that nobody wrote to. A frame that is wrong ends it: no device reads files any more.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::fill::{Failure, Fill, copy_time};
use crate::decode::gpu::{Job, Piece};
use crate::fetch::Error;
use crate::fetch::device::{is_uniform, job_dtype};

/// Frames of a residence that are compared in any case.
const FIRST_FRAMES: usize = 8;

/// One frame of so many is compared though nothing is suspicious about it.
const SPOT_CHECK_ONE_IN: u64 = 256;

/// What is looked at of each frame to tell whether it may be of one value: so many samples, in so many
/// places. A frame that is of one value is so in all of them.
const PROBES: u64 = 4;
const PROBE_SAMPLES: u64 = 64;

impl Fill<'_> {
    /// Whether the device's frames are right, as far as it is looked: these, beside those that were found
    /// right before.
    pub(super) fn is_right(&mut self, done: &[(usize, &Job)]) -> Result<bool, Failure> {
        let suspicious = self.uniform(done)?;
        for (n, (frame, _)) in done.iter().enumerate() {
            let is_first = self.direct_done.len() + n < FIRST_FRAMES;
            // Asked of each, so that what is due does not depend on the frames.
            let is_due = self.is_due();
            if (is_first || is_due || suspicious[n]) && !self.is_equal(*frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of each frame, whether it may be of one value.
    fn uniform(&mut self, done: &[(usize, &Job)]) -> Result<Vec<bool>, Failure> {
        let frame_len = self.stream.slab().frame_len_bytes() as u64;
        let mut pieces = Vec::new();
        let mut lens = Vec::new();
        let mut next = 0;
        for (frame, job) in done {
            let itemsize = itemsize(job) as u64;
            let len_bytes = (PROBE_SAMPLES * itemsize).min(frame_len);
            let samples = (frame_len - len_bytes) / itemsize;
            for probe in 0..PROBES {
                // At the start, at the end, and between them not in one column.
                let at = samples * probe / (PROBES - 1).max(1);
                pieces.push(Piece {
                    file_offset_bytes: next,
                    offset_bytes: self.offset_bytes(*frame) + at * itemsize,
                    len_bytes,
                });
                next += len_bytes;
            }
            lens.push((len_bytes * PROBES) as usize);
        }
        let bytes = self.download(&pieces, next)?;
        let mut rest = &bytes[..];
        let uniform = done.iter().zip(lens).map(|((_, job), len)| {
            let (probes, after) = rest.split_at(len);
            rest = after;
            is_uniform(probes, itemsize(job))
        });
        Ok(uniform.collect())
    }

    /// Compares a frame, and says so where it is wrong.
    fn is_equal(&mut self, frame: usize) -> Result<bool, Failure> {
        let len_bytes = self.stream.slab().frame_len_bytes() as u64;
        let piece = Piece {
            file_offset_bytes: 0,
            offset_bytes: self.offset_bytes(frame),
            len_bytes,
        };
        let device = self.download(&[piece], len_bytes)?;
        let mut cpu = vec![0; device.len()];
        let counters = &self.residences.counters;
        counters.compared_frames.fetch_add(1, Ordering::Relaxed);
        if self.shared.produce(&self.stream, frame, &mut cpu).is_err() {
            // What the CPU fails at is said by it when the frame is asked of it.
            return Ok(false);
        }
        if device == cpu {
            return Ok(true);
        }
        counters.mismatches.fetch_add(1, Ordering::Relaxed);
        self.residences.distrust();
        let what = format!(
            "cuda:{} read other values from the file than the CPU: no device reads files any more",
            self.memory.ordinal()
        );
        let stream = &self.stream;
        self.shared.record(stream, frame, "device_mismatch", what);
        Ok(false)
    }

    /// Bytes of the device's memory, one piece after the other.
    fn download(&mut self, pieces: &[Piece], len_bytes: u64) -> Result<Vec<u8>, Failure> {
        let io = |error: &std::io::Error| Error::io("cannot read back from the device", error);
        let back = match self.back.take() {
            Some(back) => back,
            None => rustix::fs::memfd_create("back", rustix::fs::MemfdFlags::CLOEXEC)
                .map(File::from)
                .map_err(|errno| io(&errno.into()))?,
        };
        back.set_len(len_bytes).map_err(|error| io(&error))?;
        let deadline = copy_time(len_bytes);
        self.memory
            .download(self.id, pieces, back.as_fd(), deadline)?;
        let mut bytes = vec![0; len_bytes as usize];
        back.read_exact_at(&mut bytes, 0)
            .map_err(|error| io(&error))?;
        self.back = Some(back);
        Ok(bytes)
    }

    fn is_due(&mut self) -> bool {
        // xorshift64: any sequence will do that a file cannot know.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(SPOT_CHECK_ONE_IN)
    }
}

impl super::Residences {
    /// Lets no device read files any more, and drops what one has read, as far as nobody has it.
    fn distrust(&self) {
        self.is_direct.store(false, Ordering::SeqCst);
        let residents = self.table().residents();
        let doubted = residents.into_iter().filter(|(_, r)| r.direct_frames > 0);
        for (number, _) in doubted {
            let victim = self.table().evict_this(number);
            self.drop_memory(victim);
        }
    }
}

fn itemsize(job: &Job) -> usize {
    job_dtype(job).map_or(1, |dtype| dtype.itemsize())
}
