//! The decoders that know no DICOM, fitted to the [`Decoder`] trait: RLE, JPEG Lossless, JPEG-LS.
//!
//! They yield words whose low bits are the sample; clearing the unused bits and extending the sign
//! is done here, by the same rule as for native words.

use super::native::WordRule;
use super::{check_bits_stored, check_integer_samples, jpeg_lossless, jpegls, rle};
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::ImagePixel;

/// RLE Lossless (PS3.5 Annex G).
#[derive(Debug, Clone, Copy)]
pub struct Rle;

/// JPEG Lossless, process 14 (PS3.5 A.4.1).
#[derive(Debug, Clone, Copy)]
pub struct JpegLossless;

/// JPEG-LS, lossless and near-lossless (PS3.5 A.4.3).
#[derive(Debug, Clone, Copy)]
pub struct JpegLs;

impl Decoder for Rle {
    fn name(&self) -> &'static str {
        "rle (own)"
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let name = self.name();
        check_bits_stored(name, image)?;
        let rule = WordRule::for_words(name, image)?;
        let expect = rle::Expect {
            rows: narrow(name, "Rows (0028,0010)", image.rows)?,
            columns: narrow(name, "Columns (0028,0011)", image.columns)?,
            samples: narrow(name, "SamplesPerPixel (0028,0002)", image.samples_per_pixel)?,
            bits_allocated: narrow(name, "BitsAllocated (0028,0100)", image.bits_allocated)?,
        };
        rle::decode(encoded.bytes, expect, out)
            .map_err(|error| Error::malformed(name, error.to_string()))?;
        if image.bits_allocated > 1 {
            rule.apply_in_place(out);
        }
        Ok(())
    }
}

impl Decoder for JpegLossless {
    fn name(&self) -> &'static str {
        "jpeg lossless (own)"
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let name = self.name();
        check_integer_samples(name, image, 16)?;
        let expect = jpeg_lossless::Expect {
            rows: narrow(name, "Rows (0028,0010)", image.rows)?,
            columns: narrow(name, "Columns (0028,0011)", image.columns)?,
            components: narrow(name, "SamplesPerPixel (0028,0002)", image.samples_per_pixel)?,
            max_bits: narrow(name, "BitsAllocated (0028,0100)", image.bits_allocated)?,
        };
        if image.sample_len_bytes() == 1 {
            jpeg_lossless::decode::<u8>(encoded.bytes, expect, out)
        } else {
            let (pairs, rest) = out.as_chunks_mut::<2>();
            if !rest.is_empty() {
                return Err(Error::unsupported(name, "an output of half a sample"));
            }
            jpeg_lossless::decode::<[u8; 2]>(encoded.bytes, expect, pairs)
        }
        .map_err(|error| match error {
            jpeg_lossless::Error::Unsupported(what) => Error::unsupported(name, what),
            other => Error::malformed(name, other.to_string()),
        })?;
        WordRule::for_samples(image).apply_in_place(out);
        Ok(())
    }
}

impl Decoder for JpegLs {
    fn name(&self) -> &'static str {
        "jpeg-ls (own)"
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let name = self.name();
        check_integer_samples(name, image, 16)?;
        let expect = jpegls::Expect {
            rows: image.rows,
            columns: image.columns,
            components: narrow(name, "SamplesPerPixel (0028,0002)", image.samples_per_pixel)?,
            bits_max: narrow(name, "BitsAllocated (0028,0100)", image.bits_allocated)?,
            sample_bytes: if image.sample_len_bytes() == 1 { 1 } else { 2 },
            bits_stored: narrow(name, "BitsStored (0028,0101)", image.bits_stored)?,
            signed: image.signed,
        };
        match jpegls::decode(encoded.bytes, &expect, out) {
            Ok(_) => Ok(()),
            Err(jpegls::Error::Unsupported { what }) => Err(Error::unsupported(name, what)),
            Err(other) => Err(Error::malformed(name, other.to_string())),
        }
    }
}

/// A number of the header in the type that a decoder takes.
fn narrow<T: Copy + std::fmt::Display, N: TryFrom<T>>(
    codec: &'static str,
    keyword: &str,
    value: T,
) -> Result<N, Error> {
    N::try_from(value).map_err(|_| Error::unsupported(codec, format!("{keyword} {value}")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::gray;
    use super::*;

    /// An RLE frame of literal runs: the byte planes of the words, most significant first.
    fn rle_frame(planes: &[&[u8]]) -> Vec<u8> {
        let mut frame = (planes.len() as u32).to_le_bytes().to_vec();
        let mut offset = 64u32;
        for plane in planes {
            frame.extend_from_slice(&offset.to_le_bytes());
            offset += plane.len() as u32 + 1;
        }
        frame.resize(64, 0);
        for plane in planes {
            frame.push(plane.len() as u8 - 1);
            frame.extend_from_slice(plane);
        }
        frame
    }

    fn decode(image: &ImagePixel, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; image.frame_len_bytes().unwrap()];
        Rle.decode(
            image,
            Encoded {
                bytes,
                first_bit: 0,
            },
            &mut out,
        )?;
        Ok(out)
    }

    #[test]
    fn rle_words_are_masked_and_sign_extended() {
        let frame = rle_frame(&[&[0xF8, 0x17], &[0x34, 0x56]]);
        let image = gray(1, 2, 16);
        assert_eq!(decode(&image, &frame).unwrap(), [0x34, 0xF8, 0x56, 0x17]);
        let unsigned = ImagePixel {
            bits_stored: 12,
            high_bit: 11,
            ..image.clone()
        };
        assert_eq!(decode(&unsigned, &frame).unwrap(), [0x34, 0x08, 0x56, 0x07]);
        let signed = ImagePixel {
            signed: true,
            ..unsigned
        };
        assert_eq!(decode(&signed, &frame).unwrap(), [0x34, 0xF8, 0x56, 0x07]);
        let bits = rle_frame(&[&[0b101]]);
        assert_eq!(decode(&gray(1, 3, 1), &bits).unwrap(), [1, 0, 1]);
    }

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        let frame = rle_frame(&[&[1]]);
        let many = ImagePixel {
            samples_per_pixel: 300,
            ..gray(1, 1, 8)
        };
        assert!(decode(&many, &frame).is_err());
        assert!(decode(&gray(1, 70_000, 8), &frame).is_err());
        assert!(
            decode(
                &ImagePixel {
                    high_bit: 9,
                    ..gray(1, 1, 8)
                },
                &frame
            )
            .is_err()
        );
        assert!(decode(&gray(1, 2, 8), &frame).is_err());
    }
}
