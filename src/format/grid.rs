//! An array as the dialects' headers have to describe it: axes with their meaning and step, channels.
//!
//! Settles once what all of them say alike: which axis is space, which is time and how long its
//! steps are, where a spacing is known without an affine. Knows no format.

use crate::dicom::Value;
use crate::volume::{Dtype, Geometry, Transform, ValueKind, Variant, Volume};

/// Steps and spacings outside this are not meant, in mm or s; also keeps them finite in float32.
const STEP_RANGE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// Attributes that order a `t` axis by time. One ordered by anything else (a b-value, an echo time)
/// is a list of volumes to formats that tell the two apart.
const TIME_KEYWORDS: [&str; 12] = [
    "AcquisitionDateTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
    "FrameReferenceTime",
    "InstanceNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "TriggerTime",
];

/// What an axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `z`, `y` or `x`.
    Space,
    /// `t`, in order of time.
    Time,
    /// `f`: frames that are in an order, but neither slices nor times.
    Frames,
    /// `s`, or a `t` that something else than time orders: a list of arrays.
    List,
}

/// One axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Its letter in `volume.json`.
    pub(super) letter: char,
    /// Its length.
    pub(super) len: u64,
    /// What it is.
    pub(super) meaning: Meaning,
    /// From one index to the next, mm or s, where known.
    pub(super) step: Option<f64>,
}

/// An array of a volume.
#[derive(Debug, Clone)]
pub(super) struct Grid<'a> {
    /// The axes, slowest first, as in the shape; without `c`.
    pub(super) axes: Vec<Axis>,
    /// Length of the `c` axis, where there is one.
    pub(super) channels: Option<u64>,
    /// The channels are red, green and blue.
    pub(super) is_rgb: bool,
    /// Element type.
    pub(super) dtype: Dtype,
    /// Where its `z, y, x` lie.
    pub(super) geometry: Option<&'a Geometry>,
}

impl Grid<'_> {
    /// The array of a variant.
    pub(super) fn of(volume: &Volume, variant: Variant) -> Grid<'_> {
        let letters = volume.axes(variant);
        let geometry = volume.geometry.as_ref().filter(|_| letters.contains("zyx"));
        let in_plane = geometry.map_or_else(
            || pixel_spacing_mm(volume),
            |geometry| Some([geometry.spacing_mm[1], geometry.spacing_mm[2]]),
        );
        let (mut axes, mut channels) = (Vec::new(), None);
        for (letter, &len) in letters.chars().zip(volume.shape(variant)) {
            let (meaning, step) = match letter {
                'c' => {
                    channels = Some(len);
                    continue;
                }
                'x' => (Meaning::Space, in_plane.map(|[_, x]| x)),
                'y' => (Meaning::Space, in_plane.map(|[y, _]| y)),
                'z' => (Meaning::Space, geometry.map(|g| g.spacing_mm[0])),
                't' if is_time(volume) => (Meaning::Time, interval_s(volume)),
                'f' => (Meaning::Frames, None),
                _ => (Meaning::List, None),
            };
            axes.push(Axis {
                letter,
                len,
                meaning,
                step,
            });
        }
        Grid {
            is_rgb: channels == Some(3) && is_rgb(volume, variant),
            axes,
            channels,
            dtype: volume.dtype(variant),
            geometry,
        }
    }

    /// The axes as formats name them that count from the fastest: x, y, z, t.
    pub(super) fn fastest_first(&self) -> impl Iterator<Item = &Axis> {
        self.axes.iter().rev()
    }

    /// The time axis, in whatever place.
    pub(super) fn time(&self) -> Option<&Axis> {
        self.axes.iter().find(|axis| axis.meaning == Meaning::Time)
    }

    /// The affine's columns for x, y and z, and the origin: LPS, mm.
    pub(super) fn columns_lps(&self) -> Option<[[f64; 3]; 4]> {
        let affine = &self.geometry?.affine_lps;
        let column = |n: usize| [affine[0][n], affine[1][n], affine[2][n]];
        Some([column(0), column(1), column(2), column(3)])
    }
}

/// Name of an element type as NumPy has it, and Zarr after it.
pub(super) fn type_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::U8 => "uint8",
        Dtype::I8 => "int8",
        Dtype::U16 => "uint16",
        Dtype::I16 => "int16",
        Dtype::U32 => "uint32",
        Dtype::I32 => "int32",
        Dtype::U64 => "uint64",
        Dtype::I64 => "int64",
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
    }
}

/// A vector over a length: its direction.
pub(super) fn direction(column: [f64; 3], length: f64) -> [f64; 3] {
    column.map(|value| value / length)
}

/// Whether time orders the `t` axis.
fn is_time(volume: &Volume) -> bool {
    volume
        .steps
        .as_ref()
        .is_none_or(|steps| steps.interval_s.is_some() || TIME_KEYWORDS.contains(&steps.keyword))
}

/// Seconds from one time point to the next: as measured, else the Repetition Time (0018,0080) where
/// that is what it takes to acquire a volume: 2-D echo planar imaging. In any other sequence a
/// volume takes many repetitions (PS3.3 C.8.3.1).
fn interval_s(volume: &Volume) -> Option<f64> {
    let measured = volume.steps.as_ref().and_then(|steps| steps.interval_s);
    let repetition = || {
        let attributes = &volume.records.first()?.instance.attributes;
        let has = |keyword, word: &str| match attributes.get(keyword) {
            Some(Value::Text(text)) => text == word,
            Some(Value::Texts(texts)) => texts.iter().any(|text| text == word),
            _ => false,
        };
        let is_planar = has("ScanningSequence", "EP") && has("MRAcquisitionType", "2D");
        let ms = match attributes.get("RepetitionTime").filter(|_| is_planar)? {
            Value::Float(ms) => ms,
            Value::Int(ms) => ms as f64,
            _ => return None,
        };
        Some(ms / 1000.0)
    };
    measured
        .or_else(repetition)
        .filter(|step| STEP_RANGE.contains(step))
}

/// Pixel Spacing (0028,0030) of the first frame, y and x in mm, where nothing says where it lies.
fn pixel_spacing_mm(volume: &Volume) -> Option<[f64; 2]> {
    let instance = &volume.records.first()?.instance;
    let own = instance.per_frame.first().and_then(|a| a.pixel_spacing);
    own.or(instance.shared.pixel_spacing)
        .filter(|spacing| spacing.iter().all(|mm| STEP_RANGE.contains(mm)))
}

/// Whether three channels are colours: stored YBR is not, nor what no rule is known for.
fn is_rgb(volume: &Volume, variant: Variant) -> bool {
    let is_stored_ybr =
        variant == Variant::Stored && volume.values.transform == Transform::YbrFullToRgb;
    volume.values.kind == ValueKind::Rgb && !is_stored_ybr
}
