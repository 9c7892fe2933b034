//! `examples/gpu_check` on the fake device: all frames equal and everything measured; and a device
//! that is wrong is named, and the program fails.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;
#[path = "gpu_jpeg2k/frames.rs"]
mod frames;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::skip;
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::decode::gpu::{Show, plan};
use fake_gpu::libcuda;
use fake_gpu::nvjpeg2k::Fake;

/// The example that cargo builds with the tests; else the skip has been printed.
fn example(test: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().expect("a path");
    let target = own.ancestors().nth(2).expect("a target directory");
    let example = target.join("examples/gpu_check");
    if !example.is_file() {
        let why = "target/*/examples/gpu_check is not built (cargo build --examples)";
        skip(test, why, "DICOMFS_REQUIRE_CLIENTS");
        return None;
    }
    Some(example)
}

/// Pictures in RLE, and more data: native, of both signs and byte orders.
fn pictures(root: &Path) -> (PathBuf, PathBuf) {
    let (pictures, data) = (root.join("pictures"), root.join("data"));
    let rle = Series::ct("2.25.74.1", uids::RLE_LOSSLESS, [4, 64, 48]);
    rle.write(&pictures).expect("files written");
    for (number, syntax) in [uids::EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"]
        .into_iter()
        .enumerate()
    {
        let series = Series::mr(&format!("2.25.74.2.{number}"), syntax, [3, 24, 16]);
        let dir = data.join(number.to_string());
        series.write(&dir).expect("files written");
    }
    fs::write(data.join("notes.txt"), "not DICOM").expect("written");
    (pictures, data)
}

/// Runs it on the fake device with faults: what it said, and its document.
fn run(test: &str, faults: &str) -> Option<(Output, String)> {
    run_with(test, faults, false)
}

/// The same; with `once` only one process of all has a fault, and only one.
fn run_with(test: &str, faults: &str, once: bool) -> Option<(Output, String)> {
    let (example, library) = (example(test)?, libcuda::library(test)?);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (pictures, data) = pictures(dir.path());
    let mut variables = libcuda::environment(&library, faults, &dir.path().join("counters"));
    if once {
        variables.push(("FAKE_CUDA_ONCE", dir.path().join("once").into()));
    }
    Some(run_on(&example, &[&pictures, &data], variables))
}

fn run_on(
    example: &Path,
    roots: &[&Path],
    variables: Vec<(&'static str, OsString)>,
) -> (Output, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let document = dir.path().join("results.md");
    let output = Command::new(example)
        .args(roots)
        .arg("--quick")
        .arg("--program")
        .arg(env!("CARGO_BIN_EXE_dicomfs"))
        .arg("--out")
        .arg(&document)
        .envs(variables)
        .output()
        .expect("it runs");
    let text = fs::read_to_string(document).unwrap_or_default();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn a_device_that_is_right_is_compared_and_measured() {
    let Some((output, text)) = run("a_device_that_is_right_is_compared_and_measured", "") else {
        return;
    };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // RLE as stored; native as stored, with an offset and with a slope.
    let frames = 4 + 2 * 3 * 3;
    let all = format!("All {frames} frames that were compared are equal.");
    assert!(text.contains(&all), "{text}");
    for words in [
        "| 1.2.840.10008.1.2.5 | stored | 4 | 0 | 0 | 0 |  |",
        "| 1.2.840.10008.1.2.2 | linear | 3 | 0 | 0 | 0 |  |",
        "10 files with frames, 1 others",
        "| rle | 48 x 64 x 16 | 1 |",
        "| native | 48 x 64 x 16 | 40 |",
        "JPEG 2000, mammography: at least 8x of all cores: not measured",
        "Never below 1.0x with the device:",
    ] {
        assert!(text.contains(words), "no {words:?}: {text}");
    }
    match dicomfs::mount::probe().way() {
        Ok(_) => assert!(text.contains("### Through mounts") && !text.contains("**different**")),
        Err(why) => assert!(text.contains(&format!("Nothing was mounted: {why}"))),
    }
}

#[test]
fn a_device_that_is_wrong_is_named() {
    let Some((output, text)) = run("a_device_that_is_wrong_is_named", "wrong:1+") else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("frames differ**"), "{text}");
    let is_named = |line: &str| {
        line.starts_with("- different: IM000")
            && line.contains(" frame 1, 1.2.840.10008.1.2.5, stored: 1 of 6144 bytes differ")
    };
    assert!(text.lines().any(is_named), "{text}");
    // What is right is measured all the same: of what is wrong nothing is.
    let reason = "- not measured: rle, 48 x 64 x 16, 40 frames: its frames differ";
    assert!(text.contains(reason), "{text}");
    assert!(!text.contains("| rle | 48 x 64 x 16 |"), "{text}");
}

/// One that is lost with a batch: the frames are compared one by one, by the next process.
#[test]
fn a_device_that_is_lost_once_is_named_and_measured() {
    let test = "a_device_that_is_lost_once_is_named_and_measured";
    let Some((output, text)) = run_with(test, "lost:3", true) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for words in [
        "**The device's process was lost once.**",
        "- the device's process was lost, with 22 frames: ",
        "All 22 frames that were compared are equal.",
        "| rle | 48 x 64 x 16 | 40 |",
    ] {
        assert!(text.contains(words), "no {words:?}: {text}");
    }
    assert!(!text.contains("Not finished"), "{text}");
}

/// Whoever has to end it has what it has found until then.
#[test]
fn what_was_found_is_written_while_it_works() {
    let test = "what_was_found_is_written_while_it_works";
    let (Some(example), Some(library)) = (example(test), libcuda::library(test)) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (pictures, data) = pictures(dir.path());
    let document = dir.path().join("results.md");
    // The first batch never ends.
    let variables = libcuda::environment(&library, "hang:1+", &dir.path().join("counters"));
    let mut child = Command::new(example)
        .args([&pictures, &data])
        .arg("--program")
        .arg(env!("CARGO_BIN_EXE_dicomfs"))
        .arg("--out")
        .arg(&document)
        .envs(variables)
        .spawn()
        .expect("it runs");
    let text = || fs::read_to_string(&document).unwrap_or_default();
    common::wait_until("a document", || text().contains("### Every frame"));
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
    let text = text();
    assert!(text.starts_with("## Results: "), "{text}");
    assert!(text.contains("**Not finished:"), "{text}");
}

#[test]
fn a_machine_without_a_device_is_told_why() {
    let test = "a_machine_without_a_device_is_told_why";
    let Some((output, text)) = run(test, "no_device") else {
        return;
    };
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("gpu_check: ") && text.is_empty(), "{said}");
}

/// Decoded bytes of a frame that is small enough to be measured quickly.
const SMALL_BYTES: usize = 150_000;

#[test]
fn jpeg_2000_is_compared_and_measured() {
    let test = "jpeg_2000_is_compared_and_measured";
    let (Some(data), Some(example)) = (common::data_dir(test), example(test)) else {
        return;
    };
    let (Some(library), Some(frames)) = (libcuda::library(test), frames::all(test)) else {
        return;
    };
    let fake = match Fake::new() {
        Ok(fake) => fake,
        Err(why) => return skip(test, &why, "DICOMFS_REQUIRE_CLIENTS"),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    for (number, frame) in frames.iter().enumerate() {
        let is_small = frame.image.frame_len_bytes() <= Some(SMALL_BYTES);
        let planned = |exact| {
            plan(
                &frame.uid,
                &frame.image,
                &Show::Stored,
                &frame.encoded,
                exact,
            )
        };
        let name = frame.name.strip_suffix(" 1").unwrap_or_default();
        let is_wanted = frame.image.number_of_frames == 1 && is_small && planned(false).is_ok();
        if is_wanted
            && fake
                .answer(&frame.uid, &frame.image, &frame.encoded)
                .is_ok()
        {
            fs::copy(data.join(name), dir.path().join(format!("{number}.dcm"))).expect("copied");
            count += 1;
        }
    }
    let mut variables = libcuda::environment(&library, "", &fake.dir().join("counters"));
    let both = std::env::join_paths([&library, fake.dir()]).expect("paths");
    variables.retain(|(name, _)| *name != "LD_LIBRARY_PATH");
    variables.push(("LD_LIBRARY_PATH", both));
    let (output, text) = run_on(&example, &[dir.path()], variables);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let words = format!("All {count} frames that were compared are equal.");
    assert!(count > 2 && text.contains(&words), "{words}: {text}");
    assert!(
        text.contains("| jpeg 2000 | ") || text.contains("| htj2k | "),
        "{text}"
    );
}
