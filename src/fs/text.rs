//! An open text about a volume: `volume.json`, a header, the metadata of the Zarr array.

use std::sync::{Arc, OnceLock};

use super::content::part;
use super::{Error, ReadReply};
use crate::fetch::Fetcher;
use crate::format::json;
use crate::tree::Text;
use crate::volume::Volume;

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

    pub(super) fn is_long(&self) -> bool {
        self.len_bytes > TEXT_AT_ONCE_BYTES_MAX && self.made.get().is_none()
    }

    pub(super) fn read(&self, offset: u64, size_bytes: u64, reply: ReadReply) {
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::archive::Source;
    use crate::cache::Cache;
    use crate::format::preview::tests::volume;
    use crate::fs::{Cached, Fs, Parts};
    use crate::volume::{Built, Dtype};

    fn fs(volume: Volume) -> Fs {
        let built = Built {
            volumes: vec![volume],
            findings: Vec::new(),
            undecided: Vec::new(),
        };
        let cache = Arc::new(Cache::new(1 << 20, 64).unwrap());
        Fs::new(Parts {
            tree: crate::tree::Tree::pinned(built, SystemTime::UNIX_EPOCH).unwrap(),
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
