//! Functional groups and other sequences, vectors with a value for every frame.

use super::*;
use crate::dicom::limits::{FRAME_VALUES_MAX, SEGMENTS_MAX, VALUES_A_FRAME_MAX};
use crate::dicom::testing::{Builder, ct};
use crate::dicom::{FrameAttributes, Segment, Value};

const ENCODINGS: [Encoding; 3] = [
    Encoding::EXPLICIT_LITTLE,
    Encoding::IMPLICIT_LITTLE,
    Encoding {
        explicit_vr: true,
        big_endian: true,
    },
];

fn instance(dataset: &Builder) -> Instance {
    let bytes = dataset.clone().raw(0x7FE0_0010, "OW", &[0; 12]).bytes;
    match read_header(&bytes, bytes.len() as u64) {
        Ok(Header::Instance(instance)) => *instance,
        other => panic!("not an instance: {other:?}"),
    }
}

/// Keywords of the attributes found malformed.
fn malformed(instance: &Instance) -> Vec<&str> {
    let issues = instance.issues.iter();
    let malformed = issues.filter(|issue| issue.code == "malformed_attribute");
    malformed.map(|issue| issue.keyword.as_str()).collect()
}

/// A functional group macro with one item.
fn group(macro_tag: u32, item: Builder) -> Builder {
    item.nested().sequence(macro_tag, true, &[item])
}

type Field = fn(&FrameAttributes) -> String;

#[test]
fn macros_mean_the_same_shared_and_in_a_frame() {
    for encoding in ENCODINGS {
        let new = || Builder::new(encoding);
        let fl = |number: f32| match encoding.big_endian {
            true => number.to_be_bytes(),
            false => number.to_le_bytes(),
        };
        let gradient = new().fd(0x0018_9089, &[0.6, 0.0, -0.8]);
        let diffusion = group(0x0018_9076, gradient).fd(0x0018_9087, &[1000.0]);
        let cases: [(Builder, Field, &str); 19] = [
            (
                group(0x0018_9117, diffusion),
                |f| format!("{:?} {:?}", f.diffusion_b_value, f.diffusion_gradient),
                "Some(1000.0) Some([0.6, 0.0, -0.8])",
            ),
            (
                group(0x0018_9115, new().fd(0x0018_9079, &[150.0, 300.0])),
                |f| format!("{:?}", f.inversion_time_ms),
                "Some(150.0)",
            ),
            (
                group(0x0018_9112, new().text(0x0018_1314, "DS", "12.5")),
                |f| format!("{:?}", f.flip_angle_deg),
                "Some(12.5)",
            ),
            (
                group(0x0048_021A, new().sl(0x0048_021E, 513).sl(0x0048_021F, 1)),
                |f| format!("{:?}", f.total_matrix_position),
                "Some([513, 1])",
            ),
            (
                group(0x0048_021A, new().sl(0x0048_021F, 1)),
                |f| format!("{:?}", f.total_matrix_position),
                "None",
            ),
            (
                group(0x0018_9118, new().raw(0x0020_9241, "FL", &fl(30.0))),
                |f| format!("{:?}", f.cardiac_phase_percent),
                "Some(30.0)",
            ),
            (
                group(0x0020_9253, new().raw(0x0020_9245, "FL", &fl(70.0))),
                |f| format!("{:?}", f.respiratory_phase_percent),
                "Some(70.0)",
            ),
            (
                group(0x0018_9197, new().fd(0x0018_9090, &[0.0, 0.0, 1.0])),
                |f| format!("{:?}", f.velocity_direction),
                "Some([0.0, 0.0, 1.0])",
            ),
            (
                group(0x0020_930E, new().fd(0x0020_9301, &[1.0, 2.0, 3.0])),
                |f| format!("{:?} {}", f.image_position, f.is_in_volume),
                "Some([1.0, 2.0, 3.0]) true",
            ),
            (
                group(
                    0x0020_930F,
                    new().fd(0x0020_9302, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
                ),
                |f| format!("{:?}", f.image_orientation),
                "Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])",
            ),
            (
                group(
                    0x0040_9096,
                    new()
                        .text(0x0040_9210, "SH", "ADC")
                        .fd(0x0040_9224, &[1.0])
                        .fd(0x0040_9225, &[2.0]),
                ),
                |f| format!("{:?} {:?}", f.real_world_value, f.real_world_label),
                "Some([2.0, 1.0]) Some(\"ADC\")",
            ),
            (
                group(0x0020_9310, new().fd(0x0020_930D, &[2.5])),
                |f| format!("{:?}", f.temporal_position_offset_s),
                "Some(2.5)",
            ),
            (
                group(0x0018_9118, new().fd(0x0020_9153, &[40.0])),
                |f| format!("{:?}", f.trigger_time_ms),
                "Some(40.0)",
            ),
            (
                group(
                    0x0020_9111,
                    new()
                        .text(0x0018_9074, "DT", "19700101000001")
                        .text(0x0020_9056, "SH", "A")
                        .raw(
                            0x0020_9128,
                            "UL",
                            &if encoding.big_endian {
                                [0, 0, 0, 3]
                            } else {
                                [3, 0, 0, 0]
                            },
                        ),
                ),
                |f| {
                    let (time, stack) = (f.acquisition_time_ms, &f.stack_id);
                    format!("{time:?} {stack:?} {:?}", f.temporal_position)
                },
                "Some(1000.0) Some(\"A\") Some(3)",
            ),
            (
                group(
                    0x0018_9504,
                    new().text(0x0008_9007, "CS", "ORIGINAL\\PRIMARY"),
                ),
                |f| f.image_type.join("/"),
                "ORIGINAL/PRIMARY",
            ),
            (
                group(
                    0x0020_9116,
                    new().text(0x0020_0037, "DS", "1\\0\\0\\0\\0\\1"),
                ),
                |f| format!("{:?}", f.image_orientation),
                "Some([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])",
            ),
            (
                group(0x0028_9145, new().text(0x0028_1053, "DS", "0.5")),
                |f| format!("{:?}", f.rescale_slope),
                "Some(0.5)",
            ),
            (
                group(0x0040_9096, new().fd(0x0040_9212, &[1.0, 2.0])),
                |f| format!("{:?} {}", f.real_world_value, f.real_world_value_is_lut),
                "None true",
            ),
            (
                new().sequence(
                    0x0040_9096,
                    false,
                    &[
                        new().fd(0x0040_9212, &[1.0, 2.0]),
                        new().fd(0x0040_9224, &[1.0]).fd(0x0040_9225, &[2.0]),
                        new().fd(0x0040_9212, &[1.0, 2.0]),
                    ],
                ),
                |f| format!("{:?} {}", f.real_world_value, f.real_world_value_is_lut),
                "Some([2.0, 1.0]) false",
            ),
        ];
        for (item, field, expected) in cases {
            let of = |tag| instance(&ct(encoding).sequence(tag, true, std::slice::from_ref(&item)));
            let (shared, frame) = (of(0x5200_9229), of(0x5200_9230));
            assert_eq!(field(&shared.shared), expected, "{encoding:?}, shared");
            assert_eq!(
                field(&frame.per_frame[0]),
                expected,
                "{encoding:?}, a frame"
            );
            assert_eq!(malformed(&shared), [""; 0], "{expected}");
        }
    }
}

#[test]
fn mr_attributes_of_the_top_level() {
    let dataset = ct(Encoding::EXPLICIT_LITTLE)
        .text(0x0018_0082, "DS", "900")
        .text(0x0018_1314, "DS", "15")
        .fd(0x0018_9087, &[700.0])
        .fd(0x0018_9089, &[0.0, 1.0, 0.0]);
    let found = instance(&dataset).shared;
    assert_eq!(found.inversion_time_ms, Some(900.0));
    assert_eq!(found.flip_angle_deg, Some(15.0));
    assert_eq!(found.diffusion_b_value, Some(700.0));
    assert_eq!(found.diffusion_gradient, Some([0.0, 1.0, 0.0]));
    let short = instance(&dataset.fd(0x0018_9089, &[0.0, 1.0]));
    assert_eq!(malformed(&short), ["DiffusionGradientOrientation"]);
}

#[test]
fn shown_macros_are_read_where_they_are_shared() {
    let new = || Builder::new(Encoding::EXPLICIT_LITTLE);
    let mut item = group(0x0018_9112, new().text(0x0018_0080, "DS", "2000"));
    for (macro_tag, inner) in [
        (0x0018_9115, new().text(0x0018_9081, "CS", "YES")),
        (0x0018_9325, new().text(0x0018_0060, "DS", "120")),
        (0x0028_9132, new().text(0x0028_1050, "DS", "40")),
    ] {
        item.bytes.extend(group(macro_tag, inner).bytes);
    }
    let of = |tag| {
        let dataset =
            ct(Encoding::EXPLICIT_LITTLE).sequence(tag, true, std::slice::from_ref(&item));
        let shown = instance(&dataset).attributes;
        ["RepetitionTime", "PartialFourier", "KVP", "WindowCenter"].map(|key| shown.get(key))
    };
    let float = |number| Some(Value::Float(number));
    let partial = Some(Value::Text("YES".to_owned()));
    assert_eq!(
        of(0x5200_9229),
        [float(2000.0), partial, float(120.0), float(40.0)]
    );
    assert_eq!(of(0x5200_9230), [None, None, None, None]);
}

#[test]
fn dimensions() {
    for encoding in ENCODINGS {
        let new = || Builder::new(encoding);
        let pointer = |group: u16, element: u16| {
            let words = [group, element].map(|word| match encoding.big_endian {
                true => word.to_be_bytes(),
                false => word.to_le_bytes(),
            });
            new().raw(0x0020_9165, "AT", words.as_flattened())
        };
        let of = |items: &[Builder]| instance(&ct(encoding).sequence(0x0020_9222, true, items));
        let none = new().text(0x0020_9164, "UI", "1.2");
        let found = of(&[pointer(0x0020, 0x9056), none, pointer(0x0018, 0x9087)]);
        let expected = [(0x0020, 0x9056), (0, 0), (0x0018, 0x9087)];
        assert_eq!(found.dimension_pointers, expected, "{encoding:?}");
        assert_eq!(malformed(&found), [""; 0]);
        let bad = of(&[new().raw(0x0020_9165, "AT", &[1, 2])]);
        assert_eq!(malformed(&bad), ["DimensionIndexPointer"]);
        let many = of(&vec![pointer(0x0020, 0x9056); 1000]);
        assert_eq!(many.dimension_pointers.len(), VALUES_A_FRAME_MAX);
        assert_eq!(malformed(&many), ["DimensionIndexSequence"]);
    }
}

#[test]
fn segments() {
    for encoding in ENCODINGS {
        let new = || Builder::new(encoding);
        let code = |meaning: &str| {
            let item = new()
                .text(0x0008_0100, "SH", "1234-5")
                .text(0x0008_0104, "LO", meaning);
            let modifier = new().text(0x0008_0104, "LO", "Left");
            item.sequence(0x0062_0011, true, &[modifier])
        };
        let liver = new()
            .sequence(0x0062_0003, true, &[code("Organ"), code("Tissue")])
            .us(0x0062_0004, 3)
            .text(0x0062_0005, "LO", "Liver, right lobe")
            .text(0x0062_0008, "CS", "AUTOMATIC")
            .words(0x0062_000D, &[65_535, 0, 32_896])
            .sequence(0x0062_000F, false, &[code("Liver")]);
        let bare = new().us(0x0062_0004, 1);
        let of = |items: &[Builder]| instance(&ct(encoding).sequence(0x0062_0002, true, items));
        let found = of(&[liver, bare]);
        let expected = Segment {
            number: 3,
            label: "Liver, right lobe".to_owned(),
            algorithm_type: "AUTOMATIC".to_owned(),
            category: "Organ".to_owned(),
            property_type: "Liver".to_owned(),
            color_cielab: Some([65_535, 0, 32_896]),
        };
        let second = Segment {
            number: 1,
            ..Segment::default()
        };
        assert_eq!(found.segments, [expected, second], "{encoding:?}");
        assert_eq!(malformed(&found), [""; 0]);
        let bad = of(&[new().words(0x0062_000D, &[1, 2])]);
        assert_eq!(malformed(&bad), ["RecommendedDisplayCIELabValue"]);
    }
    let many = vec![Builder::new(Encoding::EXPLICIT_LITTLE); SEGMENTS_MAX + 9];
    let many = instance(&ct(Encoding::EXPLICIT_LITTLE).sequence(0x0062_0002, false, &many));
    assert_eq!(many.segments.len(), SEGMENTS_MAX);
    assert_eq!(malformed(&many), ["SegmentSequence"]);
}

#[test]
fn the_first_detector_has_the_geometry_of_reconstructed_slices() {
    let encoding = Encoding::EXPLICIT_LITTLE;
    let detector = |x: u32| {
        Builder::new(encoding)
            .text(0x0020_0032, "DS", &format!("{x}\\2\\3"))
            .text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0")
    };
    let start = |term: &str| {
        let image_type = format!("ORIGINAL\\PRIMARY\\{term}\\EMISSION");
        Builder::new(encoding)
            .text(0x0008_0008, "CS", &image_type)
            .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.20")
    };
    let own = start("RECON TOMO").text(0x0020_0032, "DS", "7\\8\\9");
    for (start, position, orientation) in [
        (start("RECON TOMO"), Some([1.0, 2.0, 3.0]), true),
        (start("RECON GATED TOMO"), Some([1.0, 2.0, 3.0]), true),
        (start("TOMO"), None, false),
        (own, Some([7.0, 8.0, 9.0]), true),
    ] {
        let found = instance(&start.sequence(0x0054_0022, true, &[detector(1), detector(4)]));
        assert_eq!(found.shared.image_position, position);
        assert_eq!(found.shared.image_orientation.is_some(), orientation);
    }
}

#[test]
fn vectors_have_a_value_for_every_frame() {
    for encoding in ENCODINGS {
        let of = |count: usize| {
            let words: Vec<u16> = (0..count).map(|n| n as u16).collect();
            let times = vec!["1"; count / 2].join("\\");
            let dataset = ct(encoding).text(0x0018_1065, "DS", &times);
            instance(&dataset.words(0x0054_0080, &words).us(0x0054_0081, 2))
        };
        let found = of(FRAME_VALUES_MAX);
        assert_eq!(malformed(&found), [""; 0], "{encoding:?}");
        let expected = (0..FRAME_VALUES_MAX as i64).collect();
        assert_eq!(
            found.attributes.get("SliceVector"),
            Some(Value::Ints(expected))
        );
        let times = found.attributes.floats("FrameTimeVector").expect("a list");
        assert_eq!(times.len(), FRAME_VALUES_MAX / 2);
    }
    // Longer ones are possible in implicit VR, and are told, not cut.
    let words = vec![1; FRAME_VALUES_MAX + 1];
    let long = ct(Encoding::IMPLICIT_LITTLE).words(0x0054_0080, &words);
    let found = instance(&long);
    assert_eq!(found.attributes.get("SliceVector"), None);
    assert_eq!(malformed(&found), ["SliceVector"]);
    let window = ct(Encoding::IMPLICIT_LITTLE).text(0x0028_1050, "DS", &"1\\".repeat(2000));
    assert_eq!(malformed(&instance(&window)), ["WindowCenter"]);
}

#[test]
fn padding_is_signed_as_the_pixels_are() {
    for encoding in ENCODINGS {
        let bytes = |range: [i16; 2]| range.map(|value| value as u16);
        let dataset = ct(encoding).words(0x0028_0121, &bytes([-2000, -1]));
        assert_eq!(
            instance(&dataset).attributes.get("PixelPaddingRangeLimit"),
            Some(Value::Ints(vec![-2000, -1]))
        );
    }
}

#[test]
fn the_time_of_a_frame_is_the_nearest_there_is() {
    let new = || Builder::new(Encoding::EXPLICIT_LITTLE);
    let content = |item: Builder| group(0x0020_9111, item);
    let top = |dataset: Builder| instance(&dataset).shared.acquisition_time_ms;
    let start = || new().text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.4.1");
    let at = start().text(0x0008_002A, "DT", "19700102000001");
    assert_eq!(top(at.clone()), Some(86_401_000.0));
    assert_eq!(top(at.text(0x0008_0032, "TM", "000002")), Some(2000.0));
    assert_eq!(top(start().text(0x0008_002A, "DT", "197001")), None);
    let reference = new().text(0x0018_9151, "DT", "19700101000003");
    let both = new().text(0x0018_9074, "DT", "19700101000004");
    let both = both.text(0x0018_9151, "DT", "19700101000003");
    for (item, expected) in [(reference, 3000.0), (both, 4000.0)] {
        let dataset = start().sequence(0x5200_9230, true, &[content(item)]);
        let frames = instance(&dataset).per_frame;
        assert_eq!(frames[0].acquisition_time_ms, Some(expected));
    }
}
