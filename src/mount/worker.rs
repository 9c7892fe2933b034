//! The worker: the process that serves. Started by the supervisor, which holds the mount.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::{Context, anyhow, bail};

use super::handover::{Line, Order, Report};
use super::ledger::SharedLedger;
use super::live::{self, Event, Mounted, Place, Supervised};
use super::probe::Way;
use super::signals::Signals;
use super::{Reported, Service, SystemFailure, daemon, kernel, session};
use crate::fs::Fs;

/// This process as the supervisor's worker.
pub struct Worker {
    line: Arc<Line>,
    settings: Vec<u8>,
    replaced: u64,
    supervisor: u32,
}

impl Worker {
    /// Takes up the line to the supervisor, which is standard input.
    ///
    /// # Errors
    ///
    /// It is not there: somebody else has started this.
    pub fn connect() -> anyhow::Result<Worker> {
        let stdin = io::stdin();
        let line = Line::new(stdin.as_fd().try_clone_to_owned()?);
        let Ok(Some((
            Order::Hello {
                settings,
                replaced,
                supervisor,
            },
            _,
        ))) = line.hear()
        else {
            bail!("`dicomfs worker` is a part of `dicomfs mount`, which starts it");
        };
        kernel::silence(stdin.as_fd()).context("cannot let go of standard input")?;
        // Until the mount is this process's own affair, nobody wants it without the supervisor.
        kernel::end_with_parent(true).context(SystemFailure)?;
        if parent_id() != supervisor {
            return Err(Reported.into());
        }
        // It was started by a name that says nothing.
        kernel::set_name(c"dicomfs").context(SystemFailure)?;
        Ok(Worker {
            line: Arc::new(line),
            settings,
            replaced,
            supervisor,
        })
    }

    /// The settings that [`super::Launch`] carries.
    pub fn settings(&self) -> &[u8] {
        &self.settings
    }

    /// How many workers have served this mount before and died. With one, the kernel knows its files:
    /// the first request may be for any of them.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Serves what `make_service` makes until the mount ends. `make_service` may start threads.
    ///
    /// # Errors
    ///
    /// [`Reported`] if the supervisor has been told; else the connection to the kernel broke.
    pub fn serve(
        self,
        make_service: impl FnOnce() -> anyhow::Result<Service>,
    ) -> anyhow::Result<()> {
        match self.start(make_service) {
            Ok(mounted) => mounted.wait(),
            Err(error) => {
                if let Err(why) = self.line.tell(&Report::failed(&error), &[]) {
                    tracing::error!("{error:#}, and nobody to hear it: {why}");
                }
                Err(Reported.into())
            }
        }
    }

    fn start(
        &self,
        make_service: impl FnOnce() -> anyhow::Result<Service>,
    ) -> anyhow::Result<Mounted> {
        let signals = Signals::block(false).context(SystemFailure)?;
        let (events, received) = mpsc::channel();
        let is_serving = Arc::new(AtomicBool::new(false));
        let thread = watch_signals(signals, events.clone(), Arc::clone(&is_serving))
            .context(SystemFailure)?;
        let Service {
            fs,
            settled,
            rescan,
        } = make_service()?;
        fs.set_replaced_workers(self.replaced);
        let thread = thread.as_ref().map(AsFd::as_fd);
        self.line.tell(&Report::Built, thread.as_slice())?;

        let (order, fds) = self.hear()?;
        let (Order::Serve { offer, answered }, Ok([device, memory])) =
            (order, <[OwnedFd; 2]>::try_from(fds))
        else {
            bail!("the supervisor did not hand over the connection");
        };
        let (session, answer) = session::start_from_offer(&fs, &device, &offer)
            .context("the kernel did not accept the file system")?;
        let passthrough = session.passthrough();
        let ledger = SharedLedger::map(&memory).context("cannot keep account of open files")?;
        fs.connect_ledger(Arc::new(ledger), &|id| passthrough.adopt(id));
        match &answered {
            None => session::answer(&device, &answer).context("the kernel took no answer")?,
            Some(answered) if *answered == answer => {}
            Some(_) => bail!("this process would not speak to the kernel as the one before it"),
        }
        is_serving.store(true, Ordering::SeqCst);
        live::run(session, events)?;
        if answered.is_some() {
            session::ask_again(&device).context("the kernel does not repeat its requests")?;
        }
        self.line.tell(&Report::Serving { answer }, &[])?;

        let (place, background) = self.attached(&fs)?;
        kernel::end_with_parent(false).context(SystemFailure)?;
        if background {
            announce(Arc::clone(&self.line), settled).context(SystemFailure)?;
        }
        let supervised = Supervised::by(self.supervisor);
        watch_supervisor(Arc::clone(&self.line), supervised.clone()).context(SystemFailure)?;
        let mounted = Mounted::new(place, fs, passthrough, received, supervised);
        Ok(mounted.with_rescan(rescan))
    }

    /// Waits until the mount is attached: where, and whether there is no terminal any more.
    fn attached(&self, fs: &Fs) -> anyhow::Result<(Place, bool)> {
        let (order, _) = self.hear()?;
        let Order::Live {
            mountpoint,
            helper,
            identity,
            readahead_bytes,
            background,
        } = order
        else {
            bail!("the supervisor did not say where it is mounted");
        };
        if let Some(bytes) = readahead_bytes {
            fs.set_readahead_bytes(bytes);
        }
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        let place = Place {
            mountpoint: path(mountpoint),
            identity,
            way: helper.map_or(Way::Kernel, |helper| Way::Fusermount(path(helper))),
        };
        Ok((place, background))
    }

    fn hear(&self) -> anyhow::Result<(Order, Vec<OwnedFd>)> {
        let order = self.line.hear().context("cannot hear the supervisor")?;
        order.ok_or_else(|| anyhow!("the supervisor is gone"))
    }
}

/// Starts the thread that says when the caller's process may return.
fn announce(line: Arc<Line>, settled: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let announce = move || {
        settled();
        // Before it is said: who reads our standard error waits for its end.
        if let Err(error) = daemon::let_go() {
            tracing::error!("the terminal is kept: {error:#}");
        }
        if let Err(error) = line.tell(&Report::Settled, &[]) {
            tracing::debug!(%error, "nobody waits any more");
        }
    };
    start_thread("ready", announce)
}

/// Starts the thread that turns signals into events; what can be read when it ends. Before there is a mount to take down, a
/// signal ends the process at once: reading an archive may take minutes.
fn watch_signals(
    signals: Signals,
    events: mpsc::Sender<Event>,
    is_serving: Arc<AtomicBool>,
) -> io::Result<Option<OwnedFd>> {
    let (told, end) = mpsc::channel();
    let watch = move || {
        // Whoever asked has gone only with the process.
        let _ = told.send(kernel::watch_this_thread());
        loop {
            match signals.wait() {
                // The archive is about to be scanned anyway.
                Ok(signal) if signal.asks_for_rescan() && !is_serving.load(Ordering::SeqCst) => {}
                Ok(signal) if !is_serving.load(Ordering::SeqCst) => {
                    std::process::exit(signal.exit_status());
                }
                Ok(signal) => {
                    // Nobody listens any more once the mount has ended. This thread stays all the
                    // same: its end stands for that of the process.
                    let _ = events.send(Event::Signal(signal));
                }
                Err(error) => {
                    tracing::error!(%error, "cannot wait for signals");
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
    };
    start_thread("signals", watch)?;
    end.recv().map_err(io::Error::other)
}

/// Starts the thread that notices when the supervisor dies. The mount goes on without it, until it is
/// unmounted or this process is asked to end.
fn watch_supervisor(line: Arc<Line>, supervised: Supervised) -> io::Result<()> {
    let watch = move || {
        // It says nothing any more: its end is all that there is to hear.
        while let Ok(Some(_)) = line.hear::<Order>() {}
        supervised.no_more();
        tracing::warn!("the supervisor is gone: from now on nobody takes over after a crash");
    };
    start_thread("supervisor", watch)
}

fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.into());
    thread.spawn(run).map(drop)
}
