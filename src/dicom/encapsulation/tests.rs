//! Tables of encapsulated pixel elements, good and bad.

use proptest::prelude::*;

use super::*;

const DELIMITER: &[u8] = b"\xFE\xFF\xDD\xE0\0\0\0\0";
const START: &[u8] = b"\xFF\xD8\xFF\xE0";
const REST: &[u8] = b"\x01\x02\x03\x04\x05\x06";

fn item(value: &[u8]) -> Vec<u8> {
    let mut bytes = b"\xFE\xFF\x00\xE0".to_vec();
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend(value);
    bytes
}

fn offsets(entries: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect();
    item(&bytes)
}

/// 16 bytes that are not the element's, then the parts.
fn file(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0xAA; 16];
    bytes.extend(parts.concat());
    bytes
}

fn read(bytes: &[u8], frames: u32) -> Result<FrameTable, Error> {
    let location = PixelDataLocation {
        offset_bytes: 16,
        length_bytes: None,
        extended_offset_table: None,
    };
    let codec = CodecFamily::JpegLossless;
    FrameTable::read(bytes, bytes.len() as u64, &location, frames, codec)
}

/// The bytes of each frame, and its state.
fn frames(bytes: &[u8], table: &FrameTable) -> Vec<(Vec<u8>, FrameState)> {
    let of = |fragment: &Fragment| {
        let start = fragment.offset_bytes as usize;
        bytes[start..start + fragment.length_bytes as usize].to_vec()
    };
    (0..table.frame_count())
        .map(|index| table.frame(index).expect("in range"))
        .map(|frame| (frame.fragments.iter().flat_map(of).collect(), frame.state))
        .collect()
}

fn check(name: &str, parts: &[&[u8]], count: u32, expected: &[(&[u8], FrameState)]) {
    let bytes = file(parts);
    let table = read(&bytes, count).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected: Vec<_> = expected.iter().map(|(b, s)| (b.to_vec(), *s)).collect();
    assert_eq!(frames(&bytes, &table), expected, "{name}");
    assert_eq!(table.frame(count), None, "{name}");
}

fn check_malformed(name: &str, parts: &[&[u8]], count: u32) {
    let result = read(&file(parts), count);
    assert!(
        matches!(result, Err(Error::Malformed { .. })),
        "{name}: {result:?}"
    );
}

use FrameState::{Missing, Truncated, Whole};

#[test]
fn frames_of_whole_files() {
    let (empty, start, rest) = (&offsets(&[])[..], &item(START)[..], &item(REST)[..]);
    let both = &[START, REST].concat()[..];
    let end = DELIMITER;
    check(
        "as many as frames",
        &[empty, rest, rest, end],
        2,
        &[(REST, Whole), (REST, Whole)],
    );
    check(
        "one frame takes all",
        &[empty, start, rest, end],
        1,
        &[(both, Whole)],
    );
    let by_start = &[empty, start, rest, start, end];
    check(
        "by codestream",
        by_start,
        2,
        &[(both, Whole), (START, Whole)],
    );
    let table = &offsets(&[0, 12])[..];
    let by_table = &[table, start, rest, rest, end];
    let second = &[REST, REST].concat()[..];
    check("by table", by_table, 2, &[(START, Whole), (second, Whole)]);
    // The table of one frame that has fragments.
    check(
        "table of one",
        &[&offsets(&[0])[..], start, rest, end],
        1,
        &[(both, Whole)],
    );
    let both_orders = [&offsets(&[12, 0])[..], start, rest, end];
    check_malformed("a table of another order", &both_orders, 2);
    // Tables that lie are not believed.
    for lie in [
        &[0u32, 13][..],
        &[12, 0],
        &[4, 12],
        &[0, 0],
        &[0],
        &[0, 12, 26],
        &[0, 9999],
    ] {
        let parts = &[&offsets(lie)[..], start, rest, start, end];
        check("lie", parts, 2, &[(both, Whole), (START, Whole)]);
    }
    let none = &item(b"")[..];
    check(
        "trailing empty item",
        &[empty, rest, none, end],
        1,
        &[(REST, Whole)],
    );
    check(
        "empty frame",
        &[empty, rest, none, end],
        2,
        &[(REST, Whole), (b"", Whole)],
    );
    check(
        "no delimiter",
        &[empty, rest, rest],
        2,
        &[(REST, Whole), (REST, Whole)],
    );
    check(
        "junk after",
        &[empty, rest, b"junkjunk"],
        1,
        &[(REST, Whole)],
    );
}

#[test]
fn frames_of_files_that_end_early() {
    let (empty, start, rest) = (&offsets(&[])[..], &item(START)[..], &item(REST)[..]);
    let cut = &rest[..11];
    check(
        "only frame cut",
        &[empty, cut],
        1,
        &[(&REST[..3], Truncated)],
    );
    let parts = &[empty, start, start, &start[..11]];
    let last = (&START[..3], Truncated);
    check(
        "last cut",
        parts,
        3,
        &[(START, Whole), (START, Whole), last],
    );
    let lacking = (&b""[..], Missing);
    check(
        "last lacking",
        &[empty, start, start],
        3,
        &[(START, Whole), (START, Whole), lacking],
    );
    // Fragments are lacking, and nobody can say that none is of the last frame that is there.
    let both = &[START, REST].concat()[..];
    let some = &[(both, Whole), (both, Truncated), lacking];
    check("last may lack", &[empty, start, rest, start, rest], 3, some);
    let table = &offsets(&[0, 12, 26])[..];
    let by_table = &[(START, Whole), (REST, Whole), lacking];
    check("table of more", &[table, start, rest], 3, by_table);
    let by_table = &[(START, Whole), (&REST[..3], Truncated), lacking];
    check("table of more, cut", &[table, start, cut], 3, by_table);
}

#[test]
fn fragments_that_fit_no_frames_are_refused() {
    let (empty, start, rest) = (&offsets(&[])[..], &item(START)[..], &item(REST)[..]);
    check_malformed("too many", &[empty, rest, rest, rest, DELIMITER], 2);
    check_malformed("too few", &[empty, start, rest, DELIMITER], 3);
    check_malformed("none", &[empty, DELIMITER], 1);
    check_malformed(
        "junk between",
        &[empty, rest, b"junkjunk", rest, DELIMITER],
        2,
    );
    check_malformed("not an item", &[b"junkjunkjunk"], 1);
    check_malformed(
        "undefined length",
        &[b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF"],
        1,
    );
    let claims = read(&file(&[b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\x7F"]), 1);
    assert!(matches!(claims, Err(Error::Truncated { .. })), "{claims:?}");
    // No memory is asked for by a count of frames alone.
    let many = read(&file(&[empty, start]), u32::MAX).expect("frames are missing");
    assert_eq!(
        many.frame(u32::MAX - 1).map(|frame| frame.state),
        Some(Missing)
    );
}

#[test]
fn extended_offset_table() {
    let body = [item(b""), item(START), item(REST), DELIMITER.to_vec()].concat();
    let table_of = |offsets: [u64; 2], lengths: [u64; 2]| {
        let words: Vec<u8> = offsets
            .iter()
            .chain(&lengths)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let bytes = [words, body.clone()].concat();
        let location = PixelDataLocation {
            offset_bytes: 32,
            length_bytes: None,
            extended_offset_table: Some([(0, 16), (16, 16)]),
        };
        let len = bytes.len() as u64;
        FrameTable::read(&bytes[..], len, &location, 2, CodecFamily::Rle)
    };
    let check = |offsets: [u64; 2], lengths: [u64; 2], expected: Option<[usize; 2]>| {
        let table = table_of(offsets, lengths);
        let table = table.expect("readable by the number of fragments anyway");
        let lengths = [0, 1].map(|i| table.frame(i).map_or(0, |f| f.length_bytes() as usize));
        assert_eq!(lengths, expected.unwrap_or([4, 6]), "{offsets:?}");
    };
    // The lengths leave out padding, which tells that the table was used.
    check([0, 12], [3, 5], Some([3, 5]));
    for lie in [[0, 13], [12, 0], [0, u64::MAX], [0, 26], [0, 1 << 40]] {
        check(lie, [3, 5], None);
    }
    check([0, 12], [5, 5], None);
    let other_order = table_of([12, 0], [5, 3]);
    assert!(
        matches!(other_order, Err(Error::Malformed { .. })),
        "{other_order:?}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_neither_panic_nor_reach_beyond_the_file(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        lengths in proptest::collection::vec(0u8..40, 0..12),
        cut in any::<proptest::sample::Index>(),
        count in 0u32..12,
    ) {
        let _ = read(&[&[0; 16], &bytes[..]].concat(), count);
        let mut parts = file(&[&offsets(&[0, 12, 30])]);
        for length in &lengths {
            let value: Vec<u8> = START.iter().copied().chain(bytes.iter().copied()).collect();
            parts.extend(item(&value[..usize::from(*length).min(value.len())]));
        }
        parts.truncate(cut.index(parts.len()) + 1);
        if let Ok(table) = read(&parts, count) {
            let mut end = 0;
            for index in 0..count {
                for fragment in table.frame(index).expect("in range").fragments {
                    prop_assert!(fragment.offset_bytes >= end);
                    end = fragment.offset_bytes + fragment.length_bytes;
                    prop_assert!(end <= parts.len() as u64);
                }
            }
        }
    }
}
