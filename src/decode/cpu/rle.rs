//! RLE Lossless: PS3.5 Annex G, transfer syntax 1.2.840.10008.1.2.5. Own code, without `unsafe`.
//!
//! Must not know the data set: counts come by [`Expect`], sign and Bits Stored are the caller's.
//! The encoded bytes are hostile: header and segment bounds are checked before use, and a segment
//! that does not give all its bytes is an error.
//!
//! A frame is `samples * bytes` segments, most significant byte first, each a byte plane packed by
//! PackBits. Several planes are unpacked strip by strip into a buffer that stays in the first-level
//! cache, and interleaved from there. Packets move by whole blocks where there is room, because a
//! copy of constant length is a few instructions and most packets are short.

#[cfg(test)]
mod tests;

use std::ops::Range;

/// Bytes of the header: the number of segments and 15 offsets, 32 bits each (PS3.5 G.5).
const HEADER_LEN_BYTES: usize = 64;

/// Segments that the header has room for.
const SEGMENTS_MAX: usize = 15;

/// Bytes of each plane unpacked at once; with 12 planes still half of a 48 KiB cache.
const STRIP_LEN_BYTES: usize = 2048;

/// The longest packet, in bytes of output.
const PACKET_LEN_BYTES: usize = 128;

/// Bytes moved at once; packets of up to so many take no loop.
const BLOCK_LEN_BYTES: usize = 32;

/// A plane's buffer: a strip, what the last packet brings beyond it, and room for a whole block.
const BUFFER_LEN_BYTES: usize = STRIP_LEN_BYTES + PACKET_LEN_BYTES + BLOCK_LEN_BYTES;

/// What the frame must hold, from the data set around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Rows (0028,0010).
    pub rows: u16,
    /// Columns (0028,0011).
    pub columns: u16,
    /// Samples per Pixel (0028,0002).
    pub samples: u8,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u8,
}

/// Why a frame was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the header takes.
    #[error("the frame has {0} bytes, fewer than the RLE header")]
    NoHeader(usize),
    /// Samples and bits that RLE cannot hold.
    #[error("{samples} samples of {bits} bits do not fit RLE")]
    Unsupported {
        /// Samples per Pixel.
        samples: u8,
        /// Bits Allocated.
        bits: u8,
    },
    /// The number of segments is not that of the image's byte planes.
    #[error("the frame has {found} RLE segments, the data set needs {expected}")]
    SegmentCount {
        /// Number in the header.
        found: u32,
        /// Samples per Pixel times bytes a sample.
        expected: usize,
    },
    /// A segment that lies outside the frame or before the one ahead of it.
    #[error("RLE segment {segment} starts at {offset}, which is out of order or out of the frame")]
    Offset {
        /// Index of the segment, from 0.
        segment: usize,
        /// Its offset, in bytes from the start of the frame.
        offset: u32,
    },
    /// A segment that ends before all its bytes came.
    #[error("RLE segment {segment} ends before its last byte")]
    EndsEarly {
        /// Index of the segment, from 0.
        segment: usize,
    },
    /// The output slice has the wrong length: a mistake of the caller.
    #[error("the output has {found} bytes, {expected} are needed")]
    OutputLength {
        /// Bytes of the slice.
        found: usize,
        /// Bytes of the image.
        expected: usize,
    },
}

/// Decodes one frame into `out`: pixels interleaved, samples little endian, row by row. For 1-bit
/// data one byte (0 or 1) a pixel; its encoded plane is a bit stream, first pixel in the least
/// significant bit, padded to a byte at the end of the frame (not of the line).
///
/// Bytes of a segment beyond its plane are ignored: segments are padded to an even length, and some
/// encoders leave more (pydicom warns and goes on).
///
/// # Errors
/// See [`Error`]. What `out` then holds is undefined.
pub fn decode(encoded: &[u8], expect: Expect, out: &mut [u8]) -> Result<(), Error> {
    let Expect {
        rows,
        columns,
        samples,
        bits_allocated: bits,
    } = expect;
    let unsupported = Error::Unsupported { samples, bits };
    let bytes = match bits {
        1 | 8 => 1,
        16 | 32 | 64 => usize::from(bits / 8),
        _ => return Err(unsupported),
    };
    let planes = usize::from(samples) * bytes;
    if !(1..=SEGMENTS_MAX).contains(&planes) || (bits == 1 && planes != 1) {
        return Err(unsupported);
    }
    let pixels = usize::from(rows) * usize::from(columns);
    if Some(out.len()) != pixels.checked_mul(planes) {
        let expected = pixels.saturating_mul(planes);
        return Err(Error::OutputLength {
            found: out.len(),
            expected,
        });
    }
    let mut segments = segments(encoded, planes)?;
    let first = &mut segments[0];
    match (planes, samples) {
        (1, _) if bits == 1 => unpack_bits(first, out),
        (1, _) => first.unpack_into(out),
        // The orders of planes in a pixel: little endian from most significant first.
        (2, 1) => interleave::<2>(&mut segments, [1, 0], out),
        (2, _) => interleave::<2>(&mut segments, [0, 1], out),
        (3, _) => interleave::<3>(&mut segments, [0, 1, 2], out),
        (4, 1) => interleave::<4>(&mut segments, [3, 2, 1, 0], out),
        (4, 4) => interleave::<4>(&mut segments, [0, 1, 2, 3], out),
        (6, 3) => interleave::<6>(&mut segments, [1, 0, 3, 2, 5, 4], out),
        (8, 1) => interleave::<8>(&mut segments, [7, 6, 5, 4, 3, 2, 1, 0], out),
        (12, 3) => interleave::<12>(&mut segments, [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8], out),
        _ => interleave_any(&mut segments, planes, bytes, out),
    }
}

/// Whether the header holds `planes` segments that lie in order inside the frame.
pub(crate) fn check_header(encoded: &[u8], planes: usize) -> Result<(), Error> {
    if (1..=SEGMENTS_MAX).contains(&planes) {
        return segments(encoded, planes).map(drop);
    }
    let found = 0;
    let expected = planes;
    Err(Error::SegmentCount { found, expected })
}

/// Reads the header and cuts the frame into its segments. Each ends where the next begins.
fn segments(encoded: &[u8], planes: usize) -> Result<[Segment<'_>; SEGMENTS_MAX], Error> {
    let header: &[u8; HEADER_LEN_BYTES] = encoded
        .first_chunk()
        .ok_or(Error::NoHeader(encoded.len()))?;
    let (words, _) = header.as_chunks::<4>();
    let found = u32::from_le_bytes(words[0]);
    if usize::try_from(found) != Ok(planes) {
        return Err(Error::SegmentCount {
            found,
            expected: planes,
        });
    }
    let offsets = &words[1..=planes];
    let mut segments = [const {
        Segment {
            number: 0,
            packed: &[],
        }
    }; SEGMENTS_MAX];
    let mut end = encoded.len();
    for (number, bytes) in offsets.iter().enumerate().rev() {
        let offset = u32::from_le_bytes(*bytes);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let packed = encoded.get(..end).and_then(|head| head.get(start..));
        match packed {
            Some(packed) if start >= HEADER_LEN_BYTES => {
                segments[number] = Segment { number, packed }
            }
            _ => {
                return Err(Error::Offset {
                    segment: number,
                    offset,
                });
            }
        }
        end = start;
    }
    Ok(segments)
}

/// Where the segments of a frame of `planes` byte planes lie, by the same rules as for [`decode`]:
/// for a decoder elsewhere. `planes` is at most 15.
pub(crate) fn segment_ranges(encoded: &[u8], planes: usize) -> Result<Vec<Range<usize>>, Error> {
    let segments = segments(encoded, planes.min(SEGMENTS_MAX))?;
    let mut end = encoded.len();
    let mut ranges: Vec<_> = segments[..planes.min(SEGMENTS_MAX)]
        .iter()
        .rev()
        .map(|segment| {
            let start = end - segment.packed.len();
            start..std::mem::replace(&mut end, start)
        })
        .collect();
    ranges.reverse();
    Ok(ranges)
}

/// A PackBits stream that is being unpacked.
#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    number: usize,
    /// What is left of it.
    packed: &'a [u8],
}

impl Segment<'_> {
    /// Unpacks packets into `out[at..]` until `need` bytes of `out` are filled, and returns how
    /// many are: more than `need` where the last packet brings more and `out` has room. Beyond
    /// that, up to a block of `out` may be overwritten. `need` is at most the length of `out`.
    fn unpack(&mut self, out: &mut [u8], mut at: usize, need: usize) -> Result<usize, Error> {
        let mut packed = self.packed;
        while at < need {
            let [control, ref rest @ ..] = *packed else {
                break;
            };
            if control < 128 {
                let len = usize::from(control) + 1;
                let blocks = (rest.first_chunk::<BLOCK_LEN_BYTES>(), out.get_mut(at..));
                if len <= BLOCK_LEN_BYTES
                    && let (Some(from), Some(to)) = blocks
                    && let Some(to) = to.first_chunk_mut::<BLOCK_LEN_BYTES>()
                {
                    *to = *from;
                    at += len;
                    packed = &rest[len..];
                } else {
                    // The last packet may be longer than the plane or cut off: what is needed of
                    // it counts.
                    let len = len.min(rest.len());
                    let room = len.min(out.len() - at);
                    out[at..at + room].copy_from_slice(&rest[..room]);
                    at += room;
                    packed = &rest[len..];
                }
            } else if control > 128 {
                let len = 257 - usize::from(control);
                let [value, ref rest @ ..] = *rest else { break };
                if len <= BLOCK_LEN_BYTES
                    && let Some(to) = out[at..].first_chunk_mut::<BLOCK_LEN_BYTES>()
                {
                    *to = [value; BLOCK_LEN_BYTES];
                    at += len;
                } else {
                    let room = len.min(out.len() - at);
                    out[at..at + room].fill(value);
                    at += room;
                }
                packed = rest;
            } else {
                // 128: no output (PS3.5 G.3.1).
                packed = rest;
            }
        }
        self.packed = packed;
        if at < need {
            return Err(Error::EndsEarly {
                segment: self.number,
            });
        }
        Ok(at)
    }

    /// Unpacks the only plane of a frame.
    fn unpack_into(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.unpack(out, 0, out.len()).map(drop)
    }
}

/// Unpacks `K` planes strip by strip into pixels of `K` bytes; byte `k` of a pixel is from segment
/// `order[k]`.
fn interleave<const K: usize>(
    segments: &mut [Segment<'_>],
    order: [usize; K],
    out: &mut [u8],
) -> Result<(), Error> {
    let mut planes = vec![
        Plane {
            bytes: [0; BUFFER_LEN_BYTES],
            filled: 0
        };
        K
    ];
    let (pixels, _) = out.as_chunks_mut::<K>();
    for strip in pixels.chunks_mut(STRIP_LEN_BYTES) {
        let len = strip.len();
        for (plane, segment) in planes.iter_mut().zip(segments.iter_mut()) {
            plane.fill(segment, len)?;
        }
        let from: [&[u8]; K] = std::array::from_fn(|k| &planes[order[k]].bytes[..len]);
        for (i, pixel) in strip.iter_mut().enumerate() {
            for (byte, plane) in pixel.iter_mut().zip(from) {
                *byte = plane[i];
            }
        }
        for plane in &mut planes {
            plane.drop_strip(len);
        }
    }
    Ok(())
}

/// As [`interleave`], for the rarer numbers of samples: `bytes` a sample, any number of samples.
fn interleave_any(
    segments: &mut [Segment<'_>; SEGMENTS_MAX],
    planes: usize,
    bytes: usize,
    out: &mut [u8],
) -> Result<(), Error> {
    let pixels = out.len() / planes;
    let mut plane = vec![0; pixels + BLOCK_LEN_BYTES];
    for (index, segment) in segments[..planes].iter_mut().enumerate() {
        segment.unpack(&mut plane, 0, pixels)?;
        let target = index / bytes * bytes + (bytes - 1 - index % bytes);
        for (pixel, &byte) in out.chunks_exact_mut(planes).zip(&plane) {
            pixel[target] = byte;
        }
    }
    Ok(())
}

/// Unpacks a bit plane, one byte a pixel.
fn unpack_bits(segment: &mut Segment<'_>, out: &mut [u8]) -> Result<(), Error> {
    let mut packed = vec![0; out.len().div_ceil(8)];
    segment.unpack_into(&mut packed)?;
    for (pixels, &byte) in out.chunks_mut(8).zip(&packed) {
        for (bit, pixel) in pixels.iter_mut().enumerate() {
            *pixel = byte >> bit & 1;
        }
    }
    Ok(())
}

/// A strip of a byte plane, and what was unpacked beyond it.
#[derive(Clone)]
struct Plane {
    bytes: [u8; BUFFER_LEN_BYTES],
    filled: usize,
}

impl Plane {
    /// Unpacks until the first `len` bytes are there.
    fn fill(&mut self, segment: &mut Segment<'_>, len: usize) -> Result<(), Error> {
        self.filled = segment.unpack(&mut self.bytes, self.filled, len)?;
        Ok(())
    }

    /// Moves what lies beyond the first `len` bytes to the front.
    fn drop_strip(&mut self, len: usize) {
        self.bytes.copy_within(len..self.filled, 0);
        self.filled -= len;
    }
}
