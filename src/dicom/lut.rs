//! Lookup tables of a dataset: Palette Color (PS3.3 C.7.6.3.1.5, C.7.9) and Modality (C.11.1).
//!
//! Read when a frame is decoded, not when headers are: they are bulk. Knows nothing of applying
//! them.

use super::deflate::InflateStream;
use super::header::{
    ElementHeader, Encoding, FileStream, Sink, Stream, Walk, Want, Window, dataset_encoding,
    read_meta,
};
use super::limits::{INFLATED_HEADER_BYTES_MAX, LUT_BYTES_MAX};
use super::{Error, ReadAt, syntax, tags, tags::Tag};

mod expand;
#[cfg(test)]
mod tests;

/// Palette Color Lookup Tables: red, green, blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaletteLut {
    /// Stored value that the first entry is for; those below take the first entry, too.
    pub first_mapped: i32,
    /// The entries of each table, all of the same number; stored values beyond take the last.
    pub entries: [Vec<u16>; 3],
    /// Bits of an entry: 8 or 16.
    pub bits: u16,
}

/// A Modality LUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModalityLut {
    /// Stored value that the first entry is for; those below take the first entry, too.
    pub first_mapped: i32,
    /// The entries; stored values beyond take the last.
    pub entries: Vec<u16>,
    /// Bits of an entry: 8 to 16.
    pub bits: u16,
}

/// The lookup tables of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Luts {
    /// Palette Color LUT; `None` when the dataset has none.
    pub palette: Option<PaletteLut>,
    /// Modality LUT, the first item's; `None` when the dataset has none.
    pub modality: Option<ModalityLut>,
}

/// Reads the lookup tables of a file; `file_len_bytes` bounds every length in it.
///
/// # Errors
/// [`Error::Malformed`] when a table is there in part, or is not what its descriptor says;
/// otherwise as [`super::read_header`].
pub fn read_luts<R: ReadAt + ?Sized>(source: &R, file_len_bytes: u64) -> Result<Luts, Error> {
    let mut window = Window::new(FileStream(source), Some(file_len_bytes));
    let meta = read_meta(&mut window)?;
    let uid = meta.transfer_syntax_uid();
    if syntax::by_uid(uid).is_some_and(|ts| ts.deflated) {
        let limit = INFLATED_HEADER_BYTES_MAX;
        let stream = InflateStream::new(source, meta.dataset_offset, limit);
        read(&mut Window::new(stream, None), 0, uid)
    } else {
        read(&mut window, meta.dataset_offset, uid)
    }
}

fn read<S: Stream>(
    window: &mut Window<S>,
    offset_bytes: u64,
    transfer_syntax_uid: &str,
) -> Result<Luts, Error> {
    let encoding = dataset_encoding(window, offset_bytes, transfer_syntax_uid)?;
    let mut tables = Tables::default();
    let mut walk = Walk {
        window,
        sink: &mut tables,
    };
    walk.dataset(offset_bytes, encoding, Place::Top)?;
    Ok(Luts {
        palette: tables.palette()?,
        modality: tables.modality()?,
    })
}

const MODALITY_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3000);
const LUT_DESCRIPTOR: Tag = Tag(0x0028, 0x3002);
const LUT_DATA: Tag = Tag(0x0028, 0x3006);
/// Red Palette Color Lookup Table Descriptor; green and blue follow.
const PALETTE_DESCRIPTOR: Tag = Tag(0x0028, 0x1101);
/// Red Palette Color Lookup Table Data; green and blue follow.
const PALETTE_DATA: Tag = Tag(0x0028, 0x1201);
/// Segmented Red Palette Color Lookup Table Data; green and blue follow.
const SEGMENTED_PALETTE_DATA: Tag = Tag(0x0028, 0x1221);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    ModalityLut,
}

/// A value as written, and in which byte order.
#[derive(Debug, Clone)]
struct Raw {
    bytes: Vec<u8>,
    encoding: Encoding,
}

/// One table as written.
#[derive(Debug, Default)]
struct Table {
    descriptor: Option<Raw>,
    data: Option<Raw>,
    segmented: Option<Raw>,
}

#[derive(Debug, Default)]
struct Tables {
    palette: [Table; 3],
    modality: Table,
    modality_items: u32,
    signed: bool,
    oversized: Option<Tag>,
}

/// A descriptor's numbers (PS3.3 C.11.1.1).
struct Descriptor {
    entries: usize,
    first_mapped: i32,
    bits: u16,
}

impl Tables {
    /// The part of a table that an element of this tag fills.
    fn slot(&mut self, place: Place, tag: Tag) -> Option<&mut Option<Raw>> {
        if place == Place::ModalityLut {
            let first = self.modality_items == 1;
            return match tag {
                LUT_DESCRIPTOR if first => Some(&mut self.modality.descriptor),
                LUT_DATA if first => Some(&mut self.modality.data),
                _ => None,
            };
        }
        if tag.0 != 0x0028 || !(1..=3).contains(&(tag.1 & 0xF)) {
            return None;
        }
        let table = &mut self.palette[usize::from(tag.1 & 0xF) - 1];
        match Tag(tag.0, tag.1 & 0xFFF0 | 1) {
            PALETTE_DESCRIPTOR => Some(&mut table.descriptor),
            PALETTE_DATA => Some(&mut table.data),
            SEGMENTED_PALETTE_DATA => Some(&mut table.segmented),
            _ => None,
        }
    }

    fn palette(&self) -> Result<Option<PaletteLut>, Error> {
        if self.palette.iter().all(|table| table.descriptor.is_none()) {
            return Ok(None);
        }
        let mut lut = PaletteLut {
            first_mapped: 0,
            entries: Default::default(),
            bits: 0,
        };
        for (index, table) in self.palette.iter().enumerate() {
            let descriptor = self.descriptor(table, PALETTE_DESCRIPTOR)?;
            let entries = self.entries(table, &descriptor, PALETTE_DATA)?;
            let same = entries.len() == lut.entries[0].len()
                && descriptor.first_mapped == lut.first_mapped;
            if index > 0 && !same {
                return Err(malformed(
                    PALETTE_DESCRIPTOR,
                    "the three tables differ in extent",
                ));
            }
            lut.first_mapped = descriptor.first_mapped;
            lut.bits = lut.bits.max(bits_of(&entries, &descriptor));
            lut.entries[index] = entries;
        }
        if !matches!(lut.bits, 8 | 16) {
            return Err(malformed(
                PALETTE_DESCRIPTOR,
                "entries have neither 8 nor 16 bits",
            ));
        }
        Ok(Some(lut))
    }

    fn modality(&self) -> Result<Option<ModalityLut>, Error> {
        if self.modality_items == 0 {
            return Ok(None);
        }
        let descriptor = self.descriptor(&self.modality, LUT_DESCRIPTOR)?;
        let entries = self.entries(&self.modality, &descriptor, LUT_DATA)?;
        let bits = bits_of(&entries, &descriptor);
        if !(8..=16).contains(&bits) {
            return Err(malformed(
                LUT_DESCRIPTOR,
                "entries have less than 8 or more than 16 bits",
            ));
        }
        Ok(Some(ModalityLut {
            first_mapped: descriptor.first_mapped,
            entries,
            bits,
        }))
    }

    fn descriptor(&self, table: &Table, tag: Tag) -> Result<Descriptor, Error> {
        let Some(raw) = &table.descriptor else {
            return Err(malformed(tag, "a lookup table has no descriptor"));
        };
        let Ok([entries, first, bits]) = <[u16; 3]>::try_from(expand::words(raw)) else {
            return Err(malformed(
                tag,
                "a descriptor of a lookup table is not three numbers",
            ));
        };
        Ok(Descriptor {
            entries: if entries == 0 {
                65_536
            } else {
                usize::from(entries)
            },
            first_mapped: if self.signed {
                i32::from(first as i16)
            } else {
                i32::from(first)
            },
            bits,
        })
    }

    fn entries(&self, table: &Table, descriptor: &Descriptor, tag: Tag) -> Result<Vec<u16>, Error> {
        let entries = match (&table.data, &table.segmented) {
            (Some(raw), _) => expand::plain(raw, descriptor.entries, descriptor.bits),
            (None, Some(raw)) => expand::segmented(raw, descriptor.entries, descriptor.bits),
            (None, None) if self.oversized.is_some() => {
                return Err(Error::TooLarge {
                    what: "the data of a lookup table, in bytes,",
                    limit: u64::from(LUT_BYTES_MAX),
                });
            }
            (None, None) => return Err(malformed(tag, "a lookup table has no data")),
        };
        entries.ok_or_else(|| malformed(tag, "lookup table data do not fit their descriptor"))
    }
}

/// Bits of an entry: as described, but at least what the entries need, since some writers
/// describe the display instead.
fn bits_of(entries: &[u16], descriptor: &Descriptor) -> u16 {
    let most = entries.iter().copied().max().unwrap_or(0);
    if descriptor.bits <= 8 && most > 255 {
        16
    } else {
        descriptor.bits
    }
}

impl Sink for Tables {
    type Place = Place;

    fn want(&mut self, place: Place, header: &ElementHeader) -> Want<Place> {
        match header.tag {
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA
                if place == Place::Top =>
            {
                Want::Stop
            }
            tags::PIXEL_REPRESENTATION if place == Place::Top => Want::VALUE,
            MODALITY_LUT_SEQUENCE if place == Place::Top => Want::Enter(Place::ModalityLut),
            tag if self.slot(place, tag).is_some() => Want::Value {
                max_bytes: LUT_BYTES_MAX,
            },
            _ => Want::Skip,
        }
    }

    fn value(&mut self, place: Place, header: &ElementHeader, value: &[u8], encoding: Encoding) {
        if header.tag == tags::PIXEL_REPRESENTATION {
            let one = value.first_chunk().map(|bytes| encoding.u16(*bytes));
            self.signed = one == Some(1);
        } else if let Some(slot) = self.slot(place, header.tag) {
            *slot = Some(Raw {
                bytes: value.to_vec(),
                encoding,
            });
        }
    }

    fn item(&mut self, _place: Place) -> Result<bool, Error> {
        self.modality_items = self.modality_items.saturating_add(1);
        Ok(self.modality_items == 1)
    }

    fn oversized(&mut self, header: &ElementHeader) {
        self.oversized = Some(header.tag);
    }
}

fn malformed(tag: Tag, what: &'static str) -> Error {
    Error::Malformed {
        tag: Some(tag),
        offset_bytes: 0,
        what,
    }
}
