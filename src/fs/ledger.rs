//! What has to outlive this process: which handles are open in which way, and which backing files
//! the kernel holds.
//!
//! A process that dies leaves its handles open in the kernel, and the kernel goes on refusing opens
//! that do not go with them. So the handles that matter are written down where the next process
//! finds them, before the kernel is told of them. Where that is kept is not known here.

/// A place in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u32);

/// What a ledger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// An open handle of an inode that can be read in both ways.
    Handle(OpenHandle),
    /// A backing file registered with the kernel under this id.
    Backing(u32),
}

/// An open handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenHandle {
    /// Its number; never 0.
    pub fh: u64,
    /// Its inode.
    pub ino: u64,
    /// The kernel's number of the request that opened it. A request that is repeated after a crash was
    /// never answered, so the handle it names is not open.
    pub request: u64,
    /// The backing it is read through; `None` for the page cache.
    pub backing: Option<u32>,
}

/// Where entries are kept. Each call takes effect whole or not at all, whenever the process dies.
pub trait Ledger: Send + Sync {
    /// The next handle number: each is given once, over all processes of a mount.
    fn next_fh(&self) -> u64;

    /// Writes an entry down; `None` when the ledger is full.
    fn add(&self, entry: Entry) -> Option<Place>;

    /// Strikes an entry out.
    fn remove(&self, place: Place);

    /// Notes that a request for bytes of an inode is declined.
    fn note_declined(&self, ino: u64);

    /// True if an earlier process may have declined bytes of an inode: what the kernel asks for again
    /// has to be answered then.
    fn was_declined_before(&self, ino: u64) -> bool;

    /// All entries: asked once, when nothing has been added yet.
    fn entries(&self) -> Vec<(Place, Entry)>;
}
