//! One line of samples: differences decoded, predictions of T.81 Table H.1 added.
//!
//! Must not know markers, restart intervals or the point transform. One copy of the loop is
//! compiled for each sample type, number of interleaved components and predictor, with the
//! neighbours kept in registers.

use super::Sample;
use super::bits::Bits;
use super::huffman::Table;
use super::pairs::{self, Pairs};

/// The tables of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding<'a> {
    /// By component.
    pub(super) tables: [&'a Table; 4],
    /// For larger scans whose components share the first table.
    pub(super) pairs: Option<&'a Pairs>,
}

/// Decodes one line. The tables and `start` (the prediction of the line's first sample) are by
/// component; `above` is the line before, not read by predictor 1 and then perhaps empty. The
/// caller checks the reader afterwards.
pub(super) type LineFn<T> = fn(&mut Bits<'_>, Coding<'_>, [u16; 4], &[T], &mut [T]);

/// The loop for a scan of `components` (1..=4) and `selection` (1..=7); `None` for others.
pub(super) fn line_fn<T: Sample>(components: usize, selection: u8) -> Option<LineFn<T>> {
    match components {
        1 => match selection {
            1 => Some(line_of_one::<T, 1>),
            2 => Some(line_of_one::<T, 2>),
            3 => Some(line_of_one::<T, 3>),
            4 => Some(line_of_one::<T, 4>),
            5 => Some(line_of_one::<T, 5>),
            6 => Some(line_of_one::<T, 6>),
            7 => Some(line_of_one::<T, 7>),
            _ => None,
        },
        2 => line_fn_of::<T, 2>(selection),
        3 => line_fn_of::<T, 3>(selection),
        4 => line_fn_of::<T, 4>(selection),
        _ => None,
    }
}

fn line_fn_of<T: Sample, const N: usize>(selection: u8) -> Option<LineFn<T>> {
    match selection {
        1 => Some(line::<T, N, 1>),
        2 => Some(line::<T, N, 2>),
        3 => Some(line::<T, N, 3>),
        4 => Some(line::<T, N, 4>),
        5 => Some(line::<T, N, 5>),
        6 => Some(line::<T, N, 6>),
        7 => Some(line::<T, N, 7>),
        _ => None,
    }
}

/// T.81 Table H.1: the prediction from the samples left (Ra), above (Rb) and above left (Rc).
/// May lie outside 16 bits; the sum with the difference is taken modulo 2^16.
#[inline(always)]
pub(super) fn predict<const SELECTION: u8>(left: i32, above: i32, corner: i32) -> i32 {
    match SELECTION {
        1 => left,
        2 => above,
        3 => corner,
        4 => left + above - corner,
        5 => left + ((above - corner) >> 1),
        6 => above + ((left - corner) >> 1),
        _ => (left + above) >> 1,
    }
}

/// The neighbours of the sample to come, of one component.
#[derive(Clone, Copy, Default)]
struct Neighbours {
    left: i32,
    corner: i32,
}

impl Neighbours {
    /// Decodes the sample under `above` and moves on by one.
    #[inline(always)]
    fn next<T: Sample, const SELECTION: u8>(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Table,
        above: T,
    ) -> T {
        let above = i32::from(above.to_u16());
        let prediction = predict::<SELECTION>(self.left, above, self.corner);
        let value = prediction.wrapping_add(table.difference(bits)) as u16;
        *self = Self {
            left: i32::from(value),
            corner: above,
        };
        T::from_u16(value)
    }
}

/// A line of a scan of one component: two samples for each refill.
fn line_of_one<T: Sample, const SELECTION: u8>(
    bits: &mut Bits<'_>,
    coding: Coding<'_>,
    start: [u16; 4],
    above: &[T],
    line: &mut [T],
) {
    let table = coding.tables[0];
    if let Some(pairs) = coding.pairs {
        return pairs::line::<T, 1, SELECTION>(bits, (table, pairs), start, above, line);
    }
    let mut reader = *bits;
    let Some((first, rest)) = line.split_first_mut() else {
        return;
    };
    reader.refill();
    let value = start[0].wrapping_add(table.difference(&mut reader) as u16);
    *first = T::from_u16(value);
    let corner = above.first().map_or(0, |sample| i32::from(sample.to_u16()));
    let mut near = Neighbours {
        left: i32::from(value),
        corner,
    };
    let (pairs, last) = rest.as_chunks_mut::<2>();
    if SELECTION == 1 {
        for pair in pairs {
            reader.refill();
            pair[0] = near.next::<T, SELECTION>(&mut reader, table, T::default());
            pair[1] = near.next::<T, SELECTION>(&mut reader, table, T::default());
        }
        for sample in last {
            reader.refill();
            *sample = near.next::<T, SELECTION>(&mut reader, table, T::default());
        }
    } else {
        let (pairs_above, last_above) = above.get(1..).unwrap_or_default().as_chunks::<2>();
        for (pair, up) in pairs.iter_mut().zip(pairs_above) {
            reader.refill();
            pair[0] = near.next::<T, SELECTION>(&mut reader, table, up[0]);
            pair[1] = near.next::<T, SELECTION>(&mut reader, table, up[1]);
        }
        for (sample, up) in last.iter_mut().zip(last_above) {
            reader.refill();
            *sample = near.next::<T, SELECTION>(&mut reader, table, *up);
        }
    }
    *bits = reader;
}

/// A line of a scan of `N` interleaved components.
fn line<T: Sample, const N: usize, const SELECTION: u8>(
    bits: &mut Bits<'_>,
    coding: Coding<'_>,
    start: [u16; 4],
    above: &[T],
    line: &mut [T],
) {
    if let Some(pairs) = coding.pairs {
        let table = (coding.tables[0], pairs);
        return pairs::line::<T, N, SELECTION>(bits, table, start, above, line);
    }
    let mut reader = *bits;
    let (pixels, _) = line.as_chunks_mut::<N>();
    let (pixels_above, _) = above.as_chunks::<N>();
    let Some((first, rest)) = pixels.split_first_mut() else {
        return;
    };
    let mut near = [Neighbours::default(); N];
    for i in 0..N {
        reader.refill();
        let value = start[i].wrapping_add(coding.tables[i].difference(&mut reader) as u16);
        first[i] = T::from_u16(value);
        let corner = pixels_above
            .first()
            .map_or(0, |pixel| i32::from(pixel[i].to_u16()));
        near[i] = Neighbours {
            left: i32::from(value),
            corner,
        };
    }
    let mut pixel_under = |pixel: &mut [T; N], up: &[T; N]| {
        for i in 0..N {
            // Two differences fit into one refill.
            if i % 2 == 0 {
                reader.refill();
            }
            pixel[i] = near[i].next::<T, SELECTION>(&mut reader, coding.tables[i], up[i]);
        }
    };
    if SELECTION == 1 {
        for pixel in rest {
            pixel_under(pixel, &[T::default(); N]);
        }
    } else {
        for (pixel, up) in rest
            .iter_mut()
            .zip(pixels_above.get(1..).unwrap_or_default())
        {
            pixel_under(pixel, up);
        }
    }
    *bits = reader;
}
