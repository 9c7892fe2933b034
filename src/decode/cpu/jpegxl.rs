//! JPEG XL (ISO/IEC 18181): transfer syntaxes .110 to .112, by the jxl crate.
//!
//! Samples come out as integers of the codestream's own depth, in its own colour space: nothing is
//! scaled to the range of the output word and no profile is applied.

use jxl::api::{
    Endianness, Event, JxlBitDepth, JxlColorType, JxlDataFormat, JxlDecoder, JxlDecoderOptions,
    JxlOutputBuffer, JxlPixelFormat, Orientation, ProfileLevel,
};

use super::{Declared, check_integer_samples, extend_signs};
use crate::decode::{Decoder, Encoded, Error};
use crate::dicom::{ImagePixel, Photometric};

/// Decoder of JPEG XL.
#[derive(Debug, Clone, Copy)]
pub struct JpegXl;

/// The one instance.
pub static DECODER: JpegXl = JpegXl;

const NAME: &str = "jpeg xl (jxl-rs)";

impl Decoder for JpegXl {
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
        if !matches!(image.bits_allocated, 8 | 16) || !matches!(image.samples_per_pixel, 1 | 3) {
            let what = format!(
                "BitsAllocated {} (0028,0100) with {} samples a pixel",
                image.bits_allocated, image.samples_per_pixel
            );
            return Err(Error::unsupported(NAME, what));
        }
        if is_ybr(image) {
            // The codec turns the YCbCr of a recompressed JPEG into RGB; whether the header then
            // means the samples before or after, no known file tells.
            return Err(Error::unsupported(
                NAME,
                "a YBR PhotometricInterpretation (0028,0004)",
            ));
        }
        let mut input = encoded.bytes;
        let mut codec = JxlDecoder::new(options(image));
        step(&mut codec, &mut input, None, |event| {
            matches!(event, Event::BasicInfo)
        })?;
        let precision = check_info(&codec, image)?;
        codec
            .set_pixel_format(pixel_format(image, precision))
            .map_err(codec_error)?;
        if image.bits_allocated == 16 && out.as_ptr().align_offset(2) != 0 {
            // The codec writes u16 words in place and panics where they are not aligned.
            let mut words = vec![0; out.len() + 1];
            let start = words.as_ptr().align_offset(2).min(1);
            let aligned = &mut words[start..start + out.len()];
            decode_pixels(&mut codec, &mut input, image, aligned)?;
            out.copy_from_slice(aligned);
        } else {
            decode_pixels(&mut codec, &mut input, image, out)?;
        }
        extend_signs(image, precision, out);
        Ok(())
    }
}

fn is_ybr(image: &ImagePixel) -> bool {
    match &image.photometric {
        Photometric::YbrFull | Photometric::YbrFull422 => true,
        Photometric::Other(name) => name.starts_with("YBR"),
        _ => false,
    }
}

fn options(image: &ImagePixel) -> JxlDecoderOptions {
    let mut options = JxlDecoderOptions::default();
    // Auxiliary frames (patches, low resolution) come beside the picture, and channels are padded.
    let samples = image.frame_len_bytes().unwrap_or(0) / image.sample_len_bytes();
    options.sample_limit = Some(samples.saturating_mul(4).saturating_add(1 << 20));
    // The limit above does the work of a profile; medical frames may pass those of level 5.
    options.max_profile_level = ProfileLevel::Main10;
    options.high_precision = true;
    options
}

/// Compares what the codestream says with the header; gives the bits a sample.
fn check_info(codec: &JxlDecoder, image: &ImagePixel) -> Result<u32, Error> {
    let missing = || Error::malformed(NAME, "no basic information");
    let info = codec.basic_info().ok_or_else(missing)?;
    let gray = codec
        .current_pixel_format()
        .ok_or_else(missing)?
        .color_type
        .is_grayscale();
    let JxlBitDepth::Int {
        bits_per_sample: precision,
    } = info.bit_depth
    else {
        return Err(Error::unsupported(NAME, "floating point samples"));
    };
    if info.orientation != Orientation::Identity {
        return Err(Error::unsupported(
            NAME,
            "a codestream that asks to be turned",
        ));
    }
    let colours = if gray { 1 } else { 3 };
    let declared = Declared {
        rows: u32::try_from(info.size.1).unwrap_or(u32::MAX),
        columns: u32::try_from(info.size.0).unwrap_or(u32::MAX),
        components: colours + info.extra_channels.len() as u32,
        precision,
    };
    declared.check(NAME, image)?;
    if !info.extra_channels.is_empty() {
        return Err(Error::unsupported(NAME, "extra channels"));
    }
    Ok(precision)
}

fn pixel_format(image: &ImagePixel, precision: u32) -> JxlPixelFormat {
    let gray = image.samples_per_pixel == 1;
    // At most 16: checked against Bits Allocated.
    let bit_depth = precision as u8;
    JxlPixelFormat {
        color_type: if gray {
            JxlColorType::Grayscale
        } else {
            JxlColorType::Rgb
        },
        color_data_format: Some(if image.bits_allocated == 8 {
            JxlDataFormat::U8 { bit_depth }
        } else {
            JxlDataFormat::U16 {
                endianness: Endianness::LittleEndian,
                bit_depth,
            }
        }),
        extra_channel_format: Vec::new(),
    }
}

fn decode_pixels(
    codec: &mut JxlDecoder,
    input: &mut &[u8],
    image: &ImagePixel,
    out: &mut [u8],
) -> Result<(), Error> {
    let rows = image.rows as usize;
    let row_len = out.len() / rows;
    step(codec, input, None, |event| {
        matches!(event, Event::FrameHeader)
    })?;
    let mut buffers = [JxlOutputBuffer::new(out, rows, row_len)];
    let done = step(codec, input, Some(&mut buffers), |event| {
        matches!(event, Event::FrameComplete { .. })
    })?;
    if done
        == (Event::FrameComplete {
            has_more_frames: true,
        })
    {
        return Err(Error::malformed(
            NAME,
            "an animation where one frame was expected",
        ));
    }
    Ok(())
}

/// Goes on until an event of the wanted kind.
fn step(
    codec: &mut JxlDecoder,
    input: &mut &[u8],
    mut buffers: Option<&mut [JxlOutputBuffer<'_>]>,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Event, Error> {
    loop {
        let event = codec
            .process(input, buffers.as_deref_mut(), None)
            .map_err(codec_error)?;
        if wanted(&event) {
            return Ok(event);
        }
        match event {
            Event::BasicInfo | Event::FrameHeader => {}
            Event::NeedMoreInput { .. } => {
                return Err(Error::malformed(NAME, "the codestream is cut short"));
            }
            Event::FrameComplete { .. } | Event::Complete => {
                return Err(Error::malformed(
                    NAME,
                    "the codestream ends before its picture",
                ));
            }
        }
    }
}

fn codec_error(error: jxl::error::Error) -> Error {
    let what: String = error.to_string().chars().take(200).collect();
    Error::malformed(NAME, what)
}

#[cfg(test)]
mod tests;
