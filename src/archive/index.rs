//! The index: what scans learnt, kept in SQLite, so that the next one opens only what changed and
//! nothing of an instance has to stay in memory.
//!
//! Never to be relied on: what a row says is believed only when its seal holds, and an index that
//! fails is replaced by a temporary one. The caller says where it lies, which is never in the
//! archive. Several processes may share one: the one that scans holds it locked against other
//! scans, and all of them notice when it has become the index of another archive.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;

use super::database::{self, Failure};
use super::{Error, Shelf};

/// An open index.
#[derive(Debug)]
pub struct Index {
    shared: Arc<Shared>,
}

impl Index {
    /// Opens the index at `path`, making it when it is not there. A damaged one is made anew; a
    /// file that is no index is left alone.
    ///
    /// # Errors
    /// [`Error::Index`] when it can be neither used nor made.
    pub fn open(path: &Path) -> Result<Index, Error> {
        let connection = open(path).map_err(|what| failed(path, what))?;
        Ok(Index {
            shared: Arc::new(Shared::new(Place {
                path: path.to_owned(),
                home: None,
                binding: Vec::new(),
                idle: vec![connection],
            })),
        })
    }

    /// An index that goes with the process, below the directory for temporary files: for when
    /// none can be kept.
    ///
    /// # Errors
    /// [`Error::Index`] when there is no room for it.
    pub fn temporary() -> Result<Index, Error> {
        Ok(Index {
            shared: Arc::new(Shared::new(temporary()?)),
        })
    }

    /// Makes the index that of the archive at `root`, which empties it when it was another's or
    /// of another version, and tells what it holds. Meant to be called before [`fn@super::scan`], so
    /// that what the last scan learnt can be used while the next one is under way.
    ///
    /// # Errors
    /// [`Error::Index`] when the index fails.
    pub fn bind(&self, root: &Path) -> Result<Shelf, Error> {
        self.shared.bind_or_make_anew(root)?;
        Ok(Shelf::new(Arc::clone(&self.shared), root))
    }

    /// Where the index lies.
    pub fn path(&self) -> PathBuf {
        self.shared.place().path.clone()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What tells one state of a series from others: changes whenever a group of it does.
pub(super) type Edition = i64;

/// An index as its owner, its shelves and a scan have it.
#[derive(Debug)]
pub(super) struct Shared {
    place: Mutex<Place>,
    /// The series as they were when the index was bound: what a client may have seen of it.
    pub(super) bound: Mutex<BTreeMap<String, Edition>>,
    /// How many threads of this process wait to write, and what the scan waits for.
    waiting: Mutex<u32>,
    turn: Condvar,
    /// The database turned out to be broken.
    is_damaged: AtomicBool,
    /// By series, which edition of it this process was given last. Series by their hash.
    pub(super) given: Mutex<HashMap<u64, Edition>>,
}

/// Where the index is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// The directory of a temporary index, removed with it.
    home: Option<TempDir>,
    /// Whose index it has to be; empty until it is bound.
    binding: Vec<u8>,
    /// Connections that nobody uses just now.
    idle: Vec<Connection>,
}

/// Connections that are kept: each may hold two megabytes of pages.
const IDLE_MAX: usize = 2;

impl Shared {
    fn new(place: Place) -> Shared {
        Shared {
            place: Mutex::new(place),
            bound: Mutex::default(),
            waiting: Mutex::default(),
            turn: Condvar::new(),
            is_damaged: AtomicBool::new(false),
            given: Mutex::default(),
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        lock(&self.place)
    }

    /// See [`Index::bind`].
    pub(super) fn bind(&self, root: &Path) -> Result<(), Error> {
        let binding = database::binding(root);
        self.place().binding.clone_from(&binding);
        let bound = self.with_any(|connection| {
            database::bind(connection, &binding)?;
            Ok(super::shelf::editions(connection)?)
        })?;
        *lock(&self.bound) = bound;
        Ok(())
    }

    pub(super) fn bind_or_make_anew(&self, root: &Path) -> Result<(), Error> {
        match self.bind(root) {
            Err(_) if self.is_damaged() => self.make_anew(root),
            result => result,
        }
    }

    pub(super) fn is_bound(&self, root: &Path) -> bool {
        self.place().binding == database::binding(root)
    }

    /// Runs `work` on a connection of its own, in one transaction, in which the index is that of
    /// the archive it was bound to.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        self.within(TransactionBehavior::Deferred, work)
    }

    /// The same for changes.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        *lock(&self.waiting) += 1;
        // Immediate: two writers then wait for each other instead of failing half way.
        let result = self.within(TransactionBehavior::Immediate, work);
        *lock(&self.waiting) -= 1;
        self.turn.notify_all();
        result
    }

    fn within<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let binding = self.place().binding.clone();
        self.with_any(|connection| {
            let transaction = connection.transaction_with_behavior(behavior)?;
            if !database::is_bound(&transaction, &binding)? {
                return Err(Failure::Taken);
            }
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// Lets those write who wait for it, for a second at most: a scan begins its next transaction
    /// so soon after the last that they would seldom get between.
    fn give_way(&self) {
        let waiting = lock(&self.waiting);
        let _ = self
            .turn
            .wait_timeout_while(waiting, Duration::from_secs(1), |waiting| *waiting > 0);
    }

    /// A connection for changes.
    pub(super) fn writer(self: &Arc<Self>) -> Result<Writer, Error> {
        let (connection, _) = self.take()?;
        let binding = self.place().binding.clone();
        Ok(Writer {
            connection,
            binding,
            shared: Arc::clone(self),
        })
    }

    fn with_any<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let (mut connection, path) = self.take()?;
        let result = work(&mut connection);
        let mut place = self.place();
        if place.path == path && place.idle.len() < IDLE_MAX && result.is_ok() {
            place.idle.push(connection);
        }
        drop(place);
        self.named(result)
    }

    fn take(&self) -> Result<(Connection, PathBuf), Error> {
        let mut place = self.place();
        let (idle, path) = (place.idle.pop(), place.path.clone());
        drop(place);
        let connection = match idle {
            Some(connection) => connection,
            None => database::connect(&path).map_err(|error| failed(&path, error))?,
        };
        Ok((connection, path))
    }

    pub(super) fn named<T>(&self, result: Result<T, Failure>) -> Result<T, Error> {
        result.map_err(|failure| {
            let path = self.place().path.clone();
            if failure.is_damage() {
                self.is_damaged.store(true, Ordering::Relaxed);
                if let Err(error) = database::mark_damaged(&path) {
                    tracing::warn!("the index is damaged, which cannot be noted: {error}");
                }
            }
            failed(&path, failure)
        })
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Waits until no other process scans with this index. The lock goes with the file; there is
    /// none for an index that nobody else can have.
    pub(super) fn lock_scans(&self) -> Result<Option<File>, Error> {
        let path = self.place().path.clone();
        if self.place().home.is_some() {
            return Ok(None);
        }
        let lock = database::lock_file(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        lock.map(Some).map_err(|error| failed(&path, error))
    }

    /// Makes a damaged index anew where it is. Those who have the damaged one open keep that.
    pub(super) fn make_anew(&self, root: &Path) -> Result<(), Error> {
        tracing::warn!("the index is damaged; making it anew");
        let mut place = self.place();
        let path = place.path.clone();
        let idle = std::mem::take(&mut place.idle);
        drop(place);
        drop(idle);
        database::remove(&path).map_err(|error| failed(&path, error))?;
        let connection = open(&path).map_err(|what| failed(&path, what))?;
        self.place().idle.push(connection);
        self.is_damaged.store(false, Ordering::Relaxed);
        self.bind(root)
    }

    /// Puts a temporary index in its place.
    pub(super) fn make_temporary(&self, root: &Path) -> Result<(), Error> {
        let new = temporary()?;
        let old = std::mem::replace(&mut *self.place(), new);
        drop(old);
        self.is_damaged.store(false, Ordering::Relaxed);
        self.bind(root)
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.place().home.is_some()
    }
}

/// A connection for changes. What is begun and not committed is undone when it goes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    binding: Vec<u8>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Begins a transaction, in which the index is that of the archive it was bound to.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        // Immediate: two writers then wait for each other instead of failing half way.
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        if !database::is_bound(&self.connection, &self.binding)? {
            self.connection.execute_batch("ROLLBACK")?;
            return Err(Failure::Taken);
        }
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<(), Failure> {
        self.connection.execute_batch("COMMIT")?;
        self.shared.give_way();
        Ok(())
    }
}

/// Locks what no panic can leave half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn failed(path: &Path, what: impl ToString) -> Error {
    Error::Index {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn open(path: &Path) -> Result<Connection, String> {
    database::make_private(path).map_err(|error| error.to_string())?;
    if !database::is_ours_or_new(path).map_err(|error| error.to_string())? {
        return Err("the file is something else and is left alone".to_owned());
    }
    if database::is_marked_damaged(path) {
        tracing::warn!("the index was found to be damaged; making it anew");
        database::remove(path).map_err(|error| error.to_string())?;
    }
    match database::connect(path) {
        Ok(connection) => Ok(connection),
        Err(error) if database::is_damage(&error) => {
            tracing::warn!("the index is damaged ({error}); making it anew");
            database::remove(path).map_err(|error| error.to_string())?;
            database::connect(path).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn temporary() -> Result<Place, Error> {
    let home = tempfile::Builder::new().prefix("dicomfs-index").tempdir();
    let home = home.map_err(|error| failed(&std::env::temp_dir(), error))?;
    let path = home.path().join("index");
    let connection = open(&path).map_err(|what| failed(&path, what))?;
    Ok(Place {
        path,
        home: Some(home),
        binding: Vec::new(),
        idle: vec![connection],
    })
}
