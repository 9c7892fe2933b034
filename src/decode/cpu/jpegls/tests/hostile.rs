//! Streams that are unusual, refused, cut short or corrupt.

use super::encoder::{Options, encode};
use super::*;

#[test]
fn the_data_set_must_agree_before_anything_is_decoded() {
    let image = image((6, 4), 1, 12, Content::Noise);
    let (mut stream, _) = encode(&image, &Options::new(12, 0, 1, 0));
    let good = expect(&image, 12);
    let mut out = vec![0; 48];
    for wrong in [
        Expect { rows: 5, ..good },
        Expect { columns: 7, ..good },
        Expect {
            components: 3,
            ..good
        },
        Expect {
            bits_max: 10,
            ..good
        },
        Expect {
            sample_bytes: 1,
            bits_stored: 8,
            ..good
        },
    ] {
        let result = decode(&stream, &wrong, &mut out);
        assert!(
            matches!(result, Err(Error::Mismatch { .. })),
            "{wrong:?}: {result:?}"
        );
    }
    for wrong in [
        Expect {
            sample_bytes: 3,
            ..good
        },
        Expect {
            bits_stored: 17,
            ..good
        },
        Expect {
            bits_stored: 0,
            ..good
        },
    ] {
        let result = decode(&stream, &wrong, &mut out);
        assert!(
            matches!(result, Err(Error::Output { .. })),
            "{wrong:?}: {result:?}"
        );
    }
    assert!(decode(&stream, &good, &mut out[1..]).is_err());
    // 65535 x 65535 as declared by the stream asks for no memory.
    let at = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xF7])
        .unwrap()
        + 5;
    stream[at..at + 4].fill(0xFF);
    let result = decode(&stream, &good, &mut out);
    assert!(
        matches!(result, Err(Error::Mismatch { stream: 65_535, .. })),
        "{result:?}"
    );
}

#[test]
fn unusual_but_legal_streams() {
    let image = image((6, 4), 1, 12, Content::Noise);
    let (stream, _) = encode(&image, &Options::new(12, 0, 1, 0));
    let good = expect(&image, 12);
    let spiff = [0xFF, 0xE8, 0, 8, b'S', b'P', b'I', b'F', b'F', 0];
    let palette = [0xFF, 0xF8, 0, 6, 2, 1, 1, 0];
    for (insert, at) in [
        (&spiff[..], 2),
        (&palette[..], 2),
        (&[0xFF, 0xFF, 0xFF][..], 2),
    ] {
        let mut longer = stream.clone();
        longer.splice(at..at, insert.iter().copied());
        assert_eq!(decoded(&longer, &good).as_ref(), Ok(&image.samples));
    }
    let body = &stream[..stream.len() - 2];
    for end in [
        &[][..],
        &[0],
        &[0, 0, 0, 0],
        &[0, 0xFF, 0xD9],
        &[0xFF, 0xFF, 0xD9, 0],
    ] {
        let whole = [body, end].concat();
        assert_eq!(
            decoded(&whole, &good).as_ref(),
            Ok(&image.samples),
            "{end:02X?}"
        );
    }
    let left_over = [body, &[0x55, 0x55, 0x55, 0x55, 0xFF, 0xD9]].concat();
    assert!(decoded(&left_over, &good).is_err());
}

#[test]
fn what_is_refused_is_named() {
    let image = image((6, 4), 3, 8, Content::Noise);
    let (stream, _) = encode(&image, &Options::new(8, 0, 3, 2));
    let frame = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xF7])
        .unwrap();
    let scan = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xDA])
        .unwrap();
    for (at, value, message) in [
        (0, 0x00, "the stream does not start with an SOI marker"),
        (
            frame + 1,
            0xC0,
            "the stream has a JPEG frame header, not a JPEG-LS one",
        ),
        (
            frame + 1,
            0xC4,
            "marker FFC4 does not belong into a JPEG-LS stream",
        ),
        (frame + 4, 17, "the samples are not of 2 to 16 bits"),
        (
            frame + 9,
            5,
            "a frame of more than 4 components is not supported",
        ),
        (
            frame + 11,
            0x21,
            "subsampling of components is not supported",
        ),
        (scan + 6, 1, "a mapping table (palette) is not supported"),
        (scan + 5, 9, "a scan names a component that the frame lacks"),
        (scan + 11, 128, "NEAR is over half of MAXVAL"),
        (scan + 12, 3, "the interleave mode is not 0, 1 or 2"),
        (
            scan + 12,
            0,
            "a scan of several components is not interleaved",
        ),
        (scan + 13, 1, "a point transform is not supported"),
    ] {
        let mut wrong = stream.clone();
        wrong[at] = value;
        let result = decoded(&wrong, &expect(&image, 8)).map_err(|error| error.to_string());
        assert_eq!(result, Err(message.to_owned()));
    }
    assert!(read_header(&[]).is_err());
    let header = read_header(&stream).unwrap();
    assert_eq!((header.width, header.height, header.components), (6, 4, 3));
    assert_eq!(header.interleave, Interleave::Sample);
}

/// Streams of each kind of scan, for the hostile tests.
fn specimens() -> Vec<(Vec<u8>, Expect, Vec<u16>)> {
    let mut specimens = Vec::new();
    for content in [Content::Noise, Content::Smooth, Content::Runs] {
        for (precision, near, components, interleave, restart_lines) in [
            (8, 0, 1, 0, 0),
            (12, 2, 1, 0, 0),
            (16, 0, 1, 0, 3),
            (8, 0, 3, 0, 0),
            (12, 0, 3, 1, 0),
            (8, 1, 3, 2, 0),
            (16, 0, 4, 2, 2),
        ] {
            let image = image((19, 8), components, precision, content);
            let mut options = Options::new(precision, near, components, interleave);
            options.restart_lines = restart_lines;
            let (stream, seen) = encode(&image, &options);
            specimens.push((stream, expect(&image, precision), seen));
        }
    }
    specimens
}

#[test]
fn a_stream_cut_anywhere_is_an_error_or_whole() {
    for (stream, expect, seen) in specimens() {
        for len in 0..stream.len() {
            match decoded(&stream[..len], &expect) {
                // Only the marker at the end and the padding before it can be spared.
                Ok(got) => assert!(got == seen && len + 3 >= stream.len(), "cut at {len}"),
                Err(Error::Output { .. } | Error::Mismatch { .. }) => panic!("cut at {len}"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn flipped_bits_never_panic_or_hang() {
    for (stream, expect, _) in specimens() {
        let mut wrong = stream.clone();
        for bit in 0..stream.len() * 8 {
            wrong[bit / 8] ^= 1 << (bit % 8);
            // An error or a frame of other samples: the code has no checksum.
            let _ = decoded(&wrong, &expect);
            wrong[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn noise_for_a_stream_never_panics_or_hangs() {
    let mut random = Random(77);
    for (stream, expect, _) in specimens() {
        let scan = stream
            .windows(2)
            .position(|pair| pair == [0xFF, 0xDA])
            .unwrap()
            + 8;
        for round in 0..200 {
            let mut wrong = stream.clone();
            let from = if round % 2 == 0 { scan } else { 2 };
            for byte in &mut wrong[from..] {
                *byte = match round % 5 {
                    0 => 0,
                    1 => 0xFF,
                    2 => (random.below(256) & 0x7F) as u8,
                    _ => random.below(256) as u8,
                };
            }
            let _ = decoded(&wrong, &expect);
        }
    }
}
