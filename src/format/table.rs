//! `index.csv`, `index.jsonl` and `findings.jsonl`: all volumes and all findings at a glance.
//!
//! Carries UIDs and technical attributes, never a patient's name or ID.

use std::path::PathBuf;

use serde::Serialize;

use super::Error;
use super::json::{json_line, status_name, transfer_syntaxes};
use crate::volume::{Finding, Variant, Volume};

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
const COLUMNS: [&str; 13] = [
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

/// `index.csv`: a line of column names, then one row a volume. Shape and spacing are joined by
/// `x`, findings and transfer syntaxes by a space. `bytes` are those of the array alone.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn index_csv(volumes: &[Volume]) -> Result<Vec<u8>, Error> {
    csv_bytes(volumes).map_err(|error| Error::Text {
        format: "csv",
        why: error.to_string(),
    })
}

fn csv_bytes(volumes: &[Volume]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for volume in volumes {
        let row = row(volume);
        let spacing = row.spacing_mm.map(|s| joined(&s, "x")).unwrap_or_default();
        writer.write_record([
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
        ])?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

/// `index.jsonl`: one object a line and volume.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn index_jsonl(volumes: &[Volume]) -> Result<Vec<u8>, Error> {
    lines(volumes.iter().map(row))
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

/// `findings.jsonl`: the findings of volumes, then those of files that are in no volume.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn findings_jsonl(volumes: &[Volume], files: &[(PathBuf, Finding)]) -> Result<Vec<u8>, Error> {
    let of_volumes = volumes.iter().flat_map(|volume| {
        volume.findings.iter().map(|finding| FindingLine {
            volume: Some(format!("series/{}", volume.name)),
            file: None,
            code: finding.code,
            detail: &finding.detail,
        })
    });
    let of_files = files.iter().map(|(path, finding)| FindingLine {
        volume: None,
        file: Some(path.to_string_lossy().into_owned()),
        code: finding.code,
        detail: &finding.detail,
    });
    lines(of_volumes.chain(of_files))
}

/// A line of `findings.jsonl` about a volume, for what is found while it is read.
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

fn lines<T: Serialize>(mut values: impl Iterator<Item = T>) -> Result<Vec<u8>, Error> {
    values.try_fold(Vec::new(), |mut bytes, value| {
        bytes.extend(json_line(&value)?);
        Ok(bytes)
    })
}
