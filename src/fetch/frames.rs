//! Frames of a volume, made from the archive: located, read, decoded, brought to shown values.
//!
//! Where [`crate::archive`], [`crate::dicom`], [`crate::decode`] and [`crate::volume`] meet. What a
//! frame is made into lands in the slab without a copy in between wherever stored values are shown
//! as they are.

mod direct;
mod offload;
mod open;
mod tiles;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DirectFrame, Error, Prepared, Produce, Unfit};
use crate::archive::{self, Record, Source};
use crate::decode::{self, values};
use crate::dicom::{self, ImagePixel};
use crate::volume::{Dtype, Frame, StoredFrame, Transform, Values, Variant, Volume};
use open::{OpenRecord, Wanted};
use tiles::Wholes;

/// Multi-frame files kept open with their frame tables, a stream.
const OPEN_FILES_MAX: usize = 16;

/// Makes the frames of one variant of a volume.
pub struct FrameSource {
    source: Arc<Source>,
    volume: Arc<Volume>,
    variant: Variant,
    /// By index into the volume's records.
    open: Mutex<HashMap<usize, Arc<OpenRecord>>>,
    /// Stored frames that were decoded whole for the tiles in them.
    wholes: Wholes,
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
            wholes: Wholes::default(),
        }
    }

    fn make(&self, frame: &Frame, scratch: &mut Scratch, out: &mut [u8]) -> Result<(), Error> {
        let Some(stored) = frame.stored else {
            // Not stored because nothing of the segment lies there: zeros are its values.
            out.fill(0);
            return Ok(());
        };
        let record = &self.volume.records[stored.record];
        let Some(image) = &record.instance.image else {
            return Err(Error::Malformed("the source is no image".to_string()));
        };
        let as_stored = match self.variant {
            Variant::Stored => true,
            Variant::Values => self.volume.values.transform == Transform::Identity,
            Variant::Cast(_) => false,
        };
        let opened = self.open(stored.record, record)?;
        if as_stored {
            return self.stored(&opened, stored, &mut scratch.encoded, out);
        }
        let show = self.show(frame, image, &opened);
        if stored.tile.is_none() && self.is_pointwise() && opened.is_by_the_word(image) {
            let Scratch {
                encoded, uncast, ..
            } = scratch;
            let (from, to) = (image.sample_len_bytes(), self.itemsize());
            if image.frame_len_bytes().map(|len| len / from * to) != Some(out.len()) {
                return Err(too_large("the frame"));
            }
            let wanted = self.wanted(record, image, stored);
            return opened.for_blocks(&wanted, encoded, &mut |first, block| {
                let shown = first * to..(first + block.len() / from) * to;
                let out = out.get_mut(shown).ok_or_else(|| too_large("the frame"))?;
                show(block, uncast, out)
            });
        }
        let len = self.volume.frame_len_bytes(Variant::Stored) as usize;
        scratch.stored.resize(len, 0);
        self.stored(&opened, stored, &mut scratch.encoded, &mut scratch.stored)?;
        show(&scratch.stored, &mut scratch.uncast, out)
    }

    /// What brings stored values of a frame to those shown; the buffer is room to work in.
    fn show<'a>(
        &'a self,
        frame: &'a Frame,
        image: &'a ImagePixel,
        opened: &'a OpenRecord,
    ) -> impl Fn(&[u8], &mut Vec<u8>, &mut [u8]) -> Result<(), Error> + 'a {
        let rescale = (frame.slope, frame.intercept);
        let apply = move |rule: &Values, stored: &[u8], out: &mut [u8]| {
            values::apply(rule, rescale, image, &opened.luts, stored, out)
                .map_err(|why| Error::Malformed(why.to_string()))
        };
        let uncast_rule = self.uncast_values();
        move |stored, uncast, out| {
            let Variant::Cast(dtype) = self.variant else {
                return apply(&self.volume.values, stored, out);
            };
            let count = out.len() / dtype.itemsize();
            uncast.resize(count * uncast_rule.dtype.itemsize(), 0);
            apply(&uncast_rule, stored, uncast)?;
            decode::cast(uncast_rule.dtype, dtype, uncast, out)
                .map_err(|why| Error::Unsupported(why.to_string()))
        }
    }

    fn wanted<'a>(
        &'a self,
        record: &'a Record,
        image: &'a ImagePixel,
        stored: StoredFrame,
    ) -> Wanted<'a> {
        Wanted {
            source: &self.source,
            record,
            image,
            frame_index: stored.frame_index,
        }
    }

    /// Whether each sample shown follows from one stored sample and two numbers.
    fn is_pointwise(&self) -> bool {
        use Transform::{Identity, Linear, Offset};
        matches!(self.volume.values.transform, Identity | Offset | Linear)
    }

    /// Bytes of a sample shown.
    fn itemsize(&self) -> usize {
        self.volume.dtype(self.variant).itemsize()
    }

    /// The stored values of a frame, or of the tile of one.
    fn stored(
        &self,
        opened: &OpenRecord,
        stored: StoredFrame,
        encoded: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let record = &self.volume.records[stored.record];
        let Some(image) = &record.instance.image else {
            return Err(Error::Malformed("the source is no image".to_string()));
        };
        let wanted = self.wanted(record, image, stored);
        let decode = |encoded: &mut Vec<u8>, out: &mut [u8]| opened.decode(&wanted, encoded, out);
        let Some(tile) = stored.tile else {
            return decode(encoded, out);
        };
        let key = (stored.record, stored.frame_index);
        let whole = self.wholes.get_or_make(key, || {
            let len = image
                .frame_len_bytes()
                .ok_or_else(|| too_large("the decoded frame"))?;
            let mut whole = vec![0; len];
            decode(encoded, &mut whole)?;
            Ok(whole)
        })?;
        let shape = self.volume.frame_shape(Variant::Stored);
        tiles::cut(&whole, image, tile, shape, out)
            .ok_or_else(|| Error::Malformed("a tile lies outside its frame".to_string()))
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
        let opened = Arc::new(OpenRecord::new(&self.source, record, self.needs_luts())?);
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

    /// Whether the values shown come from lookup tables of the file.
    fn needs_luts(&self) -> bool {
        let from_tables = matches!(
            self.volume.values.transform,
            Transform::Palette | Transform::ModalityLut
        );
        from_tables && self.variant != Variant::Stored
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

    fn admit(&self, frame: usize) -> Result<(), Error> {
        let Some(stored) = self.volume.frames[frame].stored else {
            return Ok(());
        };
        open::admit(&self.volume.records[stored.record], stored.frame_index)
    }

    fn verify(&self, frame: usize) -> Result<(), Error> {
        let Some(stored) = self.volume.frames[frame].stored else {
            return Ok(());
        };
        Ok(self.source.check(&self.volume.records[stored.record])?)
    }

    fn decoder(&self, frame: usize) -> Option<&'static str> {
        let stored = self.volume.frames.get(frame)?.stored?;
        let record = self.volume.records.get(stored.record)?;
        let decoder = decode::decoder_for(&record.instance.transfer_syntax_uid).ok()?;
        Some(decoder.name())
    }

    fn codec(&self, frame: usize) -> Option<&'static str> {
        let stored = self.volume.frames.get(frame)?.stored?;
        let record = self.volume.records.get(stored.record)?;
        Some(decode::codec_of(&record.instance.transfer_syntax_uid))
    }

    fn prepare(&self, frame: usize, room: &mut [u8], exact: bool) -> Result<Prepared, Unfit> {
        self.offload(&self.volume.frames[frame], room, exact)
    }

    fn is_direct(&self, frame: usize) -> bool {
        self.volume
            .frames
            .get(frame)
            .is_some_and(|frame| self.direct_job(frame).is_ok())
    }

    fn direct(&self, frame: usize) -> Result<DirectFrame<'_>, Unfit> {
        self.open_direct(&self.volume.frames[frame])
    }

    fn describe(&self, frame: usize) -> String {
        let Some(stored) = self.volume.frames[frame].stored else {
            return "a frame that is not stored".to_string();
        };
        format!(
            "{} frame {}",
            self.volume.source_name(stored.record),
            u64::from(stored.frame_index) + 1
        )
    }
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
            | archive::Error::NotMounted { .. }
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
