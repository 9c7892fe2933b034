//! Deflated datasets (PS3.5 A.5): one raw deflate stream after the File Meta Information.
//!
//! Inflates forward and in pieces; what is asked for is bounded by the caller, what is skipped by
//! nothing but the size of the file.

use flate2::{Decompress, FlushDecompress, Status};

use super::header::Stream;
use super::{Error, ReadAt, read_full_at};

/// Bytes taken from the file, or thrown away, at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// The inflated dataset as a stream.
pub(crate) struct InflateStream<'a, R: ?Sized> {
    source: &'a R,
    next_bytes: u64,
    input: Vec<u8>,
    consumed: usize,
    inflate: Decompress,
    produced_bytes: u64,
    limit_bytes: u64,
    ended: bool,
}

impl<'a, R: ReadAt + ?Sized> InflateStream<'a, R> {
    /// Inflates what starts at `offset_bytes` of the source; refuses to go beyond `limit_bytes`
    /// of inflated data.
    pub(crate) fn new(source: &'a R, offset_bytes: u64, limit_bytes: u64) -> Self {
        InflateStream {
            source,
            next_bytes: offset_bytes,
            input: Vec::new(),
            consumed: 0,
            inflate: Decompress::new(false),
            produced_bytes: 0,
            limit_bytes,
            ended: false,
        }
    }

    /// Inflates into `out`; less than its length only at the end of the stream.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < out.len() && !self.ended {
            if self.consumed == self.input.len() {
                self.input.resize(CHUNK_BYTES, 0);
                let read = read_full_at(self.source, self.next_bytes, &mut self.input)?;
                self.input.truncate(read);
                self.next_bytes += read as u64;
                self.consumed = 0;
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let input = &self.input[self.consumed..];
            let status = self
                .inflate
                .decompress(input, &mut out[filled..], FlushDecompress::None)
                .map_err(|_| self.malformed())?;
            let taken = (self.inflate.total_in() - before_in) as usize;
            let given = (self.inflate.total_out() - before_out) as usize;
            self.consumed += taken;
            filled += given;
            // Without input and output there is nothing more to come: the file was cut.
            self.ended = status == Status::StreamEnd || (taken == 0 && given == 0);
        }
        self.produced_bytes += filled as u64;
        if self.produced_bytes > self.limit_bytes {
            return Err(Error::TooLarge {
                what: "an inflated dataset, in bytes,",
                limit: self.limit_bytes,
            });
        }
        Ok(filled)
    }

    fn malformed(&self) -> Error {
        Error::Malformed {
            tag: None,
            offset_bytes: self.next_bytes,
            what: "the deflate stream is corrupt",
        }
    }
}

impl<R: ReadAt + ?Sized> Stream for InflateStream<'_, R> {
    fn read_forward(&mut self, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let mut skipped = [0; CHUNK_BYTES];
        while self.produced_bytes < offset_bytes {
            let wanted = (offset_bytes - self.produced_bytes).min(CHUNK_BYTES as u64) as usize;
            if self.fill(&mut skipped[..wanted])? < wanted {
                return Ok(0);
            }
        }
        self.fill(buf)
    }
}

/// Fills `out` with the bytes at `offset_bytes` of the inflated dataset of a deflated file, as
/// [`super::PixelDataLocation`] counts them.
///
/// # Errors
/// [`Error::Truncated`] when the dataset ends before; [`Error::Malformed`] when the stream is
/// corrupt; those of a positioned read.
pub fn read_deflated<R: ReadAt + ?Sized>(
    source: &R,
    file_len_bytes: u64,
    offset_bytes: u64,
    out: &mut [u8],
) -> Result<(), Error> {
    let start = super::header::dataset_offset(source, file_len_bytes)?;
    let end = offset_bytes.saturating_add(out.len() as u64);
    let mut stream = InflateStream::new(source, start, end);
    let filled = stream.read_forward(offset_bytes, out)?;
    if filled < out.len() {
        return Err(Error::Truncated {
            end_bytes: stream.produced_bytes,
            needed_bytes: end,
        });
    }
    Ok(())
}
