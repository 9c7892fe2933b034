//! Brings an index up to date with an archive: what is new or changed is read, many files at a
//! time, and written to the index as it is found.
//!
//! The result depends on the files only, not on timing. One bad file costs one finding.
//!
//! What changed is found by the times of directories: one that is as the index knows it is not
//! listed and none of its files is looked at, so that a million files cost the state of some
//! thousand directories. A file that is written to in place is therefore found when it is read:
//! it no longer has the size and time of its record ([`super::Source::verify`]). Times are coarse,
//! as git knows of its index: a directory that had changed just before it was listed is listed
//! again next time.

mod finish;
mod reader;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem::take;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::database::{self, Failure};
use super::extent::{self, Extent};
use super::index::{Edition, Shared, lock};
use super::keep::{Keeper, Leaving, TRANSACTION_TIME};
use super::known::{self, Known};
pub use super::outcome::FILE_CODES;
use super::outcome::{Catalog, Counts, FileFinding, Progress, Scanned};
use super::read::Looked;
use super::settle::Arrivals;
use super::walk::{Job, LAST_PART, Walk, Walked, Work};
use super::{Error, Index, list, shelf};
use reader::reader;

/// How to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Threads that read headers. More than cores, since cold disks answer many reads at once:
    /// measured, 32 give 50,600 files a second where 4 give 30,700 and 64 give 52,600.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: 32 }
    }
}

/// Scans the archive at `root` and brings `index` up to date: follows links, takes any file name,
/// skips and counts what is not DICOM.
///
/// `settled` is told the series that are new or changed and whole now, and those that are gone,
/// as the scan goes on, about every second, on this thread: what it names is on the [`super::Shelf`]
/// already. A series is whole when the walk of its part of the archive is done; the parts are the
/// directories of the first level, from the root down, that has more than one. A series that turns
/// up again in another part is told again, and so is one of whose files another name turns out to
/// come first. Files above the parts, and series that are gone, come last.
///
/// An index that fails is a finding, and a temporary one takes its place, on the shelf too. Waits
/// for other scans with this index.
///
/// # Errors
/// [`Error::Absent`], [`Error::NotDirectory`], [`Error::NotMounted`] and [`Error::Io`] about the root;
/// [`Error::Index`] when not even a temporary index can be used.
pub fn scan(
    root: &Path,
    options: &Options,
    index: Index,
    progress: &dyn Progress,
    settled: &mut dyn FnMut(&[String], &[String]),
) -> Result<Scanned, Error> {
    let settings = Settings::new(options);
    run(root, &settings, &index, progress, settled)
}

/// What a scan of an archive that is followed has to know beyond [`scan`].
pub struct Follow<'a> {
    /// What is looked at.
    pub extent: &'a Extent,
    /// What is on its way: what has not settled is left as it is known, and noted here.
    pub arrivals: &'a mut Arrivals,
    /// Called with series before the index has others in their place: what it has of them can be
    /// asked for a last time.
    pub leaving: &'a dyn Fn(&[String]),
}

/// Scans the archive at `root` as [`scan`] does, again and again with the same index. Of what has
/// not settled nothing is told; a series of which only a part has is told when all of it has.
///
/// # Errors
/// As [`scan`].
pub fn rescan(
    root: &Path,
    options: &Options,
    index: &Index,
    follow: Follow<'_>,
    progress: &dyn Progress,
    settled: &mut dyn FnMut(&[String], &[String]),
) -> Result<Scanned, Error> {
    let settings = Settings::new(options);
    run_with(root, &settings, index, follow, progress, settled)
}

/// Scans the archive at `root` and reads all its records into memory: for archives that are known
/// to be small. Without an `index` a temporary one is used.
///
/// # Errors
/// As [`scan`].
pub fn read_all(
    root: &Path,
    options: &Options,
    index: Option<Index>,
    progress: &dyn Progress,
) -> Result<Catalog, Error> {
    let settings = Settings::new(options);
    read_all_with(root, &settings, index, progress)
}

pub(super) fn read_all_with(
    root: &Path,
    settings: &Settings,
    index: Option<Index>,
    progress: &dyn Progress,
) -> Result<Catalog, Error> {
    check(root)?;
    let index = match index {
        Some(index) => index,
        None => Index::temporary()?,
    };
    let scanned = run(root, settings, &index, progress, &mut |_, _| {})?;
    let shelf = super::Shelf::new(Arc::clone(index.shared()), root);
    Ok(Catalog {
        root: scanned.root,
        records: shelf.all_records()?,
        findings: scanned.findings,
        counts: scanned.counts,
    })
}

/// How much older than its listing a directory has to be for its times to be trusted: file systems
/// tell times to two seconds at worst.
const MARGIN_NS: i64 = 2_000_000_000;

/// How a scan goes about it.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) threads: usize,
    pub(super) margin_ns: i64,
    pub(super) settled_every: Duration,
}

impl Settings {
    fn new(options: &Options) -> Settings {
        Settings {
            threads: options.threads.max(1),
            margin_ns: MARGIN_NS,
            settled_every: SETTLED_EVERY,
        }
    }
}

/// What the walk and the readers tell the thread that keeps what is found.
#[derive(Debug)]
pub(super) enum Message {
    /// A directory has been listed: so many of its files will be told of.
    Listed(Arc<Work>, u64),
    /// Files of it that were looked at.
    Looked(Arc<Work>, Looked),
    /// The walk of a part of the archive is done.
    PartWalked(u32),
}

/// Jobs and messages that wait: few enough that the directories that are open for them stay far
/// below the limit of open files.
const WAITING_MAX: usize = 128;

/// How often `settled` is called at most.
const SETTLED_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(
    root: &Path,
    settings: &Settings,
    index: &Index,
    progress: &dyn Progress,
    settled: &mut dyn FnMut(&[String], &[String]),
) -> Result<Scanned, Error> {
    let follow = Follow {
        extent: &Extent::ByTimes,
        arrivals: &mut Arrivals::default(),
        leaving: &|_| {},
    };
    run_with(root, settings, index, follow, progress, settled)
}

pub(super) fn run_with(
    root: &Path,
    settings: &Settings,
    index: &Index,
    follow: Follow<'_>,
    progress: &dyn Progress,
    settled: &mut dyn FnMut(&[String], &[String]),
) -> Result<Scanned, Error> {
    check(root)?;
    let mut scan = Scan {
        root,
        settings,
        shared: index.shared(),
        extent: follow.extent,
        arrivals: follow.arrivals,
        leaving: follow.leaving,
        progress,
        settled,
        told: BTreeSet::new(),
        last_told: Instant::now(),
        findings: Vec::new(),
    };
    // Twice at most in vain: a damaged index is made anew, any other is replaced.
    loop {
        match scan.attempt() {
            Ok(scanned) => return Ok(scanned),
            Err(error @ Error::Index { .. }) if !scan.shared.is_temporary() => {
                scan.replace_index(&error)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Is there an archive at `root`: a directory that can be read, or a zip or tar file?
///
/// # Errors
/// [`Error::Absent`], [`Error::NotDirectory`] and [`Error::Io`].
pub fn check(root: &Path) -> Result<(), Error> {
    let failed = |error| Error::io(root, error);
    if std::fs::metadata(root).map_err(failed)?.is_dir() {
        return std::fs::read_dir(root).map_err(failed).map(drop);
    }
    if super::members::is_container(&super::source::open(root)?) {
        return Ok(());
    }
    let path = root.to_owned();
    Err(Error::NotDirectory { path })
}

struct Scan<'a> {
    root: &'a Path,
    settings: &'a Settings,
    shared: &'a Arc<Shared>,
    extent: &'a Extent,
    arrivals: &'a mut Arrivals,
    leaving: Leaving<'a>,
    progress: &'a dyn Progress,
    settled: &'a mut dyn FnMut(&[String], &[String]),
    /// Series that a client may think are there.
    told: BTreeSet<String>,
    last_told: Instant,
    findings: Vec<FileFinding>,
}

impl Scan<'_> {
    fn replace_index(&mut self, error: &Error) -> Result<(), Error> {
        self.arrivals.clear();
        if self.shared.is_damaged() && self.shared.make_anew(self.root).is_ok() {
            return Ok(());
        }
        tracing::warn!("{error}; scanning with a temporary index");
        self.findings.push(FileFinding {
            path: PathBuf::new(),
            code: "index_unusable".to_owned(),
            detail: error.to_string(),
        });
        self.shared.make_temporary(self.root)
    }

    fn attempt(&mut self) -> Result<Scanned, Error> {
        if !self.shared.is_bound(self.root) {
            self.shared.bind_or_make_anew(self.root)?;
        }
        let _locked = self.shared.lock_scans()?;
        let opened = list::open_root(self.root).map_err(|error| Error::io(self.root, error))?;
        let known = self.shared.read(known::load)?;
        if known::is_unmounted(&known, &opened) {
            let path = self.root.to_owned();
            return Err(Error::NotMounted { path });
        }
        let writer = self.shared.writer()?;
        let mut keeper = Keeper::new(writer, take(self.arrivals), self.leaving);
        let counts = self.all(&opened, known, &mut keeper);
        *self.arrivals = take(&mut keeper.arrivals);
        let (counts, is_linked) = self.shared.named(counts)?;
        let shelf = super::Shelf::new(Arc::clone(self.shared), self.root);
        Ok(Scanned {
            root: self.root.to_owned(),
            counts,
            findings: shelf.findings()?,
            is_linked,
        })
    }

    fn all(
        &mut self,
        opened: &OwnedFd,
        mut known: Known,
        keeper: &mut Keeper<'_>,
    ) -> Result<(Counts, bool), Failure> {
        self.catch_up(keeper)?;
        let (gone, others) = match self.extent {
            Extent::Directories(wanted) => {
                let narrowed = extent::narrow(known, opened, wanted);
                known = narrowed.targets;
                (narrowed.gone, Some(narrowed.others))
            }
            Extent::ByTimes | Extent::Everything => {
                let threads = self.settings.threads;
                known::look(&mut known, opened, threads);
                let mut gone = known::take_gone(&mut known);
                if !gone.is_empty() {
                    // It may have been moved just now, to where was looked before.
                    known::look(&mut known, opened, threads);
                    gone.extend(known::take_gone(&mut known));
                }
                (gone, None)
            }
        };
        // At once: a series that was moved is not to have its old files beside the new ones.
        for (path, gone) in gone {
            keeper.forget(&path, &gone)?;
        }
        keeper.commit()?;
        let targets: HashSet<Vec<u8>> = match others {
            Some(_) => known.keys().cloned().collect(),
            None => HashSet::new(),
        };
        let walked = self.read(opened, known, others.as_ref(), keeper)?;
        let is_linked = walked.is_linked;
        let counts = self.finish(walked, others.is_some().then_some(&targets), keeper)?;
        Ok((counts, is_linked))
    }

    /// Finds what other scans did since the index was bound, and removes what one that was cut
    /// short left behind.
    fn catch_up(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Failure> {
        let bound = take(&mut *lock(&self.shared.bound));
        let now = shelf::editions(&keeper.writer.connection)?;
        let new = now.iter().filter(|(key, e)| bound.get(*key) != Some(*e));
        let new: Vec<String> = new.map(|(key, _)| key.clone()).collect();
        keeper.change(LAST_PART, new);
        self.told.extend(bound.into_keys().chain(now.into_keys()));
        let connection = &keeper.writer.connection;
        if database::meta(connection, "unfinished")?.is_some() {
            keeper.begin()?;
            let orphans = "DELETE FROM blobs WHERE id NOT IN (SELECT id FROM groups)";
            keeper.writer.connection.execute(orphans, [])?;
            keeper.commit()?;
        }
        Ok(())
    }

    /// Walks the archive and reads what has to be, on threads of their own, while this one keeps
    /// what they find.
    fn read(
        &mut self,
        opened: &OwnedFd,
        known: Known,
        others: Option<&Known>,
        keeper: &mut Keeper<'_>,
    ) -> Result<Walked, Failure> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let (messages, received) = sync_channel::<Message>(WAITING_MAX);
        let waiting = Mutex::new(waiting);
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let progress = self.progress;
        let walk = Walk {
            root: opened,
            settings: self.settings,
            index: self.shared,
            jobs,
            messages: messages.clone(),
            stop: &stop,
            progress,
            done: &done,
            walked: Walked {
                known,
                ..Walked::default()
            },
            entered: others.map_or_else(HashSet::new, extent::ids_of),
            is_deep: *self.extent != Extent::ByTimes,
            others,
            found: 0,
            number: 0,
            part: LAST_PART,
            parts: LAST_PART,
        };
        std::thread::scope(|scope| {
            for _ in 0..self.settings.threads {
                let (messages, waiting) = (messages.clone(), &waiting);
                scope.spawn(|| reader(waiting, messages, &stop, &done, progress));
            }
            drop(messages);
            let walk = scope.spawn(|| walk.run());
            let kept = self.keep(received, keeper);
            if kept.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            let walked = walk.join();
            kept?;
            // The walk does not panic: nothing in it does but by a mistake.
            Ok(walked.unwrap_or_default())
        })
    }

    fn keep(
        &mut self,
        received: Receiver<Message>,
        keeper: &mut Keeper<'_>,
    ) -> Result<(), Failure> {
        loop {
            match received.recv_timeout(TRANSACTION_TIME) {
                Ok(message) => keeper.take(message)?,
                // A slow disk or server: others who write to the index do not wait for it as well.
                Err(RecvTimeoutError::Timeout) => keeper.commit()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if !keeper.ready.is_empty() && self.last_told.elapsed() >= self.settings.settled_every {
                self.tell(keeper, false)?;
            }
        }
    }

    /// Tells of the series that are ready; at the end, of those that are gone too.
    fn tell(&mut self, keeper: &mut Keeper<'_>, is_end: bool) -> Result<(), Failure> {
        keeper.commit()?;
        let now: BTreeMap<String, Edition> = shelf::editions(&keeper.writer.connection)?;
        let ready = take(&mut keeper.ready).into_iter();
        let mut changed = keeper.arrivals.sift(ready);
        changed.retain(|series| now.contains_key(series));
        let mut gone = Vec::new();
        if is_end {
            let told = take(&mut self.told).into_iter();
            gone.extend(told.filter(|series| !now.contains_key(series)));
            // What the next scan with this index takes for told.
            *lock(&self.shared.bound) = now;
        } else {
            self.told.extend(changed.iter().cloned());
        }
        if !changed.is_empty() || !gone.is_empty() {
            (self.settled)(&changed, &gone);
        }
        self.last_told = Instant::now();
        Ok(())
    }
}
