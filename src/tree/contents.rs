//! What a volume's directory holds: which things there are, how they are found and how long they are.
//!
//! All of it follows from headers. What a format cannot express has no name, and a volume that
//! nobody here can decode shows its original files and what is known of it.

use super::ino::NUMBERED_MAX;
use super::part::{Part, Text, named};
use super::variant::parse_cuda;
use super::{ArrayFile, ArrayFormat};
use crate::format::{cuda, metaimage, nifti, npy, nrrd, preview, zarr};
use crate::library::Loaded;
use crate::volume::{Variant, digits, numbered};

/// The contents of a loaded volume's directory.
#[derive(Clone, Copy)]
pub(super) struct Contents<'a>(pub(super) &'a Loaded);

impl Contents<'_> {
    /// Whether the volume has this.
    pub(super) fn has(self, part: Part) -> bool {
        let volume = &self.0.volume;
        match part {
            Part::Text(Text::Json) | Part::Dicom => true,
            Part::DicomFile(n) => (n as usize) < volume.records.len(),
            _ if !self.0.is_decodable => false,
            Part::Array(file) => match file.format {
                ArrayFormat::Npy | ArrayFormat::Raw => true,
                ArrayFormat::Nii => nifti::check(volume, file.variant).is_ok(),
            },
            Part::Text(Text::Nrrd) => nrrd::check(volume).is_ok(),
            Part::Text(Text::MetaImage) => metaimage::check(volume).is_ok(),
            Part::Frames | Part::Preview | Part::Cuda(_) => true,
            Part::Frame(n) => (n as usize) < volume.frames.len(),
            Part::Chunk(n) => self.is_zarr() && (n as usize) < volume.frames.len(),
            Part::Zarr | Part::ZarrArray | Part::Text(Text::ZarrGroup | Text::ZarrArray) => {
                self.is_zarr()
            }
        }
    }

    /// A chunk that is not there reads as zeros, so all of them are or the array is not.
    fn is_zarr(self) -> bool {
        self.0.volume.frames.len() <= NUMBERED_MAX as usize
    }

    /// The child of a directory by its name, listed or not; `None` for `directory` is the volume's
    /// own.
    pub(super) fn child(self, directory: Option<Part>, name: &str) -> Option<Part> {
        let found = named(directory).iter().find(|(n, _)| *n == name);
        let part = match (found, directory) {
            (Some((_, part)), _) => *part,
            (None, None) => match ArrayFile::parse(name) {
                Some(file) => Part::Array(file),
                None => Part::Cuda(parse_cuda(name)?),
            },
            (None, Some(directory)) => self.numbered_child(directory, name)?,
        };
        self.has(part).then_some(part)
    }

    /// The `n`th listed child of a directory with its name.
    pub(super) fn child_at(self, directory: Option<Part>, n: usize) -> Option<(String, Part)> {
        let mut listed = named(directory).iter().filter(|(_, part)| self.has(*part));
        if let Some((name, part)) = listed.clone().nth(n) {
            return Some(((*name).to_owned(), *part));
        }
        let n = n.checked_sub(listed.by_ref().count())?;
        let n = u32::try_from(n).ok()?;
        let part = numbered_part(directory?, n)?;
        (n < self.numbered_count(directory?)).then(|| (self.numbered_name(part), part))
    }

    /// Size in bytes of a file; 0 for a directory.
    pub(super) fn len_bytes(self, part: Part) -> u64 {
        let volume = &self.0.volume;
        let len = |text: Text| text.len_bytes(volume).unwrap_or(0);
        match part {
            Part::Array(file) => file.len_bytes(volume),
            Part::Cuda(_) => cuda::LEN_BYTES as u64,
            Part::Text(Text::Json) => self.0.json_len_bytes(),
            Part::Text(text) => len(text),
            Part::Preview => preview::Layout::of(volume).len_bytes(),
            Part::Chunk(_) => volume.frame_len_bytes(Variant::Values),
            Part::Frame(_) => {
                npy::HEADER_LEN_BYTES as u64 + volume.frame_len_bytes(Variant::Values)
            }
            Part::DicomFile(record) => self.0.file_len_bytes(record as usize),
            Part::Zarr | Part::ZarrArray | Part::Frames | Part::Dicom => 0,
        }
    }

    /// Number of files and directories, its own included.
    pub(super) fn count(self) -> u64 {
        let directories = [None, Some(Part::Zarr), Some(Part::ZarrArray)];
        let named = directories.into_iter().flat_map(named);
        let named = named.filter(|(_, part)| self.has(*part)).count() as u64;
        let numbered = [Part::ZarrArray, Part::Frames, Part::Dicom]
            .into_iter()
            .map(|directory| u64::from(self.numbered_count(directory)));
        1 + named + numbered.sum::<u64>()
    }

    /// How many numbered files a directory lists.
    fn numbered_count(self, directory: Part) -> u32 {
        let count = match directory {
            _ if !self.has(directory) => 0,
            Part::Frames | Part::ZarrArray => self.0.volume.frames.len(),
            Part::Dicom => self.0.volume.records.len(),
            _ => 0,
        };
        count.min(NUMBERED_MAX as usize) as u32
    }

    fn numbered_name(self, part: Part) -> String {
        match part {
            Part::Frame(n) => numbered(n, digits(self.0.volume.frames.len()), ".npy"),
            Part::DicomFile(n) => numbered(n, digits(self.0.volume.records.len()), ".dcm"),
            Part::Chunk(n) => zarr::chunk_name(&self.0.volume, n),
            _ => String::new(),
        }
    }

    /// The path of a file or directory below the volume's.
    pub(super) fn path(self, part: Part) -> String {
        let directory = part.parent();
        let listed = named(directory).iter().find(|(_, known)| *known == part);
        let name = match (listed, part) {
            (Some((name, _)), _) => (*name).to_owned(),
            (None, Part::Array(file)) => file.name(),
            (None, part) => self.numbered_name(part),
        };
        match directory {
            Some(directory) => format!("{}/{name}", self.path(directory)),
            None => name,
        }
    }

    fn numbered_child(self, directory: Part, name: &str) -> Option<Part> {
        let n = match directory {
            Part::Frames | Part::Dicom => {
                let number: u32 = name.get(..name.len().checked_sub(4)?)?.parse().ok()?;
                number.checked_sub(1)?
            }
            Part::ZarrArray => zarr::chunk_frame(&self.0.volume, name)?,
            _ => return None,
        };
        let part = numbered_part(directory, n)?;
        // Only the name that readdir lists, not `1.npy` beside `0001.npy`.
        let is_listed = n < self.numbered_count(directory) && self.numbered_name(part) == name;
        is_listed.then_some(part)
    }
}

fn numbered_part(directory: Part, n: u32) -> Option<Part> {
    match directory {
        Part::Frames => Some(Part::Frame(n)),
        Part::Dicom => Some(Part::DicomFile(n)),
        Part::ZarrArray => Some(Part::Chunk(n)),
        _ => None,
    }
}
