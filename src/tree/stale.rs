//! What a kernel may hold of one generation that is not so in the next.

use std::ffi::OsString;

/// Something that is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stale {
    /// The attributes and the contents of an inode, be it a file, a directory or a link.
    Contents(u64),
    /// A name in the directory with this inode number, and all below it.
    Name(u64, OsString),
}
