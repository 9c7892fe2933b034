//! `volume.cuda.json` as `fs` serves it, over a device's memory in this process.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::*;
use crate::cache::Cache;
use crate::fetch::fake_memory::Fake;
use crate::fetch::{DeviceMemory, MemoryBudget};
use crate::format::preview::tests::volume;
use crate::fs::{Attr, Backing, Cached, Fs, NOBODY, OpenMode, Opening, Parts};
use crate::tree::Tree;
use crate::volume::{Built, Dtype};

const LONG: Duration = Duration::from_secs(30);

/// An open request of a user.
struct By(u32);

impl Opening for By {
    fn register(&mut self, _: BorrowedFd<'_>) -> io::Result<Backing> {
        Err(io::Error::other("none"))
    }

    fn uid(&self) -> u32 {
        self.0
    }
}

/// A volume of 4 frames; those are zeros, or their source is not to be had.
fn fs(memories: Vec<Arc<dyn DeviceMemory>>, is_there: bool, budget: MemoryBudget) -> Fs {
    let mut volume = volume("zyx", &[4, 2, 3], Dtype::I16, None);
    let mut record = (*volume.records[0]).clone();
    record.instance.transfer_syntax_uid = "1.2.840.10008.1.2.1".into();
    volume.records = vec![record.into()];
    if is_there {
        for frame in &mut volume.frames {
            frame.stored = None;
        }
    }
    let built = Built {
        volumes: vec![volume],
        findings: Vec::new(),
        undecided: Vec::new(),
    };
    let cache = Arc::new(Cache::new(1 << 20, 64).unwrap());
    let fetcher = Fetcher::new(cache, 1, 0).unwrap();
    fetcher.export_to(memories, budget).unwrap();
    Fs::new(Parts {
        tree: Tree::pinned(built, SystemTime::UNIX_EPOCH).unwrap(),
        source: Arc::new(Source::new("/nowhere")),
        fetcher,
        uid: 0,
        gid: 0,
        umask: 0,
        config_json: Vec::new(),
        audit: None,
    })
}

fn with_device(is_there: bool) -> Fs {
    let fake = Arc::new(Fake::new(1 << 30));
    fs(vec![fake], is_there, MemoryBudget::Percent(50))
}

fn find(fs: &Fs, name: &str) -> Option<Attr> {
    let mut attr = fs.getattr(1).unwrap();
    for name in ["series", "1.2.3", name] {
        attr = fs.lookup(attr.ino, OsStr::new(name)).ok()?;
    }
    Some(attr)
}

fn open(fs: &Fs, name: &str, uid: u32) -> Result<(u64, u64), Error> {
    let attr = find(fs, name).ok_or(Error::Absent)?;
    let opened = fs.open(attr.ino, libc::O_RDONLY, &mut By(uid))?;
    assert!(matches!(opened.mode, OpenMode::Direct));
    Ok((attr.ino, opened.fh))
}

fn begin(
    fs: &Fs,
    (ino, fh): (u64, u64),
    offset: u64,
    size: u32,
) -> Receiver<Result<Vec<u8>, Error>> {
    let (send, receive) = mpsc::channel();
    let reply = ReadReply::new(move |answer| send.send(answer.map(<[u8]>::to_vec)).unwrap());
    fs.read(ino, fh, offset, size, Cached::Maybe, reply);
    receive
}

fn read(fs: &Fs, handle: (u64, u64)) -> Result<Vec<u8>, Error> {
    let receive = begin(fs, handle, 0, 1 << 20);
    receive.recv_timeout(LONG).expect("always answered")
}

#[test]
fn it_opens_by_name_is_as_long_as_it_says_and_is_not_listed() {
    let fs = with_device(true);
    for (name, dtype, bytes) in [
        ("volume.cuda.json", "<i2", 48),
        ("volume.stored.cuda.json", "<i2", 48),
        ("volume.f32.cuda.json", "<f4", 96),
    ] {
        let attr = find(&fs, name).expect(name);
        assert_eq!(attr.size_bytes, 4096);
        let handle = open(&fs, name, 1000).unwrap();
        let text = read(&fs, handle).unwrap();
        assert_eq!(text.len(), 4096);
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            (&document["dtype"], &document["bytes"]),
            (&dtype.into(), &bytes.into())
        );
        assert_eq!(document["device"]["ordinal"], 7);
        let part = begin(&fs, handle, 4000, 4096).recv_timeout(LONG).unwrap();
        assert_eq!(part.unwrap(), text[4000..]);
        let end = begin(&fs, handle, 4096, 4096).recv_timeout(LONG).unwrap();
        assert_eq!(end.unwrap(), b"");
    }
    assert!(find(&fs, "volume.cuda.npy").is_none());
    let mut attr = fs.getattr(1).unwrap();
    for name in ["series", "1.2.3"] {
        attr = fs.lookup(attr.ino, OsStr::new(name)).unwrap();
    }
    let mut names = Vec::new();
    let mut add = |entry: &crate::fs::DirEntry| {
        names.push(entry.name.to_string_lossy().into_owned());
        false
    };
    fs.readdir(attr.ino, 0, &mut add).unwrap();
    assert!(names.iter().any(|name| name == "volume.npy"));
    assert!(!names.iter().any(|name| name.contains("cuda")), "{names:?}");
    let stats = fs.fetcher().resident_stats();
    // Values and stored values are the same bytes here, and so one residence.
    assert_eq!((stats.count, stats.opens), (2, 3));
}

#[test]
fn handles_have_texts_of_their_own_and_end_with_release() {
    let fs = with_device(true);
    let [a, b] = [0, 0].map(|_| open(&fs, "volume.cuda.json", 1000).unwrap());
    let token = |handle| {
        let text = read(&fs, handle).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        document["handle"]["token"].as_str().unwrap().to_string()
    };
    assert_ne!(token(a), token(b));
    assert_eq!(token(a), token(a));
    assert_eq!(fs.fetcher().resident_stats().leased, 1);
    fs.release(a.1);
    assert_eq!(fs.fetcher().resident_stats().leased, 1);
    fs.release(b.1);
    assert_eq!(fs.fetcher().resident_stats().leased, 0);
    let stats = fs.getattr(10).expect("stats.json");
    let opened = fs.open(stats.ino, libc::O_RDONLY, &mut By(NOBODY)).unwrap();
    let text = read(&fs, (stats.ino, opened.fh)).unwrap();
    let shown: Value = serde_json::from_slice(&text).unwrap();
    let residents = &shown["residents"];
    for (key, value) in [("count", 1), ("leased", 0), ("opens", 2), ("bytes", 48)] {
        assert_eq!(residents[key], value, "{key}");
    }
    assert_eq!(residents["uploaded_frames"], 4);
}

#[test]
fn a_read_waits_and_an_open_does_not() {
    let fake = Arc::new(Fake::new(1 << 30));
    fake.gate.close();
    let fs = fs(vec![fake.clone()], true, MemoryBudget::Percent(50));
    let handle = open(&fs, "volume.cuda.json", 1000).unwrap();
    let waiting = begin(&fs, handle, 0, 4096);
    assert!(waiting.try_recv().is_err());
    fake.gate.open();
    assert!(waiting.recv_timeout(LONG).unwrap().is_ok());
    fake.die();
    let stale = read(&fs, handle).unwrap_err();
    assert_eq!(stale.errno(), libc::ESTALE);
}

#[test]
fn each_failure_has_its_number() {
    let errno = |result: Result<(u64, u64), Error>| result.map_err(|error| error.errno());
    let none = fs(Vec::new(), true, MemoryBudget::Percent(50));
    assert_eq!(errno(open(&none, "volume.cuda.json", 1)), Err(libc::ENODEV));
    let attr = find(&none, "volume.cuda.json").expect("there all the same");
    assert_eq!(attr.size_bytes, 4096);
    let small: Arc<dyn DeviceMemory> = Arc::new(Fake::new(1 << 30));
    let small = fs(vec![small], true, MemoryBudget::Bytes(47));
    assert_eq!(errno(open(&small, "volume.cuda.json", 1)), Err(libc::EFBIG));
    let full: Arc<dyn DeviceMemory> = Arc::new(Fake::new(1 << 30));
    let full = fs(vec![full], true, MemoryBudget::Bytes(100));
    let first = open(&full, "volume.cuda.json", 1).unwrap();
    assert!(read(&full, first).is_ok());
    let second = open(&full, "volume.f32.cuda.json", 1).unwrap();
    let refused = read(&full, second).map_err(|error| error.errno());
    assert_eq!(refused.unwrap_err(), libc::ENOSPC);
    // A frame that cannot be had fails as it does in the other files.
    let gone = with_device(false);
    let handle = open(&gone, "volume.cuda.json", 1).unwrap();
    let refused = read(&gone, handle).unwrap_err();
    let attr = find(&gone, "volume.npy").unwrap();
    let opened = gone.open(attr.ino, libc::O_RDONLY, &mut By(1)).unwrap();
    let plain = read(&gone, (attr.ino, opened.fh)).unwrap_err();
    assert_eq!((refused.errno(), plain.errno()), (libc::EIO, libc::EIO));
}
