//! Decoding: the bytes of one encoded frame in, stored samples out.
//!
//! Knows no paths, no archive and no volumes' order. One registry, keyed by Transfer Syntax UID,
//! says which decoder serves a frame and why there is none.
//!
//! The contract every decoder keeps, and `tests/conformance.rs` checks for all of them:
//! - `out` is exactly [`ImagePixel::frame_len_bytes`] long and is filled entirely or an error is
//!   returned;
//! - samples are little endian, interleaved (R1 G1 B1 R2 ...), sign-extended from Bits Stored to
//!   Bits Allocated, unused high bits masked; 1-bit data is one byte (0 or 1) a pixel;
//! - YBR_FULL_422 is brought to one Y, Cb, Cr a pixel; there is no other colour conversion than
//!   what is part of the codec (the JPEG 2000 component transforms, XYB);
//! - the encoded bytes are hostile: declared size and components are compared with the header
//!   before anything is allocated.

pub mod cast;
pub mod cpu;
pub mod gpu;
pub mod registry;
mod unsupported;
pub mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use cast::cast;
pub use registry::{Entry, codec_of, decoder_for, table};
pub use unsupported::report_unsupported;

use crate::dicom::ImagePixel;

/// Largest decoded frame, in bytes, that is ever handed to a codec. A codec needs several times
/// this in working memory; no frame of a real modality comes near it (the largest single frames,
/// whole-slide overviews and stitched radiographs, stay below 300 MB).
pub const FRAME_BYTES_MAX: usize = 1 << 30;

/// The encoded bytes of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The bytes: one native frame, or the concatenated fragments of one encapsulated frame.
    pub bytes: &'a [u8],
    /// For native 1-bit data: the bit of `bytes[0]` (0 = least significant) where the frame starts.
    pub first_bit: u8,
}

/// A decoder of one family of transfer syntaxes.
pub trait Decoder: Send + Sync {
    /// Name for people: `jpegls (own)`.
    fn name(&self) -> &'static str;

    /// Decodes one frame into `out`; see the module's contract.
    fn decode(&self, image: &ImagePixel, encoded: Encoded<'_>, out: &mut [u8])
    -> Result<(), Error>;
}

/// Why a frame could not be decoded.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No decoder serves this transfer syntax.
    #[error("unsupported transfer syntax {uid} ({why})")]
    UnsupportedTransferSyntax {
        /// Transfer Syntax UID.
        uid: String,
        /// What it is and why it is not decoded.
        why: &'static str,
    },
    /// The header describes pixels that this codec cannot hold.
    #[error("{codec} does not support {what}")]
    UnsupportedImage {
        /// Codec name.
        codec: &'static str,
        /// The combination.
        what: String,
    },
    /// The bytes break the rules of the codec, or end early, or disagree with the header.
    #[error("{codec}: {what}")]
    Malformed {
        /// Codec name.
        codec: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A limit was hit before memory was asked for.
    #[error("{codec}: {what} is over the limit")]
    TooLarge {
        /// Codec name.
        codec: &'static str,
        /// What is too large.
        what: String,
    },
}

impl Error {
    /// An [`Error::Malformed`] in one call.
    pub(crate) fn malformed(codec: &'static str, what: impl Into<String>) -> Error {
        let what = what.into();
        Error::Malformed { codec, what }
    }

    /// An [`Error::UnsupportedImage`] in one call.
    pub(crate) fn unsupported(codec: &'static str, what: impl Into<String>) -> Error {
        let what = what.into();
        Error::UnsupportedImage { codec, what }
    }
}

/// Decodes one frame of the given transfer syntax into `out`, guarded: the one entry point for
/// callers.
///
/// `out` must be exactly [`ImagePixel::frame_len_bytes`] long. When an error is returned the
/// contents of `out` are unspecified and must not be shown.
///
/// # Errors
/// Every [`Error`]; a panic inside a codec comes back as [`Error::Malformed`].
pub fn decode_frame(
    transfer_syntax_uid: &str,
    image: &ImagePixel,
    encoded: Encoded<'_>,
    out: &mut [u8],
) -> Result<(), Error> {
    let decoder = decoder_for(transfer_syntax_uid)?;
    check_request(decoder.name(), image, out.len())?;
    catch_unwind(AssertUnwindSafe(|| decoder.decode(image, encoded, out)))
        .unwrap_or_else(|_| Err(Error::malformed(decoder.name(), "the codec panicked")))
}

/// What must hold before any codec is called, whatever the syntax.
fn check_request(codec: &'static str, image: &ImagePixel, out_len: usize) -> Result<(), Error> {
    let frame_len = image
        .frame_len_bytes()
        .filter(|&len| len <= FRAME_BYTES_MAX)
        .ok_or_else(|| Error::TooLarge {
            codec,
            what: format!(
                "a frame of {} x {} pixels of {} samples of {} bits",
                image.rows, image.columns, image.samples_per_pixel, image.bits_allocated
            ),
        })?;
    if frame_len == 0 {
        return Err(Error::unsupported(codec, "a frame without pixels"));
    }
    if !matches!(image.bits_allocated, 1 | 8 | 16 | 32 | 64) {
        let what = format!("BitsAllocated {} (0028,0100)", image.bits_allocated);
        return Err(Error::unsupported(codec, what));
    }
    if out_len != frame_len {
        let what = format!("an output of {out_len} bytes for a frame of {frame_len}");
        return Err(Error::unsupported(codec, what));
    }
    Ok(())
}
