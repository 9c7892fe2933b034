//! A window over the bytes of a header: one read for most files, growing only for long headers.
//!
//! Moves forward only, so that it serves a file and an inflating stream alike. Knows nothing of
//! elements.

use std::cell::Cell;

use crate::dicom::limits::{FIRST_READ_BYTES, HEADER_BYTES_MAX, READ_BYTES_MAX, SPARE_BYTES_MAX};
use crate::dicom::{Error, ReadAt, read_full_at};

/// Where the bytes of a dataset come from.
pub(crate) trait Stream {
    /// Reads at `offset_bytes`, which never is below what was read before; less than `buf.len()`
    /// only at the end.
    fn read_forward(&mut self, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, Error>;
}

/// A file is a stream that skips for free.
pub(crate) struct FileStream<'a, R: ?Sized>(pub(crate) &'a R);

impl<R: ReadAt + ?Sized> Stream for FileStream<'_, R> {
    fn read_forward(&mut self, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, Error> {
        Ok(read_full_at(self.0, offset_bytes, buf)?)
    }
}

thread_local! {
    /// The buffer of the window that this thread had last: getting and clearing one for each file
    /// takes as long as parsing a quarter of the header.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<S> Drop for Window<S> {
    fn drop(&mut self) {
        if self.buf.len() <= SPARE_BYTES_MAX {
            SPARE.set(std::mem::take(&mut self.buf));
        }
    }
}

/// The window.
pub(crate) struct Window<S> {
    stream: S,
    /// Where the bytes end: known for files, found out for inflating streams.
    end_bytes: Option<u64>,
    /// The window is the first `len` bytes of this; those behind it are of no meaning.
    buf: Vec<u8>,
    len: usize,
    base_bytes: u64,
    next_read_bytes: usize,
    read_bytes: u64,
}

impl<S: Stream> Window<S> {
    pub(crate) fn new(stream: S, end_bytes: Option<u64>) -> Self {
        Window {
            stream,
            end_bytes,
            buf: SPARE.take(),
            len: 0,
            base_bytes: 0,
            next_read_bytes: FIRST_READ_BYTES,
            read_bytes: 0,
        }
    }

    /// Where the bytes end, as far as that is known.
    pub(crate) fn end_bytes(&self) -> Option<u64> {
        self.end_bytes
    }

    /// The `len` bytes at `offset_bytes`.
    pub(crate) fn get(&mut self, offset_bytes: u64, len: usize) -> Result<&[u8], Error> {
        let available = self.peek(offset_bytes, len)?.len();
        if available < len {
            return Err(Error::Truncated {
                end_bytes: offset_bytes + available as u64,
                needed_bytes: offset_bytes.saturating_add(len as u64),
            });
        }
        let start = (offset_bytes - self.base_bytes) as usize;
        Ok(&self.buf[start..start + len])
    }

    /// As [`Window::get`], fewer bytes when the stream ends before.
    #[inline]
    pub(crate) fn peek(&mut self, offset_bytes: u64, len: usize) -> Result<&[u8], Error> {
        let inside = offset_bytes >= self.base_bytes
            && offset_bytes.saturating_add(len as u64) <= self.base_bytes + self.len as u64;
        if !inside {
            self.refill(offset_bytes, len)?;
        }
        let start = ((offset_bytes - self.base_bytes) as usize).min(self.len);
        let end = start.saturating_add(len).min(self.len);
        Ok(&self.buf[start..end])
    }

    /// Moves the window so that it starts at `offset_bytes` and holds `len` bytes if the stream
    /// has them. Offsets before the window are a mistake of the caller and read nothing.
    #[cold]
    fn refill(&mut self, offset_bytes: u64, len: usize) -> Result<(), Error> {
        let window_end = self.base_bytes + self.len as u64;
        let at_end = self.end_bytes.is_some_and(|end| window_end >= end);
        if offset_bytes < self.base_bytes || (at_end && offset_bytes < window_end) {
            return Ok(());
        }
        if offset_bytes <= window_end {
            let passed = (offset_bytes - self.base_bytes) as usize;
            self.buf.copy_within(passed..self.len, 0);
            self.len -= passed;
        } else {
            // A long value was skipped: what follows it is likely to be short again.
            self.len = 0;
            self.next_read_bytes = FIRST_READ_BYTES;
        }
        self.base_bytes = offset_bytes;
        let kept = self.len;
        let mut wanted = self.next_read_bytes.max(len.saturating_sub(kept));
        if let Some(end) = self.end_bytes {
            let left = end.saturating_sub(offset_bytes + kept as u64);
            wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.read_bytes += wanted as u64;
        if self.read_bytes > HEADER_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "a header, in bytes,",
                limit: HEADER_BYTES_MAX,
            });
        }
        if self.buf.len() < kept + wanted {
            self.buf.resize(kept + wanted, 0);
        }
        let from = offset_bytes + kept as u64;
        let space = &mut self.buf[kept..kept + wanted];
        let filled = self.stream.read_forward(from, space)?;
        self.len = kept + filled;
        if filled < wanted {
            self.end_bytes = Some(from + filled as u64);
        }
        self.next_read_bytes = (self.next_read_bytes * 2).min(READ_BYTES_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    struct Counted<'a>(&'a [u8], Cell<usize>);

    impl ReadAt for Counted<'_> {
        fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
            self.1.set(self.1.get() + 1);
            self.0.read_at(offset_bytes, buf)
        }
    }

    #[test]
    fn serves_from_one_read_and_grows_when_it_must() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let source = Counted(&bytes, Cell::new(0));
        let mut window = Window::new(FileStream(&source), Some(bytes.len() as u64));
        for offset in (0..8000).step_by(8) {
            assert_eq!(
                window.get(offset as u64, 12).expect("there"),
                &bytes[offset..][..12]
            );
        }
        assert_eq!(source.1.get(), 1);
        assert_eq!(window.get(8190, 12).expect("there"), &bytes[8190..8202]);
        assert_eq!(source.1.get(), 2);
        assert_eq!(
            window.get(9000, 50_000).expect("there"),
            &bytes[9000..59_000]
        );
        assert_eq!(window.get(99_990, 10).expect("there"), &bytes[99_990..]);
        assert_eq!(window.peek(99_995, 12).expect("there"), &bytes[99_995..]);
        assert!(matches!(
            window.get(99_995, 12),
            Err(Error::Truncated {
                end_bytes: 100_000,
                needed_bytes: 100_007
            })
        ));
        assert!(window.peek(200_000, 4).expect("nothing").is_empty());
        assert!(window.peek(u64::MAX, 4).expect("nothing").is_empty());
    }

    #[test]
    fn a_file_that_shrank_is_truncated_not_a_hang() {
        let mut window = Window::new(FileStream(&b"abc"[..]), Some(1 << 40));
        assert!(matches!(
            window.get(0, 8),
            Err(Error::Truncated { end_bytes: 3, .. })
        ));
        assert_eq!(window.end_bytes(), Some(3));
    }
}
