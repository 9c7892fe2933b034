//! Why a header, a frame table or a lookup table could not be read.

use dicom_core::Tag;

/// Why DICOM bytes could not be understood. Carries no values of attributes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes do not begin like a DICOM file.
    #[error("not a DICOM file")]
    NotDicom,
    /// The structure breaks the rules of PS3.5 or PS3.10 so that reading cannot go on.
    #[error("malformed at byte {offset_bytes}{}: {what}", near(.tag))]
    Malformed {
        /// The element concerned, where one is known.
        tag: Option<Tag>,
        /// Offset in the file, or in the inflated dataset.
        offset_bytes: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The bytes end before something that is announced.
    #[error("the file ends at byte {end_bytes}, before byte {needed_bytes} that its header needs")]
    Truncated {
        /// Where the bytes end.
        end_bytes: u64,
        /// Up to where they are needed.
        needed_bytes: u64,
    },
    /// A limit of [`super::limits`] was hit before memory was asked for.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A positioned read failed.
    #[error("read failed: {0}")]
    Io(#[from] std::io::Error),
}

fn near(tag: &Option<Tag>) -> String {
    tag.map(|tag| format!(" near {tag}")).unwrap_or_default()
}
