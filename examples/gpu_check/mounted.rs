//! The same volumes through a real mount, with the device and without, each read once by a new mount.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a mount, its device or its end may take.
const PATIENCE: Duration = Duration::from_secs(90);

const HEADER_BYTES: usize = 4096;

/// Why nothing can be mounted here.
pub fn obstacle() -> Option<String> {
    dicomfs::mount::probe().way().err()
}

/// One reading of a volume.
pub struct Reading {
    pub seconds: f64,
    pub is_equal: bool,
    /// What stats.json says of the devices.
    pub devices: Value,
}

/// A mount that is taken down when dropped.
struct Mount {
    root: PathBuf,
    /// The mount point, the index; gone with this.
    _dir: tempfile::TempDir,
}

impl Mount {
    fn new(program: &Path, archive: &Path, device: &str) -> Result<Mount> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("mnt");
        std::fs::create_dir(&root)?;
        let output = Command::new(program)
            .arg("mount")
            .args([archive, &root])
            .arg("--index")
            .arg(dir.path().join("index.sqlite"))
            .arg(format!("--device={device}"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot mount: {said}");
        let mount = Mount { root, _dir: dir };
        mount.wait_ready()?;
        Ok(mount)
    }

    fn devices(&self) -> Result<Value> {
        let text = std::fs::read(self.root.join(".dicomfs/stats.json")).context("no stats.json")?;
        let stats: Value = serde_json::from_slice(&text)?;
        Ok(stats["devices"].clone())
    }

    /// Waits until no device is being started.
    fn wait_ready(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let devices = self.devices()?;
            let is_starting = devices.as_array().into_iter().flatten().any(|device| {
                let state = device["state"].as_str().unwrap_or_default();
                state.starts_with("starting") || state.starts_with("resting")
            });
            if !is_starting {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the device does not become ready");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for words in [["umount", "--"], ["fusermount3", "-u"], ["umount", "-l"]] {
            let [program, flag] = words;
            let status = Command::new(program).arg(flag).arg(&self.root).status();
            if status.is_ok_and(|status| status.success()) {
                return;
            }
        }
        eprintln!("{} is still mounted", self.root.display());
    }
}

/// Mounts an archive, reads one volume whole, and compares it with `expected`, frame by frame.
pub fn read<'a>(
    program: &Path,
    archive: &Path,
    series_uid: &str,
    device: &str,
    expected: impl Iterator<Item = &'a [u8]>,
) -> Result<Reading> {
    let mount = Mount::new(program, archive, device)?;
    let path = mount
        .root
        .join("series")
        .join(series_uid)
        .join("volume.npy");
    let start = Instant::now();
    let bytes = std::fs::read(path).context("cannot read the volume")?;
    let seconds = start.elapsed().as_secs_f64();
    let mut rest = bytes
        .get(HEADER_BYTES..)
        .context("a volume without a header")?;
    let mut is_equal = true;
    for frame in expected {
        is_equal &= rest.starts_with(frame);
        rest = rest.get(frame.len()..).unwrap_or_default();
    }
    Ok(Reading {
        seconds,
        is_equal: is_equal && rest.is_empty(),
        devices: mount.devices()?,
    })
}
