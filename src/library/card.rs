//! Cards: what is kept of every volume, and their form as a note in the index.
//!
//! A card holds all that directories, tables and views show, finished where it can be, so that none
//! of it has to be made again. Nothing here grows with the instances of a series, but for the
//! digests of the few whose headers do not tell them apart.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Volumes};
use super::{Error, Show};
use crate::archive::FileFinding;
use crate::format::{self, table};
use crate::volume::{Finding, PixelDigests, Variant};

/// Version of what notes hold: to be raised whenever other cards would be made of the same records,
/// be it by a rule of [`crate::volume`], a name of the tree or a column of a table. The version of
/// the crate is part of the stamp as well.
const NOTE_VERSION: u32 = 4;
/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Name of its directory.
    pub name: Box<str>,
    /// Digest of what its bytes follow from: that of the volume.
    pub fingerprint: [u8; 32],
    /// Modification time of its newest file, nanoseconds since the epoch; `None` without one.
    mtime_ns: Option<u64>,
    /// Bytes of its array.
    pub len_bytes: u64,
    /// Its line in `index.csv`.
    pub index_csv: Box<[u8]>,
    /// Its line in `index.jsonl`.
    pub index_jsonl: Box<[u8]>,
    /// Its lines in `findings.jsonl`.
    pub findings: Box<[u8]>,
    /// How it is shown.
    pub shown: Shown,
}

/// How a volume is shown: what the tree says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Number of files and directories, its own included.
    pub nodes: u64,
    /// Name of its link in the views.
    pub link: Box<str>,
    /// Name of the directory below `studies/` that has the link.
    pub study: Box<str>,
    /// Name of the directory below `patients/`.
    pub patient: Box<str>,
    /// Name of the directory below that, which has the link.
    pub visit: Box<str>,
    /// PatientID.
    pub patient_id: Box<str>,
    /// StudyDate as DICOM has it: YYYYMMDD, or empty.
    pub study_date: Box<str>,
    /// SeriesDescription.
    pub description: Box<str>,
    /// Instances it is made of.
    pub instances: u64,
}

/// What is kept of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Series Instance UID as the headers say; empty for instances without one.
    pub uid: Box<str>,
    /// The cards of its volumes; the series' bare one is the first.
    pub cards: Box<[Card]>,
    /// Lines of `findings.jsonl` about its files that are in no volume.
    pub findings: Box<[u8]>,
    /// Digests of the pixels of files whose headers do not tell them apart, by path: not to be read
    /// again when the volumes are built again.
    digests: Box<[(PathBuf, [u8; 32])]>,
}

/// A series as a note: version and what it was made with, then what the series holds beside its UID.
type Note<S> = (S, Box<[Card]>, Box<[u8]>, Box<[(PathBuf, [u8; 32])]>);

/// What tells cards of a de-identified library from others: made with the key, of which it says
/// nothing; zeros for a library that shows what the headers say.
pub(super) type Stamp = [u8; 8];

fn stamp(of: Stamp) -> (u32, &'static str, Stamp) {
    (NOTE_VERSION, env!("CARGO_PKG_VERSION"), of)
}

impl Card {
    pub(super) fn of(loaded: &Loaded, show: Show) -> Result<Card, Error> {
        let volume = &loaded.volume;
        let mtime_ns = volume.records.iter().map(|r| r.identity.mtime_ns).max();
        // When a file was written is a date of the patient's as well.
        let earlier_ns = i64::from(volume.deid_days.unwrap_or(0)).saturating_mul(DAY_NS);
        let mtime_ns = mtime_ns.map(|ns| ns.saturating_sub(earlier_ns));
        Ok(Card {
            name: volume.name.as_str().into(),
            fingerprint: volume.fingerprint,
            mtime_ns: mtime_ns.and_then(|ns| u64::try_from(ns).ok()),
            len_bytes: volume.len_bytes(Variant::Values),
            index_csv: table::csv_row(volume)?.into(),
            index_jsonl: table::jsonl_row(volume)?.into(),
            findings: table::volume_findings(volume)?.into(),
            shown: show(loaded),
        })
    }

    /// Modification time of its newest file; `None` without one that has any.
    pub fn mtime(&self) -> Option<SystemTime> {
        let since = Duration::from_nanos(self.mtime_ns?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

impl Series {
    /// The cards of loaded volumes.
    pub(super) fn of(uid: &str, volumes: &Volumes, show: Show) -> Result<Series, Error> {
        let cards = volumes.iter().map(|loaded| Card::of(loaded, show));
        Ok(Series {
            uid: uid.into(),
            cards: cards.collect::<Result<_, Error>>()?,
            findings: Box::default(),
            digests: Box::default(),
        })
    }

    pub(super) fn with_findings(
        mut self,
        findings: &[(PathBuf, Finding)],
    ) -> Result<Series, Error> {
        self.findings = finding_lines(findings)?.into();
        Ok(self)
    }

    pub(super) fn with_digests(mut self, digests: PixelDigests) -> Series {
        let mut digests: Vec<_> = digests.into_iter().collect();
        digests.sort();
        self.digests = digests.into();
        self
    }

    pub(super) fn digests(&self) -> PixelDigests {
        self.digests.iter().cloned().collect()
    }

    /// The series as a note; empty, which no series is read from, where it cannot be written.
    pub(super) fn to_note(&self, of: Stamp) -> Vec<u8> {
        let note = (stamp(of), &self.cards, &self.findings, &self.digests);
        postcard::to_stdvec(&note).unwrap_or_default()
    }

    /// The series of a note; `None` for a note of another version or library, or a damaged one.
    pub(super) fn from_note(uid: &str, note: &[u8], of: Stamp) -> Option<Series> {
        // The stamp first: what follows one of another version may be anything.
        let (found, _) = postcard::take_from_bytes::<(u32, &str, Stamp)>(note).ok()?;
        if found != stamp(of) {
            return None;
        }
        let note: Note<(u32, &str, Stamp)> = postcard::from_bytes(note).ok()?;
        let (_, cards, findings, digests) = note;
        Some(Series {
            uid: uid.into(),
            cards,
            findings,
            digests,
        })
    }
}

fn lines<'a>(
    findings: impl Iterator<Item = (&'a Path, &'a str, &'a str)>,
) -> Result<Vec<u8>, format::Error> {
    let mut lines = Vec::new();
    for (path, code, detail) in findings {
        lines.extend(table::file_finding_line(path, code, detail)?);
    }
    Ok(lines)
}

/// Lines of `findings.jsonl` about files that are in no volume.
pub(super) fn finding_lines(findings: &[(PathBuf, Finding)]) -> Result<Vec<u8>, format::Error> {
    lines(findings.iter().map(|finding| {
        let (path, found) = finding;
        (path.as_path(), found.code, found.detail.as_str())
    }))
}

/// Lines of `findings.jsonl` about files that a scan made no record of.
pub(super) fn file_finding_lines(findings: &[FileFinding]) -> Result<Vec<u8>, format::Error> {
    lines(findings.iter().map(|found| {
        let (path, code, detail) = (&found.path, &found.code, &found.detail);
        (path.as_path(), code.as_str(), detail.as_str())
    }))
}
