//! What a volume's directory holds: which things there are, how they are found and how long they are.
//!
//! All of it follows from headers. What a format cannot express has no name, and a volume that
//! nobody here can decode shows its original files and what is known of it.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::ino::NUMBERED_MAX;
use super::name::{digits, numbered};
use super::part::{Part, Text, named};
use super::{ArrayFile, ArrayFormat};
use crate::decode;
use crate::format::{metaimage, nifti, npy, nrrd, preview, zarr};
use crate::volume::{Variant, Volume};

/// A volume and what follows from it.
pub(super) struct Contents {
    pub(super) volume: Arc<Volume>,
    /// Its part of inode numbers.
    pub(super) key: u64,
    pub(super) mtime: SystemTime,
    /// Somebody here decodes at least one of its files; else it shows no arrays.
    decodable: bool,
    /// Length of `volume.json`, the one text that grows with the frames; found out when first
    /// asked for.
    json_len_bytes: OnceLock<u64>,
}

impl Contents {
    /// The contents of a volume's directory; `built` is the time shown for what has no source.
    pub(super) fn new(volume: Volume, key: u64, built: SystemTime) -> Contents {
        Contents {
            mtime: newest(&volume).unwrap_or(built),
            decodable: is_decodable(&volume),
            json_len_bytes: OnceLock::new(),
            volume: Arc::new(volume),
            key,
        }
    }

    /// Whether the volume has this.
    pub(super) fn has(&self, part: Part) -> bool {
        let volume = &self.volume;
        match part {
            Part::Text(Text::Json) | Part::Dicom => true,
            Part::DicomFile(n) => (n as usize) < volume.records.len(),
            _ if !self.decodable => false,
            Part::Array(file) => match file.format {
                ArrayFormat::Npy | ArrayFormat::Raw => true,
                ArrayFormat::Nii => nifti::check(volume, file.variant).is_ok(),
            },
            Part::Text(Text::Nrrd) => nrrd::check(volume).is_ok(),
            Part::Text(Text::MetaImage) => metaimage::check(volume).is_ok(),
            Part::Frames | Part::Preview => true,
            Part::Frame(n) => (n as usize) < volume.frames.len(),
            Part::Chunk(n) => self.is_zarr() && (n as usize) < volume.frames.len(),
            Part::Zarr | Part::ZarrArray | Part::Text(Text::ZarrGroup | Text::ZarrArray) => {
                self.is_zarr()
            }
        }
    }

    /// A chunk that is not there reads as zeros, so all of them are or the array is not.
    fn is_zarr(&self) -> bool {
        self.volume.frames.len() <= NUMBERED_MAX as usize
    }

    /// The child of a directory by its name, listed or not; `None` for `directory` is the volume's
    /// own.
    pub(super) fn child(&self, directory: Option<Part>, name: &str) -> Option<Part> {
        let found = named(directory).iter().find(|(n, _)| *n == name);
        let part = match (found, directory) {
            (Some((_, part)), _) => *part,
            (None, None) => Part::Array(ArrayFile::parse(name)?),
            (None, Some(directory)) => self.numbered_child(directory, name)?,
        };
        self.has(part).then_some(part)
    }

    /// The `n`th listed child of a directory with its name.
    pub(super) fn child_at(&self, directory: Option<Part>, n: usize) -> Option<(String, Part)> {
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
    pub(super) fn len_bytes(&self, part: Part) -> u64 {
        let volume = &self.volume;
        let len = |text: Text| text.len_bytes(volume).unwrap_or(0);
        match part {
            Part::Array(file) => file.len_bytes(volume),
            Part::Text(Text::Json) => *self.json_len_bytes.get_or_init(|| len(Text::Json)),
            Part::Text(text) => len(text),
            Part::Preview => preview::Layout::of(volume).len_bytes(),
            Part::Chunk(_) => volume.frame_len_bytes(Variant::Values),
            Part::Frame(_) => {
                npy::HEADER_LEN_BYTES as u64 + volume.frame_len_bytes(Variant::Values)
            }
            Part::DicomFile(record) => volume
                .records
                .get(record as usize)
                .map_or(0, |r| r.identity.size_bytes),
            Part::Zarr | Part::ZarrArray | Part::Frames | Part::Dicom => 0,
        }
    }

    /// Number of files and directories, its own included.
    pub(super) fn count(&self) -> u64 {
        let directories = [None, Some(Part::Zarr), Some(Part::ZarrArray)];
        let named = directories.into_iter().flat_map(named);
        let named = named.filter(|(_, part)| self.has(*part)).count() as u64;
        let numbered = [Part::ZarrArray, Part::Frames, Part::Dicom]
            .into_iter()
            .map(|directory| u64::from(self.numbered_count(directory)));
        1 + named + numbered.sum::<u64>()
    }

    /// How many numbered files a directory lists.
    fn numbered_count(&self, directory: Part) -> u32 {
        let count = match directory {
            _ if !self.has(directory) => 0,
            Part::Frames | Part::ZarrArray => self.volume.frames.len(),
            Part::Dicom => self.volume.records.len(),
            _ => 0,
        };
        count.min(NUMBERED_MAX as usize) as u32
    }

    fn numbered_name(&self, part: Part) -> String {
        match part {
            Part::Frame(n) => numbered(n, digits(self.volume.frames.len()), ".npy"),
            Part::DicomFile(n) => numbered(n, digits(self.volume.records.len()), ".dcm"),
            Part::Chunk(n) => zarr::chunk_name(&self.volume, n),
            _ => String::new(),
        }
    }

    fn numbered_child(&self, directory: Part, name: &str) -> Option<Part> {
        let n = match directory {
            Part::Frames | Part::Dicom => {
                let number: u32 = name.get(..name.len().checked_sub(4)?)?.parse().ok()?;
                number.checked_sub(1)?
            }
            Part::ZarrArray => zarr::chunk_frame(&self.volume, name)?,
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

fn is_decodable(volume: &Volume) -> bool {
    let served = |uid: &str| decode::decoder_for(uid).is_ok();
    volume
        .records
        .iter()
        .any(|record| served(&record.instance.transfer_syntax_uid))
}

fn newest(volume: &Volume) -> Option<SystemTime> {
    let ns = volume
        .records
        .iter()
        .map(|record| record.identity.mtime_ns)
        .max()?;
    let since = std::time::Duration::from_nanos(u64::try_from(ns).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
