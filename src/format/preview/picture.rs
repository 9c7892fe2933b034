//! The pixels of a preview, collected frame by frame, and their way to black and white.
//!
//! Colour is shown as it is. Grey is shown between the 1st and the 99th percentile of what the
//! panels hold: the window of the header is made for one organ and one reader, and many headers have
//! none. A segmentation is shown from its least to its greatest value.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::png::{self, Channels};
use super::Layout;
use crate::dicom::{Photometric, Value};
use crate::volume::{Dtype, Transform, Variant, Volume};

/// SOP Classes of segmentations: Segmentation and Label Map Segmentation.
const SEGMENTATIONS: [&str; 2] = [
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
];

/// Part of the values that is left out at either end of the window.
const TAIL: f64 = 0.01;

/// What an image of one value is shown as.
const MID_GREY: u8 = 128;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was brought is no frame of the volume.
    #[error("a frame of {got} bytes instead of {expected}")]
    FrameLength {
        /// Bytes of a frame.
        expected: u64,
        /// Bytes brought.
        got: u64,
    },
    /// Frames have not come.
    #[error("{missing} frames of the preview are missing")]
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// The picture could not be written.
    #[error(transparent)]
    Png(#[from] png::Error),
}

/// A picture in the making.
#[derive(Debug)]
pub struct Picture {
    volume: Arc<Volume>,
    layout: Layout,
    missing: BTreeSet<usize>,
    samples: Samples,
}

/// Rows from the top, samples interleaved.
#[derive(Debug)]
enum Samples {
    /// Colour, and how many low bits of the values are left out.
    Bytes(Vec<u8>, u32),
    /// Values of the volume; NaN where there is nothing to show.
    Numbers(Vec<f64>),
}

impl Picture {
    /// An empty picture of a volume.
    pub fn new(volume: &Arc<Volume>) -> Picture {
        let layout = Layout::of(volume);
        let pixels = layout.width as usize * layout.height as usize;
        let count = pixels * layout.channels.count();
        let samples = match (layout.channels, volume.dtype(Variant::Values)) {
            (Channels::Rgb, Dtype::U8) => Samples::Bytes(vec![0; count], 0),
            (Channels::Rgb, Dtype::U16) => Samples::Bytes(vec![0; count], low_bits(volume)),
            _ => Samples::Numbers(vec![f64::NAN; count]),
        };
        Picture {
            volume: volume.clone(),
            missing: layout.frames(),
            layout,
            samples,
        }
    }

    /// What the picture is made of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes the pixels of a frame of [`Layout::frames`], in any order. `bytes` is the whole frame
    /// of [`Variant::Values`] in the volume's dtype, little endian.
    ///
    /// # Errors
    ///
    /// [`Error::FrameLength`] when it is not.
    pub fn add(&mut self, frame: usize, bytes: &[u8]) -> Result<(), Error> {
        let expected = self.volume.frame_len_bytes(Variant::Values);
        if bytes.len() as u64 != expected {
            let got = bytes.len() as u64;
            return Err(Error::FrameLength { expected, got });
        }
        let (layout, samples) = (&self.layout, &mut self.samples);
        let dtype = self.volume.dtype(Variant::Values);
        let padding = padding(&self.volume, frame);
        let shape = layout.frame;
        let channels = layout.channels.count();
        let mut draw = |[row, column]: [usize; 2], source: [usize; 2]| {
            let to = (row * layout.width as usize + column) * channels;
            let from = (source[0] * shape.columns + source[1]) * shape.samples;
            for channel in 0..channels {
                let at = (from + channel) * dtype.itemsize();
                let Some(value) = bytes.get(at..at + dtype.itemsize()) else {
                    continue;
                };
                match samples {
                    Samples::Bytes(shown, low_bits) => {
                        if let Some(shown) = shown.get_mut(to + channel) {
                            *shown = (number(dtype, value) as u32 >> *low_bits).min(255) as u8;
                        }
                    }
                    Samples::Numbers(shown) => {
                        let value = number(dtype, value);
                        let is_padding = padding.as_ref().is_some_and(|p| p.contains(&value));
                        if let Some(shown) = shown.get_mut(to + channel)
                            && !is_padding
                        {
                            *shown = value;
                        }
                    }
                }
            }
        };
        for panel in &layout.panels {
            panel.visit(&shape, frame, &mut draw);
        }
        self.missing.remove(&frame);
        Ok(())
    }

    /// True when every frame has come.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The PNG file, [`Layout::len_bytes`] long.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`] before every frame has come.
    pub fn png(self) -> Result<Vec<u8>, Error> {
        if !self.is_complete() {
            let missing = self.missing.len();
            return Err(Error::Incomplete { missing });
        }
        let bytes = match self.samples {
            Samples::Bytes(bytes, _) => bytes,
            Samples::Numbers(numbers) => {
                let window = window(&numbers, is_segmentation(&self.volume));
                let inverted = is_inverted(&self.volume);
                let level = |value: &f64| level(*value, window, inverted);
                numbers.iter().map(level).collect()
            }
        };
        let Layout {
            width,
            height,
            channels,
            ..
        } = self.layout;
        Ok(png::encode(width, height, channels, &bytes)?)
    }
}

/// How many bits of 16-bit colour are below the eight that are shown.
fn low_bits(volume: &Volume) -> u32 {
    let image = volume
        .records
        .first()
        .and_then(|r| r.instance.image.as_ref());
    match volume.values.transform {
        // The entries of a table fill their 16 bits.
        Transform::Palette => 8,
        _ => image.map_or(8, |i| u32::from(i.bits_stored.clamp(8, 16)) - 8),
    }
}

fn is_segmentation(volume: &Volume) -> bool {
    let class = volume
        .records
        .first()
        .map(|r| r.instance.sop_class_uid.as_str());
    !volume.segments.is_empty() || class.is_some_and(|uid| SEGMENTATIONS.contains(&uid))
}

/// Is the lowest value white (PS3.3 C.7.6.3.1.2)?
fn is_inverted(volume: &Volume) -> bool {
    let image = volume
        .records
        .first()
        .and_then(|r| r.instance.image.as_ref());
    image.is_some_and(|image| image.photometric == Photometric::Monochrome1)
}

/// The values of a frame that say that nothing was imaged: Pixel Padding Value (0028,0120), or all
/// from there to Pixel Padding Range Limit (0028,0121), which are stored values (PS3.3 C.7.5.1.1.2).
fn padding(volume: &Volume, frame: usize) -> Option<RangeInclusive<f64>> {
    let frame = volume.frames.get(frame)?;
    let attributes = &volume
        .records
        .get(frame.stored?.record)?
        .instance
        .attributes;
    let stored = |keyword: &str| match attributes.get(keyword)? {
        Value::Int(number) => Some(number as f64),
        _ => None,
    };
    let shown = |stored: f64| match volume.values.transform {
        Transform::Identity | Transform::Palette | Transform::YbrFullToRgb => Some(stored),
        Transform::Offset => Some(stored + frame.intercept),
        Transform::Linear => {
            let value = stored * frame.slope + frame.intercept;
            match volume.values.dtype {
                Dtype::F32 => Some(f64::from(value as f32)),
                _ => Some(value),
            }
        }
        // What the table makes of it is not known from the header.
        Transform::ModalityLut => None,
    };
    let value = shown(stored("PixelPaddingValue")?)?;
    let limit = stored("PixelPaddingRangeLimit")
        .and_then(shown)
        .unwrap_or(value);
    Some(value.min(limit)..=value.max(limit))
}

/// Which values are black and white: the percentiles, or the extremes where these say nothing or
/// are wanted. `None` without any finite value.
fn window(numbers: &[f64], extremes: bool) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = numbers.iter().copied().filter(|v| v.is_finite()).collect();
    let last = values.len().checked_sub(1)?;
    let mut ranked = |rank: usize| *values.select_nth_unstable_by(rank, f64::total_cmp).1;
    let tail = (last as f64 * TAIL).round() as usize;
    let inner = [ranked(tail), ranked(last - tail)];
    if extremes || inner[0] == inner[1] {
        return Some([ranked(0), ranked(last)]);
    }
    Some(inner)
}

/// A value as a shade of grey.
fn level(value: f64, window: Option<[f64; 2]>, inverted: bool) -> u8 {
    let Some([black, white]) = window.filter(|_| !value.is_nan()) else {
        return 0;
    };
    if black == white {
        return MID_GREY;
    }
    // Halves keep the difference of the largest numbers finite.
    let part = (value / 2.0 - black / 2.0) / (white / 2.0 - black / 2.0);
    let shade = (part * 255.0).round().clamp(0.0, 255.0) as u8;
    if inverted { 255 - shade } else { shade }
}

/// An element, little endian; 64-bit integers are rounded to what a double holds.
fn number(dtype: Dtype, bytes: &[u8]) -> f64 {
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }
    match dtype {
        Dtype::U8 => f64::from(u8::from_le_bytes(array(bytes))),
        Dtype::I8 => f64::from(i8::from_le_bytes(array(bytes))),
        Dtype::U16 => f64::from(u16::from_le_bytes(array(bytes))),
        Dtype::I16 => f64::from(i16::from_le_bytes(array(bytes))),
        Dtype::U32 => f64::from(u32::from_le_bytes(array(bytes))),
        Dtype::I32 => f64::from(i32::from_le_bytes(array(bytes))),
        Dtype::U64 => u64::from_le_bytes(array(bytes)) as f64,
        Dtype::I64 => i64::from_le_bytes(array(bytes)) as f64,
        Dtype::F16 => half(u16::from_le_bytes(array(bytes))),
        Dtype::F32 => f64::from(f32::from_le_bytes(array(bytes))),
        Dtype::F64 => f64::from_le_bytes(array(bytes)),
    }
}

/// The value of a binary16 (IEEE 754-2019 3.4).
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let mantissa = f64::from(bits & 0x3FF);
    match (bits >> 10) & 0x1F {
        0 => sign * mantissa * 2f64.powi(-24),
        0x1F if mantissa == 0.0 => sign * f64::INFINITY,
        0x1F => f64::NAN,
        exponent => sign * (1024.0 + mantissa) * 2f64.powi(i32::from(exponent) - 25),
    }
}
