//! What becomes of an attribute, by the table, its representation, and where it stands.

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

use super::table::{self, Action, Row};
use super::{Deid, Subject, dates};
use crate::dicom::header::{NO_VR, Vr};
use crate::dicom::tags;

/// What is put in the place of text.
pub(super) const DUMMY_TEXT: &str = "DEIDENTIFIED";

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes.
    Remove,
    /// It stays.
    Keep,
    /// It stays without a value.
    Empty,
    /// It gets a value that says nothing.
    Dummy,
    /// Its UIDs are mapped.
    Uid,
    /// It becomes what stands for the patient.
    Pseudonym,
    /// Its dates are moved; where they are no dates, this is done.
    Moved(&'static Fate),
    /// A sequence: done to what is in its items.
    Items(Mode),
}

/// What is done to a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// That of the file: by the table.
    Top,
    /// One in an item: by the table.
    Nested,
    /// One in an item of a sequence that is to say nothing: every value becomes a dummy.
    Dummy,
}

/// The representation that an attribute has in PS3.6; `None` for what PS3.6 does not know.
pub(super) fn dictionary_vr(tag: Tag) -> Option<Vr> {
    let entry = StandardDataDictionary.by_tag(tag)?;
    let name = entry.vr().relaxed().to_string();
    name.as_bytes().first_chunk().copied()
}

/// The representation to go by: the one written unless it says nothing, or hides what rules go by.
/// `None` where PS3.6 does not know the attribute, or one of the two says that it is a sequence and the
/// other does not.
pub(super) fn effective_vr(tag: Tag, written: Vr) -> Option<Vr> {
    let known = dictionary_vr(tag)?;
    match (&known, &written) {
        (_, &NO_VR | b"UN") | (b"PN" | b"UI" | b"DA" | b"DT" | b"TM", _) => Some(known),
        (b"SQ", b"SQ") => Some(known),
        (b"SQ", _) | (_, b"SQ") => None,
        _ => Some(written),
    }
}

/// Attributes whose UIDs are of classes, transfer syntaxes and codes: they name no instance.
const OF_NO_INSTANCE: [Tag; 16] = [
    Tag(0x0008, 0x0016),
    Tag(0x0008, 0x001A),
    Tag(0x0008, 0x001B),
    Tag(0x0008, 0x0062),
    Tag(0x0008, 0x010C),
    Tag(0x0008, 0x0117),
    Tag(0x0008, 0x0118),
    Tag(0x0008, 0x040E),
    Tag(0x0008, 0x1150),
    Tag(0x0008, 0x115A),
    Tag(0x0008, 0x3002),
    Tag(0x0034, 0x0003),
    Tag(0x0400, 0x0010),
    Tag(0x0400, 0x0510),
    Tag(0x3010, 0x0052),
    Tag(0x3010, 0x0053),
];

/// What becomes of an attribute with this effective representation.
pub(super) fn fate(tag: Tag, vr: Vr, mode: Mode) -> Fate {
    let is_group_length = tag.1 == 0;
    // Groups of commands, of files and of DICOMDIRs have no place in a data set.
    if is_group_length || tag.0 <= 0x0006 {
        return Fate::Remove;
    }
    let rule = table::rule(tag.0, tag.1);
    if OF_NO_INSTANCE.contains(&tag) {
        return Fate::Keep;
    }
    if mode == Mode::Dummy {
        let is_removed = rule.is_some_and(|rule| rule.action == Action::X);
        return if is_removed { Fate::Remove } else { dummy(vr) };
    }
    if mode == Mode::Top && matches!(tag, tags::PATIENT_ID | tags::PATIENT_NAME) {
        return Fate::Pseudonym;
    }
    match rule {
        Some(row) => by_table(&row, vr),
        None => match &vr {
            b"SQ" => Fate::Items(Mode::Nested),
            b"PN" => Fate::Empty,
            // The table names most references, not all: that to the source of a concatenation not.
            b"UI" => Fate::Uid,
            b"DA" | b"DT" | b"TM" => Fate::Moved(&Fate::Empty),
            _ => Fate::Keep,
        },
    }
}

fn by_table(row: &Row, vr: Vr) -> Fate {
    let fallback = match (row.action, dummy(vr)) {
        (Action::X, _) => &Fate::Remove,
        (Action::Z | Action::Xz, _) => &Fate::Empty,
        (Action::U | Action::Xzu, _) => match &vr {
            b"SQ" => return Fate::Items(Mode::Nested),
            _ => &Fate::Uid,
        },
        (Action::D | Action::Zd | Action::Xd | Action::Xzd, dummy) => match dummy {
            Fate::Items(_) | Fate::Uid => return dummy,
            _ => &Fate::Dummy,
        },
    };
    if row.is_time && matches!(&vr, b"DA" | b"DT" | b"TM") {
        return Fate::Moved(fallback);
    }
    *fallback
}

fn dummy(vr: Vr) -> Fate {
    match &vr {
        b"SQ" => Fate::Items(Mode::Dummy),
        b"UI" => Fate::Uid,
        _ => Fate::Dummy,
    }
}

/// A value that says nothing, of even length, little or big endian alike.
pub(super) fn dummy_value(vr: Vr) -> &'static [u8] {
    match &vr {
        b"DA" => b"19000101",
        b"DT" => b"19000101000000",
        b"TM" => b"000000",
        b"AS" => b"000Y",
        b"DS" | b"IS" => b"0 ",
        b"US" | b"SS" | b"OB" | b"OW" | b"UN" => &[0; 2],
        b"UL" | b"SL" | b"FL" | b"AT" | b"OF" | b"OL" => &[0; 4],
        b"FD" | b"SV" | b"UV" | b"OD" | b"OV" => &[0; 8],
        _ => DUMMY_TEXT.as_bytes(),
    }
}

/// Dates of a text value, moved; `None` where one of them is none.
pub(super) fn moved(text: &str, vr: Vr, subject: &Subject) -> Option<String> {
    let one = |part: &str| {
        let part = part.trim_matches([' ', '\0']);
        match &vr {
            _ if part.is_empty() => Some(String::new()),
            b"DA" => dates::earlier_date(part, subject.days),
            b"DT" => dates::earlier_datetime(part, subject.days),
            _ => dates::is_time_of_day(part).then(|| part.to_owned()),
        }
    };
    let parts: Option<Vec<String>> = text.split('\\').map(one).collect();
    Some(parts?.join("\\"))
}

/// UIDs of a text value, mapped.
pub(super) fn mapped(text: &str, deid: &Deid) -> String {
    let one = |part: &str| deid.uid(part.trim_matches([' ', '\0']));
    let parts: Vec<String> = text.split('\\').map(one).collect();
    parts.join("\\")
}
