//! Decoded lines into the caller's buffer: width, sign and interleaving of the output.
//!
//! Knows the output only, not how samples were coded.

use super::header::Frame;
use super::{Error, Expect};

/// A sample in the line buffers: `u8` up to 8 bits, `u16` above.
pub(super) trait Sample: Copy + Default + Into<i32> + Into<u16> {
    /// Keeps the low bits; callers pass values that fit.
    fn truncate(value: i32) -> Self;
}

impl Sample for u8 {
    #[inline(always)]
    fn truncate(value: i32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    #[inline(always)]
    fn truncate(value: i32) -> Self {
        value as u16
    }
}

/// The buffer for a frame.
pub(super) struct Target<'a> {
    out: &'a mut [u8],
    row_bytes: usize,
    components: usize,
    sample_bytes: usize,
    /// Bits above Bits Stored in 16.
    spare_bits: u32,
    signed: bool,
}

impl<'a> Target<'a> {
    /// `expect` was compared with `frame` and `out`.
    pub fn new(out: &'a mut [u8], frame: &Frame, expect: &Expect) -> Self {
        let components = usize::from(frame.count);
        let sample_bytes = usize::from(expect.sample_bytes);
        Self {
            out,
            row_bytes: frame.width as usize * components * sample_bytes,
            components,
            sample_bytes,
            spare_bits: 16 - u32::from(expect.bits_stored),
            signed: expect.signed,
        }
    }

    /// Whether a scan of these components has the order of the output.
    pub fn is_in_order(&self, components: &[u8]) -> bool {
        components.len() == self.components
            && components
                .iter()
                .enumerate()
                .all(|(index, &component)| index == usize::from(component))
    }

    /// Stores a line of all components, in the order of the output.
    pub fn put_pixels<S: Sample>(&mut self, row: usize, line: &[S]) {
        self.put(row, 0, 1, line.iter().copied());
    }

    /// Stores a line of one component.
    pub fn put_component<S: Sample>(
        &mut self,
        row: usize,
        component: u8,
        line: impl Iterator<Item = S>,
    ) {
        self.put(row, usize::from(component), self.components, line);
    }

    /// Every `stride`th sample of a row from `first` on.
    fn put<S: Sample>(
        &mut self,
        row: usize,
        first: usize,
        stride: usize,
        line: impl Iterator<Item = S>,
    ) {
        let start = row * self.row_bytes;
        let row = self.out.get_mut(start..start + self.row_bytes);
        let row = row.unwrap_or_default();
        let spare = self.spare_bits;
        if self.signed {
            let extend = |value: u16| (((value << spare) as i16) >> spare) as u16;
            put_row(row, self.sample_bytes, first, stride, line, extend);
        } else {
            let mask = |value: u16| (value << spare) >> spare;
            put_row(row, self.sample_bytes, first, stride, line, mask);
        }
    }
}

fn put_row<S: Sample>(
    row: &mut [u8],
    sample_bytes: usize,
    first: usize,
    stride: usize,
    line: impl Iterator<Item = S>,
    finish: impl Fn(u16) -> u16,
) {
    match (sample_bytes, stride) {
        (1, 1) => {
            for (place, sample) in row.iter_mut().zip(line) {
                *place = finish(sample.into()) as u8;
            }
        }
        (1, _) => {
            for (place, sample) in row.iter_mut().skip(first).step_by(stride).zip(line) {
                *place = finish(sample.into()) as u8;
            }
        }
        (_, 1) => {
            for (place, sample) in row.as_chunks_mut::<2>().0.iter_mut().zip(line) {
                *place = finish(sample.into()).to_le_bytes();
            }
        }
        _ => {
            let places = row.as_chunks_mut::<2>().0.iter_mut();
            for (place, sample) in places.skip(first).step_by(stride).zip(line) {
                *place = finish(sample.into()).to_le_bytes();
            }
        }
    }
}

/// HP's reversible colour transforms, modulo the range of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    Hp1,
    Hp2,
    Hp3,
}

impl Transform {
    /// The transform that the byte after "mrfx" names; 0 is none.
    pub fn from_code(code: u8) -> Result<Option<Self>, Error> {
        match code {
            0 => Ok(None),
            1 => Ok(Some(Self::Hp1)),
            2 => Ok(Some(Self::Hp2)),
            3 => Ok(Some(Self::Hp3)),
            _ => Err(Error::Unsupported {
                what: "a colour transform (APP8 mrfx) other than 1 to 3",
            }),
        }
    }

    /// Red, green and blue of one pixel; `range` is the number of sample values.
    fn undo(self, [v1, v2, v3]: [i32; 3], range: i32) -> [i32; 3] {
        let wrap = |value: i32| value & (range - 1);
        let half = range / 2;
        match self {
            Self::Hp1 => [wrap(v1 + v2 - half), v2, wrap(v3 + v2 - half)],
            Self::Hp2 => {
                let red = wrap(v1 + v2 - half);
                [red, v2, wrap(v3 + ((red + v2) >> 1) - half)]
            }
            Self::Hp3 => {
                let green = v1 - ((v3 + v2) >> 2) + range / 4;
                [
                    wrap(v3 + green - half),
                    wrap(green),
                    wrap(v2 + green - half),
                ]
            }
        }
    }
}

/// Undoes a colour transform over a frame of three components.
pub(super) fn undo_transform(transform: Transform, sample_bytes: u8, out: &mut [u8]) {
    if sample_bytes == 1 {
        for pixel in out.as_chunks_mut::<3>().0 {
            *pixel = transform
                .undo(pixel.map(i32::from), 1 << 8)
                .map(|value| value as u8);
        }
    } else {
        for pixel in out.as_chunks_mut::<6>().0 {
            let [a, b, c, d, e, f] = *pixel;
            let samples = [[a, b], [c, d], [e, f]].map(|pair| i32::from(u16::from_le_bytes(pair)));
            let rgb = transform.undo(samples, 1 << 16);
            for (place, value) in pixel.as_chunks_mut::<2>().0.iter_mut().zip(rgb) {
                *place = (value as u16).to_le_bytes();
            }
        }
    }
}
