//! What the index holds, for readers on any thread: the instances of a series when they are asked
//! for, and what a client keeps about series.
//!
//! Connections are taken for a query each and no lock is held while rows are read or decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::database::{self, Failure};
use super::index::{Edition, Shared, lock};
use super::list;
use super::members::Inside;
use super::pack::{self, Bundle, Directory, Key, Kind, Listed};
use super::place::Place;
use super::read::Looked;
use super::{Counts, Error, FileFinding, Record};
use crate::dicom::Instance;

/// What the index holds of one archive; cheap to clone. It may be newer than what a scan of this
/// process has told of: a scan may be under way, here or in another process. Records carry the
/// version of the file they describe, so that reads notice.
#[derive(Debug, Clone)]
pub struct Shelf {
    shared: Arc<Shared>,
    root: Arc<Path>,
}

/// A group as it was found: with its directory and its blobs.
struct Packed {
    directory: Vec<u8>,
    key: Key,
    files: Vec<u8>,
    contents: Vec<u8>,
}

/// Groups, and what there is of the directories they lie in.
#[derive(Default)]
struct Packs {
    groups: Vec<Packed>,
    directories: BTreeMap<Vec<u8>, Option<Directory>>,
    edition: Edition,
}

impl Shelf {
    pub(super) fn new(shared: Arc<Shared>, root: &Path) -> Shelf {
        Shelf {
            shared,
            root: root.into(),
        }
    }

    /// The instances of a series, by path. The key is the Series Instance UID as the header has
    /// it, empty where there is none. None for a series that the index does not know.
    ///
    /// Where the index is damaged, the directories concerned are read again for it.
    ///
    /// # Errors
    /// [`Error::Index`] when the index fails or has become that of another archive.
    pub fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, Error> {
        let key = Key {
            kind: Kind::Instance,
            series: series.to_owned(),
        };
        let packs = self.shared.read(|connection| {
            let mut packs = packs(connection, Kind::Instance, Some(series))?;
            packs.edition = editions_of(connection, Some(series))?
                .remove(series)
                .unwrap_or_default();
            Ok(packs)
        })?;
        lock(&self.shared.given).insert(hash(series), packs.edition);
        let mut records = Vec::new();
        let mut damaged = BTreeSet::new();
        for group in &packs.groups {
            if packs.unpack(group, &mut records).is_none() {
                damaged.insert(group.directory.as_slice());
            }
        }
        for directory in damaged {
            tracing::warn!("a row of the index is damaged; reading its directory again");
            self.forget(directory);
            let inside = |record: &Record| record.path.parent() == Some(path_of(directory));
            records.retain(|record: &Arc<Record>| !inside(record));
            let hidden = packs.directories.get(directory).and_then(Option::as_ref);
            self.read_again(directory, &key, hidden, &mut records);
        }
        records.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// The instances of all series, by path.
    pub(super) fn all_records(&self) -> Result<Vec<Arc<Record>>, Error> {
        let mut records = Vec::new();
        for series in self.series()? {
            records.append(&mut self.records(&series)?);
        }
        records.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// The keys of all series, sorted.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn series(&self) -> Result<Vec<String>, Error> {
        let editions = self.shared.read(|connection| Ok(editions(connection)?))?;
        Ok(editions.into_keys().collect())
    }

    /// What a client keeps about series beside their instances, by series: bytes that mean nothing
    /// to the index, which forgets them as soon as an instance of the series changes.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let rows: Vec<(String, Vec<u8>)> = self.shared.read(|connection| {
            let editions = editions(connection)?;
            let select = "SELECT series, edition, content FROM notes ORDER BY series";
            let mut statement = connection.prepare(select)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let series: String = row.get(0)?;
                let edition: Edition = row.get(1)?;
                if editions.get(&series) == Some(&edition) {
                    found.push((series, row.get(2)?));
                }
            }
            Ok(found)
        })?;
        let unsealed = rows.into_iter().filter_map(|(series, content)| {
            let note = pack::unseal_value::<Vec<u8>>("note", series.as_bytes(), &content)?;
            Some((series, note))
        });
        Ok(unsealed.collect())
    }

    /// Keeps notes about series, in the place of those there were. A note is left out when the
    /// series has changed since [`Shelf::records`] gave its instances to this process, or when it
    /// never did: nothing could be known of what the note is about.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn set_notes(&self, notes: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let given: Vec<Option<Edition>> = {
            let given = lock(&self.shared.given);
            let edition = |(series, _): &(String, Vec<u8>)| given.get(&hash(series)).copied();
            notes.iter().map(edition).collect()
        };
        // Sealed before the index is locked for others.
        let mut sealed = Vec::with_capacity(notes.len());
        for ((series, note), edition) in notes.iter().zip(given) {
            let content = pack::seal_value("note", series.as_bytes(), note);
            if let (Some(edition), Some(content)) = (edition, content) {
                sealed.push((series, edition, content));
            }
        }
        if sealed.is_empty() {
            return Ok(());
        }
        self.shared.write(|connection| {
            let insert = "INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3)";
            let mut insert = connection.prepare_cached(insert)?;
            for (series, edition, content) in &sealed {
                let now = editions_of(connection, Some(series))?;
                if now.get(*series) == Some(edition) {
                    insert.execute(params![series, edition, content])?;
                }
            }
            Ok(())
        })
    }

    /// What was wrong with files and directories at the last scan, by path.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn findings(&self) -> Result<Vec<FileFinding>, Error> {
        let (packs, walk) = self.shared.read(|connection| {
            let mut found = packs(connection, Kind::Unusable, None)?;
            let unreadable = packs(connection, Kind::Unreadable, None)?;
            found.groups.extend(unreadable.groups);
            found.directories.extend(unreadable.directories);
            Ok((found, database::meta(connection, "findings")?))
        })?;
        let walk = walk.and_then(|sealed| pack::unseal_value("meta", b"findings", &sealed));
        let mut findings: Vec<FileFinding> = walk.unwrap_or_default();
        for group in &packs.groups {
            if packs.findings(group, &mut findings).is_none() {
                // What a damaged row said is found out by the next scan.
                self.forget(&group.directory);
            }
        }
        findings.sort_unstable();
        Ok(findings)
    }

    /// The directories there are, by path relative to the root.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn directories(&self) -> Result<Vec<Vec<u8>>, Error> {
        self.shared.read(|connection| {
            let mut statement = connection.prepare("SELECT path FROM dirs")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// How many files there were of what kind at the last scan that was done; nothing before.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn counts(&self) -> Result<Counts, Error> {
        let sealed = self
            .shared
            .read(|connection| Ok(database::meta(connection, "counts")?))?;
        let counts = sealed.and_then(|sealed| pack::unseal_value("meta", b"counts", &sealed));
        Ok(counts.unwrap_or_default())
    }

    /// Makes the next scan look into a directory, by its path relative to the root, even if its
    /// times are as they were: to be called when a file in it is no longer the one of its record.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn doubt(&self, directory: &Path) -> Result<(), Error> {
        self.amend(directory.as_os_str().as_bytes(), |known| {
            known.times_ns = None;
        })
    }

    /// Makes the next scan read all of a directory, whatever the index says of it.
    fn forget(&self, path: &[u8]) {
        let forgotten = self.amend(path, |known| {
            known.times_ns = None;
            known.groups = !known.groups;
        });
        if let Err(error) = forgotten {
            tracing::warn!("a damaged row could not be forgotten: {error}");
        }
    }

    fn amend(&self, path: &[u8], change: impl FnOnce(&mut Directory)) -> Result<(), Error> {
        self.shared.write(|connection| {
            let Some(mut known) = directory(connection, path)? else {
                return Ok(());
            };
            change(&mut known);
            set_directory(connection, path, &known)
        })
    }

    /// Reads the instances of a series from the files of a directory.
    fn read_again(
        &self,
        directory: &[u8],
        key: &Key,
        known: Option<&Directory>,
        records: &mut Vec<Arc<Record>>,
    ) {
        let opened = list::open_root(&self.root);
        let opened = opened.and_then(|root| Place::open(&root, directory));
        let listed = opened.and_then(|opened| Ok((opened.entries()?, opened)));
        let Ok((entries, opened)) = listed else {
            // It cannot be read at all, and so there are no instances in it.
            return;
        };
        for (name, is_link) in entries.files {
            if known.is_some_and(|known| known.hides(&name)) {
                continue;
            }
            let mut looked = Looked::default();
            looked.read(&opened, &name, is_link);
            let Some(found) = looked.files.first() else {
                continue;
            };
            let of_series = looked.series.first() == Some(&key.series);
            if found.kind == Kind::Instance && of_series {
                records.extend(record(directory, &found.file, &looked.contents));
            }
        }
    }
}

impl Packs {
    /// Is the file left out? Not where the directory's row is damaged: the next scan finds that.
    fn hides(&self, group: &Packed, file: &Listed) -> bool {
        let directory = self.directories.get(&group.directory);
        let directory = directory.and_then(Option::as_ref);
        directory.is_some_and(|directory| directory.hides(&file.name))
    }

    /// Adds the records of a group; `None` when it is damaged.
    fn unpack(&self, group: &Packed, records: &mut Vec<Arc<Record>>) -> Option<()> {
        let blobs = (group.files.as_slice(), group.contents.as_slice());
        let bundle = Bundle::unseal(&group.directory, &group.key, blobs)?;
        for (file, content) in bundle.entries()? {
            if !self.hides(group, file) {
                records.push(record(&group.directory, file, content)?);
            }
        }
        Some(())
    }

    /// The same for findings.
    fn findings(&self, group: &Packed, findings: &mut Vec<FileFinding>) -> Option<()> {
        let blobs = (group.files.as_slice(), group.contents.as_slice());
        let bundle = Bundle::unseal(&group.directory, &group.key, blobs)?;
        for (file, content) in bundle.entries()? {
            if self.hides(group, file) {
                continue;
            }
            let (code, detail) = postcard::from_bytes(content).ok()?;
            let path = path_of(&group.directory).join(OsStr::from_bytes(&file.name));
            findings.push(FileFinding { path, code, detail });
        }
        Some(())
    }
}

fn record(directory: &[u8], file: &Listed, content: &[u8]) -> Option<Arc<Record>> {
    let instance: Instance = postcard::from_bytes(content).ok()?;
    let inside = file.member.map(|member| Inside {
        container: path_of(directory).to_owned(),
        member,
    });
    Some(Arc::new(Record {
        path: path_of(directory).join(OsStr::from_bytes(&file.name)),
        identity: file.identity,
        inside: inside.map(Box::new),
        instance,
    }))
}

/// A path as the index has it.
pub(super) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// All series with what tells their state.
pub(super) fn editions(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Edition>> {
    editions_of(connection, None)
}

fn editions_of(
    connection: &Connection,
    series: Option<&str>,
) -> rusqlite::Result<BTreeMap<String, Edition>> {
    let (all, one) = (
        "SELECT series, id FROM groups WHERE kind = 0",
        "SELECT series, id FROM groups WHERE kind = 0 AND series = ?1",
    );
    let mut statement = connection.prepare_cached(if series.is_some() { one } else { all })?;
    let mut rows = match series {
        Some(series) => statement.query([series])?,
        None => statement.query([])?,
    };
    let mut editions: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (series, id) = (row.get_ref(0)?.as_str()?, row.get::<_, i64>(1)?);
        let sums = match editions.get_mut(series) {
            Some(sums) => sums,
            None => editions.entry(series.to_owned()).or_default(),
        };
        *sums = (sums.0.wrapping_add(id), sums.1 + 1);
    }
    // Ids only ever grow: of two states with as many groups, the later has the greater sum.
    let edition = |(sum, count): (i64, i64)| sum.wrapping_mul(1_000_003).wrapping_add(count);
    let editions = editions.into_iter();
    Ok(editions.map(|(key, sums)| (key, edition(sums))).collect())
}

/// The groups of one kind, or one series.
fn packs(connection: &Connection, kind: Kind, series: Option<&str>) -> Result<Packs, Failure> {
    let (all, one) = (
        "SELECT series, id, dir FROM groups WHERE kind = ?1",
        "SELECT series, id, dir FROM groups WHERE kind = ?1 AND series = ?2",
    );
    let mut statement = connection.prepare_cached(if series.is_some() { one } else { all })?;
    let mut blobs = connection.prepare_cached("SELECT files, contents FROM blobs WHERE id = ?1")?;
    let mut rows = match series {
        Some(series) => statement.query(params![kind as i64, series])?,
        None => statement.query([kind as i64])?,
    };
    let mut packs = Packs::default();
    while let Some(row) = rows.next()? {
        let (id, directory) = (row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?);
        let blobs = blobs
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        // A group without blobs is damaged as one with wrong ones is.
        let (files, contents) = blobs.unwrap_or_default();
        if !packs.directories.contains_key(&directory) {
            let content = self::directory(connection, &directory)?;
            packs.directories.insert(directory.clone(), content);
        }
        packs.groups.push(Packed {
            directory,
            key: Key {
                kind,
                series: row.get(0)?,
            },
            files,
            contents,
        });
    }
    Ok(packs)
}

/// The row of a directory; `None` when there is none or it is damaged.
fn directory(connection: &Connection, path: &[u8]) -> rusqlite::Result<Option<Directory>> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached("SELECT content FROM dirs WHERE path = ?1")?
        .query_row([path], |row| row.get(0))
        .optional()?;
    Ok(content.and_then(|content| pack::unseal_value("dir", path, &content)))
}

/// Sets the row of a directory.
pub(super) fn set_directory(
    connection: &Connection,
    path: &[u8],
    directory: &Directory,
) -> Result<(), Failure> {
    let content = pack::seal_value("dir", path, directory).ok_or(Failure::TooLarge)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO dirs VALUES (?1, ?2)")?
        .execute(params![path, content])?;
    Ok(())
}

/// For telling series apart in little memory: two that had the same would share a note's
/// condition, no more.
fn hash(series: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    series.hash(&mut hasher);
    hasher.finish()
}
