//! The markers before the first scan of a JPEG stream (ITU-T T.81 B.2), read and rewritten.
//!
//! Decodes nothing; knows nothing of DICOM.

/// Which kind of coding the frame header announces, of those that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// SOF0 and SOF1: baseline and extended sequential, Huffman coded.
    Sequential,
    /// SOF2: progressive, Huffman coded.
    Progressive,
}

/// One component of the frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    /// Horizontal and vertical sampling factor, four bits each.
    pub sampling: u8,
    /// Offset of the sampling factors in the stream.
    sampling_at: usize,
}

/// What the markers say up to and including the first SOS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub process: Process,
    pub precision: u8,
    pub rows: u16,
    pub columns: u16,
    pub components: Vec<Component>,
    /// The first scan holds all components.
    pub interleaved: bool,
    /// Colour transform of the Adobe APP14 marker, where there is one.
    pub adobe_transform: Option<u8>,
    /// Ranges of the APP0 and APP14 segments in the stream, markers included.
    colour_hints: Vec<(usize, usize)>,
    /// Where the entropy-coded data of the first scan starts.
    scan_at: usize,
}

/// Why a stream is not read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// SOF3: the stream is lossless, which has a decoder of its own.
    Lossless,
    /// What is wrong, in words.
    Malformed(String),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Refusal::Malformed(what)
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Lossless => "SOF3 is not a process of this syntax".into(),
            Refusal::Malformed(what) => what,
        }
    }
}

const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;
const SOS: u8 = 0xDA;

impl Header {
    /// Reads the markers.
    pub fn parse(stream: &[u8]) -> Result<Header, Refusal> {
        let mut found = Found::default();
        if !stream.starts_with(&[0xFF, 0xD8]) {
            return Err(Refusal::Malformed("no SOI marker at the start".into()));
        }
        let mut at = 2;
        loop {
            let (marker, body_at) = next_marker(stream, at)?;
            let body_end = segment_end(stream, body_at)?;
            let body = &stream[body_at + 2..body_end];
            match marker {
                0xC0..=0xC2 => found.frame(marker, body, body_at + 2)?,
                0xC3 => return Err(Refusal::Lossless),
                0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                    let what = format!("SOF{} is not a process of this syntax", marker & 15);
                    return Err(Refusal::Malformed(what));
                }
                APP0 => found.colour_hints.push((at, body_end)),
                APP14 => {
                    if body.starts_with(b"Adobe") {
                        found.adobe_transform = body.get(11).copied();
                    }
                    found.colour_hints.push((at, body_end));
                }
                SOS => return Ok(found.finish(body, body_end)?),
                _ => {}
            }
            at = body_end;
        }
    }

    /// Where the stream ends: after its EOI marker. Real streams carry fill bytes and garbage
    /// behind it (`jpeg8bit.dcm`, the WG04 JPLY files); one without it was cut short.
    pub fn end(&self, stream: &[u8]) -> Result<usize, String> {
        const CUT: &str = "the stream is cut short: it has no EOI marker";
        let mut at = self.scan_at;
        loop {
            let rest = stream.get(at..).unwrap_or_default();
            at += rest.iter().position(|&byte| byte == 0xFF).ok_or(CUT)?;
            match *stream.get(at + 1).ok_or(CUT)? {
                // A fill byte: the marker's code may follow.
                0xFF => at += 1,
                // A stuffed byte, or a restart marker.
                0 | 0x01 | 0xD0..=0xD7 => at += 2,
                0xD8 => return Err("an SOI marker within the stream".into()),
                0xD9 => return Ok(at + 2),
                _ => at = segment_end(stream, at + 2)?,
            }
        }
    }

    /// Where the stream ends if nothing but EOI follows the first scan.
    pub fn scan_end(&self, stream: &[u8]) -> Option<usize> {
        let mut at = self.scan_at;
        loop {
            at += stream.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
            match *stream.get(at + 1)? {
                0xFF => at += 1,
                0 | 0x01 | 0xD0..=0xD7 => at += 2,
                0xD9 => return Some(at + 2),
                _ => return None,
            }
        }
    }

    /// The stream without JFIF and Adobe markers, with one Adobe marker that states the colour
    /// transform, and without the sampling factors of a lone component, which have no meaning
    /// there (T.81 A.2.2) but mislead decoders.
    pub fn rewritten(&self, stream: &[u8], transform: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(stream.len() + 16);
        out.extend_from_slice(&[0xFF, 0xD8, 0xFF, APP14, 0, 14]);
        out.extend_from_slice(b"Adobe\0\x64\0\0\0\0");
        out.push(transform);
        let mut from = 2;
        for &(start, end) in &self.colour_hints {
            out.extend_from_slice(&stream[from..start]);
            from = end;
        }
        out.extend_from_slice(&stream[from..]);
        if let [only] = self.components[..] {
            // Counted from the end, only what was taken out behind it moves the frame header.
            let removed_later: usize = self
                .colour_hints
                .iter()
                .filter(|&&(start, _)| start > only.sampling_at)
                .map(|&(start, end)| end - start)
                .sum();
            let at = out.len() - (stream.len() - only.sampling_at - removed_later);
            out[at] = 0x11;
        }
        out
    }
}

#[derive(Default)]
struct Found {
    frame: Option<(Process, u8, u16, u16, Vec<Component>)>,
    adobe_transform: Option<u8>,
    colour_hints: Vec<(usize, usize)>,
}

impl Found {
    fn frame(&mut self, marker: u8, body: &[u8], body_at: usize) -> Result<(), String> {
        let [precision, r1, r0, c1, c0, count, specs @ ..] = body else {
            return Err("the frame header is cut short".into());
        };
        if specs.len() != 3 * usize::from(*count) {
            return Err(format!(
                "the frame header has no room for {count} components"
            ));
        }
        if self.frame.is_some() {
            return Err("more than one frame header".into());
        }
        let process = if marker == 0xC2 {
            Process::Progressive
        } else {
            Process::Sequential
        };
        let components = specs
            .chunks_exact(3)
            .enumerate()
            .map(|(i, spec)| Component {
                sampling: spec[1],
                sampling_at: body_at + 6 + 3 * i + 1,
            })
            .collect();
        let (rows, columns) = (
            u16::from_be_bytes([*r1, *r0]),
            u16::from_be_bytes([*c1, *c0]),
        );
        self.frame = Some((process, *precision, rows, columns, components));
        Ok(())
    }

    fn finish(self, scan: &[u8], scan_at: usize) -> Result<Header, String> {
        let (process, precision, rows, columns, components) =
            self.frame.ok_or("a scan before the frame header")?;
        let in_scan = scan.first().map_or(0, |&count| usize::from(count));
        Ok(Header {
            process,
            precision,
            rows,
            columns,
            interleaved: in_scan == components.len(),
            components,
            adobe_transform: self.adobe_transform,
            colour_hints: self.colour_hints,
            scan_at,
        })
    }
}

/// Finds the marker at `at`, past fill bytes: its code and where its segment's length stands.
fn next_marker(stream: &[u8], at: usize) -> Result<(u8, usize), String> {
    if stream.get(at) != Some(&0xFF) {
        return Err(format!("no marker at byte {at}"));
    }
    let code_at = stream[at..]
        .iter()
        .position(|&byte| byte != 0xFF)
        .map(|skip| at + skip);
    let code_at = code_at.ok_or("only fill bytes to the end")?;
    match stream[code_at] {
        0 | 0x01 | 0xD0..=0xD9 => Err(format!("marker FF{:02X} in the header", stream[code_at])),
        code => Ok((code, code_at + 1)),
    }
}

fn segment_end(stream: &[u8], body_at: usize) -> Result<usize, String> {
    let length = match stream.get(body_at..body_at + 2) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => return Err("a marker segment is cut short".into()),
    };
    let end = body_at + length;
    if length < 2 || end > stream.len() {
        return Err(format!(
            "a marker segment of {length} bytes at byte {body_at}"
        ));
    }
    Ok(end)
}
