//! The table of open handles, and what of it another process has left.
//!
//! A handle's number is a count with some bits of the version of its file: so a number from a
//! process that died is known to stand for other bytes when the archive has changed meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use super::Attr;
use super::content::Content;
use super::ledger::{Entry, Ledger, OpenHandle, Place};
use super::modes::Mode;

/// Bits of a handle's number that tell versions of a file apart. What is left counts to 2^40.
const VERSION_BITS: u32 = 24;

/// An open file.
pub(super) struct Handle {
    pub(super) ino: u64,
    /// What the file was when it was opened.
    attr: Attr,
    pub(super) content: Content,
    /// How the kernel counts it, where the kernel cares.
    mode: Mutex<Option<(Mode, Option<Place>)>>,
}

/// A handle that another process opened and the kernel may still have.
struct Inherited {
    place: Place,
    open: OpenHandle,
}

/// What a closed handle leaves to do.
pub(super) struct Released {
    pub(super) ino: u64,
    /// `None` for a handle that this process was never asked to read.
    pub(super) handle: Option<Arc<Handle>>,
    pub(super) mode: Option<Mode>,
}

/// All open handles.
#[derive(Default)]
pub(super) struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
    /// Counts handles where there is no ledger.
    counter: AtomicU64,
    ledger: OnceLock<Kept>,
}

struct Kept {
    ledger: Arc<dyn Ledger>,
    /// Numbers below are another process's.
    first_own_fh: u64,
    inherited: Mutex<HashMap<u64, Inherited>>,
}

/// The version of a file as far as handle numbers carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(u32);

impl Version {
    /// Of any number that differs where the bytes differ.
    pub(super) fn of(digest: [u8; 4]) -> Version {
        Version(u32::from_le_bytes(digest) >> (u32::BITS - VERSION_BITS))
    }
}

impl Handles {
    /// Keeps account in `ledger` from now on; what is in it already.
    pub(super) fn connect(&self, ledger: Arc<dyn Ledger>) -> Vec<(Place, Entry)> {
        let entries = ledger.entries();
        let inherited = entries.iter().filter_map(|&(place, entry)| match entry {
            Entry::Handle(open) => Some((open.fh, Inherited { place, open })),
            Entry::Backing(_) => None,
        });
        let kept = Kept {
            first_own_fh: ledger.next_fh() << VERSION_BITS,
            inherited: Mutex::new(inherited.collect()),
            ledger,
        };
        if self.ledger.set(kept).is_err() {
            tracing::error!("a second ledger for the same mount is not used");
        }
        entries
    }

    /// A new number for a handle of a file of this version.
    pub(super) fn next_fh(&self, version: Version) -> u64 {
        let count = match self.ledger.get() {
            Some(kept) => kept.ledger.next_fh(),
            None => self.counter.fetch_add(1, Ordering::Relaxed) + 1,
        };
        count << VERSION_BITS | u64::from(version.0)
    }

    /// Takes a new handle in; `mode` comes with the request that opens the handle.
    ///
    /// # Errors
    /// What it would hold where the ledger is full: unknown to the next process, the handle could make
    /// that one's opens fail.
    pub(super) fn add(
        &self,
        fh: u64,
        attr: Attr,
        content: Content,
        mode: Option<(Mode, u64)>,
    ) -> Result<(), Box<(Mode, Content)>> {
        let ino = attr.ino;
        let mut recorded = None;
        if let Some((mode, request)) = mode {
            let open = OpenHandle {
                fh,
                ino,
                request,
                backing: mode.backing_id(),
            };
            let mut place = None;
            if let Some(kept) = self.ledger.get() {
                place = kept.ledger.add(Entry::Handle(open));
                if place.is_none() {
                    return Err(Box::new((mode, content)));
                }
            }
            recorded = Some((mode, place));
        }
        let handle = Handle {
            ino,
            attr,
            content,
            mode: Mutex::new(recorded),
        };
        self.write().insert(fh, Arc::new(handle));
        Ok(())
    }

    /// An open handle.
    pub(super) fn get(&self, fh: u64) -> Option<Arc<Handle>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&fh).cloned()
    }

    /// The attributes of a file that is open, as they were when it was opened.
    pub(super) fn attr_of(&self, ino: u64) -> Option<Attr> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let of_ino = open.values().find(|handle| handle.ino == ino);
        of_ino.map(|handle| handle.attr)
    }

    /// True if another process gave this number out, for a file of this version.
    pub(super) fn is_inherited(&self, fh: u64) -> bool {
        self.ledger
            .get()
            .is_some_and(|kept| fh >> VERSION_BITS > 0 && fh < kept.first_own_fh)
    }

    /// True if a handle's number stands for this version of its file.
    pub(super) fn is_of_version(fh: u64, version: Version) -> bool {
        fh & ((1 << VERSION_BITS) - 1) == u64::from(version.0)
    }

    /// Takes in what an inherited handle is found to hold; of two that find it the first counts.
    pub(super) fn adopt(&self, fh: u64, attr: Attr, content: Content) -> Arc<Handle> {
        let handle = Handle {
            ino: attr.ino,
            attr,
            content,
            mode: Mutex::default(),
        };
        self.write()
            .entry(fh)
            .or_insert_with(|| Arc::new(handle))
            .clone()
    }

    /// Closes a handle; `None` if there is none of this number.
    pub(super) fn release(&self, fh: u64) -> Option<Released> {
        let handle = self.write().remove(&fh);
        let inherited = self.ledger.get().and_then(|kept| kept.take(fh));
        let Some(handle) = handle else {
            return inherited;
        };
        let mut mode = handle
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some((_, Some(place))), Some(kept)) = (&mode, self.ledger.get()) {
            kept.ledger.remove(*place);
        }
        let mode = mode.take().map(|(mode, _)| mode);
        Some(Released {
            ino: handle.ino,
            mode: mode.or(inherited.and_then(|left| left.mode)),
            handle: Some(handle),
        })
    }

    /// Takes back what a process wrote down for `request` and could not tell the kernel any more.
    pub(super) fn take_unanswered(&self, request: u64) -> Option<Released> {
        let kept = self.ledger.get()?;
        let fh = {
            let inherited = kept.lock();
            let mut left = inherited.iter();
            *left.find(|(_, left)| left.open.request == request)?.0
        };
        kept.take(fh)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// An inherited handle, struck out.
    fn take(&self, fh: u64) -> Option<Released> {
        let found = self.lock().remove(&fh)?;
        self.ledger.remove(found.place);
        Some(Released {
            ino: found.open.ino,
            handle: None,
            mode: Some(Mode::of_inherited(&found.open)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Inherited>> {
        self.inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
