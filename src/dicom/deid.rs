//! De-identification by the Basic Application Level Confidentiality Profile of PS3.15 Annex E, with the
//! option "Retain Longitudinal Temporal Information with Modified Dates".
//!
//! UIDs and Patient IDs are mapped by a keyed hash, dates moved by a number of days that is one for
//! each patient; times of the day stay. Pixel Data stays as it is. Where the table leaves a choice by
//! the Type of an attribute in its IOD, what is done is valid for every Type: a dummy value, or none.
//! Beyond the table: what neither it nor PS3.6 knows is removed, so are group lengths and all of an
//! overlay; names of persons that the table does not name are emptied, dates moved, and UIDs mapped
//! that may be of instances.
//!
//! | file | job |
//! |---|---|
//! | `table.rs` | Table E.1-1 |
//! | `key.rs` | what stands for an identifier |
//! | `dates.rs` | dates, moved |
//! | `rules.rs` | what becomes of an attribute |
//! | `dataset.rs` | the elements of a data set, rewritten |
//! | `file.rs` | a file: its header rewritten, its pixels where they are |
//! | `shown.rs` | what is known of an instance, as it may be shown |
//!
//! Pure but for the positioned reads of the file that is rewritten. Knows no names of the tree.

mod dataset;
mod dates;
mod file;
mod key;
mod rules;
mod shown;
pub mod table;

use std::fmt;

pub use file::{Rewritten, rewrite};
pub use key::{KEY_BYTES_MIN, KeyTooShort};
pub use shown::burned_in;

use super::{Instance, Value};
use key::Key;

/// De-identifies with one key.
#[derive(Clone)]
pub struct Deid {
    key: Key,
}

/// Whose instance it is, as far as that decides what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What stands for Patient ID and Patient's Name.
    pub pseudonym: String,
    /// Days by which dates are moved to the past.
    pub days: u32,
}

impl Deid {
    /// With this key.
    ///
    /// # Errors
    /// [`KeyTooShort`].
    pub fn new(key: &[u8]) -> Result<Deid, KeyTooShort> {
        Ok(Deid {
            key: Key::new(key)?,
        })
    }

    /// What stands for the UID of an instance, or of what goes with some. The few that PS3.6 itself gives
    /// to such things stand for themselves.
    pub fn uid(&self, uid: &str) -> String {
        self.key.uid(uid)
    }

    /// What stands for anything else that is known by `kind`, 128 bits in hexadecimal.
    pub fn alias(&self, kind: &str, of: &[u8]) -> String {
        let digest = self.key.digest(kind, of);
        crate::hash::hex(&digest[..16])
    }

    /// A digest that says nothing without the key.
    pub fn digest(&self, kind: &str, of: &[u8]) -> [u8; 32] {
        self.key.digest(kind, of)
    }

    /// Whose instance it is: by Patient ID; where there is none by the patient's name; where there is
    /// none either by the study.
    pub fn subject(&self, instance: &Instance) -> Subject {
        let text = |keyword| match instance.attributes.get(keyword) {
            Some(Value::Text(text)) => text.trim().to_owned(),
            Some(Value::Texts(texts)) => texts.join("\\"),
            _ => String::new(),
        };
        let known = ["PatientID", "PatientName"].map(|keyword| (keyword, text(keyword)));
        let known = known.into_iter().find(|(_, text)| !text.is_empty());
        // Of one kind, so that a name is never taken for an ID.
        let patient = match known {
            Some(("PatientID", id)) => id,
            Some((keyword, text)) => format!("{keyword}\0{text}"),
            None => format!("StudyInstanceUID\0{}", instance.study_instance_uid),
        };
        Subject {
            pseudonym: self.key.pseudonym(&patient),
            days: self.key.days(&patient),
        }
    }
}

impl fmt::Debug for Deid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.write_str("Deid")
    }
}
