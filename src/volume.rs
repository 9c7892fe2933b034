//! Volumes: how the instances of a series become arrays, where they lie, and what is wrong.
//!
//! Pure: no I/O, no threads, no clock. Everything here follows from headers alone, so that the
//! shape, dtype and size of every file are known before any Pixel Data is read.
//!
//! [`fn@build`] is the only way in. It works in these steps, one module each:
//! `admit` (is this a frame source at all), `duplicates` (the same SOP Instance twice), `expand`
//! (the frames of each image, and where they lie), `split` (what cannot be one array), `contrast`
//! (what shows different things), `order` (z), `time` (t) and `timing`, or `segments` (s),
//! `geometry` (the affine), `values` (the value rule), `assemble` (the volume), `series` (names and
//! siblings). `finding` holds the table of codes and what each does to the verdict. `deid` makes of volumes what may
//! be shown of them.

mod admit;
mod assemble;
mod build;
mod contrast;
mod deid;
pub mod dtype;
mod duplicates;
mod expand;
pub mod finding;
mod fingerprint;
mod geometry;
mod item;
mod name;
mod order;
mod segments;
mod series;
mod split;
mod time;
mod timing;
mod values;
pub mod variant;
mod vector;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use build::{build, build_with};
pub use deid::{deidentify, file_alias, general_detail};
pub use dtype::Dtype;
pub use name::{digits, numbered};
pub use variant::Variant;

use crate::archive::Record;
use crate::dicom::Segment;

/// What [`fn@build`] makes of an archive. Every frame of every record is either in exactly one volume
/// or its record's path is in `findings`.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The volumes, by Series Instance UID, each series' bare one first. Names are unique.
    pub volumes: Vec<Volume>,
    /// Files that are in no volume and why, by path.
    pub findings: Vec<(PathBuf, Finding)>,
    /// Files whose slices lie at one position with nothing in their headers to tell them apart, by
    /// path: [`build_with`] the digests of their pixels can say whether they are copies.
    pub undecided: Vec<Arc<Record>>,
}

/// Digests of the pixel elements of files, by path: equal for copies, and only for those.
pub type PixelDigests = HashMap<PathBuf, [u8; 32]>;

/// One array: what a directory under `series/` shows.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Directory name: the Series Instance UID and, for the second and later volumes of a series,
    /// a suffix.
    pub name: String,
    /// The source files, in the order of their first use by `frames`.
    pub records: Vec<Arc<Record>>,
    /// The frames in volume order: C order over the axes before `y`.
    pub frames: Vec<Frame>,
    /// Shape over `axes`.
    pub shape: Vec<u64>,
    /// One letter an axis: `zyx`, `tzyx`, `zyxc`, ... (`f` for frames that are not slices).
    pub axes: String,
    /// How stored values become the values shown.
    pub values: Values,
    /// dtype of the stored values (`volume.stored.npy`).
    pub stored_dtype: Dtype,
    /// Where the volume lies; `None` when the headers do not say or cannot be trusted.
    pub geometry: Option<Geometry>,
    /// What tells the entries of the `t` axis apart; `None` without one.
    pub steps: Option<Steps>,
    /// When each slice was acquired, in seconds after the first of its time point, by `z`; empty
    /// where the headers do not say.
    pub slice_times_s: Vec<f64>,
    /// The segments of the `s` axis in its order, or the labels of a label map by number; empty for
    /// what is no segmentation (PS3.3 C.8.20.2).
    pub segments: Vec<Segment>,
    /// The verdict.
    pub status: Status,
    /// What led to the verdict.
    pub findings: Vec<Finding>,
    /// Digest of all that the bytes follow from: the source files as they were indexed, the frames and
    /// the value rule. A volume of other bytes has another one.
    pub fingerprint: [u8; 32],
    /// Once the volume is de-identified, by how many days its dates are moved; `None` while it is as the
    /// headers say.
    pub deid_days: Option<u32>,
}

/// One frame of a volume: where it is stored and what belongs to it alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Where its samples are; `None` for a slice that a segmentation does not store because nothing
    /// of the segment lies in it: all zeros (PS3.3 A.51).
    pub stored: Option<StoredFrame>,
    /// Image Position (Patient), mm, LPS; `None` where absent.
    pub position_lps_mm: Option<[f64; 3]>,
    /// Rescale Slope of this frame (1 where none applies).
    pub slope: f64,
    /// Rescale Intercept of this frame (0 where none applies).
    pub intercept: f64,
}

/// A frame as a file holds it, or a rectangle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFrame {
    /// Index into [`Volume::records`].
    pub record: usize,
    /// 0-based index of the frame in its file.
    pub frame_index: u32,
    /// Where the volume's frame starts in a stored frame that holds several (Siemens MOSAIC);
    /// `None` when it is all of it.
    pub tile: Option<Tile>,
}

/// The first row and column, 0-based, of a rectangle of a stored frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// First row.
    pub row: u32,
    /// First column.
    pub column: u32,
}

/// The entries of a `t` axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// Keyword of the attribute that orders them (`TriggerTime`, `DiffusionBValue`, ...).
    pub keyword: &'static str,
    /// Its value at each entry, in the unit of the attribute (times in ms): of Acquisition Time and
    /// Content Time, ms after the first entry; of Dimension Index Values, the rank from 1.
    pub values: Vec<f64>,
    /// Time from one entry to the next in seconds, where the entries are time points at even
    /// intervals.
    pub interval_s: Option<f64>,
}

/// The rule from stored values to the values shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// dtype of the values shown.
    pub dtype: Dtype,
    /// What is done to each frame.
    pub transform: Transform,
    /// Units of the values (`HU`, `BQML`, ...), where known.
    pub units: Option<String>,
    /// What they are.
    pub kind: ValueKind,
}

/// What the values shown are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// What the Modality LUT yields (PS3.3 C.11.1), which may be nothing but the stored values.
    Modality,
    /// What the Real World Value Mapping yields, for want of a Modality LUT (PS3.3 C.7.6.16.2.11).
    RealWorld,
    /// Dose: stored values by Dose Grid Scaling (PS3.3 C.8.8.3).
    Dose,
    /// Red, green, blue.
    Rgb,
    /// Numbers of segments, or how much of a segment is there (PS3.3 C.8.20.2).
    Segmentation,
    /// Stored values, where no rule could be applied.
    Stored,
}

/// What is done to the stored values of each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The stored values are the values.
    Identity,
    /// Add the frame's whole-number intercept; exact in the output dtype or the read fails.
    Offset,
    /// stored * slope + intercept of the frame, computed in f64, rounded once to the dtype.
    Linear,
    /// Modality LUT Sequence (PS3.3 C.11.1): the table itself is read when a frame is decoded.
    ModalityLut,
    /// PALETTE COLOR to interleaved RGB (PS3.3 C.7.9).
    Palette,
    /// YBR_FULL or YBR_FULL_422 (already one of each a pixel) to RGB (PS3.3 C.7.6.3.1.2).
    YbrFullToRgb,
}

/// Where a volume lies in the patient coordinate system, LPS, mm.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Maps (i = x, j = y, k = z, 1) to LPS mm; row-major.
    pub affine_lps: [[f64; 4]; 4],
    /// Spacing along z, y, x in mm: the lengths of the affine's columns.
    pub spacing_mm: [f64; 3],
}

/// The verdict on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing to report that matters.
    Ok,
    /// Usable: read the findings.
    Warn,
    /// Frames are served, geometry is not to be trusted.
    Bad,
}

/// Something worth knowing about a volume or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: &'static str,
    /// One sentence with the particulars; carries no patient data.
    pub detail: String,
}
