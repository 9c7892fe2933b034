//! JPEG 2000 and High-Throughput JPEG 2000 (ITU-T T.800, T.814): transfer syntaxes .90 to .93 and
//! .201 to .203, by OpenJPEG.
//!
//! The codestream's own headers are read here first (`codestream`): size, components, precision
//! and the lengths of the tile-parts, so that the C library is only ever asked for pictures of the
//! size that the DICOM header promises, and a codestream that was cut short is an error. OpenJPEG
//! itself is confined to `openjpeg`.

pub(crate) mod codestream;
mod openjpeg;

use super::{Declared, check_integer_samples, finish_component};
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::ImagePixel;

use codestream::Codestream;

/// Decoder of JPEG 2000 codestreams.
#[derive(Debug, Clone, Copy)]
pub struct Jpeg2k {
    name: &'static str,
    /// Its transfer syntaxes are those of T.814.
    ht: bool,
}

/// For the JPEG 2000 transfer syntaxes.
pub static JPEG_2000: Jpeg2k = Jpeg2k {
    name: "jpeg 2000 (openjpeg)",
    ht: false,
};

/// For the High-Throughput JPEG 2000 transfer syntaxes.
pub static HTJ2K: Jpeg2k = Jpeg2k {
    name: "htj2k (openjpeg)",
    ht: true,
};

/// Largest precision taken: OpenJPEG computes in 32 bits, and its wavelets and component
/// transforms need some of them for carries.
const PRECISION_MAX: u32 = 24;

/// Most tiles of one picture: OpenJPEG keeps several KiB for each before it decodes any.
const TILES_MAX: u64 = 16_384;

/// Most packets of one picture: OpenJPEG keeps some 200 bytes for each precinct and two for each
/// packet before it decodes any, and a header of 100 bytes can ask for 2^40. A picture of 16k x
/// 16k in 64 x 64 precincts and 20 layers has two million.
const PACKETS_MAX: u64 = 1 << 23;

/// Most samples of one picture: OpenJPEG takes eight bytes for each.
const SAMPLES_MAX: usize = 1 << 28;

impl Decoder for Jpeg2k {
    fn name(&self) -> &'static str {
        self.name
    }

    fn decode(
        &self,
        image: &ImagePixel,
        encoded: Encoded<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let malformed = |what: String| Error::malformed(self.name, what);
        let (stream, bytes) = self.inspect(image, encoded.bytes)?;
        let picture = openjpeg::decode(bytes).map_err(malformed)?;
        let components = usize::from(image.samples_per_pixel);
        if picture.component_count() != components {
            let what = format!("{} components decoded", picture.component_count());
            return Err(malformed(what));
        }
        for component in 0..components {
            let samples = picture
                .component(component, image.columns, image.rows)
                .ok_or_else(|| malformed(format!("component {component} was not decoded")))?;
            let sign_bits = stream.precision;
            finish_component(self.name, image, sign_bits, samples, component, out)?;
        }
        Ok(())
    }
}

impl Jpeg2k {
    /// True where code-blocks ought to be high-throughput ones.
    pub(crate) fn is_ht(&self) -> bool {
        self.ht
    }

    /// Reads the headers and compares them with the DICOM header: the codestream without boxes, and
    /// what it says. Whoever decodes it, here or on a device, has this asked first.
    pub(crate) fn inspect<'a>(
        &self,
        image: &ImagePixel,
        bytes: &'a [u8],
    ) -> Result<(Codestream, &'a [u8]), Error> {
        check_integer_samples(self.name, image, 32)?;
        let malformed = |what: String| Error::malformed(self.name, what);
        let bytes = codestream::without_boxes(bytes).map_err(malformed)?;
        let mut stream = Codestream::parse(bytes).map_err(malformed)?;
        self.check(&stream, image)?;
        stream.check_complete(bytes).map_err(malformed)?;
        if stream.packets() > PACKETS_MAX {
            let what = format!("a picture of {} packets", stream.packets());
            return Err(Error::TooLarge {
                codec: self.name,
                what,
            });
        }
        Ok((stream, bytes))
    }

    fn check(&self, stream: &Codestream, image: &ImagePixel) -> Result<(), Error> {
        let declared = Declared {
            rows: stream.rows,
            columns: stream.columns,
            components: stream.components.into(),
            precision: stream.precision,
        };
        declared.check(self.name, image)?;
        if stream.subsampled {
            return Err(Error::unsupported(self.name, "subsampled components"));
        }
        if !stream.same_precision {
            return Err(Error::unsupported(
                self.name,
                "components of different precision",
            ));
        }
        if stream.precision > PRECISION_MAX {
            return Err(Error::unsupported(
                self.name,
                format!("{} bits", stream.precision),
            ));
        }
        let frame_len = image.frame_len_bytes().unwrap_or(usize::MAX);
        if frame_len / image.sample_len_bytes().max(1) > SAMPLES_MAX {
            let what = format!("a picture of {} x {} pixels", stream.columns, stream.rows);
            return Err(Error::TooLarge {
                codec: self.name,
                what,
            });
        }
        if stream.tiles > TILES_MAX {
            let what = format!("a picture of {} tiles", stream.tiles);
            return Err(Error::TooLarge {
                codec: self.name,
                what,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
