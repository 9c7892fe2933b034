//! Whole volumes in device memory, exported to programs of users: *residences*.
//!
//! Who opens one gets a lease. The first lease of a volume by a user has it made resident on a thread of
//! its own here; all others of that user share it. What nobody has a lease of stays until its room is
//! needed, within the budget of each device. The bytes are those of the slab: a frame comes from there,
//! or the device has decoded it for the slab or read it itself, compared with the CPU's where that is due.
//!
//! | file | job |
//! |---|---|
//! | `memory.rs` | what a device must be able to do |
//! | `table.rs` | the account of residences and leases (pure) |
//! | `admit.rs` | threads that fill: a device chosen, room made, the end told |
//! | `fill.rs` | the frames of one residence: from the slab as they are made, and by the device itself |
//! | `beside.rs` | what a device decodes meanwhile, left in the memory by itself |
//! | `check.rs` | what a device has read itself, compared with the CPU's |
//! | `process.rs` | a GPU of this machine as a [`DeviceMemory`] |
//!
//! Exported memory can be written to by who maps it (CUDA has no other kind). So a residence belongs to
//! one user, and no read of a file is ever answered from it.

mod admit;
mod beside;
mod check;
mod fill;
mod memory;
mod process;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub(super) use beside::Beside;
pub use memory::{DeviceMemory, DirectFrame, MemoryBudget};
pub use process::GpuMemory;

use super::{Error, Readiness, Shared, Stream};
use crate::decode::gpu::{Exported, Handle, ResidentId};
use crate::hash::hex;
use crate::ipc::handout::Handout;
use crate::ipc::process::random;
use table::{Key, Secret, Standing, Table, Waiter};

/// Threads that fill, a device: while one waits for the last frames of a volume the other begins.
const FILLERS_OF_DEVICE: usize = 2;

/// How long the end waits for the threads. What they do after that changes nothing that anybody sees.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Hexadecimal digits of a lease's number and its secret: a token.
const TOKEN_LEN: usize = 16 + 32;

/// A volume in device memory.
pub(super) struct Resident {
    /// Which device, by its place in the list.
    memory: usize,
    ordinal: u32,
    id: ResidentId,
    exported: Exported,
    /// Frames that the device has read itself.
    direct_frames: usize,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Counters {
    opens: AtomicU64,
    evictions: AtomicU64,
    direct_frames: AtomicU64,
    beside_frames: AtomicU64,
    uploaded_frames: AtomicU64,
    compared_frames: AtomicU64,
    mismatches: AtomicU64,
}

/// What `.dicomfs/stats.json` says of residences.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ResidentStats {
    /// Volumes that are resident now.
    pub count: usize,
    /// Device memory that they take, bytes.
    pub bytes: u64,
    /// How many of them, and of those being made, somebody has a lease of.
    pub leased: usize,
    /// Leases given so far.
    pub opens: u64,
    /// Volumes dropped to make room.
    pub evictions: u64,
    /// Frames that a device has read from their files itself.
    pub direct_frames: u64,
    /// Frames that a device has decoded and left there itself.
    pub beside_frames: u64,
    /// Frames copied there from slabs.
    pub uploaded_frames: u64,
    /// Of those that a device has read: how many were compared with the CPU's.
    pub compared_frames: u64,
    /// Of these, how many were wrong.
    pub mismatches: u64,
}

/// A residence that is to be filled.
struct Order {
    residence: u64,
    stream: Arc<Stream>,
}

/// All residences of a fetcher.
pub(super) struct Residences {
    memories: Vec<Arc<dyn DeviceMemory>>,
    budget: MemoryBudget,
    table: Mutex<Table>,
    /// Those that are being filled, for the batches of their devices.
    targets: Mutex<Vec<Arc<beside::Target>>>,
    orders: Mutex<VecDeque<Order>>,
    /// Rung for orders and at the end.
    bell: Condvar,
    is_stopped: AtomicBool,
    /// Whether devices read files themselves: not any more once one got a frame wrong.
    is_direct: AtomicBool,
    handout: Mutex<Option<Arc<Handout>>>,
    counters: Counters,
    running: Mutex<usize>,
    ended: Condvar,
}

/// A volume that is resident, or will be, as long as this lives.
pub struct Lease {
    residences: Arc<Residences>,
    number: u64,
    secret: Secret,
}

/// What a user's program needs to map a volume in device memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Number of the device, as the driver counts.
    pub ordinal: u32,
    /// `GPU-` and a UUID, as nvidia-smi writes it.
    pub device_uuid: String,
    /// What it takes of the device, bytes.
    pub allocation_bytes: u64,
    /// How it is opened.
    pub way: ExportWay,
}

/// How a user's program opens a volume in device memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportWay {
    /// A unix socket that gives a descriptor for the token ([`crate::ipc::handout`]).
    Socket {
        /// Its path.
        path: String,
        /// What to say there; of this lease alone.
        token: String,
    },
    /// A CUDA IPC handle, in hexadecimal digits.
    Ipc(String),
}

impl Residences {
    pub(super) fn new(
        memories: Vec<Arc<dyn DeviceMemory>>,
        budget: MemoryBudget,
    ) -> Arc<Residences> {
        Arc::new(Residences {
            memories,
            budget,
            table: Mutex::default(),
            targets: Mutex::default(),
            orders: Mutex::default(),
            bell: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            is_direct: AtomicBool::new(true),
            handout: Mutex::default(),
            counters: Counters::default(),
            running: Mutex::new(0),
            ended: Condvar::new(),
        })
    }

    /// Starts the threads that fill.
    pub(super) fn start(self: &Arc<Residences>, shared: &Arc<Shared>) -> io::Result<()> {
        for number in 0..self.memories.len() * FILLERS_OF_DEVICE {
            admit::spawn(self, shared, number)?;
        }
        Ok(())
    }

    /// A lease of a volume for a user. Never waits.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no device will ever hold one, [`Error::TooLarge`] where none can.
    pub(super) fn lease(
        self: &Arc<Residences>,
        stream: &Arc<Stream>,
        uid: u32,
    ) -> Result<Lease, Error> {
        self.check_possible(stream)?;
        let secret = random().map_err(|error| Error::io("no random bytes", &error))?;
        let key = Key {
            slab: stream.slab_use().key().clone(),
            uid,
        };
        // What is there may be gone with its device's process: then it is made anew.
        let found = self.table().find(&key);
        if let Some((residence, Some(resident))) = found {
            self.is_held(residence, &resident);
        }
        let (number, new) = self.table().lease(&key, secret);
        self.counters.opens.fetch_add(1, Ordering::Relaxed);
        if let Some(residence) = new {
            let stream = stream.clone();
            self.orders().push_back(Order { residence, stream });
            self.bell.notify_all();
            // The end may have come since it was looked for, and taken this for nobody's.
            if self.is_stopped() {
                self.settle(residence, Err(Error::ShuttingDown));
            }
        }
        Ok(Lease {
            residences: self.clone(),
            number,
            secret,
        })
    }

    fn check_possible(&self, stream: &Stream) -> Result<(), Error> {
        let usable = |memory: &&Arc<dyn DeviceMemory>| memory.readiness() != Readiness::Retired;
        let mut usable = self.memories.iter().filter(usable).peekable();
        if usable.peek().is_none() || self.is_stopped() {
            return Err(no_device());
        }
        let len_bytes = array_len_bytes(stream);
        let mut may_fit = usable.map(|memory| match memory.memory_bytes() {
            Some(_) => len_bytes <= self.budget.bytes_of(&**memory),
            None => true,
        });
        match may_fit.any(|fits| fits) {
            true => Ok(()),
            false => Err(too_large()),
        }
    }

    /// Whether a residence's memory is still there; else it is one no more.
    fn is_held(&self, residence: u64, resident: &Resident) -> bool {
        let memory = self.memories.get(resident.memory);
        if memory.is_some_and(|memory| memory.is_held(resident.id)) {
            return true;
        }
        let lost = self.table().lose(residence, lost());
        drop(lost);
        false
    }

    /// Gives a lease's descriptor to who shows its token, and is its user or root.
    fn find(&self, token: &[u8], uid: u32) -> Option<OwnedFd> {
        let (number, secret) = parse_token(token)?;
        let (resident, owner) = self.table().shown(number, &secret)?;
        let is_due = uid == owner || uid == 0;
        let memory = self.memories.get(resident.memory)?;
        if !is_due || !memory.is_held(resident.id) {
            return None;
        }
        match &resident.exported.handle {
            Handle::Descriptor(descriptor) => descriptor.try_clone().ok(),
            Handle::Ipc(_) => None,
        }
    }

    /// The place where descriptors are handed out; opened when it is needed for the first time.
    fn handout(self: &Arc<Residences>) -> io::Result<Arc<Handout>> {
        let known = self.lock_handout().clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let me = Arc::downgrade(self);
        let find = move |token: &[u8], uid| Weak::upgrade(&me)?.find(token, uid);
        let made = Arc::new(Handout::open(Box::new(find))?);
        let mut handout = self.lock_handout();
        if self.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // Of two that race the first one in is kept; the other goes after the lock.
        Ok(handout.get_or_insert(made).clone())
    }

    /// Gives back what left the account.
    fn drop_memory(&self, victims: impl IntoIterator<Item = Arc<Resident>>) {
        for victim in victims {
            self.counters.evictions.fetch_add(1, Ordering::Relaxed);
            self.give_back(victim);
        }
    }

    fn give_back(&self, resident: Arc<Resident>) {
        let (memory, id) = (self.memories.get(resident.memory), resident.id);
        // Its descriptor first: the memory is taken as long as one is open.
        drop(resident);
        if let Some(memory) = memory {
            memory.release(id);
        }
    }

    pub(super) fn stats(&self) -> ResidentStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let census = self.table().census();
        let counters = &self.counters;
        ResidentStats {
            count: census.count,
            bytes: census.bytes,
            leased: census.leased,
            opens: get(&counters.opens),
            evictions: get(&counters.evictions),
            direct_frames: get(&counters.direct_frames),
            beside_frames: get(&counters.beside_frames),
            uploaded_frames: get(&counters.uploaded_frames),
            compared_frames: get(&counters.compared_frames),
            mismatches: get(&counters.mismatches),
        }
    }

    /// Ends all filling; who waits is told so. The socket goes.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        let handout = self.lock_handout().take();
        drop(handout);
        // With the lock, so that nobody looks just before this and waits just after it.
        self.orders().clear();
        self.bell.notify_all();
        let filling = self.table().filling();
        for residence in filling {
            self.settle(residence, Err(Error::ShuttingDown));
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .ended
            .wait_timeout_while(running, STOP_WITHIN, |running| *running > 0);
        let (running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *running > 0 {
            tracing::warn!(
                "{} threads that fill devices do not end and are left",
                *running
            );
        }
    }

    /// Ends the filling of a residence and tells those who wait.
    fn settle(&self, residence: u64, outcome: Result<Arc<Resident>, Error>) {
        let waiters = self.table().settle(residence, &outcome);
        match (waiters, outcome) {
            (Some(waiters), outcome) => {
                for waiter in waiters {
                    waiter(outcome.clone());
                }
            }
            // It was ended meanwhile, with the mount: nobody has it.
            (None, Ok(resident)) => {
                let bytes = resident.exported.allocation_bytes;
                self.table().uncharge(resident.memory, bytes);
                self.give_back(resident);
            }
            (None, Err(_)) => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Waits until there is something to do, at most until `deadline`.
    fn wait(&self, deadline: Instant) {
        let orders = self.orders();
        if !self.is_stopped() {
            let time = deadline.saturating_duration_since(Instant::now());
            // Woken or late: the caller looks for itself.
            drop(self.bell.wait_timeout(orders, time));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each of its methods leaves it consistent, so a poisoned lock is usable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_handout(&self) -> MutexGuard<'_, Option<Arc<Handout>>> {
        self.handout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Calls `answer` when the volume is resident, or never will be: at once or from another thread.
    ///
    /// The errors are those of the frames, [`Error::NoDevice`], [`Error::NoRoom`] while others hold all
    /// there is, [`Error::TooLarge`], and [`Error::Changed`] when the memory is gone with its device's
    /// process.
    pub fn when_resident(&self, answer: impl FnOnce(Result<Export, Error>) + Send + 'static) {
        let (residences, token) = (self.residences.clone(), self.token());
        let answer = move |settled: Result<Arc<Resident>, Error>| {
            answer(settled.and_then(|resident| residences.export(&resident, token)));
        };
        let mut waiter = Some(Box::new(answer) as Waiter);
        let standing = self.residences.table().standing(self.number, &mut waiter);
        // It waits for the end of the filling.
        let Some(waiter) = waiter else { return };
        waiter(match standing {
            Some(Standing::Resident(resident)) => Ok(resident),
            Some(Standing::Failed(error)) => Err(error),
            Some(Standing::Filling) | None => Err(Error::ShuttingDown),
        });
    }

    fn token(&self) -> String {
        format!("{:016x}{}", self.number, hex(&self.secret))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.residences.table().release(self.number);
    }
}

impl Residences {
    fn export(self: &Arc<Residences>, resident: &Resident, token: String) -> Result<Export, Error> {
        let memory = self.memories.get(resident.memory);
        if !memory.is_some_and(|memory| memory.is_held(resident.id)) {
            return Err(lost());
        }
        let way = match &resident.exported.handle {
            Handle::Descriptor(_) => {
                let handout = self.lock_handout().clone().ok_or(Error::ShuttingDown)?;
                let path = handout.path().to_string();
                ExportWay::Socket { path, token }
            }
            Handle::Ipc(handle) => ExportWay::Ipc(hex(handle)),
        };
        Ok(Export {
            ordinal: resident.ordinal,
            device_uuid: resident.exported.device_uuid.clone(),
            allocation_bytes: resident.exported.allocation_bytes,
            way,
        })
    }
}

/// A lease's number and its secret, as [`Lease::token`] writes them.
fn parse_token(token: &[u8]) -> Option<(u64, Secret)> {
    let text = std::str::from_utf8(token).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() != TOKEN_LEN || !is_plain {
        return None;
    }
    let (number, secret) = text.split_at(16);
    let secret = u128::from_str_radix(secret, 16).ok()?;
    Some((u64::from_str_radix(number, 16).ok()?, secret.to_be_bytes()))
}

/// Length of a volume's array, which is its slab without the header, bytes.
fn array_len_bytes(stream: &Stream) -> u64 {
    let slab = stream.slab();
    let frames = slab.range_of(0..slab.frame_count());
    frames.end - frames.start
}

fn no_device() -> Error {
    Error::NoDevice("no GPU can be used".to_string())
}

fn too_large() -> Error {
    Error::TooLarge("the volume is larger than device_cache_size".to_string())
}

fn lost() -> Error {
    Error::Changed("the memory is gone with the device's process".to_string())
}
