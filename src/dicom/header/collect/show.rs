//! Values as they are shown to users, and the map that holds them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::attributes::{ATTRIBUTES, Attribute};
use super::{Place, Target};
use crate::dicom::Value;
use crate::dicom::limits::VALUES_MAX;

/// For each attribute of the table, its place in the order of keywords.
static RANKS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let rank = |attribute: &Attribute| {
        let before = ATTRIBUTES
            .iter()
            .filter(|other| other.keyword < attribute.keyword);
        before.count() as u16
    };
    ATTRIBUTES.iter().map(rank).collect()
});

/// The map from keyword to value; of several values for one keyword the last counts. Sorted by
/// numbers first, since comparing keywords is a tenth of all the work on a header.
pub(super) fn by_keyword(shown: Vec<(&'static Attribute, Value)>) -> BTreeMap<String, Value> {
    let rank = |tag| ATTRIBUTES.binary_search_by_key(&tag, |attribute| attribute.tag);
    let mut ranked: Vec<(u16, &str, Value)> = shown
        .into_iter()
        .filter_map(|(attribute, value)| {
            let rank = *RANKS.get(rank(attribute.tag).ok()?)?;
            Some((rank, attribute.keyword, value))
        })
        .collect();
    ranked.sort_by_key(|(rank, ..)| *rank);
    ranked
        .into_iter()
        .map(|(_, keyword, value)| (keyword.to_owned(), value))
        .collect()
}

/// Attributes of these places are those of the whole instance.
pub(super) fn shows(place: Place) -> bool {
    matches!(
        place,
        Place::Top | Place::Macro(Target::Shared) | Place::Radiopharmaceutical
    )
}

/// Numbers as a value to show.
pub(super) fn numbers(attribute: &Attribute, numbers: &[f64]) -> Value {
    match (attribute.is_whole(), numbers) {
        (true, [number]) => Value::Int(*number as i64),
        (true, numbers) => Value::Ints(numbers.iter().map(|number| *number as i64).collect()),
        (false, [number]) => Value::Float(*number),
        (false, numbers) => Value::Floats(numbers.to_vec()),
    }
}

/// Text as a value to show.
pub(super) fn text(attribute: &Attribute, text: &str) -> Value {
    let single = matches!(&attribute.vr, b"ST" | b"LT" | b"UT" | b"UR");
    if single || !text.contains('\\') {
        return Value::Text(text.to_owned());
    }
    let parts = text.split('\\').take(VALUES_MAX);
    Value::Texts(parts.map(|part| part.trim().to_owned()).collect())
}
