//! The archive: files found, their headers read once, and remembered in an index; and followed while
//! they come, change and go.
//!
//! Knows paths, sizes and times of source files. Knows nothing of volumes. Opens source files
//! read-only and never decodes: pixels are read only to compare files that may be copies.
//!
//! | file | job |
//! |---|---|
//! | `scan.rs` | brings the index up to date: walk, readers, and the thread that keeps what they find |
//! | `walk.rs`, `list.rs`, `place.rs` | the directories; entries of one; directory or container |
//! | `read.rs`, `members.rs`, `part.rs` | headers read; files inside zip and tar files |
//! | `keep.rs`, `twice.rs` | what is found, written; files with several names |
//! | `known.rs`, `extent.rs` | what the index knew; how much is looked at |
//! | `index.rs`, `database.rs`, `pack.rs`, `shelf.rs` | the index: its state, its file, its rows, its readers |
//! | `source.rs`, `digest.rs` | files opened to be read; their pixels compared |
//! | `watch.rs`, `events.rs`, `settle.rs` | what changes, and when it has come to rest |
//! | `outcome.rs`, `error.rs` | what a scan tells; why something cannot be used |

mod database;
pub mod digest;
mod error;
mod events;
mod extent;
pub mod index;
mod keep;
mod known;
mod list;
pub mod members;
mod outcome;
mod pack;
mod part;
mod place;
mod read;
pub mod scan;
pub mod settle;
mod shelf;
pub mod source;
mod twice;
mod walk;
mod watch;

#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dicom::Instance;

pub use digest::pixel_digests;
pub use error::Error;
pub use events::{Due, Touched};
pub use extent::Extent;
pub use index::Index;
pub use members::Inside;
pub use outcome::{Catalog, Counts, FileFinding, Progress, Scanned};
pub use scan::{Follow, Options, check, read_all, rescan, scan};
pub use settle::{Arrivals, Settle};
pub use shelf::Shelf;
pub use source::{Source, SourceFile};
pub use watch::{Unwatched, Watch, Watching, is_remote};

/// What identifies one version of a source file. A file that no longer matches has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Number in the file system: files that were unpacked together have one time, and often one size,
    /// but a name that leads to another of them leads to another number. 0 where numbers do not last.
    pub inode: u64,
}

impl SourceIdentity {
    /// The identity that stat(2) tells. Times beyond the years 1677 to 2262 are clipped.
    pub fn of(metadata: &std::fs::Metadata) -> SourceIdentity {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        SourceIdentity {
            size_bytes: metadata.len(),
            mtime_ns: seconds.saturating_add(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Is what stat(2) tells of a file now that of this version of it?
    pub fn is_met_by(&self, now: &SourceIdentity) -> bool {
        let is_same_file = self.inode == 0 || self.inode == now.inode;
        (self.size_bytes, self.mtime_ns) == (now.size_bytes, now.mtime_ns) && is_same_file
    }
}

/// One DICOM file of the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Path relative to the archive's root.
    pub path: PathBuf,
    /// The version of the file whose header `instance` holds.
    pub identity: SourceIdentity,
    /// Where it lies in a zip or tar file; `None` for a file of its own.
    pub inside: Option<Box<Inside>>,
    /// The header.
    pub instance: Instance,
}
