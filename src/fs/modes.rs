//! Read modes of an inode: page cache or passthrough, never both at once.
//!
//! The kernel refuses (EIO at open) an inode that has handles of both kinds. So handles are
//! counted by kind: a complete slab goes to passthrough as soon as no page-cache handle is left,
//! and stays there as long as one passthrough handle is.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::{Backing, OpenMode};
use crate::cache::Slab;
use crate::tree::Stale;

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
    invalidations: OnceLock<Sender<Stale>>,
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

    pub(super) fn close(&self, ino: u64, mode: Mode, slab: &Slab) {
        let mut inodes = self.lock();
        let Some(entry) = inodes.get(&ino).cloned() else {
            return;
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
        // From the next open on the slab serves directly: its copy in the page cache is a waste.
        let stale = matches!(mode, Mode::Cached) && counts.cached == 0 && slab.is_complete();
        if stale {
            self.invalidate(Stale::Contents(ino));
        }
    }

    /// Has the kernel drop something, soon.
    pub(super) fn invalidate(&self, stale: Stale) {
        if let Some(invalidations) = self.invalidations.get() {
            // Fails only when the thread is gone, and with it the mount.
            let _ = invalidations.send(stale);
        }
    }

    pub(super) fn set_invalidator(&self, invalidate: Box<dyn Fn(&Stale) + Send + Sync>) {
        let (send, receive) = mpsc::channel();
        let run = move || receive.iter().for_each(|stale| invalidate(&stale));
        let thread = thread::Builder::new()
            .name("invalidate".to_string())
            .spawn(run);
        match thread {
            Ok(_) => {
                // A second call would mean a second mount of the same file system: the first stays.
                let _ = self.invalidations.set(send);
            }
            Err(why) => tracing::warn!("page cache copies will stay: {why}"),
        }
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
