//! What a lane takes next: frames of one stream where it has enough of them, else of several.
//!
//! First come frames of small volumes that readers wait for, where they are more than the workers can
//! take at once: of a volume of a few frames hardly anything is ever made ahead. Then what is made ahead. Of
//! both the device has the tail, and as much as [`super::rates`] says, so that nobody waits longer
//! than for the CPU alone. A batch is of one kind: its time says something about the kind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Readiness;
use super::batch::{Batch, Part};
use super::crew::Crew;
use super::lanes::kind_of;
use super::rates::{Crowd, Kind};
use super::trust::{FIRST_FRAMES, FRAMES_MIN};
use crate::decode::gpu::PARTS_MAX;
use crate::fetch::Stream;

/// Most decoded bytes of a batch, and those of all lanes as a share of the cache's budget: what is
/// being filled may be counted twice for that time, as claimed and as what the kernel has given.
const BATCH_BYTES_MAX: u64 = 256 << 20;
const BATCH_OF_BUDGET: u64 = 8;

/// How often a lane looks again for work while there is some that it does not take.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Frames of a small volume at most. What is waited for of a larger one is the CPU's at once: the
/// device gets its part of what is made ahead, in better batches.
const SMALL_FRAMES_MAX: usize = 8;

/// What streams have of one kind.
struct Offers {
    kind: Kind,
    /// With how many frames each has, or which.
    streams: Vec<Offer>,
}

struct Offer {
    stream: Arc<Stream>,
    left: usize,
    /// Those that readers wait for, the last one first.
    waiting: Vec<usize>,
}

impl Offers {
    /// The place of a kind in a list, made if there is none.
    fn of(list: &mut Vec<Offers>, kind: Kind) -> &mut Vec<Offer> {
        let at = list.iter().position(|offers| offers.kind == kind);
        let at = at.unwrap_or_else(|| {
            let streams = Vec::new();
            list.push(Offers { kind, streams });
            list.len() - 1
        });
        &mut list[at].streams
    }
}

impl<'s> Crew<'s> {
    /// Waits for something to do; `None` at the end.
    pub(super) fn next_batch(&mut self) -> Option<Batch<'s>> {
        loop {
            if self.devices.is_stopped() {
                return None;
            }
            let heard = self.devices.bell.heard();
            match self.known.device.readiness() {
                Readiness::Retired => return None,
                Readiness::Resting => self.devices.bell.wait(heard, LOOK_AGAIN),
                Readiness::Ready => {
                    if let Some(batch) = self.take_waiting() {
                        return Some(batch);
                    }
                    let streams = self.shared.queue.swept();
                    let time = match streams.is_empty() {
                        true => Duration::from_secs(3600),
                        false => LOOK_AGAIN,
                    };
                    if let Some(batch) = self.take_swept(streams) {
                        return Some(batch);
                    }
                    self.devices.bell.wait(heard, time);
                }
            }
        }
    }

    /// Takes from the tail of what readers wait for and no worker has begun.
    fn take_waiting(&self) -> Option<Batch<'s>> {
        if !self.devices.tuning.takes_waiting {
            return None;
        }
        let queue = &self.shared.queue;
        let mut all: Vec<Offers> = Vec::new();
        for (stream, frame) in queue.waiting(self.devices.threads).into_iter().rev() {
            let is_small = stream.slab().frame_count() <= SMALL_FRAMES_MAX;
            if !is_small || !self.is_for_me(&stream) || !stream.is_on_offer(frame) {
                continue;
            }
            let Some(kind) = kind_of(&stream, frame) else {
                continue;
            };
            let offers = Offers::of(&mut all, kind);
            match offers.iter_mut().find(|o| Arc::ptr_eq(&o.stream, &stream)) {
                Some(offer) => {
                    offer.left += 1;
                    offer.waiting.push(frame);
                }
                None => offers.push(Offer {
                    stream,
                    left: 1,
                    waiting: vec![frame],
                }),
            }
        }
        let take = |offer: &Offer, most: usize| {
            let wanted = &offer.waiting[..most.min(offer.waiting.len())];
            let frames = queue.take_waiting(&offer.stream, wanted);
            offer.stream.reserve(&frames);
            let part = || Part::new(queue, offer.stream.clone(), frames.clone(), None);
            (!frames.is_empty()).then(|| (part(), frames.len()))
        };
        all.iter().find_map(|offers| self.gather(offers, take))
    }

    /// Takes the tail of sweeps.
    fn take_swept(&self, mut streams: Vec<Arc<Stream>>) -> Option<Batch<'s>> {
        // In turn, so that each reader has its part.
        streams.sort_by_key(|s| s.acquaintance().last_batch.load(Ordering::Relaxed));
        let mut all: Vec<Offers> = Vec::new();
        for stream in streams {
            let Some(last) = stream.slab().frame_count().checked_sub(1) else {
                continue;
            };
            if !self.is_for_me(&stream) {
                continue;
            }
            let kind = kind_of(&stream, last).or_else(|| kind_of(&stream, 0));
            let mut left = 0;
            // Only asks.
            let _ = stream.reserve_tail(|free| {
                left = free;
                0
            });
            if let (Some(kind), 1..) = (kind, left) {
                Offers::of(&mut all, kind).push(Offer {
                    stream,
                    left,
                    waiting: Vec::new(),
                });
            }
        }
        let queue = &self.shared.queue;
        let take = |offer: &Offer, most: usize| {
            let (frames, interest) = offer.stream.reserve_tail(|left| most.min(left))?;
            let count = frames.len();
            let part = Part::new(queue, offer.stream.clone(), frames, Some(interest));
            Some((part, count))
        };
        all.iter().find_map(|offers| self.gather(offers, take))
    }

    /// Whether frames of a stream may be this device's.
    fn is_for_me(&self, stream: &Stream) -> bool {
        let is_mine = self.known.device.prefers(stream.volume());
        let has_enough = stream.slab().frame_count() >= FRAMES_MIN;
        is_mine && has_enough && !stream.acquaintance().is_out() && !stream.slab().has_copy()
    }

    /// Takes a batch of what there is of a kind, if that is worth it. `take` reserves at most so many
    /// frames of a stream.
    fn gather(
        &self,
        offers: &Offers,
        take: impl Fn(&Offer, usize) -> Option<(Part<'s>, usize)>,
    ) -> Option<Batch<'s>> {
        let Offers { kind, streams } = offers;
        let mut wanted = self.wanted(*kind, streams)?;
        let is_proven = self.is_any_proven(*kind);
        let made = (self.index, self.known.trust().process());
        // All of it is made by the CPU too.
        let mut firsts = FIRST_FRAMES;
        let mut parts = Vec::new();
        for offer in streams {
            let acquaintance = offer.stream.acquaintance();
            let right = acquaintance.most_right_on(made);
            let is_first = !is_proven && right < FIRST_FRAMES;
            let most = if is_first { wanted.min(firsts) } else { wanted };
            if wanted == 0 || parts.len() == PARTS_MAX {
                break;
            }
            if most == 0 {
                continue;
            }
            if let Some((part, count)) = take(offer, most) {
                parts.push(part);
                wanted = wanted.saturating_sub(count);
                if is_first {
                    firsts = firsts.saturating_sub(count);
                }
                let number = self.devices.batches.fetch_add(1, Ordering::Relaxed) + 1;
                acquaintance.last_batch.store(number, Ordering::Relaxed);
            }
        }
        let kind = *kind;
        (!parts.is_empty()).then_some(Batch { kind, parts })
    }

    /// How many frames the next batch of a kind has; `None` while the device is not used for it.
    fn wanted(&self, kind: Kind, streams: &[Offer]) -> Option<usize> {
        let left = streams.iter().map(|offer| offer.left).sum();
        if let Some(frames) = self.devices.tuning.frames {
            return Some(frames.min(left));
        }
        let crowd = self.crowd();
        let lens = streams.iter().map(|o| o.stream.slab().frame_len_bytes());
        let frame_len_bytes = lens.max().unwrap_or(1).max(1) as u64;
        let share_bytes = self.shared.cache.budget_bytes() / BATCH_OF_BUDGET / crowd.lanes as u64;
        let most = (share_bytes.min(BATCH_BYTES_MAX) / frame_len_bytes) as usize;
        let cpu_ns = self.devices.cpu_ns(kind);
        let now = self.devices.epoch.elapsed();
        let size = self.known.rates().size(kind, cpu_ns, crowd, now)?;
        Some(size.of(left, crowd.threads).min(most))
    }

    pub(super) fn crowd(&self) -> Crowd {
        Crowd {
            threads: self.devices.threads,
            lanes: self.known.lanes.load(Ordering::SeqCst).max(1) as usize,
        }
    }
}
