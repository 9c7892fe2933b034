//! The files of the archive, opened to be read: each is still the one that was indexed, or refused.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::index::lock;
use super::{Error, Record, Shelf, SourceIdentity, Touched};

/// The archive's files at read time.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
    shelf: Option<Shelf>,
    /// Who looks at what is said to have changed.
    touched: Option<Arc<Touched>>,
    /// Directories of files that had changed.
    doubted: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Source {
    /// The archive at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Source {
        Source {
            root: root.into(),
            shelf: None,
            touched: None,
            doubted: Arc::default(),
        }
    }

    /// The archive at `root`, whose index is told of files that turn out to have changed: a file
    /// that was written to in place is found by no scan otherwise. And `touched` is told, for those
    /// who follow the archive.
    pub fn doubting(
        root: impl Into<PathBuf>,
        shelf: Shelf,
        touched: Option<Arc<Touched>>,
    ) -> Source {
        Source {
            shelf: Some(shelf),
            touched,
            ..Source::new(root)
        }
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
        let file = open(&path).inspect_err(|error| {
            if matches!(error, Error::Absent { .. }) {
                self.doubt(record);
            }
        })?;
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
            false => {
                self.doubt(record);
                Err(Error::Changed { path })
            }
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
        self.doubt(record);
        Err(Error::Changed {
            path: self.path(record),
        })
    }

    /// To be called when the archive has been scanned: what is doubted from now on is to be told again.
    pub fn forget_doubts(&self) {
        lock(&self.doubted).clear();
    }

    /// Tells the index, once for each directory.
    fn doubt(&self, record: &Record) {
        let (Some(shelf), Some(directory)) = (&self.shelf, record.path.parent()) else {
            return;
        };
        if let Some(touched) = &self.touched {
            touched.touch(directory.as_os_str().as_bytes());
        }
        if lock(&self.doubted).insert(directory.to_owned())
            && let Err(error) = shelf.doubt(directory)
        {
            tracing::warn!("a changed file could not be told to the index: {error}");
        }
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
