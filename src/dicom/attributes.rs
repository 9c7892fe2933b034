//! The attributes of an instance that are shown to users, in one block of bytes.
//!
//! A map of sixty strings and values takes eight times the memory and most of the time of a scan;
//! nearly all of them are never looked at. Each entry is the attribute's place in the table of
//! [`super::dictionary`], the kind and length of its value, and the value. Entries ascend by
//! place, which is by tag. Knows nothing of elements or files.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Value;
use super::dictionary::{self, ATTRIBUTES, Attribute};

#[cfg(test)]
mod tests;

/// Attributes with their values, by PS3.6 keyword (the few private ones by one of our own), in the
/// order of their tags. Only keywords that the header parser shows have a place here.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Entries that [`is_sound`] holds for.
    bytes: Box<[u8]>,
}

/// The keyword is none of those that are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no attribute that is shown")]
pub struct UnknownKeyword(pub String);

impl Attributes {
    /// What tells the table that stored attributes refer to from that of other versions: bytes
    /// written with another one must not be read.
    pub const TABLE: u32 = dictionary::FINGERPRINT;

    /// The value of the attribute with this keyword.
    pub fn get(&self, keyword: &str) -> Option<Value> {
        self.raw(keyword).map(Raw::into_value)
    }

    /// The numbers of the attribute with this keyword, where it has several that need not be
    /// whole.
    pub fn floats(&self, keyword: &str) -> Option<impl ExactSizeIterator<Item = f64> + '_> {
        match self.raw(keyword)? {
            Raw::Floats(words) => Some(words.iter().map(|word| f64::from_le_bytes(*word))),
            _ => None,
        }
    }

    /// All keywords and values, in the order of their tags.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        Entries(&self.bytes).filter_map(|entry| {
            let keyword = ATTRIBUTES.get(usize::from(entry.place))?.keyword;
            Some((keyword, entry.raw()?.into_value()))
        })
    }

    /// The same with each value as `change` wants it, and with the attribute at `added` saying what is
    /// given. What stays is copied unread: this is done for every instance of an archive.
    pub(crate) fn changed(
        &self,
        added: (u8, &Value),
        change: impl Fn(u8, &Stored<'_>) -> Change,
    ) -> Attributes {
        let mut writer = Writer::default();
        let mut added = Some(added);
        let mut entries = Entries(&self.bytes);
        loop {
            let before = entries.0;
            let Some(entry) = entries.next() else { break };
            if let Some((place, value)) = added.take_if(|added| added.0 <= entry.place) {
                writer.value(place, value);
                if place == entry.place {
                    continue;
                }
            }
            let place = entry.place;
            match change(place, &Stored(entry)) {
                Change::Keep => writer.copy(place, &before[..before.len() - entries.0.len()]),
                Change::Set(value) => writer.value(place, &value),
                Change::Drop => {}
            }
        }
        if let Some((place, value)) = added {
            writer.value(place, value);
        }
        writer.finish()
    }

    /// Sets the value of an attribute.
    ///
    /// # Errors
    /// [`UnknownKeyword`] when attributes with this keyword are not shown.
    pub fn insert(&mut self, keyword: &str, value: &Value) -> Result<(), UnknownKeyword> {
        let shown = |place: &u8| ATTRIBUTES[usize::from(*place)].shown;
        let place = dictionary::place_of(keyword).filter(shown);
        let place = place.ok_or_else(|| UnknownKeyword(keyword.to_owned()))?;
        let mut writer = Writer {
            bytes: std::mem::take(&mut self.bytes).into_vec(),
            last: Some(u8::MAX),
            is_sorted: false,
        };
        writer.value(place, value);
        *self = writer.finish();
        Ok(())
    }

    fn raw(&self, keyword: &str) -> Option<Raw<'_>> {
        let place = dictionary::place_of(keyword)?;
        let mut entries = Entries(&self.bytes);
        let found = entries.find(|entry| entry.place >= place)?;
        if found.place == place {
            found.raw()
        } else {
            None
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of attributes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Attributes, E> {
        if !is_sound(bytes) {
            return Err(E::custom("not the bytes of attributes"));
        }
        Ok(Attributes {
            bytes: bytes.into(),
        })
    }
}

/// Are these whole entries, each of an attribute that is shown, in ascending order, with a value
/// of its kind?
fn is_sound(bytes: &[u8]) -> bool {
    let mut entries = Entries(bytes);
    let mut next_place = 0;
    for entry in entries.by_ref() {
        let place = usize::from(entry.place);
        let shown = |attribute: &Attribute| attribute.shown;
        if place < next_place || !ATTRIBUTES.get(place).is_some_and(shown) || entry.raw().is_none()
        {
            return false;
        }
        next_place = place + 1;
    }
    entries.0.is_empty()
}

// Kinds of values: the low three bits of an entry's second number, above which is the length of
// the value in bytes.
const TEXT: u8 = 0;
const TEXTS: u8 = 1;
const INT: u8 = 2;
const INTS: u8 = 3;
const FLOAT: u8 = 4;
const FLOATS: u8 = 5;

/// The entries of a block; ends early, with bytes left, where they are damaged.
struct Entries<'a>(&'a [u8]);

struct Entry<'a> {
    place: u8,
    kind: u8,
    value: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let (place, rest) = self.0.split_first()?;
        let (head, rest) = take_number(rest)?;
        let (value, rest) = rest.split_at_checked((head >> 3) as usize)?;
        self.0 = rest;
        Some(Entry {
            place: *place,
            kind: (head & 7) as u8,
            value,
        })
    }
}

/// What becomes of a value.
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// It goes, and its attribute with it.
    Drop,
    /// It becomes this.
    Set(Value),
}

/// A value, not read yet.
pub(crate) struct Stored<'a>(Entry<'a>);

impl Stored<'_> {
    pub(crate) fn value(&self) -> Option<Value> {
        self.0.raw().map(Raw::into_value)
    }
}

/// A value where it lies.
enum Raw<'a> {
    Text(&'a str),
    Texts(&'a [u8]),
    Int(i64),
    Ints(&'a [[u8; 8]]),
    Float(f64),
    Floats(&'a [[u8; 8]]),
}

impl<'a> Entry<'a> {
    /// The value; `None` when it is damaged.
    fn raw(&self) -> Option<Raw<'a>> {
        let words = || match self.value.as_chunks::<8>() {
            (words, []) => Some(words),
            _ => None,
        };
        match self.kind {
            TEXT => Some(Raw::Text(std::str::from_utf8(self.value).ok()?)),
            TEXTS => {
                let mut parts = Parts(self.value);
                parts.by_ref().for_each(drop);
                parts.0.is_empty().then_some(Raw::Texts(self.value))
            }
            INT => int_from(self.value).map(Raw::Int),
            INTS => words().map(Raw::Ints),
            FLOAT => float_from(self.value).map(Raw::Float),
            FLOATS => words().map(Raw::Floats),
            _ => None,
        }
    }
}

impl Raw<'_> {
    fn into_value(self) -> Value {
        match self {
            Raw::Text(text) => Value::Text(text.to_owned()),
            Raw::Texts(parts) => Value::Texts(Parts(parts).map(str::to_owned).collect()),
            Raw::Int(number) => Value::Int(number),
            Raw::Ints(words) => Value::Ints(words.iter().map(|w| i64::from_le_bytes(*w)).collect()),
            Raw::Float(number) => Value::Float(number),
            Raw::Floats(words) => {
                Value::Floats(words.iter().map(|w| f64::from_le_bytes(*w)).collect())
            }
        }
    }
}

/// Several texts, each after its length; ends early, with bytes left, where they are damaged.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (length, rest) = take_number(self.0)?;
        let (part, rest) = rest.split_at_checked(length as usize)?;
        let part = std::str::from_utf8(part).ok()?;
        self.0 = rest;
        Some(part)
    }
}

/// A number in groups of seven bits, the lowest first, all but the last with the top bit set.
#[inline]
fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if let [first @ 0..=0x7F, rest @ ..] = bytes {
        return Some((u64::from(*first), rest));
    }
    let mut number = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// A whole number in as few bytes as hold it, least significant first, the last with the sign.
fn int_from(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = [if negative { 0xFF } else { 0 }; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

/// A number in four bytes where that says the same, else eight.
fn float_from(bytes: &[u8]) -> Option<f64> {
    if let Ok(half) = <[u8; 4]>::try_from(bytes) {
        return Some(f64::from(f32::from_le_bytes(half)));
    }
    bytes.try_into().ok().map(f64::from_le_bytes)
}

/// Writes entries, preferably in the order of their places; of several for one place the last
/// counts.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    last: Option<u8>,
    is_sorted: bool,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            // What most headers need, at once.
            bytes: Vec::with_capacity(1024),
            last: None,
            is_sorted: true,
        }
    }
}

impl Writer {
    fn head(&mut self, place: u8, kind: u8, length: usize) {
        self.is_sorted &= self.last.is_none_or(|last| last < place);
        self.last = Some(place);
        self.bytes.push(place);
        self.number(((length as u64) << 3) | u64::from(kind));
    }

    fn number(&mut self, mut number: u64) {
        while number > 0x7F {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// An entry as it is elsewhere.
    fn copy(&mut self, place: u8, entry: &[u8]) {
        self.is_sorted &= self.last.is_none_or(|last| last < place);
        self.last = Some(place);
        self.bytes.extend_from_slice(entry);
    }

    fn value(&mut self, place: u8, value: &Value) {
        match value {
            Value::Text(text) => self.text(place, text),
            Value::Texts(texts) => self.texts(place, texts.iter().map(String::as_str)),
            Value::Int(number) => self.int(place, *number),
            Value::Ints(numbers) => self.ints(place, numbers.iter().copied()),
            Value::Float(number) => self.float(place, *number),
            Value::Floats(numbers) => self.floats(place, numbers),
        }
    }

    pub(crate) fn text(&mut self, place: u8, text: &str) {
        self.head(place, TEXT, text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn texts<'a>(&mut self, place: u8, texts: impl Iterator<Item = &'a str> + Clone) {
        let prefix = |length: usize| match length {
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000..0x20_0000 => 3,
            _ => 4,
        };
        let lengths = texts.clone().map(|text| prefix(text.len()) + text.len());
        self.head(place, TEXTS, lengths.sum());
        for text in texts {
            self.number(text.len() as u64);
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    pub(crate) fn int(&mut self, place: u8, number: i64) {
        let magnitude = if number < 0 { !number } else { number };
        // One bit for the sign.
        let length = (65 - magnitude.leading_zeros() as usize).div_ceil(8);
        self.head(place, INT, length);
        self.bytes
            .extend_from_slice(&number.to_le_bytes()[..length]);
    }

    pub(crate) fn ints(&mut self, place: u8, numbers: impl ExactSizeIterator<Item = i64>) {
        self.head(place, INTS, 8 * numbers.len());
        for number in numbers {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn float(&mut self, place: u8, number: f64) {
        let half = number as f32;
        if f64::from(half).to_bits() == number.to_bits() {
            self.head(place, FLOAT, 4);
            self.bytes.extend_from_slice(&half.to_le_bytes());
        } else {
            self.head(place, FLOAT, 8);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn floats(&mut self, place: u8, numbers: &[f64]) {
        self.head(place, FLOATS, 8 * numbers.len());
        for number in numbers {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn finish(self) -> Attributes {
        if self.is_sorted {
            return Attributes {
                bytes: self.bytes.as_slice().into(),
            };
        }
        let mut entries = Entries(&self.bytes);
        let mut found: Vec<(u8, &[u8])> = Vec::new();
        loop {
            let before = entries.0;
            let Some(entry) = entries.next() else { break };
            found.push((entry.place, &before[..before.len() - entries.0.len()]));
        }
        // The order of equals is kept: the last of them is the one that counts.
        found.sort_by_key(|(place, _)| *place);
        let groups = found.chunk_by(|a, b| a.0 == b.0);
        let last: Vec<&[u8]> = groups.filter_map(|g| g.last()).map(|(_, e)| *e).collect();
        Attributes {
            bytes: last.concat().into(),
        }
    }
}
