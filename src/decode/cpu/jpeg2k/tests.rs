//! What the codestream reader accepts and refuses. Pixels are compared in `tests/conformance.rs`.

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
        out.resize(out.len() + (length as usize).saturating_sub(12), 0x55);
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
