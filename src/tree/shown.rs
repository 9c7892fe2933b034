//! What the tree says of a volume without holding it: the names of its links, and how much there is
//! below its directory.

use super::contents::Contents;
use super::name::{cut, safe};
use crate::dicom::Value;
use crate::library::{Loaded, Shown};
use crate::volume::Volume;

/// How a volume is shown: a function of its headers alone.
pub fn show(loaded: &Loaded) -> Shown {
    let volume = &loaded.volume;
    let study_uid = first(volume, |i| &i.study_instance_uid);
    let visit = joined(&[
        &text(volume, "StudyDate"),
        &text(volume, "StudyDescription"),
    ]);
    Shown {
        nodes: Contents(loaded).count(),
        link: link_name(volume).into(),
        study: safe(study_uid, "unknown").into(),
        patient: safe(&text(volume, "PatientID"), "unknown").into(),
        visit: safe(&visit, "unknown").into(),
        patient_id: text(volume, "PatientID").into(),
        study_date: text(volume, "StudyDate").into(),
        description: text(volume, "SeriesDescription").into(),
        instances: volume.records.len() as u64,
    }
}

/// `<SeriesNumber>_<Modality>_<SeriesDescription>_<last 8 of UID>` and the volume's suffix; what
/// is absent is left out.
fn link_name(volume: &Volume) -> String {
    let uid = first(volume, |i| &i.series_instance_uid);
    let modality = first(volume, |i| &i.modality);
    let tail: String = uid
        .chars()
        .rev()
        .take(8)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let suffix = volume
        .name
        .strip_prefix(uid)
        .filter(|_| !uid.is_empty())
        .unwrap_or_default();
    let tail = format!("{tail}{suffix}");
    let (number, description) = (
        text(volume, "SeriesNumber"),
        text(volume, "SeriesDescription"),
    );
    let head = joined(&[&number, modality, &description]);
    // The tail tells volumes apart, so it is the head that is cut; 8 bytes are left for `~n`.
    let room = 255 - 8 - tail.len().min(200) - 1;
    cut(safe(&joined(&[&cut(head, room), &tail]), "unknown"), 255)
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("_")
}

fn first<'a>(volume: &'a Volume, field: impl Fn(&'a crate::dicom::Instance) -> &'a str) -> &'a str {
    volume
        .records
        .first()
        .map_or("", |record| field(&record.instance))
}

fn text(volume: &Volume, keyword: &str) -> String {
    let value = volume
        .records
        .first()
        .and_then(|r| r.instance.attributes.get(keyword));
    match value {
        Some(Value::Text(text)) => text.trim().to_string(),
        Some(Value::Texts(texts)) => texts.join("\\"),
        Some(Value::Int(n)) => n.to_string(),
        Some(Value::Float(x)) => x.to_string(),
        Some(Value::Ints(_) | Value::Floats(_)) | None => String::new(),
    }
}
