//! Tables of lookup tables, good and bad.

use super::*;
use crate::dicom::testing::{Builder, ct, data_dir, file};

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read_one(dataset: Builder) -> Result<Luts, Error> {
    let bytes = file(syntax::EXPLICIT_VR_LITTLE_ENDIAN, &dataset.bytes);
    read_luts(&bytes[..], bytes.len() as u64)
}

/// Red, green and blue all alike.
fn palette(descriptor: &[u16], data_tag: u32, data: &[u8]) -> Result<Luts, Error> {
    let mut dataset = Builder::new(Encoding::EXPLICIT_LITTLE);
    for colour in 0..3 {
        dataset = dataset.raw(0x0028_1101 + colour, "US", &words(descriptor));
    }
    for colour in 0..3 {
        dataset = dataset.raw(data_tag + colour, "OW", data);
    }
    read_one(dataset)
}

fn check_palette(descriptor: &[u16], data_tag: u32, data: &[u8], expected: Option<(&[u16], u16)>) {
    let got = palette(descriptor, data_tag, data);
    let Some((entries, bits)) = expected else {
        assert!(
            matches!(got, Err(Error::Malformed { .. })),
            "{descriptor:?} {data:?}: {got:?}"
        );
        return;
    };
    let got = got.expect("readable").palette.expect("there");
    assert_eq!(
        (&got.entries[0][..], got.bits),
        (entries, bits),
        "{descriptor:?} {data:?}"
    );
    assert_eq!(got.entries[0], got.entries[2]);
    assert_eq!(got.first_mapped, i32::from(descriptor[1]));
}

#[test]
fn palettes_written_out() {
    let plain = 0x0028_1201;
    check_palette(
        &[3, 5, 16],
        plain,
        &words(&[1, 256, 65535]),
        Some((&[1, 256, 65535], 16)),
    );
    check_palette(&[4, 0, 8], plain, &[1, 2, 3, 4], Some((&[1, 2, 3, 4], 8)));
    check_palette(&[3, 0, 8], plain, &[1, 2, 3, 0], Some((&[1, 2, 3], 8)));
    // Eight bits in words, and sixteen described as eight.
    check_palette(&[2, 0, 8], plain, &words(&[1, 255]), Some((&[1, 255], 8)));
    check_palette(
        &[2, 0, 8],
        plain,
        &words(&[1, 0xFF00]),
        Some((&[1, 0xFF00], 16)),
    );
    check_palette(&[4, 0, 16], plain, &[1, 2, 3, 4], None);
    check_palette(&[0, 0, 16], plain, &words(&[1; 100]), None);
    check_palette(&[2, 0, 12], plain, &words(&[1, 2]), None);
    check_palette(&[2, 0], plain, &words(&[1, 2]), None);
}

#[test]
fn palettes_in_segments() {
    let segmented = 0x0028_1221;
    let check = |entries: u16, codes: &[u16], expected: Option<&[u16]>| {
        let expected = expected.map(|entries| (entries, 16));
        check_palette(&[entries, 0, 16], segmented, &words(codes), expected);
    };
    check(3, &[0, 3, 7, 8, 9], Some(&[7, 8, 9]));
    check(6, &[0, 2, 0, 10, 1, 4, 30], Some(&[0, 10, 15, 20, 25, 30]));
    // Down, and rounded half to even.
    check(3, &[0, 1, 5, 1, 2, 0], Some(&[5, 2, 0]));
    // Two segments again, from byte 0 on.
    check(
        8,
        &[0, 2, 1, 2, 1, 2, 6, 2, 2, 0, 0],
        Some(&[1, 2, 4, 6, 1, 2, 4, 6]),
    );
    // None first, too long, too short, unknown, without end, indirect at indirect.
    for codes in [
        &[1u16, 2, 5][..],
        &[0, 9, 1, 2],
        &[0, 1, 1],
        &[3, 1, 1],
        &[0, 0, 0],
        &[0, 1, 1, 2, 1, 6, 0],
        &[0, 3, 1, 2, 3],
    ] {
        check(2, codes, None);
    }
    let bytes = [0, 2, 1, 2, 2, 1, 0, 0, 0, 0];
    check_palette(&[4, 0, 8], segmented, &bytes, Some((&[1, 2, 1, 2], 8)));
}

#[test]
fn modality_lut() {
    let dataset = ct(Encoding::EXPLICIT_LITTLE);
    let item = |first: u16| {
        let item = dataset
            .nested()
            .raw(0x0028_3002, "SS", &words(&[2, first, 16]));
        item.raw(0x0028_3006, "US", &words(&[100, 200]))
    };
    for undefined in [false, true] {
        let items = [item((-3i16) as u16), item(9)];
        let luts = read_one(dataset.clone().sequence(0x0028_3000, undefined, &items));
        let expected = ModalityLut {
            first_mapped: -3,
            entries: vec![100, 200],
            bits: 16,
        };
        assert_eq!(luts.expect("readable").modality, Some(expected));
    }
    assert_eq!(
        read_one(dataset.clone()).expect("readable"),
        Luts::default()
    );
    let huge = dataset.nested().raw(0x0028_3002, "US", &words(&[2, 0, 16]));
    let huge = huge.raw(0x0028_3006, "OW", &vec![0; LUT_BYTES_MAX as usize + 2]);
    let huge = read_one(dataset.clone().sequence(0x0028_3000, true, &[huge]));
    assert!(matches!(huge, Err(Error::TooLarge { .. })), "{huge:?}");
}

#[test]
fn a_real_palette() {
    let Some(dir) = data_dir() else { return };
    let bytes = std::fs::read(dir.join("single/pydicom/examples_palette.dcm")).expect("there");
    let luts = read_luts(&bytes, bytes.len() as u64).expect("readable");
    let palette = luts.palette.expect("there");
    assert_eq!(palette.entries[0].len(), palette.entries[1].len());
    assert!(palette.entries[0].len() >= 256);
}
