//! What the engine must know of a JPEG Lossless frame beyond other frames: its tables, its restart
//! intervals, and the memory they take.
//!
//! Pure. The stream is read here again by the decoder's own code, whatever the other process found.

use std::ops::Range;

use super::frame::{ALIGN, Checked, aligned};
use super::layout::Layout;
use crate::decode::cpu::jpeg_lossless::{Error, Expect, Outline};
use crate::decode::gpu::job::Refusal;
use crate::decode::gpu::lossless::{
    Codes, Interval, PACKED_BYTES_MAX, PART_BITS, Room, TILE_BYTES,
};
use crate::dicom::ImagePixel;

/// A picture that the kernels decode.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::decode::gpu) struct Picture {
    /// Tables by component, or one for all of them.
    pub codes: Vec<Codes>,
    /// Point transform, in bits.
    pub point_transform: u32,
    selection: u32,
    first: u32,
    interval_lines: u32,
    lines: u32,
}

/// Reads the markers of a frame; with it the intervals, relative to its first byte.
pub(super) fn read(
    image: &ImagePixel,
    bytes: &[u8],
) -> Result<(Picture, Vec<Range<usize>>), Refusal> {
    let narrow = |value: u32| u16::try_from(value).map_err(|_| Refusal::Samples);
    let expect = Expect {
        rows: narrow(image.rows)?,
        columns: narrow(image.columns)?,
        components: u8::try_from(image.samples_per_pixel).map_err(|_| Refusal::Samples)?,
        max_bits: u8::try_from(image.bits_allocated).map_err(|_| Refusal::Samples)?,
    };
    let outline = Outline::read(bytes, expect).map_err(refusal)?;
    let intervals = outline.intervals(bytes).map_err(refusal)?;
    if intervals.iter().any(|part| part.len() > PACKED_BYTES_MAX) {
        return Err(Refusal::TooLarge);
    }
    let codes: Option<Vec<Codes>> = outline.tables.iter().map(Codes::of).collect();
    let mut codes = codes.ok_or(Refusal::Codestream)?;
    // With one table for all, a part need not know its first component to fall into step.
    if codes.iter().all(|other| *other == codes[0]) {
        codes.truncate(1);
    }
    let header = outline.header;
    let bits = header.precision - outline.point_transform;
    let picture = Picture {
        codes,
        point_transform: outline.point_transform.into(),
        selection: outline.selection.into(),
        first: 1 << (bits - 1),
        interval_lines: outline.interval_lines as u32,
        lines: header.height.into(),
    };
    Ok((picture, intervals))
}

fn refusal(_: Error) -> Refusal {
    Refusal::Codestream
}

impl Picture {
    /// Bytes of device memory beyond the encoded bytes, the samples and the values.
    pub fn device_bytes(&self, intervals: &[Range<usize>]) -> usize {
        let between = intervals.iter().map(|part| Room::of(part.len()).sum());
        between.sum::<usize>()
            + intervals.len() * size_of::<Interval>()
            + self.codes.len() * size_of::<Codes>()
            + 4 * ALIGN
    }
}

/// Lays out the intervals of a frame whose encoded bytes have their place; its samples become the
/// source of `show`. `codes` is where its tables stand.
pub(super) fn place(
    layout: &mut Layout,
    index: usize,
    checked: &Checked,
    picture: &Picture,
    codes: u64,
) {
    let frame = layout.frames[index];
    let packed = frame.planes[0];
    let samples = layout.take(checked.plane_bytes()) as u64;
    layout.frames[index].planes[0] = samples;
    layout.frames[index].left = picture.point_transform;
    let rooms = || checked.segments.iter().map(|part| Room::of(part.len()));
    let mut bits = layout.take(rooms().map(|room| room.bits).sum()) as u64;
    let mut marks = layout.take(rooms().map(|room| room.marks).sum()) as u64;
    let mut parts = layout.take(rooms().map(|room| room.parts).sum()) as u64;
    let table = |component: usize| {
        let number = component.min(picture.codes.len() - 1);
        codes + (number * size_of::<Codes>()) as u64
    };
    let mut line = 0;
    for part in &checked.segments {
        let room = Room::of(part.len());
        let lines = picture.interval_lines.min(picture.lines - line);
        let before = u64::from(line) * u64::from(frame.columns) * u64::from(frame.samples);
        layout.intervals.push(Interval {
            packed: packed + part.start as u64,
            bits,
            marks,
            parts,
            samples: samples + 2 * before,
            codes: [table(0), table(1), table(2)],
            packed_len: part.len() as u32,
            tiles: part.len().div_ceil(TILE_BYTES) as u32,
            part_count: (part.len() * 8).div_ceil(PART_BITS) as u32,
            frame: index as u32,
            columns: frame.columns,
            lines,
            components: frame.samples,
            phases: picture.codes.len() as u32,
            selection: picture.selection,
            first: picture.first,
        });
        bits += room.bits as u64;
        marks += room.marks as u64;
        parts += room.parts as u64;
        line += lines;
    }
}

/// Bytes of the samples between.
pub(super) fn plane_bytes(samples_all: u32) -> usize {
    aligned(samples_all as usize * 2)
}
