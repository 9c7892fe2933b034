//! The answers of a device: compared where that is due, then shown or left to the CPU.
//!
//! All comparisons of a batch come before anything of it is shown.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::{Batch, Claimed};
use super::check;
use super::lanes::{Crew, Settled};
use crate::decode::gpu::{Codec, Outcome, Spent};
use crate::fetch::Stream;
use crate::fetch::tally::Maker;

/// Why a batch is not believed.
enum Doubt {
    /// The device's bytes are not the CPU's.
    Mismatch(usize, Codec),
    /// The CPU fails at what the device made: the stream's frames are for the CPU to judge.
    CpuFails,
    /// The device got this codec wrong meanwhile.
    Retired,
}

impl Crew<'_> {
    /// Shows the good frames of an answered batch and leaves the others to the CPU.
    pub(super) fn settle(
        &mut self,
        batch: &mut Batch<'_>,
        stream: &Arc<Stream>,
        mut claimed: Vec<Claimed<'_>>,
        outcomes: &[Outcome],
        spent: Spent,
    ) -> Settled {
        let is_done: HashSet<usize> = claimed
            .iter()
            .zip(outcomes)
            .filter(|(claimed, outcome)| self.is_good(stream, claimed.frame, outcome))
            .map(|(claimed, _)| claimed.frame)
            .collect();
        let start = Instant::now();
        let doubt = self.compare(stream, &mut claimed, &is_done);
        let mut settled = Settled {
            frames: 0,
            checking: start.elapsed(),
        };
        if let Err(doubt) = doubt {
            self.reject(stream, &claimed, doubt);
            drop(claimed);
            return settled;
        }
        let ns = spent.wall.as_nanos() / outcomes.len().max(1) as u128;
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        for claimed in claimed {
            let (frame, codec) = (claimed.frame, claimed.prepared.job.codec);
            if !is_done.contains(&frame) {
                stream.refuse(frame);
                drop(claimed);
                batch.leave(&[frame]);
                continue;
            }
            let maker = Maker::Device(self.index, codec);
            self.shared.keep(stream, claimed.filling, Some(maker), ns);
            batch.settle(&[frame]);
            stream.done(frame, Ok(()));
            settled.frames += 1;
        }
        let counters = &self.known.counters;
        let bytes = (settled.frames * stream.slab().frame_len_bytes()) as u64;
        counters
            .frames
            .fetch_add(settled.frames as u64, Ordering::Relaxed);
        counters.frame_bytes.fetch_add(bytes, Ordering::Relaxed);
        settled
    }

    /// Counts an outcome; true when the device says that the frame is made.
    fn is_good(&self, stream: &Stream, frame: usize, outcome: &Outcome) -> bool {
        let counters = &self.known.counters;
        match outcome {
            Outcome::Done => return true,
            // The CPU says what does not fit.
            Outcome::Overflow => {}
            Outcome::Refused(refusal) => {
                counters.refused(*refusal);
                stream.acquaintance().note_refused();
            }
            Outcome::Failed(why) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("a device failed at frame {}: {why}", frame + 1);
            }
        }
        false
    }

    /// Makes some frames on the CPU too: all of the first batch of each codec that this device has not
    /// shown to be right for this stream, those that look like memory nobody wrote to, and a few more.
    fn compare(
        &mut self,
        stream: &Stream,
        claimed: &mut [Claimed<'_>],
        is_done: &HashSet<usize>,
    ) -> Result<(), Doubt> {
        let mut scratch = Vec::new();
        let known = stream.acquaintance().verified_on(self.index);
        for claimed in claimed.iter_mut().filter(|c| is_done.contains(&c.frame)) {
            let job = &claimed.prepared.job;
            let codec = job.codec;
            if self.known.is_retired(codec) {
                return Err(Doubt::Retired);
            }
            let device = claimed.filling.bytes();
            let itemsize = check::dtype(job).map_or(1, |dtype| dtype.itemsize());
            if known.contains(&codec) && !self.is_due() && !check::is_uniform(device, itemsize) {
                continue;
            }
            scratch.resize(device.len(), 0);
            let made = self.shared.produce(stream, claimed.frame, &mut scratch);
            self.known.counters.compared.fetch_add(1, Ordering::Relaxed);
            if made.is_err() {
                return Err(Doubt::CpuFails);
            }
            if !check::agree(job, claimed.prepared.is_lossy, device, &scratch) {
                return Err(Doubt::Mismatch(claimed.frame, codec));
            }
            stream.acquaintance().set_verified(self.index, codec);
        }
        Ok(())
    }

    fn is_due(&mut self) -> bool {
        // xorshift64: any sequence will do that a file cannot know.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.devices.is_spot_check(self.random)
    }

    fn reject(&self, stream: &Stream, claimed: &[Claimed<'_>], doubt: Doubt) {
        for claimed in claimed {
            stream.refuse(claimed.frame);
        }
        stream.acquaintance().set_out();
        let Doubt::Mismatch(frame, codec) = doubt else {
            return;
        };
        self.known.retire(codec);
        self.known
            .counters
            .mismatches
            .fetch_add(1, Ordering::Relaxed);
        let name = self.known.device.name();
        let what =
            format!("{name} made other values than the CPU and is not used for {codec} any more");
        self.shared.record(stream, frame, "device_mismatch", what);
    }
}
