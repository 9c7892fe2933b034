//! The bytes of deflated members: the first of one for its header, or all of it, kept for a while.
//!
//! How long a member is says its container, which is not believed: no more is unpacked than it
//! says, nothing is reserved on its word, and what turns out otherwise is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use flate2::read::DeflateDecoder;
use lru::LruCache;

use super::{Inside, Member, Packing};
use crate::archive::index::lock;
use crate::dicom::ReadAt;

/// Largest deflated member that is unpacked.
pub(in crate::archive) const MEMBER_BYTES_MAX: u64 = 1 << 30;

/// What is kept of unpacked members: a member is often asked for again at once, frame after frame.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// Most bytes unpacked for a header. Longer ones exist only where they are broken.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// Room made at a time: what was announced is not believed.
const STEP_BYTES: usize = 1 << 20;

/// The packed bytes of a member as a stream.
struct Packed<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for Packed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let read = ReadAt::read_at(self.file, self.at, &mut buf[..len])?;
        self.at += read as u64;
        Ok(read)
    }
}

fn packed<'f>(file: &'f File, member: &Member) -> Packed<'f> {
    Packed {
        file,
        at: member.offset_bytes,
        end: member.offset_bytes.saturating_add(member.packed_bytes),
    }
}

/// A deflated member of which as much is unpacked as was asked for.
pub(in crate::archive) struct Head<'f>(Mutex<Unpacking<'f>>);

struct Unpacking<'f> {
    stream: io::Take<DeflateDecoder<Packed<'f>>>,
    bytes: Vec<u8>,
}

impl<'f> Head<'f> {
    pub(in crate::archive) fn new(file: &'f File, member: &Member) -> Head<'f> {
        let stream = DeflateDecoder::new(packed(file, member));
        Head(Mutex::new(Unpacking {
            stream: stream.take(member.len_bytes),
            bytes: Vec::new(),
        }))
    }
}

impl ReadAt for Head<'_> {
    fn read_at(&self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = offset_bytes.saturating_add(buf.len() as u64);
        if end > HEADER_BYTES_MAX {
            return Err(invalid("a header that is too long"));
        }
        let mut head = lock(&self.0);
        let Unpacking { stream, bytes } = &mut *head;
        let more = end.saturating_sub(bytes.len() as u64);
        stream.by_ref().take(more).read_to_end(bytes)?;
        bytes.as_slice().read_at(offset_bytes, buf)
    }
}

/// Unpacks all of a member.
fn unpack(file: &File, member: &Member, crc32: u32) -> io::Result<Vec<u8>> {
    let mut stream = DeflateDecoder::new(packed(file, member));
    let mut bytes = Vec::new();
    loop {
        let left = member.len_bytes - bytes.len() as u64;
        let step = left.min(STEP_BYTES.max(bytes.len()) as u64);
        bytes.try_reserve(step as usize)?;
        let read = stream.by_ref().take(step).read_to_end(&mut bytes)?;
        if read == 0 || left == 0 {
            break;
        }
    }
    let is_whole = bytes.len() as u64 == member.len_bytes && stream.read(&mut [0])? == 0;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    match is_whole && crc.sum() == crc32 {
        true => Ok(bytes),
        false => Err(invalid("a packed file that is damaged")),
    }
}

/// What unpacking a member came to.
type Unpacked = Result<Arc<[u8]>, (io::ErrorKind, String)>;

/// A member that is unpacked once, however many wait for it.
type Cell = Arc<OnceLock<Unpacked>>;

/// Which member, of which version of its container.
type Key = (PathBuf, Member);

/// Members unpacked lately.
#[derive(Debug)]
pub(in crate::archive) struct Unpacker(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    members: LruCache<Key, Cell>,
    bytes: u64,
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker(Mutex::new(Kept {
            members: LruCache::unbounded(),
            bytes: 0,
        }))
    }
}

impl Unpacker {
    /// All bytes of the member `inside` of `file`.
    ///
    /// # Errors
    /// It is packed in a way that is not read, larger than is unpacked, or damaged.
    pub(in crate::archive) fn bytes(&self, file: &File, inside: &Inside) -> io::Result<Arc<[u8]>> {
        let member = &inside.member;
        let Packing::Deflated { crc32 } = member.packing else {
            return Err(invalid("a file that is packed in a way that is not read"));
        };
        if member.len_bytes > MEMBER_BYTES_MAX {
            let kind = io::ErrorKind::FileTooLarge;
            return Err(io::Error::new(kind, "a packed file that is too large"));
        }
        let cell = self.cell(&inside.container, member);
        let made = cell.get_or_init(|| {
            let unpacked = unpack(file, member, crc32);
            unpacked
                .map(Arc::from)
                .map_err(|error| (error.kind(), error.to_string()))
        });
        made.clone()
            .map_err(|(kind, words)| io::Error::new(kind, words))
    }

    /// The cell of a member, and room for it: others go.
    fn cell(&self, container: &Path, member: &Member) -> Cell {
        let mut kept = lock(&self.0);
        let key = (container.to_owned(), *member);
        if let Some(cell) = kept.members.get(&key) {
            // One that failed may be tried again: the disk may have.
            if cell.get().is_none_or(Result::is_ok) {
                return Arc::clone(cell);
            }
        }
        let cell = Cell::default();
        if kept.members.put(key, Arc::clone(&cell)).is_none() {
            kept.bytes += member.len_bytes;
        }
        while kept.bytes > KEPT_BYTES_MAX && kept.members.len() > 1 {
            let Some(((_, gone), _)) = kept.members.pop_lru() else {
                break;
            };
            kept.bytes -= gone.len_bytes;
        }
        cell
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
