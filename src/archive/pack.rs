//! What the rows of the index hold, and how it is packed: compressed, and sealed with a checksum
//! of what they belong to.
//!
//! Knows nothing of the database. SQLite does not notice a flipped bit in a row; a wrong rescale
//! slope must not come from one, so that nothing is read from a row whose seal is broken.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SourceIdentity;
use super::members::Member;

/// Device and inode: the same for two names of one file or directory.
pub(super) type FileId = (u64, u64);

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A SOP Instance; its content is the [`crate::dicom::Instance`].
    Instance,
    /// Not DICOM; no content.
    NotDicom,
    /// A DICOMDIR; no content.
    Dicomdir,
    /// DICOM that cannot be used; its content is a finding's code and detail.
    Unusable,
    /// Could not be looked at, which may pass; content as before.
    Unreadable,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] = [
        Kind::Instance,
        Kind::NotDicom,
        Kind::Dicomdir,
        Kind::Unusable,
        Kind::Unreadable,
    ];

    pub(super) fn from_number(number: i64) -> Option<Kind> {
        let number = usize::try_from(number).ok()?;
        Kind::ALL.get(number).copied()
    }
}

/// What the files of a group have in common beside their directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Series Instance UID of instances; empty for other kinds.
    pub(super) series: String,
}

/// One file of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Its name in the directory.
    pub(super) name: Vec<u8>,
    pub(super) identity: SourceIdentity,
    pub(super) file_id: FileId,
    /// It may have other names: it was reached by a link, or has several.
    pub(super) is_linked: bool,
    /// Bytes of its content.
    pub(super) length_bytes: u32,
    /// Where it lies, if its directory is a container.
    pub(super) member: Option<Member>,
}

/// What the index has of a directory beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    /// Modification and status change time as of the listing, nanoseconds since the epoch. `None`
    /// when the directory has to be listed again whatever its times are.
    pub(super) times_ns: Option<(i64, i64)>,
    pub(super) id: FileId,
    /// Names of the directories in it, sorted; links to directories are among them.
    pub(super) subdirectories: Vec<Vec<u8>>,
    /// Files of each kind, by [`Kind`].
    pub(super) counts: [u64; 5],
    /// Files that may have other names.
    pub(super) linked: u64,
    /// Sum of the [`checksum`]s of its groups: a group that is missing is noticed by it.
    pub(super) groups: u64,
    /// Names, sorted, that are left out since another name of the same file comes first, with their kind.
    pub(super) hidden: Vec<(Vec<u8>, u8)>,
}

impl Directory {
    /// Is the file of this name left out?
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        // Sorted by the resolution of names.
        let found = self
            .hidden
            .binary_search_by(|(hidden, _)| hidden.as_slice().cmp(name));
        found.is_ok()
    }
}

/// A group's row, all but its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) key: Key,
    /// Never used again for another.
    pub(super) id: i64,
    /// Files in it.
    pub(super) files: u64,
}

/// Checksum of the row of a group.
pub(super) fn checksum(group: &Group) -> u64 {
    let mut crc = flate2::Crc::new();
    crc.update(&[group.key.kind as u8]);
    crc.update(&group.id.to_le_bytes());
    crc.update(&group.files.to_le_bytes());
    crc.update(group.key.series.as_bytes());
    u64::from(crc.sum())
}

/// Files of a group with their contents one after the other.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    pub(super) files: Vec<Listed>,
    pub(super) contents: Vec<u8>,
}

impl Bundle {
    /// Adds a file; its length is set here.
    pub(super) fn push(&mut self, mut file: Listed, content: &[u8]) {
        file.length_bytes = content.len() as u32;
        self.files.push(file);
        self.contents.extend_from_slice(content);
    }

    /// Each file with its content; `None` when lengths and contents do not agree.
    pub(super) fn entries(&self) -> Option<Vec<(&Listed, &[u8])>> {
        let mut rest = self.contents.as_slice();
        let mut entries = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let (content, after) = rest.split_at_checked(file.length_bytes as usize)?;
            rest = after;
            entries.push((file, content));
        }
        rest.is_empty().then_some(entries)
    }

    /// The blobs of the two.
    pub(super) fn seal(&self, directory: &[u8], key: &Key) -> Option<(Vec<u8>, Vec<u8>)> {
        let files = postcard::to_stdvec(&self.files).ok()?;
        let files = seal(&context(directory, key, b"files"), &files)?;
        let contents = seal(&context(directory, key, b"contents"), &self.contents)?;
        Some((files, contents))
    }

    /// What [`Bundle::seal`] sealed; `None` when it is damaged.
    pub(super) fn unseal(
        directory: &[u8],
        key: &Key,
        (files, contents): (&[u8], &[u8]),
    ) -> Option<Bundle> {
        Some(Bundle {
            files: unseal_files(directory, key, files)?,
            contents: unseal(&context(directory, key, b"contents"), contents)?,
        })
    }
}

/// The files of a group alone; `None` when they are damaged.
pub(super) fn unseal_files(directory: &[u8], key: &Key, sealed: &[u8]) -> Option<Vec<Listed>> {
    decode(&unseal(&context(directory, key, b"files"), sealed)?)
}

fn context<'a>(directory: &'a [u8], key: &'a Key, what: &'a [u8]) -> [&'a [u8]; 4] {
    const NUMBERS: [u8; 5] = [0, 1, 2, 3, 4];
    let kind = &NUMBERS[key.kind as usize..][..1];
    [directory, kind, key.series.as_bytes(), what]
}

/// A value of any kind, sealed as belonging to `what` and `name`.
pub(super) fn seal_value<T: Serialize>(what: &str, name: &[u8], value: &T) -> Option<Vec<u8>> {
    seal(&[what.as_bytes(), name], &postcard::to_stdvec(value).ok()?)
}

/// What [`seal_value`] sealed; `None` when it is damaged.
pub(super) fn unseal_value<T: DeserializeOwned>(
    what: &str,
    name: &[u8],
    sealed: &[u8],
) -> Option<T> {
    decode(&unseal(&[what.as_bytes(), name], sealed)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// Bytes before the packed ones: checksum, how they are packed, how many there are unpacked.
const SEAL_BYTES: usize = 9;

/// Fewer bytes than these are stored as they are: compression would cost more time than the disk.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// Packs bytes. Instances of one series say nearly the same: compressed at the fastest level they
/// take a tenth of the space, and an eighth of the time that SQLite would take to write them.
/// `None` for more than a blob can hold.
fn seal(context: &[&[u8]], bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok()?;
    let is_compressed = bytes.len() >= COMPRESSED_FROM_BYTES;
    let mut sealed = Vec::with_capacity(SEAL_BYTES + bytes.len() / 8);
    sealed.extend([0; 4]);
    sealed.push(u8::from(is_compressed));
    sealed.extend(length.to_le_bytes());
    if is_compressed {
        let mut encoder = DeflateEncoder::new(sealed, Compression::new(1));
        encoder.write_all(bytes).ok()?;
        sealed = encoder.finish().ok()?;
    } else {
        sealed.extend(bytes);
    }
    let crc = sum(context, &sealed[4..]);
    sealed[..4].copy_from_slice(&crc.to_le_bytes());
    Some(sealed)
}

fn unseal(context: &[&[u8]], sealed: &[u8]) -> Option<Vec<u8>> {
    let (crc, rest) = sealed.split_first_chunk::<4>()?;
    if sum(context, rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (is_compressed, rest) = rest.split_first()?;
    let (length, packed) = rest.split_first_chunk::<4>()?;
    if *is_compressed == 0 {
        return Some(packed.to_vec());
    }
    // The length can be believed: the seal holds.
    let length = u32::from_le_bytes(*length);
    let mut bytes = Vec::with_capacity(length as usize);
    let mut decoder = DeflateDecoder::new(packed).take(u64::from(length));
    decoder.read_to_end(&mut bytes).ok()?;
    (bytes.len() == length as usize).then_some(bytes)
}

fn sum(context: &[&[u8]], bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    for part in context {
        crc.update(&(part.len() as u64).to_le_bytes());
        crc.update(part);
    }
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_its_bytes_and_its_place_only() {
        for length in [0, 10, 5000] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 7) as u8).collect();
            let sealed = seal(&[b"a", b"bc"], &bytes).expect("sealed");
            assert_eq!(unseal(&[b"a", b"bc"], &sealed), Some(bytes));
            assert_eq!(unseal(&[b"ab", b"c"], &sealed), None);
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 0x10;
                assert_eq!(unseal(&[b"a", b"bc"], &damaged), None, "at {at}");
            }
            assert_eq!(unseal(&[b"a", b"bc"], &sealed[..sealed.len() - 1]), None);
        }
    }

    #[test]
    fn contents_are_told_apart_by_their_lengths() {
        let file = |name: &[u8]| Listed {
            name: name.to_vec(),
            identity: SourceIdentity {
                size_bytes: 3,
                mtime_ns: -4,
                inode: 5,
            },
            file_id: (1, 2),
            is_linked: false,
            length_bytes: 0,
            member: None,
        };
        let key = Key {
            kind: Kind::Instance,
            series: "1.2".to_owned(),
        };
        let mut bundle = Bundle::default();
        bundle.push(file(b"a"), b"first");
        bundle.push(file(b"b"), b"");
        let (files, contents) = bundle.seal(b"dir", &key).expect("sealed");
        let found = Bundle::unseal(b"dir", &key, (&files, &contents)).expect("whole");
        let entries = found.entries().expect("whole");
        assert_eq!((entries[0].1, entries[1].1), (&b"first"[..], &b""[..]));
        assert!(Bundle::unseal(b"dir", &key, (&contents, &files)).is_none());
    }
}
