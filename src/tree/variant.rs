//! The grammar of array files: `volume[.<op>].<format>`.

use crate::format;
use crate::volume::{Variant, Volume};

/// How the slab is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayFormat {
    /// The slab with its 4096-byte NumPy header.
    Npy,
    /// The slab alone.
    Raw,
    /// The slab with a NIfTI header of 4096 bytes.
    Nii,
}

/// Their order is part of inode numbers: new ones go to the end.
const FORMATS: [(ArrayFormat, &str); 3] = [
    (ArrayFormat::Npy, "npy"),
    (ArrayFormat::Raw, "raw"),
    (ArrayFormat::Nii, "nii"),
];

/// One array file of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayFile {
    /// Which values.
    pub variant: Variant,
    /// How they are presented.
    pub format: ArrayFormat,
}

impl ArrayFile {
    /// All there are.
    pub fn all() -> impl Iterator<Item = ArrayFile> {
        let of = |variant| FORMATS.map(|(format, _)| ArrayFile { variant, format });
        Variant::ALL.into_iter().flat_map(of)
    }

    /// The file of this name, if it is one.
    pub fn parse(name: &str) -> Option<ArrayFile> {
        ArrayFile::all().find(|file| file.name() == name)
    }

    /// Its name.
    pub fn name(self) -> String {
        let format = FORMATS
            .iter()
            .find(|(f, _)| *f == self.format)
            .map_or("", |(_, f)| f);
        match self.variant.word() {
            "" => format!("volume.{format}"),
            op => format!("volume.{op}.{format}"),
        }
    }

    /// Size in bytes.
    pub fn len_bytes(self, volume: &Volume) -> u64 {
        let slab = volume.len_bytes(self.variant);
        match self.format {
            ArrayFormat::Npy => format::npy::HEADER_LEN_BYTES as u64 + slab,
            ArrayFormat::Raw => slab,
            ArrayFormat::Nii => format::nifti::HEADER_LEN_BYTES as u64 + slab,
        }
    }

    /// A small number that stands for the file in its inode number: never to be changed.
    pub(super) fn code(self) -> u32 {
        let variant = Variant::ALL
            .iter()
            .position(|v| *v == self.variant)
            .unwrap_or(0);
        let format = FORMATS
            .iter()
            .position(|(f, _)| *f == self.format)
            .unwrap_or(0);
        (variant * 16 + format) as u32
    }

    pub(super) fn from_code(code: u32) -> Option<ArrayFile> {
        ArrayFile::all().find(|file| file.code() == code)
    }
}

/// What ends the name of a volume in device memory.
const CUDA: &str = "cuda.json";

/// Its name: `volume[.<op>].cuda.json`.
pub(super) fn cuda_name(variant: Variant) -> String {
    match variant.word() {
        "" => format!("volume.{CUDA}"),
        op => format!("volume.{op}.{CUDA}"),
    }
}

/// The variant whose name this is, if it is one.
pub(super) fn parse_cuda(name: &str) -> Option<Variant> {
    Variant::ALL.into_iter().find(|v| cuda_name(*v) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let names: Vec<String> = ArrayFile::all().map(ArrayFile::name).collect();
        assert_eq!(
            names[..4],
            [
                "volume.npy",
                "volume.raw",
                "volume.nii",
                "volume.stored.npy"
            ]
        );
        for cast in ["f32", "f16", "i16", "i32"] {
            assert!(names.contains(&format!("volume.{cast}.npy")), "{cast}");
        }
        for file in ArrayFile::all() {
            assert_eq!(ArrayFile::parse(&file.name()), Some(file));
            assert_eq!(ArrayFile::from_code(file.code()), Some(file));
        }
        for name in [
            "volume",
            "volume.",
            "volume.npz",
            "volume..npy",
            "volume.stored",
            "x.npy",
        ] {
            assert_eq!(ArrayFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_in_device_memory_round_trip() {
        for variant in Variant::ALL {
            let name = cuda_name(variant);
            assert_eq!(parse_cuda(&name), Some(variant), "{name}");
            assert_eq!(ArrayFile::parse(&name), None, "{name}");
        }
        assert_eq!(cuda_name(Variant::Values), "volume.cuda.json");
        assert_eq!(
            parse_cuda("volume.f32.cuda.json").map(Variant::word),
            Some("f32")
        );
        for name in [
            "volume.json",
            "cuda.json",
            "volume..cuda.json",
            "volume.x.cuda.json",
        ] {
            assert_eq!(parse_cuda(name), None, "{name}");
        }
    }
}
