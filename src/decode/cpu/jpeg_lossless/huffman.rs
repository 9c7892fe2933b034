//! Huffman tables of T.81 Annex C, made for lossless differences (Annex H, Table H.2).
//!
//! Must not know rows or predictors. One look-up by the next [`LOOKUP_BITS`] bits tells the length
//! of the code and of the whole difference (code and extra bits), so that the chain from one symbol
//! to the next is a load and two shifts; the value is computed beside it without a branch.

use super::Error;
use super::bits::Bits;

/// Codes up to this many bits are found by one look-up. Two differences of such codes (15 extra
/// bits each) must fit into the 56 bits of a refill: 2 * (11 + 15) = 52. The table takes 8 KiB.
const LOOKUP_BITS: u32 = 11;

/// The category whose difference is 32768, with no extra bits (T.81 H.1.2.2).
const CATEGORY_32768: u8 = 16;

/// A table as DHT brings it, not yet checked (the marker may hold tables that no scan uses).
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// Codes of length 1..=16 bits.
    pub(super) counts: [u8; 16],
    /// The categories, in the order of their codes.
    pub(super) values: Vec<u8>,
}

/// A table for decoding.
#[derive(Debug)]
pub struct Table {
    /// By the next bits: total length (bits 0..8), code length (8..16), 63 minus the number of
    /// extra bits (16..24). Zero: the code is longer, absent, or category 16.
    fast: Box<[u32; 1 << LOOKUP_BITS]>,
    /// For codes of n + 1 bits: one past the last code, left-aligned to 16 bits.
    limits: [u32; 16],
    /// For codes of n + 1 bits: what to add to the code to get its index in `values`.
    offsets: [i32; 16],
    values: Vec<u8>,
}

impl Table {
    /// Builds the decoding table.
    ///
    /// # Errors
    /// [`Error::Huffman`] when there are more codes than bits allow, or a category above 16.
    pub(super) fn new(definition: &Definition) -> Result<Self, Error> {
        let mut fast = Box::new([0; 1 << LOOKUP_BITS]);
        let (mut limits, mut offsets) = ([0; 16], [0; 16]);
        let values = definition.values.clone();
        if values.iter().any(|&category| category > CATEGORY_32768) {
            return Err(Error::Huffman("a category above 16"));
        }
        let (mut code, mut index) = (0_u32, 0_usize);
        for (n, &count) in definition.counts.iter().enumerate() {
            let length = n as u32 + 1;
            offsets[n] = index as i32 - code as i32;
            for _ in 0..count {
                let &category = values
                    .get(index)
                    .ok_or(Error::Huffman("too few categories"))?;
                if code >> length != 0 {
                    return Err(Error::Huffman("more codes than their lengths allow"));
                }
                if length <= LOOKUP_BITS && category != CATEGORY_32768 {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let extra = u32::from(category);
                    let entry = (length + extra) | length << 8 | (63 - extra) << 16;
                    fast[first..first + (1 << (LOOKUP_BITS - length))].fill(entry);
                }
                code += 1;
                index += 1;
            }
            limits[n] = code << (16 - length);
            code <<= 1;
        }
        Ok(Self {
            fast,
            limits,
            offsets,
            values,
        })
    }

    /// Length and category of the code at the top of the 16 bits `next`, if there is one.
    pub fn find(&self, next: u32) -> Option<(u32, u8)> {
        let n = self.limits.iter().position(|&limit| next < limit)?;
        let index = (next >> (15 - n)) as i32 + self.offsets[n];
        let &category = self.values.get(usize::try_from(index).ok()?)?;
        Some((n as u32 + 1, category))
    }

    /// For codes of n + 1 bits: one past the last code, left-aligned to 16 bits.
    pub fn limits(&self) -> &[u32; 16] {
        &self.limits
    }

    /// For codes of n + 1 bits: what to add to the code to get its index among the categories.
    pub fn offsets(&self) -> &[i32; 16] {
        &self.offsets
    }

    /// The categories, 0 to 16, in the order of their codes.
    pub fn categories(&self) -> &[u8] {
        &self.values
    }

    /// What the look-up gives for a code at the top of `window`; see `fast`.
    pub(super) fn entry(&self, window: u32) -> u32 {
        self.fast[(window >> (32 - LOOKUP_BITS)) as usize]
    }

    /// Decodes one difference, -32767..=32768. Of the 56 bits of a refill it takes at most 26, or
    /// refills again itself: two calls may follow each refill. A code that is not in the table
    /// sets `bits.bad_code` and gives 0.
    #[inline(always)]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> i32 {
        let window = bits.peek();
        let entry = self.fast[(window >> (64 - LOOKUP_BITS)) as usize];
        if entry == 0 {
            let (after, difference) = self.difference_by_search(*bits);
            *bits = after;
            return difference;
        }
        bits.consume(entry);
        extend(window << ((entry >> 8) & 63), (entry >> 16) & 63)
    }

    /// The rare rest: codes over [`LOOKUP_BITS`], category 16, no code at all. By value, so that
    /// the reader stays in registers where this is not called.
    #[cold]
    #[inline(never)]
    fn difference_by_search<'a>(&self, mut bits: Bits<'a>) -> (Bits<'a>, i32) {
        bits.refill();
        let next = (bits.peek() >> 48) as u32;
        let Some((length, category)) = self.find(next) else {
            bits.bad_code = true;
            return (bits, 0);
        };
        bits.consume(length);
        let difference = if category == CATEGORY_32768 {
            32768
        } else {
            let window = bits.peek();
            bits.consume(u32::from(category));
            extend(window, 63 - u32::from(category))
        };
        bits.refill();
        (bits, difference)
    }
}

/// The signed value of the extra bits at the top of `window` (EXTEND of T.81 F.2.2.1), where
/// `shift` is 63 minus their number.
///
/// With the complement of the first bit put before them they are the value in two's complement,
/// short by one when negative; with no extra bits this gives 0 from either bit.
#[inline(always)]
pub(super) fn extend(window: u64, shift: u32) -> i32 {
    let signed = (((window as i64) >> 1) ^ i64::MIN) >> (shift & 63);
    (signed - (signed >> 63)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_bits_follow_the_standard() {
        // T.81 F.2.2.1: V below 2^(T-1) means V - 2^T + 1.
        for category in 0..=15_u32 {
            for value in 0..1_i64 << category {
                let want = if category > 0 && value < 1 << (category - 1) {
                    value - (1 << category) + 1
                } else {
                    value
                };
                for noise in [0, u64::MAX >> 1 >> category] {
                    let top = if category == 0 {
                        0
                    } else {
                        (value as u64) << (64 - category)
                    };
                    assert_eq!(i64::from(extend(top | noise, 63 - category)), want);
                }
            }
        }
    }

    #[test]
    fn impossible_tables_are_refused() {
        let table = |counts: &[u8], values: &[u8]| {
            let mut all = [0; 16];
            all[..counts.len()].copy_from_slice(counts);
            Table::new(&Definition {
                counts: all,
                values: values.to_vec(),
            })
            .map(|_| ())
        };
        assert_eq!(table(&[2], &[0, 1]), Ok(()));
        assert_eq!(table(&[0, 0, 1], &[0]), Ok(()));
        assert!(matches!(table(&[3], &[0, 1, 2]), Err(Error::Huffman(_))));
        assert!(matches!(table(&[2, 1], &[0, 1, 2]), Err(Error::Huffman(_))));
        assert!(matches!(table(&[1], &[17]), Err(Error::Huffman(_))));
        assert!(matches!(table(&[2], &[1]), Err(Error::Huffman(_))));
    }
}
