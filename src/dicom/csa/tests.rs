//! Both layouts made in code, whole, cut and hostile; the real ones are the header parser's.

use proptest::prelude::*;

use super::*;

/// An element: name, multiplicity, items.
type Row<'a> = (&'a str, u32, &'a [&'a str]);

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn header(later: bool, rows: &[Row]) -> Vec<u8> {
    let mut bytes = if later {
        b"SV10\x04\x03\x02\x01".to_vec()
    } else {
        Vec::new()
    };
    bytes.extend(words(&[rows.len() as u32, 77]));
    let first_items = rows.first().map_or(0, |row| row.2.len() as u32);
    for (name, multiplicity, items) in rows {
        let mut field = name.as_bytes().to_vec();
        field.push(0);
        // What follows the NUL is whatever was in memory.
        field.resize(64, 0xA5);
        bytes.extend(field);
        bytes.extend(words(&[*multiplicity]));
        bytes.extend(b"FD\0\0");
        bytes.extend(words(&[4, items.len() as u32, 77]));
        for item in *items {
            let length = item.len() as u32;
            bytes.extend(match later {
                true => words(&[length, length, 77, length]),
                false => words(&[length + first_items, 9, 77, 9]),
            });
            bytes.extend(item.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

const WHOLE: &[Row] = &[
    ("EchoLinePosition", 1, &["36\0", "", "", "", "", ""]),
    ("EchoColumnPosition", 1, &["36", "", "", "", "", ""]),
    ("PhaseEncodingDirectionPositive", 1, &["1\0", "", ""]),
    ("NumberOfImagesInMosaic", 1, &["3 \0rest", "", "99"]),
    ("SliceNormalVector", 3, &["-0.6", "0.0", "0.8\0", "", ""]),
    (
        "MosaicRefAcqTimes",
        0,
        &["0.0", "1450.5", " 725.25\0", "", ""],
    ),
    ("BandwidthPerPixelPhaseEncode", 1, &["27.778", "", ""]),
    ("B_value", 1, &["1000", "", ""]),
    ("DiffusionGradientDirection", 3, &["0.6", "0.0", "-0.8"]),
];

fn whole() -> Mosaic {
    Mosaic {
        tiles: 3,
        positions: Vec::new(),
        slice_normal: Some([-0.6, 0.0, 0.8]),
        slice_times_ms: vec![0.0, 1450.5, 725.25],
        phase_encoding_positive: Some(true),
        bandwidth_per_pixel_phase_encode_hz: Some(27.778),
        b_value: Some(1000.0),
        gradient: Some([0.6, 0.0, -0.8]),
    }
}

#[test]
fn both_layouts_say_the_same() {
    for later in [true, false] {
        let mut mosaic = Mosaic::default();
        assert_eq!(read_mosaic(&header(later, WHOLE), &mut mosaic), Ok(()));
        assert_eq!(mosaic, whole(), "later: {later}");
        // What is known already stands.
        let mut known = Mosaic {
            tiles: 9,
            slice_times_ms: vec![1.0],
            bandwidth_per_pixel_phase_encode_hz: Some(5.0),
            ..Mosaic::default()
        };
        assert_eq!(read_mosaic(&header(later, WHOLE), &mut known), Ok(()));
        assert_eq!((known.tiles, known.slice_times_ms.len()), (9, 1));
        assert_eq!(known.bandwidth_per_pixel_phase_encode_hz, Some(5.0));
        assert_eq!(known.slice_normal, whole().slice_normal);
    }
}

#[test]
fn values_that_are_none_are_told_and_spoil_no_others() {
    for (row, is_damaged) in [
        (("NumberOfImagesInMosaic", 1, &["many"][..]), true),
        (("NumberOfImagesInMosaic", 1, &["0"]), true),
        (("NumberOfImagesInMosaic", 1, &["2.5"]), true),
        (("NumberOfImagesInMosaic", 1, &["-3"]), true),
        (("NumberOfImagesInMosaic", 1, &["2147483648"]), true),
        (("NumberOfImagesInMosaic", 1, &["inf"]), true),
        (("NumberOfImagesInMosaic", 1, &[]), false),
        (("SliceNormalVector", 3, &["0", "0"]), true),
        (("SliceNormalVector", 3, &["0", "0", "2"]), true),
        (("SliceNormalVector", 3, &["nan", "0", "1"]), true),
        (("SliceNormalVector", 3, &[]), false),
        (("PhaseEncodingDirectionPositive", 1, &["2"]), true),
        (("PhaseEncodingDirectionPositive", 1, &[]), false),
        (("MosaicRefAcqTimes", 0, &["1", "x"]), true),
        (("DiffusionGradientDirection", 3, &["0", "0", "0"]), false),
        (("DiffusionGradientDirection", 3, &["1", "1", "1"]), true),
        (("B_value", 1, &["x"]), true),
        (("Unknown", 0, &["x"]), false),
    ] {
        let bytes = header(true, &[row, ("BandwidthPerPixelPhaseEncode", 1, &["20"])]);
        let mut mosaic = Mosaic::default();
        let result = read_mosaic(&bytes, &mut mosaic);
        assert_eq!(result.is_err(), is_damaged, "{row:?}");
        let expected = Mosaic {
            bandwidth_per_pixel_phase_encode_hz: Some(20.0),
            ..Mosaic::default()
        };
        assert_eq!(mosaic, expected, "{row:?}");
    }
}

#[test]
fn cut_anywhere_it_is_damaged() {
    let bytes = header(true, WHOLE);
    for length in 0..bytes.len() {
        let result = read_mosaic(&bytes[..length], &mut Mosaic::default());
        assert_eq!(result, Err(Damaged), "{length}");
    }
}

#[test]
fn counts_and_lengths_are_not_believed() {
    // Where the counts of elements, of items and the words of the first item lie.
    let (elements, items, item) = (8, 16 + 64 + 12, 16 + 84);
    for later in [true, false] {
        let start = if later { 0 } else { 8 };
        for at in [elements, items, item, item + 4] {
            for number in [0x8000_0000_u32, u32::MAX, 0x7FFF_FFFF, 0xFFFF, 1 << 20] {
                let mut bytes = header(later, WHOLE);
                bytes[at - start..][..4].copy_from_slice(&number.to_le_bytes());
                let mut mosaic = Mosaic::default();
                let result = read_mosaic(&bytes, &mut mosaic);
                // The earlier layout has no use for the second word of an item, and goes on behind
                // a length that cannot be.
                assert!(result.is_err() || !later || at > items, "{at} {number}");
                assert!(mosaic.slice_times_ms.len() <= 3);
            }
        }
    }
    // An item that reaches into the next element.
    let mut bytes = header(true, WHOLE);
    bytes[item + 4..][..4].copy_from_slice(&200_u32.to_le_bytes());
    assert_eq!(read_mosaic(&bytes, &mut Mosaic::default()), Err(Damaged));
    // As many items as there is room for, all of them one value.
    let many = vec!["7"; 12_000];
    let bytes = header(true, &[("MosaicRefAcqTimes", 0, &many)]);
    let mut mosaic = Mosaic::default();
    assert_eq!(read_mosaic(&bytes, &mut mosaic), Ok(()));
    assert_eq!(mosaic.slice_times_ms.len(), VALUES_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(
        later: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = header(later, WHOLE);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(&tail);
        for bytes in [&bytes[..], &tail] {
            let mut mosaic = Mosaic::default();
            let _ = read_mosaic(bytes, &mut mosaic);
            prop_assert!(mosaic.slice_times_ms.len() <= VALUES_MAX);
        }
    }
}
