//! What another decoder of the same streams must know: everything before the entropy-coded data,
//! checked as [`super::decode`] checks it, and where the restart intervals lie.
//!
//! Decodes nothing. Whatever is refused here is refused by [`super::decode`] too, or is coded in more
//! than one scan.

use std::ops::Range;

use super::bits::end_of_segment;
use super::header::{self, Frame, Header, Markers, RST0, Scan, Tables};
use super::huffman::Table;
use super::{Error, Expect, check, scan};

/// The only scan of a stream: all components interleaved in their order.
#[derive(Debug)]
pub struct Outline {
    /// The frame header.
    pub header: Header,
    /// Predictor selection value, 1 to 7.
    pub selection: u8,
    /// Point transform, in bits; below the precision.
    pub point_transform: u8,
    /// Lines of a restart interval, 1 to all.
    pub interval_lines: usize,
    /// Huffman tables by component.
    pub tables: Vec<Table>,
    /// First byte of the entropy-coded data.
    data_start: usize,
}

impl Outline {
    /// Reads all that stands before the entropy-coded data.
    ///
    /// # Errors
    /// What [`super::decode`] would say to it, and [`Error::Unsupported`] of several scans.
    pub fn read(stream: &[u8], expect: Expect) -> Result<Outline, Error> {
        let mut markers = Markers::new(stream)?;
        let mut tables = Tables::default();
        let mut frame: Option<Frame> = None;
        loop {
            let (marker, body) = markers.next()?;
            match marker {
                header::SOF3 if frame.is_none() => {
                    let found = Frame::read(body, &markers)?;
                    let samples = [expect.rows, expect.columns, expect.components.into()];
                    let room = samples.into_iter().map(usize::from).product();
                    check(&found.header, expect, u8::MAX, room)?;
                    frame = Some(found);
                }
                header::DHT => tables.read_huffman(body)?,
                header::DRI => tables.read_restart_interval(body)?,
                header::SOS => {
                    let frame = frame.ok_or(Error::Marker(0xFF, marker))?;
                    let scan = Scan::read(body, &frame, [false; 4])?;
                    return Outline::of(&frame, &scan, &tables, markers.position());
                }
                header::EOI => return Err(Error::Truncated("the scans: a component has none")),
                other => header::skip(other)?,
            }
        }
    }

    fn of(frame: &Frame, scan: &Scan, tables: &Tables, at: usize) -> Result<Outline, Error> {
        let components = usize::from(frame.header.components);
        let named = scan.components[..scan.count].iter().copied();
        if !named.eq(0..components) {
            return Err(Error::Unsupported("a picture of several scans"));
        }
        Ok(Outline {
            header: frame.header,
            selection: scan.selection,
            point_transform: scan.point_transform,
            interval_lines: scan::Decoder::new(frame).interval_lines(tables.restart_interval)?,
            tables: scan::build_tables(scan, tables)?,
            data_start: at,
        })
    }

    /// The entropy-coded bytes of each restart interval, with their stuffing.
    ///
    /// # Errors
    /// A restart marker is missing or another than is due.
    pub fn intervals(&self, stream: &[u8]) -> Result<Vec<Range<usize>>, Error> {
        let rows = usize::from(self.header.height);
        let mut intervals = Vec::new();
        let (mut line, mut start) = (0, self.data_start);
        for restart in (0..8_u8).cycle() {
            let end = end_of_segment(stream, start);
            intervals.push(start..end);
            line += self.interval_lines;
            if line >= rows {
                break;
            }
            if stream.get(end + 1) != Some(&(RST0 + restart)) {
                return Err(Error::Restart(line));
            }
            start = end + 2;
        }
        Ok(intervals)
    }
}
