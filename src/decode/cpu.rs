//! The decoders that run on the CPU, one module a family.
//!
//! What they share lives here: comparing a codestream's own header with the DICOM header, and the
//! last step from a codec's samples to the layout that the contract in [`super`] asks for.

pub mod adapters;
pub mod deflated;
pub mod jpeg;
pub mod jpeg2k;
pub mod jpeg_lossless;
pub mod jpegls;
pub mod jpegxl;
pub mod native;
pub mod rle;

use super::Error;
use crate::dicom::{ImagePixel, PixelElement};

/// Size of the picture a codestream declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Height in pixels.
    pub rows: u32,
    /// Width in pixels.
    pub columns: u32,
    /// Components a pixel.
    pub components: u32,
    /// Bits a sample, the largest of the components.
    pub precision: u32,
}

impl Declared {
    /// Compares what a codestream says of itself with the DICOM header, before anything is
    /// allocated from it.
    pub(crate) fn check(&self, codec: &'static str, image: &ImagePixel) -> Result<(), Error> {
        let expected = (
            image.rows,
            image.columns,
            u32::from(image.samples_per_pixel),
        );
        let got = (self.rows, self.columns, self.components);
        if got != expected {
            return Err(Error::malformed(
                codec,
                format!(
                    "the codestream holds {} x {} pixels of {} components, the header says \
                     {} x {} of {}",
                    got.0, got.1, got.2, expected.0, expected.1, expected.2
                ),
            ));
        }
        if self.precision == 0 || self.precision > u32::from(image.bits_allocated) {
            return Err(Error::malformed(
                codec,
                format!(
                    "samples of {} bits do not fit BitsAllocated {} (0028,0100)",
                    self.precision, image.bits_allocated
                ),
            ));
        }
        Ok(())
    }
}

/// Refuses what no picture codec can hold: float elements and samples over 16 bits.
pub(crate) fn check_integer_samples(
    codec: &'static str,
    image: &ImagePixel,
    bits_max: u16,
) -> Result<(), Error> {
    if image.element != PixelElement::PixelData {
        return Err(Error::unsupported(codec, "floating point pixel data"));
    }
    if image.bits_allocated > bits_max {
        let what = format!("BitsAllocated {} (0028,0100)", image.bits_allocated);
        return Err(Error::unsupported(codec, what));
    }
    check_bits_stored(codec, image)
}

/// Bits Stored must be one of 1..=Bits Allocated (PS3.5 8.1.1).
pub(crate) fn check_bits_stored(codec: &'static str, image: &ImagePixel) -> Result<(), Error> {
    if image.bits_stored == 0 || image.bits_stored > image.bits_allocated {
        let what = format!(
            "BitsStored {} (0028,0101) with BitsAllocated {} (0028,0100)",
            image.bits_stored, image.bits_allocated
        );
        return Err(Error::unsupported(codec, what));
    }
    Ok(())
}

/// Writes a codec's interleaved samples into `out` as Bits Allocated asks: little endian, widened,
/// and for signed data sign-extended from `sign_bits` (the bit that carries the sign, plus one).
///
/// Unsigned samples are kept as they are, also where a lossy codec overshoots Bits Stored: every
/// other DICOM toolkit does so, and clearing high bits would turn bright into black.
///
/// # Errors
/// [`Error::Malformed`] when the number of samples differs from the frame's.
pub(crate) fn finish<S: Copy + Into<i32>>(
    codec: &'static str,
    image: &ImagePixel,
    sign_bits: u32,
    samples: &[S],
    out: &mut [u8],
) -> Result<(), Error> {
    let shift = if image.signed {
        32u32.saturating_sub(sign_bits).min(31)
    } else {
        0
    };
    let fix = |sample: S| (sample.into() << shift) >> shift;
    place(codec, image.sample_len_bytes(), samples, 1, 0, out, fix)
}

/// [`finish`] for a codec that yields planes: writes component `component` of each pixel. Of each
/// sample only the lowest `precision` bits count, whatever sign the codestream gave them: the sign
/// is Pixel Representation's to say (0028,0103).
pub(crate) fn finish_component(
    codec: &'static str,
    image: &ImagePixel,
    precision: u32,
    samples: &[i32],
    component: usize,
    out: &mut [u8],
) -> Result<(), Error> {
    let shift = 32u32.saturating_sub(precision).min(31);
    let signed = image.signed;
    let fix = |sample: i32| {
        let top = sample << shift;
        if signed {
            top >> shift
        } else {
            (top as u32 >> shift) as i32
        }
    };
    let components = usize::from(image.samples_per_pixel);
    place(
        codec,
        image.sample_len_bytes(),
        samples,
        components,
        component,
        out,
        fix,
    )
}

/// Stores `fix(sample)` in every `step`-th word of `width` bytes of `out`, from word `first` on.
fn place<S: Copy>(
    codec: &'static str,
    width: usize,
    samples: &[S],
    step: usize,
    first: usize,
    out: &mut [u8],
    fix: impl Fn(S) -> i32,
) -> Result<(), Error> {
    let pixel = step.saturating_mul(width);
    if first >= step || samples.len().checked_mul(pixel) != Some(out.len()) {
        let what = format!(
            "{} samples for a frame of {} bytes",
            samples.len(),
            out.len()
        );
        return Err(Error::malformed(codec, what));
    }
    let at = first * width;
    let pixels = out.chunks_exact_mut(pixel).zip(samples);
    match width {
        1 => pixels.for_each(|(to, &from)| to[at] = fix(from) as u8),
        2 => pixels.for_each(|(to, &from)| {
            to[at..at + 2].copy_from_slice(&(fix(from) as u16).to_le_bytes());
        }),
        4 => pixels.for_each(|(to, &from)| {
            to[at..at + 4].copy_from_slice(&fix(from).to_le_bytes());
        }),
        _ => {
            return Err(Error::unsupported(
                codec,
                format!("samples of {width} bytes"),
            ));
        }
    }
    Ok(())
}

/// Sign-extends samples of `sign_bits` bits in place, where the image is signed; for codecs that
/// write words of 8 or 16 bits straight into `out`.
pub(crate) fn extend_signs(image: &ImagePixel, sign_bits: u32, out: &mut [u8]) {
    if !image.signed {
        return;
    }
    match image.bits_allocated {
        8 => {
            let shift = 8u32.saturating_sub(sign_bits).min(7);
            for byte in out {
                *byte = (((*byte << shift) as i8) >> shift) as u8;
            }
        }
        _ => {
            let shift = 16u32.saturating_sub(sign_bits).min(15);
            for two in out.chunks_exact_mut(2) {
                let word = u16::from_le_bytes([two[0], two[1]]);
                let sample = ((word << shift) as i16) >> shift;
                two.copy_from_slice(&sample.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dicom::Photometric;

    /// A header for tests: one frame, gray, unsigned, Bits Stored = Bits Allocated.
    pub(crate) fn gray(rows: u32, columns: u32, bits_allocated: u16) -> ImagePixel {
        ImagePixel {
            rows,
            columns,
            number_of_frames: 1,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            planar_configuration: 0,
            bits_allocated,
            bits_stored: bits_allocated,
            high_bit: bits_allocated - 1,
            signed: false,
            element: PixelElement::PixelData,
        }
    }

    #[test]
    fn finish_widens_and_extends_the_sign() {
        let unsigned = gray(1, 3, 16);
        let mut out = [0; 6];
        finish("test", &unsigned, 8, &[0u8, 7, 255], &mut out).unwrap();
        assert_eq!(out, [0, 0, 7, 0, 255, 0]);

        let signed = ImagePixel {
            signed: true,
            bits_stored: 12,
            high_bit: 11,
            ..gray(1, 3, 16)
        };
        finish("test", &signed, 12, &[0x7FFu16, 0x800, 0xFFFF], &mut out).unwrap();
        let words: Vec<i16> = out
            .chunks(2)
            .map(|two| i16::from_le_bytes([two[0], two[1]]))
            .collect();
        assert_eq!(words, [2047, -2048, -1]);

        let bytes = ImagePixel {
            signed: true,
            ..gray(1, 2, 8)
        };
        let mut out = [0; 2];
        finish("test", &bytes, 7, &[0x40i32, 0x3F], &mut out).unwrap();
        assert_eq!(out, [0xC0, 0x3F]);
    }

    #[test]
    fn components_count_only_their_precision() {
        let rgb = ImagePixel {
            samples_per_pixel: 3,
            ..gray(1, 2, 8)
        };
        let mut out = [0; 6];
        finish_component("test", &rgb, 8, &[-1, 5], 1, &mut out).unwrap();
        assert_eq!(out, [0, 255, 0, 0, 5, 0]);
        assert!(finish_component("test", &rgb, 8, &[-1, 5], 3, &mut out).is_err());
        let signed = ImagePixel {
            signed: true,
            ..gray(1, 2, 16)
        };
        let mut out = [0; 4];
        finish_component("test", &signed, 13, &[0x1FFF, -2], 0, &mut out).unwrap();
        assert_eq!(out, [0xFF, 0xFF, 0xFE, 0xFF]);
        finish_component("test", &gray(1, 2, 16), 13, &[-1, 2], 0, &mut out).unwrap();
        assert_eq!(out, [0xFF, 0x1F, 2, 0]);
    }

    #[test]
    fn signs_are_extended_in_place() {
        let words = ImagePixel {
            signed: true,
            ..gray(1, 2, 16)
        };
        let mut out = [0x00, 0x08, 0xFF, 0x07];
        extend_signs(&words, 12, &mut out);
        assert_eq!(out, [0x00, 0xF8, 0xFF, 0x07]);
        let mut out = [0x40, 0x3F];
        extend_signs(
            &ImagePixel {
                signed: true,
                ..gray(1, 2, 8)
            },
            7,
            &mut out,
        );
        assert_eq!(out, [0xC0, 0x3F]);
        extend_signs(&gray(1, 2, 8), 7, &mut out);
        assert_eq!(out, [0xC0, 0x3F]);
    }

    #[test]
    fn finish_counts_samples() {
        let mut out = [0; 4];
        assert!(finish("test", &gray(1, 2, 16), 8, &[0u8; 3], &mut out).is_err());
        assert!(finish("test", &gray(1, 2, 64), 8, &[0u8; 2], &mut [0; 16]).is_err());
    }

    #[test]
    fn declared_size_must_be_the_headers() {
        let image = gray(4, 5, 8);
        let good = Declared {
            rows: 4,
            columns: 5,
            components: 1,
            precision: 8,
        };
        assert_eq!(good.check("test", &image), Ok(()));
        for bad in [
            Declared { rows: 5, ..good },
            Declared {
                columns: u32::MAX,
                ..good
            },
            Declared {
                components: 3,
                ..good
            },
            Declared {
                precision: 0,
                ..good
            },
            Declared {
                precision: 9,
                ..good
            },
        ] {
            assert!(bad.check("test", &image).is_err(), "{bad:?}");
        }
    }
}
