//! What the kernel's page cache holds of our files: filled, dropped, and what we declined to fill.
//!
//! All of it is done on a thread of its own: the kernel locks the pages concerned, and a thread that
//! serves requests would wait for itself. Knows nothing of FUSE: [`PageCache`] is given.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use super::ledger::Ledger;
use crate::fetch::Stream;

/// Pushes that wait at most; more are left out, since they only save time.
const PUSHES_MAX: usize = 256;

/// Declined ranges remembered of an inode; with more, nothing of it is declined any more.
const DECLINED_MAX: usize = 4096;

/// How far the kernel reads ahead unless somebody told it otherwise.
const WINDOW_BYTES_DEFAULT: u64 = 128 << 10;

/// The kernel's page cache.
pub trait PageCache: Send + Sync {
    /// Drops the pages of an inode.
    fn invalidate(&self, ino: u64);
    /// Drops a name of a directory, and what is below it.
    fn drop_name(&self, parent: u64, name: &OsStr);
    /// Puts bytes into the pages of an inode, if the kernel knows it.
    fn store(&self, ino: u64, offset_bytes: u64, bytes: &[u8]);
}

/// Bytes to be put into the page cache.
pub(super) struct Push {
    pub(super) ino: u64,
    /// Where they lie in the file.
    pub(super) offset_bytes: u64,
    pub(super) bytes: Pushed,
}

/// Which bytes.
pub(super) enum Pushed {
    /// Those of this range of a slab, if they are there then.
    Slab(Arc<Stream>, Range<u64>),
    /// These.
    Own(Vec<u8>),
}

enum Job {
    Invalidate(u64),
    DropName(u64, OsString),
    Push(Push),
}

/// The page cache, as far as we know it.
pub(super) struct Pages {
    jobs: OnceLock<Sender<Job>>,
    pushes: Arc<AtomicUsize>,
    /// By inode, what was declined since its pages were last dropped.
    declined: Arc<Mutex<HashMap<u64, Declined>>>,
    window_bytes: AtomicU64,
    /// Where inodes of which something was declined are noted for the case of a crash.
    ledger: OnceLock<Arc<dyn Ledger>>,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages {
            jobs: OnceLock::new(),
            pushes: Arc::default(),
            declined: Arc::default(),
            window_bytes: AtomicU64::new(WINDOW_BYTES_DEFAULT),
            ledger: OnceLock::new(),
        }
    }
}

impl Pages {
    /// Starts the thread that fills and drops pages. Without it nothing is declined.
    pub(super) fn connect(&self, cache: Box<dyn PageCache>) {
        let (send, receive) = mpsc::channel();
        let (pushes, declined) = (self.pushes.clone(), self.declined.clone());
        let run = move || {
            for job in receive {
                match job {
                    Job::Invalidate(ino) => {
                        // What is declined meanwhile may outlast the invalidation.
                        let before = lock(&declined).get(&ino).cloned();
                        cache.invalidate(ino);
                        if let (Some(before), Some(now)) = (before, lock(&declined).get_mut(&ino)) {
                            now.0.retain(|range| !before.0.contains(range));
                        }
                    }
                    Job::DropName(parent, name) => cache.drop_name(parent, &name),
                    Job::Push(push) => {
                        pushes.fetch_sub(1, Ordering::Relaxed);
                        push.store(&*cache);
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("page-cache".to_string());
        match thread.spawn(run) {
            Ok(_) => {
                // A second call would mean a second mount of the same file system: the first stays.
                let _ = self.jobs.set(send);
            }
            Err(why) => tracing::warn!("page cache copies will stay: {why}"),
        }
    }

    /// True once there is a kernel whose guesses can be declined.
    pub(super) fn is_connected(&self) -> bool {
        self.jobs.get().is_some()
    }

    /// What another process declined is not known range by range: nothing of such inodes is.
    pub(super) fn set_ledger(&self, ledger: Arc<dyn Ledger>) {
        if self.ledger.set(ledger).is_err() {
            tracing::error!("a second ledger for the same mount is not used");
        }
    }

    /// How far the kernel reads ahead, bytes.
    pub(super) fn window_bytes(&self) -> u64 {
        self.window_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_window_bytes(&self, bytes: u64) {
        self.window_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Has the kernel drop its pages of an inode.
    pub(super) fn invalidate(&self, ino: u64) {
        if let Some(jobs) = self.jobs.get() {
            // Fails only when the thread is gone, and with it the mount.
            let _ = jobs.send(Job::Invalidate(ino));
        }
    }

    /// Has the kernel drop a name of a directory.
    pub(super) fn drop_name(&self, parent: u64, name: OsString) {
        if let Some(jobs) = self.jobs.get() {
            // As above.
            let _ = jobs.send(Job::DropName(parent, name));
        }
    }

    /// Puts bytes into the page cache soon, or not at all when there is much to do.
    pub(super) fn push(&self, push: Push) {
        let Some(jobs) = self.jobs.get() else { return };
        if self.pushes.fetch_add(1, Ordering::Relaxed) >= PUSHES_MAX {
            self.pushes.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        // As above.
        let _ = jobs.send(Job::Push(push));
    }

    /// Notes that a range of a file is declined; false when it must not be.
    ///
    /// A kernel with large folios asks for all of a folio once a guess that covered it has failed, and
    /// that must be answered. Its own guesses never cover what it has in its cache already: so
    /// what overlaps with a declined range is no guess.
    pub(super) fn decline(&self, ino: u64, range: &Range<u64>) -> bool {
        let ledger = self.ledger.get();
        if ledger.is_some_and(|ledger| ledger.was_declined_before(ino)) {
            return false;
        }
        let is_noted = lock(&self.declined).entry(ino).or_default().insert(range);
        if let (true, Some(ledger)) = (is_noted, ledger) {
            ledger.note_declined(ino);
        }
        is_noted
    }

    /// True when a range of a file overlaps with what was declined.
    pub(super) fn was_declined(&self, ino: u64, range: &Range<u64>) -> bool {
        lock(&self.declined)
            .get(&ino)
            .is_some_and(|declined| declined.overlaps(range))
    }

    /// The kernel has forgotten an inode, and its pages with it.
    pub(super) fn forget(&self, ino: u64) {
        lock(&self.declined).remove(&ino);
    }
}

impl Push {
    fn store(self, cache: &dyn PageCache) {
        let store = |bytes: &[u8]| cache.store(self.ino, self.offset_bytes, bytes);
        match &self.bytes {
            Pushed::Own(bytes) => store(bytes),
            Pushed::Slab(stream, range) => {
                let slab = stream.slab();
                let frames = slab.frames_of(range);
                // Pinned, so that the bytes stay what they are; a frame that was dropped meanwhile is not
                // made again for this.
                if slab.pin(frames.clone()).is_empty() {
                    slab.with_bytes(range.clone(), store);
                }
                slab.unpin(frames);
            }
        }
    }
}

/// Ranges of a file, apart from each other and in order.
#[derive(Debug, Default, Clone)]
struct Declined(Vec<Range<u64>>);

impl Declined {
    fn overlaps(&self, range: &Range<u64>) -> bool {
        let first = self.0.partition_point(|known| known.end <= range.start);
        self.0
            .get(first)
            .is_some_and(|known| known.start < range.end)
    }

    /// Adds a range; false when it overlaps with one, or there are too many.
    fn insert(&mut self, range: &Range<u64>) -> bool {
        if self.overlaps(range) || self.0.len() >= DECLINED_MAX {
            return false;
        }
        let at = self.0.partition_point(|known| known.end <= range.start);
        self.0.insert(at, range.clone());
        true
    }
}

fn lock(declined: &Mutex<HashMap<u64, Declined>>) -> MutexGuard<'_, HashMap<u64, Declined>> {
    declined.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_declined_twice() {
        let pages = Pages::default();
        for (range, expected) in [
            (100..200, true),
            (300..400, true),
            (200..300, true),
            (150..160, false),
            (0..101, false),
            (399..500, false),
            (400..500, true),
            (0..1000, false),
            (0..100, true),
        ] {
            assert_eq!(pages.decline(7, &range), expected, "{range:?}");
        }
        assert!(pages.was_declined(7, &(250..251)));
        assert!(!pages.was_declined(7, &(500..600)));
        assert!(!pages.was_declined(8, &(250..251)));
        pages.forget(7);
        assert!(!pages.was_declined(7, &(250..251)));
    }

    #[test]
    fn an_inode_with_too_many_ranges_is_left_alone() {
        let mut declined = Declined::default();
        for n in 0..DECLINED_MAX as u64 {
            assert!(declined.insert(&(2 * n..2 * n + 1)));
        }
        assert!(!declined.insert(&(1 << 40..(1 << 40) + 1)));
    }

    #[test]
    fn dropped_pages_may_be_declined_again() {
        struct Heard(Mutex<Sender<u64>>);
        impl PageCache for Heard {
            fn invalidate(&self, ino: u64) {
                self.0.lock().unwrap().send(ino).unwrap();
            }
            fn drop_name(&self, _: u64, _: &OsStr) {}
            fn store(&self, _: u64, _: u64, _: &[u8]) {}
        }
        let (send, heard) = mpsc::channel();
        let pages = Pages::default();
        pages.connect(Box::new(Heard(Mutex::new(send))));
        assert!(pages.decline(7, &(0..100)) && !pages.decline(7, &(0..100)));
        for ino in [7, 8] {
            pages.invalidate(ino);
        }
        assert_eq!((heard.recv().unwrap(), heard.recv().unwrap()), (7, 8));
        assert!(pages.decline(7, &(0..100)));
    }
}
