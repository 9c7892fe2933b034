//! Archives in zip and tar files, mounted: the same volumes as from the files themselves.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Mount, can_mount, data_dir, expected_slab};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// All files under `root`, in the order of their names.
fn files_under(root: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name();
    let entries = walk.into_iter().map(|entry| entry.expect("walked"));
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// Packs all files under `from`, every other one deflated.
fn zip_all(from: &Path, to: &Path) {
    let mut writer = zip::ZipWriter::new(File::create(to).expect("created"));
    for (n, path) in files_under(from).iter().enumerate() {
        let method = match n % 2 {
            0 => CompressionMethod::Stored,
            _ => CompressionMethod::Deflated,
        };
        let name = path.strip_prefix(from).expect("below").to_string_lossy();
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(name, options).expect("begun");
        let bytes = fs::read(path).expect("read");
        writer.write_all(&bytes).expect("written");
    }
    writer.finish().expect("finished");
}

fn tar_all(from: &Path, to: &Path) {
    let mut builder = tar::Builder::new(File::create(to).expect("created"));
    // Holes as zeros: how tar files tell of holes otherwise is not read.
    builder.sparse(false);
    builder.append_dir_all("", from).expect("added");
    builder.into_inner().expect("finished");
}

/// A series in a tar file, one in a zip file, one in a directory.
fn archive(root: &Path) -> Vec<Series> {
    let made = tempfile::tempdir().expect("a temporary directory");
    let all = vec![
        Series::ct("2.25.81", uids::EXPLICIT_VR_LITTLE_ENDIAN, [12, 40, 50]),
        Series::mr("2.25.82", uids::RLE_LOSSLESS, [12, 40, 50]),
        Series::ct("2.25.83", uids::IMPLICIT_VR_LITTLE_ENDIAN, [4, 33, 35]),
    ];
    let write = |n: usize, to: &Path| all[n].write(to).expect("files written");
    let (zip, tar) = (made.path().join("zip"), made.path().join("tar"));
    write(0, &zip.join("one"));
    write(1, &tar.join("two"));
    write(2, &root.join("three"));
    fs::create_dir(root.join("packed")).expect("made");
    zip_all(&zip, &root.join("packed/study.zip"));
    tar_all(&tar, &root.join("study.tar"));
    all
}

fn check(mount: &Mount, series: &Series, originals: &[Vec<u8>]) {
    let at = mount.series(&series.uid);
    let slab = expected_slab(series);
    let npy = fs::read(at.join("volume.npy")).expect("volume.npy");
    assert!(npy[4096..] == slab[..], "{}: volume.npy", series.uid);
    let mut served: Vec<Vec<u8>> = files_under(&at.join("dicom"))
        .iter()
        .map(|path| fs::read(path).expect("an original"))
        .collect();
    served.sort_unstable();
    assert!(served == originals, "{}: dicom/", series.uid);
}

fn originals(series: &Series) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    series.write(dir.path()).expect("files written");
    let files = files_under(dir.path());
    let mut all: Vec<Vec<u8>> = files
        .iter()
        .map(|path| fs::read(path).expect("read"))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn volumes_are_read_out_of_containers() {
    if !can_mount("volumes_are_read_out_of_containers") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = archive(dir.path());
    let mount = Mount::of(dir.path(), &[]);
    for series in &all {
        check(&mount, series, &originals(series));
    }
    drop(mount);
    let zip = dir.path().join("packed/study.zip");
    let mount = Mount::of(&zip, &[]);
    check(&mount, &all[0], &originals(&all[0]));
    drop(mount);
    // Another file in its place: what was indexed is gone, and nothing of the other is shown for it.
    let mount = Mount::of(&zip, &[]);
    let frame = mount.series(&all[0].uid).join("frames/0004.npy");
    fs::copy(dir.path().join("study.tar"), &zip).expect("replaced");
    let error = fs::read(frame).expect_err("changed");
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
}

#[test]
fn a_dicomdir_stands_for_its_directory() {
    if !can_mount("a_dicomdir_stands_for_its_directory") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = archive(dir.path());
    fs::write(dir.path().join("DICOMDIR"), b"whatever it says").expect("written");
    let mount = Mount::of(&dir.path().join("DICOMDIR"), &[]);
    check(&mount, &all[2], &originals(&all[2]));
}

/// The real files, in a zip and in a tar file.
#[test]
fn real_files_give_the_same_volumes() {
    let test = "real_files_give_the_same_volumes";
    let Some(data) = data_dir(test).filter(|_| can_mount(test)) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (zip, tar) = (dir.path().join("all.zip"), dir.path().join("all.tar"));
    zip_all(&data, &zip);
    tar_all(&data, &tar);
    let plain = Mount::of(&data, &[]);
    let expected = files_under(&plain.series(""));
    let is_array = |path: &&PathBuf| path.ends_with("volume.raw");
    let expected: Vec<&PathBuf> = expected.iter().filter(is_array).collect();
    for container in [zip, tar] {
        let mount = Mount::of(&container, &[]);
        let mut same = 0;
        for path in &expected {
            let inside = path.strip_prefix(plain.series("")).expect("below");
            let whole = fs::read(path).map_err(|error| error.raw_os_error());
            let packed = fs::read(mount.series("").join(inside));
            let packed = packed.map_err(|error| error.raw_os_error());
            let of = (whole.as_ref().map(Vec::len), packed.as_ref().map(Vec::len));
            assert!(whole == packed, "{}: {of:?}", inside.display());
            same += u32::from(whole.is_ok());
        }
        println!("{same} volumes of {} equal", expected.len());
        assert!(same > 0);
    }
}
