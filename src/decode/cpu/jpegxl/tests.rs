//! Pixels of small codestreams and what is refused; larger ones are compared in
//! `tests/conformance.rs`.

use super::super::tests::gray;
use super::*;

const GRAY_12: [u16; 6] = [0, 1, 4095, 2048, 77, 4000];
const COLOUR: [u8; 12] = [0, 1, 2, 255, 128, 3, 9, 8, 7, 200, 100, 50];

/// [`GRAY_12`] by libjxl: lossless, 12 bits.
const JXL_GRAY_12: [u8; 30] = [
    0xFF, 0x0A, 0x08, 0x40, 0x18, 0x14, 0x2D, 0x02, 0x08, 0x04, 0x01, 0x00, 0x40, 0x00, 0x4B, 0x18,
    0x8B, 0x15, 0xC2, 0x69, 0x37, 0xA8, 0x9C, 0x06, 0xFF, 0x03, 0x00, 0x65, 0x78, 0x11,
];

/// [`COLOUR`] by libjxl: lossless.
const JXL_COLOUR: [u8; 43] = [
    0xFF, 0x0A, 0x08, 0x10, 0x10, 0x09, 0x08, 0x04, 0x01, 0x00, 0x7C, 0x00, 0x4B, 0x18, 0x8B, 0x15,
    0x52, 0x5C, 0x52, 0x6F, 0xB8, 0x1D, 0x1C, 0x72, 0x39, 0x4E, 0x35, 0x25, 0x9F, 0x0B, 0x04, 0x01,
    0x80, 0xF2, 0x7F, 0x66, 0x8B, 0xD2, 0x49, 0x46, 0x57, 0x80, 0x83,
];

fn decode(image: &ImagePixel, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xAA; image.frame_len_bytes().unwrap()];
    DECODER.decode(
        image,
        Encoded {
            bytes,
            first_bit: 0,
        },
        &mut out,
    )?;
    Ok(out)
}

fn gray_12() -> ImagePixel {
    ImagePixel {
        bits_stored: 12,
        high_bit: 11,
        ..gray(2, 3, 16)
    }
}

fn rgb() -> ImagePixel {
    ImagePixel {
        samples_per_pixel: 3,
        photometric: Photometric::Rgb,
        ..gray(2, 2, 8)
    }
}

#[test]
fn samples_are_not_scaled() {
    let expected: Vec<u8> = GRAY_12
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    assert_eq!(decode(&gray_12(), &JXL_GRAY_12).unwrap(), expected);
    assert_eq!(decode(&gray(2, 3, 16), &JXL_GRAY_12).unwrap(), expected);
    assert_eq!(decode(&rgb(), &JXL_COLOUR).unwrap(), COLOUR);
    let signed = ImagePixel {
        signed: true,
        ..gray_12()
    };
    let extended = GRAY_12.map(|sample| {
        if sample > 2047 {
            sample | 0xF000
        } else {
            sample
        }
    });
    let expected: Vec<u8> = extended
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    assert_eq!(decode(&signed, &JXL_GRAY_12).unwrap(), expected);
}

#[test]
fn output_may_lie_anywhere() {
    let expected = decode(&gray_12(), &JXL_GRAY_12).unwrap();
    let mut buffer = [0; 16];
    for start in 0..4 {
        let out = &mut buffer[start..start + 12];
        let encoded = Encoded {
            bytes: &JXL_GRAY_12,
            first_bit: 0,
        };
        DECODER.decode(&gray_12(), encoded, out).unwrap();
        assert_eq!(out, expected);
    }
}

#[test]
fn what_is_not_the_headers_picture_is_refused() {
    for wrong in [
        gray(3, 2, 16),
        gray(2, 3, 8),
        gray(2, 3, 32),
        ImagePixel {
            samples_per_pixel: 3,
            ..gray(2, 3, 16)
        },
        ImagePixel {
            samples_per_pixel: 2,
            ..gray(2, 3, 16)
        },
    ] {
        assert!(decode(&wrong, &JXL_GRAY_12).is_err(), "{wrong:?}");
    }
    for photometric in [
        Photometric::YbrFull,
        Photometric::YbrFull422,
        Photometric::Other("YBR_PARTIAL_420".into()),
    ] {
        assert!(
            decode(
                &ImagePixel {
                    photometric,
                    ..rgb()
                },
                &JXL_COLOUR
            )
            .is_err()
        );
    }
    assert!(decode(&gray(2, 2, 8), &JXL_COLOUR).is_err());
}

#[test]
fn every_cut_is_an_error() {
    for cut in 0..JXL_GRAY_12.len() {
        assert!(
            decode(&gray_12(), &JXL_GRAY_12[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    assert!(decode(&gray_12(), &[0x55; 64]).is_err());
}
