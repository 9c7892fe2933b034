//! A lane at work: batches prepared, sent, and given to `settle.rs`; what a fault leaves behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Lane;
use super::batch::{Batch, Claimed, Judge, Part};
use super::lanes::{Devices, Known};
use super::rates::{Kind, Took};
use crate::decode::gpu::{self, Fault, Job, Outcome, Spent};
use crate::fetch::resident::Beside;
use crate::fetch::{Error, Shared, Stream};

/// Faults in a row after which a lane is given up, whatever its device says.
const FAULTS_MAX: u32 = 3;

/// A lane at work.
pub(super) struct Crew<'s> {
    pub(super) shared: &'s Shared,
    pub(super) devices: &'s Devices,
    pub(super) index: usize,
    pub(super) known: &'s Known,
    lane: Box<dyn Lane>,
    faults_in_a_row: u32,
    random: u64,
}

/// The frames of one stream that a device was given.
pub(super) struct Sent<'q, 's> {
    // Dropped in this order: what the device leaves elsewhere too, the claims, then what leaves the
    // frames to the CPU.
    pub(super) beside: Option<Beside>,
    pub(super) claimed: Vec<Claimed<'s>>,
    pub(super) part: Part<'q>,
    pub(super) stream: &'s Arc<Stream>,
}

/// What has become of a batch that was answered.
pub(super) struct Settled {
    /// Frames that are shown.
    pub(super) frames: usize,
    /// Time that comparing took.
    pub(super) checking: Duration,
}

impl<'s> Crew<'s> {
    /// A lane of the device with this index.
    pub(super) fn new(
        shared: &'s Shared,
        devices: &'s Devices,
        (index, known): (usize, &'s Known),
        lane: Box<dyn Lane>,
    ) -> Crew<'s> {
        Crew {
            shared,
            devices,
            index,
            known,
            lane,
            faults_in_a_row: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1),
        }
    }

    /// Makes batches until there is no reason to go on.
    pub(super) fn work(&mut self) {
        while self.faults_in_a_row < FAULTS_MAX
            && let Some(batch) = self.next_batch()
        {
            self.make(batch);
        }
    }

    /// Any number that a file cannot know.
    pub(super) fn random(&mut self) -> u64 {
        // xorshift64: any sequence will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Whether the device has proven itself for any codec of a kind.
    pub(super) fn is_any_proven(&self, kind: Kind) -> bool {
        let enough = self.devices.tuning.proven_frames;
        self.known.trust().is_any_proven(kind, enough)
    }

    /// Makes the frames of a batch; what cannot be made is left to the CPU.
    fn make(&mut self, batch: Batch<'_>) {
        let start = Instant::now();
        let (devices, known, kind) = (self.devices, self.known, batch.kind);
        // They outlive the claims on their frames.
        let streams: Vec<Arc<Stream>> = batch.parts.iter().map(|p| p.stream.clone()).collect();
        let mut sent = self.prepare(batch, &streams);
        if sent.is_empty() {
            return;
        }
        let count = sent.iter().map(|sent| sent.claimed.len()).sum();
        let deadline = known.rates().deadline(kind, count);
        let deadline = devices.tuning.deadline.unwrap_or(deadline);
        let host_before = start.elapsed();
        match self.run(&sent, deadline) {
            Ok((outcomes, spent)) => {
                self.faults_in_a_row = 0;
                let settling = Instant::now();
                let settled = self.settle(kind, sent, &outcomes, spent);
                let host = host_before + settling.elapsed() + spent.cpu;
                let took = Took {
                    frames: settled.frames,
                    wall: start.elapsed().saturating_sub(settled.checking),
                    host: host.saturating_sub(settled.checking),
                };
                let ns = u64::try_from(took.wall.as_nanos()).unwrap_or(u64::MAX);
                known.counters.batches.fetch_add(1, Ordering::Relaxed);
                known.counters.batch_ns.fetch_add(ns, Ordering::Relaxed);
                let (cpu_ns, crowd) = (devices.cpu_ns(kind), self.crowd());
                let now = devices.epoch.elapsed();
                known.rates().took(kind, took, cpu_ns, crowd, now);
            }
            // It went to rest meanwhile: nothing was asked.
            Err(Fault::NotReady(_)) => {}
            Err(fault) => {
                self.note_fault(kind, &fault);
                if let Fault::Stuck(_) = fault {
                    sent.drain(..).for_each(|sent| self.abandon(sent));
                }
            }
        }
    }

    /// Brings the frames of all parts into the lane's memory and claims them. Parts that nothing is
    /// left of are the CPU's.
    fn prepare<'q, 't>(
        &mut self,
        batch: Batch<'q>,
        streams: &'t [Arc<Stream>],
    ) -> Vec<Sent<'q, 't>> {
        let (devices, known) = (self.devices, self.known);
        let judge = Judge {
            exact: devices.tuning.exact,
            is_stopped: &|| devices.is_stopped(),
            serves: &|codec| (!known.is_retired(codec)).then(|| known.device.serves(codec)),
            refused: &|refusal| known.counters.refused(refusal),
        };
        let (mut prepared, mut used) = (Vec::new(), 0);
        for (mut part, stream) in batch.parts.into_iter().zip(streams) {
            let ready = part.prepare(self.lane.encoded(), &mut used, &judge);
            prepared.push((part, stream, ready));
        }
        // After the last one was read, so that a reader who comes meanwhile is the CPU's at once.
        let claim = |(mut part, stream, ready): (Part<'q>, &'t Arc<Stream>, _)| {
            let claimed = part.claim(stream, &self.shared.cache, ready);
            Sent {
                beside: self.beside(stream, &claimed),
                claimed,
                part,
                stream,
            }
        };
        let sent = prepared.into_iter().map(claim);
        sent.filter(|sent| !sent.claimed.is_empty()).collect()
    }

    /// Where the device is to leave these frames as well: a volume that it is being filled with.
    fn beside(&self, stream: &Stream, claimed: &[Claimed<'_>]) -> Option<Beside> {
        let ordinal = self.known.device.ordinal()?;
        let residences = self.shared.residences.get()?;
        let frames: Vec<usize> = claimed.iter().map(|claimed| claimed.frame).collect();
        let key = stream.slab_use().key();
        (!frames.is_empty()).then(|| residences.beside(ordinal, key, &frames))?
    }

    fn note_fault(&mut self, kind: Kind, fault: &Fault) {
        self.faults_in_a_row += 1;
        let known = self.known;
        known.counters.faults.fetch_add(1, Ordering::Relaxed);
        known.rates().lost(kind, self.devices.epoch.elapsed());
        known.trust().forget();
        if !self.devices.is_stopped() {
            tracing::warn!("{}: {fault}; the CPU goes on", known.device.name());
        }
    }

    /// Has the device decode. A panic on the way leaves the device writing, for all that is known.
    fn run(
        &mut self,
        sent: &[Sent<'_, '_>],
        deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        let job = |claimed: &Claimed<'_>| claimed.prepared.job.clone();
        let jobs = |sent: &Sent<'_, '_>| sent.claimed.iter().map(job).collect();
        let jobs: Vec<Vec<Job>> = sent.iter().map(jobs).collect();
        let part = |n: usize| {
            let (sent, jobs) = (&sent[n], &jobs[n]);
            let slab = sent.stream.slab();
            let part = gpu::Part::new(jobs, slab.file(), slab.len_bytes());
            match &sent.beside {
                Some(beside) => part.beside(beside.id(), slab.range_of(0..1).start),
                None => part,
            }
        };
        let parts: Vec<gpu::Part<'_>> = (0..sent.len()).map(part).collect();
        let run = || self.lane.run(&parts, deadline);
        let (outcomes, spent) = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(Fault::Stuck("the lane panicked".to_string())))?;
        match outcomes.len() == jobs.iter().map(Vec::len).sum::<usize>() {
            true => Ok((outcomes, spent)),
            false => Err(Fault::Lost("not as many answers as questions".to_string())),
        }
    }

    /// Gives up frames of a batch that may still be written to: reads of this slab go to another one
    /// from now on, where the CPU makes them anew.
    fn abandon(&self, sent: Sent<'_, '_>) {
        let Sent {
            beside,
            claimed,
            mut part,
            stream,
        } = sent;
        if let Some(beside) = beside {
            beside.spoil();
        }
        let frames: Vec<usize> = claimed.iter().map(|claimed| claimed.frame).collect();
        for claimed in claimed {
            claimed.filling.abandon();
        }
        part.settle(&frames);
        stream.stop_sweeps();
        match self.shared.heir_of(stream) {
            Ok(heir) => {
                for read in stream.give_up(&frames, heir) {
                    self.shared.read(&read.stream, read.range, read.reply);
                }
            }
            Err(error) => {
                let error = Error::io("cannot make room for the decoded volume", &error);
                stream.give_up_for_good(&frames, &error);
            }
        }
    }
}

impl Shared {
    /// The stream that goes on in place of one whose slab cannot be filled any more.
    fn heir_of(&self, stream: &Arc<Stream>) -> io::Result<Arc<Stream>> {
        let mut streams = self.streams();
        if let Some(heir) = stream.heir() {
            return Ok(heir.clone());
        }
        let slab = self.cache.renew(stream.slab_use())?;
        let heir = Arc::new(stream.over(slab));
        streams.insert(stream.slab_use().key().clone(), Arc::downgrade(&heir));
        Ok(heir)
    }
}
