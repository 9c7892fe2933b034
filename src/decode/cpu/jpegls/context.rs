//! The adaptive state of T.87 Annex A: coding parameters, gradient quantiser, contexts.
//!
//! Knows numbers only, neither bits nor lines. What a context will need for its next sample (the
//! Golomb parameter, the sign rule of A.5.2) is worked out when it is updated, off the path from
//! one sample to the next.

use super::Error;
use super::header::{Frame, Preset};

/// The parameters of a scan (T.87 A.2.1, C.2.4.1.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Params {
    pub max_value: i32,
    pub near: i32,
    /// Quantisation step, 2 NEAR + 1.
    pub step: i32,
    /// Number of distinct errors.
    pub range: i32,
    /// Bits of an escaped error.
    pub qbpp: u32,
    /// Longest code in bits.
    pub limit: u32,
    reset: u32,
    thresholds: [i32; 3],
}

impl Params {
    /// The parameters that the preset and NEAR give, checked against C.2.4.1.1.
    pub fn new(frame: &Frame, preset: &Preset, near: u8) -> Result<Self, Error> {
        let largest = (1i32 << frame.precision) - 1;
        let near = i32::from(near);
        let max_value = match preset.max_value {
            0 => largest,
            value => i32::from(value),
        };
        if max_value > largest {
            return Err(Error::Malformed {
                what: "MAXVAL needs more bits than a sample has",
            });
        }
        if near > max_value / 2 {
            return Err(Error::Malformed {
                what: "NEAR is over half of MAXVAL",
            });
        }
        let defaults = default_thresholds(max_value, near);
        let mut thresholds = [preset.t1, preset.t2, preset.t3].map(i32::from);
        let mut least = near + 1;
        for (value, default) in thresholds.iter_mut().zip(defaults) {
            if *value == 0 {
                *value = default;
            }
            if *value < least || *value > max_value.max(least) {
                return Err(Error::Malformed {
                    what: "the thresholds of the preset parameters are out of order",
                });
            }
            least = *value;
        }
        let reset = match preset.reset {
            0 => 64,
            value => u32::from(value),
        };
        if !(3..=255.max(max_value as u32)).contains(&reset) {
            return Err(Error::Malformed {
                what: "RESET of the preset parameters is out of bounds",
            });
        }
        let step = 2 * near + 1;
        let range = (max_value + 2 * near) / step + 1;
        let bits = bits_for(max_value + 1).max(2);
        Ok(Self {
            max_value,
            near,
            step,
            range,
            qbpp: bits_for(range),
            limit: 2 * (bits + bits.max(8)),
            reset,
            thresholds,
        })
    }

    /// Whether errors wrap at a power of two and need neither step nor clamp: all usual lossless
    /// streams.
    pub fn is_exact(&self) -> bool {
        self.near == 0 && (self.max_value + 1).count_ones() == 1
    }

    /// First value of A in each context (A.2.1).
    fn first_a(&self) -> u32 {
        ((self.range as u32 + 32) >> 6).max(2)
    }
}

/// Least number of bits in which `count` values can be told apart.
fn bits_for(count: i32) -> u32 {
    32 - ((count - 1) as u32).leading_zeros()
}

/// T1, T2, T3 where the preset leaves them open (C.2.4.1.1.1).
fn default_thresholds(max_value: i32, near: i32) -> [i32; 3] {
    let clamp = |value: i32, least: i32| {
        if value > max_value || value < least {
            least
        } else {
            value
        }
    };
    let basic = [3, 7, 21];
    let mut least = near + 1;
    let mut thresholds = [0; 3];
    for (index, basic) in (0i32..).zip(basic) {
        let widening = near * (3 + 2 * index);
        let floor = 2 + index;
        let value = if max_value >= 128 {
            let factor = (max_value.min(4095) + 128) / 256;
            factor * (basic - floor) + floor + widening
        } else {
            let factor = 256 / (max_value + 1);
            (basic / factor + widening).max(floor)
        };
        least = clamp(value, least);
        thresholds[index as usize] = least;
    }
    thresholds
}

/// Gradients to -4..=4 (A.3.3), as a table over all differences of samples modulo `LEN`.
#[derive(Debug)]
pub(super) struct Quantiser<const LEN: usize>(Box<[i8; LEN]>);

impl<const LEN: usize> Quantiser<LEN> {
    /// `LEN` is a power of two and at least twice the number of sample values.
    pub fn new(params: &Params) -> Self {
        let mut table = Box::new([0i8; LEN]);
        let [t1, t2, t3] = params.thresholds;
        let end = params.max_value + 1;
        let mut fill = |from: i32, to: i32, level: i8| {
            for difference in from..to.min(end) {
                table[difference as usize & (LEN - 1)] = level;
                table[difference.wrapping_neg() as usize & (LEN - 1)] = -level;
            }
        };
        fill(params.near + 1, t1, 1);
        fill(t1, t2, 2);
        fill(t2, t3, 3);
        fill(t3, end, 4);
        Self(table)
    }

    #[inline(always)]
    pub fn level(&self, difference: i32) -> i32 {
        i32::from(self.0[difference as usize & (LEN - 1)])
    }
}

/// Length of the tables of contexts: the sum of gradients is in -364..=364, and a power of two that
/// spans them saves the bounds check.
const CONTEXTS: usize = 1024;

/// What a context says of its next sample, for one sign of the gradients.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(8))]
pub(super) struct Next {
    /// Prediction correction C, with the sign applied.
    correction: i16,
    /// Golomb parameter.
    k: u8,
    /// 63 - k.
    shift: u8,
    /// -1 where the error is to be complemented: for the sign, or for the other mapping of A.5.2;
    /// 0 for neither or both.
    flip: i8,
}

impl Next {
    #[inline(always)]
    pub fn k(self) -> u32 {
        u32::from(self.k)
    }

    #[inline(always)]
    pub fn shift(self) -> u32 {
        u32::from(self.shift & 63)
    }

    #[inline(always)]
    pub fn correction(self) -> i32 {
        i32::from(self.correction)
    }

    /// The error that `mapped` stands for (A.5.2 undone), with the sign of the gradients applied
    /// but for the 1 that negation adds to a complement.
    #[inline(always)]
    pub fn unmap(self, mapped: u32) -> i32 {
        (((mapped >> 1) as i32) ^ i32::from(self.flip)) ^ -((mapped & 1) as i32)
    }
}

/// The sums of a context (A.2.1).
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Magnitudes of errors, A.
    a: u32,
    /// Bias, B.
    b: i32,
    /// Occurrences, N.
    n: u32,
    /// Prediction correction, C.
    c: i32,
}

/// The regular contexts. `next` is indexed by the signed sum of gradients modulo its length: both
/// signs are written at each update, so that nothing need be negated before a sample.
#[derive(Debug)]
pub(super) struct Contexts {
    next: [Next; CONTEXTS],
    sums: [Sums; CONTEXTS / 2],
}

impl Contexts {
    pub fn new(params: &Params) -> Box<Self> {
        let mut contexts = Box::new(Self {
            next: [Next::default(); CONTEXTS],
            sums: [Sums::default(); CONTEXTS / 2],
        });
        contexts.reset(params);
        contexts
    }

    /// The state at the start of a scan or restart interval.
    pub fn reset(&mut self, params: &Params) {
        let a = params.first_a();
        let k = golomb(1, a);
        self.sums.fill(Sums {
            a,
            b: 0,
            n: 1,
            c: 0,
        });
        let first = Next {
            correction: 0,
            k: k as u8,
            shift: (63 - k) as u8,
            flip: 0,
        };
        let (positive, negative) = self.next.split_at_mut(CONTEXTS / 2);
        positive.fill(first);
        negative.fill(Next { flip: -1, ..first });
    }

    #[inline(always)]
    pub fn next(&self, gradients: i32) -> Next {
        self.next[gradients as usize & (CONTEXTS - 1)]
    }

    /// Learns from an error (A.6), without the sign of the gradients. Wraps on the impossible
    /// errors of a corrupt stream.
    #[inline(always)]
    pub fn update<const EXACT: bool>(&mut self, gradients: i32, error: i32, params: &Params) {
        let index = gradients.unsigned_abs() as usize & (CONTEXTS / 2 - 1);
        let sums = &mut self.sums[index];
        let scaled = if EXACT {
            error
        } else {
            error.wrapping_mul(params.step)
        };
        let mut a = sums.a.wrapping_add(error.unsigned_abs());
        let mut b = sums.b.wrapping_add(scaled);
        let mut n = sums.n;
        if n == params.reset {
            (a, b, n) = halve(a, b, n);
        }
        n += 1;
        let count = n as i32;
        // A.6.2: B is brought back into -N < B <= 0, C follows.
        let low = i32::from(b <= -count);
        let high = i32::from(b > 0);
        let c = (sums.c + high - low).clamp(-128, 127);
        let b = b.wrapping_add((low - high) * count).clamp(1 - count, 0);
        let k = golomb(n, a);
        let flips = (EXACT || params.near == 0) && k == 0 && 2 * b <= -count;
        *sums = Sums { a, b, n, c };
        let next = Next {
            correction: c as i16,
            k: k as u8,
            shift: (63 - k) as u8,
            flip: -i8::from(flips),
        };
        // Where there is but one, for no gradients at all, the positive one holds.
        self.next[index.wrapping_neg() & (CONTEXTS - 1)] = Next {
            correction: -next.correction,
            flip: !next.flip,
            ..next
        };
        self.next[index] = next;
    }
}

/// A.6.1; arithmetic shift is what it spells out for negative B. Rare, so kept out of the way: as
/// a branch it costs less than three shifts at each sample.
#[cold]
#[inline(never)]
fn halve(a: u32, b: i32, n: u32) -> (u32, i32, u32) {
    (a >> 1, b >> 1, n >> 1)
}

/// Least k with n * 2^k >= a (A.5.1).
#[inline(always)]
fn golomb(n: u32, a: u32) -> u32 {
    // A zero would be a case of its own to the processor, and has the k of a one.
    let (n_zeros, a_zeros) = ((n | 1).leading_zeros(), (a | 1).leading_zeros());
    let above = u32::from((a << a_zeros) > (n << n_zeros));
    (n_zeros + above).saturating_sub(a_zeros)
}

/// One of the two contexts of run interruption (A.7.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct RunContext {
    a: u32,
    n: u32,
    negative: u32,
    /// RItype: 1 where the samples left and above are alike.
    kind: u32,
}

impl RunContext {
    pub fn new(params: &Params, kind: u32) -> Self {
        Self {
            a: params.first_a(),
            n: 1,
            negative: 0,
            kind,
        }
    }

    pub fn k(&self) -> u32 {
        golomb(self.n, self.a.wrapping_add((self.n >> 1) * self.kind))
    }

    /// Undoes the mapping of the error and learns from it (A.7.2.1, A.7.2.2).
    pub fn take(&mut self, mapped: u32, k: u32, params: &Params) -> i32 {
        let doubled = mapped.wrapping_add(self.kind);
        let odd = doubled & 1 == 1;
        let magnitude = (doubled.wrapping_add(1) >> 1) as i32;
        let is_negative = (k != 0 || 2 * self.negative >= self.n) == odd;
        let error = if is_negative { -magnitude } else { magnitude };
        self.negative += u32::from(error < 0);
        self.a = self
            .a
            .wrapping_add(mapped.wrapping_add(1).wrapping_sub(self.kind) >> 1);
        if self.n == params.reset {
            self.a >>= 1;
            self.n >>= 1;
            self.negative >>= 1;
        }
        self.n += 1;
        error
    }
}
