//! Inode numbers: a pure function of identity.
//!
//! - below 2^24: the fixed things;
//! - bit 63 set: directories and links of the views, by a hash of their path, and the tables at the
//!   root, by a hash of what they list;
//! - otherwise: 39 bits of a hash of the volume's name and version, then 24 bits for what is in its
//!   directory.

use super::{ArrayFile, ControlFile, Node, Part, Text};
use crate::hash::fnv1a;
use crate::volume::Variant;

pub(super) const STUDIES: u64 = 3;
pub(super) const PATIENTS: u64 = 4;

/// Files of `frames/`, `dicom/` and `volume.zarr/0/` that have a number: 4 million.
pub(super) const NUMBERED_MAX: u32 = 1 << 22;

const LOCAL_BITS: u32 = 24;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;
const KEY_MASK: u64 = (1 << 39) - 1;
const VIEW_BIT: u64 = 1 << 63;

/// The things with names of their own; new ones take the next number.
const NAMED: [(u32, Part); 10] = [
    (1, Part::Frames),
    (2, Part::Dicom),
    (3, Part::Text(Text::Json)),
    (4, Part::Text(Text::Nrrd)),
    (5, Part::Text(Text::MetaImage)),
    (6, Part::Zarr),
    (7, Part::Text(Text::ZarrGroup)),
    (8, Part::ZarrArray),
    (9, Part::Text(Text::ZarrArray)),
    (10, Part::Preview),
];
/// Array files: 0x100 and the code of variant and format.
const LOCAL_ARRAY: u32 = 0x100;
/// Volumes in device memory: 0x1000 and the variant's place among all.
const LOCAL_CUDA: u32 = 0x1000;
const LOCAL_FRAME: u32 = 1 << 22;
const LOCAL_DICOM_FILE: u32 = 2 << 22;
const LOCAL_CHUNK: u32 = 3 << 22;

/// Not 5 and 6, which the tables at the root once had: their numbers follow from their contents.
const FIXED: [(u64, Node); 10] = [
    (1, Node::Root),
    (2, Node::Series),
    (STUDIES, Node::View(STUDIES)),
    (PATIENTS, Node::View(PATIENTS)),
    (7, Node::Control),
    (8, Node::ControlFile(ControlFile::Version)),
    (9, Node::ControlFile(ControlFile::Config)),
    (10, Node::ControlFile(ControlFile::Stats)),
    (11, Node::ControlFile(ControlFile::Findings)),
    (12, Node::ControlFile(ControlFile::Metrics)),
];

pub(super) fn fixed(ino: u64) -> Option<Node> {
    FIXED.iter().find(|(n, _)| *n == ino).map(|(_, node)| *node)
}

pub(super) fn of_fixed(node: Node) -> u64 {
    FIXED
        .iter()
        .find(|(_, n)| *n == node)
        .map_or(0, |(ino, _)| *ino)
}

pub(super) fn split(ino: u64) -> (u64, u32) {
    (ino >> LOCAL_BITS, (ino & LOCAL_MASK) as u32)
}

pub(super) fn join(key: u64, local: u32) -> u64 {
    key << LOCAL_BITS | u64::from(local)
}

/// The key of a volume by what identifies it: the hash, or the next one that is free.
pub(super) fn free_key(identity: &[u8], taken: impl Fn(u64) -> bool) -> u64 {
    let mut key = hash(identity) & KEY_MASK;
    while key == 0 || taken(key) {
        key = (key + 1) & KEY_MASK;
    }
    key
}

/// The inode number of a view's directory or link, from its path below the mount point, or of a
/// table, from its name and its version.
pub(super) fn free_view(path: &str, taken: impl Fn(u64) -> bool) -> u64 {
    let mut ino = hash(path.as_bytes()) | VIEW_BIT;
    while taken(ino) {
        ino = (ino + 1) | VIEW_BIT;
    }
    ino
}

pub(super) fn local(part: Part) -> u32 {
    match part {
        Part::Array(file) => LOCAL_ARRAY + file.code(),
        Part::Cuda(variant) => {
            let place = Variant::ALL.iter().position(|v| *v == variant);
            LOCAL_CUDA + place.unwrap_or(0) as u32
        }
        Part::Frame(n) => LOCAL_FRAME | n,
        Part::DicomFile(n) => LOCAL_DICOM_FILE | n,
        Part::Chunk(n) => LOCAL_CHUNK | n,
        named => NAMED
            .iter()
            .find(|(_, part)| *part == named)
            .map_or(0, |(local, _)| *local),
    }
}

/// What a local number stands for: `Some(None)` is the volume's directory itself.
pub(super) fn part(local: u32) -> Option<Option<Part>> {
    let n = local & (NUMBERED_MAX - 1);
    let part = match local & !(NUMBERED_MAX - 1) {
        LOCAL_FRAME => Part::Frame(n),
        LOCAL_DICOM_FILE => Part::DicomFile(n),
        LOCAL_CHUNK => Part::Chunk(n),
        _ if local == 0 => return Some(None),
        _ if local >= LOCAL_CUDA => Part::Cuda(*Variant::ALL.get((local - LOCAL_CUDA) as usize)?),
        _ if local >= LOCAL_ARRAY => Part::Array(ArrayFile::from_code(local - LOCAL_ARRAY)?),
        _ => NAMED.iter().find(|(number, _)| *number == local)?.1,
    };
    Some(Some(part))
}

/// FNV-1a with a final mix. Its values are shown to users as inode numbers, so it must never change.
fn hash(bytes: &[u8]) -> u64 {
    let mut h = fnv1a(bytes.iter().copied());
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ h >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_numbers_round_trip() {
        for (ino, node) in FIXED {
            assert_eq!(fixed(ino), Some(node));
            assert_eq!(of_fixed(node), ino);
        }
    }

    #[test]
    fn numbers_never_change() {
        assert_eq!(hash(b""), 0xecba_3df2_c338_3c52);
        assert_eq!(free_key(b"1.2.3", |_| false), free_key(b"1.2.3", |_| false));
    }

    #[test]
    fn local_numbers_never_change() {
        let array = |name| Part::Array(ArrayFile::parse(name).unwrap());
        let table = [
            (Part::Frames, 1),
            (Part::Dicom, 2),
            (Part::Text(Text::Json), 3),
            (array("volume.npy"), 0x100),
            (array("volume.raw"), 0x101),
            (array("volume.nii"), 0x102),
            (array("volume.stored.npy"), 0x110),
            (array("volume.i32.raw"), 0x151),
            (Part::Cuda(Variant::Values), 0x1000),
            (Part::Cuda(Variant::Stored), 0x1001),
            (Part::Frame(7), 0x40_0007),
            (Part::DicomFile(7), 0x80_0007),
            (Part::Chunk(7), 0xC0_0007),
        ];
        for (part, number) in table {
            assert_eq!(local(part), number, "{part:?}");
        }
    }

    #[test]
    fn a_collision_takes_the_next() {
        let first = free_key(b"1.2.3", |_| false);
        assert_eq!(
            free_key(b"1.2.3", |key| key == first),
            (first + 1) & KEY_MASK
        );
    }

    #[test]
    fn local_numbers_round_trip() {
        let last = NUMBERED_MAX - 1;
        let numbered = [Part::Frame, Part::DicomFile, Part::Chunk];
        let numbered = numbered.iter().flat_map(|of| [of(0), of(last)]);
        for p in NAMED.into_iter().map(|(_, p)| p).chain(numbered) {
            assert_eq!(part(local(p)), Some(Some(p)), "{p:?}");
        }
        for file in ArrayFile::all() {
            let p = Part::Array(file);
            assert_eq!(part(local(p)), Some(Some(p)), "{p:?}");
        }
        for variant in Variant::ALL {
            let p = Part::Cuda(variant);
            assert_eq!(part(local(p)), Some(Some(p)), "{p:?}");
        }
        assert_eq!(part(LOCAL_CUDA + Variant::ALL.len() as u32), None);
        assert_eq!(part(0), Some(None));
        assert_eq!(part(0xff), None);
        assert_eq!(part(4 << 22), None);
    }
}
