//! The items of an encapsulated pixel element, one after the other (PS3.5 A.4, table A.4-1).
//!
//! Finds where fragments lie and whether each starts like a codestream; assigns nothing.

use dicom_core::Tag;

use super::{Fragment, too_many};
use crate::dicom::limits::FRAGMENTS_MAX;
use crate::dicom::{CodecFamily, Error, PixelDataLocation, ReadAt, read_full_at, tags};

/// Bytes read at an item: its header, the start of its value, and the headers of small items that
/// follow. A page, which is what storage reads anyway.
const WINDOW_BYTES: usize = 4096;

/// Bytes of a value that tell a codestream: the longest signature is 12.
const SIGNATURE_BYTES: usize = 64;

/// How the sequence of items ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its delimiter, or where its defined length says.
    Delimiter,
    /// With the file.
    EndOfFile,
    /// With something that is no item.
    NoItem,
}

/// The items found.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) fragments: Vec<Fragment>,
    /// For each fragment: does it start like a codestream?
    pub(super) starts: Vec<bool>,
    pub(super) ending: Ending,
    /// The file ends within the last fragment.
    pub(super) last_cut: bool,
}

impl Items {
    /// Does every frame have one fragment only, as far as is known?
    pub(super) fn one_fragment_a_frame(&self, ends: &[u32]) -> bool {
        ends.len() > 1 && ends.len() == self.fragments.len()
    }
}

/// Tag and length of an item; always little endian, since encapsulated syntaxes are.
pub(super) fn item_header(bytes: [u8; 8]) -> (Tag, u32) {
    let [a, b, c, d, length @ ..] = bytes;
    let tag = Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    (tag, u32::from_le_bytes(length))
}

/// Reads the items from `start` on.
pub(super) fn read_items<R: ReadAt + ?Sized>(
    source: &R,
    file_len_bytes: u64,
    location: &PixelDataLocation,
    start: u64,
    codec: CodecFamily,
) -> Result<Items, Error> {
    let declared_end = location
        .length_bytes
        .map(|length| location.offset_bytes.saturating_add(length));
    let mut items = Items {
        fragments: Vec::new(),
        starts: Vec::new(),
        ending: Ending::EndOfFile,
        last_cut: false,
    };
    let mut window = PageWindow::new(source);
    let mut position = start;
    while position < file_len_bytes {
        if declared_end.is_some_and(|end| position >= end) {
            items.ending = Ending::Delimiter;
            break;
        }
        let Some(header) = window.at(position, 8)?.first_chunk::<8>().copied() else {
            break;
        };
        let (tag, length) = item_header(header);
        if tag == tags::SEQUENCE_DELIMITATION_ITEM {
            items.ending = Ending::Delimiter;
            break;
        }
        if tag != tags::ITEM || length == u32::MAX {
            items.ending = Ending::NoItem;
            break;
        }
        if items.fragments.len() == FRAGMENTS_MAX {
            return Err(too_many());
        }
        let value = position + 8;
        let available = file_len_bytes.saturating_sub(value);
        let wanted = SIGNATURE_BYTES.min(length as usize);
        let starts = starts_codestream(codec, window.at(value, wanted)?);
        items.fragments.push(Fragment {
            offset_bytes: value,
            length_bytes: u64::from(length).min(available),
        });
        items.starts.push(starts);
        items.last_cut = u64::from(length) > available;
        position = value + u64::from(length);
    }
    Ok(items)
}

/// Does a value that starts with these bytes start a codestream? Signatures are as long as what
/// is mandatory allows, since a continued codestream may have anything at a fragment's start.
fn starts_codestream(codec: CodecFamily, bytes: &[u8]) -> bool {
    match codec {
        CodecFamily::JpegDct | CodecFamily::JpegLossless | CodecFamily::JpegLs => {
            bytes.starts_with(b"\xFF\xD8\xFF")
        }
        CodecFamily::Jpeg2000 | CodecFamily::HtJ2k => {
            bytes.starts_with(b"\xFF\x4F\xFF\x51")
                || bytes.starts_with(b"\x00\x00\x00\x0CjP  \x0D\x0A\x87\x0A")
        }
        CodecFamily::JpegXl => {
            bytes.starts_with(b"\xFF\x0A")
                || bytes.starts_with(b"\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A")
        }
        // PS3.5 G.5: number of segments, then the offset of the first, which is 64.
        CodecFamily::Rle => {
            matches!(bytes, [1..=15, 0, 0, 0, 64, 0, 0, 0, ..]) && bytes.len() == SIGNATURE_BYTES
        }
        // One fragment a frame is the rule here (PS3.5 A.4.11, A.4.12).
        CodecFamily::EncapsulatedNative | CodecFamily::DeflatedFrame => true,
        _ => false,
    }
}

/// Reads in pages, forward.
struct PageWindow<'a, R: ?Sized> {
    source: &'a R,
    base_bytes: u64,
    page: Vec<u8>,
}

impl<'a, R: ReadAt + ?Sized> PageWindow<'a, R> {
    fn new(source: &'a R) -> Self {
        PageWindow {
            source,
            base_bytes: 0,
            page: Vec::new(),
        }
    }

    /// Up to `len` bytes at `position`, fewer at the end of the file.
    fn at(&mut self, position: u64, len: usize) -> Result<&[u8], Error> {
        let end = self.base_bytes + self.page.len() as u64;
        if position < self.base_bytes || position.saturating_add(len as u64) > end {
            self.page.resize(WINDOW_BYTES, 0);
            let read = read_full_at(self.source, position, &mut self.page)?;
            self.page.truncate(read);
            self.base_bytes = position;
        }
        let start = (position - self.base_bytes) as usize;
        let end = (start + len).min(self.page.len());
        Ok(&self.page[start.min(end)..end])
    }
}
