//! Colour rules: palettes and YBR to interleaved RGB.

use super::{Outcome, ValueError, index};
use crate::decode::cast::Element;
use crate::dicom::Luts;
use crate::volume::Dtype;

const PALETTE: &str = "Palette Color Lookup Table (0028,1201)";

/// PALETTE COLOR to interleaved RGB (PS3.3 C.7.6.3.1.5, C.7.9): an index below the first mapped
/// value takes the first entry, one beyond the table the last.
pub(super) fn palette(
    from: Dtype,
    shown: Dtype,
    luts: &Luts,
    stored: &[u8],
    out: &mut [u8],
) -> Outcome {
    let Some(lut) = &luts.palette else {
        return Some(Err(ValueError::MissingLut(PALETTE)));
    };
    let len = lut.entries[0].len();
    if len == 0 || lut.entries.iter().any(|entries| entries.len() != len) {
        return Some(Err(ValueError::MissingLut(PALETTE)));
    }
    let rgb = (0..len).map(|i| [lut.entries[0][i], lut.entries[1][i], lut.entries[2][i]]);
    match shown {
        Dtype::U8 => {
            let narrow: Option<Vec<[u8; 3]>> = rgb.map(narrow).collect();
            let Some(table) = narrow else {
                return Some(Err(ValueError::LutRange(PALETTE)));
            };
            map_pixels(from, lut.first_mapped, &table, stored, out, |entry| entry)
        }
        Dtype::U16 => {
            let table: Vec<[u16; 3]> = rgb.collect();
            map_pixels(from, lut.first_mapped, &table, stored, out, |[r, g, b]| {
                let ([r0, r1], [g0, g1], [b0, b1]) =
                    (r.to_le_bytes(), g.to_le_bytes(), b.to_le_bytes());
                [r0, r1, g0, g1, b0, b1]
            })
        }
        _ => None,
    }
}

fn narrow([r, g, b]: [u16; 3]) -> Option<[u8; 3]> {
    Some([
        u8::try_from(r).ok()?,
        u8::try_from(g).ok()?,
        u8::try_from(b).ok()?,
    ])
}

fn map_pixels<T: Copy, const N: usize>(
    from: Dtype,
    first_mapped: i32,
    table: &[T],
    stored: &[u8],
    out: &mut [u8],
    bytes_of: impl Fn(T) -> [u8; N],
) -> Outcome {
    fn each<S: Element, const N: usize>(
        stored: &[u8],
        out: &mut [u8],
        pixel: impl Fn(S) -> [u8; N],
    ) {
        for (to, from) in out.chunks_exact_mut(N).zip(stored.chunks_exact(S::LEN)) {
            to.copy_from_slice(&pixel(S::read(from)));
        }
    }
    let entry = |value: i64| bytes_of(table[index(value, first_mapped, table.len())]);
    match from {
        Dtype::U8 => each(stored, out, |value: u8| entry(value.into())),
        Dtype::I8 => each(stored, out, |value: i8| entry(value.into())),
        Dtype::U16 => each(stored, out, |value: u16| entry(value.into())),
        Dtype::I16 => each(stored, out, |value: i16| entry(value.into())),
        _ => return None,
    }
    Some(Ok(()))
}

/// YBR_FULL to RGB: the inverse of PS3.3 C.7.6.3.1.2, rounded half up and clamped, in exact
/// integer arithmetic:
///
/// R = Y + 1.402 Cr', G = Y - (0.114 * 1.772 Cb' + 0.299 * 1.402 Cr') / 0.587, B = Y + 1.772 Cb'
///
/// with Cb' and Cr' counted from half the range (128 for 8 bits). pydicom's f32 arithmetic gives
/// the same but for 28 of the 2^24 triples, where the exact green is a half and f32 falls short.
pub(super) fn ybr_full_to_rgb(
    from: Dtype,
    shown: Dtype,
    bits_stored: u16,
    stored: &[u8],
    out: &mut [u8],
) -> Outcome {
    match (from, shown) {
        (Dtype::U8, Dtype::U8) if bits_stored == 8 => ybr8(stored, out),
        (Dtype::U16, Dtype::U16) if (9..=16).contains(&bits_stored) => {
            ybr16(bits_stored, stored, out);
        }
        _ => return None,
    }
    Some(Ok(()))
}

/// What Cr adds to red, as a whole number: half up.
fn red_shift(cr: i64) -> i64 {
    (1402 * cr + 500).div_euclid(1000)
}

fn green_shift(cb: i64, cr: i64) -> i64 {
    // 0.114 * 1.772 = 0.202008 and 0.299 * 1.402 = 0.419198, over 0.587.
    (293_500 - 202_008 * cb - 419_198 * cr).div_euclid(587_000)
}

fn blue_shift(cb: i64) -> i64 {
    (1772 * cb + 500).div_euclid(1000)
}

/// [`green_shift`] for 8-bit chroma without a division (the test tries all 65,536 pairs): made
/// positive by 256 whole steps, then multiplied by 2^50 / 587000 rounded up, whose error of less
/// than 1e-6 of a step is below the 1/587000 between neighbouring sums.
#[inline(always)]
fn green_shift8(cb: i64, cr: i64) -> i64 {
    const INVERSE: i64 = ((1 << 50) + 586_999) / 587_000;
    const STEPS: i64 = 256;
    let sum = 293_500 + STEPS * 587_000 - 202_008 * cb - 419_198 * cr;
    ((sum * INVERSE) >> 50) - STEPS
}

fn ybr8(stored: &[u8], out: &mut [u8]) {
    let red: [i16; 256] = std::array::from_fn(|cr| red_shift(cr as i64 - 128) as i16);
    let blue: [i16; 256] = std::array::from_fn(|cb| blue_shift(cb as i64 - 128) as i16);
    for (rgb, ybr) in out.chunks_exact_mut(3).zip(stored.chunks_exact(3)) {
        let luma = i16::from(ybr[0]);
        let (cb, cr) = (usize::from(ybr[1]), usize::from(ybr[2]));
        let green = green_shift8(cb as i64 - 128, cr as i64 - 128) as i16;
        rgb[0] = (luma + red[cr]).clamp(0, 255) as u8;
        rgb[1] = (luma + green).clamp(0, 255) as u8;
        rgb[2] = (luma + blue[cb]).clamp(0, 255) as u8;
    }
}

fn ybr16(bits_stored: u16, stored: &[u8], out: &mut [u8]) {
    let half = 1i64 << (bits_stored - 1);
    let max = 2 * half - 1;
    for (rgb, ybr) in out.chunks_exact_mut(6).zip(stored.chunks_exact(6)) {
        let [luma, cb, cr] = [0, 2, 4].map(|at| i64::from(u16::read(&ybr[at..at + 2])));
        let (cb, cr) = (cb - half, cr - half);
        let sums = [
            luma + red_shift(cr),
            luma + green_shift(cb, cr),
            luma + blue_shift(cb),
        ];
        for (to, sum) in rgb.chunks_exact_mut(2).zip(sums) {
            (sum.clamp(0, max) as u16).write(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn green_without_division_is_exact() {
        for cb in -128..128 {
            for cr in -128..128 {
                assert_eq!(green_shift8(cb, cr), green_shift(cb, cr), "{cb} {cr}");
            }
        }
    }

    #[test]
    fn ybr_reference_colours() {
        // (Y, Cb, Cr), (R, G, B); the first rows by hand, the others by pydicom 3.0.
        let table: [([u8; 3], [u8; 3]); 7] = [
            ([0, 128, 128], [0, 0, 0]),
            ([255, 128, 128], [255, 255, 255]),
            ([76, 85, 255], [254, 0, 0]),
            ([150, 44, 21], [0, 255, 1]),
            ([29, 255, 107], [0, 0, 254]),
            ([100, 253, 128], [100, 57, 255]),
            ([10, 3, 128], [10, 53, 0]),
        ];
        for (ybr, rgb) in table {
            let mut out = [0; 3];
            let done = ybr_full_to_rgb(Dtype::U8, Dtype::U8, 8, &ybr, &mut out);
            assert_eq!(done, Some(Ok(())));
            assert_eq!(out, rgb, "{ybr:?}");
        }
    }

    #[test]
    fn ybr_of_more_bits_scales_the_offset() {
        let mut stored = [0; 6];
        for (at, value) in [1000u16, 2048, 2048].into_iter().enumerate() {
            value.write(&mut stored[at * 2..at * 2 + 2]);
        }
        let mut out = [0; 6];
        let done = ybr_full_to_rgb(Dtype::U16, Dtype::U16, 12, &stored, &mut out);
        assert_eq!(done, Some(Ok(())));
        assert_eq!([0, 2, 4].map(|at| u16::read(&out[at..at + 2])), [1000; 3]);
        4095u16.write(&mut stored[4..6]);
        ybr_full_to_rgb(Dtype::U16, Dtype::U16, 12, &stored, &mut out);
        assert_eq!(u16::read(&out[..2]), 3870);
    }
}
