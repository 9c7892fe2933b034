//! The scans of a frame: restart intervals, lines, and where the lines go (T.81 Annex H.1).
//!
//! Must not know marker syntax beyond RSTn. A scan of all components without point transform is
//! decoded in place; others go through two line buffers.

use super::bits::Segment;
use super::header::{Frame, RST0, Scan, Tables};
use super::huffman::Table;
use super::pairs::{self, Pairs};
use super::predict::{Coding, line_fn};
use super::{Error, Sample};

/// Bytes of entropy-coded data (other than 00 and FF) that may be left over after the last sample
/// of an interval. Encoders that align to words leave one or two; more means that the decoding ran
/// out of step or that the image is larger than its header says.
const SURPLUS_BYTES_MAX: usize = 2;

/// Decodes the scans of one frame.
#[derive(Debug)]
pub(super) struct Decoder {
    columns: usize,
    rows: usize,
    components: usize,
    precision: u8,
    decoded: [bool; 4],
    segment: Segment,
}

impl Decoder {
    pub(super) fn new(frame: &Frame) -> Self {
        Self {
            columns: usize::from(frame.header.width),
            rows: usize::from(frame.header.height),
            components: usize::from(frame.header.components),
            precision: frame.header.precision,
            decoded: [false; 4],
            segment: Segment::default(),
        }
    }

    /// Which components had their scan.
    pub(super) fn decoded(&self) -> [bool; 4] {
        self.decoded
    }

    /// Whether all components had their scan.
    pub(super) fn is_complete(&self) -> bool {
        self.decoded[..self.components].iter().all(|&done| done)
    }

    /// Decodes the scan whose entropy-coded data starts at `position` into its components of `out`
    /// (interleaved, all components). Returns the position of the marker that ended it, or the
    /// stream's length.
    pub(super) fn decode<T: Sample>(
        &mut self,
        stream: &[u8],
        mut position: usize,
        scan: &Scan,
        tables: &Tables,
        out: &mut [T],
    ) -> Result<usize, Error> {
        let built = build_tables(scan, tables)?;
        let shared = scan.tables[1..scan.count]
            .iter()
            .all(|&table| table == scan.tables[0]);
        let pays = shared && self.rows * self.columns * scan.count >= pairs::SAMPLES_MIN;
        let pairs = pays.then(|| Pairs::new(&built[0]));
        let coding = Coding {
            tables: std::array::from_fn(|i| &built[i.min(scan.count - 1)]),
            pairs: pairs.as_ref(),
        };
        let interval_lines = self.interval_lines(tables.restart_interval)?;
        let mut lines = self.lines(scan, out);
        let mut line = 0;
        for restart in (0..8_u8).cycle() {
            position = self.segment.fill(stream, position);
            let end = self.rows.min(line + interval_lines);
            self.interval(scan, coding, &mut lines, line..end)?;
            line = end;
            if line == self.rows {
                break;
            }
            if stream.get(position + 1) != Some(&(RST0 + restart)) {
                // Without any marker the data is cut off; with another one it is disordered.
                let cut = position == stream.len();
                return Err(if cut {
                    Error::EndsEarly(line)
                } else {
                    Error::Restart(line)
                });
            }
            position += 2;
        }
        for &component in &scan.components[..scan.count] {
            self.decoded[component] = true;
        }
        Ok(position)
    }

    /// Decodes the lines of one restart interval from the segment.
    fn interval<T: Sample>(
        &self,
        scan: &Scan,
        coding: Coding<'_>,
        lines: &mut Lines<'_, T>,
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let (Some(first_line), Some(other_line)) = (
            line_fn::<T>(scan.count, 1),
            line_fn::<T>(scan.count, scan.selection),
        ) else {
            return Err(Error::Segment(
                "SOS",
                "its components or its predictor are out of range",
            ));
        };
        // Each sample takes a bit at least: what cannot suffice is not begun.
        let len_bits = self.segment.len_bits();
        if len_bits < (range.len() * lines.len) as u64 {
            return Err(Error::EndsEarly(range.start));
        }
        let mut bits = self.segment.reader();
        for number in range.clone() {
            let (above, line) = lines.pair(number);
            if number == range.start {
                // T.81 H.1.2.1: the first line of an interval is predicted from the left only.
                let start = [1 << (self.precision - scan.point_transform - 1); 4];
                first_line(&mut bits, coding, start, above, line);
            } else {
                let mut start = [0; 4];
                for (value, sample) in start.iter_mut().zip(above) {
                    *value = sample.to_u16();
                }
                other_line(&mut bits, coding, start, above, line);
            }
            if bits.consumed_bits() > len_bits {
                return Err(Error::EndsEarly(number));
            }
            if bits.bad_code {
                return Err(Error::BadCode(number));
            }
            lines.finish(number);
        }
        if self.segment.surplus_bytes(&bits) > SURPLUS_BYTES_MAX {
            return Err(Error::Surplus(range.end - 1));
        }
        Ok(())
    }

    /// The lines of a restart interval (at least one).
    pub(super) fn interval_lines(&self, restart_interval: u16) -> Result<usize, Error> {
        let interval = usize::from(restart_interval);
        if interval == 0 || interval >= self.rows * self.columns {
            return Ok(self.rows);
        }
        // T.81 H.1.1 demands it; within a line the predictions would not be defined.
        if !interval.is_multiple_of(self.columns) {
            return Err(Error::Segment(
                "DRI",
                "the restart interval is not a number of lines",
            ));
        }
        Ok(interval / self.columns)
    }

    fn lines<'a, T: Sample>(&self, scan: &Scan, out: &'a mut [T]) -> Lines<'a, T> {
        let len = self.columns * scan.count;
        let in_order = scan.components[..scan.count]
            .iter()
            .copied()
            .eq(0..self.components);
        let scatter = (!in_order || scan.point_transform > 0).then(|| Scatter {
            above: vec![T::default(); len],
            line: vec![T::default(); len],
            targets: scan.components,
            count: scan.count,
            components: self.components,
            shift: scan.point_transform,
        });
        Lines { out, len, scatter }
    }
}

/// The tables of a scan's components.
pub(super) fn build_tables(scan: &Scan, tables: &Tables) -> Result<Vec<Table>, Error> {
    let numbers = &scan.tables[..scan.count];
    numbers
        .iter()
        .map(|&number| {
            let definition = tables.huffman[number].as_ref();
            Table::new(definition.ok_or(Error::Huffman("a scan names one that is not defined"))?)
        })
        .collect()
}

/// Where the lines of a scan are decoded.
struct Lines<'a, T> {
    out: &'a mut [T],
    /// Samples of a line of the scan.
    len: usize,
    /// `None`: in place.
    scatter: Option<Scatter<T>>,
}

/// Line buffers of a scan that does not fill `out` as it comes.
struct Scatter<T> {
    above: Vec<T>,
    line: Vec<T>,
    targets: [usize; 4],
    count: usize,
    components: usize,
    shift: u8,
}

impl<T: Sample> Lines<'_, T> {
    /// The line before `number` (empty before the first one) and the line itself.
    fn pair(&mut self, number: usize) -> (&[T], &mut [T]) {
        if let Some(scatter) = &mut self.scatter {
            return (&scatter.above, &mut scatter.line);
        }
        let (done, rest) = self.out.split_at_mut(number * self.len);
        (
            &done[done.len().saturating_sub(self.len)..],
            &mut rest[..self.len],
        )
    }

    /// Puts a decoded line to its place.
    fn finish(&mut self, number: usize) {
        let Some(scatter) = &mut self.scatter else {
            return;
        };
        let len = self.len / scatter.count * scatter.components;
        let place = &mut self.out[number * len..][..len];
        let pixels = scatter.line.chunks_exact(scatter.count);
        for (target, pixel) in place.chunks_exact_mut(scatter.components).zip(pixels) {
            for (&component, sample) in scatter.targets.iter().zip(pixel) {
                target[component] = T::from_u16(sample.to_u16() << scatter.shift);
            }
        }
        std::mem::swap(&mut scatter.above, &mut scatter.line);
    }
}
