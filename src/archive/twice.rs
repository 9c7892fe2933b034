//! Files that are reached by several names: the first path counts, so that links do not make
//! duplicates of instances.
//!
//! Only files that a link leads to or that have several names in their file system are looked
//! for: no list of all files is ever in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::Connection;

use super::database::Failure;
use super::pack::{self, Directory, FileId, Key, Kind, Listed};
use super::shelf::{path_of, set_directory};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Series that have a file more or less than before.
    pub(super) changed: BTreeSet<String>,
    /// Files that are left out, of each kind.
    pub(super) hidden: [u64; 5],
}

/// A name of a file: where it is, and its group's key. There may be one for each file: what the
/// files of a group have in common is shared.
struct Name {
    directory: Rc<[u8]>,
    name: Vec<u8>,
    key: Rc<Key>,
}

impl Name {
    fn path(&self) -> PathBuf {
        path_of(&self.directory).join(OsStr::from_bytes(&self.name))
    }
}

/// Decides for all files which of their names count, and writes it to the rows of directories.
pub(super) fn resolve(connection: &Connection) -> Result<Resolved, Failure> {
    let mut directories: BTreeMap<Vec<u8>, Directory> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT path, content FROM dirs")?;
    let mut rows = statement.query([])?;
    let mut is_any = false;
    while let Some(row) = rows.next()? {
        let path: Vec<u8> = row.get(0)?;
        if let Some(directory) =
            pack::unseal_value::<Directory>("dir", &path, row.get_ref(1)?.as_bytes()?)
        {
            is_any |= directory.linked > 0 || !directory.hidden.is_empty();
            directories.insert(path, directory);
        }
    }
    if !is_any {
        return Ok(Resolved::default());
    }
    let mut candidates: HashSet<FileId> = HashSet::new();
    each_file(connection, |_, _, file| {
        if file.is_linked {
            candidates.insert(file.file_id);
        }
    })?;
    let mut first: HashMap<FileId, Name> = HashMap::new();
    let mut hidden: Vec<Name> = Vec::new();
    let mut before: Vec<Name> = Vec::new();
    each_file(connection, |directory, key, file| {
        let name = || Name {
            directory: Rc::clone(directory),
            name: file.name.clone(),
            key: Rc::clone(key),
        };
        if directories
            .get(&**directory)
            .is_some_and(|d| d.hides(&file.name))
        {
            before.push(name());
        }
        if key.kind == Kind::Unreadable || !candidates.contains(&file.file_id) {
            return;
        }
        let mut name = name();
        if let Some(known) = first.get_mut(&file.file_id) {
            if name.path() < known.path() {
                std::mem::swap(&mut name, known);
            }
            hidden.push(name);
        } else {
            first.insert(file.file_id, name);
        }
    })?;
    drop((first, candidates));
    exchange(connection, directories, &before, hidden)
}

/// Writes which names are left out, where that is new.
fn exchange(
    connection: &Connection,
    directories: BTreeMap<Vec<u8>, Directory>,
    before: &[Name],
    hidden: Vec<Name>,
) -> Result<Resolved, Failure> {
    let mut resolved = Resolved::default();
    let mut of_directory: BTreeMap<Vec<u8>, Vec<(Vec<u8>, u8)>> = BTreeMap::new();
    for name in &hidden {
        resolved.hidden[name.key.kind as usize] += 1;
        let names = of_directory.entry(name.directory.to_vec()).or_default();
        names.push((name.name.clone(), name.key.kind as u8));
    }
    let was_hidden = |name: &Name| {
        let directory = directories.get(&*name.directory);
        directory.is_some_and(|directory| directory.hides(&name.name))
    };
    let mut now: HashSet<(&[u8], &[u8])> = HashSet::new();
    for name in &hidden {
        now.insert((&name.directory, &name.name));
        if !was_hidden(name) && name.key.kind == Kind::Instance {
            resolved.changed.insert(name.key.series.clone());
        }
    }
    for name in before {
        let is_hidden = now.contains(&(&*name.directory, name.name.as_slice()));
        if !is_hidden && name.key.kind == Kind::Instance {
            resolved.changed.insert(name.key.series.clone());
        }
    }
    for (path, mut directory) in directories {
        let mut names = of_directory.remove(&path).unwrap_or_default();
        names.sort_unstable();
        if names != directory.hidden {
            directory.hidden = names;
            set_directory(connection, &path, &directory)?;
        }
    }
    Ok(resolved)
}

/// Calls `each` with the directory, the key and the entry of every file. Damaged groups are left
/// out: they are found when they are read.
fn each_file(
    connection: &Connection,
    mut each: impl FnMut(&Rc<[u8]>, &Rc<Key>, &Listed),
) -> Result<(), Failure> {
    let select = "SELECT kind, series, dir, blobs.files FROM groups JOIN blobs USING (id)";
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(kind) = Kind::from_number(row.get(0)?) else {
            continue;
        };
        let key = Rc::new(Key {
            kind,
            series: row.get(1)?,
        });
        let directory: Rc<[u8]> = row.get_ref(2)?.as_bytes()?.into();
        let files = pack::unseal_files(&directory, &key, row.get_ref(3)?.as_bytes()?);
        for file in files.unwrap_or_default() {
            each(&directory, &key, &file);
        }
    }
    Ok(())
}
