//! Bits: the stuffing of T.87 A.1 removed, and codes read from what remains.
//!
//! Knows bytes, bits and where a marker starts; no samples. A segment (the bytes between two
//! markers) is unstuffed once, so that the reader is a mere position in plain bits: any eight
//! bytes are one load, with no test for FF among samples.

use super::Error;

/// Zero bytes behind the bits of a segment, so that a load at its last bit is whole.
const TAIL: usize = 16;

/// The entropy-coded segments of a scan, one after the other.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    stream: &'a [u8],
    pos: usize,
    plain: Vec<u8>,
    /// Bits of `plain` that the stream has.
    len_bits: usize,
}

impl<'a> Segments<'a> {
    /// Segments from `pos` of the stream on.
    pub fn new(stream: &'a [u8], pos: usize) -> Self {
        Self {
            stream,
            pos,
            plain: Vec::new(),
            len_bits: 0,
        }
    }

    /// Where the marker behind the segment is, or the stream's end.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// Unstuffs the bytes up to the next marker and moves to it.
    pub fn unstuff(&mut self) {
        let rest = self.stream.get(self.pos..).unwrap_or_default();
        // No segment is longer plain than stuffed. Only grows: old bytes are overwritten.
        if self.plain.is_empty() {
            self.plain.resize(rest.len() + TAIL, 0);
        }
        let (used, len_bits) = unstuff(rest, &mut self.plain);
        self.pos += used;
        self.len_bits = len_bits;
    }

    /// A reader at the start of the segment.
    pub fn reader(&self) -> Reader<'_> {
        let end = (self.len_bits.div_ceil(8) + TAIL / 2).min(self.plain.len());
        Reader {
            plain: self.plain.get(..end).unwrap_or_default(),
            pos: 0,
            len_bits: self.len_bits,
        }
    }

    /// Steps over the restart marker `RSTm` with `m` = `index` modulo 8.
    pub fn restart(&mut self, index: u32) -> Result<(), Error> {
        let rest = self.stream.get(self.pos..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&byte| byte == 0xFF).count();
        let &marker = rest.get(fill).ok_or(Error::EndsEarly {
            place: "a restart interval",
        })?;
        if fill == 0 || u32::from(marker) != 0xD0 + index % 8 {
            return Err(Error::Malformed {
                what: "a restart marker is missing or out of turn",
            });
        }
        self.pos += fill + 1;
        Ok(())
    }
}

/// Whether one of the eight bytes is FF (some words without any may be reported too).
fn may_have_ff(word: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    // The complement of FF is the zero byte.
    let inverse = !word;
    inverse.wrapping_sub(LOW) & word & (LOW << 7) != 0
}

/// Removes the zero bit that follows each FF byte, up to the first marker (FF and a byte with its
/// high bit set) or the end. Returns the bytes used and the bits written; the eight bytes behind
/// the bits are zero.
fn unstuff(stuffed: &[u8], plain: &mut [u8]) -> (usize, usize) {
    let (mut at, mut written) = (0, 0);
    // Bits on hand: the upper `held` (< 8 between rounds) bits of `hold`.
    let (mut hold, mut held) = (0u64, 0u32);
    let mut put = |written: usize, bytes: [u8; 8]| {
        if let Some(place) = plain.get_mut(written..written + 8) {
            place.copy_from_slice(&bytes);
        }
    };
    loop {
        // Eight bytes without FF: all but the `held` last bits go out at once.
        while let Some(chunk) = stuffed.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*chunk);
            if may_have_ff(word) {
                break;
            }
            put(written, (hold | (word >> held)).to_be_bytes());
            hold = (word << 1) << (63 - held);
            written += 8;
            at += 8;
        }
        // Byte by byte through the neighbourhood of an FF.
        let stop = (at + 8).min(stuffed.len());
        let mut ended = at >= stop;
        while at < stop {
            let byte = stuffed[at];
            hold |= (u64::from(byte) << 56) >> held;
            held += 8;
            at += 1;
            if byte == 0xFF {
                match stuffed.get(at) {
                    Some(&next) if next & 0x80 == 0 => {
                        hold |= (u64::from(next) << 57) >> held;
                        held += 7;
                        at += 1;
                    }
                    Some(_) => {
                        // A marker: its FF is no data.
                        at -= 1;
                        held -= 8;
                        hold &= !(u64::MAX >> held);
                        ended = true;
                        break;
                    }
                    None => {}
                }
            }
            while held >= 8 {
                put(written, hold.to_be_bytes());
                written += 1;
                hold <<= 8;
                held -= 8;
            }
        }
        if ended || at >= stuffed.len() {
            break;
        }
    }
    put(written, hold.to_be_bytes());
    put(written + 1, [0; 8]);
    (at, written * 8 + held as usize)
}

/// A position in the plain bits of one segment. Behind the end it reads zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    plain: &'a [u8],
    pos: usize,
    len_bits: usize,
}

impl Reader<'_> {
    /// The next 57 to 64 bits, first bit highest; the bits below those are zero.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        // The range is written so that one comparison checks it.
        let at = self.pos >> 3;
        match self.plain.get(at..at + 8).map(<[u8; 8]>::try_from) {
            Some(Ok(chunk)) => u64::from_be_bytes(chunk) << (self.pos & 7),
            _ => 0,
        }
    }

    /// Steps over `count` bits.
    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.pos += count as usize;
    }

    /// Reads `count` bits, 32 at most.
    #[inline(always)]
    pub fn read(&mut self, count: u32) -> u32 {
        let value = (self.peek() >> 1) >> (63 - (count & 63));
        self.skip(count);
        value as u32
    }

    /// Fails where more bits were read than there are.
    #[inline]
    pub fn check(&self) -> Result<(), Error> {
        if self.pos > self.len_bits {
            return Err(Error::EndsEarly {
                place: "the samples of a scan",
            });
        }
        Ok(())
    }

    /// Fails where bits other than padding follow the last sample.
    ///
    /// At most 14 bits fill the last byte and the stuffed byte that must follow an FF; zero bytes
    /// before the next marker occur in real files.
    pub fn finish(&self) -> Result<(), Error> {
        self.check()?;
        let after = self.pos + 14;
        let padding = self.plain.get(after >> 3..).unwrap_or_default();
        let clean = match padding.split_first() {
            Some((first, rest)) => {
                (first << (after & 7)) == 0 && rest.iter().all(|&byte| byte == 0)
            }
            None => true,
        };
        if clean {
            Ok(())
        } else {
            Err(Error::Malformed {
                what: "data is left over behind the last sample of a scan",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as A.1 says it.
    fn naive(stuffed: &[u8]) -> (usize, Vec<bool>) {
        let mut bits = Vec::new();
        let mut at = 0;
        while at < stuffed.len() {
            let byte = stuffed[at];
            if byte == 0xFF && stuffed.get(at + 1).is_some_and(|next| next & 0x80 != 0) {
                break;
            }
            let after_ff = at > 0 && stuffed[at - 1] == 0xFF;
            let first = if after_ff { 6 } else { 7 };
            bits.extend((0..=first).rev().map(|bit| byte >> bit & 1 == 1));
            at += 1;
        }
        (at, bits)
    }

    #[test]
    fn unstuffing_agrees_with_the_rule_bit_by_bit() {
        let mut seed = 1u32;
        for round in 0..4000usize {
            let mut stuffed = vec![0u8; round % 61];
            for byte in &mut stuffed {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let rare = if round % 2 == 0 { 4 } else { 60 };
                *byte = if (seed >> 8).is_multiple_of(rare) {
                    0xFF
                } else {
                    (seed >> 24) as u8 & if round % 3 == 0 { 0x7F } else { 0xFF }
                };
            }
            let (used, bits) = naive(&stuffed);
            let mut segments = Segments::new(&stuffed, 0);
            segments.unstuff();
            assert_eq!((segments.pos, segments.len_bits), (used, bits.len()));
            let mut reader = segments.reader();
            for (index, &bit) in bits.iter().enumerate() {
                assert_eq!(reader.read(1) == 1, bit, "bit {index} of {stuffed:02X?}");
            }
            assert_eq!(reader.check(), Ok(()));
            assert_eq!(reader.peek(), 0);
            reader.skip(1);
            assert!(reader.check().is_err());
        }
    }

    #[test]
    fn left_over_data_is_told_from_padding() {
        for (bytes, used, clean) in [
            (&[0xA5u8, 0, 0, 0][..], 3, true),
            (&[0xFF, 0x7F, 0, 0][..], 1, true),
            (&[0xA5, 0xA5, 0, 1][..], 8, false),
            (&[0xA5, 0xA5, 0xA5][..], 8, false),
            (&[0xA5, 0xA5, 0xA5][..], 20, true),
        ] {
            let mut segments = Segments::new(bytes, 0);
            segments.unstuff();
            let mut reader = segments.reader();
            reader.skip(used);
            assert_eq!(reader.finish().is_ok(), clean, "{bytes:02X?}");
        }
    }
}
