//! The disk tier on a real mount: what was decoded once is there after a remount, and only if right.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Mount, can_mount, expected_slab, wait_until};
use dicomfs::cli::demo::synthetic::Series;
use tempfile::TempDir;

/// Deflated: slow enough to be worth keeping.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

const SHAPE: [usize; 3] = [12, 128, 128];

/// An archive of some series, and an empty directory beside it for the tier.
struct Place {
    dir: TempDir,
    all: Vec<Series>,
}

impl Place {
    fn new(count: usize) -> Place {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let series = |n| Series::ct(&format!("2.25.74{n}"), DEFLATED, SHAPE);
        let place = Place {
            dir,
            all: (0..count).map(series).collect(),
        };
        for series in &place.all {
            series
                .write(&place.archive().join(&series.uid))
                .expect("files written");
        }
        place
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    fn tier(&self) -> PathBuf {
        self.dir.path().join("tier")
    }

    fn option(&self) -> String {
        format!("cache_dir={}", self.tier().display())
    }

    fn mount(&self, more: &[&str]) -> Mount {
        let option = self.option();
        let args: Vec<&str> = ["-o", option.as_str()]
            .iter()
            .chain(more)
            .copied()
            .collect();
        Mount::of(&self.archive(), &args)
    }

    /// Mounts, reads the series and waits until they are in the tier.
    fn store(&self) {
        let mount = self.mount(&[]);
        for series in &self.all {
            assert!(read(&mount, series) == expected_slab(series));
        }
        let all = self.all.len() as u64;
        wait_until("all is stored", || stat(&mount, "cache_dir_stored") == all);
    }

    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.tier()).expect("the tier");
        files.map(|file| file.expect("a file").path()).collect()
    }
}

fn read(mount: &Mount, series: &Series) -> Vec<u8> {
    fs::read(mount.series(&series.uid).join("volume.raw")).expect("volume.raw")
}

fn stat(mount: &Mount, name: &str) -> u64 {
    let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
    stats[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {stats}"))
}

fn flip(path: &Path, at: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("an entry");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at)
        .expect("the byte, changed");
}

#[test]
fn a_remount_is_served_without_decoding() {
    if !can_mount("a_remount_is_served_without_decoding") {
        return;
    }
    let place = Place::new(2);
    place.store();
    let mount = place.mount(&[]);
    for series in &place.all {
        assert!(read(&mount, series) == expected_slab(series));
    }
    assert_eq!(stat(&mount, "frames_decoded"), 0);
    assert_eq!(stat(&mount, "cache_dir_hits"), 2 * SHAPE[0] as u64);
}

#[test]
fn a_worker_that_is_killed_leaves_whole_entries_only() {
    if !can_mount("a_worker_that_is_killed_leaves_whole_entries_only") {
        return;
    }
    let place = Place::new(4);
    {
        let mount = place.mount(&[]);
        for series in &place.all {
            read(&mount, series);
        }
        for pid in mount.pids() {
            let pid = pid.to_string();
            let status = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
            assert!(status.expect("kill runs").success());
        }
    }
    let mount = place.mount(&[]);
    for series in &place.all {
        assert!(read(&mount, series) == expected_slab(series));
    }
    assert_eq!(stat(&mount, "cache_dir_damaged"), 0);
    let frames = stat(&mount, "frames_decoded") + stat(&mount, "cache_dir_hits");
    assert_eq!(frames, 4 * SHAPE[0] as u64);
    wait_until("all is stored", || stat(&mount, "cache_dir_entries") == 4);
    assert_eq!(place.entries().len(), 4, "nothing unfinished is left");
}

#[test]
fn a_damaged_entry_costs_its_frames_and_no_byte() {
    if !can_mount("a_damaged_entry_costs_its_frames_and_no_byte") {
        return;
    }
    let place = Place::new(1);
    place.store();
    let entry = place.entries().pop().expect("an entry");
    let len = fs::metadata(&entry).expect("its size").len();
    flip(&entry, len - 1);
    let mount = place.mount(&[]);
    let series = &place.all[0];
    assert!(read(&mount, series) == expected_slab(series));
    assert_eq!(stat(&mount, "cache_dir_damaged"), 1);
    assert!(stat(&mount, "frames_decoded") >= 1);
    // Few frames were made, so their time may say that all are made as quickly as they are read.
    wait_until("it is mended, or not worth it", || {
        stat(&mount, "cache_dir_stored") + stat(&mount, "cache_dir_skipped") == 1
    });
}

#[test]
fn a_source_that_changed_has_new_bytes_or_none() {
    if !can_mount("a_source_that_changed_has_new_bytes_or_none") {
        return;
    }
    let place = Place::new(1);
    place.store();
    let series = &place.all[0];
    let dir = place.archive().join(&series.uid);
    let mut other = Series::ct(&series.uid, DEFLATED, SHAPE);
    other
        .stored
        .iter_mut()
        .for_each(|value| *value = !*value & 0x3ff);

    // Changed while it is mounted: as if there were no tier.
    let mount = place.mount(&[]);
    let path = mount.series(&series.uid).join("volume.raw");
    other.write(&dir).expect("files written");
    let error = fs::read(&path).expect_err("the file changed");
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
    drop(mount);

    let mount = place.mount(&[]);
    assert!(read(&mount, series) == expected_slab(&other));
    assert_eq!(stat(&mount, "cache_dir_hits"), 0);
}

#[test]
fn the_directory_s_budget_holds() {
    if !can_mount("the_directory_s_budget_holds") {
        return;
    }
    let place = Place::new(5);
    let budget = 3 * SHAPE.iter().product::<usize>() as u64 * 2;
    let size = format!("cache_dir_size={budget}");
    let mount = place.mount(&["-o", &size]);
    for (n, series) in place.all.iter().enumerate() {
        assert!(read(&mount, series) == expected_slab(series));
        wait_until("it is stored", || {
            stat(&mount, "cache_dir_stored") == n as u64 + 1
        });
        let taken: u64 = place
            .entries()
            .iter()
            .map(|path| fs::metadata(path).expect("its size").len())
            .sum();
        assert!(taken <= budget, "{taken} of {budget}");
    }
    assert_eq!(stat(&mount, "cache_dir_entries"), 2);
}

#[test]
fn a_tier_in_the_archive_or_the_mountpoint_is_refused() {
    if !can_mount("a_tier_in_the_archive_or_the_mountpoint_is_refused") {
        return;
    }
    let place = Place::new(1);
    let mount = place.mount(&[]);
    mount.umount(&[]);
    wait_until("it is unmounted", || !mount.is_mounted());
    for dir in [
        place.archive().join("x/y"),
        place.archive(),
        mount.root.join("x"),
    ] {
        let option = format!("cache_dir={}", dir.display());
        let output = mount.try_mount(&["-o", &option]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && words.contains("cache directory"),
            "{words}"
        );
    }
    assert!(
        !place.archive().join("x").exists(),
        "nothing is made in the archive"
    );
}
