//! What lies in sequences of its own: real world values, lookup tables, dimensions, segments,
//! detectors.
//!
//! Knows single attributes of such items and where they belong in the instance; which sequences
//! are entered is the collector's.

use dicom_core::Tag;

use super::super::element::{ElementHeader, Encoding};
use super::super::value::{self, Malformed};
use super::super::walk::Want;
use super::{Collector, Place, RED_PALETTE_DESCRIPTOR, Target, frame};
use crate::dicom::limits::{SEGMENTS_MAX, VALUES_A_FRAME_MAX};
use crate::dicom::{FrameAttributes, Instance, Segment};

const COLUMN_POSITION_IN_TOTAL_MATRIX: Tag = Tag(0x0048, 0x021E);
const ROW_POSITION_IN_TOTAL_MATRIX: Tag = Tag(0x0048, 0x021F);
const LUT_LABEL: Tag = Tag(0x0040, 0x9210);
const CODE_VALUE: Tag = Tag(0x0008, 0x0100);
const CODE_MEANING: Tag = Tag(0x0008, 0x0104);

/// What of nested items waits for more of them.
#[derive(Debug, Default)]
pub(super) struct Nested {
    /// One item of a Real World Value Mapping Sequence.
    real_world: RealWorldItem,
    /// The first item of the Detector Information Sequence; of use for its geometry only.
    pub(super) detector: FrameAttributes,
    has_detector: bool,
    /// Column Position In Total Image Pixel Matrix, until its row comes.
    matrix_column: Option<i64>,
}

#[derive(Debug, Default)]
struct RealWorldItem {
    slope: Option<f64>,
    intercept: Option<f64>,
    units: Option<String>,
    label: Option<String>,
}

impl Nested {
    /// Puts into `instance` what only counts where the instance itself says nothing.
    pub(super) fn finish(self, instance: &mut Instance) {
        // A reconstructed NM image has the geometry of its slices in the first detector (PS3.3
        // C.8.4.15); that of projections is the detector's own.
        let shared = &mut instance.shared;
        let of_slices = |term: &String| term.starts_with("RECON");
        if shared.image_type.iter().any(of_slices) {
            let detector = self.detector;
            shared.image_position = shared.image_position.or(detector.image_position);
            shared.image_orientation = shared.image_orientation.or(detector.image_orientation);
        }
    }
}

pub(super) fn is_matrix_position(tag: Tag) -> bool {
    matches!(
        tag,
        COLUMN_POSITION_IN_TOTAL_MATRIX | ROW_POSITION_IN_TOTAL_MATRIX
    )
}

impl Collector {
    /// An item of a sequence that is no functional group begins; false skips it.
    pub(super) fn nested_item(&mut self, place: Place) -> bool {
        match place {
            Place::PhilipsFrame => return self.private.enters_philips_frame(),
            Place::UihSlice => return self.private.enters_uih_slice(),
            Place::RealWorld(_) => self.nested.real_world = RealWorldItem::default(),
            Place::Macro(_) => self.nested.matrix_column = None,
            Place::Detector => return !std::mem::replace(&mut self.nested.has_detector, true),
            Place::Dimension => {
                if self.instance.dimension_pointers.len() == VALUES_A_FRAME_MAX {
                    self.attribute_issue(
                        "DimensionIndexSequence",
                        "there are more items than are kept",
                    );
                    return false;
                }
                // Index values go by place: an item without a pointer has one all the same.
                self.instance.dimension_pointers.push((0, 0));
            }
            Place::Segment => {
                if self.instance.segments.len() == SEGMENTS_MAX {
                    self.attribute_issue("SegmentSequence", "there are more items than are kept");
                    return false;
                }
                self.instance.segments.push(Segment::default());
            }
            _ => {}
        }
        true
    }

    /// A nearer Real World Value Mapping takes the place of one further out.
    pub(super) fn enter_real_world(&mut self, target: Target) -> Want<Place> {
        let frame = self.target(target);
        frame.real_world_value = None;
        frame.real_world_label = None;
        frame.real_world_value_is_lut = false;
        self.nested.real_world = RealWorldItem::default();
        Want::Enter(Place::RealWorld(target))
    }

    /// The first item that is linear counts: one with a slope and an intercept.
    pub(super) fn real_world_number(&mut self, target: Target, tag: Tag, number: f64) {
        let item = &mut self.nested.real_world;
        match tag {
            Tag(0x0040, 0x9224) => item.intercept = Some(number),
            Tag(0x0040, 0x9225) => item.slope = Some(number),
            _ => return,
        }
        let (Some(slope), Some(intercept)) = (item.slope, item.intercept) else {
            return;
        };
        let (units, label) = (item.units.take(), item.label.take());
        let frame = self.target(target);
        if frame.real_world_value.is_none() {
            frame.real_world_value = Some([slope, intercept]);
            frame.real_world_value_is_lut = false;
            frame.units = units.or(frame.units.take());
            frame.real_world_label = label;
        }
    }

    /// LUT Descriptor: entries, first mapped value, bits (PS3.3 C.11.1.1).
    pub(super) fn lut_descriptor(
        &mut self,
        place: Place,
        header: &ElementHeader,
        value: &[u8],
        enc: Encoding,
    ) -> Result<(), Malformed> {
        let (words, _) = value.as_chunks::<2>();
        let [entries, first, bits] = words else {
            return Err(Malformed);
        };
        let first = enc.u16(*first);
        let first = if self.image.is_signed() || &header.vr == b"SS" {
            i32::from(first as i16)
        } else {
            i32::from(first)
        };
        let entries = match enc.u16(*entries) {
            0 => 65_536,
            entries => i32::from(entries),
        };
        let shared = &mut self.instance.shared;
        let descriptor = Some([entries, first, i32::from(enc.u16(*bits))]);
        if place == Place::ModalityLut && shared.modality_lut_descriptor.is_none() {
            shared.modality_lut_descriptor = descriptor;
        } else if place == Place::Top && header.tag == RED_PALETTE_DESCRIPTOR {
            shared.palette_descriptor = descriptor;
        }
        Ok(())
    }

    /// Where a tile lies: the column comes first, and only the two together say it.
    pub(super) fn matrix_position(
        &mut self,
        target: Target,
        tag: Tag,
        number: f64,
    ) -> Result<(), Malformed> {
        let number = value::whole(number)?;
        if tag == COLUMN_POSITION_IN_TOTAL_MATRIX {
            self.nested.matrix_column = Some(number);
        } else if let Some(column) = self.nested.matrix_column.take() {
            self.target(target).total_matrix_position = Some([column, number]);
        }
        Ok(())
    }

    /// Dimension Index Pointer: an AT is two US (PS3.5 6.2).
    pub(super) fn pointer(
        &mut self,
        place: Place,
        value: &[u8],
        enc: Encoding,
    ) -> Result<(), Malformed> {
        if place != Place::Dimension || value.is_empty() {
            return Ok(());
        }
        let (&[group, element], []) = value.as_chunks::<2>() else {
            return Err(Malformed);
        };
        if let Some(pointer) = self.instance.dimension_pointers.last_mut() {
            *pointer = (enc.u16(group), enc.u16(element));
        }
        Ok(())
    }

    pub(super) fn segment_numbers(&mut self, tag: Tag, numbers: &[f64]) -> Result<(), Malformed> {
        let Some(segment) = self.instance.segments.last_mut() else {
            return Ok(());
        };
        match tag {
            Tag(0x0062, 0x0004) => segment.number = frame::counted(numbers[0])?,
            Tag(0x0062, 0x000D) => {
                let [l, a, b] = frame::exactly(numbers)?;
                let word =
                    |number: f64| u16::try_from(value::whole(number)?).map_err(|_| Malformed);
                segment.color_cielab = Some([word(l)?, word(a)?, word(b)?]);
            }
            _ => {}
        }
        Ok(())
    }

    /// Text of items that are no functional groups. Of several codes the first counts.
    pub(super) fn nested_text(&mut self, place: Place, tag: Tag, text: &str) {
        let last = self.instance.segments.last_mut();
        let slot = match (place, tag, last) {
            (Place::RealWorldUnits, CODE_VALUE, _) => {
                self.nested.real_world.units = Some(text.to_owned());
                return;
            }
            (Place::RealWorld(_), LUT_LABEL, _) => {
                self.nested.real_world.label = Some(text.to_owned());
                return;
            }
            (Place::Segment, Tag(0x0062, 0x0005), Some(segment)) => &mut segment.label,
            (Place::Segment, Tag(0x0062, 0x0008), Some(segment)) => &mut segment.algorithm_type,
            (Place::SegmentCategory, CODE_MEANING, Some(segment)) => &mut segment.category,
            (Place::SegmentType, CODE_MEANING, Some(segment)) => &mut segment.property_type,
            _ => return,
        };
        if slot.is_empty() {
            text.clone_into(slot);
        }
    }
}
