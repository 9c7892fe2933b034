//! The mount(2): made, kept, given up. Knows nothing of what is served.
//!
//! The mount is ours from start to end: made detached, attached only when the daemon already
//! answers, told apart from every other mount by its identity, and detached on a signal while
//! open files go on for a bounded time. With rights this process mounts by itself, without them
//! through fusermount3.
//!
//! Two processes: the supervisor holds the connection to the kernel and the mount, the worker
//! serves. When the worker crashes, another goes on with the same connection, and what was asked
//! meanwhile is answered then: no reader notices more than a pause. When the supervisor dies, the
//! worker serves on alone.
//!
//! | file | job |
//! |---|---|
//! | `place.rs` | may it be mounted there; dead mounts cleared |
//! | `probe.rs` | what this machine offers, and how to get what is missing |
//! | `daemon.rs` | background process and its readiness |
//! | `supervisor.rs`, `child.rs`, `deaths.rs` | starts workers and replaces them |
//! | `worker.rs` | the process that serves, from its side |
//! | `handover.rs` | what the two say to each other, over [`crate::ipc`] |
//! | `ledger.rs` | the open handles, in memory that outlives a worker |
//! | `connection.rs` | the mount made, attached, detached |
//! | `session.rs` | a FUSE session, new or taken over |
//! | `live.rs` | a live mount: waits, ends |
//! | `remount.rs` | what mount(8) asks of a mount that is there |
//! | `rescan.rs` | asking a mount to look at its archive anew |
//! | `systemd.rs` | what the service manager hears |
//! | `signals.rs`, `kernel.rs`, `fusermount.rs` | system calls |
//! | `mountinfo.rs` | /proc/self/mountinfo |

mod child;
mod connection;
mod daemon;
mod deaths;
mod fusermount;
mod handover;
mod kernel;
mod ledger;
mod live;
mod mountinfo;
mod place;
mod probe;
pub mod remount;
mod rescan;
mod session;
mod signals;
mod supervisor;
mod systemd;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::fs::Fs;

pub use daemon::is_in_background;
pub use kernel::{Identity, effective_user, raise_open_files};
pub use live::Mounted;
pub use place::mounts_in;
pub(crate) use place::resolve_missing;
pub use probe::{Device, Probe, Way, probe};
pub use rescan::{Asked, ask_to_rescan};
pub use signals::{Signal, Signals};
pub use worker::Worker;

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
    /// SELinux label of all files, if not the one of FUSE mounts.
    pub context: Option<String>,
    /// Stay attached to the caller's terminal.
    pub foreground: bool,
}

/// What is to be mounted.
pub struct Service {
    /// The file system.
    pub fs: Arc<Fs>,
    /// Called when the mount is live, on a thread of its own: returns when the caller's process may.
    pub settled: Box<dyn FnOnce() + Send>,
    /// Called when somebody asks for a rescan of the archive (SIGHUP): returns at once.
    pub rescan: Box<dyn Fn() + Send>,
}

/// An error that has been shown to the user already.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub struct Reported;

/// The system refused what has nothing to do with this mount (fork, pipe, thread).
#[derive(Debug, thiserror::Error)]
#[error("system error")]
pub struct SystemFailure;

/// How a worker is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Arguments of this program that lead to [`Worker::connect`].
    pub args: Vec<OsString>,
    /// What the worker has to know, in a form of the caller's: [`Worker::settings`]. At most 64 KiB.
    pub settings: Vec<u8>,
}

/// Mounts, and has workers serve the mount until it is unmounted or a signal asks for the end.
///
/// In the foreground this returns when the mount has ended. Otherwise the process forks: the
/// caller's process returns when the mount is live and settled ([`Service::settled`]), and the
/// background process when it has ended. No thread may have been started before.
///
/// # Errors
///
/// In words for the user; [`Reported`] if another process has shown them.
pub fn run(options: &Options, launch: &Launch) -> anyhow::Result<()> {
    let options = check(options)?;
    if options.foreground {
        return supervisor::run(&options, launch, None);
    }
    match daemon::fork().context(SystemFailure)? {
        daemon::Side::Parent(waiter) => waiter.wait(),
        daemon::Side::Child(notice) => supervisor::run(&options, launch, Some(notice)),
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
