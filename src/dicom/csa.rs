//! The CSA header of Siemens MR (private creator SIEMENS CSA HEADER, (0029,xx10)): named elements
//! with values in text.
//!
//! Bytes in, values out; knows nothing of DICOM elements. Little endian whatever the dataset is.
//! Two layouts: the later one begins with `SV10`. Both are a count of elements, then for each a
//! name of 64 bytes, multiplicity, representation, a type and a count of items; each item is four
//! words and a text padded to four bytes. In the later layout the second of the words is the
//! length of the text; in the earlier one the first is, too large by the count of items of the
//! first element. No count or length is believed beyond the bytes that are there.

use super::Mosaic;
use super::limits::{MOSAIC_TILES_MAX, VALUES_MAX};

#[cfg(test)]
mod tests;

/// The header is cut short, or a value in it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Sets what the CSA image header in `bytes` says of a mosaic and `mosaic` does not have yet.
///
/// # Errors
/// [`Damaged`]; what was whole before the damage is set.
pub(crate) fn read_mosaic(bytes: &[u8], mosaic: &mut Mosaic) -> Result<(), Damaged> {
    let (mut reader, elements) = Reader::new(bytes)?;
    let mut result = Ok(());
    for _ in 0..elements {
        let element = reader.element()?;
        // One bad value does not spoil the others.
        result = result.and(set(mosaic, &element));
    }
    result
}

fn set(mosaic: &mut Mosaic, element: &Element) -> Result<(), Damaged> {
    match element.name {
        b"NumberOfImagesInMosaic" if mosaic.tiles == 0 => {
            if let Some(number) = element.numbers()?.first() {
                mosaic.tiles = tiles(*number).ok_or(Damaged)?;
            }
        }
        b"SliceNormalVector" if mosaic.slice_normal.is_none() => {
            if let numbers @ [_, ..] = &element.numbers()?[..] {
                mosaic.slice_normal = Some(unit_vector(numbers).ok_or(Damaged)?);
            }
        }
        b"MosaicRefAcqTimes" if mosaic.slice_times_ms.is_empty() => {
            mosaic.slice_times_ms = element.numbers()?;
        }
        b"PhaseEncodingDirectionPositive" if mosaic.phase_encoding_positive.is_none() => {
            mosaic.phase_encoding_positive = match element.numbers()?[..] {
                [] => None,
                [0.0] => Some(false),
                [1.0] => Some(true),
                _ => return Err(Damaged),
            };
        }
        b"BandwidthPerPixelPhaseEncode" => {
            let slot = &mut mosaic.bandwidth_per_pixel_phase_encode_hz;
            *slot = slot.or(element.numbers()?.first().copied());
        }
        b"B_value" => mosaic.b_value = element.numbers()?.first().copied(),
        b"DiffusionGradientDirection" => {
            let numbers = element.numbers()?;
            // Images without diffusion have none, or zeros.
            if numbers.iter().any(|part| *part != 0.0) {
                mosaic.gradient = Some(unit_vector(&numbers).ok_or(Damaged)?);
            }
        }
        _ => {}
    }
    Ok(())
}

/// A count of tiles, if it is one.
pub(crate) fn tiles(number: f64) -> Option<u32> {
    let is_count = number.fract() == 0.0 && (1.0..=f64::from(MOSAIC_TILES_MAX)).contains(&number);
    is_count.then_some(number as u32)
}

/// Three numbers whose length is 1, as far as their digits go.
fn unit_vector(numbers: &[f64]) -> Option<[f64; 3]> {
    let vector: [f64; 3] = numbers.try_into().ok()?;
    let length_squared: f64 = vector.iter().map(|component| component * component).sum();
    ((length_squared - 1.0).abs() < 1e-3).then_some(vector)
}

struct Element<'a> {
    name: &'a [u8],
    /// Its values; without those that are empty.
    values: Vec<&'a [u8]>,
}

impl Element<'_> {
    fn numbers(&self) -> Result<Vec<f64>, Damaged> {
        let number = |text: &&[u8]| {
            let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            number.is_finite().then_some(number)
        };
        let numbers: Option<Vec<f64>> = self.values.iter().map(number).collect();
        numbers.ok_or(Damaged)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Has it the later layout?
    later: bool,
    /// Items of the first element, once that is read.
    first_items: Option<i64>,
}

impl<'a> Reader<'a> {
    /// The reader, and how many elements there are said to be.
    fn new(bytes: &'a [u8]) -> Result<(Reader<'a>, u32), Damaged> {
        let later = bytes.starts_with(b"SV10");
        // `SV10` and four bytes more.
        let start = if later { 8 } else { 0 };
        let mut reader = Reader {
            rest: bytes.get(start..).ok_or(Damaged)?,
            later,
            first_items: None,
        };
        let elements = reader.word()?;
        // A word that says nothing.
        reader.word()?;
        Ok((reader, elements))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Damaged> {
        let bytes = self.take(4)?.first_chunk().ok_or(Damaged)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn element(&mut self) -> Result<Element<'a>, Damaged> {
        let name = until_nul(self.take(64)?);
        let multiplicity = self.word()?;
        let _representation_and_type = self.take(8)?;
        let items = self.word()?;
        self.word()?;
        let first_items = *self.first_items.get_or_insert(i64::from(items));
        // Multiplicity 0 is any; items beyond it hold nothing.
        let wanted = match multiplicity {
            0 => items,
            some => items.min(some),
        };
        let mut values = Vec::new();
        for index in 0..items {
            let Some(text) = self.item(first_items)? else {
                break;
            };
            let text = until_nul(text).trim_ascii();
            if index < wanted && !text.is_empty() && values.len() < VALUES_MAX {
                values.push(text);
            }
        }
        Ok(Element { name, values })
    }

    /// The text of the next item; `None` where an element of the earlier layout has no more, for
    /// all that it says.
    fn item(&mut self, first_items: i64) -> Result<Option<&'a [u8]>, Damaged> {
        let (first, second) = (self.word()?, self.word()?);
        self.take(8)?;
        let length = if self.later {
            i64::from(second)
        } else {
            i64::from(first) - first_items
        };
        let left = self.rest.len() as i64;
        if !self.later && !(0..=left).contains(&length) {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Damaged)?;
        let text = self.take(length)?;
        // The last text of all need not be padded.
        let padding = length.wrapping_neg() % 4;
        self.take(padding.min(self.rest.len()))?;
        Ok(Some(text))
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
