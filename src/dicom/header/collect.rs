//! Collects the attributes of one dataset into an [`Instance`].
//!
//! Knows what elements mean, not where they lie. Top-level attributes go to `shared`; the Shared
//! Functional Groups are laid over them, Per-Frame Functional Groups make an entry a frame
//! (PS3.3 C.7.6.16).

use dicom_core::Tag;

use super::charset::Charset;
use super::element::{ElementHeader, Encoding, Vr};
use super::value::{self, Malformed};
use super::walk::{Sink, Want};
use super::{Meta, issue};
use crate::dicom::attributes::Writer;
use crate::dicom::dictionary::{self, ATTRIBUTES, Attribute, Kind};
use crate::dicom::limits::{
    FRAME_VALUES_BYTES_MAX, FRAME_VALUES_MAX, ISSUES_MAX, PER_FRAME_ITEMS_MAX, VALUES_MAX,
};
use crate::dicom::{
    Error, FrameAttributes, Instance, PixelDataLocation, PixelElement, syntax, tags,
};

mod frame;
mod groups;
mod image;
mod nested;
mod pixels;
mod private;
mod show;

use image::RawImage;
use nested::Nested;
use private::Private;

/// Whose attributes those of a functional group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Shared,
    Frame,
}

/// The dataset that the walk is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The dataset of the file.
    Top,
    /// An item of the Shared or Per-Frame Functional Groups Sequence.
    Groups(Target),
    /// An item of a functional group macro.
    Macro(Target),
    /// An item of the Real World Value Mapping Sequence (0040,9096).
    RealWorld(Target),
    /// Its Measurement Units Code Sequence (0040,08EA).
    RealWorldUnits,
    /// An item of the Modality LUT Sequence (0028,3000).
    ModalityLut,
    /// An item of the Radiopharmaceutical Information Sequence (0054,0016).
    Radiopharmaceutical,
    /// The first item of the Detector Information Sequence (0054,0022).
    Detector,
    /// An item of the Dimension Index Sequence (0020,9222).
    Dimension,
    /// An item of the Segment Sequence (0062,0002).
    Segment,
    /// Its Segmented Property Category Code Sequence (0062,0003).
    SegmentCategory,
    /// Its Segmented Property Type Code Sequence (0062,000F).
    SegmentType,
    /// An item of the private sequence that United Imaging has for the slices of a grid.
    UihSlice,
    /// An item of the private sequence that Philips has in the functional groups of a frame.
    PhilipsFrame,
}

const DIFFUSION_GRADIENT_DIRECTION_SEQUENCE: Tag = Tag(0x0018, 0x9076);
const DIMENSION_INDEX_SEQUENCE: Tag = Tag(0x0020, 0x9222);
const MODALITY_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3000);
const LUT_DESCRIPTOR: Tag = Tag(0x0028, 0x3002);
const RED_PALETTE_DESCRIPTOR: Tag = Tag(0x0028, 0x1101);
const REAL_WORLD_VALUE_MAPPING_SEQUENCE: Tag = Tag(0x0040, 0x9096);
const MEASUREMENT_UNITS_CODE_SEQUENCE: Tag = Tag(0x0040, 0x08EA);
const REAL_WORLD_VALUE_LUT_DATA: Tag = Tag(0x0040, 0x9212);
const RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE: Tag = Tag(0x0054, 0x0016);
const DETECTOR_INFORMATION_SEQUENCE: Tag = Tag(0x0054, 0x0022);
const SEGMENT_SEQUENCE: Tag = Tag(0x0062, 0x0002);
const SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE: Tag = Tag(0x0062, 0x0003);
const SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE: Tag = Tag(0x0062, 0x000F);
const SHARED_FUNCTIONAL_GROUPS_SEQUENCE: Tag = Tag(0x5200, 0x9229);
const PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE: Tag = Tag(0x5200, 0x9230);

/// Attributes that are US or SS, as the pixels are (PS3.3 C.7.6.3).
const SIGNED_AS_PIXELS: [Tag; 2] = [Tag(0x0028, 0x0120), Tag(0x0028, 0x0121)];

/// The sink; see the module.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    instance: Instance,
    image: RawImage,
    charset: Charset,
    shown: Writer,
    numbers: Vec<f64>,
    /// Place in the table of the element whose value was asked for.
    place: Option<u8>,
    /// Where in the table the elements of the top level have got to: tags ascend.
    cursor: usize,
    nested: Nested,
    private: Private,
    /// Are private elements looked at? All that is read is of MR; other headers have as many,
    /// which pass by at once.
    reads_private: bool,
    extended_offsets: [Option<(u64, u64)>; 2],
    /// The dataset is big endian.
    is_big_endian: bool,
    /// Pixel Data is written as OW.
    has_words: bool,
}

impl Collector {
    /// Notes an issue of the header; `detail` must not carry a value of the dataset.
    pub(super) fn issue(&mut self, code: &str, keyword: &str, detail: &str) {
        if self.instance.issues.len() < ISSUES_MAX {
            self.instance.issues.push(issue(code, keyword, detail));
        }
    }

    fn malformed(&mut self, keyword: &str) {
        let detail = format!("the value of {keyword} breaks the rules of its representation");
        self.attribute_issue(keyword, &detail);
    }

    /// Notes once what is wrong with an attribute.
    fn attribute_issue(&mut self, keyword: &str, detail: &str) {
        let known = self.instance.issues.iter();
        let mut known = known.filter(|issue| issue.code == "malformed_attribute");
        if !known.any(|issue| issue.keyword == keyword) {
            self.issue("malformed_attribute", keyword, detail);
        }
    }

    /// Notes how the dataset turned out to be written, and the Transfer Syntax that follows.
    pub(super) fn set_encoding(
        &mut self,
        declared_uid: &str,
        declared: Option<Encoding>,
        found: Encoding,
    ) {
        self.is_big_endian = found.big_endian;
        let fitting = match (found.explicit_vr, found.big_endian) {
            (_, true) => syntax::EXPLICIT_VR_BIG_ENDIAN,
            (true, false) => syntax::EXPLICIT_VR_LITTLE_ENDIAN,
            (false, false) => syntax::IMPLICIT_VR_LITTLE_ENDIAN,
        };
        if declared_uid.is_empty() {
            self.instance.transfer_syntax_uid = fitting.to_owned();
            let detail = format!("TransferSyntaxUID is absent, {fitting} is assumed");
            self.issue("transfer_syntax_assumed", "TransferSyntaxUID", &detail);
            return;
        }
        self.instance.transfer_syntax_uid = declared_uid.to_owned();
        if declared.is_some_and(|declared| declared != found) {
            let detail = format!("the dataset is written as in {fitting}, not as declared");
            self.issue("dataset_encoding_mismatch", "TransferSyntaxUID", &detail);
        }
    }

    /// Is there anything that a truncated header has said already?
    pub(super) fn is_worth_keeping(&self) -> bool {
        !self.instance.series_instance_uid.is_empty() || !self.instance.sop_class_uid.is_empty()
    }

    /// The instance. `pixels` is the element that the walk stopped at.
    pub(super) fn finish(
        mut self,
        meta: &Meta,
        pixels: Option<(Tag, PixelDataLocation)>,
    ) -> Instance {
        let element = match pixels.map(|(tag, _)| tag) {
            Some(tags::FLOAT_PIXEL_DATA) => PixelElement::FloatPixelData,
            Some(tags::DOUBLE_FLOAT_PIXEL_DATA) => PixelElement::DoubleFloatPixelData,
            _ => PixelElement::PixelData,
        };
        let mut issues = Vec::new();
        let raw = std::mem::take(&mut self.image);
        let image = raw.finish(element, pixels.is_some(), &mut issues);
        self.instance.image = image.unwrap_or_else(|refusal| {
            issues = vec![refusal];
            None
        });
        self.check_pixels(pixels.map(|(_, location)| location), &mut issues);
        for (code, keyword, detail) in issues {
            self.issue(code, keyword, &detail);
        }
        self.finish_private();
        let table = match self.extended_offsets {
            [Some(offsets), Some(lengths)] => Some([offsets, lengths]),
            _ => None,
        };
        self.instance.pixel_data = pixels.map(|(_, location)| PixelDataLocation {
            extended_offset_table: table,
            ..location
        });
        let mut instance = self.instance;
        self.nested.finish(&mut instance);
        if instance.sop_class_uid.is_empty() {
            instance.sop_class_uid.clone_from(&meta.sop_class_uid);
        }
        if instance.sop_instance_uid.is_empty() {
            instance.sop_instance_uid.clone_from(&meta.sop_instance_uid);
        }
        instance.attributes = self.shown.finish();
        instance
    }

    fn target(&mut self, target: Target) -> &mut FrameAttributes {
        match (target, self.instance.per_frame.last_mut()) {
            (Target::Frame, Some(frame)) => frame,
            _ => &mut self.instance.shared,
        }
    }

    /// What is wanted of an element of the dataset itself.
    fn want_top(&mut self, header: &ElementHeader) -> Want<Place> {
        match header.tag {
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA => {
                self.has_words = &header.vr == b"OW";
                Want::Stop
            }
            tags::EXTENDED_OFFSET_TABLE | tags::EXTENDED_OFFSET_TABLE_LENGTHS => Want::Locate,
            SHARED_FUNCTIONAL_GROUPS_SEQUENCE => Want::Enter(Place::Groups(Target::Shared)),
            PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE => Want::Enter(Place::Groups(Target::Frame)),
            MODALITY_LUT_SEQUENCE => Want::Enter(Place::ModalityLut),
            REAL_WORLD_VALUE_MAPPING_SEQUENCE => self.enter_real_world(Target::Shared),
            RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE => Want::Enter(Place::Radiopharmaceutical),
            DETECTOR_INFORMATION_SEQUENCE => Want::Enter(Place::Detector),
            DIMENSION_INDEX_SEQUENCE => Want::Enter(Place::Dimension),
            SEGMENT_SEQUENCE => Want::Enter(Place::Segment),
            tag => {
                while ATTRIBUTES.get(self.cursor).is_some_and(|a| a.tag < tag) {
                    self.cursor += 1;
                }
                let next = ATTRIBUTES.get(self.cursor);
                self.place = if next.is_some_and(|attribute| attribute.tag == tag) {
                    Some(self.cursor as u8)
                } else if self.cursor > 0 && ATTRIBUTES[self.cursor - 1].tag >= tag {
                    // The tags do not ascend.
                    dictionary::place_of_tag(tag)
                } else {
                    None
                };
                self.want_value()
            }
        }
    }

    fn want_value(&self) -> Want<Place> {
        match self.place {
            Some(place) if ATTRIBUTES[usize::from(place)].each_frame => Want::Value {
                max_bytes: FRAME_VALUES_BYTES_MAX,
            },
            Some(_) => Want::VALUE,
            None => Want::Skip,
        }
    }

    /// What is wanted of an element of an item.
    fn want_nested(&mut self, place: Place, header: &ElementHeader) -> Want<Place> {
        match place {
            Place::Groups(target) => match header.tag {
                REAL_WORLD_VALUE_MAPPING_SEQUENCE => self.enter_real_world(target),
                tag if groups::is_read(tag, target) => Want::Enter(Place::Macro(target)),
                _ => Want::Skip,
            },
            Place::PhilipsFrame => Want::Skip,
            Place::Macro(target) if header.tag == DIFFUSION_GRADIENT_DIRECTION_SEQUENCE => {
                Want::Enter(Place::Macro(target))
            }
            Place::RealWorld(_) if header.tag == MEASUREMENT_UNITS_CODE_SEQUENCE => {
                Want::Enter(Place::RealWorldUnits)
            }
            Place::RealWorld(target) if header.tag == REAL_WORLD_VALUE_LUT_DATA => {
                let frame = self.target(target);
                frame.real_world_value_is_lut = frame.real_world_value.is_none();
                Want::Skip
            }
            Place::Segment if header.tag == SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE => {
                Want::Enter(Place::SegmentCategory)
            }
            Place::Segment if header.tag == SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE => {
                Want::Enter(Place::SegmentType)
            }
            _ => {
                self.place = dictionary::place_of_tag(header.tag);
                self.want_value()
            }
        }
    }

    /// Numbers of an attribute into `self.numbers`.
    fn read_numbers(
        &mut self,
        attribute: &Attribute,
        written: Vr,
        value: &[u8],
        enc: Encoding,
    ) -> Result<(), Malformed> {
        let mut vr = attribute.effective_vr(written);
        // The sign is that of the pixels where no VR tells.
        let either = SIGNED_AS_PIXELS.contains(&attribute.tag);
        if either && written != *b"SS" && self.image.is_signed() {
            vr = *b"SS";
        }
        let max = if attribute.each_frame {
            FRAME_VALUES_MAX
        } else {
            VALUES_MAX
        };
        value::numbers(vr, value, enc, max, &mut self.numbers)?;
        if attribute.kind == Kind::Whole && self.numbers.iter().any(|n| value::whole(*n).is_err()) {
            return Err(Malformed);
        }
        Ok(())
    }

    fn number_value(
        &mut self,
        place: Place,
        entry: u8,
        header: &ElementHeader,
        value: &[u8],
        enc: Encoding,
    ) -> Result<(), Malformed> {
        let attribute = &ATTRIBUTES[usize::from(entry)];
        if matches!(attribute.tag, LUT_DESCRIPTOR | RED_PALETTE_DESCRIPTOR) {
            return self.lut_descriptor(place, header, value, enc);
        }
        self.read_numbers(attribute, header.vr, value, enc)?;
        if self.numbers.is_empty() {
            return Ok(());
        }
        let numbers = std::mem::take(&mut self.numbers);
        let result = self.use_numbers(place, attribute, &numbers);
        if result.is_ok() && attribute.shown && show::shows(place) {
            show::numbers(&mut self.shown, entry, attribute.kind, &numbers);
        }
        self.numbers = numbers;
        result
    }

    fn use_numbers(
        &mut self,
        place: Place,
        attribute: &Attribute,
        numbers: &[f64],
    ) -> Result<(), Malformed> {
        match place {
            Place::Top => {
                self.image.set(attribute.tag, numbers)?;
                frame::set_numbers(&mut self.instance.shared, attribute.tag, numbers)
            }
            Place::Macro(target) if nested::is_matrix_position(attribute.tag) => {
                self.matrix_position(target, attribute.tag, numbers[0])
            }
            Place::Macro(target) => frame::set_numbers(self.target(target), attribute.tag, numbers),
            Place::RealWorld(target) => {
                self.real_world_number(target, attribute.tag, numbers[0]);
                Ok(())
            }
            Place::Detector => {
                frame::set_numbers(&mut self.nested.detector, attribute.tag, numbers)
            }
            Place::Segment => self.segment_numbers(attribute.tag, numbers),
            Place::UihSlice => self.uih_slice_numbers(attribute.tag, numbers),
            _ => Ok(()),
        }
    }

    fn text_value(&mut self, place: Place, entry: u8, value: &[u8]) -> Result<(), Malformed> {
        let attribute = &ATTRIBUTES[usize::from(entry)];
        let raw = value::trim(value);
        if raw.is_empty() {
            return Ok(());
        }
        let text = match attribute.kind {
            Kind::CharsetText | Kind::SingleText => self.charset.decode(raw),
            _ => Charset::default().decode(raw),
        };
        self.use_text(place, attribute.tag, &text, raw)?;
        if attribute.shown && show::shows(place) {
            show::text(&mut self.shown, entry, attribute.kind, &text);
        }
        Ok(())
    }

    fn use_text(
        &mut self,
        place: Place,
        tag: Tag,
        text: &str,
        raw: &[u8],
    ) -> Result<(), Malformed> {
        match place {
            Place::Top => {
                match tag {
                    tags::SPECIFIC_CHARACTER_SET => {
                        self.charset = Charset::from_value(text).ok_or(Malformed)?;
                    }
                    tags::SOP_CLASS_UID => self.instance.sop_class_uid = text.to_owned(),
                    tags::SOP_INSTANCE_UID => self.instance.sop_instance_uid = text.to_owned(),
                    tags::MODALITY => {
                        self.instance.modality = text.to_owned();
                        self.reads_private = text == "MR";
                    }
                    tags::STUDY_INSTANCE_UID => self.instance.study_instance_uid = text.to_owned(),
                    tags::SERIES_INSTANCE_UID => {
                        self.instance.series_instance_uid = text.to_owned();
                    }
                    Tag(0x0020, 0x0052) => self.instance.frame_of_reference_uid = text.to_owned(),
                    tags::PHOTOMETRIC_INTERPRETATION => self.image.set_photometric(text),
                    _ => {}
                }
                frame::set_text(&mut self.instance.shared, tag, text, raw)
            }
            Place::Macro(target) => frame::set_text(self.target(target), tag, text, raw),
            Place::UihSlice => self.uih_slice_text(tag, raw),
            _ => {
                self.nested_text(place, tag, text);
                Ok(())
            }
        }
    }
}

impl Sink for Collector {
    type Place = Place;

    #[inline]
    fn want(&mut self, place: Place, header: &ElementHeader) -> Want<Place> {
        if !header.tag.0.is_multiple_of(2) {
            return if self.reads_private {
                self.want_private(place, header)
            } else {
                Want::Skip
            };
        }
        match place {
            Place::Top => self.want_top(header),
            _ => self.want_nested(place, header),
        }
    }

    fn value(&mut self, place: Place, header: &ElementHeader, value: &[u8], enc: Encoding) {
        let Some(entry) = self.place else {
            // Nothing else is asked for that has no place in the table.
            return self.private_creator(place, header.tag, value);
        };
        let attribute = &ATTRIBUTES[usize::from(entry)];
        let result = match attribute.kind {
            Kind::Whole | Kind::Number => self.number_value(place, entry, header, value, enc),
            Kind::Private => self.private_value(entry, header.vr, value, enc),
            Kind::Pointer => self.pointer(place, value, enc),
            Kind::Text | Kind::CharsetText | Kind::SingleText => {
                self.text_value(place, entry, value)
            }
        };
        if result.is_err() {
            if place == Place::Top {
                self.image.set_malformed(attribute.tag);
            }
            self.malformed(attribute.keyword);
        }
    }

    fn item(&mut self, place: Place) -> Result<bool, Error> {
        self.private.item(place);
        match place {
            Place::Groups(Target::Frame) => {
                if self.instance.per_frame.len() == PER_FRAME_ITEMS_MAX {
                    return Err(Error::TooLarge {
                        what: "the number of Per-Frame Functional Groups",
                        limit: PER_FRAME_ITEMS_MAX as u64,
                    });
                }
                self.instance.per_frame.push(FrameAttributes::default());
            }
            _ => return Ok(self.nested_item(place)),
        }
        Ok(true)
    }

    fn located(&mut self, tag: Tag, offset_bytes: u64, length_bytes: u64) {
        let index = usize::from(tag == tags::EXTENDED_OFFSET_TABLE_LENGTHS);
        self.extended_offsets[index] = Some((offset_bytes, length_bytes));
    }

    fn oversized(&mut self, _header: &ElementHeader) {
        if let Some(entry) = self.place {
            let attribute = &ATTRIBUTES[usize::from(entry)];
            self.image.set_malformed(attribute.tag);
            self.malformed(attribute.keyword);
        }
    }
}
