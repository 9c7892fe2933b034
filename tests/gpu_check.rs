//! `examples/gpu_check` on the fake device: all frames equal and everything measured; and a device
//! that is wrong is named, and the program fails.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::skip;
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use fake_gpu::libcuda;

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
    let (example, library) = (example(test)?, libcuda::library(test)?);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (pictures, data) = pictures(dir.path());
    let document = dir.path().join("results.md");
    let counters = dir.path().join("counters");
    let output = Command::new(example)
        .args([&pictures, &data])
        .arg("--quick")
        .arg("--program")
        .arg(env!("CARGO_BIN_EXE_dicomfs"))
        .arg("--out")
        .arg(&document)
        .envs(libcuda::environment(&library, faults, &counters))
        .output()
        .expect("it runs");
    let text = fs::read_to_string(document).unwrap_or_default();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Some((output, text))
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
        line.starts_with("- different: IM00001 frame 1, 1.2.840.10008.1.2.5, stored: 1 of 6144")
    };
    assert!(text.lines().any(is_named), "{text}");
    assert!(text.contains("Nothing was measured"), "{text}");
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
