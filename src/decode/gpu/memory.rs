//! Memory that two processes share: that of a lane, and the part of a slab that a batch writes.
//!
//! Unsafe because a mapping that another process has too has no safe form, and because memfd_create
//! and its seals have none in std. Two rules make it sound: a file that is mapped here is never
//! shortened, so no access is a SIGBUS (a lane's memory is sealed; a slab gets its length when it is
//! made, and nobody truncates it: holes read as zeros), and at any time only one side uses the bytes
//! of a batch: the mount's process until it has asked, the device's until it has answered or is dead
//! and reaped. Should the system have no memory left to fill a hole with, it ends the process that
//! touches it; that is the device's, and the CPU decodes its batch.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};

/// Makes the memory of a lane: this process's view, and the descriptor for the other, which can map
/// it for reading only. Takes no memory until it is written.
///
/// # Errors
///
/// The system has no descriptor or address space left.
pub fn create(len_bytes: u64) -> io::Result<(MmapMut, OwnedFd)> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; the call takes no other pointer.
    let fd = unsafe { libc::memfd_create(c"dicomfs lane".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(len_bytes)?;
    // SAFETY: a file of ours whose length is sealed below; see the module for who uses it when.
    let map = unsafe { MmapOptions::new().len(usize_of(len_bytes)?).map_mut(&file) }?;
    seal(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW)?;
    // Not before Linux 5.1. The other side maps it for reading anyway.
    if let Err(error) = seal(&file, libc::F_SEAL_FUTURE_WRITE) {
        tracing::debug!(%error, "the memory of a lane is not sealed against writing");
    }
    seal(&file, libc::F_SEAL_SEAL)?;
    Ok((map, file.into()))
}

fn seal(file: &File, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: a descriptor of ours and a number.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Maps a lane's memory for reading.
///
/// # Errors
///
/// It is not `len_bytes` long, or not sealed against being shortened.
pub fn map_lane(memory: &OwnedFd, len_bytes: u64) -> io::Result<Mmap> {
    // SAFETY: a descriptor of ours.
    let seals = unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_GET_SEALS) };
    let is_sealed = seals >= 0 && seals & libc::F_SEAL_SHRINK != 0;
    if !is_sealed || len_of(memory.as_fd())? != len_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not the memory of a lane",
        ));
    }
    // SAFETY: its length was checked and is sealed; see the module for who uses it when.
    unsafe { MmapOptions::new().len(usize_of(len_bytes)?).map(memory) }
}

/// Maps a part of a slab for writing; `window` was checked against [`len_of`].
///
/// # Errors
///
/// The descriptor cannot be written, or there is no address space left.
pub fn map_window(slab: &OwnedFd, window: &Range<u64>) -> io::Result<MmapMut> {
    let len = usize_of(window.end.saturating_sub(window.start))?;
    // SAFETY: the window lies in the file, which nobody shortens; see the module.
    unsafe {
        MmapOptions::new()
            .offset(window.start)
            .len(len)
            .map_mut(slab)
    }
}

/// Gets the pages of these ranges of a window at once, which takes a fifth of the time that a fault
/// for each takes. All of them are about to be written; others are not touched, since a slab is
/// sparse.
pub fn populate(window: &MmapMut, ranges: impl Iterator<Item = Range<u64>>) {
    let mut ranges: Vec<_> = ranges.map(|range| (range.start, range.end)).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let is_next = next.0 <= last.1;
        if is_next {
            last.1 = last.1.max(next.1);
        }
        is_next
    });
    for (start, end) in ranges {
        let (Ok(at), Ok(len)) = (usize_of(start), usize_of(end.saturating_sub(start))) else {
            return;
        };
        if let Err(error) = window.advise_range(Advice::PopulateWrite, at, len) {
            // Before Linux 5.14. Where there is no memory, the write will find out.
            tracing::debug!(%error, "pages come one by one");
            return;
        }
    }
}

/// Length of a file, bytes.
///
/// # Errors
///
/// Those of fstat(2).
pub fn len_of(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(File::from(file.try_clone_to_owned()?).metadata()?.len())
}

fn usize_of(len_bytes: u64) -> io::Result<usize> {
    usize::try_from(len_bytes).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_lane_is_shared_and_stays_as_it_is() {
        let (mut ours, memory) = create(1 << 20).expect("memory");
        let theirs = map_lane(&memory, 1 << 20).expect("mapped");
        ours[12345] = 7;
        assert_eq!(theirs[12345], 7);
        let file = File::from(memory.try_clone().expect("clone"));
        assert!(file.set_len(0).is_err() && file.set_len(2 << 20).is_err());
        assert!(
            file.write_all_at(b"x", 0).is_err(),
            "sealed against writing"
        );
        assert!(
            map_window(&memory, &(0..65536)).is_err(),
            "for reading only"
        );
        assert!(map_lane(&memory, 2 << 20).is_err());
    }

    #[test]
    fn what_is_not_sealed_is_no_lane() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(100).expect("length");
        assert!(map_lane(&file.into(), 100).is_err());
    }

    #[test]
    fn a_window_is_a_part_of_the_slab() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(200_000).expect("length");
        let slab = OwnedFd::from(file.try_clone().expect("clone"));
        let mut window = map_window(&slab, &(131_072..200_000)).expect("mapped");
        window[1] = 9;
        let mut byte = [0];
        file.read_exact_at(&mut byte, 131_073).expect("read");
        assert_eq!((byte[0], window.len()), (9, 200_000 - 131_072));
        assert_eq!(len_of(slab.as_fd()).expect("length"), 200_000);
    }

    #[test]
    fn only_what_will_be_written_takes_memory() {
        use std::os::unix::fs::MetadataExt;
        let slab = rustix::fs::memfd_create("slab", rustix::fs::MemfdFlags::CLOEXEC);
        let slab = File::from(slab.expect("a file"));
        slab.set_len(64 << 20).expect("length");
        let fd = OwnedFd::from(slab.try_clone().expect("clone"));
        let window = map_window(&fd, &(0..64 << 20)).expect("mapped");
        // Out of order, side by side, and far away.
        let ranges = [70_000..140_000, 0..70_000, (63 << 20)..(63 << 20) + 1];
        populate(&window, ranges.into_iter());
        let taken = slab.metadata().expect("metadata").blocks() * 512;
        // None at all where the kernel cannot.
        assert!(taken < 16 << 20, "{taken}");
        assert!(window[..140_000].iter().all(|byte| *byte == 0));
    }
}
