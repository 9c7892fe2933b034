//! What a scan tells: how it gets on, what it found, and what was wrong.
//!
//! Plain data.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Record;

/// Told how a scan gets on; called from several threads.
pub trait Progress: Sync {
    /// So many files have been found by now.
    fn files_found(&self, _total: u64) {}
    /// So many of them have been looked at by now.
    fn files_done(&self, _total: u64) {}
}

/// No progress is shown.
impl Progress for () {}

/// All of a small archive in memory: see [`super::read_all`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// Where the archive is.
    pub root: PathBuf,
    /// Its instances, by path.
    pub records: Vec<Arc<Record>>,
    /// What was wrong with files and directories, by path.
    pub findings: Vec<FileFinding>,
    /// How many there are of what.
    pub counts: Counts,
}

/// What a scan says when it is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scanned {
    /// Where the archive is.
    pub root: PathBuf,
    /// How many there are of what.
    pub counts: Counts,
    /// What was wrong with files and directories, by path.
    pub findings: Vec<FileFinding>,
    /// A directory was come to in two ways, of which the first counts.
    pub is_linked: bool,
}

/// The codes of [`FileFinding`].
pub const FILE_CODES: [&str; 8] = [
    "index_unusable",
    "internal_error",
    "link_loop",
    "malformed",
    "packed",
    "too_large",
    "truncated",
    "unreadable",
];

/// Something wrong with one file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileFinding {
    /// Path relative to the root; empty for the root and the index.
    pub path: PathBuf,
    /// Stable code, one of [`FILE_CODES`].
    pub code: String,
    /// One sentence.
    pub detail: String,
}

/// How many files a scan found of what kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All regular files.
    pub files: u64,
    /// Instances: the records.
    pub dicom: u64,
    /// DICOM files that cannot be used: each has a finding.
    pub unusable: u64,
    /// Not DICOM.
    pub not_dicom: u64,
    /// DICOMDIR files.
    pub dicomdir: u64,
    /// Files and directories that could not be read: each has a finding.
    pub unreadable: u64,
    /// Files left out because a link made them appear twice.
    pub linked_twice: u64,
    /// Files that did not have to be read, because the index had them.
    pub from_index: u64,
}
