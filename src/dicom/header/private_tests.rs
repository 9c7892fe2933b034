//! Private attributes: blocks and creators, b-values, mosaics, the scale of Philips.

use proptest::prelude::*;

use super::*;
use crate::dicom::limits::CSA_BYTES_MAX;
use crate::dicom::testing::{Builder, data_dir};
use crate::dicom::{Mosaic, Value};

const ENCODING: Encoding = Encoding::EXPLICIT_LITTLE;

fn start(modality: &str, image_type: &str) -> Builder {
    Builder::new(ENCODING)
        .text(0x0008_0008, "CS", image_type)
        .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.4")
        .text(0x0008_0060, "CS", modality)
}

fn mr() -> Builder {
    start("MR", "ORIGINAL\\PRIMARY\\M")
}

fn instance(dataset: &Builder) -> Instance {
    match read_header(&dataset.bytes[..], dataset.bytes.len() as u64) {
        Ok(Header::Instance(instance)) => *instance,
        other => panic!("not an instance: {other:?}"),
    }
}

fn fl(builder: Builder, tag: u32, value: f32) -> Builder {
    builder.raw(tag, "FL", &value.to_le_bytes())
}

/// Codes and keywords of the issues, but for the Transfer Syntax, of which there is none here.
fn issues(instance: &Instance) -> Vec<(&str, &str)> {
    let issues = instance.issues.iter();
    let issues = issues.map(|issue| (&issue.code[..], &issue.keyword[..]));
    issues
        .filter(|issue| issue.1 != "TransferSyntaxUID")
        .collect()
}

#[test]
fn b_values_of_each_vendor() {
    let siemens = |value: &str| {
        mr().text(0x0019_0010, "LO", "SIEMENS MR HEADER")
            .text(0x0019_100C, "IS", value)
    };
    let ge = |value: &str| {
        mr().text(0x0043_0010, "LO", "GEMS_PARM_01")
            .text(0x0043_1039, "IS", value)
    };
    let uih = mr().text(0x0065_0010, "LO", "Image Private Header");
    let philips = mr().text(0x2001_0010, "LO", "Philips Imaging DD 001");
    for (dataset, expected) in [
        (siemens("1000"), Some(1000.0)),
        (siemens("0"), Some(0.0)),
        (siemens(""), None),
        (siemens("-5"), None),
        (ge("1000000800\\8\\0\\0"), Some(800.0)),
        (ge("1000000000\\\\0\\0"), Some(0.0)),
        (ge("700\\268435456\\0\\0"), Some(700.0)),
        (ge("12000"), Some(12_000.0)),
        (uih.fd(0x0065_1009, &[994.5]), Some(994.5)),
        (fl(philips, 0x2001_1003, 500.0), Some(500.0)),
    ] {
        let found = instance(&dataset);
        assert_eq!(found.shared.diffusion_b_value, expected);
        // The standard attribute comes first, wherever it is.
        let both = instance(&dataset.fd(0x0018_9087, &[3.0]));
        assert_eq!(both.shared.diffusion_b_value, Some(3.0));
        assert_eq!(both.attributes.iter().count(), 3);
    }
}

#[test]
fn parts_of_the_signal_of_ge() {
    for (number, expected) in [
        (0_i16, Some("MAGNITUDE")),
        (1, Some("PHASE")),
        (2, Some("REAL")),
        (3, Some("IMAGINARY")),
        (4, None),
        (-1, None),
    ] {
        let dataset = mr().text(0x0043_0010, "LO", "GEMS_PARM_01");
        let dataset = dataset.raw(0x0043_102F, "SS", &number.to_le_bytes());
        let found = instance(&dataset).shared.complex_image_component;
        assert_eq!(found.as_deref(), expected, "{number}");
        let both = dataset.text(0x0008_9208, "CS", "MIXED");
        let found = instance(&both).shared.complex_image_component;
        assert_eq!(found.as_deref(), Some("MIXED"));
    }
}

#[test]
fn directions_of_siemens() {
    let of = |direction: &[f64]| {
        let dataset = mr().text(0x0019_0010, "LO", "SIEMENS MR HEADER");
        instance(&dataset.fd(0x0019_100E, direction))
    };
    let found = of(&[0.6, 0.8, 0.0]);
    assert_eq!(found.shared.diffusion_gradient, Some([0.6, 0.8, 0.0]));
    assert_eq!(of(&[0.0, 0.0, 0.0]).shared.diffusion_gradient, None);
    let short = of(&[1.0]);
    assert_eq!(short.shared.diffusion_gradient, None);
    let keyword = "SiemensDiffusionGradientDirection";
    assert_eq!(issues(&short), [("malformed_attribute", keyword)]);
}

#[test]
fn directions_in_axes_of_the_vendor() {
    let ge = |parts: &[&str]| {
        let start = mr().text(0x0019_0010, "LO", "GEMS_ACQU_01");
        let parts = parts.iter().enumerate();
        parts.fold(start, |dataset, (index, part)| {
            dataset.text(0x0019_10BB + index as u32, "DS", part)
        })
    };
    let philips = mr().text(0x2005_0010, "LO", "Philips MR Imaging DD 001");
    let philips = fl(philips, 0x2005_10B0, 0.5);
    let philips = fl(fl(philips, 0x2005_10B1, 0.0), 0x2005_10B2, -1.0);
    for (dataset, expected) in [
        (ge(&["0.6", "-0.8", "0"]), Some([0.6, -0.8, 0.0])),
        (ge(&["0", "0", "0"]), Some([0.0; 3])),
        (ge(&["0.6", "-0.8"]), None),
        (philips, Some([0.5, 0.0, -1.0])),
    ] {
        let shared = instance(&dataset).shared;
        assert_eq!(shared.gradient_as_written, expected);
        assert_eq!(shared.diffusion_gradient, None);
    }
}

#[test]
fn blocks_are_those_of_their_creator() {
    let value = |dataset: Builder, tag: u32| dataset.text(tag, "IS", "1000");
    let creator = |tag: u32, name: &str| mr().text(tag, "LO", name);
    let siemens = "SIEMENS MR HEADER";
    let filled = (0x10..0x30).fold(mr(), |dataset, block| {
        dataset.text(0x0019_0000 + block, "LO", siemens)
    });
    for (dataset, expected) in [
        (value(creator(0x0019_0010, siemens), 0x0019_100C), true),
        (value(creator(0x0019_00FF, siemens), 0x0019_FF0C), true),
        (value(creator(0x0019_0042, siemens), 0x0019_420C), true),
        (value(creator(0x0019_0042, siemens), 0x0019_100C), false),
        (value(creator(0x0019_0010, "SIEMENS"), 0x0019_100C), false),
        (value(creator(0x0021_0010, siemens), 0x0019_100C), false),
        (value(creator(0x0021_0010, siemens), 0x0021_100C), false),
        (value(creator(0x0019_000F, siemens), 0x0019_0F0C), false),
        (value(creator(0x0019_0010, siemens), 0x0019_000C), false),
        (
            value(creator(0x0019_0010, &siemens.repeat(30)), 0x0019_100C),
            false,
        ),
        (value(mr(), 0x0019_100C), false),
        (value(filled, 0x0019_110C), true),
        // The creator of an item is not that of the dataset.
        (
            value(
                mr().sequence(0x0008_1140, true, &[creator(0x0019_0010, siemens)]),
                0x0019_100C,
            ),
            false,
        ),
        // Other modalities have no such attributes, and many private ones.
        (
            value(
                start("CT", "AXIAL").text(0x0019_0010, "LO", siemens),
                0x0019_100C,
            ),
            false,
        ),
    ] {
        let found = instance(&dataset);
        assert_eq!(found.shared.diffusion_b_value.is_some(), expected);
        assert_eq!(issues(&found), []);
    }
}

#[test]
fn the_scale_of_philips_is_shown() {
    let creators = |builder: Builder| {
        builder
            .text(0x2005_0010, "LO", "Philips MR Imaging DD 001")
            .text(0x2005_0014, "LO", "Philips MR Imaging DD 005")
    };
    let scaled = |builder: Builder, slope: f32| {
        let builder = fl(creators(builder), 0x2005_100D, -1.0);
        fl(builder, 0x2005_100E, slope)
    };
    let nested = |slope: f32| scaled(Builder::new(ENCODING), slope);
    let frame = |slope: f32| {
        let item = creators(Builder::new(ENCODING));
        item.sequence(0x2005_140F, true, &[nested(slope), nested(9.0)])
    };
    let enhanced = mr().sequence(0x5200_9230, true, &[frame(0.25), frame(0.5)]);
    // Items in which the creator stands only around them.
    let bare = fl(Builder::new(ENCODING), 0x2005_100E, 0.25);
    let bare = creators(Builder::new(ENCODING)).sequence(0x2005_140F, true, &[bare]);
    let bare = creators(mr()).sequence(0x5200_9230, true, &[bare]);
    // What is said to be UN and is none.
    let unknown = creators(Builder::new(ENCODING)).raw(0x2005_140F, "UN", &[7; 40]);
    let unknown = mr().sequence(0x5200_9230, true, &[unknown]);
    let float = |number| Some(Value::Float(number));
    for (dataset, slope, intercept) in [
        (scaled(mr(), 0.5), float(0.5), float(-1.0)),
        (enhanced, float(0.25), float(-1.0)),
        (bare, None, None),
        (unknown, None, None),
        (mr(), None, None),
    ] {
        let found = instance(&dataset);
        assert_eq!(found.attributes.get("PhilipsScaleSlope"), slope);
        assert_eq!(found.attributes.get("PhilipsScaleIntercept"), intercept);
        assert_eq!(found.shared.rescale_slope, None);
        assert_eq!(issues(&found), []);
    }
}

/// A CSA header with the number of tiles and nothing else.
fn csa(tiles: &str) -> Vec<u8> {
    let mut bytes = b"SV10\x04\x03\x02\x01\x01\0\0\0\x4D\0\0\0NumberOfImagesInMosaic".to_vec();
    bytes.resize(16 + 64, 0);
    bytes.extend(b"\x01\0\0\0US\0\0\x0A\0\0\0\x01\0\0\0\x4D\0\0\0");
    let length = tiles.len() as u8;
    bytes.extend([
        length, 0, 0, 0, length, 0, 0, 0, 0x4D, 0, 0, 0, length, 0, 0, 0,
    ]);
    bytes.extend(tiles.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn mosaics() {
    let terms = "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC";
    let missing = ("missing_attribute", "NumberOfImagesInMosaic");
    let times = ("malformed_attribute", "MosaicRefAcqTimes");
    let damaged = ("malformed_attribute", "SiemensCsaImageHeader");
    let with_csa = |dataset: Builder, bytes: &[u8]| {
        dataset
            .text(0x0029_0010, "LO", "SIEMENS CSA HEADER")
            .raw(0x0029_1010, "OB", bytes)
    };
    let elements = |terms: &str, slice_times: &[f64]| {
        start("MR", terms)
            .text(0x0019_0010, "LO", "SIEMENS MR HEADER")
            .us(0x0019_100A, 3)
            .fd(0x0019_1028, &[12.5])
            .fd(0x0019_1029, slice_times)
    };
    let bare = |tiles: u32| Mosaic {
        tiles,
        ..Mosaic::default()
    };
    let full = |slice_times_ms: &[f64]| Mosaic {
        tiles: 3,
        slice_times_ms: slice_times_ms.to_vec(),
        bandwidth_per_pixel_phase_encode_hz: Some(12.5),
        ..Mosaic::default()
    };
    let image_of = |frames: u32| {
        start("MR", terms)
            .text(0x0028_0004, "CS", "MONOCHROME2")
            .text(0x0028_0008, "IS", &frames.to_string())
            .us(0x0028_0010, 4)
            .us(0x0028_0011, 4)
            .us(0x0028_0100, 16)
    };
    let long = vec![0; CSA_BYTES_MAX as usize + 2];
    for (dataset, expected, found_issues) in [
        (
            with_csa(start("MR", terms), &csa("25")),
            Some(bare(25)),
            &[][..],
        ),
        (
            elements(terms, &[0.0, 20.0, 10.0]),
            Some(full(&[0.0, 20.0, 10.0])),
            &[],
        ),
        (elements(terms, &[0.0, 20.0]), Some(full(&[])), &[times]),
        (
            with_csa(elements(terms, &[0.0; 3]), &csa("25")),
            Some(full(&[0.0; 3])),
            &[],
        ),
        (
            with_csa(start("MR", terms), &csa("25")[..60]),
            None,
            &[damaged, missing],
        ),
        (
            with_csa(start("MR", terms), &long),
            None,
            &[damaged, missing],
        ),
        (start("MR", terms), None, &[missing]),
        // Enhanced objects keep the word of what they have taken apart.
        (image_of(1), None, &[missing]),
        (image_of(2), None, &[]),
        // No other image is looked into.
        (with_csa(mr(), b"no CSA header"), None, &[]),
        (elements("ORIGINAL\\PRIMARY", &[0.0]), None, &[]),
        (start("CT", terms), None, &[]),
    ] {
        let found = instance(&dataset);
        assert_eq!(found.mosaic, expected);
        assert_eq!(issues(&found), found_issues);
    }
}

/// What pydicom and nibabel's csareader say of the real files.
#[test]
fn grids_of_united_imaging() {
    let slice = |z: u32| {
        Builder::new(ENCODING)
            .text(0x0008_0032, "TM", &format!("10000{z}"))
            .text(0x0020_0032, "DS", &format!("1\\2\\{z}"))
    };
    let of = |count: &str, slices: &[Builder]| {
        start("MR", "ORIGINAL\\PRIMARY\\DWI\\VFRAME")
            .text(0x0065_0010, "LO", "Image Private Header")
            .fd(0x0065_1037, &[0.0, 0.6, -0.8])
            .text(0x0065_1050, "DS", count)
            .sequence(0x0065_1051, true, slices)
    };
    let found = instance(&of("2", &[slice(5), slice(3)]));
    let mosaic = found.mosaic.as_ref().expect("a grid");
    assert_eq!(
        (mosaic.tiles, &mosaic.positions[..]),
        (2, &[[1.0, 2.0, 5.0], [1.0, 2.0, 3.0]][..])
    );
    assert_eq!(mosaic.slice_times_ms, [36_005_000.0, 36_003_000.0]);
    assert_eq!(found.shared.image_position, Some([1.0, 2.0, 5.0]));
    assert_eq!(found.shared.gradient_as_written, Some([0.0, 0.6, -0.8]));
    assert_eq!(issues(&found), []);
    let found = instance(&of("3", &[slice(5), slice(3)]));
    assert!(found.mosaic.expect("a grid").positions.is_empty());
    assert_eq!(found.issues.len(), 3, "{:?}", found.issues);
    assert_eq!(found.shared.image_position, None);
}

#[test]
fn real_files() {
    let Some(dir) = data_dir() else { return };
    let of = |name: &str| {
        let file = std::fs::File::open(dir.join("volumes").join(name)).expect("readable");
        match read_header(&file, file.metadata().expect("stat").len()) {
            Ok(Header::Instance(instance)) => *instance,
            other => panic!("not an instance: {other:?}"),
        }
    };
    for (name, times) in [
        (
            "mr_siemens_mosaic_2/dicom/epi_pe_ap-00001.dcm",
            [
                0.0,
                1450.00000001,
                482.50000001,
                1932.50000001,
                967.50000001,
            ],
        ),
        (
            "mr_siemens_mosaic_2/dicom/epi_pe_ap-00002.dcm",
            [0.0, 1450.0, 482.5, 1932.5, 967.5],
        ),
    ] {
        let expected = Mosaic {
            tiles: 5,
            positions: Vec::new(),
            slice_normal: Some([0.0, 0.0, 1.0]),
            slice_times_ms: times.to_vec(),
            phase_encoding_positive: Some(true),
            bandwidth_per_pixel_phase_encode_hz: Some(27.778),
            // No diffusion.
            b_value: None,
            gradient: None,
        };
        assert_eq!(of(name).mosaic, Some(expected), "{name}");
    }
    for (name, slope) in [
        (
            "mr_philips_enhanced_fieldmap_64f/dicom/IM_0027_fMAP.dcm",
            8.448_64e-6_f32,
        ),
        ("mr_philips_t1_24/dicom/0003.dcm", 0.084_266_41),
    ] {
        let shown = of(name).attributes;
        let expected = Some(Value::Float(f64::from(slope)));
        assert_eq!(shown.get("PhilipsScaleSlope"), expected, "{name}");
        assert_eq!(shown.get("PhilipsScaleIntercept"), Some(Value::Float(0.0)));
    }
}

proptest! {
    #[test]
    fn mutated_private_headers_do_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let segment = Builder::new(ENCODING)
            .us(0x0062_0004, 1)
            .words(0x0062_000D, &[1, 2, 3]);
        let frame = Builder::new(ENCODING)
            .text(0x2005_0014, "LO", "Philips MR Imaging DD 005")
            .sequence(0x2005_140F, true, &[fl(Builder::new(ENCODING), 0x2005_100E, 1.0)]);
        let mut bytes = start("MR", "ORIGINAL\\MOSAIC")
            .text(0x0019_0010, "LO", "SIEMENS MR HEADER")
            .us(0x0019_100A, 3)
            .fd(0x0019_1029, &[0.0; 3])
            .sequence(0x0020_9222, true, &[Builder::new(ENCODING).raw(0x0020_9165, "AT", &[0; 4])])
            .text(0x0029_0010, "LO", "SIEMENS CSA HEADER")
            .raw(0x0029_1010, "OB", &csa("3"))
            .words(0x0054_0080, &[1; 40])
            .sequence(0x0062_0002, false, &[segment])
            .sequence(0x5200_9230, true, &[frame])
            .bytes;
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(Header::Instance(found)) = read_header(&bytes[..], bytes.len() as u64) {
            prop_assert!(found.segments.len() <= bytes.len() / 8);
            prop_assert!(found.mosaic.is_none_or(|mosaic| mosaic.slice_times_ms.len() <= 1024));
        }
    }
}
