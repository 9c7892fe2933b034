//! The files of the archive, opened to be read: each is still the one that was indexed, or refused.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Error, Record, SourceIdentity};

/// The archive's files at read time.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
}

impl Source {
    /// The archive at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Source {
        Source { root: root.into() }
    }

    /// Where the archive is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the file of `record` is.
    pub fn path(&self, record: &Record) -> PathBuf {
        self.root.join(&record.path)
    }

    /// Opens the file of `record` to be read.
    ///
    /// # Errors
    /// [`Error::Absent`] when it has vanished, [`Error::Changed`] when its size or time is no
    /// longer that of the header read, [`Error::Io`] otherwise.
    pub fn open(&self, record: &Record) -> Result<File, Error> {
        let path = self.path(record);
        let file = open(&path)?;
        self.verify(&file, record)?;
        Ok(file)
    }

    /// Is the file of `record` still the same? For one that is not opened.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn check(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(record);
        let metadata = std::fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
        match metadata.is_file() && SourceIdentity::of(&metadata) == record.identity {
            true => Ok(()),
            false => Err(Error::Changed { path }),
        }
    }

    /// Is `file`, opened for `record`, still the same? To be asked after a read whose bytes are
    /// to be relied on.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is not, [`Error::Io`] when that cannot be said.
    pub fn verify(&self, file: &File, record: &Record) -> Result<(), Error> {
        let metadata = file
            .metadata()
            .map_err(|error| Error::io(&self.path(record), error))?;
        if metadata.is_file() && SourceIdentity::of(&metadata) == record.identity {
            return Ok(());
        }
        Err(Error::Changed {
            path: self.path(record),
        })
    }
}

/// Opens a file to be read only, never waiting for the other end of a pipe.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| Error::io(path, error))
}
