//! A live mount: answers, waits for its end, is detached.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::connection::{self, connect, raise_read_ahead};
use super::kernel::Identity;
use super::probe::{self, Way};
use super::session;
use super::signals::Signal;
use super::{Options, SystemFailure};
use crate::fs::Fs;
use crate::fuse::Passthrough;

/// How long open files go on being served after the end was asked for.
pub const GRACE: Duration = Duration::from_secs(15);

/// Exit status of a worker that has to be replaced; any but 0.
const BROKEN: i32 = 70;

/// What a waiting mount hears of.
#[derive(Debug)]
pub enum Event {
    /// The user asks for the end, or for a rescan.
    Signal(Signal),
    /// The kernel has closed the connection (unmounted), or it broke.
    SessionEnded(io::Result<()>),
}

/// Who replaces this process should it fail.
#[derive(Debug, Clone, Default)]
pub struct Supervised(Option<Arc<Supervisor>>);

#[derive(Debug)]
struct Supervisor {
    pid: u32,
    is_there: AtomicBool,
}

impl Supervised {
    /// The supervisor is the process `pid`.
    pub fn by(pid: u32) -> Supervised {
        Supervised(Some(Arc::new(Supervisor {
            pid,
            is_there: AtomicBool::new(true),
        })))
    }

    /// The supervisor has gone.
    pub fn no_more(&self) {
        if let Some(supervisor) = &self.0 {
            supervisor.is_there.store(false, Ordering::SeqCst);
        }
    }

    fn is_there(&self) -> bool {
        let supervisor = self.0.as_ref();
        supervisor.is_some_and(|supervisor| supervisor.is_there.load(Ordering::SeqCst))
    }

    fn has_sent(&self, signal: Signal) -> bool {
        let supervisor = self.0.as_ref();
        supervisor.is_some_and(|supervisor| supervisor.pid == signal.sender)
    }
}

/// Where a live mount is and which it is.
#[derive(Debug)]
pub struct Place {
    pub mountpoint: PathBuf,
    pub identity: Identity,
    pub way: Way,
}

/// A live mount.
pub struct Mounted {
    place: Place,
    fs: Arc<Fs>,
    passthrough: Arc<Passthrough>,
    events: Receiver<Event>,
    supervised: Supervised,
    /// What is done about a wish for a rescan.
    rescan: Box<dyn Fn() + Send>,
    /// Taken down already, or found unmounted.
    over: bool,
}

impl Mounted {
    /// Mounts `fs` at `options.mountpoint`, which [`super::check`] has resolved. Signals are the
    /// caller's affair, and nobody takes over should the process die: this is for a program that
    /// mounts for a while (the demonstration, tests).
    ///
    /// # Errors
    ///
    /// What failed, in words for the user.
    pub fn start(options: &Options, fs: Arc<Fs>) -> anyhow::Result<Mounted> {
        let way = probe::probe().way().map_err(anyhow::Error::msg)?;
        let connection = connect(options, way)?;
        let undo = |_: &anyhow::Error| connection.attached.undo(&options.mountpoint);
        let started = session::start(&fs, connection.device)
            .context("the kernel did not accept the file system")
            .inspect_err(undo)?;
        let passthrough = started.passthrough();
        let (events, received) = mpsc::channel();
        run(started, events).inspect_err(undo)?;
        let (way, identity) = connection.attached.complete(&options.mountpoint)?;
        if let Some(bytes) = raise_read_ahead(&identity) {
            fs.set_readahead_bytes(bytes);
        }
        let place = Place {
            mountpoint: options.mountpoint.clone(),
            identity,
            way,
        };
        Ok(Mounted::new(
            place,
            fs,
            passthrough,
            received,
            Supervised::default(),
        ))
    }

    /// A mount that is attached and answers; the end of its session is told through `events`.
    pub(super) fn new(
        place: Place,
        fs: Arc<Fs>,
        passthrough: Arc<Passthrough>,
        events: Receiver<Event>,
        supervised: Supervised,
    ) -> Mounted {
        Mounted {
            place,
            fs,
            passthrough,
            events,
            supervised,
            rescan: Box::new(|| {}),
            over: false,
        }
    }

    /// Says what is done about a wish for a rescan.
    pub(super) fn with_rescan(mut self, rescan: Box<dyn Fn() + Send>) -> Mounted {
        self.rescan = rescan;
        self
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.place.mountpoint
    }

    /// What became of passthrough.
    pub fn passthrough(&self) -> &Passthrough {
        &self.passthrough
    }

    /// Waits for the end: the mount is unmounted from outside, or a signal comes.
    ///
    /// With a supervisor a connection that broke here ends the process at once: another goes on.
    ///
    /// # Errors
    ///
    /// The connection to the kernel broke.
    pub fn wait(mut self) -> anyhow::Result<()> {
        let next = loop {
            match self.events.recv() {
                Ok(Event::Signal(signal)) if signal.asks_for_rescan() => (self.rescan)(),
                other => break other,
            }
        };
        let broken = match next {
            Ok(Event::Signal(signal)) => {
                tracing::info!("{}: unmounting", signal.name());
                self.finish_after(Some(signal));
                return Ok(());
            }
            Ok(Event::SessionEnded(Ok(()))) => {
                self.ended();
                return Ok(());
            }
            Ok(Event::SessionEnded(Err(error))) => {
                anyhow!(error).context("the connection to the kernel broke")
            }
            Err(mpsc::RecvError) => anyhow!("the session thread ended without a word"),
        };
        if self.supervised.is_there() {
            tracing::error!("{broken:#}");
            // Nothing is dropped: a reply that is dropped answers EIO, and the next worker can do better.
            std::process::exit(BROKEN);
        }
        self.ended();
        Err(broken)
    }

    /// Takes the mount down: detaches it, serves open files for at most 15 s (or until another
    /// signal), then fails what is left.
    pub fn finish(self) {
        self.finish_after(None);
    }

    fn finish_after(mut self, signal: Option<Signal>) {
        self.over = true;
        if let Err(error) = self.detach() {
            let place = self.place.mountpoint.display();
            tracing::error!("cannot unmount {place}: {error:#}");
        }
        // A service manager signals all processes at once, and the supervisor passes its signal on:
        // one wish, heard twice. Whoever repeats it is in a hurry.
        let mut heard = [false; 2];
        let mut is_again = |signal: Signal| {
            let sender = usize::from(self.supervised.has_sent(signal));
            std::mem::replace(&mut heard[sender], true)
        };
        signal.map(&mut is_again);
        let end = Instant::now() + GRACE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Signal(signal)) if signal.asks_for_rescan() => continue,
                Ok(Event::Signal(signal)) if !is_again(signal) => continue,
                Ok(Event::Signal(_)) | Err(mpsc::RecvTimeoutError::Timeout) => {
                    tracing::warn!("files are still open; they fail from now on");
                }
                Ok(Event::SessionEnded(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => {}
            }
            break;
        }
        self.fs.shutdown();
    }

    /// After the session's end: leaves no dead mount behind.
    fn ended(&mut self) {
        self.over = true;
        self.fs.shutdown();
        // An abort through /sys/fs/fuse leaves the mount in place. Only an identity that is never
        // given twice tells for sure that it is still ours.
        if self.place.identity.is_unique()
            && let Err(error) = self.detach()
        {
            tracing::debug!("after the end: {error:#}");
        }
    }

    fn detach(&self) -> anyhow::Result<()> {
        let Place {
            mountpoint,
            identity,
            way,
        } = &self.place;
        connection::detach(way, mountpoint, identity)
    }
}

impl Drop for Mounted {
    /// A mount that is given up half-way (an error, a panic) is not left behind dead.
    fn drop(&mut self) {
        if !self.over
            && let Err(error) = self.detach()
        {
            let place = self.place.mountpoint.display();
            tracing::error!("cannot unmount {place}: {error:#}");
        }
    }
}

/// Serves requests on a thread of its own from now on.
pub fn run(session: session::Started, events: Sender<Event>) -> anyhow::Result<()> {
    let run = move || {
        // Nobody hears it if the mount was given up meanwhile.
        let _ = events.send(Event::SessionEnded(session.run()));
    };
    std::thread::Builder::new()
        .name("fuse-session".into())
        .spawn(run)
        .map(drop)
        .context(SystemFailure)
}
