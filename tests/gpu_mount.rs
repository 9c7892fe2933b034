//! A mount that is to use a GPU, on a machine that has none, or none that can be used: everything is
//! decoded on the CPU, and that is said once.

mod common;

use std::fs;

use common::{Mount, can_mount, expected_slab, skip};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::decode::gpu;
use tempfile::TempDir;

fn archive() -> (TempDir, Series) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let series = Series::mr("2.25.71", uids::RLE_LOSSLESS, [5, 24, 16]);
    series.write(dir.path()).expect("files written");
    (dir, series)
}

/// A device number that no machine has.
const NONE: &str = "63";

fn check(mount: &Mount, series: &Series) {
    let path = mount.series(&series.uid).join("volume.npy");
    let bytes = fs::read(path).expect("read");
    assert!(bytes[4096..] == expected_slab(series)[..], "wrong bytes");
}

#[test]
fn a_device_that_is_not_there_costs_one_line() {
    if !can_mount("a_device_that_is_not_there_costs_one_line") {
        return;
    }
    let (dir, series) = archive();
    let mount = Mount::of(dir.path(), &["--device=cpu"]);
    check(&mount, &series);
    mount.umount(&[]);
    common::wait_until("its end", || mount.pids().is_empty());
    let options = format!("device=cuda:{NONE},exact=off");
    let output = mount.try_mount(&["-o", &options]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let warnings: Vec<&str> = stderr.lines().collect();
    assert_eq!(warnings.len(), 1, "{stderr}");
    for words in ["device=cuda:63", "everything is decoded on the CPU"] {
        assert!(warnings[0].contains(words), "{stderr}");
    }
    check(&mount, &series);
    let config = fs::read_to_string(mount.root.join(".dicomfs/config.json")).expect("config");
    assert!(
        config.contains("\"cuda:63\"") && config.contains("\"exact\": false"),
        "{config}"
    );
}

#[test]
fn no_word_of_devices_that_nobody_asked_for() {
    let test = "no_word_of_devices_that_nobody_asked_for";
    if !can_mount(test) {
        return;
    }
    if gpu::device_count() > 0 {
        return skip(test, "this machine has a GPU", "DICOMFS_REQUIRE_NO_GPU");
    }
    let (dir, series) = archive();
    let mount = Mount::of(dir.path(), &[]);
    check(&mount, &series);
    mount.umount(&[]);
    common::wait_until("its end", || mount.pids().is_empty());
    for device in ["auto", "cpu"] {
        let output = mount.try_mount(&["--device", device]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{device}: {output:?}"
        );
        check(&mount, &series);
        mount.umount(&[]);
        common::wait_until("its end", || mount.pids().is_empty());
    }
}
