//! Rules of the operations that no one file below them has.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::time::SystemTime;

use super::pages::PageCache;
use super::*;
use crate::cache::{Cache, Claim};
use crate::library::Library;
use crate::library::tests::Fake;
use crate::tree::show;

fn fs_over(library: &Arc<Library>, source: &Arc<Source>) -> Fs {
    let cache = Arc::new(Cache::new(64 << 20, 64).unwrap());
    Fs::new(Parts {
        tree: Tree::new(library.clone(), SystemTime::UNIX_EPOCH).unwrap(),
        source: source.clone(),
        fetcher: Fetcher::new(cache, 1, 0).unwrap(),
        uid: 0,
        gid: 0,
        umask: 0,
        config_json: Vec::new(),
        audit: None,
    })
}

fn find(fs: &Fs, path: &[&str]) -> u64 {
    let step = |ino, name: &&str| fs.lookup(ino, OsStr::new(name)).unwrap().ino;
    path.iter().fold(1, step)
}

/// What the kernel is told of its page cache: inodes, and bytes put there.
struct Told(Mutex<Sender<(u64, usize)>>);

impl PageCache for Told {
    fn invalidate(&self, ino: u64) {
        self.0.lock().unwrap().send((ino, 0)).unwrap();
    }
    fn drop_name(&self, _: u64, _: &OsStr) {}
    fn store(&self, ino: u64, offset_bytes: u64, bytes: &[u8]) {
        assert_eq!(offset_bytes, 0);
        self.0.lock().unwrap().send((ino, bytes.len())).unwrap();
    }
}

#[test]
fn an_open_pushes_the_header_of_a_file_whose_first_frame_is_absent() {
    let fake = Fake::holding(&[("1.1", 2)]);
    let source = Arc::new(Source::new("/nowhere"));
    let library = Library::new(Box::new(fake), source.clone(), show);
    let library = Arc::new(library);
    library.settle(&["1.1".to_owned()], &[]);
    let fs = fs_over(&library, &source);
    let (send, told) = mpsc::channel();
    fs.pages.connect(Box::new(Told(Mutex::new(send))));
    let volume = fs.tree().volume(0).unwrap().unwrap();
    let stream = view::stream(fs.fetcher(), &source, &volume, Variant::Values).unwrap();
    let pushed = |path: &[&str]| {
        let ino = find(&fs, &[&["series", "1.1"], path].concat());
        let mut opening = |_: BorrowedFd<'_>| Ok(Backing::new(1, drop));
        fs.open(ino, libc::O_RDONLY, &mut opening).unwrap();
        // What comes after it on the same thread.
        fs.pages.invalidate(u64::MAX);
        let of_open = told.iter().take_while(|told| *told != (u64::MAX, 0));
        of_open
            .map(|(of, len)| (of == ino, len))
            .collect::<Vec<_>>()
    };
    let header = [(true, 4096)];
    for path in [
        &["volume.npy"][..],
        &["volume.nii"],
        &["frames", "0001.npy"],
    ] {
        assert_eq!(pushed(path), header, "{path:?}");
    }
    assert_eq!(pushed(&["volume.raw"]), [], "it has none");
    let Claim::Mine(filling) = stream.slab().claim(0) else {
        panic!("the frame is absent");
    };
    filling.commit();
    assert_eq!(pushed(&["volume.npy"]), []);
    assert_eq!(pushed(&["frames", "0001.npy"]), []);
    assert_eq!(
        pushed(&["frames", "0002.npy"]),
        header,
        "its own frame counts"
    );
}

#[test]
fn an_open_that_a_scan_overtakes_is_counted_to_its_end() {
    let fake = Fake::holding(&[("1.1", 2)]);
    let source = Arc::new(Source::new("/nowhere"));
    let library = Library::new(Box::new(fake.clone()), source.clone(), show);
    let library = Arc::new(library);
    let rescan = || library.settle(&["1.1".to_owned()], &[]);
    rescan();
    let fs = fs_over(&library, &source);
    let ino = find(&fs, &["series", "1.1", "volume.npy"]);
    let volume = fs.tree().volume(0).unwrap().unwrap();
    let stream = view::stream(fs.fetcher(), &source, &volume, Variant::Values).unwrap();
    for frame in 0..stream.slab().frame_count() {
        let Claim::Mine(filling) = stream.slab().claim(frame) else {
            panic!("frame {frame} cannot be claimed");
        };
        filling.commit();
    }
    let mut opening = |_: BorrowedFd<'_>| {
        // The volume of this generation is let go of, and not to be had again.
        rescan();
        let newer = library.holdings().series[0].clone();
        assert!(library.volumes(&newer).is_ok());
        fake.is_broken.store(true, Ordering::SeqCst);
        Ok(Backing::new(1, drop))
    };
    let opened = fs.open(ino, libc::O_RDONLY, &mut opening);
    let held = || fs.fetcher().cache().passthrough_bytes();
    if let Ok(opened) = opened {
        assert!(matches!(opened.mode, OpenMode::Passthrough(_)) && held() > 0);
        fs.release(opened.fh);
    }
    assert_eq!(held(), 0);
}
