//! The value rule: dtype and transform from headers alone.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{HeaderIssue, Photometric, PixelElement};
use crate::volume::{Dtype, Status, Transform, ValueKind, Variant, Volume};

/// A slice of this sample format and rescale, "-" standing for absent.
fn rescaled(
    format: (u16, u16, bool),
    slope: Option<f64>,
    intercept: Option<f64>,
    number: i64,
) -> Record {
    slice_with(number, number as f64, |record| {
        let image = image(record);
        (image.bits_allocated, image.bits_stored, image.signed) = format;
        record.instance.shared.rescale_slope = slope;
        record.instance.shared.rescale_intercept = intercept;
    })
}

fn rule(volume: &Volume) -> (Transform, Dtype, Dtype) {
    (
        volume.values.transform,
        volume.values.dtype,
        volume.stored_dtype,
    )
}

#[test]
fn dtype_follows_from_the_header() {
    use Dtype::*;
    use Transform::*;
    const U12: (u16, u16, bool) = (16, 12, false);
    let cases = [
        // 1. Identity keeps the stored type.
        ((1, 1, false), None, None, Identity, U8, U8),
        ((8, 8, false), None, None, Identity, U8, U8),
        ((8, 8, true), Some(1.0), Some(0.0), Identity, I8, I8),
        (U12, Some(1.0), None, Identity, U16, U16),
        ((16, 16, true), None, Some(-0.0), Identity, I16, I16),
        ((32, 32, false), None, None, Identity, U32, U32),
        ((32, 32, true), None, None, Identity, I32, I32),
        ((64, 64, false), None, None, Identity, U64, U64),
        ((64, 64, true), None, None, Identity, I64, I64),
        // 2. Whole offsets: int16 where it fits.
        (U12, Some(1.0), Some(-1024.0), Offset, I16, U16),
        (U12, None, Some(-32768.0), Offset, I16, U16),
        (U12, None, Some(-32769.0), Offset, I32, U16),
        (U12, None, Some(28672.0), Offset, I16, U16),
        (U12, None, Some(28673.0), Offset, I32, U16),
        ((16, 16, false), None, Some(-32768.0), Offset, I16, U16),
        ((16, 16, false), None, Some(-32767.0), Offset, I32, U16),
        ((16, 16, false), None, Some(-1024.0), Offset, I32, U16),
        ((8, 8, false), None, Some(-1.0), Offset, I16, U8),
        ((8, 8, true), None, Some(1.0), Offset, I16, I8),
        ((1, 1, false), None, Some(1.0), Offset, I16, U8),
        // Signed 16-bit stays int16 even where the header's range does not fit.
        ((16, 16, true), None, Some(-1024.0), Offset, I16, I16),
        ((16, 12, true), None, Some(40000.0), Offset, I16, I16),
        // 32-bit input: int32 where it fits, else float64, which is exact.
        ((32, 16, false), None, Some(-1024.0), Offset, I32, U32),
        ((32, 31, false), None, Some(-1.0), Offset, I32, U32),
        ((32, 31, false), None, Some(1.0), Linear, F64, U32),
        ((32, 32, false), None, Some(-1024.0), Linear, F64, U32),
        ((64, 64, true), None, Some(-1024.0), Linear, F64, I64),
        (U12, None, Some(3e9), Linear, F32, U16),
        // 3. The rest.
        (U12, Some(2.0), None, Linear, F32, U16),
        (U12, Some(1.0), Some(0.5), Linear, F32, U16),
        (U12, Some(1.0), Some(1e300), Linear, F32, U16),
        ((8, 8, false), Some(0.1), Some(3.0), Linear, F32, U8),
        ((32, 32, true), Some(0.1), None, Linear, F64, I32),
    ];
    for (format, slope, intercept, transform, dtype, stored) in cases {
        let record = rescaled(format, slope, intercept, 1);
        let volume = only(vec![record]);
        let case = (format, slope, intercept);
        assert_eq!(rule(&volume), (transform, dtype, stored), "{case:?}");
        let shared = volume.same_bytes_as(Variant::Stored) == Variant::Values;
        assert_eq!(shared, transform == Identity, "{case:?}");
        let frame = &volume.frames[0];
        assert_eq!(frame.slope, slope.unwrap_or(1.0));
        assert_eq!(frame.intercept, intercept.unwrap_or(0.0));
    }
}

#[test]
fn floats() {
    use Dtype::*;
    use Transform::*;
    for (element, bits, slope, intercept, transform, dtype, stored) in [
        (
            PixelElement::FloatPixelData,
            32,
            1.0,
            0.0,
            Identity,
            F32,
            F32,
        ),
        (PixelElement::FloatPixelData, 32, 2.0, 0.0, Linear, F64, F32),
        (PixelElement::FloatPixelData, 32, 1.0, 5.0, Linear, F64, F32),
        (
            PixelElement::DoubleFloatPixelData,
            64,
            1.0,
            0.0,
            Identity,
            F64,
            F64,
        ),
        (
            PixelElement::DoubleFloatPixelData,
            64,
            2.0,
            0.0,
            Linear,
            F64,
            F64,
        ),
    ] {
        let mut record = rescaled((bits, bits, false), Some(slope), Some(intercept), 1);
        image(&mut record).element = element;
        assert_eq!(rule(&only(vec![record])), (transform, dtype, stored));
    }
}

#[test]
fn the_rule_holds_for_all_frames_of_a_volume() {
    const U12: (u16, u16, bool) = (16, 12, false);
    let both = |a: (f64, f64), b: (f64, f64)| {
        vec![
            rescaled(U12, Some(a.0), Some(a.1), 1),
            rescaled(U12, Some(b.0), Some(b.1), 2),
        ]
    };
    for (a, b, transform, dtype) in [
        ((1.0, 0.0), (1.0, -5.0), Transform::Offset, Dtype::I16),
        (
            (1.0, -32768.0),
            (1.0, 28673.0),
            Transform::Offset,
            Dtype::I32,
        ),
        ((1.0, 0.0), (2.0, 0.0), Transform::Linear, Dtype::F32),
        ((1.0, 0.0), (1.0, 0.5), Transform::Linear, Dtype::F32),
    ] {
        let volume = only(both(a, b));
        assert_eq!(
            (volume.values.transform, volume.values.dtype),
            (transform, dtype)
        );
        check(&volume, Status::Ok, &["mixed_rescale"]);
        assert_eq!((volume.frames[0].slope, volume.frames[0].intercept), a);
        assert_eq!((volume.frames[1].slope, volume.frames[1].intercept), b);
    }
    // Bits Stored may differ from slice to slice: the widest counts.
    let mixed = vec![
        rescaled((16, 12, false), None, Some(-1024.0), 1),
        rescaled((16, 16, false), None, Some(-1024.0), 2),
    ];
    assert_eq!(only(mixed).values.dtype, Dtype::I32);
}

#[test]
fn per_frame_rescale_overrides_shared() {
    let frame = |z: f64, slope| crate::dicom::FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        rescale_slope: slope,
        ..Default::default()
    };
    let mut record = multi_frame(1, vec![frame(1.0, Some(3.0)), frame(0.0, None)]);
    record.instance.shared.rescale_slope = Some(2.0);
    record.instance.shared.rescale_intercept = Some(7.0);
    let volume = only(vec![record]);
    check(&volume, Status::Ok, &["mixed_rescale"]);
    let pairs: Vec<_> = volume
        .frames
        .iter()
        .map(|f| (f.slope, f.intercept))
        .collect();
    assert_eq!(pairs, [(2.0, 7.0), (3.0, 7.0)]);
}

#[test]
fn a_rescale_that_cannot_be_used() {
    let numbers = [
        (Some(0.0), None),
        (Some(-0.0), None),
        (Some(f64::NAN), None),
        (Some(f64::INFINITY), None),
        (None, Some(f64::NAN)),
    ];
    let issue = |record: &mut Record| {
        record.instance.issues.push(HeaderIssue {
            code: "malformed_attribute".into(),
            keyword: "RescaleSlope".into(),
            detail: "not a number".into(),
        });
    };
    for (slope, intercept) in numbers {
        let good = rescaled((16, 12, false), Some(2.0), None, 1);
        let volume = only(vec![good, rescaled((16, 12, false), slope, intercept, 2)]);
        check(&volume, Status::Bad, &["malformed_rescale"]);
        assert_eq!(rule(&volume), (Transform::Identity, Dtype::U16, Dtype::U16));
        assert!(
            volume
                .frames
                .iter()
                .all(|f| (f.slope, f.intercept) == (1.0, 0.0))
        );
    }
    let mut record = rescaled((16, 12, false), None, None, 1);
    issue(&mut record);
    record.instance.shared.slice_thickness = Some(1.0);
    let volume = only(vec![record]);
    check(
        &volume,
        Status::Bad,
        &["malformed_rescale", "malformed_attribute"],
    );
}

#[test]
fn modality_lut() {
    for (bits, transform, dtype, expected) in [
        (8, Transform::ModalityLut, Dtype::U8, vec![]),
        (12, Transform::ModalityLut, Dtype::U16, vec![]),
        (16, Transform::ModalityLut, Dtype::U16, vec![]),
        (
            17,
            Transform::Identity,
            Dtype::U16,
            vec!["malformed_rescale"],
        ),
        (
            0,
            Transform::Identity,
            Dtype::U16,
            vec!["malformed_rescale"],
        ),
    ] {
        let mut record = rescaled((16, 12, false), Some(2.0), None, 1);
        record.instance.shared.slice_thickness = Some(1.0);
        record.instance.shared.modality_lut_descriptor = Some([4096, 0, bits]);
        let volume = only(vec![record]);
        assert_eq!(rule(&volume), (transform, dtype, Dtype::U16), "{bits}");
        assert_eq!(codes(&volume), expected);
        assert_eq!(volume.frames[0].slope, 1.0, "the table wins over the slope");
    }
}

/// A slice with this colour; the rescale has no meaning for it.
fn coloured(photometric: Photometric, samples: u16, bits: u16, transfer_syntax: &str) -> Record {
    slice_with(1, 0.0, |record| {
        let image = image(record);
        image.photometric = photometric;
        image.samples_per_pixel = samples;
        (image.bits_allocated, image.bits_stored) = (bits, bits);
        record.instance.transfer_syntax_uid = transfer_syntax.into();
        record.instance.shared.slice_thickness = Some(1.0);
        record.instance.shared.rescale_slope = Some(2.0);
    })
}

#[test]
fn colour() {
    use Photometric::*;
    use Transform::{Identity, YbrFullToRgb};
    const JPEG_XL: &str = "1.2.840.10008.1.2.4.111";
    let odd = ["unsupported_photometric"];
    type Case<'a> = (Photometric, u16, u16, &'a str, Transform, &'a [&'a str]);
    let cases: [Case<'_>; 12] = [
        (Rgb, 3, 8, EXPLICIT_LE, Identity, &[]),
        (Rgb, 3, 16, EXPLICIT_LE, Identity, &[]),
        (Rgb, 3, 32, EXPLICIT_LE, Identity, &[]),
        (YbrIct, 3, 8, JPEG_2000, Identity, &[]),
        (YbrRct, 3, 16, JPEG_2000, Identity, &[]),
        (Xyb, 3, 8, JPEG_XL, Identity, &[]),
        (YbrFull, 3, 8, EXPLICIT_LE, YbrFullToRgb, &[]),
        (YbrFull422, 3, 8, EXPLICIT_LE, YbrFullToRgb, &[]),
        (YbrFull, 3, 16, EXPLICIT_LE, YbrFullToRgb, &[]),
        (YbrFull422, 3, 8, JPEG_XL, Identity, &[]),
        (YbrFull, 3, 32, EXPLICIT_LE, Identity, &odd),
        (Other("HSV".into()), 3, 8, EXPLICIT_LE, Identity, &odd),
    ];
    for (photometric, samples, bits, transfer_syntax, transform, expected) in cases {
        let case = format!("{photometric:?} {bits} {transfer_syntax}");
        let record = coloured(photometric, samples, bits, transfer_syntax);
        let volume = only(vec![record]);
        assert_eq!(codes(&volume), expected, "{case}");
        let dtype = volume.values.dtype;
        assert_eq!(
            (volume.values.transform, dtype),
            (transform, volume.stored_dtype),
            "{case}"
        );
        assert_eq!(dtype.itemsize() * 8, usize::from(bits));
        assert_eq!(
            (volume.axes.as_str(), volume.shape.as_slice()),
            ("zyxc", &[1, 4, 6, 3][..])
        );
        for variant in [Variant::Values, Variant::Stored] {
            assert_eq!(volume.frame_shape(variant), [4, 6, 3]);
            assert_eq!(volume.len_bytes(variant), 72 * u64::from(bits) / 8);
        }
    }
    // A header that says colour and has one sample, and the reverse, is shown as stored.
    for (photometric, samples, axes) in
        [(Rgb, 1, "zyx"), (Monochrome2, 3, "zyxc"), (Rgb, 4, "zyxc")]
    {
        let volume = only(vec![coloured(photometric, samples, 8, EXPLICIT_LE)]);
        check(&volume, Status::Warn, &odd);
        assert_eq!(volume.axes, axes);
    }
}

#[test]
fn palette() {
    let cases = [
        (Some([256, 0, 16]), 8, Transform::Palette, Dtype::U16),
        (Some([256, 0, 8]), 8, Transform::Palette, Dtype::U8),
        (Some([0, 0, 16]), 16, Transform::Palette, Dtype::U16),
        (Some([256, 0, 12]), 8, Transform::Identity, Dtype::U8),
        (Some([256, 0, 8]), 32, Transform::Identity, Dtype::U32),
        (None, 8, Transform::Identity, Dtype::U8),
    ];
    for (descriptor, bits, transform, dtype) in cases {
        let mut record = coloured(Photometric::PaletteColor, 1, bits, EXPLICIT_LE);
        record.instance.shared.palette_descriptor = descriptor;
        let volume = only(vec![record]);
        assert_eq!(
            (volume.values.transform, volume.values.dtype),
            (transform, dtype)
        );
        assert_eq!(volume.shape(Variant::Stored), [1, 4, 6]);
        assert_eq!(volume.axes(Variant::Stored), "zyx");
        assert_eq!(volume.frame_shape(Variant::Stored), [4, 6]);
        let stored_bytes = 24 * u64::from(bits) / 8;
        assert_eq!(volume.frame_len_bytes(Variant::Stored), stored_bytes);
        if transform == Transform::Palette {
            check(&volume, Status::Ok, &[]);
            assert_eq!(volume.shape(Variant::Values), [1, 4, 6, 3]);
            let values_bytes = 72 * dtype.itemsize() as u64;
            assert_eq!(volume.frame_len_bytes(Variant::Values), values_bytes);
            assert_eq!(volume.same_bytes_as(Variant::Stored), Variant::Stored);
        } else {
            check(&volume, Status::Bad, &["malformed_palette"]);
            assert_eq!(volume.same_bytes_as(Variant::Stored), Variant::Values);
        }
    }
}

#[test]
fn segmentations_are_labels() {
    let mut record = rescaled((8, 8, false), Some(2.0), None, 1);
    record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.66.4".into();
    assert_eq!(rule(&only(vec![record.clone()])).0, Transform::Identity);
    // A palette says how to paint them, not what they are.
    image(&mut record).photometric = Photometric::PaletteColor;
    record.instance.shared.palette_descriptor = Some([256, 0, 16]);
    let volume = only(vec![record]);
    assert_eq!(rule(&volume).0, Transform::Identity);
    assert_eq!(
        (volume.axes.as_str(), volume.values.kind),
        ("zyx", ValueKind::Segmentation)
    );
}

#[test]
fn units() {
    type Set = fn(&mut Record);
    let cases: [(Set, Option<&str>); 6] = [
        (|_| {}, None),
        (|r| r.instance.shared.rescale_slope = Some(1.0), Some("HU")),
        (
            |r| {
                r.instance.shared.rescale_slope = Some(1.0);
                r.instance.shared.rescale_type = Some("US".into());
            },
            None,
        ),
        (
            |r| r.instance.shared.rescale_type = Some("HU ".into()),
            Some("HU"),
        ),
        (
            |r| {
                r.instance.modality = "PT".into();
                r.instance.shared.units = Some("BQML".into());
            },
            Some("BQML"),
        ),
        (
            |r| {
                r.instance.modality = "MR".into();
                r.instance.shared.rescale_slope = Some(1.0);
            },
            None,
        ),
    ];
    for (set, expected) in cases {
        let volume = only(vec![slice_with(1, 0.0, set)]);
        assert_eq!(volume.values.units.as_deref(), expected);
    }
}

#[test]
fn units_that_differ_are_none() {
    let of = |number: i64, rescale_type: &str| {
        slice_with(number, number as f64, |record| {
            record.instance.shared.rescale_slope = Some(2.0);
            record.instance.shared.rescale_type = Some(rescale_type.into());
        })
    };
    let volume = only(vec![of(1, "HU"), of(2, "HU "), of(3, "US")]);
    check(&volume, Status::Warn, &["mixed_units"]);
    assert_eq!(volume.values.units, None);
    let volume = only(vec![of(1, "HU"), of(2, "HU ")]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(volume.values.units.as_deref(), Some("HU"));
}

#[test]
fn real_world_values_where_there_is_no_rescale() {
    let mapped = |rescale: Option<f64>, mapping: Option<[f64; 2]>, is_lut: bool| {
        only(vec![slice_with(1, 0.0, |record| {
            record.instance.modality = "MR".into();
            let shared = &mut record.instance.shared;
            shared.slice_thickness = Some(1.0);
            shared.rescale_slope = rescale;
            shared.real_world_value = mapping;
            shared.real_world_value_is_lut = is_lut;
            shared.units = Some("um2/s".into());
        })])
    };
    let volume = mapped(None, Some([0.5, 3.0]), false);
    check(&volume, Status::Ok, &[]);
    assert_eq!(volume.values.kind, ValueKind::RealWorld);
    assert_eq!(volume.values.units.as_deref(), Some("um2/s"));
    assert_eq!(
        (volume.frames[0].slope, volume.frames[0].intercept),
        (0.5, 3.0)
    );
    // A rescale wins, and has the units only of a mapping that is the same.
    for (mapping, units) in [([0.5, 3.0], None), ([2.0, 0.0], Some("um2/s"))] {
        let volume = mapped(Some(2.0), Some(mapping), false);
        assert_eq!(volume.values.kind, ValueKind::Modality);
        assert_eq!(volume.frames[0].slope, 2.0);
        assert_eq!(volume.values.units.as_deref(), units);
    }
    // The identity of unspecified units leaves the values to the mapping.
    let identity = |rescale_type: &str| {
        only(vec![slice_with(1, 0.0, |record| {
            let shared = &mut record.instance.shared;
            shared.slice_thickness = Some(1.0);
            (shared.rescale_slope, shared.rescale_intercept) = (Some(1.0), Some(0.0));
            shared.rescale_type = Some(rescale_type.into());
            shared.real_world_value = Some([0.5, 3.0]);
        })])
    };
    assert_eq!(identity("US").values.kind, ValueKind::RealWorld);
    assert_eq!(identity("HU").values.kind, ValueKind::Modality);
    let volume = mapped(None, None, true);
    check(&volume, Status::Warn, &["nonlinear_real_world_value"]);
    let volume = only(vec![
        slice_with(1, 0.0, |r| {
            r.instance.shared.real_world_value = Some([2.0, 0.0])
        }),
        slice(2, 1.0),
    ]);
    check(&volume, Status::Warn, &["partial_real_world_value"]);
}
