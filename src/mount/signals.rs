//! SIGTERM, SIGINT and SIGHUP as messages instead of interruptions.
//!
//! Unsafe because signal masks have no safe form in std. The signals are blocked before any
//! thread starts, so that every thread inherits the mask: one with the default disposition would
//! end the process with the mount still in place. A thread of its own then waits for them.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::ptr;

/// Signals that ask the mount to end.
const ENDING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// A signal that asked for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(libc::c_int);

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            libc::SIGTERM => "SIGTERM",
            libc::SIGINT => "SIGINT",
            libc::SIGHUP => "SIGHUP",
            _ => "a signal",
        }
    }

    /// Exit status of a process that this signal ended, as shells have it.
    pub fn exit_status(self) -> i32 {
        128 + self.0
    }
}

fn ending_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data that sigemptyset initialises; the numbers are valid signals.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in ENDING {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Blocks the signals for this thread and all it starts from now on.
///
/// # Errors
///
/// What pthread_sigmask returns; it fails on no valid argument.
pub fn block() -> io::Result<()> {
    let set = ending_set();
    // SAFETY: a set of ours that outlives the call; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Waits for the next of the signals; they have to be blocked.
pub fn wait() -> io::Result<Signal> {
    let set = ending_set();
    let mut signal = 0;
    // SAFETY: a set and a number of ours that outlive the call.
    match unsafe { libc::sigwait(&set, &mut signal) } {
        0 => Ok(Signal(signal)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_arrives_as_a_message() {
        // A thread of its own, so that no other test runs with this mask.
        let signal = std::thread::spawn(|| {
            block().expect("block");
            // SAFETY: sends to this thread only, where it is blocked.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
            wait().expect("wait")
        })
        .join()
        .expect("thread");
        assert_eq!(signal.name(), "SIGHUP");
        assert_eq!(signal.exit_status(), 129);
    }
}
