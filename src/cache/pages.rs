//! The memory of a slab: its file, mapped, and what of it is really there.
//!
//! `unsafe` because bytes are handed out of shared mappings. Who may touch which bytes is decided
//! by [`super::slab`]; here only the bounds are checked.
//!
//! A tmpfs with large pages takes 2 MiB for the first byte that is written to each 2 MiB of the
//! file. That is what makes whole volumes fast, and it is four times the memory of a lone frame of
//! 512 KiB. So the file is mapped twice: one mapping takes large pages, the other never does, and
//! which of the two a frame is written through decides what it costs. What the pages cost is asked
//! of the kernel (`st_blocks`), not computed.
//!
//! A file that holds one frame and is too short for a large page is better written by write(2): a fault for each
//! page of 512 KiB takes 0.3 ms, a call that brings them all 0.03 ms, because tmpfs then takes pages as large as
//! fit into the file (Linux 6.18), which are read twice as fast. Where there are other frames that would be
//! memory of theirs.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::backing;

/// A large page on all machines that have 4 KiB pages.
pub(super) const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// Pages to which a file's size is rounded up in memory.
const SMALL_PAGE_BYTES: u64 = 4096;

/// Ranges shorter than this are not worth a call of their own.
const TAKEN_AT_ONCE_MIN_BYTES: u64 = 64 << 10;

/// A file in memory and its mappings.
pub(super) struct Pages {
    file: File,
    map: MmapRaw,
    /// The same bytes, written in small pages only; absent where there is nothing to choose.
    small: Option<MmapRaw>,
}

impl Pages {
    /// A file of `len_bytes` zeros that takes no memory yet. `large` allows large pages.
    pub(super) fn new(store: &backing::Store, len_bytes: usize, large: bool) -> io::Result<Pages> {
        let file = store.file(len_bytes as u64)?;
        let map = || MmapOptions::new().len(len_bytes).map_raw(&file);
        let choice = large && len_bytes as u64 >= LARGE_PAGE_BYTES;
        let (map, small) = (map()?, choice.then(map).transpose()?);
        // Advice that is not taken costs speed or memory, which is then counted: never bytes.
        let advise = |map: &MmapRaw, advice| {
            if let Err(why) = map.advise(advice) {
                tracing::debug!("no choice of page sizes: {why}");
            }
        };
        match &small {
            Some(small) => {
                advise(&map, Advice::HugePage);
                advise(small, Advice::NoHugePage);
            }
            None => advise(&map, Advice::NoHugePage),
        }
        Ok(Pages { file, map, small })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// True when frames can be written in large pages.
    pub(super) fn has_large(&self) -> bool {
        self.small.is_some()
    }

    /// Writes the bytes of a range by a call.
    ///
    /// # Safety
    /// As of [`Pages::bytes_mut`], until this returns.
    pub(super) unsafe fn write(&self, bytes: &[u8], range: &Range<u64>) -> io::Result<()> {
        let is_inside =
            self.check(range).is_some() && range.end - range.start == bytes.len() as u64;
        match is_inside {
            true => self.file.write_all_at(bytes, range.start),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Memory the file takes now, bytes.
    pub(super) fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// Nobody may write them as long as the slice lives.
    pub(super) unsafe fn bytes(&self, range: &Range<u64>) -> Option<&[u8]> {
        self.check(range)?;
        let len = (range.end - range.start) as usize;
        // SAFETY: the range lies inside the mapping, which lives as long as `self`.
        Some(unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().add(range.start as usize), len)
        })
    }

    /// The bytes of a range, to be written in large pages or not.
    ///
    /// # Safety
    /// Nobody else may read or write them as long as the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn bytes_mut(&self, range: &Range<u64>, large: bool) -> Option<&mut [u8]> {
        self.check(range)?;
        let map = match &self.small {
            Some(small) if !large => small,
            _ => &self.map,
        };
        let len = (range.end - range.start) as usize;
        let start = range.start as usize;
        // SAFETY: as above; both mappings are of the same file and length.
        Some(unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().add(start), len) })
    }

    /// Takes the small pages of a range at once, which is faster than one after the other as they
    /// are written.
    pub(super) fn take_small(&self, range: &Range<u64>) {
        let start = range.start / SMALL_PAGE_BYTES * SMALL_PAGE_BYTES;
        let len = range.end.min(self.len_bytes()).saturating_sub(start);
        if len < TAKEN_AT_ONCE_MIN_BYTES {
            return;
        }
        let map = self.small.as_ref().unwrap_or(&self.map);
        let taken = map.advise_range(Advice::PopulateWrite, start as usize, len as usize);
        if let Err(why) = taken {
            // An old kernel: they come by themselves.
            tracing::debug!("pages are taken one by one: {why}");
        }
    }

    /// Takes all pages of a range, of the size it is to be written in, for somebody who writes to
    /// the file by a way of his own: the kernel would then choose.
    ///
    /// # Safety
    /// As of [`Pages::bytes_mut`]; the bytes are undefined afterwards.
    pub(super) unsafe fn take(&self, range: &Range<u64>, large: bool) {
        let start = range.start / SMALL_PAGE_BYTES * SMALL_PAGE_BYTES;
        let len = range.end.min(self.len_bytes()).saturating_sub(start);
        let map = match &self.small {
            Some(small) if !large => small,
            _ => &self.map,
        };
        let taken = map.advise_range(Advice::PopulateWrite, start as usize, len as usize);
        if taken.is_err() {
            // An old kernel: a byte of each page does the same. The first and the last page may be
            // others' as well, so it has to be a byte of the range.
            // SAFETY: that of the caller.
            let bytes = unsafe { self.bytes_mut(range, large) }.unwrap_or_default();
            let first = (SMALL_PAGE_BYTES - range.start % SMALL_PAGE_BYTES) as usize;
            let (head, rest) = bytes.split_at_mut(first.min(bytes.len()));
            let pages = rest.chunks_mut(SMALL_PAGE_BYTES as usize);
            for byte in [head]
                .into_iter()
                .chain(pages)
                .filter_map(<[u8]>::first_mut)
            {
                *byte = 0;
            }
        }
    }

    /// Gives the memory of a range back; it then reads as zeros.
    pub(super) fn punch(&self, range: &Range<u64>) -> io::Result<()> {
        let end = match range.end == self.len_bytes() {
            // The last page is given back whole; the file's length stays.
            true => range.end.next_multiple_of(SMALL_PAGE_BYTES),
            false => range.end,
        };
        backing::punch_hole(&self.file, range.start, end - range.start)
    }

    fn check(&self, range: &Range<u64>) -> Option<()> {
        (range.start <= range.end && range.end <= self.len_bytes()).then_some(())
    }
}

/// What `range` may cost at most when it is written right after what is before it: large pages are
/// taken whole, also for their part beyond the range.
pub(super) fn cost_bytes(range: &Range<u64>, len_bytes: u64, large: bool) -> u64 {
    let end = range.end.next_multiple_of(page_bytes(large));
    let file_end = len_bytes.next_multiple_of(SMALL_PAGE_BYTES);
    end.min(file_end) - range.start.min(file_end)
}

/// The pages that `range` touches, as a range of the file.
pub(super) fn around(range: &Range<u64>, len_bytes: u64, large: bool) -> Range<u64> {
    let page = page_bytes(large);
    let start = range.start / page * page;
    start..range.end.next_multiple_of(page).min(len_bytes)
}

fn page_bytes(large: bool) -> u64 {
    match large {
        true => LARGE_PAGE_BYTES,
        false => SMALL_PAGE_BYTES,
    }
}
