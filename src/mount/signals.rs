//! Signals as messages instead of interruptions.
//!
//! Unsafe because signal masks and signalfd have no safe form in std. The signals are blocked
//! before any thread starts, so that every thread inherits the mask: one with the default
//! disposition would end the process with the mount still in place.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Signals that are heard: two ask the mount to end, SIGHUP asks it to look at the archive, unless a
/// terminal is gone.
const HEARD: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Bytes of a signalfd_siginfo, and where in it the signal and its sender are (signalfd(2)).
const INFO_LEN: usize = 128;
const INFO_SIGNAL: usize = 0;
const INFO_CODE: usize = 8;
const INFO_SENDER: usize = 12;

/// The code of a signal that the kernel itself sends (sigaction(2)); libc does not have it for all
/// targets.
const SI_KERNEL: u32 = 0x80;

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    number: libc::c_int,
    /// The kernel sent it, for a terminal.
    is_of_terminal: bool,
    /// The process that sent it; 0 for the kernel (a terminal).
    pub sender: u32,
}

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self.number {
            libc::SIGTERM => "SIGTERM",
            libc::SIGINT => "SIGINT",
            libc::SIGHUP => "SIGHUP",
            _ => "a signal",
        }
    }

    /// Is the mount to end? Not for the word that a child has ended, nor for a wish for a rescan.
    pub fn asks_for_the_end(self) -> bool {
        self.number != libc::SIGCHLD && !self.asks_for_rescan()
    }

    /// Is the archive to be looked at anew? A terminal that goes away means the end, as for all programs.
    pub fn asks_for_rescan(self) -> bool {
        self.number == libc::SIGHUP && !self.is_of_terminal
    }

    /// Exit status of a process that this signal ended, as shells have it.
    pub fn exit_status(self) -> i32 {
        128 + self.number
    }
}

/// Where signals arrive.
pub struct Signals(File);

impl Signals {
    /// Blocks the signals that are heard, for this thread and all it starts from now on, and
    /// receives them here; with `children`, the word that a child has ended as well.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn block(children: bool) -> io::Result<Signals> {
        let child = children.then_some(libc::SIGCHLD);
        // SAFETY: sigset_t is plain data that sigemptyset initialises; the numbers are valid signals.
        let set = unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in HEARD.into_iter().chain(child) {
                libc::sigaddset(&mut set, signal);
            }
            set
        };
        // SAFETY: a set of ours that outlives the call; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) } {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        // SAFETY: a set of ours that outlives the call.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Signals(fd.into()))
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    pub fn wait(&self) -> io::Result<Signal> {
        let mut info = [0; INFO_LEN];
        (&self.0).read_exact(&mut info)?;
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&info[at..at + 4]);
            u32::from_ne_bytes(word)
        };
        Ok(Signal {
            number: word(INFO_SIGNAL) as libc::c_int,
            is_of_terminal: word(INFO_CODE) == SI_KERNEL,
            sender: word(INFO_SENDER),
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks a process to end. The caller has made sure that the number is still that process's.
///
/// # Errors
///
/// Those of kill(2).
pub fn ask_to_end(pid: u32) -> io::Result<()> {
    send(pid, libc::SIGTERM)
}

/// Asks a process that serves a mount to look at its archive. As for [`ask_to_end`].
///
/// # Errors
///
/// Those of kill(2).
pub fn ask_to_rescan(pid: u32) -> io::Result<()> {
    send(pid, libc::SIGHUP)
}

fn send(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes two numbers.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_arrives_as_a_message() {
        // A thread of its own, so that no other test runs with this mask.
        let signal = std::thread::spawn(|| {
            let signals = Signals::block(true).expect("block");
            // SAFETY: sends to this thread only, where it is blocked.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
            signals.wait().expect("wait")
        })
        .join()
        .expect("thread");
        assert_eq!(signal.name(), "SIGHUP");
        assert_eq!(signal.exit_status(), 129);
        assert_eq!(signal.sender, std::process::id());
        assert!(signal.asks_for_rescan() && !signal.asks_for_the_end());
        let hung_up = Signal {
            is_of_terminal: true,
            ..signal
        };
        assert!(hung_up.asks_for_the_end() && !hung_up.asks_for_rescan());
    }
}
