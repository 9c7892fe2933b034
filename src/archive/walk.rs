//! The walk of an archive: every directory entered once, in the order of paths, those that are as
//! known without being listed. Files of the others are handed to the readers.
//!
//! Every directory is entered once, however many links lead to it, so that links cannot make a
//! tree without end. One that cannot be had just now (a server that does not answer, a bad disk, no
//! descriptor left) is not gone: what is known of it, and of what is below it, is kept. Knows what a
//! scan does with what it finds as little as what the files are.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::SourceIdentity;
use super::extent;
use super::index::Shared;
use super::known::{Known, KnownDirectory};
use super::list::{self, Entries, State};
use super::members::Member;
use super::outcome::{FileFinding, Progress};
use super::pack::{self, Directory, FileId, Group};
use super::place::Place;
use super::read::Looked;
use super::scan::{Message, Settings};
use super::shelf::path_of;

/// Files handed to a reader at a time: few enough to share the end of a scan fairly.
const BATCH_FILES: usize = 64;

/// The part of the archive that is settled when all is done: see [`super::scan`].
pub(super) const LAST_PART: u32 = 0;

/// A directory whose files are being read.
#[derive(Debug)]
pub(super) struct Work {
    /// Tells it from others of this scan.
    pub(super) number: u64,
    /// The part of the archive that it lies in.
    pub(super) part: u32,
    /// Relative to the root.
    pub(super) path: Vec<u8>,
    pub(super) opened: Place,
    /// What its row will say, as far as it is known before its files are read.
    pub(super) directory: Directory,
    /// What its row said.
    pub(super) row: Option<Directory>,
    /// Its groups in the index.
    pub(super) groups: Vec<Group>,
    /// Files in it that the index knows, by name.
    pub(super) known: HashMap<Vec<u8>, KnownFile>,
    /// When its entries changed last, nanoseconds since the epoch.
    pub(super) changed_ns: i64,
    /// Of each group, how many of its files may have other names.
    pub(super) linked: Vec<u64>,
}

/// A file that the index knows.
#[derive(Debug)]
pub(super) struct KnownFile {
    pub(super) identity: SourceIdentity,
    pub(super) member: Option<Member>,
    /// Place of its group among those of its directory, and its own in that.
    pub(super) group: u32,
    pub(super) position: u32,
}

/// Files for a reader.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Arc<Work>,
    /// Name, and whether a link leads there.
    pub(super) files: Vec<(Vec<u8>, bool)>,
}

/// What the walk tells at its end.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) findings: Vec<FileFinding>,
    /// Directories that could not be read.
    pub(super) unreadable: u64,
    /// Files of each kind in directories that are as known.
    pub(super) trusted: [u64; 5],
    /// Those of them that are left out.
    pub(super) hidden: [u64; 5],
    /// All files found.
    pub(super) files: u64,
    /// Directories that could not be had, for a reason that may pass.
    pub(super) out_of_reach: HashSet<Vec<u8>>,
    /// Known directories: those not seen are gone.
    pub(super) known: Known,
    /// A directory was come to in two ways.
    pub(super) is_linked: bool,
}

/// What a walk needs.
pub(super) struct Walk<'a> {
    pub(super) root: &'a OwnedFd,
    pub(super) settings: &'a Settings,
    pub(super) index: &'a Shared,
    pub(super) jobs: SyncSender<Job>,
    pub(super) messages: SyncSender<Message>,
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a dyn Progress,
    /// Files looked at.
    pub(super) done: &'a AtomicU64,
    pub(super) walked: Walked,
    pub(super) entered: HashSet<FileId>,
    /// Directories are listed and files looked at whatever their times are.
    pub(super) is_deep: bool,
    /// Of a narrow walk, the directories that the index knows and that are not looked at.
    pub(super) others: Option<&'a Known>,
    pub(super) found: u64,
    pub(super) number: u64,
    pub(super) part: u32,
    pub(super) parts: u32,
}

/// A directory that the walk is in.
struct Frame {
    id: FileId,
    path_len: usize,
    subdirectories: std::vec::IntoIter<Vec<u8>>,
}

impl Walk<'_> {
    /// Walks all, or in a narrow walk the known directories and what is new below them.
    pub(super) fn run(mut self) -> Walked {
        match self.others {
            None => self.below(Vec::new()),
            Some(_) => {
                let mut targets: Vec<Vec<u8>> = self.walked.known.keys().cloned().collect();
                targets.sort_unstable();
                targets.into_iter().for_each(|target| self.below(target));
            }
        }
        self.keep_out_of_reach();
        self.progress.files_found(self.found);
        self.walked.files = self.found;
        self.walked
    }

    /// Takes known directories that could not be come to for what they were.
    fn keep_out_of_reach(&mut self) {
        let out_of_reach = std::mem::take(&mut self.walked.out_of_reach);
        if out_of_reach.is_empty() {
            return;
        }
        let mut known = std::mem::take(&mut self.walked.known);
        for (path, known) in known.iter_mut().filter(|(_, known)| !known.is_seen) {
            if extent::up_from(path).any(|at| out_of_reach.contains(at)) {
                known.is_seen = true;
                if let Some(row) = &known.row {
                    self.trust(row);
                }
            }
        }
        self.walked.known = known;
    }

    /// Walks what is below a directory.
    fn below(&mut self, mut path: Vec<u8>) {
        let mut frames: Vec<Frame> = Vec::new();
        // Depth of the first directory from the root down that holds several: each is a part.
        let mut split = self.others.map(|_| usize::MAX);
        frames.extend(self.enter(&path, &[]));
        while !self.stop.load(Ordering::Relaxed) {
            let depth = frames.len();
            let Some(frame) = frames.last_mut() else {
                break;
            };
            if split.is_none() && frame.subdirectories.len() > 1 {
                split = Some(depth);
            }
            let is_split = split == Some(depth);
            if is_split && self.part != LAST_PART {
                self.send(Message::PartWalked(self.part));
                self.part = LAST_PART;
            }
            path.truncate(frame.path_len);
            let Some(name) = frame.subdirectories.next() else {
                frames.pop();
                continue;
            };
            if is_split {
                self.parts += 1;
                self.part = self.parts;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name);
            if !self.has_own_turn(&path) {
                frames.extend(self.enter(&path, &frames));
            }
        }
    }

    /// In a narrow walk, a directory that is not come to from the one above it.
    fn has_own_turn(&self, path: &[u8]) -> bool {
        let is_known =
            |others: &Known| others.contains_key(path) || self.walked.known.contains_key(path);
        self.others.is_some_and(is_known)
    }

    fn send(&self, message: Message) {
        // Fails only when the scan has failed, which then says so itself.
        if self.messages.send(message).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn unreadable(&mut self, path: &[u8], error: &io::Error) {
        self.walked.unreadable += 1;
        self.find(path, "unreadable", error.to_string());
        if may_pass(error) {
            self.walked.out_of_reach.insert(path.to_vec());
        }
    }

    fn find(&mut self, path: &[u8], code: &str, detail: String) {
        self.walked.findings.push(FileFinding {
            path: path_of(path).to_owned(),
            code: code.to_owned(),
            detail,
        });
    }

    /// Looks at a directory. `None` when it is not to be walked.
    fn enter(&mut self, path: &[u8], above: &[Frame]) -> Option<Frame> {
        let known = self.walked.known.get_mut(path);
        let looked = known.and_then(|known| known.state.take());
        let state = match looked.unwrap_or_else(|| list::state(self.root, path)) {
            Ok(state) => state,
            Err(error) => {
                self.unreadable(path, &error);
                return None;
            }
        };
        if above.iter().any(|frame| frame.id == state.file_id) {
            let detail = "a symbolic link leads back to a directory above it".to_owned();
            self.find(path, "link_loop", detail);
            return None;
        }
        if !self.entered.insert(state.file_id) {
            self.walked.is_linked = true;
            return None;
        }
        let subdirectories = match self.trusted(path, &state) {
            Some(subdirectories) => subdirectories,
            None => match self.list(path) {
                Ok(subdirectories) => subdirectories,
                Err(error) => {
                    self.unreadable(path, &error);
                    return None;
                }
            },
        };
        Some(Frame {
            id: state.file_id,
            path_len: path.len(),
            subdirectories: subdirectories.into_iter(),
        })
    }

    /// The subdirectories of a directory that is as the index knows it.
    fn trusted(&mut self, path: &[u8], state: &State) -> Option<Vec<Vec<u8>>> {
        let known = self.walked.known.get_mut(path)?;
        let row = known.row.as_mut()?;
        if self.is_deep || row.times_ns != Some(state.times_ns()) || row.id != state.file_id {
            return None;
        }
        known.is_seen = true;
        let row = std::mem::take(row);
        self.trust(&row);
        Some(row.subdirectories)
    }

    /// Counts the files of a directory that is taken to be as its row says.
    fn trust(&mut self, row: &Directory) {
        for (sum, count) in self.walked.trusted.iter_mut().zip(row.counts) {
            *sum += count;
        }
        let files: u64 = row.counts.iter().sum();
        self.found += files;
        let done = self.done.fetch_add(files, Ordering::Relaxed) + files;
        for (_, kind) in &row.hidden {
            self.walked.hidden[usize::from(*kind) % 5] += 1;
        }
        self.progress.files_found(self.found);
        self.progress.files_done(done);
    }

    /// Lists a directory and hands its files out.
    fn list(&mut self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let opened = Place::open(self.root, path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ns = now.map_or(0, |now| now.as_nanos() as i64);
        let state = opened.state()?;
        let entries = opened.entries()?;
        // A change just after the listing may leave the times as they were: they are coarse.
        let times_ns = state.times_ns();
        let is_old = times_ns.0.max(times_ns.1) < now_ns.saturating_sub(self.settings.margin_ns);
        let known = self.walked.known.get_mut(path);
        let known = known.map_or_else(KnownDirectory::default, |known| {
            known.is_seen = true;
            KnownDirectory {
                row: known.row.take(),
                groups: std::mem::take(&mut known.groups),
                ..KnownDirectory::default()
            }
        });
        self.number += 1;
        let mut work = Work {
            number: self.number,
            part: self.part,
            path: path.to_vec(),
            opened,
            directory: Directory {
                times_ns: is_old.then_some(times_ns),
                id: state.file_id,
                subdirectories: entries.subdirectories.clone(),
                ..Directory::default()
            },
            known: HashMap::new(),
            changed_ns: times_ns.0.max(times_ns.1),
            linked: vec![0; known.groups.len()],
            row: known.row,
            groups: known.groups,
        };
        if work.row.is_some() {
            self.load_files(&mut work);
        }
        Ok(self.hand_out(work, entries))
    }

    /// Looks up what the index has of the files of a directory.
    fn load_files(&self, work: &mut Work) {
        let found = self.index.read(|connection| {
            let select = "SELECT files FROM blobs WHERE id = ?1";
            let mut select = connection.prepare_cached(select)?;
            let mut found = Vec::new();
            for group in &work.groups {
                let mut rows = select.query([group.id])?;
                let files = rows.next()?.map(|row| row.get::<_, Vec<u8>>(0));
                found.push(files.transpose()?);
            }
            Ok(found)
        });
        // Without them the files are read again.
        for (n, sealed) in found.unwrap_or_default().into_iter().enumerate() {
            let group = &work.groups[n];
            let files = sealed.and_then(|s| pack::unseal_files(&work.path, &group.key, &s));
            let files = files.filter(|files| files.len() as u64 == group.files);
            let is_unreadable = group.key.kind == pack::Kind::Unreadable;
            let files = files.filter(|_| !is_unreadable).unwrap_or_default();
            for (position, file) in files.into_iter().enumerate() {
                work.linked[n] += u64::from(file.is_linked);
                let known = KnownFile {
                    identity: file.identity,
                    member: file.member,
                    group: n as u32,
                    position: position as u32,
                };
                work.known.insert(file.name, known);
            }
        }
    }

    fn hand_out(&mut self, work: Work, entries: Entries) -> Vec<Vec<u8>> {
        let work = Arc::new(work);
        let files = (entries.files.len() + entries.unreadable.len()) as u64;
        self.found += entries.files.len() as u64;
        self.progress.files_found(self.found);
        self.send(Message::Listed(Arc::clone(&work), files));
        if !entries.unreadable.is_empty() {
            let mut looked = Looked::default();
            for (name, why) in entries.unreadable {
                if may_pass(&why) {
                    // What a link leads to: a directory, perhaps.
                    let path = extent::join(&work.path, &name);
                    self.walked.out_of_reach.insert(path);
                }
                looked.unreadable(&name, why.to_string());
            }
            self.send(Message::Looked(Arc::clone(&work), looked));
        }
        let mut files = entries.files.into_iter().peekable();
        while files.peek().is_some() && !self.stop.load(Ordering::Relaxed) {
            let job = Job {
                work: Arc::clone(&work),
                files: files.by_ref().take(BATCH_FILES).collect(),
            };
            // Fails only when there are no readers, who go when all is over.
            if self.jobs.send(job).is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        entries.subdirectories
    }
}

/// Is it the system that does not answer, rather than the directory that is not there, or no directory,
/// or not for us any more?
fn may_pass(error: &io::Error) -> bool {
    const PASSING: [Errno; 17] = [
        // Bad disks, and what lies behind them.
        Errno::IO,
        Errno::REMOTEIO,
        Errno::NXIO,
        Errno::NODEV,
        // This machine is short of something.
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::INTR,
        Errno::AGAIN,
        // A file server that is away, restarted, or behind a network that is.
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::NOTCONN,
        Errno::CONNREFUSED,
        Errno::CONNABORTED,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|errno| PASSING.contains(&errno))
}
