//! Positioned reads: the one kind of I/O that parsing does.
//!
//! Knows nothing of what the bytes mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Something that can be read at any offset, by several threads at once.
pub trait ReadAt {
    /// Reads up to `buf.len()` bytes from `offset_bytes` on. A short count is allowed; 0 means
    /// end of file.
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset_bytes)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset_bytes)
            .unwrap_or(usize::MAX)
            .min(self.len());
        let len = buf.len().min(self.len() - start);
        buf[..len].copy_from_slice(&self[start..start + len]);
        Ok(len)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset_bytes, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset_bytes, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset_bytes, buf)
    }
}

/// Reads until `buf` is full or the source ends; returns the number of bytes read. Interrupted
/// reads are taken up again.
pub fn read_full_at<R: ReadAt + ?Sized>(
    source: &R,
    offset_bytes: u64,
    buf: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match source.read_at(offset_bytes + filled as u64, &mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
