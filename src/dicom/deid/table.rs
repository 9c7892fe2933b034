//! Table E.1-1 of PS3.15: what the Basic Application Level Confidentiality Profile does to each
//! attribute, and which of them the option "Retain Longitudinal Temporal Information with Modified
//! Dates" keeps in another form. Edition 2026c; checked against an independent copy of 2024d, which
//! differs in rows that were added since and in nothing else.
//!
//! Data and its look-up; what an action does to a value is for `dataset.rs` to say. The codes K
//! and C do not occur in the column of the profile itself.

mod high;
mod low;

#[cfg(test)]
mod tests;

/// What is done to an attribute: the codes of the table. Those that leave a choice by the attribute's
/// Type in the IOD end up as what is valid for every Type that they cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// D: a dummy value.
    D,
    /// Z: no value, or a dummy.
    Z,
    /// X: removed.
    X,
    /// U: another UID, the same for the same.
    U,
    /// Z/D: a dummy value.
    Zd,
    /// X/Z: no value.
    Xz,
    /// X/D: a dummy value.
    Xd,
    /// X/Z/D: a dummy value.
    Xzd,
    /// X/Z/U*: kept, with other UIDs in it.
    Xzu,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Group and element.
    pub tag: u32,
    /// Keyword in PS3.6.
    pub keyword: &'static str,
    /// The column of the profile.
    pub action: Action,
    /// A date or time that the option keeps in another form.
    pub is_time: bool,
}

const fn row(tag: u32, keyword: &'static str, action: Action) -> Row {
    Row {
        tag,
        keyword,
        action,
        is_time: false,
    }
}

const fn time(tag: u32, keyword: &'static str, action: Action) -> Row {
    Row {
        tag,
        keyword,
        action,
        is_time: true,
    }
}

/// What the table says of an attribute; `None` where it does not name it.
///
/// Beside single attributes it names private ones (odd groups), Curve Data (50xx,xxxx), Overlay Data
/// (60xx,3000) and Overlay Comments (60xx,4000). Of an overlay nothing stays: what is left of one
/// without its data is no valid overlay.
pub fn rule(group: u16, element: u16) -> Option<Row> {
    if group % 2 == 1 || matches!(group >> 8, 0x50 | 0x60) {
        return Some(row(0, "", Action::X));
    }
    let tag = u32::from(group) << 16 | u32::from(element);
    let rows = if group < 0x0020 { low::LOW } else { high::HIGH };
    let found = rows.binary_search_by_key(&tag, |row| row.tag);
    found.ok().map(|index| rows[index])
}

/// All rows that name a single attribute, by tag.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    low::LOW.iter().chain(high::HIGH)
}
