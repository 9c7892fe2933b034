//! An archive that changes while it is mounted, through the kernel: series that arrive, grow, change
//! and go, with readers all the while.

mod common;
#[path = "follow/latency.rs"]
mod latency;
#[path = "follow/limits.rs"]
mod limits;
#[path = "follow/remounted.rs"]
mod remounted;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Mount, can_mount, expected_slab, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use tempfile::TempDir;

const SHAPE: [usize; 3] = [6, 64, 64];

/// What the mounts here are told to wait for; files come at less than half of it, so that a machine
/// that is busy does not make them late.
const SETTLE: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(800);

const ESTALE: Option<i32> = Some(116);

/// A series none of whose slices are alike.
fn ct(uid: &str) -> Series {
    let mut series = Series::ct(uid, uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE);
    for (n, value) in series.stored.iter_mut().enumerate() {
        *value += (n / (SHAPE[1] * SHAPE[2])) as i16;
    }
    series
}

/// The first slices of a series.
fn part_of(series: &Series, slices: usize) -> Series {
    let mut part = series.clone();
    part.stored.truncate(slices * SHAPE[1] * SHAPE[2]);
    part.rescale.truncate(slices);
    part.shape[0] = slices;
    part
}

/// The files of a series, written elsewhere on the same file system.
fn files_of(series: &Series, elsewhere: &Path) -> Vec<PathBuf> {
    series.write(&elsewhere.join(&series.uid)).expect("written")
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn stats(mount: &Mount) -> serde_json::Value {
    let text = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn is_shown(mount: &Mount, uid: &str) -> bool {
    mount.series(uid).join("volume.npy").exists()
}

/// Waits until the directories are watched: what happens before is found by a scan that follows.
fn wait_for_watch(mount: &Mount) {
    wait_until("it watches, and has looked at what changed before", || {
        let stats = stats(mount);
        let scan = &stats["scan"];
        let has_looked = scan["scans"].as_u64() > Some(1) && scan["state"] == "done";
        stats["watch"]["directories"] != 0 && has_looked
    });
}

/// What is read of a series is this one of its states, whole.
fn state_of(mount: &Mount, uid: &str, states: &[Series]) -> usize {
    let bytes = fs::read(mount.series(uid).join("volume.npy")).expect("volume.npy");
    let slabs: Vec<Vec<u8>> = states.iter().map(expected_slab).collect();
    let state = slabs.iter().position(|slab| bytes[4096..] == slab[..]);
    state.unwrap_or_else(|| panic!("{uid}: {} bytes that it never had", bytes.len()))
}

/// Runs `work` while 8 readers read `stable` series whole, one after the other, and somebody looks
/// at whatever `arriving` series are shown.
fn while_reading(mount: &Mount, stable: &[Series], arriving: &[Series], work: impl FnOnce()) {
    let (stop, reads, looks) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let slabs: Vec<Vec<u8>> = stable.iter().map(expected_slab).collect();
    std::thread::scope(|scope| {
        for reader in 0..8 {
            let (stop, reads, slabs) = (&stop, &reads, &slabs);
            scope.spawn(move || {
                for turn in reader.. {
                    let n = turn % stable.len();
                    let path = mount.series(&stable[n].uid).join("volume.npy");
                    let bytes = fs::read(path).expect("a reader sees no error");
                    assert!(bytes[4096..] == slabs[n][..], "a wrong byte");
                    reads.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir(mount.root.join("series")).expect("listed") {
                    let name = entry.expect("an entry").file_name();
                    let found = arriving.iter().find(|series| name == series.uid.as_str());
                    if let Some(series) = found {
                        state_of(mount, &series.uid, std::slice::from_ref(series));
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        work();
        stop.store(true, Ordering::Relaxed);
    });
    println!("{reads:?} whole reads, {looks:?} looks at series that had just come");
}

#[test]
fn series_arrive_whole_while_others_are_read() {
    if !can_mount("series_arrive_whole_while_others_are_read") {
        return;
    }
    let (archive, elsewhere) = (home(), home());
    let stable: Vec<Series> = (0..8).map(|n| ct(&format!("2.25.80{n}"))).collect();
    for series in &stable {
        series
            .write(&archive.path().join(&series.uid))
            .expect("written");
    }
    let ways: [(&str, Arrive); 5] = [
        ("one by one", copy_slowly),
        ("in a burst", copy_at_once),
        ("bit by bit", write_in_pieces),
        ("by rename of files", move_files),
        ("by rename of a directory", move_directory),
    ];
    let arriving: Vec<Series> = (0..ways.len())
        .map(|n| ct(&format!("2.25.81{n}")))
        .collect();
    let mount = Mount::of(archive.path(), &["--settle", "2"]);
    wait_for_watch(&mount);
    let latencies = Mutex::new(Vec::new());
    while_reading(&mount, &stable, &arriving, || {
        for ((way, arrive), series) in ways.iter().zip(&arriving) {
            let files = files_of(series, elsewhere.path());
            let to = archive.path().join(&series.uid);
            let quiet = arrive(&files, &to);
            wait_until("it is shown", || is_shown(&mount, &series.uid));
            latencies
                .lock()
                .expect("no panic")
                .push((way, quiet.elapsed()));
            state_of(&mount, &series.uid, std::slice::from_ref(series));
        }
    });
    for (way, latency) in latencies.into_inner().expect("no panic") {
        println!("arrived {way}: shown {} ms after", latency.as_millis());
        assert!(latency >= SETTLE * 9 / 10, "{way}");
    }
    let after = stats(&mount);
    assert_eq!(after["watch"]["state"], "inotify");
    assert_eq!(after["watch"]["pending_series"], 0);
    assert_eq!(after["scan"]["series_new"], 13);
    assert!(after["generation"].as_u64() >= Some(5));
}

/// Has files arrive in a directory; when the last of them did.
type Arrive = fn(&[PathBuf], &Path) -> Instant;

fn copy(file: &Path, to: &Path) -> Instant {
    fs::copy(file, to.join(file.file_name().expect("a name"))).expect("copied");
    Instant::now()
}

fn copy_slowly(files: &[PathBuf], to: &Path) -> Instant {
    fs::create_dir(to).expect("made");
    let mut last = Instant::now();
    for file in files {
        std::thread::sleep(PACE);
        last = copy(file, to);
    }
    last
}

fn copy_at_once(files: &[PathBuf], to: &Path) -> Instant {
    fs::create_dir(to).expect("made");
    let mut last = Instant::now();
    for file in files {
        last = copy(file, to);
    }
    last
}

/// The header in two pieces, then the pixels.
fn write_in_pieces(files: &[PathBuf], to: &Path) -> Instant {
    let mut last = copy_at_once(&files[1..], to);
    let bytes = fs::read(&files[0]).expect("read");
    let mut file = File::create(to.join("last")).expect("made");
    for piece in [
        &bytes[..200],
        &bytes[200..600],
        &bytes[600..5000],
        &bytes[5000..],
    ] {
        std::thread::sleep(PACE);
        file.write_all(piece).expect("written");
        last = Instant::now();
    }
    last
}

fn move_files(files: &[PathBuf], to: &Path) -> Instant {
    fs::create_dir(to).expect("made");
    for file in files {
        fs::rename(file, to.join(file.file_name().expect("a name"))).expect("moved");
    }
    Instant::now()
}

fn move_directory(files: &[PathBuf], to: &Path) -> Instant {
    fs::rename(files[0].parent().expect("a directory"), to).expect("moved");
    Instant::now()
}

#[test]
fn a_series_that_grows_is_shown_as_it_was_until_it_is_quiet() {
    if !can_mount("a_series_that_grows_is_shown_as_it_was_until_it_is_quiet") {
        return;
    }
    let (archive, elsewhere) = (home(), home());
    let whole = ct("2.25.821");
    let states = [part_of(&whole, 3), whole.clone()];
    let files = files_of(&states[0], elsewhere.path());
    let to = archive.path().join("a");
    copy_at_once(&files, &to);
    let mount = Mount::of(archive.path(), &["--settle", "2"]);
    wait_for_watch(&mount);
    assert_eq!(state_of(&mount, &whole.uid, &states), 0);
    let before = stats(&mount)["generation"].as_u64();
    let mut open = File::open(mount.series(&whole.uid).join("volume.npy")).expect("opens");
    let grown = files_of(&whole, &elsewhere.path().join("whole"));
    // The slices of the part have other names there, and are known by their UIDs.
    let more: Vec<PathBuf> = grown
        .into_iter()
        .filter(|path| !is_of(path, &files))
        .collect();
    assert_eq!(more.len(), 3);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mount, states, whole, done) = (&mount, &states, &whole, &done);
        for _ in 0..4 {
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) || last == 0 {
                    let now = state_of(mount, &whole.uid, states);
                    assert!(now >= last, "never back");
                    last = now;
                }
            });
        }
        for (n, file) in more.iter().enumerate() {
            std::thread::sleep(PACE);
            fs::copy(file, to.join(format!("more{n}"))).expect("copied");
        }
        let quiet = Instant::now();
        wait_until("it has grown", || state_of(mount, &whole.uid, states) == 1);
        println!("grown: shown {} ms after", quiet.elapsed().as_millis());
        done.store(true, Ordering::Relaxed);
    });
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes)
        .expect("who has it open keeps it");
    assert!(bytes[4096..] == expected_slab(&states[0])[..]);
    let after = stats(&mount);
    assert!(after["generation"].as_u64() > before);
    assert_eq!(after["scan"]["series_changed"], 1);
}

/// Is a file one of these, by its bytes?
fn is_of(path: &Path, files: &[PathBuf]) -> bool {
    let pixels = |path: &Path| {
        let bytes = fs::read(path).expect("read");
        bytes[bytes.len() - SHAPE[1] * SHAPE[2] * 2..].to_vec()
    };
    let wanted = pixels(path);
    files.iter().any(|file| pixels(file) == wanted)
}

#[test]
fn what_is_open_keeps_what_it_was_when_files_change_and_go() {
    if !can_mount("what_is_open_keeps_what_it_was_when_files_change_and_go") {
        return;
    }
    let archive = home();
    let all = ["2.25.831", "2.25.832", "2.25.833"].map(ct);
    for series in &all {
        series
            .write(&archive.path().join(&series.uid))
            .expect("written");
    }
    // One frame at a time, so that some are made and others are not.
    let mount = Mount::of(
        archive.path(),
        &["--settle", "2", "--readahead-frames", "0"],
    );
    wait_for_watch(&mount);
    let frame_bytes = SHAPE[1] * SHAPE[2] * 2;
    let open = |series: &Series| {
        let file = File::open(mount.series(&series.uid).join("volume.npy")).expect("opens");
        let mut frame = vec![0; frame_bytes];
        file.read_exact_at(&mut frame, 4096).expect("a frame");
        assert!(frame == expected_slab(series)[..frame_bytes]);
        file
    };
    let opened: Vec<File> = all.iter().map(open).collect();
    // One is written to in place, without another size; one is removed.
    let mut changed = all[0].clone();
    changed
        .stored
        .iter_mut()
        .for_each(|value| *value = value.wrapping_add(1));
    changed
        .write(&archive.path().join(&changed.uid))
        .expect("written");
    fs::remove_dir_all(archive.path().join(&all[1].uid)).expect("removed");
    let quiet = Instant::now();
    wait_until("the removed one is gone", || !is_shown(&mount, &all[1].uid));
    let states = [all[0].clone(), changed];
    wait_until("the changed one is shown", || {
        let bytes = fs::read(mount.series(&all[0].uid).join("volume.npy"));
        bytes.is_ok_and(|bytes| bytes[4096..] == expected_slab(&states[1])[..])
    });
    println!("changed and gone: {} ms after", quiet.elapsed().as_millis());
    for (n, (file, series)) in opened.iter().zip(&all).enumerate() {
        let slab = expected_slab(series);
        let read = |at: usize| {
            let mut frame = vec![0; frame_bytes];
            let from = 4096 + at * frame_bytes;
            file.read_exact_at(&mut frame, from as u64).map(|()| frame)
        };
        let first = read(0).expect("what was read stays");
        assert!(first == slab[..frame_bytes], "{n}");
        let last = read(SHAPE[0] - 1);
        match n {
            2 => assert!(last.expect("untouched") == slab[slab.len() - frame_bytes..]),
            _ => assert_eq!(
                last.expect_err("its file is gone").raw_os_error(),
                ESTALE,
                "{n}"
            ),
        }
    }
    // What is kept of those that are gone is let go of.
    wait_until("two are kept", || stats(&mount)["cache_slabs"] == 2);
    let after = stats(&mount);
    let scan = &after["scan"];
    assert_eq!(
        (&scan["series_changed"], &scan["series_gone"]),
        (&1.into(), &1.into())
    );
    assert_eq!(scan["series"], 2);
}

#[test]
fn a_series_that_moves_is_there_all_the_while() {
    if !can_mount("a_series_that_moves_is_there_all_the_while") {
        return;
    }
    let archive = home();
    let series = ct("2.25.841");
    series
        .write(&archive.path().join("deep/a"))
        .expect("written");
    fs::create_dir(archive.path().join("other")).expect("made");
    let mount = Mount::of(archive.path(), &["--settle", "2"]);
    wait_for_watch(&mount);
    assert_eq!(
        state_of(&mount, &series.uid, std::slice::from_ref(&series)),
        0
    );
    fs::rename(
        archive.path().join("deep"),
        archive.path().join("other/deeper"),
    )
    .expect("moved");
    let is_moved = || {
        let text = fs::read_to_string(mount.series(&series.uid).join("volume.json"));
        text.expect("volume.json").contains("other/deeper/a")
    };
    wait_until("it is where it was moved to", is_moved);
    assert_eq!(
        state_of(&mount, &series.uid, std::slice::from_ref(&series)),
        0
    );
    // And is watched there.
    fs::remove_dir_all(archive.path().join("other/deeper/a")).expect("removed");
    wait_until("it is gone", || !is_shown(&mount, &series.uid));
}

#[test]
fn an_archive_that_is_looked_at_is_followed_too() {
    if !can_mount("an_archive_that_is_looked_at_is_followed_too") {
        return;
    }
    let archive = home();
    let all = ["2.25.851", "2.25.852"].map(ct);
    all[0].write(&archive.path().join("a")).expect("written");
    let options = "watch=poll,watch_interval=1,settle=2";
    let mount = Mount::of(archive.path(), &["-o", options]);
    assert_eq!(state_of(&mount, &all[0].uid, &all[..1]), 0);
    all[1].write(&archive.path().join("b/c")).expect("written");
    let quiet = Instant::now();
    wait_until("it is shown", || is_shown(&mount, &all[1].uid));
    println!(
        "looked at every second: shown {} ms after",
        quiet.elapsed().as_millis()
    );
    assert_eq!(state_of(&mount, &all[1].uid, &all[1..]), 0);
    let watch = stats(&mount)["watch"].clone();
    assert_eq!(
        (&watch["state"], &watch["directories"]),
        (&"polling".into(), &0.into())
    );
    // A change in place leaves the times of directories alone: it is found by who reads.
    let mut changed = all[0].clone();
    changed
        .stored
        .iter_mut()
        .for_each(|value| *value = value.wrapping_add(1));
    changed.write(&archive.path().join("a")).expect("written");
    let slab = expected_slab(&changed);
    wait_until("who reads finds it", || {
        let path = mount.series(&changed.uid).join("volume.stored.npy");
        let _ = fs::read(path);
        let bytes = fs::read(mount.series(&changed.uid).join("volume.npy"));
        bytes.is_ok_and(|bytes| bytes[4096..] == slab[..])
    });
}

#[test]
fn a_mount_again_shows_no_part_of_what_is_arriving() {
    if !can_mount("a_mount_again_shows_no_part_of_what_is_arriving") {
        return;
    }
    let (archive, elsewhere) = (home(), home());
    let all = ["2.25.861", "2.25.862"].map(ct);
    all[0].write(&archive.path().join("a")).expect("written");
    let mount = Mount::of(archive.path(), &["--settle", "5"]);
    assert!(
        is_shown(&mount, &all[0].uid),
        "what was never scanned is shown as it is"
    );
    wait_until("it unmounts", || mount.umount(&[]).status.success());
    wait_until("the daemon ends", || mount.pids().is_empty());
    let files = files_of(&all[1], elsewhere.path());
    let to = archive.path().join("b");
    copy_at_once(&files[..2], &to);
    mount.mount(&["--settle", "5"]);
    assert!(is_shown(&mount, &all[0].uid));
    for (n, file) in files[2..].iter().enumerate() {
        assert!(!is_shown(&mount, &all[1].uid), "a part of it is shown");
        if n == 1 {
            // Nor does a process that takes the place of another show a part.
            let worker = mount.worker().expect("it serves").to_string();
            let killed = Command::new("kill").args(["-9", &worker]).status();
            assert!(killed.expect("kill").success());
        }
        copy(file, &to);
        std::thread::sleep(PACE);
    }
    wait_until("it is shown", || is_shown(&mount, &all[1].uid));
    assert_eq!(state_of(&mount, &all[1].uid, &all[1..]), 0);
}
