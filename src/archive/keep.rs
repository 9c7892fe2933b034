//! What a scan finds, written to the index as it is found: nothing of a file stays in memory.
//!
//! The files of a directory are gathered into groups, one for each series in it. A directory's
//! groups and its row are changed in one transaction, so that others see it as it was or as it is.
//! Groups whose files are all as they were stay as they are.

mod open;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::params;

use super::database::{Failure, set_meta};
use super::index::Writer;
use super::known::KnownDirectory;
use super::pack::{self, Bundle, Group, Key, Kind, Listed};
use super::read::Looked;
use super::scan::Message;
use super::settle::{Arrivals, Moment};
use super::shelf::set_directory;
use super::walk::LAST_PART;
use open::{Open, bytes_of, series_name};

/// Most files of a group: one that is damaged or asked for alone costs the reading of as many.
const GROUP_FILES: usize = 1024;

/// Most bytes of the contents of a group before they are packed, but for single files.
const GROUP_BYTES: usize = 2 << 20;

/// Bytes that wait to be packed before those of the fullest directory are: what a scan needs in
/// memory when a directory has any number of files.
const WAITING_BYTES_MAX: usize = 48 << 20;

/// Bytes and time of one transaction: others get their turn in between.
const TRANSACTION_BYTES: usize = 8 << 20;
pub(super) const TRANSACTION_TIME: Duration = Duration::from_millis(250);

/// Called with series before what the index has of them changes for others.
pub(super) type Leaving<'a> = &'a dyn Fn(&[String]);

/// Writes what a scan finds.
pub(super) struct Keeper<'a> {
    pub(super) writer: Writer,
    pub(super) arrivals: Arrivals,
    leave: Leaving<'a>,
    /// Series that change with the transaction under way.
    leaving: BTreeSet<String>,
    began: Option<Instant>,
    written_bytes: usize,
    waiting_bytes: usize,
    open: HashMap<u64, Open>,
    parts: BTreeMap<u32, Part>,
    /// Series of finished parts that nobody was told of yet.
    pub(super) ready: BTreeSet<String>,
    /// Groups have been written.
    is_begun: bool,
    /// Something in the index is no longer as it was.
    pub(super) is_changed: bool,
    /// Files of each kind in the directories read.
    pub(super) counts: [u64; 5],
    /// Those of them that are left out.
    pub(super) hidden: [u64; 5],
    /// Files that did not have to be read.
    pub(super) same: u64,
}

/// A part of the archive that is under way.
#[derive(Default)]
struct Part {
    /// Directories whose files are being read.
    open: u64,
    is_walked: bool,
    changed: BTreeSet<String>,
}

impl<'a> Keeper<'a> {
    /// Nothing is kept yet.
    pub(super) fn new(writer: Writer, arrivals: Arrivals, leave: Leaving<'a>) -> Keeper<'a> {
        Keeper {
            writer,
            arrivals,
            leave,
            leaving: BTreeSet::new(),
            began: None,
            written_bytes: 0,
            waiting_bytes: 0,
            open: HashMap::new(),
            parts: BTreeMap::from([(LAST_PART, Part::default())]),
            ready: BTreeSet::new(),
            is_begun: false,
            is_changed: false,
            counts: [0; 5],
            hidden: [0; 5],
            same: 0,
        }
    }

    /// Takes what the walk or a reader tells.
    pub(super) fn take(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Listed(work, files) => {
                self.parts.entry(work.part).or_default().open += 1;
                self.advance(Open::new(work, files))?;
            }
            Message::Looked(work, looked) => {
                if let Some(mut open) = self.open.remove(&work.number) {
                    self.add(&mut open, looked)?;
                    self.advance(open)?;
                }
            }
            Message::PartWalked(part) => {
                self.parts.entry(part).or_default().is_walked = true;
                self.settle(part);
            }
        }
        if self.waiting_bytes > WAITING_BYTES_MAX {
            self.relieve()?;
        }
        let is_long = |began: Instant| began.elapsed() > TRANSACTION_TIME;
        if self.written_bytes > TRANSACTION_BYTES || self.began.is_some_and(is_long) {
            self.commit()?;
        }
        Ok(())
    }

    /// Ends the transaction, if there is one.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        self.written_bytes = 0;
        if self.began.take().is_none() {
            return Ok(());
        }
        let leaving: Vec<String> = std::mem::take(&mut self.leaving).into_iter().collect();
        if !leaving.is_empty() {
            (self.leave)(&leaving);
        }
        self.writer.commit()
    }

    /// Begins a transaction, unless there is one.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if self.began.is_none() {
            self.writer.begin()?;
            self.began = Some(Instant::now());
        }
        Ok(())
    }

    /// Notes that series of a part have changed.
    pub(super) fn change(&mut self, part: u32, series: impl IntoIterator<Item = String>) {
        let part = self.parts.entry(part).or_default();
        part.changed.extend(series);
    }

    /// Hands on what is known of a part when all of it is done.
    fn settle(&mut self, number: u32) {
        let done = |part: &Part| part.is_walked && part.open == 0;
        if self.parts.get(&number).is_some_and(done)
            && let Some(part) = self.parts.remove(&number)
        {
            self.ready.extend(part.changed);
        }
    }

    /// The walk is over: hands on what is known of the last part.
    pub(super) fn settle_last(&mut self) {
        for (_, part) in std::mem::take(&mut self.parts) {
            self.ready.extend(part.changed);
        }
    }

    /// Keeps a directory open as long as files of it are to come.
    fn advance(&mut self, open: Open) -> Result<(), Failure> {
        if open.left > 0 {
            self.open.insert(open.work.number, open);
            return Ok(());
        }
        let part = open.work.part;
        self.close(open)?;
        self.parts.entry(part).or_default().open -= 1;
        self.settle(part);
        Ok(())
    }

    fn add(&mut self, open: &mut Open, looked: Looked) -> Result<(), Failure> {
        open.left -= (looked.files.len() + looked.same.len()) as u64;
        self.same += looked.same.len() as u64;
        for (group, position) in &looked.same {
            let (group, position) = (*group as usize, *position as usize);
            let files = open.work.groups[group].files as usize;
            open.same[group].resize(files, false);
            open.same[group][position] = true;
        }
        if self.arrivals.is_settling() {
            open.note(&looked);
        }
        self.add_read(open, looked)
    }

    fn add_read(&mut self, open: &mut Open, looked: Looked) -> Result<(), Failure> {
        let mut rest = looked.contents.as_slice();
        let mut key = Key {
            kind: Kind::Instance,
            series: String::new(),
        };
        for found in looked.files {
            let (content, after) = rest.split_at(found.file.length_bytes as usize);
            rest = after;
            let series = series_name(&looked.series, found.kind, found.series);
            if key.kind != found.kind || key.series != series {
                key.kind = found.kind;
                series.clone_into(&mut key.series);
            }
            self.push(open, &key, found.file, content)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        open: &mut Open,
        key: &Key,
        file: Listed,
        content: &[u8],
    ) -> Result<(), Failure> {
        self.waiting_bytes += open.push(key, file, content);
        let is_full = |bundle: &Bundle| {
            bundle.files.len() >= GROUP_FILES || bundle.contents.len() >= GROUP_BYTES
        };
        if open.bundles.get(key).is_some_and(is_full) {
            self.flush(open, key)?;
        }
        Ok(())
    }

    /// Writes a group; it belongs to nothing until its directory is closed.
    fn flush(&mut self, open: &mut Open, key: &Key) -> Result<(), Failure> {
        let Some(bundle) = open.bundles.remove(key) else {
            return Ok(());
        };
        let bytes: usize = bundle.files.iter().map(bytes_of).sum();
        open.waiting_bytes -= bytes;
        self.waiting_bytes -= bytes;
        let sealed = bundle.seal(&open.work.path, key);
        let (files, contents) = sealed.ok_or(Failure::TooLarge)?;
        self.begin()?;
        self.written_bytes += files.len() + contents.len();
        if !self.is_begun {
            // For the next scan, should this one not come to its end.
            set_meta(&self.writer.connection, "unfinished", b"")?;
            self.is_begun = true;
        }
        let connection = &self.writer.connection;
        connection
            .prepare_cached("INSERT INTO blobs (files, contents) VALUES (?1, ?2)")?
            .execute(params![files, contents])?;
        open.written.push(Group {
            key: key.clone(),
            id: connection.last_insert_rowid(),
            files: bundle.files.len() as u64,
        });
        Ok(())
    }

    /// Writes what waits of the directory of which most does.
    fn relieve(&mut self) -> Result<(), Failure> {
        let fullest = self.open.values().max_by_key(|open| open.waiting_bytes);
        let fullest = fullest.map(|open| open.work.number);
        let Some(mut open) = fullest.and_then(|number| self.open.remove(&number)) else {
            return Ok(());
        };
        self.flush_all(&mut open)?;
        self.open.insert(open.work.number, open);
        Ok(())
    }

    fn flush_all(&mut self, open: &mut Open) -> Result<(), Failure> {
        let mut keys: Vec<Key> = open.bundles.keys().cloned().collect();
        keys.sort_unstable();
        keys.iter().try_for_each(|key| self.flush(open, key))
    }

    /// All files of a directory are known: its groups and its row take the place of those there
    /// were.
    fn close(&mut self, mut open: Open) -> Result<(), Failure> {
        let work = Arc::clone(&open.work);
        let waiting = self.leave_waiting(&mut open)?;
        let (mut kept, mut obsolete) = (Vec::new(), Vec::new());
        for number in 0..work.groups.len() {
            if open.is_same(number) || waiting.contains(&work.groups[number].key) {
                kept.push(number);
            } else {
                self.carry(&mut open, number)?;
                obsolete.push(number);
            }
        }
        // A series that grows file by file does not become a group for each.
        let grows = |number: &usize| {
            let group = &work.groups[*number];
            group.files < GROUP_FILES as u64 / 2 && open.bundles.contains_key(&group.key)
        };
        let (small, kept): (Vec<usize>, Vec<usize>) = kept.into_iter().partition(grows);
        for number in small {
            self.carry(&mut open, number)?;
            obsolete.push(number);
        }
        self.flush_all(&mut open)?;
        self.exchange(&open, &kept, &obsolete)
    }

    /// Leaves out what has not settled: what the index has of it stays as it was.
    fn leave_waiting(&mut self, open: &mut Open) -> Result<HashSet<Key>, Failure> {
        if !self.arrivals.is_settling() {
            return Ok(HashSet::new());
        }
        open.note_gone();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = Moment {
            steady: Instant::now(),
            wall_ns: since_epoch.map_or(0, |time| time.as_nanos() as i64),
        };
        let found = std::mem::take(&mut open.differences);
        let waiting = self.arrivals.judge(&open.work.path, found, now);
        open.is_waiting = !waiting.is_empty();
        for key in &waiting {
            if let Some(bundle) = open.bundles.remove(key) {
                let bytes: usize = bundle.files.iter().map(bytes_of).sum();
                open.waiting_bytes -= bytes;
                self.waiting_bytes -= bytes;
            }
        }
        let of_waiting = |group: &mut Group| waiting.contains(&group.key);
        let written: Vec<Group> = open.written.extract_if(.., of_waiting).collect();
        if !written.is_empty() {
            self.begin()?;
            self.remove(written.iter())?;
        }
        Ok(waiting)
    }

    /// Adds the files of a known group that are as they were.
    fn carry(&mut self, open: &mut Open, number: usize) -> Result<(), Failure> {
        let work = Arc::clone(&open.work);
        let same = std::mem::take(&mut open.same[number]);
        if !same.contains(&true) {
            return Ok(());
        }
        let group = &work.groups[number];
        let blobs: (Vec<u8>, Vec<u8>) = self
            .writer
            .connection
            .prepare_cached("SELECT files, contents FROM blobs WHERE id = ?1")?
            .query_row([group.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let bundle = Bundle::unseal(&work.path, &group.key, (&blobs.0, &blobs.1));
        let entries = bundle.as_ref().and_then(Bundle::entries);
        if let Some(entries) = entries.filter(|entries| entries.len() == same.len()) {
            for ((file, content), _) in entries.into_iter().zip(&same).filter(|(_, same)| **same) {
                self.push(open, &group.key, file.clone(), content)?;
            }
            return Ok(());
        }
        // Its contents are damaged: the files are read again, here, since it is rare.
        let mut looked = Looked::default();
        for (name, known) in &work.known {
            if known.group as usize == number && same[known.position as usize] {
                looked.read(&work.opened, name, false);
            }
        }
        self.add_read(open, looked)
    }

    /// The change of a directory in the index.
    fn exchange(&mut self, open: &Open, kept: &[usize], obsolete: &[usize]) -> Result<(), Failure> {
        let work = &open.work;
        let mut row = work.directory.clone();
        let groups = kept.iter().map(|number| &work.groups[*number]);
        for group in groups.chain(&open.written) {
            row.counts[group.key.kind as usize] += group.files;
            row.groups = row.groups.wrapping_add(pack::checksum(group));
        }
        row.linked = open.linked + kept.iter().map(|number| work.linked[*number]).sum::<u64>();
        if open.is_waiting || row.counts[Kind::Unreadable as usize] > 0 {
            row.times_ns = None;
        }
        if let Some(before) = &work.row {
            // Until all names are resolved anew.
            row.hidden.clone_from(&before.hidden);
        }
        for (kind, sum) in self.counts.iter_mut().enumerate() {
            *sum += row.counts[kind];
        }
        for (_, kind) in &row.hidden {
            self.hidden[usize::from(*kind) % 5] += 1;
        }
        let obsolete: Vec<&Group> = obsolete
            .iter()
            .map(|number| &work.groups[*number])
            .collect();
        if work.row.as_ref() == Some(&row) && obsolete.is_empty() && open.written.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.remove(obsolete.iter().copied())?;
        let insert = "INSERT INTO groups VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.writer.connection.prepare_cached(insert)?;
        for group in &open.written {
            let Key { kind, series } = &group.key;
            let (kind, files) = (*kind as i64, group.files as i64);
            insert.execute(params![kind, series, group.id, work.path, files])?;
        }
        drop(insert);
        set_directory(&self.writer.connection, &work.path, &row)?;
        let changed = obsolete.into_iter().chain(&open.written);
        let changed: Vec<String> = changed.filter_map(series_of).collect();
        if !open.written.is_empty() || work.groups.len() > kept.len() {
            self.is_changed = true;
        }
        self.leaving.extend(changed.iter().cloned());
        self.change(work.part, changed);
        Ok(())
    }

    fn remove<'g>(&self, groups: impl Iterator<Item = &'g Group>) -> Result<(), Failure> {
        let connection = &self.writer.connection;
        let delete = "DELETE FROM groups WHERE kind = ?1 AND series = ?2 AND id = ?3";
        let mut delete = connection.prepare_cached(delete)?;
        let mut blob = connection.prepare_cached("DELETE FROM blobs WHERE id = ?1")?;
        for group in groups {
            let Key { kind, series } = &group.key;
            delete.execute(params![*kind as i64, series, group.id])?;
            blob.execute([group.id])?;
        }
        Ok(())
    }

    /// Forgets a directory that is there no more.
    pub(super) fn forget(&mut self, path: &[u8], known: &KnownDirectory) -> Result<(), Failure> {
        self.begin()?;
        self.is_changed = true;
        self.remove(known.groups.iter())?;
        self.writer
            .connection
            .prepare_cached("DELETE FROM dirs WHERE path = ?1")?
            .execute([path])?;
        self.arrivals.forget(path);
        let changed: Vec<String> = known.groups.iter().filter_map(series_of).collect();
        self.leaving.extend(changed.iter().cloned());
        self.change(LAST_PART, changed);
        Ok(())
    }
}

fn series_of(group: &Group) -> Option<String> {
    let is_series = group.key.kind == Kind::Instance;
    is_series.then(|| group.key.series.clone())
}
