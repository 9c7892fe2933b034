//! A volume from frames in their order: geometry, values, verdict, sizes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::admit::report_headers;
use super::finding::Findings;
use super::fingerprint::fingerprint;
use super::geometry::geometry;
use super::item::Item;
use super::values::{Ruled, rule};
use super::variant::{FRAME_BYTES_MAX, VOLUME_BYTES_MAX};
use super::{Finding, Frame, Steps, StoredFrame, Variant, Volume};
use crate::archive::Record;
use crate::dicom::Segment;

/// Frames in volume order, before the value rule.
pub(super) struct Layout<'a> {
    pub(super) suffix: String,
    pub(super) items: Vec<Item<'a>>,
    /// Lengths of the axes before `y`, with their letters.
    pub(super) leading: Vec<(char, u64)>,
    /// Whether positions mean something for each frame.
    pub(super) is_placed: bool,
    /// Whether an affine may be computed from the first `z` frames.
    pub(super) is_stack: bool,
    pub(super) steps: Option<Steps>,
    pub(super) slice_times_s: Vec<f64>,
    pub(super) segments: Vec<Segment>,
    pub(super) findings: Findings,
    /// Files of slices that nothing tells apart.
    pub(super) undecided: Vec<Arc<Record>>,
}

impl<'a> Layout<'a> {
    /// Frames along one axis, of which nothing more is known.
    pub(super) fn new(items: Vec<Item<'a>>, (axis, count): (char, usize)) -> Self {
        Layout {
            suffix: String::new(),
            items,
            leading: vec![(axis, count as u64)],
            is_placed: true,
            is_stack: false,
            steps: None,
            slice_times_s: Vec::new(),
            segments: Vec::new(),
            findings: Findings::default(),
            undecided: Vec::new(),
        }
    }
}

/// A record's identity within one build.
pub(super) fn identity(record: &Arc<Record>) -> usize {
    Arc::as_ptr(record).addr()
}

/// The records of frames, in order of first use. One that only lends its attributes counts: it is
/// the file that says so.
pub(super) fn records(items: &[Item<'_>]) -> Vec<Arc<Record>> {
    let mut seen = HashSet::new();
    items
        .iter()
        .filter(|item| seen.insert(identity(item.record)))
        .map(|item| Arc::clone(item.record))
        .collect()
}

/// Makes a volume of a layout, or says for each of its files why not.
pub(super) fn volume(name: String, layout: Layout<'_>) -> Result<Volume, Vec<(PathBuf, Finding)>> {
    let mut findings = layout.findings;
    let records = records(&layout.items);
    let slices = match layout.leading.last() {
        Some((_, slices)) if layout.is_stack => *slices as usize,
        _ => 0,
    };
    let geometry = geometry(
        layout.items.get(..slices).unwrap_or_default(),
        &mut findings,
    );
    let ruled = rule(&layout.items, &mut findings);
    report_headers(&records, &mut findings);
    let refuse = |code: &'static str, detail: &str| {
        let finding = Finding {
            code,
            detail: detail.to_owned(),
        };
        let paths = records.iter().map(|record| record.path.clone());
        paths.map(|path| (path, finding.clone())).collect()
    };
    let (Some(ruled), Some(first)) = (ruled, layout.items.first()) else {
        return Err(refuse("malformed_header", "no dtype holds these samples"));
    };
    let mut volume = Volume {
        name,
        frames: frames(&layout.items, &records, &ruled, layout.is_placed),
        shape: shape(&layout.leading, first, &ruled),
        axes: axes(&layout.leading, first, &ruled),
        values: ruled.values,
        stored_dtype: ruled.stored_dtype,
        geometry,
        steps: layout.steps,
        slice_times_s: layout.slice_times_s,
        segments: layout.segments,
        status: findings.status,
        findings: findings.list,
        records: records.clone(),
        fingerprint: [0; 32],
        deid_days: None,
    };
    volume.fingerprint = fingerprint(&volume);
    let is_too_large = |variant: Variant| {
        volume.frame_len_bytes(variant) > FRAME_BYTES_MAX
            || volume.len_bytes(variant) > VOLUME_BYTES_MAX
    };
    if [Variant::Values, Variant::Stored]
        .into_iter()
        .any(is_too_large)
    {
        return Err(refuse(
            "too_large",
            "the volume, or a frame of it, is over the limit of size",
        ));
    }
    Ok(volume)
}

fn frames(
    items: &[Item<'_>],
    records: &[Arc<Record>],
    ruled: &Ruled,
    is_placed: bool,
) -> Vec<Frame> {
    let index: HashMap<usize, usize> = records.iter().map(identity).zip(0..).collect();
    let rescale = ruled.rescale.iter();
    items
        .iter()
        .zip(rescale)
        .map(|(item, (slope, intercept))| Frame {
            stored: (!item.is_empty).then(|| StoredFrame {
                record: index.get(&identity(item.record)).copied().unwrap_or(0),
                frame_index: item.frame_index,
                tile: item.tile.map(|tile| tile.at),
            }),
            position_lps_mm: item.position().filter(|_| is_placed),
            slope: *slope,
            intercept: *intercept,
        })
        .collect()
}

/// Samples of a pixel of the values shown.
fn channels(first: &Item<'_>, ruled: &Ruled) -> u16 {
    match ruled.values.transform {
        super::Transform::Palette => 3,
        _ => first.image.samples_per_pixel,
    }
}

fn shape(leading: &[(char, u64)], first: &Item<'_>, ruled: &Ruled) -> Vec<u64> {
    let mut shape: Vec<u64> = leading.iter().map(|axis| axis.1).collect();
    let (rows, columns) = first.size();
    shape.push(rows.into());
    shape.push(columns.into());
    if channels(first, ruled) > 1 {
        shape.push(channels(first, ruled).into());
    }
    shape
}

fn axes(leading: &[(char, u64)], first: &Item<'_>, ruled: &Ruled) -> String {
    let mut axes: String = leading.iter().map(|axis| axis.0).collect();
    axes.push_str("yx");
    if channels(first, ruled) > 1 {
        axes.push('c');
    }
    axes
}
