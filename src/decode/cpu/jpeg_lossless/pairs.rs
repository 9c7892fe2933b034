//! Two differences by one look-up, for larger scans of one component.
//!
//! Must not know markers or restart intervals. What limits the plain loop is the way from one code
//! to the next (a load and two shifts), not the arithmetic. Where the next bits hold a whole
//! difference and the code of the one after it, that way is gone once for both. Whether they do
//! changes from sample to sample, so there is no branch on it: two samples are written always, and
//! the second one counts or is written again.

use super::Sample;
use super::bits::Bits;
use super::huffman::{LOOKUP_BITS, Table, extend};
use super::predict::predict;

/// Bits looked up. Two look-ups must fit into the 56 bits of a refill; each takes at most its bits
/// and the 15 extra bits of the last difference: 2 * (12 + 15) = 54. The table takes 16 KiB.
const PAIR_BITS: u32 = 12;

/// Scans of fewer samples do not pay for the table.
pub(super) const SAMPLES_MIN: usize = 1 << 14;

/// The second difference counts.
const BOTH: u32 = 1 << 30;

/// By the next bits, five fields of six bits: length of all that counts; length of the first code;
/// 63 minus the number of its extra bits; where the second one's extra bits start; 63 minus their
/// number. Then [`BOTH`]. Zero: to be searched.
#[derive(Debug)]
pub(super) struct Pairs(Box<[u32; 1 << PAIR_BITS]>);

impl Pairs {
    pub(super) fn new(table: &Table) -> Self {
        let mut entries = Box::new([0; 1 << PAIR_BITS]);
        for (window, entry) in (0_u32..).zip(entries.iter_mut()) {
            let first = table.entry(window << (32 - PAIR_BITS));
            if first == 0 {
                continue;
            }
            let (total, code, shift) = (first & 63, first >> 8 & 63, first >> 16 & 63);
            *entry = total | code << 6 | shift << 12;
            if total < PAIR_BITS {
                let second = table.entry(window << (32 - PAIR_BITS + total));
                let (more, code, shift) = (second & 63, second >> 8 & 63, second >> 16 & 63);
                if second != 0 && total + code <= PAIR_BITS {
                    *entry += more | (total + code) << 18 | shift << 24 | BOTH;
                }
            }
        }
        Self(entries)
    }
}

/// Decodes samples of `line` from index 1 on, the first being there, and returns the index of the
/// first that is not decoded: one of the last four.
#[inline(always)]
pub(super) fn samples<T: Sample, const SELECTION: u8>(
    bits: &mut Bits<'_>,
    table: &Table,
    pairs: &Pairs,
    above: &[T],
    line: &mut [T],
) -> usize {
    let mut at = 1;
    let mut left = line.first().map_or(0, |first| i32::from(first.to_u16()));
    while at + 4 <= line.len() {
        bits.refill();
        for _ in 0..2 {
            // The samples above: corner, above the first, above the second.
            let up = if SELECTION == 1 {
                [0; 3]
            } else {
                let Some(up) = above.get(at - 1..).and_then(|up| up.first_chunk::<3>()) else {
                    return at;
                };
                up.map(|sample| i32::from(sample.to_u16()))
            };
            let Some(two) = line
                .get_mut(at..)
                .and_then(|rest| rest.first_chunk_mut::<2>())
            else {
                return at;
            };
            let window = bits.peek();
            let entry = pairs.0[(window >> (64 - PAIR_BITS)) as usize];
            let first = predict::<SELECTION>(left, up[1], up[0]);
            if entry == 0 {
                left = i32::from(first.wrapping_add(table.difference(bits)) as u16);
                two[0] = T::from_u16(left as u16);
                at += 1;
                continue;
            }
            bits.consume(entry);
            let difference = extend(window << (entry >> 6 & 63), entry >> 12 & 63);
            let first = first.wrapping_add(difference) as u16;
            let difference = extend(window << (entry >> 18 & 63), entry >> 24 & 63);
            let second = predict::<SELECTION>(i32::from(first), up[2], up[1]);
            let second = second.wrapping_add(difference) as u16;
            *two = [T::from_u16(first), T::from_u16(second)];
            let both = entry & BOTH != 0;
            left = i32::from(if both { second } else { first });
            at += 1 + usize::from(both);
        }
    }
    at
}
