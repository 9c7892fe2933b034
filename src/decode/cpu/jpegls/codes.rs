//! The codes of T.87: Golomb codes of limited length (A.5.3) and run lengths (A.7.1).
//!
//! Knows bits and the numbers they stand for, not samples.

use super::Error;
use super::bits::Reader;

/// Order of the run-length codes (A.2.1).
const J: [u8; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// A Golomb code of any length (A.5.3): `k` is its parameter, `limit` the longest length.
#[inline]
pub(super) fn long_code(
    bits: &mut Reader<'_>,
    k: u32,
    limit: u32,
    qbpp: u32,
) -> Result<u32, Error> {
    let escape = limit - qbpp - 1;
    // At most 55 zeros are an escape, and the one behind them is still among the bits at hand.
    let zeros = bits.peek().leading_zeros();
    bits.skip(zeros + 1);
    if zeros < escape {
        return Ok(((u64::from(zeros) << k) as u32) | bits.read(k));
    }
    if zeros > escape {
        bits.check()?;
        return Err(Error::Malformed {
            what: "a code is longer than the limit",
        });
    }
    Ok(bits.read(qbpp) + 1)
}

/// A run and how it was coded.
pub(super) struct Run {
    /// Samples of the run, without the one that interrupts it.
    pub len: usize,
    /// Order of the last run-length code, which shortens the limit of the interrupting sample.
    pub order: u32,
}

/// The length of a run (A.7.1); `room` is the rest of the line, reached or interrupted before.
#[inline(always)]
pub(super) fn run_length(
    bits: &mut Reader<'_>,
    room: usize,
    run_index: &mut usize,
) -> Result<Run, Error> {
    let mut len = 0;
    let mut index = *run_index & 31;
    // Unread bits, and how many of them are gone.
    let mut window = bits.peek();
    let mut used = 0;
    // Each round adds a sample at least, so that the line bounds the loop.
    while window >> 63 == 1 {
        let whole = 1usize << J[index];
        if len + whole >= room {
            // Reached or, with a longer code than was left, overshot: the line ends here.
            *run_index = (index + usize::from(len + whole == room)).min(31);
            bits.skip(used + 1);
            return Ok(Run {
                len: room,
                order: 0,
            });
        }
        len += whole;
        index = (index + 1).min(31);
        window <<= 1;
        used += 1;
        if used == 40 {
            bits.skip(used);
            (window, used) = (bits.peek(), 0);
        }
    }
    let order = u32::from(J[index]);
    // At most 39 bits are gone, and 1 + 15 are looked at.
    len += ((window << 1 >> 1) >> (63 - order)) as usize;
    bits.skip(used + 1 + order);
    if len >= room {
        bits.check()?;
        return Err(Error::Malformed {
            what: "a run is longer than its line",
        });
    }
    *run_index = index.saturating_sub(1);
    Ok(Run { len, order })
}
