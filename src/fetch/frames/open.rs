//! One source file that is being read: where each of its frames lies, and its bytes.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use super::{Error, too_large};
use crate::archive::{Record, Source, SourceFile};
use crate::decode::cpu::native;
use crate::decode::{self, Encoded};
use crate::dicom::{
    self, FrameTable, ImagePixel, Luts, PixelDataLocation, TransferSyntax, read_deflated, syntax,
};

/// An encoded frame may be larger than the decoded one (noise, overhead), but not without bound.
const ENCODED_BYTES_MIN: u64 = 64 << 20;
const ENCODED_TO_DECODED_MAX: u64 = 4;

/// What a byte of a deflated stream may come to at most (RFC 1951: 258 bytes of two bits).
const INFLATED_TO_DEFLATED_MAX: u64 = 1032;

/// Bytes of a block: half of a small first cache, and whole samples of any width.
const BLOCK_BYTES: usize = 16 << 10;

/// What is done with a block of stored values, which starts at this sample of the frame.
type TakeBlock<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Error> + 'a;

/// A frame of a source file.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) source: &'a Source,
    pub(super) record: &'a Record,
    pub(super) image: &'a ImagePixel,
    pub(super) frame_index: u32,
}

/// A source file that is being read, with what is needed for each of its frames.
pub(super) struct OpenRecord {
    file: SourceFile,
    /// The same, for who reads it himself: the same for all frames of the file.
    lent: OnceLock<Arc<File>>,
    file_len: u64,
    pub(super) syntax: &'static TransferSyntax,
    location: PixelDataLocation,
    table: Option<FrameTable>,
    pub(super) luts: Luts,
}

impl OpenRecord {
    /// Opens the file of a record; its lookup tables are read only `with_luts`.
    pub(super) fn new(
        source: &Source,
        record: &Record,
        with_luts: bool,
    ) -> Result<OpenRecord, Error> {
        let instance = &record.instance;
        let location = instance
            .pixel_data
            .ok_or_else(|| Error::Malformed("the file ends before its pixel data".to_string()))?;
        let uid = &instance.transfer_syntax_uid;
        let syntax = syntax::by_uid(uid)
            .ok_or_else(|| Error::Unsupported(format!("unknown transfer syntax {uid}")))?;
        let file = source.open(record)?;
        let frames = instance
            .image
            .as_ref()
            .map_or(1, |image| image.number_of_frames);
        let file_len = record.identity.size_bytes;
        let table = match syntax.encapsulated {
            true => Some(FrameTable::read(
                &file,
                file_len,
                &location,
                frames,
                syntax.codec,
            )?),
            false => None,
        };
        let luts = match with_luts {
            true => dicom::read_luts(&file, file_len)?,
            false => Luts::default(),
        };
        Ok(OpenRecord {
            file,
            lent: OnceLock::new(),
            file_len,
            syntax,
            location,
            table,
            luts,
        })
    }

    /// The file.
    pub(super) fn file(&self) -> &SourceFile {
        &self.file
    }

    /// Where a native frame of `len_bytes` lies as it is, all of it: a file of the system, and where in
    /// that it starts. `None` for what was unpacked.
    pub(super) fn in_place(
        &self,
        of: &Wanted<'_>,
        len_bytes: u64,
    ) -> Result<Option<(Arc<File>, u64)>, Error> {
        let (place, start) = native_place(&self.location, of.image, of.frame_index)?;
        if place.len_bytes as u64 != len_bytes || place.first_bit != 0 {
            return Err(too_large("the frame"));
        }
        if start.saturating_add(len_bytes) > self.file_len {
            return Err(ends_before_frame());
        }
        let Some((file, first)) = self.file.in_place() else {
            return Ok(None);
        };
        let lent = match self.lent.get() {
            Some(lent) => lent.clone(),
            None => {
                let copy = file
                    .try_clone()
                    .map_err(|error| Error::io("cannot lend the source file", &error))?;
                self.lent.get_or_init(|| Arc::new(copy)).clone()
            }
        };
        Ok(Some((lent, first.saturating_add(start))))
    }

    /// True when the file holds the samples just as they are to stand in the slab.
    fn is_verbatim(&self, image: &ImagePixel) -> bool {
        let native = self.syntax.codec == dicom::CodecFamily::Native;
        native && !self.syntax.deflated && !self.syntax.big_endian && native::is_verbatim(image)
    }

    /// True when any run of a frame's samples can be had by itself.
    pub(super) fn is_by_the_word(&self, image: &ImagePixel) -> bool {
        self.syntax.codec == dicom::CodecFamily::Native && native::is_by_the_word(image)
    }

    /// Reads a frame for which [`OpenRecord::is_by_the_word`] holds and hands its stored values to
    /// `take`, a block after the other, with their place among the samples. A block stays in the
    /// first cache of a core, so that what is made of it costs one pass over memory.
    pub(super) fn for_blocks(
        &self,
        of: &Wanted<'_>,
        encoded: &mut Vec<u8>,
        take: &mut TakeBlock<'_>,
    ) -> Result<(), Error> {
        let encoded = self.read_into(of, encoded)?;
        let big_endian = self.syntax.big_endian;
        let mut block = [0; BLOCK_BYTES];
        for (number, from) in encoded.bytes.chunks(BLOCK_BYTES).enumerate() {
            let stored = &mut block[..from.len()];
            native::samples(of.image, big_endian, from, stored)?;
            take(number * BLOCK_BYTES / of.image.sample_len_bytes(), stored)?;
        }
        Ok(())
    }

    /// Decodes a frame to stored values; `encoded` is room to work in. `out` is as long as
    /// [`ImagePixel::frame_len_bytes`] says. Verifies that the file is the one that was indexed.
    pub(super) fn decode(
        &self,
        of: &Wanted<'_>,
        encoded: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        if self.is_verbatim(of.image) {
            self.read_native(of.image, of.frame_index, out)?;
            return Ok(of.source.verify(&self.file, of.record)?);
        }
        let encoded = self.read_into(of, encoded)?;
        Ok(decode::decode_frame(
            self.syntax.uid,
            of.image,
            encoded,
            out,
        )?)
    }

    /// Reads the encoded bytes of a frame into a buffer that grows as it needs.
    fn read_into<'b>(
        &self,
        of: &Wanted<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Encoded<'b>, Error> {
        buffer.resize(self.encoded_len_bytes(of)?, 0);
        self.read_verified(of, buffer)
    }

    /// Reads the encoded bytes of a frame into `out`, which is as long as they are, and verifies that
    /// the file then still is the one that was indexed.
    pub(super) fn read_verified<'b>(
        &self,
        of: &Wanted<'_>,
        out: &'b mut [u8],
    ) -> Result<Encoded<'b>, Error> {
        let first_bit = self.read_encoded(of, out)?;
        of.source.verify(&self.file, of.record)?;
        let bytes = out;
        Ok(Encoded { bytes, first_bit })
    }

    /// Length of a frame as it is encoded, within bounds.
    pub(super) fn encoded_len_bytes(&self, of: &Wanted<'_>) -> Result<usize, Error> {
        let Some(table) = &self.table else {
            let place = native::native_frame_location(of.image, of.frame_index)
                .ok_or_else(|| too_large("the frame"))?;
            return Ok(place.len_bytes);
        };
        let frame = whole_frame(table, of.frame_index)?;
        let decoded = of
            .image
            .frame_len_bytes()
            .map_or(u64::MAX, |len| len as u64);
        let most = decoded
            .saturating_mul(ENCODED_TO_DECODED_MAX)
            .max(ENCODED_BYTES_MIN);
        match frame.length_bytes() > most {
            true => Err(too_large("the encoded frame")),
            false => Ok(frame.length_bytes() as usize),
        }
    }

    /// Reads the encoded bytes of a frame into `out`, which is as long as they are; returns the bit
    /// where they start (1-bit native data).
    fn read_encoded(&self, of: &Wanted<'_>, out: &mut [u8]) -> Result<u8, Error> {
        let Some(table) = &self.table else {
            return self.read_native(of.image, of.frame_index, out);
        };
        let mut rest = out;
        for fragment in whole_frame(table, of.frame_index)?.fragments {
            let (piece, after) = rest.split_at_mut(fragment.length_bytes as usize);
            read_exact(&self.file, piece, fragment.offset_bytes)?;
            rest = after;
        }
        Ok(0)
    }

    /// Reads a native frame into `out`, which is as long as the frame is in the file.
    fn read_native(
        &self,
        image: &ImagePixel,
        frame_index: u32,
        out: &mut [u8],
    ) -> Result<u8, Error> {
        let (place, offset) = native_place(&self.location, image, frame_index)?;
        if place.len_bytes != out.len() {
            return Err(too_large("the frame"));
        }
        if self.syntax.deflated {
            read_deflated(&self.file, self.file_len, offset, out)?;
        } else {
            read_exact(&self.file, out, offset)?;
        }
        Ok(place.first_bit)
    }
}

/// Is a frame of a record in its file, as far as the header says? Of one that is encapsulated only the
/// file itself tells.
pub(super) fn admit(record: &Record, frame_index: u32) -> Result<(), Error> {
    let instance = &record.instance;
    let syntax = syntax::by_uid(&instance.transfer_syntax_uid);
    let (Some(image), Some(location), Some(syntax)) =
        (&instance.image, &instance.pixel_data, syntax)
    else {
        // Who opens the file finds better words.
        return Ok(());
    };
    if syntax.encapsulated {
        return Ok(());
    }
    let (place, start) = native_place(location, image, frame_index)?;
    let most = match syntax.deflated {
        true => record
            .identity
            .size_bytes
            .saturating_mul(INFLATED_TO_DEFLATED_MAX),
        false => record.identity.size_bytes,
    };
    match start.saturating_add(place.len_bytes as u64) > most {
        true => Err(ends_before_frame()),
        false => Ok(()),
    }
}

/// Where a native frame lies in the pixel data, and where that is in the file (or in what the file is
/// inflated to).
fn native_place(
    location: &PixelDataLocation,
    image: &ImagePixel,
    frame_index: u32,
) -> Result<(native::FrameLocation, u64), Error> {
    let place =
        native::native_frame_location(image, frame_index).ok_or_else(|| too_large("the frame"))?;
    let end = place.offset_bytes.saturating_add(place.len_bytes as u64);
    if location.length_bytes.is_some_and(|len| end > len) {
        let why = "the pixel data end before this frame does";
        return Err(Error::Malformed(why.to_string()));
    }
    let start = location.offset_bytes.saturating_add(place.offset_bytes);
    Ok((place, start))
}

fn ends_before_frame() -> Error {
    Error::Malformed("the file ends before this frame does".to_string())
}

fn whole_frame(table: &FrameTable, frame_index: u32) -> Result<dicom::EncodedFrame<'_>, Error> {
    let frame = table
        .frame(frame_index)
        .ok_or_else(|| Error::Malformed("the file has no such frame".to_string()))?;
    match frame.state {
        dicom::FrameState::Whole => Ok(frame),
        _ => Err(Error::Malformed(
            "the file ends within this frame".to_string(),
        )),
    }
}

fn read_exact(file: &SourceFile, out: &mut [u8], offset: u64) -> Result<(), Error> {
    file.read_exact_at(out, offset)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ends_before_frame(),
            _ => Error::io("cannot read the source file", &error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::SourceIdentity;
    use crate::decode::cpu::tests::gray;
    use crate::dicom::Instance;

    const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
    const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";

    #[test]
    fn a_frame_that_the_file_cannot_hold_is_not_admitted() {
        let whole = Record {
            path: "1".into(),
            identity: SourceIdentity {
                size_bytes: 1008,
                mtime_ns: 0,
                inode: 0,
            },
            inside: None,
            instance: Instance {
                transfer_syntax_uid: syntax::EXPLICIT_VR_LITTLE_ENDIAN.to_string(),
                image: Some(gray(2, 2, 16)),
                pixel_data: Some(PixelDataLocation {
                    offset_bytes: 1000,
                    length_bytes: Some(8),
                    extended_offset_table: None,
                }),
                ..Instance::default()
            },
        };
        assert_eq!(admit(&whole, 0), Ok(()));
        let with = |change: &dyn Fn(&mut Record)| {
            let mut record = whole.clone();
            change(&mut record);
            admit(&record, 0)
        };
        let huge = |record: &mut Record| {
            let image = record.instance.image.as_mut().unwrap();
            (image.rows, image.columns) = (1 << 15, 1 << 14);
            record.instance.pixel_data.as_mut().unwrap().length_bytes = Some(1 << 30);
        };
        let of_syntax = |record: &mut Record, uid: &str| {
            record.instance.transfer_syntax_uid = uid.to_string();
        };
        let is_refused = |admitted: Result<(), Error>| matches!(admitted, Err(Error::Malformed(_)));
        assert!(is_refused(with(&|record| record.identity.size_bytes -= 1)));
        assert!(is_refused(with(&huge)));
        assert!(is_refused(with(&|record| {
            record.instance.pixel_data.as_mut().unwrap().length_bytes = Some(7);
        })));
        assert!(is_refused(with(&|record| {
            huge(record);
            of_syntax(record, DEFLATED);
        })));
        let deflated = |record: &mut Record| {
            record.identity.size_bytes = 10;
            of_syntax(record, DEFLATED);
        };
        assert_eq!(with(&deflated), Ok(()));
        let encapsulated = |record: &mut Record| {
            huge(record);
            of_syntax(record, JPEG_2000);
        };
        assert_eq!(with(&encapsulated), Ok(()));
    }
}
