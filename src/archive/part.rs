//! A part of a file, read as if it were a file.

use std::fs::File;
use std::io;

use super::members::Member;
use crate::dicom::ReadAt;

/// A stored member of a container.
#[derive(Debug)]
pub(super) struct Part<'f> {
    file: &'f File,
    offset_bytes: u64,
    len_bytes: u64,
}

impl<'f> Part<'f> {
    /// Where `member` lies in `file`.
    pub(super) fn new(file: &'f File, member: &Member) -> Part<'f> {
        Part {
            file,
            offset_bytes: member.offset_bytes,
            len_bytes: member.len_bytes,
        }
    }
}

impl ReadAt for Part<'_> {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len_bytes.saturating_sub(offset_bytes);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        // The list of members has seen that its end is within the file.
        let at = self.offset_bytes.saturating_add(offset_bytes);
        ReadAt::read_at(self.file, at, &mut buf[..len])
    }
}
