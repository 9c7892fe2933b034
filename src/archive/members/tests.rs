//! Containers made by the libraries that read them, whole and broken.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::unpack::{Head, Unpacker};
use super::*;
use crate::archive::list;
use crate::archive::part::Part;
use crate::dicom::{ReadAt, read_full_at};

fn options(method: CompressionMethod) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(method)
}

/// Bytes that can be packed, all different for each seed.
fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8 ^ seed).collect()
}

fn zip_file() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ZipWriter::new(io::Cursor::new(&mut bytes));
    let stored = options(CompressionMethod::Stored);
    let deflated = options(CompressionMethod::Deflated);
    writer.add_directory("study", stored).expect("directory");
    writer.start_file("study/stored", stored).expect("file");
    writer.write_all(&content(1, 5000)).expect("written");
    writer
        .start_file("/../up/./packed", deflated)
        .expect("file");
    writer.write_all(&content(2, 300_000)).expect("written");
    writer
        .add_symlink("study/link", "../../etc/passwd", stored)
        .expect("link");
    writer.finish().expect("finished");
    bytes
}

fn tar_file() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        builder
            .append_data(&mut header, name, bytes)
            .expect("added");
    };
    add("a/first", tar::EntryType::Regular, &content(3, 700));
    add("a", tar::EntryType::Directory, b"");
    add(
        &"long/".repeat(60),
        tar::EntryType::Regular,
        &content(4, 10),
    );
    add("a/twice", tar::EntryType::Regular, &content(5, 20));
    add("a/twice", tar::EntryType::Regular, &content(6, 30));
    builder.into_inner().expect("finished")
}

fn opened(bytes: &[u8]) -> io::Result<Container> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    let state = list::state(&file.try_clone().expect("cloned").into(), b"")?;
    Container::open(file, state)
}

fn stored(container: &Container, name: &str) -> Vec<u8> {
    let member = container.member(name.as_bytes()).expect("there");
    let part = Part::new(container.file(), member);
    let mut bytes = vec![0; member.len_bytes as usize + 10];
    let len = read_full_at(&part, 0, &mut bytes).expect("read");
    bytes.truncate(len);
    bytes
}

fn names(container: &Container) -> Vec<String> {
    let names = container.names();
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn unpacked(container: &Container, name: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
    let inside = Inside {
        container: "c.zip".into(),
        member: *container.member(name.as_ref()).expect("there"),
    };
    Unpacker::default()
        .bytes(container.file(), &inside)
        .map(|bytes| bytes.to_vec())
}

#[test]
fn members_of_a_zip_file() {
    let container = opened(&zip_file()).expect("a zip file");
    assert_eq!(
        names(&container),
        ["study/stored", "up/packed"],
        "no links, no ways up"
    );
    assert_eq!(stored(&container, "study/stored"), content(1, 5000));
    let whole = content(2, 300_000);
    assert_eq!(unpacked(&container, "up/packed").expect("unpacked"), whole);
    let member = container.member(b"up/packed").expect("there");
    let head = Head::new(container.file(), member);
    let mut part = vec![0; 1000];
    for at in [0, 299_500, 5000, 300_000] {
        let len = head.read_at(at as u64, &mut part).expect("read");
        assert_eq!(part[..len], whole[at..(at + 1000).min(300_000)]);
    }
    assert_eq!(member.identity().size_bytes, 300_000);
}

#[test]
fn members_of_a_tar_file() {
    let container = opened(&tar_file()).expect("a tar file");
    let long = "long/".repeat(60);
    let long = long.trim_end_matches('/');
    assert_eq!(names(&container), ["a/first", "a/twice", long]);
    assert_eq!(stored(&container, "a/first"), content(3, 700));
    assert_eq!(stored(&container, long), content(4, 10));
    assert_eq!(
        stored(&container, "a/twice"),
        content(6, 30),
        "the later one counts"
    );
}

#[test]
fn other_files_are_no_containers() {
    for bytes in [&b""[..], b"PK", &[0; 600], b"DICM"] {
        assert!(opened(bytes).is_err());
    }
    for (name, expected) in [
        ("a.zip", true),
        ("A.ZIP", true),
        ("x.tar", true),
        (".zip", false),
        ("zip", false),
        ("a.zip.txt", false),
        ("a.tar.gz", false),
    ] {
        assert_eq!(is_named_so(name.as_bytes()), expected, "{name}");
    }
}

/// Any byte changed anywhere: an error, or other bytes, but no panic and no bytes from elsewhere.
#[test]
fn damaged_containers_are_errors() {
    let mut refused = 0;
    for whole in [zip_file(), tar_file()] {
        let step = whole.len() / 400;
        for at in (0..whole.len())
            .step_by(step.max(1))
            .chain(whole.len() - 60..whole.len())
        {
            for value in [0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let Ok(container) = opened(&bytes) else {
                    refused += 1;
                    continue;
                };
                for name in container.names() {
                    let member = *container.member(name).expect("there");
                    let end = member.offset_bytes + member.packed_bytes;
                    assert!(end <= bytes.len() as u64, "{name:?} at {at}");
                    // Whatever comes of it is checked by who reads it.
                    let _ = unpacked(&container, name);
                }
            }
        }
        for len in (0..whole.len()).step_by(997) {
            let cut = opened(&whole[..len]);
            refused += u32::from(cut.is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn packed_bytes_that_are_damaged_are_an_error() {
    let mut bytes = zip_file();
    let container = opened(&bytes).expect("a zip file");
    let member = *container.member(b"up/packed").expect("there");
    bytes[(member.offset_bytes + member.packed_bytes / 2) as usize] ^= 0x55;
    let damaged = opened(&bytes).expect("its directory is whole");
    assert!(unpacked(&damaged, "up/packed").is_err());
}

/// A container that says that its members are larger than they are, or smaller.
#[test]
fn lengths_are_not_believed() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&zip_file()).expect("written");
    let state = list::state(&file.try_clone().expect("cloned").into(), b"").expect("state");
    let container = Container::open(file.try_clone().expect("cloned"), state).expect("a zip file");
    let member = *container.member(b"up/packed").expect("there");
    let unpacker = Unpacker::default();
    let with = |len_bytes| Inside {
        container: "c.zip".into(),
        member: Member {
            len_bytes,
            ..member
        },
    };
    let bytes = |file: &File, len_bytes| unpacker.bytes(file, &with(len_bytes));
    for len_bytes in [0, 1, 299_999, 300_001, 1 << 29] {
        assert!(bytes(&file, len_bytes).is_err(), "{len_bytes}");
    }
    let error = bytes(&file, 1 << 50).expect_err("too large");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    let once = bytes(&file, 300_000).expect("whole");
    let again = bytes(&file, 300_000).expect("whole");
    assert!(std::sync::Arc::ptr_eq(&once, &again), "unpacked once");
}

/// Claims of 2^36 members, in a file that is large enough for them because it is mostly a hole.
#[test]
fn a_count_is_not_believed() {
    let count: u64 = 1 << 36;
    let (directory, end) = (count + 1, 1 << 42);
    let mut tail = b"PK\x06\x06".to_vec();
    tail.extend(44_u64.to_le_bytes());
    tail.extend([45, 0, 45, 0]);
    tail.extend([0; 8]);
    for number in [count, count, count * 46, directory] {
        tail.extend(number.to_le_bytes());
    }
    tail.extend(b"PK\x06\x07\0\0\0\0");
    tail.extend(u64::to_le_bytes(end));
    tail.extend(1_u32.to_le_bytes());
    tail.extend(b"PK\x05\x06\0\0\0\0");
    tail.extend([0xff; 12]);
    tail.extend([0; 2]);
    let file = tempfile::tempfile().expect("a file");
    file.set_len(end).expect("a hole");
    file.write_all_at(b"PK\x03\x04", 0).expect("written");
    file.write_all_at(&tail, end).expect("written");
    let state = list::state(&file.try_clone().expect("cloned").into(), b"").expect("state");
    let error = Container::open(file, state).expect_err("no such members");
    assert!(
        error
            .to_string()
            .contains("more members than are looked at"),
        "{error}"
    );
}

/// A name that is said to be 8 GiB long, all of it a hole.
#[test]
fn a_long_name_is_not_read_to_its_end() {
    let length = 8 << 30;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(length);
    header.set_cksum();
    let file = tempfile::tempfile().expect("a file");
    file.set_len(length + 2048).expect("a hole");
    file.write_all_at(header.as_bytes(), 0).expect("written");
    let state = list::state(&file.try_clone().expect("cloned").into(), b"").expect("state");
    let error = Container::open(file, state).expect_err("no name");
    assert!(error.to_string().contains("more would have to be read"));
}

/// Two entries of the directory that lead to one place: bombs are made so.
#[test]
fn members_that_lie_one_over_the_other_are_refused() {
    let mut bytes = Vec::new();
    let mut writer = ZipWriter::new(io::Cursor::new(&mut bytes));
    for name in ["1", "2"] {
        let deflated = options(CompressionMethod::Deflated);
        writer.start_file(name, deflated).expect("file");
        writer.write_all(&content(7, 1000)).expect("written");
    }
    writer.finish().expect("finished");
    assert_eq!(names(&opened(&bytes).expect("a zip file")), ["1", "2"]);
    let entry = bytes.windows(4).rposition(|four| four == b"PK\x01\x02");
    let place = entry.expect("a directory") + 42;
    bytes[place..place + 4].fill(0);
    let error = opened(&bytes).expect_err("refused");
    assert!(error.to_string().contains("one over the other"), "{error}");
}

/// GNU tar's own form of sparse files within POSIX's: without the holes, so that what follows one does
/// not lie where it belongs.
#[test]
fn a_sparse_file_in_an_extended_header_is_not_taken_for_a_whole_one() {
    let mut builder = tar::Builder::new(Vec::new());
    let records = "24 GNU.sparse.size=9000\n33 GNU.sparse.map=0,500,8500,500\n";
    let mut extended = tar::Header::new_ustar();
    extended.set_entry_type(tar::EntryType::XHeader);
    extended.set_size(records.len() as u64);
    builder
        .append_data(&mut extended, "extended", records.as_bytes())
        .expect("added");
    for name in ["holes", "whole"] {
        let mut header = tar::Header::new_ustar();
        header.set_size(1000);
        let bytes = content(8, 1000);
        builder
            .append_data(&mut header, name, bytes.as_slice())
            .expect("added");
    }
    let container = opened(&builder.into_inner().expect("finished")).expect("a tar file");
    let packing = |name: &[u8]| container.member(name).expect("there").packing;
    assert_eq!(packing(b"holes"), Packing::Other);
    assert_eq!(packing(b"whole"), Packing::Stored);
}
