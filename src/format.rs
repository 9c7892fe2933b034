//! Formats: header bytes, size laws and texts of the files a volume is shown as.
//!
//! Pure: everything here returns bytes and follows from headers alone, so that `stat` is final
//! before any Pixel Data is read. Knows no file system and no decoder.

mod bids;
pub mod cuda;
mod grid;
pub mod json;
pub mod metaimage;
pub mod nifti;
pub mod npy;
pub mod nrrd;
pub mod png;
pub mod preview;
pub mod prometheus;
pub mod table;
pub mod zarr;

#[cfg(test)]
mod tests;

/// Where the numbers are that a header of NRRD or MetaImage stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers<'a> {
    /// In a file beside it, behind so many bytes.
    Beside {
        /// Name of the file.
        name: &'a str,
        /// Bytes before the first number.
        skip_bytes: usize,
    },
    /// Right behind the header, in the same file.
    Behind,
}

/// Where the files of a volume's directory have them.
const IN_NPY: Numbers<'static> = Numbers::Beside {
    name: "volume.npy",
    skip_bytes: npy::HEADER_LEN_BYTES,
};

/// Why a format cannot show an array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The format has no way to say what the array is. Such an array has no file of this format.
    #[error("{format} cannot express it: {why}")]
    NotExpressible {
        /// Name of the format.
        format: &'static str,
        /// What it lacks.
        why: &'static str,
    },
    /// The header does not fit the fixed space it has.
    #[error("the {format} header of {shape:?} is longer than {limit_bytes} bytes")]
    HeaderTooLong {
        /// Name of the format.
        format: &'static str,
        /// Shape of the array.
        shape: Vec<u64>,
        /// Space for the header.
        limit_bytes: usize,
    },
    /// The array's length in bytes does not fit 64 bits.
    #[error("the length in bytes of {shape:?} does not fit 64 bits")]
    TooLarge {
        /// Shape of the array.
        shape: Vec<u64>,
    },
    /// A text could not be written. Texts go to memory and hold nothing that their formats lack,
    /// so this would be a defect; it is reported all the same.
    #[error("{format}: {why}")]
    Text {
        /// Name of the format.
        format: &'static str,
        /// What its writer says.
        why: String,
    },
}
