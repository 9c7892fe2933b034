//! The cache: decoded frames of volumes, in one backing file (a *slab*) per volume variant.
//!
//! A slab is laid out as the file users read: header, then frames in volume order. Memory is
//! accounted by the frame, and the budget is kept by dropping whole slabs nobody has open, least
//! recently used first, and then single frames of slabs that are open. Knows neither DICOM nor
//! FUSE: keys are opaque, frames are byte ranges.

mod backing;
mod slab;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

pub use backing::BackingKind;
pub use slab::{Claim, Filling, Layout, Registration, Slab};

/// Identifies a slab: a volume's identity and which variant of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlabKey {
    /// Name of the volume.
    pub volume: String,
    /// Which variant of the volume's bytes.
    pub variant: &'static str,
    /// Digest of what the bytes follow from: slabs of two versions of a volume are two slabs.
    pub fingerprint: [u8; 32],
}

/// Bytes of frames held, shared by a cache and all its slabs (also those it has let go of while
/// somebody still reads them).
#[derive(Debug, Default)]
pub struct Usage {
    resident_bytes: AtomicU64,
    evicted_frames: AtomicU64,
}

impl Usage {
    fn add(&self, len_bytes: u64) {
        self.resident_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    fn sub(&self, len_bytes: u64) {
        self.resident_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
    }
}

/// All slabs, within a budget.
pub struct Cache {
    store: backing::Store,
    budget_bytes: u64,
    slab_count_max: usize,
    usage: Arc<Usage>,
    slabs: Mutex<LruCache<SlabKey, Arc<Slab>>>,
}

/// A slab in use: while one of these lives the cache does not drop the slab as a whole.
pub struct SlabUse(Arc<Slab>);

impl std::ops::Deref for SlabUse {
    type Target = Slab;
    fn deref(&self) -> &Slab {
        &self.0
    }
}

impl Drop for SlabUse {
    fn drop(&mut self) {
        self.0.users_add(-1);
    }
}

impl Cache {
    /// An empty cache that holds at most `budget_bytes` of frames (plus what readers are waiting
    /// for at this moment), in at most `slab_count_max` slabs (each costs a descriptor and a
    /// mapping, however small) plus those in use.
    ///
    /// # Errors
    /// When no memory-backed file can be made at all.
    pub fn new(budget_bytes: u64, slab_count_max: usize) -> io::Result<Cache> {
        Ok(Cache {
            store: backing::Store::open()?,
            budget_bytes,
            slab_count_max,
            usage: Arc::default(),
            // Entries are weighed in bytes, not counted: `lru` only keeps the order.
            slabs: Mutex::new(LruCache::unbounded()),
        })
    }

    /// What backs the slabs.
    pub fn backing_kind(&self) -> BackingKind {
        self.store.kind()
    }

    /// The budget in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Bytes of frames held now.
    pub fn resident_bytes(&self) -> u64 {
        self.usage.resident_bytes.load(Ordering::Relaxed)
    }

    /// Frames dropped to keep the budget since the start.
    pub fn evicted_frames(&self) -> u64 {
        self.usage.evicted_frames.load(Ordering::Relaxed)
    }

    /// Number of slabs held.
    pub fn slab_count(&self) -> usize {
        self.lock().len()
    }

    /// The slab of `key`, made with `layout` if there is none, and marked as used.
    ///
    /// # Errors
    /// When the backing file cannot be made or mapped.
    pub fn open(&self, key: &SlabKey, layout: impl FnOnce() -> Layout) -> io::Result<SlabUse> {
        if let Some(slab) = self.lock().get(key) {
            slab.users_add(1);
            return Ok(SlabUse(slab.clone()));
        }
        // Made outside the lock; of two that race, the first one in is kept.
        let made = Arc::new(Slab::new(&self.store, layout(), self.usage.clone())?);
        let mut slabs = self.lock();
        let slab = match slabs.get(key) {
            Some(other) => other.clone(),
            None => {
                slabs.put(key.clone(), made.clone());
                made
            }
        };
        slab.users_add(1);
        let excess = slabs.len().saturating_sub(self.slab_count_max);
        drop(slabs);
        for _ in 0..excess {
            self.drop_one_unused_slab();
        }
        Ok(SlabUse(slab))
    }

    /// Makes room for `len_bytes` more. True when they fit in the budget; false when everything
    /// else is in use: work that nobody waits for is then to be left.
    pub fn make_room(&self, len_bytes: u64) -> bool {
        let fits = |cache: &Cache| cache.resident_bytes() + len_bytes <= cache.budget_bytes;
        if fits(self) {
            return true;
        }
        self.drop_unused_slabs(&fits);
        if !fits(self) {
            self.drop_idle_frames(len_bytes);
        }
        fits(self)
    }

    /// Brings usage back under the budget after demanded frames went over it.
    pub fn trim(&self) {
        if self.resident_bytes() > self.budget_bytes {
            self.make_room(0);
        }
    }

    fn drop_unused_slabs(&self, fits: &dyn Fn(&Cache) -> bool) {
        while self.drop_one_unused_slab() && !fits(self) {}
    }

    /// Drops the least recently used slab that nobody has open; false when there is none.
    fn drop_one_unused_slab(&self) -> bool {
        let victim = {
            let mut slabs = self.lock();
            let key = slabs
                .iter()
                .rev()
                .find(|(_, s)| s.users() == 0)
                .map(|(k, _)| k.clone());
            key.and_then(|key| slabs.pop(&key))
        };
        // The slab is unmapped here, with the lock released.
        let Some(victim) = victim else { return false };
        self.usage
            .evicted_frames
            .fetch_add(victim.present_frames() as u64, Ordering::Relaxed);
        true
    }

    fn drop_idle_frames(&self, len_bytes: u64) {
        let oldest_first: Vec<Arc<Slab>> = self
            .lock()
            .iter()
            .rev()
            .map(|(_, slab)| slab.clone())
            .collect();
        for slab in oldest_first {
            let over = (self.resident_bytes() + len_bytes).saturating_sub(self.budget_bytes);
            if over == 0 {
                return;
            }
            let dropped = slab.drop_frames(over);
            self.usage
                .evicted_frames
                .fetch_add(dropped as u64, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<SlabKey, Arc<Slab>>> {
        // The map is consistent between any two of its calls, so a poisoned lock is usable.
        self.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
