//! A worker that crashes is replaced, and no reader notices more than a pause: no error, no wrong
//! byte, whatever was open and however it was read.
//!
//! Unsafe because a mapping of a file has no safe form; nothing writes the files here.
#![allow(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Mount, can_mount, expected_slab, numpy, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::format::json::MAKERS_LEN_BYTES;
use memmap2::Mmap;
use tempfile::TempDir;

const SHAPE: [usize; 3] = [24, 96, 80];

/// Bytes before the array in `volume.npy`.
const HEADER: usize = 4096;

fn archive() -> (TempDir, Vec<Series>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = vec![
        Series::ct("2.25.91", uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE),
        Series::mr("2.25.92", uids::RLE_LOSSLESS, SHAPE),
        Series::ct("2.25.93", uids::IMPLICIT_VR_LITTLE_ENDIAN, [40, 128, 128]),
    ];
    for series in &all {
        let at = dir.path().join(&series.uid);
        series.write(&at).expect("files written");
    }
    (dir, all)
}

/// `kill -9` for the worker, and another one in its place.
fn crash(mount: &Mount) {
    let dead = mount.worker().expect("a worker");
    kill("-9", dead);
    wait_until("another worker", || {
        mount.worker().is_some_and(|pid| pid != dead)
    });
}

fn kill(signal: &str, pid: i32) {
    let mut kill = Command::new("kill");
    let status = kill.arg(signal).arg(pid.to_string()).status();
    assert!(status.expect("kill runs").success());
}

fn stat(mount: &Mount, key: &str) -> u64 {
    let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    stats[key].as_u64().unwrap_or_else(|| panic!("{key}"))
}

/// A volume with its truth.
struct Truth<'a> {
    mount: &'a Mount,
    uid: &'a str,
    slab: Vec<u8>,
}

impl Truth<'_> {
    fn open(&self, name: &str) -> File {
        let path = self.mount.series(self.uid).join(name);
        File::open(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    fn check(&self, file: &File) {
        let mut bytes = vec![0; self.slab.len()];
        file.read_exact_at(&mut bytes, HEADER as u64).expect("read");
        assert!(bytes == self.slab, "{}: wrong bytes", self.uid);
    }

    fn check_map(&self, map: &Mmap) {
        assert!(map[HEADER..] == self.slab[..], "{}: mapped", self.uid);
    }

    /// Has the kernel drop its pages: those outlive a crash, and spare the new worker all reads.
    fn drop_pages(&self) {
        let file = self.open("volume.npy");
        // SAFETY: takes a descriptor and numbers.
        let refused =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(refused, 0);
    }

    /// Reads all of it and has the next open find it complete.
    fn warm(&self) {
        self.check(&self.open("volume.npy"));
        wait_until("passthrough", || {
            let before = stat(self.mount, "opens_passthrough");
            self.check(&self.open("volume.npy"));
            stat(self.mount, "opens_passthrough") > before
        });
    }
}

fn map(file: &File) -> Mmap {
    // SAFETY: the file system is read-only.
    unsafe { Mmap::map(file) }.expect("mmap")
}

/// What the readers of a test have seen.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    reads: AtomicU64,
    longest: Mutex<Duration>,
}

impl Tally {
    fn timed<T>(&self, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        let mut longest = self.longest.lock().expect("lock");
        *longest = longest.max(start.elapsed());
        self.reads.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// Opens, reads here and there, maps, and closes, until told to stop.
fn read_on(truth: &Truth<'_>, tally: &Tally, seed: usize) {
    let names = ["volume.npy", "volume.raw", "volume.npy", "volume.nii"];
    let mut step = seed;
    while !tally.stop.load(Ordering::Relaxed) {
        step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let name = names[(step >> 20) % names.len()];
        let header = if name == "volume.raw" { 0 } else { HEADER };
        let file = tally.timed(|| truth.open(name));
        for turn in 0..6 {
            let start = (step >> 13).wrapping_mul(turn + 1) % (truth.slab.len() - 9000);
            let mut bytes = vec![0; 1 + (step >> 7) % 8999];
            tally.timed(|| {
                file.read_exact_at(&mut bytes, (header + start) as u64)
                    .expect("read")
            });
            let right = &truth.slab[start..start + bytes.len()];
            assert!(bytes == right, "{name} at {start}");
        }
        if step & 1 << 30 != 0 {
            let map = tally.timed(|| map(&file));
            let start = (step >> 17) % (truth.slab.len() - 100);
            let seen = tally.timed(|| map[header + start..][..100].to_vec());
            assert!(seen == truth.slab[start..start + 100], "{name} mapped");
        }
    }
}

/// `np.load` in a process of its own, until the file `stop` is there; how often it was right.
const LOADER: &str = r#"
import os, sys, time, numpy as np
path, truth, stop = sys.argv[1:4]
want = np.load(path); assert want.tobytes() == open(truth, "rb").read()
count, longest = 0, 0.0
while not os.path.exists(stop):
    start = time.monotonic()
    got = np.load(path, mmap_mode="r" if count % 2 else None)
    assert np.array_equal(got, want)
    longest = max(longest, time.monotonic() - start)
    count += 1
print(f"numpy: {count} loads, longest {longest * 1e3:.0f} ms")
"#;

#[test]
fn four_crashes_under_load_cost_no_read() {
    if !can_mount("four_crashes_under_load_cost_no_read") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let truths: Vec<_> = all.iter().map(|series| truth(&mount, series)).collect();
    let tally = Tally::default();
    let (stop, bytes) = (dir.path().join("stop"), dir.path().join("truth"));
    fs::write(&bytes, &truths[0].slab).expect("truth written");
    let python = numpy("four_crashes_under_load_cost_no_read");
    thread::scope(|scope| {
        let loader = python.map(|python| {
            let mut loader = Command::new(python);
            loader.args(["-c", LOADER]);
            let npy = mount.series(truths[0].uid).join("volume.npy");
            loader.arg(npy).arg(&bytes).arg(&stop);
            loader.spawn().expect("python runs")
        });
        for seed in 0..6 {
            let (truth, tally) = (&truths[seed % truths.len()], &tally);
            scope.spawn(move || {
                // A reader that fails must not leave the others waiting.
                let outcome = std::panic::catch_unwind(|| read_on(truth, tally, seed + 1));
                tally.stop.store(true, Ordering::Relaxed);
                outcome.expect("a reader");
            });
        }
        for _ in 0..4 {
            let goal = tally.reads.load(Ordering::Relaxed) + 500;
            wait_until("reads between crashes", || {
                tally.reads.load(Ordering::Relaxed) > goal || tally.stop.load(Ordering::Relaxed)
            });
            if !tally.stop.load(Ordering::Relaxed) {
                crash(&mount);
            }
        }
        let goal = tally.reads.load(Ordering::Relaxed) + 500;
        wait_until("reads after the last crash", || {
            tally.reads.load(Ordering::Relaxed) > goal || tally.stop.load(Ordering::Relaxed)
        });
        tally.stop.store(true, Ordering::Relaxed);
        fs::write(&stop, "").expect("stop written");
        if let Some(mut loader) = loader {
            assert!(loader.wait().expect("python").success(), "a load failed");
        }
    });
    println!(
        "4 crashes, {} reads, longest {:?}",
        tally.reads.load(Ordering::Relaxed),
        tally.longest.lock().expect("lock")
    );
}

fn truth<'a>(mount: &'a Mount, series: &'a Series) -> Truth<'a> {
    Truth {
        mount,
        uid: &series.uid,
        slab: expected_slab(series),
    }
}

#[test]
fn handles_of_both_kinds_outlive_crashes() {
    if !can_mount("handles_of_both_kinds_outlive_crashes") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let direct = truth(&mount, &all[0]);
    let cached = truth(&mount, &all[1]);
    let has_passthrough = dicomfs::mount::probe().passthrough().is_ok();
    if has_passthrough {
        direct.warm();
    }
    // One that was never read, one that is mapped, one of each other kind.
    let (old, unread) = (direct.open("volume.npy"), direct.open("volume.npy"));
    let old_map = map(&old);
    let cold = cached.open("volume.npy");
    let others = ["volume.raw", "volume.nii", "volume.json", "preview.png"];
    let others = others.map(|name| (name, cached.open(name)));
    let contents = others
        .each_ref()
        .map(|(name, _)| fs::read(mount.series(cached.uid).join(name)).expect(name));
    for _ in 0..3 {
        crash(&mount);
        direct.check(&old);
        direct.check(&unread);
        direct.check_map(&old_map);
        cached.check(&cold);
        // With the old handles still open, new ones have to go with them.
        let new = [(); 3].map(|()| direct.open("volume.npy"));
        new.iter().for_each(|file| direct.check(file));
        direct.check_map(&map(&new[0]));
        let again = cached.open("volume.npy");
        cached.check(&again);
        cached.check(&cached.open("volume.npy"));
        for ((name, file), right) in others.iter().zip(&contents) {
            let mut bytes = vec![0; right.len()];
            file.read_exact_at(&mut bytes, 0).expect(name);
            // Its end says who made frames so far: that begins anew.
            let same = match *name {
                "volume.json" => right.len() - MAKERS_LEN_BYTES,
                _ => right.len(),
            };
            assert!(bytes[..same] == right[..same], "{name}");
        }
        if has_passthrough {
            assert!(stat(&mount, "opens_passthrough") >= 3, "no second kind");
        }
    }
    // Once they are closed, each inode is free to change its kind.
    drop((old, unread, old_map, cold, others));
    if has_passthrough {
        direct.warm();
        cached.drop_pages();
        cached.warm();
    }
}

#[test]
fn a_crash_in_the_middle_of_decoding_costs_no_read() {
    if !can_mount("a_crash_in_the_middle_of_decoding_costs_no_read") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let series = Series::mr("2.25.94", uids::RLE_LOSSLESS, [96, 256, 256]);
    series.write(dir.path()).expect("files written");
    let mount = Mount::of(dir.path(), &["-o", "decode_threads=1"]);
    let truth = truth(&mount, &series);
    let file = truth.open("volume.npy");
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for part in 0..4 {
            let (file, truth) = (&file, &truth);
            readers.push(scope.spawn(move || {
                let len = truth.slab.len() / 4;
                let mut bytes = vec![0; len];
                let at = part * len;
                file.read_exact_at(&mut bytes, (HEADER + at) as u64)
                    .expect("read");
                assert!(bytes == truth.slab[at..at + len], "part {part}");
            }));
        }
        let mut crashes = 0;
        // The counter file is served without waiting for a decoder.
        while crashes < 3 && readers.iter().any(|reader| !reader.is_finished()) {
            wait_until("decoding", || {
                stat(&mount, "frames_decoded") > 2 || readers.iter().all(|r| r.is_finished())
            });
            crash(&mount);
            crashes += 1;
        }
        println!("{crashes} crashes while decoding");
        assert!(crashes > 0);
        assert_eq!(stat(&mount, "worker_restarts"), crashes);
    });
    truth.check(&truth.open("volume.npy"));
}

#[test]
fn a_file_that_changed_meanwhile_is_stale_and_not_wrong() {
    if !can_mount("a_file_that_changed_meanwhile_is_stale_and_not_wrong") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let (gone, kept) = (truth(&mount, &all[0]), truth(&mount, &all[1]));
    let files = [&gone, &kept].map(|truth| truth.open("volume.raw"));
    let from = dir.path().join(gone.uid);
    let first = fs::read_dir(&from).expect("files").next().expect("a file");
    fs::remove_file(first.expect("a file").path()).expect("removed");
    crash(&mount);
    // Until the new worker has looked at the archive it shows what was known: then the slices that are
    // still there read as before.
    for slice in gone.slab.chunks(4096).zip((0..).step_by(4096)) {
        let mut bytes = vec![0; slice.0.len()];
        match files[0].read_exact_at(&mut bytes, slice.1) {
            Ok(()) => assert!(bytes == slice.0, "at {}", slice.1),
            Err(error) => assert_eq!(error.raw_os_error(), Some(116), "ESTALE is 116"),
        }
    }
    let end = gone.slab.len() as u64;
    let all = files[0].read_exact_at(&mut vec![0; end as usize], 0);
    assert!(all.is_err(), "one slice is gone");
    let mut bytes = [0; 8];
    files[1].read_exact_at(&mut bytes, 4096).expect("the other");
    assert!(bytes == kept.slab[4096..4104]);
}

#[test]
fn nothing_piles_up() {
    // Connections to the index are opened as they are needed; a file for each of 400 opens is more.
    const FEW: usize = 20;
    if !can_mount("nothing_piles_up") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let truths: Vec<_> = all.iter().map(|series| truth(&mount, series)).collect();
    let fds = || {
        let worker = mount.worker().expect("a worker");
        let fds = fs::read_dir(format!("/proc/{worker}/fd")).expect("fd");
        fds.count()
    };
    let cycle = || {
        for truth in &truths {
            for name in [
                "volume.npy",
                "volume.raw",
                "frames/0001.npy",
                "dicom/0001.dcm",
            ] {
                truth.open(name).read_exact(&mut [0; 128]).expect("read");
            }
            truth.check(&truth.open("volume.npy"));
        }
    };
    let mut counts = Vec::new();
    for _ in 0..2 {
        cycle();
        let before = fds();
        (0..100).for_each(|_| cycle());
        // The last releases may still be on their way.
        wait_until("few files more than before", || fds() <= before + FEW);
        counts.push(before);
        crash(&mount);
    }
    cycle();
    println!("open files of the workers: {counts:?}, {}", fds());
    // A new worker looks through the archive first.
    wait_until("as few files as at first", || fds() <= counts[0] + FEW);
    let supervisor = mount.supervisor().expect("a supervisor");
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    let children = children.expect("children");
    assert_eq!(
        children.split_whitespace().count(),
        1,
        "no zombie: {children}"
    );
    assert!(mount.umount(&[]).status.success());
    wait_until("both end", || mount.pids().is_empty());
}
