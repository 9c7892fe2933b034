//! Read modes of an inode: page cache or passthrough, never both at once.
//!
//! The kernel refuses (EIO at open) an inode that has handles of both kinds, and one that has
//! handles with two backings. So handles are counted by kind: a complete slab goes to passthrough
//! as soon as no page-cache handle is left, and its inode stays there, with the backing of its
//! first handle, as long as one passthrough handle is. Handles that a process before this one
//! opened count as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::ledger::{Entry, Ledger, OpenHandle, Place};
use super::{Backing, OpenMode, Opening};
use crate::cache::Slab;

/// How a handle was opened.
pub(super) enum Mode {
    Cached,
    Passthrough {
        backing_id: u32,
        /// The backing is this process's slab, which must not drop a frame meanwhile.
        of_slab: bool,
    },
}

impl Mode {
    pub(super) fn of_inherited(open: &OpenHandle) -> Mode {
        match open.backing {
            None => Mode::Cached,
            Some(backing_id) => Mode::Passthrough {
                backing_id,
                of_slab: false,
            },
        }
    }

    pub(super) fn backing_id(&self) -> Option<u32> {
        match self {
            Mode::Cached => None,
            Mode::Passthrough { backing_id, .. } => Some(*backing_id),
        }
    }
}

/// The open modes of all inodes.
#[derive(Default)]
pub(super) struct Modes {
    inodes: Mutex<HashMap<u64, Arc<Mutex<Counts>>>>,
    ledger: OnceLock<Arc<dyn Ledger>>,
}

#[derive(Default)]
struct Counts {
    cached: u32,
    passthrough: u32,
    /// What the passthrough handles use; lives as long as one of them.
    backing: Option<Arc<Backing>>,
}

impl Modes {
    pub(super) fn open(
        &self,
        ino: u64,
        slab: &Slab,
        opening: &mut dyn Opening,
    ) -> (Mode, OpenMode) {
        let counts = self.lock().entry(ino).or_default().clone();
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.cached == 0
            && let Some((backing, of_slab)) =
                self.passthrough(slab, counts.backing.clone(), opening)
        {
            counts.passthrough += 1;
            counts.backing = Some(backing.clone());
            let mode = Mode::Passthrough {
                backing_id: backing.id(),
                of_slab,
            };
            return (mode, OpenMode::Passthrough(backing));
        }
        counts.cached += 1;
        (Mode::Cached, OpenMode::Cached)
    }

    /// Closes a handle; `slab` is the one that [`Modes::open`] was given, if this process opened it.
    /// True when the slab's copy in the page cache is of no use from now on: the next open is served
    /// by the slab itself.
    pub(super) fn close(&self, ino: u64, mode: Mode, slab: Option<&Slab>) -> bool {
        // Dropped when no lock is held any more: the kernel is told.
        let mut unused = None;
        let mut inodes = self.lock();
        let Some(entry) = inodes.get(&ino).cloned() else {
            return false;
        };
        let mut counts = entry.lock().unwrap_or_else(PoisonError::into_inner);
        match mode {
            Mode::Passthrough { of_slab, .. } => {
                counts.passthrough -= 1;
                if counts.passthrough == 0 {
                    unused = counts.backing.take();
                }
                if let (true, Some(slab)) = (of_slab, slab) {
                    slab.passthrough_end();
                }
            }
            Mode::Cached => counts.cached -= 1,
        }
        // An open in progress holds a clone: then the entry stays (two are the map's and ours).
        if counts.cached == 0 && counts.passthrough == 0 && Arc::strong_count(&entry) == 2 {
            inodes.remove(&ino);
        }
        let is_useless = matches!(mode, Mode::Cached)
            && counts.cached == 0
            && slab.is_some_and(Slab::is_complete);
        drop(counts);
        drop(inodes);
        drop(unused);
        is_useless
    }

    /// Counts the handles of an earlier process and takes over its backings; those that no handle
    /// uses are closed. `adopt` makes a backing of an id that the kernel knows.
    pub(super) fn inherit(
        &self,
        ledger: Arc<dyn Ledger>,
        entries: &[(Place, Entry)],
        adopt: &dyn Fn(u32) -> Backing,
    ) {
        let mut backings = HashMap::new();
        for &(place, entry) in entries {
            if let Entry::Backing(id) = entry {
                let backing = Arc::new(adopt(id));
                backing.set_note(ledger.clone(), place);
                backings.insert(id, backing);
            }
        }
        let mut inodes = self.lock();
        for (_, entry) in entries {
            let Entry::Handle(open) = entry else { continue };
            let counts = inodes.entry(open.ino).or_default();
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            match open.backing {
                None => counts.cached += 1,
                Some(id) => {
                    counts.passthrough += 1;
                    let backing = backings.entry(id);
                    let backing = backing.or_insert_with(|| Arc::new(adopt(id)));
                    counts.backing = Some(backing.clone());
                }
            }
        }
        drop(inodes);
        let unused = backings.values().filter(|b| Arc::strong_count(b) == 1);
        tracing::debug!(
            handles = entries.len() - backings.len(),
            backings_closed = unused.count(),
            "taken over"
        );
        if self.ledger.set(ledger).is_err() {
            tracing::error!("a second ledger for the same mount is not used");
        }
    }

    /// What a passthrough handle may use: the backing that others use already, or else that of the
    /// complete slab, which the slab keeps. With it, whether the slab has counted the handle.
    fn passthrough(
        &self,
        slab: &Slab,
        used: Option<Arc<Backing>>,
        opening: &mut dyn Opening,
    ) -> Option<(Arc<Backing>, bool)> {
        if used.as_ref().is_some_and(|used| used.is_adopted()) {
            return used.map(|used| (used, false));
        }
        if !slab.passthrough_begin() {
            return None;
        }
        let register = &mut |file: std::os::fd::BorrowedFd<'_>| {
            let backing = opening.register(file)?;
            if let Some(ledger) = self.ledger.get() {
                match ledger.add(Entry::Backing(backing.id())) {
                    Some(place) => backing.set_note(ledger.clone(), place),
                    None => tracing::debug!("a backing stays should this process crash"),
                }
            }
            Ok(Arc::new(backing) as Arc<_>)
        };
        let registered = slab.registration(register).and_then(|registration| {
            let other = |_| std::io::Error::other("a registration of another kind");
            registration.downcast::<Backing>().map_err(other)
        });
        match registered {
            Ok(backing) => Some((backing, true)),
            Err(why) => {
                tracing::debug!("no passthrough: {why}");
                slab.passthrough_end();
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<Counts>>>> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
