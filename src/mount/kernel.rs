//! System calls of mounting: fsopen and its family, statx, umount2, limits, and the few about
//! processes and descriptors that std lacks.
//!
//! Unsafe because std and the crates at hand have no safe form of these calls. Each is wrapped
//! here so that nothing else in [`crate::mount`] needs to be. Decides nothing.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_long};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{mem, ptr};

use serde::{Deserialize, Serialize};

pub use crate::ipc::process::{set_name, silence, wait_readable};

/// Where the kernel's FUSE driver is spoken to.
pub const DEVICE: &str = "/dev/fuse";

// linux/mount.h; libc does not have them.
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOUNT_ATTR_RDONLY: u32 = 0x1;
const MOUNT_ATTR_NOSUID: u32 = 0x2;
const MOUNT_ATTR_NODEV: u32 = 0x4;
const MOUNT_ATTR_NOEXEC: u32 = 0x8;
const MOUNT_ATTR_NOATIME: u32 = 0x10;

/// Longest string that fsconfig(2) takes, bytes.
const STRING_BYTES_MAX: usize = 255;

/// An archive's path as the kernel shows it as the source of a mount: cut where it is longer than the
/// kernel takes it.
pub fn shown_source(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let shown = &bytes[..bytes.len().min(STRING_BYTES_MAX)];
    Path::new(std::ffi::OsStr::from_bytes(shown))
}

/// What a new mount is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Superblock<'a> {
    /// Shown as the source in /proc/mounts: [`shown_source`].
    pub source: &'a Path,
    /// Owner of the connection.
    pub uid: u32,
    /// Group of the connection.
    pub gid: u32,
    /// Users other than `uid` may use it.
    pub allow_other: bool,
    /// Nothing may be executed from it.
    pub noexec: bool,
    /// SELinux label of all files.
    pub context: Option<&'a str>,
}

/// Which mount this is, so that no other is ever unmounted in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    id: u64,
    /// `id` is never given to another mount (Linux 6.8 on).
    unique: bool,
    /// Device number of the file system: major and minor.
    pub device: (u32, u32),
}

impl Identity {
    /// True if no later mount can have the same identity.
    pub fn is_unique(&self) -> bool {
        self.unique
    }
}

fn check(result: c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

fn new_fd(result: c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens a new connection to the FUSE driver.
pub fn open_device() -> io::Result<OwnedFd> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    Ok(device.into())
}

/// Makes a FUSE mount on `device` that is attached nowhere yet; FUSE_INIT is queued on `device`.
pub fn create_mount(device: BorrowedFd<'_>, superblock: &Superblock<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; the call takes no other pointer.
    let context =
        new_fd(unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), FSOPEN_CLOEXEC) })?;
    let context = Context(context);
    context.set(c"source", &path_string(superblock.source)?)?;
    context.set(c"subtype", c"dicomfs")?;
    context.set(c"fd", &number(device.as_raw_fd())?)?;
    context.set(c"rootmode", c"40555")?;
    context.set(c"user_id", &number(superblock.uid)?)?;
    context.set(c"group_id", &number(superblock.gid)?)?;
    context.set(c"max_read", &number(crate::fuse::REQUEST_BYTES_MAX)?)?;
    // The kernel checks the mode bits: what `stat` shows is what applies.
    context.flag(c"default_permissions")?;
    if superblock.allow_other {
        context.flag(c"allow_other")?;
    }
    if let Some(label) = superblock.context {
        context.set(c"context", &CString::new(label)?)?;
    }
    context.flag(c"ro")?;
    context.create()?;
    let mut attributes =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME;
    if superblock.noexec {
        attributes |= MOUNT_ATTR_NOEXEC;
    }
    // SAFETY: a descriptor of ours and two numbers.
    new_fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.0.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

fn number(value: impl std::fmt::Display) -> io::Result<CString> {
    Ok(CString::new(value.to_string())?)
}

/// A file system context (fsopen(2)).
struct Context(OwnedFd);

impl Context {
    fn set(&self, key: &CStr, value: &CStr) -> io::Result<()> {
        self.config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    fn flag(&self, key: &CStr) -> io::Result<()> {
        self.config(FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
    }

    fn create(&self) -> io::Result<()> {
        self.config(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())
    }

    fn config(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> io::Result<()> {
        // SAFETY: key and value are null where the command takes none (fsconfig(2)) and otherwise
        // point to C strings that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                key,
                value,
                0,
            )
        };
        check(result).map(drop).map_err(|error| self.explain(error))
    }

    /// Adds what the kernel has to say about a failure: it leaves messages on the descriptor.
    fn explain(&self, error: io::Error) -> io::Error {
        let Ok(fd) = self.0.try_clone() else {
            return error;
        };
        let mut message = [0; 256];
        match File::from(fd).read(&mut message) {
            Ok(len) if len > 2 => {
                let text = String::from_utf8_lossy(&message[2..len]);
                io::Error::new(error.kind(), format!("{error} ({})", text.trim()))
            }
            _ => error,
        }
    }
}

/// Attaches a mount made by [`create_mount`] at `mountpoint`.
pub fn attach(mount: BorrowedFd<'_>, mountpoint: &Path) -> io::Result<()> {
    let path = path_string(mountpoint)?;
    // SAFETY: descriptors of ours and two C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Which mount `fd` (a mount, or a file on it) belongs to. Asks the kernel, not the daemon.
pub fn identity(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    // SAFETY: statx is plain data; all zeros is a value of it.
    let mut answer: libc::statx = unsafe { mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    // SAFETY: an empty C string and a statx of ours that outlives the call.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE,
            &mut answer,
        )
    };
    check(c_long::from(result))?;
    if answer.stx_mask & (libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE) == 0 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel gives no mount identity (it takes Linux 5.8 or newer)",
        ));
    }
    Ok(Identity {
        id: answer.stx_mnt_id,
        unique: answer.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0,
        device: (answer.stx_dev_major, answer.stx_dev_minor),
    })
}

/// Opens `path` only as a place, without reading it: works on a dead mount as well.
pub fn open_place(path: &Path) -> io::Result<OwnedFd> {
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    Ok(place.into())
}

/// Detaches the mount at `mountpoint` if it is the one that `identity` names; false if it is not.
///
/// Goes by the open descriptor and not by the name a second time, so no mount that appears in
/// between can be hit. Open files on the mount go on working until they are closed.
pub fn detach(mountpoint: &Path, identity_wanted: &Identity) -> io::Result<bool> {
    let place = open_place(mountpoint)?;
    if identity(std::os::fd::AsFd::as_fd(&place))? != *identity_wanted {
        return Ok(false);
    }
    let path = CString::new(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    // SAFETY: a C string that outlives the call.
    let result = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    check(c_long::from(result))?;
    Ok(true)
}

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Lets nothing be executed from the mount that `place` is the root of, or lifts that.
pub fn set_noexec(place: BorrowedFd<'_>, noexec: bool) -> io::Result<()> {
    let bit = |wanted| if wanted { MOUNT_ATTR_NOEXEC.into() } else { 0 };
    let attributes = MountAttributes {
        set: bit(noexec),
        clear: bit(!noexec),
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: a descriptor of ours, an empty C string, and attributes of ours with their size; all
    // outlive the call, which only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            place.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            mem::size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// Has this process, which must have one thread, see the mounts of another namespace.
pub fn enter_mount_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a descriptor of ours and a number.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) };
    check(c_long::from(result)).map(drop)
}

/// True if a FUSE connection has ended: unmounted, or aborted.
pub fn is_disconnected(device: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = libc::pollfd {
        fd: device.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd of ours that outlives the call.
    check(c_long::from(unsafe { libc::poll(&mut polled, 1, 0) }))?;
    Ok(polled.revents & libc::POLLERR != 0)
}

/// Puts a copy of `from` at the number `onto`; what was there is let go.
pub fn replace_fd(from: BorrowedFd<'_>, onto: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, and whoever owns `onto` goes on owning it.
    let result = unsafe { libc::dup3(from.as_raw_fd(), onto.as_raw_fd(), libc::O_CLOEXEC) };
    check(c_long::from(result)).map(drop)
}

/// A descriptor that can be read, here and in other processes, as soon as the calling thread has ended,
/// even while other threads of its process are held up in the kernel: one may wait there for the
/// answer to a request that was read and will never be answered by this process. Not for the first
/// thread: of that the kernel speaks last. `None` where it cannot (before Linux 6.9).
pub fn watch_this_thread() -> Option<OwnedFd> {
    // PIDFD_THREAD (linux/pidfd.h); libc does not have it for all targets.
    let flags = libc::O_EXCL;
    // SAFETY: these take numbers only; gettid cannot fail.
    new_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::gettid(), flags) })
        .inspect_err(|error| tracing::debug!(%error, "an end may be noticed late"))
        .ok()
}

/// From now on this process gets SIGTERM when its parent dies; or no longer.
pub fn end_with_parent(wanted: bool) -> io::Result<()> {
    let signal = if wanted { libc::SIGTERM } else { 0 };
    // SAFETY: takes two numbers.
    check(c_long::from(unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, signal)
    }))
    .map(drop)
}

/// Raises the limit of open files as far as this process may; the new limit.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: an rlimit of ours that outlives the call.
    check(c_long::from(unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit)
    }))?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above; the call only reads it.
        check(c_long::from(unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
        }))?;
    }
    Ok(limit.rlim_cur)
}

/// Effective user and group of this process.
pub fn effective_user() -> (u32, u32) {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn identity_tells_mounts_apart() {
        let proc_fs = open_place(Path::new("/proc")).expect("open /proc");
        let same = open_place(Path::new("/proc/self")).expect("open /proc/self");
        let root = open_place(Path::new("/")).expect("open /");
        let id = |fd: &OwnedFd| identity(fd.as_fd()).expect("identity");
        assert_eq!(id(&proc_fs), id(&same));
        assert_ne!(id(&proc_fs), id(&root));
    }

    #[test]
    fn another_mount_is_left_alone() {
        let directory = tempfile::tempdir().expect("tempdir");
        let proc_fs = open_place(Path::new("/proc")).expect("open /proc");
        let other = identity(proc_fs.as_fd()).expect("identity");
        assert!(!detach(directory.path(), &other).expect("compare"));
        assert!(Path::new("/proc/self").exists());
    }

    #[test]
    fn open_files_reach_the_hard_limit() {
        let limit = raise_open_files().expect("raise");
        assert_eq!(raise_open_files().expect("raise again"), limit);
        assert!(limit > 0);
    }

    #[test]
    fn names_with_a_nul_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let bad = Path::new(std::ffi::OsStr::from_bytes(b"/a\0b"));
        let proc_fs = open_place(Path::new("/proc")).expect("open /proc");
        let error = attach(proc_fs.as_fd(), bad).expect_err("must refuse");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
