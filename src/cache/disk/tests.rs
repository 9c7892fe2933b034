//! Rules of the disk tier: what comes back is what went in, or nothing does.

mod writing;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Instant, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::cache::{Cache, Claim, SlabUse};

const HEADER: usize = 4096;
const FRAME: usize = 8192;
const FRAMES: usize = 4;

/// Slow enough to be worth keeping, ns a frame.
const SLOW_NS: u64 = 1_000_000;

fn options(dir: &Path) -> DiskOptions {
    DiskOptions {
        dir: dir.to_path_buf(),
        budget: DiskBudget::Bytes(1 << 30),
        maker: "test 1".to_string(),
        origin: b"here".to_vec(),
    }
}

fn cache(options: &DiskOptions) -> Cache {
    let disk = Disk::open(options).unwrap();
    Cache::new(1 << 30, 100).unwrap().with_disk(disk)
}

fn layout() -> Layout {
    Layout {
        header: vec![7; HEADER],
        frame_len_bytes: FRAME,
        frame_count: FRAMES,
    }
}

fn key(n: u8) -> SlabKey {
    SlabKey {
        volume: format!("volume {n}"),
        variant: "values",
        fingerprint: [n; 32],
    }
}

fn slab(cache: &Cache, n: u8) -> SlabUse {
    cache.open(&key(n), layout).unwrap()
}

fn content(n: u8, frame: usize) -> Vec<u8> {
    (0..FRAME)
        .map(|i| (i * 7 + frame * 31 + usize::from(n)) as u8)
        .collect()
}

/// Has a frame made, from the tier or else from its source; true when it came from the tier.
fn make(slab: &Slab, n: u8, frame: usize, ns: u64) -> bool {
    let Claim::Mine(mut filling) = slab.claim(frame) else {
        panic!("frame {frame} cannot be claimed");
    };
    let restored = slab.has_copy() && filling.restore();
    if !restored {
        filling.bytes().copy_from_slice(&content(n, frame));
    }
    assert!(
        filling.bytes() == content(n, frame),
        "slab {n} frame {frame}"
    );
    filling.commit();
    if !restored {
        slab.keep_copy(ns);
    }
    restored
}

fn make_all(cache: &Cache, n: u8) -> usize {
    let slab = slab(cache, n);
    let restored = (0..FRAMES).filter(|&frame| make(&slab, n, frame, SLOW_NS));
    restored.count()
}

fn stats(cache: &Cache) -> DiskStats {
    cache.disk().unwrap().stats()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "timed out: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Stores slabs one after the other, each in a cache of its own.
fn store(options: &DiskOptions, slabs: &[u8]) {
    for &n in slabs {
        let cache = cache(options);
        assert_eq!(make_all(&cache, n), 0, "slab {n} is new");
        wait_for("an entry is written", || stats(&cache).stored == 1);
    }
}

fn names(dir: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

fn the_entry(dir: &Path) -> std::path::PathBuf {
    let found = names(dir, ".slab");
    assert_eq!(found.len(), 1);
    found[0].clone()
}

fn set_used(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

#[test]
fn what_went_in_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir.path().join("made/with parents"));
    store(&options, &[1]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&options.dir), 0o700);
    assert_eq!(mode(&the_entry(&options.dir)), 0o600);
    assert!(names(&options.dir, ".part").is_empty());

    let cache = cache(&options);
    assert_eq!(make_all(&cache, 1), FRAMES);
    assert_eq!(make_all(&cache, 2), 0);
    let stats = stats(&cache);
    assert_eq!((stats.hits, stats.misses, stats.damaged), (4, 4, 0));
    assert!(stats.entries >= 1 && stats.bytes >= (FRAMES * FRAME) as u64);
}

#[test]
fn what_is_of_no_use_any_more_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1, 2]);
    let cache = cache(&options);
    let layout = slab(&cache, 1).layout();
    cache.forget_copy(&key(1), &layout);
    cache.forget_copy(&key(3), &layout);
    assert_eq!((make_all(&cache, 2), stats(&cache).entries), (FRAMES, 1));
    assert_eq!(make_all(&cache, 1), 0);
}

#[test]
fn another_key_maker_origin_or_layout_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let elsewhere = DiskOptions {
        origin: b"there".to_vec(),
        ..options.clone()
    };
    assert_eq!(make_all(&cache(&elsewhere), 1), 0);

    let cache = cache(&options);
    let layout = || Layout {
        header: vec![7; HEADER],
        frame_len_bytes: FRAME / 2,
        frame_count: FRAMES * 2,
    };
    assert!(!cache.open(&key(1), layout).unwrap().has_copy());
    let stored = SlabKey {
        variant: "stored",
        ..key(1)
    };
    assert!(!cache.open(&stored, layout).unwrap().has_copy());
    drop(cache);

    let newer = DiskOptions {
        maker: "test 2".to_string(),
        ..options.clone()
    };
    let foreign = ["notes.txt", "abc.slab", "x.part"].map(|name| dir.path().join(name));
    for path in &foreign {
        fs::write(path, b"dicomfs\x01 not really").unwrap();
    }
    assert_eq!(
        stats(&super::tests::cache(&newer)).entries,
        0,
        "old ones are removed"
    );
    assert!(
        foreign.iter().all(|path| path.exists()),
        "what is not ours stays"
    );
}

/// Changes the one entry, and has the slab made again: everything right, the damage seen if it was
/// in what is read.
fn after(damage: impl Fn(&File, u64)) -> (usize, DiskStats) {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let path = the_entry(dir.path());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    damage(&file, file.metadata().unwrap().len());
    let cache = cache(&options);
    let restored = make_all(&cache, 1);
    if restored < FRAMES {
        wait_for("it is written again", || stats(&cache).stored == 1);
        let cache = super::tests::cache(&options);
        assert_eq!(make_all(&cache, 1), FRAMES, "mended");
    }
    (restored, stats(&cache))
}

#[test]
fn a_damaged_entry_is_a_miss_and_never_wrong_bytes() {
    let plan = Plan::new(&entry::owner("test 1"), &[0; 70], shape());
    let head = plan.head_len_bytes();
    let first = plan.offset_bytes(0);
    let flip = |at: u64| {
        after(move |file, _| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        })
    };
    // Of each part of the head one byte: magic, format, maker, name, lengths, key, table, sum.
    for at in [
        0,
        8,
        12,
        43,
        44,
        76,
        84,
        92,
        100,
        104,
        150,
        head - 20,
        head - 5,
        head - 1,
    ] {
        let (restored, stats) = flip(at);
        assert_eq!(restored, 0, "byte {at} of the head");
        // One with another version is removed before anybody asks for it.
        assert_eq!(
            stats.damaged,
            u64::from(!(8..44).contains(&at)),
            "byte {at}"
        );
    }
    for (frame, at) in [(0, 0), (1, 17), (3, FRAME as u64 - 1)] {
        let (restored, stats) = flip(first + frame * FRAME as u64 + at);
        assert_eq!(
            (restored as u64, stats.damaged),
            (frame, 1),
            "frame {frame}"
        );
    }
    assert_eq!(flip(head + 1).0, FRAMES, "padding is nobody's");
}

#[test]
fn an_entry_is_written_again_though_a_frame_of_it_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let entry = File::options().write(true).open(the_entry(dir.path()));
    // The last frame is damaged while the first one is being read.
    let entry = entry.unwrap();
    entry
        .write_all_at(&[!content(1, 3)[FRAME - 1]], entry_len_bytes() - 1)
        .unwrap();
    let cache = cache(&options);
    let slab = slab(&cache, 1);
    let Claim::Mine(mut first) = slab.claim(0) else {
        panic!("the frame is absent");
    };
    assert!(slab.has_copy() && first.restore());
    let restored = (1..FRAMES)
        .rev()
        .filter(|&frame| make(&slab, 1, frame, SLOW_NS));
    assert_eq!(restored.count(), 0);
    assert!(first.commit(), "it completes the slab");
    slab.complete_copy();
    wait_for("it is stored", || stats(&cache).stored == 1);
}

#[test]
fn a_short_or_swapped_entry_is_a_miss() {
    let plan = Plan::new(&entry::owner("test 1"), &[0; 70], shape());
    let first = plan.offset_bytes(0);
    for len in [
        0,
        1,
        44,
        plan.head_len_bytes() - 1,
        first,
        first + 5000,
        plan.len_bytes() - 1,
    ] {
        let (restored, stats) = after(|file, _| file.set_len(len).unwrap());
        assert_eq!((restored, stats.damaged), (0, 1), "{len} bytes");
    }
    assert_eq!(
        after(|file, len| file.set_len(len + 1).unwrap()).0,
        0,
        "too long"
    );
    // A frame in another one's place has a good checksum of its own.
    let (restored, _) = after(|file, _| {
        let mut bytes = vec![0; FRAME];
        file.read_exact_at(&mut bytes, first).unwrap();
        file.write_all_at(&bytes, first + FRAME as u64).unwrap();
    });
    assert_eq!(restored, 1);
}

#[test]
fn an_entry_that_vanishes_or_belongs_to_others_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let reader = cache(&options);
    let open = slab(&reader, 1);
    assert!(open.has_copy());
    fs::remove_file(the_entry(dir.path())).unwrap();
    assert!(!make(&open, 1, 0, SLOW_NS));
    assert_eq!(stats(&reader).damaged, 0);

    store(&options, &[2]);
    let path = the_entry(dir.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    assert_eq!(
        make_all(&cache(&options), 2),
        0,
        "anybody may have written it"
    );
}

fn shape() -> Shape {
    Shape {
        header_len_bytes: HEADER as u64,
        frame_len_bytes: FRAME as u64,
        frame_count: FRAMES as u64,
    }
}

fn entry_len_bytes() -> u64 {
    // Key: origin, fingerprint, variant.
    Plan::new(&entry::owner(""), &[0; 70], shape()).len_bytes()
}

#[test]
fn the_budget_holds_and_the_longest_unused_go_over_restarts_too() {
    let dir = tempfile::tempdir().unwrap();
    let unbound = options(dir.path());
    for n in 1..=3 {
        store(&unbound, &[n]);
        let new = names(dir.path(), ".slab");
        let newest = new
            .iter()
            .max_by_key(|p| fs::metadata(p).unwrap().modified().unwrap());
        set_used(newest.unwrap(), u64::from(n));
    }
    let tight = DiskOptions {
        budget: DiskBudget::Bytes(3 * entry_len_bytes()),
        ..unbound
    };
    let reader = cache(&tight);
    assert_eq!(
        make_all(&reader, 1),
        FRAMES,
        "1 is used now, so 2 is the oldest"
    );
    assert_eq!(make_all(&reader, 4), 0);
    wait_for("4 is written", || stats(&reader).stored == 1);
    assert_eq!(stats(&reader).bytes, 3 * entry_len_bytes());
    drop(reader);
    let reader = cache(&tight);
    for (n, kept) in [(1, true), (3, true), (4, true), (2, false)] {
        assert_eq!(slab(&reader, n).has_copy(), kept, "slab {n}");
    }
}

#[test]
fn what_is_larger_than_the_budget_or_quickly_made_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let small = DiskOptions {
        budget: DiskBudget::Bytes(entry_len_bytes() - 1),
        ..options(dir.path())
    };
    let reader = cache(&small);
    make_all(&reader, 1);
    wait_for("it is skipped", || stats(&reader).skipped == 1);
    let reader = cache(&options(dir.path()));
    let quick = slab(&reader, 2);
    for frame in 0..FRAMES {
        make(&quick, 2, frame, 100);
    }
    wait_for("it is skipped", || stats(&reader).skipped == 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let share = DiskOptions {
        budget: DiskBudget::Percent(10),
        ..options(dir.path())
    };
    let budget = stats(&cache(&share)).budget_bytes;
    assert!(budget > 0 && budget < backing::free_bytes(dir.path()).unwrap());
}

#[test]
fn a_volume_that_never_fits_in_memory_is_written_as_it_passes() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let disk = Disk::open(&options).unwrap();
    let small = Cache::new(2 * FRAME as u64 + HEADER as u64, 100)
        .unwrap()
        .with_disk(disk);
    let passing = slab(&small, 1);
    let end = Instant::now() + Duration::from_secs(60);
    while stats(&small).stored == 0 {
        assert!(Instant::now() < end, "timed out");
        for frame in 0..FRAMES {
            let room = small.make_room(FRAME as u64);
            if room.fits() && !passing.is_present(frame) && stats(&small).stored == 0 {
                drop(room);
                make(&passing, 1, frame, SLOW_NS);
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!passing.is_complete());
    }
    assert_eq!(make_all(&cache(&options), 1), FRAMES);
}

#[test]
fn a_few_frames_do_not_make_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let reader = cache(&options(dir.path()));
    let layout = || Layout {
        header: Vec::new(),
        frame_len_bytes: FRAME,
        frame_count: 100,
    };
    let large = reader.open(&key(1), layout).unwrap();
    for frame in 0..24 {
        make(&large, 1, frame, SLOW_NS);
    }
    drop(large);
    drop(reader);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn unfinished_entries_do_not_push_whole_ones_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions {
        budget: DiskBudget::Bytes(3 * entry_len_bytes()),
        ..options(dir.path())
    };
    store(&options, &[1, 2]);
    let reader = cache(&options);
    let halves = [3, 4, 5].map(|n| slab(&reader, n));
    for (slab, n) in halves.iter().zip(3..) {
        (0..2).for_each(|frame| assert!(!make(slab, n, frame, SLOW_NS)));
        wait_for("one is begun", || !names(dir.path(), ".part").is_empty());
    }
    // Whole at last: those that had to wait are written too.
    for (slab, n) in halves.iter().zip(3..) {
        (2..4).for_each(|frame| assert!(!make(slab, n, frame, SLOW_NS)));
        let kept = names(dir.path(), ".slab").len() + names(dir.path(), ".part").len();
        assert!(kept <= 3, "{kept} files");
    }
    wait_for("all three were written", || stats(&reader).stored == 3);
    assert_eq!(names(dir.path(), ".slab").len(), 3);
}

#[test]
fn what_a_dead_writer_left_is_removed_and_a_live_one_s_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir
        .path()
        .join(format!("{}.{}.part", "a".repeat(64), "0".repeat(16)));
    let live = dir
        .path()
        .join(format!("{}.{}.part", "b".repeat(64), "0".repeat(16)));
    fs::write(&left, [0; 10]).unwrap();
    fs::write(&live, vec![1; 100_000]).unwrap();
    let lock = File::open(&live).unwrap();
    lock.lock().unwrap();
    let reader = cache(&options(dir.path()));
    assert!(!left.exists() && live.exists());
    assert!(
        stats(&reader).bytes >= 100_000,
        "others' unfinished entries count"
    );
}

#[test]
fn two_writers_of_one_entry_leave_one_good_entry() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let both = [cache(&options), cache(&options)];
    let slabs = both.each_ref().map(|cache| slab(cache, 1));
    for frame in 0..FRAMES {
        for slab in &slabs {
            make(slab, 1, frame, SLOW_NS);
        }
    }
    // Whoever sees the other's first does not write.
    wait_for("an entry is written", || {
        both.iter().any(|cache| stats(cache).stored == 1)
    });
    drop(slabs);
    drop(both);
    assert_eq!(names(dir.path(), ".part").len(), 0);
    the_entry(dir.path());
    assert_eq!(make_all(&cache(&options), 1), FRAMES);
}

#[test]
fn a_lack_of_descriptors_or_memory_costs_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let disk = Disk::open(&options).unwrap();
    let copy = disk.copy_of(&key(1), &layout());
    assert!(copy.exists());
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        copy.lose(&io::Error::from_raw_os_error(errno));
        assert!(copy.exists(), "{errno}");
    }
    assert_eq!((disk.stats().damaged, disk.stats().entries), (0, 1));
    let mut out = vec![0; FRAME];
    assert!(copy.read(2, &mut out) && out == content(1, 2));
    copy.lose(&io::Error::from_raw_os_error(libc::EIO));
    assert_eq!((disk.stats().damaged, disk.stats().entries), (1, 0));
}
