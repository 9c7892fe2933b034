//! `dicomfs mount`: builds the file system and has it mounted.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::SystemTime;

use anyhow::Context;
use serde_json::json;

use super::follow::Follower;
use super::library::{self, Bar, Opened};
use super::{gpu_worker, worker};
use crate::archive::Touched;
use crate::cache::{Cache, Disk, DiskBudget, DiskOptions};
use crate::config::{CacheDir, Config, Size, Watch};
use crate::fetch::{Device, Fetcher, GpuMemory, MemoryBudget};
use crate::fs::{Audit, Fs, Parts};
use crate::mount::{self, Service};
use crate::tree::Tree;

/// Slabs kept at most: each is a mapping and a descriptor, of which a process has a limited number
/// (65,530 mappings by default).
const SLABS_MAX: usize = 8192;

/// Open files that are assumed where the limit cannot be asked for: the usual soft limit.
const OPEN_FILES_ASSUMED: u64 = 1024;

/// Slabs kept at most, where this process may open so many files: the other half is for source
/// files, sessions, and slabs that readers hold open beyond those kept.
fn slabs_max(open_files_max: u64) -> usize {
    let half = usize::try_from(open_files_max / 2).unwrap_or(SLABS_MAX);
    half.clamp(1, SLABS_MAX)
}

/// Mounts, and serves until the end; in the background this returns when the mount is live and the
/// archive is scanned, or when the scan has been waited for long enough.
///
/// # Errors
///
/// What failed, in words for the user.
pub fn run(config: &Config) -> anyhow::Result<()> {
    mount::run(&config.mount_options(), &worker::launch(config)?)
}

/// Builds the file system of what is known, and starts the scan. Runs in the process that serves,
/// so it may start threads.
pub(super) fn make_service(config: &Config) -> anyhow::Result<Service> {
    let touched = Arc::new(Touched::default());
    let doubts = (config.watch != Watch::Off).then(|| touched.clone());
    let opened = library::open(&config.archive, doubts)?;
    let (pool, devices) = gpu_worker::start(&config.device);
    // Without any room there nothing is resident, and so no device is one for it.
    let memories = match config.device_cache_size {
        Size::Bytes(0) => Vec::new(),
        _ => GpuMemory::all(&pool),
    };
    let fs = make_fs(config, &opened, devices)?;
    let budget = match config.device_cache_size {
        Size::Bytes(bytes) => MemoryBudget::Bytes(bytes),
        Size::Percent(percent) => MemoryBudget::Percent(percent),
    };
    fs.fetcher()
        .export_to(memories, budget)
        .context("cannot start the threads that fill devices")?;
    let bar = Arc::new(Bar::new());
    let (ended, end) = mpsc::channel::<()>();
    let library = opened.library.clone();
    let mut follower = Follower::new(config, opened, fs.clone(), touched.clone());
    let first_bar = bar.clone();
    let scan = move || {
        follower.first(&first_bar);
        drop(ended);
        follower.run();
    };
    thread::Builder::new()
        .name("scan".into())
        .spawn(scan)
        .context(mount::SystemFailure)?;
    let scan_wait = config.scan_wait;
    let settled = move || {
        // While there is a terminal to warn at.
        pool.wait_warned(scan_wait);
        // Nothing is ever sent: the scan's end lets go of its side.
        if end.recv_timeout(scan_wait) == Err(RecvTimeoutError::Timeout) {
            bar.leave(
                "dicomfs: mounted; the scan of the archive goes on in the background \
                 (.dicomfs/stats.json says how far it is)",
            );
        }
    };
    Ok(Service {
        fs,
        settled: Box::new(settled),
        rescan: Box::new(move || {
            let asked = touched.ask();
            library
                .scan_status()
                .update_watch(|watch| watch.asked = asked);
        }),
    })
}

fn make_fs(
    config: &Config,
    opened: &Opened,
    devices: Vec<Arc<dyn Device>>,
) -> anyhow::Result<Arc<Fs>> {
    let open_files_max = mount::raise_open_files().unwrap_or_else(|error| {
        tracing::debug!(%error, "the limit of open files stays");
        OPEN_FILES_ASSUMED
    });
    let cache = Cache::new(config.cache_size_bytes, slabs_max(open_files_max))
        .context("cannot make a place for decoded volumes in memory")?;
    let cache = match &config.cache_dir {
        Some(dir) => with_disk(cache, dir, &config.archive.archive)?,
        None => cache,
    };
    let readahead = config
        .readahead_frames
        .map_or(usize::MAX, |frames| frames as usize);
    let threads = config.archive.decode_threads;
    let fetcher = Fetcher::with_devices(Arc::new(cache), threads, readahead, devices, config.exact)
        .context("cannot start the decoding threads")?;
    let library = opened.library.clone();
    let source = library.source().clone();
    let tree = Tree::new(library, SystemTime::now()).context("cannot write the index")?;
    Ok(Arc::new(Fs::new(Parts {
        tree,
        source,
        fetcher,
        uid: config.uid,
        gid: config.gid,
        umask: config.umask,
        config_json: config_json(config)?,
        audit: audit(config)?,
    })))
}

/// The cache with its tier in a directory. One that cannot be used is left out: slower, never wrong.
fn with_disk(cache: Cache, dir: &CacheDir, archive: &Path) -> anyhow::Result<Cache> {
    let archive = mount::resolve_missing(archive);
    if mount::resolve_missing(&dir.path).starts_with(&archive) {
        anyhow::bail!(
            "the cache directory {} lies in the archive {}, which is never written to",
            dir.path.display(),
            archive.display()
        );
    }
    let options = DiskOptions {
        dir: dir.path.clone(),
        budget: match dir.size {
            Size::Bytes(bytes) => DiskBudget::Bytes(bytes),
            Size::Percent(percent) => DiskBudget::Percent(percent),
        },
        // Its decoders decide the bytes.
        maker: format!("dicomfs {}", env!("CARGO_PKG_VERSION")),
        // A volume is told from its other versions by paths, sizes and times. A copy of the archive
        // elsewhere may have all of these in common with it, and other pixels.
        origin: archive.as_os_str().as_encoded_bytes().to_vec(),
    };
    match Disk::open(&options) {
        Ok(disk) => Ok(cache.with_disk(disk)),
        Err(why) => {
            tracing::warn!("decoded volumes are kept in memory only, cache_dir: {why}");
            Ok(cache)
        }
    }
}

/// The audit file, opened: a mount that is to be audited does not go without.
fn audit(config: &Config) -> anyhow::Result<Option<Audit>> {
    let Some(audit) = &config.audit else {
        return Ok(None);
    };
    let archive = mount::resolve_missing(&config.archive.archive);
    if mount::resolve_missing(&audit.path).starts_with(&archive) {
        anyhow::bail!(
            "the audit file lies in the archive, which is never written to; name another"
        );
    }
    let opened = Audit::open(&audit.path)
        .with_context(|| format!("cannot write the audit file {}", audit.path.display()))?;
    Ok(Some(opened))
}

/// `.dicomfs/config.json`. Paths are left out: they may name a patient.
fn config_json(config: &Config) -> anyhow::Result<Vec<u8>> {
    let me = mount::Asked::me().context(mount::SystemFailure)?;
    let value = json!({
        "cache_size_bytes": config.cache_size_bytes,
        "cache_dir": config.cache_dir.is_some(),
        "device_cache_size": config.device_cache_size.to_string(),
        "decode_threads": config.archive.decode_threads,
        "readahead_frames": config.readahead_frames,
        "scan_wait_s": config.scan_wait.as_secs(),
        "watch": config.watch,
        "watch_interval_s": config.watch_interval.as_secs(),
        "settle_s": config.settle.as_secs(),
        "process": { "pid": me.pid, "started_ticks": me.started_ticks },
        "device": config.device.to_string(),
        "exact": config.exact,
        "uid": config.uid,
        "gid": config.gid,
        "umask": format!("{:03o}", config.umask),
        "deid": if config.archive.deid.is_some() { "basic" } else { "off" },
        "audit": config.audit.is_some(),
        "allow_other": config.allow_other,
        "noexec": config.noexec,
        "given": config.given,
    });
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_leave_descriptors_for_the_rest() {
        for (open_files_max, slabs) in [
            (0, 1),
            (1, 1),
            (256, 128),
            (4096, 2048),
            (1 << 20, SLABS_MAX),
            (u64::MAX, SLABS_MAX),
        ] {
            assert_eq!(slabs_max(open_files_max), slabs, "{open_files_max}");
        }
    }
}
