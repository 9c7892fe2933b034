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
    type Case = (&'static [f64], Status, &'static [&'static str], Option<f64>);
    let cases: [Case; 9] = [
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
