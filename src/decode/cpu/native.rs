//! Native (not encapsulated) pixel data (PS3.5 8): words in file order to stored samples.
//!
//! Little and big endian, 1 to 64 bits, floats, colour by pixel or by plane, and the 4:2:2 layout.
//! Knows no files: [`native_frame_location`] says which bytes of the element's value to read.

use super::check_bits_stored;
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::{ImagePixel, PixelElement};

/// Decoder for native pixel data.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    big_endian: bool,
}

/// Words as they are in Implicit and Explicit VR Little Endian.
pub static LITTLE_ENDIAN: Native = Native { big_endian: false };

/// Words of Explicit VR Big Endian (retired), swapped by Bits Allocated.
pub static BIG_ENDIAN: Native = Native { big_endian: true };

/// Where one native frame lies in the value of its pixel element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLocation {
    /// Offset in bytes from the first byte of the value.
    pub offset_bytes: u64,
    /// Bytes to read.
    pub len_bytes: usize,
    /// For 1-bit data, the bit of the first byte (0 = least significant) where the frame starts.
    pub first_bit: u8,
}

/// Whether little-endian native samples of this image are stored values as they stand: nothing to
/// mask, extend, unpack or interleave.
pub fn is_verbatim(image: &ImagePixel) -> bool {
    let full_range = image.element != PixelElement::PixelData
        || image.bits_stored == image.bits_allocated && image.high_bit + 1 == image.bits_stored;
    let interleaved = image.samples_per_pixel == 1 || image.planar_configuration == 0;
    let whole_bytes = matches!(image.bits_allocated, 8 | 16 | 32 | 64);
    full_range && interleaved && whole_bytes && !image.is_422()
}

/// Whether native samples of this image stand in the order of the stored values, a word each: then
/// any run of them can be had by itself ([`samples`]).
pub fn is_by_the_word(image: &ImagePixel) -> bool {
    let interleaved = image.samples_per_pixel == 1 || image.planar_configuration == 0;
    image.bits_allocated != 1 && interleaved && !image.is_422()
}

/// Stored values of a run of native samples that [`is_by_the_word`]. Both slices are as long as the
/// samples take.
///
/// # Errors
/// [`Error::UnsupportedImage`] for bits that cannot be.
pub fn samples(
    image: &ImagePixel,
    big_endian: bool,
    src: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    let codec = Native { big_endian };
    check_words(codec.name(), image)?;
    if src.len() != out.len() || !src.len().is_multiple_of(image.sample_len_bytes()) {
        return Err(codec.too_short(src.len(), out.len()));
    }
    WordRule::new(image, big_endian).apply(src, out);
    Ok(())
}

/// Finds a native frame in the value of the pixel element. Frames follow each other without
/// padding; 1-bit frames even within a byte (PS3.5 8.1.1, PS3.3 C.8.20.2).
///
/// `None` when the frame is not one of Number of Frames or the arithmetic overflows.
pub fn native_frame_location(image: &ImagePixel, frame_index: u32) -> Option<FrameLocation> {
    if frame_index >= image.number_of_frames {
        return None;
    }
    let index = u64::from(frame_index);
    if image.bits_allocated == 1 {
        let bits = u64::try_from(image.frame_len_bytes()?).ok()?;
        let start = bits.checked_mul(index)?;
        let first_bit = start % 8;
        let len = first_bit.checked_add(bits)?.div_ceil(8);
        return Some(FrameLocation {
            offset_bytes: start / 8,
            len_bytes: usize::try_from(len).ok()?,
            first_bit: first_bit as u8,
        });
    }
    let len_bytes = encoded_frame_len(image)?;
    let offset_bytes = u64::try_from(len_bytes).ok()?.checked_mul(index)?;
    Some(FrameLocation {
        offset_bytes,
        len_bytes,
        first_bit: 0,
    })
}

/// Bytes of one native frame as it is stored, when it starts at a byte.
pub(crate) fn encoded_frame_len(image: &ImagePixel) -> Option<usize> {
    if image.bits_allocated == 1 {
        return Some(image.frame_len_bytes()?.div_ceil(8));
    }
    if image.is_422() {
        // Two pixels share one Cb and one Cr: four samples a pair.
        let pixels = (image.rows as usize).checked_mul(image.columns as usize)?;
        return pixels.checked_mul(2)?.checked_mul(image.sample_len_bytes());
    }
    image.frame_len_bytes()
}

impl Decoder for Native {
    fn name(&self) -> &'static str {
        if self.big_endian {
            "native big endian (own)"
        } else {
            "native (own)"
        }
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        if image.frame_len_bytes() != Some(out.len()) {
            let what = format!("an output of {} bytes for this frame", out.len());
            return Err(Error::unsupported(self.name(), what));
        }
        check_words(self.name(), image)?;
        if image.bits_allocated == 1 {
            return self.decode_bits(encoded, out);
        }
        let src = self.frame_bytes(image, encoded)?;
        let rule = WordRule::new(image, self.big_endian);
        if image.is_422() {
            self.expand_422(image, src, out)?;
            rule.apply_in_place(out);
        } else if image.planar_configuration == 1 && image.samples_per_pixel > 1 {
            interleave(image, src, out);
            rule.apply_in_place(out);
        } else {
            rule.apply(src, out);
        }
        Ok(())
    }
}

/// What the samples are must be possible.
fn check_words(codec: &'static str, image: &ImagePixel) -> Result<(), Error> {
    match image.element {
        PixelElement::PixelData => check_stored_bits(codec, image),
        PixelElement::FloatPixelData if image.bits_allocated == 32 => Ok(()),
        PixelElement::DoubleFloatPixelData if image.bits_allocated == 64 => Ok(()),
        _ => {
            let what = format!(
                "floats of BitsAllocated {} (0028,0100)",
                image.bits_allocated
            );
            Err(Error::unsupported(codec, what))
        }
    }
}

/// High Bit and Bits Stored must describe bits that exist (PS3.5 8.1.1).
pub(crate) fn check_stored_bits(codec: &'static str, image: &ImagePixel) -> Result<(), Error> {
    check_bits_stored(codec, image)?;
    if image.high_bit >= image.bits_allocated || image.high_bit + 1 < image.bits_stored {
        let what = format!(
            "HighBit {} (0028,0102) with BitsStored {} (0028,0101) of BitsAllocated {}",
            image.high_bit, image.bits_stored, image.bits_allocated
        );
        return Err(Error::unsupported(codec, what));
    }
    Ok(())
}

impl Native {
    fn frame_bytes<'a>(&self, image: &ImagePixel, encoded: Encoded<'a>) -> Result<&'a [u8], Error> {
        let needed = encoded_frame_len(image).unwrap_or(usize::MAX);
        encoded
            .bytes
            .get(..needed)
            .ok_or_else(|| self.too_short(encoded.bytes.len(), needed))
    }

    fn too_short(&self, got: usize, needed: usize) -> Error {
        let what = format!("the frame ends after {got} of {needed} bytes");
        Error::malformed(self.name(), what)
    }

    /// One bit a pixel, least significant bit first. The bit stream is one of bytes in either byte
    /// order here: big endian files of this kind hold bytes, not words.
    fn decode_bits(&self, encoded: Encoded<'_>, out: &mut [u8]) -> Result<(), Error> {
        let first_bit = usize::from(encoded.first_bit);
        let needed = (first_bit + out.len()).div_ceil(8);
        if first_bit > 7 || encoded.bytes.len() < needed {
            return Err(self.too_short(encoded.bytes.len(), needed));
        }
        unpack_bits(encoded.bytes, first_bit, out);
        Ok(())
    }

    /// Y1 Y2 Cb Cr for each pair of pixels to Y Cb Cr, Y Cb Cr (PS3.3 C.7.6.3.1.2), the chroma
    /// replicated. Words are moved in file order.
    fn expand_422(&self, image: &ImagePixel, src: &[u8], out: &mut [u8]) -> Result<(), Error> {
        if !image.columns.is_multiple_of(2) {
            // A pair would straddle two rows: nobody says to which row its chroma belongs.
            let what = format!(
                "{} with an odd number of Columns {}",
                image.photometric.term(),
                image.columns
            );
            return Err(Error::unsupported(self.name(), what));
        }
        let word = image.sample_len_bytes();
        for (pair, pixels) in src
            .chunks_exact(4 * word)
            .zip(out.chunks_exact_mut(6 * word))
        {
            let (luma, chroma) = pair.split_at(2 * word);
            let (first, second) = pixels.split_at_mut(3 * word);
            first[..word].copy_from_slice(&luma[..word]);
            first[word..].copy_from_slice(chroma);
            second[..word].copy_from_slice(&luma[word..]);
            second[word..].copy_from_slice(chroma);
        }
        Ok(())
    }
}

/// Unpacks bits, least significant first, into bytes of 0 and 1. `bytes` must hold them all.
pub(crate) fn unpack_bits(bytes: &[u8], first_bit: usize, out: &mut [u8]) {
    let head = if first_bit == 0 {
        0
    } else {
        (8 - first_bit).min(out.len())
    };
    let (head_out, rest) = out.split_at_mut(head);
    for (i, pixel) in head_out.iter_mut().enumerate() {
        *pixel = (bytes[0] >> (first_bit + i)) & 1;
    }
    let body = &bytes[usize::from(head > 0)..];
    for (eight, byte) in rest.chunks_mut(8).zip(body) {
        for (i, pixel) in eight.iter_mut().enumerate() {
            *pixel = (byte >> i) & 1;
        }
    }
}

/// R...R G...G B...B to R G B R G B, words untouched.
fn interleave(image: &ImagePixel, src: &[u8], out: &mut [u8]) {
    let samples = usize::from(image.samples_per_pixel);
    match image.sample_len_bytes() {
        1 => interleave_words::<1>(samples, src, out),
        2 => interleave_words::<2>(samples, src, out),
        4 => interleave_words::<4>(samples, src, out),
        _ => interleave_words::<8>(samples, src, out),
    }
}

fn interleave_words<const N: usize>(samples: usize, src: &[u8], out: &mut [u8]) {
    let plane_len = src.len() / samples;
    for (plane_index, plane) in src.chunks_exact(plane_len).take(samples).enumerate() {
        for (pixel, word) in out.chunks_exact_mut(samples * N).zip(plane.chunks_exact(N)) {
            pixel[plane_index * N..][..N].copy_from_slice(word);
        }
    }
}

/// How one word of the file becomes one sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordRule {
    width: usize,
    swap: bool,
    /// Left shift that drops the bits above High Bit.
    drop_high: u32,
    /// Right shift that then brings the lowest stored bit to the bottom.
    down: u32,
    signed: bool,
}

macro_rules! word_loops {
    ($name:ident, $in_place:ident, $unsigned:ty, $signed:ty) => {
        fn $name(&self, src: &[u8], out: &mut [u8]) {
            const N: usize = size_of::<$unsigned>();
            for (to, from) in out.chunks_exact_mut(N).zip(src.chunks_exact(N)) {
                let mut word = <$unsigned>::from_le_bytes(from.try_into().unwrap_or([0; N]));
                if self.swap {
                    word = word.swap_bytes();
                }
                let top = word << self.drop_high;
                let value = if self.signed {
                    ((top as $signed) >> self.down) as $unsigned
                } else {
                    top >> self.down
                };
                to.copy_from_slice(&value.to_le_bytes());
            }
        }

        fn $in_place(&self, out: &mut [u8]) {
            const N: usize = size_of::<$unsigned>();
            for word in out.chunks_exact_mut(N) {
                let mut from = [0; N];
                from.copy_from_slice(word);
                self.$name(&from, word);
            }
        }
    };
}

impl WordRule {
    fn new(image: &ImagePixel, big_endian: bool) -> WordRule {
        let bits = u32::from(image.bits_allocated);
        let integer = image.element == PixelElement::PixelData;
        let (stored, high) = if integer {
            (u32::from(image.bits_stored), u32::from(image.high_bit))
        } else {
            (bits, bits - 1)
        };
        WordRule {
            width: image.sample_len_bytes(),
            swap: big_endian && bits > 8,
            drop_high: bits - 1 - high,
            down: bits - stored,
            signed: image.signed && integer,
        }
    }

    /// The rule for little endian words that a lossless codec gives back as they were stored.
    pub(crate) fn for_words(codec: &'static str, image: &ImagePixel) -> Result<WordRule, Error> {
        check_stored_bits(codec, image)?;
        Ok(WordRule::new(image, false))
    }

    /// The rule for samples whose Bits Stored are at the bottom, wherever the header puts High
    /// Bit: a picture codec codes samples, not words.
    pub(crate) fn for_samples(image: &ImagePixel) -> WordRule {
        let unused = u32::from(image.bits_allocated.saturating_sub(image.bits_stored));
        WordRule {
            width: image.sample_len_bytes(),
            swap: false,
            drop_high: unused,
            down: unused,
            signed: image.signed,
        }
    }

    fn is_copy(&self) -> bool {
        !self.swap && self.drop_high == 0 && self.down == 0
    }

    fn apply(&self, src: &[u8], out: &mut [u8]) {
        match self.width {
            _ if self.is_copy() => out.copy_from_slice(&src[..out.len()]),
            1 => self.words8(src, out),
            2 => self.words16(src, out),
            4 => self.words32(src, out),
            _ => self.words64(src, out),
        }
    }

    pub(crate) fn apply_in_place(&self, out: &mut [u8]) {
        match self.width {
            _ if self.is_copy() => {}
            1 => self.words8_in_place(out),
            2 => self.words16_in_place(out),
            4 => self.words32_in_place(out),
            _ => self.words64_in_place(out),
        }
    }

    word_loops!(words8, words8_in_place, u8, i8);
    word_loops!(words16, words16_in_place, u16, i16);
    word_loops!(words32, words32_in_place, u32, i32);
    word_loops!(words64, words64_in_place, u64, i64);
}

#[cfg(test)]
mod tests;
