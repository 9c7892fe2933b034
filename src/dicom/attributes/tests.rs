//! Order, look-up, the way to bytes and back, and damaged bytes.

use proptest::prelude::*;

use super::*;

fn attributes(entries: &[(&str, Value)]) -> Attributes {
    let mut attributes = Attributes::default();
    for (keyword, value) in entries {
        attributes.insert(keyword, value).expect("known");
    }
    attributes
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn in_the_order_of_tags_whatever_the_order_they_came_in() {
    let sample = [
        ("Rows", Value::Int(512)),
        ("StudyDate", text("20240229")),
        ("KVP", Value::Float(120.0)),
        ("StudyDate", text("20240301")),
        ("DoseGridScaling", Value::Float(0.1)),
        (
            "ImageType",
            Value::Texts(vec!["ORIGINAL".into(), "".into()]),
        ),
    ];
    let found = attributes(&sample);
    let keywords: Vec<&str> = found.iter().map(|(keyword, _)| keyword).collect();
    let expected = ["ImageType", "StudyDate", "KVP", "Rows", "DoseGridScaling"];
    assert_eq!(keywords, expected);
    // Of two for one keyword the later counts.
    assert_eq!(found.get("StudyDate"), Some(text("20240301")));
    assert_eq!(found.get("KVP"), Some(Value::Float(120.0)));
    assert_eq!(found.get("SeriesDate"), None);
    assert_eq!(found.get("Klingon"), None);
    assert_eq!(Attributes::default().get("KVP"), None);
    let shown = format!("{found:?}");
    assert!(shown.starts_with("{\"ImageType\": Texts(["), "{shown}");
}

#[test]
fn only_what_is_shown_can_be_set() {
    let mut none = Attributes::default();
    // A keyword that is not in the table, and one that has a field of its own.
    for keyword in ["Klingon", "SeriesInstanceUID"] {
        let refused = none.insert(keyword, &text("x"));
        assert_eq!(refused, Err(UnknownKeyword(keyword.to_owned())));
    }
    assert_eq!(none, Attributes::default());
}

#[test]
fn numbers_keep_their_bits() {
    let ints = [
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        32_767,
        65_535,
        i64::MAX,
        i64::MIN,
    ];
    for number in ints {
        let found = attributes(&[("Rows", Value::Int(number))]);
        assert_eq!(found.get("Rows"), Some(Value::Int(number)));
    }
    for number in [
        0.0,
        -0.0,
        0.1,
        120.0,
        1e300,
        f64::MIN_POSITIVE,
        f64::INFINITY,
    ] {
        let found = attributes(&[("KVP", Value::Float(number))]);
        let Some(Value::Float(kept)) = found.get("KVP") else {
            panic!("{found:?}");
        };
        assert_eq!(kept.to_bits(), number.to_bits());
    }
    let found = attributes(&[("KVP", Value::Float(f64::NAN))]);
    assert!(matches!(found.get("KVP"), Some(Value::Float(kept)) if kept.is_nan()));
    let list = vec![0.0, -1.5, 0.1];
    let found = attributes(&[("GridFrameOffsetVector", Value::Floats(list.clone()))]);
    let numbers = found.floats("GridFrameOffsetVector").expect("a list");
    assert_eq!(numbers.len(), 3);
    assert_eq!(numbers.collect::<Vec<_>>(), list);
    assert!(found.floats("Rows").is_none());
}

#[test]
fn bytes_that_are_no_attributes_are_refused() {
    let place = |keyword| dictionary::place_of(keyword).expect("known");
    let (rows, kvp) = (place("Rows"), place("KVP"));
    let entry = |place: u8, kind: u8, value: &[u8]| {
        [&[place, (value.len() as u8) << 3 | kind], value].concat()
    };
    let row = entry(rows, INT, &[1]);
    for (what, bytes, sound) in [
        ("nothing", vec![], true),
        ("one entry", row.clone(), true),
        ("a value cut short", row[..2].to_vec(), false),
        ("no value", row[..1].to_vec(), false),
        ("more than an entry", [&row[..], &[9]].concat(), false),
        ("a place beyond the table", entry(255, INT, &[1]), false),
        (
            "an attribute that is not shown",
            entry(place("SeriesInstanceUID"), TEXT, b"1"),
            false,
        ),
        ("an unknown kind", entry(rows, 6, &[1]), false),
        ("text that is no UTF-8", entry(rows, TEXT, &[0xFF]), false),
        ("texts cut short", entry(rows, TEXTS, &[2, b'a']), false),
        ("texts", entry(rows, TEXTS, &[1, b'a', 0]), true),
        ("a number of nine bytes", entry(rows, INT, &[0; 9]), false),
        ("a float of five bytes", entry(rows, FLOAT, &[0; 5]), false),
        ("half a number", entry(rows, FLOATS, &[0; 12]), false),
        (
            "a length without end",
            [rows, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1].into(),
            false,
        ),
        (
            "a long length",
            [rows, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F].into(),
            false,
        ),
        ("twice the same", [&row[..], &row].concat(), false),
        (
            "the wrong order",
            [&row[..], &entry(kvp, FLOAT, &[0; 4])].concat(),
            false,
        ),
    ] {
        let stored = postcard::to_stdvec(&bytes).expect("in memory");
        let read = postcard::from_bytes::<Attributes>(&stored);
        assert_eq!(read.is_ok(), sound, "{what}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let texts = prop::collection::vec(".{0,200}", 0..5);
    prop_oneof![
        ".{0,300}".prop_map(Value::Text),
        texts.prop_map(Value::Texts),
        any::<i64>().prop_map(Value::Int),
        prop::collection::vec(any::<i64>(), 0..5).prop_map(Value::Ints),
        any::<f64>().prop_map(Value::Float),
        any::<f32>().prop_map(|number| Value::Float(number.into())),
        prop::collection::vec(any::<f64>(), 0..5).prop_map(Value::Floats),
    ]
}

proptest! {
    #[test]
    fn what_was_set_is_found_and_survives_storage(
        entries in prop::collection::vec((0..ATTRIBUTES.len(), value()), 0..40),
    ) {
        let mut found = Attributes::default();
        let mut model = std::collections::BTreeMap::new();
        for (place, value) in entries {
            let known = ATTRIBUTES[place].shown;
            prop_assert_eq!(found.insert(ATTRIBUTES[place].keyword, &value).is_ok(), known);
            if known {
                model.insert(place, value);
            }
        }
        let expected: Vec<(&str, Value)> = model
            .into_iter()
            .map(|(place, value)| (ATTRIBUTES[place].keyword, value))
            .collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected.clone());
        for (keyword, value) in expected {
            prop_assert_eq!(found.get(keyword), Some(value));
        }
        let stored = postcard::to_stdvec(&found).expect("in memory");
        prop_assert_eq!(postcard::from_bytes::<Attributes>(&stored), Ok(found));
    }

    #[test]
    fn any_bytes_are_taken_whole_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let stored = postcard::to_stdvec(&bytes).expect("in memory");
        if let Ok(read) = postcard::from_bytes::<Attributes>(&stored) {
            let again = read.iter().count();
            prop_assert_eq!(Entries(&bytes).count(), again);
        }
    }
}
