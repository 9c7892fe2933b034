//! How a scan gets on: what `.dicomfs/stats.json` shows of it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::archive::{Progress, Watching};

/// Where a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScanState {
    /// There is none.
    #[default]
    None,
    /// Files are being looked at.
    Running,
    /// All of the archive is known.
    Done,
    /// It ended before its end: what is known may be old.
    Failed,
}

impl ScanState {
    /// One word for users.
    pub fn word(self) -> &'static str {
        match self {
            ScanState::None => "none",
            ScanState::Running => "running",
            ScanState::Done => "done",
            ScanState::Failed => "failed",
        }
    }
}

/// How a scan gets on.
#[derive(Debug, Default)]
pub struct Scan {
    files_found: AtomicU64,
    files_done: AtomicU64,
    course: Mutex<Course>,
    changes: Mutex<Changes>,
    watch: Mutex<WatchStatus>,
}

/// How many series scans have found to be otherwise, since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Were not there before.
    pub new: u64,
    /// Are other volumes than before.
    pub changed: u64,
    /// Are there no more.
    pub gone: u64,
}

/// How changes of the archive are come to know.
#[derive(Debug, Default, Clone, Copy)]
pub struct WatchStatus {
    /// In which way.
    pub watching: Watching,
    /// Directories that the kernel watches.
    pub directories: usize,
    /// How many times the kernel had more to tell than could be heard.
    pub overflows: u64,
    /// Series that are still arriving.
    pub pending_series: usize,
    /// How many scans of everything were asked for, and how many of these are done.
    pub asked: u64,
    /// See `asked`.
    pub answered: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Course {
    state: ScanState,
    started: Option<Instant>,
    took: Duration,
    /// Scans that have ended, and when the last of them did.
    ended: u64,
    ended_at: Option<SystemTime>,
}

impl Scan {
    /// A scan is about to begin: what is known is about to change.
    pub fn start(&self) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        *course = Course {
            state: ScanState::Running,
            started: Some(Instant::now()),
            took: Duration::ZERO,
            ..*course
        };
    }

    pub(super) fn end(&self, state: ScanState) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.state = state;
        course.took = course.started.map_or(Duration::ZERO, |at| at.elapsed());
        course.ended += 1;
        course.ended_at = Some(SystemTime::now());
    }

    /// How many scans have ended, and when the last of them did.
    pub fn ended(&self) -> (u64, Option<SystemTime>) {
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        (course.ended, course.ended_at)
    }

    /// What scans have changed.
    pub fn changes(&self) -> Changes {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Changes)) {
        note(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How changes are come to know.
    pub fn watch(&self) -> WatchStatus {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something of how changes are come to know.
    pub fn update_watch(&self, update: impl FnOnce(&mut WatchStatus)) {
        update(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where it is, and how long it has run or took.
    pub fn course(&self) -> (ScanState, Duration) {
        let course = *self.course.lock().unwrap_or_else(PoisonError::into_inner);
        match (course.state, course.started) {
            (ScanState::Running, Some(started)) => (course.state, started.elapsed()),
            (state, _) => (state, course.took),
        }
    }

    /// Files found so far.
    pub fn files_found(&self) -> u64 {
        self.files_found.load(Ordering::Relaxed)
    }

    /// Files looked at so far.
    pub fn files_done(&self) -> u64 {
        self.files_done.load(Ordering::Relaxed)
    }
}

impl Progress for Scan {
    fn files_found(&self, total: u64) {
        // Told by several threads, so a lower number may come later.
        self.files_found.fetch_max(total, Ordering::Relaxed);
    }

    fn files_done(&self, total: u64) {
        self.files_done.fetch_max(total, Ordering::Relaxed);
    }
}
