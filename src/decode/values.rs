//! Stored samples to the values a volume shows: the Modality LUT, palettes, YBR.
//!
//! Pure: one frame in, one frame out. What is to be done was decided from headers by
//! [`crate::volume`]; here it is done exactly or refused.

mod colour;

use super::cast::{Element, map};
use crate::dicom::{ImagePixel, Luts, PixelElement};
use crate::volume::{Dtype, Transform, Values};

/// Why the values of a frame cannot be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// A value does not fit the integer dtype that the headers promised.
    #[error("a value does not fit {}: read volume.i32.npy or volume.stored.npy", .0.descr())]
    Overflow(Dtype),
    /// The lengths of input and output do not follow from the header.
    #[error("{stored_bytes} bytes of stored samples cannot become {shown_bytes} bytes of values")]
    Length {
        /// Bytes of stored samples given.
        stored_bytes: usize,
        /// Bytes of values asked for.
        shown_bytes: usize,
    },
    /// The frame needs a lookup table that its file does not hold.
    #[error("the {0} is missing or empty")]
    MissingLut(&'static str),
    /// An entry of a lookup table does not fit the dtype.
    #[error("an entry of the {0} does not fit the dtype")]
    LutRange(&'static str),
    /// Rescale Slope or Intercept is not a number this rule can use.
    #[error("RescaleSlope {0} and RescaleIntercept {1} cannot be applied")]
    Rescale(f64, f64),
    /// The rule cannot give this dtype from these samples.
    #[error("no rule {transform:?} from {stored_bits}-bit samples to {}", .shown.descr())]
    Unsupported {
        /// The rule asked for.
        transform: Transform,
        /// Bits Allocated of the samples.
        stored_bits: u16,
        /// dtype asked for.
        shown: Dtype,
    },
}

/// dtype of the stored samples of an image; `None` for bits that no dtype holds.
pub fn stored_dtype(image: &ImagePixel) -> Option<Dtype> {
    match image.element {
        PixelElement::FloatPixelData => return Some(Dtype::F32),
        PixelElement::DoubleFloatPixelData => return Some(Dtype::F64),
        PixelElement::PixelData => {}
    }
    Some(match (image.bits_allocated, image.signed) {
        (1, _) | (8, false) => Dtype::U8,
        (8, true) => Dtype::I8,
        (16, false) => Dtype::U16,
        (16, true) => Dtype::I16,
        (32, false) => Dtype::U32,
        (32, true) => Dtype::I32,
        (64, false) => Dtype::U64,
        (64, true) => Dtype::I64,
        _ => return None,
    })
}

/// Turns one frame of stored samples (as [`super::decode_frame`] leaves them) into the values
/// shown. `frame` is the frame's Rescale Slope and Intercept.
///
/// # Errors
/// [`ValueError`]; the contents of `out` are then unspecified and must not be shown.
pub fn apply(
    values: &Values,
    frame: (f64, f64),
    image: &ImagePixel,
    luts: &Luts,
    stored: &[u8],
    out: &mut [u8],
) -> Result<(), ValueError> {
    let shown = values.dtype;
    let unsupported = ValueError::Unsupported {
        transform: values.transform,
        stored_bits: image.bits_allocated,
        shown,
    };
    let from = stored_dtype(image).ok_or_else(|| unsupported.clone())?;
    check_lengths(values, from, stored, out)?;
    let done = match values.transform {
        Transform::Identity if from == shown => {
            out.copy_from_slice(stored);
            Some(Ok(()))
        }
        Transform::Identity => None,
        Transform::Offset => offset(from, shown, frame, stored, out),
        Transform::Linear => linear(from, shown, frame, stored, out),
        Transform::ModalityLut => modality(from, shown, luts, stored, out),
        Transform::Palette => colour::palette(from, shown, luts, stored, out),
        Transform::YbrFullToRgb => {
            colour::ybr_full_to_rgb(from, shown, image.bits_stored, stored, out)
        }
    };
    done.unwrap_or(Err(unsupported))
}

/// A palette makes three samples of one; every other rule keeps their number.
fn check_lengths(
    values: &Values,
    from: Dtype,
    stored: &[u8],
    out: &[u8],
) -> Result<(), ValueError> {
    let count = stored.len() / from.itemsize();
    let factor = if values.transform == Transform::Palette {
        3
    } else {
        1
    };
    let needed = count
        .checked_mul(factor)
        .and_then(|n| n.checked_mul(values.dtype.itemsize()));
    let whole = count * from.itemsize() == stored.len();
    let pixels = values.transform != Transform::YbrFullToRgb || count.is_multiple_of(3);
    if whole && pixels && needed == Some(out.len()) {
        return Ok(());
    }
    Err(ValueError::Length {
        stored_bytes: stored.len(),
        shown_bytes: out.len(),
    })
}

/// `None` from here on: there is no such rule for these dtypes.
type Outcome = Option<Result<(), ValueError>>;

/// stored + whole-number intercept, checked once a frame: the loop has no branch.
fn offset(
    from: Dtype,
    shown: Dtype,
    (slope, intercept): (f64, f64),
    stored: &[u8],
    out: &mut [u8],
) -> Outcome {
    // Up to 2^52 in f64 every whole number is told from its neighbours; i64 sums cannot overflow.
    if slope != 1.0 || intercept.fract() != 0.0 || intercept.abs() > (1u64 << 52) as f64 {
        return Some(Err(ValueError::Rescale(slope, intercept)));
    }
    let wide = intercept as i64;
    macro_rules! add {
        ($from:ty, $shown:ty, $sum:ty, $by:expr) => {{
            let by: $sum = $by;
            let mut lost: $sum = 0;
            map::<$from, $shown>(stored, out, |value| {
                let sum = (value as $sum).wrapping_add(by);
                let kept = sum as $shown;
                lost |= (kept as $sum) ^ sum;
                kept
            });
            lost == 0
        }};
    }
    // i32 sums hold 16-bit samples and any intercept that leaves one of them in i16 or i32 range
    // distinguishable; a larger intercept takes the i64 loop.
    let narrow = i32::try_from(wide)
        .ok()
        .filter(|by| by.unsigned_abs() < 1 << 30);
    let fits = match (from, shown, narrow) {
        (Dtype::I16, Dtype::I16, Some(by)) if i16::try_from(by).is_ok() => {
            offset16(0, by as i16, stored, out)
        }
        // A u16 with its top bit flipped is the i16 that is 32768 less.
        (Dtype::U16, Dtype::I16, Some(by)) if i16::try_from(by + 32768).is_ok() => {
            offset16(0x8000, (by + 32768) as i16, stored, out)
        }
        (Dtype::I16, Dtype::I16, Some(by)) => add!(i16, i16, i32, by),
        (Dtype::U16, Dtype::I16, Some(by)) => add!(u16, i16, i32, by),
        (Dtype::I16, Dtype::I32, Some(by)) => add!(i16, i32, i32, by),
        (Dtype::U16, Dtype::I32, Some(by)) => add!(u16, i32, i32, by),
        (Dtype::U8, Dtype::I16, Some(by)) => add!(u8, i16, i32, by),
        (Dtype::I8, Dtype::I16, Some(by)) => add!(i8, i16, i32, by),
        (Dtype::U8, Dtype::I16, None) => add!(u8, i16, i64, wide),
        (Dtype::I8, Dtype::I16, None) => add!(i8, i16, i64, wide),
        (Dtype::I16, Dtype::I16, None) => add!(i16, i16, i64, wide),
        (Dtype::U16, Dtype::I16, None) => add!(u16, i16, i64, wide),
        (Dtype::I16, Dtype::I32, None) => add!(i16, i32, i64, wide),
        (Dtype::U16, Dtype::I32, None) => add!(u16, i32, i64, wide),
        (Dtype::U8, Dtype::I32, _) => add!(u8, i32, i64, wide),
        (Dtype::I8, Dtype::I32, _) => add!(i8, i32, i64, wide),
        (Dtype::U32, Dtype::I32, _) => add!(u32, i32, i64, wide),
        (Dtype::I32, Dtype::I32, _) => add!(i32, i32, i64, wide),
        _ => return None,
    };
    Some(if fits {
        Ok(())
    } else {
        Err(ValueError::Overflow(shown))
    })
}

/// (word ^ flip) + by in 16 bits, which is what CT and MR need and what vectorises best; `false`
/// when a sum overflows.
fn offset16(flip: u16, by: i16, stored: &[u8], out: &mut [u8]) -> bool {
    // The sign bit of this tells whether any sum has the sign that neither of its terms has.
    let mut lost = 0i16;
    for (to, from) in out.chunks_exact_mut(2).zip(stored.chunks_exact(2)) {
        let term = (u16::from_le_bytes([from[0], from[1]]) ^ flip) as i16;
        let sum = term.wrapping_add(by);
        lost |= (term ^ sum) & (by ^ sum);
        to.copy_from_slice(&sum.to_le_bytes());
    }
    lost >= 0
}

/// stored * slope + intercept in f64, rounded once.
fn linear(
    from: Dtype,
    shown: Dtype,
    (slope, intercept): (f64, f64),
    stored: &[u8],
    out: &mut [u8],
) -> Outcome {
    if !slope.is_finite() || !intercept.is_finite() {
        return Some(Err(ValueError::Rescale(slope, intercept)));
    }
    macro_rules! scale {
        ($from:ty) => {
            match shown {
                Dtype::F32 => map::<$from, f32>(stored, out, |value| {
                    (value as f64 * slope + intercept) as f32
                }),
                Dtype::F64 => {
                    map::<$from, f64>(stored, out, |value| value as f64 * slope + intercept)
                }
                _ => return None,
            }
        };
    }
    match from {
        Dtype::U8 => scale!(u8),
        Dtype::I8 => scale!(i8),
        Dtype::U16 => scale!(u16),
        Dtype::I16 => scale!(i16),
        Dtype::U32 => scale!(u32),
        Dtype::I32 => scale!(i32),
        Dtype::U64 => scale!(u64),
        Dtype::I64 => scale!(i64),
        Dtype::F32 => scale!(f32),
        Dtype::F64 => scale!(f64),
        Dtype::F16 => return None,
    }
    Some(Ok(()))
}

/// Modality LUT (PS3.3 C.11.1.1): samples below the first mapped value take the first entry,
/// samples beyond the table the last.
fn modality(from: Dtype, shown: Dtype, luts: &Luts, stored: &[u8], out: &mut [u8]) -> Outcome {
    const NAME: &str = "Modality LUT (0028,3000)";
    let Some(lut) = luts.modality.as_ref().filter(|lut| !lut.entries.is_empty()) else {
        return Some(Err(ValueError::MissingLut(NAME)));
    };
    let (entries, first_mapped) = (&lut.entries[..], lut.first_mapped);
    macro_rules! look_up {
        ($shown:ty) => {{
            let narrowed: Option<Vec<$shown>> = entries
                .iter()
                .map(|&entry| <$shown>::try_from(entry).ok())
                .collect();
            let Some(table) = narrowed else {
                return Some(Err(ValueError::LutRange(NAME)));
            };
            return map_table(from, first_mapped, &table, stored, out).map(Ok);
        }};
    }
    match shown {
        Dtype::U8 => look_up!(u8),
        Dtype::I8 => look_up!(i8),
        Dtype::U16 => look_up!(u16),
        Dtype::I16 => look_up!(i16),
        Dtype::I32 => look_up!(i32),
        _ => None,
    }
}

fn map_table<T: Element>(
    from: Dtype,
    first_mapped: i32,
    table: &[T],
    stored: &[u8],
    out: &mut [u8],
) -> Option<()> {
    let len = table.len();
    match from {
        Dtype::U8 => map(stored, out, |v: u8| {
            table[index(v.into(), first_mapped, len)]
        }),
        Dtype::I8 => map(stored, out, |v: i8| {
            table[index(v.into(), first_mapped, len)]
        }),
        Dtype::U16 => map(stored, out, |v: u16| {
            table[index(v.into(), first_mapped, len)]
        }),
        Dtype::I16 => map(stored, out, |v: i16| {
            table[index(v.into(), first_mapped, len)]
        }),
        Dtype::U32 => map(stored, out, |v: u32| {
            table[index(v.into(), first_mapped, len)]
        }),
        Dtype::I32 => map(stored, out, |v: i32| {
            table[index(v.into(), first_mapped, len)]
        }),
        _ => return None,
    }
    Some(())
}

/// Index into a table of `len` > 0 entries, clamped at both ends.
#[inline(always)]
fn index(value: i64, first_mapped: i32, len: usize) -> usize {
    let at = value - i64::from(first_mapped);
    usize::try_from(at).unwrap_or(0).min(len - 1)
}

#[cfg(test)]
mod tests;
