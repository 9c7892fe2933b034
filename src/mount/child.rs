//! The worker as the supervisor sees it: a child process, the line to it, and how it ended.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::handover::{Line, Order, Report};
use super::signals::{Signal, Signals};
use super::{Launch, SystemFailure, kernel};
use crate::ipc;

/// This program, also when its file has been replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// How long a process of which one thread has ended may take to end as a whole. It takes no time
/// unless another thread is held up in the kernel, and then for ever.
const LAST_THREADS: Duration = Duration::from_millis(100);

/// Time between two looks at a process that is about to end.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A running worker; killed when dropped.
pub struct Worker {
    child: Child,
    line: Line,
    /// Readable once it serves no more: one of its threads, which ends when it is killed.
    thread: Option<OwnedFd>,
}

/// How a worker ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// As it should: nothing is left to serve.
    Success,
    /// Of its own will.
    Status(i32),
    /// By a signal.
    Signal(i32),
    /// It serves no more, but the kernel still holds some of its threads.
    Stuck,
}

/// What a wait has ended with.
#[derive(Debug, Clone, Copy)]
pub struct Woken {
    /// A signal has arrived.
    pub signalled: bool,
    /// The worker serves no more; where the kernel cannot tell, only a signal says so.
    pub ended: bool,
    /// The worker has said something.
    pub said: bool,
}

/// Why there is no worker.
pub enum Stop {
    /// The end was asked for.
    Signal(Signal),
    /// It failed, or the system did.
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Stop {
        Stop::Error(error)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Success => f.write_str("exit status 0"),
            End::Status(code) => write!(f, "exit status {code}"),
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::Stuck => f.write_str("killed"),
        }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> End {
        match (status.signal(), status.code()) {
            (Some(signal), _) => End::Signal(signal),
            (None, Some(0)) => End::Success,
            (None, code) => End::Status(code.unwrap_or(-1)),
        }
    }
}

impl Worker {
    /// Starts a worker in the place of `replaced` others that have died.
    ///
    /// # Errors
    ///
    /// The system has no process left.
    pub fn spawn(launch: &Launch, replaced: u64) -> anyhow::Result<Worker> {
        let (ours, theirs) = ipc::pair().context(SystemFailure)?;
        let child = Command::new(PROGRAM)
            .arg0("dicomfs")
            .args(&launch.args)
            .stdin(Stdio::from(theirs))
            // What the service manager hears, it hears from the process that it knows.
            .env_remove("NOTIFY_SOCKET")
            .spawn()
            .context("cannot start a process")
            .context(SystemFailure)?;
        let worker = Worker {
            thread: None,
            child,
            line: Line::new(ours),
        };
        let hello = Order::Hello {
            settings: launch.settings.clone(),
            replaced,
            supervisor: std::process::id(),
        };
        worker.tell(&hello, &[])?;
        Ok(worker)
    }

    /// Gives an order, with copies of `fds`.
    ///
    /// # Errors
    ///
    /// The worker has ended.
    pub fn tell(&self, order: &Order, fds: &[&OwnedFd]) -> anyhow::Result<()> {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        let told = self.line.tell(order, &fds);
        told.context("the worker does not listen")
    }

    /// Its process id: its own until [`Worker::end`] has said how it ended.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a signal, for the worker's end, or for a word of it if `listen`; for none if
    /// `timeout` was over before.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    pub fn wait(
        &self,
        signals: &Signals,
        listen: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Woken> {
        // What is not waited for is taken by something that is: the array has a fixed length.
        let signals = signals.as_fd();
        let thread = self.thread.as_ref().map(AsFd::as_fd);
        let line = listen.then_some(self.line.as_fd());
        let fds = [signals, thread.unwrap_or(signals), line.unwrap_or(signals)];
        let [signalled, ended, said] = kernel::wait_readable(fds, timeout)?;
        Ok(Woken {
            signalled,
            ended: ended && thread.is_some(),
            said: said && listen,
        })
    }

    /// How it ended, if it has; `ended` is what [`Worker::wait`] said.
    ///
    /// # Errors
    ///
    /// Those of waitpid(2).
    pub fn end(&mut self, ended: bool) -> io::Result<Option<End>> {
        let deadline = Instant::now() + LAST_THREADS;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status.into()));
            }
            if !ended {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Ok(Some(End::Stuck));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// The worker's next word.
    ///
    /// # Errors
    ///
    /// There is none: it failed, it ended, or a signal asks for the end.
    pub fn hear(&mut self, signals: &Signals) -> Result<Report, Stop> {
        loop {
            let woken = self.wait(signals, true, None).context(SystemFailure)?;
            // What it said before it ended counts.
            if woken.said
                && let Some(report) = self.said()?
            {
                return Ok(report);
            }
            if woken.said || woken.ended {
                let end = self.end(true).context(SystemFailure)?;
                let how = end.unwrap_or(End::Stuck);
                let why = anyhow!("the worker ended before the mount was live ({how})");
                return Err(Stop::Error(why));
            }
            if woken.signalled {
                let signal = signals.wait().context(SystemFailure)?;
                if signal.asks_for_the_end() {
                    return Err(Stop::Signal(signal));
                }
            }
        }
    }

    /// What it has said; `None` if that was its end.
    ///
    /// # Errors
    ///
    /// It says that it failed, or nothing that makes sense.
    pub fn said(&mut self) -> anyhow::Result<Option<Report>> {
        match self.line.hear().context("cannot hear the worker")? {
            Some((Report::Failed { text, is_system }, _)) => {
                let error = anyhow!(text);
                Err(match is_system {
                    true => error.context(SystemFailure),
                    false => error,
                })
            }
            Some((report, fds)) => {
                if report == Report::Built {
                    self.thread = fds.into_iter().next();
                }
                Ok(Some(report))
            }
            None => Ok(None),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails only for a process that has been waited for.
        let _ = self.child.kill();
        // One that the kernel holds is waited for by whoever inherits it.
        if let Err(error) = self.end(true) {
            tracing::debug!(%error, "cannot wait for the worker");
        }
    }
}
