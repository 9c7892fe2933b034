//! Read modes of an inode: page cache or passthrough, never both at once.
//!
//! The kernel refuses (EIO at open) an inode that has handles of both kinds. So handles are
//! counted by kind: a complete slab goes to passthrough as soon as no page-cache handle is left,
//! and stays there as long as one passthrough handle is.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Backing, OpenMode};
use crate::cache::Slab;

/// How a handle was opened.
pub(super) enum Mode {
    Cached,
    /// The backing lives as long as a handle uses it.
    Passthrough {
        _backing: Backing,
    },
}

/// The open modes of all inodes.
#[derive(Default)]
pub(super) struct Modes {
    inodes: Mutex<HashMap<u64, Arc<Mutex<Counts>>>>,
    pub(super) passthrough_opens: AtomicU64,
    pub(super) cached_opens: AtomicU64,
}

#[derive(Default)]
struct Counts {
    cached: u32,
    passthrough: u32,
}

impl Modes {
    pub(super) fn open(
        &self,
        ino: u64,
        slab: &Slab,
        register: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<Backing>,
    ) -> (Mode, OpenMode) {
        let counts = self.lock().entry(ino).or_default().clone();
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.cached == 0
            && let Some(backing) = passthrough(slab, register)
        {
            counts.passthrough += 1;
            self.passthrough_opens.fetch_add(1, Ordering::Relaxed);
            return (
                Mode::Passthrough {
                    _backing: backing.clone(),
                },
                OpenMode::Passthrough(backing),
            );
        }
        counts.cached += 1;
        self.cached_opens.fetch_add(1, Ordering::Relaxed);
        (Mode::Cached, OpenMode::Cached)
    }

    /// Closes a handle. True when the slab's copy in the page cache is of no use from now on: the next
    /// open is served by the slab itself.
    pub(super) fn close(&self, ino: u64, mode: Mode, slab: &Slab) -> bool {
        let mut inodes = self.lock();
        let Some(entry) = inodes.get(&ino).cloned() else {
            return false;
        };
        let mut counts = entry.lock().unwrap_or_else(PoisonError::into_inner);
        match mode {
            Mode::Passthrough { .. } => {
                counts.passthrough -= 1;
                slab.passthrough_end();
            }
            Mode::Cached => counts.cached -= 1,
        }
        // An open in progress holds a clone: then the entry stays (two are the map's and ours).
        if counts.cached == 0 && counts.passthrough == 0 && Arc::strong_count(&entry) == 2 {
            inodes.remove(&ino);
        }
        matches!(mode, Mode::Cached) && counts.cached == 0 && slab.is_complete()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<Counts>>>> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The backing of a complete slab; the slab keeps it, so that all handles have the same one (a
/// second id on one inode is EIO).
fn passthrough(
    slab: &Slab,
    register: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<Backing>,
) -> Option<Backing> {
    if !slab.passthrough_begin() {
        return None;
    }
    slab.registration(register)
        .inspect_err(|why| {
            tracing::debug!("no passthrough: {why}");
            slab.passthrough_end();
        })
        .ok()
}
