//! What the codestream reader accepts and refuses, and pixels of small codestreams; larger ones are
//! compared in `tests/conformance.rs`.

use super::super::tests::gray;
use super::codestream::{Codestream, without_boxes};
use super::*;

/// A main header of `columns` x `rows`, one component of 8 bits, and the given tile-part lengths.
fn stream(columns: u32, rows: u32, tile_parts: &[u32]) -> Vec<u8> {
    let mut out = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
    for word in [columns, rows, 0, 0, columns.max(1), rows.max(1), 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&[0, 1, 7, 1, 1]);
    for &length in tile_parts {
        out.extend_from_slice(&[0xFF, 0x90, 0, 10, 0, 0]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        if length != 12 {
            out.extend_from_slice(&[0xFF, 0x93]);
        }
        out.resize(out.len() + (length as usize).saturating_sub(14), 0x55);
    }
    out
}

fn complete(bytes: &[u8]) -> Result<(), String> {
    Codestream::parse(bytes)?.check_complete(bytes)
}

#[test]
fn size_is_read() {
    let parsed = Codestream::parse(&stream(7, 5, &[20])).unwrap();
    assert_eq!((parsed.rows, parsed.columns, parsed.components), (5, 7, 1));
    assert_eq!((parsed.precision, parsed.tiles), (8, 1));
    assert!(parsed.same_precision && !parsed.subsampled);
    let mut signed_12 = stream(7, 5, &[20]);
    signed_12[42] = 0x8B;
    assert_eq!(Codestream::parse(&signed_12).unwrap().precision, 12);
    let mut half = stream(7, 5, &[20]);
    half[43] = 2;
    assert!(Codestream::parse(&half).unwrap().subsampled);
}

#[test]
fn cut_codestreams_are_told_from_sloppy_ones() {
    let eoc = [0xFF, 0xD9];
    let whole = stream(7, 5, &[20, 30]);
    assert_eq!(complete(&[&whole[..], &eoc].concat()), Ok(()));
    assert_eq!(
        complete(&[&whole[..], &eoc, &[0]].concat()),
        Ok(()),
        "padded"
    );
    assert_eq!(
        complete(&whole),
        Ok(()),
        "no EOC, yet every announced byte is there"
    );
    assert_eq!(
        complete(&[&whole[..], &[0]].concat()),
        Ok(()),
        "a zero for EOC"
    );
    assert!(complete(&whole[..whole.len() - 1]).is_err());
    let open_end = stream(7, 5, &[0]);
    assert!(complete(&open_end).is_err());
    assert_eq!(
        complete(&[&open_end[..], &[1, 2, 3], &eoc].concat()),
        Ok(())
    );
    assert!(complete(&stream(7, 5, &[11])).is_err());
    for cut in 0..45 {
        assert!(complete(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn boxes_are_taken_off() {
    let raw = stream(7, 5, &[20]);
    assert_eq!(without_boxes(&raw).unwrap(), raw);
    let signature = [0, 0, 0, 12, b'j', b'P', b' ', b' ', 13, 10, 0x87, 10];
    let boxed = |head: &[u8]| {
        [
            &signature[..],
            &[0, 0, 0, 9, b'f', b't', b'y', b'p', 1],
            head,
            &raw,
        ]
        .concat()
    };
    let length = (raw.len() as u32 + 8).to_be_bytes();
    assert_eq!(
        without_boxes(&boxed(&[&length[..], b"jp2c"].concat())).unwrap(),
        raw
    );
    assert_eq!(without_boxes(&boxed(b"\0\0\0\0jp2c")).unwrap(), raw);
    let long = [
        &[0, 0, 0, 1][..],
        b"jp2c",
        &(raw.len() as u64 + 16).to_be_bytes(),
    ]
    .concat();
    assert_eq!(without_boxes(&boxed(&long)).unwrap(), raw);
    assert!(without_boxes(&signature).is_err());
    assert!(without_boxes(&boxed(b"\0\0\0\x07jp2c")).is_err());
    assert!(without_boxes(&boxed(b"\xFF\0\0\0jp2x")).is_err());
    for cut in 8..signature.len() + 9 {
        assert!(
            without_boxes(&boxed(b"\0\0\0\0jp2c")[..cut]).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn pictures_of_another_size_never_reach_the_library() {
    let decode = |image: &ImagePixel, bytes: &[u8]| {
        let mut out = vec![0; image.frame_len_bytes().unwrap()];
        JPEG_2000
            .decode(
                image,
                Encoded {
                    bytes,
                    first_bit: 0,
                },
                &mut out,
            )
            .unwrap_err()
    };
    let huge = stream(u32::MAX, u32::MAX, &[20]);
    assert!(
        decode(&gray(5, 7, 8), &huge)
            .to_string()
            .contains("4294967295")
    );
    let mut many_tiles = stream(700, 500, &[20]);
    many_tiles[24..32].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(matches!(
        decode(&gray(500, 700, 8), &many_tiles),
        Error::TooLarge { .. }
    ));
    // The right size, but no coding parameters: the library's own words come back.
    let no_cod = [stream(7, 5, &[20]), vec![0xFF, 0xD9]].concat();
    assert!(matches!(
        decode(&gray(5, 7, 8), &no_cod),
        Error::Malformed { .. }
    ));
    assert!(
        decode(&gray(5, 7, 8), b"")
            .to_string()
            .contains("no JPEG 2000 codestream")
    );
}

const SIGNED_12: [i16; 6] = [-2048, -1, 2047, 0, 77, -4];
const UNSIGNED_12: [u16; 6] = [0, 1, 4095, 2048, 77, 4000];
const COLOUR: [u8; 12] = [0, 1, 2, 255, 128, 3, 9, 8, 7, 200, 100, 50];

/// [`SIGNED_12`] by OpenJPEG: one component of 12 bits, signed.
pub(crate) const J2K_SIGNED_12: [u8; 93] = [
    0xFF, 0x4F, 0xFF, 0x51, 0x00, 0x29, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x8B, 0x01, 0x01, 0xFF, 0x52, 0x00,
    0x0C, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x04, 0x04, 0x00, 0x01, 0xFF, 0x5C, 0x00, 0x04, 0x40,
    0x60, 0xFF, 0x90, 0x00, 0x0A, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1A, 0x00, 0x01, 0xFF, 0x93, 0xDF,
    0xE0, 0x24, 0x07, 0xF7, 0x00, 0x54, 0xAA, 0xB3, 0x8C, 0xCF, 0xD7, 0xFF, 0xD9,
];

/// [`COLOUR`] by OpenJPEG, with the reversible component transform.
pub(crate) const J2K_COLOUR: [u8; 110] = [
    0xFF, 0x4F, 0xFF, 0x51, 0x00, 0x2F, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x07, 0x01, 0x01, 0x07, 0x01, 0x01,
    0x07, 0x01, 0x01, 0xFF, 0x52, 0x00, 0x0C, 0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 0x04, 0x04, 0x00,
    0x01, 0xFF, 0x5C, 0x00, 0x04, 0x40, 0x40, 0xFF, 0x90, 0x00, 0x0A, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x25, 0x00, 0x01, 0xFF, 0x93, 0xCF, 0xB4, 0x14, 0x09, 0x19, 0xEE, 0x44, 0xC7, 0xCF, 0xB4, 0x14,
    0x0E, 0x43, 0x5C, 0x58, 0x7F, 0xCF, 0xB4, 0x10, 0x0C, 0xF6, 0x0A, 0x03, 0xFF, 0xD9,
];

/// [`UNSIGNED_12`] by OpenJPH: 16 bits, unsigned.
pub(crate) const HT_UNSIGNED_12: [u8; 155] = [
    0xFF, 0x4F, 0xFF, 0x51, 0x00, 0x29, 0x40, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x0F, 0x01, 0x01, 0xFF, 0x50, 0x00,
    0x08, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0A, 0xFF, 0x52, 0x00, 0x0C, 0x00, 0x02, 0x00, 0x01, 0x00,
    0x05, 0x04, 0x04, 0x40, 0x01, 0xFF, 0x5C, 0x00, 0x13, 0x20, 0x88, 0x90, 0x90, 0x90, 0x90, 0x90,
    0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x88, 0x88, 0x88, 0xFF, 0x90, 0x00, 0x0A, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x3F, 0x00, 0x01, 0xFF, 0x93, 0xC0, 0x00, 0x26, 0xEF, 0xF5, 0x05, 0x07, 0x74,
    0x00, 0x00, 0x00, 0x00, 0xC0, 0x00, 0x13, 0x00, 0x9E, 0xF7, 0x03, 0x87, 0x74, 0x00, 0xC0, 0x00,
    0x26, 0x80, 0x00, 0x4F, 0x00, 0x00, 0x94, 0x81, 0xF3, 0x03, 0x87, 0x74, 0x00, 0x7A, 0x0C, 0xE2,
    0x03, 0x01, 0x74, 0x00, 0x07, 0x02, 0x87, 0x74, 0x00, 0xFF, 0xD9,
];

fn pixels(decoder: &Jpeg2k, image: &ImagePixel, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xAA; image.frame_len_bytes().unwrap()];
    decoder.decode(
        image,
        Encoded {
            bytes,
            first_bit: 0,
        },
        &mut out,
    )?;
    Ok(out)
}

fn words<const N: usize>(samples: [u16; N]) -> Vec<u8> {
    samples.into_iter().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn pixel_representation_decides_the_sign() {
    let signed = ImagePixel {
        bits_stored: 12,
        high_bit: 11,
        signed: true,
        ..gray(2, 3, 16)
    };
    let got = pixels(&JPEG_2000, &signed, &J2K_SIGNED_12).unwrap();
    assert_eq!(got, words(SIGNED_12.map(|sample| sample as u16)));
    let unsigned = ImagePixel {
        signed: false,
        ..signed
    };
    let got = pixels(&JPEG_2000, &unsigned, &J2K_SIGNED_12).unwrap();
    assert_eq!(got, words(SIGNED_12.map(|sample| sample as u16 & 0x0FFF)));
    let got = pixels(&HTJ2K, &unsigned, &HT_UNSIGNED_12).unwrap();
    assert_eq!(got, words(UNSIGNED_12));
    let wide = ImagePixel {
        signed: true,
        ..gray(2, 3, 32)
    };
    let got = pixels(&JPEG_2000, &wide, &J2K_SIGNED_12).unwrap();
    let expected: Vec<u8> = SIGNED_12
        .iter()
        .flat_map(|&sample| i32::from(sample).to_le_bytes())
        .collect();
    assert_eq!(got, expected);
    assert!(
        pixels(&JPEG_2000, &gray(2, 3, 8), &J2K_SIGNED_12).is_err(),
        "12 bits in 8"
    );
}

#[test]
fn component_transform_gives_interleaved_rgb() {
    let rgb = ImagePixel {
        samples_per_pixel: 3,
        ..gray(2, 2, 8)
    };
    assert_eq!(pixels(&JPEG_2000, &rgb, &J2K_COLOUR).unwrap(), COLOUR);
    assert!(
        pixels(&JPEG_2000, &gray(2, 2, 8), &J2K_COLOUR).is_err(),
        "components"
    );
    assert!(pixels(&JPEG_2000, &gray(2, 6, 8), &J2K_COLOUR).is_err());
}

#[test]
fn precinct_bombs_are_refused() {
    // 4096 x 4096 in precincts of 1 x 1, then by the same in a tile-part header, then by layers.
    let cod = |layers: u8, size: u8| [0xFF, 0x52, 0, 13, 1, 0, layers, 1, 0, 0, 4, 4, 0, 1, size];
    let whole = stream(4096, 4096, &[200]);
    let sot_at = whole
        .windows(2)
        .position(|two| two == [0xFF, 0x90])
        .unwrap();
    let in_main =
        |segment: &[u8]| [&whole[..sot_at], segment, &whole[sot_at..], &[0xFF, 0xD9]].concat();
    let mut in_tile = whole.clone();
    in_tile[sot_at + 12..sot_at + 12 + 15].copy_from_slice(&cod(0, 0));
    in_tile[sot_at + 27..sot_at + 29].copy_from_slice(&[0xFF, 0x93]);
    for bomb in [in_main(&cod(0, 0)), in_tile, in_main(&cod(0xFF, 0x66))] {
        let outcome = pixels(&JPEG_2000, &gray(4096, 4096, 8), &bomb);
        assert!(
            matches!(outcome, Err(Error::TooLarge { .. })),
            "{outcome:?}"
        );
    }
    let outcome = pixels(&JPEG_2000, &gray(4096, 4096, 8), &in_main(&cod(0, 0x66)));
    assert!(!matches!(outcome, Err(Error::TooLarge { .. })));
    let deep = [0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 33, 4, 4, 0, 1];
    assert!(
        complete(&in_main(&deep))
            .unwrap_err()
            .contains("33 decomposition levels")
    );
}

#[test]
fn every_cut_is_an_error() {
    let signed = ImagePixel {
        bits_stored: 12,
        high_bit: 11,
        signed: true,
        ..gray(2, 3, 16)
    };
    // Without EOC all tile-parts are still there.
    for cut in 0..J2K_SIGNED_12.len() - 2 {
        assert!(
            pixels(&JPEG_2000, &signed, &J2K_SIGNED_12[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    let unsigned = gray(2, 3, 16);
    for cut in 0..HT_UNSIGNED_12.len() - 2 {
        assert!(
            pixels(&HTJ2K, &unsigned, &HT_UNSIGNED_12[..cut]).is_err(),
            "cut at {cut}"
        );
    }
}
