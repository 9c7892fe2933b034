//! Rules of the operations that no one file below them has.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::*;
use crate::cache::{Cache, Claim};
use crate::library::Library;
use crate::library::tests::Fake;
use crate::tree::show;

#[test]
fn an_open_that_a_scan_overtakes_is_counted_to_its_end() {
    let fake = Fake::holding(&[("1.1", 2)]);
    let source = Arc::new(Source::new("/nowhere"));
    let library = Library::new(Box::new(fake.clone()), source.clone(), show);
    let library = Arc::new(library);
    let rescan = || library.settle(&["1.1".to_owned()], &[]);
    rescan();
    let cache = Arc::new(Cache::new(64 << 20, 64).unwrap());
    let fs = Fs::new(Parts {
        tree: Tree::new(library.clone(), SystemTime::UNIX_EPOCH).unwrap(),
        source: source.clone(),
        fetcher: Fetcher::new(cache, 1, 0).unwrap(),
        uid: 0,
        gid: 0,
        umask: 0,
        config_json: Vec::new(),
        audit: None,
    });
    let mut ino = 1;
    for name in ["series", "1.1", "volume.npy"] {
        ino = fs.lookup(ino, OsStr::new(name)).unwrap().ino;
    }
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
