//! What the index knew when a scan began, as far as a scan needs it: directories and which groups
//! lie in them, nothing of their files.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rusqlite::Connection;

use super::database::Failure;
use super::list::{self, Entries, State};
use super::pack::{self, Directory, Group, Key, Kind};
use super::place::Place;
use super::read::Looked;

/// Known directories by path.
pub(super) type Known = HashMap<Vec<u8>, KnownDirectory>;

/// A directory as the index has it.
#[derive(Debug, Default)]
pub(super) struct KnownDirectory {
    /// `None` when there is no sound row for it: nothing of it is to be relied on.
    pub(super) row: Option<Directory>,
    pub(super) groups: Vec<Group>,
    /// How it is now; `None` until it was looked at.
    pub(super) state: Option<io::Result<State>>,
    /// The walk has come to it.
    pub(super) is_seen: bool,
}

/// All that the index knows.
pub(super) fn load(connection: &Connection) -> Result<Known, Failure> {
    let mut known = Known::new();
    let mut statement = connection.prepare("SELECT kind, series, id, dir, files FROM groups")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // A kind that does not exist is a damaged row: its directory then lacks a group.
        let Some(kind) = Kind::from_number(row.get(0)?) else {
            continue;
        };
        let group = Group {
            key: Key {
                kind,
                series: row.get(1)?,
            },
            id: row.get(2)?,
            files: row.get::<_, i64>(4)? as u64,
        };
        let path = row.get_ref(3)?.as_bytes()?;
        match known.get_mut(path) {
            Some(directory) => directory.groups.push(group),
            None => {
                let directory = KnownDirectory {
                    groups: vec![group],
                    ..KnownDirectory::default()
                };
                known.insert(path.to_vec(), directory);
            }
        }
    }
    let mut statement = connection.prepare("SELECT path, content FROM dirs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let path: Vec<u8> = row.get(0)?;
        let content = row.get_ref(1)?.as_bytes()?;
        let content: Option<Directory> = pack::unseal_value("dir", &path, content);
        let directory = known.entry(path).or_default();
        let groups = directory.groups.iter().map(pack::checksum);
        let groups = groups.fold(0, u64::wrapping_add);
        directory.row = content.filter(|row| row.groups == groups);
    }
    Ok(known)
}

/// Files that may lie where a disk is to be mounted, to say that it is not.
const NOTES_MAX: usize = 4;

/// Is there nothing at the root but a note or two, which was on another file system when there was
/// something? A disk that is not mounted looks like that, and what is known of it is not to be
/// forgotten for it.
pub(super) fn is_unmounted(known: &Known, root: &OwnedFd) -> bool {
    let at_root = known.get(&[][..]);
    let Some(before) = at_root.and_then(|at_root| at_root.row.as_ref()) else {
        return false;
    };
    let held_something = known.len() > 1 || at_root.is_some_and(|it| !it.groups.is_empty());
    let is_elsewhere = |state: State| state.is_directory && state.file_id.0 != before.id.0;
    held_something
        && list::state(root, b"").is_ok_and(is_elsewhere)
        && Place::open(root, b"")
            .and_then(|place| Ok((place.entries()?, place)))
            .is_ok_and(|(entries, place)| holds_notes_only(&entries, &place))
}

fn holds_notes_only(entries: &Entries, place: &Place) -> bool {
    let is_small = entries.files.len() <= NOTES_MAX;
    is_small && entries.subdirectories.is_empty() && entries.unreadable.is_empty() && {
        let mut looked = Looked::default();
        for (name, is_link) in &entries.files {
            looked.read(place, name, *is_link);
        }
        looked.files.iter().all(|file| file.kind == Kind::NotDicom)
    }
}

/// Directories that one thread looks at, at least.
const LOOKED_AT_MIN: usize = 64;

/// Looks how all known directories are now, many at a time: on a cold disk each may cost a read.
pub(super) fn look(known: &mut Known, root: &OwnedFd, threads: usize) {
    let mut all: Vec<_> = known.iter_mut().collect();
    let share = all.len().div_ceil(threads.max(1)).max(LOOKED_AT_MIN);
    std::thread::scope(|scope| {
        for share in all.chunks_mut(share) {
            scope.spawn(|| {
                for (path, directory) in share {
                    directory.state = Some(list::state(root, path));
                }
            });
        }
    });
}

/// Takes out the directories that are there no more.
pub(super) fn take_gone(known: &mut Known) -> Vec<(Vec<u8>, KnownDirectory)> {
    let is_gone = |known: &KnownDirectory| known.state.as_ref().is_some_and(list::is_gone);
    known
        .extract_if(|_, directory| is_gone(directory))
        .collect()
}
