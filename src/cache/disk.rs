//! The disk tier: decoded frames in files of a directory, for the next mount and after a crash.
//!
//! An entry holds all frames of one slab and is named by a hash of what its bytes follow from, so
//! what has changed has another name. It is written aside by a thread of its own and renamed when
//! it is whole and on disk; nobody ever waits for that. When it is read each frame is checked: a
//! damaged entry costs its removal and a line in the log, and the frame is made from its source.
//!
//! What is made from its source about as fast as it could be read is not kept here.

mod dir;
mod entry;
mod writer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{Layout, Slab, SlabKey, backing};
use dir::Dir;
use entry::{OWNER_LEN_BYTES, Plan, Shape};
use writer::Queue;

/// Frames that are made faster than this are not kept, bytes a second and worker: a file system
/// hardly gives them back any faster.
const KEPT_BELOW_BYTES_PER_S: u64 = 1_000_000_000;

/// How long nothing is written after a write has failed: a file system that was full may have room
/// again.
const WRITE_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How much of the file system may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBudget {
    /// Bytes.
    Bytes(u64),
    /// Percent of what is free at the start and what the directory already holds.
    Percent(u8),
}

/// What makes a disk tier.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The directory; made with mode 0700 if there is none.
    pub dir: PathBuf,
    /// How much may be kept in it.
    pub budget: DiskBudget,
    /// Who makes frames, with version: those of another maker are removed.
    pub maker: String,
    /// What the bytes follow from beside a slab's key; entries with another one are left alone.
    pub origin: Vec<u8>,
}

/// Counts of the disk tier since the start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Frames that came from it.
    pub hits: u64,
    /// Frames it did not have.
    pub misses: u64,
    /// Entries that were damaged and removed.
    pub damaged: u64,
    /// Entries written.
    pub stored: u64,
    /// Slabs that were not worth keeping, or too large.
    pub skipped: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes of files now.
    pub bytes: u64,
    /// Bytes it may hold.
    pub budget_bytes: u64,
    /// False for some minutes after writing failed.
    pub is_writing: bool,
}

/// A disk tier with its writer.
pub struct Disk {
    tier: Arc<Tier>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// What the slabs and the writer share.
struct Tier {
    dir: Dir,
    owner: [u8; OWNER_LEN_BYTES],
    origin: [u8; 32],
    queue: Queue,
    counters: Counters,
    /// Changes when entries come, so that who found none looks again.
    generation: AtomicU64,
    write_pause: Duration,
    /// Until when nothing is written, since writing failed.
    paused_until: Mutex<Option<Instant>>,
}

impl Tier {
    fn is_writing(&self) -> bool {
        let paused = self.paused_until.lock();
        let paused = *paused.unwrap_or_else(PoisonError::into_inner);
        paused.is_none_or(|until| Instant::now() >= until)
    }

    fn pause_writing(&self) {
        let paused = self.paused_until.lock();
        let until = Instant::now() + self.write_pause;
        *paused.unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    stored: AtomicU64,
    skipped: AtomicU64,
}

/// What the tier has of one slab.
pub(super) struct SlabCopy {
    tier: Arc<Tier>,
    plan: Arc<Plan>,
    found: Mutex<Found>,
    made_bytes: AtomicU64,
    made_ns: AtomicU64,
    /// In the writer's queue.
    queued: AtomicBool,
    /// Not to be written any more.
    settled: AtomicBool,
}

enum Found {
    /// In this generation there was none.
    None { generation: Option<u64> },
    /// An entry, and the checksums of its frames.
    Entry(Arc<Vec<u32>>),
}

impl Disk {
    /// Opens the tier and starts its writer.
    ///
    /// # Errors
    /// When the directory can be neither made nor listed, or no thread can be started. One that
    /// cannot be written to is no error: what is there is used.
    pub fn open(options: &DiskOptions) -> io::Result<Disk> {
        Disk::with_pause(options, WRITE_PAUSE)
    }

    fn with_pause(options: &DiskOptions, write_pause: Duration) -> io::Result<Disk> {
        let owner = entry::owner(&options.maker);
        let dir = Dir::open(&options.dir, owner)?;
        let budget_bytes = match options.budget {
            DiskBudget::Bytes(bytes) => bytes,
            DiskBudget::Percent(percent) => {
                let free = backing::free_bytes(&options.dir)?;
                // Divided first: the product may not fit.
                (free.saturating_add(dir.taken().bytes) / 100).saturating_mul(percent.into())
            }
        };
        let tier = Arc::new(Tier {
            dir: dir.with_budget(budget_bytes),
            owner,
            origin: Sha256::digest(&options.origin).into(),
            queue: Queue::default(),
            counters: Counters::default(),
            generation: AtomicU64::new(0),
            write_pause,
            paused_until: Mutex::default(),
        });
        let shared = tier.clone();
        let builder = thread::Builder::new().name("cache-dir".to_string());
        let writer = builder.spawn(move || writer::run(&shared))?;
        Ok(Disk {
            tier,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Counts so far.
    pub fn stats(&self) -> DiskStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (counters, taken) = (&self.tier.counters, self.tier.dir.taken());
        DiskStats {
            hits: get(&counters.hits),
            misses: get(&counters.misses),
            damaged: get(&counters.damaged),
            stored: get(&counters.stored),
            skipped: get(&counters.skipped),
            entries: taken.entries,
            bytes: taken.bytes,
            budget_bytes: self.tier.dir.budget_bytes(),
            is_writing: self.tier.is_writing(),
        }
    }

    /// Ends the writer. Slabs that are complete in memory are still written, for a few seconds.
    pub fn shutdown(&self) {
        self.tier.queue.stop();
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of cache_dir ended by a panic");
        }
    }

    /// Removes the entry of a slab, if there is one.
    pub(super) fn forget(&self, key: &SlabKey, layout: &Layout) {
        let copy = self.copy_of(key, layout);
        self.tier.dir.remove(&copy.plan.name());
    }

    pub(super) fn copy_of(&self, key: &SlabKey, layout: &Layout) -> SlabCopy {
        let mut bytes = self.tier.origin.to_vec();
        bytes.extend(key.fingerprint);
        bytes.extend(key.variant.as_bytes());
        let shape = Shape {
            header_len_bytes: layout.header.len() as u64,
            frame_len_bytes: layout.frame_len_bytes as u64,
            frame_count: layout.frame_count as u64,
        };
        SlabCopy {
            plan: Arc::new(Plan::new(&self.tier.owner, &bytes, shape)),
            tier: self.tier.clone(),
            found: Mutex::new(Found::None { generation: None }),
            made_bytes: AtomicU64::new(0),
            made_ns: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl SlabCopy {
    /// True when the tier has an entry of the slab, as far as is known without reading frames.
    pub(super) fn exists(&self) -> bool {
        let generation = self.tier.generation.load(Ordering::Acquire);
        match &*self.found() {
            Found::Entry(_) => return true,
            Found::None { generation: seen } if *seen == Some(generation) => return false,
            Found::None { .. } => {}
        }
        // Nothing is locked meanwhile; of two that look the second does so in vain.
        let sums = self.look();
        let exists = sums.is_some();
        *self.found() = match sums {
            Some(sums) => Found::Entry(Arc::new(sums)),
            None => Found::None {
                generation: Some(generation),
            },
        };
        exists
    }

    /// Reads a frame into `out`. False, and nothing to be read from `out`, when it cannot be had.
    pub(super) fn read(&self, frame: usize, out: &mut [u8]) -> bool {
        let sums = match &*self.found() {
            Found::Entry(sums) => sums.clone(),
            Found::None { .. } => return false,
        };
        match self.read_checked(frame, sums.get(frame).copied(), out) {
            Ok(()) => {
                self.tier.counters.hits.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(why) => {
                self.lose(&why);
                false
            }
        }
    }

    /// Takes note of a frame that was made from its source within `ns`. True when the slab is to
    /// be queued for the writer.
    pub(super) fn made(&self, ns: u64) -> bool {
        self.tier.counters.misses.fetch_add(1, Ordering::Relaxed);
        self.made_bytes
            .fetch_add(self.plan.shape().frame_len_bytes, Ordering::Relaxed);
        self.made_ns.fetch_add(ns, Ordering::Relaxed);
        self.is_to_be_queued()
    }

    /// Takes note of a slab that a frame from here has completed. True when it is to be queued for the
    /// writer: the entry was lost while that frame was read from it.
    pub(super) fn completed(&self) -> bool {
        !self.exists() && self.is_to_be_queued()
    }

    fn is_to_be_queued(&self) -> bool {
        let idle = self.settled.load(Ordering::Relaxed) || !self.tier.is_writing();
        !idle && !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Has the writer see to the slab.
    pub(super) fn queue(&self, slab: Weak<Slab>) {
        self.tier.queue.push(slab);
    }

    fn is_cheap(&self) -> bool {
        let per_s = u128::from(self.made_bytes.load(Ordering::Relaxed)) * 1_000_000_000;
        let ns = u128::from(self.made_ns.load(Ordering::Relaxed));
        per_s > u128::from(KEPT_BELOW_BYTES_PER_S) * ns
    }

    /// Frames made from their source, counted with repetitions.
    fn made_frames(&self) -> u64 {
        self.made_bytes.load(Ordering::Relaxed) / self.plan.shape().frame_len_bytes.max(1)
    }

    /// The checksums of the entry, if there is a good one.
    fn look(&self) -> Option<Vec<u32>> {
        let name = self.plan.name();
        let file = match self.tier.dir.find(&name) {
            Ok(file) => file?,
            Err(why) => {
                tracing::warn!("cannot open entry {name} of cache_dir: {why}");
                return None;
            }
        };
        match self.read_head(&file) {
            Ok(sums) => Some(sums),
            Err(why) => {
                self.lose(&why);
                None
            }
        }
    }

    fn read_head(&self, file: &File) -> io::Result<Vec<u32>> {
        if file.metadata()?.len() != self.plan.len_bytes() {
            return Err(damaged("its length"));
        }
        let len = usize::try_from(self.plan.head_len_bytes());
        let mut head = vec![0; len.map_err(|_| damaged("its size"))?];
        file.read_exact_at(&mut head, 0)?;
        self.plan
            .checksums(&head)
            .ok_or_else(|| damaged("its table"))
    }

    fn read_checked(&self, frame: usize, sum: Option<u32>, out: &mut [u8]) -> io::Result<()> {
        // Opened for each frame: a descriptor for every slab would be too many, and space of an
        // entry that was removed is only free when nobody has it open.
        let file = self.tier.dir.read(&self.plan.name())?;
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        file.read_exact_at(out, self.plan.offset_bytes(frame))?;
        match Some(self.plan.checksum(frame, out)) == sum {
            true => Ok(()),
            false => Err(damaged("a frame")),
        }
    }

    /// Removes the entry, if it is of no use.
    fn lose(&self, why: &io::Error) {
        let name = self.plan.name();
        if is_shortage(why) {
            tracing::debug!("entry {name} of cache_dir is not to be had just now: {why}");
            return;
        }
        let mut found = self.found();
        let known = std::mem::replace(&mut *found, Found::None { generation: None });
        drop(found);
        if why.kind() == io::ErrorKind::NotFound {
            // Another process needed the room.
            tracing::debug!("entry {name} of cache_dir is gone");
            return;
        }
        if matches!(known, Found::Entry(_)) || why.kind() == io::ErrorKind::InvalidData {
            self.tier.counters.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("entry {name} of cache_dir is removed: {why}");
        }
        self.tier.dir.remove(&name);
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is it this process, or the machine, that lacks something? Then the entry may be as good as ever.
fn is_shortage(why: &io::Error) -> bool {
    use libc::{EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM};
    let errno = why.raw_os_error();
    errno.is_some_and(|errno| [EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM].contains(&errno))
}

fn damaged(what: &str) -> io::Error {
    let words = format!("{what} is not what was written");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// How long the writer goes on after its end was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
