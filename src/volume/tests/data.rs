//! Real files: every one becomes frames or a finding, and known series become what they are.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fixture::codes;
use crate::archive::{Record, SourceIdentity};
use crate::dicom::{Header, read_header};
use crate::volume::{Built, Status, Volume, build};

fn data_directory() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    std::env::var_os("DICOMFS_DATA").map_or(beside, PathBuf::from)
}

/// The headers of all DICOM files under a folder; empty where it is absent.
fn records_under(folder: &str) -> Vec<Arc<Record>> {
    let root = data_directory().join(folder);
    let files = walkdir::WalkDir::new(&root).into_iter().flatten();
    let records = files
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let file = File::open(entry.path()).ok()?;
            let size_bytes = file.metadata().ok()?.len();
            let Ok(Header::Instance(instance)) = read_header(&file, size_bytes) else {
                return None;
            };
            Some(Arc::new(Record {
                path: entry.path().strip_prefix(&root).ok()?.to_path_buf(),
                inside: None,
                identity: SourceIdentity {
                    size_bytes,
                    mtime_ns: 0,
                    inode: 0,
                },
                instance: *instance,
            }))
        });
    let records: Vec<_> = records.collect();
    if records.is_empty() {
        println!("left out: there are no files under {}", root.display());
    }
    records
}

/// A line a volume, for people who run this with --nocapture.
fn describe(volume: &Volume) -> String {
    let spacing = volume.geometry.as_ref().map(|g| g.spacing_mm);
    format!(
        "{} {} {:?} {} {:?} {:?} {:?} {:?}",
        volume.name,
        volume.axes,
        volume.shape,
        volume.values.dtype.descr(),
        volume.values.transform,
        spacing,
        volume.status,
        volume.findings
    )
}

#[test]
fn every_file_is_frames_or_a_finding() {
    let records = records_under("");
    let Built {
        volumes, findings, ..
    } = build(&records);
    let in_volumes = volumes.iter().flat_map(|volume| &volume.records);
    let shown: BTreeSet<&PathBuf> = in_volumes.map(|record| &record.path).collect();
    let reported: BTreeSet<&PathBuf> = findings.iter().map(|finding| &finding.0).collect();
    assert!(shown.is_disjoint(&reported));
    assert_eq!(shown.len() + reported.len(), records.len());
    for volume in &volumes {
        println!("{}", describe(volume));
    }
    for (path, finding) in &findings {
        println!("{}: {} {}", path.display(), finding.code, finding.detail);
    }
}

/// Shape, dtype, spacing, verdict and codes of a volume.
type Expected = (
    &'static [u64],
    &'static str,
    Option<[f64; 3]>,
    Status,
    &'static [&'static str],
);
/// Folders that hold one volume each.
const KNOWN: [(&str, Expected); 8] = [
    (
        "ct_8bit_150",
        (&[150, 150, 150], "|u1", Some([0.313; 3]), Status::Ok, &[]),
    ),
    (
        "ct_missing_slice_4",
        (
            &[4, 512, 512],
            "<i2",
            Some([5.0, 0.429688, 0.429688]),
            Status::Warn,
            &["missing_slices"],
        ),
    ),
    (
        "ct_ge_tilt_varspacing_10",
        (
            &[10, 512, 512],
            "<i2",
            None,
            Status::Bad,
            &["gantry_tilt", "uneven_spacing"],
        ),
    ),
    (
        "mr_ge_4d_15x10",
        (
            &[10, 15, 64, 64],
            "<i2",
            Some([5.0, 3.75, 3.75]),
            Status::Warn,
            &["assumed_time_axis"],
        ),
    ),
    (
        "mr_4slices_compressed_j2k",
        (&[4, 256, 256], "<u2", Some([1.0; 3]), Status::Ok, &[]),
    ),
    (
        "mr_siemens_mosaic_2",
        (
            &[2, 5, 72, 72],
            "<u2",
            Some([12.0, 3.0, 3.0]),
            Status::Ok,
            &["time_axis"],
        ),
    ),
    (
        "mr_siemens_xa30_enhanced_phase_33f",
        (
            &[33, 64, 64],
            "<f4",
            Some([3.4, 3.375, 3.375]),
            Status::Ok,
            &[],
        ),
    ),
    (
        "mr_t1_96_j2k_multifrag",
        (&[96, 128, 128], "<u2", Some([2.0; 3]), Status::Ok, &[]),
    ),
];

#[test]
fn known_series() {
    for (folder, (shape, dtype, spacing_mm, status, expected)) in KNOWN {
        let records = records_under(&format!("volumes/{folder}/dicom"));
        if records.is_empty() {
            continue;
        }
        let Built {
            volumes, findings, ..
        } = build(&records);
        let lines: Vec<String> = volumes.iter().map(describe).collect();
        assert_eq!(
            (volumes.len(), findings.len()),
            (1, 0),
            "{folder}: {lines:#?}"
        );
        let volume = &volumes[0];
        assert_eq!(volume.shape, shape, "{folder}");
        assert_eq!(volume.values.dtype.descr(), dtype, "{folder}");
        assert_eq!(
            (volume.status, codes(volume)),
            (status, expected.to_vec()),
            "{lines:#?}"
        );
        let actual = volume.geometry.as_ref().map(|geometry| geometry.spacing_mm);
        assert_eq!(actual.is_some(), spacing_mm.is_some(), "{folder}");
        for (actual, expected) in actual.iter().flatten().zip(spacing_mm.iter().flatten()) {
            assert!((actual - expected).abs() < 1e-4, "{folder}: {actual} mm");
        }
    }
}

/// Philips puts magnitude and field map into one enhanced instance, each with a rescale of its own.
#[test]
fn a_field_map_is_beside_its_magnitude() {
    let records = records_under("volumes/mr_philips_enhanced_fieldmap_64f/dicom");
    let Built { volumes, .. } = build(&records);
    let Some(first) = volumes.first() else {
        return;
    };
    let second = format!("{}_real", first.name);
    assert_eq!(
        volumes.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(),
        [first.name.as_str(), second.as_str()]
    );
    for (volume, (start, intercept)) in volumes.iter().zip([(0, 0.0), (32, -500.0)]) {
        assert_eq!(volume.shape, [32, 64, 64]);
        assert_eq!(
            (volume.status, codes(volume)),
            (Status::Ok, vec!["split_from"])
        );
        for (z, frame) in (start..).zip(&volume.frames) {
            assert_eq!(frame.stored.map(|stored| stored.frame_index), Some(z));
            assert_eq!(frame.intercept, intercept);
        }
    }
}
