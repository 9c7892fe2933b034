//! One stored frame with the attributes that hold for it: what all rules look at.
//!
//! Reads headers only through here, so that per-frame values override shared ones everywhere and
//! absurd numbers are refused in one place.

use std::path::Path;
use std::sync::Arc;

use super::Tile;
use super::vector::{Vector, add, cross, divide, dot, norm};
use crate::archive::Record;
use crate::dicom::{FrameAttributes, ImagePixel, Value};

/// Coordinates beyond this are not in any scanner room; also keeps all arithmetic finite.
const POSITION_LIMIT_MM: f64 = 1e6;

/// Direction cosines may be off by their rounding in the header, not more.
const COSINE_TOLERANCE: f64 = 0.01;

/// Largest and smallest Pixel Spacing that can be meant.
const SPACING_RANGE_MM: std::ops::RangeInclusive<f64> = 1e-6..=1e5;

/// One frame of a volume to be: a stored frame, a tile of one, or one that is not stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) record: &'a Arc<Record>,
    pub(super) image: &'a ImagePixel,
    /// 0-based index of the frame in its file.
    pub(super) frame_index: u32,
    /// Where it lies from the Image Position (Patient) that its header states, mm.
    pub(super) shift_mm: Option<Vector>,
    /// The part of the stored frame that it is; `None` for all of it.
    pub(super) tile: Option<TileOf>,
    /// It is nowhere in the file, and all zeros; the stored frame only lends its attributes.
    pub(super) is_empty: bool,
}

/// A tile and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileOf {
    /// 0-based number of the tile in its frame.
    pub(super) index: u32,
    pub(super) at: Tile,
    pub(super) rows: u32,
    pub(super) columns: u32,
}

/// Orientation of a plane: unit vectors along a row, along a column, and their vector product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Orientation {
    pub(super) row: Vector,
    pub(super) column: Vector,
    pub(super) normal: Vector,
}

impl<'a> Item<'a> {
    /// The first stored frame of an image.
    pub(super) fn new(record: &'a Arc<Record>, image: &'a ImagePixel) -> Self {
        Item {
            record,
            image,
            frame_index: 0,
            shift_mm: None,
            tile: None,
            is_empty: false,
        }
    }

    /// All stored frames of the image.
    pub(super) fn frames(self) -> impl Iterator<Item = Item<'a>> {
        (0..self.image.number_of_frames).map(move |frame_index| Item {
            frame_index,
            ..self
        })
    }

    /// Rows and columns of the frame.
    pub(super) fn size(&self) -> (u32, u32) {
        self.tile
            .map_or((self.image.rows, self.image.columns), |tile| {
                (tile.rows, tile.columns)
            })
    }

    /// The value that holds for this frame: its own, else the shared one.
    pub(super) fn get<T>(&self, field: impl Fn(&'a FrameAttributes) -> Option<T>) -> Option<T> {
        let record: &'a Record = self.record;
        record.instance.of_frame(self.frame_index, field)
    }

    /// The numbers of a shown attribute of the instance, however many and whether whole or not.
    pub(super) fn numbers(&self, keyword: &str) -> Option<Vec<f64>> {
        match self.record.instance.attributes.get(keyword)? {
            Value::Int(number) => Some(vec![number as f64]),
            Value::Ints(numbers) => Some(numbers.iter().map(|number| *number as f64).collect()),
            Value::Float(number) => Some(vec![number]),
            Value::Floats(numbers) => Some(numbers),
            Value::Text(_) | Value::Texts(_) => None,
        }
    }

    /// Image Type, or Frame Type where the frame states one.
    pub(super) fn image_type(&self) -> &'a [String] {
        self.get(|a| (!a.image_type.is_empty()).then_some(a.image_type.as_slice()))
            .unwrap_or(&[])
    }

    /// Image Position (Patient) of the frame, where its header states one that is believable.
    pub(super) fn position(&self) -> Option<Vector> {
        let believable = |p: &Vector| p.iter().all(|x| x.abs() <= POSITION_LIMIT_MM);
        let position = self.get(|a| a.image_position).filter(believable)?;
        let shift_mm = self.shift_mm.unwrap_or_default();
        Some(add(position, shift_mm)).filter(believable)
    }

    /// Image Orientation (Patient) where present, of unit vectors at right angles.
    pub(super) fn orientation(&self) -> Option<Orientation> {
        let o = self.get(|a| a.image_orientation)?;
        let (row, column) = ([o[0], o[1], o[2]], [o[3], o[4], o[5]]);
        // Written so that a NaN is refused.
        let near = |value: f64, expected: f64| (value - expected).abs() <= COSINE_TOLERANCE;
        if !near(norm(row), 1.0) || !near(norm(column), 1.0) || !near(dot(row, column), 0.0) {
            return None;
        }
        let (row, column) = (divide(row, norm(row)), divide(column, norm(column)));
        let normal = cross(row, column);
        Some(Orientation {
            row,
            column,
            normal: divide(normal, norm(normal)),
        })
    }

    /// Pixel Spacing between rows and between columns where present and believable.
    pub(super) fn pixel_spacing(&self) -> Option<[f64; 2]> {
        self.get(|a| a.pixel_spacing)
            .filter(|s| s.iter().all(|x| SPACING_RANGE_MM.contains(x)))
    }

    /// A length in mm that is positive and believable.
    pub(super) fn length_mm(
        &self,
        field: impl Fn(&'a FrameAttributes) -> Option<f64>,
    ) -> Option<f64> {
        self.get(field).filter(|x| SPACING_RANGE_MM.contains(x))
    }

    /// Whether the frame says where it lies.
    pub(super) fn has_geometry(&self) -> bool {
        self.position().is_some() && self.orientation().is_some()
    }

    /// Why it does not, when attributes are there and cannot be used.
    pub(super) fn malformed_geometry(&self) -> Option<&'static str> {
        if self.get(|a| a.image_position).is_some() && self.position().is_none() {
            Some("Image Position (Patient) is out of any range")
        } else if self.get(|a| a.image_orientation).is_some() && self.orientation().is_none() {
            Some("Image Orientation (Patient) is not two unit vectors at right angles")
        } else {
            None
        }
    }

    /// The last tie-breaks, after everything that has meaning.
    pub(super) fn tie_key(&self) -> (i64, &'a str, &'a Path, u32, u32) {
        let record: &'a Record = self.record;
        (
            self.get(|a| a.instance_number).unwrap_or(i64::MAX),
            record.instance.sop_instance_uid.as_str(),
            record.path.as_path(),
            self.frame_index,
            self.tile.map_or(0, |tile| tile.index),
        )
    }
}
