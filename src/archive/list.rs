//! The entries of one directory, and the state of files and directories relative to an open one:
//! no path is walked and none is allocated for a file.
//!
//! Knows nothing of DICOM or the index.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::SourceIdentity;
use super::members;
use super::pack::FileId;

/// File systems in which a file keeps its number as long as it is there, by the magic numbers of
/// statfs(2), linux/magic.h and the sources of those that are not part of Linux. Others make numbers up,
/// and may do so anew (FAT, many of FUSE).
const NUMBERS_LAST: [u64; 12] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlay
    0x6969,      // NFS
    0x00c3_6400, // Ceph
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS (Spectrum Scale)
];

/// Does a file keep its number in the file system that an open one lies in?
pub(super) fn numbers_last(file: impl AsFd) -> bool {
    // Negative where the field is signed: the numbers have 32 bits.
    #[allow(clippy::unnecessary_cast)]
    let is_known = |magic| NUMBERS_LAST.contains(&(magic as u64 & 0xffff_ffff));
    rustix::fs::fstatfs(file).is_ok_and(|found| is_known(found.f_type))
}

/// What stat(2) says, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_file: bool,
    pub(super) is_directory: bool,
    pub(super) identity: SourceIdentity,
    /// Status change time, nanoseconds since the epoch.
    pub(super) ctime_ns: i64,
    pub(super) file_id: FileId,
    pub(super) links: u64,
}

impl State {
    // The fields have other types on other machines.
    #[allow(clippy::unnecessary_cast)]
    fn of(stat: &Stat) -> State {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        State {
            is_file: kind == FileType::RegularFile,
            is_directory: kind == FileType::Directory,
            identity: SourceIdentity {
                size_bytes: stat.st_size as u64,
                mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
                inode: stat.st_ino as u64,
            },
            ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            file_id: (stat.st_dev, stat.st_ino),
            links: stat.st_nlink as u64,
        }
    }

    /// Modification and status change time: what changes with the entries of a directory.
    pub(super) fn times_ns(&self) -> (i64, i64) {
        (self.identity.mtime_ns, self.ctime_ns)
    }
}

/// The state of what `name` below `directory` leads to; an empty name is the directory itself.
pub(super) fn state(directory: &OwnedFd, name: &[u8]) -> io::Result<State> {
    let stat = match name {
        [] => rustix::fs::fstat(directory),
        _ => rustix::fs::statat(directory, name, AtFlags::empty()),
    };
    Ok(State::of(&stat?))
}

/// Is what is known as a directory there no more? A file may be a container, and is found not to be one
/// when it is listed.
pub(super) fn is_gone(state: &io::Result<State>) -> bool {
    match state {
        Ok(state) => !state.is_directory && !state.is_file,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

/// Opens a file to be read only, never waiting for the other end of a pipe, and tells its state.
/// With `quietly` its access time stays as it is, where that is allowed: an archive is not to be
/// written, and a million changed inodes are megabytes of journal. `quietly` becomes false where
/// it is not allowed, so that it is not asked for in vain again.
pub(super) fn open_file(
    directory: &OwnedFd,
    name: &[u8],
    quietly: &mut bool,
) -> io::Result<(File, State)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match quietly {
        true => rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()),
        false => Err(Errno::PERM),
    };
    let file = match opened {
        // Only owners of a file, and root, may ask for it.
        Err(Errno::PERM) => {
            *quietly = false;
            rustix::fs::openat(directory, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let state = State::of(&rustix::fs::fstat(&file)?);
    Ok((File::from(file), state))
}

/// Says that `file` is read at random, so that the kernel does not read ahead of the header:
/// measured, half as many bytes again are read from cold disks otherwise. Only advice: a file
/// system that does not take it is no error.
pub(super) fn advise_random(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
}

/// How directories and containers are opened: never waiting for the other end of a pipe.
const PLACE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens what is at `root`.
pub(super) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(root, PLACE, Mode::empty())?)
}

/// Opens what is at `path` below `root`; an empty path is the root itself.
pub(super) fn open_place(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    if !path.is_empty() {
        return Ok(rustix::fs::openat(root, path, PLACE, Mode::empty())?);
    }
    match rustix::fs::openat(root, ".", PLACE, Mode::empty()) {
        // The root is a container.
        Err(Errno::NOTDIR) => root.try_clone_to_owned(),
        opened => Ok(opened?),
    }
}

/// What lies in a directory. Links are followed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// And containers. Sorted by name.
    pub(super) subdirectories: Vec<Vec<u8>>,
    /// In the order of their inodes, which is nearly that in which they lie on a disk; whether a
    /// link leads there.
    pub(super) files: Vec<(Vec<u8>, bool)>,
    /// Names that nothing could be found out about, and why.
    pub(super) unreadable: Vec<(Vec<u8>, io::Error)>,
}

/// Is a file to be looked into as if it were a directory?
pub(super) fn is_container(directory: &OwnedFd, name: &[u8]) -> bool {
    let is_open = || list_container(directory, name).unwrap_or(false);
    members::is_named_so(name) && is_open()
}

fn list_container(directory: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    let opened = rustix::fs::openat(directory, name, PLACE, Mode::empty())?;
    Ok(members::is_container(&File::from(opened)))
}

/// Lists an open directory.
pub(super) fn entries(directory: &OwnedFd) -> io::Result<Entries> {
    let mut found = Entries::default();
    let mut files: Vec<(u64, Vec<u8>, bool)> = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut raw = RawDir::new(directory, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match entry.file_type() {
            FileType::RegularFile if is_container(directory, name) => {
                found.subdirectories.push(name.to_vec());
            }
            FileType::RegularFile => files.push((entry.ino(), name.to_vec(), false)),
            FileType::Directory => found.subdirectories.push(name.to_vec()),
            kind @ (FileType::Symlink | FileType::Unknown) => match state(directory, name) {
                Ok(state) if state.is_directory => found.subdirectories.push(name.to_vec()),
                Ok(state) if state.is_file && is_container(directory, name) => {
                    found.subdirectories.push(name.to_vec());
                }
                Ok(state) if state.is_file => {
                    let is_link = kind == FileType::Symlink;
                    files.push((state.file_id.1, name.to_vec(), is_link));
                }
                Ok(_) => {}
                Err(error) => found.unreadable.push((name.to_vec(), error)),
            },
            _ => {}
        }
    }
    found.subdirectories.sort_unstable();
    files.sort_unstable();
    let files = files.into_iter();
    found.files = files.map(|(_, name, is_link)| (name, is_link)).collect();
    Ok(found)
}
