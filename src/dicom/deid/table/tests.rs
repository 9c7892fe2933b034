//! The table against itself and against the dictionary.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::*;

#[test]
fn rows_ascend_and_are_found() {
    let tags: Vec<u32> = rows().map(|row| row.tag).collect();
    assert_eq!(tags.len(), 652);
    assert!(tags.is_sorted_by(|a, b| a < b));
    for known in rows() {
        let found = rule((known.tag >> 16) as u16, known.tag as u16);
        let expected = match known.tag >> 24 {
            0x50 | 0x60 => Some(row(0, "", Action::X)),
            _ => Some(*known),
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn patterns_are_removed() {
    for (group, element) in [(0x0009, 0x0010), (0x5002, 0x3000), (0x601E, 0x4000)] {
        let found = rule(group, element).map(|row| row.action);
        assert_eq!(found, Some(Action::X));
    }
    // Rows, columns, modality, geometry: not named.
    for (group, element) in [
        (0x0028, 0x0010),
        (0x0028, 0x0011),
        (0x0008, 0x0060),
        (0x0020, 0x0032),
        (0x0020, 0x0037),
        (0x0028, 0x0030),
        (0x7FE0, 0x0010),
    ] {
        assert_eq!(rule(group, element), None);
    }
}

#[test]
fn keywords_and_kinds_are_those_of_the_dictionary() {
    let mut unknown = 0;
    for row in rows() {
        let tag = Tag((row.tag >> 16) as u16, row.tag as u16);
        let Some(entry) = StandardDataDictionary.by_tag(tag) else {
            // Added to the standard after the dictionary was made: all are removed.
            assert_eq!(row.action, Action::X, "{tag}");
            unknown += 1;
            continue;
        };
        assert_eq!(entry.alias(), row.keyword, "{tag}");
        let vr = entry.vr().relaxed();
        let is_time = matches!(vr, VR::DA | VR::DT | VR::TM);
        assert!(is_time || !row.is_time, "{tag} {}", row.keyword);
        // Not kept as times: when somebody was born, where a camera stood, and what was added to the
        // standard since the copy that the option was taken from.
        if is_time && !row.is_time {
            let is_gone = matches!(row.action, Action::X | Action::Z);
            assert!(is_gone, "{}", row.keyword);
        }
        if row.action == Action::U {
            assert_eq!(vr, VR::UI, "{}", row.keyword);
        }
    }
    assert!(unknown < 40, "{unknown}");
}

#[test]
fn the_rows_that_everybody_knows() {
    let action = |tag: u32| rule((tag >> 16) as u16, tag as u16).map(|row| row.action);
    for (tag, expected) in [
        (0x0008_0018, Action::U),
        (0x0008_0050, Action::Z),
        (0x0008_0080, Action::Xzd),
        (0x0008_0090, Action::Z),
        (0x0008_1030, Action::X),
        (0x0008_103E, Action::X),
        (0x0008_1140, Action::Xzu),
        (0x0010_0010, Action::Z),
        (0x0010_0020, Action::Zd),
        (0x0010_0030, Action::Z),
        (0x0010_1000, Action::X),
        (0x0010_4000, Action::X),
        (0x0018_1030, Action::Xd),
        (0x0020_000D, Action::U),
        (0x0020_0052, Action::U),
        (0x0040_A730, Action::D),
        (0x0088_0200, Action::X),
        (0x0400_0561, Action::X),
        (0xFFFA_FFFA, Action::X),
    ] {
        assert_eq!(action(tag), Some(expected), "{tag:08X}");
    }
}
