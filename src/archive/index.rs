//! The index: what a scan learnt, kept in SQLite, so that the next one opens only what changed.
//!
//! Never to be relied on: a row is believed only with the size, the time and the checksum it was
//! written with, and an index that fails is the same as none. The caller says where it lies,
//! which is never in the archive. Several processes may share one.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::read::Content;
use super::scan::Seen;
use super::{Error, Shelf, SourceIdentity};
use crate::dicom::Attributes;

/// Version of what the rows hold; to be raised whenever `Instance` or the parser changes what is
/// stored. The crate's version and the table of attributes are part of the stamp as well.
const FORMAT_VERSION: u32 = 3;

/// "dcmf": tells an index of ours from any other database.
const APPLICATION_ID: u32 = 0x6463_6D66;

/// How long another process may hold the index before it counts as unusable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows in one transaction: few enough that another process gets its turn.
const BATCH_ROWS: usize = 5_000;

/// An open index.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    connection: Connection,
    shelf: Shelf,
    /// Where a temporary index lies, removed with it.
    _home: Option<tempfile::TempDir>,
}

impl Index {
    /// Opens the index at `path`, making it when it is not there. One of another version is
    /// emptied, a damaged one made anew; a file that is no index is left alone.
    ///
    /// # Errors
    /// [`Error::Index`] when it can be neither used nor made.
    pub fn open(path: &Path) -> Result<Index, Error> {
        let failed = |what: String| Error::Index {
            path: path.to_owned(),
            what,
        };
        make_private(path).map_err(|error| failed(error.to_string()))?;
        if !is_ours_or_new(path).map_err(|error| failed(error.to_string()))? {
            return Err(failed(
                "the file is something else and is left alone".to_owned(),
            ));
        }
        match connect(path) {
            Ok(connection) => Ok(Index {
                path: path.to_owned(),
                connection,
                shelf: Shelf::default(),
                _home: None,
            }),
            Err(error) if is_damage(&error) => {
                tracing::warn!(
                    "index {} is damaged ({error}); making it anew",
                    path.display()
                );
                remove(path).map_err(|error| failed(error.to_string()))?;
                let connection = connect(path).map_err(|error| failed(error.to_string()))?;
                Ok(Index {
                    path: path.to_owned(),
                    connection,
                    shelf: Shelf::default(),
                    _home: None,
                })
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// An index that goes with the process: for when none can be kept.
    ///
    /// # Errors
    /// [`Error::Index`] when there is no room for temporary files.
    pub fn temporary() -> Result<Index, Error> {
        let home = tempfile::Builder::new().prefix("dicomfs").tempdir();
        let home = home.map_err(|error| Error::Index {
            path: std::env::temp_dir(),
            what: error.to_string(),
        })?;
        let mut index = Index::open(&home.path().join("index"))?;
        index._home = Some(home);
        Ok(index)
    }

    /// Makes the index that of the archive at `root`, which empties it when it was another's, and
    /// tells what it holds. To be called before [`super::scan`], which changes what the shelf
    /// has as it goes on.
    ///
    /// # Errors
    /// [`Error::Index`] when the index fails.
    pub fn bind(&mut self, root: &Path) -> Result<Shelf, Error> {
        bind(&mut self.connection, root).map_err(|error| self.failed(&error))?;
        Ok(self.shelf.clone())
    }

    pub(super) fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// Where the index lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::Index {
            path: self.path.clone(),
            what: error.to_string(),
        }
    }

    /// All that the index has of the archive at `root`. An index of another archive has nothing.
    pub(super) fn rows(&mut self, root: &Path) -> Result<Rows, Error> {
        let result = bind(&mut self.connection, root).and_then(|()| rows(&self.connection));
        result.map_err(|error| self.failed(&error))
    }

    /// Writes the files of `seen` that were read and forgets those of `known` that were not seen.
    pub(super) fn update(&mut self, seen: &[Seen], known: &Rows) -> Result<(), Error> {
        let fresh: Vec<&Seen> = seen.iter().filter(|file| !file.from_index).collect();
        let gone = known.by_path.iter();
        let gone = gone.filter(|(_, row)| !row.is_seen.load(Ordering::Relaxed));
        let gone: Vec<&PathBuf> = gone.map(|(path, _)| path).collect();
        let result =
            write(&mut self.connection, &fresh).and_then(|()| forget(&mut self.connection, &gone));
        result.map_err(|error| self.failed(&error))
    }
}

/// What an index has: contents stay encoded until a file turns out to be as it was.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_path: HashMap<PathBuf, Row>,
    contents: Vec<u8>,
}

impl Row {
    /// Notes that there still is such a file, so that the row is not forgotten.
    pub(super) fn see(&self) {
        self.is_seen.store(true, Ordering::Relaxed);
    }
}

/// What an index has of one file.
#[derive(Debug)]
pub(super) struct Row {
    identity: SourceIdentity,
    crc: u32,
    content: Range<usize>,
    is_seen: AtomicBool,
}

impl Rows {
    /// The row of the file at `path`.
    pub(super) fn row(&self, path: &Path) -> Option<&Row> {
        self.by_path.get(path)
    }

    /// What `row`, that of `path`, has of this version of the file; `None` too when it is damaged.
    pub(super) fn content(
        &self,
        row: &Row,
        path: &Path,
        identity: SourceIdentity,
    ) -> Option<Content> {
        let content = self.contents.get(row.content.clone())?;
        if row.identity != identity || checksum(path, identity, content) != row.crc {
            return None;
        }
        postcard::from_bytes(content).ok()
    }
}

/// May the file be written to: is it absent, empty, or an index by its application id?
fn is_ours_or_new(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(72).read_to_end(&mut header)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // The database header of SQLite: magic at 0, application id at 68.
    let ours = header.get(68..72) == Some(&APPLICATION_ID.to_be_bytes());
    Ok(header.is_empty() || (header.starts_with(b"SQLite format 3\0") && ours))
}

fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

/// Makes the index's file and the directory it lies in where they are missing, for their owner
/// only: headers name patients. SQLite gives its other files the mode of this one.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The application id comes first: from then on the file is known as an index. It is written
    // once: a write costs a wait for the disk, which is longer than a small scan.
    let id: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    // Where the file system cannot do it, the mode stays another one, which serves as well.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let (version, table) = (env!("CARGO_PKG_VERSION"), Attributes::TABLE);
    let stamp = format!("{FORMAT_VERSION} {version} {table:08x}");
    let transaction = begin(&mut connection)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
         CREATE TABLE IF NOT EXISTS files (
             path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
             crc INTEGER NOT NULL, content BLOB NOT NULL);",
    )?;
    replace_meta(&transaction, "stamp", stamp.as_bytes())?;
    transaction.commit()?;
    Ok(connection)
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    // Immediate: two writers then wait for each other instead of failing half way.
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Sets a value of `meta`; all files are forgotten when it was another one.
fn replace_meta(transaction: &Transaction<'_>, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let select = "SELECT value FROM meta WHERE key = ?1";
    let found: Option<Vec<u8>> = transaction
        .query_row(select, [key], |row| row.get(0))
        .optional()?;
    if found.as_deref() == Some(value) {
        return Ok(());
    }
    transaction.execute("DELETE FROM files", [])?;
    transaction.execute(
        "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
        params![key, value],
    )?;
    Ok(())
}

/// Makes the index that of the archive at `root`.
fn bind(connection: &mut Connection, root: &Path) -> rusqlite::Result<()> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let transaction = begin(connection)?;
    replace_meta(&transaction, "root", root.as_os_str().as_bytes())?;
    transaction.commit()
}

fn rows(connection: &Connection) -> rusqlite::Result<Rows> {
    let mut found = Rows::default();
    let mut statement = connection.prepare("SELECT path, size, mtime, crc, content FROM files")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let path = PathBuf::from(OsStr::from_bytes(row.get_ref(0)?.as_blob()?));
        let identity = SourceIdentity {
            size_bytes: row.get::<_, i64>(1)? as u64,
            mtime_ns: row.get(2)?,
        };
        let start = found.contents.len();
        found.contents.extend_from_slice(row.get_ref(4)?.as_blob()?);
        let row = Row {
            identity,
            crc: row.get(3)?,
            content: start..found.contents.len(),
            is_seen: AtomicBool::new(false),
        };
        found.by_path.insert(path, row);
    }
    Ok(found)
}

/// SQLite does not notice a flipped bit in a row; a wrong rescale slope must not come from one.
fn checksum(path: &Path, identity: SourceIdentity, content: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(path.as_os_str().as_bytes());
    crc.update(&identity.size_bytes.to_le_bytes());
    crc.update(&identity.mtime_ns.to_le_bytes());
    crc.update(content);
    crc.sum()
}

fn write(connection: &mut Connection, files: &[&Seen]) -> rusqlite::Result<()> {
    for batch in files.chunks(BATCH_ROWS) {
        let encoded: Vec<Option<Vec<u8>>> = batch
            .par_iter()
            .map(|file| postcard::to_stdvec(&file.content.map(|record| &record.instance)).ok())
            .collect();
        let transaction = begin(connection)?;
        let insert = "INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = transaction.prepare_cached(insert)?;
        for (file, content) in batch.iter().zip(encoded) {
            let Some(content) = content else { continue };
            let crc = checksum(file.path(), file.identity, &content);
            let SourceIdentity {
                size_bytes,
                mtime_ns,
            } = file.identity;
            let path = file.path().as_os_str().as_bytes();
            statement.execute(params![path, size_bytes as i64, mtime_ns, crc, content])?;
        }
        drop(statement);
        transaction.commit()?;
    }
    Ok(())
}

fn forget(connection: &mut Connection, paths: &[&PathBuf]) -> rusqlite::Result<()> {
    for batch in paths.chunks(BATCH_ROWS) {
        let transaction = begin(connection)?;
        let mut statement = transaction.prepare_cached("DELETE FROM files WHERE path = ?1")?;
        for path in batch {
            statement.execute([path.as_os_str().as_bytes()])?;
        }
        drop(statement);
        transaction.commit()?;
    }
    Ok(())
}
