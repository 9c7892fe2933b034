//! Rules of native pixel data, one table each.

use super::super::tests::gray;
use super::*;
use crate::dicom::Photometric;

fn decode_with(
    decoder: &Native,
    image: &ImagePixel,
    bytes: &[u8],
    first_bit: u8,
) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xAA; image.frame_len_bytes().unwrap()];
    decoder.decode(image, Encoded { bytes, first_bit }, &mut out)?;
    Ok(out)
}

fn decode(image: &ImagePixel, bytes: &[u8]) -> Vec<u8> {
    decode_with(&LITTLE_ENDIAN, image, bytes, 0).unwrap()
}

fn bits(stored: u16, high: u16, signed: bool, image: ImagePixel) -> ImagePixel {
    ImagePixel {
        bits_stored: stored,
        high_bit: high,
        signed,
        ..image
    }
}

#[test]
fn words_are_masked_shifted_and_sign_extended() {
    // (Bits Stored, High Bit, signed, word of the file, sample)
    let cases: [(u16, u16, bool, u16, u16); 8] = [
        (16, 15, false, 0xFEDC, 0xFEDC),
        (16, 15, true, 0xFEDC, 0xFEDC),
        (12, 11, false, 0xFEDC, 0x0EDC),
        (12, 11, true, 0x0EDC, 0xFEDC),
        (12, 11, true, 0xF7DC, 0x07DC),
        (12, 15, false, 0xFEDC, 0x0FED),
        (12, 15, true, 0xFEDC, 0xFFED),
        (1, 0, false, 0xFFFF, 1),
    ];
    for (stored, high, signed, word, sample) in cases {
        let image = bits(stored, high, signed, gray(1, 2, 16));
        let little = [word.to_le_bytes(), word.to_le_bytes()].concat();
        let big = [word.to_be_bytes(), word.to_be_bytes()].concat();
        let expected = [sample.to_le_bytes(), sample.to_le_bytes()].concat();
        assert_eq!(
            decode(&image, &little),
            expected,
            "{stored} {high} {signed} {word:x}"
        );
        assert_eq!(decode_with(&BIG_ENDIAN, &image, &big, 0).unwrap(), expected);
    }
    assert_eq!(
        decode(&bits(5, 4, true, gray(1, 2, 8)), &[0x30, 0xEF]),
        [0xF0, 0x0F]
    );
}

#[test]
fn big_endian_swaps_by_bits_allocated() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    let swapped = |bits_allocated| {
        let columns = 64 / u32::from(bits_allocated);
        decode_with(&BIG_ENDIAN, &gray(1, columns, bits_allocated), &bytes, 0).unwrap()
    };
    assert_eq!(swapped(8), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(swapped(16), [2, 1, 4, 3, 6, 5, 8, 7]);
    assert_eq!(swapped(32), [4, 3, 2, 1, 8, 7, 6, 5]);
    assert_eq!(swapped(64), [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn floats_are_not_masked() {
    let float = ImagePixel {
        bits_stored: 12,
        high_bit: 11,
        element: PixelElement::FloatPixelData,
        ..gray(1, 1, 32)
    };
    assert_eq!(
        decode(&float, &(-1.5f32).to_le_bytes()),
        (-1.5f32).to_le_bytes()
    );
    assert_eq!(
        decode_with(&BIG_ENDIAN, &float, &(-1.5f32).to_be_bytes(), 0).unwrap(),
        (-1.5f32).to_le_bytes()
    );
    let double = ImagePixel {
        element: PixelElement::DoubleFloatPixelData,
        ..gray(1, 1, 64)
    };
    assert_eq!(decode(&double, &2.5f64.to_le_bytes()), 2.5f64.to_le_bytes());
    let wrong = ImagePixel {
        element: PixelElement::DoubleFloatPixelData,
        ..gray(1, 1, 32)
    };
    assert!(decode_with(&LITTLE_ENDIAN, &wrong, &[0; 4], 0).is_err());
}

#[test]
fn one_bit_frames_start_at_any_bit() {
    let stream = [0b1011_0010u8, 0b0110_1101, 0b0000_0111];
    let all: Vec<u8> = (0..24).map(|i| (stream[i / 8] >> (i % 8)) & 1).collect();
    for first_bit in 0..8usize {
        for len in 1..=(24 - first_bit) {
            let image = gray(1, len as u32, 1);
            let got = decode_with(&LITTLE_ENDIAN, &image, &stream, first_bit as u8).unwrap();
            assert_eq!(
                got,
                all[first_bit..first_bit + len],
                "bit {first_bit} length {len}"
            );
        }
        let too_long = gray(1, 25 - first_bit as u32, 1);
        assert!(decode_with(&LITTLE_ENDIAN, &too_long, &stream, first_bit as u8).is_err());
    }
    assert!(decode_with(&LITTLE_ENDIAN, &gray(1, 1, 1), &stream, 8).is_err());
}

#[test]
fn planes_are_interleaved() {
    let image = ImagePixel {
        samples_per_pixel: 3,
        planar_configuration: 1,
        photometric: Photometric::Rgb,
        ..gray(1, 2, 16)
    };
    let planes = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0];
    let pixels = [1, 0, 3, 0, 5, 0, 2, 0, 4, 0, 6, 0];
    assert_eq!(decode(&image, &planes), pixels);
    assert_eq!(
        decode(
            &ImagePixel {
                planar_configuration: 0,
                ..image
            },
            &pixels
        ),
        pixels
    );
}

#[test]
fn chroma_of_422_is_replicated() {
    let image = ImagePixel {
        samples_per_pixel: 3,
        photometric: Photometric::YbrFull422,
        ..gray(1, 4, 8)
    };
    let stored = [10, 11, 90, 91, 12, 13, 92, 93];
    assert_eq!(
        decode(&image, &stored),
        [10, 90, 91, 11, 90, 91, 12, 92, 93, 13, 92, 93]
    );
    assert!(decode_with(&LITTLE_ENDIAN, &image, &stored[..7], 0).is_err());
    let odd = ImagePixel {
        columns: 3,
        ..image
    };
    assert!(decode_with(&LITTLE_ENDIAN, &odd, &stored, 0).is_err());
}

#[test]
fn impossible_headers_and_short_frames_are_errors() {
    let image = gray(2, 2, 16);
    let wrong = |image: &ImagePixel| decode_with(&LITTLE_ENDIAN, image, &[0; 8], 0).is_err();
    assert!(!wrong(&image));
    assert!(wrong(&bits(0, 0, false, image.clone())));
    assert!(wrong(&bits(17, 16, false, image.clone())));
    assert!(wrong(&bits(12, 16, false, image.clone())));
    assert!(wrong(&bits(12, 10, false, image.clone())));
    assert!(wrong(&bits(12, u16::MAX, false, image.clone())));
    assert!(decode_with(&LITTLE_ENDIAN, &image, &[0; 7], 0).is_err());
    let mut short = [0; 7];
    let encoded = Encoded {
        bytes: &[0; 8],
        first_bit: 0,
    };
    assert!(LITTLE_ENDIAN.decode(&image, encoded, &mut short).is_err());
}

#[test]
fn frames_are_located_without_overflow() {
    let at = |image: &ImagePixel, index| {
        native_frame_location(image, index)
            .map(|found| (found.offset_bytes, found.len_bytes, found.first_bit))
    };
    let many = |image| ImagePixel {
        number_of_frames: 3,
        ..image
    };
    assert_eq!(at(&many(gray(3, 5, 16)), 2), Some((60, 30, 0)));
    assert_eq!(at(&many(gray(3, 5, 16)), 3), None);
    assert_eq!(at(&many(gray(3, 5, 1)), 0), Some((0, 2, 0)));
    assert_eq!(at(&many(gray(3, 5, 1)), 1), Some((1, 3, 7)));
    assert_eq!(at(&many(gray(3, 5, 1)), 2), Some((3, 3, 6)));
    let ybr = ImagePixel {
        samples_per_pixel: 3,
        photometric: Photometric::YbrFull422,
        ..gray(2, 4, 8)
    };
    assert_eq!(at(&many(ybr), 1), Some((16, 16, 0)));
    let huge = ImagePixel {
        number_of_frames: u32::MAX,
        samples_per_pixel: u16::MAX,
        ..gray(u32::MAX, u32::MAX, 64)
    };
    assert_eq!(at(&huge, u32::MAX - 1), None);
}

#[test]
fn runs_of_samples_are_those_of_the_frame() {
    let colour = ImagePixel {
        samples_per_pixel: 3,
        photometric: Photometric::Rgb,
        ..gray(3, 4, 8)
    };
    for (image, decoder) in [
        (bits(12, 11, true, gray(3, 5, 16)), &LITTLE_ENDIAN),
        (bits(12, 11, true, gray(3, 5, 16)), &BIG_ENDIAN),
        (bits(20, 19, false, gray(3, 5, 32)), &BIG_ENDIAN),
        (colour.clone(), &LITTLE_ENDIAN),
    ] {
        assert!(is_by_the_word(&image));
        let len = image.frame_len_bytes().unwrap();
        let bytes: Vec<u8> = (0..len).map(|n| (n * 37 + 11) as u8).collect();
        let whole = decode_with(decoder, &image, &bytes, 0).unwrap();
        for run in [image.sample_len_bytes(), 4 * image.sample_len_bytes()] {
            let mut joined = Vec::new();
            for from in bytes.chunks(run) {
                let mut out = vec![0xAA; from.len()];
                samples(&image, decoder.big_endian, from, &mut out).unwrap();
                joined.extend(out);
            }
            assert_eq!(joined, whole);
        }
    }
    let planar = ImagePixel {
        planar_configuration: 1,
        ..colour
    };
    assert!(!is_by_the_word(&planar) && !is_by_the_word(&gray(2, 8, 1)));
    let uneven = samples(&gray(1, 2, 16), false, &[1, 2, 3], &mut [0; 3]);
    assert!(uneven.is_err());
}
