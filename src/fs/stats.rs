//! What a mount has done so far: the numbers behind `.dicomfs/stats.json` and `metrics.prom`.
//!
//! One snapshot, from which both are written, so that they agree; `dicomfs top` reads the JSON back.
//! Numbers that only grow begin at 0 with each process that serves. No patient data, no UIDs, no
//! paths.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Fs;
use super::audit::Counters;
use crate::cache::BackingKind;
use crate::fetch::{DeviceStats, Made, ResidentStats};
use crate::tree::Tree;

/// All numbers at one moment. Other versions may know fewer or more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Version of the program that serves.
    pub version: String,
    /// How long its process has served, s.
    pub uptime_s: u64,
    /// The same, ms.
    pub uptime_ms: u64,
    /// Processes that served this mount before, and died.
    pub worker_restarts: u64,
    /// Volumes listed.
    pub volumes: u64,
    /// Instances they are made of.
    pub instances: u64,
    /// Bytes of their arrays.
    pub volume_bytes: u64,
    /// How often what is shown has changed.
    pub generation: u64,
    /// How the scan of the archive gets on.
    pub scan: Scan,
    /// How changes of the archive are come to know.
    pub watch: Watch,
    /// Findings by code, and `decode_error`s since the start.
    pub findings: BTreeMap<String, u64>,
    /// Opens of files that the kernel reads by itself.
    pub opens_passthrough: u64,
    /// Opens of files that go through the page cache.
    pub opens_cached: u64,
    /// Opens of files made for each open.
    pub opens_direct: u64,
    /// Read requests answered, whatever the file.
    pub requests: u64,
    /// Bytes handed out with these.
    pub request_bytes: u64,
    /// How long they took.
    pub request_latency: Latency,
    /// Requests of any kind that failed, by errno.
    pub errors: BTreeMap<String, u64>,
    /// Reads of arrays.
    pub reads: u64,
    /// Those that were answered at once.
    pub reads_at_once: u64,
    /// Bytes they were for.
    pub read_bytes: u64,
    /// Frames they touched that were there.
    pub frame_hits: u64,
    /// Frames they touched that were not.
    pub frame_misses: u64,
    /// Frames made.
    pub frames_decoded: u64,
    /// Bytes of these.
    pub decoded_bytes: u64,
    /// Time threads spent decoding, ms, all added up.
    pub decode_ms: u64,
    /// Frames that could not be made.
    pub decode_failures: u64,
    /// Frames by the name of who made them.
    pub decoders: BTreeMap<String, u64>,
    /// What each maker has made.
    pub made: Vec<Made>,
    /// Frames and other work that somebody waits for.
    pub queue_urgent: u64,
    /// Volumes with frames to be made ahead, and frames that devices have left.
    pub queue_ahead: u64,
    /// The devices.
    pub devices: Vec<DeviceStats>,
    /// Volumes in device memory.
    pub residents: ResidentStats,
    /// Memory of decoded frames.
    pub cache_resident_bytes: u64,
    /// What it may be.
    pub cache_budget_bytes: u64,
    /// Of it, what readers hold by passthrough.
    pub cache_passthrough_bytes: u64,
    /// Volumes in it, each variant for itself.
    pub cache_slabs: u64,
    /// Frames dropped to keep the budget.
    pub cache_evicted_frames: u64,
    /// What holds it: `tmpfs` or `memfd`.
    pub cache_backing: String,
    /// Frames that came from the directory.
    pub cache_dir_hits: u64,
    /// Frames it did not have.
    pub cache_dir_misses: u64,
    /// Entries that were damaged and removed.
    pub cache_dir_damaged: u64,
    /// Entries written.
    pub cache_dir_stored: u64,
    /// What was not worth keeping, or too large.
    pub cache_dir_skipped: u64,
    /// Entries now.
    pub cache_dir_entries: u64,
    /// Bytes of them now.
    pub cache_dir_bytes: u64,
    /// What they may be; 0 without a directory.
    pub cache_dir_budget_bytes: u64,
    /// Entries are written.
    pub cache_dir_is_writing: bool,
    /// Lines written to the audit file.
    pub audit_lines: u64,
    /// Opens that found its queue full, and are only counted there.
    pub audit_lost: u64,
    /// Writes to it that failed.
    pub audit_failures: u64,
}

/// How the scan of the archive gets on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scan {
    /// `none`, `running`, `done` or `failed`.
    pub state: String,
    /// Files found so far.
    pub files_found: u64,
    /// Files looked at so far.
    pub files_done: u64,
    /// Series known.
    pub series: u64,
    /// How long it has run or took, s.
    pub seconds: f64,
    /// Scans that came to their end.
    pub scans: u64,
    /// When the last of them did, s since 1970.
    pub last_unix_s: Option<u64>,
    /// Series that scans found new.
    pub series_new: u64,
    /// Series that scans found changed.
    pub series_changed: u64,
    /// Series that scans found gone.
    pub series_gone: u64,
}

/// How changes of the archive are come to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// `inotify`, `polling` or `off`.
    pub state: String,
    /// Directories that the kernel watches.
    pub directories: u64,
    /// How often it had more to tell than it could.
    pub overflows: u64,
    /// Series that are still arriving.
    pub pending_series: u64,
    /// Rescans that somebody asked for.
    pub rescans_asked: u64,
    /// The last of them that is done.
    pub rescans_done: u64,
}

/// How long requests took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Upper ends of the classes, microseconds.
    pub bounds_us: Vec<u64>,
    /// Requests in each class; the last, of which there is one more than bounds, has no upper end.
    pub counts: Vec<u64>,
    /// Time of all together, ns.
    pub sum_ns: u64,
}

impl Fs {
    /// The numbers now.
    pub fn stats(&self, tree: &Tree) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = self.fetcher.counters();
        let cache = self.fetcher.cache();
        let disk = cache.disk().map(|disk| disk.stats()).unwrap_or_default();
        let uptime = self.started.elapsed();
        let opens = self.door.opens();
        let (requests, request_bytes) = self.door.reads();
        let (queue_urgent, queue_ahead) = self.fetcher.queued();
        let made = self.fetcher.made();
        let audit = |counter: fn(&Counters) -> &AtomicU64| {
            let audit = self.audit.as_ref();
            audit.map_or(0, |audit| get(counter(audit.counters())))
        };
        Stats {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: uptime.as_secs(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            worker_restarts: self.door.replaced_workers(),
            volumes: tree.volume_count() as u64,
            instances: tree.instance_count(),
            volume_bytes: tree.total_bytes(),
            generation: tree.serial(),
            scan: scan(tree),
            watch: watch(tree),
            findings: self.finding_counts(tree),
            opens_passthrough: opens.passthrough,
            opens_cached: opens.cached,
            opens_direct: opens.direct,
            requests,
            request_bytes,
            request_latency: self.door.latency(),
            errors: self.door.failures(),
            reads: get(&counters.reads),
            reads_at_once: get(&counters.reads_at_once),
            read_bytes: get(&counters.read_bytes),
            frame_hits: get(&counters.frame_hits),
            frame_misses: get(&counters.frame_misses),
            frames_decoded: get(&counters.frames),
            decoded_bytes: get(&counters.frame_bytes),
            decode_ms: get(&counters.frame_ns) / 1_000_000,
            decode_failures: get(&counters.failures),
            decoders: by_name(&made),
            made,
            queue_urgent,
            queue_ahead,
            devices: self.fetcher.device_stats(),
            residents: self.fetcher.resident_stats(),
            cache_resident_bytes: cache.resident_bytes(),
            cache_budget_bytes: cache.budget_bytes(),
            cache_passthrough_bytes: cache.passthrough_bytes(),
            cache_slabs: cache.slab_count() as u64,
            cache_evicted_frames: cache.evicted_frames(),
            cache_backing: match cache.backing_kind() {
                BackingKind::PrivateTmpfs => "tmpfs".into(),
                BackingKind::Memfd => "memfd".into(),
            },
            cache_dir_hits: disk.hits,
            cache_dir_misses: disk.misses,
            cache_dir_damaged: disk.damaged,
            cache_dir_stored: disk.stored,
            cache_dir_skipped: disk.skipped,
            cache_dir_entries: disk.entries,
            cache_dir_bytes: disk.bytes,
            cache_dir_budget_bytes: disk.budget_bytes,
            cache_dir_is_writing: disk.is_writing,
            audit_lines: audit(|counters| &counters.lines),
            audit_lost: audit(|counters| &counters.lost),
            audit_failures: audit(|counters| &counters.failures),
        }
    }

    /// What headers tell, and what was found while frames were made.
    fn finding_counts(&self, tree: &Tree) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let of_headers = tree.finding_counts().iter();
        for (code, count) in of_headers.chain(&self.fetcher.failure_counts()) {
            *counts.entry((*code).to_string()).or_default() += count;
        }
        counts
    }
}

/// Frames by the name that `volume.json` has for their makers.
fn by_name(made: &[Made]) -> BTreeMap<String, u64> {
    let mut decoders = BTreeMap::new();
    for maker in made {
        let name = match (maker.device.as_str(), maker.decoder.as_str()) {
            ("", "") => maker.tier.clone(),
            ("", decoder) => decoder.to_string(),
            (device, _) => format!("{device} {}", maker.codec),
        };
        *decoders.entry(name).or_default() += maker.frames;
    }
    decoders
}

fn scan(tree: &Tree) -> Scan {
    let scan = tree.library().scan_status();
    let (state, time) = scan.course();
    let (scans, last) = scan.ended();
    let changes = scan.changes();
    Scan {
        state: state.word().into(),
        files_found: scan.files_found(),
        files_done: scan.files_done(),
        series: tree.series_count() as u64,
        seconds: time.as_millis() as f64 / 1e3,
        scans,
        last_unix_s: last.and_then(unix_seconds),
        series_new: changes.new,
        series_changed: changes.changed,
        series_gone: changes.gone,
    }
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn watch(tree: &Tree) -> Watch {
    let watch = tree.library().scan_status().watch();
    Watch {
        state: watch.watching.word().into(),
        directories: watch.directories as u64,
        overflows: watch.overflows,
        pending_series: watch.pending_series as u64,
        rescans_asked: watch.asked,
        rescans_done: watch.answered,
    }
}
