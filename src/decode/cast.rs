//! Casts between dtypes, for `volume.f32.npy` and its kind.
//!
//! Pure: samples in, samples out. A cast rounds half to even and saturates, because it was asked
//! for by name; it never fails on a value. NaN becomes 0 in an integer, stays NaN in a float.
//!
//! `unsafe` because a function compiled for AVX2 may run only where the processor has it.
#![allow(unsafe_code)]

use crate::volume::Dtype;

/// Why a cast cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// The pair of dtypes is not one of those offered.
    #[error("no cast from {} to {}", .from.descr(), .to.descr())]
    Unsupported {
        /// dtype of the input.
        from: Dtype,
        /// dtype of the output.
        to: Dtype,
    },
    /// Input and output do not hold the same number of whole elements.
    #[error("{input_bytes} bytes of {} cannot become {output_bytes} bytes of {}",
        .from.descr(), .to.descr())]
    Length {
        /// dtype of the input.
        from: Dtype,
        /// dtype of the output.
        to: Dtype,
        /// Length of the input.
        input_bytes: usize,
        /// Length of the output.
        output_bytes: usize,
    },
}

/// A little endian element in a byte slice.
pub(crate) trait Element: Copy {
    /// Bytes of one element.
    const LEN: usize;
    /// Reads it; `bytes` is `LEN` long.
    fn read(bytes: &[u8]) -> Self;
    /// Writes it; `bytes` is `LEN` long.
    fn write(self, bytes: &mut [u8]);
}

/// An element that a cast can start from.
trait Source: Element {
    /// The value in f64: exact but for 64-bit integers beyond 2^53.
    fn to_f64(self) -> f64;
    /// Nearest f32; finite values stay finite.
    fn to_f32(self) -> f32;
    /// Nearest integer, half to even, saturating at the ends of i32.
    fn to_i32(self) -> i32;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const LEN: usize = size_of::<$t>();
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                <$t>::from_le_bytes(bytes.try_into().unwrap_or_default())
            }
            #[inline(always)]
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
element!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

macro_rules! integer_source {
    ($($t:ty),*) => {$(
        impl Source for $t {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn to_i32(self) -> i32 {
                i32::try_from(self).unwrap_or(if self > 0 { i32::MAX } else { i32::MIN })
            }
        }
    )*};
}
integer_source!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Source for f32 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        f64::from(self).to_i32()
    }
}

impl Source for f64 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        let near = self as f32;
        if near.is_infinite() && self.is_finite() {
            f32::MAX.copysign(near)
        } else {
            near
        }
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        round_half_even(self.clamp(f64::from(i32::MIN), f64::from(i32::MAX))) as i32
    }
}

/// Rounds |value| <= 2^51 to the nearest integer, half to even, without a call into libm: adding
/// 1.5 * 2^52 leaves no bits for a fraction, and IEEE 754 addition rounds half to even.
#[inline(always)]
pub(crate) fn round_half_even(value: f64) -> f64 {
    const NO_FRACTION: f64 = 6_755_399_441_055_744.0;
    (value + NO_FRACTION) - NO_FRACTION
}

/// The nearest binary16 (IEEE 754), half to even; finite values saturate at 65504.
pub fn f16_bits(value: f64) -> u16 {
    const MAX: f64 = 65504.0;
    const MIN_NORMAL: f64 = 1.0 / 16384.0;
    const SUBNORMALS_A_UNIT: f64 = 16_777_216.0;
    let sign = ((value.to_bits() >> 48) & 0x8000) as u16;
    let size = value.abs();
    if size.is_nan() {
        return sign | 0x7E00;
    }
    if size.is_infinite() {
        return sign | 0x7C00;
    }
    if size >= MAX {
        return sign | 0x7BFF;
    }
    if size < MIN_NORMAL {
        // 1024 of these make the smallest normal number, whose bits are 1024 as well.
        return sign | round_half_even(size * SUBNORMALS_A_UNIT) as u16;
    }
    // size = m * 2^e with 1 <= m < 2: scaled to 1024 <= m < 2048, exactly.
    let e = ((size.to_bits() >> 52) as i64) - 1023;
    let scale = f64::from_bits(((1023 + 10 - e) as u64) << 52);
    let mantissa = round_half_even(size * scale) as u16;
    // A mantissa rounded up to 2048 carries into the exponent, as it should.
    sign | ((((e + 15) as u16) << 10) + (mantissa - 1024))
}

/// Converts little endian elements of one dtype to another: to f32, f16, i16 or i32 from any
/// dtype but f16, or from a dtype to itself.
///
/// # Errors
/// [`CastError`], by dtypes and lengths alone, never by values.
pub fn cast(from: Dtype, to: Dtype, input: &[u8], output: &mut [u8]) -> Result<(), CastError> {
    let count = input.len() / from.itemsize();
    let exact = count * from.itemsize() == input.len();
    if !exact || count.checked_mul(to.itemsize()) != Some(output.len()) {
        let (input_bytes, output_bytes) = (input.len(), output.len());
        return Err(CastError::Length {
            from,
            to,
            input_bytes,
            output_bytes,
        });
    }
    if from == to {
        output.copy_from_slice(input);
        return Ok(());
    }
    match from {
        Dtype::U8 => cast_from::<u8>(from, to, input, output),
        Dtype::I8 => cast_from::<i8>(from, to, input, output),
        Dtype::U16 => cast_from::<u16>(from, to, input, output),
        Dtype::I16 => cast_from::<i16>(from, to, input, output),
        Dtype::U32 => cast_from::<u32>(from, to, input, output),
        Dtype::I32 => cast_from::<i32>(from, to, input, output),
        Dtype::U64 => cast_from::<u64>(from, to, input, output),
        Dtype::I64 => cast_from::<i64>(from, to, input, output),
        Dtype::F32 => cast_from::<f32>(from, to, input, output),
        Dtype::F64 => cast_from::<f64>(from, to, input, output),
        Dtype::F16 => Err(CastError::Unsupported { from, to }),
    }
}

fn cast_from<S: Source>(
    from: Dtype,
    to: Dtype,
    input: &[u8],
    output: &mut [u8],
) -> Result<(), CastError> {
    match to {
        Dtype::F32 => map(input, output, S::to_f32),
        Dtype::F16 => map(input, output, |value: S| f16_bits(value.to_f64())),
        Dtype::I32 => map(input, output, S::to_i32),
        Dtype::I16 => map(input, output, |value: S| {
            value
                .to_i32()
                .clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
        }),
        _ => return Err(CastError::Unsupported { from, to }),
    }
    Ok(())
}

/// Applies `rule` to every element. Both slices hold the same number of elements.
#[inline(always)]
pub(crate) fn map<S: Element, T: Element>(
    input: &[u8],
    output: &mut [u8],
    rule: impl FnMut(S) -> T,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        return unsafe { map_avx2(input, output, rule) };
    }
    map_any(input, output, rule);
}

/// The loop of [`map`], compiled for AVX2: the same operations, so the same values, on twice as many
/// elements at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn map_avx2<S: Element, T: Element>(input: &[u8], output: &mut [u8], rule: impl FnMut(S) -> T) {
    map_any(input, output, rule);
}

#[inline(always)]
fn map_any<S: Element, T: Element>(input: &[u8], output: &mut [u8], mut rule: impl FnMut(S) -> T) {
    for (to, from) in output
        .chunks_exact_mut(T::LEN)
        .zip(input.chunks_exact(S::LEN))
    {
        rule(S::read(from)).write(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a finite binary16, by the definition.
    fn f16_value(bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from((bits >> 10) & 31);
        let mantissa = f64::from(bits & 1023);
        if exponent == 0 {
            sign * mantissa * 2f64.powi(-24)
        } else {
            sign * (1024.0 + mantissa) * 2f64.powi(exponent - 25)
        }
    }

    #[test]
    fn every_half_and_every_tie() {
        for bits in 0..0x7C00u16 {
            let value = f16_value(bits);
            assert_eq!(f16_bits(value), bits);
            assert_eq!(f16_bits(-value), bits | 0x8000);
            if bits < 0x7BFF {
                let tie = (value + f16_value(bits + 1)) / 2.0;
                let even = bits + (bits & 1);
                assert_eq!(f16_bits(tie), even, "tie above {bits:#x}");
                assert_eq!(f16_bits(f64::from_bits(tie.to_bits() - 1)), bits);
                assert_eq!(f16_bits(f64::from_bits(tie.to_bits() + 1)), bits + 1);
            }
        }
        assert_eq!(f16_bits(65504.0), 0x7BFF);
        assert_eq!(f16_bits(1e300), 0x7BFF);
        assert_eq!(f16_bits(-65520.0), 0xFBFF);
        assert_eq!(f16_bits(f64::INFINITY), 0x7C00);
        assert_eq!(f16_bits(f64::NEG_INFINITY), 0xFC00);
        assert_eq!(f16_bits(f64::NAN) & 0x7FFF, 0x7E00);
        assert_eq!(f16_bits(f64::MIN_POSITIVE), 0);
    }

    fn one<S: Element, T: Element>(from: Dtype, to: Dtype, value: S) -> T {
        let mut input = [0; 8];
        value.write(&mut input[..S::LEN]);
        let mut output = [0; 8];
        cast(from, to, &input[..S::LEN], &mut output[..T::LEN]).unwrap();
        T::read(&output[..T::LEN])
    }

    #[test]
    fn integers_round_half_even_and_saturate() {
        let table: [(f64, i16, i32); 11] = [
            (0.5, 0, 0),
            (1.5, 2, 2),
            (2.5, 2, 2),
            (-0.5, 0, 0),
            (-1.5, -2, -2),
            (32767.4, 32767, 32767),
            (32767.5, 32767, 32768),
            (-40000.0, -32768, -40000),
            (2147483646.5, 32767, 2147483646),
            (1e300, 32767, i32::MAX),
            (f64::NAN, 0, 0),
        ];
        for (value, short, long) in table {
            assert_eq!(
                one::<f64, i16>(Dtype::F64, Dtype::I16, value),
                short,
                "{value}"
            );
            assert_eq!(
                one::<f64, i32>(Dtype::F64, Dtype::I32, value),
                long,
                "{value}"
            );
        }
        assert_eq!(one::<f32, i16>(Dtype::F32, Dtype::I16, 2.5), 2);
        assert_eq!(
            one::<f32, i32>(Dtype::F32, Dtype::I32, f32::NEG_INFINITY),
            i32::MIN
        );
        assert_eq!(one::<u16, i16>(Dtype::U16, Dtype::I16, 40000), 32767);
        assert_eq!(one::<u64, i32>(Dtype::U64, Dtype::I32, u64::MAX), i32::MAX);
        assert_eq!(one::<i64, i32>(Dtype::I64, Dtype::I32, i64::MIN), i32::MIN);
        assert_eq!(one::<u8, i32>(Dtype::U8, Dtype::I32, 255), 255);
    }

    #[test]
    fn floats_round_once() {
        assert_eq!(
            one::<u32, f32>(Dtype::U32, Dtype::F32, 16_777_217),
            16_777_216.0
        );
        assert_eq!(
            one::<u32, f32>(Dtype::U32, Dtype::F32, 16_777_219),
            16_777_220.0
        );
        assert_eq!(one::<f64, f32>(Dtype::F64, Dtype::F32, 1e300), f32::MAX);
        assert_eq!(
            one::<f64, f32>(Dtype::F64, Dtype::F32, f64::INFINITY),
            f32::INFINITY
        );
        assert_eq!(one::<i16, u16>(Dtype::I16, Dtype::F16, -2), 0xC000);
        assert_eq!(one::<u16, u16>(Dtype::U16, Dtype::F16, 2049), 0x6800);
        assert_eq!(one::<u16, u16>(Dtype::U16, Dtype::F16, 65535), 0x7BFF);
    }

    #[test]
    fn lengths_and_pairs_are_checked() {
        let mut out = [0; 8];
        assert!(cast(Dtype::I16, Dtype::F32, &[0; 4], &mut out).is_ok());
        assert!(cast(Dtype::I16, Dtype::F32, &[0; 3], &mut out).is_err());
        assert!(cast(Dtype::I16, Dtype::F32, &[0; 6], &mut out).is_err());
        assert!(cast(Dtype::F64, Dtype::U8, &[0; 64], &mut out).is_err());
        assert!(cast(Dtype::F16, Dtype::F32, &[0; 4], &mut out).is_err());
        assert!(cast(Dtype::F16, Dtype::F16, &[1; 8], &mut out).is_ok());
    }
}
