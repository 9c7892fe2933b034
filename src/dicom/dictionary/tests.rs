//! The table against the one of PS3.6.

use super::*;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

#[test]
fn agrees_with_the_dictionary() {
    for pair in ATTRIBUTES.windows(2) {
        assert!(
            pair[0].tag < pair[1].tag,
            "{} is out of order",
            pair[1].keyword
        );
    }
    let public = ATTRIBUTES.iter().filter(|a| a.creator.is_empty());
    for attribute in public {
        let entry = StandardDataDictionary
            .by_tag(attribute.tag)
            .expect("in PS3.6");
        assert_eq!(entry.alias(), attribute.keyword);
        match entry.vr() {
            VirtualVr::Exact(vr) => {
                assert_eq!(
                    vr.to_string().as_bytes(),
                    attribute.vr,
                    "{}",
                    attribute.keyword
                );
            }
            _ => assert_eq!(&attribute.vr, b"US", "{}", attribute.keyword),
        }
    }
    for attribute in ATTRIBUTES {
        let place = place_of_tag(attribute.tag).expect("in the table");
        assert_eq!(&ATTRIBUTES[usize::from(place)], attribute);
        let place = place_of(attribute.keyword).expect("in the table");
        assert_eq!(&ATTRIBUTES[usize::from(place)], attribute);
    }
    assert_eq!(place_of("Klingon"), None);
}

#[test]
fn private_attributes_have_a_creator_and_no_block() {
    for attribute in ATTRIBUTES {
        let Attribute { tag, creator, .. } = attribute;
        let is_private = tag.0 % 2 == 1;
        assert_eq!(is_private, !creator.is_empty(), "{}", attribute.keyword);
        assert!(!is_private || tag.1 <= 0xFF, "{}", attribute.keyword);
        let public = StandardDataDictionary.by_name(attribute.keyword);
        assert_eq!(is_private, public.is_none(), "{}", attribute.keyword);
        let known = private_creator(tag.0, creator.as_bytes());
        assert_eq!(known, Some(*creator));
    }
    assert_eq!(private_creator(0x0019, b"GEMS_PARM_01"), None);
    assert_eq!(private_creator(0x0019, b"SIEMENS MR HEADER "), None);
    assert_eq!(private_creator(0x7FE1, b"SIEMENS MR HEADER"), None);
}

#[test]
fn no_bulk() {
    assert_eq!(place_of_tag(Tag(0x7FE0, 0x0010)), None);
}
