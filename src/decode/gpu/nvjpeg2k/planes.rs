//! What the decoder leaves in device memory: planes of samples, and what their bits are.
//!
//! Pure data. Must not know the library or a device.

use crate::dicom::ImagePixel;

/// A sample of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// A byte: unsigned components of up to 8 bits.
    U8,
    /// A little-endian word: unsigned components of 9 to 16 bits.
    U16,
    /// A little-endian word in two's complement: signed components of any precision. The library
    /// has no signed bytes.
    I16,
}

impl Sample {
    /// Bytes a sample.
    pub fn len_bytes(self) -> usize {
        match self {
            Sample::U8 => 1,
            Sample::U16 | Sample::I16 => 2,
        }
    }
}

/// Most planes of a frame: what the library takes.
pub const COMPONENTS_MAX: usize = 4;

/// The planes of one frame: `components` planes of `rows` rows of `columns` samples.
///
/// A sample is the component's value as the codestream has it, not scaled: 0 to 2^precision - 1 for
/// unsigned components, -2^(precision-1) to 2^(precision-1) - 1, sign-extended to the word, for
/// signed ones. Whether the codestream calls it signed is of no meaning to DICOM: to become stored
/// samples, the lowest `precision` bits of each are taken, and sign-extended where Pixel
/// Representation says so and zero-extended where not, to Bits Allocated; planes become interleaved
/// (`finish_component` in `decode/cpu.rs` is that rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Height in pixels.
    pub rows: u32,
    /// Width in pixels.
    pub columns: u32,
    /// Number of planes.
    pub components: u32,
    /// Bits a sample, 1 to 16.
    pub precision: u32,
    /// What a sample is.
    pub sample: Sample,
}

impl Planes {
    /// Of a picture that the library describes so.
    ///
    /// # Errors
    /// It has no pixels, or samples of other than 1 to 16 bits.
    pub(super) fn new(
        rows: u32,
        columns: u32,
        components: u32,
        precision: u32,
        signed: bool,
    ) -> Result<Planes, String> {
        if rows == 0 || columns == 0 || components == 0 || !(1..=16).contains(&precision) {
            return Err(format!(
                "{rows} x {columns} pixels of {components} components of {precision} bits"
            ));
        }
        let sample = match precision {
            _ if signed => Sample::I16,
            ..=8 => Sample::U8,
            _ => Sample::U16,
        };
        Ok(Planes {
            rows,
            columns,
            components,
            precision,
            sample,
        })
    }

    /// Whether these are the samples of this image.
    pub(super) fn are_of(&self, image: &ImagePixel) -> bool {
        (self.rows, self.columns, self.components)
            == (image.rows, image.columns, image.samples_per_pixel.into())
            && self.precision <= image.bits_allocated.into()
    }

    /// Bytes of a row without padding.
    pub fn row_len_bytes(&self) -> usize {
        self.columns as usize * self.sample.len_bytes()
    }
}
