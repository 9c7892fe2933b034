//! The archive: files found, their headers read once, and remembered in an index.
//!
//! Knows paths, sizes and times of source files. Knows nothing of volumes. Opens source files
//! read-only and never follows Pixel Data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dicom::Instance;

/// What identifies one version of a source file. A file that no longer matches has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// One DICOM file of the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Path relative to the archive's root.
    pub path: PathBuf,
    /// The version of the file whose header `instance` holds.
    pub identity: SourceIdentity,
    /// The header.
    pub instance: Instance,
}
