//! What the device's process gives up: it parses what hostile files hold, in libraries of others,
//! and needs nothing but the device and the memory that is handed to it.
//!
//! Unsafe because prctl, capget and capset, rlimits, signal dispositions and the set*id family have
//! no safe form in std.
//!
//! In two steps, because opening a device takes more than using it. Before: no descriptor but its
//! own, dead when its parent is, no new rights by exec, no capability to gain. After: as root it
//! becomes nobody, so that it cannot even touch what is root's; set*id of libc reaches every
//! thread, those of the driver as well, and the kernel then takes the capabilities of all of them.
//! What root has opened goes on: the driver knows its callers by process as well as by user
//! (open-gpu-kernel-modules, os.c: osValidateClientTokens). Root it stays where the device files are
//! root's alone, and has no capability then from the start.
//! There is no filter of system calls: what the driver needs is nowhere written down.
#![allow(unsafe_code)]

use std::ffi::c_ulong;
use std::fs;
use std::io;
use std::os::unix::process::parent_id;
use std::ptr;
use std::time::Duration;

use crate::ipc::process::set_name;

/// The user and group that own nothing (/etc/passwd of every distribution).
const NOBODY: u32 = 65534;

/// Capabilities by number (linux/capability.h; libc has none of them).
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// Capability numbers end below this: the sets are 64 bits wide.
const CAPABILITIES_END: u32 = 64;

/// _LINUX_CAPABILITY_VERSION_3: sets of two words.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Rather this process than the mount when memory runs out: what it does, the CPU can do.
const OOM_SCORE: &str = "500";

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which there are two.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor but the three standard streams. Before any other was opened here: only
/// inherited ones are meant.
pub fn close_inherited() {
    // SAFETY: takes numbers. Nothing in this process owns a descriptor above 2 yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed < 0 {
        // Before Linux 5.9. Those of this program close themselves when another is started.
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "inherited descriptors stay");
    }
}

/// Makes this process end with the one that started it, deaf to what a terminal or a service manager
/// says to all processes of a mount, and the first to go when memory runs out.
///
/// # Errors
///
/// `parent` is gone already, or the system refuses.
pub fn attach(parent: u32) -> io::Result<()> {
    end_with_parent(parent)?;
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
        // SAFETY: a valid signal, and a disposition that runs no code.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    set_name(c"dicomfs-gpu")?;
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // A core would hold images of patients.
    // SAFETY: an rlimit of ours that outlives the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) })?;
    if let Err(error) = fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(%error, "no other score for when memory runs out");
    }
    Ok(())
}

/// Has the kernel kill this process when the *thread* that started it ends. The kernel forgets that
/// when the process changes its user.
fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    if parent_id() != parent {
        return Err(io::Error::other("the process that started this is gone"));
    }
    Ok(())
}

/// What is left to give up once the device is open.
#[derive(Debug)]
#[must_use]
pub struct Rights {
    parent: u32,
    becomes_nobody: bool,
}

/// Gives up what is not needed to open a device. `device_files_for_all`: another user than root may
/// go on using it. For one thread; those that it starts from then on have no more.
///
/// # Errors
///
/// The system refuses.
pub fn give_up_first(parent: u32, device_files_for_all: bool) -> io::Result<Rights> {
    let held = permitted()?;
    // KILL for who ends this process: it has what this one has been given.
    let may_change = [CAP_SETUID, CAP_SETGID, CAP_KILL]
        .iter()
        .all(|cap| held & (1 << cap) != 0);
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let becomes_nobody = is_root && may_change && device_files_for_all && nobody_exists();
    let zero: c_ulong = 0;
    let one: c_ulong = 1;
    // SAFETY: takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) })?;
    let clear_all = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    // SAFETY: takes numbers.
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear_all, zero, zero, zero) };
    if_there_is_such(check(cleared))?;
    for capability in 0..CAPABILITIES_END {
        // SAFETY: takes numbers.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability)) };
        // The end of the list; or this process may not, and so has nothing that exec could raise.
        if dropped < 0 {
            break;
        }
    }
    // Libraries may lie in a user's own directories, until they are loaded.
    let needed = (1 << CAP_SETUID) | (1 << CAP_SETGID) | (1 << CAP_DAC_READ_SEARCH);
    keep_only(if becomes_nobody { held & needed } else { 0 })?;
    Ok(Rights {
        parent,
        becomes_nobody,
    })
}

/// A right that the system does not know need not be given up: before Linux 4.3, and in gVisor, in which
/// containers with GPUs are run too, there are no ambient capabilities.
fn if_there_is_such(given_up: io::Result<()>) -> io::Result<()> {
    match given_up {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

impl Rights {
    /// Gives up all the rest, for every thread of this process.
    ///
    /// # Errors
    ///
    /// The system refuses: it must not go on.
    pub fn give_up_rest(self) -> io::Result<()> {
        if !self.becomes_nobody {
            return Ok(());
        }
        // SAFETY: no groups, so no pointer is read; then numbers.
        unsafe {
            check(libc::setgroups(0, ptr::null()))?;
            check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
        }
        keep_only(0)?;
        end_with_parent(self.parent)
    }
}

/// Capabilities that this thread may have, a bit for each.
fn permitted() -> io::Result<u64> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: a header and two blocks of ours that outlive the call, as version 3 has them.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Gives up all capabilities of this thread but these, which it has.
fn keep_only(capabilities: u64) -> io::Result<()> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let half = |word: u64| CapabilityData {
        effective: word as u32,
        permitted: word as u32,
        inheritable: 0,
    };
    let data = [half(capabilities & 0xffff_ffff), half(capabilities >> 32)];
    // SAFETY: a header and two blocks of ours that outlive the call, which only reads the latter.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// True if [`NOBODY`] is a user and a group here: in a container it may be none.
fn nobody_exists() -> bool {
    let text = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    // Not there before Linux 3.19, and then never denied.
    let groups = text("setgroups").trim() != "deny";
    groups && maps(&text("uid_map"), NOBODY) && maps(&text("gid_map"), NOBODY)
}

/// True if a line of /proc/self/uid_map (first id inside, first outside, count) has this id.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.nth(1)) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// Time that this thread has had of a core.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a timespec of ours that outlives the call; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ends this process at once. No exit handler runs: the driver's would wait for a batch that hangs.
pub fn end_now() -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_users() {
        assert!(maps("         0          0 4294967295\n", NOBODY));
        assert!(maps("0 1000 1\n1 100000 65536\n", NOBODY));
        assert!(!maps("0 1000 1\n", NOBODY));
        assert!(!maps("0 100000 65534\n", NOBODY));
        assert!(!maps("", NOBODY) && !maps("x y z\n0 0\n", NOBODY));
    }

    #[test]
    fn what_the_system_does_not_have_need_not_be_given_up() {
        // SAFETY: takes numbers; there is no such option.
        let unknown = check(unsafe { libc::prctl(0x7fff_0001, 0, 0, 0, 0) });
        assert!(unknown.is_err());
        assert!(if_there_is_such(unknown).is_ok());
        let refused = || Err(io::Error::from_raw_os_error(libc::EPERM));
        assert!(if_there_is_such(refused()).is_err());
        assert!(if_there_is_such(Ok(())).is_ok());
    }

    #[test]
    fn a_thread_s_time_goes_on() {
        let before = thread_cpu_time();
        while thread_cpu_time() == before {}
        assert!(thread_cpu_time() > before);
    }
}
