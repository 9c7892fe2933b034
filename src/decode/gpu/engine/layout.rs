//! Where everything of a chunk lies in one piece of device memory, and what is copied in and out.
//!
//! Pure. The memory holds, in this order: what the kernels are told (frames, segments, flags), encoded
//! bytes, values, and what is used between.

use std::ops::Range;

use super::frame::{ALIGN, Checked, aligned};
use super::lossless;
use crate::decode::gpu::kernels::{
    self, CHUNK_BYTES, CHUNK_START_BYTES, CHUNK_TABLE_BYTES, Plain, Tables, source,
};
use crate::decode::gpu::lossless::{Codes, Interval, Intervals};

/// Bytes between two frames that are uploaded with them, so that it is one copy. The slack that
/// [`Checked::device_bytes`] has for each frame.
const GAP_BYTES_MAX: usize = ALIGN;

/// Bytes that go in one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// In the encoded memory or the window of the slab.
    pub host: Range<usize>,
    /// In device memory.
    pub device: usize,
}

/// A chunk of a batch, laid out. Addresses count from the start of the device memory.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// What `show` is told, a frame each in their order.
    pub frames: Vec<kernels::Frame>,
    /// What the RLE kernels are told.
    pub segments: Vec<kernels::Segment>,
    /// What the kernels for JPEG Lossless are told.
    pub intervals: Vec<Interval>,
    /// Their Huffman tables.
    pub codes: Vec<Codes>,
    /// Uploads of encoded bytes.
    pub uploads: Vec<Run>,
    /// The device memory they fill.
    pub encoded: Range<usize>,
    /// Downloads of values.
    pub downloads: Vec<Run>,
    /// The device memory they come from.
    pub values: Range<usize>,
    /// What is used between: planes, and what kernels leave for one another.
    pub between: Range<usize>,
    /// Bytes of device memory.
    pub len: usize,
}

impl Layout {
    /// Lays out frames.
    pub fn new(chunk: &[Checked]) -> Layout {
        let segment_count = chunk.iter().map(|frame| frame.rle_segments().len()).sum();
        let pictures = || chunk.iter().filter(|frame| frame.picture.is_some());
        let interval_count = pictures().map(|frame| frame.segments.len()).sum();
        let mut layout = Layout {
            frames: chunk.iter().map(|checked| checked.frame).collect(),
            segments: Vec::with_capacity(segment_count),
            ..Layout::default()
        };
        // The tables of one series are often the same.
        let mut codes_of = vec![0; chunk.len()];
        for (place, checked) in codes_of.iter_mut().zip(chunk) {
            if let Some(picture) = &checked.picture {
                if !layout.codes.ends_with(&picture.codes) {
                    layout.codes.extend(&picture.codes);
                }
                *place = layout.codes.len() - picture.codes.len();
            }
        }
        layout.intervals.reserve_exact(interval_count);
        let tables = tables_len(
            chunk.len(),
            segment_count,
            interval_count,
            layout.codes.len(),
        );
        layout.len = tables;
        layout.place_encoded(chunk);
        layout.place_values(chunk);
        let between = aligned(layout.len);
        for (index, checked) in chunk.iter().enumerate() {
            let Some(picture) = &checked.picture else {
                layout.place_planes(index, checked);
                continue;
            };
            let codes_start = tables - size_of_val(&layout.codes[..]) - 4 * chunk.len();
            let codes = (codes_start + codes_of[index] * size_of::<Codes>()) as u64;
            lossless::place(&mut layout, index, checked, picture, codes);
        }
        layout.len = aligned(layout.len);
        layout.between = between.min(layout.len)..layout.len;
        layout
    }

    /// Takes so many bytes of the memory.
    pub fn take(&mut self, len: usize) -> usize {
        let at = aligned(self.len);
        self.len = at + len;
        at
    }

    fn place_encoded(&mut self, chunk: &[Checked]) {
        let mut order: Vec<usize> = (0..chunk.len()).collect();
        order.retain(|&index| chunk[index].is_uploaded());
        order.sort_by_key(|&index| chunk[index].encoded.start);
        let start = aligned(self.len);
        for index in order {
            let bytes = chunk[index].encoded.clone();
            // Samples must lie at multiples of their length, which is 8 at most.
            let joins = |run: &Run| {
                bytes.start <= run.host.end + GAP_BYTES_MAX
                    && (bytes.start - run.host.start).is_multiple_of(8)
            };
            if let Some(run) = self.uploads.last_mut().filter(|run| joins(run)) {
                run.host.end = run.host.end.max(bytes.end);
                self.len = run.device + run.host.len();
            } else {
                let device = self.take(bytes.len());
                let host = bytes.clone();
                self.uploads.push(Run { host, device });
            }
            let run = &self.uploads[self.uploads.len() - 1];
            self.frames[index].planes[0] = (run.device + bytes.start - run.host.start) as u64;
        }
        self.encoded = start..self.len.max(start);
    }

    fn place_values(&mut self, chunk: &[Checked]) {
        let mut order: Vec<usize> = (0..chunk.len()).collect();
        order.sort_by_key(|&index| chunk[index].out.start);
        let start = aligned(self.len);
        for index in order {
            let checked = &chunk[index];
            let out = checked.out.clone();
            let item = out.len() / (checked.frame.samples_all as usize).max(1);
            // Nothing but the values of these frames may be written in the slab.
            let joins = |run: &Run| {
                out.start == run.host.end
                    && (out.start - run.host.start).is_multiple_of(item.max(1))
            };
            if let Some(run) = self.downloads.last_mut().filter(|run| joins(run)) {
                run.host.end = out.end;
                self.len = run.device + run.host.len();
            } else {
                let device = self.take(out.len());
                let host = out.clone();
                self.downloads.push(Run { host, device });
            }
            let run = &self.downloads[self.downloads.len() - 1];
            self.frames[index].out = (run.device + out.start - run.host.start) as u64;
        }
        self.values = start..self.len.max(start);
    }

    fn place_planes(&mut self, index: usize, checked: &Checked) {
        let (count, len) = (checked.planes(), checked.plane_bytes());
        if count == 0 {
            return;
        }
        let first = self.take(count * len);
        if self.frames[index].source == source::COMPONENTS {
            let planes = &mut self.frames[index].planes;
            for (number, plane) in planes.iter_mut().enumerate().take(count) {
                *plane = (first + number * len) as u64;
            }
            self.frames[index].pitch_bytes = checked.pitch_bytes() as u64;
            return;
        }
        let packed = self.frames[index].planes[0];
        for (number, segment) in checked.segments.iter().enumerate() {
            let chunks = segment.len().div_ceil(CHUNK_BYTES);
            let table = self.take(chunks * CHUNK_TABLE_BYTES) as u64;
            let starts = self.take(chunks * CHUNK_START_BYTES) as u64;
            self.segments.push(kernels::Segment {
                packed: packed + segment.start as u64,
                plane: (first + number * len) as u64,
                table,
                starts,
                // No longer than a frame may be: FRAME_BYTES_MAX.
                packed_len: segment.len() as u32,
                plane_len: checked.pixels as u32,
                chunks: chunks as u32,
                frame: index as u32,
            });
        }
        self.frames[index].planes[0] = first as u64;
        self.frames[index].pitch_bytes = len as u64;
    }

    /// Bytes of frames, segments, intervals, Huffman tables and flags, which stand at the start of the memory.
    pub fn tables_len(&self) -> usize {
        let (intervals, codes) = (self.intervals.len(), self.codes.len());
        tables_len(self.frames.len(), self.segments.len(), intervals, codes)
    }

    /// Where the flags stand among them, one u32 a frame.
    pub fn flags(&self) -> Range<usize> {
        let end = self.tables_len();
        end - self.frames.len() * size_of::<u32>()..end
    }

    /// Adds the address of the device memory to all that the kernels are told.
    pub fn move_to(&mut self, base: u64) {
        for frame in &mut self.frames {
            frame.out += base;
            frame.planes.iter_mut().for_each(|plane| *plane += base);
        }
        for segment in &mut self.segments {
            segment.packed += base;
            segment.plane += base;
            segment.table += base;
            segment.starts += base;
        }
        for interval in &mut self.intervals {
            interval.packed += base;
            interval.bits += base;
            interval.marks += base;
            interval.parts += base;
            interval.samples += base;
            interval.codes.iter_mut().for_each(|codes| *codes += base);
        }
    }

    /// Writes what the kernels are told, with no flag set, as it belongs at the start of the memory.
    pub fn write_tables(&self, to: &mut [u8]) {
        let mut rest = to;
        for table in [
            Plain::bytes(&self.frames),
            Plain::bytes(&self.segments),
            Plain::bytes(&self.intervals),
            Plain::bytes(&self.codes),
        ] {
            let (place, behind) = rest.split_at_mut(table.len());
            place.copy_from_slice(table);
            rest = behind;
        }
        rest.fill(0);
    }

    /// What the launches are told, for memory at `base`.
    pub fn tables(&self, base: u64) -> Tables {
        let frames_len = self.frames.len() * size_of::<kernels::Frame>();
        let segments_len = self.segments.len() * size_of::<kernels::Segment>();
        let intervals = base + (frames_len + segments_len) as u64;
        Tables {
            frames: base,
            frame_count: self.frames.len() as u32,
            samples_max: self.frames.iter().map(|f| f.samples_all).max().unwrap_or(0),
            segments: base + frames_len as u64,
            segment_count: self.segments.len() as u32,
            chunks_max: self.segments.iter().map(|s| s.chunks).max().unwrap_or(0),
            intervals: Intervals::new(intervals, &self.intervals),
            flags: base + self.flags().start as u64,
        }
    }
}

/// All but the flags, which come last, are multiples of 8 bytes: all of it lies as it must.
fn tables_len(frames: usize, segments: usize, intervals: usize, codes: usize) -> usize {
    frames * (size_of::<kernels::Frame>() + size_of::<u32>())
        + segments * size_of::<kernels::Segment>()
        + intervals * size_of::<Interval>()
        + codes * size_of::<Codes>()
}
