//! Sidecars of volumes made in code.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::archive::Record;
use crate::dicom::{Instance, Mosaic};
use crate::format::preview::tests::volume as plain;
use crate::volume::{Dtype, Tile};

type Change = fn(&mut Instance, usize);

/// The sidecar of a volume of `times` times two slices, one file each, changed by `change` with
/// their places; without what every sidecar has.
fn sidecar_of(times: u64, change: Change) -> Json {
    let (axes, shape): (_, &[u64]) = match times {
        1 => ("zyx", &[2, 64, 80]),
        _ => ("tzyx", &[times, 2, 64, 80]),
    };
    let mut volume = plain(axes, shape, Dtype::I16, None);
    let record = |place: usize| {
        let mut record: Record = volume.records[0].as_ref().clone();
        change(&mut record.instance, place);
        Arc::new(record)
    };
    volume.records = (0..volume.frames.len()).map(record).collect();
    for (place, frame) in volume.frames.iter_mut().enumerate() {
        let stored = frame.stored.as_mut().unwrap();
        let mosaic = volume.records[place].instance.mosaic.as_ref();
        (stored.record, stored.frame_index) = (place, 0);
        stored.tile = mosaic
            .filter(|m| m.tiles > 1)
            .map(|_| Tile { row: 0, column: 0 });
    }
    volume.slice_times_s = match times {
        3 => vec![0.0, 1.25],
        _ => Vec::new(),
    };
    let mut sidecar = sidecar(&volume);
    assert_eq!(sidecar.remove("ConversionSoftware"), Some(json!("dicomfs")));
    assert!(sidecar.remove("ConversionSoftwareVersion").is_some());
    json!(sidecar)
}

fn set(instance: &mut Instance, values: &[(&str, Value)]) {
    for (keyword, value) in values {
        instance.attributes.insert(keyword, value).unwrap();
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn attributes_by_their_keys() {
    let got = sidecar_of(1, |instance, _| {
        set(
            instance,
            &[
                ("Manufacturer", text("SIEMENS")),
                ("ManufacturerModelName", text("Skyra")),
                (
                    "SoftwareVersions",
                    Value::Texts(vec!["5.3.0".into(), "5.3.0.3".into()]),
                ),
                ("BodyPartExamined", text("BRAIN")),
                ("InstitutionName", text("left out")),
                ("PatientName", text("left^out")),
                ("ImageType", text("ORIGINAL")),
                ("SeriesNumber", Value::Int(0)),
                ("RepetitionTime", Value::Float(2435.37)),
                ("ScanOptions", text("")),
                ("EchoTrainLength", Value::Int(0)),
                ("PixelBandwidth", Value::Int(2315)),
                ("SAR", Value::Float(f64::NAN)),
                ("MagneticFieldStrength", Value::Floats(vec![1.5, 3.0])),
                ("ExposureTime", Value::Int(800)),
                ("Exposure", Value::Int(6)),
                ("FlipAngle", Value::Int(75)),
                ("AcquisitionTime", text("122458.1025")),
            ],
        );
    });
    let expected = json!({
        "Manufacturer": "SIEMENS", "ManufacturersModelName": "Skyra",
        "SoftwareVersions": "5.3.0\\5.3.0.3", "BodyPart": "BRAIN", "ImageType": ["ORIGINAL"],
        "SeriesNumber": 0, "RepetitionTime": 2.43537, "PixelBandwidth": 2315.0,
        "ExposureTime": 0.8, "XRayExposure": 6.0, "FlipAngle": 75.0,
        "AcquisitionTime": "12:24:58.102500"
    });
    assert_eq!(got, expected);
}

#[test]
fn keywords_that_no_header_is_read_for_are_none_and_no_panic() {
    for keyword in KEYS.iter().flat_map(|(_, keywords, _)| *keywords) {
        assert_eq!(
            Instance::default().attributes.get(keyword),
            None,
            "{keyword}"
        );
    }
    assert_eq!(Instance::default().attributes.get("NoSuchKeyword"), None);
}

#[test]
fn only_what_all_files_say_and_the_first_time() {
    let got = sidecar_of(1, |instance, place| {
        let number = place as f64;
        set(
            instance,
            &[
                ("ProtocolName", text("same")),
                ("SeriesDescription", text(["one", "other"][place])),
                ("RepetitionTime", Value::Float(1000.0 + number)),
                ("AcquisitionTime", text(["101112", "101113"][place])),
                ("EchoTime", Value::Float(30.0)),
            ],
        );
        if place == 0 {
            set(instance, &[("KVP", Value::Int(120))]);
            instance.shared.flip_angle_deg = Some(9.0);
        }
        instance.shared.echo_time_ms = Some(30.0);
        instance.shared.slice_thickness = Some(1.0 + number);
        instance.shared.inversion_time_ms = Some(0.0);
        instance.shared.acquisition_number = Some(4);
    });
    let expected = json!({
        "ProtocolName": "same", "AcquisitionTime": "10:11:12.000000", "EchoTime": 0.03,
        "AcquisitionNumber": 4
    });
    assert_eq!(got, expected);
    // What the frame says counts before what its file says.
    let got = sidecar_of(1, |instance, place| {
        instance.shared.echo_time_ms = Some(1.0 + place as f64);
        instance.per_frame = vec![FrameAttributes {
            echo_time_ms: Some(1.52),
            ..FrameAttributes::default()
        }];
        set(
            instance,
            &[("AcquisitionDateTime", text("20180526152509.02+0100"))],
        );
    });
    assert_eq!(
        got,
        json!({"EchoTime": 0.00152, "AcquisitionTime": "15:25:09.020000"})
    );
}

#[test]
fn phase_encoding_is_along_the_axes_of_the_array() {
    fn mosaic(instance: &mut Instance, term: &str, positive: Option<bool>) {
        set(instance, &[("InPlanePhaseEncodingDirection", text(term))]);
        instance.mosaic = Some(Mosaic {
            tiles: 2,
            phase_encoding_positive: positive,
            ..Mosaic::default()
        });
    }
    let cases: [(Change, Json); 8] = [
        (|i, _| mosaic(i, "COL", Some(true)), json!(["COL", "j"])),
        (
            |i, _| mosaic(i, "COLUMN", Some(false)),
            json!(["COL", "j-"]),
        ),
        (|i, _| mosaic(i, "ROW", Some(true)), json!(["ROW", "i"])),
        (|i, _| mosaic(i, "ROW", Some(false)), json!(["ROW", "i-"])),
        (|i, _| mosaic(i, "ROW", None), json!(["ROW", null])),
        (|i, n| mosaic(i, "ROW", Some(n == 0)), json!(["ROW", null])),
        (
            |i, n| mosaic(i, "ROW", (n == 0).then_some(true)),
            json!(["ROW", null]),
        ),
        (|i, _| mosaic(i, "OTHER", Some(true)), json!([null, null])),
    ];
    for (n, (change, expected)) in cases.into_iter().enumerate() {
        let got = sidecar_of(2, change);
        let keys = [
            "InPlanePhaseEncodingDirectionDICOM",
            "PhaseEncodingDirection",
        ];
        assert_eq!(json!(keys.map(|key| &got[key])), expected, "case {n}");
    }
}

#[test]
fn readout_times_need_the_bandwidth_and_the_lines() {
    fn mosaic(instance: &mut Instance, term: &str, tiles: u32, bandwidth: f64) {
        set(instance, &[("InPlanePhaseEncodingDirection", text(term))]);
        instance.mosaic = Some(Mosaic {
            tiles,
            bandwidth_per_pixel_phase_encode_hz: Some(bandwidth),
            ..Mosaic::default()
        });
    }
    let cases: [(Change, Option<f64>); 5] = [
        (|i, _| mosaic(i, "COL", 2, 31.25), Some(64.0)),
        (|i, _| mosaic(i, "ROW", 2, 31.25), Some(80.0)),
        (|i, _| mosaic(i, "COL", 2, 0.0), None),
        (|i, _| mosaic(i, "COL", 2, -3.0), None),
        // Tiles that were not cut.
        (|i, _| mosaic(i, "COL", 1, 31.25), None),
    ];
    for (n, (change, lines)) in cases.into_iter().enumerate() {
        let got = sidecar_of(3, change);
        let spacing = lines.map(|lines| 1.0 / (31.25 * lines));
        assert_eq!(got["EffectiveEchoSpacing"].as_f64(), spacing, "case {n}");
        let readout = spacing
            .zip(lines)
            .map(|(spacing, lines)| spacing * (lines - 1.0));
        assert_eq!(got["TotalReadoutTime"].as_f64(), readout, "case {n}");
        assert_eq!(got["SliceTiming"], json!([0.0, 1.25]));
    }
}

#[test]
fn all_of_k_space_is_a_fraction_of_one() {
    let fraction = |term: &str| {
        let shared = [("PartialFourier", text(term))].into();
        let mut sidecar = Sidecar::new();
        mr::add(
            &plain("zyx", &[2, 4, 4], Dtype::I16, None),
            &shared,
            &mut sidecar,
        );
        sidecar.remove("PartialFourier")
    };
    assert_eq!(fraction("NO"), Some(json!(1)));
    assert_eq!(fraction("YES"), None);
}

#[test]
fn doses_and_frame_times_of_pet() {
    fn pet(instance: &mut Instance, modality: &str, start_ms: f64, duration_ms: i64) {
        instance.modality = modality.to_owned();
        instance.shared.acquisition_time_ms = Some(start_ms);
        set(
            instance,
            &[
                ("RadionuclideTotalDose", Value::Float(370e6)),
                ("DecayCorrection", text("START")),
                ("ActualFrameDuration", Value::Int(duration_ms)),
            ],
        );
    }
    // 10:00:00 and half a second.
    const START: f64 = 36_000_500.0;
    let keys = [
        "InjectedRadioactivity",
        "InjectedRadioactivityUnits",
        "ImageDecayCorrected",
        "TimeZero",
        "FrameTimesStart",
        "FrameDuration",
    ];
    let cases: [(u64, Change, Json); 6] = [
        (
            2,
            |i, n| {
                pet(
                    i,
                    "PT",
                    START + 5250.0 * (n / 2) as f64,
                    5250 + 1000 * (n / 2) as i64,
                )
            },
            json!([
                370e6,
                "Bq",
                true,
                "10:00:00.500000",
                [0.0, 5.25],
                [5.25, 6.25]
            ]),
        ),
        (
            1,
            |i, _| pet(i, "PT", 7_200_000.0, 1000),
            json!([370e6, "Bq", true, "02:00:00", [0.0], [1.0]]),
        ),
        // Two beds.
        (
            1,
            |i, n| pet(i, "PT", START + n as f64, 1000),
            json!([370e6, "Bq", true, null, null, [1.0]]),
        ),
        // Past midnight.
        (
            2,
            |i, n| pet(i, "PT", if n < 2 { 86_399_000.0 } else { 0.0 }, 1000),
            json!([370e6, "Bq", true, null, null, [1.0, 1.0]]),
        ),
        (
            2,
            |i, _| pet(i, "NM", START, 1),
            json!([370e6, "MBq", true, null, null, null]),
        ),
        (
            2,
            |i, _| pet(i, "MR", START, 1),
            json!([null, null, null, null, null, null]),
        ),
    ];
    for (n, (times, change, expected)) in cases.into_iter().enumerate() {
        let got = sidecar_of(times, change);
        assert_eq!(json!(keys.map(|key| &got[key])), expected, "case {n}");
    }
}

#[test]
fn times_as_they_are_written() {
    for (tm, expected) in [
        ("122458.1025", Some("12:24:58.102500")),
        ("122458", Some("12:24:58.000000")),
        ("12:24:58.5", Some("12:24:58.500000")),
        ("1224", Some("12:24:00.000000")),
        ("12", Some("12:00:00.000000")),
        ("235960", Some("23:59:60.000000")),
        ("240000", None),
        ("126000", None),
        ("", None),
        ("12245", None),
        ("12a458", None),
        ("122458.1234567", None),
    ] {
        assert_eq!(time::time_of_day(tm).as_deref(), expected, "{tm}");
    }
    for (ms, expected) in [
        (0.0, Some("00:00:00.000000")),
        (86_399_999.9, Some("23:59:59.999900")),
        (86_400_000.0 * 15_000.0 + 1500.0, Some("00:00:01.500000")),
        (f64::NAN, None),
    ] {
        assert_eq!(time::clock(ms).as_deref(), expected, "{ms}");
    }
    for (ms, expected) in [
        (2435.37, Some(2.43537)),
        (50.0, Some(0.05)),
        (f64::INFINITY, None),
    ] {
        assert_eq!(time::seconds(ms), expected);
    }
}
