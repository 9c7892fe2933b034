//! Headers of all encodings, whole, broken and hostile.

use proptest::prelude::*;

use super::*;
use crate::dicom::limits::{HEADER_BYTES_MAX, NESTING_MAX};
use crate::dicom::testing::{Builder, UNDEFINED, ct, file};
use crate::dicom::{Photometric, PixelElement, Value};

const BIG: Encoding = Encoding {
    explicit_vr: true,
    big_endian: true,
};
const PIXELS: u32 = 0x7FE0_0010;

fn with_pixels(dataset: Builder) -> Vec<u8> {
    dataset.raw(PIXELS, "OW", &[0x5A; 12]).bytes
}

fn read(bytes: &[u8]) -> Result<Header, Error> {
    read_header(bytes, bytes.len() as u64)
}

fn instance(bytes: &[u8]) -> Instance {
    match read(bytes) {
        Ok(Header::Instance(instance)) => *instance,
        other => panic!("not an instance: {other:?}"),
    }
}

fn codes(instance: &Instance) -> Vec<(&str, &str)> {
    let issues = instance.issues.iter();
    issues
        .map(|issue| (issue.code.as_str(), issue.keyword.as_str()))
        .collect()
}

/// What [`ct`] describes, whatever it is written in.
fn check_ct(name: &str, instance: &Instance) {
    let shared = &instance.shared;
    let image = instance
        .image
        .as_ref()
        .unwrap_or_else(|| panic!("{name}: no image"));
    assert_eq!(instance.series_instance_uid, "1.2.3.1", "{name}");
    assert_eq!(instance.sop_instance_uid, "1.2.3.4.5", "{name}");
    assert_eq!(
        (image.rows, image.columns, image.number_of_frames),
        (2, 3, 1),
        "{name}"
    );
    assert_eq!(
        (image.bits_allocated, image.bits_stored, image.high_bit),
        (16, 12, 11),
        "{name}"
    );
    assert!(
        image.signed && image.photometric == Photometric::Monochrome2,
        "{name}"
    );
    assert_eq!(image.element, PixelElement::PixelData, "{name}");
    assert_eq!(shared.image_position, Some([-1.5, 2.0, 30.0]), "{name}");
    assert_eq!(
        shared.image_orientation,
        Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        "{name}"
    );
    assert_eq!(shared.pixel_spacing, Some([0.5, 0.75]), "{name}");
    assert_eq!(
        (shared.rescale_slope, shared.rescale_intercept),
        (Some(1.0), Some(-1024.0))
    );
    assert_eq!(shared.instance_number, Some(7), "{name}");
    assert_eq!(shared.acquisition_time_ms, Some(36_672_500.0), "{name}");
    assert_eq!(
        shared.image_type,
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        "{name}"
    );
    let shown = |keyword: &str| instance.attributes.get(keyword);
    assert_eq!(
        shown("PatientName"),
        Some(Value::Text("Buc^J\u{e9}r\u{f4}me".into())),
        "{name}"
    );
    assert_eq!(shown("SliceThickness"), Some(Value::Float(1.25)), "{name}");
    assert_eq!(shown("InstanceNumber"), Some(Value::Int(7)), "{name}");
    assert_eq!(
        shown("PixelSpacing"),
        Some(Value::Floats(vec![0.5, 0.75])),
        "{name}"
    );
}

/// The bytes where the pixel element is said to be.
fn check_pixels(name: &str, instance: &Instance, bytes: &[u8]) {
    let location = instance
        .pixel_data
        .unwrap_or_else(|| panic!("{name}: no pixels"));
    assert_eq!(location.length_bytes, Some(12), "{name}");
    let start = location.offset_bytes as usize;
    assert_eq!(bytes[start..], [0x5A; 12], "{name}");
}

#[test]
fn every_encoding_reads_the_same() {
    let (explicit, implicit) = (Encoding::EXPLICIT_LITTLE, Encoding::IMPLICIT_LITTLE);
    let jpeg = "1.2.840.10008.1.2.4.70";
    let assumed = &[("transfer_syntax_assumed", "TransferSyntaxUID")][..];
    let mismatch = &[("dataset_encoding_mismatch", "TransferSyntaxUID")][..];
    let native = &[("malformed_header", "PixelData")][..];
    for (uid, encoding, issues) in [
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, explicit, &[][..]),
        (syntax::IMPLICIT_VR_LITTLE_ENDIAN, implicit, &[]),
        (syntax::EXPLICIT_VR_BIG_ENDIAN, BIG, &[]),
        (jpeg, explicit, native),
        ("1.2.3.4.5.6.7", explicit, &[]),
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, implicit, mismatch),
        (syntax::IMPLICIT_VR_LITTLE_ENDIAN, explicit, mismatch),
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, BIG, mismatch),
        ("", explicit, assumed),
        ("", implicit, assumed),
        ("", BIG, assumed),
    ] {
        let name = format!("{uid} {encoding:?}");
        let dataset = with_pixels(ct(encoding));
        let bytes = file(uid, &dataset);
        let whole = instance(&bytes);
        check_ct(&name, &whole);
        check_pixels(&name, &whole, &bytes);
        assert_eq!(codes(&whole), issues, "{name}");
        if !uid.is_empty() {
            assert_eq!(whole.transfer_syntax_uid, uid);
        }
        // The same without preamble, and without any File Meta Information.
        assert_eq!(instance(&bytes[132..]).shared, whole.shared, "{name}");
        let bare = instance(&dataset);
        check_pixels(&name, &bare, &dataset);
        assert_eq!(codes(&bare), assumed, "{name}");
    }
}

#[test]
fn tags_need_not_ascend() {
    let dataset = ct(Encoding::EXPLICIT_LITTLE)
        .text(0x0018_0060, "DS", "120")
        .text(0x0018_1110, "DS", "949.075")
        .text(0x0018_0087, "DS", "1.5")
        .text(0x0008_103E, "LO", "late")
        .text(0x0018_0060, "DS", "140");
    let found = instance(&file(
        syntax::EXPLICIT_VR_LITTLE_ENDIAN,
        &with_pixels(dataset),
    ));
    check_ct("not ascending", &found);
    for (keyword, value) in [
        ("KVP", Value::Float(140.0)),
        ("MagneticFieldStrength", Value::Float(1.5)),
        ("DistanceSourceToDetector", Value::Float(949.075)),
        ("SeriesDescription", Value::Text("late".into())),
    ] {
        assert_eq!(found.attributes.get(keyword), Some(value), "{keyword}");
    }
    let keywords: Vec<&str> = found
        .attributes
        .iter()
        .map(|(keyword, _)| keyword)
        .collect();
    let once: std::collections::BTreeSet<&str> = keywords.iter().copied().collect();
    assert_eq!(once.len(), keywords.len());
}

#[test]
fn a_wrong_meta_group_length_is_not_believed() {
    let bytes = file(
        syntax::EXPLICIT_VR_LITTLE_ENDIAN,
        &with_pixels(ct(Encoding::EXPLICIT_LITTLE)),
    );
    for wrong in [0u32, 1, 30, 100_000, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[140..144].copy_from_slice(&wrong.to_le_bytes());
        check_ct("group length", &instance(&bytes));
    }
}

fn deflated(dataset: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(dataset).expect("in memory");
    file(
        "1.2.840.10008.1.2.1.99",
        &encoder.finish().expect("in memory"),
    )
}

#[test]
fn deflated_datasets() {
    let dataset = with_pixels(ct(Encoding::EXPLICIT_LITTLE));
    let bytes = deflated(&dataset);
    let whole = instance(&bytes);
    check_ct("deflated", &whole);
    check_pixels("deflated", &whole, &dataset);
    let offset = whole.pixel_data.expect("there").offset_bytes;
    let mut pixels = [0; 12];
    let len = bytes.len() as u64;
    crate::dicom::read_deflated(&bytes, len, offset, &mut pixels).expect("readable");
    assert_eq!(pixels, [0x5A; 12]);
    let beyond = crate::dicom::read_deflated(&bytes, len, offset + 1, &mut pixels);
    assert!(matches!(beyond, Err(Error::Truncated { .. })), "{beyond:?}");
    // A long private value is skipped by inflating it; one without end is refused.
    let long = |length: usize| {
        let dataset = ct(Encoding::EXPLICIT_LITTLE).raw(0x0029_1010, "OB", &vec![0; length]);
        read(&deflated(&with_pixels(dataset)))
    };
    assert!(matches!(long(1 << 20), Ok(Header::Instance(found)) if found.pixel_data.is_some()));
    assert!(matches!(long(65 << 20), Err(Error::TooLarge { .. })));
    let mut corrupt = bytes.clone();
    let at = corrupt.len() - 200;
    corrupt[at..].fill(0xFF);
    assert!(read(&corrupt).is_err() || instance(&corrupt).pixel_data.is_none());
}

/// Sequences that the parser has no interest in, of all forms, nested.
fn cluttered(encoding: Encoding) -> Builder {
    let leaf = Builder::new(encoding).text(0x0008_0100, "SH", "T-A0001");
    let inner = Builder::new(encoding).sequence(0x0008_2218, true, std::slice::from_ref(&leaf));
    let icon = Builder::new(encoding).raw(PIXELS, "OW", &[1; 64]);
    let first = Builder::new(encoding)
        .sequence(0x0008_1140, true, &[inner.clone(), leaf.clone()])
        .sequence(0x0008_1111, false, &[inner.clone(), inner])
        .sequence(0x0009_1001, true, std::slice::from_ref(&leaf))
        .raw(0x0009_1002, "OB", &[7; 9000]);
    let implicit = Builder::new(Encoding::IMPLICIT_LITTLE);
    let unknown = implicit.text(0x0008_0100, "SH", "T-A0001");
    let mut dataset = first;
    dataset = dataset.header(0x0009_1003, "UN", UNDEFINED);
    let items = Builder::new(Encoding::IMPLICIT_LITTLE).sequence(0x0009_1003, true, &[unknown]);
    dataset.bytes.extend(&items.bytes[8..]);
    dataset.bytes.extend(ct(encoding).bytes);
    dataset.sequence(0x0088_0200, true, &[icon])
}

#[test]
fn sequences_of_all_forms_are_skipped() {
    for (uid, encoding) in [
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, Encoding::EXPLICIT_LITTLE),
        (syntax::IMPLICIT_VR_LITTLE_ENDIAN, Encoding::IMPLICIT_LITTLE),
        (syntax::EXPLICIT_VR_BIG_ENDIAN, BIG),
    ] {
        let bytes = file(uid, &with_pixels(cluttered(encoding)));
        let found = instance(&bytes);
        check_ct(uid, &found);
        check_pixels(uid, &found, &bytes);
        assert_eq!(codes(&found), [], "{uid}");
    }
}

#[test]
fn functional_groups() {
    let encoding = Encoding::EXPLICIT_LITTLE;
    let new = || Builder::new(encoding);
    let one = |tag: u32, item: Builder| new().sequence(tag, true, &[item]);
    let units = new().text(0x0008_0100, "SH", "mm2/s");
    let mapping = new()
        .sequence(0x0040_08EA, false, &[units])
        .raw(0x0040_9224, "FD", &0.5f64.to_le_bytes())
        .raw(0x0040_9225, "FD", &2.0f64.to_le_bytes());
    let mut shared = one(0x0028_9110, new().text(0x0028_0030, "DS", "3\\4"));
    shared.bytes.extend(one(0x0040_9096, mapping).bytes);
    let frame = |z: i32, echo: f64| {
        let content = new().raw(0x0020_9057, "UL", &[9, 0, 0, 0]).raw(
            0x0020_9157,
            "UL",
            &[1, 0, 0, 0, 2, 0, 0, 0],
        );
        let mut item = one(
            0x0018_9114,
            new().raw(0x0018_9082, "FD", &echo.to_le_bytes()),
        );
        item.bytes.extend(one(0x0020_9111, content).bytes);
        let position = new().text(0x0020_0032, "DS", &format!("0\\0\\{z}"));
        item.bytes.extend(one(0x0020_9113, position).bytes);
        // The same tag within a macro that is about another image.
        let other = new().text(0x0020_0032, "DS", "9\\9\\9");
        item.bytes.extend(one(0x0008_9124, other).bytes);
        item
    };
    let dataset = ct(encoding)
        .sequence(0x5200_9229, true, &[shared])
        .sequence(0x5200_9230, false, &[frame(1, 2.5), frame(2, 5.0)]);
    let instance = instance(&with_pixels(dataset));
    assert_eq!(instance.shared.pixel_spacing, Some([3.0, 4.0]));
    assert_eq!(instance.shared.real_world_value, Some([2.0, 0.5]));
    assert_eq!(instance.shared.units.as_deref(), Some("mm2/s"));
    let [first, second] = &instance.per_frame[..] else {
        panic!("{:?}", instance.per_frame);
    };
    assert_eq!(first.image_position, Some([0.0, 0.0, 1.0]));
    assert_eq!(second.image_position, Some([0.0, 0.0, 2.0]));
    assert_eq!(second.echo_time_ms, Some(5.0));
    assert_eq!(first.in_stack_position, Some(9));
    assert_eq!(first.dimension_index_values, [1, 2]);
    assert_eq!(first.pixel_spacing, None);
    assert_eq!(
        instance.attributes.get("PixelSpacing"),
        Some(Value::Floats(vec![3.0, 4.0]))
    );
    assert_eq!(
        codes(&instance),
        [("transfer_syntax_assumed", "TransferSyntaxUID")]
    );
}

#[test]
fn encapsulated_and_float_pixels() {
    let dataset = ct(Encoding::EXPLICIT_LITTLE)
        .raw(0x7FE0_0001, "OV", &[0; 8])
        .raw(0x7FE0_0002, "OV", &[0; 8])
        .header(PIXELS, "OB", UNDEFINED);
    let start = dataset.bytes.len() as u64;
    let found = instance(&dataset.bytes).pixel_data.expect("there");
    assert_eq!((found.offset_bytes, found.length_bytes), (start, None));
    let tables = [(start - 40, 8), (start - 20, 8)];
    assert_eq!(found.extended_offset_table, Some(tables));
    let floats = ct(Encoding::EXPLICIT_LITTLE).us(0x0028_0100, 32);
    let floats = instance(&floats.raw(0x7FE0_0008, "OF", &[0; 24]).bytes);
    assert_eq!(
        floats.image.map(|image| image.element),
        Some(PixelElement::FloatPixelData)
    );
}

#[test]
fn malformed_is_not_absent() {
    let check = |tag: u32, vr: &str, value: &[u8], keyword: &str, image: bool| {
        let bytes = with_pixels(ct(Encoding::EXPLICIT_LITTLE).raw(tag, vr, value));
        let bytes = file(syntax::EXPLICIT_VR_LITTLE_ENDIAN, &bytes);
        let found = instance(&bytes);
        assert_eq!(codes(&found), [("malformed_attribute", keyword)]);
        assert_eq!(found.image.is_some(), image, "{keyword}");
        found
    };
    let found = check(0x0018_0088, "DS", b"thin", "SpacingBetweenSlices", true);
    assert_eq!(found.shared.spacing_between_slices, None);
    assert_eq!(found.attributes.get("SpacingBetweenSlices"), None);
    check(0x0028_0008, "IS", b"two ", "NumberOfFrames", false);
    check(0x0028_0008, "IS", b"-2", "NumberOfFrames", false);
    check(0x0028_0008, "IS", b"9999999999", "NumberOfFrames", false);
    check(0x0028_0010, "US", b"\0", "Rows", false);
    check(0x0028_0010, "US", b"\0\0", "Rows", false);
    check(0x0028_0101, "US", b"\x11\0", "BitsStored", false);
    check(0x0028_0100, "US", b"\x0C\0", "BitsAllocated", false);
    for high_bit in [b"\x10\0", b"\x03\0"] {
        let found = check(0x0028_0102, "US", high_bit, "HighBit", true);
        let image = found.image.expect("there");
        assert_eq!(image.high_bit + 1, image.bits_stored);
    }
    check(0x0028_0103, "US", b"\x02\0", "PixelRepresentation", false);
    check(
        0x0020_0100,
        "IS",
        b"1.5 ",
        "TemporalPositionIdentifier",
        true,
    );
    check(0x0008_0033, "TM", b"noon", "ContentTime", true);
    check(
        0x0018_0088,
        "DS",
        &[b'1'; 20_000],
        "SpacingBetweenSlices",
        true,
    );
    let bytes = with_pixels(Builder::new(Encoding::EXPLICIT_LITTLE).text(0x0008_0016, "UI", "1.2"));
    let codes_found = instance(&file(syntax::EXPLICIT_VR_LITTLE_ENDIAN, &bytes));
    assert_eq!(codes(&codes_found), [("missing_attribute", "Rows")]);
}

#[test]
fn bytes_in_big_endian_words_are_not_taken_for_bytes() {
    let big = Encoding {
        explicit_vr: true,
        big_endian: true,
    };
    for (bits, vr, is_read) in [(8, "OB", true), (8, "OW", false), (16, "OW", true)] {
        let dataset = ct(big)
            .us(0x0028_0100, bits)
            .us(0x0028_0101, 8)
            .us(0x0028_0102, 7);
        let found = instance(&dataset.raw(PIXELS, vr, &[0; 12]).bytes);
        assert_eq!(found.image.is_some(), is_read, "{bits} {vr}");
        let told = ("unsupported_transfer_syntax", "PixelData");
        assert_eq!(codes(&found).contains(&told), !is_read, "{bits} {vr}");
    }
    // Little endian words hold bytes in their order.
    let little = ct(Encoding::EXPLICIT_LITTLE).us(0x0028_0100, 8);
    let dataset = little.us(0x0028_0101, 8).us(0x0028_0102, 7);
    assert!(
        instance(&dataset.raw(PIXELS, "OW", &[0; 12]).bytes)
            .image
            .is_some()
    );
}

#[test]
fn pixels_that_are_not_written_as_the_syntax_says() {
    const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
    let dataset = || ct(Encoding::EXPLICIT_LITTLE);
    let native = |bytes: usize| dataset().raw(PIXELS, "OW", &vec![0; bytes]).bytes;
    let fragments = dataset().header(PIXELS, "OB", UNDEFINED).bytes;
    let broken = ("malformed_header", "PixelData");
    for (uid, bytes, told) in [
        (JPEG_LOSSLESS, native(12), &[broken][..]),
        (JPEG_LOSSLESS, native(14), &[]),
        (JPEG_LOSSLESS, fragments.clone(), &[]),
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, fragments, &[broken]),
        (syntax::EXPLICIT_VR_LITTLE_ENDIAN, native(12), &[]),
    ] {
        let found = instance(&file(uid, &bytes));
        assert_eq!(found.transfer_syntax_uid, uid);
        assert_eq!(codes(&found), told, "{uid}");
    }
}

#[test]
fn files_that_end_early() {
    let dataset = with_pixels(ct(Encoding::EXPLICIT_LITTLE));
    let bytes = file(syntax::EXPLICIT_VR_LITTLE_ENDIAN, &dataset);
    let start = bytes.len() - 12;
    for len in 0..bytes.len() {
        match read(&bytes[..len]) {
            Ok(Header::Instance(found)) if len >= start => {
                assert_eq!(
                    found.pixel_data.map(|pixels| pixels.offset_bytes),
                    Some(start as u64)
                );
                assert_eq!(codes(&found), [("truncated", "PixelData")]);
            }
            Ok(Header::Instance(found)) => {
                assert_eq!(found.pixel_data, None, "{len}");
                assert!(len < start);
            }
            Ok(Header::Dicomdir) => panic!("taken for a DICOMDIR"),
            Err(Error::NotDicom) => assert!(len < 132, "{len}"),
            Err(Error::Truncated { .. }) => assert!(len < 400, "{len}"),
            Err(error) => panic!("{len}: {error}"),
        }
    }
}

#[test]
fn hostile_lengths_and_depths_are_refused() {
    let encoding = Encoding::EXPLICIT_LITTLE;
    for (tag, vr) in [
        (0x0008_1140, "SQ"),
        (0x0029_1010, "OB"),
        (0x0020_4000, "UT"),
    ] {
        let dataset = ct(encoding).header(tag, vr, 0xFFFF_FFFE);
        assert_eq!(instance(&dataset.bytes).pixel_data, None);
        let alone = Builder::new(encoding)
            .text(0x0008_0005, "CS", "")
            .header(tag, vr, 0xFFFF_FFF0);
        assert!(matches!(read(&alone.bytes), Err(Error::Truncated { .. })));
    }
    let deep = |levels: u32| {
        let mut dataset = ct(encoding);
        for _ in 0..levels {
            dataset =
                dataset
                    .header(0x0040_A730, "SQ", UNDEFINED)
                    .header(0xFFFE_E000, "", UNDEFINED);
        }
        for _ in 0..levels {
            dataset = dataset
                .header(0xFFFE_E00D, "", 0)
                .header(0xFFFE_E0DD, "", 0);
        }
        read(&with_pixels(dataset))
    };
    assert!(matches!(deep(NESTING_MAX), Ok(Header::Instance(found)) if found.pixel_data.is_some()));
    for levels in [NESTING_MAX + 1, 100_000] {
        assert!(matches!(deep(levels), Err(Error::TooLarge { .. })));
    }
    // Per-frame items without content: 8 bytes in the file, half a KiB each in memory.
    let mut items = ct(encoding).header(0x5200_9230, "SQ", UNDEFINED);
    for _ in 0..300_000 {
        items = items.header(0xFFFE_E000, "", 0);
    }
    assert!(matches!(read(&items.bytes), Err(Error::TooLarge { .. })));
}

/// Endless empty private elements.
struct Endless;

impl ReadAt for Endless {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        // The first element is as long as the others, so that all lie at multiples of 8.
        let mut element = *b"\x09\0\x10\x10LO\0\0";
        element.rotate_left((offset_bytes % 8) as usize);
        let (chunks, _) = buf.as_chunks_mut::<8>();
        chunks.fill(element);
        if offset_bytes == 0 {
            buf[..8].copy_from_slice(b"\x08\0\x05\0CS\0\0");
        }
        Ok(buf.len())
    }
}

#[test]
fn a_header_without_end_is_refused() {
    let result = read_header(&Endless, 1 << 50);
    assert!(
        matches!(
            result,
            Err(Error::TooLarge {
                limit: HEADER_BYTES_MAX,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn other_files_and_directories_are_recognised() {
    for other in [
        &b""[..],
        b"DICOM",
        b"# a text file that is long enough to hold a header",
        b"\x1F\x8B\x08\0\0\0\0\0\0\x03",
        &[0; 200],
        &[0xFF; 200],
        b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR",
    ] {
        assert!(!is_dicom(other), "{other:?}");
        assert!(matches!(read(other), Err(Error::NotDicom)));
    }
    let directory = Builder::new(Encoding::EXPLICIT_LITTLE)
        .text(0x0002_0002, "UI", MEDIA_STORAGE_DIRECTORY)
        .text(0x0002_0010, "UI", syntax::EXPLICIT_VR_LITTLE_ENDIAN);
    assert!(is_dicom(&directory.bytes));
    assert!(matches!(read(&directory.bytes), Ok(Header::Dicomdir)));
}

/// Reads what must be readable or refused; says nothing of which.
fn must_not_panic(bytes: &[u8]) {
    let len = bytes.len() as u64;
    if let Ok(Header::Instance(found)) = read(bytes) {
        let deflated = is_deflated(&found.transfer_syntax_uid);
        if let Some(location) = found.pixel_data.filter(|_| !deflated) {
            assert!(location.offset_bytes <= len);
        }
    }
    let _ = crate::dicom::read_luts(bytes, len);
    let _ = crate::dicom::read_deflated(bytes, len, 100, &mut [0; 50]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        must_not_panic(&bytes);
        must_not_panic(&file(syntax::EXPLICIT_VR_LITTLE_ENDIAN, &bytes));
        must_not_panic(&file(syntax::IMPLICIT_VR_LITTLE_ENDIAN, &bytes));
        must_not_panic(&file("1.2.840.10008.1.2.1.99", &bytes));
    }

    #[test]
    fn mutated_headers_do_not_panic(
        encoding in 0usize..3,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let encodings = [Encoding::EXPLICIT_LITTLE, Encoding::IMPLICIT_LITTLE, BIG];
        let mut bytes = file("1.2.840.10008.1.2.1", &with_pixels(cluttered(encodings[encoding])));
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        must_not_panic(&bytes);
    }
}
