//! A device as the mount's process sees it: a process of its own that may die, hang or talk nonsense,
//! without anybody noticing more than that frames are decoded on the CPU.
//!
//! | file | what |
//! |---|---|
//! | `child.rs` | the process: started, heard, killed, reaped |
//! | `keeper.rs` | the thread that starts it, watches it, and starts another when it has failed |
//! | `lane.rs` | a batch: asked, waited for, checked |
//!
//! A fault is the process's death, a passed deadline, or an answer that breaks the rules. Whoever
//! notices it tells the keeper, which kills the process **and waits until it is reaped** before the
//! fault is handed to any caller: from then on nothing writes to the slab any more, neither a thread
//! of it nor the device on its behalf (the kernel closes a process's files, and so takes down what
//! the driver has under way, before it can be reaped). Both lanes fail with it. Then it rests, and is started
//! again; the third fault retires the device for good. Only where the kernel cannot end the process
//! may it write still: [`Fault::Stuck`].

mod child;
mod keeper;
mod lane;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{DeviceReport, memory};

pub use lane::{Fault, Lane, Part, Spent};

/// How a device's process is started, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the device's number is added at the end.
    pub args: Vec<OsString>,
    /// Variables added to its environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Bounds of memory and time.
    pub limits: Limits,
}

/// Bounds of a device's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Batches under way at once.
    pub lanes: u32,
    /// Memory for encoded frames, bytes a lane. It takes as much as was ever used.
    pub lane_bytes: u64,
    /// How long a start may take. Drivers of many devices that nobody keeps open take half a minute.
    pub start: Duration,
    /// How long a killed process may take to be gone.
    pub reap: Duration,
    /// How long it rests after each fault; one more than there are retires it.
    pub rests: [Duration; 2],
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            lanes: 2,
            lane_bytes: 64 << 20,
            start: Duration::from_secs(60),
            reap: Duration::from_secs(5),
            rests: [Duration::from_millis(500), Duration::from_secs(2)],
        }
    }
}

impl Launch {
    /// This program, also when its file has been replaced meanwhile, as [`super::worker::run`].
    pub fn this_program() -> Launch {
        Launch {
            program: "/proc/self/exe".into(),
            args: vec!["gpu-worker".into()],
            variables: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Where a device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its process is being started for the first time.
    Starting,
    /// It decodes.
    Ready,
    /// It has failed, and is started again then or a little later.
    Resting(Instant),
    /// It is not used any more, and why.
    Retired(String),
    /// There is no such device, and why.
    Absent(String),
}

impl State {
    /// True if it will never decode again.
    pub fn is_final(&self) -> bool {
        matches!(self, State::Retired(_) | State::Absent(_))
    }

    /// One word for the statistics.
    pub fn word(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Resting(_) => "resting",
            State::Retired(_) => "retired",
            State::Absent(_) => "absent",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Retired(why) | State::Absent(why) => write!(f, "{}: {why}", self.word()),
            _ => f.write_str(self.word()),
        }
    }
}

/// What is known of a device, for the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub ordinal: u32,
    /// Where it stands.
    pub state: State,
    /// What it is, if it was ever ready.
    pub report: Option<DeviceReport>,
    /// How often its process has failed.
    pub faults: u32,
    /// How often its process was started.
    pub starts: u32,
    /// Its process, while there is one.
    pub pid: Option<u32>,
}

/// A device and the thread that keeps its process. Dropped, it kills the process and waits for its end.
pub struct Remote {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the keeper, the lanes and the owner share.
struct Shared {
    ordinal: u32,
    limits: Limits,
    inner: Mutex<Inner>,
    /// Anything in there has changed.
    changed: Condvar,
    /// Wakes the keeper.
    wake: PipeWriter,
}

struct Inner {
    state: State,
    report: Option<DeviceReport>,
    faults: u32,
    /// How many processes were started: the number of the present one.
    starts: u32,
    pid: Option<u32>,
    /// The lanes of the present process, if it is ready.
    sockets: Vec<Arc<OwnedFd>>,
    /// Why the present process has to go.
    failed: Option<String>,
    /// Every process up to this one is dead and reaped.
    gone: u32,
    /// The kernel could not end the last one.
    is_stuck: bool,
    /// The owner wants no more.
    is_closing: bool,
}

impl Inner {
    /// No batch is begun any more, until the keeper has said how it goes on.
    fn pause(&mut self) {
        if self.state == State::Ready {
            self.state = State::Resting(Instant::now());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment or a few that cannot panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Has the keeper look at what has changed.
    fn wake(&self) {
        // Without a keeper there is nothing left to be told; a pipe that is full wakes it as well.
        let _ = (&self.wake).write(&[0]);
    }

    /// Waits until `done` or the deadline: what `done` has found.
    fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut done: impl FnMut(&Inner) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(found) = done(&inner) {
                return Some(found);
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            inner = match left {
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    let waited = self.changed.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(inner);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn wait_settled(&self, deadline: Option<Instant>) -> State {
        let settled = |inner: &Inner| {
            let is_settled = inner.state == State::Ready || inner.state.is_final();
            is_settled.then(|| inner.state.clone())
        };
        let waited = self.wait(deadline, settled);
        waited.unwrap_or_else(|| self.lock().state.clone())
    }
}

impl Remote {
    /// Begins to start a device's process, and returns at once: the device, and its lanes, which
    /// are of use whenever it is ready.
    ///
    /// # Errors
    ///
    /// The system has no thread, descriptor or address space left.
    pub fn start(ordinal: u32, launch: Launch) -> io::Result<(Remote, Vec<Lane>)> {
        let limits = launch.limits;
        let (woken, wake) = io::pipe()?;
        let shared = Arc::new(Shared {
            ordinal,
            limits,
            inner: Mutex::new(Inner {
                state: State::Starting,
                report: None,
                faults: 0,
                starts: 0,
                pid: None,
                sockets: Vec::new(),
                failed: None,
                gone: 0,
                is_stuck: false,
                is_closing: false,
            }),
            changed: Condvar::new(),
            wake,
        });
        let mut lanes = Vec::new();
        let mut memories = Vec::new();
        for index in 0..limits.lanes.min(super::wire::LANES_MAX) {
            let (map, memory) = memory::create(limits.lane_bytes)?;
            lanes.push(Lane::new(index as usize, Arc::clone(&shared), map));
            memories.push(memory);
        }
        let keeper = keeper::Keeper::new(Arc::clone(&shared), launch, memories, woken);
        let keeper = std::thread::Builder::new()
            .name(format!("gpu {ordinal}"))
            .spawn(move || keeper.run())?;
        let keeper = Mutex::new(Some(keeper));
        Ok((Remote { shared, keeper }, lanes))
    }

    /// Its number.
    pub fn ordinal(&self) -> u32 {
        self.shared.ordinal
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// True if it decodes at the moment.
    pub fn is_ready(&self) -> bool {
        self.shared.lock().state == State::Ready
    }

    /// What it is, if it was ever ready.
    pub fn report(&self) -> Option<DeviceReport> {
        self.shared.lock().report.clone()
    }

    /// All that is known of it.
    pub fn facts(&self) -> Facts {
        let inner = self.shared.lock();
        Facts {
            ordinal: self.shared.ordinal,
            state: inner.state.clone(),
            report: inner.report.clone(),
            faults: inner.faults,
            starts: inner.starts,
            pid: inner.pid,
        }
    }

    /// Waits until it is ready or never will be, at most until `deadline`: where it stands then.
    pub fn wait_settled(&self, deadline: Option<Instant>) -> State {
        self.shared.wait_settled(deadline)
    }

    /// Retires it with these words: its results were wrong. Lanes that are under way fail. Returns
    /// at once.
    pub fn retire(&self, why: &str) {
        self.shared.change(|inner| {
            if !inner.state.is_final() {
                inner.state = State::Retired(super::wire::clean(why));
                inner.sockets.clear();
            }
            inner.is_closing = true;
        });
        self.shared.wake();
    }

    /// Kills its process and waits for its end. What is asked from now on fails.
    pub fn close(&self) {
        self.retire("closed");
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if keeper.is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("gpu {}: its keeper panicked", self.shared.ordinal);
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.close();
    }
}

/// Looks at a device: starts its process, hears what it is, and ends it. A driver that crashes or
/// hangs does so there.
///
/// # Errors
///
/// Why there is no such device, in words for people.
pub fn probe(ordinal: u32, launch: &Launch) -> Result<DeviceReport, String> {
    let deadline = Instant::now() + launch.limits.start;
    let (mut child, _) = child::Child::start(ordinal, launch, &[])
        .map_err(|error| format!("cannot start a process: {error}"))?;
    let heard = child.ready(deadline, None);
    child.kill_and_reap(launch.limits.reap);
    match heard {
        child::Heard::Ready(report) => Ok(report),
        child::Heard::Unfit(why) | child::Heard::Failed(why) => Err(why),
        child::Heard::Woken => Err("interrupted".into()),
    }
}
