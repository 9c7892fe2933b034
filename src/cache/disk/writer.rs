//! The thread that writes entries of the disk tier.
//!
//! It is told which slabs have new frames and writes those that are present and not written yet,
//! pinning one at a time. So nobody waits for it, its queue is never longer than the number of
//! slabs, and a frame that is dropped before its turn is written when it is made again: a volume
//! that never fits in memory is written as it passes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::dir::Part;
use super::entry::Plan;
use super::{SHUTDOWN_GRACE, SlabCopy, Tier};
use crate::cache::Slab;

/// Entries being written at the same time. Each is an open file, and space that is of no use yet.
const PARTS_MAX: usize = 16;

/// Share of the budget that they may come to together, but for one alone: what is whole and used is
/// worth more than what may never be whole.
const PARTS_OF_BUDGET: u64 = 4;

/// An unfinished entry that nothing was added to for so long makes way for another.
const PART_IDLE_MAX: Duration = Duration::from_secs(60);

/// Bytes written for one slab before it is the next one's turn.
const TURN_BYTES: u64 = 16 << 20;

/// An entry is begun when this share of the slab's frames was made: who looks at a few frames does
/// not cause a file that will never be whole.
const BEGUN_AT_SHARE: u64 = 4;

/// Slabs with new frames.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

#[derive(Default)]
struct QueueState {
    slabs: VecDeque<Weak<Slab>>,
    stopped_at: Option<Instant>,
}

impl Queue {
    pub(super) fn push(&self, slab: Weak<Slab>) {
        self.lock().slabs.push_back(slab);
        self.wake.notify_one();
    }

    pub(super) fn stop(&self) {
        self.lock().stopped_at.get_or_insert_with(Instant::now);
        self.wake.notify_all();
    }

    /// The next slab, waited for; `None` at the end, or when none comes while some are `waiting`
    /// for room that may have come with time.
    fn next(&self, waiting: bool) -> Option<Weak<Slab>> {
        let mut state = self.lock();
        loop {
            let stopped = state.stopped_at;
            if stopped.is_some_and(|at| at.elapsed() > SHUTDOWN_GRACE) {
                return None;
            }
            if let Some(slab) = state.slabs.pop_front() {
                return Some(slab);
            }
            if stopped.is_some() {
                return None;
            }
            if waiting {
                let waited = self.wake.wait_timeout(state, PART_IDLE_MAX);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() {
                    return None;
                }
                state = woken;
                continue;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Time left; `None` as long as nobody asked for the end.
    fn left(&self) -> Option<Duration> {
        let stopped = self.lock().stopped_at;
        stopped.map(|at| SHUTDOWN_GRACE.saturating_sub(at.elapsed()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the end is asked for.
pub(super) fn run(tier: &Tier) {
    let mut writer = Writer {
        tier,
        building: HashMap::new(),
        waiting: Vec::new(),
    };
    loop {
        match tier.queue.next(!writer.waiting.is_empty()) {
            Some(slab) => writer.serve(&slab),
            None if writer.waiting.is_empty() || tier.queue.left() == Some(Duration::ZERO) => break,
            None => writer.wake_waiting(),
        }
    }
    writer.abandon_all();
}

struct Writer<'a> {
    tier: &'a Tier,
    building: HashMap<String, Building>,
    /// Slabs whose entry cannot be begun yet; they stay marked as queued.
    waiting: Vec<Weak<Slab>>,
}

/// An entry that is being written.
struct Building {
    part: Part,
    /// Of frames written.
    checksums: Vec<Option<u32>>,
    missing: usize,
    /// Counted for it in the directory.
    len_bytes: u64,
    /// What it will come to.
    whole_len_bytes: u64,
    added_to: Instant,
}

impl Writer<'_> {
    fn serve(&mut self, weak: &Weak<Slab>) {
        let Some(slab) = weak.upgrade() else { return };
        let Some(copy) = &slab.copy else { return };
        // Before the frames are looked at: one that comes later queues the slab again.
        copy.queued.store(false, Ordering::Release);
        if !self.tier.is_writing() || copy.settled.load(Ordering::Relaxed) {
            return;
        }
        if let Err(why) = self.visit(&slab, copy) {
            self.tier.pause_writing();
            self.abandon_all();
            // Marked as queued no longer: a frame that is made later queues them again.
            for waiting in std::mem::take(&mut self.waiting) {
                let slab = waiting.upgrade();
                if let Some(copy) = slab.as_ref().and_then(|slab| slab.copy.as_ref()) {
                    copy.queued.store(false, Ordering::Release);
                }
            }
            let pause = self.tier.write_pause;
            tracing::warn!("cache_dir is not written to for {pause:?}: {why}");
        }
    }

    fn wake_waiting(&mut self) {
        for slab in self.waiting.drain(..) {
            self.tier.queue.push(slab);
        }
    }

    /// Writes what is new of a slab. An error means that nothing can be written at all.
    fn visit(&mut self, slab: &Arc<Slab>, copy: &SlabCopy) -> io::Result<()> {
        let plan = copy.plan.clone();
        let name = plan.name();
        if !self.building.contains_key(&name) && !self.begin(slab, copy, &name)? {
            return Ok(());
        }
        let mut written_bytes = 0;
        let mut frame = 0;
        while let Some(next) = self.next_frame(slab, &name, frame) {
            let is_out_of_time = self.tier.queue.left() == Some(Duration::ZERO);
            if is_out_of_time || written_bytes >= TURN_BYTES {
                requeue(self.tier, slab, copy);
                break;
            }
            frame = next;
            if !self.make_room(&name, plan.shape().frame_len_bytes) {
                self.abandon(&name);
                self.skip(copy);
                return Ok(());
            }
            self.write(slab, &plan, &name, frame)?;
            written_bytes += plan.shape().frame_len_bytes;
            frame += 1;
        }
        self.finish_if_whole(&plan, &name)
    }

    /// Begins the entry of a slab; false when there is none to be written, or not yet.
    fn begin(&mut self, slab: &Arc<Slab>, copy: &SlabCopy, name: &str) -> io::Result<bool> {
        let shape = copy.plan.shape();
        if copy.exists() {
            return Ok(false);
        }
        let count = shape.frame_count;
        let begun_at = count.div_ceil(BEGUN_AT_SHARE);
        if count == 0 || copy.made_frames() < begun_at && !slab.is_complete() {
            return Ok(false);
        }
        // At the end only what is complete can still become whole.
        if self.tier.queue.left().is_some() && !slab.is_complete() {
            return Ok(false);
        }
        if copy.is_cheap() || copy.plan.len_bytes() > self.tier.dir.budget_bytes() {
            self.skip(copy);
            return Ok(false);
        }
        if !self.make_way(copy.plan.len_bytes()) {
            if !copy.queued.swap(true, Ordering::AcqRel) {
                self.waiting.push(Arc::downgrade(slab));
            }
            return Ok(false);
        }
        let len_bytes = copy.plan.offset_bytes(0);
        if !self.make_room(name, len_bytes) {
            self.skip(copy);
            return Ok(false);
        }
        let part = match self.tier.dir.create(name) {
            Ok(part) => part,
            Err(why) => {
                self.tier.dir.uncount(len_bytes);
                return Err(why);
            }
        };
        let building = Building {
            part,
            checksums: vec![None; count as usize],
            missing: count as usize,
            len_bytes,
            whole_len_bytes: copy.plan.len_bytes(),
            added_to: Instant::now(),
        };
        self.building.insert(name.to_owned(), building);
        Ok(true)
    }

    fn next_frame(&self, slab: &Slab, name: &str, from: usize) -> Option<usize> {
        let building = self.building.get(name)?;
        slab.first_present(from, |frame| {
            building.checksums.get(frame).is_some_and(Option::is_none)
        })
    }

    fn write(&mut self, slab: &Slab, plan: &Plan, name: &str, frame: usize) -> io::Result<()> {
        let Some(building) = self.building.get_mut(name) else {
            return Ok(());
        };
        building.len_bytes += plan.shape().frame_len_bytes;
        let frames = frame..frame + 1;
        // Not as a use of the frame: it would keep what nobody reads.
        slab.hold(frame);
        let outcome = slab.with_bytes(slab.range_of(frames.clone()), |bytes| {
            let file = &building.part.file;
            file.write_all_at(bytes, plan.offset_bytes(frame))?;
            io::Result::Ok(plan.checksum(frame, bytes))
        });
        slab.unpin(frames);
        match outcome {
            Some(sum) => {
                building.checksums[frame] = Some(sum?);
                building.added_to = Instant::now();
                building.missing -= 1;
            }
            // Dropped in this moment.
            None => {
                building.len_bytes -= plan.shape().frame_len_bytes;
                self.tier.dir.uncount(plan.shape().frame_len_bytes);
            }
        }
        Ok(())
    }

    fn finish_if_whole(&mut self, plan: &Plan, name: &str) -> io::Result<()> {
        let is_whole = self.building.get(name).is_some_and(|b| b.missing == 0);
        let Some(building) = is_whole.then(|| self.building.remove(name)).flatten() else {
            return Ok(());
        };
        self.wake_waiting();
        let checksums: Vec<u32> = building.checksums.into_iter().flatten().collect();
        let written = building.part.file.write_all_at(&plan.head(&checksums), 0);
        if let Err(why) = written {
            self.tier.dir.abandon(building.part, building.len_bytes);
            return Err(why);
        }
        match self
            .tier
            .dir
            .publish(building.part, name, building.len_bytes)
        {
            Ok(()) => {
                self.tier.counters.stored.fetch_add(1, Ordering::Relaxed);
                self.tier.generation.fetch_add(1, Ordering::Release);
                Ok(())
            }
            // Somebody took the unfinished file away: the next one may get through.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                tracing::debug!("an unfinished entry of cache_dir vanished");
                Ok(())
            }
            Err(why) => Err(why),
        }
    }

    /// Makes way for one more unfinished entry; false when it has to wait for the others.
    fn make_way(&mut self, len_bytes: u64) -> bool {
        // At the end nothing is added to the others.
        let idle_max = match self.tier.queue.left() {
            Some(_) => Duration::ZERO,
            None => PART_IDLE_MAX,
        };
        let most = self.tier.dir.budget_bytes() / PARTS_OF_BUDGET;
        loop {
            let all: u64 = self.building.values().map(|b| b.whole_len_bytes).sum();
            let fits = self.building.len() < PARTS_MAX && all.saturating_add(len_bytes) <= most;
            if fits || self.building.is_empty() {
                return true;
            }
            let idle = |b: &Building| b.added_to.elapsed() >= idle_max;
            let stale = self.building.iter().find(|(_, b)| idle(b));
            let Some(stale) = stale.map(|(name, _)| name.clone()) else {
                return false;
            };
            self.abandon(&stale);
        }
    }

    /// Makes room in the directory for more of the entry `name`.
    fn make_room(&mut self, name: &str, len_bytes: u64) -> bool {
        loop {
            if self.tier.dir.make_room(len_bytes) {
                return true;
            }
            if !self.abandon_oldest(name) {
                return false;
            }
        }
    }

    /// Gives the unfinished entry up that was not added to for longest, but not `except`.
    fn abandon_oldest(&mut self, except: &str) -> bool {
        let others = self.building.iter().filter(|(name, _)| *name != except);
        let oldest = others.min_by_key(|(_, building)| building.added_to);
        let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
            return false;
        };
        self.abandon(&oldest);
        true
    }

    fn abandon(&mut self, name: &str) {
        if let Some(building) = self.building.remove(name) {
            self.tier.dir.abandon(building.part, building.len_bytes);
        }
        self.wake_waiting();
    }

    fn abandon_all(&mut self) {
        for (_, building) in self.building.drain() {
            self.tier.dir.abandon(building.part, building.len_bytes);
        }
    }

    fn skip(&self, copy: &SlabCopy) {
        copy.settled.store(true, Ordering::Relaxed);
        self.tier.counters.skipped.fetch_add(1, Ordering::Relaxed);
    }
}

fn requeue(tier: &Tier, slab: &Arc<Slab>, copy: &SlabCopy) {
    if !copy.queued.swap(true, Ordering::AcqRel) {
        tier.queue.push(Arc::downgrade(slab));
    }
}
