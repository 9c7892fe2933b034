//! One job, checked against the memory it speaks of: what the kernels are told is safe to do.
//!
//! Pure. Whatever the CPU would refuse or has its own words for is refused here, so that the CPU
//! says it; the rules are those of `decode/cpu` and `decode/values.rs`.

use std::ops::Range;

use super::lossless::{self, Picture};
use crate::decode::FRAME_BYTES_MAX;
use crate::decode::cpu::rle;
use crate::decode::gpu::job::{Codec, Job, Outcome, Refusal, Show};
use crate::decode::gpu::kernels::{self, show, source};
use crate::decode::gpu::planes::PLANES_MAX;
use crate::decode::values::stored_dtype;
use crate::dicom::{ImagePixel, PixelElement};
use crate::volume::Dtype;

/// Largest whole number that f64 tells from its neighbours: the CPU refuses larger intercepts.
const INTERCEPT_MAX: u64 = 1 << 52;

/// Start of everything in device memory. Samples of 8 bytes need 8; rows of 256 are read best.
pub(super) const ALIGN: usize = 256;

/// A job that is safe to do.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::decode::gpu) struct Checked {
    /// Its place in the batch.
    pub index: usize,
    pub codec: Codec,
    /// Its bytes in the encoded memory.
    pub encoded: Range<usize>,
    /// Its values in the window of the slab.
    pub out: Range<usize>,
    /// RLE segments, or restart intervals of JPEG Lossless, relative to the frame's first byte.
    pub segments: Vec<Range<usize>>,
    /// JPEG Lossless.
    pub picture: Option<Box<Picture>>,
    /// Pixels of the frame.
    pub pixels: usize,
    /// What `show` is told, but for addresses, precision and the width of planes.
    pub frame: kernels::Frame,
}

/// Rounds up to a whole [`ALIGN`].
pub(super) fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

impl Checked {
    /// Bytes of one plane that is made on the device: a segment unpacked, or a component.
    pub fn plane_bytes(&self) -> usize {
        match self.codec {
            Codec::Native { .. } => 0,
            Codec::Rle => aligned(self.pixels),
            Codec::JpegLossless => lossless::plane_bytes(self.frame.samples_all),
            Codec::Jpeg | Codec::Jpeg2000 | Codec::Htj2k => {
                let columns = self.frame.columns as usize;
                aligned(self.pitch_bytes() * (self.pixels / columns.max(1)))
            }
        }
    }

    /// Bytes from one row of a component to the next.
    pub fn pitch_bytes(&self) -> usize {
        aligned(self.frame.columns as usize * 2)
    }

    /// How many such planes there are.
    pub fn planes(&self) -> usize {
        match self.codec {
            Codec::Native { .. } => 0,
            Codec::Rle => self.segments.len(),
            Codec::JpegLossless => 1,
            Codec::Jpeg | Codec::Jpeg2000 | Codec::Htj2k => self.frame.samples as usize,
        }
    }

    /// Whether its encoded bytes are uploaded: a library that parses them does that itself.
    pub fn is_uploaded(&self) -> bool {
        self.codec.library().is_none()
    }

    /// Its RLE segments.
    pub fn rle_segments(&self) -> &[Range<usize>] {
        match self.codec {
            Codec::Rle => &self.segments,
            _ => &[],
        }
    }

    /// Chunks of all RLE segments together.
    pub fn chunks(&self) -> usize {
        let chunks = |segment: &Range<usize>| segment.len().div_ceil(kernels::CHUNK_BYTES);
        self.rle_segments().iter().map(chunks).sum()
    }

    /// Bytes of device memory that it takes in a chunk of the batch, at most.
    pub fn device_bytes(&self) -> usize {
        let uploaded = if self.is_uploaded() {
            self.encoded.len() + ALIGN
        } else {
            0
        };
        let tables = self.chunks() * (kernels::CHUNK_TABLE_BYTES + kernels::CHUNK_START_BYTES)
            + size_of::<kernels::Frame>()
            + self.rle_segments().len() * (size_of::<kernels::Segment>() + 2 * ALIGN)
            + size_of::<u32>();
        let picture = self.picture.as_ref();
        let between = picture.map_or(0, |picture| picture.device_bytes(&self.segments));
        uploaded + tables + between + self.planes() * self.plane_bytes() + self.out.len() + ALIGN
    }
}

/// Checks a job against the encoded bytes and the length of the slab's window.
pub(super) fn check(
    index: usize,
    job: &Job,
    encoded: &[u8],
    slab_len: usize,
) -> Result<Checked, Outcome> {
    check_with(index, job, slab_len, |frame_len| {
        let bytes = range(&job.encoded, encoded.len(), "encoded memory")?;
        let read = read(job, &encoded[bytes.clone()], frame_len)?;
        Ok((bytes, read))
    })
}

/// Checks a job of samples as they are, before its bytes are read: [`Job::encoded`] counts from its
/// own start. Against the length of the memory for its values.
pub(in crate::decode::gpu) fn check_native(
    index: usize,
    job: &Job,
    memory_len: usize,
) -> Result<Checked, Outcome> {
    check_with(index, job, memory_len, |frame_len| {
        let len = job.encoded.end.saturating_sub(job.encoded.start);
        let len = usize::try_from(len).map_err(|_| Outcome::Refused(Refusal::TooLarge))?;
        let source = read_native(job, len, frame_len)?;
        Ok((0..frame_len, (source, Vec::new(), None)))
    })
}

fn check_with(
    index: usize,
    job: &Job,
    slab_len: usize,
    read: impl FnOnce(usize) -> Result<(Range<usize>, Read), Outcome>,
) -> Result<Checked, Outcome> {
    let image = &job.image;
    let frame_len = image
        .frame_len_bytes()
        .filter(|&len| len <= FRAME_BYTES_MAX)
        .ok_or(Outcome::Refused(Refusal::TooLarge))?;
    check_samples(job, frame_len)?;
    let from = stored_dtype(image).ok_or(Outcome::Refused(Refusal::Samples))?;
    let width = from.itemsize();
    // No more than FRAME_BYTES_MAX, which leaves `show` room to count in 32 bits.
    let samples_all = frame_len / width;
    let (show, to) = rule(job.show, from)?;
    let out = range(&job.out, slab_len, "slab")?;
    if samples_all.checked_mul(to.itemsize()) != Some(out.len()) {
        let what = format!("{} bytes for {samples_all} values", out.len());
        return Err(Outcome::Failed(what));
    }
    let pixels = samples_all / usize::from(image.samples_per_pixel);
    let (bytes, (source, segments, picture)) = read(frame_len)?;
    let (by, slope, intercept) = match job.show {
        Show::Stored => (0, 0.0, 0.0),
        Show::Offset { intercept, .. } => (intercept, 0.0, 0.0),
        Show::Linear {
            slope, intercept, ..
        } => (0, slope, intercept),
    };
    let (up, down) = shifts(job, width);
    Ok(Checked {
        index,
        codec: job.codec,
        encoded: bytes,
        out,
        segments,
        picture,
        pixels,
        frame: kernels::Frame {
            by,
            slope,
            intercept,
            samples_all: samples_all as u32,
            samples: image.samples_per_pixel.into(),
            columns: image.columns,
            width: width as u32,
            source,
            swap: u32::from(job.codec == Codec::Native { big_endian: true }),
            up,
            down,
            is_signed: u32::from(image.signed && image.element == PixelElement::PixelData),
            show,
            ..kernels::Frame::default()
        },
    })
}

/// The range in memory of `len` bytes.
fn range(range: &Range<u64>, len: usize, of: &str) -> Result<Range<usize>, Outcome> {
    let start = usize::try_from(range.start).ok();
    let end = usize::try_from(range.end).ok();
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => Ok(start..end),
        _ => Err(Outcome::Failed(format!(
            "bytes {} to {} of {len} bytes of {of}",
            range.start, range.end
        ))),
    }
}

/// What the samples are must be possible, and among what the kernels know.
fn check_samples(job: &Job, frame_len: usize) -> Result<(), Outcome> {
    let image = &job.image;
    let (bits, stored) = (image.bits_allocated, image.bits_stored);
    let integer = image.element == PixelElement::PixelData;
    let float = match image.element {
        PixelElement::PixelData => None,
        PixelElement::FloatPixelData => Some(32),
        PixelElement::DoubleFloatPixelData => Some(64),
    };
    let possible = frame_len > 0
        && matches!(bits, 8 | 16 | 32 | 64)
        && float.is_none_or(|needed| needed == bits)
        && (!integer || (1..=bits).contains(&stored));
    let placed = !integer || (image.high_bit < bits && image.high_bit + 1 >= stored);
    let pairs = image.is_422();
    let known = match job.codec {
        Codec::Native { .. } => placed && !pairs,
        // The header's fields that the CPU's decoder takes are as narrow.
        Codec::Rle => {
            let narrow = u16::try_from(image.rows).is_ok() && u16::try_from(image.columns).is_ok();
            integer && placed && narrow
        }
        Codec::JpegLossless => integer && bits <= 16 && matches!(image.samples_per_pixel, 1 | 3),
        // The planes have one byte a sample.
        Codec::Jpeg => {
            integer && bits <= 16 && !image.signed && matches!(image.samples_per_pixel, 1 | 3)
        }
        Codec::Jpeg2000 | Codec::Htj2k => {
            integer && bits <= 32 && usize::from(image.samples_per_pixel) <= PLANES_MAX
        }
    };
    if possible && known {
        Ok(())
    } else {
        Err(Outcome::Refused(Refusal::Samples))
    }
}

/// The kernel's rule and the dtype it gives, as `decode/values.rs` has them.
fn rule(rule: Show, from: Dtype) -> Result<(u32, Dtype), Outcome> {
    use Dtype::{F32, F64, I8, I16, I32, U8, U16, U32};
    let refused = Err(Outcome::Refused(Refusal::Values));
    match rule {
        Show::Stored => Ok((show::STORED, from)),
        Show::Offset { intercept, .. } if intercept.unsigned_abs() > INTERCEPT_MAX => refused,
        Show::Offset { dtype, .. } => match (from, dtype) {
            (U8 | I8 | U16 | I16, I16) => Ok((show::OFFSET_I16, I16)),
            (U8 | I8 | U16 | I16 | U32 | I32, I32) => Ok((show::OFFSET_I32, I32)),
            _ => refused,
        },
        // A NaN among floats has bits that differ between processors.
        Show::Linear { .. } if matches!(from, F32 | F64) => refused,
        Show::Linear {
            slope,
            intercept,
            dtype,
        } => match dtype {
            _ if !slope.is_finite() || !intercept.is_finite() => refused,
            F32 => Ok((show::LINEAR_F32, F32)),
            F64 => Ok((show::LINEAR_F64, F64)),
            _ => refused,
        },
    }
}

/// `Frame.source`, the parts of the encoded bytes, and what JPEG Lossless says beside.
type Read = (u32, Vec<Range<usize>>, Option<Box<Picture>>);

/// Where the kernel finds the samples, and what they are made of. The encoded bytes must be enough.
fn read(job: &Job, bytes: &[u8], frame_len: usize) -> Result<Read, Outcome> {
    let short = Outcome::Refused(Refusal::Codestream);
    // The kernels count bytes in 32 bits.
    if u32::try_from(bytes.len()).is_err() || bytes.len() > FRAME_BYTES_MAX {
        return Err(Outcome::Refused(Refusal::TooLarge));
    }
    match job.codec {
        Codec::Native { .. } => {
            let source = read_native(job, bytes.len(), frame_len)?;
            Ok((source, Vec::new(), None))
        }
        Codec::Rle => {
            let image = &job.image;
            let planes = usize::from(image.samples_per_pixel) * image.sample_len_bytes();
            let segments = rle::segment_ranges(bytes, planes).map_err(|_| short)?;
            if segments.len() != planes {
                return Err(Outcome::Refused(Refusal::Samples));
            }
            Ok((source::BYTE_PLANES, segments, None))
        }
        Codec::JpegLossless => {
            let (picture, intervals) =
                lossless::read(&job.image, bytes).map_err(Outcome::Refused)?;
            Ok((source::HALVES, intervals, Some(Box::new(picture))))
        }
        Codec::Jpeg | Codec::Jpeg2000 | Codec::Htj2k => Ok((source::COMPONENTS, Vec::new(), None)),
    }
}

/// The same of samples as they are, of which so many bytes are there.
fn read_native(job: &Job, len: usize, frame_len: usize) -> Result<u32, Outcome> {
    if !matches!(job.codec, Codec::Native { .. }) {
        return Err(Outcome::Refused(Refusal::TransferSyntax));
    }
    if len < frame_len {
        return Err(Outcome::Refused(Refusal::Codestream));
    }
    let by_plane = job.image.planar_configuration == 1 && job.image.samples_per_pixel > 1;
    Ok(match by_plane {
        true => source::WORD_PLANES,
        false => source::WORDS,
    })
}

/// Shifts of a 64-bit word that leave the stored bits, at the bottom. Of components the precision is
/// known when they are decoded.
fn shifts(job: &Job, width: usize) -> (u32, u32) {
    let image: &ImagePixel = &job.image;
    let bits = 8 * width as u32;
    let (stored, high) = if image.element == PixelElement::PixelData {
        let stored = u32::from(image.bits_stored);
        match job.codec {
            // A picture codec codes samples, not words: they are at the bottom.
            Codec::JpegLossless => (stored, stored.saturating_sub(1)),
            _ => (stored, u32::from(image.high_bit)),
        }
    } else {
        (bits, bits - 1)
    };
    (
        63u32.saturating_sub(high).min(63),
        64u32.saturating_sub(stored).min(63),
    )
}
