//! JPEG with discrete cosine transform (ITU-T T.81 processes 1, 2, 4 and the progressive ones):
//! transfer syntaxes .50, .51, .53 and .55, by libjpeg-turbo-rs.
//!
//! The colour of the samples is what Photometric Interpretation says, never what JFIF or Adobe
//! markers let a viewer guess: the markers are taken out and the codec is told in its own words to
//! leave the components alone.

use libjpeg_turbo_rs::precision::decompress_12bit_with_limits;
use libjpeg_turbo_rs::{DecodeLimits, Decoder as Codec, JpegError, PixelFormat};

use super::adapters::JpegLossless;
use super::{Declared, check_integer_samples, finish};
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::{ImagePixel, Photometric};

mod header;

use header::{Header, Process};

/// Decoder of JPEG baseline, extended and progressive.
#[derive(Debug, Clone, Copy)]
pub struct Jpeg;

/// The one instance.
pub static DECODER: Jpeg = Jpeg;

const NAME: &str = "jpeg (libjpeg-turbo-rs)";

/// Scans a progressive stream may have. A full progression has some ten a component; each scan
/// costs a pass over the whole picture.
const SCANS_MAX: usize = 256;

impl Decoder for Jpeg {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        check_integer_samples(NAME, image, 16)?;
        let malformed = |what: String| Error::malformed(NAME, what);
        let header = match Header::parse(encoded.bytes) {
            // Some writers label lossless streams as lossy. The other way round is refused there.
            Err(header::Refusal::Lossless) => return JpegLossless.decode(image, encoded, out),
            parsed => parsed.map_err(|refusal| malformed(refusal.into()))?,
        };
        check_header(&header, image)?;
        // A decoder pads what a truncated stream lacks with gray: it is refused here.
        let stream = &encoded.bytes[..header.end(encoded.bytes).map_err(malformed)?];
        let prepared;
        let stream = if header.components.len() == 1 && header.components[0].sampling == 0x11 {
            stream
        } else {
            prepared = header.rewritten(stream, adobe_transform(&header, image));
            &prepared
        };
        if header.precision == 12 {
            decode_12bit(stream, image, out)
        } else {
            decode_8bit(stream, image, out)
        }
    }
}

/// What the headers of a frame say to who would decode it otherwise than here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inspected<'a> {
    /// From SOI to EOI, without what lies behind.
    pub stream: &'a [u8],
    /// Bits of a sample: 8, or 12.
    pub precision: u8,
    /// Baseline or extended sequential, all of it in one scan and nothing behind that.
    pub is_one_scan: bool,
    /// Components of fewer pixels than the picture, or a lone one with factors that mislead.
    pub is_subsampled: bool,
    /// The samples are not as they are coded: YCbCr was called RGB.
    pub is_converted: bool,
}

impl Inspected<'_> {
    /// The samples are what the coded planes hold, 8 bits each.
    pub fn is_plain(&self) -> bool {
        self.precision == 8 && self.is_one_scan && !self.is_subsampled && !self.is_converted
    }
}

/// Reads the headers and finds the end of a frame, by the rules of the decoder here.
///
/// # Errors
/// What the decoder says of them.
pub(crate) fn inspect<'a>(image: &ImagePixel, encoded: &'a [u8]) -> Result<Inspected<'a>, Error> {
    check_integer_samples(NAME, image, 16)?;
    let malformed = |what: String| Error::malformed(NAME, what);
    let header = Header::parse(encoded).map_err(|refusal| malformed(refusal.into()))?;
    check_header(&header, image)?;
    let end = header.end(encoded).map_err(malformed)?;
    let is_sequential = header.process == Process::Sequential && header.interleaved;
    Ok(Inspected {
        stream: &encoded[..end],
        precision: header.precision,
        is_one_scan: is_sequential && header.scan_end(encoded) == Some(end),
        is_subsampled: header.components.iter().any(|c| c.sampling != 0x11),
        is_converted: adobe_transform(&header, image) != 0,
    })
}

fn check_header(header: &Header, image: &ImagePixel) -> Result<(), Error> {
    let declared = Declared {
        rows: header.rows.into(),
        columns: header.columns.into(),
        components: header.components.len() as u32,
        precision: header.precision.into(),
    };
    declared.check(NAME, image)?;
    if !matches!(header.components.len(), 1 | 3) {
        let what = format!("{} components", header.components.len());
        return Err(Error::unsupported(NAME, what));
    }
    match (header.process, header.precision) {
        (_, 8) => Ok(()),
        (Process::Sequential, 12) if header.interleaved => Ok(()),
        (process, precision) => {
            let order = if header.interleaved {
                "interleaved"
            } else {
                "separate"
            };
            let what = format!("{process:?} JPEG of {precision} bits in {order} scans");
            Err(Error::unsupported(NAME, what))
        }
    }
}

/// The colour transform (T.872 6.5.3) the codec is to undo: 0 none, 1 YCbCr. A stream that truly
/// carries an Adobe marker saying YCbCr under PhotometricInterpretation RGB was labelled by its
/// meaning after decoding, so it is converted; a bare JFIF marker proves nothing.
fn adobe_transform(header: &Header, image: &ImagePixel) -> u8 {
    let coded_as_ycbcr = header.adobe_transform == Some(1);
    u8::from(image.photometric == Photometric::Rgb && coded_as_ycbcr)
}

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_scans: SCANS_MAX,
        ..DecodeLimits::default()
    }
}

fn decode_8bit(stream: &[u8], image: &ImagePixel, out: &mut [u8]) -> Result<(), Error> {
    let format = if image.samples_per_pixel == 1 {
        PixelFormat::Grayscale
    } else {
        PixelFormat::Rgb
    };
    let codec = Codec::new_with_limits(stream, limits())
        .map_err(codec_error)?
        .with_output_format(format)
        .with_stop_on_warning(true);
    if image.bits_allocated == 8 && !image.signed {
        let done = codec.decode_image_into(out).map_err(codec_error)?;
        if done.bytes_written != out.len() {
            let what = format!("{} of {} bytes decoded", done.bytes_written, out.len());
            return Err(Error::malformed(NAME, what));
        }
        return Ok(());
    }
    let decoded = codec.decode_image().map_err(codec_error)?;
    finish(
        NAME,
        image,
        image.bits_stored.into(),
        decoded.as_bytes(),
        out,
    )
}

fn decode_12bit(stream: &[u8], image: &ImagePixel, out: &mut [u8]) -> Result<(), Error> {
    let decoded = decompress_12bit_with_limits(stream, &limits()).map_err(codec_error)?;
    finish(NAME, image, image.bits_stored.into(), &decoded.data, out)
}

fn codec_error(error: JpegError) -> Error {
    match error {
        JpegError::Unsupported(what) => Error::UnsupportedImage { codec: NAME, what },
        JpegError::LimitExceeded {
            what,
            actual,
            limit,
        } => Error::TooLarge {
            codec: NAME,
            what: format!("{what} {actual} (limit {limit})"),
        },
        other => Error::malformed(NAME, other.to_string()),
    }
}

#[cfg(test)]
mod tests;
