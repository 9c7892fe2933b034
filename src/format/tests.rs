//! The texts, of volumes built from headers made in code.

mod nifti;
mod texts;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{json, table};
use crate::archive::{Record, SourceIdentity};
use crate::dicom::{
    Attributes, FrameAttributes, ImagePixel, Instance, Photometric, PixelDataLocation,
    PixelElement, Segment, Value,
};
use crate::volume::{Dtype, Finding, Geometry, Steps, Transform, ValueKind, Volume, build};

/// A frame of grey in 16 bits, not all of which need be used.
pub(super) fn grey(rows: u32, columns: u32, bits_stored: u16) -> ImagePixel {
    ImagePixel {
        rows,
        columns,
        number_of_frames: 1,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: 16,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: false,
        element: PixelElement::PixelData,
    }
}

/// A CT slice with a name that must not leave `volume.json`.
fn slice(number: i64, transfer_syntax: &str) -> Arc<Record> {
    let attributes = [
        ("PatientName", Value::Text("Doe^Jane".into())),
        ("KVP", Value::Float(120.0)),
        ("EchoTime", Value::Float(f64::NAN)),
        ("WindowCenter", Value::Floats(vec![1.5, f64::INFINITY])),
        ("SeriesNumber", Value::Int(3)),
        ("AcquisitionMatrix", Value::Ints(vec![1, 2])),
        (
            "ImageType",
            Value::Texts(vec!["ORIGINAL".into(), "\"A\"".into()]),
        ),
    ];
    let mut shown = Attributes::default();
    for (keyword, value) in attributes {
        shown.insert(keyword, &value).unwrap();
    }
    Arc::new(Record {
        path: PathBuf::from(format!("d/{number}.dcm")),
        inside: None,
        identity: SourceIdentity {
            size_bytes: 2048,
            mtime_ns: 0,
            inode: 0,
        },
        instance: Instance {
            sop_instance_uid: format!("1.2.3.{number}"),
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".into(),
            study_instance_uid: "1.2".into(),
            series_instance_uid: "1.2.3".into(),
            transfer_syntax_uid: transfer_syntax.into(),
            modality: "CT".into(),
            image: Some(grey(4, 6, 12)),
            pixel_data: Some(PixelDataLocation {
                offset_bytes: 1000,
                length_bytes: Some(48),
                extended_offset_table: None,
            }),
            shared: FrameAttributes {
                image_position: Some([-10.0, -20.0, number as f64 * 2.0]),
                image_orientation: Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
                pixel_spacing: Some([0.5, 0.75]),
                rescale_slope: Some(1.0),
                rescale_intercept: Some(-1024.0),
                ..FrameAttributes::default()
            },
            attributes: shown,
            ..Instance::default()
        },
    })
}

const NATIVE: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";

fn volume(transfer_syntaxes: [&str; 2]) -> Volume {
    let [first, second] = transfer_syntaxes;
    let mut built = build(&[slice(2, second), slice(1, first)]);
    assert_eq!(built.volumes.len(), 1);
    built.volumes.remove(0)
}

/// A volume of these axes and lengths, along the axes of the patient where it has `z`.
fn array(axes: &str, shape: &[u64], dtype: Dtype) -> Volume {
    let mut volume = volume([NATIVE, NATIVE]);
    volume.axes = axes.to_owned();
    volume.shape = shape.to_vec();
    volume.values.dtype = dtype;
    volume.values.transform = Transform::Identity;
    if axes.ends_with('c') {
        volume.values.kind = ValueKind::Rgb;
    }
    let leading = &shape[..axes.find('y').unwrap()];
    let count = leading.iter().product::<u64>() as usize;
    volume.frames = vec![volume.frames[0].clone(); count];
    volume
}

/// A time axis of steps of 2.5 s.
fn in_time() -> Option<Steps> {
    Some(Steps {
        keyword: "TriggerTime",
        values: vec![0.0, 2500.0],
        interval_s: Some(2.5),
    })
}

/// Slices 2 mm apart along the normal and 0.5 mm aside: a tilted gantry.
fn sheared() -> Option<Geometry> {
    Some(Geometry {
        affine_lps: [
            [0.75, 0.0, 0.0, -10.1],
            [0.0, 0.5, 0.5, -20.0],
            [0.0, 0.0, 2.0, 1.0 / 3.0],
            [0.0, 0.0, 0.0, 1.0],
        ],
        spacing_mm: [4.25_f64.sqrt(), 0.5, 0.75],
    })
}

#[test]
fn volume_json_says_it_all() {
    let bytes = json::volume_json(&volume([NATIVE, NATIVE])).unwrap();
    let document: Json = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        document,
        json!({
            "format": 1,
            "name": "1.2.3",
            "study_instance_uid": "1.2",
            "series_instance_uid": "1.2.3",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "modality": "CT",
            "shape": [2, 4, 6],
            "axes": "zyx",
            "dtype": "<i2",
            "stored_dtype": "<u2",
            "variants": {
                "f16": { "dtype": "<f2", "cast": "rounds half to even, saturates" },
                "f32": { "dtype": "<f4", "cast": "rounds half to even, saturates" },
                "i16": { "dtype": "<i2", "cast": "rounds half to even, saturates" },
                "i32": { "dtype": "<i4", "cast": "rounds half to even, saturates" },
                "stored": { "dtype": "<u2" },
            },
            "spacing_mm": [2.0, 0.5, 0.75],
            "affine_lps": [
                [0.75, 0.0, 0.0, -10.0], [0.0, 0.5, 0.0, -20.0], [0.0, 0.0, 2.0, 2.0],
                [0.0, 0.0, 0.0, 1.0]
            ],
            "affine_ras": [
                [-0.75, 0.0, 0.0, 10.0], [0.0, -0.5, 0.0, 20.0], [0.0, 0.0, 2.0, 2.0],
                [0.0, 0.0, 0.0, 1.0]
            ],
            "status": "ok",
            "findings": [],
            "values": {"kind": "modality", "units": "HU"},
            "photometric_interpretation": "MONOCHROME2",
            "frames": [
                {"file": "d/1.dcm", "frame_number": 1, "sop_instance_uid": "1.2.3.1",
                 "position_lps_mm": [-10.0, -20.0, 2.0], "slope": 1.0, "intercept": -1024.0},
                {"file": "d/2.dcm", "frame_number": 1, "sop_instance_uid": "1.2.3.2",
                 "position_lps_mm": [-10.0, -20.0, 4.0], "slope": 1.0, "intercept": -1024.0}
            ],
            "transfer_syntax": NATIVE,
            "bids": {
                "ImageType": ["ORIGINAL", "\"A\""], "KVP": 120.0, "SeriesNumber": 3,
                "ConversionSoftware": "dicomfs",
                "ConversionSoftwareVersion": env!("CARGO_PKG_VERSION")
            },
            "decoders": {},
            "dicom": {
                "PatientName": "Doe^Jane", "KVP": 120.0, "EchoTime": null,
                "WindowCenter": [1.5, null], "SeriesNumber": 3, "AcquisitionMatrix": [1, 2],
                "ImageType": ["ORIGINAL", "\"A\""]
            }
        })
    );
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("}\n") && !text.contains("-0.0"), "{text}");
    // The order of keys is part of the format.
    let keys = [
        "\"format\"",
        "\"shape\"",
        "\"axes\"",
        "\"dtype\"",
        "\"spacing_mm\"",
    ];
    let places: Vec<_> = keys.iter().map(|key| text.find(key).unwrap()).collect();
    assert!(places.is_sorted());
}

#[test]
fn what_some_volumes_have_is_there_only_for_them() {
    let mut volume = volume([NATIVE, NATIVE]);
    volume.steps = Some(Steps {
        keyword: "TriggerTime",
        values: vec![0.0, 40.5],
        interval_s: Some(0.0405),
    });
    volume.segments = vec![Segment {
        number: 7,
        label: "Liver".into(),
        ..Segment::default()
    }];
    let mut second = volume.records[1].as_ref().clone();
    second.instance.shared.total_matrix_position = Some([513, 257]);
    volume.records[1] = Arc::new(second);
    let document: Json = serde_json::from_slice(&json::volume_json(&volume).unwrap()).unwrap();
    let length = json::volume_json_len_bytes(&volume).unwrap();
    assert_eq!(length, json::volume_json(&volume).unwrap().len() as u64);
    let t = json!({"attribute": "TriggerTime", "values": [0.0, 40.5], "interval_s": 0.0405});
    assert_eq!(document["t"], t);
    assert_eq!(document["segments"][0]["label"], "Liver");
    assert_eq!(document["frames"][1]["matrix_position"], json!([256, 512]));
    assert_eq!(document["frames"][0].get("matrix_position"), None);
    assert_eq!(document.get("total_pixel_matrix"), None);
}

#[test]
fn several_transfer_syntaxes_are_a_list() {
    let bytes = json::volume_json(&volume([RLE, NATIVE])).unwrap();
    let document: Json = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document["transfer_syntax"], json!([NATIVE, RLE]));
}

#[test]
fn what_is_unknown_is_null() {
    let mut record = slice(1, NATIVE).as_ref().clone();
    record.instance.shared = FrameAttributes::default();
    record.instance.image.as_mut().unwrap().photometric = Photometric::Other("ODD".into());
    let volume = build(&[Arc::new(record)]).volumes.remove(0);
    let document: Json = serde_json::from_slice(&json::volume_json(&volume).unwrap()).unwrap();
    for key in ["spacing_mm", "affine_lps", "affine_ras"] {
        assert_eq!(document[key], Json::Null, "{key}");
    }
    assert_eq!(document["frames"][0]["position_lps_mm"], Json::Null);
    assert_eq!(document["values"], json!({"kind": "stored", "units": null}));
    assert_eq!(document["photometric_interpretation"], "ODD");
    assert_eq!(document["status"], "warn");
    assert_eq!(document["findings"][0]["code"], "no_geometry");
}

#[test]
fn index_has_a_row_a_volume_and_no_patient() {
    let volume = volume([RLE, NATIVE]);
    let text = [
        table::csv_header().unwrap(),
        table::csv_row(&volume).unwrap(),
    ];
    let text = String::from_utf8(text.concat()).unwrap();
    assert_eq!(
        text,
        "path,series_instance_uid,study_instance_uid,modality,shape,axes,dtype,spacing_mm,status,\
         findings,bytes,frames,transfer_syntax\n\
         series/1.2.3,1.2.3,1.2,CT,2x4x6,zyx,<i2,2x0.5x0.75,ok,,96,2,\
         1.2.840.10008.1.2.1 1.2.840.10008.1.2.5\n"
    );
    let lines = String::from_utf8(table::jsonl_row(&volume).unwrap()).unwrap();
    let row: Json = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!(
        row,
        json!({
            "path": "series/1.2.3", "series_instance_uid": "1.2.3", "study_instance_uid": "1.2",
            "modality": "CT", "shape": [2, 4, 6], "axes": "zyx", "dtype": "<i2",
            "spacing_mm": [2.0, 0.5, 0.75], "status": "ok", "findings": [], "bytes": 96,
            "frames": 2, "transfer_syntax": [NATIVE, RLE]
        })
    );
    assert!(!text.contains("Doe") && !lines.contains("Doe"));
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn findings_name_volume_or_file() {
    let mut volume = volume([NATIVE, NATIVE]);
    volume.findings.push(Finding {
        code: "lossy",
        detail: "a \"quoted\"\nline".into(),
    });
    let lines = [
        table::volume_findings(&volume).unwrap(),
        table::file_finding_line("a/b".as_ref(), "not_an_image", "x").unwrap(),
    ];
    assert_eq!(
        String::from_utf8(lines.concat()).unwrap(),
        "{\"volume\":\"series/1.2.3\",\"code\":\"lossy\",\"detail\":\"a \\\"quoted\\\"\\nline\"}\n\
         {\"file\":\"a/b\",\"code\":\"not_an_image\",\"detail\":\"x\"}\n"
    );
}
