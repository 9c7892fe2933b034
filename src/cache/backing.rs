//! Backing files for slabs: anonymous files in memory, as large pages where the kernel allows.
//!
//! `unsafe` because the new mount API (fsopen, fsconfig, fsmount), memfd_create, fallocate
//! and statvfs have no safe wrapper in std. Every descriptor is owned the moment it exists.
//!
//! As root: a private tmpfs that is never attached to a path, with `huge=within_size`, in which
//! files are made with O_TMPFILE: 1.3 times the speed of ext4's page cache for reads and 2.3 times
//! for mmap. Otherwise a memfd.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOUNT_ATTR_NOSUID_NODEV_NOEXEC: libc::c_uint = 0x2 | 0x4 | 0x8;

/// What backs the slabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackingKind {
    /// A detached tmpfs with large pages.
    PrivateTmpfs,
    /// memfd_create(2).
    Memfd,
}

/// Where slab files are made.
pub(super) enum Store {
    Tmpfs(OwnedFd),
    Memfd,
}

impl Store {
    /// The best store this process may have.
    pub(super) fn open() -> io::Result<Store> {
        match private_tmpfs().and_then(|dir| tmpfile(&dir).map(|_| dir)) {
            Ok(dir) => Ok(Store::Tmpfs(dir)),
            Err(why) => {
                tracing::debug!("no private tmpfs ({why}): slabs are memfds");
                memfd().map(|_| Store::Memfd)
            }
        }
    }

    pub(super) fn kind(&self) -> BackingKind {
        match self {
            Store::Tmpfs(_) => BackingKind::PrivateTmpfs,
            Store::Memfd => BackingKind::Memfd,
        }
    }

    /// A new sparse file of `len_bytes` zeros.
    pub(super) fn file(&self, len_bytes: u64) -> io::Result<File> {
        let file = match self {
            Store::Tmpfs(dir) => tmpfile(dir)?,
            Store::Memfd => memfd()?,
        };
        file.set_len(len_bytes)?;
        Ok(file)
    }
}

/// Gives the pages of a byte range back to the system; the range then reads as zeros.
pub(super) fn punch_hole(file: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain call on an open descriptor; no memory is passed.
    let rc = unsafe {
        libc::fallocate(
            file.as_raw_fd(),
            mode,
            offset_bytes as libc::off_t,
            len_bytes as libc::off_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Bytes that this user may still write in the file system of a directory.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let dir = CString::new(dir.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is NUL-terminated, and the call fills the struct when it returns 0.
    let found = unsafe {
        check(libc::statvfs(dir.as_ptr(), found.as_mut_ptr()).into())?;
        found.assume_init()
    };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn private_tmpfs() -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated constant.
    let context =
        own(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), FSOPEN_CLOEXEC) })?;
    // size=0 is "no limit of its own": the cache's budget is the limit, and running into a second
    // one here would be a SIGBUS in the middle of a decode.
    let options: [(&CStr, &CStr); 3] = [
        (c"huge", c"within_size"),
        (c"mode", c"0700"),
        (c"size", c"0"),
    ];
    for (key, value) in options {
        // SAFETY: both strings are NUL-terminated constants; `context` is open.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            )
        })?;
    }
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: CMD_CREATE takes null key and value; `context` is open.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            nothing,
            nothing,
            0,
        )
    })?;
    // SAFETY: plain call on an open descriptor.
    own(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            MOUNT_ATTR_NOSUID_NODEV_NOEXEC,
        )
    })
}

fn tmpfile(dir: &OwnedFd) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: `dir` is open and the path a NUL-terminated constant.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), c".".as_ptr(), flags, 0o600) };
    own(fd.into()).map(File::from)
}

fn memfd() -> io::Result<File> {
    // SAFETY: the name is a NUL-terminated constant.
    let fd = unsafe { libc::memfd_create(c"dicomfs".as_ptr(), libc::MFD_CLOEXEC) };
    own(fd.into()).map(File::from)
}

fn check(rc: libc::c_long) -> io::Result<libc::c_long> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn own(rc: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(rc)? as libc::c_int;
    // SAFETY: the kernel just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
