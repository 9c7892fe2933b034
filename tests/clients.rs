//! The programs people use, over every volume: the same numbers at the same places, or a refusal that
//! is the program's own limit.

mod common;
#[path = "clients/venv.rs"]
mod venv;

use std::path::Path;

use common::can_mount;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::open_file;
use dicomfs::cli::demo::synthetic::Series;

#[test]
fn every_client_sees_the_same_numbers() {
    venv::run_over_data("every_client_sees_the_same_numbers", "check.py");
}

/// What the real files have none of: an even tilt, more columns than NIfTI-1 can count, and one bad
/// slice among good ones.
#[test]
fn every_client_sees_the_same_numbers_of_phantoms() {
    const NAME: &str = "every_client_sees_the_same_numbers_of_phantoms";
    if !can_mount(NAME) {
        return;
    }
    let Some(python) = venv::python(NAME) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let native = uids::EXPLICIT_VR_LITTLE_ENDIAN;
    let tilted = Series::ct("2.25.83", native, [7, 40, 30]);
    let all = [
        Series::ct("2.25.81", native, [24, 96, 80]),
        Series::mr("2.25.82", uids::RLE_LOSSLESS, [24, 96, 80]),
        tilted.clone(),
        Series::ct("2.25.84", native, [3, 2, 40_000]),
        Series::mr("2.25.85", uids::RLE_LOSSLESS, [7, 64, 64]),
    ];
    let mut files = Vec::new();
    for series in &all {
        let written = series.write(&dir.path().join(&series.uid));
        files = written.expect("files written");
    }
    cut_short(&files[3]);
    tilt(&dir.path().join(&tilted.uid), 0.8);
    venv::run_over(&python, dir.path(), "check.py");
}

/// Takes the end of the Pixel Data away.
fn cut_short(path: &Path) {
    let bytes = std::fs::read(path).expect("a file just written");
    std::fs::write(path, &bytes[..bytes.len() - 500]).expect("written back");
}

/// Moves every slice of a series along y in proportion to z: what a tilted gantry gives.
fn tilt(dir: &Path, y_per_z: f64) {
    for entry in std::fs::read_dir(dir).expect("the series") {
        let path = entry.expect("an entry").path();
        let mut file = open_file(&path).expect("a file just written");
        let position = file
            .element(tags::IMAGE_POSITION_PATIENT)
            .expect("a position")
            .to_multi_float64()
            .expect("numbers");
        let [x, y, z] = position[..] else {
            panic!("{position:?}")
        };
        let moved = format!("{x}\\{}\\{z}", y + y_per_z * z);
        file.put(DataElement::new(
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            PrimitiveValue::from(moved),
        ));
        file.write_to_file(&path).expect("written back");
    }
}

#[test]
fn the_readme_names_the_tested_versions() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |name: &str| std::fs::read_to_string(format!("{root}/{name}")).expect("a text");
    let requirements = read("tests/clients/requirements.txt");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = words(&read("README.md")).to_lowercase();
    // The clients come first, up to an empty line; the rest is what they import.
    let clients = requirements.lines().take_while(|line| !line.is_empty());
    let clients: Vec<_> = clients.filter_map(|line| line.split_once("==")).collect();
    assert!(clients.len() >= 10, "{clients:?}");
    for (name, version) in clients {
        let named = format!("{} {version}", name.to_lowercase());
        assert!(readme.contains(&named), "README.md does not say {named}");
    }
}
