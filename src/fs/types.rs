//! The words of the operations: attributes, entries, open modes, replies. No fuser types here.

use std::any::Any;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Error;

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

/// What delivers the answer of a read.
type Deliver = Box<dyn FnOnce(Result<&[u8], Error>) + Send>;

/// Where the answer of a read goes. Called exactly once, from any thread.
pub struct ReadReply(Deliver);

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
