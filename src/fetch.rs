//! Fetching: a byte range of a slab becomes frames, and frames are made by workers.
//!
//! A read whose frames are all present is answered at once from the slab. Otherwise its reply moves
//! to the frames it waits for, these go to the front of the queue, and the worker that completes
//! the last one answers. Each frame is made once however many wait for it. Readers that go forward
//! get the frames ahead of them made by idle workers (a *sweep*), which never delays a demanded
//! frame. Devices share that work ([`Device`]). Knows byte ranges and frames; what makes a frame is
//! behind [`Produce`].
//!
//! | file | job |
//! |---|---|
//! | `stream.rs` | a slab that is being read: who waits for which frame, how far its sweeps are |
//! | `queue.rs` | the order of work |
//! | `work.rs` | a worker, and what becomes of a frame that is made |
//! | `produce.rs` | what makes frames, as the workers see it |
//! | `frames.rs` | the same for an archive: located, read, decoded, brought to shown values |
//! | `ahead.rs` | what is made ahead of readers |
//! | `tally.rs` | who made how many frames |
//! | `device.rs` | devices that share the work |
//! | `resident.rs`, `export.rs` | volumes held in device memory for other programs |
//! | `error.rs` | why a frame or a range cannot be had |

mod ahead;
mod device;
mod error;
mod export;
mod frames;
mod produce;
mod queue;
mod resident;
mod stream;
mod tally;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::{io, thread};

use crate::cache::{Cache, Layout, SlabKey};

pub use device::{Device, DeviceStats, Gpu, Lane, Prepared, Readiness, Unfit};
pub use error::Error;
pub use frames::FrameSource;
pub use produce::Produce;
pub use resident::{
    DeviceMemory, DirectFrame, Export, ExportWay, GpuMemory, Lease, MemoryBudget, ResidentStats,
};
pub use stream::{Interest, Reply, Stream};
pub use tally::Made;

#[cfg(test)]
pub(crate) use resident::tests::fake as fake_memory;

use device::Devices;
use queue::Queue;
use resident::Residences;
use tally::Tallies;

/// What was wrong with a frame, for the findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The volume, as its slab's key names it.
    pub volume: String,
    /// Which frame, in the producer's words.
    pub frame: String,
    /// Code of the finding.
    pub code: &'static str,
    /// What it was, in words.
    pub what: String,
}

/// Failures kept for the findings; more are counted only.
const FAILURES_MAX: usize = 10_000;

/// What the workers have done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads asked for.
    pub reads: AtomicU64,
    /// Reads answered at once from a slab.
    pub reads_at_once: AtomicU64,
    /// Bytes handed out.
    pub read_bytes: AtomicU64,
    /// Frames of these ranges that were there already.
    pub frame_hits: AtomicU64,
    /// Frames of these ranges that were not.
    pub frame_misses: AtomicU64,
    /// Frames made.
    pub frames: AtomicU64,
    /// Bytes of the frames made.
    pub frame_bytes: AtomicU64,
    /// Time workers spent making frames, ns, all workers added up.
    pub frame_ns: AtomicU64,
    /// Frames that could not be made.
    pub failures: AtomicU64,
}

type Streams = std::collections::HashMap<SlabKey, Weak<Stream>>;

struct Shared {
    cache: Arc<Cache>,
    queue: Queue,
    streams: Mutex<Streams>,
    counters: Counters,
    tallies: Tallies,
    /// `None` without any: then nothing is done for them.
    devices: Option<Devices>,
    /// Set once, where volumes can be held by devices.
    residences: OnceLock<Arc<Residences>>,
    failures: Mutex<Vec<Failure>>,
}

/// Worker threads, their queue, and the streams that are open.
pub struct Fetcher {
    shared: Arc<Shared>,
    workers: Mutex<Vec<thread::JoinHandle<()>>>,
    thread_count: usize,
    /// Frames a sweep may run ahead of its reader at most.
    readahead_frames: usize,
}

impl Fetcher {
    /// Starts `threads` workers (at least one) over `cache`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(cache: Arc<Cache>, threads: usize, readahead_frames: usize) -> io::Result<Fetcher> {
        Fetcher::with_devices(cache, threads, readahead_frames, Vec::new(), true)
    }

    /// The same with devices beside the workers; `exact` leaves to the CPU whatever they would make
    /// other bytes of. Does not wait for the devices to be ready.
    ///
    /// # Errors
    /// As of [`Fetcher::new`].
    pub fn with_devices(
        cache: Arc<Cache>,
        threads: usize,
        readahead_frames: usize,
        devices: Vec<Arc<dyn Device>>,
        exact: bool,
    ) -> io::Result<Fetcher> {
        let tuning = device::Tuning::new(exact);
        Fetcher::tuned(cache, threads, readahead_frames, devices, tuning)
    }

    fn tuned(
        cache: Arc<Cache>,
        threads: usize,
        readahead_frames: usize,
        devices: Vec<Arc<dyn Device>>,
        tuning: device::Tuning,
    ) -> io::Result<Fetcher> {
        let threads = threads.max(1);
        let names = devices.iter().map(|device| device.name()).collect();
        let shared = Arc::new(Shared {
            cache,
            queue: Queue::default(),
            streams: Mutex::default(),
            counters: Counters::default(),
            tallies: Tallies::new(names),
            devices: (!devices.is_empty()).then(|| Devices::new(devices, threads, tuning)),
            residences: OnceLock::new(),
            failures: Mutex::default(),
        });
        Devices::start(&shared)?;
        let mut workers = Vec::new();
        for n in 0..threads {
            let shared = shared.clone();
            let builder = thread::Builder::new().name(format!("decode-{n}"));
            workers.push(builder.spawn(move || shared.work())?);
        }
        Ok(Fetcher {
            shared,
            workers: Mutex::new(workers),
            thread_count: threads,
            readahead_frames,
        })
    }

    /// The stream of a slab: the one that is open already, or a new one.
    ///
    /// # Errors
    /// When the slab cannot be made.
    pub fn open(
        &self,
        key: &SlabKey,
        layout: impl FnOnce() -> Layout,
        producer: impl FnOnce() -> Arc<dyn Produce>,
    ) -> Result<Arc<Stream>, Error> {
        let known = self.shared.streams().get(key).and_then(Weak::upgrade);
        if let Some(stream) = known {
            return Ok(stream);
        }
        let no_room = |error| Error::io("cannot make room for the decoded volume", &error);
        let cache = &self.shared.cache;
        // Made outside the lock: it takes memory, and may give some back first.
        let slab = cache.open(key, layout).map_err(no_room)?;
        let (producer, tally) = (producer(), self.shared.tallies.of_volume(&key.volume));
        let mut streams = self.shared.streams();
        // Of two that race, the first one in is kept.
        if let Some(first) = streams.get(key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        // One whose frames cannot all be had any more has been replaced under the same lock.
        let slab = cache.current(&slab).map_err(no_room)?;
        let stream = Arc::new(Stream::new(slab, producer, tally));
        // Names of closed streams go when the table is touched anyway, so it stays small.
        streams.retain(|_, stream| stream.strong_count() > 0);
        streams.insert(key.clone(), Arc::downgrade(&stream));
        Ok(stream)
    }

    /// Lets go of what is kept of one version of a volume, which has changed: who opens it from now on
    /// gets it anew. Who has it open goes on with what was made and what can still be made.
    pub fn forget_version(&self, volume: &str, fingerprint: &[u8; 32]) {
        let is_of = |key: &SlabKey| key.volume == volume && key.fingerprint == *fingerprint;
        self.shared.streams().retain(|key, _| !is_of(key));
        self.shared.cache.forget_version(volume, fingerprint);
    }

    /// Reads a byte range of a stream's slab and answers through `reply`, at once or later. The
    /// range must lie within the slab.
    pub fn read(&self, stream: &Arc<Stream>, range: std::ops::Range<u64>, reply: Reply) {
        self.shared.read(stream, range, reply);
    }

    /// Frames that are made at a time.
    pub fn thread_count(&self) -> usize {
        self.thread_count
    }

    /// Who reads from the same workers, for what outlives a call: a reply that asks for more.
    pub fn reader(&self) -> Reader {
        Reader {
            shared: Arc::downgrade(&self.shared),
        }
    }

    /// Runs something that may wait for a disk on a worker, before any sweep.
    pub fn run_soon(&self, work: impl FnOnce() + Send + 'static) {
        self.shared.queue.push_work(Box::new(work));
    }

    /// Gives memory back, on a worker, if the cache is over its budget: to be called when a file is
    /// closed, since what it held could not be dropped before.
    pub fn trim_soon(&self) {
        let cache = &self.shared.cache;
        if cache.resident_bytes() > cache.budget_bytes() {
            let cache = cache.clone();
            self.run_soon(move || cache.trim());
        }
    }

    /// What has been done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The cache underneath.
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }

    /// Frames made so far by the name of who made them: of a volume, by its name.
    pub fn made_of(&self, volume: &str) -> Vec<(String, u64)> {
        self.shared.tallies.made_of(volume)
    }

    /// What each maker has made of all volumes together.
    pub fn made(&self) -> Vec<Made> {
        self.shared.tallies.made()
    }

    /// What waits to be made: demanded frames and other work that somebody waits for, then volumes
    /// with frames to be made ahead and frames that devices have left.
    pub fn queued(&self) -> (u64, u64) {
        self.shared.queue.depth()
    }

    /// How the devices do.
    pub fn device_stats(&self) -> Vec<DeviceStats> {
        let devices = self.shared.devices.as_ref();
        devices.map_or_else(Vec::new, Devices::reports)
    }

    /// What was wrong with frames: those that could not be made, and those that a device made wrong.
    pub fn failures(&self) -> Vec<Failure> {
        self.shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many there are of each code.
    pub fn failure_counts(&self) -> BTreeMap<&'static str, u64> {
        let failures = self.shared.failures.lock();
        let failures = failures.unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::new();
        for failure in failures.iter() {
            *counts.entry(failure.code).or_default() += 1;
        }
        counts
    }

    /// Stops the workers; reads still waiting are answered with [`Error::ShuttingDown`].
    pub fn shutdown(&self) {
        self.shared.queue.stop();
        if let Some(devices) = &self.shared.devices {
            devices.stop();
        }
        if let Some(residences) = self.shared.residences.get() {
            residences.stop();
        }
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a decode worker ended by a panic");
            }
        }
        let streams = self.shared.streams();
        let open: Vec<Arc<Stream>> = streams.values().filter_map(Weak::upgrade).collect();
        drop(streams);
        for stream in open {
            stream.fail_all(&Error::ShuttingDown);
        }
        self.shared.cache.shutdown();
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Reads ranges of streams and nothing ahead of them.
#[derive(Clone)]
pub struct Reader {
    /// Weak: what waits for frames in the queue must not keep the queue alive.
    shared: Weak<Shared>,
}

impl Reader {
    /// Reads a byte range of a stream's slab and answers through `reply`, at once or later. The
    /// range must lie within the slab. Without the workers the answer is [`Error::ShuttingDown`].
    pub fn read(&self, stream: &Arc<Stream>, range: std::ops::Range<u64>, reply: Reply) {
        match self.shared.upgrade() {
            Some(shared) => shared.read(stream, range, reply),
            None => reply(Err(Error::ShuttingDown)),
        }
    }
}

impl Shared {
    fn read(&self, stream: &Arc<Stream>, range: std::ops::Range<u64>, reply: Reply) {
        let counters = &self.counters;
        counters.reads.fetch_add(1, Ordering::Relaxed);
        counters
            .read_bytes
            .fetch_add(range.end - range.start, Ordering::Relaxed);
        let (mut stream, mut range, mut reply) = (stream.clone(), range, reply);
        let demand = loop {
            match stream.demand(range, reply) {
                Ok(demand) => break demand,
                Err(elsewhere) => {
                    (stream, range, reply) = (elsewhere.stream, elsewhere.range, elsewhere.reply);
                }
            }
        };
        let order = Ordering::Relaxed;
        counters.frame_hits.fetch_add(demand.hits, order);
        counters.frame_misses.fetch_add(demand.misses, order);
        if demand.misses == 0 {
            counters.reads_at_once.fetch_add(1, order);
        }
        if demand.wanted.is_empty() {
            return;
        }
        let Some(waiting) = self.queue.push_urgent(&stream, &demand.wanted) else {
            for frame in demand.wanted {
                stream.done(frame, Err(Error::ShuttingDown));
            }
            return;
        };
        if let Some(devices) = &self.devices {
            devices.ring_if_late(waiting);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
