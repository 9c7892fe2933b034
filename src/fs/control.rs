//! The files in `.dicomfs`: what the program is, what it does, and what it found.
//!
//! Made anew at every open. Carries no patient data: volumes are named by UID.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::Fs;
use crate::cache::BackingKind;
use crate::format;
use crate::tree::{ControlFile, Tree};

/// `stats.json` is padded to this, so that its size does not change from one stat to the next.
const STATS_LEN_BYTES: usize = 8192;

impl Fs {
    pub(super) fn control_file(&self, tree: &Tree, file: ControlFile) -> Vec<u8> {
        match file {
            ControlFile::Version => format!("{}\n", env!("CARGO_PKG_VERSION")).into_bytes(),
            ControlFile::Config => self.config_json.clone(),
            ControlFile::Stats => self.stats(tree),
            ControlFile::Findings => self.findings(tree),
        }
    }

    /// Length of a file as [`Fs::control_file`] would make it now.
    pub(super) fn control_file_len_bytes(&self, tree: &Tree, file: ControlFile) -> u64 {
        match file {
            // May be long, and is asked for by each stat.
            ControlFile::Findings => tree.findings_len_bytes() + self.failure_lines().len() as u64,
            short => self.control_file(tree, short).len() as u64,
        }
    }

    fn stats(&self, tree: &Tree) -> Vec<u8> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = self.fetcher.counters();
        let cache = self.fetcher.cache();
        let disk = cache.disk().map(|disk| disk.stats()).unwrap_or_default();
        let stats = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "volumes": tree.volume_count(),
            "generation": tree.serial(),
            "scan": scan(tree),
            "watch": watch(tree),
            "opens_passthrough": get(&self.modes.passthrough_opens),
            "opens_cached": get(&self.modes.cached_opens),
            "reads": get(&counters.reads),
            "reads_at_once": get(&counters.reads_at_once),
            "read_bytes": get(&counters.read_bytes),
            "frames_decoded": get(&counters.frames),
            "decoded_bytes": get(&counters.frame_bytes),
            "decode_ms": get(&counters.frame_ns) / 1_000_000,
            "decode_failures": get(&counters.failures),
            "decoders": self.fetcher.made().into_iter().collect::<BTreeMap<_, _>>(),
            "devices": self.fetcher.device_stats(),
            "cache_resident_bytes": cache.resident_bytes(),
            "cache_budget_bytes": cache.budget_bytes(),
            "cache_slabs": cache.slab_count(),
            "cache_evicted_frames": cache.evicted_frames(),
            "cache_backing": match cache.backing_kind() {
                BackingKind::PrivateTmpfs => "tmpfs",
                BackingKind::Memfd => "memfd",
            },
            "cache_dir_hits": disk.hits,
            "cache_dir_misses": disk.misses,
            "cache_dir_damaged": disk.damaged,
            "cache_dir_stored": disk.stored,
            "cache_dir_skipped": disk.skipped,
            "cache_dir_entries": disk.entries,
            "cache_dir_bytes": disk.bytes,
            "cache_dir_budget_bytes": disk.budget_bytes,
            "cache_dir_is_writing": disk.is_writing,
        });
        let mut bytes = format!("{stats:#}").into_bytes();
        bytes.resize(STATS_LEN_BYTES.max(bytes.len() + 1) - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    fn findings(&self, tree: &Tree) -> Vec<u8> {
        [&**tree.findings(), &self.failure_lines()].concat()
    }

    /// What was found while frames were decoded.
    fn failure_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for failure in self.fetcher.failures() {
            let detail = format!("{}: {}", failure.frame, failure.what);
            match format::table::finding_line(&failure.volume, failure.code, &detail) {
                Ok(line) => lines.extend(line),
                Err(why) => tracing::warn!("a finding cannot be written: {why}"),
            }
        }
        lines
    }
}

fn scan(tree: &Tree) -> serde_json::Value {
    let scan = tree.library().scan_status();
    let (state, time) = scan.course();
    let (scans, last) = scan.ended();
    let changes = scan.changes();
    json!({
        "state": state.word(),
        "files_found": scan.files_found(),
        "files_done": scan.files_done(),
        "series": tree.series_count(),
        "seconds": time.as_millis() as f64 / 1e3,
        "scans": scans,
        "last_unix_s": last.and_then(unix_seconds),
        "series_new": changes.new,
        "series_changed": changes.changed,
        "series_gone": changes.gone,
    })
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn watch(tree: &Tree) -> serde_json::Value {
    let watch = tree.library().scan_status().watch();
    json!({
        "state": watch.watching.word(),
        "directories": watch.directories,
        "overflows": watch.overflows,
        "pending_series": watch.pending_series,
        "rescans_asked": watch.asked,
        "rescans_done": watch.answered,
    })
}
