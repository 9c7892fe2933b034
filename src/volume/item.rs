//! One stored frame with the attributes that hold for it: what all rules look at.
//!
//! Reads headers only through here, so that per-frame values override shared ones everywhere and
//! absurd numbers are refused in one place.

use std::path::Path;
use std::sync::Arc;

use super::vector::{Vector, add, cross, divide, dot, norm, scale};
use crate::archive::Record;
use crate::dicom::{FrameAttributes, ImagePixel};

/// Coordinates beyond this are not in any scanner room; also keeps all arithmetic finite.
const POSITION_LIMIT_MM: f64 = 1e6;

/// Direction cosines may be off by their rounding in the header, not more.
const COSINE_TOLERANCE: f64 = 0.01;

/// Largest and smallest Pixel Spacing that can be meant.
const SPACING_RANGE_MM: std::ops::RangeInclusive<f64> = 1e-6..=1e5;

/// One stored frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) record: &'a Arc<Record>,
    pub(super) image: &'a ImagePixel,
    /// 0-based index of the frame in its file.
    pub(super) frame_index: u32,
}

/// Orientation of a plane: unit vectors along a row, along a column, and their vector product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Orientation {
    pub(super) row: Vector,
    pub(super) column: Vector,
    pub(super) normal: Vector,
}

impl<'a> Item<'a> {
    /// The value that holds for this frame: its own, else the shared one.
    pub(super) fn get<T>(&self, field: impl Fn(&'a FrameAttributes) -> Option<T>) -> Option<T> {
        let record: &'a Record = self.record;
        let instance = &record.instance;
        let own = instance.per_frame.get(self.frame_index as usize);
        own.and_then(&field).or_else(|| field(&instance.shared))
    }

    /// Image Type, or Frame Type where the frame states one.
    pub(super) fn image_type(&self) -> &'a [String] {
        self.get(|a| (!a.image_type.is_empty()).then_some(a.image_type.as_slice()))
            .unwrap_or(&[])
    }

    /// Image Position (Patient) where present and believable; that of a later frame of a dose
    /// grid follows from its offset.
    pub(super) fn position(&self) -> Option<Vector> {
        let believable = |p: &Vector| p.iter().all(|x| x.abs() <= POSITION_LIMIT_MM);
        let position = self.get(|a| a.image_position).filter(believable)?;
        let Some(offset) = self.grid_offset_mm() else {
            return Some(position);
        };
        let normal = self.orientation()?.normal;
        Some(add(position, scale(normal, offset))).filter(believable)
    }

    /// Distance of a frame from the first along the normal, by Grid Frame Offset Vector
    /// (3004,000C), where that is relative: its first offset is 0 (PS3.3 C.8.8.3.2).
    pub(super) fn grid_offset_mm(&self) -> Option<f64> {
        let instance = &self.record.instance;
        let count = self.image.number_of_frames as usize;
        if !instance.per_frame.is_empty() {
            return None;
        }
        let offsets = || instance.attributes.floats("GridFrameOffsetVector");
        let is_relative = offsets()?.len() == count && offsets()?.next() == Some(0.0);
        let offset = offsets()?.nth(self.frame_index as usize);
        offset.filter(|_| is_relative)
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
    pub(super) fn tie_key(&self) -> (i64, &'a str, &'a Path, u32) {
        let record: &'a Record = self.record;
        (
            self.get(|a| a.instance_number).unwrap_or(i64::MAX),
            record.instance.sop_instance_uid.as_str(),
            record.path.as_path(),
            self.frame_index,
        )
    }
}
