//! Reads the header of one file and says what the file is.
//!
//! Whatever one file does, it costs that file only: errors and even panics become a finding.

use std::fs::{File, Metadata};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SourceIdentity, advise, source};
use crate::dicom::{self, Header, Instance};

/// What a file turned out to be: what the index keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Content<I = Box<Instance>> {
    /// A SOP Instance.
    Instance(I),
    /// A DICOMDIR.
    Dicomdir,
    /// Not DICOM.
    NotDicom,
    /// DICOM that cannot be used: finding code and detail.
    Unusable(String, String),
}

impl<I> Content<I> {
    /// The same with `instance` of the instance in its place.
    pub(super) fn map<'a, J>(&'a self, instance: impl FnOnce(&'a I) -> J) -> Content<J> {
        match self {
            Content::Instance(found) => Content::Instance(instance(found)),
            Content::Dicomdir => Content::Dicomdir,
            Content::NotDicom => Content::NotDicom,
            Content::Unusable(code, detail) => Content::Unusable(code.clone(), detail.clone()),
        }
    }
}

/// Why a file could not even be looked at; not for the index, since it may pass.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<(Metadata, Content), Unreadable> {
    let file = source::open(path).map_err(|error| Unreadable(error.to_string()))?;
    let metadata = file
        .metadata()
        .map_err(|error| Unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(Unreadable("no longer a regular file".to_owned()));
    }
    advise::random_access(&file);
    let len = SourceIdentity::of(&metadata).size_bytes;
    let content = guarded(|| dicom::read_header::<File>(&file, len))?;
    Ok((metadata, content))
}

/// What the outcome of reading a header makes of a file. The parser is not known to panic; were
/// it to, a file out there would otherwise take the mount with it.
fn guarded(read: impl FnOnce() -> Result<Header, dicom::Error>) -> Result<Content, Unreadable> {
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(read)) else {
        let detail = "the header reader failed on this file; please report it".to_owned();
        return Ok(Content::Unusable("internal_error".to_owned(), detail));
    };
    let error = match outcome {
        Ok(Header::Instance(instance)) => return Ok(Content::Instance(instance)),
        Ok(Header::Dicomdir) => return Ok(Content::Dicomdir),
        Err(error) => error,
    };
    let code = match &error {
        dicom::Error::NotDicom => return Ok(Content::NotDicom),
        dicom::Error::Io(error) => return Err(Unreadable(io_words(error))),
        dicom::Error::Malformed { .. } => "malformed",
        dicom::Error::Truncated { .. } => "truncated",
        dicom::Error::TooLarge { .. } => "too_large",
    };
    Ok(Content::Unusable(code.to_owned(), error.to_string()))
}

fn io_words(error: &io::Error) -> String {
    format!("read failed: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_file() {
        let content = guarded(|| panic!("on purpose")).expect("a finding");
        assert!(matches!(content, Content::Unusable(code, _) if code == "internal_error"));
    }
}
