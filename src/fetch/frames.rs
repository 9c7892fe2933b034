//! Frames of a volume, made from the archive: located, read, decoded, brought to shown values.
//!
//! Where [`crate::archive`], [`crate::dicom`], [`crate::decode`] and [`crate::volume`] meet. What a
//! frame is made into lands in the slab without a copy in between wherever stored values are shown
//! as they are.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Error, Produce};
use crate::archive::{self, Record, Source};
use crate::decode::cpu::native;
use crate::decode::{self, Encoded, values};
use crate::dicom::{
    self, FrameTable, ImagePixel, Luts, PixelDataLocation, TransferSyntax, read_deflated, syntax,
};
use crate::volume::{Dtype, Frame, Transform, Values, Variant, Volume};

/// Multi-frame files kept open with their frame tables, a stream.
const OPEN_FILES_MAX: usize = 16;

/// An encoded frame may be larger than the decoded one (noise, overhead), but not without bound.
const ENCODED_BYTES_MIN: u64 = 64 << 20;
const ENCODED_TO_DECODED_MAX: u64 = 4;

/// Makes the frames of one variant of a volume.
pub struct FrameSource {
    source: Arc<Source>,
    volume: Arc<Volume>,
    variant: Variant,
    /// By index into the volume's records.
    open: Mutex<HashMap<usize, Arc<OpenRecord>>>,
}

/// A source file that is being read, with what is needed for each of its frames.
struct OpenRecord {
    file: File,
    syntax: &'static TransferSyntax,
    location: PixelDataLocation,
    table: Option<FrameTable>,
    luts: Luts,
}

/// Buffers a worker uses again for each frame.
#[derive(Default)]
struct Scratch {
    encoded: Vec<u8>,
    stored: Vec<u8>,
    uncast: Vec<u8>,
}

/// Most bytes of a scratch buffer that a worker keeps for the next frame. Enough for the frames of
/// all common modalities; what one huge frame needed is not held by every worker ever after.
const SCRATCH_KEPT_BYTES_MAX: usize = 32 << 20;

impl Scratch {
    /// Gives back what is too much to keep.
    fn trim(&mut self) {
        for buffer in [&mut self.encoded, &mut self.stored, &mut self.uncast] {
            if buffer.capacity() > SCRATCH_KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl FrameSource {
    /// The frames of `volume` as `variant` shows them.
    pub fn new(source: Arc<Source>, volume: Arc<Volume>, variant: Variant) -> FrameSource {
        FrameSource {
            source,
            volume,
            variant,
            open: Mutex::default(),
        }
    }

    fn make(&self, frame: &Frame, scratch: &mut Scratch, out: &mut [u8]) -> Result<(), Error> {
        let record = &self.volume.records[frame.record];
        let Some(image) = &record.instance.image else {
            return Err(Error::Malformed("the source is no image".to_string()));
        };
        let opened = self.open(frame.record, record)?;
        let as_stored = match self.variant {
            Variant::Stored => true,
            Variant::Values => self.volume.values.transform == Transform::Identity,
            Variant::Cast(_) => false,
        };
        if as_stored && opened.is_verbatim(image) {
            opened.read_native(image, frame.frame_index, out)?;
            return Ok(self.source.verify(&opened.file, record)?);
        }
        let first_bit = opened.read_encoded(image, frame.frame_index, &mut scratch.encoded)?;
        self.source.verify(&opened.file, record)?;
        let encoded = Encoded {
            bytes: &scratch.encoded,
            first_bit,
        };
        if as_stored {
            return Ok(decode::decode_frame(
                opened.syntax.uid,
                image,
                encoded,
                out,
            )?);
        }
        let len = image
            .frame_len_bytes()
            .ok_or_else(|| too_large("the decoded frame"))?;
        scratch.stored.resize(len, 0);
        decode::decode_frame(opened.syntax.uid, image, encoded, &mut scratch.stored)?;
        let rescale = (frame.slope, frame.intercept);
        let show = |rule: &Values, out: &mut [u8]| {
            values::apply(rule, rescale, image, &opened.luts, &scratch.stored, out)
                .map_err(|why| Error::Malformed(why.to_string()))
        };
        let Variant::Cast(dtype) = self.variant else {
            return show(&self.volume.values, out);
        };
        let rule = self.uncast_values();
        let count = out.len() / dtype.itemsize();
        scratch.uncast.resize(count * rule.dtype.itemsize(), 0);
        show(&rule, &mut scratch.uncast)?;
        decode::cast(rule.dtype, dtype, &scratch.uncast, out)
            .map_err(|why| Error::Unsupported(why.to_string()))
    }

    /// The value rule a cast starts from: as for the values, but a whole-number offset is added
    /// in 32 bits, so that what does not fit 16 is there to be cast.
    fn uncast_values(&self) -> Values {
        let values = &self.volume.values;
        let narrow = values.transform == Transform::Offset && values.dtype == Dtype::I16;
        Values {
            dtype: if narrow { Dtype::I32 } else { values.dtype },
            ..values.clone()
        }
    }

    fn open(&self, index: usize, record: &Record) -> Result<Arc<OpenRecord>, Error> {
        if let Some(opened) = self.lock().get(&index) {
            return Ok(opened.clone());
        }
        let opened = Arc::new(self.open_anew(record)?);
        // A file with one frame is read once: only the others are worth keeping.
        if record
            .instance
            .image
            .as_ref()
            .is_some_and(|image| image.number_of_frames > 1)
        {
            let mut open = self.lock();
            if open.len() >= OPEN_FILES_MAX {
                open.clear();
            }
            open.insert(index, opened.clone());
        }
        Ok(opened)
    }

    fn open_anew(&self, record: &Record) -> Result<OpenRecord, Error> {
        let instance = &record.instance;
        let location = instance
            .pixel_data
            .ok_or_else(|| Error::Malformed("the file ends before its pixel data".to_string()))?;
        let uid = &instance.transfer_syntax_uid;
        let syntax = syntax::by_uid(uid)
            .ok_or_else(|| Error::Unsupported(format!("unknown transfer syntax {uid}")))?;
        let file = self.source.open(record)?;
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
        let luts = match self.volume.values.transform {
            Transform::Palette | Transform::ModalityLut if self.variant != Variant::Stored => {
                dicom::read_luts(&file, file_len)?
            }
            _ => Luts::default(),
        };
        Ok(OpenRecord {
            file,
            syntax,
            location,
            table,
            luts,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<OpenRecord>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Produce for FrameSource {
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), Error> {
        SCRATCH.with_borrow_mut(|scratch| {
            let made = self.make(&self.volume.frames[frame], scratch, out);
            scratch.trim();
            made
        })
    }

    fn describe(&self, frame: usize) -> String {
        let frame = &self.volume.frames[frame];
        let path = &self.volume.records[frame.record].path;
        format!(
            "{} frame {}",
            path.display(),
            u64::from(frame.frame_index) + 1
        )
    }
}

impl OpenRecord {
    /// True when the file holds the samples just as they are to stand in the slab.
    fn is_verbatim(&self, image: &ImagePixel) -> bool {
        let native = self.syntax.codec == dicom::CodecFamily::Native;
        native && !self.syntax.deflated && !self.syntax.big_endian && native::is_verbatim(image)
    }

    /// Reads the encoded bytes of a frame; returns the bit where they start (1-bit native data).
    fn read_encoded(
        &self,
        image: &ImagePixel,
        frame_index: u32,
        encoded: &mut Vec<u8>,
    ) -> Result<u8, Error> {
        let Some(table) = &self.table else {
            let place = native::native_frame_location(image, frame_index)
                .ok_or_else(|| too_large("the frame"))?;
            encoded.resize(place.len_bytes, 0);
            return self.read_native(image, frame_index, encoded);
        };
        let frame = table
            .frame(frame_index)
            .ok_or_else(|| Error::Malformed("the file has no such frame".to_string()))?;
        if frame.state != dicom::FrameState::Whole {
            return Err(Error::Malformed(
                "the file ends within this frame".to_string(),
            ));
        }
        let decoded = image.frame_len_bytes().map_or(u64::MAX, |len| len as u64);
        let most = decoded
            .saturating_mul(ENCODED_TO_DECODED_MAX)
            .max(ENCODED_BYTES_MIN);
        if frame.length_bytes() > most {
            return Err(too_large("the encoded frame"));
        }
        encoded.resize(frame.length_bytes() as usize, 0);
        let mut rest = encoded.as_mut_slice();
        for fragment in frame.fragments {
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
            let file_len = self
                .file
                .metadata()
                .map_err(|e| Error::io("cannot stat", &e))?
                .len();
            read_deflated(&self.file, file_len, offset, out)?;
        } else {
            read_exact(&self.file, out, offset)?;
        }
        Ok(place.first_bit)
    }
}

fn read_exact(file: &File, out: &mut [u8], offset: u64) -> Result<(), Error> {
    file.read_exact_at(out, offset)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::Malformed("the file ends before this frame does".to_string())
            }
            _ => Error::io("cannot read the source file", &error),
        })
}

fn too_large(what: &str) -> Error {
    Error::TooLarge(format!("{what} is over the limit"))
}

impl From<decode::Error> for Error {
    fn from(error: decode::Error) -> Error {
        use decode::Error as Decode;
        let words = error.to_string();
        match error {
            Decode::UnsupportedTransferSyntax { .. } | Decode::UnsupportedImage { .. } => {
                Error::Unsupported(words)
            }
            Decode::Malformed { .. } => Error::Malformed(words),
            Decode::TooLarge { .. } => Error::TooLarge(words),
        }
    }
}

impl From<dicom::Error> for Error {
    fn from(error: dicom::Error) -> Error {
        match error {
            dicom::Error::TooLarge { .. } => Error::TooLarge(error.to_string()),
            dicom::Error::Io(io) => Error::io("cannot read the source file", &io),
            _ => Error::Malformed(error.to_string()),
        }
    }
}

/// Without the path, which may name a patient: these words go to the log.
impl From<archive::Error> for Error {
    fn from(error: archive::Error) -> Error {
        match error {
            archive::Error::Io { source, .. } => Error::io("cannot open the source file", &source),
            archive::Error::Absent { .. } => Error::Changed("the source file is gone".to_string()),
            archive::Error::Changed { .. }
            | archive::Error::NotDirectory { .. }
            | archive::Error::Index { .. } => {
                Error::Changed("the source file changed since it was indexed".to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_of_a_huge_frame_is_given_back() {
        let mut scratch = Scratch {
            encoded: Vec::with_capacity(SCRATCH_KEPT_BYTES_MAX + 1),
            stored: Vec::with_capacity(1000),
            ..Scratch::default()
        };
        scratch.trim();
        assert_eq!(scratch.encoded.capacity(), 0);
        assert!(scratch.stored.capacity() >= 1000);
    }
}
