//! Asking the process that serves a mount to look at its archive anew: SIGHUP, which the system lets
//! only its own user and root send.
//!
//! Which process that is, the mount itself says. Its number may mean another process here (another
//! PID namespace) or by now, so it is held fast and compared before it gets a signal that would end
//! most programs.
//!
//! Unsafe because pidfds have no safe form in std.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Who serves a mount, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Process id.
    pub pid: u32,
    /// When it was started, in clock ticks since boot: tells it from others of the same number.
    pub started_ticks: u64,
}

impl Asked {
    /// This process.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub fn me() -> io::Result<Asked> {
        Ok(Asked {
            pid: std::process::id(),
            started_ticks: started_ticks("self")?.1,
        })
    }
}

/// Asks the process for a rescan.
///
/// # Errors
///
/// `NotFound` when there is no such process here, `PermissionDenied` when it is another user's,
/// whatever else the system says.
pub fn ask_to_rescan(asked: &Asked) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = libc::pid_t::try_from(asked.pid).map_err(|_| gone())?;
    // SAFETY: takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::ESRCH | libc::EINVAL) => gone(),
            _ => error,
        });
    }
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    let process = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // From now on the number cannot become another process's unnoticed: the signal goes to this one.
    let (name, started) = started_ticks(&asked.pid.to_string())?;
    if name != "dicomfs" || started != asked.started_ticks {
        return Err(gone());
    }
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a descriptor of ours, numbers, and no information beyond the signal.
    let sent = unsafe {
        let fd = process.as_raw_fd();
        libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGHUP, no_info, 0)
    };
    match sent {
        0 => Ok(()),
        _ => Err(match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => gone(),
            error => error,
        }),
    }
}

/// Name and start of a process, of /proc/PID/stat (proc_pid_stat(5)).
fn started_ticks(pid: &str) -> io::Result<(String, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_stat(stat: &str) -> Option<(String, u64)> {
    // The name may hold anything, parentheses too.
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(start + 1..end)?;
    // The 22nd field; the state after the name is the third.
    let started = stat.get(end + 1..)?.split_whitespace().nth(22 - 3)?;
    Some((name.to_owned(), started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read() {
        let stat = "7 (a) (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20\n";
        assert_eq!(parse_stat(stat), Some(("a) (b".to_owned(), 777)));
        for bad in ["", "7 (a", "7 (a) S 1", ")("] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
        assert!(Asked::me().expect("read").started_ticks > 0);
    }

    #[test]
    fn no_other_process_gets_the_signal() {
        // This program is not called dicomfs: were the signal sent, it would end this test.
        let me = Asked::me().expect("read");
        let gone = Asked {
            pid: 0x7fff_fff0,
            ..me
        };
        for other in [me, gone] {
            let error = ask_to_rescan(&other).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}
