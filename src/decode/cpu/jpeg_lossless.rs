//! JPEG Lossless: ITU-T T.81 process 14 (SOF3, Huffman), transfer syntaxes 1.2.840.10008.1.2.4.57
//! and .70. Own code, without `unsafe`.
//!
//! All seven predictors, 2 to 16 bits, point transform, restart intervals, 1 to 4 components in
//! any distribution over scans. Refused: selection value 0 (hierarchical only), subsampling,
//! arithmetic coding, other processes. No colour is converted: samples leave as they were coded.
//!
//! Must not know DICOM, Bits Stored or sign: the caller masks and sign-extends. The stream is
//! hostile: what it declares is compared with what is expected before anything is allocated, and a
//! stream that ends early is an error, never a frame with missing lines.
//!
//! Start with [`decode`]; `jpeg_lossless/header.rs` reads markers, `scan.rs` drives the lines,
//! `outline.rs` tells a device's decoder what the markers say, `pairs.rs`, `predict.rs`, `huffman.rs` and `bits.rs` are the loop that takes the time.

mod bits;
mod header;
mod huffman;
mod outline;
mod pairs;
mod predict;
mod scan;
#[cfg(test)]
mod tests;

pub use header::{Header, read_header};
pub use huffman::Table;
pub use outline::Outline;

/// What the stream must hold, from the data set around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Rows (0028,0010).
    pub rows: u16,
    /// Columns (0028,0011).
    pub columns: u16,
    /// Samples per Pixel (0028,0002).
    pub components: u8,
    /// The highest sample precision that is accepted, in bits: Bits Allocated (0028,0100).
    pub max_bits: u8,
}

/// Why a stream was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream does not start with SOI.
    #[error("the stream does not start as JPEG does (FF D8)")]
    NotJpeg,
    /// The stream ends inside or before a part that must be there.
    #[error("the stream ends within {0}")]
    Truncated(&'static str),
    /// Another coding process than lossless sequential Huffman.
    #[error("the coding process is {0}, not lossless with Huffman codes (SOF3)")]
    Process(&'static str),
    /// A marker that may not stand where it was found, or bytes that are no marker.
    #[error("unexpected bytes {0:02X} {1:02X} where a marker segment should start")]
    Marker(u8, u8),
    /// A marker segment that breaks the rules.
    #[error("the {0} segment is malformed: {1}")]
    Segment(&'static str, &'static str),
    /// A Huffman table that cannot be.
    #[error("a Huffman table is malformed: {0}")]
    Huffman(&'static str),
    /// Something the standard allows and this decoder does not.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The stream and the data set disagree.
    #[error("the stream has {what} {found}, the data set {expected}")]
    Mismatch {
        /// The quantity.
        what: &'static str,
        /// What the stream says.
        found: u32,
        /// What the data set says.
        expected: u32,
    },
    /// The output slice has the wrong length: a mistake of the caller.
    #[error("the output has room for {found} samples, {expected} are needed")]
    OutputLength {
        /// Samples of the slice.
        found: usize,
        /// Samples of the image.
        expected: usize,
    },
    /// The entropy-coded data ends before the last sample.
    #[error("the entropy-coded data ends within line {0}")]
    EndsEarly(usize),
    /// A bit pattern that the Huffman table does not have.
    #[error("there is an invalid Huffman code in line {0}")]
    BadCode(usize),
    /// The restart marker that must follow line n is another one, or absent.
    #[error("the restart marker before line {0} is missing or out of order")]
    Restart(usize),
    /// Entropy-coded data goes on after the last sample of an interval.
    #[error("entropy-coded data goes on after the last sample of line {0}")]
    Surplus(usize),
}

/// A sample of the output: `u8`, `u16`, or `[u8; 2]` for little-endian pairs, by which a byte
/// buffer is decoded into without a copy (`out.as_chunks_mut::<2>().0`).
pub trait Sample: Copy + Default {
    /// Bits it holds.
    const BITS: u8;
    /// From the decoded value; bits above [`Sample::BITS`] are dropped.
    fn from_u16(value: u16) -> Self;
    /// The value.
    fn to_u16(self) -> u16;
}

impl Sample for u8 {
    const BITS: u8 = 8;
    #[inline(always)]
    fn from_u16(value: u16) -> Self {
        value as u8
    }
    #[inline(always)]
    fn to_u16(self) -> u16 {
        u16::from(self)
    }
}

impl Sample for u16 {
    const BITS: u8 = 16;
    #[inline(always)]
    fn from_u16(value: u16) -> Self {
        value
    }
    #[inline(always)]
    fn to_u16(self) -> u16 {
        self
    }
}

impl Sample for [u8; 2] {
    const BITS: u8 = 16;
    #[inline(always)]
    fn from_u16(value: u16) -> Self {
        value.to_le_bytes()
    }
    #[inline(always)]
    fn to_u16(self) -> u16 {
        u16::from_le_bytes(self)
    }
}

/// Decodes one image into `out`: samples interleaved, row by row from the top.
///
/// A missing EOI, and anything after the last sample's marker, is accepted: DICOM pads fragments to
/// an even length.
///
/// # Errors
/// See [`Error`]. What `out` then holds is undefined.
pub fn decode<T: Sample>(stream: &[u8], expect: Expect, out: &mut [T]) -> Result<(), Error> {
    let mut markers = header::Markers::new(stream)?;
    let mut tables = header::Tables::default();
    let mut frame = None;
    let mut scans = None;
    loop {
        let (marker, body) = markers.next()?;
        match marker {
            header::SOF3 if frame.is_none() => {
                let found = header::Frame::read(body, &markers)?;
                check(&found.header, expect, T::BITS, out.len())?;
                frame = Some(found);
            }
            header::DHT => tables.read_huffman(body)?,
            header::DRI => tables.read_restart_interval(body)?,
            header::SOS => {
                let frame = frame.as_ref().ok_or(Error::Marker(0xFF, marker))?;
                let scans = scans.get_or_insert_with(|| scan::Decoder::new(frame));
                let scan = header::Scan::read(body, frame, scans.decoded())?;
                let end = scans.decode(stream, markers.position(), &scan, &tables, out)?;
                if scans.is_complete() {
                    return Ok(());
                }
                markers.seek(end);
            }
            header::EOI => return Err(Error::Truncated("the scans: a component has none")),
            other => header::skip(other)?,
        }
    }
}

/// Compares what the frame header declares with what is expected, before anything is allocated.
fn check(header: &Header, expect: Expect, bits: u8, room: usize) -> Result<(), Error> {
    let same = |what, found: u16, expected: u16| {
        let (found, expected) = (u32::from(found), u32::from(expected));
        if found == expected {
            Ok(())
        } else {
            Err(Error::Mismatch {
                what,
                found,
                expected,
            })
        }
    };
    same("height", header.height, expect.rows)?;
    same("width", header.width, expect.columns)?;
    same(
        "components",
        u16::from(header.components),
        u16::from(expect.components),
    )?;
    let max_bits = expect.max_bits.min(bits);
    if header.precision > max_bits {
        let (found, expected) = (u32::from(header.precision), u32::from(max_bits));
        return Err(Error::Mismatch {
            what: "sample precision",
            found,
            expected,
        });
    }
    let pixels = usize::from(expect.rows) * usize::from(expect.columns);
    let expected = pixels.saturating_mul(usize::from(expect.components));
    if room != expected {
        return Err(Error::OutputLength {
            found: room,
            expected,
        });
    }
    Ok(())
}
