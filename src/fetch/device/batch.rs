//! A batch: frames of one stream or several on their way through a device, all of one kind.
//!
//! Frames are reserved while their encoded bytes are read and claimed when all of that is done, so
//! that a frame that is demanded meanwhile is the CPU's at once. What is not committed in the end goes
//! to the CPU, whatever happened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use super::rates::Kind;
use super::{Prepared, Unfit};
use crate::cache::{Cache, Claim, Filling};
use crate::decode::gpu::{Codec, Refusal};
use crate::fetch::queue::Queue;
use crate::fetch::{Error, Stream};

/// Where the encoded bytes of a frame may start: what kernels read in words.
const ALIGNED_BYTES: usize = 64;

/// What a lane makes at a time.
pub(super) struct Batch<'q> {
    pub(super) kind: Kind,
    /// No two of one stream.
    pub(super) parts: Vec<Part<'q>>,
}

/// Frames of one stream, reserved for a device or claimed by it.
pub(super) struct Part<'q> {
    queue: &'q Queue,
    pub(super) stream: Arc<Stream>,
    /// For whom they are made ahead; `None` where readers wait for each of them.
    interest: Option<Weak<()>>,
    /// Ascending; those that are the CPU's again are taken out.
    frames: Vec<usize>,
}

/// A frame whose encoded bytes are in the lane's memory.
pub(super) struct Ready {
    pub(super) frame: usize,
    pub(super) prepared: Prepared,
}

/// The same, to be filled.
pub(super) struct Claimed<'s> {
    pub(super) frame: usize,
    pub(super) prepared: Prepared,
    pub(super) filling: Filling<'s>,
}

/// What decides about frames beside their sources.
pub(super) struct Judge<'j> {
    pub(super) exact: bool,
    /// Nobody is to go on.
    pub(super) is_stopped: &'j dyn Fn() -> bool,
    /// Whether the device decodes this codec; `None`: it once did it wrong.
    pub(super) serves: &'j dyn Fn(Codec) -> Option<Result<(), Refusal>>,
    /// Counts.
    pub(super) refused: &'j dyn Fn(Refusal),
}

impl<'q> Part<'q> {
    /// `frames` are reserved, ascending. Without an interest they have been taken from the queue.
    pub(super) fn new(
        queue: &'q Queue,
        stream: Arc<Stream>,
        frames: Vec<usize>,
        interest: Option<Weak<()>>,
    ) -> Part<'q> {
        Part {
            queue,
            stream,
            interest,
            frames,
        }
    }

    /// Nobody wants these frames any more.
    fn is_unwanted(&self) -> bool {
        let interest = self.interest.as_ref();
        interest.is_some_and(|interest| interest.strong_count() == 0)
    }

    /// A frame that was to be made ahead is waited for by now: the CPU is faster.
    fn is_late(&self, frame: usize) -> bool {
        self.interest.is_some() && self.stream.is_awaited(frame)
    }

    /// Reads the encoded bytes of the frames into `room`, from `used` and from the last frame on.
    /// Those that are not for the device, or that somebody waits for by now, are left to the CPU; what
    /// does not fit as well.
    pub(super) fn prepare(
        &mut self,
        room: &mut [u8],
        used: &mut usize,
        judge: &Judge<'_>,
    ) -> Vec<Ready> {
        let (mut ready, mut left, mut at) = (Vec::new(), Vec::new(), *used);
        let (mut is_ended, mut later) = (false, Vec::new());
        for &frame in self.frames.iter().rev() {
            let stream = &*self.stream;
            let acquaintance = stream.acquaintance();
            is_ended |= (judge.is_stopped)() || acquaintance.is_out() || self.is_unwanted();
            if is_ended || self.is_late(frame) {
                left.push(frame);
                continue;
            }
            if at > 0 && at >= room.len() {
                later.push(frame);
                continue;
            }
            match describe(stream, frame, room.get_mut(at..).unwrap_or_default(), judge) {
                Ok(mut prepared) => {
                    acquaintance.note_accepted();
                    let start = at as u64;
                    let len = prepared.job.encoded.end;
                    prepared.job.encoded = start..start + len;
                    at = (at + len as usize).next_multiple_of(ALIGNED_BYTES);
                    ready.push(Ready { frame, prepared });
                }
                Err(Unfit::NoRoom) if at > 0 => {
                    at = room.len();
                    later.push(frame);
                }
                Err(unfit) => {
                    left.push(frame);
                    stream.refuse(frame);
                    let refusal = match unfit {
                        Unfit::Refused(refusal) => Some(refusal),
                        Unfit::NoRoom => Some(Refusal::TooLarge),
                        Unfit::Failed(_) => None,
                    };
                    if let Some(refusal) = refusal {
                        acquaintance.note_refused();
                        (judge.refused)(refusal);
                    }
                }
            }
        }
        self.leave(&left);
        self.put_off(&later);
        *used = at;
        ready
    }

    /// Leaves frames to whoever is free first, which may be a device.
    fn put_off(&mut self, frames: &[usize]) {
        if self.interest.is_some() {
            return self.leave(frames);
        }
        self.settle(frames);
        self.stream.release(frames);
        for &frame in frames {
            self.queue.push_urgent_again(&self.stream, frame);
        }
    }

    /// Claims the frames that are ready, within the budget; the others are left to the CPU.
    /// `stream` is the part's.
    pub(super) fn claim<'s>(
        &mut self,
        stream: &'s Stream,
        cache: &Cache,
        mut ready: Vec<Ready>,
    ) -> Vec<Claimed<'s>> {
        let slab = stream.slab();
        // Ascending, so that each is written in the pages of the one before it.
        ready.sort_unstable_by_key(|ready| ready.frame);
        let (mut claimed, mut left, mut is_full) = (Vec::new(), Vec::new(), false);
        for Ready {
            frame,
            mut prepared,
        } in ready
        {
            let room = cache.make_room(slab.cost_bytes(frame));
            is_full |= !room.fits();
            match (!is_full).then(|| slab.claim(frame)) {
                Some(Claim::Mine(mut filling)) => {
                    filling.take_memory();
                    prepared.job.out = slab.range_of(frame..frame + 1);
                    claimed.push(Claimed {
                        frame,
                        prepared,
                        filling,
                    });
                }
                // The CPU was faster, or will be.
                _ => left.push(frame),
            }
        }
        if is_full && self.interest.is_some() {
            stream.stop_sweeps();
        }
        // From here on the claims keep others away.
        stream.release(&self.frames);
        let (awaited, kept): (Vec<_>, Vec<_>) = claimed
            .into_iter()
            .partition(|claimed| self.is_late(claimed.frame));
        left.extend(awaited.iter().map(|claimed| claimed.frame));
        drop(awaited);
        self.leave(&left);
        kept
    }

    /// Counts frames as settled: committed, or abandoned.
    pub(super) fn settle(&mut self, frames: &[usize]) {
        self.frames.retain(|frame| !frames.contains(frame));
    }

    /// Leaves frames to the CPU, which are not claimed (any more).
    pub(super) fn leave(&mut self, frames: &[usize]) {
        if frames.is_empty() {
            return;
        }
        self.settle(frames);
        self.stream.release(frames);
        for &frame in frames {
            let Some(interest) = &self.interest else {
                // Once is enough: who waits for it has waited for a device.
                self.stream.refuse(frame);
                self.queue.push_urgent_again(&self.stream, frame);
                continue;
            };
            // Looked at after the frame is free: who comes later finds it so.
            if self.stream.is_awaited(frame) {
                self.queue.push_urgent(&self.stream, &[frame]);
            } else if self.stream.slab().is_absent(frame) {
                self.queue.push_again(&self.stream, interest, frame);
            }
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.frames);
        self.leave(&left);
    }
}

fn describe(
    stream: &Stream,
    frame: usize,
    room: &mut [u8],
    judge: &Judge<'_>,
) -> Result<Prepared, Unfit> {
    let room_bytes = room.len() as u64;
    let prepare = || stream.producer().prepare(frame, room, judge.exact);
    let panicked = |_| Err(Error::Malformed("preparing it panicked".to_string()).into());
    let prepared = catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(panicked)?;
    if prepared.job.encoded.start != 0 || prepared.job.encoded.end > room_bytes {
        return Err(Unfit::NoRoom);
    }
    match (judge.serves)(prepared.job.codec) {
        Some(served) => served?,
        // Counted when it was found out; the rest of the stream is most likely the same.
        None => {
            stream.acquaintance().set_out();
            return Err(Error::Unsupported("retired".to_string()).into());
        }
    }
    Ok(prepared)
}
