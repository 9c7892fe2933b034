//! How a scan gets on: what `.dicomfs/stats.json` shows of it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::archive::Progress;

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
}

#[derive(Debug, Default, Clone, Copy)]
struct Course {
    state: ScanState,
    started: Option<Instant>,
    took: Duration,
}

impl Scan {
    pub(super) fn start(&self) {
        *self.course.lock().unwrap_or_else(PoisonError::into_inner) = Course {
            state: ScanState::Running,
            started: Some(Instant::now()),
            took: Duration::ZERO,
        };
    }

    pub(super) fn end(&self, state: ScanState) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.state = state;
        course.took = course.started.map_or(Duration::ZERO, |at| at.elapsed());
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
