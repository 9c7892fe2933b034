//! The views: `studies/` and `patients/`, directories of symbolic links into `series/`.
//!
//! The only names in the tree that carry what a patient is called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;

use super::ino;
use super::stale::Stale;
use crate::library::{Card, Shown};

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
    /// The views of volumes; those that come first keep their names where names are equal.
    pub(super) fn new<'a>(cards: impl Iterator<Item = &'a Card>) -> Views {
        let (mut studies, mut patients) = (Draft::default(), Draft::default());
        for card in cards {
            let Shown {
                link,
                study,
                patient,
                visit,
                ..
            } = &card.shown;
            studies.directory(study).link(link, &card.name);
            let visits = patients.directory(patient);
            visits.directory(visit).link(link, &card.name);
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

    /// The first child whose name comes after `name`. A directory has directories or links, each by
    /// name, never both.
    pub(super) fn position_after(&self, ino: u64, name: &str) -> usize {
        match self.nodes.get(&ino) {
            Some(View::Directory { entries, .. }) => {
                entries.partition_point(|(other, _)| other.as_str() <= name)
            }
            Some(View::Link { .. }) | None => 0,
        }
    }

    pub(super) fn parent(&self, ino: u64) -> Option<u64> {
        match self.nodes.get(&ino)? {
            View::Directory { parent, .. } => *parent,
            View::Link { parent, .. } => Some(*parent),
        }
    }

    /// What of `old` is no longer so here.
    pub(super) fn changes_since(&self, old: &Views, stale: &mut Vec<Stale>) {
        for (&ino, was) in &old.nodes {
            match (was, self.nodes.get(&ino)) {
                // Its directory tells of one that is gone.
                (_, None) => {}
                (View::Link { volume: was, .. }, Some(View::Link { volume: is, .. })) => {
                    if was != is {
                        stale.push(Stale::Contents(ino));
                    }
                }
                (
                    View::Directory { entries: was, .. },
                    Some(View::Directory { entries: is, .. }),
                ) => {
                    if was == is {
                        continue;
                    }
                    stale.push(Stale::Contents(ino));
                    let is: HashSet<_> = is.iter().collect();
                    let gone = was.iter().filter(|entry| !is.contains(entry));
                    stale.extend(gone.map(|(name, _)| Stale::Name(ino, name.into())));
                }
                (View::Link { .. } | View::Directory { .. }, Some(_)) => {
                    stale.push(Stale::Contents(ino));
                }
            }
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
    fn directory(&mut self, name: &str) -> &mut Draft {
        self.directories.entry(name.to_owned()).or_default()
    }

    fn link(&mut self, name: &str, volume: &str) {
        let mut unique = name.to_owned();
        while self.links.contains_key(&unique) {
            let number = self.last_number.entry(name.to_owned()).or_insert(1);
            *number += 1;
            unique = format!("{name}~{number}");
        }
        self.links.insert(unique, volume.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_numbered_past_those_that_are_taken() {
        let mut draft = Draft::default();
        for (name, volume) in [("a~3", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("b", "5")] {
            draft.link(name, volume);
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
