//! File system operations in own types: what FUSE asks, without FUSE.
//!
//! Decides everything the protocol layer only carries: which names exist, how a file is opened
//! (page cache or passthrough), what a read returns and which errno stands for which failure.
//! Knows nothing of fuser, so that tests drive it without a mount.
//!
//! | file | job |
//! |---|---|
//! | `content.rs` | what an open file holds |
//! | `view.rs` | files that show bytes of a slab |
//! | `text.rs`, `preview.rs`, `control.rs`, `veiled.rs`, `cuda.rs` | files that hold something else |
//! | `handles.rs`, `modes.rs` | open handles; page cache or passthrough |
//! | `reading.rs`, `pages.rs` | how a file is being read; what the kernel's page cache holds |
//! | `listing.rs` | directories |
//! | `ledger.rs` | what has to outlive this process |
//! | `door.rs`, `stats.rs`, `metrics.rs`, `audit.rs` | what is counted, shown and written down |
//! | `types.rs`, `error.rs` | the words of the operations; the one errno table |

mod audit;
mod content;
mod control;
mod cuda;
mod door;
mod error;
mod handles;
pub mod ledger;
mod listing;
mod metrics;
mod modes;
mod pages;
mod preview;
mod reading;
pub mod stats;
mod text;
mod types;
mod veiled;
mod view;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use audit::Audit;
pub use content::Cached;
pub use error::Error;
pub use pages::PageCache;
pub use types::{
    Attr, Backing, Caller, DirEntry, Kind, NOBODY, OpenMode, Opened, Opening, ReadReply, StatFs,
};

use crate::archive::Source;
use crate::fetch::Fetcher;
use crate::tree::{Node, Part, Stale, Tree};
use crate::volume::{Variant, Volume};
use audit::Target;
use content::Content;
use cuda::CudaFile;
use door::Door;
use handles::{Handle, Handles, Released, Version};
use ledger::Ledger;
use modes::Modes;
use pages::Pages;

/// How long the kernel may keep names and attributes: the tree only changes as a whole, and then
/// the kernel is told.
const TTL: Duration = Duration::from_secs(3600);

/// The same while the tree is about to change: an answer from the old one may arrive after the
/// kernel was told.
const PASSING_TTL: Duration = Duration::from_secs(1);

/// What a file system is made of.
pub struct Parts {
    /// The namespace.
    pub tree: Tree,
    /// Where source files are opened.
    pub source: Arc<Source>,
    /// Who makes frames.
    pub fetcher: Fetcher,
    /// Owner of everything shown.
    pub uid: u32,
    /// Group of everything shown.
    pub gid: u32,
    /// Permission bits taken away.
    pub umask: u16,
    /// `.dicomfs/config.json`.
    pub config_json: Vec<u8>,
    /// Where it is written down who opens what.
    pub audit: Option<Audit>,
}

/// The file system.
pub struct Fs {
    tree: RwLock<Arc<Tree>>,
    /// The one before it, for listings that began in it.
    before: RwLock<Option<Arc<Tree>>>,
    source: Arc<Source>,
    fetcher: Fetcher,
    uid: u32,
    gid: u32,
    umask: u16,
    config_json: Vec<u8>,
    audit: Option<Audit>,
    handles: Handles,
    modes: Modes,
    pages: Arc<Pages>,
    door: Arc<Door>,
    started: Instant,
}

impl Fs {
    /// A file system of these parts.
    pub fn new(parts: Parts) -> Fs {
        Fs {
            tree: RwLock::new(Arc::new(parts.tree)),
            before: RwLock::default(),
            source: parts.source,
            fetcher: parts.fetcher,
            uid: parts.uid,
            gid: parts.gid,
            umask: parts.umask,
            config_json: parts.config_json,
            audit: parts.audit,
            handles: Handles::default(),
            modes: Modes::default(),
            pages: Arc::default(),
            door: Arc::default(),
            started: Instant::now(),
        }
    }

    /// The current generation of the tree.
    pub fn tree(&self) -> Arc<Tree> {
        self.tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Who makes frames; its counters are what `.dicomfs/stats.json` shows.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Finds `name` in the directory `parent`.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::NotDirectory`] when `parent` is none.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Error> {
        let tree = self.tree();
        let parent = known(&tree, parent)?;
        if !tree.is_directory(parent) {
            return Err(Error::NotDirectory);
        }
        let node = match name.as_encoded_bytes() {
            b"." => parent,
            b".." => tree.parent(parent),
            _ => tree.child(parent, name)?.ok_or(Error::Absent)?,
        };
        self.attr(&tree, node)
    }

    /// Attributes of an inode.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub fn getattr(&self, ino: u64) -> Result<Attr, Error> {
        let tree = self.tree();
        let found = known(&tree, ino).and_then(|node| self.attr(&tree, node));
        // Who has a file open goes on seeing what was opened, whatever its name stands for now.
        found.or_else(|error| self.handles.attr_of(ino).ok_or(error))
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Invalid`] when it is no link.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>, Error> {
        let tree = self.tree();
        let node = known(&tree, ino)?;
        let target = tree.link_target(node).ok_or(Error::Invalid)?;
        Ok(target.into_os_string().into_vec())
    }

    /// Opens a file. `flags` are open(2)'s; `opening` turns a complete slab's file into a backing
    /// for passthrough and may fail (no rights, old kernel): then the page cache serves.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for any write access, and whatever keeps the file from being served.
    pub fn open(&self, ino: u64, flags: i32, opening: &mut dyn Opening) -> Result<Opened, Error> {
        let tree = self.tree();
        let node = known(&tree, ino)?;
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            return Err(Error::ReadOnly);
        }
        if tree.is_directory(node) {
            return Err(Error::IsDirectory);
        }
        let attr = self.attr(&tree, node)?;
        let content = match node {
            Node::Part(position, Part::Cuda(variant)) => {
                let volume = tree.volume(position)?.ok_or(Error::Absent)?;
                let uid = opening.uid();
                let file = CudaFile::open(&self.fetcher, &self.source, &volume, variant, uid)?;
                Content::Cuda(file)
            }
            _ => self.content(&tree, node)?,
        };
        // All that can fail comes before the handle is counted.
        let fh = self.handles.next_fh(version(&tree, node)?);
        let (mode, open_mode) = match &content {
            Content::Bytes { volatile: true, .. } | Content::Cuda(_) => (None, OpenMode::Direct),
            Content::Text(text) if text.is_volatile() => (None, OpenMode::Direct),
            Content::Slab(view) if view.is_whole_slab() => {
                let (mode, open_mode) = self.modes.open(ino, view.stream.slab(), opening);
                (Some((mode, opening.request())), open_mode)
            }
            _ => (None, OpenMode::Cached),
        };
        if let (Content::Slab(view), OpenMode::Cached) = (&content, &open_mode) {
            view.push_header(ino, &self.pages);
        }
        if let Err(refused) = self.handles.add(fh, attr, content, mode) {
            let (mode, content) = *refused;
            self.modes.close(ino, mode, content.slab());
            return Err(Error::TooManyOpen);
        }
        self.door.opened(&open_mode);
        if let (Some(audit), Some(caller)) = (&self.audit, opening.caller()) {
            // It is open by now, and stays so.
            if let Err(why) = note_open(audit, caller, &tree, node) {
                tracing::error!("an open is not in the audit file: {why}");
            }
        }
        Ok(Opened {
            fh,
            mode: open_mode,
        })
    }

    /// Reads; answers through `reply`, at once or from another thread. Never waits. At or past
    /// the end of the file the answer is empty. `ino` counts where `fh` was opened by a process
    /// before this one: then the file is opened again here. [`Error::Declined`] is for the kernel
    /// alone: only what it does not need is declined, and only once [`Fs::set_page_cache`] was called.
    pub fn read(
        &self,
        ino: u64,
        fh: u64,
        offset: u64,
        size_bytes: u32,
        cached: Cached,
        reply: ReadReply,
    ) {
        let reply = reply.counted(self.door.clone());
        let handle = match self.handles.get(fh) {
            Some(handle) => Ok(handle),
            None => self.open_again(ino, fh),
        };
        match handle {
            Ok(handle) => {
                self.read_content(&handle, offset, u64::from(size_bytes), cached, reply);
            }
            Err(error) => reply.send(Err(error)),
        }
    }

    /// What a handle that another process opened holds.
    fn open_again(&self, ino: u64, fh: u64) -> Result<Arc<Handle>, Error> {
        if !self.handles.is_inherited(fh) {
            return Err(Error::BadHandle);
        }
        let changed = || Error::Changed("not the file that was opened".into());
        let tree = self.tree();
        let node = tree.node(ino)?.ok_or_else(changed)?;
        if tree.is_directory(node) || !Handles::is_of_version(fh, version(&tree, node)?) {
            return Err(changed());
        }
        let content = self.content(&tree, node)?;
        let attr = self.attr(&tree, node)?;
        Ok(self.handles.adopt(fh, attr, content))
    }

    /// Closes a handle.
    pub fn release(&self, fh: u64) {
        if let Some(released) = self.handles.release(fh) {
            self.close(released);
            self.fetcher.trim_soon();
        }
    }

    fn close(&self, released: Released) {
        if let Some(mode) = released.mode {
            let handle = released.handle.as_ref();
            let slab = handle.and_then(|handle| handle.content.slab());
            let is_useless = self.modes.close(released.ino, mode, slab);
            if is_useless {
                self.pages.invalidate(released.ino);
            }
        }
    }

    /// Goes on where a process that died has left this mount, and keeps account for the next one
    /// from now on. `adopt` makes a backing of an id that the kernel knows. To be called once, before
    /// the first request.
    pub fn connect_ledger(&self, ledger: Arc<dyn Ledger>, adopt: &dyn Fn(u32) -> Backing) {
        let entries = self.handles.connect(ledger.clone());
        self.pages.set_ledger(ledger.clone());
        self.modes.inherit(ledger, &entries, adopt);
    }

    /// To be called for an open request that the kernel repeats: what a process before this one has
    /// written down for it was never told to the kernel, and does not count.
    pub fn forget_unanswered_open(&self, request: u64) {
        if let Some(released) = self.handles.take_unanswered(request) {
            self.close(released);
        }
    }

    /// Totals.
    pub fn statfs(&self) -> StatFs {
        let tree = self.tree();
        StatFs {
            total_bytes: tree.total_bytes(),
            files: tree.node_count(),
        }
    }

    /// Counts an operation that failed; reads are counted as they are answered.
    pub fn count_failure(&self, error: &Error) {
        self.door.failed(error);
    }

    /// Says how many processes served this mount before this one, and died.
    pub fn set_replaced_workers(&self, count: u64) {
        self.door.set_replaced_workers(count);
    }

    /// Replaces the tree. What is open stays as it was opened; the kernel is told what else of the
    /// old tree is no longer so.
    pub fn publish(&self, tree: Tree) {
        let tree = Arc::new(tree);
        let mut current = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, tree.clone());
        drop(current);
        let changes = tree.changes_since(&old);
        if !changes.is_empty() {
            let mut before = self.before.write().unwrap_or_else(PoisonError::into_inner);
            let older = before.replace(old);
            drop(before);
            drop(older);
        }
        for stale in changes {
            match stale {
                Stale::Contents(ino) => self.pages.invalidate(ino),
                Stale::Name(parent, name) => self.pages.drop_name(parent, name),
            }
        }
    }

    /// Lets go of what is kept of a volume that has changed: in memory, and on disk unless its bytes are
    /// the same and only its files lie elsewhere.
    pub fn forget_volume(&self, volume: &Volume) {
        self.fetcher
            .forget_version(&volume.name, &volume.fingerprint);
        if self.tree().has_version(&volume.name, &volume.fingerprint) {
            return;
        }
        for variant in Variant::ALL {
            // What has no layout was never opened.
            if let Ok((key, layout)) = view::slab_of(volume, variant) {
                self.fetcher.cache().forget_copy(&key, &layout);
            }
        }
    }

    /// Says how the kernel's page cache is reached. It is called on a thread of `fs`'s own, never on
    /// one that serves a request (it would deadlock).
    pub fn set_page_cache(&self, cache: Box<dyn PageCache>) {
        self.pages.connect(cache);
    }

    /// Says how far the kernel reads ahead of a reader.
    pub fn set_readahead_bytes(&self, bytes: u64) {
        self.pages.set_window_bytes(bytes);
    }

    /// The kernel has forgotten an inode: none of its pages are left.
    pub fn forget(&self, ino: u64) {
        self.pages.forget(ino);
    }

    /// Answers every waiting read with an error and stops background work.
    pub fn shutdown(&self) {
        self.fetcher.shutdown();
        if let Some(audit) = &self.audit {
            audit.finish();
        }
    }

    fn attr(&self, tree: &Tree, node: Node) -> Result<Attr, Error> {
        let (kind, mode) = if tree.is_directory(node) {
            (Kind::Directory, 0o555)
        } else if matches!(node, Node::View(_)) {
            (Kind::Symlink, 0o777)
        } else {
            (Kind::File, 0o444)
        };
        let ttl = match node {
            Node::ControlFile(_) => Duration::ZERO,
            _ if tree.is_passing() => PASSING_TTL,
            _ => TTL,
        };
        let size_bytes = match node {
            Node::ControlFile(file) => self.control_file_len_bytes(tree, file),
            _ => tree.len_bytes(node)?,
        };
        Ok(Attr {
            ino: tree.ino(node),
            kind,
            size_bytes,
            mtime: tree.mtime(node),
            mode: if kind == Kind::Symlink {
                mode
            } else {
                mode & !self.umask
            },
            nlink: if kind == Kind::Directory { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            ttl,
        })
    }
}

/// Writes down who has opened what, if it is a file of a series.
fn note_open(audit: &Audit, caller: Caller, tree: &Tree, node: Node) -> Result<(), Error> {
    let Node::Part(position, part) = node else {
        return Ok(());
    };
    let (Some(volume), Some(file)) = (tree.volume(position)?, tree.path_in_volume(position, part)?)
    else {
        return Ok(());
    };
    let first = volume.records.first();
    let series = first.map_or("", |record| &record.instance.series_instance_uid);
    let target = Target {
        series,
        volume: &volume.name,
        kind: part.kind(),
        file: &file,
    };
    audit.opened(caller, target);
    Ok(())
}

/// The thing with an inode number that was given out. One that is not known is of a generation before
/// this: then the kernel is to look the path up again, which it does on ESTALE, and nobody who
/// was on the way notices.
fn known(tree: &Tree, ino: u64) -> Result<Node, Error> {
    let gone = || Error::Changed("not in this generation".into());
    tree.node(ino)?.ok_or_else(gone)
}

/// The version of a file's bytes, as far as handles tell versions apart.
fn version(tree: &Tree, node: Node) -> Result<Version, Error> {
    let digest = match node {
        Node::Part(position, _) => tree.volume(position)?.map(|volume| {
            let [a, b, c, d, ..] = volume.fingerprint;
            [a, b, c, d]
        }),
        // The inode number of another table is another one; the rest is made anew for each open.
        _ => None,
    };
    Ok(Version::of(digest.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
