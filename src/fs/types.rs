//! The words of the operations: attributes, entries, open modes, replies. No fuser types here.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::Error;
use super::door::Door;
use super::ledger::{Ledger, Place};

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

/// A backing file that the kernel holds for passthrough; given up when dropped.
pub struct Backing {
    id: u32,
    give_up: Box<dyn Fn(u32) + Send + Sync>,
    is_adopted: bool,
    /// Where it is written down for the case of a crash.
    note: OnceLock<(Arc<dyn Ledger>, Place)>,
}

impl Backing {
    /// A backing that the kernel knows as `id`; `give_up` has the kernel let go of it.
    pub fn new(id: u32, give_up: impl Fn(u32) + Send + Sync + 'static) -> Backing {
        Backing {
            id,
            give_up: Box::new(give_up),
            is_adopted: false,
            note: OnceLock::new(),
        }
    }

    /// The same for one that an earlier process has registered.
    pub fn adopted(id: u32, give_up: impl Fn(u32) + Send + Sync + 'static) -> Backing {
        let mut backing = Backing::new(id, give_up);
        backing.is_adopted = true;
        backing
    }

    /// The kernel's number of it.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    pub(super) fn set_note(&self, ledger: Arc<dyn Ledger>, place: Place) {
        // Noted once, by whoever made it.
        let _ = self.note.set((ledger, place));
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        (self.give_up)(self.id);
        if let Some((ledger, place)) = self.note.get() {
            ledger.remove(*place);
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its thread; 0 where that is not visible from here.
    pub thread: u32,
}

/// What the kernel's side of an open request offers.
pub trait Opening {
    /// Turns a complete slab's file into a backing for passthrough.
    ///
    /// # Errors
    /// No rights, an old kernel: then the page cache serves.
    fn register(&mut self, file: BorrowedFd<'_>) -> io::Result<Backing>;

    /// The kernel's number of the request, the same when it is repeated; 0 if it has none.
    fn request(&self) -> u64 {
        0
    }

    /// Who opens; `None` where nobody does (tests).
    fn caller(&self) -> Option<Caller> {
        None
    }

    /// The user who opens. Nobody ([`NOBODY`]) where that is not known: what belongs to a user is then
    /// nobody else's.
    fn uid(&self) -> u32 {
        self.caller().map_or(NOBODY, |caller| caller.uid)
    }
}

/// The number that no user has: -1, which the system calls take for none.
pub const NOBODY: u32 = u32::MAX;

impl<F: FnMut(BorrowedFd<'_>) -> io::Result<Backing>> Opening for F {
    fn register(&mut self, file: BorrowedFd<'_>) -> io::Result<Backing> {
        self(file)
    }
}

/// How an open file is to be served.
pub enum OpenMode {
    /// Through the page cache, kept across opens.
    Cached,
    /// Always from the daemon: contents may differ from open to open (`.dicomfs/stats.json`,
    /// `volume.json`).
    Direct,
    /// Straight from the slab's backing file.
    Passthrough(Arc<Backing>),
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
pub struct ReadReply {
    deliver: Deliver,
    /// Where it is counted, and since when it is waited for.
    counted: Option<(Arc<Door>, Instant)>,
}

impl ReadReply {
    /// Wraps what delivers the answer.
    pub fn new(deliver: impl FnOnce(Result<&[u8], Error>) + Send + 'static) -> Self {
        ReadReply {
            deliver: Box::new(deliver),
            counted: None,
        }
    }

    /// Counts the answer, and how long it took from now on.
    pub(super) fn counted(mut self, door: Arc<Door>) -> Self {
        self.counted = Some((door, Instant::now()));
        self
    }

    /// Delivers the answer.
    pub fn send(self, answer: Result<&[u8], Error>) {
        if let Some((door, since)) = self.counted {
            door.read_answered(answer.as_ref().map(|bytes| bytes.len()), since.elapsed());
        }
        (self.deliver)(answer);
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
