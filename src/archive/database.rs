//! The database file of the index: made, opened, bound to one archive, emptied or replaced when it
//! is another's or damaged.
//!
//! Knows the tables, not what their rows mean.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::dicom::Attributes;

/// Version of what the rows hold; to be raised whenever `Instance` or the parser changes what is
/// stored. The crate's version and the table of attributes are part of the stamp as well.
const FORMAT_VERSION: u32 = 6;

/// "dcmf": tells an index of ours from any other database.
const APPLICATION_ID: u32 = 0x6463_6D66;

/// How long another process may hold the index before it counts as unusable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Groups lie by series, so that those of a series are found without an index, whose damage would
/// hide some. Their blobs lie apart: they are written as a directory is read, and belong to
/// something only once it is read to its end.
const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE dirs (path BLOB PRIMARY KEY, content BLOB NOT NULL);
    CREATE TABLE groups (
        kind INTEGER NOT NULL, series TEXT NOT NULL, id INTEGER NOT NULL, dir BLOB NOT NULL,
        files INTEGER NOT NULL, PRIMARY KEY (kind, series, id)) WITHOUT ROWID;
    CREATE TABLE blobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, files BLOB NOT NULL, contents BLOB NOT NULL);
    CREATE TABLE notes (
        series TEXT PRIMARY KEY, edition INTEGER NOT NULL, content BLOB NOT NULL);";

/// Why a row was not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// SQLite's words.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Another process has made it the index of something else.
    #[error("it has become the index of another archive")]
    Taken,
    /// More than a row can hold.
    #[error("a directory does not fit into it")]
    TooLarge,
}

impl From<FromSqlError> for Failure {
    fn from(error: FromSqlError) -> Failure {
        Failure::Sqlite(error.into())
    }
}

impl Failure {
    /// Is the file itself broken?
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Failure::Sqlite(error) if is_damage(error))
    }
}

/// What tells an index of this archive, made by this version of the program.
pub(super) fn binding(root: &Path) -> Vec<u8> {
    let (version, table) = (env!("CARGO_PKG_VERSION"), Attributes::TABLE);
    let mut binding = format!("{FORMAT_VERSION} {version} {table:08x} ").into_bytes();
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    binding.extend(root.as_os_str().as_bytes());
    binding
}

/// May the file be written to: is it absent, empty, or an index by its application id?
pub(super) fn is_ours_or_new(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(72).read_to_end(&mut header)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // The database header of SQLite: magic at 0, application id at 68.
    let ours = header.get(68..72) == Some(&APPLICATION_ID.to_be_bytes());
    Ok(header.is_empty() || (header.starts_with(b"SQLite format 3\0") && ours))
}

/// What a file beside the index is called that says that it is damaged.
const DAMAGED: &str = "-damaged";

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Notes that the index is damaged, for who opens it next: only reading one of its pages may tell,
/// and the rest of it is of use as long as it is open.
pub(super) fn mark_damaged(path: &Path) -> std::io::Result<()> {
    let marker = beside(path, DAMAGED);
    private()
        .create(true)
        .truncate(false)
        .open(marker)
        .map(drop)
}

pub(super) fn is_marked_damaged(path: &Path) -> bool {
    beside(path, DAMAGED).exists()
}

/// Removes the index's files.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm", DAMAGED] {
        match std::fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Is the database broken, or a row of it? A value is never of another type than it was written
/// as.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let by_code = matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    );
    let by_value = matches!(
        error,
        E::InvalidColumnType(..) | E::FromSqlConversionFailure(..) | E::Utf8Error(..)
    );
    by_code || by_value
}

/// Makes the index's file and the directory it lies in where they are missing, for their owner
/// only: headers name patients. SQLite gives its other files the mode of this one.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    match private().create_new(true).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The file beside the index that the one process holds locked which changes it: what a scan has
/// read of the index stays true until it is done.
pub(super) fn lock_file(path: &Path) -> std::io::Result<File> {
    let lock = beside(path, "-scan");
    private().create(true).truncate(false).open(lock)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Opens the database.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
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
    // 16 MiB: a first scan writes each page twice, and so seldom waits for the disk between.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    Ok(connection)
}

/// Makes the database that of `binding`: emptied when it was another's.
pub(super) fn bind(connection: &mut Connection, binding: &[u8]) -> rusqlite::Result<()> {
    if is_bound(connection, binding).unwrap_or(false) {
        return Ok(());
    }
    // Immediate: two processes then wait for each other instead of failing half way.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_bound(&transaction, binding).unwrap_or(false) {
        let tables =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let names: Vec<String> = transaction
            .prepare(tables)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in names {
            transaction.execute_batch(&format!("DROP TABLE \"{}\"", name.replace('"', "\"\"")))?;
        }
        transaction.execute_batch(TABLES)?;
        set_meta(&transaction, "binding", binding)?;
    }
    transaction.commit()
}

/// Is this the index of `binding`? To be asked in each transaction.
pub(super) fn is_bound(connection: &Connection, binding: &[u8]) -> rusqlite::Result<bool> {
    Ok(meta(connection, "binding")?.as_deref() == Some(binding))
}

pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}
