//! The examples, run as their first lines say.

mod common;
#[path = "clients/venv.rs"]
mod venv;

use std::path::Path;
use std::process::Command;

use common::{Mount, can_mount};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;

const SHAPE: [usize; 3] = [24, 48, 40];

/// Runs an example over an archive of two series: what it printed.
fn run(test: &str, name: &str) -> Option<String> {
    if !can_mount(test) {
        return None;
    }
    let python = venv::python(test)?;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = [
        Series::ct("2.25.91", uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE),
        Series::mr("2.25.92", uids::RLE_LOSSLESS, SHAPE),
    ];
    for series in &all {
        let at = dir.path().join(&series.uid);
        series.write(&at).expect("files written");
    }
    let mount = Mount::of(dir.path(), &[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(root.join("examples").join(name))
        .arg(mount.series("").parent().expect("the mount"))
        .env("PYTHONPATH", root.join("tests/clients/stand_ins"))
        .output()
        .expect("Python runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {printed}{errors}");
    Some(printed)
}

fn has(printed: Option<String>, expected: &[&str]) {
    let Some(printed) = printed else { return };
    for words in expected {
        assert!(printed.contains(words), "no {words:?} in {printed}");
    }
}

#[test]
fn numpy() {
    let expected = ["2 volumes", "CT (24, 48, 40) int16", "MR (24, 48, 40)"];
    has(run("numpy", "01_numpy.py"), &expected);
}

#[test]
fn torch() {
    let expected = ["(2, 16, 16, 16) torch.float32", "2 volumes"];
    has(run("torch", "02_torch.py"), &expected);
}

#[test]
fn monai() {
    has(run("monai", "03_monai.py"), &["CT 24x48x40 -> (1, "]);
}

/// With a stand-in for Slicer, which reads by ITK as Slicer does.
#[test]
fn slicer() {
    let expected = ["2.25.91 (40, 48, 24)", "2.25.92 (40, 48, 24)"];
    has(run("slicer", "04_slicer.py"), &expected);
}

#[test]
fn duckdb() {
    has(run("duckdb", "05_duckdb.py"), &["modality", "CT", "MR"]);
}

#[test]
fn zarr_dask() {
    let expected = ["CT (24, 48, 40) (1, 48, 40) maximum"];
    has(run("zarr_dask", "06_zarr_dask.py"), &expected);
}
