//! The cache: decoded frames of volumes, in one backing file (a *slab*) per volume variant.
//!
//! A slab is laid out as the file users read: header, then frames in volume order. Memory is
//! accounted as the kernel tells it, and the budget is kept by dropping whole slabs nobody has
//! open, least recently closed first, and then frames of slabs that are open. Below it there may be
//! a second tier in a directory ([`Disk`]), which outlives the process. Knows neither DICOM nor
//! FUSE: keys are opaque, frames are byte ranges.
//!
//! | file | job |
//! |---|---|
//! | `slab.rs` | the state of each frame, on which everything rests; filled, read, given back |
//! | `pages.rs`, `backing.rs` | the memory of a slab; the file behind it |
//! | `usage.rs`, `recency.rs` | what all slabs take; which frames were used when |
//! | `disk.rs` | the second tier |

mod backing;
mod disk;
mod pages;
mod recency;
mod slab;
mod usage;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

pub use backing::BackingKind;
pub use disk::{Disk, DiskBudget, DiskOptions, DiskStats};
pub use slab::{Claim, Filling, Layout, Registration, Slab};
pub use usage::Room;

use usage::Usage;

/// Below this budget large pages are too coarse a measure, bytes.
const LARGE_PAGES_BUDGET_MIN_BYTES: u64 = 64 << 20;

/// Attempts to make room for one frame: others may take what was freed.
const ROOM_ATTEMPTS_MAX: usize = 1000;

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

/// All slabs, within a budget.
pub struct Cache {
    store: backing::Store,
    slab_count_max: usize,
    usage: Arc<Usage>,
    slabs: Arc<Mutex<Slabs>>,
    disk: Option<Disk>,
}

#[derive(Default)]
struct Slabs {
    all: HashMap<Arc<SlabKey>, Held>,
    /// Those nobody has open, least recently closed first to go.
    unused: LruOrder,
}

struct Held {
    slab: Arc<Slab>,
    users: usize,
}

/// Entries are weighed in bytes, not counted: `lru` only keeps the order.
struct LruOrder(LruCache<Arc<SlabKey>, ()>);

impl Default for LruOrder {
    fn default() -> LruOrder {
        LruOrder(LruCache::unbounded())
    }
}

/// A slab in use: while one of these lives the cache does not drop the slab as a whole.
pub struct SlabUse {
    slab: Arc<Slab>,
    key: Arc<SlabKey>,
    slabs: Arc<Mutex<Slabs>>,
}

impl SlabUse {
    /// What the slab is of.
    pub fn key(&self) -> &SlabKey {
        &self.key
    }
}

impl std::ops::Deref for SlabUse {
    type Target = Slab;
    fn deref(&self) -> &Slab {
        &self.slab
    }
}

impl Drop for SlabUse {
    fn drop(&mut self) {
        lock(&self.slabs).close(&self.key, &self.slab);
    }
}

impl Slabs {
    fn open(&mut self, key: &SlabKey) -> Option<(Arc<SlabKey>, Arc<Slab>)> {
        let (key, _) = self.all.get_key_value(key)?;
        let key = key.clone();
        let held = self.all.get_mut(&key)?;
        held.users += 1;
        self.unused.0.pop(&key);
        Some((key, held.slab.clone()))
    }

    fn close(&mut self, key: &Arc<SlabKey>, slab: &Arc<Slab>) {
        let mine = |held: &&mut Held| Arc::ptr_eq(&held.slab, slab);
        if let Some(held) = self.all.get_mut(key).filter(mine) {
            held.users -= 1;
            if held.users == 0 {
                self.unused.0.put(key.clone(), ());
            }
        }
    }

    /// Lets go of a slab, so that the next who asks for its key gets another one.
    fn forget(&mut self, used: &SlabUse) -> Option<Held> {
        let held = self.all.get(&used.key)?;
        if !Arc::ptr_eq(&held.slab, &used.slab) {
            return None;
        }
        self.unused.0.pop(&used.key);
        self.all.remove(&used.key)
    }

    /// Lets go of all slabs of one version of a volume: those of one name and fingerprint.
    fn forget_version(&mut self, volume: &str, fingerprint: &[u8; 32]) -> Vec<Held> {
        let is_of = |key: &Arc<SlabKey>| key.volume == volume && key.fingerprint == *fingerprint;
        let keys: Vec<Arc<SlabKey>> = self.all.keys().filter(|key| is_of(key)).cloned().collect();
        let forget = |key: Arc<SlabKey>| {
            self.unused.0.pop(&key);
            self.all.remove(&key)
        };
        keys.into_iter().filter_map(forget).collect()
    }

    /// Takes out the slab that nobody has open for longest.
    fn pop_unused(&mut self) -> Option<Arc<Slab>> {
        let (key, ()) = self.unused.0.pop_lru()?;
        self.all.remove(&key).map(|held| held.slab)
    }
}

fn lock(slabs: &Mutex<Slabs>) -> MutexGuard<'_, Slabs> {
    // The maps are consistent between any two of their methods, so a poisoned lock is usable.
    slabs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is it descriptors or mappings that the system has no more of?
fn is_lack(why: &io::Error) -> bool {
    let errno = why.raw_os_error();
    errno.is_some_and(|errno| [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&errno))
}

impl Cache {
    /// An empty cache that holds at most `budget_bytes` of memory (plus what readers are waiting
    /// for at this moment), in at most `slab_count_max` slabs (each costs a descriptor and two
    /// mappings, however small) plus those in use.
    ///
    /// # Errors
    /// When no memory-backed file can be made at all.
    pub fn new(budget_bytes: u64, slab_count_max: usize) -> io::Result<Cache> {
        Ok(Cache {
            store: backing::Store::open()?,
            slab_count_max,
            usage: Arc::new(Usage::new(budget_bytes)),
            slabs: Arc::default(),
            disk: None,
        })
    }

    /// The same with a second tier below it.
    #[must_use]
    pub fn with_disk(self, disk: Disk) -> Cache {
        Cache {
            disk: Some(disk),
            ..self
        }
    }

    /// What backs the slabs.
    pub fn backing_kind(&self) -> BackingKind {
        self.store.kind()
    }

    /// The tier below, if there is one.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The budget in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.usage.budget_bytes()
    }

    /// Memory held now, bytes: slabs, frames that are being made, and room kept for such.
    pub fn resident_bytes(&self) -> u64 {
        self.usage.held_bytes()
    }

    /// Bytes of slabs that readers have open by passthrough.
    pub fn passthrough_bytes(&self) -> u64 {
        self.usage.passthrough_bytes()
    }

    /// Frames dropped to keep the budget since the start.
    pub fn evicted_frames(&self) -> u64 {
        self.usage.evicted_frames()
    }

    /// Number of slabs held.
    pub fn slab_count(&self) -> usize {
        lock(&self.slabs).all.len()
    }

    /// The slab of `key`, made with `layout` if there is none, and marked as used.
    ///
    /// # Errors
    /// When the backing file cannot be made or mapped.
    pub fn open(&self, key: &SlabKey, layout: impl FnOnce() -> Layout) -> io::Result<SlabUse> {
        let in_use = |(key, slab)| SlabUse {
            slab,
            key,
            slabs: self.slabs.clone(),
        };
        if let Some(found) = lock(&self.slabs).open(key) {
            return Ok(in_use(found));
        }
        // Made outside the lock; of two that race, the first one in is kept.
        let layout = layout();
        let large = self.budget_bytes() >= LARGE_PAGES_BUDGET_MIN_BYTES;
        let make = || {
            let copy = self.disk.as_ref().map(|disk| disk.copy_of(key, &layout));
            Slab::new(&self.store, layout.clone(), large, self.usage.clone(), copy)
        };
        let made = loop {
            match make() {
                // What nobody reads has descriptors and mappings, of which a process has so many.
                Err(why) if is_lack(&why) && self.drop_one_unused_slab() => {}
                made => break made?,
            }
        };
        let mut slabs = lock(&self.slabs);
        let found = slabs.open(key);
        let (key, slab) = found.unwrap_or_else(|| {
            let key = Arc::new(key.clone());
            let held = Held {
                slab: made.clone(),
                users: 1,
            };
            slabs.all.insert(key.clone(), held);
            (key, made)
        });
        let excess = slabs.all.len().saturating_sub(self.slab_count_max);
        drop(slabs);
        for _ in 0..excess {
            self.drop_one_unused_slab();
        }
        Ok(in_use((key, slab)))
    }

    /// Another slab in place of one whose frames cannot all be had any more
    /// ([`Filling::abandon`]): from now on its key leads to the new one. Who has the old one open goes
    /// on with what it has.
    ///
    /// # Errors
    /// As of [`Cache::open`]; then the next who opens the key gets a new slab all the same.
    pub fn renew(&self, old: &SlabUse) -> io::Result<SlabUse> {
        let forgotten = lock(&self.slabs).forget(old);
        drop(forgotten);
        self.open(&old.key, || old.slab.layout())
    }

    /// The slab that the key of `used` leads to now: the same, unless another has taken its place.
    ///
    /// # Errors
    /// As of [`Cache::open`].
    pub fn current(&self, used: &SlabUse) -> io::Result<SlabUse> {
        self.open(&used.key, || used.slab.layout())
    }

    /// Lets go of what is kept of one version of a volume in memory. Who has it open goes on with what
    /// it has.
    pub fn forget_version(&self, volume: &str, fingerprint: &[u8; 32]) {
        let forgotten = lock(&self.slabs).forget_version(volume, fingerprint);
        // Unmapped here, with the lock released.
        drop(forgotten);
    }

    /// Lets go of what is kept of a slab in the directory: nobody is to come for it any more.
    pub fn forget_copy(&self, key: &SlabKey, layout: &Layout) {
        if let Some(disk) = &self.disk {
            disk.forget(key, layout);
        }
    }

    /// Makes room for `len_bytes` more and keeps it until it is dropped. Where it does not fit,
    /// everything else is in use.
    pub fn make_room(&self, len_bytes: u64) -> Room {
        self.usage.look_at_one();
        let room = |fits| Room {
            usage: self.usage.clone(),
            held_bytes: if fits { len_bytes } else { 0 },
            fits,
        };
        for _ in 0..ROOM_ATTEMPTS_MAX {
            if self.usage.try_add(len_bytes) {
                return room(true);
            }
            let over = (self.resident_bytes() + len_bytes).saturating_sub(self.budget_bytes());
            if !self.drop_one_unused_slab() && self.usage.drop_frames(over) == 0 {
                break;
            }
        }
        room(self.usage.try_add(len_bytes))
    }

    /// Brings usage back under the budget after demanded frames went over it.
    pub fn trim(&self) {
        if self.resident_bytes() > self.budget_bytes() {
            drop(self.make_room(0));
        }
    }

    /// Lets go of a slab that nobody has open, for the sake of its descriptor: false when there is none.
    pub fn shed(&self) -> bool {
        self.drop_one_unused_slab()
    }

    /// Ends what goes on in the background; what is under way is finished if that is quick.
    pub fn shutdown(&self) {
        if let Some(disk) = &self.disk {
            disk.shutdown();
        }
    }

    /// Drops the least recently closed slab that nobody has open; false when there is none.
    fn drop_one_unused_slab(&self) -> bool {
        let victim = lock(&self.slabs).pop_unused();
        // The slab is unmapped here, with the lock released.
        let Some(victim) = victim else { return false };
        self.usage.count_evicted(victim.present_frames());
        true
    }
}

#[cfg(test)]
mod tests;
