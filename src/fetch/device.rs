//! Devices that make frames beside the CPU's workers: what one has to offer, and who shares the work.
//!
//! A demanded frame goes to the CPU at once. Of what is only made ahead, and of demanded frames of
//! small volumes that would have to wait because all workers are busy, the CPU takes the head and a device the tail, in
//! batches, of one volume or several, so that a device can only help. Its frames are compared with
//! the CPU's before it is believed, a route that does not win is left, and a fault is no more than
//! the same frames made by the CPU. How a device works is behind [`Device`] and [`Lane`].
//!
//! | file | job |
//! |---|---|
//! | `rates.rs` | what is known of speed, and how large a batch is (pure) |
//! | `check.rs` | two makers' bytes compared (pure) |
//! | `trust.rs` | which of a device's frames are made on the CPU as well (pure) |
//! | `batch.rs` | a batch: frames prepared and claimed; what is left of it goes to the CPU |
//! | `lanes.rs` | the devices, and a thread a lane |
//! | `gather.rs` | what such a thread takes: streams chosen, frames of several in one batch |
//! | `crew.rs` | what it does with them: batches run, faults borne |
//! | `settle.rs` | answers compared, and frames shown |
//! | `process.rs` | a GPU of this machine as a [`Device`] |
//! | `report.rs` | what `.dicomfs/stats.json` shows of devices |

mod batch;
mod check;
mod crew;
mod gather;
mod lanes;
mod process;
mod rates;
mod report;
mod settle;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Error;
use crate::decode::gpu::{self, Codec, Fault, Job, Outcome, Refusal, Spent};

pub(super) use check::{dtype as job_dtype, is_uniform};
pub(super) use lanes::{Devices, Tuning};
pub use process::Gpu;
pub use report::DeviceStats;

/// Refusals in a row after which a stream's frames are no longer offered: its files are alike.
const REFUSALS_MAX: u32 = 8;

/// A device that decodes batches of frames into slabs.
pub trait Device: Send + Sync {
    /// Its name, for counts and findings: `cuda:0`.
    fn name(&self) -> String;

    /// Its number, as the driver counts, if it can leave frames in memory that volumes are held in
    /// ([`gpu::Part::beside`]): that of the [`crate::fetch::DeviceMemory`] with the same number.
    fn ordinal(&self) -> Option<u32> {
        None
    }

    /// Makes it ready and gives its lanes: called once, on a thread where it may take its time.
    ///
    /// # Errors
    /// Why it cannot be used, in words: then it is not.
    fn start(&self) -> Result<Vec<Box<dyn Lane>>, String>;

    /// Whether a batch may be prepared for it now.
    fn readiness(&self) -> Readiness;

    /// How it is, in words: for `.dicomfs/stats.json`.
    fn state(&self) -> String;

    /// Whether it decodes frames of this codec at all.
    ///
    /// # Errors
    /// The reason that is counted.
    fn serves(&self, codec: Codec) -> Result<(), Refusal> {
        let _ = codec;
        Ok(())
    }

    /// Whether frames of this volume are this device's, as long as it is ready: of several, each has
    /// volumes of its own.
    fn prefers(&self, volume: &str) -> bool {
        let _ = volume;
        true
    }

    /// Ends it for good: batches under way come back as faults, soon.
    fn stop(&self);
}

/// Whether a device takes a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// Not now: it is being started again.
    Resting,
    /// Never again.
    Retired,
}

/// Memory for encoded frames and a way to have one batch at a time decoded from it.
pub trait Lane: Send {
    /// The memory; the same, and of the same length, at each call.
    fn encoded(&mut self) -> &mut [u8];

    /// Has a batch decoded into the files of its slabs: how each job went, those of the first part
    /// first. Returns when nobody writes to the frames of the batch any more, [`Fault::Stuck`]
    /// excepted.
    ///
    /// # Errors
    /// [`Fault`]: then nothing of the batch is to be believed.
    fn run(
        &mut self,
        parts: &[gpu::Part<'_>],
        deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault>;
}

/// A frame described for a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What is to be done. `encoded` starts at 0 and says how much of the room was used; `out` is for
    /// the caller to set.
    pub job: Job,
    /// The codec loses something: two good decoders may differ by a step of the stored values.
    pub is_lossy: bool,
}

/// Why a frame is not described for a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfit {
    /// It is none for devices.
    Refused(Refusal),
    /// Its encoded bytes take more than the room there is.
    NoRoom,
    /// Its source cannot be read: the CPU says so to who wants the frame.
    Failed(Error),
}

impl From<Refusal> for Unfit {
    fn from(refusal: Refusal) -> Unfit {
        Unfit::Refused(refusal)
    }
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Unfit {
        Unfit::Failed(error)
    }
}

/// Who made a frame: a device by its index, and which of its processes.
type Made = (usize, u32);

/// What devices know of a stream.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    /// Frames that were compared and right, by who made them and codec.
    right: Mutex<HashMap<(Made, Codec), usize>>,
    refusals_in_a_row: AtomicU32,
    is_out: AtomicBool,
    /// When the last batch was taken from it, in batches of all streams.
    last_batch: AtomicU64,
}

impl Acquaintance {
    /// True when its frames are not worth offering.
    fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
            || self.refusals_in_a_row.load(Ordering::Relaxed) >= REFUSALS_MAX
    }

    fn set_out(&self) {
        self.is_out.store(true, Ordering::Relaxed);
    }

    fn note_refused(&self) {
        self.refusals_in_a_row.fetch_add(1, Ordering::Relaxed);
    }

    fn note_accepted(&self) {
        self.refusals_in_a_row.store(0, Ordering::Relaxed);
    }

    /// How many of its frames a process of a device was compared at and right.
    fn right_on(&self, made: Made, codec: Codec) -> usize {
        self.right().get(&(made, codec)).copied().unwrap_or(0)
    }

    /// The same for the codec that has most.
    fn most_right_on(&self, made: Made) -> usize {
        let right = self.right();
        let mine = right.iter().filter(|((by, _), _)| *by == made);
        mine.map(|(_, count)| *count).max().unwrap_or(0)
    }

    fn note_right(&self, made: Made, codec: Codec, count: usize) {
        *self.right().entry((made, codec)).or_default() += count;
    }

    fn right(&self) -> MutexGuard<'_, HashMap<(Made, Codec), usize>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
