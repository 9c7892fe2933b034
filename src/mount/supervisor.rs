//! The supervisor: holds the connection and the mount, and starts the worker that serves, again when
//! it dies.
//!
//! While no worker answers, readers wait; they are never told. So this process does as little as
//! possible: one thread, no archive, no cache, and it never reads what is mounted. It ends
//! with its worker, unless that has crashed. Should it die itself, the worker goes on alone.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::child::{End, Stop, Worker};
use super::connection::{self, Connection, connect, raise_read_ahead};
use super::deaths::Deaths;
use super::handover::{self, Order, Report};
use super::live::{GRACE, Place};
use super::probe::{self, Way};
use super::signals::{self, Signal, Signals};
use super::{Launch, Options, SystemFailure, daemon, kernel, ledger, systemd};

/// How long the worker may take to end beyond the time it gives to open files.
const GRACE_OF_WORKER: Duration = GRACE.saturating_add(Duration::from_secs(5));

/// Longest FUSE_INIT, bytes: the kernel wants room for any request (FUSE_MIN_READ_BUFFER is 8192).
const OFFER_BYTES_MAX: usize = 64 << 10;

/// Mounts, and stays until the mount has ended; tells `notice` how the start went.
///
/// # Errors
///
/// In words for the user; [`super::Reported`] if `notice` has heard them.
pub fn run(
    options: &Options,
    launch: &Launch,
    notice: Option<daemon::Notice>,
) -> anyhow::Result<()> {
    let started = Signals::block(true)
        .context(SystemFailure)
        .and_then(|signals| Supervisor::start(options, launch, signals));
    let (mut supervisor, worker) = match started {
        Ok(started) => started,
        Err(error) => return Err(tell(error, notice)),
    };
    supervisor.notice = notice;
    systemd::ready(&options.mountpoint);
    tracing::info!("mounted at {}", options.mountpoint.display());
    let ended = supervisor.watch(worker);
    systemd::stopping();
    ended.map_err(|error| tell(error, supervisor.notice))
}

/// Hands an error to who waits for the mount, if somebody does.
fn tell(error: anyhow::Error, notice: Option<daemon::Notice>) -> anyhow::Error {
    match notice {
        None => error,
        Some(notice) => {
            notice.fail(&error);
            super::Reported.into()
        }
    }
}

/// A mount, live or without a worker for the moment.
struct Supervisor<'a> {
    launch: &'a Launch,
    background: bool,
    /// Who waits for the mount, until it is settled.
    notice: Option<daemon::Notice>,
    /// Who waited is gone.
    is_unwanted: Option<anyhow::Error>,
    signals: Signals,
    device: OwnedFd,
    ledger: OwnedFd,
    /// The kernel's FUSE_INIT and what the first worker answered.
    offer: Vec<u8>,
    answer: Vec<u8>,
    readahead_bytes: Option<u64>,
    place: Place,
    deaths: Deaths,
    /// The end was asked for, and the worker has until then.
    ends_by: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// Starts the first worker and attaches the mount when it answers.
    fn start(
        options: &Options,
        launch: &'a Launch,
        signals: Signals,
    ) -> anyhow::Result<(Supervisor<'a>, Worker)> {
        let mut worker = Worker::spawn(launch, 0)?;
        let ledger = ledger::create().context(SystemFailure)?;
        match worker.hear(&signals).map_err(ended_early)? {
            Report::Built => {}
            other => return Err(out_of_turn(&other)),
        }
        // Not before: a mount that the helper makes is seen at once, and nobody would answer.
        let way = probe::probe().way().map_err(anyhow::Error::msg)?;
        let Connection { device, attached } = connect(options, way)?;
        let undo = |_: &anyhow::Error| attached.undo(&options.mountpoint);
        let (offer, answer) = first_answer(&mut worker, &signals, &device, &ledger)
            .map_err(|stop| match stop {
                // A signal ends this process, so the mount goes first.
                Stop::Signal(_) => {
                    attached.undo(&options.mountpoint);
                    ended_early(stop)
                }
                Stop::Error(error) => error,
            })
            .inspect_err(undo)?;
        let (way, identity) = attached.complete(&options.mountpoint)?;
        let supervisor = Supervisor {
            launch,
            background: !options.foreground,
            notice: None,
            is_unwanted: None,
            signals,
            device,
            ledger,
            offer,
            answer,
            readahead_bytes: raise_read_ahead(&identity),
            place: Place {
                mountpoint: options.mountpoint.clone(),
                identity,
                way,
            },
            deaths: Deaths::default(),
            ends_by: None,
        };
        if let Err(error) = supervisor.hand_over(&worker) {
            supervisor.detach();
            return Err(error);
        }
        Ok((supervisor, worker))
    }

    /// Waits for the end, and replaces workers that die before it.
    fn watch(&mut self, mut worker: Worker) -> anyhow::Result<()> {
        loop {
            let left = self
                .ends_by
                .map(|end| end.saturating_duration_since(Instant::now()));
            let woken = worker.wait(&self.signals, self.notice.is_some(), left)?;
            if woken.said {
                self.settle(&mut worker)?;
            }
            if woken.signalled {
                let signal = self.signals.wait()?;
                if signal.asks_for_the_end() {
                    tracing::info!("{}: the worker is asked to end", signal.name());
                    self.ask_to_end(&worker);
                } else if signal.asks_for_rescan()
                    // It has not been waited for, so the number is still its own.
                    && let Err(error) = signals::ask_to_rescan(worker.pid())
                {
                    tracing::error!(%error, "the worker cannot be asked for a rescan");
                }
            }
            match worker.end(woken.ended)? {
                None if left.is_some_and(|left| left.is_zero()) => {
                    tracing::error!("the worker does not end; it is killed");
                    drop(worker);
                    self.detach();
                    break;
                }
                None => {}
                Some(End::Success) => break,
                Some(_) if self.ends_by.is_some() => {
                    self.detach();
                    break;
                }
                Some(end) => match self.replace(anyhow!("{end}"))? {
                    Some(next) => worker = next,
                    None => break,
                },
            }
        }
        self.is_unwanted.take().map_or(Ok(()), Err)
    }

    /// Lets who waits for the mount go on, if the worker says so.
    fn settle(&mut self, worker: &mut Worker) -> anyhow::Result<()> {
        // A line that is closed is no word: its end is seen elsewhere.
        if let Some(Report::Settled) = worker.said()?
            && let Some(notice) = self.notice.take()
            && let Err(error) = notice.ready()
        {
            self.is_unwanted = Some(error);
            self.ask_to_end(worker);
        }
        Ok(())
    }

    /// Has the worker end.
    fn ask_to_end(&mut self, worker: &Worker) {
        systemd::stopping();
        self.ends_by
            .get_or_insert_with(|| Instant::now() + GRACE_OF_WORKER);
        // It has not been waited for, so the number is still its own.
        if let Err(error) = signals::ask_to_end(worker.pid()) {
            tracing::error!(%error, "cannot ask the worker to end");
        }
    }

    /// Another worker in the place of one that is dead; `None` if there is nothing left to serve.
    ///
    /// # Errors
    ///
    /// No other is started: the mount is given up and detached.
    fn replace(&mut self, mut why: anyhow::Error) -> anyhow::Result<Option<Worker>> {
        loop {
            if kernel::is_disconnected(self.device.as_fd())? {
                self.detach();
                return Ok(None);
            }
            let pause = match self.deaths.note(Instant::now()) {
                _ if !handover::can_resend(&self.offer) => {
                    Err("this kernel does not repeat requests (Linux 6.9 does)")
                }
                None => Err("it keeps dying"),
                Some(pause) => Ok(pause),
            };
            let pause = pause.map_err(|reason| {
                self.detach();
                anyhow!("the worker died ({why:#}) and is not replaced: {reason}")
            })?;
            tracing::error!("the worker died ({why:#}); another takes over");
            systemd::replaced(self.deaths.total());
            let next = self.pause(pause).and_then(|()| self.start_again());
            match next {
                Ok(worker) => return Ok(Some(worker)),
                Err(Stop::Signal(signal)) => {
                    tracing::info!("{}: unmounting", signal.name());
                    self.detach();
                    return Ok(None);
                }
                Err(Stop::Error(error)) => why = error,
            }
        }
    }

    /// Waits, unless the end is asked for.
    fn pause(&self, length: Duration) -> Result<(), Stop> {
        let end = Instant::now() + length;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let wait = || -> std::io::Result<Option<Signal>> {
                match kernel::wait_readable([self.signals.as_fd()], Some(left))? {
                    [true] => self.signals.wait().map(Some),
                    [false] => Ok(None),
                }
            };
            match wait().context(SystemFailure)? {
                Some(signal) if signal.asks_for_the_end() => return Err(Stop::Signal(signal)),
                _ => {}
            }
        }
    }

    /// A worker that goes on where another has died.
    fn start_again(&self) -> Result<Worker, Stop> {
        let mut worker = Worker::spawn(self.launch, self.deaths.total())?;
        match worker.hear(&self.signals)? {
            Report::Built => {}
            other => return Err(out_of_turn(&other).into()),
        }
        let order = Order::Serve {
            offer: self.offer.clone(),
            answered: Some(self.answer.clone()),
        };
        worker.tell(&order, &[&self.device, &self.ledger])?;
        match worker.hear(&self.signals)? {
            Report::Serving { .. } => {}
            other => return Err(out_of_turn(&other).into()),
        }
        self.hand_over(&worker)?;
        Ok(worker)
    }

    /// Tells a worker that serves which mount is its own.
    fn hand_over(&self, worker: &Worker) -> anyhow::Result<()> {
        let bytes = |path: &std::path::Path| path.as_os_str().as_bytes().to_vec();
        let order = Order::Live {
            mountpoint: bytes(&self.place.mountpoint),
            helper: match &self.place.way {
                Way::Kernel => None,
                Way::Fusermount(helper) => Some(bytes(helper)),
            },
            identity: self.place.identity,
            readahead_bytes: self.readahead_bytes,
            background: self.background,
        };
        worker.tell(&order, &[])
    }

    /// Takes the mount away, if it is still there.
    fn detach(&self) {
        let Place {
            mountpoint,
            identity,
            way,
        } = &self.place;
        if let Err(error) = connection::detach(way, mountpoint, identity) {
            tracing::debug!("cannot unmount {}: {error:#}", mountpoint.display());
        }
    }
}

/// Has the first worker answer the kernel: what it was asked and what it answered.
fn first_answer(
    worker: &mut Worker,
    signals: &Signals,
    device: &OwnedFd,
    ledger: &OwnedFd,
) -> Result<(Vec<u8>, Vec<u8>), Stop> {
    let mut offer = vec![0; OFFER_BYTES_MAX];
    let len = device
        .try_clone()
        .and_then(|device| File::from(device).read(&mut offer))
        .context("the kernel does not begin")?;
    offer.truncate(len);
    let order = Order::Serve {
        offer: offer.clone(),
        answered: None,
    };
    worker.tell(&order, &[device, ledger])?;
    match worker.hear(signals)? {
        Report::Serving { answer } => Ok((offer, answer)),
        other => Err(out_of_turn(&other).into()),
    }
}

/// A start that came to nothing. A signal ends the process, as if it had not been caught: there is
/// nothing to take down.
fn ended_early(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Signal(signal) => std::process::exit(signal.exit_status()),
        Stop::Error(error) => error,
    }
}

fn out_of_turn(report: &Report) -> anyhow::Error {
    tracing::debug!(?report, "out of turn");
    anyhow!("the worker said something else than was expected")
}
