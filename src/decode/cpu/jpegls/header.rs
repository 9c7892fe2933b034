//! The marker segments of a JPEG-LS stream (T.87 Annex C, with T.81 Annex B).
//!
//! Knows marker syntax only; nothing here allocates or looks into entropy-coded data.

use super::Error;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const SOF_55: u8 = 0xF7;
const LSE: u8 = 0xF8;
const COM: u8 = 0xFE;

/// How the samples of the components of a scan follow each other (ILV, T.87 C.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interleave {
    /// One component in the scan.
    None,
    /// A line of each component in turn.
    Line,
    /// A sample of each component in turn.
    Sample,
}

/// The frame header, SOF55 (T.87 C.2.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub precision: u8,
    /// Number of components, 1 to 4.
    pub count: u8,
    /// Component identifiers, the first `count` are valid.
    ids: [u8; 4],
}

/// A scan header, SOS (T.87 C.2.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    pub near: u8,
    pub interleave: Interleave,
    count: u8,
    indices: [u8; 4],
}

impl Scan {
    /// Indices of the scan's components in the frame, in the order of the scan.
    pub fn components(&self) -> &[u8] {
        self.indices
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// Preset coding parameters, LSE of type 1 (T.87 C.2.4.1.1); 0 stands for the default.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Preset {
    pub max_value: u16,
    pub t1: u16,
    pub t2: u16,
    pub t3: u16,
    pub reset: u16,
}

/// Walks from marker to marker.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    stream: &'a [u8],
    /// Where the next marker is looked for, or after a scan header its entropy-coded data starts.
    pub pos: usize,
    pub preset: Preset,
    /// Lines between restart markers (DRI); 0 is none.
    pub restart_lines: u32,
    /// The code in an APP8 segment "mrfx"; 0 is none.
    pub transform_code: u8,
}

fn malformed(what: &'static str) -> Error {
    Error::Malformed { what }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { what }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

impl<'a> Parser<'a> {
    /// Starts behind the SOI marker.
    pub fn new(stream: &'a [u8]) -> Result<Self, Error> {
        if stream.is_empty() {
            return Err(Error::EndsEarly {
                place: "the first marker",
            });
        }
        if !stream.starts_with(&[0xFF, SOI]) {
            return Err(malformed("the stream does not start with an SOI marker"));
        }
        Ok(Self {
            stream,
            pos: 2,
            preset: Preset::default(),
            restart_lines: 0,
            transform_code: 0,
        })
    }

    /// Reads the markers up to and with the first scan header.
    pub fn first_scan(&mut self) -> Result<(Frame, Scan), Error> {
        let mut frame: Option<Frame> = None;
        loop {
            let marker = self.marker()?;
            match marker {
                EOI => return Err(malformed("the stream has no scan")),
                SOF_55 => {
                    if frame.is_some() {
                        return Err(malformed("the stream has two frame headers"));
                    }
                    frame = Some(read_frame(self.segment()?)?);
                }
                SOS => {
                    let frame = frame.ok_or(malformed("a scan comes before the frame header"))?;
                    let scan = read_scan(self.segment()?, &frame)?;
                    return Ok((frame, scan));
                }
                other => self.side_segment(other)?,
            }
        }
    }

    /// Reads the markers up to and with the header of the next scan.
    pub fn next_scan(&mut self, frame: &Frame) -> Result<Scan, Error> {
        loop {
            match self.marker()? {
                EOI => return Err(malformed("the stream lacks the scan of a component")),
                SOF_55 => return Err(malformed("the stream has two frame headers")),
                SOS => return read_scan(self.segment()?, frame),
                other => self.side_segment(other)?,
            }
        }
    }

    /// The byte after FF; any number of FF may precede it (T.81 B.1.1.2).
    fn marker(&mut self) -> Result<u8, Error> {
        let place = Error::EndsEarly {
            place: "the markers",
        };
        let rest = self.stream.get(self.pos..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&byte| byte == 0xFF).count();
        let &marker = rest.get(fill).ok_or(place)?;
        if fill == 0 {
            return Err(malformed("there is no marker where one is due"));
        }
        self.pos += fill + 1;
        Ok(marker)
    }

    /// The parameters of the segment at hand, without its length; moves behind it.
    fn segment(&mut self) -> Result<&'a [u8], Error> {
        let rest = self.stream.get(self.pos..).unwrap_or_default();
        let place = "a marker segment";
        let len = usize::from(be16(rest, 0).ok_or(Error::EndsEarly { place })?);
        if len < 2 {
            return Err(malformed("a marker segment is shorter than its own length"));
        }
        let body = rest.get(2..len).ok_or(Error::EndsEarly { place })?;
        self.pos += len;
        Ok(body)
    }

    /// Segments that are neither frame nor scan header.
    fn side_segment(&mut self, marker: u8) -> Result<(), Error> {
        match marker {
            LSE => {
                let body = self.segment()?;
                self.read_lse(body)
            }
            DRI => {
                let body = self.segment()?;
                // T.87 C.2.5 lengthens Ri to 3 or 4 bytes where needed.
                if !(2..=4).contains(&body.len()) {
                    return Err(malformed("the restart interval is not 2 to 4 bytes long"));
                }
                self.restart_lines = body.iter().fold(0, |sum, &b| (sum << 8) | u32::from(b));
                Ok(())
            }
            DNL => Err(unsupported("a number of lines behind the scan (DNL)")),
            0xE8 => {
                // APP8 is SPIFF, which has nothing that T.87 needs, or HP's colour transform.
                if let [b'm', b'r', b'f', b'x', code, ..] = *self.segment()? {
                    self.transform_code = code;
                }
                Ok(())
            }
            0xE0..=0xEF | COM => self.segment().map(|_| ()),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => Err(malformed(
                "the stream has a JPEG frame header, not a JPEG-LS one",
            )),
            marker => Err(Error::Marker { marker }),
        }
    }

    /// LSE, by its type (T.87 C.2.4.1).
    fn read_lse(&mut self, body: &[u8]) -> Result<(), Error> {
        match body.first() {
            Some(1) => {
                let field = |at| be16(body, at).ok_or(malformed("an LSE segment is cut short"));
                self.preset = Preset {
                    max_value: field(1)?,
                    t1: field(3)?,
                    t2: field(5)?,
                    t3: field(7)?,
                    reset: field(9)?,
                };
                Ok(())
            }
            // A mapping table counts only where a scan selects it, which `read_scan` refuses.
            Some(2 | 3) => Ok(()),
            Some(4) => Err(unsupported("an image over 65535 lines or columns (LSE)")),
            Some(_) => Err(unsupported("a Part 2 extension (LSE)")),
            None => Err(malformed("an LSE segment is empty")),
        }
    }
}

fn read_frame(body: &[u8]) -> Result<Frame, Error> {
    let short = || malformed("the frame header is cut short");
    let precision = *body.first().ok_or_else(short)?;
    let height = u32::from(be16(body, 1).ok_or_else(short)?);
    let width = u32::from(be16(body, 3).ok_or_else(short)?);
    let count = *body.get(5).ok_or_else(short)?;
    if !(2..=16).contains(&precision) {
        return Err(malformed("the samples are not of 2 to 16 bits"));
    }
    if width == 0 {
        return Err(malformed("the image has no columns"));
    }
    if height == 0 {
        return Err(unsupported("a frame header without the number of lines"));
    }
    if count == 0 {
        return Err(malformed("the frame has no components"));
    }
    if count > 4 {
        return Err(unsupported("a frame of more than 4 components"));
    }
    let mut ids = [0; 4];
    let mut unsampled = true;
    for (index, id) in ids.iter_mut().take(usize::from(count)).enumerate() {
        let entry = body.get(6 + 3 * index..).unwrap_or_default();
        let &[component, factors, _] = entry.first_chunk::<3>().ok_or_else(short)?;
        *id = component;
        unsampled &= factors == 0x11;
    }
    // The factors of a lone component say nothing (T.81 A.2.2).
    if !unsampled && count > 1 {
        return Err(unsupported("subsampling of components"));
    }
    Ok(Frame {
        width,
        height,
        precision,
        count,
        ids,
    })
}

fn read_scan(body: &[u8], frame: &Frame) -> Result<Scan, Error> {
    let short = || malformed("a scan header is cut short");
    let count = *body.first().ok_or_else(short)?;
    if count == 0 || count > frame.count {
        return Err(malformed("a scan has no components or too many"));
    }
    let ids = frame
        .ids
        .get(..usize::from(frame.count))
        .ok_or_else(short)?;
    let mut indices = [0u8; 4];
    for (position, slot) in indices.iter_mut().take(usize::from(count)).enumerate() {
        let entry = body.get(1 + 2 * position..).unwrap_or_default();
        let &[component, table] = entry.first_chunk::<2>().ok_or_else(short)?;
        if table != 0 {
            return Err(unsupported("a mapping table (palette)"));
        }
        let index = ids
            .iter()
            .position(|&id| id == component)
            .ok_or(malformed("a scan names a component that the frame lacks"))?;
        // `ids` has at most four entries.
        *slot = index as u8;
    }
    let tail = body.get(1 + 2 * usize::from(count)..).unwrap_or_default();
    let &[near, interleave, point] = tail.first_chunk::<3>().ok_or_else(short)?;
    if point & 0x0F != 0 {
        return Err(unsupported("a point transform"));
    }
    let interleave = match interleave {
        0 => Interleave::None,
        1 => Interleave::Line,
        2 => Interleave::Sample,
        _ => return Err(malformed("the interleave mode is not 0, 1 or 2")),
    };
    if interleave == Interleave::None && count != 1 {
        return Err(malformed("a scan of several components is not interleaved"));
    }
    Ok(Scan {
        near,
        // One component has but one order; the plain one is the fastest.
        interleave: if count == 1 {
            Interleave::None
        } else {
            interleave
        },
        count,
        indices,
    })
}
