//! `dicomfs mount`: builds the file system and has it mounted.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use serde_json::json;

use super::library;
use crate::cache::Cache;
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::fs::{Fs, Parts};
use crate::mount;
use crate::tree::Tree;

/// Slabs kept at most: each is a mapping and a descriptor, of which a process has a limited number
/// (65,530 mappings by default).
const SLABS_MAX: usize = 8192;

/// Mounts, and serves until the end; in the background this returns when the mount is live.
///
/// # Errors
///
/// What failed, in words for the user.
pub fn run(config: &Config) -> anyhow::Result<()> {
    mount::run(&config.mount_options(), || make_fs(config))
}

/// Builds the file system. Runs in the process that serves, so it may start threads.
pub(super) fn make_fs(config: &Config) -> anyhow::Result<Arc<Fs>> {
    let library = library::open(&config.archive)?;
    let cache = Cache::new(config.cache_size_bytes, SLABS_MAX)
        .context("cannot make a place for decoded volumes in memory")?;
    let readahead = config
        .readahead_frames
        .map_or(usize::MAX, |frames| frames as usize);
    let fetcher = Fetcher::new(Arc::new(cache), config.archive.decode_threads, readahead)
        .context("cannot start the decoding threads")?;
    let tree = Tree::new(library.built, SystemTime::now()).context("cannot write the index")?;
    Ok(Arc::new(Fs::new(Parts {
        tree,
        source: library.source,
        fetcher,
        uid: config.uid,
        gid: config.gid,
        umask: config.umask,
        config_json: config_json(config)?,
    })))
}

/// `.dicomfs/config.json`. Paths are left out: they may name a patient.
fn config_json(config: &Config) -> anyhow::Result<Vec<u8>> {
    let value = json!({
        "cache_size_bytes": config.cache_size_bytes,
        "decode_threads": config.archive.decode_threads,
        "readahead_frames": config.readahead_frames,
        "device": config.device.to_string(),
        "uid": config.uid,
        "gid": config.gid,
        "umask": format!("{:03o}", config.umask),
        "allow_other": config.allow_other,
        "noexec": config.noexec,
    });
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}
