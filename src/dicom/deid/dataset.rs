//! The elements of a data set, rewritten one after the other, up to its Pixel Data.
//!
//! Reads forward through a window, so that what goes is skipped unread. Writes in the encoding that it
//! reads, sequences and items with their lengths, so that what comes out is well-formed whatever the
//! forms of what went in. Bounded as the window is, and in depth.

use dicom_core::Tag;

use super::rules::{self, Fate, Mode};
use super::{Deid, Subject};
use crate::dicom::header::{
    ElementHeader, Encoding, NO_VR, Stream, Vr, Window, has_short_length, parse_element,
};
use crate::dicom::limits::NESTING_MAX;
use crate::dicom::{Error, tags};

/// Length that is not told in advance.
const UNDEFINED: u32 = u32::MAX;

/// Rewrites the elements of one file.
pub(super) struct Rewriter<'a, S> {
    pub(super) window: &'a mut Window<S>,
    pub(super) deid: &'a Deid,
    pub(super) subject: &'a Subject,
    /// How the data set is written, here and there.
    pub(super) enc: Encoding,
}

/// Where a data set or sequence is in the source.
#[derive(Clone, Copy)]
struct Place {
    start: u64,
    /// `None`: up to its delimiter.
    length: Option<u32>,
    enc: Encoding,
    mode: Mode,
    depth: u32,
}

impl Place {
    fn end(self) -> Option<u64> {
        self.length.map(|length| self.start + u64::from(length))
    }
}

impl<S: Stream> Rewriter<'_, S> {
    /// The data set that starts at `offset_bytes`, rewritten, up to and with the header of the pixel
    /// element whose value starts at `pixels_bytes`.
    pub(super) fn head(&mut self, offset_bytes: u64, pixels_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let additions = self.additions();
        let mut additions = additions.into_iter().peekable();
        let mut position = offset_bytes;
        loop {
            let header = self.header(position, self.enc)?;
            let is_pixels = position + u64::from(header.header_len) == pixels_bytes;
            while let Some((_, bytes)) =
                additions.next_if(|(tag, _)| is_pixels || *tag < header.tag)
            {
                out.extend(bytes);
            }
            if is_pixels {
                let bytes = self.window.get(position, usize::from(header.header_len))?;
                out.extend_from_slice(bytes);
                return Ok(out);
            }
            if position >= pixels_bytes {
                return Err(malformed(
                    header.tag,
                    position,
                    "its Pixel Data was not met",
                ));
            }
            if header.tag.0 == 0xFFFE {
                // A delimiter that closes nothing.
                position += u64::from(header.header_len);
                continue;
            }
            let is_ours = ADDED.contains(&header.tag);
            let start = position + u64::from(header.header_len);
            position = if is_ours {
                self.skip(start, &header, self.enc, 0)?
            } else {
                self.element(start, &header, (self.enc, Mode::Top, 0), &mut out)?
            };
        }
    }

    /// What says that and how the instance was de-identified (PS3.15 E.1.1), by tag.
    fn additions(&self) -> Vec<(Tag, Vec<u8>)> {
        let element = |tag, vr: &Vr, value: &[u8]| {
            let mut out = Vec::new();
            self.put(tag, *vr, value, &mut out);
            out
        };
        let code = |value: &str, meaning: &str| {
            let parts = [
                element(Tag(0x0008, 0x0100), b"SH", value.as_bytes()),
                element(Tag(0x0008, 0x0102), b"SH", b"DCM"),
                element(Tag(0x0008, 0x0104), b"LO", meaning.as_bytes()),
            ];
            let mut item = Vec::new();
            self.put_item(&parts.concat(), &mut item);
            item
        };
        let codes = CODES.map(|(value, meaning)| code(value, meaning)).concat();
        let [removed, method, method_codes, modified] = ADDED;
        vec![
            (removed, element(removed, b"CS", b"YES")),
            (method, element(method, b"LO", METHOD.as_bytes())),
            (method_codes, element(method_codes, b"SQ", &codes)),
            (modified, element(modified, b"CS", b"MODIFIED")),
        ]
    }

    fn header(&mut self, position: u64, enc: Encoding) -> Result<ElementHeader, Error> {
        let header = parse_element(self.window.peek(position, 12)?, enc);
        header.ok_or_else(|| Error::Truncated {
            end_bytes: position,
            needed_bytes: position + 8,
        })
    }

    /// Rewrites one element, whose value starts at `start`; where the next one begins.
    fn element(
        &mut self,
        start: u64,
        header: &ElementHeader,
        (enc, mode, depth): (Encoding, Mode, u32),
        out: &mut Vec<u8>,
    ) -> Result<u64, Error> {
        let vr = rules::effective_vr(header.tag, header.vr);
        let Some(vr) = vr else {
            return self.skip(start, header, enc, depth);
        };
        let fate = rules::fate(header.tag, vr, mode);
        // Numbers of unknown representation are little endian, whatever is around them (PS3.5 6.2.2).
        let is_foreign = enc.big_endian && &header.vr == b"UN";
        if is_foreign && matches!(fate, Fate::Keep | Fate::Items(_)) {
            return self.skip(start, header, enc, depth);
        }
        let inner = match &header.vr {
            b"UN" => Encoding::IMPLICIT_LITTLE,
            _ => enc,
        };
        if let (Fate::Items(mode), b"SQ") = (fate, &vr) {
            let place = Place {
                start,
                length: header.length,
                enc: inner,
                mode,
                depth: depth + 1,
            };
            let (items, next) = self.items(place)?;
            self.put(header.tag, vr, &items, out);
            return Ok(next);
        }
        if fate == Fate::Empty {
            self.put(header.tag, vr, &[], out);
            return self.skip(start, header, enc, depth);
        }
        let (Some(length), false) = (header.length, fate == Fate::Remove) else {
            // Pixels within an item, or what has no business to be without a length.
            return self.skip(start, header, enc, depth);
        };
        // Numbers that are kept stay unknown as well: PS3.6 may leave their representation open.
        let vr = match (fate, &header.vr) {
            (Fate::Keep, b"UN") => header.vr,
            _ => vr,
        };
        let value = match fate {
            Fate::Dummy => Some(rules::dummy_value(vr).to_vec()),
            Fate::Pseudonym => Some(self.subject.pseudonym.clone().into_bytes()),
            _ => {
                let value = self.window.get(start, length as usize)?.to_vec();
                self.changed(fate, vr, value)
            }
        };
        if let Some(value) = value {
            self.put(header.tag, vr, &value, out);
        }
        Ok(start + u64::from(length))
    }

    /// A value that is kept in some form; `None` where the element goes.
    fn changed(&self, fate: Fate, vr: Vr, value: Vec<u8>) -> Option<Vec<u8>> {
        match fate {
            Fate::Keep => Some(value),
            Fate::Uid => {
                let text = String::from_utf8_lossy(&value);
                Some(rules::mapped(&text, self.deid).into_bytes())
            }
            Fate::Moved(otherwise) => {
                let text = std::str::from_utf8(&value).ok();
                let moved = text.and_then(|text| rules::moved(text, vr, self.subject));
                match (moved, otherwise) {
                    (Some(moved), _) => Some(moved.into_bytes()),
                    (None, Fate::Empty) => Some(Vec::new()),
                    (None, Fate::Dummy) => Some(rules::dummy_value(vr).to_vec()),
                    (None, _) => None,
                }
            }
            _ => None,
        }
    }

    /// The items of a sequence, rewritten; and where the next element begins.
    fn items(&mut self, place: Place) -> Result<(Vec<u8>, u64), Error> {
        let mut out = Vec::new();
        let next = self.each_item(place, &mut |rewriter, item| {
            let (bytes, next) = rewriter.dataset(item)?;
            rewriter.put_item(&bytes, &mut out);
            Ok(next)
        })?;
        Ok((out, next))
    }

    /// Goes through the items of a sequence; where the next element begins. `each` says where an item
    /// has ended.
    fn each_item(
        &mut self,
        place: Place,
        each: &mut dyn FnMut(&mut Self, Place) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        if place.depth > NESTING_MAX {
            return Err(Error::TooLarge {
                what: "the nesting of sequences",
                limit: u64::from(NESTING_MAX),
            });
        }
        let mut position = place.start;
        while place.end().is_none_or(|end| position < end) {
            let header = self.header(position, place.enc)?;
            let start = position + u64::from(header.header_len);
            match header.tag {
                tags::ITEM => {
                    let item = Place {
                        start,
                        length: header.length,
                        ..place
                    };
                    let next = each(self, item)?;
                    position = next.max(item.end().unwrap_or(next));
                }
                tags::SEQUENCE_DELIMITATION_ITEM => {
                    return Ok(place.end().unwrap_or(start));
                }
                tag => return Err(malformed(tag, position, "an item was expected")),
            }
        }
        Ok(position.max(place.end().unwrap_or(position)))
    }

    /// A data set in an item, rewritten; and where what follows begins.
    fn dataset(&mut self, place: Place) -> Result<(Vec<u8>, u64), Error> {
        let mut out = Vec::new();
        let next = self.each_element(place, &mut |rewriter, start, header| {
            rewriter.element(
                start,
                header,
                (place.enc, place.mode, place.depth),
                &mut out,
            )
        })?;
        Ok((out, next))
    }

    fn each_element(
        &mut self,
        place: Place,
        each: &mut dyn FnMut(&mut Self, u64, &ElementHeader) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let mut position = place.start;
        while place.end().is_none_or(|end| position < end) {
            let header = self.header(position, place.enc)?;
            let start = position + u64::from(header.header_len);
            match header.tag {
                tags::ITEM_DELIMITATION_ITEM => return Ok(place.end().unwrap_or(start)),
                tag if tag.0 == 0xFFFE => {
                    return Err(malformed(tag, position, "an element was expected"));
                }
                _ => position = each(self, start, &header)?,
            }
        }
        Ok(position)
    }

    /// Where the element after this one begins.
    fn skip(
        &mut self,
        start: u64,
        header: &ElementHeader,
        enc: Encoding,
        depth: u32,
    ) -> Result<u64, Error> {
        if let Some(length) = header.length {
            return Ok(start + u64::from(length));
        }
        let place = Place {
            start,
            length: None,
            enc: match &header.vr {
                b"UN" => Encoding::IMPLICIT_LITTLE,
                _ => enc,
            },
            mode: Mode::Nested,
            depth: depth + 1,
        };
        self.each_item(place, &mut |rewriter, item| match item.end() {
            Some(end) => Ok(end),
            None => rewriter.each_element(item, &mut |rewriter, start, header| {
                rewriter.skip(start, header, item.enc, item.depth)
            }),
        })
    }

    /// Writes an element.
    fn put(&self, tag: Tag, vr: Vr, value: &[u8], out: &mut Vec<u8>) {
        let padding = match &vr {
            b"UI" | b"OB" | b"UN" => Some(0),
            b"SQ" => None,
            _ => Some(b' '),
        };
        let padding = padding.filter(|_| value.len() % 2 == 1);
        let length = value.len() as u32 + padding.map_or(0, |_| 1);
        put_header(self.enc, tag, vr, length, out);
        out.extend_from_slice(value);
        out.extend(padding);
    }

    fn put_item(&self, content: &[u8], out: &mut Vec<u8>) {
        put_header(self.enc, tags::ITEM, NO_VR, content.len() as u32, out);
        out.extend_from_slice(content);
    }
}

/// Patient Identity Removed, De-identification Method and its codes, Longitudinal Temporal Information
/// Modified.
const ADDED: [Tag; 4] = [
    Tag(0x0012, 0x0062),
    Tag(0x0012, 0x0063),
    Tag(0x0012, 0x0064),
    Tag(0x0028, 0x0303),
];

const METHOD: &str = "dicomfs: PS3.15 Annex E Basic Profile, dates moved";

/// Codes of CID 7050 (PS3.16) for what is done here.
const CODES: [(&str, &str); 2] = [
    ("113100", "Basic Application Confidentiality Profile"),
    (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
];

/// Writes an element's header; one that is too long for its representation becomes UN.
pub(super) fn put_header(enc: Encoding, tag: Tag, vr: Vr, length: u32, out: &mut Vec<u8>) {
    let word = |n: u16| match enc.big_endian {
        true => n.to_be_bytes(),
        false => n.to_le_bytes(),
    };
    let long = |n: u32| match enc.big_endian {
        true => n.to_be_bytes(),
        false => n.to_le_bytes(),
    };
    out.extend(word(tag.0));
    out.extend(word(tag.1));
    if !enc.explicit_vr || tag.0 == 0xFFFE {
        out.extend(long(length));
        return;
    }
    let is_short = has_short_length(vr);
    match u16::try_from(length) {
        Ok(length) if is_short => {
            out.extend(vr);
            out.extend(word(length));
        }
        _ => {
            out.extend(if is_short { *b"UN" } else { vr });
            out.extend([0, 0]);
            out.extend(long(length.min(UNDEFINED - 1)));
        }
    }
}

fn malformed(tag: Tag, offset_bytes: u64, what: &'static str) -> Error {
    Error::Malformed {
        tag: Some(tag),
        offset_bytes,
        what,
    }
}
