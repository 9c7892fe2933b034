//! Markers and their segments (T.81 Annex B): frame, scan, Huffman tables, restart interval.
//!
//! Must not know entropy-coded data beyond skipping it. Nothing here allocates by a declared size.

use super::Error;
use super::huffman::Definition;

/// Start of frame, lossless sequential, Huffman.
pub(super) const SOF3: u8 = 0xC3;
/// Define Huffman tables.
pub(super) const DHT: u8 = 0xC4;
/// End of image.
pub(super) const EOI: u8 = 0xD9;
/// Start of scan.
pub(super) const SOS: u8 = 0xDA;
/// Define restart interval.
pub(super) const DRI: u8 = 0xDD;
const SOI: u8 = 0xD8;
const DNL: u8 = 0xDC;
/// The first of eight restart markers.
pub(super) const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;

/// What a lossless JPEG stream declares of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Samples a line.
    pub width: u16,
    /// Lines; from the DNL segment when the frame header leaves it open.
    pub height: u16,
    /// Components, 1..=4.
    pub components: u8,
    /// Bits a sample, 2..=16.
    pub precision: u8,
}

/// Reads the header of a stream, decoding nothing.
///
/// # Errors
/// [`Error`] when it is no JPEG stream, of another process, or broken before its frame header.
pub fn read_header(stream: &[u8]) -> Result<Header, Error> {
    let mut markers = Markers::new(stream)?;
    loop {
        match markers.next()? {
            (SOF3, body) => return Ok(Frame::read(body, &markers)?.header),
            (marker @ (SOS | EOI), _) => return Err(Error::Marker(0xFF, marker)),
            (DHT | DRI, _) => {}
            (other, _) => skip(other)?,
        }
    }
}

/// Accepts a marker whose segment means nothing here, or says why it cannot be here.
pub(super) fn skip(marker: u8) -> Result<(), Error> {
    match marker {
        // DQT, DNL (read with the frame), APPn, COM.
        0xDB | DNL | 0xE0..=0xEF | 0xFE => Ok(()),
        0xC0 => Err(Error::Process("baseline DCT")),
        0xC1 => Err(Error::Process("extended sequential DCT")),
        0xC2 => Err(Error::Process("progressive DCT")),
        0xC5..=0xC7 | 0xCD..=0xCF | 0xDE | 0xDF => Err(Error::Process("hierarchical")),
        0xC9..=0xCC => Err(Error::Process("arithmetic coding")),
        0xF7 | 0xF8 => Err(Error::Process("JPEG-LS")),
        other => Err(Error::Marker(0xFF, other)),
    }
}

/// Walks over marker segments.
#[derive(Debug, Clone)]
pub(super) struct Markers<'a> {
    stream: &'a [u8],
    position: usize,
}

impl<'a> Markers<'a> {
    /// Starts after SOI.
    pub(super) fn new(stream: &'a [u8]) -> Result<Self, Error> {
        match stream {
            [0xFF, SOI, ..] => Ok(Self {
                stream,
                position: 2,
            }),
            _ => Err(Error::NotJpeg),
        }
    }

    /// The position after the last segment.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Goes on at `position`, where a marker must be.
    pub(super) fn seek(&mut self, position: usize) {
        self.position = position;
    }

    /// The next marker and the body of its segment (without the length).
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Error> {
        const WITHIN: Error = Error::Truncated("the marker segments");
        let mut rest = self.stream.get(self.position..).unwrap_or_default();
        // Any number of fill bytes FF may precede a marker (T.81 B.1.1.2).
        while let [0xFF, 0xFF, ..] = rest {
            rest = &rest[1..];
        }
        let (marker, rest) = match *rest {
            [0xFF, marker, ref rest @ ..] => (marker, rest),
            [first, second, ..] => return Err(Error::Marker(first, second)),
            _ => return Err(WITHIN),
        };
        // Markers without a segment: only EOI may stand between segments.
        if matches!(marker, 0..=1 | RST0..=SOI) {
            return Err(Error::Marker(0xFF, marker));
        }
        let (body, rest) = match *rest {
            _ if marker == EOI => (&[][..], rest),
            [high, low, ref rest @ ..] => usize::from(u16::from_be_bytes([high, low]))
                .checked_sub(2)
                .ok_or(Error::Segment("marker", "its length is below two"))
                .and_then(|len| rest.split_at_checked(len).ok_or(WITHIN))?,
            _ => return Err(WITHIN),
        };
        self.position = self.stream.len() - rest.len();
        Ok((marker, body))
    }

    /// The number of lines from the DNL segment that must follow the first scan (T.81 B.2.5).
    fn number_of_lines(&self) -> Result<u16, Error> {
        const ABSENT: Error =
            Error::Segment("SOF3", "it has no lines, and no DNL follows the first scan");
        let mut ahead = self.clone();
        while ahead.next()?.0 != SOS {}
        let mut rest = &self.stream[ahead.position..];
        loop {
            let at = rest.iter().position(|&byte| byte == 0xFF).ok_or(ABSENT)?;
            match rest[at..] {
                [0xFF, DNL, 0, 4, high, low, ..] => match u16::from_be_bytes([high, low]) {
                    0 => return Err(ABSENT),
                    lines => return Ok(lines),
                },
                [0xFF, 0 | RST0..=RST7, ..] => rest = &rest[at + 2..],
                [0xFF, 0xFF, ..] => rest = &rest[at + 1..],
                _ => return Err(ABSENT),
            }
        }
    }
}

/// The frame header.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) header: Header,
    /// Component identifiers, `header.components` of them.
    identifiers: [u8; 4],
    /// All components have this sampling factor byte (horizontal, vertical).
    factors: u8,
}

impl Frame {
    /// Reads the body of SOF3; `markers` stands after it.
    pub(super) fn read(body: &[u8], markers: &Markers<'_>) -> Result<Self, Error> {
        const NAME: &str = "SOF3";
        let [precision, y1, y0, x1, x0, components, ref list @ ..] = *body else {
            return Err(Error::Segment(NAME, "it is too short"));
        };
        if !(2..=16).contains(&precision) {
            return Err(Error::Segment(NAME, "the precision is not 2 to 16 bits"));
        }
        let width = u16::from_be_bytes([x1, x0]);
        if width == 0 || components == 0 {
            return Err(Error::Segment(NAME, "it has no columns or no components"));
        }
        if components > 4 {
            return Err(Error::Unsupported("more than four components"));
        }
        let (list, _) = list.as_chunks::<3>();
        let list = list
            .get(..usize::from(components))
            .ok_or(Error::Segment(NAME, "it lists too few components"))?;
        let factors = list[0][1];
        if list.iter().any(|component| component[1] != factors) {
            return Err(Error::Unsupported("subsampling"));
        }
        if !(1..=4).contains(&(factors >> 4)) || !(1..=4).contains(&(factors & 15)) {
            return Err(Error::Segment(NAME, "a sampling factor is not 1 to 4"));
        }
        let mut identifiers = [0; 4];
        for (identifier, component) in identifiers.iter_mut().zip(list) {
            *identifier = component[0];
        }
        let height = match u16::from_be_bytes([y1, y0]) {
            0 => markers.number_of_lines()?,
            height => height,
        };
        let header = Header {
            width,
            height,
            components,
            precision,
        };
        Ok(Self {
            header,
            identifiers,
            factors,
        })
    }
}

/// The scan header.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// Components of the scan, 1..=4.
    pub(super) count: usize,
    /// Their indices in the frame, the first `count`.
    pub(super) components: [usize; 4],
    /// Their Huffman table numbers, 0..=3.
    pub(super) tables: [usize; 4],
    /// Predictor selection value, 1..=7.
    pub(super) selection: u8,
    /// Point transform: bits that the samples were shifted right by, below the precision.
    pub(super) point_transform: u8,
}

impl Scan {
    /// Reads the body of SOS. `decoded` tells which components had their scan already.
    pub(super) fn read(body: &[u8], frame: &Frame, decoded: [bool; 4]) -> Result<Self, Error> {
        const NAME: &str = "SOS";
        let bad = |why| Err(Error::Segment(NAME, why));
        let Some((&count, rest)) = body.split_first() else {
            return bad("it is too short");
        };
        let count = usize::from(count);
        if !(1..=4).contains(&count) {
            return bad("it does not have 1 to 4 components");
        }
        let Some((list, &[selection, _, approximation, ..])) = rest.split_at_checked(2 * count)
        else {
            return bad("it is too short");
        };
        let mut taken = decoded;
        let mut scan = Self {
            count,
            components: [0; 4],
            tables: [0; 4],
            selection,
            point_transform: approximation & 15,
        };
        for (i, &[identifier, table]) in list.as_chunks::<2>().0.iter().enumerate() {
            // Of equal identifiers, which some encoders write, the first that is left is meant.
            let known = &frame.identifiers[..usize::from(frame.header.components)];
            let found = known
                .iter()
                .zip(taken)
                .position(|(&id, gone)| id == identifier && !gone);
            let Some(component) = found else {
                return bad("it names a component that the frame lacks or that was decoded");
            };
            taken[component] = true;
            scan.components[i] = component;
            scan.tables[i] = usize::from(table >> 4);
            if scan.tables[i] > 3 {
                return bad("a Huffman table number is above 3");
            }
        }
        match selection {
            0 => {
                return Err(Error::Unsupported(
                    "predictor selection value 0 (hierarchical)",
                ));
            }
            1..=7 => {}
            _ => return bad("the predictor selection value is above 7"),
        }
        if scan.point_transform >= frame.header.precision {
            return bad("the point transform leaves no bits");
        }
        if count > 1 && frame.factors != 0x11 {
            return Err(Error::Unsupported(
                "interleaving in units of more than one sample",
            ));
        }
        Ok(scan)
    }
}

/// What DHT and DRI define, for the scans that follow.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) huffman: [Option<Definition>; 4],
    /// In MCUs (pixels of the scan); 0: none.
    pub(super) restart_interval: u16,
}

impl Tables {
    /// Reads the body of DHT: any number of tables. Those of class 1 (AC) serve no lossless scan.
    pub(super) fn read_huffman(&mut self, mut body: &[u8]) -> Result<(), Error> {
        while let Some((&head, rest)) = body.split_first() {
            let slot = usize::from(head & 15);
            let (Some((&counts, rest)), 0..=1, 0..=3) = (rest.split_first_chunk(), head >> 4, slot)
            else {
                return Err(Error::Segment(
                    "DHT",
                    "it is too short, or a table number is wrong",
                ));
            };
            let len = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, rest) = rest
                .split_at_checked(len)
                .ok_or(Error::Segment("DHT", "a table has fewer values than codes"))?;
            if head >> 4 == 0 {
                self.huffman[slot] = Some(Definition {
                    counts,
                    values: values.to_vec(),
                });
            }
            body = rest;
        }
        Ok(())
    }

    /// Reads the body of DRI.
    pub(super) fn read_restart_interval(&mut self, body: &[u8]) -> Result<(), Error> {
        let Some(&bytes) = body.first_chunk() else {
            return Err(Error::Segment("DRI", "it is too short"));
        };
        self.restart_interval = u16::from_be_bytes(bytes);
        Ok(())
    }
}
