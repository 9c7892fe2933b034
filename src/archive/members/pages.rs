//! A file read in pages, for who lists what a container holds: going to and fro within a page costs
//! nothing, and there is a bound to what is read, whatever lengths the file has in it.
//!
//! Knows nothing of any format.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use crate::dicom::ReadAt;

/// Bytes of a page: the heads of many members, or a part of zip's directory.
const PAGE_BYTES: usize = 16 << 10;

/// An open file, read in pages.
pub(super) struct Pages<'f> {
    file: &'f File,
    at: u64,
    page: Vec<u8>,
    page_at: u64,
    /// Bytes that may be taken yet; whoever shares it may set it anew.
    left_bytes: Rc<Cell<u64>>,
}

impl<'f> Pages<'f> {
    /// From the start of `file`, `left_bytes` of it at most.
    pub(super) fn new(file: &'f File, left_bytes: Rc<Cell<u64>>) -> Pages<'f> {
        Pages {
            file,
            at: 0,
            page: Vec::new(),
            page_at: 0,
            left_bytes,
        }
    }

    /// What there is of the page at the place that is read next; empty at the end of the file.
    fn ahead(&mut self) -> io::Result<&[u8]> {
        let within = |at: u64, start: u64, len: usize| {
            let from = usize::try_from(at.checked_sub(start)?).ok()?;
            (from < len).then_some(from)
        };
        let from = match within(self.at, self.page_at, self.page.len()) {
            Some(from) => from,
            None => {
                self.page.resize(PAGE_BYTES, 0);
                let read = self.file.read_at(self.at, &mut self.page);
                self.page.truncate(*read.as_ref().unwrap_or(&0));
                self.page_at = self.at;
                read?;
                0
            }
        };
        Ok(&self.page[from..])
    }
}

impl Read for Pages<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left_bytes = self.left_bytes.get();
        let ahead = self.ahead()?;
        let len = ahead.len().min(buf.len());
        buf[..len].copy_from_slice(&ahead[..len]);
        let Some(left) = left_bytes.checked_sub(len as u64) else {
            let what = "more would have to be read to list it than members can take";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        self.left_bytes.set(left);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Pages<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        let beyond = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the start");
        self.at = at.ok_or_else(beyond)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_read_is_the_file_and_no_more_of_it_than_was_granted() {
        let mut file = tempfile::tempfile().expect("a file");
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| (n / 3) as u8).collect();
        file.write_all(&bytes).expect("written");
        let left = Rc::new(Cell::new(100_000));
        let mut pages = Pages::new(&file, Rc::clone(&left));
        let mut all = Vec::new();
        pages.read_to_end(&mut all).expect("read");
        assert!(all == bytes);
        assert_eq!(left.get(), 60_000);
        let mut part = [0; 100];
        for (to, at) in [
            (SeekFrom::Start(17_000), 17_000),
            (SeekFrom::Current(-200), 16_900),
            (SeekFrom::Current(-16_000), 1000),
            (SeekFrom::End(-100), 39_900),
        ] {
            assert_eq!(pages.seek(to).expect("moved"), at as u64);
            pages.read_exact(&mut part).expect("read");
            assert!(part == bytes[at..at + 100]);
        }
        pages.seek(SeekFrom::Start(1 << 60)).expect("beyond");
        assert_eq!(pages.read(&mut part).expect("the end"), 0);
        assert!(pages.seek(SeekFrom::End(-50_000)).is_err());
        left.set(99);
        pages.seek(SeekFrom::Start(0)).expect("moved");
        assert!(pages.read(&mut part).is_err());
    }
}
