//! The members of a zip or tar file.
//!
//! What a name or a number in there says is not believed: names become plain relative paths, places
//! are checked against the file, and there is a bound to how many are listed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

use zip::CompressionMethod;

use super::{Member, Packing};
use crate::archive::SourceIdentity;

/// Most members of a container: their names take some 100 MB then.
const MEMBERS_MAX: usize = 1 << 20;

/// Longest name of a member, as Linux has it for paths.
const NAME_BYTES_MAX: usize = 4096;

/// Read at a time while members are listed: the heads of many, or a part of zip's directory.
const BUFFER_BYTES: usize = 16 << 10;

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
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    reader.rewind()?;
    match format_of(file)? {
        Some(Format::Zip) => zip_members(reader, container),
        Some(Format::Tar) => tar_members(reader, container),
        None => Err(invalid("neither a zip nor a tar file")),
    }
}

fn zip_members<R: Read + Seek>(reader: R, container: SourceIdentity) -> io::Result<Members> {
    let mut archive = zip::ZipArchive::new(reader).map_err(io::Error::from)?;
    let mut members = Members::new();
    check_count(archive.len())?;
    for number in 0..archive.len() {
        let file = archive.by_index_raw(number).map_err(io::Error::from)?;
        let is_link = file
            .unix_mode()
            .is_some_and(|mode| mode & libc::S_IFMT == libc::S_IFLNK);
        if file.is_dir() || is_link {
            continue;
        }
        let packing = match file.compression() {
            _ if file.encrypted() => Packing::Encrypted,
            CompressionMethod::Stored => Packing::Stored,
            CompressionMethod::Deflated => Packing::Deflated {
                crc32: file.crc32(),
            },
            _ => Packing::Other,
        };
        let member = Member {
            container,
            offset_bytes: file.data_start().unwrap_or(u64::MAX),
            packed_bytes: file.compressed_size(),
            len_bytes: file.size(),
            packing,
        };
        add(&mut members, file.name_raw(), member)?;
    }
    Ok(members)
}

fn tar_members<R: Read + Seek>(reader: R, container: SourceIdentity) -> io::Result<Members> {
    let mut archive = tar::Archive::new(reader);
    let mut members = Members::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        let packing = match kind {
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
        check_count(members.len())?;
    }
    Ok(members)
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
