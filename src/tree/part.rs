//! What lies below a volume's directory: the things, their names, and the order they are listed in.
//!
//! A table of names a directory, then numbered files. Knows no volume: what of this a volume has is
//! for [`super::contents`] to say.

use super::{ArrayFile, ArrayFormat};
use crate::format::{self, json, metaimage, nrrd, zarr};
use crate::volume::{Variant, Volume};

/// Something below a volume's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `volume[.<op>].<npy|raw|nii>`
    Array(ArrayFile),
    /// `volume[.<op>].cuda.json`: opens by name and is not listed.
    Cuda(Variant),
    /// A file whose bytes follow from the headers.
    Text(Text),
    /// `preview.png`
    Preview,
    /// `volume.zarr/`
    Zarr,
    /// `volume.zarr/0/`
    ZarrArray,
    /// `volume.zarr/0/c.<...>`, by 0-based frame.
    Chunk(u32),
    /// `frames/`
    Frames,
    /// `frames/NNNN.npy`, 0-based.
    Frame(u32),
    /// `dicom/`
    Dicom,
    /// `dicom/NNNN.dcm`, 0-based.
    DicomFile(u32),
}

/// A file whose bytes follow from the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// `volume.json`
    Json,
    /// `volume.nhdr`
    Nrrd,
    /// `volume.mhd`
    MetaImage,
    /// `volume.zarr/zarr.json`
    ZarrGroup,
    /// `volume.zarr/0/zarr.json`
    ZarrArray,
}

impl Text {
    /// The bytes of the file.
    ///
    /// # Errors
    /// What its format says; none for a file that the tree has.
    pub fn bytes(self, volume: &Volume) -> Result<Vec<u8>, format::Error> {
        match self {
            Text::Json => json::volume_json(volume),
            Text::Nrrd => nrrd::header(volume),
            Text::MetaImage => metaimage::header(volume),
            Text::ZarrGroup => zarr::group_json(volume),
            Text::ZarrArray => zarr::array_json(volume),
        }
    }

    /// Length in bytes of the file.
    ///
    /// # Errors
    /// As of [`Text::bytes`].
    pub fn len_bytes(self, volume: &Volume) -> Result<u64, format::Error> {
        match self {
            // May be very long, and `stat` is to keep nothing of it.
            Text::Json => json::volume_json_len_bytes(volume),
            short => short.bytes(volume).map(|bytes| bytes.len() as u64),
        }
    }
}

const fn plain(format: ArrayFormat) -> Part {
    Part::Array(ArrayFile {
        variant: Variant::Values,
        format,
    })
}

/// A volume's own directory, in the order in which it is listed.
const OF_VOLUME: [(&str, Part); 10] = [
    ("volume.npy", plain(ArrayFormat::Npy)),
    ("volume.raw", plain(ArrayFormat::Raw)),
    ("volume.nii", plain(ArrayFormat::Nii)),
    ("volume.nhdr", Part::Text(Text::Nrrd)),
    ("volume.mhd", Part::Text(Text::MetaImage)),
    ("volume.zarr", Part::Zarr),
    ("volume.json", Part::Text(Text::Json)),
    ("preview.png", Part::Preview),
    ("frames", Part::Frames),
    ("dicom", Part::Dicom),
];

const OF_ZARR: [(&str, Part); 2] = [
    ("zarr.json", Part::Text(Text::ZarrGroup)),
    ("0", Part::ZarrArray),
];

const OF_ZARR_ARRAY: [(&str, Part); 1] = [("zarr.json", Part::Text(Text::ZarrArray))];

/// The things in a directory that have names of their own, in the order listed. `None` is the
/// volume's own directory.
pub(super) fn named(directory: Option<Part>) -> &'static [(&'static str, Part)] {
    match directory {
        None => &OF_VOLUME,
        Some(Part::Zarr) => &OF_ZARR,
        Some(Part::ZarrArray) => &OF_ZARR_ARRAY,
        Some(_) => &[],
    }
}

impl Part {
    /// True for directories.
    pub fn is_directory(self) -> bool {
        use Part::{Dicom, Frames, Zarr, ZarrArray};
        matches!(self, Frames | Dicom | Zarr | ZarrArray)
    }

    /// What kind of file it is, in a word.
    pub fn kind(self) -> &'static str {
        match self {
            Part::Array(_) => "array",
            Part::Cuda(_) => "cuda",
            Part::Text(Text::ZarrGroup | Text::ZarrArray) | Part::Chunk(_) => "zarr",
            Part::Text(_) => "text",
            Part::Preview => "preview",
            Part::Frame(_) => "frame",
            Part::DicomFile(_) => "dicom",
            Part::Zarr | Part::ZarrArray | Part::Frames | Part::Dicom => "directory",
        }
    }

    /// The directory that holds it; `None` is the volume's own.
    pub(super) fn parent(self) -> Option<Part> {
        match self {
            Part::Frame(_) => Some(Part::Frames),
            Part::DicomFile(_) => Some(Part::Dicom),
            Part::Chunk(_) | Part::Text(Text::ZarrArray) => Some(Part::ZarrArray),
            Part::ZarrArray | Part::Text(Text::ZarrGroup) => Some(Part::Zarr),
            Part::Array(_) | Part::Cuda(_) | Part::Text(_) | Part::Preview => None,
            Part::Zarr | Part::Frames | Part::Dicom => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_in_its_directory() {
        for directory in [None, Some(Part::Zarr), Some(Part::ZarrArray)] {
            for (name, part) in named(directory) {
                assert_eq!(part.parent(), directory, "{name}");
                if let Part::Array(file) = part {
                    assert_eq!(file.name(), *name);
                }
            }
        }
    }
}
