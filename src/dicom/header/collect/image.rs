//! The Image Pixel Module (PS3.3 C.7.6.3) from its attributes.
//!
//! An attribute that is absent may have a default; one that is malformed does not: then the instance
//! has no image that could be trusted. Where there is one reading only, it is taken and told.

use dicom_core::Tag;

use super::super::value::{self, Malformed};
use crate::dicom::{ImagePixel, Photometric, PixelElement, tags};

/// The attributes as they come.
#[derive(Debug, Default)]
pub(super) struct RawImage {
    rows: Option<u32>,
    columns: Option<u32>,
    number_of_frames: Option<u32>,
    samples_per_pixel: Option<u16>,
    planar_configuration: Option<u16>,
    bits_allocated: Option<u16>,
    bits_stored: Option<u16>,
    high_bit: Option<u16>,
    pixel_representation: Option<u16>,
    photometric: Option<Photometric>,
    malformed: bool,
}

/// Why there is no image, or what was assumed of it: code, keyword, detail.
pub(super) type Issue = (&'static str, &'static str, String);

impl RawImage {
    /// Is Pixel Representation 1, as far as is known yet?
    pub(super) fn is_signed(&self) -> bool {
        self.pixel_representation == Some(1)
    }

    /// Takes the number of one of the module's attributes; others pass by.
    pub(super) fn set(&mut self, tag: Tag, numbers: &[f64]) -> Result<(), Malformed> {
        match tag {
            tags::ROWS => self.rows = Some(only(numbers)?),
            tags::COLUMNS => self.columns = Some(only(numbers)?),
            // Zero frames are written by some and mean one image (PS3.3 has no such value).
            tags::NUMBER_OF_FRAMES => self.number_of_frames = Some(only::<u32>(numbers)?.max(1)),
            tags::SAMPLES_PER_PIXEL => self.samples_per_pixel = Some(only(numbers)?),
            tags::PLANAR_CONFIGURATION => self.planar_configuration = Some(only(numbers)?),
            tags::BITS_ALLOCATED => self.bits_allocated = Some(only(numbers)?),
            tags::BITS_STORED => self.bits_stored = Some(only(numbers)?),
            tags::HIGH_BIT => self.high_bit = Some(only(numbers)?),
            tags::PIXEL_REPRESENTATION => self.pixel_representation = Some(only(numbers)?),
            _ => {}
        }
        Ok(())
    }

    /// Notes that the value of `tag` is malformed, if it belongs to the module.
    pub(super) fn set_malformed(&mut self, tag: Tag) {
        self.malformed |= matches!(
            tag,
            tags::ROWS
                | tags::COLUMNS
                | tags::NUMBER_OF_FRAMES
                | tags::SAMPLES_PER_PIXEL
                | tags::PLANAR_CONFIGURATION
                | tags::BITS_ALLOCATED
                | tags::BITS_STORED
                | tags::HIGH_BIT
                | tags::PIXEL_REPRESENTATION
                | tags::PHOTOMETRIC_INTERPRETATION
        );
    }

    /// Takes Photometric Interpretation.
    pub(super) fn set_photometric(&mut self, text: &str) {
        self.photometric = Some(match text {
            "MONOCHROME1" => Photometric::Monochrome1,
            "MONOCHROME2" => Photometric::Monochrome2,
            "PALETTE COLOR" => Photometric::PaletteColor,
            "RGB" => Photometric::Rgb,
            "YBR_FULL" => Photometric::YbrFull,
            "YBR_FULL_422" => Photometric::YbrFull422,
            "YBR_ICT" => Photometric::YbrIct,
            "YBR_RCT" => Photometric::YbrRct,
            "XYB" => Photometric::Xyb,
            other => Photometric::Other(other.to_owned()),
        });
    }

    /// The module; `None` when the dataset is no image. `has_pixels` says whether there is a
    /// pixel element, without which nothing is missing. What is assumed goes to `assumed`.
    pub(super) fn finish(
        self,
        element: PixelElement,
        has_pixels: bool,
        assumed: &mut Vec<Issue>,
    ) -> Result<Option<ImagePixel>, Issue> {
        if self.malformed {
            return Ok(None);
        }
        let missing = |keyword| {
            let detail = format!("there are pixels but {keyword} is absent");
            Err(("missing_attribute", keyword, detail))
        };
        let (rows, columns, bits_allocated) = match (self.rows, self.columns, self.bits_allocated) {
            (Some(rows), Some(columns), Some(bits)) => (rows, columns, bits),
            _ if !has_pixels => return Ok(None),
            (None, _, _) => return missing("Rows"),
            (_, None, _) => return missing("Columns"),
            _ => return missing("BitsAllocated"),
        };
        let samples_per_pixel = self.samples_per_pixel.unwrap_or(1);
        let photometric = match self.photometric {
            Some(photometric) => photometric,
            None if !has_pixels => return Ok(None),
            // ACR-NEMA has no such attribute. Of one sample a pixel it only says how to display it.
            None if samples_per_pixel == 1 => {
                let detail = "absent: MONOCHROME2 is assumed, which changes no value".to_owned();
                assumed.push(("missing_attribute", "PhotometricInterpretation", detail));
                Photometric::Monochrome2
            }
            None => return missing("PhotometricInterpretation"),
        };
        let bits_stored = self.bits_stored.unwrap_or(bits_allocated);
        let usual = bits_stored.saturating_sub(1);
        let mut high_bit = self.high_bit.unwrap_or(usual);
        if high_bit < usual || high_bit >= bits_allocated {
            // No place in the word for so many bits: nothing but the usual place is left.
            let detail = format!("{high_bit} with BitsStored {bits_stored}: {usual} is assumed");
            assumed.push(("malformed_attribute", "HighBit", detail));
            high_bit = usual;
        }
        let image = ImagePixel {
            rows,
            columns,
            number_of_frames: self.number_of_frames.unwrap_or(1),
            samples_per_pixel,
            photometric,
            planar_configuration: self.planar_configuration.unwrap_or(0),
            bits_allocated,
            bits_stored,
            high_bit,
            signed: self.pixel_representation == Some(1),
            element,
        };
        check(&image, self.pixel_representation)?;
        Ok(Some(image))
    }
}

/// Refuses what no decoder could make sense of (PS3.5 8.1.1).
fn check(image: &ImagePixel, pixel_representation: Option<u16>) -> Result<(), Issue> {
    let refuse = |keyword, got: u32, rule: &str| {
        let detail = format!("{keyword} is {got}, which is not {rule}");
        Err(("malformed_attribute", keyword, detail))
    };
    if image.rows == 0 {
        return refuse("Rows", image.rows, "above 0");
    }
    if image.columns == 0 {
        return refuse("Columns", image.columns, "above 0");
    }
    let allocated = image.bits_allocated;
    let float_bits = match image.element {
        PixelElement::PixelData => None,
        PixelElement::FloatPixelData => Some(32),
        PixelElement::DoubleFloatPixelData => Some(64),
    };
    let fits = match float_bits {
        Some(bits) => allocated == bits,
        None => matches!(allocated, 1 | 8 | 16 | 32 | 64),
    };
    if !fits {
        return refuse(
            "BitsAllocated",
            allocated.into(),
            "a size of sample that is read",
        );
    }
    if image.bits_stored == 0 || image.bits_stored > allocated {
        return refuse(
            "BitsStored",
            image.bits_stored.into(),
            "from 1 to BitsAllocated",
        );
    }
    if image.samples_per_pixel == 0 {
        return refuse("SamplesPerPixel", 0, "above 0");
    }
    if image.planar_configuration > 1 {
        return refuse(
            "PlanarConfiguration",
            image.planar_configuration.into(),
            "0 or 1",
        );
    }
    match pixel_representation {
        Some(other @ 2..) => refuse("PixelRepresentation", other.into(), "0 or 1"),
        _ => Ok(()),
    }
}

fn only<T: TryFrom<i64>>(numbers: &[f64]) -> Result<T, Malformed> {
    let [number] = numbers else {
        return Err(Malformed);
    };
    T::try_from(value::whole(*number)?).map_err(|_| Malformed)
}
