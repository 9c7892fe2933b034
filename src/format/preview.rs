//! `preview.png`: what a volume looks like, in a picture whose size follows from headers alone.
//!
//! A stack of slices is shown as three panels side by side, aligned at the top: the z, y and x mid
//! planes. Pixels are square in mm where the geometry is known. The z plane is drawn as it is
//! stored, row 0 on top; the y and x planes are drawn with z ascending upward. No panel is turned to
//! where the patient's head or left side is: that is what the affine is for. Of a t or s axis the
//! first entry is shown. A single slice is one panel, frames without places are one panel of the
//! middle frame.
//!
//! [`Layout`] says which frames are needed and how large the picture is; [`Picture`] takes those
//! frames one at a time and keeps only the pixels it shows. Knows no files: whoever holds the frames
//! brings them.

mod picture;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

pub use super::png::Channels;
pub use picture::{Error, Picture};

use super::png;
use crate::volume::{Variant, Volume};

/// Longest side of a panel in pixels. Three of these are a picture of 2.3 MB at most, and as many
/// slices are decoded for the y and x planes.
const PANEL_SIDE_MAX: u32 = 512;

/// What a picture of a volume is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    width: u32,
    height: u32,
    channels: Channels,
    panels: Vec<Panel>,
    frame: FrameShape,
    /// Frames of the volume.
    frame_count: usize,
}

/// Rows, columns and samples a pixel of a frame of the volume.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FrameShape {
    rows: usize,
    columns: usize,
    samples: usize,
}

/// A plane of the volume and where in the picture it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Panel {
    plane: Plane,
    /// First column in the picture; the first row is 0.
    left: usize,
    width: usize,
    height: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Plane {
    /// A frame.
    Frame { frame: usize },
    /// A row of each slice: x to the right, z upward.
    Row { row: usize, slices: usize },
    /// A column of each slice: y to the right, z upward.
    Column { column: usize, slices: usize },
}

/// A number of samples along an axis and how far they are apart, in any unit.
#[derive(Debug, Clone, Copy)]
struct Side {
    count: usize,
    spacing: f64,
}

impl Layout {
    /// The layout of a volume's picture.
    pub fn of(volume: &Volume) -> Layout {
        let shape = volume.frame_shape(Variant::Values);
        let length = |axis: usize| shape.get(axis).map_or(1, |length| *length as usize);
        let frame = FrameShape {
            rows: length(0),
            columns: length(1),
            samples: length(2),
        };
        let slices = axis_length(volume, 'z').unwrap_or(1);
        let mut layout = Layout {
            width: 0,
            height: 0,
            channels: if frame.samples == 3 {
                Channels::Rgb
            } else {
                Channels::Grey
            },
            panels: Vec::new(),
            frame,
            frame_count: volume.frames.len(),
        };
        if slices > 1 {
            layout.stack(volume, slices);
        } else {
            let middle = axis_length(volume, 'f').map_or(0, |frames| frames / 2);
            layout.single(volume, middle);
        }
        layout
    }

    /// Columns of the picture.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of the picture.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What its pixels are.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The frames that the picture needs, as indices into [`Volume::frames`], ascending.
    pub fn frames(&self) -> BTreeSet<usize> {
        let shown = self.panels.iter().flat_map(Panel::frames);
        shown.filter(|frame| *frame < self.frame_count).collect()
    }

    /// Length in bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        png::len_bytes(self.width, self.height, self.channels)
    }

    /// The three mid planes of the first entry of the leading axes.
    fn stack(&mut self, volume: &Volume, slices: usize) {
        let spacing = volume.geometry.as_ref().map(|g| g.spacing_mm);
        let [z, y, x] = spacing.unwrap_or([1.0; 3]);
        let FrameShape { rows, columns, .. } = self.frame;
        let sides = [(slices, z), (rows, y), (columns, x)];
        let [z, y, x] = pixels(sides.map(|(count, spacing)| Side { count, spacing }));
        let (row, column) = (rows / 2, columns / 2);
        let middle = slices / 2;
        self.add(Plane::Frame { frame: middle }, x, y);
        self.add(Plane::Row { row, slices }, x, z);
        self.add(Plane::Column { column, slices }, y, z);
    }

    fn single(&mut self, volume: &Volume, frame: usize) {
        let spacing = volume
            .geometry
            .as_ref()
            .map(|g| [g.spacing_mm[1], g.spacing_mm[2]]);
        let spacing = spacing.or_else(|| pixel_spacing(volume, frame));
        let [y, x] = spacing.unwrap_or([1.0; 2]);
        let sides = [(self.frame.rows, y), (self.frame.columns, x)];
        let [y, x] = pixels(sides.map(|(count, spacing)| Side { count, spacing }));
        self.add(Plane::Frame { frame }, x, y);
    }

    /// Puts a panel to the right of those that are there. Sides are at most [`PANEL_SIDE_MAX`].
    fn add(&mut self, plane: Plane, width: usize, height: usize) {
        self.panels.push(Panel {
            plane,
            left: self.width as usize,
            width,
            height,
        });
        self.width += width as u32;
        self.height = self.height.max(height as u32);
    }
}

/// Length of the axis with this letter.
fn axis_length(volume: &Volume, letter: char) -> Option<usize> {
    let axis = volume.axes.find(letter)?;
    volume.shape.get(axis).map(|length| *length as usize)
}

/// Pixel Spacing of a frame, for volumes that have no geometry.
fn pixel_spacing(volume: &Volume, frame: usize) -> Option<[f64; 2]> {
    let stored = volume.frames.get(frame)?.stored?;
    let instance = &volume.records.get(stored.record)?.instance;
    let own = instance.per_frame.get(stored.frame_index as usize);
    own.and_then(|own| own.pixel_spacing)
        .or(instance.shared.pixel_spacing)
}

/// Pixels along each side when one pixel stands for the same length on all of them: the smallest
/// spacing, or what brings the longest side down to [`PANEL_SIDE_MAX`].
fn pixels<const N: usize>(sides: [Side; N]) -> [usize; N] {
    let believable = |side: &Side| side.spacing.is_finite() && side.spacing > 0.0;
    let sides = match sides.iter().all(believable) {
        true => sides,
        false => sides.map(|side| Side {
            spacing: 1.0,
            ..side
        }),
    };
    let extent = |side: &Side| side.count as f64 * side.spacing;
    let longest = sides.iter().map(extent).fold(0.0, f64::max);
    let finest = sides
        .iter()
        .map(|side| side.spacing)
        .fold(f64::INFINITY, f64::min);
    let most = f64::from(PANEL_SIDE_MAX);
    let pixel = finest.max(longest / most);
    sides.map(|side| (extent(&side) / pixel).round().clamp(1.0, most) as usize)
}

/// The sample nearest to the middle of pixel `at` of `pixels` that show `count` samples.
fn nearest(at: usize, pixels: usize, count: usize) -> usize {
    let middle = (2 * at as u128 + 1) * count as u128 / (2 * pixels as u128);
    (middle as usize).min(count.saturating_sub(1))
}

/// The same with the last sample on top.
fn upward(at: usize, pixels: usize, count: usize) -> usize {
    count.saturating_sub(1) - nearest(at, pixels, count)
}

impl Panel {
    /// The frame that each of its rows shows a part of.
    fn frames(&self) -> impl Iterator<Item = usize> {
        let rows = match self.plane {
            Plane::Frame { .. } => 0..1,
            Plane::Row { .. } | Plane::Column { .. } => 0..self.height,
        };
        rows.map(|at| self.frame_at(at))
    }

    fn frame_at(&self, row: usize) -> usize {
        match self.plane {
            Plane::Frame { frame } => frame,
            Plane::Row { slices, .. } | Plane::Column { slices, .. } => {
                upward(row, self.height, slices)
            }
        }
    }

    /// Calls `draw` with the row and column in the picture, and the row and column in the frame, of
    /// each pixel that `frame` gives the panel.
    fn visit(
        &self,
        shape: &FrameShape,
        frame: usize,
        draw: &mut impl FnMut([usize; 2], [usize; 2]),
    ) {
        for at in 0..self.height {
            if self.frame_at(at) != frame {
                continue;
            }
            for across in 0..self.width {
                let along_row = nearest(across, self.width, shape.columns);
                let source = match self.plane {
                    Plane::Frame { .. } => [nearest(at, self.height, shape.rows), along_row],
                    Plane::Row { row, .. } => [row, along_row],
                    Plane::Column { column, .. } => {
                        [nearest(across, self.width, shape.rows), column]
                    }
                };
                draw([at, self.left + across], source);
            }
        }
    }
}
