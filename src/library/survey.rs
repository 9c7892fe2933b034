//! Cards made, for many series at once, while a scan runs.
//!
//! The records of a series are in memory only while its cards are made, so that memory stays
//! bounded however large the archive is.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::veil::Veil;
use super::{Error, Library, ScanState, Series, loaded};
use crate::archive::digest::DIGESTED_BYTES_MAX;
use crate::archive::{self, Counts, FileFinding, Follow, Index, Options, Progress, Record};
use crate::archive::{Arrivals, Extent, Scanned};
use crate::decode;
use crate::volume::{self, Built, PixelDigests};

/// Series whose cards are written in one go: a transaction is worth its wait for the disk.
const BATCH_SERIES: usize = 512;

/// The volumes of one series' records, as they are shown.
pub(super) fn build(
    records: &[Arc<Record>],
    digests: &PixelDigests,
    veil: Option<&Arc<Veil>>,
) -> Built {
    let mut built = volume::build_with(records, digests);
    decode::report_unsupported(&mut built.volumes);
    if let Some(veil) = veil {
        volume::deidentify(&mut built, veil.deid());
    }
    built
}

/// One look at an archive that is followed.
pub struct Look<'a> {
    /// What was learnt before.
    pub index: &'a Index,
    /// What is looked at.
    pub extent: &'a Extent,
    /// What is on its way.
    pub arrivals: &'a mut Arrivals,
}

/// Tells two.
struct Both<'a>(&'a dyn Progress, &'a dyn Progress);

impl Progress for Both<'_> {
    fn files_found(&self, total: u64) {
        self.0.files_found(total);
        self.1.files_found(total);
    }

    fn files_done(&self, total: u64) {
        self.0.files_done(total);
        self.1.files_done(total);
    }
}

/// Says how a scan ended, also when it is by a panic.
struct End<'a> {
    library: &'a Library,
    state: ScanState,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.library.scan.end(self.state);
    }
}

impl Library {
    /// Scans the archive at `root` and brings the cards up to date with it. `settled` is called
    /// whenever what is held may have changed, by whole series, and once at the end.
    ///
    /// # Errors
    /// When the archive cannot be read at all.
    pub fn scan(
        &self,
        root: &Path,
        options: &Options,
        index: Index,
        progress: &dyn Progress,
        settled: &mut dyn FnMut(),
    ) -> Result<Counts, archive::Error> {
        let mut arrivals = Arrivals::default();
        let look = Look {
            index: &index,
            extent: &Extent::ByTimes,
            arrivals: &mut arrivals,
        };
        let scanned = self.look(root, options, look, progress, settled);
        scanned.map(|scanned| scanned.counts)
    }

    /// One scan of an archive that is followed: as [`Library::scan`], again and again.
    ///
    /// # Errors
    /// As [`Library::scan`].
    pub fn look(
        &self,
        root: &Path,
        options: &Options,
        look: Look<'_>,
        progress: &dyn Progress,
        settled: &mut dyn FnMut(),
    ) -> Result<Scanned, archive::Error> {
        self.scan.start();
        let both = Both(&self.scan, progress);
        let mut settle = |changed: &[String], gone: &[String]| {
            self.settle(changed, gone);
            settled();
        };
        let mut end = End {
            library: self,
            state: ScanState::Failed,
        };
        let follow = Follow {
            extent: look.extent,
            arrivals: look.arrivals,
            leaving: &|series| self.keep_left(series),
        };
        let scanned = archive::rescan(root, options, look.index, follow, &both, &mut settle);
        if let Ok(scanned) = &scanned {
            self.complete(&scanned.findings, look.arrivals.untold());
            end.state = ScanState::Done;
        }
        drop(end);
        settled();
        scanned
    }

    /// Takes in series that are new or changed, and forgets those that are gone.
    pub fn settle(&self, changed: &[String], gone: &[String]) {
        for uid in gone {
            if self.known().series.remove(uid.as_str()).is_some() {
                self.scan.note(|changes| changes.gone += 1);
            }
        }
        for batch in changed.chunks(BATCH_SERIES) {
            self.survey(batch);
        }
    }

    /// After a scan: all series that the index has, and no others, whatever was told on the way (a
    /// scan that was interrupted leaves series without notes). Those that are `untold` are not whole.
    pub(super) fn complete(&self, findings: &[FileFinding], untold: &BTreeSet<String>) {
        match self.records.series() {
            Ok(all) => {
                let all: BTreeSet<String> = all.into_iter().collect();
                let mut known = self.known();
                let before = known.series.len();
                known.series.retain(|uid, _| all.contains(&**uid));
                let gone = (before - known.series.len()) as u64;
                self.scan.note(|changes| changes.gone += gone);
                let missing = all.iter().filter(|uid| {
                    !known.series.contains_key(uid.as_str()) && !untold.contains(*uid)
                });
                let missing: Vec<String> = missing.cloned().collect();
                drop(known);
                self.settle(&missing, &[]);
            }
            Err(why) => tracing::error!("the index does not say which series there are: {why}"),
        }
        match self.file_finding_lines(findings) {
            Ok(lines) => self.known().findings = lines.into(),
            Err(why) => tracing::error!("findings about files are not shown: {why}"),
        }
    }

    fn survey(&self, uids: &[String]) {
        // A mistake that the headers of one series bring out costs that series and no other.
        let make = |uid: &String| catch_unwind(AssertUnwindSafe(|| self.make(uid)));
        let made = uids.par_iter().map(make);
        let made: Vec<_> = made
            .map(|made| made.unwrap_or(Err(Error::Panicked)))
            .collect();
        let mut notes = Vec::with_capacity(made.len());
        for (uid, made) in uids.iter().zip(made) {
            let series = match made {
                Ok(Some((series, note))) => {
                    notes.push((uid.clone(), note));
                    Some(series)
                }
                Ok(None) => None,
                Err(why) => {
                    tracing::error!(series = self.shown_uid(uid), "not shown: {why}");
                    None
                }
            };
            let mut known = self.known();
            let before = known.series.get(uid.as_str()).cloned();
            // Files may have moved: the volumes are others even where the cards are the same.
            let is_same = before.as_deref() == series.as_ref();
            let is_there = series.is_some();
            match series {
                Some(series) => known.series.insert(uid.as_str().into(), Arc::new(series)),
                None => known.series.remove(uid.as_str()),
            };
            drop(known);
            self.scan.note(|changes| match (before, is_there) {
                _ if is_same => {}
                (None, true) => changes.new += 1,
                (Some(_), true) => changes.changed += 1,
                (Some(_), false) => changes.gone += 1,
                (None, false) => {}
            });
        }
        // Without notes the next mount makes the cards again: slower, never wrong.
        if let Err(why) = self.records.set_notes(&notes) {
            tracing::warn!("cards are not remembered: {why}");
        }
    }

    /// The cards of a series and its note; `None` when there is no record of it.
    fn make(&self, uid: &str) -> Result<Option<(Series, Vec<u8>)>, Error> {
        let records = self.records.records(uid)?;
        if records.is_empty() {
            return Ok(None);
        }
        let mut digests = PixelDigests::new();
        let mut built = build(&records, &digests, self.veil());
        if !built.undecided.is_empty() {
            let skipped;
            (digests, skipped) =
                archive::pixel_digests(&self.source, &built.undecided, DIGESTED_BYTES_MAX);
            if skipped > 0 {
                let series = self.shown_uid(uid);
                tracing::warn!(
                    series,
                    "{skipped} slices at repeated positions were not compared"
                );
            }
            built = build(&records, &digests, self.veil());
        }
        let volumes = loaded::volumes(built.volumes, self.veil());
        let series = Series::of(uid, &volumes, self.show)?
            .with_findings(&built.findings)?
            .with_digests(digests);
        let note = series.to_note(self.stamp);
        Ok(Some((series, note)))
    }
}
