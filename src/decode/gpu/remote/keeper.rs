//! The thread that keeps a device's process: starts it, watches it, ends it, starts another.
//!
//! It is the only one that starts the process, and lives longer than it: the kernel ends the process
//! with the thread that has started it.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::{Child, Heard};
use super::{Inner, Launch, Shared, State};
use crate::ipc::process::wait_readable;

/// The thread's own things.
pub struct Keeper {
    shared: Arc<Shared>,
    launch: Launch,
    memories: Vec<OwnedFd>,
    woken: PipeReader,
}

/// Why a process is no more.
enum Ending {
    /// There is no device to be used, and why.
    Unfit(String),
    /// It has failed.
    Fault(String),
    /// The owner wants no more.
    Closing,
}

impl Keeper {
    /// The keeper of a device, before anything is started.
    pub fn new(
        shared: Arc<Shared>,
        launch: Launch,
        memories: Vec<OwnedFd>,
        woken: PipeReader,
    ) -> Keeper {
        Keeper {
            shared,
            launch,
            memories,
            woken,
        }
    }

    /// Keeps the process until the device is absent, retired or not wanted any more.
    pub fn run(self) {
        while !self.shared.lock().is_closing {
            let (ending, is_gone) = self.one_process();
            match self.settle(ending, is_gone) {
                Some(rest) if self.rest(rest) => {}
                _ => break,
            }
        }
    }

    /// The life of one process, from its start until it is reaped: true if it could be.
    fn one_process(&self) -> (Ending, bool) {
        let ordinal = self.shared.ordinal;
        let started = Child::start(ordinal, &self.launch, &self.memories);
        self.shared.change(|inner| inner.starts += 1);
        let (mut child, sockets) = match started {
            Ok(started) => started,
            Err(error) => {
                let why = format!("its process cannot be started: {error}");
                return (Ending::Fault(why), true);
            }
        };
        self.shared.change(|inner| inner.pid = Some(child.pid()));
        let ending = self.watch(&mut child, sockets);
        self.shared.change(Inner::pause);
        let is_gone = child.kill_and_reap(self.launch.limits.reap);
        (ending, is_gone)
    }

    /// Waits for the process to be ready, lets the lanes use it, and waits for its end.
    fn watch(&self, child: &mut Child, sockets: Vec<OwnedFd>) -> Ending {
        let deadline = Instant::now() + self.launch.limits.start;
        loop {
            match child.ready(deadline, Some(&self.woken)) {
                Heard::Ready(report) => {
                    self.shared.change(|inner| {
                        inner.report = Some(report);
                        if !inner.is_closing {
                            inner.state = State::Ready;
                            inner.sockets = sockets.into_iter().map(Arc::new).collect();
                        }
                    });
                    break;
                }
                Heard::Unfit(why) => return Ending::Unfit(why),
                Heard::Failed(why) => return Ending::Fault(why),
                Heard::Woken if self.is_closing() => return Ending::Closing,
                // A lane's fault that came late: of the process before.
                Heard::Woken => {}
            }
        }
        loop {
            if let Some(why) = child.ended(&self.woken) {
                return Ending::Fault(why);
            }
            if self.is_closing() {
                return Ending::Closing;
            }
            if let Some(why) = self.shared.lock().failed.clone() {
                return Ending::Fault(why);
            }
        }
    }

    /// Empties the pipe that wakes this thread: true if it is to end.
    fn is_closing(&self) -> bool {
        // It holds at least a byte, so this does not wait; many are as good as one.
        let mut buffer = [0; 64];
        if let Err(error) = (&self.woken).read(&mut buffer) {
            tracing::error!(%error, "the keeper of a device cannot be woken");
        }
        self.shared.lock().is_closing
    }

    /// Draws the conclusion from a process's end: how long to rest before another is started, `None`
    /// if there is to be no other. Callers whose batches were lost go on only now, and find all of it
    /// settled.
    fn settle(&self, ending: Ending, is_gone: bool) -> Option<Duration> {
        let rests = self.launch.limits.rests;
        let mut rest = None;
        let mut verdict = String::new();
        self.shared.change(|inner| {
            inner.sockets.clear();
            inner.failed = None;
            match is_gone {
                true => {
                    inner.pid = None;
                    inner.gone = inner.starts;
                }
                false => inner.is_stuck = true,
            }
            let state = match ending {
                Ending::Closing => State::Retired("closed".into()),
                Ending::Unfit(why) => State::Absent(why),
                Ending::Fault(why) => {
                    inner.faults += 1;
                    rest = rests.get(inner.faults as usize - 1).filter(|_| is_gone);
                    match rest {
                        Some(rest) => {
                            verdict = format!("{why}; it is started again");
                            State::Resting(Instant::now() + *rest)
                        }
                        None => {
                            verdict = format!("{why}; it is not used any more");
                            State::Retired(why)
                        }
                    }
                }
            };
            if !inner.state.is_final() {
                inner.state = state;
            }
        });
        let ordinal = self.shared.ordinal;
        if !is_gone {
            tracing::error!("gpu {ordinal}: its process cannot be ended");
        }
        if !verdict.is_empty() {
            tracing::warn!("gpu {ordinal}: {verdict}");
        }
        rest.copied()
    }

    /// Waits: false if the owner wants no more.
    fn rest(&self, length: Duration) -> bool {
        let until = Instant::now() + length;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match wait_readable([self.woken.as_fd()], Some(left)) {
                Ok([true]) if self.is_closing() => return false,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "the keeper of a device cannot wait");
                    return false;
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Also when it panics: nobody is left waiting for it.
        self.shared.change(|inner| {
            inner.sockets.clear();
            if !inner.state.is_final() {
                inner.state = State::Retired("its keeper has ended".into());
            }
            if inner.gone != inner.starts {
                inner.is_stuck = true;
            }
        });
    }
}
