//! A file: File Meta Information and header rewritten, Pixel Data where it is.
//!
//! The length is known once the header is: native Pixel Data is as long as its element says, and what
//! follows it goes. Where encapsulated Pixel Data ends is not known without reading through it, so
//! these files keep the length of what follows, as Data Set Trailing Padding (PS3.10 7.2).

use std::ops::Range;
use std::sync::OnceLock;

use dicom_core::Tag;

use super::Deid;
use super::dataset::{Rewriter, put_header};
use crate::dicom::deflate::{InflateStream, read_deflated};
use crate::dicom::header::{
    Encoding, FileStream, Header, Stream, Window, dataset_encoding, dataset_offset, read_header,
};
use crate::dicom::limits::{FRAGMENTS_MAX, INFLATED_HEADER_BYTES_MAX};
use crate::dicom::{Error, Instance, ReadAt, read_full_at, syntax, tags};

/// Implementation Class UID (0002,0012) of this program: a UUID (PS3.5 B.2).
const IMPLEMENTATION_CLASS_UID: &str = "2.25.171439826404873297915266380414727319042";

/// A file as it is served.
#[derive(Debug)]
pub struct Rewritten {
    head: Vec<u8>,
    body: Body,
    file_len_bytes: u64,
}

/// The value of the pixel element.
#[derive(Debug)]
struct Body {
    /// Where it starts: in the file, or in the inflated data set.
    offset_bytes: u64,
    len_bytes: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// As it stands in the file.
    Plain,
    /// In a deflated data set.
    Deflated,
    /// Items up to a delimiter; once found, where what follows it starts, counted from the body.
    Items(OnceLock<u64>),
}

/// Rewrites the header of a file.
///
/// # Errors
/// As [`read_header`]; [`Error::Malformed`] also for what is no image.
pub fn rewrite<R: ReadAt + ?Sized>(
    source: &R,
    file_len_bytes: u64,
    deid: &Deid,
) -> Result<Rewritten, Error> {
    let no_image = |what| Error::Malformed {
        tag: None,
        offset_bytes: 0,
        what,
    };
    let Header::Instance(instance) = read_header(source, file_len_bytes)? else {
        return Err(no_image("a DICOMDIR is no image"));
    };
    let Some(location) = instance.pixel_data else {
        return Err(no_image("the file has no Pixel Data"));
    };
    let declared = syntax::by_uid(&instance.transfer_syntax_uid);
    let dataset_bytes = dataset_offset(source, file_len_bytes)?;
    let is_deflated = declared.is_some_and(|syntax| syntax.deflated);
    let (enc, dataset) = if is_deflated {
        let stream = InflateStream::new(source, dataset_bytes, INFLATED_HEADER_BYTES_MAX);
        let mut window = Window::new(stream, None);
        head(&mut window, 0, &instance, location.offset_bytes, deid)?
    } else {
        let mut window = Window::new(FileStream(source), Some(file_len_bytes));
        let pixels_bytes = location.offset_bytes;
        head(&mut window, dataset_bytes, &instance, pixels_bytes, deid)?
    };
    let left = file_len_bytes.saturating_sub(location.offset_bytes);
    let (len_bytes, form) = match (location.length_bytes, is_deflated) {
        (Some(length), true) => (length, Form::Deflated),
        (Some(length), false) => (length.min(left), Form::Plain),
        (None, false) => (left, Form::Items(OnceLock::new())),
        (None, true) => return Err(no_image("a deflated data set holds no items of pixels")),
    };
    let syntax = match location.length_bytes {
        // Native: in the encoding that was found, whatever was declared.
        Some(_) if is_deflated || !is_as_declared(&instance, enc) => native_syntax(enc),
        _ => &instance.transfer_syntax_uid,
    };
    let mut whole = meta(&instance, syntax, deid);
    whole.extend(dataset);
    Ok(Rewritten {
        head: whole,
        body: Body {
            offset_bytes: location.offset_bytes,
            len_bytes,
            form,
        },
        file_len_bytes,
    })
}

fn head<S: Stream>(
    window: &mut Window<S>,
    offset_bytes: u64,
    instance: &Instance,
    pixels_bytes: u64,
    deid: &Deid,
) -> Result<(Encoding, Vec<u8>), Error> {
    let enc = dataset_encoding(window, offset_bytes, &instance.transfer_syntax_uid)?;
    let mut rewriter = Rewriter {
        window,
        deid,
        subject: &deid.subject(instance),
        enc,
    };
    Ok((enc, rewriter.head(offset_bytes, pixels_bytes)?))
}

fn is_as_declared(instance: &Instance, enc: Encoding) -> bool {
    let declared = syntax::by_uid(&instance.transfer_syntax_uid);
    declared.is_some_and(|syntax| {
        (syntax.explicit_vr, syntax.big_endian) == (enc.explicit_vr, enc.big_endian)
    })
}

fn native_syntax(enc: Encoding) -> &'static str {
    match (enc.explicit_vr, enc.big_endian) {
        (false, _) => "1.2.840.10008.1.2",
        (true, false) => "1.2.840.10008.1.2.1",
        (true, true) => "1.2.840.10008.1.2.2",
    }
}

/// An empty preamble and File Meta Information (PS3.10 7.1).
fn meta(instance: &Instance, syntax: &str, deid: &Deid) -> Vec<u8> {
    let mut group = Vec::new();
    let mut put = |tag: Tag, vr: &[u8; 2], value: &[u8]| {
        let padding = (value.len() % 2 == 1).then_some(if vr == b"SH" { b' ' } else { 0 });
        let length = value.len() as u32 + padding.map_or(0, |_| 1);
        put_header(Encoding::EXPLICIT_LITTLE, tag, *vr, length, &mut group);
        group.extend_from_slice(value);
        group.extend(padding);
    };
    let instance_uid = deid.uid(&instance.sop_instance_uid);
    put(Tag(0x0002, 0x0001), b"OB", &[0, 1]);
    put(
        tags::MEDIA_STORAGE_SOP_CLASS_UID,
        b"UI",
        instance.sop_class_uid.as_bytes(),
    );
    put(
        tags::MEDIA_STORAGE_SOP_INSTANCE_UID,
        b"UI",
        instance_uid.as_bytes(),
    );
    put(tags::TRANSFER_SYNTAX_UID, b"UI", syntax.as_bytes());
    put(
        Tag(0x0002, 0x0012),
        b"UI",
        IMPLEMENTATION_CLASS_UID.as_bytes(),
    );
    put(Tag(0x0002, 0x0013), b"SH", b"DICOMFS");
    let mut out = vec![0; 128];
    out.extend_from_slice(b"DICM");
    put_header(
        Encoding::EXPLICIT_LITTLE,
        Tag(0x0002, 0),
        *b"UL",
        4,
        &mut out,
    );
    out.extend((group.len() as u32).to_le_bytes());
    out.extend(group);
    out
}

impl Rewritten {
    /// Length of the file as it is served, bytes.
    pub fn len_bytes(&self) -> u64 {
        self.head.len() as u64 + self.body.len_bytes
    }

    /// Reads a range of the file as it is served, which must lie in it; `source` is the file that it
    /// was made from.
    ///
    /// # Errors
    /// As a positioned read; [`Error::Truncated`] where the source ends before.
    pub fn read<R: ReadAt + ?Sized>(
        &self,
        source: &R,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let head_bytes = self.head.len() as u64;
        let of_head = range.start.min(head_bytes) as usize..range.end.min(head_bytes) as usize;
        let mut out = self.head[of_head].to_vec();
        let start = range.start.max(head_bytes) - head_bytes;
        let end = range.end.clamp(head_bytes, self.len_bytes()) - head_bytes;
        if start >= end {
            return Ok(out);
        }
        let filled = out.len();
        out.resize(filled + (end - start) as usize, 0);
        self.read_body(source, start, &mut out[filled..])?;
        Ok(out)
    }

    fn read_body<R: ReadAt + ?Sized>(
        &self,
        source: &R,
        start: u64,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let from = self.body.offset_bytes + start;
        let items_end = match &self.body.form {
            Form::Deflated => return read_deflated(source, self.file_len_bytes, from, out),
            Form::Plain => None,
            Form::Items(known) => Some(self.items_end(source, known)?),
        };
        let filled = read_full_at(source, from, out)?;
        if filled < out.len() {
            return Err(Error::Truncated {
                end_bytes: from + filled as u64,
                needed_bytes: from + out.len() as u64,
            });
        }
        if let Some(end) = items_end {
            let after = end.saturating_sub(start).min(out.len() as u64) as usize;
            let padding = padding((self.body.len_bytes - end) as usize);
            for (index, byte) in out[after..].iter_mut().enumerate() {
                let at = start + (after + index) as u64 - end;
                *byte = padding.get(at as usize).copied().unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Where the items of pixels end, their delimiter included, counted from the start of the body.
    /// What is no item, and all after it, is not served.
    fn items_end<R: ReadAt + ?Sized>(
        &self,
        source: &R,
        known: &OnceLock<u64>,
    ) -> Result<u64, Error> {
        if let Some(end) = known.get() {
            return Ok(*end);
        }
        let mut at = 0;
        for _ in 0..FRAGMENTS_MAX {
            let mut header = [0; 8];
            let filled = read_full_at(source, self.body.offset_bytes + at, &mut header)?;
            let [a, b, c, d, length @ ..] = header;
            let tag = Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            match tag {
                tags::ITEM if filled == 8 => at += 8 + u64::from(u32::from_le_bytes(length)),
                tags::SEQUENCE_DELIMITATION_ITEM if filled == 8 => {
                    at += 8;
                    break;
                }
                _ => break,
            }
        }
        let end = at.min(self.body.len_bytes);
        Ok(*known.get_or_init(|| end))
    }
}

/// The header of Data Set Trailing Padding that fills so many bytes, with zeros behind it.
fn padding(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let tag = Tag(0xFFFC, 0xFFFC);
    match len {
        // No element is so short; nothing is read from it.
        0..8 => {}
        // OB has a longer header.
        8..12 => put_header(
            Encoding::EXPLICIT_LITTLE,
            tag,
            *b"ST",
            len as u32 - 8,
            &mut out,
        ),
        _ => put_header(
            Encoding::EXPLICIT_LITTLE,
            tag,
            *b"OB",
            len as u32 - 12,
            &mut out,
        ),
    }
    out
}
