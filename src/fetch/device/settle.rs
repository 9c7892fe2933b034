//! The answers of a device: compared where that is due, then shown or left to the CPU.
//!
//! What is compared is in `trust.rs`. All comparisons of a batch come before anything of it is shown,
//! and each part is judged on its own: what is wrong with the frames of one stream costs another none,
//! but where the device was found to be wrong. Then of the whole batch only those frames of that codec
//! are shown that were compared themselves. What is shown is also noted as left in device memory, where
//! the batch did that, and nothing else is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::check;
use super::crew::{Crew, Sent, Settled};
use super::rates::Kind;
use super::trust;
use crate::decode::gpu::{Codec, Outcome, Spent};
use crate::fetch::Stream;
use crate::fetch::resident::Beside;
use crate::fetch::tally::Maker;

/// Why a part is not believed.
enum Doubt {
    /// The device's bytes are not the CPU's.
    Mismatch(usize, Codec),
    /// The CPU fails at what the device made: the stream's frames are for the CPU to judge.
    CpuFails,
    /// The device got this codec wrong before.
    Retired,
}

/// A part that was looked at.
struct Judged<'q, 's> {
    sent: Sent<'q, 's>,
    /// Frames that the device says are made.
    done: HashSet<usize>,
    /// Frames of these that the CPU made the same.
    same: HashSet<usize>,
}

impl Crew<'_> {
    /// Shows the good frames of an answered batch and leaves the others to the CPU. `outcomes` has one
    /// for each frame of all parts.
    pub(super) fn settle(
        &mut self,
        kind: Kind,
        sent: Vec<Sent<'_, '_>>,
        outcomes: &[Outcome],
        spent: Spent,
    ) -> Settled {
        let start = Instant::now();
        let (mut rest, mut believed) = (outcomes, Vec::new());
        for sent in sent {
            let mine = rest.split_at_checked(sent.claimed.len());
            let (mine, others) = mine.unwrap_or_default();
            rest = others;
            let mut judged = self.judged(sent, mine);
            match self.compare(kind, spent.process, &mut judged) {
                Ok(()) => believed.push(judged),
                Err(doubt) => self.reject(judged.sent, doubt),
            }
        }
        let checking = start.elapsed();
        let ns = spent.wall.as_nanos() / outcomes.len().max(1) as u128;
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        let shown = believed.into_iter().map(|judged| self.show(judged, ns));
        let frames = shown.sum();
        Settled { frames, checking }
    }

    fn judged<'q, 's>(&self, sent: Sent<'q, 's>, outcomes: &[Outcome]) -> Judged<'q, 's> {
        let good = sent.claimed.iter().zip(outcomes);
        let done = good
            .filter(|(_, outcome)| self.is_good(sent.stream, outcome))
            .map(|(claimed, _)| claimed.frame)
            .collect();
        let same = HashSet::new();
        Judged { sent, done, same }
    }

    /// Counts an outcome; true when the device says that the frame is made.
    fn is_good(&self, stream: &Stream, outcome: &Outcome) -> bool {
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
                tracing::debug!("a device failed at a frame: {why}");
            }
        }
        false
    }

    /// Makes those frames of a part on the CPU too that are due by the rule of `trust.rs`. `process` is
    /// who answered.
    fn compare(
        &mut self,
        kind: Kind,
        process: u32,
        judged: &mut Judged<'_, '_>,
    ) -> Result<(), Doubt> {
        let made = (self.index, process);
        let stream = judged.sent.stream;
        let acquaintance = stream.acquaintance();
        let enough = self.devices.tuning.proven_frames;
        let mut scratch = Vec::new();
        // Of this part; for others they count once all of it is found to be right.
        let mut same: HashMap<Codec, usize> = HashMap::new();
        for claimed in &mut judged.sent.claimed {
            if !judged.done.contains(&claimed.frame) {
                continue;
            }
            let job = &claimed.prepared.job;
            let codec = job.codec;
            if self.known.is_retired(codec) {
                return Err(Doubt::Retired);
            }
            let device = claimed.filling.bytes();
            let itemsize = check::dtype(job).map_or(1, |dtype| dtype.itemsize());
            let so_far = same.get(&codec).copied().unwrap_or(0);
            let right = acquaintance.right_on(made, codec) + so_far;
            let is_first = match self
                .known
                .trust()
                .of(process)
                .is_proven(codec, kind, enough)
            {
                true => right == 0,
                false => right < trust::FIRST_FRAMES,
            };
            let is_uniform = check::is_uniform(device, itemsize);
            if !is_first && !self.is_due() && !is_uniform {
                continue;
            }
            scratch.resize(device.len(), 0);
            let produced = self.shared.produce(stream, claimed.frame, &mut scratch);
            self.known.counters.compared.fetch_add(1, Ordering::Relaxed);
            if produced.is_err() {
                return Err(Doubt::CpuFails);
            }
            if !check::agree(job, claimed.prepared.is_lossy, device, &scratch) {
                return Err(Doubt::Mismatch(claimed.frame, codec));
            }
            // One value throughout proves nothing.
            if !is_uniform {
                self.known.trust().of(process).was_right(codec, kind);
            }
            *same.entry(codec).or_default() += 1;
            judged.same.insert(claimed.frame);
        }
        for (codec, count) in same {
            acquaintance.note_right(made, codec, count);
        }
        Ok(())
    }

    fn is_due(&mut self) -> bool {
        let random = self.random();
        self.devices.is_spot_check(random)
    }

    /// Shows the frames of a part; how many. `ns` is what the device took for each.
    fn show(&self, judged: Judged<'_, '_>, ns: u64) -> usize {
        let Judged { sent, done, same } = judged;
        let Sent {
            beside,
            claimed,
            mut part,
            stream,
        } = sent;
        let mut beside = beside.filter(Beside::is_held);
        let mut frames = 0;
        for claimed in claimed {
            let (frame, codec) = (claimed.frame, claimed.prepared.job.codec);
            let is_believed = !self.known.is_retired(codec) || same.contains(&frame);
            if !done.contains(&frame) || !is_believed {
                stream.refuse(frame);
                if let Some(beside) = &mut beside {
                    beside.leave(frame);
                }
                drop(claimed);
                part.leave(&[frame]);
                continue;
            }
            // Before it is shown: who waits for it finds that it need not go up.
            if let Some(beside) = &mut beside {
                beside.note(frame);
            }
            let maker = Maker::Device(self.index, codec);
            self.shared.keep(stream, claimed.filling, Some(maker), ns);
            part.settle(&[frame]);
            stream.done(frame, Ok(()));
            frames += 1;
        }
        let counters = &self.known.counters;
        let bytes = (frames * stream.slab().frame_len_bytes()) as u64;
        counters.frames.fetch_add(frames as u64, Ordering::Relaxed);
        counters.frame_bytes.fetch_add(bytes, Ordering::Relaxed);
        frames
    }

    /// Leaves all of a part to the CPU.
    fn reject(&self, sent: Sent<'_, '_>, doubt: Doubt) {
        let stream: &Arc<Stream> = sent.stream;
        for claimed in &sent.claimed {
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
