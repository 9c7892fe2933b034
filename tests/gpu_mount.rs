//! A mount that is to use a GPU: on a machine that has none, everything is decoded on the CPU, and that
//! is said once; with the libcuda, the nvJPEG2000 and the nvJPEG of the tests, the device decodes, and whatever
//! goes wrong with it, every byte is right and the mount goes on.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

#[path = "gpu_jpeg2k/frames.rs"]
mod frames;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Mount, can_mount, expected_slab, skip};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::decode::gpu;
use dicomfs::dicom::syntax::CodecFamily;
use fake_gpu::libcuda::{self, Counters};
use fake_gpu::nvjpeg;
use fake_gpu::nvjpeg2k::Fake;
use serde_json::Value;
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

/// Series that keep one CPU busy for long enough that a device gets its share.
fn long_series(dir: &Path) -> Vec<Series> {
    let shape = [160, 256, 256];
    let all = vec![
        Series::mr("2.25.72.1", uids::RLE_LOSSLESS, shape),
        Series::ct("2.25.72.2", uids::EXPLICIT_VR_LITTLE_ENDIAN, shape),
        Series::ct("2.25.72.3", uids::RLE_LOSSLESS, shape),
    ];
    for series in &all {
        let dir = dir.join(&series.uid);
        fs::create_dir(&dir).expect("a directory");
        series.write(&dir).expect("files written");
    }
    all
}

/// What `.dicomfs/stats.json` says of the only device.
fn device(mount: &Mount) -> Value {
    let text = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: Value = serde_json::from_slice(&text).expect("JSON");
    stats["devices"][0].clone()
}

/// Waits until the device is ready or will never be.
fn wait_settled(mount: &Mount) -> String {
    let mut state = String::new();
    common::wait_until("the device's start", || {
        state = device(mount)["state"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        !state.starts_with("starting") && !state.starts_with("resting")
    });
    state
}

fn count(device: &Value, what: &str) -> u64 {
    device[what]
        .as_u64()
        .unwrap_or_else(|| panic!("no {what}: {device}"))
}

const ON_DEVICE: [&str; 3] = ["--device=cuda", "--decode-threads=1", "--cache-size=1GiB"];

/// The environment of a mount with the fake device.
fn environment(library: &Path, faults: &str, counters: &Path) -> Vec<(&'static str, OsString)> {
    libcuda::environment(library, faults, counters)
}

#[test]
fn a_device_shares_the_work_and_whatever_it_does_every_byte_is_right() {
    let test = "a_device_shares_the_work_and_whatever_it_does_every_byte_is_right";
    if !can_mount(test) {
        return;
    }
    let Some(library) = libcuda::library(test) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = long_series(dir.path());
    let cases = [
        "",
        "alloc:1+",
        "alloc:7",
        "pinned:1+",
        "register:1+",
        "register_ro:1+",
        "launch:1",
        "launch:3+",
        "lost:1",
        "lost:4",
        "die:2",
        "hang:3",
        "zeros:1",
        "zeros:1+",
        "wrong:1+",
        "no_device",
        "old",
    ];
    let (mut on_device, mut faults) = (0, 0);
    for case in cases {
        let counters = dir
            .path()
            .join(format!("counters-{}", case.replace([':', '+'], "-")));
        let mount = Mount::with(
            dir.path(),
            &ON_DEVICE,
            environment(&library, case, &counters),
        );
        let state = wait_settled(&mount);
        for series in &all {
            check(&mount, series);
        }
        let device = device(&mount);
        assert!(mount.is_mounted() && mount.worker().is_some(), "{case}");
        let is_there = !matches!(case, "no_device" | "old");
        assert_eq!(is_there, state.starts_with("ready"), "{case}: {state}");
        // Without a fault the comparisons find nothing.
        if case.is_empty() {
            assert_eq!(count(&device, "mismatches"), 0, "{device}");
            assert!(count(&device, "frames") > 0, "{device}");
        }
        if is_there {
            let counted = Counters::read(&counters);
            assert!(
                counted.launches + counted.registrations > 0,
                "{case}: {counted:?}"
            );
        }
        on_device += count(&device, "frames");
        faults += count(&device, "faults")
            + count(&device, "mismatches")
            + count(&device, "frames_failed");
        println!("{case:>12}: {device}");
    }
    println!(
        "{} mounts: {on_device} frames by the device, {faults} faults noticed",
        cases.len()
    );
    assert!(on_device > 0 && faults > 0);
}

/// Series of two frames each.
fn small_series(dir: &Path, count: usize) -> Vec<Series> {
    let series = |n| {
        let uid = format!("2.25.73.{}", n + 1);
        let mut series = Series::mr(&uid, uids::RLE_LOSSLESS, [2, 512, 512]);
        // No two alike, so that bytes of one in the place of another are seen.
        let shift = n as i16;
        series.stored.iter_mut().for_each(|value| *value += shift);
        series.write(&dir.join(&uid)).expect("files written");
        series
    };
    (0..count).map(series).collect()
}

#[test]
fn series_of_two_frames_that_are_read_at_once_share_batches() {
    let test = "series_of_two_frames_that_are_read_at_once_share_batches";
    if !can_mount(test) {
        return;
    }
    let Some(library) = libcuda::library(test) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = small_series(dir.path(), 128);
    for case in ["", "wrong:1+", "lost:2"] {
        // Whether readers ever wait for a worker is a matter of speeds; mostly they do at once.
        let device = (0..5)
            .map(|_| read_at_once(dir.path(), &library, case, &all))
            .find(|device| count(device, "batches") + count(device, "faults") > 0)
            .unwrap_or_else(|| panic!("{case}: the device was never asked"));
        let (batches, frames) = (count(&device, "batches"), count(&device, "frames"));
        match case {
            "" => {
                assert_eq!(count(&device, "mismatches"), 0, "{device}");
                assert!(frames >= 2 * batches && batches > 0, "{device}");
            }
            "wrong:1+" => {
                // Both lanes may find out; what is shown was compared itself.
                assert!(count(&device, "mismatches") > 0, "{device}");
                assert!(frames < count(&device, "frames_compared"), "{device}");
            }
            _ => assert!(count(&device, "faults") > 0, "{device}"),
        }
    }
}

/// Mounts series with the fake device, has many readers read all of them, and compares: what the
/// device has done.
fn read_at_once(dir: &Path, library: &Path, faults: &str, all: &[Series]) -> Value {
    let counters = dir.join(format!("counters-{}", faults.replace([':', '+'], "-")));
    let mount = Mount::with(dir, &ON_DEVICE, environment(library, faults, &counters));
    let state = wait_settled(&mount);
    assert!(state.starts_with("ready"), "{faults}: {state}");
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                while let Some(series) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(&mount, series);
                }
            });
        }
    });
    assert!(mount.is_mounted() && mount.worker().is_some(), "{faults}");
    let device = device(&mount);
    println!("{faults:>12}: {device}");
    device
}

#[test]
fn jpeg_2000_of_a_real_series_is_decoded_by_the_device() {
    let test = "jpeg_2000_of_a_real_series_is_decoded_by_the_device";
    let (true, Some(data)) = (can_mount(test), common::data_dir(test)) else {
        return;
    };
    let (Some(library), Some(frames)) = (libcuda::library(test), frames::all(test)) else {
        return;
    };
    let fake = match Fake::new() {
        Ok(fake) => fake,
        Err(why) => return skip(test, &why, "DICOMFS_REQUIRE_CLIENTS"),
    };
    for frame in &frames {
        // What the CPU does not decode stays without an answer.
        let _ = fake.answer(&frame.uid, &frame.image, &frame.encoded);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let volumes = |mount: &Mount| {
        let series = fs::read_dir(mount.root.join("series")).expect("series");
        let mut volumes: Vec<(String, Vec<u8>)> = series
            .map(|entry| entry.expect("an entry"))
            .filter_map(|entry| {
                let bytes = fs::read(entry.path().join("volume.npy")).ok()?;
                Some((entry.file_name().to_string_lossy().into_owned(), bytes))
            })
            .collect();
        volumes.sort();
        volumes
    };
    let plain = volumes(&Mount::of(&data, &["--device=cpu"]));
    // A device that is wrong is so from the start: what it does once in a thousand frames nobody sees.
    for faults in ["", "wrong:0", "skip:0", "decode:9,internal:60"] {
        fake.faults(faults);
        let both = std::env::join_paths([&library, fake.dir()]).expect("paths");
        let mut variables = environment(&library, "", &dir.path().join("counters"));
        variables.retain(|(name, _)| *name != "LD_LIBRARY_PATH");
        variables.push(("LD_LIBRARY_PATH", both));
        let mount = Mount::with(&data, &ON_DEVICE, variables);
        wait_settled(&mount);
        let with_device = volumes(&mount);
        assert_eq!(plain.len(), with_device.len(), "{faults}");
        for ((name, expected), (also, found)) in plain.iter().zip(&with_device) {
            assert!(name == also && expected == found, "{faults}: {name}");
        }
        let device = device(&mount);
        assert!(count(&device, "frames") > 0, "{faults}: {device}");
        println!("{faults:>24}: {device}");
    }
}

#[test]
fn jpeg_is_decoded_by_the_device_only_where_it_need_not_be_exact() {
    let test = "jpeg_is_decoded_by_the_device_only_where_it_need_not_be_exact";
    let (true, Some(data)) = (can_mount(test), common::data_dir(test)) else {
        return;
    };
    let Some(library) = libcuda::library(test) else {
        return;
    };
    let fake = match nvjpeg::Fake::new() {
        Ok(fake) => fake,
        Err(why) => return skip(test, &why, "DICOMFS_REQUIRE_CLIENTS"),
    };
    let name = "single/multiframe/jpeg8bit.dcm";
    let all = frames::of(test, &[CodecFamily::JpegDct]).expect("the data set");
    let ours: Vec<_> = all.iter().filter(|f| f.name.starts_with(name)).collect();
    for frame in &ours {
        let answered = fake.answer(&frame.uid, &frame.image, &frame.encoded);
        assert_eq!(answered, Ok(()), "{}", frame.name);
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    fs::copy(data.join(name), archive.path().join("a.dcm")).expect("copied");
    let read = |mount: &Mount| {
        let mut series = fs::read_dir(mount.root.join("series")).expect("series");
        let only = series.next().expect("a volume").expect("an entry").path();
        fs::read(only.join("volume.npy")).expect("read")
    };
    let plain = read(&Mount::of(archive.path(), &["--device=cpu"]));
    let counters = archive.path().join("counters");
    let mount = |exact: &str, faults: &str| {
        fake.faults(faults);
        let both = std::env::join_paths([&library, fake.dir()]).expect("paths");
        let mut variables = environment(&library, "", &counters);
        variables.retain(|(name, _)| *name != "LD_LIBRARY_PATH");
        variables.push(("LD_LIBRARY_PATH", both));
        let flags = [&ON_DEVICE[..], &[exact]].concat();
        let mount = Mount::with(archive.path(), &flags, variables);
        wait_settled(&mount);
        let bytes = read(&mount);
        assert_eq!(bytes.len(), plain.len());
        (bytes, device(&mount))
    };
    let (bytes, of_device) = mount("--exact=on", "");
    assert!(
        bytes == plain && count(&of_device, "frames") == 0,
        "{of_device}"
    );
    let (bytes, of_device) = mount("--exact=off", "");
    assert!(
        bytes == plain && count(&of_device, "frames") > 0,
        "{of_device}"
    );
    println!("{of_device}");
    // Another rounding is no mismatch: each sample is one off, where the device made it.
    let (bytes, of_device) = mount("--exact=off", "near:0");
    let steps = bytes.iter().zip(&plain).map(|(a, b)| a.abs_diff(*b));
    assert!(bytes != plain && steps.max() == Some(1), "{of_device}");
    assert_eq!(count(&of_device, "mismatches"), 0, "{of_device}");
    for faults in ["wrong:0", "zero:0"] {
        let (bytes, of_device) = mount("--exact=off", faults);
        assert!(bytes == plain, "{faults}");
        assert!(count(&of_device, "mismatches") > 0, "{faults}: {of_device}");
    }
}
