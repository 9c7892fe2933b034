//! Archives with zip and tar files in them.

use std::io::Write;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// A zip file of these members, each stored or deflated.
fn zipped(path: &Path, members: &[(&str, CompressionMethod, Vec<u8>)]) {
    let file = fs::File::create(path).expect("created");
    let mut writer = ZipWriter::new(file);
    for (name, method, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(*method);
        writer.start_file(*name, options).expect("begun");
        writer.write_all(bytes).expect("written");
    }
    writer.finish().expect("finished");
}

fn tarred(path: &Path, members: &[(&str, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).expect("created"));
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let added = builder.append_data(&mut header, name, bytes.as_slice());
        added.expect("added");
    }
    builder.into_inner().expect("finished");
}

fn study(path: &Path) {
    zipped(
        path,
        &[
            ("s/1.dcm", CompressionMethod::Stored, image(11)),
            ("s/2.dcm", CompressionMethod::Deflated, image(12)),
            ("readme.txt", CompressionMethod::Deflated, b"text".to_vec()),
            ("cut", CompressionMethod::Stored, image(13)[..150].to_vec()),
        ],
    );
}

/// Every record's file as it is read.
fn contents(root: &Path, catalog: &Catalog) -> Vec<Vec<u8>> {
    let source = Source::new(root);
    let read = |record: &std::sync::Arc<Record>| {
        let file = source.open(record).expect("opened");
        let mut bytes = vec![0; record.identity.size_bytes as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert!(file.read_exact_at(&mut [0], bytes.len() as u64).is_err());
        source.verify(&file, record).expect("the same");
        source.check(record).expect("the same");
        bytes
    };
    catalog.records.iter().map(read).collect()
}

#[test]
fn files_in_containers_are_files_of_the_archive() {
    let dir = tree();
    study(&dir.path().join("a/study.ZIP"));
    tarred(
        &dir.path().join("later.tar"),
        &[("x/3.dcm", image(21)), ("x/no", b"no".to_vec())],
    );
    let catalog = scan_with(dir.path(), None);
    let expected = [
        "a/1.dcm",
        "a/b/no extension",
        "a/study.ZIP/s/1.dcm",
        "a/study.ZIP/s/2.dcm",
        "later.tar/x/3.dcm",
    ];
    assert_eq!(paths(&catalog), expected);
    let expected = [image(1), image(2), image(11), image(12), image(21)];
    assert_eq!(contents(dir.path(), &catalog), expected);
    let expected = [("a/study.ZIP/cut", "truncated"), ("truncated", "truncated")];
    assert_eq!(codes(&catalog), expected);
    // The containers themselves are no files: what is in them is.
    assert_eq!((catalog.counts.files, catalog.counts.not_dicom), (12, 4));
}

#[test]
fn a_container_may_be_the_whole_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("study.zip");
    study(&root);
    let index = dir.path().join("index");
    for from_index in [0, 4] {
        let index = Index::open(&index).expect("opened");
        let catalog = scan_trusting(&root, index);
        assert_eq!(paths(&catalog), ["s/1.dcm", "s/2.dcm"]);
        assert_eq!(contents(&root, &catalog), [image(11), image(12)]);
        assert_eq!(catalog.counts.from_index, from_index);
    }
}

#[test]
fn a_container_is_not_read_again_until_it_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("archive");
    fs::create_dir(&root).expect("made");
    let (zip, index) = (root.join("study.zip"), dir.path().join("index"));
    study(&zip);
    let scanned = || scan_trusting(&root, Index::open(&index).expect("opened"));
    let first = scanned();
    assert_eq!(first.counts.from_index, 0);
    let second = scanned();
    assert_eq!(second.counts.from_index, 4);
    assert_eq!(second.records, first.records);
    // Another container in its place, without a change of the directory.
    let other = [("only.dcm", CompressionMethod::Deflated, image(31))];
    zipped(&zip, &other);
    let source = Source::new(&root);
    for record in &first.records {
        let refused = source.open(record).expect_err("another version");
        assert!(matches!(refused, Error::Changed { .. }), "{refused}");
    }
    let third = scanned();
    assert_eq!(paths(&third), ["study.zip/only.dcm"]);
    assert_eq!(contents(&root, &third), [image(31)]);
    fs::remove_file(&zip).expect("removed");
    assert!(scanned().records.is_empty());
}

#[test]
fn names_of_one_container_are_one_container() {
    let dir = tempfile::tempdir().expect("a directory");
    study(&dir.path().join("1.zip"));
    fs::hard_link(dir.path().join("1.zip"), dir.path().join("2.zip")).expect("linked");
    symlink("1.zip", dir.path().join("3.zip")).expect("linked");
    let catalog = scan_with(dir.path(), None);
    assert_eq!(paths(&catalog), ["1.zip/s/1.dcm", "1.zip/s/2.dcm"]);
}

#[test]
fn what_cannot_be_unpacked_is_a_finding() {
    let dir = tempfile::tempdir().expect("a directory");
    let zip = dir.path().join("odd.zip");
    study(&zip);
    // The method in the directory of a zip file (APPNOTE 4.3.12, 4.4.5): 12 is bzip2.
    let mut bytes = fs::read(&zip).expect("read");
    let entry = b"PK\x01\x02";
    let at = bytes.windows(4).position(|window| window == entry);
    bytes[at.expect("there") + 10] = 12;
    fs::write(&zip, &bytes).expect("written");
    // Named so, and none: a file like any other; cut: it says so.
    fs::write(dir.path().join("image.tar"), image(5)).expect("written");
    fs::write(dir.path().join("short.zip"), &bytes[..bytes.len() / 2]).expect("written");
    let catalog = scan_with(dir.path(), None);
    assert_eq!(paths(&catalog), ["image.tar", "odd.zip/s/2.dcm"]);
    let expected = [
        ("odd.zip/cut", "truncated"),
        ("odd.zip/s/1.dcm", "packed"),
        ("short.zip", "unreadable"),
    ];
    assert_eq!(codes(&catalog), expected);
}

#[test]
fn damaged_rows_of_a_container_are_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("archive");
    fs::create_dir(&root).expect("made");
    study(&root.join("study.zip"));
    let path = dir.path().join("index");
    let index = Index::open(&path).expect("opened");
    let first = scan_trusting(&root, index);
    let connection = rusqlite::Connection::open(&path).expect("opened");
    let spoil = "UPDATE blobs SET contents = x'00'";
    connection.execute(spoil, []).expect("spoiled");
    drop(connection);
    let index = Index::open(&path).expect("opened");
    let shelf = index.bind(&root).expect("bound");
    let records = shelf.records("1.2.3.1").expect("read again");
    assert_eq!(records, first.records);
}
