//! Follows the archive of a mount: the first scan, then another of what has changed whenever
//! something has, and each time another generation of the tree.
//!
//! One thread, which is the only one that scans and publishes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::library::{Bar, Opened};
use crate::archive::{
    Arrivals, Counts, Due, Extent, Index, Options, Progress, Settle, Shelf, Touched, Unwatched,
    Watch, Watching, is_remote,
};
use crate::config::{self, Config};
use crate::fs::Fs;
use crate::library::{Library, Look, ScanState};
use crate::mount;

/// Least time from one generation of the tree to the next while a scan runs, beside the time that
/// making one takes: what is new is seen soon, and most of the time goes to the scan.
const GENERATION_TIME_MIN: Duration = Duration::from_secs(1);

/// How far the clock of a file server may be off before what has just been written there passes for
/// old: servers keep their clocks, though not to the second.
const REMOTE_CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Of the time, at most one part in so many goes to looking for changes.
const LOOKING_SHARE: u32 = 10;

/// Longest that is, so that a large directory that never rests is still followed.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long volumes that were replaced stay for those who were on their way to them.
const LEFT_FOR: Duration = Duration::from_secs(5);

/// How long to wait after a scan that failed, at least.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How long to wait for requests that began before a scan: they may be answered as if nothing were
/// to change for long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Follows an archive.
pub(super) struct Follower {
    config: Config,
    library: Arc<Library>,
    index: Index,
    shelf: Shelf,
    fs: Arc<Fs>,
    touched: Arc<Touched>,
    arrivals: Arrivals,
    rule: Settle,
    watch: Option<Watch>,
    watching: Watching,
    /// Directories can be come to in several ways: what is gone in one may be there in another.
    is_linked: bool,
    /// When all is looked at next, where that has to be.
    poll: Option<Instant>,
    retry: Option<Instant>,
    /// The mounts that the archive is made of, and when they are looked at next: the kernel does not tell
    /// that what is watched was unmounted, or that something else hides it.
    mounts: Vec<(PathBuf, mount::Identity)>,
    mounts_due: Option<Instant>,
    /// Nothing is looked at before that unless somebody asks.
    earliest: Instant,
    /// Until when volumes that were replaced are kept.
    left_until: Option<Instant>,
}

impl Follower {
    /// Nothing is scanned yet.
    pub(super) fn new(
        config: &Config,
        opened: Opened,
        fs: Arc<Fs>,
        touched: Arc<Touched>,
    ) -> Follower {
        let Opened {
            library,
            index,
            shelf,
        } = opened;
        let root = &config.archive.archive;
        let clock_slack = match is_remote(root) {
            Ok(false) => Duration::ZERO,
            Ok(true) | Err(_) => REMOTE_CLOCK_SLACK,
        };
        let mut follower = Follower {
            rule: Settle {
                after: config.settle,
                clock_slack,
            },
            arrivals: Arrivals::default(),
            watch: None,
            watching: Watching::Off,
            is_linked: false,
            poll: None,
            retry: None,
            mounts: Vec::new(),
            mounts_due: None,
            earliest: Instant::now(),
            left_until: None,
            config: config.clone(),
            library,
            index,
            shelf,
            fs,
            touched,
        };
        match config.watch {
            config::Watch::Off => {}
            config::Watch::Poll => follower.watching = Watching::Polling,
            config::Watch::On => follower.start_watch(),
        }
        follower
    }

    /// The first scan. What an archive holds that was never scanned is shown as it is; of one that is
    /// known, what is new has to have settled.
    pub(super) fn first(&mut self, bar: &Bar) {
        let is_known = self
            .shelf
            .counts()
            .is_ok_and(|counts| counts != Counts::default());
        let is_followed = self.watching != Watching::Off;
        self.arrivals = Arrivals::new((is_known && is_followed).then_some(self.rule));
        if let Some(counts) = self.look(&Extent::ByTimes, bar) {
            warn_of_nothing(self.fs.tree().volume_count(), &counts);
        }
        self.arrivals.set_rule(Some(self.rule));
        bar.end();
        // While there is a terminal to say that it cannot be.
        self.cover();
        self.tell_status();
    }

    /// Follows what changes from now on, until it is over.
    pub(super) fn run(mut self) {
        self.library.load_ahead();
        if self.watch.is_some() {
            // What has changed since they were scanned was not told.
            self.look(&Extent::ByTimes, &());
        }
        self.tell_status();
        let settle = self.rule.after;
        while let Some(due) = self.touched.wait(settle, self.next(), self.earliest) {
            self.go_on(due);
        }
    }

    /// When there is something to do, whether anything happens or not.
    fn next(&self) -> Option<Instant> {
        let times = [
            self.arrivals.due(),
            self.poll,
            self.retry,
            self.mounts_due,
            self.left_until,
        ];
        times.into_iter().flatten().min()
    }

    fn go_on(&mut self, due: Due) {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.left_until) {
            self.left_until = None;
            self.library.forget_left();
        }
        let is_lost = due.directories.is_none() && self.watching != Watching::Off;
        let is_lost = (is_due(self.mounts_due) && self.is_remounted()) || is_lost;
        if due.asked.is_some() || is_lost || is_due(self.retry) {
            self.retry = None;
            if self.watch.take().is_some() {
                // Some of what it watches may be other directories by now.
                self.start_watch();
            }
            self.look(&Extent::Everything, &());
        } else {
            let mut directories = due.directories.unwrap_or_default();
            directories.extend(self.arrivals.due_directories(now));
            if is_due(self.poll) || (self.is_linked && !directories.is_empty()) {
                self.doubt(&directories);
                self.look(&Extent::ByTimes, &());
            } else if !directories.is_empty() {
                self.look(&Extent::Directories(directories), &());
            } else {
                return;
            }
        }
        for new in self.cover().unwrap_or_default() {
            // What happened in it before it was watched.
            self.touched.touch(&new);
        }
        // What is still arriving is known to whoever hears that it is done.
        self.tell_status();
        if let Some(asked) = due.asked {
            let status = self.library.scan_status();
            status.update_watch(|watch| watch.answered = asked);
        }
    }

    /// Is the archive made of other mounts than when this was asked last? To be asked again later.
    fn is_remounted(&mut self) -> bool {
        let mounts = mount::mounts_in(&self.config.archive.archive);
        let is_other = mounts != self.mounts;
        self.mounts = mounts;
        self.mounts_due = Some(Instant::now() + self.config.watch_interval);
        is_other
    }

    /// Has the next scan of all look into directories whatever their times are.
    fn doubt(&self, directories: &BTreeSet<Vec<u8>>) {
        use std::os::unix::ffi::OsStrExt;
        for directory in directories {
            let path = std::ffi::OsStr::from_bytes(directory);
            if let Err(why) = self.shelf.doubt(path.as_ref()) {
                tracing::warn!("a change is found later: {why}");
            }
        }
    }

    /// Scans and publishes; the counts where it came to its end.
    fn look(&mut self, extent: &Extent, progress: &dyn Progress) -> Option<Counts> {
        let started = Instant::now();
        let (library, fs) = (&self.library, &self.fs);
        announce(library, fs);
        let mut earliest = Instant::now();
        let mut settled = || {
            let is_running = library.scan_status().course().0 == ScanState::Running;
            let start = Instant::now();
            if is_running && start < earliest {
                return;
            }
            publish(fs);
            earliest = Instant::now() + start.elapsed() + GENERATION_TIME_MIN;
        };
        let look = Look {
            index: &self.index,
            extent,
            arrivals: &mut self.arrivals,
        };
        let root = &self.config.archive.archive;
        let scanned = library.look(root, &Options::default(), look, progress, &mut settled);
        let pause = started.elapsed() * (LOOKING_SHARE - 1);
        self.earliest = Instant::now() + pause.min(PAUSE_MAX);
        if !matches!(extent, Extent::Directories(_)) && self.watching == Watching::Polling {
            self.poll = Some(Instant::now() + self.config.watch_interval.max(pause));
        }
        match scanned {
            Ok(scanned) => {
                self.is_linked = match extent {
                    Extent::Directories(_) => self.is_linked || scanned.is_linked,
                    Extent::ByTimes | Extent::Everything => scanned.is_linked,
                };
                self.retry = None;
                self.library.source().forget_doubts();
                self.let_go();
                Some(scanned.counts)
            }
            Err(why) => {
                let words = why.words();
                tracing::error!("the archive cannot be scanned, what is shown may be old: {words}");
                // Names the archive's path, which may name a patient.
                tracing::trace!("{why:#}");
                self.retry = Some(Instant::now() + self.rule.after.max(RETRY_AFTER));
                None
            }
        }
    }

    /// Drops what is kept of volumes that have been replaced.
    fn let_go(&mut self) {
        let left = self.library.left();
        for loaded in left.iter().flat_map(|(_, volumes)| volumes.iter()) {
            self.fs.forget_volume(&loaded.volume);
        }
        if !left.is_empty() {
            self.left_until = Some(Instant::now() + LEFT_FOR);
        }
    }

    fn start_watch(&mut self) {
        match Watch::start(&self.config.archive.archive, self.touched.clone()) {
            Ok(watch) => {
                self.watch = Some(watch);
                self.watching = Watching::Inotify;
                self.is_remounted();
            }
            Err(why) => self.poll_instead(why),
        }
    }

    /// Watches the directories there are now; which of them are new, `None` where none are watched.
    fn cover(&mut self) -> Option<BTreeSet<Vec<u8>>> {
        let watch = self.watch.as_mut()?;
        let directories = match self.shelf.directories() {
            Ok(directories) => directories,
            Err(why) => {
                tracing::warn!("new directories are not watched: {why}");
                return None;
            }
        };
        match watch.cover(directories) {
            Ok(new) => Some(new),
            Err(why) => {
                self.poll_instead(why);
                None
            }
        }
    }

    fn poll_instead(&mut self, why: Unwatched) {
        let interval = self.config.watch_interval;
        tracing::warn!(
            "the archive is looked at every {} s: {why}",
            interval.as_secs()
        );
        self.watch = None;
        self.mounts_due = None;
        self.watching = Watching::Polling;
        self.poll = Some(Instant::now() + interval);
    }

    fn tell_status(&self) {
        let (asked, overflows) = (self.touched.asked(), self.touched.overflows());
        self.library.scan_status().update_watch(|status| {
            status.watching = self.watching;
            status.directories = self.watch.as_ref().map_or(0, Watch::count);
            status.overflows = overflows;
            status.pending_series = self.arrivals.series_count();
            status.asked = status.asked.max(asked);
        });
    }
}

/// Has answers from now on hold for a short time only, since what they say is about to change. Waits for
/// those that are under way.
fn announce(library: &Library, fs: &Fs) {
    library.scan_status().start();
    let before = fs.tree();
    if before.is_passing() {
        return;
    }
    publish(fs);
    let end = Instant::now() + LAST_ANSWERS;
    while Arc::strong_count(&before) > 1 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn publish(fs: &Fs) {
    match fs.tree().next(SystemTime::now()) {
        Ok(tree) => fs.publish(tree),
        Err(why) => tracing::error!("what is new is not shown: {why}"),
    }
}

fn warn_of_nothing(volumes: usize, counts: &Counts) {
    if volumes == 0 {
        // No path: it may name a patient.
        tracing::warn!(
            "the archive holds no image ({} DICOM files, {} others): is it the right directory?",
            counts.dicom,
            counts.not_dicom
        );
    }
}
