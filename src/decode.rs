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

use crate::dicom::ImagePixel;

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
