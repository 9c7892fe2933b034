//! Walks the elements of a dataset (PS3.5 7) and hands a sink what it asks for.
//!
//! Knows structure only: what elements mean is the sink's. Bounded in depth, in bytes read and in
//! the length of a value; a value nobody asked for is skipped unread.

use dicom_core::Tag;

use super::element::{self, ElementHeader, Encoding};
use super::window::{Stream, Window};
use crate::dicom::limits::{NESTING_MAX, VALUE_BYTES_MAX};
use crate::dicom::{Error, tags};

/// What a sink wants of an element.
pub(crate) enum Want<P> {
    /// Nothing: skip it.
    Skip,
    /// Its value, if it is no longer than `max_bytes`.
    Value { max_bytes: u32 },
    /// To walk its items, with this as their place.
    Enter(P),
    /// Only to know where its value lies.
    Locate,
    /// The walk to end before its value.
    Stop,
}

impl<P> Want<P> {
    /// A value of ordinary length.
    pub(crate) const VALUE: Want<P> = Want::Value {
        max_bytes: VALUE_BYTES_MAX,
    };
}

/// Receives what was asked for. A place says which dataset the walk is in.
pub(crate) trait Sink {
    type Place: Copy;

    fn want(&mut self, place: Self::Place, header: &ElementHeader) -> Want<Self::Place>;

    fn value(&mut self, place: Self::Place, header: &ElementHeader, value: &[u8], enc: Encoding);

    /// An item of the sequence whose items have this place begins; false skips it.
    fn item(&mut self, _place: Self::Place) -> Result<bool, Error> {
        Ok(true)
    }

    fn located(&mut self, _tag: Tag, _offset_bytes: u64, _length_bytes: u64) {}

    /// A value was asked for and is longer than was allowed.
    fn oversized(&mut self, _header: &ElementHeader) {}
}

/// Why a walk of a whole dataset ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The bytes ended where an element could begin.
    Data,
    /// The sink said [`Want::Stop`]: the element and where its value starts.
    Stopped {
        tag: Tag,
        value_offset_bytes: u64,
        length_bytes: Option<u32>,
    },
}

/// Where a dataset ends.
#[derive(Clone, Copy)]
enum Bound {
    /// At the end of the bytes: the dataset of the file itself.
    Stream,
    /// At this offset: an item of defined length.
    At(u64),
    /// At an Item Delimitation Item.
    Delimiter,
}

pub(crate) struct Walk<'a, S, K> {
    pub(crate) window: &'a mut Window<S>,
    pub(crate) sink: &'a mut K,
}

impl<S: Stream, K: Sink> Walk<'_, S, K> {
    /// Walks the dataset that starts at `offset_bytes` and goes on to the end of the bytes.
    pub(crate) fn dataset(
        &mut self,
        offset_bytes: u64,
        enc: Encoding,
        place: K::Place,
    ) -> Result<End, Error> {
        let mut position = offset_bytes;
        while let Some(header) = self.header(position, enc, Bound::Stream)? {
            if matches!(header.tag.0, 0 | 0xFFFE) {
                // No element has group 0 here: zeros are padding after the dataset. A delimiter
                // that closes nothing is passed over.
                if header.tag.0 == 0 {
                    break;
                }
                position += u64::from(header.header_len);
                continue;
            }
            let value = position + u64::from(header.header_len);
            match self.sink.want(place, &header) {
                // Most elements of most files.
                Want::Skip if self.is_within(value, header.length) => {
                    position = value + u64::from(header.length.unwrap_or(0));
                }
                Want::Stop => {
                    return Ok(End::Stopped {
                        tag: header.tag,
                        value_offset_bytes: value,
                        length_bytes: header.length,
                    });
                }
                want => position = self.element(position, &header, enc, Some(place), want, 0)?,
            }
        }
        Ok(End::Data)
    }

    /// Does a value of defined length end before the bytes do, as far as is known?
    #[inline]
    fn is_within(&self, start: u64, length: Option<u32>) -> bool {
        length.is_some_and(|length| {
            let end = start + u64::from(length);
            self.window.end_bytes().is_none_or(|limit| end <= limit)
        })
    }

    /// The header at `position`; `None` where the dataset ends.
    #[inline(always)]
    fn header(
        &mut self,
        position: u64,
        enc: Encoding,
        bound: Bound,
    ) -> Result<Option<ElementHeader>, Error> {
        if let Bound::At(end) = bound
            && position >= end
        {
            return Ok(None);
        }
        let bytes = self.window.peek(position, 12)?;
        match element::parse(bytes, enc) {
            Some(header) => Ok(Some(header)),
            None if matches!(bound, Bound::Stream) && bytes.iter().all(|byte| *byte == 0) => {
                Ok(None)
            }
            None => Err(Error::Truncated {
                end_bytes: position + bytes.len() as u64,
                needed_bytes: position + 12,
            }),
        }
    }

    /// Deals with one element as the sink wants; returns the offset after it.
    fn element(
        &mut self,
        position: u64,
        header: &ElementHeader,
        enc: Encoding,
        place: Option<K::Place>,
        want: Want<K::Place>,
        depth: u32,
    ) -> Result<u64, Error> {
        let start = position + u64::from(header.header_len);
        let enter = match want {
            Want::Enter(place) => Some(place),
            _ => None,
        };
        let inner = items_encoding(header, enc);
        let Some(length) = header.length else {
            return self.items(start, None, inner, enter, depth + 1);
        };
        let end = start.saturating_add(u64::from(length));
        if let Some(limit) = self.window.end_bytes()
            && end > limit
        {
            return Err(Error::Truncated {
                end_bytes: limit,
                needed_bytes: end,
            });
        }
        match want {
            Want::Value { max_bytes } if length <= max_bytes => {
                let value = self.window.get(start, length as usize)?;
                if let Some(place) = place {
                    self.sink.value(place, header, value, enc);
                }
            }
            Want::Value { .. } => self.sink.oversized(header),
            Want::Locate => self.sink.located(header.tag, start, u64::from(length)),
            Want::Enter(_) => {
                return self.items(start, Some(end), inner, enter, depth + 1);
            }
            Want::Skip | Want::Stop => {}
        }
        Ok(end)
    }

    /// Walks the items of a sequence, or passes over them when `place` is `None`; returns the
    /// offset after the sequence.
    fn items(
        &mut self,
        start: u64,
        end: Option<u64>,
        enc: Encoding,
        place: Option<K::Place>,
        depth: u32,
    ) -> Result<u64, Error> {
        if depth > NESTING_MAX {
            return Err(Error::TooLarge {
                what: "the nesting of sequences",
                limit: u64::from(NESTING_MAX),
            });
        }
        let mut position = start;
        while end.is_none_or(|end| position < end) {
            let bytes = self.window.get(position, 8)?;
            let Some(header) = element::parse(bytes, enc) else {
                break;
            };
            let value = position + 8;
            match header.tag {
                tags::SEQUENCE_DELIMITATION_ITEM => return Ok(end.unwrap_or(value)),
                tags::ITEM => {}
                // A stray item delimiter does no harm; anything else is no sequence.
                tags::ITEM_DELIMITATION_ITEM => {
                    position = value;
                    continue;
                }
                tag => return Err(malformed(tag, position, "an item was expected")),
            }
            let wanted = match place {
                Some(place) if self.sink.item(place)? => Some(place),
                _ => None,
            };
            position = self.item(value, &header, enc, wanted, depth)?;
            if end.is_some_and(|end| position > end) {
                return Err(malformed(
                    header.tag,
                    value,
                    "an item is longer than its sequence",
                ));
            }
        }
        Ok(end.unwrap_or(position))
    }

    /// Walks one item whose value starts at `start`; returns the offset after it.
    fn item(
        &mut self,
        start: u64,
        header: &ElementHeader,
        enc: Encoding,
        place: Option<K::Place>,
        depth: u32,
    ) -> Result<u64, Error> {
        let bound = match header.length {
            Some(length) => Bound::At(start.saturating_add(u64::from(length))),
            None => Bound::Delimiter,
        };
        if let Bound::At(end) = bound {
            if let Some(limit) = self.window.end_bytes()
                && end > limit
            {
                return Err(Error::Truncated {
                    end_bytes: limit,
                    needed_bytes: end,
                });
            }
            if place.is_none() {
                return Ok(end);
            }
        }
        let mut position = start;
        while let Some(header) = self.header(position, enc, bound)? {
            if header.tag == tags::ITEM_DELIMITATION_ITEM {
                position += 8;
                if matches!(bound, Bound::Delimiter) {
                    return Ok(position);
                }
                continue;
            }
            if header.tag.0 == 0xFFFE {
                return Err(malformed(header.tag, position, "an item is not closed"));
            }
            let want = match place {
                Some(place) => self.sink.want(place, &header),
                None => Want::Skip,
            };
            position = self.element(position, &header, enc, place, want, depth)?;
        }
        match bound {
            Bound::At(end) if position > end => Err(malformed(
                header.tag,
                start,
                "an element is longer than its item",
            )),
            _ => Ok(position),
        }
    }
}

/// The items of an UN element are implicit little endian, whatever surrounds it (PS3.5 6.2.2).
fn items_encoding(header: &ElementHeader, enc: Encoding) -> Encoding {
    if &header.vr == b"UN" {
        Encoding::IMPLICIT_LITTLE
    } else {
        enc
    }
}

fn malformed(tag: Tag, offset_bytes: u64, what: &'static str) -> Error {
    Error::Malformed {
        tag: Some(tag),
        offset_bytes,
        what,
    }
}
