//! What all slabs of a cache take together, and which of them have something to give back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::slab::Slab;

/// Share of the budget that readers may hold by passthrough, in quarters. Such slabs cannot give
/// anything back: the rest is for everybody else, and further readers go by the page cache.
const PASSTHROUGH_QUARTERS: u64 = 3;

/// Slabs compared before one of them has to give frames back.
const COMPARED: usize = 8;

/// Counts of a cache and all its slabs (also those it has let go of while somebody still reads
/// them).
#[derive(Debug)]
pub(super) struct Usage {
    budget_bytes: u64,
    /// Memory of slabs, of frames that are being made, and reserved for such.
    held_bytes: AtomicU64,
    /// Length of the slabs that are open by passthrough.
    passthrough_bytes: AtomicU64,
    evicted_frames: AtomicU64,
    /// Counts uses of frames.
    clock: AtomicU64,
    /// Slabs that may have frames to give back, each once, in turn.
    givers: Mutex<VecDeque<Weak<Slab>>>,
}

impl Usage {
    pub(super) fn new(budget_bytes: u64) -> Usage {
        Usage {
            budget_bytes,
            held_bytes: AtomicU64::new(0),
            passthrough_bytes: AtomicU64::new(0),
            evicted_frames: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            givers: Mutex::default(),
        }
    }

    pub(super) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Whether so much of the budget is left that nothing has to be spared.
    pub(super) fn is_plenty(&self) -> bool {
        self.held_bytes() < self.budget_bytes / 2
    }

    pub(super) fn add(&self, len_bytes: u64) {
        self.held_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, len_bytes: u64) {
        self.held_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
    }

    /// Adds `len_bytes` if the budget then still holds.
    pub(super) fn try_add(&self, len_bytes: u64) -> bool {
        let add =
            |held: u64| Some(held.saturating_add(len_bytes)).filter(|h| *h <= self.budget_bytes);
        let order = Ordering::Relaxed;
        self.held_bytes.fetch_update(order, order, add).is_ok()
    }

    /// Counts a slab as open by passthrough, unless that would leave too little for the rest.
    pub(super) fn try_add_passthrough(&self, len_bytes: u64) -> bool {
        let most = self.budget_bytes / 4 * PASSTHROUGH_QUARTERS;
        let add = |held: u64| Some(held.saturating_add(len_bytes)).filter(|h| *h <= most);
        let order = Ordering::Relaxed;
        self.passthrough_bytes
            .fetch_update(order, order, add)
            .is_ok()
    }

    pub(super) fn passthrough_bytes(&self) -> u64 {
        self.passthrough_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn sub_passthrough(&self, len_bytes: u64) {
        self.passthrough_bytes
            .fetch_sub(len_bytes, Ordering::Relaxed);
    }

    pub(super) fn evicted_frames(&self) -> u64 {
        self.evicted_frames.load(Ordering::Relaxed)
    }

    pub(super) fn count_evicted(&self, frames: usize) {
        self.evicted_frames
            .fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// A number larger than all before.
    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a slab that has frames to give back.
    pub(super) fn add_giver(&self, slab: Weak<Slab>) {
        self.lock().push_back(slab);
    }

    /// Drops frames that were not used for long, at least `wanted_bytes` where one slab has as
    /// much. Returns how many; 0 when no slab has any that it can give.
    ///
    /// The oldest of a few slabs in turn is taken, not the oldest of all: with thousands of slabs
    /// it costs the same as with eight.
    pub(super) fn drop_frames(&self, wanted_bytes: u64) -> usize {
        let mut left = self.lock().len();
        while left > 0 {
            let some = self.next_givers(COMPARED.min(left));
            left -= COMPARED.min(left);
            let oldest = some
                .iter()
                .filter_map(|slab| slab.oldest_use().map(|used| (used, slab)))
                .min_by_key(|(used, _)| *used);
            if let Some((_, slab)) = oldest {
                let dropped = slab.drop_frames(wanted_bytes);
                if dropped > 0 {
                    self.count_evicted(dropped);
                    return dropped;
                }
            }
        }
        0
    }

    /// Asks the kernel again what one slab takes, another each time: it may change sizes of pages
    /// on its own account.
    pub(super) fn look_at_one(&self) {
        for slab in self.next_givers(1) {
            slab.account();
        }
    }

    /// The next slabs in turn; those that have nothing to give leave.
    fn next_givers(&self, count: usize) -> Vec<Arc<Slab>> {
        // A slab whose last use this is goes after the lock is released.
        let (mut found, mut leaving) = (Vec::new(), Vec::new());
        let mut givers = self.lock();
        for _ in 0..count {
            let Some(weak) = givers.pop_front() else {
                break;
            };
            match weak.upgrade() {
                Some(slab) if slab.stays_giver() => {
                    givers.push_back(weak);
                    found.push(slab);
                }
                other => leaving.push(other),
            }
        }
        drop(givers);
        drop(leaving);
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Slab>>> {
        self.givers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room in the budget for a frame that is about to be made, kept until this is dropped.
pub struct Room {
    pub(super) usage: Arc<Usage>,
    pub(super) held_bytes: u64,
    pub(super) fits: bool,
}

impl Room {
    /// False when everything else is in use: work that nobody waits for is then to be left.
    pub fn fits(&self) -> bool {
        self.fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.usage.sub(self.held_bytes);
    }
}

/// The memory of one slab as it is counted; given up when this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    usage: Arc<Usage>,
    bytes: Mutex<u64>,
}

impl Charge {
    pub(super) fn new(usage: Arc<Usage>) -> Charge {
        Charge {
            usage,
            bytes: Mutex::new(0),
        }
    }

    /// Counts what `look` says the slab takes now. It is asked under a lock of the count alone, so
    /// that of two answers the later one counts.
    pub(super) fn set(&self, look: impl FnOnce() -> std::io::Result<u64>) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match look() {
            Ok(now) => {
                // In one step, so that nobody sees the slab counted twice.
                match now.checked_sub(*bytes) {
                    Some(more) => self.usage.add(more),
                    None => self.usage.sub(*bytes - now),
                }
                *bytes = now;
            }
            Err(why) => tracing::debug!("cannot tell what a slab takes: {why}"),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let bytes = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.usage.sub(*bytes);
    }
}
