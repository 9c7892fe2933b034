//! A directory whose files are being read: what is known of them so far.
//!
//! In memory alone; when which of it is written is decided by [`super::Keeper`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::archive::pack::{Bundle, Group, Key, Kind, Listed};
use crate::archive::read::{Found, Looked};
use crate::archive::settle::{Differences, may_wait};
use crate::archive::walk::Work;

/// A directory whose files are being read.
pub(super) struct Open {
    pub(super) work: Arc<Work>,
    /// Files still to come.
    pub(super) left: u64,
    /// Of each known group, which files are as they were; empty when none is.
    pub(super) same: Vec<Vec<bool>>,
    pub(super) bundles: HashMap<Key, Bundle>,
    /// Names of known files that were read again.
    reread: HashSet<Vec<u8>>,
    pub(super) differences: HashMap<Key, Differences>,
    /// Some of it waits, and the directory is to be looked at again.
    pub(super) is_waiting: bool,
    pub(super) waiting_bytes: usize,
    pub(super) written: Vec<Group>,
    pub(super) linked: u64,
}

impl Open {
    pub(super) fn new(work: Arc<Work>, left: u64) -> Open {
        Open {
            same: vec![Vec::new(); work.groups.len()],
            work,
            left,
            bundles: HashMap::new(),
            reread: HashSet::new(),
            differences: HashMap::new(),
            is_waiting: false,
            waiting_bytes: 0,
            written: Vec::new(),
            linked: 0,
        }
    }

    /// Are all files of a group as they were?
    pub(super) fn is_same(&self, group: usize) -> bool {
        let same = self.same[group].iter().filter(|same| **same).count();
        same as u64 == self.work.groups[group].files
    }

    /// Notes how files that were read differ from what is known: for the series that they are of,
    /// and for those that they were of.
    pub(super) fn note(&mut self, looked: &Looked) {
        for found in &looked.files {
            let (file, identity) = (&found.file, Some(found.file.identity));
            let key = key_of(looked, found);
            let known = self.work.known.get(&file.name);
            if let Some(known) = known {
                self.reread.insert(file.name.clone());
                let before = &self.work.groups[known.group as usize].key;
                if *before != key && before.kind == Kind::Instance {
                    let of_key = self.differences.entry(before.clone()).or_default();
                    of_key.add(&file.name, identity, found.changed_ns);
                }
            }
            if may_wait(key.kind) {
                let of_key = self.differences.entry(key).or_default();
                of_key.add(&file.name, identity, found.changed_ns);
            }
        }
    }

    /// Notes known files that are gone.
    pub(super) fn note_gone(&mut self) {
        if (0..self.work.groups.len()).all(|group| self.is_same(group)) {
            return;
        }
        for (name, known) in &self.work.known {
            let (group, position) = (known.group as usize, known.position as usize);
            let is_same = self.same[group].get(position).is_some_and(|same| *same);
            let key = &self.work.groups[group].key;
            if !is_same && key.kind == Kind::Instance && !self.reread.contains(name) {
                let of_key = self.differences.entry(key.clone()).or_default();
                of_key.add(name, None, self.work.changed_ns);
            }
        }
    }

    pub(super) fn push(&mut self, key: &Key, file: Listed, content: &[u8]) -> usize {
        self.linked += u64::from(file.is_linked);
        let bytes = content.len() + file.name.len() + size_of::<Listed>();
        self.waiting_bytes += bytes;
        if let Some(bundle) = self.bundles.get_mut(key) {
            bundle.push(file, content);
        } else {
            let bundle = self.bundles.entry(key.clone()).or_default();
            bundle.push(file, content);
        }
        bytes
    }
}

pub(super) fn bytes_of(file: &Listed) -> usize {
    file.length_bytes as usize + file.name.len() + size_of::<Listed>()
}

/// Series Instance UID of a file that was read; empty where it is no instance.
pub(super) fn series_name(all: &[String], kind: Kind, number: u32) -> &str {
    match kind {
        Kind::Instance => all[number as usize].as_str(),
        _ => "",
    }
}

fn key_of(looked: &Looked, found: &Found) -> Key {
    Key {
        kind: found.kind,
        series: series_name(&looked.series, found.kind, found.series).to_owned(),
    }
}
