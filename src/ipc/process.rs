//! What a process of ours does to itself and to its descriptors, where std has no call for it.
//!
//! Unsafe because these system calls have no safe form in std. Decides nothing.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

fn check(result: c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of the descriptors can be read or was closed at its other end: which of them, all
/// false if `timeout` was over before.
pub fn wait_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut readable = Vec::with_capacity(N);
    wait_any_readable(&fds, timeout, &mut readable)?;
    Ok(std::array::from_fn(|n| readable[n]))
}

/// The same for any number of descriptors, into `readable`.
pub fn wait_any_readable(
    fds: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
    readable: &mut Vec<bool>,
) -> io::Result<()> {
    let polled = fds.iter().map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let mut polled: Vec<libc::pollfd> = polled.collect();
    // Rounded up, so that a short wait is not a busy one.
    let timeout_ms = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
    });
    // SAFETY: a list of ours that outlives the call, with its length.
    let result = unsafe {
        libc::poll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            timeout_ms,
        )
    };
    readable.clear();
    match check(result) {
        Ok(()) => readable.extend(polled.iter().map(|polled| polled.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            readable.resize(fds.len(), false);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The user that this process acts as.
pub fn own_uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Puts /dev/null in the place of a standard stream (0, 1, 2).
pub fn silence(stream: BorrowedFd<'_>) -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    // SAFETY: both descriptors are open; what was at the stream's number is let go on purpose.
    let result = unsafe { libc::dup2(null.as_raw_fd(), stream.as_raw_fd()) };
    check(result)
}

/// Names this process (its first thread) as `ps` and `top` show it.
pub fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })
}
