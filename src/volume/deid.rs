//! Volumes as they may be shown: instances, names and findings de-identified.
//!
//! Comes after everything else: how frames are grouped and ordered, where they lie and what they become
//! is decided by what the headers really say, and stays. The paths in the records stay too, since the
//! files are read by them; [`Volume::source_name`] is what may be shown of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::directory;
use super::finding::{CODES, severity};
use super::name::series_name;
use super::series::name_siblings;
use super::{Built, Finding, Volume};
use crate::archive::Record;
use crate::dicom::Deid;
use crate::dicom::deid::burned_in;

/// Codes whose details are numbers, keywords and words of this program; of any other the detail may
/// name a file or an instance, and only what the code means is told.
const TELLING: [&str; 22] = [
    "assumed_slice_spacing",
    "assumed_time_axis",
    "gantry_tilt",
    "incomplete_time_point",
    "lossy",
    "malformed_geometry",
    "malformed_rescale",
    "missing_slices",
    "mixed_echo_time",
    "mixed_frame_of_reference",
    "mixed_rescale",
    "mosaic_not_split",
    "moving_positions",
    "no_geometry",
    "not_collinear",
    "partial_real_world_value",
    "segments_not_split",
    "time_axis",
    "too_large",
    "uneven_spacing",
    "unsupported_transfer_syntax",
    "volume_coordinates",
];

/// De-identifies what was built.
pub fn deidentify(built: &mut Built, deid: &Deid) {
    let mut known = HashMap::new();
    let mut bases = Vec::with_capacity(built.volumes.len());
    for volume in &mut built.volumes {
        let base = rename(volume, deid);
        volume.findings.retain(|finding| finding.code != SIBLINGS);
        generalise_all(volume);
        report_burned_in(volume);
        let days = volume
            .records
            .first()
            .map(|record| deid.subject(&record.instance).days);
        volume.deid_days = days.or(Some(0));
        for record in &mut volume.records {
            *record = shown(record, deid, &mut known);
        }
        volume.fingerprint = deid.digest("fingerprint", &volume.fingerprint);
        bases.push(base);
    }
    let mut rest = built.volumes.as_mut_slice();
    for same in bases.chunk_by(|a, b| a == b) {
        let (volumes, after) = rest.split_at_mut(same.len());
        name_siblings(&same[0], volumes);
        rest = after;
    }
    for (path, finding) in &mut built.findings {
        *path = file_alias(path, deid);
        generalise(finding);
    }
}

const SIBLINGS: &str = "split_from";

/// What stands for a file that is in no volume: who has the key and the archive can say which it is.
pub fn file_alias(path: &Path, deid: &Deid) -> PathBuf {
    let alias = deid.alias("file", path.as_os_str().as_encoded_bytes());
    PathBuf::from(format!("file-{alias}"))
}

/// What may be told of a finding about a file: what its code means.
pub fn general_detail(code: &str) -> &'static str {
    let known = CODES.iter().find(|(known, ..)| *known == code);
    known.map_or("", |(_, _, meaning)| meaning)
}

/// Generalises what is not known to tell nothing, and whatever names a file or an instance after all.
fn generalise_all(volume: &mut Volume) {
    let records = &volume.records;
    for finding in &mut volume.findings {
        let detail = &finding.detail;
        let names = |text: &str| !text.is_empty() && detail.contains(text);
        let is_named = |record: &Arc<Record>| {
            let instance = &record.instance;
            names(&record.path.to_string_lossy())
                || names(&instance.sop_instance_uid)
                || names(&instance.series_instance_uid)
                || names(&instance.study_instance_uid)
        };
        if records.iter().any(is_named) {
            general_detail(finding.code).clone_into(&mut finding.detail);
        }
        generalise(finding);
    }
}

fn generalise(finding: &mut Finding) {
    if !TELLING.contains(&finding.code) {
        general_detail(finding.code).clone_into(&mut finding.detail);
    }
}

/// Gives a volume the name that its series has from now on, which is returned, and its suffix.
fn rename(volume: &mut Volume, deid: &Deid) -> String {
    let Some(first) = volume.records.first() else {
        return volume.name.clone();
    };
    let (was, has_uid) = directory(first);
    let base = match has_uid {
        true => series_name(&deid.uid(&first.instance.series_instance_uid)),
        false => format!("no-series-{}", deid.alias("series", was.as_bytes())),
    };
    let suffix = volume.name.strip_prefix(&was).unwrap_or_default();
    volume.name = format!("{base}{suffix}");
    base
}

fn report_burned_in(volume: &mut Volume) {
    let why = volume.records.iter().find_map(|r| burned_in(&r.instance));
    if let Some(why) = why {
        let code = "burned_in_annotation";
        volume.status = volume.status.max(severity(code));
        volume.findings.push(Finding {
            code,
            detail: why.to_owned(),
        });
    }
}

/// A record with what may be shown of its instance; the volumes of a series share their records.
fn shown(
    record: &Arc<Record>,
    deid: &Deid,
    known: &mut HashMap<usize, Arc<Record>>,
) -> Arc<Record> {
    let made = known
        .entry(Arc::as_ptr(record) as usize)
        .or_insert_with(|| {
            Arc::new(Record {
                path: record.path.clone(),
                identity: record.identity,
                inside: record.inside.clone(),
                instance: deid.instance(&record.instance),
            })
        });
    made.clone()
}

impl Volume {
    /// What may be shown of where a source file is: its path in the archive; once de-identified, what it
    /// is called in the volume's own directory.
    pub fn source_name(&self, record: usize) -> std::borrow::Cow<'_, str> {
        match (self.deid_days, self.records.get(record)) {
            (Some(_), _) => {
                let width = super::digits(self.records.len());
                format!("dicom/{}", super::numbered(record as u32, width, ".dcm")).into()
            }
            (None, Some(record)) => record.path.to_string_lossy(),
            (None, None) => "".into(),
        }
    }
}
