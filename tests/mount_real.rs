//! The mount for real: through the kernel, with the tools people use.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Mount, can_mount, expected_slab, numpy, program, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use tempfile::TempDir;

const SHAPE: [usize; 3] = [24, 96, 80];

fn archive() -> (TempDir, Vec<Series>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = vec![
        Series::ct("2.25.71", uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE),
        Series::mr("2.25.72", uids::RLE_LOSSLESS, SHAPE),
        Series::ct("2.25.73", uids::IMPLICIT_VR_LITTLE_ENDIAN, [3, 33, 35]),
    ];
    for series in &all {
        series
            .write(&dir.path().join(&series.uid))
            .expect("files written");
    }
    fs::write(dir.path().join("notes.txt"), "not DICOM").expect("a file written");
    (dir, all)
}

fn files_under(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.expect("everything can be walked");
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
    }
    found
}

#[test]
fn every_reader_sees_the_same_bytes() {
    if !can_mount("every_reader_sees_the_same_bytes") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    for series in &all {
        let slab = expected_slab(series);
        let at = mount.series(&series.uid);
        let npy = fs::read(at.join("volume.npy")).expect("volume.npy");
        assert_eq!(npy.len(), 4096 + slab.len());
        assert!(npy[4096..] == slab[..], "{}: volume.npy", series.uid);
        assert!(fs::read(at.join("volume.raw")).expect("volume.raw") == slab);
        assert!(
            fs::read(at.join("volume.npy")).expect("again") == npy,
            "second open"
        );
        let frame_len = slab.len() / series.shape[0];
        for (z, frame) in slab.chunks(frame_len).enumerate() {
            let path = at.join("frames").join(format!("{:04}.npy", z + 1));
            assert!(
                fs::read(path).expect("a frame")[4096..] == *frame,
                "frame {z}"
            );
        }
        let originals = fs::read_dir(at.join("dicom")).expect("dicom/").count();
        assert_eq!(originals, series.shape[0]);
    }
}

#[test]
fn stat_sizes_equal_the_bytes_read() {
    if !can_mount("stat_sizes_equal_the_bytes_read") {
        return;
    }
    let (dir, _) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let files = files_under(&mount.root);
    assert!(files.len() > 100, "{} files", files.len());
    for path in files {
        let size = fs::metadata(&path).expect("stat").len();
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .expect("read");
        assert_eq!(bytes.len() as u64, size, "{}", path.display());
    }
    for name in ["version", "stats.json", "findings.jsonl", "config.json"] {
        fs::read(mount.root.join(".dicomfs").join(name)).expect(name);
    }
    let listed = fs::read_dir(&mount.root)
        .expect("the root")
        .map(|e| e.unwrap().file_name());
    assert!(
        listed.into_iter().all(|name| name != ".dicomfs"),
        "not listed"
    );
}

#[test]
fn numpy_loads_and_maps() {
    let Some(python) = numpy("numpy_loads_and_maps") else {
        return;
    };
    if !can_mount("numpy_loads_and_maps") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let script = r#"
import sys, numpy as np
path, truth, z = sys.argv[1], sys.argv[2], int(sys.argv[3])
lazy = np.load(path, mmap_mode="r")
want = np.fromfile(truth, lazy.dtype).reshape(lazy.shape)
assert lazy.shape[0] == z, lazy.shape
assert np.array_equal(lazy[z // 2], want[z // 2])
assert np.array_equal(lazy[:, 5:9, 7], want[:, 5:9, 7])
del lazy
for _ in range(2):
    assert np.array_equal(np.load(path), want)
assert np.array_equal(np.load(path, mmap_mode="r"), want)
assert np.load(path).flags["C_CONTIGUOUS"]
print("numpy", np.__version__, want.dtype, want.shape)
"#;
    for series in &all {
        let truth = dir.path().join("truth.bin");
        fs::write(&truth, expected_slab(series)).expect("truth written");
        let output = Command::new(&python)
            .args(["-c", script])
            .arg(mount.series(&series.uid).join("volume.npy"))
            .arg(&truth)
            .arg(series.shape[0].to_string())
            .output()
            .expect("python runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", series.uid);
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn dd_with_odd_sizes() {
    if !can_mount("dd_with_odd_sizes") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let path = mount.series(&all[1].uid).join("volume.npy");
    let slab = expected_slab(&all[1]);
    for block in ["1", "7", "4095", "4097", "65537", "1000003"] {
        let count = (50_000 / block.parse::<usize>().unwrap())
            .max(1)
            .to_string();
        let output = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args([
                format!("bs={block}"),
                format!("count={count}"),
                "skip=1".to_string(),
            ])
            .output()
            .expect("dd runs");
        assert!(output.status.success(), "dd bs={block}");
        let skip: usize = block.parse().unwrap();
        let whole = [vec![0; 4096], slab.clone()].concat();
        let end = (skip + output.stdout.len()).min(whole.len());
        let from = skip.max(4096);
        if from < end {
            assert!(
                output.stdout[from - skip..] == whole[from..end],
                "dd bs={block}"
            );
        }
    }
}

#[test]
fn eight_parallel_readers_decode_each_frame_once() {
    if !can_mount("eight_parallel_readers_decode_each_frame_once") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let path = mount.series(&all[1].uid).join("volume.npy");
    let slab = expected_slab(&all[1]);
    thread::scope(|scope| {
        for seed in 0..8_usize {
            let (path, slab) = (&path, &slab);
            scope.spawn(move || {
                let file = File::open(path).expect("open");
                for step in 0..200_usize {
                    let start = (seed * 7919 + step * 10_007) % (slab.len() - 5000);
                    let mut bytes = vec![0; 1 + (seed * 31 + step * 97) % 5000];
                    file.read_exact_at(&mut bytes, 4096 + start as u64)
                        .expect("pread");
                    assert!(bytes == slab[start..start + bytes.len()], "at {start}");
                }
            });
        }
    });
    let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    assert_eq!(stats["frames_decoded"], SHAPE[0] as u64, "single flight");
}

#[test]
fn cp_and_find_walk_everything() {
    if !can_mount("cp_and_find_walk_everything") {
        return;
    }
    let (dir, _) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let copy = dir.path().join("copy");
    let status = Command::new("cp")
        .arg("-r")
        .arg(&mount.root)
        .arg(&copy)
        .status()
        .expect("cp");
    assert!(status.success());
    let diff = Command::new("diff")
        .arg("-r")
        .arg(&mount.root)
        .arg(&copy)
        .output()
        .expect("diff");
    assert!(
        diff.status.success(),
        "{}",
        String::from_utf8_lossy(&diff.stdout)
    );
    let find = Command::new("find")
        .args(["-L"])
        .arg(&mount.root)
        .args(["-size", "+0"])
        .output();
    let find = find.expect("find");
    assert!(
        find.status.success(),
        "{}",
        String::from_utf8_lossy(&find.stderr)
    );
    assert!(String::from_utf8_lossy(&find.stdout).contains("patients/PHANTOM/20200102_SYNTHETIC"));
}

#[test]
fn every_write_is_refused() {
    if !can_mount("every_write_is_refused") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let npy = mount.series(&all[0].uid).join("volume.npy");
    let outcomes = [
        (
            "open for writing",
            OpenOptions::new().write(true).open(&npy).map(drop),
        ),
        ("create", File::create(mount.root.join("new")).map(drop)),
        ("unlink", fs::remove_file(&npy)),
        ("mkdir", fs::create_dir(mount.root.join("dir"))),
        ("rmdir", fs::remove_dir(mount.root.join("series"))),
        ("rename", fs::rename(&npy, mount.root.join("x"))),
        (
            "symlink",
            std::os::unix::fs::symlink("x", mount.root.join("y")),
        ),
        (
            "chmod",
            fs::set_permissions(&npy, fs::metadata(&npy).unwrap().permissions()),
        ),
        (
            "truncate",
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&npy)
                .map(drop),
        ),
    ];
    for (what, outcome) in outcomes {
        let error = outcome.expect_err(what);
        assert_eq!(
            error.raw_os_error(),
            Some(30),
            "{what}: {error} (EROFS is 30)"
        );
    }
}

#[test]
fn inode_numbers_survive_a_remount() {
    if !can_mount("inode_numbers_survive_a_remount") {
        return;
    }
    let (dir, _) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let inodes = |mount: &Mount| -> Vec<(PathBuf, u64)> {
        let ino = |path: &Path| fs::symlink_metadata(path).expect("stat").ino();
        let walk = walkdir::WalkDir::new(&mount.root)
            .sort_by_file_name()
            .into_iter();
        walk.map(|e| e.unwrap().into_path())
            .map(|p| (p.clone(), ino(&p)))
            .collect()
    };
    let first = inodes(&mount);
    // Children that other tests start hold copies of our descriptors until they exec: then it is
    // busy for a moment.
    wait_until("it unmounts", || mount.umount(&[]).status.success());
    wait_until("the daemon ends", || mount.pids().is_empty());
    mount.mount(&[]);
    assert_eq!(first, inodes(&mount));
}

#[test]
fn unmounting_under_load_ends_clean() {
    if !can_mount("unmounting_under_load_ends_clean") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let slab = expected_slab(&all[0]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Once the mount is gone, opening fails; whatever is read is right.
                    let path = mount.series(&all[0].uid).join("volume.npy");
                    if let Ok(bytes) = fs::read(path) {
                        assert!(bytes[4096..] == slab[..]);
                    }
                }
            });
        }
        let pids = mount.pids();
        assert!(!pids.is_empty(), "the daemon runs");
        for pid in pids {
            Command::new("kill")
                .arg(pid.to_string())
                .status()
                .expect("kill");
        }
        wait_until("the mount is gone", || !mount.is_mounted());
        stop.store(true, Ordering::Relaxed);
    });
    wait_until("the daemon ends", || mount.pids().is_empty());
}

#[test]
fn a_stale_mount_after_sigkill_is_cleared() {
    if !can_mount("a_stale_mount_after_sigkill_is_cleared") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    for pid in mount.pids() {
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .expect("kill");
    }
    wait_until("the daemon is dead", || mount.pids().is_empty());
    assert!(mount.is_mounted(), "a killed daemon leaves its mount");
    assert!(fs::metadata(mount.root.join("series")).is_err());
    mount.mount(&[]);
    let npy = fs::read(mount.series(&all[0].uid).join("volume.npy")).expect("reads again");
    assert!(npy[4096..] == expected_slab(&all[0])[..]);
}

#[test]
fn what_must_not_be_mounted_is_refused() {
    if !can_mount("what_must_not_be_mounted_is_refused") {
        return;
    }
    let (dir, _) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let output = mount.try_mount(&[]);
    assert!(!output.status.success(), "a live mount is not mounted over");
    let refused = [
        (
            dir.path().join("none"),
            mount.dir.path().to_path_buf(),
            "none",
        ),
        (
            dir.path().to_path_buf(),
            mount.dir.path().join("nowhere"),
            "nowhere",
        ),
        (
            dir.path().join("2.25.71"),
            dir.path().to_path_buf(),
            "lies in",
        ),
    ];
    for (source, target, why) in refused {
        let output = program()
            .arg("mount")
            .arg(&source)
            .arg(&target)
            .output()
            .expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success(),
            "{} on {}",
            source.display(),
            target.display()
        );
        assert!(stderr.contains(why), "{why} is not in: {stderr}");
    }
}

#[test]
fn a_budget_smaller_than_the_volume_holds() {
    if !can_mount("a_budget_smaller_than_the_volume_holds") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let series = Series::ct("2.25.81", uids::EXPLICIT_VR_LITTLE_ENDIAN, [48, 256, 256]);
    series.write(dir.path()).expect("files written");
    let mount = Mount::of(dir.path(), &["-o", "cache_size=1M"]);
    let slab = expected_slab(&series);
    let path = mount.series(&series.uid).join("volume.npy");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(fs::read(&path).expect("read")[4096..] == slab[..]));
        }
    });
    let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    assert!(
        stats["cache_resident_bytes"].as_u64().unwrap() <= 1 << 20,
        "{stats}"
    );
    assert!(
        stats["cache_evicted_frames"].as_u64().unwrap() > 0,
        "{stats}"
    );
}

#[test]
fn a_changed_source_is_estale_and_the_rest_reads_on() {
    if !can_mount("a_changed_source_is_estale_and_the_rest_reads_on") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let series = &all[0];
    let json = fs::read(mount.series(&series.uid).join("volume.json")).expect("volume.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let victim = dir
        .path()
        .join(json["frames"][3]["file"].as_str().expect("a file"));
    let original = fs::read(&victim).expect("the source");
    fs::write(&victim, [&original[..], b"  "].concat()).expect("the source changed");
    let frame = |n: usize| {
        fs::read(
            mount
                .series(&series.uid)
                .join("frames")
                .join(format!("{n:04}.npy")),
        )
    };
    assert_eq!(
        frame(4).expect_err("changed").raw_os_error(),
        Some(116),
        "ESTALE is 116"
    );
    let frame_len = SHAPE[1] * SHAPE[2] * 2;
    assert!(
        frame(5).expect("untouched")[4096..] == expected_slab(series)[4 * frame_len..][..frame_len]
    );
}

#[test]
fn volume_json_says_who_made_frames() {
    if !can_mount("volume_json_says_who_made_frames") {
        return;
    }
    let (dir, all) = archive();
    let mount = Mount::of(dir.path(), &[]);
    let series = &all[0];
    let path = mount.series(&series.uid).join("volume.json");
    let decoders = || {
        let bytes = fs::read(&path).expect("volume.json");
        let size = fs::metadata(&path).expect("stat").len();
        assert_eq!(size, bytes.len() as u64);
        let json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        json["decoders"].clone()
    };
    assert_eq!(decoders(), serde_json::json!({}));
    fs::read(mount.series(&series.uid).join("volume.npy")).expect("the array");
    let made = decoders();
    let made = made.as_object().expect("an object");
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made.values().all(|count| *count == SHAPE[0]), "{made:?}");
    let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    let name = made.keys().next().expect("one");
    assert_eq!(stats["decoders"][name], SHAPE[0]);
    assert_eq!(stats["devices"], serde_json::json!([]));
}
