//! Memory that two processes share: that of a lane, and the parts of slabs that a batch writes.
//!
//! Unsafe because a mapping that another process has too has no safe form, and because memfd_create
//! and its seals have none in std. Two rules make it sound: a file that is mapped here is never
//! shortened, so no access is a SIGBUS (a lane's memory is sealed; a slab gets its length when it is
//! made, and nobody truncates it: holes read as zeros), and at any time only one side uses the bytes
//! of a batch: the mount's process until it has asked, the device's until it has answered or is dead
//! and reaped. Should the system have no memory left to fill a hole with, it ends the process that
//! touches it; that is the device's, and the CPU decodes its batch.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{io, ptr, slice};

use memmap2::{Mmap, MmapMut, MmapOptions};

/// A slab in a tmpfs has pages of this size where it can; smaller ones are no trouble.
const HUGE_PAGE_BYTES: usize = 2 << 20;

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

/// Parts of slabs, mapped for writing one after the other, as if they were one piece of memory.
/// Unmapped when this is dropped.
///
/// What lies between the end of a window and the end of its last page is mapped as well, so that
/// there is no gap; nobody writes there.
#[derive(Debug)]
pub struct Windows {
    reserved: *mut u8,
    reserved_len: usize,
    /// Where the first window begins.
    start: *mut u8,
    len: usize,
    offsets: Vec<u64>,
}

impl Windows {
    /// Maps these windows of these slabs, at least one; each was checked against [`lens_of`].
    ///
    /// # Errors
    ///
    /// A descriptor cannot be written, or there is no address space left.
    pub fn map<'a>(
        parts: impl Iterator<Item = (BorrowedFd<'a>, &'a Range<u64>)>,
    ) -> io::Result<Windows> {
        let parts: Vec<_> = parts.collect();
        let no_room = || io::Error::from(io::ErrorKind::OutOfMemory);
        let page = page_bytes();
        let (mut offsets, mut lens, mut len) = (Vec::new(), Vec::new(), 0_usize);
        for (_, window) in &parts {
            let bytes = usize_of(window.end.saturating_sub(window.start))?;
            let bytes = bytes.checked_next_multiple_of(page).ok_or_else(no_room)?;
            offsets.push(len as u64);
            lens.push(bytes);
            len = len.checked_add(bytes).ok_or_else(no_room)?;
        }
        let reserved_len = len.checked_add(2 * HUGE_PAGE_BYTES).ok_or_else(no_room)?;
        // SAFETY: takes address space where the kernel has some free, and no memory.
        let reserved = unsafe {
            libc::mmap(
                ptr::null_mut(),
                reserved_len,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reserved = reserved.cast::<u8>();
        // The first is where the large pages of its slab can be mapped as such: a batch of one large
        // part is what they are for.
        let into_page = parts.first().map_or(0, |(_, window)| {
            (window.start % HUGE_PAGE_BYTES as u64) as usize
        });
        let skipped = reserved.addr().next_multiple_of(HUGE_PAGE_BYTES) - reserved.addr();
        // SAFETY: both are less than a large page, and two were reserved beyond `len`.
        let start = unsafe { reserved.add(skipped + into_page) };
        let windows = Windows {
            reserved,
            reserved_len,
            start,
            len,
            offsets,
        };
        for (n, (slab, window)) in parts.iter().enumerate() {
            windows.place(n, *slab, window.start, lens[n])?;
        }
        Ok(windows)
    }

    /// Maps `len` bytes from `from` on where the window with this number belongs.
    fn place(&self, n: usize, slab: BorrowedFd<'_>, from: u64, len: usize) -> io::Result<()> {
        let from = libc::off_t::try_from(from).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: `start..start + len` of all windows lies in what was reserved for us, which nobody
        // uses yet, so nothing else is replaced. The window lies in the file, which nobody shortens.
        let mapped = unsafe {
            libc::mmap(
                self.start.add(self.offsets[n] as usize).cast(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                slab.as_raw_fd(),
                from,
            )
        };
        match mapped {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Where each window begins in the memory, in order.
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// The memory of all windows.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped for reading and writing, all of it, until this is dropped; see the module
        // for who uses which bytes when.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Gets the pages of these ranges at once, which takes a fifth of the time that a fault for each
    /// takes. All of them are about to be written; others are not touched, since a slab is sparse.
    pub fn populate(&self, ranges: impl Iterator<Item = Range<u64>>) {
        let page = page_bytes();
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
            let (Ok(start), Ok(end)) = (usize_of(start), usize_of(end)) else {
                return;
            };
            let start = start - start % page;
            if start >= end || end > self.len {
                return;
            }
            let len = end - start;
            // SAFETY: a part of our mapping from a page on; the call changes no byte.
            let advised = unsafe {
                let at = self.start.add(start).cast();
                libc::madvise(at, len, libc::MADV_POPULATE_WRITE)
            };
            if advised != 0 {
                // Before Linux 5.14. Where there is no memory, the write will find out.
                let error = io::Error::last_os_error();
                tracing::debug!(%error, "pages come one by one");
                return;
            }
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // SAFETY: what was reserved, and all that was placed in it; no borrow outlives this.
        if unsafe { libc::munmap(self.reserved.cast(), self.reserved_len) } != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(%error, "the windows of a batch stay mapped");
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

/// Lengths of the slabs of a batch, bytes.
///
/// # Errors
///
/// Two are one file: outputs could be at one place. Those of fstat(2).
pub fn lens_of<'a>(slabs: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Vec<u64>> {
    let (mut files, mut lens) = (HashSet::new(), Vec::new());
    for slab in slabs {
        let stat = rustix::fs::fstat(slab)?;
        if !files.insert((stat.st_dev, stat.st_ino)) {
            let what = "two parts of one slab";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        lens.push(u64::try_from(stat.st_size).unwrap_or(0));
    }
    Ok(lens)
}

fn page_bytes() -> usize {
    // SAFETY: takes a number and touches no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_or(4096, |bytes| bytes.max(1))
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
        let read_only = Windows::map([(memory.as_fd(), &(0..65536))].into_iter());
        assert!(read_only.is_err());
        assert!(map_lane(&memory, 2 << 20).is_err());
    }

    #[test]
    fn what_is_not_sealed_is_no_lane() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(100).expect("length");
        assert!(map_lane(&file.into(), 100).is_err());
    }

    fn slab(len_bytes: u64) -> File {
        let slab = rustix::fs::memfd_create("slab", rustix::fs::MemfdFlags::CLOEXEC);
        let slab = File::from(slab.expect("a file"));
        slab.set_len(len_bytes).expect("length");
        slab
    }

    fn byte(slab: &File, at: u64) -> u8 {
        let mut byte = [0];
        slab.read_exact_at(&mut byte, at).expect("read");
        byte[0]
    }

    #[test]
    fn windows_lie_side_by_side_and_each_is_a_part_of_its_slab() {
        let slabs = [slab(200_000), slab(70_000), slab(3 << 20)];
        let ranges = [131_072..200_000, 0..70_000, (2 << 20)..(3 << 20)];
        let parts = slabs.iter().map(AsFd::as_fd).zip(&ranges);
        let mut windows = Windows::map(parts).expect("mapped");
        let page = page_bytes() as u64;
        let second = 68_928_u64.next_multiple_of(page);
        let third = second + 70_000_u64.next_multiple_of(page);
        let offsets = windows.offsets().to_vec();
        assert_eq!(offsets, [0, second, third]);
        let bytes = windows.bytes();
        assert_eq!(bytes.len() as u64, third + (1 << 20));
        // All of it is there, without a gap.
        assert!(bytes.iter().all(|byte| *byte == 0));
        for (n, (offset, range)) in offsets.iter().zip(&ranges).enumerate() {
            let last = offset + (range.end - range.start) - 1;
            bytes[*offset as usize] = n as u8 + 1;
            bytes[last as usize] = n as u8 + 11;
        }
        for (n, (slab, range)) in slabs.iter().zip(&ranges).enumerate() {
            assert_eq!(byte(slab, range.start), n as u8 + 1);
            assert_eq!(byte(slab, range.end - 1), n as u8 + 11);
        }
    }

    /// Mappings of this process that name a file like this.
    fn mappings(name: &str) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        maps.lines().filter(|line| line.contains(name)).count()
    }

    #[test]
    fn nothing_stays_mapped() {
        let name = "dicomfs-unmapped";
        let slab = |flags| {
            let slab = rustix::fs::memfd_create(name, flags);
            let slab = File::from(slab.expect("a file"));
            slab.set_len(1 << 20).expect("length");
            slab
        };
        let cloexec = rustix::fs::MemfdFlags::CLOEXEC;
        let slabs = [slab(cloexec), slab(cloexec)];
        let window = 0..65536;
        let parts = slabs.iter().map(|slab| (slab.as_fd(), &window));
        let windows = Windows::map(parts.clone()).expect("mapped");
        assert_eq!(mappings(name), 2);
        drop(windows);
        assert_eq!(mappings(name), 0);
        // The last cannot be written: the others are not kept.
        let path = format!("/proc/self/fd/{}", slabs[0].as_raw_fd());
        let read_only = File::open(path).expect("open");
        let parts = parts.chain([(read_only.as_fd(), &window)]);
        assert!(Windows::map(parts).is_err());
        assert_eq!(mappings(name), 0);
    }

    #[test]
    fn one_slab_is_not_two() {
        let (one, other) = (slab(5), slab(7));
        let again = one.try_clone().expect("clone");
        let lens = |slabs: &[&File]| lens_of(slabs.iter().map(|slab| slab.as_fd()));
        assert_eq!(lens(&[&one, &other]).expect("two"), [5, 7]);
        assert!(lens(&[&one, &other, &again]).is_err());
    }

    #[test]
    fn only_what_will_be_written_takes_memory() {
        use std::os::unix::fs::MetadataExt;
        let slab = slab(64 << 20);
        let window = 0..64 << 20;
        let mut windows = Windows::map([(slab.as_fd(), &window)].into_iter()).expect("mapped");
        // Out of order, side by side, and far away.
        let ranges = [70_000..140_000, 0..70_000, (63 << 20)..(63 << 20) + 1];
        windows.populate(ranges.into_iter());
        let taken = slab.metadata().expect("metadata").blocks() * 512;
        // None at all where the kernel cannot.
        assert!(taken < 16 << 20, "{taken}");
        assert!(windows.bytes()[..140_000].iter().all(|byte| *byte == 0));
    }
}
