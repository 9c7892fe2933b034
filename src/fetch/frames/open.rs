//! One source file that is being read: where each of its frames lies, and its bytes.

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
            file_len,
            syntax,
            location,
            table,
            luts,
        })
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
        let place = native::native_frame_location(image, frame_index)
            .filter(|place| place.len_bytes == out.len())
            .ok_or_else(|| too_large("the frame"))?;
        let end = place.offset_bytes.saturating_add(place.len_bytes as u64);
        if self.location.length_bytes.is_some_and(|len| end > len) {
            return Err(Error::Malformed(
                "the pixel data end before this frame does".to_string(),
            ));
        }
        let offset = self
            .location
            .offset_bytes
            .saturating_add(place.offset_bytes);
        if self.syntax.deflated {
            read_deflated(&self.file, self.file_len, offset, out)?;
        } else {
            read_exact(&self.file, out, offset)?;
        }
        Ok(place.first_bit)
    }
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
            std::io::ErrorKind::UnexpectedEof => {
                Error::Malformed("the file ends before this frame does".to_string())
            }
            _ => Error::io("cannot read the source file", &error),
        })
}
