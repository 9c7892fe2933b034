//! The end of a scan: what is gone is forgotten, names of one file are resolved, and what the scan says
//! of the whole archive is written.

use std::collections::HashSet;

use super::Scan;
use crate::archive::database::{self, Failure};
use crate::archive::keep::Keeper;
use crate::archive::outcome::{Counts, FileFinding};
use crate::archive::pack::{self, Kind};
use crate::archive::walk::Walked;
use crate::archive::{extent, shelf, twice};

impl Scan<'_> {
    /// `targets` are the directories that a narrow scan has looked at.
    pub(super) fn finish(
        &mut self,
        walked: Walked,
        targets: Option<&HashSet<Vec<u8>>>,
        keeper: &mut Keeper<'_>,
    ) -> Result<Counts, Failure> {
        for (path, known) in walked.known.iter().filter(|(_, known)| !known.is_seen) {
            keeper.forget(path, known)?;
        }
        keeper.settle_last();
        let mut hidden = keeper.hidden;
        for (kind, sum) in hidden.iter_mut().enumerate() {
            *sum += walked.hidden[kind];
        }
        if keeper.is_changed {
            keeper.begin()?;
            let resolved = twice::resolve(&keeper.writer.connection)?;
            keeper.ready.extend(resolved.changed);
            hidden = resolved.hidden;
            forget_old_notes(keeper)?;
        }
        let mut all: [u64; 5] = std::array::from_fn(|n| walked.trusted[n] + keeper.counts[n]);
        let mut findings = walked.findings;
        findings.append(&mut self.findings);
        let mut unreadable = walked.unreadable;
        if let Some(targets) = targets {
            (all, hidden) = extent::totals(&keeper.writer.connection)?;
            let connection = &keeper.writer.connection;
            findings.extend(extent::findings_elsewhere(connection, targets)?);
            let is_unreadable = |found: &&FileFinding| found.code == "unreadable";
            unreadable = findings.iter().filter(is_unreadable).count() as u64;
        }
        let seen = |kind: Kind| all[kind as usize] - hidden[kind as usize].min(all[kind as usize]);
        let counts = Counts {
            files: if targets.is_some() {
                all.iter().sum()
            } else {
                walked.files
            },
            dicom: seen(Kind::Instance),
            unusable: seen(Kind::Unusable),
            not_dicom: seen(Kind::NotDicom),
            dicomdir: seen(Kind::Dicomdir),
            unreadable: seen(Kind::Unreadable) + unreadable,
            linked_twice: hidden.iter().sum(),
            from_index: walked.trusted.iter().sum::<u64>() + keeper.same,
        };
        keep_summary(keeper, &counts, &findings)?;
        self.tell(keeper, true)?;
        Ok(counts)
    }
}

/// Writes what the scan says of the whole archive, where that is new.
fn keep_summary(
    keeper: &mut Keeper<'_>,
    counts: &Counts,
    findings: &[FileFinding],
) -> Result<(), Failure> {
    let lasting = Counts {
        from_index: 0,
        ..*counts
    };
    let counts = pack::seal_value("meta", b"counts", &lasting).ok_or(Failure::TooLarge)?;
    let findings = pack::seal_value("meta", b"findings", &findings).ok_or(Failure::TooLarge)?;
    for (key, value) in [("counts", counts), ("findings", findings)] {
        let known = database::meta(&keeper.writer.connection, key)?;
        if known.as_deref() != Some(value.as_slice()) {
            keeper.begin()?;
            database::set_meta(&keeper.writer.connection, key, &value)?;
        }
    }
    if database::meta(&keeper.writer.connection, "unfinished")?.is_some() {
        keeper.begin()?;
        let delete = "DELETE FROM meta WHERE key = 'unfinished'";
        keeper.writer.connection.execute(delete, [])?;
    }
    keeper.commit()
}

/// Removes the notes about series that have changed.
fn forget_old_notes(keeper: &mut Keeper<'_>) -> Result<(), Failure> {
    let connection = &keeper.writer.connection;
    let now = shelf::editions(connection)?;
    let mut old: Vec<String> = Vec::new();
    let mut statement = connection.prepare("SELECT series, edition FROM notes")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let series: String = row.get(0)?;
        if now.get(&series) != Some(&row.get(1)?) {
            old.push(series);
        }
    }
    let mut delete = connection.prepare("DELETE FROM notes WHERE series = ?1")?;
    for series in old {
        delete.execute([series])?;
    }
    Ok(())
}
