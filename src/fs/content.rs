//! What an open file holds: bytes, a text to be made, a view of a slab, a picture, a lease of device
//! memory, or a source file as it is or de-identified.

use std::sync::Arc;

use super::cuda::CudaFile;
use super::preview::Preview;
use super::text::VolumeText;
use super::veiled::VeiledFile;
use super::view::{self, SlabView};
use super::{Error, Fs, Handle, ReadReply};
use crate::archive::{self, Record, Source};
use crate::cache::Slab;
use crate::fetch;
use crate::library::Veil;
use crate::tree::{Node, Part, Tree};
use crate::volume::Volume;

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

impl Fs {
    /// What a file of the tree holds when it is opened now.
    pub(super) fn content(&self, tree: &Tree, node: Node) -> Result<Content, Error> {
        match node {
            Node::Index(file) => Ok(Content::fixed(tree.index_table(file).clone())),
            Node::ControlFile(file) => Ok(Content::volatile(self.control_file(tree, file))),
            Node::Part(position, part) => {
                let volume = tree.volume(position)?.ok_or(Error::Absent)?;
                self.part_content(&volume, part, tree.len_bytes(node)?, tree.library().veil())
            }
            // Links are read by readlink; directories were refused before.
            _ => Err(Error::Invalid),
        }
    }

    /// `len_bytes` is what `stat` says.
    fn part_content(
        &self,
        volume: &Arc<Volume>,
        part: Part,
        len_bytes: u64,
        veil: Option<&Arc<Veil>>,
    ) -> Result<Content, Error> {
        match part {
            Part::Array(file) => view::array(&self.fetcher, &self.source, volume, file),
            Part::Frame(n) => view::frame(&self.fetcher, &self.source, volume, n),
            Part::Chunk(n) => view::chunk(&self.fetcher, &self.source, volume, n),
            Part::Preview => {
                Preview::open(&self.fetcher, &self.source, volume).map(Content::Preview)
            }
            Part::Text(text) => {
                let text = VolumeText::new(&self.fetcher, volume, text, len_bytes);
                Ok(Content::Text(Arc::new(text)))
            }
            Part::DicomFile(n) => {
                let record = volume.records.get(n as usize).ok_or(Error::Absent)?;
                let (source, record) = (self.source.clone(), record.clone());
                Ok(match veil {
                    // Empty it would look as if it had been read.
                    Some(_) if len_bytes == 0 => {
                        let why = "its header cannot be rewritten";
                        return Err(Error::Malformed(why.into()));
                    }
                    Some(veil) => Content::veiled(veil, source, record, len_bytes),
                    None => Content::Source { source, record },
                })
            }
            // Only an open gives a lease, and only the process that gave it knows it.
            Part::Cuda(_) => Err(Error::Changed("the lease ended with its process".into())),
            Part::Zarr | Part::ZarrArray | Part::Frames | Part::Dicom => Err(Error::IsDirectory),
        }
    }

    pub(super) fn read_content(
        &self,
        handle: &Arc<Handle>,
        offset: u64,
        size_bytes: u64,
        cached: Cached,
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
                self.read_slab(handle.ino, view, start..end, cached, reply);
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
    let of_source = |error: archive::Error| Error::from(fetch::Error::from(error));
    let file = source.open(record).map_err(of_source)?;
    let mut bytes = vec![0; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)
        .map_err(|error| Error::from(fetch::Error::io("cannot read the source file", &error)))?;
    // What was written to it meanwhile is not to be among the bytes.
    source.verify(&file, record).map_err(of_source)?;
    Ok(bytes)
}
