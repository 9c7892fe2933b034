//! The watch over the directories of an archive: the kernel says where something happens.
//!
//! Each directory that the index knows is watched by itself, so that it is known which are, and an
//! archive is not walked for it once more. What others write to a network file system, the kernel
//! here does not hear of: there, and where there are more directories than may be watched, the
//! archive is looked at from time to time instead. Knows nothing of what the files are.

use std::collections::{BTreeSet, HashSet};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::events::Touched;
use super::index::lock;
use super::shelf::path_of;

/// File systems whose files change without the kernel here being told, by the magic numbers of
/// statfs(2), linux/magic.h and the sources of those that are not part of Linux.
const REMOTE: [u64; 16] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x6573_5546, // FUSE: sshfs, s3fs, GlusterFS, ...
    0x00c3_6400, // Ceph
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS (Spectrum Scale)
    0x1983_0326, // BeeGFS
    0x0102_1997, // 9p
    0x5346_414f, // AFS
    0x7375_7245, // Coda
    0x564c,      // NCP
    0x0116_1970, // GFS2
    0x7461_636f, // OCFS2
    0xaad7_aaea, // PanFS
];

/// How changes are come to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watching {
    /// Not at all, unless somebody asks.
    #[default]
    Off,
    /// The kernel tells.
    Inotify,
    /// By looking from time to time.
    Polling,
}

impl Watching {
    /// One word for users.
    pub fn word(self) -> &'static str {
        match self {
            Watching::Off => "off",
            Watching::Inotify => "inotify",
            Watching::Polling => "polling",
        }
    }
}

/// Why directories cannot be watched; none of these words names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwatched {
    /// A container is written to, and directories are what is watched.
    #[error("it is a file")]
    File,
    /// Others may change it unheard.
    #[error("it lies on a network file system, where changes are not told")]
    Remote,
    /// fs.inotify.max_user_watches or max_user_instances.
    #[error("a limit of inotify is reached (fs.inotify.max_user_watches or max_user_instances)")]
    Limit,
    /// Something else.
    #[error("inotify fails: {0}")]
    Failed(std::io::ErrorKind),
}

/// Watches over directories, until it is dropped.
pub struct Watch {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: HashSet<Vec<u8>>,
    /// Directories that were removed or moved away: their watches with them.
    lost: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Watch {
    /// Begins to watch; what happens is told to `touched`. No directory is watched yet.
    ///
    /// # Errors
    /// When it cannot be: see [`Unwatched`].
    pub fn start(root: &Path, touched: Arc<Touched>) -> Result<Watch, Unwatched> {
        if is_remote(root)? {
            return Err(Unwatched::Remote);
        }
        if root.is_file() {
            return Err(Unwatched::File);
        }
        let lost = Arc::default();
        let heard = Heard {
            root: root.to_owned(),
            touched,
            lost: Arc::clone(&lost),
        };
        let handler = move |event: notify::Result<Event>| heard.take(event);
        // Links are followed by name: only directories are watched, and each by itself.
        let watcher = RecommendedWatcher::new(handler, Config::default()).map_err(unwatched)?;
        Ok(Watch {
            root: root.to_owned(),
            watcher,
            watched: HashSet::new(),
            lost,
        })
    }

    /// Watches these directories, by path relative to the root, and no others. One that is gone is left
    /// out: the one above it is told of. Says which are watched only from now on.
    ///
    /// # Errors
    /// See [`Unwatched`]; some are watched then.
    pub fn cover(&mut self, directories: Vec<Vec<u8>>) -> Result<BTreeSet<Vec<u8>>, Unwatched> {
        let lost = std::mem::take(&mut *lock(&self.lost));
        for path in lost {
            // Fails where the watch has gone with the directory.
            let _ = self.watcher.unwatch(&self.absolute(&path));
            let below = super::extent::join(&path, b"");
            self.watched
                .retain(|other| *other != path && !other.starts_with(&below));
        }
        let wanted: HashSet<Vec<u8>> = directories.into_iter().collect();
        let obsolete: Vec<Vec<u8>> = self
            .watched
            .extract_if(|path| !wanted.contains(path))
            .collect();
        for path in obsolete {
            // As above.
            let _ = self.watcher.unwatch(&self.absolute(&path));
        }
        let mut new = BTreeSet::new();
        let mut devices = HashSet::new();
        for path in wanted {
            if self.watched.contains(&path) {
                continue;
            }
            let absolute = self.absolute(&path);
            // What happens to a container is told of the directory that it lies in.
            let metadata = std::fs::metadata(&absolute);
            let Some(device) = metadata
                .ok()
                .filter(Metadata::is_dir)
                .map(|found| found.dev())
            else {
                continue;
            };
            if devices.insert(device) && is_remote(&absolute)? {
                return Err(Unwatched::Remote);
            }
            match self.watcher.watch(&absolute, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    new.insert(path.clone());
                    self.watched.insert(path);
                }
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(unwatched(error)),
            }
        }
        Ok(new)
    }

    /// How many directories are watched.
    pub fn count(&self) -> usize {
        self.watched.len()
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        match path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(path_of(path)),
        }
    }
}

/// Where events go.
struct Heard {
    root: PathBuf,
    touched: Arc<Touched>,
    lost: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Heard {
    fn take(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if event.need_rescan() => return self.touched.lose(),
            Ok(event) => event,
            Err(error) => {
                tracing::debug!("inotify: {:?}", error.kind);
                return self.touched.lose();
            }
        };
        let is_change = match event.kind {
            // Our own reads are told of as well.
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        };
        if !is_change {
            return;
        }
        let may_lose = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        for path in &event.paths {
            let Ok(path) = path.strip_prefix(&self.root) else {
                continue;
            };
            let bytes = path.as_os_str().as_bytes();
            if may_lose {
                self.lose(bytes);
            }
            let parent = path.parent().unwrap_or(path);
            self.touched.touch(parent.as_os_str().as_bytes());
        }
    }

    /// A name that is gone may be that of a directory.
    fn lose(&self, path: &[u8]) {
        let mut lost = lock(&self.lost);
        if lost.len() < LOST_MAX {
            lost.insert(path.to_vec());
        } else {
            drop(lost);
            self.touched.lose();
        }
    }
}

/// Names that are gone, kept until the next look; with more, all watches are made anew.
const LOST_MAX: usize = 16_384;

fn is_absent(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        // Who may not enter a directory finds it listed as unreadable.
        ErrorKind::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::NotFound
                | std::io::ErrorKind::NotADirectory
                | std::io::ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

fn unwatched(error: notify::Error) -> Unwatched {
    match error.kind {
        ErrorKind::MaxFilesWatch => Unwatched::Limit,
        ErrorKind::Io(error) => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOSPC) => Unwatched::Limit,
            _ => Unwatched::Failed(error.kind()),
        },
        _ => Unwatched::Failed(std::io::ErrorKind::Other),
    }
}

/// Does a directory lie on a file system that others change unheard?
///
/// # Errors
/// When the system does not say.
pub fn is_remote(path: &Path) -> Result<bool, Unwatched> {
    match rustix::fs::statfs(path) {
        // Negative where the field is signed: the numbers have 32 bits.
        #[allow(clippy::unnecessary_cast)]
        Ok(found) => Ok(REMOTE.contains(&(found.f_type as u64 & 0xffff_ffff))),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(Unwatched::Failed(error.kind())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn directories(touched: &Touched) -> Option<BTreeSet<Vec<u8>>> {
        let due = touched.wait(Duration::from_millis(20), None, Instant::now());
        due.expect("not over").directories
    }

    #[test]
    fn what_happens_is_told_by_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::write(root.join("a/b/1"), b"1").expect("written");
        let touched = Arc::new(Touched::default());
        let mut watch = Watch::start(root, Arc::clone(&touched)).expect("watches");
        let all = || vec![Vec::new(), b"a".to_vec(), b"a/b".to_vec(), b"gone".to_vec()];
        assert_eq!(watch.cover(all()).expect("watched").len(), 3);
        assert_eq!(
            (watch.cover(all()).expect("watched").len(), watch.count()),
            (0, 3)
        );
        std::fs::read(root.join("a/b/1")).expect("read");
        let only = |path: &[u8]| Some(BTreeSet::from([path.to_vec()]));
        // Reading is no change: the first that is told of is the one after it.
        std::fs::write(root.join("a/b/1"), b"2").expect("written");
        assert_eq!(directories(&touched), only(b"a/b"));
        std::fs::create_dir(root.join("c")).expect("made");
        assert_eq!(directories(&touched), only(b""));
        std::fs::rename(root.join("a/b/1"), root.join("a/1")).expect("moved");
        let both = BTreeSet::from([b"a".to_vec(), b"a/b".to_vec()]);
        assert_eq!(directories(&touched), Some(both));
        // A directory that takes the place of another is watched anew.
        std::fs::remove_dir_all(root.join("a/b")).expect("removed");
        std::fs::create_dir(root.join("a/b")).expect("made");
        assert_eq!(directories(&touched), only(b"a"));
        assert_eq!(
            watch.cover(all()).expect("watched"),
            BTreeSet::from([b"a/b".to_vec()])
        );
        std::fs::write(root.join("a/b/2"), b"2").expect("written");
        assert_eq!(directories(&touched), only(b"a/b"));
    }

    #[test]
    fn lost_events_are_told() {
        let touched = Arc::new(Touched::default());
        let heard = Heard {
            root: "/a".into(),
            touched: Arc::clone(&touched),
            lost: Arc::default(),
        };
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        heard.take(Ok(overflow));
        assert_eq!((directories(&touched), touched.overflows()), (None, 1));
        for n in 0..=LOST_MAX {
            let path = format!("/a/{n}").into();
            let removed = Event::new(EventKind::Remove(notify::event::RemoveKind::Any));
            heard.take(Ok(removed.add_path(path)));
        }
        assert_eq!((directories(&touched), touched.overflows()), (None, 2));
    }

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(is_remote(dir.path()), Ok(false));
        assert_eq!(is_remote(&dir.path().join("none")), Ok(false));
    }
}
