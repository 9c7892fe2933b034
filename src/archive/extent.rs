//! How much of an archive a scan looks at: all of it, or the directories that something has
//! happened in, whose neighbours are taken to be as the index knows them.
//!
//! Looks at directories, never at files.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::Connection;

use super::FileFinding;
use super::database::{self, Failure};
use super::known::{Known, KnownDirectory};
use super::list::{self, is_gone};
use super::pack::{self, Directory, FileId};

/// What a scan looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All directories, and the files of those whose times are no longer as they were.
    ByTimes,
    /// All directories and all files: those too that were written to in place.
    Everything,
    /// These directories, by path relative to the root, with all of their files, and what has come
    /// or gone below them.
    Directories(BTreeSet<Vec<u8>>),
}

/// What the index knows, with a few directories set apart.
#[derive(Debug, Default)]
pub(super) struct Narrowed {
    /// Those that are looked at; each is there, and its state is known.
    pub(super) targets: Known,
    /// Those that are there no more.
    pub(super) gone: Vec<(Vec<u8>, KnownDirectory)>,
    /// All others.
    pub(super) others: Known,
}

/// Sets the `wanted` directories apart; of one that the index does not know, the nearest one above
/// that it does.
pub(super) fn narrow(known: Known, root: &OwnedFd, wanted: &BTreeSet<Vec<u8>>) -> Narrowed {
    let mut narrowed = Narrowed {
        others: known,
        ..Narrowed::default()
    };
    let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
    for path in wanted {
        let known = up_from(path).find(|path| narrowed.others.contains_key(*path));
        queue.push_back(known.unwrap_or_default().to_vec());
    }
    while let Some(path) = queue.pop_front() {
        let Some(mut directory) = narrowed.others.remove(&path) else {
            continue;
        };
        let state = list::state(root, &path);
        // A file that is known as a container may be one no longer: it is listed as a file then.
        let is_file = state.as_ref().is_ok_and(|state| state.is_file) && !path.is_empty();
        if is_gone(&state) || (is_file && !list::is_container(root, &path)) {
            narrowed.lose(path, directory);
            continue;
        }
        // One that took the place of another is looked at too, and a container that was written to.
        let subdirectories = directory.row.iter().flat_map(|row| &row.subdirectories);
        for name in subdirectories {
            let below = join(&path, name);
            let Some(known) = narrowed.others.get(&below) else {
                continue;
            };
            let as_known = known.row.as_ref().map(|row| (row.id, row.times_ns));
            let now = list::state(root, &below);
            let as_now = now.as_ref().ok();
            let as_now = as_now.map(|now| (now.file_id, Some(now.times_ns())));
            if is_gone(&now) || as_now != as_known {
                queue.push_back(below);
            }
        }
        directory.state = Some(state);
        narrowed.targets.insert(path, directory);
    }
    narrowed
}

impl Narrowed {
    /// A directory is gone, with all below it.
    fn lose(&mut self, path: Vec<u8>, directory: KnownDirectory) {
        let below = join(&path, b"");
        let is_below = |other: &Vec<u8>, _: &mut KnownDirectory| other.starts_with(&below);
        self.gone.extend(self.others.extract_if(is_below));
        self.gone.extend(self.targets.extract_if(is_below));
        self.gone.push((path, directory));
    }
}

/// A directory and those above it, up to the root.
pub(super) fn up_from(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| match path.is_empty() {
        true => None,
        false => Some(parent(path)),
    })
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// The path of `name` in the directory at `path`.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path.is_empty() {
        true => name.to_vec(),
        false => [path, b"/", name].concat(),
    }
}

/// Files of each kind, and those of them that are left out, by the rows of all directories.
pub(super) fn totals(connection: &Connection) -> Result<([u64; 5], [u64; 5]), Failure> {
    let (mut all, mut hidden) = ([0; 5], [0; 5]);
    let mut statement = connection.prepare("SELECT path, content FROM dirs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let path: Vec<u8> = row.get(0)?;
        let content = row.get_ref(1)?.as_bytes()?;
        // A damaged row counts nothing: its directory is read again by the next scan of all.
        let row: Directory = pack::unseal_value("dir", &path, content).unwrap_or_default();
        for (sum, count) in all.iter_mut().zip(row.counts) {
            *sum += count;
        }
        for (_, kind) in &row.hidden {
            hidden[usize::from(*kind) % 5] += 1;
        }
    }
    Ok((all, hidden))
}

/// What was found wrong with directories that a narrow scan has not looked at.
pub(super) fn findings_elsewhere(
    connection: &Connection,
    targets: &HashSet<Vec<u8>>,
) -> Result<Vec<FileFinding>, Failure> {
    let sealed = database::meta(connection, "findings")?;
    let before = sealed.and_then(|sealed| pack::unseal_value("meta", b"findings", &sealed));
    let mut before: Vec<FileFinding> = before.unwrap_or_default();
    let is_target = |path: &Path| targets.contains(path.as_os_str().as_bytes());
    before.retain(|found| !is_target(&found.path) && !found.path.parent().is_some_and(is_target));
    Ok(before)
}

/// What tells these directories from others.
pub(super) fn ids_of(known: &Known) -> HashSet<FileId> {
    let rows = known
        .values()
        .filter_map(|directory| directory.row.as_ref());
    rows.map(|row| row.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_up_to_the_root() {
        assert_eq!(parent(b"a/b/c"), b"a/b");
        assert_eq!(parent(b"a"), b"");
        assert_eq!(
            (join(b"", b"a"), join(b"a", b"b")),
            (b"a".to_vec(), b"a/b".to_vec())
        );
    }
}
