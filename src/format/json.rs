//! `volume.json`: geometry, values, verdict and provenance of a volume.
//!
//! Keys come in a fixed order, so that equal volumes are equal in bytes. Numbers that are not
//! finite are `null`: JSON has no others. Frames are written one at a time: a header of a few bytes
//! may claim a million of them.

mod makers;
mod segment;
mod slide;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::{Serialize, Serializer};

pub use makers::MAKERS_LEN_BYTES;

use segment::JsonSegment;

use super::Error;
use super::bids::{self, Sidecar};
use crate::dicom::Value;
use crate::volume::{Finding, Frame, Status, ValueKind, Variant, Volume};

/// Bytes of the brace and the line feed that end a document.
const CLOSING_LEN_BYTES: usize = 2;

/// Version of the layout of the document.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    name: &'a str,
    study_instance_uid: &'a str,
    series_instance_uid: &'a str,
    sop_class_uid: &'a str,
    modality: &'a str,
    shape: &'a [u64],
    axes: &'a str,
    dtype: &'static str,
    stored_dtype: &'static str,
    variants: BTreeMap<&'static str, JsonVariant>,
    spacing_mm: Option<[f64; 3]>,
    affine_lps: Option<[[f64; 4]; 4]>,
    affine_ras: Option<[[f64; 4]; 4]>,
    status: &'static str,
    findings: Vec<JsonFinding<'a>>,
    values: JsonValues<'a>,
    photometric_interpretation: &'a str,
    /// What tells the entries of the t axis apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<JsonSteps<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    segments: Vec<JsonSegment<'a>>,
    /// Rows and columns of the image that the frames are tiles of.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_pixel_matrix: Option<[u64; 2]>,
    frames: JsonFrames<'a>,
    transfer_syntax: OneOrMore<'a>,
    bids: Sidecar,
    dicom: BTreeMap<&'static str, JsonValue>,
}

/// What opens beside the plain files, by its word: `volume.<word>.npy`.
#[derive(Serialize)]
struct JsonVariant {
    dtype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cast: Option<&'static str>,
}

/// The variants that are not the values themselves.
fn variants(volume: &Volume) -> BTreeMap<&'static str, JsonVariant> {
    let by_name = Variant::ALL.into_iter().filter(|v| *v != Variant::Values);
    let describe = |variant: Variant| JsonVariant {
        dtype: volume.dtype(variant).descr(),
        cast: matches!(variant, Variant::Cast(_)).then_some("rounds half to even, saturates"),
    };
    by_name.map(|v| (v.word(), describe(v))).collect()
}

/// A finding as it is shown.
#[derive(Serialize)]
pub(super) struct JsonFinding<'a> {
    code: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a Finding> for JsonFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        JsonFinding {
            code: finding.code,
            detail: &finding.detail,
        }
    }
}

#[derive(Serialize)]
struct JsonValues<'a> {
    kind: &'static str,
    units: Option<&'a str>,
    /// What a Real World Value Mapping calls its values: maps of one object may share their units.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

/// The entries of the t axis, in the unit of their attribute.
#[derive(Serialize)]
struct JsonSteps<'a> {
    attribute: &'static str,
    values: &'a [f64],
    interval_s: Option<f64>,
}

/// All frames of a volume.
struct JsonFrames<'a>(&'a Volume);

impl Serialize for JsonFrames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_diffusion = is_diffusion(self.0);
        let frames = self.0.frames.iter();
        serializer.collect_seq(frames.map(|f| frame(self.0, f, is_diffusion)))
    }
}

#[derive(Serialize)]
struct JsonFrame<'a> {
    file: Option<Cow<'a, str>>,
    frame_number: Option<u64>,
    /// First row and column of the frame in a stored frame that holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    tile: Option<[u32; 2]>,
    /// First row and column, 0-based, of the frame in the total pixel matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix_position: Option<[i64; 2]>,
    /// Referenced Segment Number of a segmentation's frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment_number: Option<u32>,
    /// Diffusion b-value, s/mm2, and the direction of its gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    b_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradient_lps: Option<[f64; 3]>,
    sop_instance_uid: Option<&'a str>,
    position_lps_mm: Option<[f64; 3]>,
    slope: f64,
    intercept: f64,
}

/// A single string, or a list where there are several.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMore<'a> {
    One(&'a str),
    More(Vec<&'a str>),
}

/// An attribute's value without the name of its kind.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonValue {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Floats(Vec<f64>),
}

impl From<Value> for JsonValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => JsonValue::Text(text),
            Value::Texts(texts) => JsonValue::Texts(texts),
            Value::Int(number) => JsonValue::Int(number),
            Value::Ints(numbers) => JsonValue::Ints(numbers),
            Value::Float(number) => JsonValue::Float(number),
            Value::Floats(numbers) => JsonValue::Floats(numbers),
        }
    }
}

/// The bytes of `volume.json` of which no frame has been made. `dicom` holds the attributes of the
/// first frame's file.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn volume_json(volume: &Volume) -> Result<Vec<u8>, Error> {
    volume_json_made(volume, &[])
}

/// The same when frames have been made: `made` says how many, by the name of who made them. Only
/// the last [`MAKERS_LEN_BYTES`] bytes differ.
///
/// # Errors
///
/// As of [`volume_json`].
pub fn volume_json_made(volume: &Volume, made: &[(String, u64)]) -> Result<Vec<u8>, Error> {
    let mut bytes = json_line(&document(volume))?;
    bytes.truncate(bytes.len() - CLOSING_LEN_BYTES);
    bytes.extend(makers::tail(made)?);
    Ok(bytes)
}

/// Length in bytes of `volume.json`, found without keeping the text.
///
/// # Errors
///
/// As of [`volume_json`].
pub fn volume_json_len_bytes(volume: &Volume) -> Result<u64, Error> {
    let mut counter = Counter(0);
    write_line(&mut counter, &document(volume))?;
    Ok(counter.0 - CLOSING_LEN_BYTES as u64 + MAKERS_LEN_BYTES as u64)
}

/// Counts the bytes that are written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn document(volume: &Volume) -> Document<'_> {
    let first = volume.records.first().map(|record| &record.instance);
    let image = first.and_then(|instance| instance.image.as_ref());
    let attributes = first.map(|instance| &instance.attributes);
    Document {
        format: FORMAT,
        name: &volume.name,
        study_instance_uid: first.map_or("", |i| &i.study_instance_uid),
        series_instance_uid: first.map_or("", |i| &i.series_instance_uid),
        sop_class_uid: first.map_or("", |i| &i.sop_class_uid),
        modality: first.map_or("", |i| &i.modality),
        shape: volume.shape(Variant::Values),
        axes: volume.axes(Variant::Values),
        dtype: volume.dtype(Variant::Values).descr(),
        stored_dtype: volume.dtype(Variant::Stored).descr(),
        variants: variants(volume),
        spacing_mm: volume.geometry.as_ref().map(|g| g.spacing_mm),
        affine_lps: volume.geometry.as_ref().map(|g| g.affine_lps),
        affine_ras: volume.geometry.as_ref().map(|g| g.affine_ras()),
        status: status_name(volume.status),
        findings: volume.findings.iter().map(JsonFinding::from).collect(),
        values: JsonValues {
            kind: values_kind(volume),
            units: volume.values.units.as_deref(),
            label: mapping_label(volume),
        },
        photometric_interpretation: image.map_or("", |i| i.photometric.term()),
        t: volume.steps.as_ref().map(|steps| JsonSteps {
            attribute: steps.keyword,
            values: &steps.values,
            interval_s: steps.interval_s,
        }),
        segments: volume.segments.iter().map(JsonSegment::from).collect(),
        total_pixel_matrix: first.and_then(slide::total_pixel_matrix),
        frames: JsonFrames(volume),
        transfer_syntax: match transfer_syntaxes(volume).as_slice() {
            [] => OneOrMore::One(""),
            [one] => OneOrMore::One(one),
            several => OneOrMore::More(several.to_vec()),
        },
        bids: bids::sidecar(volume),
        dicom: attributes
            .into_iter()
            .flat_map(|attributes| attributes.iter())
            .map(|(keyword, value)| (keyword, JsonValue::from(value)))
            .collect(),
    }
}

/// A value as JSON and a line feed.
pub(super) fn json_line<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    write_line(&mut bytes, value)?;
    Ok(bytes)
}

fn write_line<T: Serialize>(mut to: impl Write, value: &T) -> Result<(), Error> {
    let failed = |why: String| {
        let format = "json";
        Error::Text { format, why }
    };
    serde_json::to_writer(&mut to, value).map_err(|error| failed(error.to_string()))?;
    to.write_all(b"\n")
        .map_err(|error| failed(error.to_string()))
}

/// LUT Label of the Real World Value Mapping that was applied. It is text that may say anything, and so
/// is not shown of what is de-identified.
fn mapping_label(volume: &Volume) -> Option<&str> {
    let is_shown = volume.values.kind == ValueKind::RealWorld && volume.deid_days.is_none();
    let mut stored = volume.frames.iter().filter_map(|frame| frame.stored);
    let at = stored.next().filter(|_| is_shown)?;
    let instance = &volume.records.get(at.record)?.instance;
    instance.of_frame(at.frame_index, |a| a.real_world_label.as_deref())
}

/// Whether b-values say anything: some scanners write 0 into all that they make.
fn is_diffusion(volume: &Volume) -> bool {
    let mut stored = volume.frames.iter().filter_map(|frame| frame.stored);
    stored.any(|at| {
        let record = volume.records.get(at.record);
        let b_value =
            record.and_then(|r| r.instance.of_frame(at.frame_index, |a| a.diffusion_b_value));
        b_value.is_some_and(|b| b > 0.0)
    })
}

fn frame<'a>(volume: &'a Volume, frame: &Frame, is_diffusion: bool) -> JsonFrame<'a> {
    let stored = frame.stored;
    let record = stored.and_then(|stored| volume.records.get(stored.record));
    let source = record.map(|record| &record.instance).zip(stored);
    let diffusion = source.filter(|_| is_diffusion);
    JsonFrame {
        file: stored
            .filter(|_| record.is_some())
            .map(|s| volume.source_name(s.record)),
        frame_number: stored.map(|stored| u64::from(stored.frame_index) + 1),
        tile: stored
            .and_then(|stored| stored.tile)
            .map(|tile| [tile.row, tile.column]),
        matrix_position: source
            .and_then(|(instance, stored)| slide::matrix_position(instance, stored.frame_index)),
        segment_number: source.and_then(|(i, at)| i.of_frame(at.frame_index, |a| a.segment_number)),
        b_value: diffusion.and_then(|(i, at)| i.of_frame(at.frame_index, |a| a.diffusion_b_value)),
        gradient_lps: diffusion
            .and_then(|(i, at)| i.of_frame(at.frame_index, |a| a.diffusion_gradient)),
        sop_instance_uid: record.map(|r| r.instance.sop_instance_uid.as_str()),
        position_lps_mm: frame.position_lps_mm,
        slope: frame.slope,
        intercept: frame.intercept,
    }
}

/// Transfer syntaxes of a volume's files, sorted, each once.
pub(super) fn transfer_syntaxes(volume: &Volume) -> Vec<&str> {
    let uids = volume.records.iter();
    let uids: BTreeSet<&str> = uids
        .map(|record| record.instance.transfer_syntax_uid.as_str())
        .collect();
    uids.into_iter().collect()
}

/// The verdict in a word.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Bad => "bad",
    }
}

/// What the values are, in a word.
fn values_kind(volume: &Volume) -> &'static str {
    match volume.values.kind {
        ValueKind::Modality => "modality",
        ValueKind::RealWorld => "real_world",
        ValueKind::Dose => "dose",
        ValueKind::Rgb => "rgb",
        ValueKind::Segmentation => "segmentation",
        ValueKind::Stored => "stored",
    }
}
