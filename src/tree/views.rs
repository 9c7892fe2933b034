//! The views: `studies/` and `patients/`, directories of symbolic links into `series/`.
//!
//! The only names in the tree that carry what a patient is called (DESIGN 1.1).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;

use super::ino;
use super::name::{cut, safe};
use crate::dicom::Value;
use crate::volume::Volume;

#[derive(Default)]
pub(super) struct Views {
    nodes: HashMap<u64, View>,
}

enum View {
    Directory {
        parent: Option<u64>,
        entries: Vec<(String, u64)>,
        by_name: HashMap<String, u64>,
    },
    Link {
        parent: u64,
        depth: usize,
        volume: String,
    },
}

/// A directory being collected.
#[derive(Default)]
struct Draft {
    directories: BTreeMap<String, Draft>,
    /// Name to the volume it leads to.
    links: BTreeMap<String, String>,
    /// The last number given to links of a name that was taken: a folder of equal names would be
    /// searched from the start for each of them.
    last_number: HashMap<String, u64>,
}

impl Views {
    pub(super) fn new(volumes: &[Volume]) -> Views {
        let (mut studies, mut patients) = (Draft::default(), Draft::default());
        for volume in volumes {
            let link = link_name(volume);
            let study_uid = first(volume, |i| &i.study_instance_uid);
            studies
                .directory(safe(study_uid, "unknown"))
                .link(link.clone(), &volume.name);
            let study = joined(&[
                &text(volume, "StudyDate"),
                &text(volume, "StudyDescription"),
            ]);
            patients
                .directory(safe(&text(volume, "PatientID"), "unknown"))
                .directory(safe(&study, "unknown"))
                .link(link, &volume.name);
        }
        let mut views = Views::default();
        views.add(ino::STUDIES, None, "studies", 1, studies);
        views.add(ino::PATIENTS, None, "patients", 1, patients);
        views
    }

    fn add(&mut self, ino: u64, parent: Option<u64>, path: &str, depth: usize, draft: Draft) {
        // Taken before its children are numbered, so that none of them gets its number.
        self.nodes.insert(
            ino,
            View::Directory {
                parent,
                entries: Vec::new(),
                by_name: HashMap::new(),
            },
        );
        let mut children = Vec::with_capacity(draft.directories.len() + draft.links.len());
        for (name, draft) in draft.directories {
            let path = format!("{path}/{name}");
            let child = self.free(&path);
            self.add(child, Some(ino), &path, depth + 1, draft);
            children.push((name, child));
        }
        for (name, volume) in draft.links {
            let child = self.free(&format!("{path}/{name}"));
            let parent = ino;
            self.nodes.insert(
                child,
                View::Link {
                    parent,
                    depth,
                    volume,
                },
            );
            children.push((name, child));
        }
        if let Some(View::Directory {
            entries, by_name, ..
        }) = self.nodes.get_mut(&ino)
        {
            *by_name = children.iter().cloned().collect();
            *entries = children;
        }
    }

    fn free(&self, path: &str) -> u64 {
        ino::free_view(path, |ino| self.nodes.contains_key(&ino))
    }

    pub(super) fn contains(&self, ino: u64) -> bool {
        self.nodes.contains_key(&ino)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn child(&self, ino: u64, name: &OsStr) -> Option<u64> {
        match self.nodes.get(&ino)? {
            View::Directory { by_name, .. } => by_name.get(name.to_str()?).copied(),
            View::Link { .. } => None,
        }
    }

    pub(super) fn child_at(&self, ino: u64, n: usize) -> Option<(&str, u64)> {
        match self.nodes.get(&ino)? {
            View::Directory { entries, .. } => entries.get(n).map(|(name, ino)| (&**name, *ino)),
            View::Link { .. } => None,
        }
    }

    pub(super) fn parent(&self, ino: u64) -> Option<u64> {
        match self.nodes.get(&ino)? {
            View::Directory { parent, .. } => *parent,
            View::Link { parent, .. } => Some(*parent),
        }
    }

    /// For a link: how many directories up the mount point is, and the volume's name.
    pub(super) fn link(&self, ino: u64) -> Option<(usize, &str)> {
        match self.nodes.get(&ino)? {
            View::Link { depth, volume, .. } => Some((*depth, volume)),
            View::Directory { .. } => None,
        }
    }
}

impl Draft {
    fn directory(&mut self, name: String) -> &mut Draft {
        self.directories.entry(name).or_default()
    }

    fn link(&mut self, name: String, volume: &str) {
        let mut unique = name.clone();
        while self.links.contains_key(&unique) {
            let number = self.last_number.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{name}~{number}");
        }
        self.links.insert(unique, volume.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_numbered_past_those_that_are_taken() {
        let mut draft = Draft::default();
        for (name, volume) in [("a~3", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("b", "5")] {
            draft.link(name.to_owned(), volume);
        }
        let links: Vec<_> = draft.links.iter().map(|(n, v)| (&**n, &**v)).collect();
        let expected = [
            ("a", "2"),
            ("a~2", "3"),
            ("a~3", "1"),
            ("a~4", "4"),
            ("b", "5"),
        ];
        assert_eq!(links, expected);
    }
}
