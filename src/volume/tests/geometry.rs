//! Order, spacing, affine and the verdict on them.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::FrameAttributes;
use crate::volume::{Geometry, Status};

fn close(actual: &Geometry, expected: [[f64; 4]; 3]) {
    for (line, expected) in actual.affine_lps.iter().zip(expected) {
        for (value, expected) in line.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{actual:?}");
        }
    }
    assert_eq!(actual.affine_lps[3], [0.0, 0.0, 0.0, 1.0]);
}

fn stack(heights: &[f64]) -> Vec<Record> {
    heights
        .iter()
        .zip(1..)
        .map(|(z, number)| slice(number, *z))
        .collect()
}

#[test]
fn z_ascends_whatever_the_numbers_and_names() {
    let volume = only(stack(&[30.0, 10.0, 20.0, 0.0]));
    check(&volume, Status::Ok, &[]);
    assert_eq!(numbers(&volume), [4, 2, 3, 1]);
    assert_eq!(
        (volume.shape.as_slice(), volume.axes.as_str()),
        (&[4, 4, 6][..], "zyx")
    );
    let geometry = volume.geometry.unwrap();
    assert_eq!(geometry.spacing_mm, [10.0, 0.5, 0.75]);
    assert_eq!(
        geometry.affine_lps,
        [
            [0.75, 0.0, 0.0, -10.0],
            [0.0, 0.5, 0.0, -20.0],
            [0.0, 0.0, 10.0, 0.0],
            [0.0, 0.0, 0.0, 1.0]
        ]
    );
    assert_eq!(
        geometry.affine_ras(),
        [
            [-0.75, 0.0, 0.0, 10.0],
            [0.0, -0.5, 0.0, 20.0],
            [0.0, 0.0, 10.0, 0.0],
            [0.0, 0.0, 0.0, 1.0]
        ]
    );
    let zero = geometry.affine_ras()[0][1];
    assert!(zero.is_sign_positive(), "no -0 in print");
}

/// Slices at `origin + index * step`, of one orientation.
fn oriented(orientation: [f64; 6], origin: [f64; 3], step: [f64; 3], count: i64) -> Vec<Record> {
    (0..count)
        .map(|index| {
            slice_with(index + 1, 0.0, |record| {
                let at = |axis: usize| origin[axis] + step[axis] * index as f64;
                record.instance.shared.image_orientation = Some(orientation);
                record.instance.shared.image_position = Some([at(0), at(1), at(2)]);
            })
        })
        .collect()
}

#[test]
fn planes() {
    let (c, s) = (0.3_f64.cos(), 0.3_f64.sin());
    // Name, orientation, step of the files, columns x, y, z of the affine, whether z is reversed.
    let sagittal = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
    let coronal = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0];
    let oblique = [c, s, 0.0, -s, c, 0.0];
    let tipped = [1.0, 0.0, 0.0, 0.0, c, s];
    for (orientation, step, x, y, reversed) in [
        (
            sagittal,
            [-3.0, 0.0, 0.0],
            [0.0, 0.75, 0.0],
            [0.0, 0.0, -0.5],
            false,
        ),
        (
            sagittal,
            [3.0, 0.0, 0.0],
            [0.0, 0.75, 0.0],
            [0.0, 0.0, -0.5],
            true,
        ),
        (
            coronal,
            [0.0, 3.0, 0.0],
            [0.75, 0.0, 0.0],
            [0.0, 0.0, -0.5],
            false,
        ),
        (
            oblique,
            [0.0, 0.0, 3.0],
            [0.75 * c, 0.75 * s, 0.0],
            [-0.5 * s, 0.5 * c, 0.0],
            false,
        ),
        (
            tipped,
            [0.0, -3.0 * s, 3.0 * c],
            [0.75, 0.0, 0.0],
            [0.0, 0.5 * c, 0.5 * s],
            false,
        ),
    ] {
        let volume = only(oriented(orientation, [5.0, 6.0, 7.0], step, 5));
        check(&volume, Status::Ok, &[]);
        let expected = if reversed {
            [5, 4, 3, 2, 1]
        } else {
            [1, 2, 3, 4, 5]
        };
        assert_eq!(numbers(&volume), expected);
        let sign = if reversed { -1.0 } else { 1.0 };
        let start = if reversed { 4.0 } else { 0.0 };
        let line = |axis: usize| {
            let origin = [5.0, 6.0, 7.0][axis] + start * step[axis];
            [x[axis], y[axis], sign * step[axis], origin]
        };
        let geometry = volume.geometry.unwrap();
        close(&geometry, [line(0), line(1), line(2)]);
        assert!((geometry.spacing_mm[0] - 3.0).abs() < 1e-9);
    }
}

#[test]
fn tilt_is_shear_in_the_affine() {
    // A tilted gantry: the table moves along z, the planes are tipped by 0.3 rad.
    let (c, s) = (0.3_f64.cos(), 0.3_f64.sin());
    let volume = only(oriented(
        [1.0, 0.0, 0.0, 0.0, c, s],
        [0.0; 3],
        [0.0, 0.0, 3.0],
        20,
    ));
    check(&volume, Status::Warn, &["gantry_tilt"]);
    assert!(
        volume.findings[0].detail.contains("17.189 degrees"),
        "{:?}",
        volume.findings
    );
    close(
        &volume.geometry.unwrap(),
        [
            [0.75, 0.0, 0.0, 0.0],
            [0.0, 0.5 * c, 0.0, 0.0],
            [0.0, 0.5 * s, 3.0, 0.0],
        ],
    );
}

#[test]
fn evenness() {
    // Heights, verdict, code, step along z where there is an affine.
    let cases: [(&[f64], Status, &[&str], Option<f64>); 9] = [
        (&[0.0, 2.0, 4.0, 6.0], Status::Ok, &[], Some(2.0)),
        // Rounding of positions to 0.01 mm.
        (&[0.0, 0.67, 1.33, 2.0], Status::Ok, &[], Some(2.0 / 3.0)),
        (
            &[0.0, 2.0, 4.0, 8.0, 10.0],
            Status::Warn,
            &["missing_slices"],
            Some(2.0),
        ),
        (
            &[0.0, 2.0, 12.0, 14.0, 16.0],
            Status::Warn,
            &["missing_slices"],
            Some(2.0),
        ),
        (
            &[0.0, 2.0, 6.0],
            Status::Warn,
            &["missing_slices"],
            Some(2.0),
        ),
        (
            &[0.0, 4.0, 8.0, 10.0],
            Status::Warn,
            &["missing_slices"],
            Some(2.0),
        ),
        (
            &[0.0, 2.1, 4.0, 6.0],
            Status::Warn,
            &["uneven_spacing"],
            Some(2.0),
        ),
        (
            &[0.0, 2.0, 5.0, 6.0],
            Status::Bad,
            &["uneven_spacing"],
            None,
        ),
        (
            &[0.0, 1.0, 3.5, 4.5, 5.5, 6.5],
            Status::Bad,
            &["uneven_spacing"],
            None,
        ),
    ];
    for (heights, status, expected, step) in cases {
        let volume = only(stack(heights));
        check(&volume, status, expected);
        assert_eq!(
            volume.shape[0],
            heights.len() as u64,
            "a gap is never filled"
        );
        let actual = volume.geometry.map(|geometry| geometry.affine_lps[2][2]);
        match (actual, step) {
            (Some(actual), Some(step)) => assert!((actual - step).abs() < 1e-9, "{heights:?}"),
            (actual, step) => assert_eq!(actual, step, "{heights:?}"),
        }
    }
}

#[test]
fn gaps_are_counted_and_named() {
    let volume = only(stack(&[0.0, 2.0, 8.0, 10.0, 14.0]));
    let detail = &volume.findings[0].detail;
    assert!(
        detail.starts_with("3 slices of a 2.0000 mm spacing"),
        "{detail}"
    );
    assert!(
        detail.ends_with("2 between z 1 and 2, 1 between z 3 and 4"),
        "{detail}"
    );
}

#[test]
fn slices_off_a_line_have_no_affine() {
    let mut records = stack(&[0.0, 1.0, 2.0, 3.0]);
    records[1].instance.shared.image_position = Some([-9.0, -20.0, 1.0]);
    let volume = only(records);
    check(&volume, Status::Bad, &["not_collinear"]);
    assert_eq!(volume.geometry, None);
    assert_eq!(numbers(&volume), [1, 2, 3, 4]);
}

type Change = fn(&mut FrameAttributes);

#[test]
fn single_slice() {
    let cases: [(Change, f64, Status, &[&str]); 3] = [
        (|a| a.slice_thickness = Some(5.0), 5.0, Status::Ok, &[]),
        (
            |a| {
                a.slice_thickness = Some(5.0);
                a.spacing_between_slices = Some(6.0);
            },
            6.0,
            Status::Ok,
            &[],
        ),
        (
            |a| a.slice_thickness = Some(-1.0),
            1.0,
            Status::Warn,
            &["assumed_slice_spacing"],
        ),
    ];
    for (change, spacing_mm, status, expected) in cases {
        let volume = only(vec![slice_with(1, 3.0, |r| change(&mut r.instance.shared))]);
        check(&volume, status, expected);
        assert_eq!(
            (volume.shape.as_slice(), volume.axes.as_str()),
            (&[1, 4, 6][..], "zyx")
        );
        assert_eq!(
            volume.geometry.unwrap().affine_lps[2],
            [0.0, 0.0, spacing_mm, 3.0]
        );
    }
}

#[test]
fn geometry_that_is_absent_or_absurd() {
    let cases: [(Change, Status, &[&str]); 8] = [
        (|a| a.image_position = None, Status::Warn, &["no_geometry"]),
        (
            |a| a.image_orientation = None,
            Status::Warn,
            &["no_geometry"],
        ),
        (|a| a.pixel_spacing = None, Status::Warn, &["no_geometry"]),
        (
            |a| a.pixel_spacing = Some([0.0, 1.0]),
            Status::Bad,
            &["malformed_geometry"],
        ),
        (
            |a| a.image_position = Some([f64::NAN; 3]),
            Status::Bad,
            &["malformed_geometry"],
        ),
        (
            |a| a.image_position = Some([1e300, 0.0, 0.0]),
            Status::Bad,
            &["malformed_geometry"],
        ),
        (
            |a| a.image_orientation = Some([0.0; 6]),
            Status::Bad,
            &["malformed_geometry"],
        ),
        (
            |a| a.image_orientation = Some([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
            Status::Bad,
            &["malformed_geometry"],
        ),
    ];
    for (change, status, expected) in cases {
        let volume = only(vec![slice_with(1, 3.0, |record| {
            record.instance.shared.slice_thickness = Some(1.0);
            change(&mut record.instance.shared);
        })]);
        check(&volume, status, expected);
        assert_eq!(volume.geometry, None);
        assert_eq!(volume.shape, [1, 4, 6]);
    }
}

/// `times` frames at each of three heights, numbered in scan order.
fn repeated(times: i64, change: impl Fn(&mut FrameAttributes, i64, i64)) -> Vec<Record> {
    let mut records = Vec::new();
    for time in 0..times {
        for z in 0..3 {
            records.push(slice_with(time * 3 + z + 1, z as f64, |record| {
                change(&mut record.instance.shared, time, z);
            }));
        }
    }
    records
}

#[test]
fn time_axis() {
    type Set = fn(&mut FrameAttributes, i64, i64);
    let cases: [(&str, Set); 6] = [
        ("TemporalPositionIdentifier", |a, t, _| {
            a.temporal_position = Some(t)
        }),
        // Times may differ from slice to slice: only their order counts.
        ("TriggerTime", |a, t, z| {
            a.trigger_time_ms = Some((t * 100 + z) as f64)
        }),
        ("AcquisitionNumber", |a, t, _| {
            a.acquisition_number = Some(t)
        }),
        ("AcquisitionTime", |a, t, z| {
            a.acquisition_time_ms = Some((t * 9 - z) as f64)
        }),
        ("ContentTime", |a, t, _| a.content_time_ms = Some(t as f64)),
        ("DiffusionBValue", |a, t, _| {
            a.diffusion_b_value = Some(t as f64 * 1000.0)
        }),
    ];
    for (name, set) in cases {
        // Time runs against the instance numbers.
        let volume = only(repeated(4, |a, t, z| set(a, 3 - t, z)));
        check(&volume, Status::Ok, &["time_axis"]);
        assert!(
            volume.findings[0].detail.ends_with(name),
            "{:?}",
            volume.findings
        );
        assert_eq!(volume.axes, "tzyx");
        assert_eq!(volume.shape, [4, 3, 4, 6]);
        assert_eq!(numbers(&volume), [10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3]);
        assert_eq!(volume.geometry.unwrap().spacing_mm[0], 1.0);
    }
    // An acquisition number that names no time point is not taken for one.
    let volume = only(repeated(2, |a, t, z| {
        a.acquisition_number = Some(t * 3 + z);
        a.content_time_ms = Some(t as f64);
    }));
    assert!(volume.findings[0].detail.ends_with("ContentTime"));
}

#[test]
fn repeats_that_nothing_orders_are_dealt_out() {
    let volumes = volumes(repeated(2, |_, _, _| {}));
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
    for volume in &volumes {
        check(volume, Status::Bad, &["duplicate_positions", "split_from"]);
    }
    assert_eq!(numbers(&volumes[0]), [1, 2, 3]);
    assert_eq!(numbers(&volumes[1]), [4, 5, 6]);
}

#[test]
fn incomplete_time_points_stand_alone() {
    let mut records = repeated(3, |a, t, _| a.temporal_position = Some(t));
    records.remove(4);
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 6), ("_a2", 2)]);
    assert_eq!(volumes[0].shape, [2, 3, 4, 6]);
    for volume in &volumes {
        assert_eq!(codes(volume)[0], "incomplete_time_point");
    }
    assert_eq!(numbers(&volumes[1]), [4, 6]);
    check(
        &volumes[1],
        Status::Warn,
        &["incomplete_time_point", "split_from"],
    );
}

#[test]
fn overlapping_acquisitions_split_by_their_number() {
    let mut records = stack(&[0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0]);
    for (index, record) in records.iter_mut().enumerate() {
        record.instance.shared.acquisition_number = Some(if index < 4 { 1 } else { 2 });
    }
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 4), ("_a2", 3)]);
    check(&volumes[0], Status::Ok, &["split_from"]);
    assert_eq!(numbers(&volumes[1]), [5, 6, 7]);
}

#[test]
fn parallel_stacks_side_by_side_are_not_one() {
    let mut records = repeated(2, |a, t, _| a.temporal_position = Some(t));
    for record in &mut records[3..] {
        record.instance.shared.image_position.as_mut().unwrap()[0] = 80.0;
    }
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
    assert_eq!(numbers(&volumes[0]), [1, 2, 3]);
    assert_eq!(volumes[0].status, Status::Bad);
}

#[test]
fn mosaics_have_no_affine() {
    let volume = only(repeated(2, |a, t, _| {
        a.temporal_position = Some(t);
        a.image_type = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
            .map(String::from)
            .to_vec();
    }));
    check(&volume, Status::Bad, &["time_axis", "mosaic_not_split"]);
    assert_eq!(volume.geometry, None);
}

fn frame_at(z: f64, change: impl FnOnce(&mut FrameAttributes)) -> FrameAttributes {
    let mut frame = FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        ..FrameAttributes::default()
    };
    change(&mut frame);
    frame
}

fn indices(volume: &crate::volume::Volume) -> Vec<u32> {
    volume
        .frames
        .iter()
        .map(|frame| frame.frame_index)
        .collect()
}

#[test]
fn multi_frame_in_planes() {
    let volume = only(vec![multi_frame(
        1,
        [4.0, 0.0, 2.0].map(|z| frame_at(z, |_| {})).to_vec(),
    )]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(indices(&volume), [1, 2, 0]);
    assert_eq!(
        (volume.axes.as_str(), volume.shape.as_slice()),
        ("zyx", &[3, 4, 6][..])
    );
    assert_eq!(volume.geometry.unwrap().spacing_mm[0], 2.0);
    assert_eq!(volume.records.len(), 1);

    let timed = |z, t| frame_at(z, |frame| frame.temporal_position = Some(t));
    let frames = vec![timed(0.0, 2), timed(1.0, 2), timed(1.0, 1), timed(0.0, 1)];
    let volume = only(vec![multi_frame(1, frames)]);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(indices(&volume), [3, 2, 0, 1]);
    assert_eq!(volume.shape, [2, 2, 4, 6]);
}

#[test]
fn multi_frame_in_stored_order() {
    let turned = frame_at(1.0, |frame| {
        frame.image_orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0]);
    });
    let segment = |z, number| frame_at(z, |frame| frame.segment_number = Some(number));
    let plain = |z| frame_at(z, |_| {});
    let nowhere = frame_at(1.0, |frame| frame.image_position = None);
    let cases = [
        (vec![plain(2.0), turned], Status::Warn, "no_geometry"),
        (vec![plain(2.0), nowhere], Status::Warn, "no_geometry"),
        (
            vec![segment(2.0, 1), segment(1.0, 2)],
            Status::Warn,
            "segments_not_split",
        ),
        (
            vec![plain(2.0), plain(2.0), plain(1.0)],
            Status::Bad,
            "duplicate_positions",
        ),
    ];
    for (frames, status, code) in cases {
        let count = frames.len() as u32;
        let volume = only(vec![multi_frame(1, frames)]);
        check(&volume, status, &[code]);
        assert_eq!(volume.axes, "fyx");
        assert_eq!(volume.geometry, None);
        assert_eq!(indices(&volume), (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn cine_has_no_geometry() {
    // The position of the header is that of no frame in particular.
    let volume = only(vec![slice_with(1, 0.0, |record| {
        image(record).number_of_frames = 5
    })]);
    check(&volume, Status::Warn, &["no_geometry"]);
    assert_eq!(
        (volume.axes.as_str(), volume.shape.as_slice()),
        ("fyx", &[5, 4, 6][..])
    );
    assert!(
        volume
            .frames
            .iter()
            .all(|frame| frame.position_lps_mm.is_none())
    );
    // So is it when the per-frame attributes are not one a frame.
    let mut record = multi_frame(1, vec![frame_at(0.0, |_| {}), frame_at(1.0, |_| {})]);
    image(&mut record).number_of_frames = 3;
    fit(&mut record);
    let volume = only(vec![record]);
    check(&volume, Status::Bad, &["no_geometry", "malformed_header"]);
}
