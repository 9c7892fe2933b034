//! What an open file holds: bytes, a text to be made, a view of a slab, a picture, a lease of device
//! memory, or a source file as it is or de-identified.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::cuda::CudaFile;
use super::pages::Push;
use super::preview::Preview;
use super::reading::{Ask, Course, PAGE_BYTES, Reading};
use super::veiled::VeiledFile;
use super::{Error, Fs, Handle, ReadReply, reading};
use crate::archive::{Record, Source};
use crate::cache::{Layout, Slab, SlabKey};
use crate::fetch::{self, Fetcher, FrameSource, Stream};
use crate::format::{json, nifti, npy};
use crate::library::Veil;
use crate::tree::{ArrayFile, ArrayFormat, Text};
use crate::volume::{Variant, Volume};

/// Whether the kernel keeps what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// It goes to the reader alone (O_DIRECT).
    No,
    /// Into the page cache: then a request may be a guess of the kernel's.
    Maybe,
}

/// What an open file holds.
pub(super) enum Content {
    /// Bytes made when the file was opened; `volatile` ones differ from open to open.
    Bytes { bytes: Arc<[u8]>, volatile: bool },
    /// A text about a volume.
    Text(Arc<VolumeText>),
    /// Bytes of a slab.
    Slab(SlabView),
    /// A picture made from some frames of a slab.
    Preview(Preview),
    /// A lease of a volume in device memory.
    Cuda(CudaFile),
    /// An original file.
    Source {
        source: Arc<Source>,
        record: Arc<Record>,
    },
    /// An original file, de-identified.
    Veiled(Arc<VeiledFile>),
}

/// A file that shows part of a slab, behind a header of its own where it is not the slab's.
pub(super) struct SlabView {
    pub(super) stream: Arc<Stream>,
    reading: Reading,
    header: Vec<u8>,
    /// Where in the slab the file's bytes after `header` start.
    slab_offset_bytes: u64,
    /// Length of the file.
    len_bytes: u64,
}

impl SlabView {
    /// True when the file is the slab, byte for byte: then it may be opened by passthrough.
    pub(super) fn is_whole_slab(&self) -> bool {
        self.slab_offset_bytes == 0 && self.header.is_empty()
    }

    /// False for a file of one frame: a request for it can only want that.
    fn has_several_frames(&self) -> bool {
        let bytes = self.len_bytes - self.header.len() as u64;
        bytes > self.stream.slab().frame_len_bytes() as u64
    }
}

/// Longest text that is made on a thread that serves requests: a few milliseconds of work.
const TEXT_AT_ONCE_BYTES_MAX: u64 = 1 << 20;

/// A text about a volume, made when it is first read: after the first time the page cache has it, and
/// opening costs nothing. All but `volume.json`, which says what was done so far and so is each
/// handle's own.
pub(super) struct VolumeText {
    volume: Arc<Volume>,
    text: Text,
    /// Who had made frames of the volume when the file was opened.
    makers: Vec<(String, u64)>,
    /// What `stat` says.
    len_bytes: u64,
    made: OnceLock<Result<Vec<u8>, Error>>,
}

impl VolumeText {
    pub(super) fn new(
        fetcher: &Fetcher,
        volume: &Arc<Volume>,
        text: Text,
        len_bytes: u64,
    ) -> VolumeText {
        let makers = match text {
            Text::Json => fetcher.made_of(&volume.name),
            _ => Vec::new(),
        };
        VolumeText {
            volume: volume.clone(),
            text,
            makers,
            len_bytes,
            made: OnceLock::new(),
        }
    }

    /// True when the next open may find other bytes: then the page cache must not keep these.
    pub(super) fn is_volatile(&self) -> bool {
        self.text == Text::Json
    }

    fn is_long(&self) -> bool {
        self.len_bytes > TEXT_AT_ONCE_BYTES_MAX && self.made.get().is_none()
    }

    fn read(&self, offset: u64, size_bytes: u64, reply: ReadReply) {
        let make = || match self.text {
            Text::Json => json::volume_json_made(&self.volume, &self.makers),
            text => text.bytes(&self.volume),
        };
        let made = self
            .made
            .get_or_init(|| make().map_err(|why| Error::Malformed(why.to_string())));
        match made {
            Ok(bytes) => reply.send(Ok(part(bytes, offset, size_bytes))),
            Err(error) => reply.send(Err(error.clone())),
        }
    }
}

impl Content {
    /// The slab whose bytes the file shows.
    pub(super) fn slab(&self) -> Option<&Slab> {
        match self {
            Content::Slab(view) => Some(view.stream.slab()),
            _ => None,
        }
    }

    pub(super) fn veiled(
        veil: &Arc<Veil>,
        source: Arc<Source>,
        record: Arc<Record>,
        len_bytes: u64,
    ) -> Content {
        let file = VeiledFile::new(veil.clone(), source, record, len_bytes);
        Content::Veiled(Arc::new(file))
    }

    pub(super) fn fixed(bytes: impl Into<Arc<[u8]>>) -> Content {
        Content::Bytes {
            bytes: bytes.into(),
            volatile: false,
        }
    }

    pub(super) fn volatile(bytes: impl Into<Arc<[u8]>>) -> Content {
        Content::Bytes {
            bytes: bytes.into(),
            volatile: true,
        }
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
    pub(super) fn read_content(
        &self,
        handle: &Arc<Handle>,
        offset: u64,
        size_bytes: u64,
        cache: Cached,
        reply: ReadReply,
    ) {
        match &handle.content {
            Content::Bytes { bytes, .. } => reply.send(Ok(part(bytes, offset, size_bytes))),
            Content::Text(text) if text.is_long() => {
                let text = text.clone();
                self.fetcher
                    .run_soon(move || text.read(offset, size_bytes, reply));
            }
            Content::Text(text) => text.read(offset, size_bytes, reply),
            Content::Slab(view) => {
                let (start, end) = clamp(offset, size_bytes, view.len_bytes);
                self.read_slab(handle.ino, view, start..end, cache, reply);
            }
            Content::Preview(preview) => preview.read(&self.fetcher, offset, size_bytes, reply),
            Content::Cuda(file) => file.read(offset, size_bytes, reply),
            Content::Veiled(file) => {
                let file = file.clone();
                self.fetcher
                    .run_soon(move || file.read(offset, size_bytes, reply));
            }
            Content::Source { source, record } => {
                let (source, record) = (source.clone(), record.clone());
                let (start, end) = clamp(offset, size_bytes, record.identity.size_bytes);
                // A disk or a network may be slow: not on a thread that serves requests.
                self.fetcher
                    .run_soon(move || match read_source(&source, &record, start, end) {
                        Ok(bytes) => reply.send(Ok(&bytes)),
                        Err(error) => reply.send(Err(error)),
                    });
            }
        }
    }

    fn read_slab(
        &self,
        ino: u64,
        view: &SlabView,
        part: Range<u64>,
        cache: Cached,
        reply: ReadReply,
    ) {
        let header_len = view.header.len() as u64;
        let (start, end) = (part.start, part.end);
        if part.is_empty() {
            return reply.send(Ok(&[]));
        }
        let head = &view.header[start.min(header_len) as usize..end.min(header_len) as usize];
        if end <= header_len {
            return reply.send(Ok(head));
        }
        let in_slab = |at: u64| at.max(header_len) - header_len + view.slab_offset_bytes;
        let range = in_slab(start)..in_slab(end);
        let Some(push) = self.go_on(ino, view, &part, &range, cache) else {
            return reply.send(Err(Error::Declined));
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
        self.fetcher.read(&view.stream, range, deliver);
    }

    /// Decides about a request for `range` of the slab, which is `part` of the file: `None` when it is
    /// to be declined, else what to push into the page cache when it is answered. Has frames made ahead.
    fn go_on(
        &self,
        ino: u64,
        view: &SlabView,
        part: &Range<u64>,
        range: &Range<u64>,
        cache: Cached,
    ) -> Option<Option<Push>> {
        let slab = view.stream.slab();
        if slab.is_complete() {
            return Some(None);
        }
        let frames = slab.frames_of(range);
        let was_declined = self.pages.was_declined(ino, part);
        let frame_end_bytes = slab.end_bytes_of(&frames);
        let can_decline = cache == Cached::Maybe && view.has_several_frames() && !was_declined;
        let is_guess = can_decline
            && self.pages.is_connected()
            && part.end - part.start > PAGE_BYTES
            && !view.stream.are_under_way(frames.clone());
        let window_bytes = self.pages.window_bytes();
        let needed = reading::needed_byte(range, window_bytes);
        let course = view.reading.observe(&Ask {
            range: range.clone(),
            frames: frames.clone(),
            frame: slab.frames_of(&(needed..needed + 1)).start,
            frame_end_bytes,
            is_guess,
            was_declined,
            window_bytes,
            workers: self.fetcher.thread_count(),
        });
        tracing::trace!(ino, ?part, ?frames, ?course, "read");
        let (ahead_frames, push_bytes) = match course {
            // Should it have been declined meanwhile, it is answered after all.
            Course::Decline if self.pages.decline(ino, part) => return None,
            Course::Decline => (0, 0),
            Course::Serve {
                ahead_frames,
                push_bytes,
            } => (ahead_frames, push_bytes),
        };
        let interest = &view.reading.interest;
        self.fetcher
            .sweep(&view.stream, interest, frames.end, ahead_frames);
        Some((push_bytes > 0).then(|| Push {
            ino,
            offset_bytes: part.end,
            stream: view.stream.clone(),
            range: range.end..range.end + push_bytes,
        }))
    }
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

/// The part of `offset..offset + size` that lies in a file of `len_bytes`.
pub(super) fn clamp(offset: u64, size_bytes: u64, len_bytes: u64) -> (u64, u64) {
    let start = offset.min(len_bytes);
    (start, start.saturating_add(size_bytes).min(len_bytes))
}

/// The bytes of `offset..offset + size` of a file that is there whole.
pub(super) fn part(bytes: &[u8], offset: u64, size_bytes: u64) -> &[u8] {
    let (start, end) = clamp(offset, size_bytes, bytes.len() as u64);
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

fn read_source(source: &Source, record: &Record, start: u64, end: u64) -> Result<Vec<u8>, Error> {
    let file = source
        .open(record)
        .map_err(|error| Error::from(fetch::Error::from(error)))?;
    let mut bytes = vec![0; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)
        .map_err(|error| Error::from(fetch::Error::io("cannot read the source file", &error)))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::cache::Cache;
    use crate::format::preview::tests::volume;
    use crate::fs::Parts;
    use crate::tree::Tree;
    use crate::volume::{Built, Dtype};

    fn fs(volume: Volume) -> Fs {
        let built = Built {
            volumes: vec![volume],
            findings: Vec::new(),
            undecided: Vec::new(),
        };
        let cache = Arc::new(Cache::new(1 << 20, 64).unwrap());
        Fs::new(Parts {
            tree: Tree::pinned(built, SystemTime::UNIX_EPOCH).unwrap(),
            source: Arc::new(Source::new("/nowhere")),
            fetcher: Fetcher::new(cache, 1, 0).unwrap(),
            uid: 0,
            gid: 0,
            umask: 0,
            config_json: Vec::new(),
            audit: None,
        })
    }

    #[test]
    fn long_texts_are_made_by_workers_and_once() {
        for (frames, first_by_worker) in [(3, false), (10_000, true)] {
            let volume = volume("fyx", &[frames, 1, 1], Dtype::U8, None);
            let expected = Text::Json.bytes(&volume).unwrap();
            let fs = fs(volume);
            let mut attr = fs.getattr(1).unwrap();
            for name in ["series", "1.2.3", "volume.json"] {
                attr = fs.lookup(attr.ino, OsStr::new(name)).unwrap();
            }
            assert_eq!(attr.size_bytes, expected.len() as u64);
            let mut refuse = |_: std::os::fd::BorrowedFd<'_>| Err(std::io::Error::other("none"));
            let opened = fs.open(attr.ino, libc::O_RDONLY, &mut refuse).unwrap();
            for by_worker in [first_by_worker, false] {
                let (send, receive) = mpsc::channel();
                let reply = ReadReply::new(move |answer| {
                    let here = thread::current().id();
                    send.send((here, answer.map(<[u8]>::to_vec))).unwrap();
                });
                fs.read(attr.ino, opened.fh, 5, u32::MAX, Cached::Maybe, reply);
                let (made_by, bytes) = receive.recv_timeout(Duration::from_secs(30)).unwrap();
                assert_eq!(made_by != thread::current().id(), by_worker, "{frames}");
                assert!(bytes.unwrap() == expected[5..]);
            }
        }
    }
}
