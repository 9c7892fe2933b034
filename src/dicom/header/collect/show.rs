//! Values as they are shown to users, into the block that holds them.

use super::{Place, Target};
use crate::dicom::attributes::Writer;
use crate::dicom::dictionary::Kind;
use crate::dicom::limits::VALUES_MAX;

/// Attributes of these places are those of the whole instance.
pub(super) fn shows(place: Place) -> bool {
    matches!(
        place,
        Place::Top
            | Place::Macro(Target::Shared)
            | Place::Radiopharmaceutical
            | Place::PhilipsFrame
    )
}

/// Writes numbers; `entry` is the attribute's place in the table.
pub(super) fn numbers(shown: &mut Writer, entry: u8, kind: Kind, numbers: &[f64]) {
    match (kind, numbers) {
        (Kind::Whole, [number]) => shown.int(entry, *number as i64),
        (Kind::Whole, numbers) => shown.ints(entry, numbers.iter().map(|number| *number as i64)),
        (_, [number]) => shown.float(entry, *number),
        (_, numbers) => shown.floats(entry, numbers),
    }
}

/// Writes text, as several where backslashes separate values.
pub(super) fn text(shown: &mut Writer, entry: u8, kind: Kind, text: &str) {
    if kind == Kind::SingleText || !text.contains('\\') {
        return shown.text(entry, text);
    }
    shown.texts(entry, text.split('\\').take(VALUES_MAX).map(str::trim));
}
