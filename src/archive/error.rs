//! Why the archive, one of its files or its index could not be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why something of the archive could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or the archive itself, is not there.
    #[error("{} does not exist", .path.display())]
    Absent {
        /// What was looked for.
        path: PathBuf,
    },
    /// The archive is to be a directory or a container.
    #[error("{} is not a directory, a zip file or a tar file", .path.display())]
    NotDirectory {
        /// What it is not.
        path: PathBuf,
    },
    /// The archive has nothing in it, on another file system than it was on: what it lies on is not
    /// mounted.
    #[error("{} is empty, and on another file system than before: is its disk mounted?", .path.display())]
    NotMounted {
        /// The archive.
        path: PathBuf,
    },
    /// The file is no longer the one whose header was read.
    #[error("{} has changed since its header was read", .path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// The index cannot be used; the archive can.
    #[error("index {}: {what}", .path.display())]
    Index {
        /// The index's file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// What is wrong in words that name no path, which may name a patient.
    pub fn words(&self) -> String {
        match self {
            Error::Absent { .. } => "it is not there".to_owned(),
            Error::NotDirectory { .. } => "it is no directory, zip file or tar file".to_owned(),
            Error::NotMounted { .. } => {
                "it is empty, and on another file system than before: is its disk mounted?"
                    .to_owned()
            }
            Error::Changed { .. } => "it has changed".to_owned(),
            Error::Io { source, .. } => source.to_string(),
            Error::Index { .. } => "its index cannot be used".to_owned(),
        }
    }

    /// An error of the operating system about `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Error::Absent { path },
            _ => Error::Io { path, source },
        }
    }
}
