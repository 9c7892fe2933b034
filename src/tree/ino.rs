//! Inode numbers: a pure function of identity.
//!
//! - below 2^24: the fixed things;
//! - bit 63 set: directories and links of the views, by a hash of their path;
//! - otherwise: 39 bits of a hash of the volume's name, then 24 bits for what is in its directory.

use super::{ArrayFile, ControlFile, IndexFile, Node, Part};

pub(super) const STUDIES: u64 = 3;
pub(super) const PATIENTS: u64 = 4;

/// Files of `frames/` and `dicom/` that have a number: 4 million.
pub(super) const NUMBERED_MAX: u32 = 1 << 22;

const LOCAL_BITS: u32 = 24;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;
const KEY_MASK: u64 = (1 << 39) - 1;
const VIEW_BIT: u64 = 1 << 63;

const LOCAL_FRAMES: u32 = 1;
const LOCAL_DICOM: u32 = 2;
const LOCAL_JSON: u32 = 3;
/// Array files: 0x100 and the code of variant and format.
const LOCAL_ARRAY: u32 = 0x100;
const LOCAL_FRAME: u32 = 1 << 22;
const LOCAL_DICOM_FILE: u32 = 2 << 22;

const FIXED: [(u64, Node); 11] = [
    (1, Node::Root),
    (2, Node::Series),
    (STUDIES, Node::View(STUDIES)),
    (PATIENTS, Node::View(PATIENTS)),
    (5, Node::Index(IndexFile::Csv)),
    (6, Node::Index(IndexFile::Jsonl)),
    (7, Node::Control),
    (8, Node::ControlFile(ControlFile::Version)),
    (9, Node::ControlFile(ControlFile::Config)),
    (10, Node::ControlFile(ControlFile::Stats)),
    (11, Node::ControlFile(ControlFile::Findings)),
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

/// The key of a volume name: its hash, or the next one that is free.
pub(super) fn free_key(name: &str, taken: impl Fn(u64) -> bool) -> u64 {
    let mut key = hash(name.as_bytes()) & KEY_MASK;
    while key == 0 || taken(key) {
        key = (key + 1) & KEY_MASK;
    }
    key
}

/// The inode number of a view's directory or link, from its path below the mount point.
pub(super) fn free_view(path: &str, taken: impl Fn(u64) -> bool) -> u64 {
    let mut ino = hash(path.as_bytes()) | VIEW_BIT;
    while taken(ino) {
        ino = (ino + 1) | VIEW_BIT;
    }
    ino
}

pub(super) fn local(part: Part) -> u32 {
    match part {
        Part::Frames => LOCAL_FRAMES,
        Part::Dicom => LOCAL_DICOM,
        Part::Json => LOCAL_JSON,
        Part::Array(file) => LOCAL_ARRAY + file.code(),
        Part::Frame(n) => LOCAL_FRAME | n,
        Part::DicomFile(n) => LOCAL_DICOM_FILE | n,
    }
}

/// What a local number stands for: `Some(None)` is the volume's directory itself.
pub(super) fn part(local: u32) -> Option<Option<Part>> {
    let n = local & (NUMBERED_MAX - 1);
    let part = match local {
        0 => return Some(None),
        LOCAL_FRAMES => Part::Frames,
        LOCAL_DICOM => Part::Dicom,
        LOCAL_JSON => Part::Json,
        LOCAL_DICOM_FILE.. if local >> 22 == LOCAL_DICOM_FILE >> 22 => Part::DicomFile(n),
        LOCAL_FRAME.. if local >> 22 == LOCAL_FRAME >> 22 => Part::Frame(n),
        LOCAL_ARRAY.. => Part::Array(ArrayFile::from_code(local - LOCAL_ARRAY)?),
        _ => return None,
    };
    Some(Some(part))
}

/// FNV-1a, 64 bits, with a final mix. Its values are shown to users as inode numbers, so it must
/// never change; the standard library's hasher promises no such thing.
fn hash(bytes: &[u8]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in bytes {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
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
        assert_eq!(free_key("1.2.3", |_| false), free_key("1.2.3", |_| false));
    }

    #[test]
    fn a_collision_takes_the_next() {
        let first = free_key("1.2.3", |_| false);
        assert_eq!(
            free_key("1.2.3", |key| key == first),
            (first + 1) & KEY_MASK
        );
    }

    #[test]
    fn local_numbers_round_trip() {
        let last = NUMBERED_MAX - 1;
        let parts = [
            Part::Frames,
            Part::Dicom,
            Part::Json,
            Part::Frame(0),
            Part::Frame(last),
        ];
        for p in parts
            .into_iter()
            .chain([Part::DicomFile(0), Part::DicomFile(last)])
        {
            assert_eq!(part(local(p)), Some(Some(p)), "{p:?}");
        }
        for file in ArrayFile::all() {
            let p = Part::Array(file);
            assert_eq!(part(local(p)), Some(Some(p)), "{p:?}");
        }
        assert_eq!(part(0), Some(None));
        assert_eq!(part(0xff), None);
        assert_eq!(part(3 << 22), None);
    }
}
