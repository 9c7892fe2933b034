//! Lookup table data to entries: words, bytes packed into words, segments (PS3.3 C.7.9.2).
//!
//! Pure. What is produced is bounded by the number of entries of the descriptor, 65,536 at most.

use super::Raw;

/// The 16-bit words of a value; a trailing odd byte is padding.
pub(super) fn words(raw: &Raw) -> Vec<u16> {
    let (words, _) = raw.bytes.as_chunks::<2>();
    words.iter().map(|word| raw.encoding.u16(*word)).collect()
}

/// The bytes of a value that packs two of them into a word, first one low.
fn bytes(raw: &Raw) -> Vec<u16> {
    let packed = words(raw)
        .into_iter()
        .flat_map(|word| [word & 0xFF, word >> 8]);
    packed
        .chain((raw.bytes.len() % 2 == 1).then(|| raw.bytes.last().copied().unwrap_or(0).into()))
        .collect()
}

/// Entries written out: one word each, or one byte each when `bits` allow and there are only so
/// many bytes; `None` when there are too few of either.
pub(super) fn plain(raw: &Raw, entries: usize, bits: u16) -> Option<Vec<u16>> {
    let mut values = if raw.bytes.len() >= entries * 2 {
        words(raw)
    } else if raw.bytes.len() >= entries && bits <= 8 {
        bytes(raw)
    } else {
        return None;
    };
    values.truncate(entries);
    Some(values)
}

/// Entries from segments; `None` when they are not what the standard allows, or yield another
/// number of entries.
pub(super) fn segmented(raw: &Raw, entries: usize, bits: u16) -> Option<Vec<u16>> {
    let eight = bits == 8;
    let mut segments = Segments {
        codes: if eight { bytes(raw) } else { words(raw) },
        eight,
        entries,
        out: Vec::with_capacity(entries),
    };
    let mut position = 0;
    while segments.out.len() < entries {
        position = segments.expand(position, true)?;
    }
    (segments.out.len() == entries).then_some(segments.out)
}

struct Segments {
    codes: Vec<u16>,
    eight: bool,
    entries: usize,
    out: Vec<u16>,
}

impl Segments {
    fn code(&self, position: usize) -> Option<u16> {
        self.codes.get(position).copied()
    }

    /// Expands the segment at `position`; returns the position after it. An indirect segment may
    /// not point at another one. A segment of no length would not get on and is refused.
    fn expand(&mut self, position: usize, indirect_allowed: bool) -> Option<usize> {
        let opcode = self.code(position)?;
        let length = usize::from(self.code(position + 1)?);
        if length == 0 || self.out.len() + length > self.entries && opcode < 2 {
            return None;
        }
        let content = position + 2;
        match opcode {
            0 => {
                let end = content + length;
                self.out.extend_from_slice(self.codes.get(content..end)?);
                Some(end)
            }
            1 => {
                let (from, to) = (f64::from(*self.out.last()?), f64::from(self.code(content)?));
                for step in 1..=length {
                    let value = from + (to - from) * step as f64 / length as f64;
                    self.out.push(value.round_ties_even() as u16);
                }
                Some(content + 1)
            }
            2 if indirect_allowed => {
                let (offset, after) = self.offset(content)?;
                let mut target = offset;
                for _ in 0..length {
                    target = self.expand(target, false)?;
                }
                Some(after)
            }
            _ => None,
        }
    }

    /// The offset that an indirect segment names, as a position, and the position after it. It is
    /// written in 32 bits, least significant part first, and counts bytes.
    fn offset(&self, position: usize) -> Option<(usize, usize)> {
        let (parts, shift, code_bytes) = if self.eight { (4, 8, 1) } else { (2, 16, 2) };
        let mut offset = 0usize;
        for part in 0..parts {
            offset |= usize::from(self.code(position + part)?) << (shift * part);
        }
        Some((offset / code_bytes, position + parts))
    }
}
