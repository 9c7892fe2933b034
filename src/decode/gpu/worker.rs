//! The device's process, from its own side: `dicomfs gpu-worker`.
//!
//! It is started by the mount's process ([`super::Remote`]), opens one device, and decodes batches
//! from memory into memory until the line to that process is closed. It knows no paths and no
//! archive, gives up every right that it does not need (`confine.rs`), and believes nothing that it
//! is told: each range of each job is checked against the memory that is really there.
//!
//! One thread a lane, each with an engine of its own: while one lane's batch is copied, another's is
//! decoded. The first thread only waits for the end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::Mmap;

use super::memory::{self, Windows};
use super::wire::{self, Answer, Order, Part};
use super::{DeviceReport, Engine, Job, Outcome, confine, nodes};
use crate::ipc::process::{silence, wait_readable};

/// How long the first word may take. Who starts this has said it before the program runs.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// Something that decodes batches on a device. Used by the thread that opened it, and by no other.
pub trait Run {
    /// Decodes `jobs` from `encoded` into `slab`, of which each uses its own ranges only
    /// ([`Job::encoded`], [`Job::out`], relative to these slices). They do not overlap. How each went,
    /// in order. `slab` is the windows of one slab or of several, side by side.
    ///
    /// `encoded` is the same memory at every call, and may be mapped for reading only; `slab` is
    /// gone when this returns, so a device must be done with it. Bytes of it that no job names
    /// belong to others, who may be reading and writing them.
    ///
    /// # Errors
    ///
    /// The device is lost: the process ends.
    fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String>;
}

/// A device that was opened.
pub type Opened = (DeviceReport, Box<dyn Run>);

/// Opens the device with this number, on the thread that will use it: called once for each lane.
/// The words of an error are for people: why there is no device to be used.
pub trait Open: Fn(u32) -> Result<Opened, String> + Send + Sync + 'static {}

impl<F: Fn(u32) -> Result<Opened, String> + Send + Sync + 'static> Open for F {}

/// Opens a device of this machine.
///
/// # Errors
///
/// Why there is none to be used.
pub fn open_engine(ordinal: u32) -> Result<Opened, String> {
    let engine = Engine::open(ordinal)?;
    Ok((engine.report().clone(), Box::new(engine)))
}

impl Run for Engine {
    fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String> {
        Engine::run(self, jobs, encoded, slab)
    }
}

/// Nobody has started this as a device's process.
#[derive(Debug, thiserror::Error)]
#[error("`dicomfs gpu-worker` is a part of `dicomfs mount`, which starts it")]
pub struct NotStarted;

/// Runs this process as a device's. The line to the mount's process is standard input. Before any
/// other descriptor was opened and any thread started.
///
/// Does not return but with an error.
///
/// # Errors
///
/// [`NotStarted`], or the system refuses.
pub fn run(open: impl Open) -> io::Result<()> {
    confine::close_inherited();
    let stdin = io::stdin();
    let line = stdin.as_fd().try_clone_to_owned()?;
    let Some((protocol, ordinal, lanes, parent)) = hello(&line) else {
        return Err(io::Error::other(NotStarted));
    };
    silence(stdin.as_fd())?;
    confine::attach(parent)?;
    nodes::make_missing(ordinal);
    let prepared = match protocol {
        wire::PROTOCOL => confine::give_up_first(parent, nodes::are_for_all())
            .map_err(|error| format!("cannot give up rights: {error}")),
        _ => Err("another version of this program".into()),
    };
    match prepared {
        Ok(rights) => {
            let give_up = || rights.give_up_rest();
            serve(&line, ordinal, lanes, Arc::new(open), give_up)?;
        }
        Err(why) => wire::tell(line.as_fd(), &Answer::Unfit(why), &[])?,
    }
    confine::end_now()
}

/// The first word of the mount's process.
fn hello(line: &OwnedFd) -> Option<(u32, u32, u32, u32)> {
    // A terminal would be waited for.
    let kind = File::from(line.try_clone().ok()?)
        .metadata()
        .ok()?
        .file_type();
    if !kind.is_socket() {
        return None;
    }
    let [said] = wait_readable([line.as_fd()], Some(HELLO_TIME)).ok()?;
    if !said {
        return None;
    }
    match wire::hear(line.as_fd()) {
        Ok(Some((
            Order::Hello {
                protocol,
                ordinal,
                lanes,
                parent,
            },
            _,
        ))) => Some((protocol, ordinal, lanes, parent)),
        _ => None,
    }
}

/// A lane as it was handed over.
struct Handed {
    socket: OwnedFd,
    memory: Mmap,
}

/// Opens the device, says so, and decodes until the line is closed. `settle` is called when the
/// device is open and before anything is decoded.
///
/// Does not wait for lanes at its end: a batch may hang. The process is to end then.
///
/// # Errors
///
/// The mount's process is gone, or breaks the rules.
pub fn serve(
    line: &OwnedFd,
    ordinal: u32,
    lanes: u32,
    open: Arc<dyn Open>,
    settle: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let handed: Vec<Handed> = match lanes {
        // Only a look at the device.
        0 => Vec::new(),
        1..=wire::LANES_MAX => (0..lanes).map(|_| lane(line)).collect::<io::Result<_>>()?,
        _ => return Err(broken("too many lanes")),
    };
    let answer = match start(ordinal, handed, &open, settle) {
        Ok((report, go)) => {
            wire::tell(line.as_fd(), &Answer::Ready(report), &[])?;
            go
        }
        Err(why) => {
            let unfit = Answer::Unfit(wire::clean(&why));
            return wire::tell(line.as_fd(), &unfit, &[]);
        }
    };
    for lane in answer {
        // A lane that has ended has told why on its own line.
        let _ = lane.send(());
    }
    // Nothing more is ever said: this waits for the end.
    match wire::hear::<Order>(line.as_fd())? {
        None => Ok(()),
        Some(_) => Err(broken("a word out of turn")),
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Takes up one lane.
fn lane(line: &OwnedFd) -> io::Result<Handed> {
    let Some((Order::Lane { len_bytes }, fds)) = wire::hear(line.as_fd())? else {
        return Err(broken("a lane was expected"));
    };
    let Ok([socket, memory]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(broken("a lane without its descriptors"));
    };
    let memory = memory::map_lane(&memory, len_bytes)?;
    Ok(Handed { socket, memory })
}

/// Starts the lanes' threads, each with its engine: what the device is, and a way to tell each that
/// it may begin.
fn start(
    ordinal: u32,
    handed: Vec<Handed>,
    open: &Arc<dyn Open>,
    settle: impl FnOnce() -> io::Result<()>,
) -> Result<(DeviceReport, Vec<Sender<()>>), String> {
    let mut report = None;
    if handed.is_empty() {
        report = Some(opened(&**open, ordinal)?.0);
    }
    let mut started = Vec::new();
    // One after the other: a driver's first call takes locks of its own.
    for (n, handed) in handed.into_iter().enumerate() {
        let (tell, told) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let open = Arc::clone(open);
        let work = move || work(ordinal, &handed, &*open, &tell, &may_go);
        let thread = thread::Builder::new().name(format!("lane {n}"));
        thread.spawn(work).map_err(|error| error.to_string())?;
        report = Some(told.recv().map_err(|_| "a lane has ended")??);
        started.push(go);
    }
    settle().map_err(|error| format!("cannot give up rights: {error}"))?;
    let report = report.ok_or("no device was opened")?;
    Ok((report, started))
}

fn opened(open: &dyn Open, ordinal: u32) -> Result<Opened, String> {
    catch_unwind(AssertUnwindSafe(|| open(ordinal)))
        .unwrap_or_else(|_| Err("the driver's binding panicked".into()))
}

/// A lane's thread: opens the device, and decodes batch after batch.
fn work(
    ordinal: u32,
    lane: &Handed,
    open: &dyn Open,
    tell: &Sender<Result<DeviceReport, String>>,
    may_go: &Receiver<()>,
) {
    let (report, mut engine) = match opened(open, ordinal) {
        Ok(opened) => opened,
        Err(why) => {
            // Who started this thread waits for it.
            let _ = tell.send(Err(why));
            return;
        }
    };
    let told = tell.send(Ok(report));
    if told.is_err() || may_go.recv().is_err() {
        return;
    }
    loop {
        let answer = match wire::hear::<Order>(lane.socket.as_fd()) {
            Ok(Some((order, fds))) => decode(&mut *engine, order, &fds, &lane.memory),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let (answer, is_lost) = match answer {
            Ok(answer) => (answer, false),
            Err(why) => (Answer::Lost(wire::clean(&why)), true),
        };
        // Who does not listen is gone, and this process with it.
        let told = wire::tell(lane.socket.as_fd(), &answer, &[]);
        if told.is_err() || is_lost {
            return;
        }
    }
}

/// Decodes one batch.
fn decode(
    engine: &mut dyn Run,
    order: Order,
    fds: &[OwnedFd],
    encoded: &Mmap,
) -> Result<Answer, String> {
    let Order::Batch { number, parts } = order else {
        return Err("a batch was expected".into());
    };
    let start = (Instant::now(), confine::thread_cpu_time());
    let system = |error: io::Error| format!("cannot map the slabs: {error}");
    let lens = memory::lens_of(fds.iter().map(AsFd::as_fd)).map_err(system)?;
    wire::check(&parts, &lens, encoded.len() as u64)?;
    let slabs = fds.iter().map(AsFd::as_fd);
    let mapped = Windows::map(slabs.zip(parts.iter().map(|part| &part.window)));
    let mut windows = mapped.map_err(system)?;
    let jobs = side_by_side(parts, windows.offsets());
    windows.populate(jobs.iter().map(|job| job.out.clone()));
    let run = AssertUnwindSafe(|| engine.run(&jobs, encoded, windows.bytes()));
    let outcomes = catch_unwind(run).unwrap_or_else(|_| Err("the decoder panicked".into()))?;
    if outcomes.len() != jobs.len() {
        return Err("the decoder lost count of its jobs".into());
    }
    drop(windows);
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(Answer::Done {
        number,
        outcomes: outcomes.into_iter().map(wire::clean_outcome).collect(),
        cpu_ns: nanoseconds(confine::thread_cpu_time().saturating_sub(start.1)),
        wall_ns: nanoseconds(start.0.elapsed()),
    })
}

/// The jobs of all parts, with outputs in the memory where the windows begin at `offsets`.
fn side_by_side(parts: Vec<Part>, offsets: &[u64]) -> Vec<Job> {
    let moved = |(part, offset): (Part, &u64)| {
        let (from, to) = (part.window.start, *offset);
        part.jobs.into_iter().map(move |mut job| {
            job.out = job.out.start - from + to..job.out.end - from + to;
            job
        })
    };
    parts.into_iter().zip(offsets).flat_map(moved).collect()
}

#[cfg(test)]
mod tests;
