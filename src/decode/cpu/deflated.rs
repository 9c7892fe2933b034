//! Deflated Image Frame Compression (PS3.5 A.4.13, transfer syntax 1.2.840.10008.1.2.8.1): each
//! frame is one raw deflate stream (RFC 1951) of the frame as native little endian bytes.

use flate2::{Decompress, FlushDecompress, Status};

use super::native;
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::ImagePixel;

/// Decoder of deflated frames.
#[derive(Debug, Clone, Copy)]
pub struct DeflatedFrame;

const NAME: &str = "deflated frame (flate2)";

impl Decoder for DeflatedFrame {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let needed = native::encoded_frame_len(image)
            .ok_or_else(|| Error::unsupported(NAME, "a frame whose length overflows"))?;
        let inflated = inflate(encoded.bytes, needed)?;
        let native_frame = Encoded {
            bytes: &inflated,
            first_bit: 0,
        };
        native::LITTLE_ENDIAN.decode(image, native_frame, out)
    }
}

/// Inflates exactly one frame. One byte more is taken: a writer may pad the frame to even length
/// before it deflates.
fn inflate(stream: &[u8], needed: usize) -> Result<Vec<u8>, Error> {
    let mut inflated = vec![0; needed + 1];
    let mut state = Decompress::new(false);
    let status = state
        .decompress(stream, &mut inflated, FlushDecompress::Finish)
        .map_err(|error| Error::malformed(NAME, error.to_string()))?;
    let got = state.total_out();
    if status != Status::StreamEnd || got < needed as u64 {
        let what = format!("the stream inflates to {got} bytes and no end, {needed} are needed");
        return Err(Error::malformed(NAME, what));
    }
    inflated.truncate(needed);
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::tests::gray;
    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut writer =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn decode(image: &ImagePixel, stream: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0xAA; image.frame_len_bytes().unwrap()];
        DeflatedFrame.decode(
            image,
            Encoded {
                bytes: stream,
                first_bit: 0,
            },
            &mut out,
        )?;
        Ok(out)
    }

    #[test]
    fn frame_and_padded_frame_inflate() {
        let image = gray(3, 3, 8);
        let pixels: Vec<u8> = (1..=9).collect();
        assert_eq!(decode(&image, &deflate(&pixels)).unwrap(), pixels);
        assert_eq!(
            decode(&image, &deflate(&[&pixels[..], &[0]].concat())).unwrap(),
            pixels
        );
        let padded_stream = [deflate(&pixels), vec![0]].concat();
        assert_eq!(decode(&image, &padded_stream).unwrap(), pixels);
        assert_eq!(
            decode(&gray(3, 3, 1), &deflate(&[0b1000_0001, 1])).unwrap(),
            [1, 0, 0, 0, 0, 0, 0, 1, 1]
        );
    }

    #[test]
    fn wrong_lengths_and_noise_are_errors() {
        let image = gray(3, 3, 8);
        assert!(decode(&image, &deflate(&[7; 8])).is_err(), "short");
        assert!(decode(&image, &deflate(&[7; 11])).is_err(), "long");
        assert!(decode(&image, &deflate(&[7; 1 << 20])).is_err(), "bomb");
        let good = deflate(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for cut in 0..good.len() {
            assert!(decode(&image, &good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&image, &[0xFF; 32]).is_err(), "noise");
    }
}
