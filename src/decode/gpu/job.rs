//! What a device is asked to make of one frame, and how it went. Pure data: it travels between
//! processes.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dicom::ImagePixel;
use crate::volume::Dtype;

/// One frame to be decoded and brought to the values shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// How the frame is encoded.
    pub codec: Codec,
    /// What its samples are.
    pub image: ImagePixel,
    /// What is made of stored values.
    pub show: Show,
    /// Where its encoded bytes lie in the memory shared for them.
    pub encoded: Range<u64>,
    /// Where the values shown belong in the slab's file: as long as [`Show`] and the image say.
    pub out: Range<u64>,
}

/// A way of encoding that a device can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Codec {
    /// Samples as they are (PS3.5 8.1), whole bytes wide, starting at a byte.
    Native {
        /// The words are big endian.
        big_endian: bool,
    },
    /// RLE Lossless (PS3.5 Annex G).
    Rle,
    /// JPEG with discrete cosine transform: baseline and extended sequential, 8 bits (ITU-T T.81
    /// Annex F).
    Jpeg,
    /// JPEG Lossless, process 14 (ITU-T T.81 Annex H).
    JpegLossless,
    /// A JPEG 2000 codestream or JP2 file, reversible or not (ITU-T T.800).
    Jpeg2000,
    /// The same with high-throughput block coding (ITU-T T.814).
    Htj2k,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Native { big_endian: false } => "native",
            Codec::Native { big_endian: true } => "native, big endian",
            Codec::Rle => "rle",
            Codec::Jpeg => "jpeg",
            Codec::JpegLossless => "jpeg lossless",
            Codec::Jpeg2000 => "jpeg 2000",
            Codec::Htj2k => "htj2k",
        })
    }
}

/// What is made of stored values: the value rules ([`crate::volume::Transform`]) that need nothing
/// but two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Show {
    /// Nothing: sign-extended, unused bits masked.
    Stored,
    /// A whole number is added; a value that does not fit is [`Outcome::Overflow`].
    Offset {
        /// Rescale Intercept.
        intercept: i64,
        /// What the values shown are.
        dtype: Dtype,
    },
    /// value * slope + intercept in f64, rounded once.
    Linear {
        /// Rescale Slope.
        slope: f64,
        /// Rescale Intercept.
        intercept: f64,
        /// What the values shown are: f32 or f64.
        dtype: Dtype,
    },
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The values stand in the slab.
    Done,
    /// A value does not fit the dtype: the CPU says it in words.
    Overflow,
    /// This frame is none for the device.
    Refused(Refusal),
    /// The device or its library failed at it, in these words.
    Failed(String),
}

/// Why a frame is not for a device. A closed list, so that refusals can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// No device decoder for this transfer syntax.
    TransferSyntax,
    /// The library that decodes it is not there.
    NoLibrary,
    /// Lossy, and the device rounds otherwise than the CPU (`exact=on`).
    Lossy,
    /// Samples of a width or kind that the kernels do not know.
    Samples,
    /// The values shown need lookup tables, colour conversion or a cast.
    Values,
    /// The codestream uses what the library cannot do, or breaks its rules.
    Codestream,
    /// Its codes did not fall into step where they were decoded in parallel.
    Unsettled,
    /// The frame is a tile of another, or not stored.
    Layout,
    /// The frame is larger than the memory set aside for it.
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TransferSyntax => "transfer_syntax",
            Refusal::NoLibrary => "no_library",
            Refusal::Lossy => "lossy",
            Refusal::Samples => "samples",
            Refusal::Values => "values",
            Refusal::Codestream => "codestream",
            Refusal::Unsettled => "unsettled",
            Refusal::Layout => "layout",
            Refusal::TooLarge => "too_large",
        })
    }
}
