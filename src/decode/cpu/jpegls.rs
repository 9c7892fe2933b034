//! JPEG-LS (ITU-T T.87 | ISO/IEC 14495-1), lossless and near-lossless: the codec of the transfer
//! syntaxes 1.2.840.10008.1.2.4.80 and .81 (PS3.5 A.4.3).
//!
//! Knows one stream of bytes and the samples in it; no DICOM data set, no other codec. The caller
//! says in [`Expect`] what the data set promises, and the stream is held to it before any memory
//! is asked for.
//!
//! Covered: 2 to 16 bits, 1 to 4 components, all three interleave modes, several scans, preset
//! coding parameters, restart intervals, the HP colour transforms. Refused with a reason: mapping
//! tables, point transforms, subsampling, the Part 2 extensions.
//!
//! Work is bounded by the bytes of the stream plus the samples of the frame: each loop eats one of
//! the two, so that a corrupt stream ends as fast as a good one.
//!
//! Look next at `header` (markers and their segments), `bits` (stuffed bits to plain bits), `codes`
//! (bits to numbers), `context` (the adaptive state), `scan` (samples), `store` (the output).

mod bits;
mod codes;
mod context;
mod header;
mod scan;
mod store;
#[cfg(test)]
mod tests;

pub use header::Interleave;

/// What the data set says of the frame; the stream must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002).
    pub components: u8,
    /// Most bits that a sample of the stream may have; Bits Allocated (0028,0100) at most.
    pub bits_max: u8,
    /// Bytes of one sample in `out`: 1, or 2 for little endian pairs.
    pub sample_bytes: u8,
    /// Bits Stored (0028,0101): what is above is masked, or filled with the sign.
    pub bits_stored: u8,
    /// Whether Pixel Representation (0028,0103) is 1: samples are sign-extended from
    /// `bits_stored` to `sample_bytes`.
    pub signed: bool,
}

impl Expect {
    /// Length of the decoded frame in bytes; `None` where it does not fit in memory.
    pub fn frame_len_bytes(&self) -> Option<usize> {
        let row = usize::try_from(self.columns).ok()?;
        usize::try_from(self.rows)
            .ok()?
            .checked_mul(row)?
            .checked_mul(usize::from(self.components))?
            .checked_mul(usize::from(self.sample_bytes))
    }
}

/// What the stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Samples in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Components of the frame.
    pub components: u8,
    /// Bits of a sample, 2 to 16.
    pub precision: u8,
    /// Largest difference that the first scan allows itself; 0 is lossless.
    pub near: u8,
    /// How the components of the first scan are interleaved.
    pub interleave: Interleave,
}

/// Why a stream was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream ends before its last sample.
    #[error("the stream ends early, in {place}")]
    EndsEarly {
        /// Where in the stream.
        place: &'static str,
    },
    /// The stream breaks a rule of T.87.
    #[error("{what}")]
    Malformed {
        /// The rule, as a sentence without a stop.
        what: &'static str,
    },
    /// The stream uses what this decoder does not have.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it uses.
        what: &'static str,
    },
    /// The marker does not belong into a JPEG-LS stream.
    #[error("marker FF{marker:02X} does not belong into a JPEG-LS stream")]
    Marker {
        /// The byte after FF.
        marker: u8,
    },
    /// The stream and the data set disagree.
    #[error("the stream has {what} {stream} and the data set {expected}")]
    Mismatch {
        /// What is compared.
        what: &'static str,
        /// The value in the stream.
        stream: u32,
        /// The value (or the most) that the data set allows.
        expected: u32,
    },
    /// `out` does not have the length of the frame, or [`Expect`] is not possible.
    #[error("the caller asks for an impossible output: {what}")]
    Output {
        /// What is impossible.
        what: &'static str,
    },
}

/// Reads the markers up to the first scan.
///
/// # Errors
/// [`Error`] where the stream is no JPEG-LS stream, ends before its first scan, or is of a kind
/// that [`decode`] would refuse.
pub fn read_header(stream: &[u8]) -> Result<Header, Error> {
    let mut parser = header::Parser::new(stream)?;
    let (frame, scan) = parser.first_scan()?;
    Ok(summary(&frame, &scan))
}

/// Decodes a frame into `out`: pixel-interleaved whatever the stream's interleave mode, each
/// sample `expect.sample_bytes` long and little endian.
///
/// A stream that has all its samples but no EOI marker, or zero bytes before it, is accepted:
/// both occur in archives (NEMA WG04 MR1_JLSL has a zero byte before EOI).
///
/// # Errors
/// [`Error`]; `out` is then filled in part.
pub fn decode(stream: &[u8], expect: &Expect, out: &mut [u8]) -> Result<Header, Error> {
    let mut parser = header::Parser::new(stream)?;
    let (frame, mut scan) = parser.first_scan()?;
    compare(&frame, expect, out.len())?;
    let header = summary(&frame, &scan);
    let transform = colour_transform(&parser, &frame, &scan, expect)?;
    let mut target = store::Target::new(out, &frame, expect);
    let mut missing: u8 = (1 << frame.count) - 1;
    loop {
        for &component in scan.components() {
            if missing & (1 << component) == 0 {
                return Err(Error::Malformed {
                    what: "a component is coded twice",
                });
            }
            missing &= !(1 << component);
        }
        let params = context::Params::new(&frame, &parser.preset, scan.near)?;
        let segments = bits::Segments::new(stream, parser.pos);
        parser.pos = scan::decode(
            &frame,
            &scan,
            &params,
            parser.restart_lines,
            segments,
            &mut target,
        )?;
        if missing == 0 {
            break;
        }
        scan = parser.next_scan(&frame)?;
    }
    if let Some(transform) = transform {
        store::undo_transform(transform, expect.sample_bytes, out);
    }
    Ok(header)
}

fn summary(frame: &header::Frame, scan: &header::Scan) -> Header {
    Header {
        width: frame.width,
        height: frame.height,
        components: frame.count,
        precision: frame.precision,
        near: scan.near,
        interleave: scan.interleave,
    }
}

/// Holds the stream to the data set, and the data set to what is possible.
fn compare(frame: &header::Frame, expect: &Expect, out_len: usize) -> Result<(), Error> {
    let impossible = |what| Err(Error::Output { what });
    if !(1..=2).contains(&expect.sample_bytes) {
        return impossible("samples of other than 1 or 2 bytes");
    }
    let bits_allocated = 8 * expect.sample_bytes;
    if expect.bits_stored == 0 || expect.bits_stored > bits_allocated {
        return impossible("Bits Stored does not fit the sample");
    }
    for (what, stream, expected) in [
        ("columns", frame.width, expect.columns),
        ("rows", frame.height, expect.rows),
        (
            "components",
            u32::from(frame.count),
            u32::from(expect.components),
        ),
    ] {
        if stream != expected {
            return Err(Error::Mismatch {
                what,
                stream,
                expected,
            });
        }
    }
    let bits_max = expect.bits_max.min(bits_allocated);
    if frame.precision > bits_max {
        return Err(Error::Mismatch {
            what: "bits per sample",
            stream: u32::from(frame.precision),
            expected: u32::from(bits_max),
        });
    }
    if expect.frame_len_bytes() != Some(out_len) {
        return impossible("the buffer does not have the length of the frame");
    }
    Ok(())
}

/// The HP colour transform to undo, if the stream carries one ("mrfx" in APP8, outside T.87).
///
/// Its arithmetic is modulo the full range of the sample, hence only whole bytes.
fn colour_transform(
    parser: &header::Parser<'_>,
    frame: &header::Frame,
    scan: &header::Scan,
    expect: &Expect,
) -> Result<Option<store::Transform>, Error> {
    let Some(transform) = store::Transform::from_code(parser.transform_code)? else {
        return Ok(None);
    };
    let whole_bytes =
        frame.precision == 8 * expect.sample_bytes && frame.precision == expect.bits_stored;
    let together = scan.components() == [0, 1, 2] && scan.interleave != Interleave::None;
    if frame.count != 3 || !whole_bytes || !together {
        return Err(Error::Unsupported {
            what: "a colour transform (APP8 mrfx) other than of three whole-byte components in \
                   one scan",
        });
    }
    Ok(Some(transform))
}
