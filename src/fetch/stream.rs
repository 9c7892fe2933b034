//! A stream: a slab that is being read, who waits for which frame, and how far its sweep is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::device::Acquaintance;
use super::tally::Tally;
use super::{Error, Produce};
use crate::cache::{Slab, SlabUse};

/// Where the answer of a read goes: called exactly once, from any thread.
pub type Reply = Box<dyn FnOnce(Result<&[u8], Error>) + Send>;

/// Somebody for whom frames are made ahead; when it is dropped nobody wants them any more.
#[derive(Debug, Default)]
pub struct Interest(Arc<()>);

/// An open slab with its readers.
pub struct Stream {
    volume: String,
    slab: SlabUse,
    producer: Arc<dyn Produce>,
    tally: Arc<Tally>,
    waiting: Mutex<Waiting>,
    sweeps: Mutex<Sweeps>,
    acquaintance: Acquaintance,
    /// Where reads go since frames of this slab were abandoned. Set with `waiting` locked.
    heir: OnceLock<Arc<Stream>>,
}

/// A read that another stream has to answer.
pub(super) struct Elsewhere {
    pub(super) stream: Arc<Stream>,
    pub(super) range: Range<u64>,
    pub(super) reply: Reply,
}

#[derive(Default)]
struct Waiting {
    /// Reads that wait, by frame. A key without a failure means the frame is queued or in work.
    reads: HashMap<usize, Vec<Arc<PendingRead>>>,
    /// Frames that cannot be made as long as the source stays what it is.
    failed: HashMap<usize, Error>,
}

#[derive(Default)]
struct Sweeps {
    /// One for each interest, in turn.
    list: VecDeque<Sweep>,
    /// The stream is in the queue of those that are swept.
    queued: bool,
    /// Frames that are being prepared for a device, and not claimed yet.
    reserved: HashSet<usize>,
    /// Frames that no device is to be offered again.
    refused: HashSet<usize>,
}

/// Frames that are to be made ahead.
struct Sweep {
    interest: Weak<()>,
    next: usize,
    end: usize,
}

struct PendingRead {
    range: Range<u64>,
    frames: Range<usize>,
    /// Frames not present yet, and one more while the read is being set up.
    left: AtomicUsize,
    error: Mutex<Option<Error>>,
    reply: Mutex<Option<Reply>>,
}

impl Stream {
    pub(super) fn new(slab: SlabUse, producer: Arc<dyn Produce>, tally: Arc<Tally>) -> Stream {
        let (waiting, sweeps, acquaintance) = Default::default();
        Stream {
            volume: slab.key().volume.clone(),
            slab,
            producer,
            tally,
            waiting,
            sweeps,
            acquaintance,
            heir: OnceLock::new(),
        }
    }

    /// The slab that is read.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    pub(super) fn volume(&self) -> &str {
        &self.volume
    }

    pub(super) fn producer(&self) -> &dyn Produce {
        &*self.producer
    }

    pub(super) fn slab_use(&self) -> &SlabUse {
        &self.slab
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn acquaintance(&self) -> &Acquaintance {
        &self.acquaintance
    }

    /// The stream that answers reads in place of this one, if there is one.
    pub(super) fn heir(&self) -> Option<&Arc<Stream>> {
        self.heir.get()
    }

    /// A stream of the same frames over another slab.
    pub(super) fn over(&self, slab: SlabUse) -> Stream {
        Stream::new(slab, self.producer.clone(), self.tally.clone())
    }

    /// Answers the read if its frames are present; else has it wait for them and returns those
    /// that nobody has asked for yet.
    pub(super) fn demand(&self, range: Range<u64>, reply: Reply) -> Result<Vec<usize>, Elsewhere> {
        let frames = self.slab.frames_of(&range);
        let read = Arc::new(PendingRead {
            range,
            frames: frames.clone(),
            left: AtomicUsize::new(1),
            error: Mutex::default(),
            reply: Mutex::new(Some(reply)),
        });
        let mut wanted = Vec::new();
        {
            let mut waiting = self.lock();
            if let Some(elsewhere) = self.heir.get().and_then(|heir| read.moved_to(heir)) {
                return Err(elsewhere);
            }
            // Under the lock, so that a frame that is committed from here on finds the read.
            for frame in self.slab.pin(frames) {
                if let Some(error) = waiting.failed.get(&frame) {
                    read.fail(error);
                    continue;
                }
                read.left.fetch_add(1, Ordering::AcqRel);
                let reads = waiting.reads.entry(frame).or_insert_with(|| {
                    wanted.push(frame);
                    Vec::new()
                });
                reads.push(read.clone());
            }
        }
        self.one_less(&read);
        Ok(wanted)
    }

    /// Tells those who wait that a frame is present, or why it never will be.
    pub(super) fn done(&self, frame: usize, outcome: Result<(), Error>) {
        let reads = {
            let mut waiting = self.lock();
            match &outcome {
                // Nobody held the frame between its completion and now, so it may be dropped again.
                // Then those who wait came later and have it made anew.
                Ok(()) if !self.slab.is_present(frame) => return,
                Err(error) if error.is_lasting() => {
                    waiting.failed.insert(frame, error.clone());
                }
                _ => {}
            }
            waiting.reads.remove(&frame).unwrap_or_default()
        };
        for read in reads {
            if let Err(error) = &outcome {
                read.fail(error);
            }
            self.one_less(&read);
        }
    }

    /// Answers everything that still waits with `error`.
    pub(super) fn fail_all(&self, error: &Error) {
        let frames: Vec<usize> = self.lock().reads.keys().copied().collect();
        for frame in frames {
            self.done(frame, Err(error.clone()));
        }
    }

    /// Gives up frames that were abandoned: the reads that wait for them, and all reads from now
    /// on, are for `heir`. The reads are returned, for it to answer.
    pub(super) fn give_up(&self, frames: &[usize], heir: Arc<Stream>) -> Vec<Elsewhere> {
        let mut waiting = self.lock();
        // Of two that give frames up the first one's heir is kept.
        let heir = self.heir.get_or_init(|| heir).clone();
        let lists = frames
            .iter()
            .filter_map(|frame| waiting.reads.remove(frame));
        let reads: Vec<Arc<PendingRead>> = lists.flatten().collect();
        drop(waiting);
        let mut moved = Vec::new();
        for read in reads {
            moved.extend(read.moved_to(&heir));
            self.one_less(&read);
        }
        moved
    }

    /// The same where there can be no heir: reads of the frames fail from now on.
    pub(super) fn give_up_for_good(&self, frames: &[usize], error: &Error) {
        let mut waiting = self.lock();
        let failed = frames.iter().map(|frame| (*frame, error.clone()));
        waiting.failed.extend(failed);
        drop(waiting);
        for frame in frames {
            self.done(*frame, Err(error.clone()));
        }
    }

    fn one_less(&self, read: &PendingRead) {
        if read.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let reply = read
            .reply
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let error = read
            .error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reply) = reply {
            match error {
                Some(error) => reply(Err(error)),
                None => self.answer(read, reply),
            }
        }
        self.slab.unpin(read.frames.clone());
    }

    fn answer(&self, read: &PendingRead, reply: Reply) {
        let mut reply = Some(reply);
        let mut send = |answer: Result<&[u8], Error>| {
            if let Some(reply) = reply.take() {
                reply(answer);
            }
        };
        if self
            .slab
            .with_bytes(read.range.clone(), |bytes| send(Ok(bytes)))
            .is_none()
        {
            // Cannot be: the frames are pinned and each was present. Never show what is not.
            send(Err(Error::Malformed(
                "a decoded frame was lost".to_string(),
            )));
        }
    }

    /// True when each of the frames is present or being made, or somebody waits for it.
    pub fn are_under_way(&self, frames: Range<usize>) -> bool {
        if let Some(heir) = self.heir.get() {
            return heir.are_under_way(frames);
        }
        let waiting = self.lock();
        let known =
            |frame: &usize| waiting.reads.contains_key(frame) || !self.slab.is_absent(*frame);
        frames.clone().all(|frame| known(&frame))
    }

    /// Sets what is to be made ahead for `interest`. True when the stream has to be queued.
    pub(super) fn ask_sweep(&self, interest: &Interest, first: usize, count: usize) -> bool {
        let end = first.saturating_add(count).min(self.slab.frame_count());
        let mut sweeps = self.sweeps();
        let interest = Arc::downgrade(&interest.0);
        let mine = |sweep: &Sweep| sweep.interest.ptr_eq(&interest);
        match sweeps.list.iter_mut().find(|sweep| mine(sweep)) {
            Some(sweep) => {
                // Behind it all was taken; elsewhere nothing is known.
                if !(first..=end).contains(&sweep.next) {
                    sweep.next = first;
                }
                sweep.end = end;
            }
            None => sweeps.list.push_back(Sweep {
                interest,
                next: first,
                end,
            }),
        }
        let queue = !sweeps.queued && first < end;
        sweeps.queued |= queue;
        queue
    }

    /// The next frame to make ahead; `None`, and the stream is to leave the queue, when there is none.
    pub(super) fn next_sweep_frame(&self) -> Option<usize> {
        let mut sweeps = self.sweeps();
        while let Some(mut sweep) = sweeps.list.pop_front() {
            if sweep.interest.strong_count() == 0 {
                continue;
            }
            let mut found = self.slab.first_absent(sweep.next..sweep.end);
            while let Some(frame) = found.filter(|frame| sweeps.reserved.contains(frame)) {
                found = self.slab.first_absent(frame + 1..sweep.end);
            }
            if let Some(frame) = found {
                sweep.next = frame + 1;
                sweeps.list.push_back(sweep);
                return Some(frame);
            }
        }
        sweeps.queued = false;
        None
    }

    /// Reserves frames from the tail of a sweep for a device, ascending; `size` says how many of so
    /// many that are left. With them, for whom they are. `None` when there are none to be had.
    pub(super) fn reserve_tail(
        &self,
        size: impl FnOnce(usize) -> usize,
    ) -> Option<(Vec<usize>, Weak<()>)> {
        let mut guard = self.sweeps();
        let sweeps = &mut *guard;
        let is_free =
            |frame: &usize| !sweeps.reserved.contains(frame) && !sweeps.refused.contains(frame);
        let alive = sweeps
            .list
            .iter()
            .filter(|sweep| sweep.interest.strong_count() > 0);
        let free = alive.map(|sweep| {
            let absent = self.slab.absent(sweep.next..sweep.end);
            let free: Vec<usize> = absent.into_iter().filter(is_free).collect();
            (free, sweep.interest.clone())
        });
        let (mut frames, interest) = free.max_by_key(|(free, _)| free.len())?;
        let count = size(frames.len()).min(frames.len());
        let tail = frames.split_off(frames.len() - count);
        sweeps.reserved.extend(&tail);
        (!tail.is_empty()).then_some((tail, interest))
    }

    /// Reserves frames that somebody waits for.
    pub(super) fn reserve(&self, frames: &[usize]) {
        self.sweeps().reserved.extend(frames);
    }

    /// True when a device may be given the frame.
    pub(super) fn is_on_offer(&self, frame: usize) -> bool {
        let sweeps = self.sweeps();
        let is_kept = sweeps.reserved.contains(&frame) || sweeps.refused.contains(&frame);
        drop(sweeps);
        !is_kept && self.slab.is_absent(frame)
    }

    /// Ends reservations.
    pub(super) fn release(&self, frames: &[usize]) {
        let mut sweeps = self.sweeps();
        for frame in frames {
            sweeps.reserved.remove(frame);
        }
    }

    /// Never offers a frame to a device again.
    pub(super) fn refuse(&self, frame: usize) {
        self.sweeps().refused.insert(frame);
    }

    /// True when somebody waits for the frame.
    pub(super) fn is_awaited(&self, frame: usize) -> bool {
        self.lock().reads.contains_key(&frame)
    }

    /// Ends all sweeps; a later read may ask for one again.
    pub(super) fn stop_sweeps(&self) {
        self.sweeps().list.clear();
    }

    fn sweeps(&self) -> MutexGuard<'_, Sweeps> {
        self.sweeps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingRead {
    fn fail(&self, error: &Error) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.clone());
    }

    /// Takes the reply away for another stream; `None` if it was answered or taken before.
    fn moved_to(&self, heir: &Arc<Stream>) -> Option<Elsewhere> {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.take().map(|reply| Elsewhere {
            stream: heir.clone(),
            range: self.range.clone(),
            reply,
        })
    }
}
