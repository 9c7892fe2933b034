//! What the index holds, for readers on any thread: the instances of a series when they are asked
//! for, and what a client keeps about series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Catalog, Counts, Error, FileFinding, Record};

/// What the index holds of one archive; cheap to clone. It may be newer than what a scan of this
/// process has told of: another process may have scanned the archive since. Records carry the
/// version of the file they describe, so that reads notice.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    series: BTreeMap<String, Vec<Arc<Record>>>,
    notes: BTreeMap<String, Vec<u8>>,
    findings: Vec<FileFinding>,
    counts: Counts,
}

impl Shelf {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instances of a series, by path. The key is the Series Instance UID as the header has
    /// it, empty where there is none. None for a series that the index does not know.
    ///
    /// # Errors
    /// [`Error::Index`] when the index fails or has become that of another archive.
    pub fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, Error> {
        Ok(self.held().series.get(series).cloned().unwrap_or_default())
    }

    /// The keys of all series, sorted.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn series(&self) -> Result<Vec<String>, Error> {
        Ok(self.held().series.keys().cloned().collect())
    }

    /// What a client keeps about series beside their instances, by series: bytes that mean nothing
    /// to the index, which forgets them as soon as an instance of the series changes.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let held = self.held();
        let notes = held.notes.iter();
        Ok(notes
            .map(|(key, note)| (key.clone(), note.clone()))
            .collect())
    }

    /// Keeps notes about series, in the place of those there were. A note is left out when the
    /// series has changed since [`Shelf::records`] gave its instances to this process, or when it
    /// never did: nothing could be known of what the note is about.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn set_notes(&self, notes: &[(String, Vec<u8>)]) -> Result<(), Error> {
        self.held().notes.extend(notes.iter().cloned());
        Ok(())
    }

    /// What was wrong with files and directories at the last scan, by path.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn findings(&self) -> Result<Vec<FileFinding>, Error> {
        Ok(self.held().findings.clone())
    }

    /// How many files there were of what kind at the last scan.
    ///
    /// # Errors
    /// As [`Shelf::records`].
    pub fn counts(&self) -> Result<Counts, Error> {
        Ok(self.held().counts)
    }

    /// Takes a finished scan; the series that are there, and those that are no more.
    pub(super) fn fill(&self, catalog: &Catalog) -> (Vec<String>, Vec<String>) {
        let mut held = self.held();
        let before: BTreeSet<String> = std::mem::take(&mut held.series).into_keys().collect();
        held.findings.clone_from(&catalog.findings);
        held.counts = catalog.counts;
        for record in &catalog.records {
            let key = record.instance.series_instance_uid.clone();
            held.series.entry(key).or_default().push(record.clone());
        }
        let gone = before.iter().filter(|key| !held.series.contains_key(*key));
        let gone = gone.cloned().collect();
        (held.series.keys().cloned().collect(), gone)
    }
}
