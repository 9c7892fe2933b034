//! Private attributes of MR: blocks by their creator (PS3.5 7.8.1), and what their elements mean.
//!
//! Only what vendors have documented or what is written alike everywhere: b-values and directions
//! of diffusion where the standard attributes are absent, the tiles of a Siemens MOSAIC and of a
//! VFRAME of United Imaging, and the scale of Philips, which is shown and never applied.

use dicom_core::Tag;

use super::super::element::{ElementHeader, Encoding, NO_VR, Vr};
use super::super::value::{self, Malformed};
use super::super::walk::Want;
use super::{Collector, Place, frame, show};
use crate::dicom::dictionary::{self, ATTRIBUTES, Kind};
use crate::dicom::limits::{CSA_BYTES_MAX, MOSAIC_TILES_MAX, PRIVATE_CREATOR_BYTES_MAX};
use crate::dicom::{Mosaic, csa};

const SIEMENS_NUMBER_OF_IMAGES_IN_MOSAIC: Tag = Tag(0x0019, 0x000A);
const SIEMENS_B_VALUE: Tag = Tag(0x0019, 0x000C);
const SIEMENS_DIFFUSION_GRADIENT_DIRECTION: Tag = Tag(0x0019, 0x000E);
const SIEMENS_BANDWIDTH_PER_PIXEL_PHASE_ENCODE: Tag = Tag(0x0019, 0x0028);
const SIEMENS_MOSAIC_REF_ACQ_TIMES: Tag = Tag(0x0019, 0x0029);
/// The first of three.
const GE_GRADIENT: Tag = Tag(0x0019, 0x00BB);
const SIEMENS_CSA_IMAGE_HEADER: Tag = Tag(0x0029, 0x0010);
const GE_IMAGE_TYPE: Tag = Tag(0x0043, 0x002F);
const GE_B_VALUE: Tag = Tag(0x0043, 0x0039);
const UIH_B_VALUE: Tag = Tag(0x0065, 0x0009);
const UIH_GRADIENT: Tag = Tag(0x0065, 0x0037);
const UIH_SLICES_IN_VOLUME: Tag = Tag(0x0065, 0x0050);
const UIH_VFRAME_SEQUENCE: Tag = Tag(0x0065, 0x0051);
const PHILIPS_B_VALUE: Tag = Tag(0x2001, 0x0003);
const PHILIPS_SCALE_INTERCEPT: Tag = Tag(0x2005, 0x000D);
const PHILIPS_SCALE_SLOPE: Tag = Tag(0x2005, 0x000E);
/// The first of three.
const PHILIPS_GRADIENT: Tag = Tag(0x2005, 0x00B0);
const PHILIPS_FRAME_SEQUENCE: Tag = Tag(0x2005, 0x000F);

/// What GE adds to the b-value of some series, all frames or some.
const GE_B_VALUE_BIAS: f64 = 1e9;

/// Most known creators kept of one dataset: there are nine, and each has one block.
const BLOCKS_MAX: usize = 16;

/// The blocks of one dataset that have a known creator: group, upper byte of the element, creator.
#[derive(Debug, Default)]
struct Blocks(Vec<(u16, u16, &'static str)>);

impl Blocks {
    /// The creator that has reserved the block of this element.
    fn creator(&self, tag: Tag) -> Option<&'static str> {
        let of = |block: &&(u16, u16, &str)| block.0 == tag.0 && block.1 == tag.1 >> 8;
        self.0.iter().find(of).map(|block| block.2)
    }
}

/// What private attributes have said.
#[derive(Debug, Default)]
pub(super) struct Private {
    /// Of the dataset itself, of an item of functional groups, of an item of Philips' sequence
    /// there: creators count in their own dataset only.
    blocks: [Blocks; 3],
    b_value: Option<f64>,
    /// Complex Image Component as GE says it.
    component: Option<&'static str>,
    gradient: Option<[f64; 3]>,
    /// The parts of a direction in the axes of GE or Philips.
    gradient_as_written: [Option<f64>; 3],
    mosaic: Mosaic,
    /// Items of United Imaging's sequence of slices.
    uih_slices: usize,
    has_scale: bool,
    has_philips_frame: bool,
}

/// Is this element of an odd group one that reserves a block?
fn is_creator(tag: Tag) -> bool {
    (0x10..=0xFF).contains(&tag.1)
}

/// Which of the datasets with blocks a place is in.
fn level(place: Place) -> Option<usize> {
    match place {
        Place::Top => Some(0),
        Place::Groups(_) => Some(1),
        Place::PhilipsFrame => Some(2),
        _ => None,
    }
}

/// Which part of a direction this element is, in the axes of GE or Philips.
fn gradient_part(tag: Tag) -> Option<usize> {
    let parts = [GE_GRADIENT, PHILIPS_GRADIENT].into_iter();
    let mut parts = parts.flat_map(|first| (0..3).map(move |part| (first, part)));
    let found = parts.find(|(first, part)| tag == Tag(first.0, first.1 + part));
    found.map(|(_, part)| usize::from(part))
}

impl Private {
    /// An item of the sequence whose items have this place begins, and with it a dataset.
    pub(super) fn item(&mut self, place: Place) {
        if let Some(level) = level(place) {
            self.blocks[level].0.clear();
        }
    }

    /// Of Philips' sequence the first item of the first frame is read: of the hundreds of elements
    /// that every frame has there, two are of use, and shown once.
    pub(super) fn enters_philips_frame(&mut self) -> bool {
        !std::mem::replace(&mut self.has_philips_frame, true)
    }

    /// Whether another item of United Imaging's sequence of slices is read.
    pub(super) fn enters_uih_slice(&mut self) -> bool {
        self.uih_slices += 1;
        self.uih_slices <= usize::from(MOSAIC_TILES_MAX)
    }

    fn set(&mut self, tag: Tag, numbers: &[f64]) -> Result<(), Malformed> {
        let first = numbers[0];
        if let Some(part) = gradient_part(tag) {
            self.gradient_as_written[part] = Some(first);
            return Ok(());
        }
        let mosaic = &mut self.mosaic;
        match tag {
            SIEMENS_NUMBER_OF_IMAGES_IN_MOSAIC | UIH_SLICES_IN_VOLUME => {
                mosaic.tiles = csa::tiles(first).ok_or(Malformed)?;
            }
            UIH_GRADIENT => {
                let direction: [f64; 3] = frame::exactly(numbers)?;
                self.gradient_as_written = direction.map(Some);
            }
            SIEMENS_BANDWIDTH_PER_PIXEL_PHASE_ENCODE => {
                mosaic.bandwidth_per_pixel_phase_encode_hz = Some(first);
            }
            SIEMENS_MOSAIC_REF_ACQ_TIMES => mosaic.slice_times_ms = numbers.to_vec(),
            SIEMENS_DIFFUSION_GRADIENT_DIRECTION => {
                // Zeros are no direction.
                let direction: [f64; 3] = frame::exactly(numbers)?;
                self.gradient = direction
                    .iter()
                    .any(|part| *part != 0.0)
                    .then_some(direction);
            }
            SIEMENS_B_VALUE | UIH_B_VALUE | PHILIPS_B_VALUE | GE_B_VALUE if first < 0.0 => {
                return Err(Malformed);
            }
            GE_IMAGE_TYPE => {
                let components = ["MAGNITUDE", "PHASE", "REAL", "IMAGINARY"];
                let component = (0..4).position(|number| first == f64::from(number));
                self.component = component.map(|index| components[index]);
            }
            GE_B_VALUE => self.b_value = Some(first % GE_B_VALUE_BIAS),
            SIEMENS_B_VALUE | UIH_B_VALUE | PHILIPS_B_VALUE => self.b_value = Some(first),
            PHILIPS_SCALE_INTERCEPT | PHILIPS_SCALE_SLOPE => self.has_scale = true,
            _ => {}
        }
        Ok(())
    }
}

impl Collector {
    /// What is wanted of an element of an odd group.
    #[inline(never)]
    pub(super) fn want_private(&mut self, place: Place, header: &ElementHeader) -> Want<Place> {
        self.place = None;
        let Some(level) = level(place) else {
            return Want::Skip;
        };
        if level == 1 && self.private.has_philips_frame {
            return Want::Skip;
        }
        let tag = header.tag;
        if is_creator(tag) {
            return Want::Value {
                max_bytes: PRIVATE_CREATOR_BYTES_MAX,
            };
        }
        let Some(creator) = self.private.blocks[level].creator(tag) else {
            return Want::Skip;
        };
        let tag = Tag(tag.0, tag.1 & 0xFF);
        let entry = dictionary::place_of_tag(tag);
        let Some(entry) = entry.filter(|e| ATTRIBUTES[usize::from(*e)].creator == creator) else {
            return Want::Skip;
        };
        let want = match (tag, place) {
            (PHILIPS_FRAME_SEQUENCE, Place::Groups(_)) => {
                // Some programs write it as UN and in an encoding that UN does not have.
                if matches!(&header.vr, b"SQ" | &NO_VR) && !self.private.has_scale {
                    return Want::Enter(Place::PhilipsFrame);
                }
                Want::Skip
            }
            (PHILIPS_SCALE_INTERCEPT | PHILIPS_SCALE_SLOPE, Place::Top | Place::PhilipsFrame) => {
                Want::VALUE
            }
            (UIH_VFRAME_SEQUENCE, Place::Top) if self.is_mosaic() => {
                if matches!(&header.vr, b"SQ" | &NO_VR) {
                    return Want::Enter(Place::UihSlice);
                }
                Want::Skip
            }
            (SIEMENS_CSA_IMAGE_HEADER, Place::Top) if self.is_mosaic() => Want::Value {
                max_bytes: CSA_BYTES_MAX,
            },
            (
                SIEMENS_NUMBER_OF_IMAGES_IN_MOSAIC
                | UIH_SLICES_IN_VOLUME
                | SIEMENS_BANDWIDTH_PER_PIXEL_PHASE_ENCODE
                | SIEMENS_MOSAIC_REF_ACQ_TIMES,
                Place::Top,
            ) if self.is_mosaic() => Want::VALUE,
            (
                SIEMENS_B_VALUE
                | SIEMENS_DIFFUSION_GRADIENT_DIRECTION
                | GE_IMAGE_TYPE
                | GE_B_VALUE
                | UIH_B_VALUE
                | UIH_GRADIENT
                | PHILIPS_B_VALUE,
                Place::Top,
            ) => Want::VALUE,
            (tag, Place::Top) if gradient_part(tag).is_some() => Want::VALUE,
            _ => Want::Skip,
        };
        if matches!(want, Want::Value { .. }) {
            self.place = Some(entry);
        }
        want
    }

    fn is_mosaic(&self) -> bool {
        let terms = &self.instance.shared.image_type;
        terms
            .iter()
            .any(|term| term == "MOSAIC" || term == "VFRAME")
    }

    /// Takes the place of a slice of United Imaging's grid.
    pub(super) fn uih_slice_numbers(&mut self, tag: Tag, numbers: &[f64]) -> Result<(), Malformed> {
        if tag == Tag(0x0020, 0x0032) {
            self.private.mosaic.positions.push(frame::exactly(numbers)?);
        }
        Ok(())
    }

    /// Takes the time of a slice of United Imaging's grid.
    pub(super) fn uih_slice_text(&mut self, tag: Tag, raw: &[u8]) -> Result<(), Malformed> {
        if tag == Tag(0x0008, 0x0032)
            && let Some(ms) = value::time_ms(raw)?
        {
            self.private.mosaic.slice_times_ms.push(ms);
        }
        Ok(())
    }

    /// Takes a private creator: the element (gggg,00bb) reserves (gggg,bb00) to (gggg,bbFF).
    pub(super) fn private_creator(&mut self, place: Place, tag: Tag, value: &[u8]) {
        let known = dictionary::private_creator(tag.0, value::trim(value));
        if let (Some(creator), Some(level)) = (known, level(place)) {
            let blocks = &mut self.private.blocks[level].0;
            if blocks.len() < BLOCKS_MAX {
                blocks.push((tag.0, tag.1, creator));
            }
        }
    }

    /// Takes the value of the private attribute at `entry` of the table.
    pub(super) fn private_value(
        &mut self,
        entry: u8,
        written: Vr,
        value: &[u8],
        enc: Encoding,
    ) -> Result<(), Malformed> {
        let attribute = &ATTRIBUTES[usize::from(entry)];
        if attribute.tag == SIEMENS_CSA_IMAGE_HEADER {
            return csa::read_mosaic(value, &mut self.private.mosaic).map_err(|_| Malformed);
        }
        let value = match &attribute.effective_vr(written) {
            // GE has other things behind the b-value, some of them empty.
            b"IS" => value
                .split(|byte| *byte == b'\\')
                .next()
                .unwrap_or_default(),
            _ => value,
        };
        self.read_numbers(attribute, written, value, enc)?;
        if self.numbers.is_empty() {
            return Ok(());
        }
        self.private.set(attribute.tag, &self.numbers)?;
        if attribute.shown {
            show::numbers(&mut self.shown, entry, Kind::Number, &self.numbers);
        }
        Ok(())
    }

    /// Puts what private attributes have said where it counts.
    pub(super) fn finish_private(&mut self) {
        // Enhanced objects keep the word in Image Type though their frames are single slices.
        let image = self.instance.image.as_ref();
        let is_single = image.is_none_or(|image| image.number_of_frames == 1);
        let is_mosaic = self.reads_private && is_single && self.is_mosaic();
        let shared = &mut self.instance.shared;
        // What has an element of its own comes before what the CSA header says of it.
        let b_value = self.private.b_value.or(self.private.mosaic.b_value);
        let gradient = self.private.gradient.or(self.private.mosaic.gradient);
        // GE's Image Type says nothing of the part of the signal.
        if shared.complex_image_component.is_none() {
            shared.complex_image_component = self.private.component.map(str::to_owned);
        }
        shared.diffusion_b_value = shared.diffusion_b_value.or(b_value);
        shared.diffusion_gradient = shared.diffusion_gradient.or(gradient);
        if let [Some(x), Some(y), Some(z)] = self.private.gradient_as_written {
            shared.gradient_as_written = Some([x, y, z]);
        }
        if !is_mosaic {
            return;
        }
        let mut mosaic = std::mem::take(&mut self.private.mosaic);
        if mosaic.tiles == 0 {
            let detail = "the image is a mosaic, of how many slices is not said";
            return self.issue("missing_attribute", "NumberOfImagesInMosaic", detail);
        }
        // A sequence with other than one position a slice says nothing of where any of them lies.
        let positions = mosaic.positions.len();
        if positions != 0 && positions != mosaic.tiles as usize {
            mosaic.positions.clear();
            self.attribute_issue(
                "UihVFrameSequence",
                "there is not one position for each slice",
            );
        }
        let shared = &mut self.instance.shared;
        shared.image_position = shared.image_position.or(mosaic.positions.first().copied());
        let times = mosaic.slice_times_ms.len();
        if times != 0 && times != mosaic.tiles as usize {
            mosaic.slice_times_ms.clear();
            let detail = "there is not one time for each slice";
            self.attribute_issue("MosaicRefAcqTimes", detail);
        }
        self.instance.mosaic = Some(mosaic);
    }
}
