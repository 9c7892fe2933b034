//! File system operations in own types: what FUSE asks, without FUSE.
//!
//! Decides everything the protocol layer only carries: which names exist, how a file is opened
//! (page cache or passthrough), what a read returns and which errno stands for which failure.
//! Knows nothing of fuser, so that tests drive it without a mount.

mod error;

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use error::Error;

/// What kind of thing an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
}

/// Attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes: final, and equal to the bytes read up to end of file.
    pub size_bytes: u64,
    /// Modification time.
    pub mtime: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// Number of links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How long the kernel may keep these attributes and this name.
    pub ttl: Duration,
}

/// One directory entry.
#[derive(Debug, Clone, PartialEq)]
pub struct DirEntry {
    /// Name within the directory.
    pub name: OsString,
    /// The entry's attributes (READDIRPLUS).
    pub attr: Attr,
    /// The offset at which a later `readdir` goes on after this entry.
    pub next_offset: u64,
}

/// What passthrough needs to live as long as handles use it: fuser's backing id, opaque here.
pub type Backing = Arc<dyn Any + Send + Sync>;

/// How an open file is to be served.
pub enum OpenMode {
    /// Through the page cache, kept across opens.
    Cached,
    /// Always from the daemon: contents may differ from open to open (`.dicomfs/stats.json`).
    Direct,
    /// Straight from the slab's backing file.
    Passthrough(Backing),
}

/// An open file.
pub struct Opened {
    /// File handle: given back at `read` and `release`.
    pub fh: u64,
    /// How it is served.
    pub mode: OpenMode,
}

/// Where the answer of a read goes. Called exactly once, from any thread.
pub struct ReadReply(Box<dyn FnOnce(Result<&[u8], Error>) + Send>);

impl ReadReply {
    /// Wraps what delivers the answer.
    pub fn new(deliver: impl FnOnce(Result<&[u8], Error>) + Send + 'static) -> Self {
        ReadReply(Box::new(deliver))
    }

    /// Delivers the answer.
    pub fn send(self, answer: Result<&[u8], Error>) {
        (self.0)(answer);
    }
}

/// Totals for statfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes that all volumes have together.
    pub total_bytes: u64,
    /// Number of inodes.
    pub files: u64,
}

/// The file system.
pub struct Fs {}

impl Fs {
    /// Finds `name` in the directory `parent`.
    pub fn lookup(&self, _parent: u64, _name: &OsStr) -> Result<Attr, Error> {
        Err(Error::Absent)
    }

    /// Attributes of an inode.
    pub fn getattr(&self, _ino: u64) -> Result<Attr, Error> {
        Err(Error::Absent)
    }

    /// Target of a symbolic link.
    pub fn readlink(&self, _ino: u64) -> Result<Vec<u8>, Error> {
        Err(Error::Absent)
    }

    /// Lists a directory from `offset` (0 = start) on, "." and ".." included. `add` returns true
    /// when its buffer is full: that entry was not taken and listing stops.
    pub fn readdir(
        &self,
        _ino: u64,
        _offset: u64,
        _add: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Error> {
        Err(Error::Absent)
    }

    /// Opens a file. `flags` are open(2)'s; `register` turns a complete slab's file into a
    /// backing for passthrough and may fail (no rights, old kernel): then the page cache serves.
    pub fn open(
        &self,
        _ino: u64,
        _flags: i32,
        _register: &mut dyn FnMut(BorrowedFd<'_>) -> std::io::Result<Backing>,
    ) -> Result<Opened, Error> {
        Err(Error::Absent)
    }

    /// Reads; answers through `reply`, at once or from another thread. Never waits.
    pub fn read(&self, _fh: u64, _offset: u64, _size_bytes: u32, reply: ReadReply) {
        reply.send(Err(Error::BadHandle));
    }

    /// Closes a handle.
    pub fn release(&self, _fh: u64) {}

    /// Totals.
    pub fn statfs(&self) -> StatFs {
        StatFs {
            total_bytes: 0,
            files: 0,
        }
    }

    /// Says how to have the kernel drop the cached pages of an inode. Called on threads of `fs`'s
    /// own, never on one that serves a request (notes: it would deadlock).
    pub fn set_invalidator(&self, _invalidate: Box<dyn Fn(u64) + Send + Sync>) {}

    /// Answers every waiting read with an error and stops background work.
    pub fn shutdown(&self) {}
}
