//! Open files that show bytes of a slab: which slab, which of its bytes, and what is done for a read
//! beyond answering it.
//!
//! Here the byte range of a file becomes one of its slab. What is declined, made ahead and pushed into
//! the page cache is decided by [`super::reading`] and done by [`super::pages`] and [`crate::fetch`].

use std::ops::Range;
use std::sync::Arc;

use super::content::{Cached, Content};
use super::pages::{Pages, Push, Pushed};
use super::reading::{self, Ask, Course, PAGE_BYTES, Reading};
use super::{Error, Fs, ReadReply};
use crate::archive::Source;
use crate::cache::{Layout, SlabKey};
use crate::fetch::{self, Fetcher, FrameSource, Stream};
use crate::format::{nifti, npy};
use crate::tree::{ArrayFile, ArrayFormat};
use crate::volume::{Variant, Volume};

/// A file that shows part of a slab, behind a header of its own where it is not the slab's.
pub(super) struct SlabView {
    pub(super) stream: Arc<Stream>,
    reading: Reading,
    header: Vec<u8>,
    /// Where in the slab the file's bytes after `header` start.
    slab_offset_bytes: u64,
    /// Length of the file.
    pub(super) len_bytes: u64,
}

impl SlabView {
    /// True when the file is the slab, byte for byte: then it may be opened by passthrough.
    pub(super) fn is_whole_slab(&self) -> bool {
        self.slab_offset_bytes == 0 && self.header.is_empty()
    }

    /// Bytes of the file before its first frame.
    fn header_len_bytes(&self) -> u64 {
        let of_slab = (npy::HEADER_LEN_BYTES as u64).saturating_sub(self.slab_offset_bytes);
        self.header.len() as u64 + of_slab
    }

    /// Where in the slab the file's first frame starts, as a range of one byte.
    fn first_sample(&self) -> Range<u64> {
        let at = self.slab_offset_bytes.max(npy::HEADER_LEN_BYTES as u64);
        at..at + 1
    }

    /// Puts the file's header into the page cache, unless it has been read with its first frame before: who
    /// reads it then asks for nothing, and the kernel reads nothing ahead for it.
    pub(super) fn push_header(&self, ino: u64, pages: &Pages) {
        let header_len = self.header_len_bytes();
        let slab = self.stream.slab();
        let is_absent = slab.is_absent(slab.frames_of(&self.first_sample()).start);
        if header_len == 0 || !header_len.is_multiple_of(PAGE_BYTES) || !is_absent {
            return;
        }
        let bytes = match self.header.is_empty() {
            true => Pushed::Slab(self.stream.clone(), 0..header_len),
            false => Pushed::Own(self.header.clone()),
        };
        pages.push(Push {
            ino,
            offset_bytes: 0,
            bytes,
        });
    }

    /// Whether a request may come from somebody who needs none of its frames: not where the file has but
    /// one, and no header is asked for with it.
    fn may_be_a_guess(&self, in_file: &Range<u64>) -> bool {
        let header_len = self.header_len_bytes();
        let frame_len = self.stream.slab().frame_len_bytes() as u64;
        self.len_bytes > header_len + frame_len || in_file.start < header_len
    }
}

/// `volume[.<op>].<format>`.
pub(super) fn array(
    fetcher: &Fetcher,
    source: &Arc<Source>,
    volume: &Arc<Volume>,
    file: ArrayFile,
) -> Result<Content, Error> {
    let stream = stream(fetcher, source, volume, file.variant)?;
    let past_header = npy::HEADER_LEN_BYTES as u64;
    let (header, slab_offset_bytes) = match file.format {
        ArrayFormat::Npy => (Vec::new(), 0),
        ArrayFormat::Raw => (Vec::new(), past_header),
        ArrayFormat::Nii => (nii_header(volume, file.variant)?, past_header),
    };
    Ok(Content::Slab(SlabView {
        stream,
        reading: Reading::default(),
        header,
        slab_offset_bytes,
        len_bytes: file.len_bytes(volume),
    }))
}

/// The tree has no name for what NIfTI cannot express.
fn nii_header(volume: &Volume, variant: Variant) -> Result<Vec<u8>, Error> {
    nifti::header(volume, variant).map_err(|why| Error::TooLarge(why.to_string()))
}

/// `frames/NNNN.npy`.
pub(super) fn frame(
    fetcher: &Fetcher,
    source: &Arc<Source>,
    volume: &Arc<Volume>,
    n: u32,
) -> Result<Content, Error> {
    let header = npy::header(
        volume.dtype(Variant::Values),
        volume.frame_shape(Variant::Values),
    )
    .map_err(|why| Error::TooLarge(why.to_string()))?;
    one_frame(fetcher, source, volume, n, header)
}

/// `volume.zarr/0/c.<...>`: the frame and nothing else.
pub(super) fn chunk(
    fetcher: &Fetcher,
    source: &Arc<Source>,
    volume: &Arc<Volume>,
    n: u32,
) -> Result<Content, Error> {
    one_frame(fetcher, source, volume, n, Vec::new())
}

fn one_frame(
    fetcher: &Fetcher,
    source: &Arc<Source>,
    volume: &Arc<Volume>,
    n: u32,
    header: Vec<u8>,
) -> Result<Content, Error> {
    let stream = stream(fetcher, source, volume, Variant::Values)?;
    let frame_len_bytes = volume.frame_len_bytes(Variant::Values);
    Ok(Content::Slab(SlabView {
        stream,
        reading: Reading::default(),
        len_bytes: header.len() as u64 + frame_len_bytes,
        header,
        slab_offset_bytes: npy::HEADER_LEN_BYTES as u64 + u64::from(n) * frame_len_bytes,
    }))
}

/// The stream over the slab of a variant; variants that are the same bytes share one.
pub(super) fn stream(
    fetcher: &Fetcher,
    source: &Arc<Source>,
    volume: &Arc<Volume>,
    variant: Variant,
) -> Result<Arc<Stream>, Error> {
    let variant = volume.same_bytes_as(variant);
    let (key, layout) = slab_of(volume, variant)?;
    let producer = || Arc::new(FrameSource::new(source.clone(), volume.clone(), variant)) as Arc<_>;
    Ok(fetcher.open(&key, || layout, producer)?)
}

/// What the slab of a variant is known by, and what it looks like.
pub(super) fn slab_of(volume: &Volume, variant: Variant) -> Result<(SlabKey, Layout), Error> {
    let header = npy::header(volume.dtype(variant), volume.shape(variant))
        .map_err(|why| Error::TooLarge(why.to_string()))?;
    let frame_len_bytes = usize::try_from(volume.frame_len_bytes(variant))
        .map_err(|_| Error::TooLarge("a frame does not fit the address space".to_string()))?;
    let layout = Layout {
        header,
        frame_len_bytes,
        frame_count: volume.frames.len(),
    };
    let key = SlabKey {
        volume: volume.name.clone(),
        variant: variant.word(),
        fingerprint: volume.fingerprint,
    };
    Ok((key, layout))
}

impl Fs {
    pub(super) fn read_slab(
        &self,
        ino: u64,
        view: &SlabView,
        in_file: Range<u64>,
        cached: Cached,
        reply: ReadReply,
    ) {
        let header_len = view.header.len() as u64;
        let (start, end) = (in_file.start, in_file.end);
        if in_file.is_empty() {
            return reply.send(Ok(&[]));
        }
        let head = &view.header[start.min(header_len) as usize..end.min(header_len) as usize];
        if end <= header_len {
            return reply.send(Ok(head));
        }
        let to_slab = |at: u64| at.max(header_len) - header_len + view.slab_offset_bytes;
        let in_slab = to_slab(start)..to_slab(end);
        let push = match self.decide(ino, view, &in_file, &in_slab, cached) {
            Decision::Decline => return reply.send(Err(Error::Declined)),
            Decision::Serve { push } => push,
        };
        let send = joined(head, reply);
        let pages = self.pages.clone();
        let deliver: fetch::Reply = Box::new(move |answer| {
            // The frame is there now. The push is on its way before the reader is, who would otherwise
            // ask for each page of it.
            if let (Ok(_), Some(push)) = (&answer, push) {
                pages.push(push);
            }
            send(answer);
        });
        self.fetcher.read(&view.stream, in_slab, deliver);
    }

    /// Decides about a request for a range of the slab, which is one of the file. Has frames made ahead.
    fn decide(
        &self,
        ino: u64,
        view: &SlabView,
        in_file: &Range<u64>,
        in_slab: &Range<u64>,
        cached: Cached,
    ) -> Decision {
        let slab = view.stream.slab();
        if slab.is_complete() {
            return Decision::Serve { push: None };
        }
        let frames = slab.frames_of(in_slab);
        let was_declined = self.pages.was_declined(ino, in_file);
        let can_decline = cached == Cached::Maybe && view.may_be_a_guess(in_file) && !was_declined;
        let is_guess = can_decline
            && self.pages.is_connected()
            && in_file.end - in_file.start > PAGE_BYTES
            && !view.stream.are_under_way(frames.clone());
        let window_bytes = self.pages.window_bytes();
        let needed = reading::needed_byte(in_slab, window_bytes);
        let course = view.reading.observe(&Ask {
            range: in_slab.clone(),
            frames: frames.clone(),
            frame: slab.frames_of(&(needed..needed + 1)).start,
            frame_end_bytes: slab.end_bytes_of(&frames),
            is_guess,
            was_declined,
            window_bytes,
            workers: self.fetcher.thread_count(),
        });
        tracing::trace!(ino, ?in_file, ?frames, ?course, "read");
        let (ahead_frames, push_bytes) = match course {
            // Should it have been declined meanwhile, it is answered after all.
            Course::Decline if self.pages.decline(ino, in_file) => return Decision::Decline,
            Course::Decline => (0, 0),
            Course::Serve {
                ahead_frames,
                push_bytes,
            } => (ahead_frames, push_bytes),
        };
        let interest = &view.reading.interest;
        self.fetcher
            .sweep(&view.stream, interest, frames.end, ahead_frames);
        let push = (push_bytes > 0).then(|| Push {
            ino,
            offset_bytes: in_file.end,
            bytes: Pushed::Slab(view.stream.clone(), in_slab.end..in_slab.end + push_bytes),
        });
        Decision::Serve { push }
    }
}

/// What becomes of a request for bytes of a slab.
enum Decision {
    /// Nobody needs it: the kernel only guesses, and asks again for what it needs.
    Decline,
    /// It is answered; then `push` goes into the page cache.
    Serve { push: Option<Push> },
}

/// What hands an answer on behind the part of the file's own header that was asked for with it.
fn joined(head: &[u8], reply: ReadReply) -> fetch::Reply {
    if head.is_empty() {
        return Box::new(move |answer| reply.send(answer.map_err(Error::from)));
    }
    let mut joined = head.to_vec();
    Box::new(move |answer| match answer {
        Ok(bytes) => {
            joined.extend_from_slice(bytes);
            reply.send(Ok(&joined));
        }
        Err(error) => reply.send(Err(error.into())),
    })
}
