//! What goes into one volume, what does not, and what the volumes are called.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, HeaderIssue, Photometric, Value};
use crate::volume::{Status, Volume};

type Change = fn(&mut Record);

const SAGITTAL: [f64; 6] = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];

/// Three plain slices and two changed ones.
fn three_and_two(change: Change) -> Vec<Volume> {
    let mut records: Vec<Record> = (1..=3).map(|n| slice(n, n as f64)).collect();
    records.extend((4..=5).map(|n| slice_with(n, n as f64, change)));
    volumes(records)
}

#[test]
fn what_differs_is_another_volume() {
    let cases: [Change; 10] = [
        |r| r.instance.study_instance_uid = "1.9".into(),
        |r| image(r).rows = 5,
        |r| image(r).columns = 5,
        |r| image(r).signed = true,
        |r| (image(r).bits_allocated, image(r).bits_stored) = (32, 32),
        |r| image(r).photometric = Photometric::Monochrome1,
        |r| r.instance.shared.image_orientation = Some([1.0, 0.0, 0.0, 0.0, -1.0, 0.0]),
        |r| r.instance.shared.pixel_spacing = Some([0.5, 0.76]),
        |r| r.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.7".into(),
        |r| r.instance.shared.modality_lut_descriptor = Some([4096, 0, 8]),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let volumes = three_and_two(change);
        assert_eq!(outline(&volumes), [("", 3), ("_o2", 2)], "case {index}");
        for volume in &volumes {
            check(volume, Status::Ok, &["split_from"]);
        }
        let details = [0, 1].map(|v: usize| volumes[v].findings[0].detail.as_str());
        assert_eq!(
            details,
            [
                "series 1.2.3 is 2 volumes; the others: 1.2.3_o2",
                "series 1.2.3 is 2 volumes; the others: 1.2.3"
            ]
        );
    }
}

#[test]
fn what_hardly_differs_is_not() {
    let cases: [(Change, &[&str]); 7] = [
        (|_| {}, &[]),
        (|r| image(r).bits_stored = 16, &[]),
        (
            |r| r.instance.shared.image_orientation = Some([1.0, 0.0002, 0.0, -0.0002, 1.0, 0.0]),
            &[],
        ),
        (
            |r| r.instance.shared.pixel_spacing = Some([0.50001, 0.75]),
            &[],
        ),
        (|r| r.instance.transfer_syntax_uid = JPEG_2000.into(), &[]),
        // Echo and phase only part what lies at the same place, or is MR.
        (|r| r.instance.shared.echo_number = Some(2), &[]),
        (
            |r| r.instance.frame_of_reference_uid = "1.9".into(),
            &["mixed_frame_of_reference"],
        ),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let volumes = three_and_two(change);
        assert_eq!(outline(&volumes), [("", 5)], "case {index}");
        assert_eq!(codes(&volumes[0]), expected);
    }
}

#[test]
fn the_first_has_most_frames_then_the_lowest_number() {
    let localizer = |n: i64, orientation| {
        slice_with(n, n as f64, |record| {
            record.instance.shared.image_orientation = Some(orientation);
            record.instance.shared.image_position = Some([n as f64, n as f64, n as f64]);
        })
    };
    let coronal = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0];
    let records = vec![
        localizer(5, SAGITTAL),
        localizer(6, SAGITTAL),
        localizer(3, AXIAL),
        localizer(4, AXIAL),
        localizer(1, coronal),
    ];
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 2), ("_o2", 2), ("_o3", 1)]);
    assert_eq!(numbers(&volumes[0]), [3, 4]);
    // The normal of this sagittal plane points to -x.
    assert_eq!(numbers(&volumes[1]), [6, 5]);
    assert_eq!(numbers(&volumes[2]), [1]);
}

#[test]
fn images_without_geometry_stand_alone() {
    let mut records: Vec<Record> = (1..=3).map(|n| slice(n, n as f64)).collect();
    records.extend((4..=5).map(|n| {
        slice_with(n, 0.0, |record| {
            record.instance.shared.image_position = None
        })
    }));
    records.push(slice_with(6, 0.0, |record| {
        record.instance.shared.image_orientation = Some(SAGITTAL);
    }));
    records.push(slice_with(7, 0.0, |record| {
        image(record).number_of_frames = 2;
        image(record).rows = 9;
    }));
    let volumes = volumes(records);
    assert_eq!(
        outline(&volumes),
        [("", 3), ("_i2", 2), ("_i3", 1), ("_i4", 1), ("_o2", 1)]
    );
    assert_eq!(numbers(&volumes[2]), [4]);
    assert_eq!(
        (volumes[2].axes.as_str(), volumes[2].shape.as_slice()),
        ("zyx", &[1, 4, 6][..])
    );
    check(&volumes[2], Status::Warn, &["no_geometry", "split_from"]);
    assert_eq!(volumes[1].axes, "fyx");
}

/// Two MR slices at each of two heights, told apart by `change` of the second pair.
fn pairs(change: impl Fn(&mut FrameAttributes)) -> Vec<Volume> {
    let records = (1..=4).map(|n| {
        slice_with(n, ((n - 1) % 2) as f64, |record| {
            record.instance.modality = "MR".into();
            record.instance.shared.echo_time_ms = Some(10.0);
            record.instance.shared.image_type =
                ["ORIGINAL", "PRIMARY", "M"].map(Into::into).to_vec();
            if n > 2 {
                change(&mut record.instance.shared);
            }
        })
    });
    volumes(records.collect())
}

#[test]
fn contrasts() {
    let image_type = |terms: &[&str]| {
        terms
            .iter()
            .map(|term| (*term).to_owned())
            .collect::<Vec<_>>()
    };
    type Case<'a> = (&'a dyn Fn(&mut FrameAttributes), &'a str);
    let cases: [Case<'_>; 8] = [
        (&|a| a.echo_time_ms = Some(20.0), "_e2"),
        (&|a| a.echo_number = Some(2), "_e2"),
        (
            &|a| a.image_type = image_type(&["ORIGINAL", "PRIMARY", "P", "ND"]),
            "_ph",
        ),
        (
            &|a| a.image_type = image_type(&["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]),
            "_ph",
        ),
        (
            &|a| a.image_type = image_type(&["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"]),
            "_real",
        ),
        (
            &|a| a.image_type = image_type(&["DERIVED", "PRIMARY", "IMAGINARY"]),
            "_imaginary",
        ),
        (&|a| a.complex_image_component = Some("PHASE".into()), "_ph"),
        // Less than a microsecond is rounding: then nothing tells the frames apart.
        (&|a| a.echo_time_ms = Some(10.0001), "_a2"),
    ];
    for (index, (change, suffix)) in cases.into_iter().enumerate() {
        let volumes = pairs(change);
        if index == 1 {
            // An echo number on one half only tells them apart as well.
            assert_eq!(numbers(&volumes[0]), [1, 2]);
        }
        assert_eq!(outline(&volumes), [("", 2), (suffix, 2)], "case {index}");
        assert_eq!(numbers(&volumes[1]), [3, 4]);
        let expected = if suffix == "_a2" {
            Status::Bad
        } else {
            Status::Ok
        };
        assert_eq!(volumes[0].status, expected);
    }
}

#[test]
fn magnitude_comes_first_among_equals() {
    let records = (1..=4).map(|n| {
        slice_with(n, ((n - 1) % 2) as f64, |record| {
            record.instance.modality = "MR".into();
            let part = if n <= 2 { "PHASE" } else { "MAGNITUDE" };
            record.instance.shared.complex_image_component = Some(part.into());
        })
    });
    let volumes = volumes(records.collect());
    assert_eq!(outline(&volumes), [("", 2), ("_ph", 2)]);
    assert_eq!(numbers(&volumes[0]), [3, 4]);
}

#[test]
fn copies_are_dropped_once() {
    let mut records: Vec<Record> = (1..=3).map(|n| slice(n, n as f64)).collect();
    let mut copy = records[1].clone();
    copy.path = "z/copy.dcm".into();
    records.insert(0, copy);
    let built = build_of(records);
    assert_eq!(outline(&built.volumes), [("", 3)]);
    check(&built.volumes[0], Status::Warn, &["duplicate_instance"]);
    assert_eq!(
        built.volumes[0].findings[0].detail,
        "z/copy.dcm is a copy of s/0002.dcm: left out"
    );
    assert_eq!(built.findings.len(), 1);
    assert_eq!(built.findings[0].0.to_str(), Some("z/copy.dcm"));
    assert_eq!(built.findings[0].1.code, "duplicate_instance");
}

#[test]
fn versions_are_kept_apart() {
    let versions: [Change; 5] = [
        |r| r.instance.transfer_syntax_uid = JPEG_2000.into(),
        |r| (image(r).bits_allocated, image(r).bits_stored) = (8, 8),
        |r| image(r).bits_stored = 10,
        |r| r.instance.shared.rescale_slope = Some(2.0),
        |r| r.instance.shared.image_position = Some([0.0; 3]),
    ];
    for (index, change) in versions.into_iter().enumerate() {
        let mut records: Vec<Record> = (1..=3).map(|n| slice(n, n as f64)).collect();
        for n in 1..=2 {
            let mut version = slice_with(n, n as f64, change);
            // Before the others by path: the more common encoding wins all the same.
            version.path = format!("a/{n}.dcm").into();
            records.push(version);
        }
        let volumes = volumes(records);
        // Of one encoding, the first by path wins; the last case's lie at one place then.
        let expected: &[(&str, usize)] = match index {
            4 => &[("", 2), ("_a2", 1), ("_i2", 2)],
            _ => &[("", 3), ("_i2", 2)],
        };
        assert_eq!(outline(&volumes), expected, "case {index}");
        let noted = |volume: &&Volume| codes(volume).contains(&"duplicate_instance");
        assert!(volumes.iter().filter(noted).count() >= 2, "case {index}");
        let last = volumes.last().unwrap();
        assert_eq!(
            last.records[0].path.starts_with("a"),
            index < 3,
            "case {index}"
        );
    }
}

#[test]
fn instances_without_uids() {
    let anonymous = |n: i64, sop: &str| {
        slice_with(n, n as f64, |record| {
            record.instance.series_instance_uid = String::new();
            record.instance.sop_instance_uid = sop.into();
        })
    };
    let volumes = volumes(vec![
        anonymous(1, "1.1"),
        anonymous(2, "1.2"),
        anonymous(3, ""),
    ]);
    assert_eq!(volumes.len(), 3);
    for volume in &volumes {
        assert!(volume.name.starts_with("no-series-"), "{}", volume.name);
        assert_eq!(codes(volume)[0], "no_series_uid");
        assert_eq!(volume.status, Status::Warn);
    }
    // Without SOP Instance UIDs there are no duplicates to be found.
    let nameless = |n| slice_with(n, n as f64, |r| r.instance.sop_instance_uid.clear());
    assert_eq!(only(vec![nameless(1), nameless(2)]).frames.len(), 2);
}

#[test]
fn what_is_no_image_is_reported() {
    let cases: [(Change, &[&str]); 4] = [
        (
            |r| (r.instance.image, r.instance.pixel_data) = (None, None),
            &["not_an_image"],
        ),
        (|r| r.instance.image = None, &["malformed_header"]),
        (|r| r.instance.pixel_data = None, &["no_pixel_data"]),
        (
            |r| {
                r.instance.pixel_data = None;
                r.instance.issues.push(HeaderIssue {
                    code: "malformed_attribute".into(),
                    keyword: "Rows".into(),
                    detail: "cut short".into(),
                });
            },
            &["no_pixel_data", "malformed_attribute"],
        ),
    ];
    for (change, expected) in cases {
        let mut record = slice(1, 0.0);
        change(&mut record);
        let built = build_of(vec![record]);
        assert!(built.volumes.is_empty());
        let found: Vec<_> = built.findings.iter().map(|f| f.1.code).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_headers_and_transfer_syntaxes_say() {
    let cases: [(Change, Status, &[&str]); 6] = [
        (
            |r| r.instance.transfer_syntax_uid = "1.2.840.10008.1.2.4.50".into(),
            Status::Ok,
            &["lossy"],
        ),
        (
            |r| {
                let value = Value::Text("01".into());
                r.instance
                    .attributes
                    .insert("LossyImageCompression", &value)
                    .expect("known");
            },
            Status::Ok,
            &["lossy"],
        ),
        (
            |r| {
                let value = Value::Text("00".into());
                r.instance
                    .attributes
                    .insert("LossyImageCompression", &value)
                    .expect("known");
            },
            Status::Ok,
            &[],
        ),
        (
            |r| r.instance.transfer_syntax_uid = "1.2.840.10008.1.2.4.102".into(),
            Status::Bad,
            &["lossy", "unsupported_transfer_syntax"],
        ),
        (
            |r| {
                r.instance.issues.push(HeaderIssue {
                    code: "transfer_syntax_assumed".into(),
                    keyword: String::new(),
                    detail: "implicit VR".into(),
                });
            },
            Status::Warn,
            &["transfer_syntax_assumed"],
        ),
        (
            |r| {
                for _ in 0..2 {
                    r.instance.issues.push(HeaderIssue {
                        code: "a code of tomorrow".into(),
                        keyword: "Modality".into(),
                        detail: "odd".into(),
                    });
                }
            },
            Status::Warn,
            &["header_issue"],
        ),
    ];
    for (change, status, expected) in cases {
        check(
            &only(vec![slice_with(1, 0.0, change), slice_with(2, 1.0, change)]),
            status,
            expected,
        );
    }
}

#[test]
fn names_of_series_never_meet() {
    let of = |series: &str, n| {
        slice_with(n, n as f64, |record| {
            record.instance.series_instance_uid = series.into()
        })
    };
    let mut turned = of("1.2", 3);
    turned.instance.shared.image_orientation = Some(SAGITTAL);
    let volumes = volumes(vec![of("1.2", 1), turned, of("1.2_o2", 4), of("../x", 5)]);
    assert_eq!(names(&volumes), ["%2E.%2Fx", "1.2", "1.2_o2", "1.2%5Fo2"]);
}
