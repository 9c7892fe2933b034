//! The members of a zip or tar file.
//!
//! What a name or a number in there says is not believed: names become plain relative paths, places
//! are checked against the file, and there is a bound to how many are listed and to what is read for
//! that ([`Pages`]): some formats have lengths in them that a reader would make room for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use zip::CompressionMethod;
use zip::unstable::read::ZipIterable;

use super::pages::Pages;
use super::{Member, Packing};
use crate::archive::SourceIdentity;

/// Most members of a container: their names take some 100 MB then.
const MEMBERS_MAX: usize = 1 << 20;

/// Longest name of a member, as Linux has it for paths.
const NAME_BYTES_MAX: usize = 4096;

/// Most bytes that are read of a zip file for its directory: four times what [`MEMBERS_MAX`] entries
/// with names of usual lengths take.
const ZIP_READ_BYTES_MAX: u64 = 512 << 20;

/// Most bytes that are read of a tar file from one member to the next: its head, a long name, extended
/// attributes, the places of a sparse file.
const TAR_READ_BYTES_MAX: u64 = 1 << 20;

/// Of a local head in a zip file (APPNOTE 4.3.7): how long it is without name and extra field, and where
/// their lengths are.
const LOCAL_HEAD_BYTES: usize = 30;
const LOCAL_NAME_LEN: usize = 26;
const LOCAL_EXTRA_LEN: usize = 28;

/// How a zip file begins (APPNOTE 4.3.7, 4.3.16), and what a tar file has in its first head (POSIX
/// ustar) and where.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
const TAR: (&[u8], usize) = (b"ustar", 257);

/// Members by name.
type Members = BTreeMap<Vec<u8>, Member>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Zip,
    Tar,
}

fn format_of(file: &File) -> io::Result<Option<Format>> {
    let mut head = [0; TAR.1 + TAR.0.len()];
    let mut len = 0;
    while len < head.len() {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let head = &head[..len];
    if ZIP.iter().any(|magic| head.starts_with(magic)) {
        return Ok(Some(Format::Zip));
    }
    let is_tar = head.get(TAR.1..).is_some_and(|rest| rest == TAR.0);
    Ok(is_tar.then_some(Format::Tar))
}

/// Is it a container by its first bytes?
pub(in crate::archive) fn is_container(file: &File) -> bool {
    // What cannot be read is found out when it is read as a file.
    matches!(format_of(file), Ok(Some(_)))
}

/// Lists what is in a container.
pub(super) fn members(file: &File, container: SourceIdentity) -> io::Result<Members> {
    match format_of(file)? {
        Some(Format::Zip) => zip_members(file, container),
        Some(Format::Tar) => tar_members(file, container),
        None => Err(invalid("neither a zip nor a tar file")),
    }
}

fn zip_members(file: &File, container: SourceIdentity) -> io::Result<Members> {
    let left = Rc::new(Cell::new(ZIP_READ_BYTES_MAX));
    // Entry by entry: an index of all of them would be made room for on the word of the file.
    let archive = ZipIterable::try_new(Pages::new(file, left), zip::read::Config::default());
    let mut archive = archive.map_err(io::Error::from)?;
    check_count(archive.len())?;
    let mut members = Members::new();
    let mut places = Vec::new();
    for entry in archive.files().map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        if entry.is_dir() || entry.is_symlink() {
            continue;
        }
        let packing = match entry.compression() {
            _ if entry.encrypted() => Packing::Encrypted,
            CompressionMethod::Stored => Packing::Stored,
            CompressionMethod::Deflated => Packing::Deflated {
                crc32: entry.crc32(),
            },
            _ => Packing::Other,
        };
        let member = Member {
            container,
            offset_bytes: data_start(file, entry.header_start())?,
            packed_bytes: entry.compressed_size(),
            len_bytes: entry.size(),
            packing,
        };
        add(&mut members, entry.name_raw(), member)?;
        places.push((member.offset_bytes, member.packed_bytes));
    }
    check_places(places)?;
    Ok(members)
}

/// Where the bytes of a member of a zip file begin: behind its local head, whose name and extra field
/// may be longer than those in the directory.
fn data_start(file: &File, header_start: u64) -> io::Result<u64> {
    let mut head = [0; LOCAL_HEAD_BYTES];
    file.read_exact_at(&mut head, header_start)?;
    if !head.starts_with(ZIP[0]) {
        return Err(invalid("a member without a head of its own"));
    }
    let length = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let behind = LOCAL_HEAD_BYTES as u64 + length(LOCAL_NAME_LEN) + length(LOCAL_EXTRA_LEN);
    header_start
        .checked_add(behind)
        .ok_or_else(|| invalid("a member beyond the end of the file"))
}

/// No byte may be of two members: a small file could else hold any number of large ones.
fn check_places(mut places: Vec<(u64, u64)>) -> io::Result<()> {
    places.retain(|(_, bytes)| *bytes > 0);
    places.sort_unstable();
    let overlap = |pair: &[(u64, u64)]| pair[0].0 + pair[0].1 > pair[1].0;
    match places.windows(2).any(overlap) {
        true => Err(invalid("members that lie one over the other")),
        false => Ok(()),
    }
}

fn tar_members(file: &File, container: SourceIdentity) -> io::Result<Members> {
    let left = Rc::new(Cell::new(TAR_READ_BYTES_MAX));
    let mut archive = tar::Archive::new(Pages::new(file, Rc::clone(&left)));
    let mut members = Members::new();
    for (count, entry) in archive.entries_with_seek()?.enumerate() {
        let mut entry = entry?;
        left.set(TAR_READ_BYTES_MAX);
        check_count(count)?;
        let packing = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous if is_sparse(&mut entry)? => {
                Packing::Other
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => Packing::Stored,
            tar::EntryType::GNUSparse => Packing::Other,
            _ => continue,
        };
        let member = Member {
            container,
            offset_bytes: entry.raw_file_position(),
            packed_bytes: entry.size(),
            len_bytes: entry.size(),
            packing,
        };
        add(&mut members, &entry.path_bytes(), member)?;
    }
    Ok(members)
}

/// Does a tar file hold a file without its holes, as GNU tar says it in extended headers ("GNU.sparse.*",
/// all versions of `tar --sparse --format=pax`)? Its bytes do not lie as they are then.
fn is_sparse<R: io::Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<bool> {
    let extensions = entry.pax_extensions()?;
    let mut extensions = extensions.into_iter().flatten().flatten();
    Ok(extensions.any(|extension| extension.key_bytes().starts_with(b"GNU.sparse.")))
}

/// Adds a member, in place of one of the same name: the later one counts, as for who unpacks it.
fn add(members: &mut Members, name: &[u8], member: Member) -> io::Result<()> {
    let end = member.offset_bytes.checked_add(member.packed_bytes);
    if end.is_none_or(|end| end > member.container.size_bytes) {
        return Err(invalid("a member that goes beyond the end of the file"));
    }
    if member.packing == Packing::Stored && member.packed_bytes != member.len_bytes {
        return Err(invalid("a stored member of two lengths"));
    }
    if let Some(name) = plain(name) {
        members.insert(name, member);
    }
    Ok(())
}

fn check_count(count: usize) -> io::Result<()> {
    match count > MEMBERS_MAX {
        true => Err(invalid("more members than are looked at")),
        false => Ok(()),
    }
}

/// A name as a plain relative path: without a root, and without steps up.
fn plain(name: &[u8]) -> Option<Vec<u8>> {
    let parts = name.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts
        .filter(|part| !matches!(*part, b"" | b"." | b".."))
        .collect();
    let plain = parts.join(&b'/');
    let is_name = !plain.is_empty() && plain.len() <= NAME_BYTES_MAX && !plain.contains(&0);
    is_name.then_some(plain)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
