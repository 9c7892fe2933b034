//! The mount(2): made, kept, given up. Knows nothing of what is served.
//!
//! The mount is ours from start to end: made detached, attached only when the daemon already
//! answers, told apart from every other mount by its identity, and detached on a signal while
//! open files go on for a bounded time. With rights this process mounts by itself, without them
//! through fusermount3.
//!
//! | file | job |
//! |---|---|
//! | `place.rs` | may it be mounted there; dead mounts cleared |
//! | `probe.rs` | what this machine offers, and how to get what is missing |
//! | `live.rs` | a live mount: attach, wait, detach |
//! | `daemon.rs` | background process and its readiness |
//! | `signals.rs`, `kernel.rs`, `fusermount.rs` | system calls |
//! | `mountinfo.rs` | /proc/self/mountinfo |

mod daemon;
mod fusermount;
mod kernel;
mod live;
mod mountinfo;
mod place;
mod probe;
mod signals;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::Context;

use crate::fs::Fs;

pub use kernel::{effective_user, raise_open_files};
pub use live::Mounted;
pub use probe::{Device, Probe, Way, probe};

/// Type of our mounts as /proc/mounts shows it.
pub const FSTYPE: &str = "fuse.dicomfs";

/// What to mount and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The archive; shown as the source of the mount.
    pub source: PathBuf,
    /// Where to mount.
    pub mountpoint: PathBuf,
    /// Files and directories that this process goes on using, with what they are called in
    /// messages: they must not lie inside the mountpoint.
    pub own_files: Vec<(&'static str, PathBuf)>,
    /// Users other than the one who mounts may use it.
    pub allow_other: bool,
    /// Nothing may be executed from it.
    pub noexec: bool,
    /// Stay attached to the caller's terminal.
    pub foreground: bool,
}

/// What is to be mounted.
pub struct Service {
    /// The file system.
    pub fs: Arc<Fs>,
    /// Called when the mount is live, on a thread of its own: returns when the caller's process may.
    pub settled: Box<dyn FnOnce() + Send>,
}

/// An error that has been shown to the user already.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub struct Reported;

/// The system refused what has nothing to do with this mount (fork, pipe, thread).
#[derive(Debug, thiserror::Error)]
#[error("system error")]
pub struct SystemFailure;

/// Mounts what `make_service` makes, and serves it until it is unmounted or a signal asks for the
/// end.
///
/// In the foreground this returns when the mount has ended. Otherwise the process forks: the
/// caller's process returns when the mount is live and settled, and the background process when it
/// has ended.
/// No thread may have been started before. `make_service` runs in the process that serves, after the
/// signals are blocked, so it may start threads.
///
/// # Errors
///
/// In words for the user; [`Reported`] if another process has shown them.
pub fn run(
    options: &Options,
    make_service: impl FnOnce() -> anyhow::Result<Service>,
) -> anyhow::Result<()> {
    let options = check(options)?;
    if options.foreground {
        return serve(&options, make_service, None);
    }
    match daemon::fork().context(SystemFailure)? {
        daemon::Side::Parent(waiter) => waiter.wait(),
        daemon::Side::Child(notice) => serve(&options, make_service, Some(notice)),
    }
}

/// Checks that the mount can be made, without making it: `options` with the mountpoint resolved.
/// Clears away a dead mount of ours at the mountpoint.
///
/// # Errors
///
/// What is wrong and what to do about it, in words for the user.
pub fn check(options: &Options) -> anyhow::Result<Options> {
    let mountpoint = place::prepare(options)?;
    probe::probe().way().map_err(anyhow::Error::msg)?;
    Ok(Options {
        mountpoint,
        ..options.clone()
    })
}

/// Serves a mount from start to end; tells `notice` how the start went.
fn serve(
    options: &Options,
    make_service: impl FnOnce() -> anyhow::Result<Service>,
    notice: Option<daemon::Notice>,
) -> anyhow::Result<()> {
    let (mounted, settled, events) = match start(options, make_service) {
        Ok(started) => started,
        Err(error) => {
            let Some(notice) = notice else {
                return Err(error);
            };
            notice.fail(&error);
            return Err(Reported.into());
        }
    };
    tracing::info!("mounted at {}", options.mountpoint.display());
    let announced = notice.map_or(Ok(()), |notice| announce(notice, settled, events));
    if let Err(error) = announced {
        mounted.finish();
        return Err(error).context(SystemFailure);
    }
    mounted.wait()
}

/// Tells the caller's process when it may return, while this one waits for the end.
fn announce(
    notice: daemon::Notice,
    settled: Box<dyn FnOnce() + Send>,
    events: mpsc::Sender<live::Event>,
) -> std::io::Result<()> {
    let announce = move || {
        settled();
        if let Err(error) = notice.ready() {
            // Nobody listens any more once the mount has ended.
            let _ = events.send(live::Event::Unwanted(error));
        }
    };
    std::thread::Builder::new()
        .name("ready".into())
        .spawn(announce)
        .map(drop)
}

/// A live mount, what to wait for before it is told of, and where its events go.
type Started = (Mounted, Box<dyn FnOnce() + Send>, mpsc::Sender<live::Event>);

fn start(
    options: &Options,
    make_service: impl FnOnce() -> anyhow::Result<Service>,
) -> anyhow::Result<Started> {
    signals::block().context(SystemFailure)?;
    let (events, received) = mpsc::channel();
    let attaching = Arc::new(AtomicBool::new(false));
    watch_signals(events.clone(), Arc::clone(&attaching)).context(SystemFailure)?;
    let service = make_service()?;
    attaching.store(true, Ordering::SeqCst);
    let mounted = Mounted::attach(options, service.fs, events.clone(), received)?;
    Ok((mounted, service.settled, events))
}

/// Starts the thread that turns signals into events. Before there is a mount to take down, a
/// signal ends the process at once: reading an archive may take minutes.
fn watch_signals(
    events: mpsc::Sender<live::Event>,
    attaching: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let watch = move || {
        loop {
            match signals::wait() {
                Ok(signal) if !attaching.load(Ordering::SeqCst) => {
                    std::process::exit(signal.exit_status());
                }
                Ok(signal) => {
                    // Nobody listens any more once the mount has ended.
                    if events.send(live::Event::Signal(signal)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot wait for signals");
                    return;
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map(drop)
}
