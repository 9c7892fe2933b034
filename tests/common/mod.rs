//! What the tests that mount for real share: a mount that cleans up, the data set, skips that speak.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod oracle;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dicomfs::cli::demo::synthetic::Series;
use tempfile::TempDir;

/// How long anything that should happen may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Says why a test is left out; with `variable` set to 1 that is a failure.
pub fn skip(test: &str, why: &str, variable: &str) {
    assert!(
        std::env::var(variable).as_deref() != Ok("1"),
        "{test}: {variable}=1, but {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
}

/// True when this machine can mount; else the skip has been printed.
pub fn can_mount(test: &str) -> bool {
    let probe = dicomfs::mount::probe();
    match probe.way() {
        Ok(_) => true,
        Err(why) => {
            skip(test, &why, "DICOMFS_REQUIRE_FUSE");
            false
        }
    }
}

/// A Python that has NumPy: `target/venv`, or the one in PATH; else the skip has been printed.
pub fn numpy(test: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    for python in [venv, PathBuf::from("python3")] {
        let found = Command::new(&python).args(["-c", "import numpy"]).output();
        if found.is_ok_and(|output| output.status.success()) {
            return Some(python);
        }
    }
    skip(
        test,
        "no Python with NumPy (pip install numpy)",
        "DICOMFS_REQUIRE_CLIENTS",
    );
    None
}

/// The directory of real files beside the repository, or the one `DICOMFS_DATA` names.
pub fn data_dir(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("DICOMFS_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if dir.join("MANIFEST.json").is_file() {
        return dir.canonicalize().ok();
    }
    eprintln!("SKIPPED {test}: no real files (set DICOMFS_DATA to a directory with MANIFEST.json)");
    None
}

/// A mount of an archive, taken down when dropped.
pub struct Mount {
    pub dir: TempDir,
    pub root: PathBuf,
    pub archive: PathBuf,
    /// Variables of its processes beside those of this one.
    pub variables: Vec<(&'static str, OsString)>,
}

impl Mount {
    /// Mounts `archive` with further arguments.
    pub fn of(archive: &Path, args: &[&str]) -> Mount {
        Mount::with(archive, args, Vec::new())
    }

    /// The same with variables for its processes.
    pub fn with(archive: &Path, args: &[&str], variables: Vec<(&'static str, OsString)>) -> Mount {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("mnt");
        std::fs::create_dir(&root).expect("a mount point");
        let mount = Mount {
            dir,
            root,
            archive: archive.to_path_buf(),
            variables,
        };
        mount.mount(args);
        mount
    }

    /// Mounts again at the same place.
    pub fn mount(&self, args: &[&str]) {
        let output = self.try_mount(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mount failed: {stderr}");
    }

    /// Runs `dicomfs mount` and returns what came of it.
    pub fn try_mount(&self, args: &[&str]) -> Output {
        program()
            .envs(self.variables.iter().cloned())
            .args([
                "mount".as_ref(),
                self.archive.as_os_str(),
                self.root.as_os_str(),
            ])
            .arg("--index")
            .arg(self.dir.path().join("index.sqlite"))
            .args(args)
            .output()
            .expect("dicomfs runs")
    }

    /// `series/<uid>`.
    pub fn series(&self, uid: &str) -> PathBuf {
        self.root.join("series").join(uid)
    }

    /// The processes that serve this mount.
    pub fn pids(&self) -> Vec<i32> {
        processes_of(&self.root)
    }

    /// The process that answers, if there is one at the moment.
    pub fn worker(&self) -> Option<i32> {
        self.pids().into_iter().find(|pid| is_worker(*pid))
    }

    /// The process that holds the mount.
    pub fn supervisor(&self) -> Option<i32> {
        self.pids().into_iter().find(|pid| !is_worker(*pid))
    }

    /// True while something is mounted here.
    pub fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        mounts
            .lines()
            .any(|line| line.split(' ').nth(4) == self.root.to_str())
    }

    /// `umount` with further arguments.
    pub fn umount(&self, args: &[&str]) -> Output {
        Command::new("umount")
            .args(args)
            .arg(&self.root)
            .output()
            .expect("umount runs")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted() {
            self.umount(&["-l"]);
        }
        let end = Instant::now() + DEADLINE;
        while !self.pids().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in self.pids() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// The processes that serve the mount at `root`.
pub fn processes_of(root: &Path) -> Vec<i32> {
    let all = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(Result::ok);
    let root = root.as_os_str().as_encoded_bytes().to_vec();
    let serves = |pid: &i32| {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = cmdline.split(|b| *b == 0);
        let name = words.next().unwrap_or_default().ends_with(b"dicomfs");
        name && words.any(|word| word == root)
    };
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(serves)
        .collect()
}

/// True for the process that answers, false for the one that holds the mount.
pub fn is_worker(pid: i32) -> bool {
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    cmdline.split(|b| *b == 0).nth(1) == Some(b"worker")
}

/// The program under test.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dicomfs"))
}

/// Waits until `done`, or fails.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The bytes of `volume.npy` behind its header: int16 where all slopes are 1, else
/// float32.
pub fn expected_slab(series: &Series) -> Vec<u8> {
    let [slices, rows, columns] = series.shape;
    let whole = series
        .rescale
        .iter()
        .all(|(slope, intercept)| *slope == 1.0 && intercept.fract() == 0.0);
    let mut bytes = Vec::new();
    for z in 0..slices {
        for y in 0..rows {
            for x in 0..columns {
                let value = series.value(z, y, x);
                match whole {
                    true => bytes.extend((value as i16).to_le_bytes()),
                    false => bytes.extend((value as f32).to_le_bytes()),
                }
            }
        }
    }
    bytes
}
