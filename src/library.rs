//! The library: which volumes an archive has, and the volumes themselves when they are asked for.
//!
//! Of every volume a [`Card`] is kept, which holds all that listing needs; the cards of a series are
//! remembered in the index as its note, so that a mount starts from cards alone. The volumes of a
//! series are built from the records in the index when something below their directories is used,
//! and those used last stay in memory. Knows no names of the tree and no open files.
//!
//! | file | job |
//! |---|---|
//! | `card.rs` | the cards of a series, and their form as a note |
//! | `loaded.rs` | volumes in memory: built once for all who wait, kept within a budget |
//! | `survey.rs` | cards made, for many series at once, while a scan runs |
//! | `status.rs` | how scans get on, and how changes are come to know |
//! | `left.rs` | volumes that scans have replaced, for those who are still on their way to them |
//! | `veil.rs` | what is shown of source files by a library that de-identifies |

mod card;
mod left;
mod loaded;
mod status;
mod survey;
mod veil;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use card::{Card, Series, Shown};
pub use loaded::{Loaded, Volumes};
pub use status::{Changes, Scan, ScanState, WatchStatus};
pub use survey::Look;
pub use veil::{Veil, VeilError};

use crate::archive::{self, FileFinding, Record, Shelf, Source};
use crate::dicom::Deid;
use crate::format;
use crate::volume::{Built, Volume};
use left::Left;
use loaded::Kept;

/// Memory for the volumes of the series used last, bytes (estimated): some 20,000 instances.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Files and directories of all volumes together, up to which everything is loaded ahead: an
/// instance makes three or four, so these are some 5,000 instances, which take 20 ms and 20 MB.
const LOADED_AHEAD_NODES_MAX: u64 = 20_000;

/// Why a library does not have something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the index has of a series makes other volumes than those listed.
    #[error("the series is no longer as it was listed")]
    Changed,
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(String),
    /// A text about a volume cannot be written.
    #[error(transparent)]
    Text(#[from] format::Error),
    /// Making its volumes brought a mistake of this program out.
    #[error("the program failed on its headers; please report it")]
    Panicked,
}

/// Where the records of series are, and the notes about them.
pub trait Records: Send + Sync {
    /// The records of a series.
    ///
    /// # Errors
    /// When they cannot be read.
    fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, archive::Error>;

    /// The series there are.
    ///
    /// # Errors
    /// As of [`Records::records`].
    fn series(&self) -> Result<Vec<String>, archive::Error>;

    /// All notes, by series.
    ///
    /// # Errors
    /// As of [`Records::records`].
    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, archive::Error>;

    /// Keeps notes until their series changes.
    ///
    /// # Errors
    /// When they cannot be written.
    fn set_notes(&self, notes: &[(String, Vec<u8>)]) -> Result<(), archive::Error>;

    /// What was wrong with files and directories.
    ///
    /// # Errors
    /// As of [`Records::records`].
    fn findings(&self) -> Result<Vec<FileFinding>, archive::Error>;
}

/// How a volume is shown, as the layer above says: part of its card.
pub type Show = fn(&Loaded) -> Shown;

/// The volumes of an archive.
pub struct Library {
    records: Box<dyn Records>,
    source: Arc<Source>,
    show: Show,
    known: Mutex<Known>,
    kept: Kept,
    left: Left,
    scan: Scan,
    /// What is shown is de-identified.
    veil: Option<Arc<Veil>>,
    stamp: card::Stamp,
}

#[derive(Default)]
struct Known {
    series: BTreeMap<Box<str>, Arc<Series>>,
    /// Lines of `findings.jsonl` about files that no record came of.
    findings: Arc<[u8]>,
}

/// What a library knows at one moment.
#[derive(Clone)]
pub struct Holdings {
    /// The series, by Series Instance UID.
    pub series: Vec<Arc<Series>>,
    /// Lines of `findings.jsonl` about files that no record came of.
    pub findings: Arc<[u8]>,
}

impl Library {
    /// A library of what `records` holds. Knows nothing before [`Library::recall`] or a scan.
    pub fn new(records: Box<dyn Records>, source: Arc<Source>, show: Show) -> Library {
        Library::with_budget(records, source, show, KEPT_BYTES_MAX)
    }

    fn with_budget(
        records: Box<dyn Records>,
        source: Arc<Source>,
        show: Show,
        kept_bytes_max: u64,
    ) -> Library {
        Library {
            records,
            source,
            show,
            known: Mutex::default(),
            kept: Kept::new(kept_bytes_max),
            left: Left::new(kept_bytes_max),
            scan: Scan::default(),
            veil: None,
            stamp: card::Stamp::default(),
        }
    }

    /// The same, de-identified: everything it gives away but the paths and times by which source files
    /// are opened. To be said before anything else is done.
    pub fn with_deid(mut self, deid: Deid) -> Library {
        let digest = deid.digest("library", b"");
        let (stamp, _) = digest.split_at(self.stamp.len());
        self.stamp.copy_from_slice(stamp);
        self.veil = Some(Arc::new(Veil::new(deid, self.source.clone())));
        self
    }

    /// What de-identifies, if anything does.
    pub fn veil(&self) -> Option<&Arc<Veil>> {
        self.veil.as_ref()
    }

    /// A library of volumes that are there already and stay in memory.
    ///
    /// # Errors
    /// When a card cannot be written.
    pub fn pinned(built: Built, show: Show) -> Result<Library, Error> {
        let source = Arc::new(Source::new(""));
        let library = Library::with_budget(Box::new(Nothing), source, show, u64::MAX);
        let mut by_series: BTreeMap<String, Vec<Volume>> = BTreeMap::new();
        for volume in built.volumes {
            let uid = volume.records.first();
            let uid = uid.map_or("", |record| &record.instance.series_instance_uid);
            by_series.entry(uid.to_owned()).or_default().push(volume);
        }
        let mut known = Known {
            findings: card::finding_lines(&built.findings)?.into(),
            ..Known::default()
        };
        for (uid, volumes) in by_series {
            let volumes = loaded::volumes(volumes, None);
            let series = Arc::new(Series::of(&uid, &volumes, show)?);
            library.kept.put(&series, volumes);
            known.series.insert(uid.into(), series);
        }
        *library.known() = known;
        Ok(library)
    }

    /// Takes up the cards that the index remembers; series without any, or with cards of another
    /// version, are left to the scan, which is to follow.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn recall(&self) -> Result<(), Error> {
        self.scan.start();
        let notes = self.records.notes()?;
        let series = notes.into_iter().filter_map(|(uid, note)| {
            let series = Series::from_note(&uid, &note, self.stamp)?;
            Some((uid.into_boxed_str(), Arc::new(series)))
        });
        let series = series.collect();
        let findings = self.file_finding_lines(&self.records.findings()?)?.into();
        *self.known() = Known { series, findings };
        Ok(())
    }

    /// What is known now.
    pub fn holdings(&self) -> Holdings {
        let known = self.known();
        Holdings {
            series: known.series.values().cloned().collect(),
            findings: known.findings.clone(),
        }
    }

    /// Where source files are opened.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// How the scan gets on.
    pub fn scan_status(&self) -> &Scan {
        &self.scan
    }

    /// The volumes of a series, in the order of its cards: from memory, or built anew. Callers that
    /// ask for the same series at once wait for one of them to build it.
    ///
    /// # Errors
    /// [`Error::Changed`] when they are not those of the cards, [`Error::Index`] when the index
    /// cannot be read.
    pub fn volumes(&self, series: &Arc<Series>) -> Result<Volumes, Error> {
        if let Some(volumes) = self.left.get(series) {
            return Ok(volumes);
        }
        self.kept.get(series, || self.load(series))
    }

    /// Loads all volumes of a small library, so that the first who looks at one does not wait for
    /// it; of a large one nothing, since nobody knows what will be used.
    pub fn load_ahead(&self) {
        let series = self.holdings().series;
        let nodes = series.iter().flat_map(|series| &series.cards);
        let nodes = nodes.fold(0u64, |sum, card| sum.saturating_add(card.shown.nodes));
        if nodes > LOADED_AHEAD_NODES_MAX {
            return;
        }
        for series in &series {
            if let Err(why) = self.volumes(series) {
                // Whoever asks for it is told.
                tracing::debug!(
                    series = self.shown_uid(&series.uid),
                    "not loaded ahead: {why}"
                );
            }
        }
    }

    fn load(&self, series: &Series) -> Result<Volumes, Error> {
        let records = self.records.records(&series.uid)?;
        let built = survey::build(&records, &series.digests(), self.veil());
        let volumes = loaded::volumes(built.volumes, self.veil());
        if Series::of(&series.uid, &volumes, self.show)?.cards == series.cards {
            return Ok(volumes);
        }
        tracing::warn!(
            series = self.shown_uid(&series.uid),
            "no longer what was listed: refused"
        );
        // Should the index be right and the card be wrong, the next mount makes a new one.
        let none = [(series.uid.to_string(), Vec::new())];
        if let Err(why) = self.records.set_notes(&none) {
            tracing::debug!("the card stays in the index: {why}");
        }
        Err(Error::Changed)
    }

    fn file_finding_lines(&self, findings: &[FileFinding]) -> Result<Vec<u8>, Error> {
        Ok(match &self.veil {
            None => card::file_finding_lines(findings)?,
            Some(veil) => {
                let shown: Vec<_> = findings.iter().map(|found| veil.finding(found)).collect();
                card::file_finding_lines(&shown)?
            }
        })
    }

    /// The UID by which a series may be spoken of.
    fn shown_uid(&self, uid: &str) -> String {
        match &self.veil {
            Some(veil) => veil.deid().uid(uid),
            None => uid.to_owned(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<archive::Error> for Error {
    fn from(error: archive::Error) -> Error {
        Error::Index(error.to_string())
    }
}

/// No records at all.
struct Nothing;

impl Records for Nothing {
    fn records(&self, _series: &str) -> Result<Vec<Arc<Record>>, archive::Error> {
        Ok(Vec::new())
    }

    fn series(&self) -> Result<Vec<String>, archive::Error> {
        Ok(Vec::new())
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, archive::Error> {
        Ok(Vec::new())
    }

    fn set_notes(&self, _notes: &[(String, Vec<u8>)]) -> Result<(), archive::Error> {
        Ok(())
    }

    fn findings(&self) -> Result<Vec<FileFinding>, archive::Error> {
        Ok(Vec::new())
    }
}

impl Records for Shelf {
    fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, archive::Error> {
        Shelf::records(self, series)
    }

    fn series(&self) -> Result<Vec<String>, archive::Error> {
        Shelf::series(self)
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, archive::Error> {
        Shelf::notes(self)
    }

    fn set_notes(&self, notes: &[(String, Vec<u8>)]) -> Result<(), archive::Error> {
        Shelf::set_notes(self, notes)
    }

    fn findings(&self) -> Result<Vec<FileFinding>, archive::Error> {
        Shelf::findings(self)
    }
}
