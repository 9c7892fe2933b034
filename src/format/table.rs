//! `index.csv`, `index.jsonl` and `findings.jsonl`: all volumes and all findings at a glance.
//!
//! Carries UIDs and technical attributes, never a patient's name or ID.

use std::path::Path;

use serde::Serialize;

use super::Error;
use super::json::{json_line, status_name, transfer_syntaxes};
use crate::volume::{Variant, Volume};

/// One volume, as both index files show it.
#[derive(Serialize)]
struct Row<'a> {
    path: String,
    series_instance_uid: &'a str,
    study_instance_uid: &'a str,
    modality: &'a str,
    shape: &'a [u64],
    axes: &'a str,
    dtype: &'static str,
    spacing_mm: Option<[f64; 3]>,
    status: &'static str,
    findings: Vec<&'a str>,
    bytes: u64,
    frames: usize,
    transfer_syntax: Vec<&'a str>,
}

/// The columns of `index.csv`, named as the keys of `index.jsonl`.
pub const COLUMNS: [&str; 13] = [
    "path",
    "series_instance_uid",
    "study_instance_uid",
    "modality",
    "shape",
    "axes",
    "dtype",
    "spacing_mm",
    "status",
    "findings",
    "bytes",
    "frames",
    "transfer_syntax",
];

fn row(volume: &Volume) -> Row<'_> {
    let first = volume.records.first().map(|record| &record.instance);
    let mut findings: Vec<&str> = volume.findings.iter().map(|f| f.code).collect();
    findings.sort_unstable();
    findings.dedup();
    Row {
        path: format!("series/{}", volume.name),
        series_instance_uid: first.map_or("", |i| &i.series_instance_uid),
        study_instance_uid: first.map_or("", |i| &i.study_instance_uid),
        modality: first.map_or("", |i| &i.modality),
        shape: volume.shape(Variant::Values),
        axes: volume.axes(Variant::Values),
        dtype: volume.dtype(Variant::Values).descr(),
        spacing_mm: volume.geometry.as_ref().map(|g| g.spacing_mm),
        status: status_name(volume.status),
        findings,
        bytes: volume.len_bytes(Variant::Values),
        frames: volume.frames.len(),
        transfer_syntax: transfer_syntaxes(volume),
    }
}

fn joined<T: ToString>(values: &[T], separator: &str) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(separator)
}

/// The first line of `index.csv`: the names of its columns.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn csv_header() -> Result<Vec<u8>, Error> {
    csv_line(COLUMNS)
}

/// The line of a volume in `index.csv`. Shape and spacing are joined by `x`, findings and transfer
/// syntaxes by a space. `bytes` are those of the array alone.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn csv_row(volume: &Volume) -> Result<Vec<u8>, Error> {
    let row = row(volume);
    let spacing = row.spacing_mm.map(|s| joined(&s, "x")).unwrap_or_default();
    csv_line([
        &row.path,
        row.series_instance_uid,
        row.study_instance_uid,
        row.modality,
        &joined(row.shape, "x"),
        row.axes,
        row.dtype,
        &spacing,
        row.status,
        &row.findings.join(" "),
        &row.bytes.to_string(),
        &row.frames.to_string(),
        &row.transfer_syntax.join(" "),
    ])
}

fn csv_line(fields: [&str; COLUMNS.len()]) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(fields);
    let bytes = written.and_then(|()| {
        let inner = writer.into_inner();
        inner.map_err(|error| csv::Error::from(error.into_error()))
    });
    bytes.map_err(|error| Error::Text {
        format: "csv",
        why: error.to_string(),
    })
}

/// The line of a volume in `index.jsonl`.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn jsonl_row(volume: &Volume) -> Result<Vec<u8>, Error> {
    json_line(&row(volume))
}

/// A line of `findings.jsonl`: about a volume or about a file.
#[derive(Serialize)]
struct FindingLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    code: &'a str,
    detail: &'a str,
}

/// The lines of a volume in `findings.jsonl`.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn volume_findings(volume: &Volume) -> Result<Vec<u8>, Error> {
    volume.findings.iter().try_fold(Vec::new(), |mut lines, f| {
        lines.extend(finding_line(&volume.name, f.code, &f.detail)?);
        Ok(lines)
    })
}

/// A line of `findings.jsonl` about a file that is in no volume.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn file_finding_line(path: &Path, code: &str, detail: &str) -> Result<Vec<u8>, Error> {
    json_line(&FindingLine {
        volume: None,
        file: Some(path.to_string_lossy().into_owned()),
        code,
        detail,
    })
}

/// A line of `findings.jsonl` about a volume.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn finding_line(volume: &str, code: &str, detail: &str) -> Result<Vec<u8>, Error> {
    let volume = Some(format!("series/{volume}"));
    json_line(&FindingLine {
        volume,
        file: None,
        code,
        detail,
    })
}
