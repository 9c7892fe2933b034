//! An archive of the synthetic patient's, and room for what belongs to a mount of it.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::common::program;
use crate::patient::{self, SECRET};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// Slices of the patient's only series.
pub const SLICES: usize = 5;

/// An archive of the patient's, whose paths name the patient too; and room for what belongs to a mount.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new(transfer_syntax: &str) -> Place {
        let place = Place {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        let study = place.archive().join(format!("{SECRET}-study"));
        patient::write(&study, SLICES, transfer_syntax);
        // A copy, a file that is cut short, and a report: findings of files in no volume.
        let copy = place.archive().join(format!("{SECRET}-copies"));
        fs::create_dir(&copy).expect("a directory");
        let first = fs::read(study.join(format!("{SECRET}-1.dcm"))).expect("a file");
        fs::write(copy.join(format!("{SECRET}-copy.dcm")), &first).expect("written");
        fs::write(copy.join(format!("{SECRET}-cut.dcm")), &first[..200]).expect("written");
        let mut report = patient::dataset(77);
        report.put_str(
            tags::SERIES_INSTANCE_UID,
            dicom_core::VR::UI,
            patient::uid(2001),
        );
        let report = patient::file(report, EXPLICIT);
        fs::write(copy.join(format!("{SECRET}-report.dcm")), report).expect("written");
        place
    }

    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn key(&self, name: &str) -> PathBuf {
        let key = self.path(name);
        if !key.exists() {
            let made = program().args(["generate", "deid-key"]).arg(&key).status();
            assert!(made.expect("dicomfs runs").success());
        }
        key
    }

    pub fn deid(&self, key: &str) -> String {
        format!("deid=basic,deid_key={}", self.key(key).display())
    }
}

pub fn json(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// The directory of the only volume.
pub fn volume(root: &Path) -> PathBuf {
    let mut all: Vec<_> = fs::read_dir(root.join("series")).expect("series").collect();
    assert_eq!(all.len(), 1);
    all.remove(0).expect("an entry").path()
}
