//! The directory of the disk tier: which entries it holds, which goes first, what may still be
//! added.
//!
//! The directory itself is the record: an entry's length is its file's, its last use the file's
//! modification time, which is set whenever a slab finds the entry. So the order of use outlives
//! the process, and several processes may share a directory: each looks at it again now and then.
//! Between two looks one does not see what the others write; together they may be over the budget
//! by as much.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::entry::{self, OWNER_LEN_BYTES};

/// End of the name of a whole entry: 64 hex digits come before it.
const ENTRY: &str = ".slab";

/// End of the name of an entry that is being written: 64 and 16 hex digits come before it.
const PART: &str = ".part";

/// Shortest time between two looks at the directory.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The time a look takes, as a share of the interval to the next one.
const LOOK_SHARE: u32 = 50;

/// An entry that is being written belongs to nobody when it is this old and its file system has no
/// locks that could tell.
const PART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The directory and what is known of it.
pub(super) struct Dir {
    path: PathBuf,
    budget_bytes: u64,
    owner: [u8; OWNER_LEN_BYTES],
    uid: u32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<String, Info>,
    entry_bytes: u64,
    /// Entries this process is writing.
    own_parts_bytes: u64,
    /// Entries others are writing.
    other_parts_bytes: u64,
    look_due: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Info {
    len_bytes: u64,
    used: SystemTime,
}

/// How much of a directory is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// A new entry, written aside.
pub(super) struct Part {
    pub(super) file: File,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory, which is made if there is none, and removes what is of no use there:
    /// entries of other versions, and what dead processes left unfinished.
    ///
    /// # Errors
    /// When it can be neither made nor listed.
    pub(super) fn open(path: &Path, owner: [u8; OWNER_LEN_BYTES]) -> io::Result<Dir> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let dir = Dir {
            path: path.to_path_buf(),
            budget_bytes: 0,
            owner,
            uid: fs::metadata("/proc/self")?.uid(),
            known: Mutex::default(),
        };
        dir.clean()?;
        dir.look()?;
        Ok(dir)
    }

    pub(super) fn with_budget(self, budget_bytes: u64) -> Dir {
        Dir {
            budget_bytes,
            ..self
        }
    }

    pub(super) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    pub(super) fn taken(&self) -> Taken {
        let known = self.lock();
        Taken {
            bytes: known.bytes(),
            entries: known.entries.len() as u64,
        }
    }

    /// Opens an entry to be read and counts that as a use. `None` when there is none that this user
    /// wrote: in a directory that others can write to, theirs are not to be believed.
    pub(super) fn find(&self, name: &str) -> io::Result<Option<File>> {
        let Some(file) = self.read(name)? else {
            return Ok(None);
        };
        let now = SystemTime::now();
        if let Err(why) = file.set_modified(now) {
            tracing::debug!("the use of an entry is not recorded: {why}");
        }
        if let Some(info) = self.lock().entries.get_mut(name) {
            info.used = now;
        }
        Ok(Some(file))
    }

    /// Opens an entry to be read.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<File>> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path.join(format!("{name}{ENTRY}")));
        let file = match opened {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let trusted = metadata.uid() == self.uid && metadata.mode() & 0o022 == 0;
        Ok((metadata.is_file() && trusted).then_some(file))
    }

    /// Removes an entry.
    pub(super) fn remove(&self, name: &str) {
        self.lock().forget(name);
        match fs::remove_file(self.path.join(format!("{name}{ENTRY}"))) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                tracing::debug!("entry {name} of cache_dir stays: {why}");
            }
            _ => {}
        }
    }

    /// Makes room for `len_bytes` more of an entry that is being written and counts them: entries
    /// not used for longest go. False when there is no room even so.
    pub(super) fn make_room(&self, len_bytes: u64) -> bool {
        let due = self.lock().look_due;
        if due.is_some_and(|due| Instant::now() >= due)
            && let Err(why) = self.look()
        {
            tracing::debug!("cannot list cache_dir: {why}");
        }
        loop {
            let mut known = self.lock();
            if known.bytes().saturating_add(len_bytes) <= self.budget_bytes {
                known.own_parts_bytes += len_bytes;
                return true;
            }
            let oldest = known.entries.iter().min_by_key(|(_, info)| info.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return false;
            };
            drop(known);
            self.remove(&oldest);
        }
    }

    /// Creates the file of a new entry.
    pub(super) fn create(&self, name: &str) -> io::Result<Part> {
        let path = self.path.join(format!("{name}.{:016x}{PART}", random()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        // Tells other processes that somebody is at work on it; where there are no locks its age
        // has to do.
        match file.try_lock() {
            Err(TryLockError::Error(why)) => tracing::debug!("no locks in cache_dir: {why}"),
            Err(TryLockError::WouldBlock) | Ok(()) => {}
        }
        Ok(Part { file, path })
    }

    /// Makes a written entry visible, whole and lasting. `len_bytes` were counted for it.
    pub(super) fn publish(&self, part: Part, name: &str, len_bytes: u64) -> io::Result<()> {
        let done = part
            .file
            .sync_all()
            .and_then(|()| fs::rename(&part.path, self.path.join(format!("{name}{ENTRY}"))));
        if let Err(why) = done {
            self.abandon(part, len_bytes);
            return Err(why);
        }
        // The name lasts once its directory is on disk. Without it the entry is whole all the same, and
        // gone after a power failure.
        if let Err(why) = File::open(&self.path).and_then(|dir| dir.sync_all()) {
            tracing::debug!("cache_dir is not synced: {why}");
        }
        let info = Info {
            len_bytes,
            used: SystemTime::now(),
        };
        let mut known = self.lock();
        known.own_parts_bytes -= len_bytes;
        known.forget(name);
        known.entry_bytes += len_bytes;
        known.entries.insert(name.to_owned(), info);
        Ok(())
    }

    /// Removes an entry that is not finished. `len_bytes` were counted for it.
    pub(super) fn abandon(&self, part: Part, len_bytes: u64) {
        if let Err(why) = fs::remove_file(&part.path) {
            tracing::debug!("an unfinished entry of cache_dir stays: {why}");
        }
        drop(part);
        self.uncount(len_bytes);
    }

    /// Takes back what [`Dir::make_room`] counted.
    pub(super) fn uncount(&self, len_bytes: u64) {
        self.lock().own_parts_bytes -= len_bytes;
    }

    /// Learns anew what the directory holds.
    fn look(&self) -> io::Result<()> {
        let start = Instant::now();
        let (mut entries, mut parts_bytes) = (HashMap::new(), 0);
        for file in files(&self.path)? {
            let Ok(metadata) = fs::symlink_metadata(self.path.join(&file)) else {
                // Gone meanwhile.
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            match kind(&file) {
                Some(Kind::Entry(name)) => {
                    let info = Info {
                        len_bytes: metadata.len(),
                        used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    };
                    entries.insert(name.to_owned(), info);
                }
                Some(Kind::Part) => parts_bytes += metadata.blocks() * 512,
                None => {}
            }
        }
        let mut known = self.lock();
        known.entry_bytes = entries.values().map(|info| info.len_bytes).sum();
        known.entries = entries;
        known.other_parts_bytes = parts_bytes.saturating_sub(known.own_parts_bytes);
        let interval = (start.elapsed() * LOOK_SHARE).max(LOOK_INTERVAL_MIN);
        known.look_due = Some(Instant::now() + interval);
        Ok(())
    }

    fn clean(&self) -> io::Result<()> {
        for file in files(&self.path)? {
            let path = self.path.join(&file);
            let useless = match kind(&file) {
                Some(Kind::Entry(_)) => self.is_of_another_version(&path),
                Some(Kind::Part) => is_left_behind(&path),
                None => false,
            };
            if useless && let Err(why) = fs::remove_file(&path) {
                tracing::debug!("a useless file of cache_dir stays: {why}");
            }
        }
        Ok(())
    }

    fn is_of_another_version(&self, path: &Path) -> bool {
        let mut start = [0; OWNER_LEN_BYTES];
        let mut options = OpenOptions::new();
        let options = options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let read = options
            .open(path)
            .and_then(|mut file| file.read_exact(&mut start));
        let is_ours = start.starts_with(&entry::MAGIC);
        read.is_ok() && is_ours && start != self.owner
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Numbers only, and the next look corrects them.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn bytes(&self) -> u64 {
        self.entry_bytes + self.own_parts_bytes + self.other_parts_bytes
    }

    fn forget(&mut self, name: &str) {
        if let Some(info) = self.entries.remove(name) {
            self.entry_bytes -= info.len_bytes;
        }
    }
}

enum Kind<'a> {
    /// With its name.
    Entry(&'a str),
    Part,
}

/// What a file of the directory is; `None` for what is not ours.
fn kind(file: &str) -> Option<Kind<'_>> {
    let is_hex = |text: &str, len: usize| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == len && text.bytes().all(digit)
    };
    if let Some(name) = file.strip_suffix(ENTRY) {
        return is_hex(name, 64).then_some(Kind::Entry(name));
    }
    let (name, number) = file.strip_suffix(PART)?.split_once('.')?;
    (is_hex(name, 64) && is_hex(number, 16)).then_some(Kind::Part)
}

fn files(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// True for an entry that nobody will finish: who writes one keeps its file locked.
fn is_left_behind(path: &Path) -> bool {
    let options = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    let Ok(file) = options else { return false };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            let modified = file.metadata().and_then(|metadata| metadata.modified());
            let age = modified.map(|time| time.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age > PART_AGE_MAX)
        }
    }
}

/// A number that no other process draws; names only have to differ, O_EXCL sees to the rest.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
