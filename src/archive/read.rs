//! Reads the headers of files and says what each file is.
//!
//! Whatever one file does, it costs that file only: errors and even panics become a finding.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::SourceIdentity;
use super::list::{self, State};
use super::members::Member;
use super::pack::{Kind, Listed};
use super::place::{self, Place};
use crate::dicom::{self, Header, Instance, limits};

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    /// A SOP Instance.
    Instance(Box<Instance>),
    /// A DICOMDIR.
    Dicomdir,
    /// Not DICOM.
    NotDicom,
    /// DICOM that cannot be used: finding code and detail.
    Unusable(&'static str, String),
    /// Not even looked at, and why; not to be kept, since it may pass.
    Unreadable(String),
}

/// Files looked at, with their contents encoded one after the other.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) files: Vec<Found>,
    pub(super) contents: Vec<u8>,
    /// Series Instance UIDs that [`Found`] refers to.
    pub(super) series: Vec<String>,
    /// Files that are as the index knows them: their group's place among those of the directory,
    /// and their own in the group.
    pub(super) same: Vec<(u32, u32)>,
    /// Files are opened without a change of their access time.
    quietly: bool,
}

impl Default for Looked {
    fn default() -> Looked {
        Looked {
            files: Vec::new(),
            contents: Vec::new(),
            series: Vec::new(),
            same: Vec::new(),
            quietly: true,
        }
    }
}

/// One file looked at.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// Place in [`Looked::series`]; of no meaning but for instances.
    pub(super) series: u32,
    /// Status change time, nanoseconds since the epoch; 0 where it is not known.
    pub(super) changed_ns: i64,
    pub(super) file: Listed,
}

impl Looked {
    /// For so many files, with room for their contents: an instance takes about a KiB.
    pub(super) fn with_room(files: usize) -> Looked {
        Looked {
            files: Vec::with_capacity(files),
            contents: Vec::with_capacity(files * 1200),
            ..Looked::default()
        }
    }

    /// Reads the file `name` in `place` and adds it.
    pub(super) fn read(&mut self, place: &Place, name: &[u8], is_link: bool) {
        let (state, content) = read(place, name, &mut self.quietly);
        self.add(name, is_link, (state, place.member(name)), &content);
    }

    /// Adds what could not be read.
    pub(super) fn unreadable(&mut self, name: &[u8], why: String) {
        self.add(name, false, (None, None), &Content::Unreadable(why));
    }

    fn add(
        &mut self,
        name: &[u8],
        is_link: bool,
        (state, member): (Option<State>, Option<Member>),
        content: &Content,
    ) {
        let start = self.contents.len();
        let (mut kind, mut series) = (content.kind(), 0);
        let encoded = match content {
            Content::Instance(instance) => {
                series = self.series(&instance.series_instance_uid);
                self.append(instance)
            }
            Content::Unusable(code, detail) => self.append(&(code, detail)),
            Content::Unreadable(why) => self.append(&("unreadable", why)),
            Content::Dicomdir | Content::NotDicom => Ok(()),
        };
        // Encoding into memory cannot fail; were it to, the file is read again next time.
        if encoded.is_err() {
            self.contents.truncate(start);
            kind = Kind::Unreadable;
        }
        let identity = state.map(|state| state.identity);
        self.files.push(Found {
            kind,
            series,
            changed_ns: state.map_or(0, |state| state.ctime_ns),
            file: Listed {
                name: name.to_vec(),
                identity: identity.unwrap_or(SourceIdentity {
                    size_bytes: 0,
                    mtime_ns: 0,
                    inode: 0,
                }),
                file_id: state.map_or((0, 0), |state| state.file_id),
                is_linked: is_link || state.is_some_and(|state| state.links > 1),
                length_bytes: (self.contents.len() - start) as u32,
                member,
            },
        });
    }

    fn append<T: serde::Serialize>(&mut self, value: &T) -> postcard::Result<()> {
        postcard::to_io(value, &mut self.contents)?;
        Ok(())
    }

    fn series(&mut self, uid: &str) -> u32 {
        // Nearly always that of the file before.
        let last = self.series.last().is_some_and(|last| last == uid);
        if !last {
            self.series.push(uid.to_owned());
        }
        self.series.len() as u32 - 1
    }
}

impl Content {
    fn kind(&self) -> Kind {
        match self {
            Content::Instance(_) => Kind::Instance,
            Content::Dicomdir => Kind::Dicomdir,
            Content::NotDicom => Kind::NotDicom,
            Content::Unusable(..) => Kind::Unusable,
            Content::Unreadable(_) => Kind::Unreadable,
        }
    }
}

/// Reads the file `name` in `place`.
fn read(place: &Place, name: &[u8], quietly: &mut bool) -> (Option<State>, Content) {
    let (file, mut state) = match place.open_file(name, quietly) {
        Ok(opened) => opened,
        Err(error) => return (None, Content::Unreadable(error.to_string())),
    };
    if !state.is_file {
        let why = "no longer a regular file".to_owned();
        return (None, Content::Unreadable(why));
    }
    if let place::Found::File(file) = &file
        && !place.numbers_last(file, &state)
    {
        state.identity.inode = 0;
    }
    let length = state.identity.size_bytes;
    if let place::Found::File(file) = &file
        && length > limits::FIRST_READ_BYTES as u64
    {
        list::advise_random(file);
    }
    let content = match file.bytes() {
        Ok(bytes) => guarded(|| dicom::read_header(bytes, length)),
        Err(why) => Content::Unusable("packed", why.to_owned()),
    };
    (Some(state), content)
}

/// What the outcome of reading a header makes of a file. The parser is not known to panic; were
/// it to, a file out there would otherwise take the mount with it.
fn guarded(read: impl FnOnce() -> Result<Header, dicom::Error>) -> Content {
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(read)) else {
        let detail = "the header reader failed on this file; please report it".to_owned();
        return Content::Unusable("internal_error", detail);
    };
    let error = match outcome {
        Ok(Header::Instance(instance)) => return Content::Instance(instance),
        Ok(Header::Dicomdir) => return Content::Dicomdir,
        Err(error) => error,
    };
    let code = match &error {
        dicom::Error::NotDicom => return Content::NotDicom,
        dicom::Error::Io(error) => return Content::Unreadable(io_words(error)),
        dicom::Error::Malformed { .. } => "malformed",
        dicom::Error::Truncated { .. } => "truncated",
        dicom::Error::TooLarge { .. } => "too_large",
    };
    Content::Unusable(code, error.to_string())
}

fn io_words(error: &io::Error) -> String {
    format!("read failed: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_file() {
        let content = guarded(|| panic!("on purpose"));
        assert!(matches!(content, Content::Unusable(code, _) if code == "internal_error"));
    }
}
