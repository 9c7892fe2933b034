//! The files of the archive, opened to be read: each is still the one that was indexed, or refused.
//!
//! Whether a file lies in a directory or in a container is nobody's business from here on.

use std::collections::HashSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::index::lock;
use super::members::unpack::Unpacker;
use super::members::{Inside, Packing};
use super::part::Part;
use super::{Error, Record, Shelf, SourceIdentity, Touched};
use crate::dicom::{ReadAt, read_full_at};

/// The archive's files at read time.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
    shelf: Option<Shelf>,
    /// Who looks at what is said to have changed.
    touched: Option<Arc<Touched>>,
    /// Directories of files that had changed.
    doubted: Arc<Mutex<HashSet<PathBuf>>>,
    unpacker: Arc<Unpacker>,
}

/// A file of the archive, open.
#[derive(Debug)]
pub struct SourceFile {
    /// The file itself, or its container.
    file: File,
    place: Place,
}

/// Where the bytes of a [`SourceFile`] are.
#[derive(Debug)]
enum Place {
    /// The file is a file of its own.
    Whole,
    /// They lie as they are in the container.
    Stored(Box<Inside>),
    /// They were unpacked.
    Unpacked(Arc<[u8]>),
}

impl SourceFile {
    /// Fills `buf` from `offset_bytes` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before that; what the system says.
    pub fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        match read_full_at(self, offset_bytes, buf)? == buf.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The file of the system in which its bytes lie as they are, and where they begin; `None` for
    /// one that was unpacked.
    pub fn in_place(&self) -> Option<(&File, u64)> {
        match &self.place {
            Place::Whole => Some((&self.file, 0)),
            Place::Stored(inside) => Some((&self.file, inside.member.offset_bytes)),
            Place::Unpacked(_) => None,
        }
    }
}

impl ReadAt for SourceFile {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        match &self.place {
            Place::Whole => ReadAt::read_at(&self.file, offset_bytes, buf),
            Place::Stored(inside) => {
                Part::new(&self.file, &inside.member).read_at(offset_bytes, buf)
            }
            Place::Unpacked(bytes) => bytes.read_at(offset_bytes, buf),
        }
    }
}

impl Source {
    /// The archive at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Source {
        Source {
            root: root.into(),
            shelf: None,
            touched: None,
            doubted: Arc::default(),
            unpacker: Arc::default(),
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

    /// Where the file of `record` is; one in a container is said to be below it.
    pub fn path(&self, record: &Record) -> PathBuf {
        self.root.join(&record.path)
    }

    /// Opens the file of `record` to be read.
    ///
    /// # Errors
    /// [`Error::Absent`] when it has vanished, [`Error::Changed`] when its size or time, or those of
    /// its container, are no longer those of the header read, [`Error::Io`] otherwise.
    pub fn open(&self, record: &Record) -> Result<SourceFile, Error> {
        let file = open(&self.outer(record)).inspect_err(|error| {
            if matches!(error, Error::Absent { .. }) {
                self.doubt(record);
            }
        })?;
        let mut opened = SourceFile {
            file,
            place: Place::Whole,
        };
        self.verify(&opened, record)?;
        if let Some(inside) = &record.inside {
            opened.place = match inside.member.packing {
                Packing::Stored => Place::Stored(inside.clone()),
                _ => {
                    let bytes = self.unpacker.bytes(&opened.file, inside);
                    let bytes = bytes.map_err(|error| Error::io(&self.path(record), error))?;
                    // What was unpacked before is of the same version of the container.
                    Place::Unpacked(bytes)
                }
            };
        }
        Ok(opened)
    }

    /// Is the file of `record` still the same? For one that is not opened.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn check(&self, record: &Record) -> Result<(), Error> {
        let path = self.outer(record);
        let metadata = std::fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
        match is_same(&metadata, record) {
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
    pub fn verify(&self, file: &SourceFile, record: &Record) -> Result<(), Error> {
        let metadata = file
            .file
            .metadata()
            .map_err(|error| Error::io(&self.path(record), error))?;
        if is_same(&metadata, record) {
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

    /// The file of the system: the record's own, or its container.
    fn outer(&self, record: &Record) -> PathBuf {
        match &record.inside {
            // Joining an empty path would add a slash, which no file has.
            Some(inside) if inside.container.as_os_str().is_empty() => self.root.clone(),
            Some(inside) => self.root.join(&inside.container),
            None => self.root.join(&record.path),
        }
    }

    /// Tells the index, once for each directory.
    fn doubt(&self, record: &Record) {
        let place = match &record.inside {
            Some(inside) => Some(inside.container.as_path()),
            None => record.path.parent(),
        };
        let (Some(shelf), Some(directory)) = (&self.shelf, place) else {
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

/// Is what stat(2) tells that of the file, or container, of `record`?
fn is_same(metadata: &Metadata, record: &Record) -> bool {
    let expected = match &record.inside {
        Some(inside) => inside.member.container,
        None => record.identity,
    };
    metadata.is_file() && expected.is_met_by(&SourceIdentity::of(metadata))
}

/// Opens a file to be read only, never waiting for the other end of a pipe.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| Error::io(path, error))
}
