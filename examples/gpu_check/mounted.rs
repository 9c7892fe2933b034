//! The same volumes through a real mount, with the device and without, each read once by a new mount.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a mount, its device or reading a volume may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether a mount is live.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is mounted now.
static MOUNTED: Mutex<Option<PathBuf>> = Mutex::new(None);

const HEADER_BYTES: usize = 4096;

/// Why nothing can be mounted here.
pub fn obstacle() -> Option<String> {
    dicomfs::mount::probe().way().err()
}

/// Takes down what is mounted, whoever uses it: the program ends.
pub fn leave() {
    let mounted = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(root) = &*mounted {
        // It may be gone by now.
        let _ = Command::new("umount").arg("-l").arg(root).status();
    }
}

/// What `work` gives, unless a kernel that waits for a file system keeps it for longer than it may take.
fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = mpsc::channel();
    let named = thread::Builder::new().name("reader".into());
    // Who waits may have gone.
    named.spawn(move || send.send(work()).unwrap_or_default())?;
    let received = receive.recv_timeout(PATIENCE);
    received.unwrap_or_else(|_| bail!("{what} takes longer than {} s", PATIENCE.as_secs()))
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
        let said = dir.path().join("said");
        let mut child = Command::new(program)
            .arg("mount")
            .args([archive, &root])
            .arg("--index")
            .arg(dir.path().join("index.sqlite"))
            .arg(format!("--device={device}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?;
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => {
                    child.kill()?;
                    child.wait()?;
                    let _ = Command::new("umount").arg("-l").arg(&root).status();
                    bail!("mounting takes longer than {} s", PATIENCE.as_secs());
                }
                None => thread::sleep(LOOK_AGAIN),
            }
        };
        let said = std::fs::read(said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        ensure!(status.success(), "cannot mount: {}", said.trim());
        *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(root.clone());
        let mount = Mount { root, _dir: dir };
        mount.wait_ready()?;
        Ok(mount)
    }

    fn devices(&self) -> Result<Value> {
        let path = self.root.join(".dicomfs/stats.json");
        within("reading stats.json", move || {
            let text = std::fs::read(path).context("no stats.json")?;
            let stats: Value = serde_json::from_slice(&text)?;
            Ok(stats["devices"].clone())
        })
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
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for words in [["umount", "--"], ["fusermount3", "-u"], ["umount", "-l"]] {
            let [program, flag] = words;
            let status = Command::new(program).arg(flag).arg(&self.root).status();
            if status.is_ok_and(|status| status.success()) {
                *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    let (seconds, bytes) = within("reading the volume", move || {
        let start = Instant::now();
        let bytes = std::fs::read(path).context("cannot read the volume")?;
        Ok((start.elapsed().as_secs_f64(), bytes))
    })?;
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
