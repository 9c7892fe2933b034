//! What a device may be asked for, decided on the CPU from the headers of one frame: pure, needs no
//! device and no library, and is tested where there is neither.
//!
//! A refusal costs nothing but speed: the CPU decodes the frame, and says in words what is wrong
//! with it where something is. So everything unusual is refused, and whatever the CPU's own header
//! check refuses is refused here by the same code.
//!
//! Must not know volumes, batches or which devices there are.

use super::{Codec, Refusal, Show};
use crate::decode::FRAME_BYTES_MAX;
use crate::decode::cpu::jpeg2k::codestream::Codestream;
use crate::decode::cpu::jpeg2k::codestream::packets::{self, Lost};
use crate::decode::cpu::jpeg2k::{HTJ2K, JPEG_2000, Jpeg2k};
use crate::decode::cpu::{jpeg, jpeg_lossless, native, rle};
use crate::decode::values::stored_dtype;
use crate::decode::{Error, cpu};
use crate::dicom::syntax::{self, CodecFamily};
use crate::dicom::{ImagePixel, PixelElement};
use crate::volume::Dtype;

/// Quality layers that nvJPEG2000 0.11 takes at most (its user guide, "nvJPEG2000 Decoder").
const LAYERS_MAX: u64 = 32;

/// Bits a sample that nvJPEG2000 takes at most (as above).
const PRECISION_MAX: u32 = 16;

/// Tiles of one picture that are given to a device: each costs it launches of its own, and pictures
/// of more are whole-slide levels that a CPU decodes as fast.
const TILES_MAX: u64 = 1024;

/// Largest intercept added to whole numbers: as [`crate::decode::values::apply`].
const INTERCEPT_MAX: i64 = 1 << 52;

/// Says by which decoder a device can make the values shown of one frame, or why not.
///
/// `encoded` is the frame as the archive holds it (its fragments joined). With `exact` only what
/// every right decoder brings to the same bytes is let through.
///
/// # Errors
/// The first [`Refusal`] that applies; none of them depends on a device.
pub fn plan(
    transfer_syntax_uid: &str,
    image: &ImagePixel,
    show: &Show,
    encoded: &[u8],
    exact: bool,
) -> Result<Codec, Refusal> {
    let codec = Codec::for_syntax(transfer_syntax_uid).ok_or(Refusal::TransferSyntax)?;
    check_samples(image)?;
    check_show(image, show)?;
    match codec {
        Codec::Native { .. } => check_native(image, encoded.len() as u64)?,
        Codec::Rle => check_rle(image, encoded)?,
        // Decoders round as they like (T.81 A.3.3 states the transform in real numbers).
        Codec::Jpeg if exact => return Err(Refusal::Lossy),
        Codec::Jpeg => check_jpeg(image, encoded)?,
        Codec::JpegLossless => check_lossless(image, encoded)?,
        Codec::Jpeg2000 => check_codestream(&JPEG_2000, image, encoded, exact)?,
        Codec::Htj2k => check_codestream(&HTJ2K, image, encoded, exact)?,
    }
    Ok(codec)
}

/// The same for a frame that lies in its file as it is, of which only the length is known: whether a
/// device can read it from there itself.
///
/// # Errors
/// As of [`plan`]; what is encoded otherwise is [`Refusal::TransferSyntax`].
pub fn plan_native(
    transfer_syntax_uid: &str,
    image: &ImagePixel,
    show: &Show,
    len_bytes: u64,
) -> Result<Codec, Refusal> {
    let facts = syntax::by_uid(transfer_syntax_uid).ok_or(Refusal::TransferSyntax)?;
    if facts.deflated || facts.codec != CodecFamily::Native {
        return Err(Refusal::TransferSyntax);
    }
    check_samples(image)?;
    check_show(image, show)?;
    check_native(image, len_bytes)?;
    Ok(Codec::Native {
        big_endian: facts.big_endian,
    })
}

/// Whole numbers of 8, 16 or 32 bits, one or three a pixel: what the kernels know.
fn check_samples(image: &ImagePixel) -> Result<(), Refusal> {
    let known = image.element == PixelElement::PixelData
        && matches!(image.bits_allocated, 8 | 16 | 32)
        && matches!(image.samples_per_pixel, 1 | 3)
        && cpu::check_bits_stored("device", image).is_ok();
    if !known {
        return Err(Refusal::Samples);
    }
    match image.frame_len_bytes() {
        Some(0) => Err(Refusal::Samples),
        Some(len) if len <= FRAME_BYTES_MAX => Ok(()),
        _ => Err(Refusal::TooLarge),
    }
}

/// The rules that [`crate::decode::values::apply`] has for these types.
fn check_show(image: &ImagePixel, show: &Show) -> Result<(), Refusal> {
    let from = stored_dtype(image).ok_or(Refusal::Samples)?;
    let known = match *show {
        Show::Stored => true,
        Show::Offset { intercept, dtype } => {
            let small = matches!(from, Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16);
            (-INTERCEPT_MAX..=INTERCEPT_MAX).contains(&intercept)
                && (dtype == Dtype::I32 || small && dtype == Dtype::I16)
        }
        Show::Linear {
            slope,
            intercept,
            dtype,
        } => slope.is_finite() && intercept.is_finite() && matches!(dtype, Dtype::F32 | Dtype::F64),
    };
    if known { Ok(()) } else { Err(Refusal::Values) }
}

/// A word for each sample, all there; 4:2:2 shares words between pixels.
fn check_native(image: &ImagePixel, len_bytes: u64) -> Result<(), Refusal> {
    let words = native::check_stored_bits("device", image).is_ok() && !image.is_422();
    if !words {
        return Err(Refusal::Samples);
    }
    let whole = image
        .frame_len_bytes()
        .is_some_and(|len| len_bytes >= len as u64);
    if whole { Ok(()) } else { Err(Refusal::Layout) }
}

/// As many segments as there are byte planes, in order.
fn check_rle(image: &ImagePixel, encoded: &[u8]) -> Result<(), Refusal> {
    let words = native::check_stored_bits("device", image).is_ok();
    if !words || image.rows > u16::MAX.into() || image.columns > u16::MAX.into() {
        return Err(Refusal::Samples);
    }
    let planes = usize::from(image.samples_per_pixel) * image.sample_len_bytes();
    rle::check_header(encoded, planes).map_err(|_| Refusal::Codestream)
}

/// One scan with Huffman tables that can be; its entropy-coded data is for whoever decodes it.
fn check_lossless(image: &ImagePixel, encoded: &[u8]) -> Result<(), Refusal> {
    let (Ok(rows), Ok(columns)) = (u16::try_from(image.rows), u16::try_from(image.columns)) else {
        return Err(Refusal::Samples);
    };
    if image.bits_allocated > 16 {
        return Err(Refusal::Samples);
    }
    let expect = jpeg_lossless::Expect {
        rows,
        columns,
        components: image.samples_per_pixel as u8,
        max_bits: image.bits_allocated as u8,
    };
    jpeg_lossless::Outline::read(encoded, expect).map_err(|_| Refusal::Codestream)?;
    Ok(())
}

/// Planes of 8 bits as they are coded: one component, or three of the same size whose colours are as
/// the data set says. What is shown of fewer chroma samples is each decoder's own idea of what lies
/// between them.
fn check_jpeg(image: &ImagePixel, encoded: &[u8]) -> Result<(), Refusal> {
    if image.bits_allocated > 16 || image.signed {
        return Err(Refusal::Samples);
    }
    let seen = jpeg::inspect(image, encoded).map_err(|_| Refusal::Codestream)?;
    match seen {
        seen if seen.precision != 8 => Err(Refusal::Samples),
        seen if seen.is_converted => Err(Refusal::Values),
        seen if seen.is_plain() => Ok(()),
        _ => Err(Refusal::Codestream),
    }
}

/// What nvJPEG2000 decodes, and decodes as the CPU does.
fn check_codestream(
    cpu: &Jpeg2k,
    image: &ImagePixel,
    encoded: &[u8],
    exact: bool,
) -> Result<(), Refusal> {
    // Planes have one or two bytes a sample, and they become words of the same width.
    if image.bits_allocated > 16 {
        return Err(Refusal::Samples);
    }
    let (stream, bytes) = cpu.inspect(image, encoded).map_err(|error| match error {
        Error::TooLarge { .. } => Refusal::TooLarge,
        _ => Refusal::Codestream,
    })?;
    if !is_decodable(&stream) || stream.coding.all_ht != cpu.is_ht() {
        return Err(Refusal::Codestream);
    }
    if exact && !stream.coding.reversible {
        return Err(Refusal::Lossy);
    }
    let passes = packets::follow(&stream, bytes);
    let decodable = match passes {
        // One HT set without refinement: its cleanup pass.
        Ok(passes) => passes.most <= 1 || !cpu.is_ht(),
        Err(Lost::Unusual) => !exact && !cpu.is_ht(),
        Err(Lost::Broken) => false,
    };
    if !decodable {
        return Err(Refusal::Codestream);
    }
    // The 5-3 wavelet and its component transform are defined in whole numbers (T.800 F.3.8, G.2):
    // every right decoder gives the same samples, if every bit of every coefficient is there. Where
    // coding passes were left out, each may put a coefficient anywhere in the interval that is left
    // (T.800 E.1.1.2), and they do. Neither the transfer syntax nor a marker tells, packets do.
    match passes {
        Ok(passes) if exact && !passes.complete => Err(Refusal::Lossy),
        _ => Ok(()),
    }
}

/// The limits of nvJPEG2000 (its user guide) and of what is known of it: rare features that its
/// documents do not name are left to the CPU.
///
/// The component transform is undone by it as by OpenJPEG, where the codestream says that there is
/// one; no other colour conversion is asked for, and the JP2 boxes that could ask for one are taken
/// off before it sees the codestream.
fn is_decodable(stream: &Codestream) -> bool {
    let coding = &stream.coding;
    let one_way = coding.reversible != coding.irreversible && coding.all_ht == coding.any_ht;
    let quantized_rightly = coding.quantized == coding.irreversible;
    let transform_rightly = !coding.component_transform || stream.components == 3;
    let ht_rightly = !coding.any_ht || coding.ht_capabilities.is_some_and(is_one_ht_set);
    stream.precision <= PRECISION_MAX
        && (1..=LAYERS_MAX).contains(&stream.layers)
        && (1..=TILES_MAX).contains(&stream.tiles)
        && stream.tiles_missing == 0
        && stream.at_origin
        && stream.same_sign
        && one_way
        && quantized_rightly
        && transform_rightly
        && ht_rightly
        && !coding.mixed_component_transform
        && coding.block_styles == 0
        && !coding.part_2
        && coding.other.is_none()
        && !coding.odd
}

/// All code-blocks high-throughput, one HT set each and no region of interest (T.814 A.3, Ccap15).
fn is_one_ht_set(ccap: u16) -> bool {
    const MIXED_OR_DECLARED: u16 = 0xC000;
    const MULTIPLE_SETS: u16 = 0x2000;
    const REGION: u16 = 0x1000;
    ccap & (MIXED_OR_DECLARED | MULTIPLE_SETS | REGION) == 0
}

#[cfg(test)]
mod jpeg_tests;
#[cfg(test)]
mod tests;
