//! What is known of an instance, as it may be shown: the same rules for values that are read already.

use std::sync::LazyLock;

use super::rules::{self, Fate, Mode};
use super::{Deid, Subject};
use crate::dicom::attributes::{Attributes, Change};
use crate::dicom::dictionary::{self, Attribute};
use crate::dicom::{Instance, Value};

/// Modalities whose pictures often have the patient's name in them: ultrasound, endoscopy,
/// photographs, documents, and what is none of the others.
const RISKY_MODALITIES: [&str; 9] = ["US", "IVUS", "ES", "XC", "GM", "OP", "DOC", "SC", "OT"];

/// Secondary Capture and its multi-frame forms (PS3.4 B.5): pictures of screens.
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";

impl Deid {
    /// What may be shown of an instance. What decides about pixels and geometry is as it was. A value
    /// that the profile replaces by a dummy is left out: nothing is required here.
    pub fn instance(&self, original: &Instance) -> Instance {
        let subject = self.subject(original);
        let mut shown = original.clone();
        for uid in [
            &mut shown.sop_instance_uid,
            &mut shown.study_instance_uid,
            &mut shown.series_instance_uid,
            &mut shown.frame_of_reference_uid,
        ] {
            *uid = self.uid(uid);
        }
        shown.attributes = self.attributes(&original.attributes, &subject);
        shown
    }

    fn attributes(&self, original: &Attributes, subject: &Subject) -> Attributes {
        let Some(place) = dictionary::place_of("PatientIdentityRemoved") else {
            return Attributes::default();
        };
        let removed = Value::Text("YES".to_owned());
        original.changed((place, &removed), |place, stored| {
            let place = usize::from(place);
            let fate = FATES.get(place).copied().unwrap_or(Fate::Remove);
            let changed = match fate {
                Fate::Keep => return Change::Keep,
                Fate::Remove | Fate::Empty | Fate::Dummy | Fate::Items(_) => return Change::Drop,
                Fate::Pseudonym => Some(Value::Text(subject.pseudonym.clone())),
                Fate::Uid => texts(stored.value(), |text| Some(rules::mapped(text, self))),
                Fate::Moved(_) => {
                    let vr = dictionary::ATTRIBUTES[place].vr;
                    texts(stored.value(), |text| rules::moved(text, vr, subject))
                }
            };
            changed.map_or(Change::Drop, Change::Set)
        })
    }
}

/// What becomes of each attribute that is shown, by its place in the dictionary.
static FATES: LazyLock<Vec<Fate>> = LazyLock::new(|| {
    let attributes = dictionary::ATTRIBUTES.iter();
    let fate = |attribute: &Attribute| match attribute.creator {
        "" => rules::fate(attribute.tag, attribute.vr, Mode::Top),
        _ => Fate::Remove,
    };
    attributes.map(fate).collect()
});

/// A value of text, each of its parts changed.
fn texts(value: Option<Value>, change: impl Fn(&str) -> Option<String>) -> Option<Value> {
    match value? {
        Value::Text(text) => change(&text).map(Value::Text),
        Value::Texts(texts) => {
            let texts: Option<Vec<String>> = texts.iter().map(|text| change(text)).collect();
            texts.map(Value::Texts)
        }
        _ => None,
    }
}

/// Why the pixels of an instance may name the patient, which is for somebody to look at; `None` where
/// nothing says so.
pub fn burned_in(instance: &Instance) -> Option<&'static str> {
    let said = match instance.attributes.get("BurnedInAnnotation") {
        Some(Value::Text(said)) => said,
        _ => String::new(),
    };
    let is_capture = instance.sop_class_uid.starts_with(SECONDARY_CAPTURE);
    match said.trim() {
        "YES" => Some(
            "BurnedInAnnotation is YES: the pixels, which are as they were, may name the patient",
        ),
        "NO" => None,
        _ if is_capture => Some(
            "a secondary capture that does not say that nothing is burned in: the pixels, which are as \
             they were, may name the patient",
        ),
        _ if RISKY_MODALITIES.contains(&instance.modality.as_str()) => Some(
            "of a modality that often burns in names, and does not say that nothing is burned in: the \
             pixels are as they were",
        ),
        _ => None,
    }
}
