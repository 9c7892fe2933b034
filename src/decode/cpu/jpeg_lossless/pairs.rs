//! Two differences by one look-up, for larger scans whose components share a table.
//!
//! Must not know markers or restart intervals. What limits the plain loop is the way from one code
//! to the next (a load and two shifts), not the arithmetic. Where the next bits hold a whole
//! difference and the code of the one after it, that way is gone once for both. Whether they do
//! changes from sample to sample, so there is no branch on it: two samples are written always, and
//! the second one counts or is written again.

use super::Sample;
use super::bits::Bits;
use super::huffman::{Table, extend};
use super::predict::predict;

/// Bits looked up. Two look-ups must fit into the 56 bits of a refill; each takes at most its bits
/// and the 15 extra bits of the last difference: 2 * (12 + 15) = 54. The table takes 16 KiB.
const PAIR_BITS: u32 = 12;

/// Scans of fewer samples do not pay for the table.
pub(super) const SAMPLES_MIN: usize = 1 << 14;

/// There are two differences.
const BOTH: u32 = 1 << 18;

/// By the next bits, three fields of six bits: the length of all that is decoded, where the extra
/// bits of the last difference start, and 63 minus their number. Then [`BOTH`]. From bit 20 on, the
/// first of two differences, signed: its bits are all among those looked up. Zero: to be searched.
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
                let (more, next_code, next_shift) =
                    (second & 63, second >> 8 & 63, second >> 16 & 63);
                if second != 0 && total + next_code <= PAIR_BITS {
                    // At most 10 extra bits, so that the difference fits into the upper 12 bits.
                    let top = u64::from(window) << (64 - PAIR_BITS);
                    let difference = extend(top << code, shift) as u32;
                    let code = total + next_code;
                    let fields = (total + more) | code << 6 | next_shift << 12;
                    *entry = fields | BOTH | difference << 20;
                }
            }
        }
        Self(entries)
    }
}

/// Decodes a line of `N` interleaved components that share a table; `start` is the prediction of
/// the first sample of each. `above` is not read by predictor 1.
pub(super) fn line<T: Sample, const N: usize, const SELECTION: u8>(
    bits: &mut Bits<'_>,
    (table, pairs): (&Table, &Pairs),
    start: [u16; 4],
    above: &[T],
    line: &mut [T],
) {
    let mut reader = *bits;
    for (sample, start) in line.iter_mut().zip(start).take(N) {
        reader.refill();
        *sample = T::from_u16(start.wrapping_add(table.difference(&mut reader) as u16));
    }
    // Both begin one pixel before the sample to come.
    let (mut rest, mut above) = (line, above);
    // With one component the sample before is kept in a register: memory would be the longest way.
    let mut before = rest.first().map_or(0, |first| value(*first));
    'pairs: while rest.len() >= N + 4 {
        reader.refill();
        for _ in 0..2 {
            let Some(near) = rest.get_mut(..N + 2) else {
                break 'pairs;
            };
            let up = match above.get(..N + 2) {
                _ if SELECTION == 1 => [0; 4],
                Some(up) => [up[0], up[1], up[N], up[N + 1]].map(value),
                None => break 'pairs,
            };
            let left = if N == 1 { before } else { value(near[0]) };
            let prediction = predict::<SELECTION>(left, up[2], up[0]);
            let window = reader.peek();
            let entry = pairs.0[(window >> (64 - PAIR_BITS)) as usize];
            let count = if entry == 0 {
                let first = prediction.wrapping_add(table.difference(&mut reader)) as u16;
                near[N] = T::from_u16(first);
                before = i32::from(first);
                1
            } else {
                reader.consume(entry);
                let last = extend(window << (entry >> 6 & 63), entry >> 12 & 63);
                let both = entry & BOTH != 0;
                let first = if both { entry as i32 >> 20 } else { last };
                let first = prediction.wrapping_add(first) as u16;
                let left = if N == 1 {
                    i32::from(first)
                } else {
                    value(near[1])
                };
                let second = predict::<SELECTION>(left, up[3], up[1]).wrapping_add(last) as u16;
                near[N] = T::from_u16(first);
                near[N + 1] = T::from_u16(second);
                before = i32::from(if both { second } else { first });
                1 + usize::from(both)
            };
            rest = &mut rest[count..];
            if SELECTION != 1 {
                above = &above[count..];
            }
        }
    }
    for at in N..rest.len() {
        let up = |at: usize| above.get(at).map_or(0, |sample| value(*sample));
        let prediction = predict::<SELECTION>(value(rest[at - N]), up(at), up(at - N));
        reader.refill();
        rest[at] = T::from_u16(prediction.wrapping_add(table.difference(&mut reader)) as u16);
    }
    *bits = reader;
}

#[inline(always)]
fn value<T: Sample>(sample: T) -> i32 {
    i32::from(sample.to_u16())
}
