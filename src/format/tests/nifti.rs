//! NIfTI headers, parsed back by the offsets of `nifti1.h` and `nifti2.h`.

use super::{NATIVE, array, in_time, sheared, volume};
use crate::dicom::Value;
use crate::format::{Error, nifti};
use crate::volume::{Dtype, Steps, Transform, Variant, Volume};

/// A header with the reads that its layout asks for.
struct Header(Vec<u8>);

impl Header {
    fn of(volume: &Volume) -> Header {
        let header = nifti::header(volume, Variant::Values).unwrap();
        assert_eq!(header.len(), 4096);
        Header(header)
    }

    fn at<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0[offset..offset + N].try_into().unwrap()
    }

    fn i16(&self, offset: usize) -> i16 {
        i16::from_le_bytes(self.at(offset))
    }

    fn i32(&self, offset: usize) -> i32 {
        i32::from_le_bytes(self.at(offset))
    }

    fn i64(&self, offset: usize) -> i64 {
        i64::from_le_bytes(self.at(offset))
    }

    fn f32s<const N: usize>(&self, offset: usize) -> [f32; N] {
        std::array::from_fn(|n| f32::from_le_bytes(self.at(offset + 4 * n)))
    }

    fn f64s<const N: usize>(&self, offset: usize) -> [f64; N] {
        std::array::from_fn(|n| f64::from_le_bytes(self.at(offset + 8 * n)))
    }

    /// `dim` of NIfTI-1.
    fn dim(&self) -> [i16; 8] {
        std::array::from_fn(|n| self.i16(40 + 2 * n))
    }
}

#[test]
fn nifti1_says_what_volume_json_says() {
    let volume = volume([NATIVE, NATIVE]);
    let header = Header::of(&volume);
    assert_eq!(header.i32(0), 348);
    assert_eq!(&header.at::<4>(344), b"n+1\0");
    assert_eq!(header.at::<4>(348), [0; 4], "no extensions");
    assert!(header.0[352..].iter().all(|byte| *byte == 0));
    assert_eq!(header.dim(), [3, 6, 4, 2, 1, 1, 1, 1]);
    assert_eq!((header.i16(70), header.i16(72)), (4, 16));
    // vox_offset, scl_slope, scl_inter
    assert_eq!(header.f32s(108), [4096.0, 1.0, 0.0]);
    assert_eq!(header.f32s(76), [1.0, 0.75, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0]);
    // slice_code, xyzt_units, cal_max, cal_min
    assert_eq!(header.at::<2>(122), [0, 10]);
    assert_eq!(header.f32s(124), [0.0, 0.0]);
    // qform_code and sform_code; half a turn about z takes LPS to RAS.
    assert_eq!((header.i16(252), header.i16(254)), (1, 1));
    assert_eq!(header.f32s(256), [0.0, 0.0, 1.0, 10.0, 20.0, 2.0]);
    assert_eq!(header.f32s(280), [-0.75, 0.0, 0.0, 10.0]);
    assert_eq!(header.f32s(296), [0.0, -0.5, 0.0, 20.0]);
    assert_eq!(header.f32s(312), [0.0, 0.0, 2.0, 2.0]);
    let descrip = header.at::<80>(148);
    assert!(descrip.starts_with(b"dicomfs values, HU\0"));
}

#[test]
fn a_long_dimension_makes_nifti2() {
    assert_eq!(
        Header::of(&array("zyx", &[2, 4, 32767], Dtype::I16)).i32(0),
        348
    );
    let header = Header::of(&array("zyx", &[2, 4, 32768], Dtype::U16));
    assert_eq!(header.i32(0), 540);
    assert_eq!(&header.at::<8>(4), b"n+2\0\r\n\x1a\n");
    assert_eq!(header.at::<4>(540), [0; 4], "no extensions");
    assert_eq!((header.i16(12), header.i16(14)), (512, 16));
    let dim: [i64; 8] = std::array::from_fn(|n| header.i64(16 + 8 * n));
    assert_eq!(dim, [3, 32768, 4, 2, 1, 1, 1, 1]);
    assert_eq!(header.f64s(104), [1.0, 0.75, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(header.i64(168), 4096);
    assert_eq!(header.f64s(176), [1.0, 0.0]);
    assert!(header.at::<80>(240).starts_with(b"dicomfs"));
    assert_eq!((header.i32(344), header.i32(348)), (1, 1));
    assert_eq!(header.f64s(352), [0.0, 0.0, 1.0, 10.0, 20.0, 2.0]);
    assert_eq!(header.f64s(400), [-0.75, 0.0, 0.0, 10.0]);
    assert_eq!(header.f64s(432), [0.0, -0.5, 0.0, 20.0]);
    assert_eq!(header.f64s(464), [0.0, 0.0, 2.0, 2.0]);
    assert_eq!(header.i32(500), 10);
}

#[test]
fn datatypes_are_those_of_nifti1_h() {
    let table = [
        (Dtype::U8, Some((2, 8))),
        (Dtype::I16, Some((4, 16))),
        (Dtype::I32, Some((8, 32))),
        (Dtype::F32, Some((16, 32))),
        (Dtype::F64, Some((64, 64))),
        (Dtype::I8, Some((256, 8))),
        (Dtype::U16, Some((512, 16))),
        (Dtype::U32, Some((768, 32))),
        (Dtype::I64, Some((1024, 64))),
        (Dtype::U64, Some((1280, 64))),
        (Dtype::F16, None),
    ];
    for (dtype, expected) in table {
        let volume = array("zyx", &[2, 4, 6], dtype);
        assert_eq!(
            nifti::check(&volume, Variant::Values).is_ok(),
            expected.is_some()
        );
        match expected {
            Some(codes) => {
                let header = Header::of(&volume);
                assert_eq!((header.i16(70), header.i16(72)), codes, "{dtype:?}");
            }
            None => assert!(matches!(
                nifti::header(&volume, Variant::Values),
                Err(Error::NotExpressible {
                    format: "nifti",
                    ..
                })
            )),
        }
    }
}

#[test]
fn colour_is_rgb24_or_nothing() {
    let rgb = array("fyxc", &[5, 4, 6, 3], Dtype::U8);
    let header = Header::of(&rgb);
    assert_eq!(header.dim(), [3, 6, 4, 5, 1, 1, 1, 1]);
    assert_eq!((header.i16(70), header.i16(72)), (128, 24));
    let mut ybr = rgb.clone();
    ybr.values.transform = Transform::YbrFullToRgb;
    ybr.stored_dtype = Dtype::U8;
    assert!(nifti::check(&ybr, Variant::Values).is_ok());
    // The numbers of luma and chroma are no red, green and blue.
    for refused in [
        nifti::check(&ybr, Variant::Stored),
        nifti::check(&rgb, Variant::Cast(Dtype::F32)),
        nifti::check(&array("zyxc", &[1, 4, 6, 3], Dtype::U16), Variant::Values),
        nifti::check(&array("zyxc", &[1, 4, 6, 4], Dtype::U8), Variant::Values),
        nifti::check(
            &array("abdegzyx", &[1, 1, 1, 1, 1, 1, 4, 6], Dtype::U8),
            Variant::Values,
        ),
    ] {
        assert!(matches!(refused, Err(Error::NotExpressible { .. })));
    }
}

#[test]
fn shear_is_in_the_sform_alone() {
    let mut volume = array("zyx", &[2, 4, 6], Dtype::I16);
    volume.geometry = sheared();
    let header = Header::of(&volume);
    assert_eq!((header.i16(252), header.i16(254)), (0, 1));
    assert_eq!(header.f32s(256), [0.0; 6]);
    assert_eq!(header.f32s(280), [-0.75, 0.0, 0.0, 10.1]);
    assert_eq!(header.f32s(296), [0.0, -0.5, -0.5, 20.0]);
    assert_eq!(header.f32s(312), [0.0, 0.0, 2.0, 1.0_f32 / 3.0]);
    assert_eq!(header.f32s(80), [0.75, 0.5, 4.25_f32.sqrt()]);
}

#[test]
fn without_geometry_both_codes_are_zero() {
    let mut volume = array("zyx", &[2, 4, 6], Dtype::I16);
    volume.geometry = None;
    let header = Header::of(&volume);
    assert_eq!((header.i16(252), header.i16(254)), (0, 0));
    assert_eq!(
        header.f32s(80),
        [0.75, 0.5, 1.0],
        "Pixel Spacing of the first frame"
    );
    assert_eq!(header.at::<1>(123), [10]);
    assert_eq!(header.f32s(256), [0.0; 18]);
    let mut record = volume.records[0].as_ref().clone();
    record.instance.shared.pixel_spacing = None;
    volume.records = vec![record.into()];
    let header = Header::of(&volume);
    assert_eq!(header.f32s(80), [1.0, 1.0, 1.0]);
    assert_eq!(header.at::<1>(123), [8], "no mm that nobody stated");
}

#[test]
fn a_fourth_dimension_that_is_no_time_has_no_seconds() {
    for (axes, units) in [("zyx", 10), ("tzyx", 10), ("szyx", 2), ("tszyx", 2)] {
        let volume = array(axes, &vec![3; axes.len()], Dtype::U8);
        assert_eq!(Header::of(&volume).at::<1>(123), [units], "{axes}");
    }
}

/// A volume in time whose first file has these attributes.
fn functional(attributes: &[(&str, Value)]) -> Volume {
    let mut volume = array("tzyx", &[2, 5, 4, 6], Dtype::I16);
    volume.steps = Some(Steps {
        interval_s: None,
        ..in_time().unwrap()
    });
    let mut record = volume.records[0].as_ref().clone();
    for (keyword, value) in attributes {
        record.instance.attributes.insert(keyword, value).unwrap();
    }
    volume.records = vec![record.into()];
    volume
}

#[test]
fn time_steps_are_measured_or_those_of_planar_imaging() {
    let planar = [
        ("RepetitionTime", Value::Float(2200.0)),
        ("ScanningSequence", Value::Text("EP".into())),
        ("MRAcquisitionType", Value::Text("2D".into())),
    ];
    let mut in_3d = planar.clone();
    in_3d[2].1 = Value::Text("3D".into());
    let pixdim4 = |volume: &Volume| Header::of(volume).f32s::<1>(92)[0];
    assert_eq!(pixdim4(&functional(&planar)), 2.2);
    assert_eq!(
        pixdim4(&functional(&in_3d)),
        0.0,
        "a repetition is no volume"
    );
    assert_eq!(pixdim4(&functional(&[])), 0.0);
    let mut measured = functional(&planar);
    measured.steps = in_time();
    assert_eq!(pixdim4(&measured), 2.5);
    assert_eq!(Header::of(&measured).dim(), [4, 6, 4, 5, 2, 1, 1, 1]);
    let mut diffusion = functional(&planar);
    diffusion.steps.as_mut().unwrap().keyword = "DiffusionBValue";
    assert_eq!(pixdim4(&diffusion), 0.0, "not in order of time");
}

#[test]
fn slice_times_and_phase_encoding_have_their_fields() {
    let direction = |word: &str| {
        let value = Value::Text(word.into());
        functional(&[("InPlanePhaseEncodingDirection", value)])
    };
    // dim_info: frequency, phase, slice.
    let table = [
        ("ROW", 2 | 1 << 2 | 3 << 4),
        ("COL", 1 | 2 << 2 | 3 << 4),
        ("OTHER", 0),
    ];
    for (word, dim_info) in table {
        assert_eq!(
            Header::of(&direction(word)).at::<1>(39),
            [dim_info],
            "{word}"
        );
    }
    let mut interleaved = direction("COL");
    interleaved.slice_times_s = vec![0.0, 1.5, 0.5, 2.0, 1.0];
    let header = Header::of(&interleaved);
    assert_eq!(header.at::<1>(39), [1 | 2 << 2 | 3 << 4]);
    // slice_start, slice_end, slice_code, slice_duration
    assert_eq!((header.i16(74), header.i16(120)), (0, 4));
    assert_eq!(header.at::<1>(122), [3]);
    assert_eq!(header.f32s(132), [0.5]);
    interleaved.slice_times_s = vec![0.0, 1.5];
    assert_eq!(
        Header::of(&interleaved).at::<1>(122),
        [0],
        "not one a slice"
    );
}

#[test]
fn nothing_of_the_patient_is_in_a_header() {
    let mut volume = volume([NATIVE, NATIVE]);
    for units in ["Doe^Jane 1970-01-01 in a unit", "a b", "\u{3bc}m"] {
        volume.values.units = Some(units.into());
        let text = String::from_utf8_lossy(&Header::of(&volume).0[148..228]).into_owned();
        assert!(text.starts_with("dicomfs values\0"), "{text}");
    }
}
