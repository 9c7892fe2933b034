//! A FUSE session on a connection: a new one, or one that another process has served before.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fuser::{Session, SessionACL};

use super::kernel;
use crate::fs::Fs;
use crate::fuse::{self, Adapter, Passthrough};
use crate::ipc;

/// Session threads: handlers never wait, so a few are enough.
const SESSION_THREADS_MIN: usize = 2;
const SESSION_THREADS_MAX: usize = 8;

/// Longest answer to FUSE_INIT, bytes; it has 80.
const ANSWER_BYTES_MAX: usize = 4096;

/// FUSE_NOTIFY_RESEND as the kernel reads it (linux/fuse.h): the length, the number of the
/// notification, and no request that it answers.
const RESEND: [u32; 4] = [16, 7, 0, 0];

/// A session that is ready to run.
pub struct Started {
    session: Session<Adapter>,
    passthrough: Arc<Passthrough>,
}

/// Starts a session on a new connection.
///
/// # Errors
///
/// The kernel is too old, or the connection is gone.
pub fn start(fs: &Arc<Fs>, device: OwnedFd) -> io::Result<Started> {
    let copy = device.try_clone()?;
    start_on(fs, device, copy)
}

/// Starts a session from `offer`, the FUSE_INIT that the kernel sent on `device` once; with it, the
/// answer, which is not sent. For the same offer and program it is the same.
///
/// # Errors
///
/// As [`start`].
pub fn start_from_offer(
    fs: &Arc<Fs>,
    device: &OwnedFd,
    offer: &[u8],
) -> io::Result<(Started, Vec<u8>)> {
    // fuser takes its first request from a connection: it gets one that has nothing else to say,
    // and then the kernel's under the same number.
    let (ours, theirs) = ipc::pair()?;
    ipc::send(ours.as_fd(), offer, &[])?;
    let started = start_on(fs, theirs, device.try_clone()?)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let (len, _) = ipc::receive(ours.as_fd(), &mut answer)?;
    answer.truncate(len);
    kernel::replace_fd(device.as_fd(), started.session.as_fd())?;
    Ok((started, answer))
}

fn start_on(fs: &Arc<Fs>, connection: OwnedFd, device: OwnedFd) -> io::Result<Started> {
    let adapter = Adapter::new(Arc::clone(fs));
    let passthrough = adapter.passthrough();
    passthrough.connect(device);
    // The kernel enforces `allow_other` itself, so fuser need not compare users again.
    let mut config = fuser::Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads());
    // A copy of the connection made by FUSE_DEV_IOC_CLONE would take the requests read from it
    // along when this process dies: all threads share the one that the supervisor holds too.
    config.clone_fd = false;
    let session = Session::from_fd(adapter, connection, SessionACL::All, config)?;
    fuse::connect_page_cache(fs, session.notifier());
    Ok(Started {
        session,
        passthrough,
    })
}

impl Started {
    /// What became of passthrough.
    pub fn passthrough(&self) -> Arc<Passthrough> {
        Arc::clone(&self.passthrough)
    }

    /// Serves requests until the end of the connection.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub fn run(self) -> io::Result<()> {
        self.session.run()
    }
}

/// Sends the kernel the answer to its FUSE_INIT.
///
/// # Errors
///
/// The kernel does not take it.
pub fn answer(device: &OwnedFd, answer: &[u8]) -> io::Result<()> {
    File::from(device.try_clone()?).write_all(answer)
}

/// Has the kernel repeat the requests that were read and not answered.
///
/// # Errors
///
/// The kernel cannot (before Linux 6.9), or the connection is gone.
pub fn ask_again(device: &OwnedFd) -> io::Result<()> {
    let bytes = RESEND.map(u32::to_ne_bytes).concat();
    File::from(device.try_clone()?).write_all(&bytes)
}

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(SESSION_THREADS_MIN, SESSION_THREADS_MAX)
}
