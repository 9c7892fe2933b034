//! Access advice to the kernel: the one system call here that the standard library lacks.
//!
//! `unsafe` because posix_fadvise(2) is a foreign function; it takes no pointers.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Says that `file` is read at random, so that the kernel does not read ahead of the header:
/// measured, half as many bytes again are read from cold disks otherwise. Only advice: a file
/// system that does not take it is no error.
pub(super) fn random_access(file: &File) {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is passed.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}
