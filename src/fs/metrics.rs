//! `.dicomfs/metrics.prom`: the numbers of [`Stats`] as Prometheus reads them. Pure.
//!
//! Every label has a small set of values (codecs, decoders, devices, tiers, codes, errnos, states),
//! so that no archive can make many series of samples. Units are in the names.

use std::collections::BTreeMap;

use super::stats::{Latency, Stats};
use crate::fetch::{DeviceStats, Made, ResidentStats};
use crate::format::prometheus::Kind::{Counter, Gauge};
use crate::format::prometheus::{Exposition, Sample};

/// Parts of a second in the units of [`Stats`].
const NS: f64 = 1e9;
const US: f64 = 1e6;
const MS: f64 = 1e3;

/// The words of a scan's state.
const SCAN_STATES: [&str; 4] = ["none", "running", "done", "failed"];

/// The text.
pub(super) fn text(stats: &Stats) -> String {
    let mut out = Exposition::default();
    program(&mut out, stats);
    archive(&mut out, stats);
    requests(&mut out, stats);
    decoding(&mut out, stats);
    for family in DEVICE_FAMILIES {
        of_devices(&mut out, family, &stats.devices);
    }
    refusals(&mut out, &stats.devices);
    if !stats.devices.is_empty() {
        device_memory(&mut out, &stats.residents);
    }
    memory(&mut out, stats);
    directory(&mut out, stats);
    out.into_text()
}

fn program(out: &mut Exposition, stats: &Stats) {
    let version = vec![("version", stats.version.as_str())];
    let help = "The program that serves the mount.";
    out.family(Gauge, "dicomfs_info", help, &[(version, 1.0)]);
    out.gauge(
        "dicomfs_uptime_seconds",
        "How long the process that serves has run: all counters begin with it.",
        stats.uptime_ms as f64 / MS,
    );
    out.counter(
        "dicomfs_worker_restarts_total",
        "Processes that served this mount before, and died.",
        stats.worker_restarts as f64,
    );
}

fn archive(out: &mut Exposition, stats: &Stats) {
    let scan = &stats.scan;
    out.gauge("dicomfs_series", "Series listed.", scan.series as f64);
    out.gauge("dicomfs_volumes", "Volumes listed.", stats.volumes as f64);
    out.gauge(
        "dicomfs_instances",
        "Instances that are in a volume.",
        stats.instances as f64,
    );
    out.gauge(
        "dicomfs_volume_bytes",
        "Bytes of the arrays of all volumes, decoded or not.",
        stats.volume_bytes as f64,
    );
    out.gauge(
        "dicomfs_scan_files_found",
        "Files that the scan of the archive has found so far.",
        scan.files_found as f64,
    );
    out.gauge(
        "dicomfs_scan_files_done",
        "Files that the scan has looked at so far.",
        scan.files_done as f64,
    );
    out.gauge(
        "dicomfs_scan_duration_seconds",
        "How long the scan has run or took.",
        scan.seconds,
    );
    let help = "1 for the state of the scan, else 0.";
    let is = |word: &str| f64::from(u8::from(scan.state == word));
    let states = SCAN_STATES.map(|word| (vec![("state", word)], is(word)));
    out.family(Gauge, "dicomfs_scan_state", help, &states);
    let help = "Lines of .dicomfs/findings.jsonl, by code.";
    out.family(
        Gauge,
        "dicomfs_findings",
        help,
        &by("code", &stats.findings),
    );
}

fn requests(out: &mut Exposition, stats: &Stats) {
    let opens = [
        ("passthrough", stats.opens_passthrough),
        ("page_cache", stats.opens_cached),
        ("direct", stats.opens_direct),
    ];
    let opens = opens.map(|(mode, count)| (vec![("mode", mode)], count as f64));
    let help = "Files opened, by how they are read: by the kernel alone (passthrough), through the page cache, or each \
                time from the program (direct).";
    out.family(Counter, "dicomfs_opens_total", help, &opens);
    out.counter("dicomfs_reads_total", "Read requests answered, errors included. What the kernel answers by itself (passthrough, page cache) \
                 is not among them.", stats.requests as f64);
    out.counter(
        "dicomfs_read_bytes_total",
        "Bytes handed out with these.",
        stats.request_bytes as f64,
    );
    latency(out, &stats.request_latency);
    let help = "Requests that failed, by errno. A name that is not there is no failure.";
    out.family(
        Counter,
        "dicomfs_errors_total",
        help,
        &by("errno", &stats.errors),
    );
    out.counter(
        "dicomfs_frame_hits_total",
        "Frames that read requests touched and found decoded, once for each request.",
        stats.frame_hits as f64,
    );
    out.counter(
        "dicomfs_frame_misses_total",
        "Frames that read requests touched and had to wait for, once for each request.",
        stats.frame_misses as f64,
    );
}

fn latency(out: &mut Exposition, latency: &Latency) {
    let (last, others) = match latency.counts.split_last() {
        Some((last, others)) => (*last, others),
        None => (0, [].as_slice()),
    };
    let ends = latency.bounds_us.iter().map(|us| *us as f64 / US);
    let classes: Vec<(f64, u64)> = ends.zip(others.iter().copied()).collect();
    let help = "How long read requests took that reached the program, decoding included. Reads that the kernel \
                answers by itself (passthrough, page cache) are not among them.";
    let sum_seconds = latency.sum_ns as f64 / NS;
    out.histogram(
        "dicomfs_read_duration_seconds",
        help,
        &classes,
        last,
        sum_seconds,
    );
}

fn decoding(out: &mut Exposition, stats: &Stats) {
    let made = |of: fn(&Made) -> f64| -> Vec<Sample<'_>> {
        let made = stats.made.iter();
        made.map(|made| (maker(made), of(made))).collect()
    };
    type Family = (&'static str, &'static str, fn(&Made) -> f64);
    let families: [Family; 3] = [
        (
            "dicomfs_frames_made_total",
            "Frames made, by who made them: a decoder of the CPU, a device, or the cache directory.",
            |made| made.frames as f64,
        ),
        (
            "dicomfs_made_bytes_total",
            "Bytes of these frames, decoded.",
            |made| made.bytes as f64,
        ),
        (
            "dicomfs_made_seconds_total",
            "Time it took, all threads added up; of the cache directory it is not measured.",
            |made| made.ns as f64 / NS,
        ),
    ];
    for (name, help, of) in families {
        out.family(Counter, name, help, &made(of));
    }
    out.counter(
        "dicomfs_decode_failures_total",
        "Frames that could not be decoded.",
        stats.decode_failures as f64,
    );
    out.counter(
        "dicomfs_decode_cpu_seconds_total",
        "Time that threads of the CPU spent decoding, comparisons with devices included.",
        stats.decode_ms as f64 / MS,
    );
    let queues = [("urgent", stats.queue_urgent), ("ahead", stats.queue_ahead)];
    let queues = queues.map(|(queue, len)| (vec![("queue", queue)], len as f64));
    let help = "What waits now: frames and other work that somebody waits for (urgent), volumes with frames to be made \
                ahead and frames that devices have left (ahead).";
    out.family(Gauge, "dicomfs_queue_length", help, &queues);
}

fn maker(made: &Made) -> Vec<(&str, &str)> {
    vec![
        ("tier", &made.tier),
        ("device", &made.device),
        ("decoder", &made.decoder),
        ("codec", &made.codec),
    ]
}

/// Name behind `dicomfs_device_`, help, and the number of a device.
type DeviceFamily = (&'static str, &'static str, fn(&DeviceStats) -> f64);

const DEVICE_FAMILIES: [DeviceFamily; 7] = [
    ("batches_total", "Batches that devices answered.", |d| {
        d.batches as f64
    }),
    (
        "busy_seconds_total",
        "Time their lanes spent on batches, all added up.",
        |d| d.batch_ms as f64 / MS,
    ),
    (
        "frames_compared_total",
        "Frames made on both sides and compared.",
        |d| d.frames_compared as f64,
    ),
    (
        "mismatches_total",
        "Comparisons that were not equal.",
        |d| d.mismatches as f64,
    ),
    (
        "frames_failed_total",
        "Frames that devices failed at: the CPU makes them.",
        |d| d.frames_failed as f64,
    ),
    (
        "faults_total",
        "Batches that came to nothing: the CPU goes on.",
        |d| d.faults as f64,
    ),
    (
        "retired_codecs",
        "Codecs that a device got wrong and is not used for any more.",
        |d| d.retired.len() as f64,
    ),
];

fn of_devices(out: &mut Exposition, family: DeviceFamily, devices: &[DeviceStats]) {
    let (name, help, of) = family;
    let kind = match name.ends_with("_total") {
        true => Counter,
        false => Gauge,
    };
    let samples = devices
        .iter()
        .map(|device| (vec![("device", device.name.as_str())], of(device)));
    let samples: Vec<Sample<'_>> = samples.collect();
    out.family(kind, &format!("dicomfs_device_{name}"), help, &samples);
}

fn device_memory(out: &mut Exposition, residents: &ResidentStats) {
    out.gauge(
        "dicomfs_device_memory_volumes",
        "Volumes that devices keep for other programs (volume.cuda.json).",
        residents.count as f64,
    );
    out.gauge(
        "dicomfs_device_memory_bytes",
        "Device memory that they take.",
        residents.bytes as f64,
    );
    out.gauge(
        "dicomfs_device_memory_leased",
        "Of them, those that somebody has open.",
        residents.leased as f64,
    );
    out.counter(
        "dicomfs_device_memory_opens_total",
        "Leases given.",
        residents.opens as f64,
    );
    out.counter(
        "dicomfs_device_memory_evictions_total",
        "Volumes dropped to make room.",
        residents.evictions as f64,
    );
    out.counter(
        "dicomfs_device_memory_direct_frames_total",
        "Frames that devices read from their files themselves.",
        residents.direct_frames as f64,
    );
    out.counter(
        "dicomfs_device_memory_beside_frames_total",
        "Frames that devices decoded and left there themselves.",
        residents.beside_frames as f64,
    );
    out.counter(
        "dicomfs_device_memory_uploaded_frames_total",
        "Frames copied there from decoded volumes.",
        residents.uploaded_frames as f64,
    );
}

fn refusals(out: &mut Exposition, devices: &[DeviceStats]) {
    let mut samples: Vec<Sample<'_>> = Vec::new();
    for device in devices {
        for (why, count) in &device.refusals {
            let labels = vec![("device", device.name.as_str()), ("reason", why.as_str())];
            samples.push((labels, *count as f64));
        }
    }
    let help = "Frames that were not for a device, by reason.";
    out.family(Counter, "dicomfs_device_refusals_total", help, &samples);
}

fn memory(out: &mut Exposition, stats: &Stats) {
    out.gauge(
        "dicomfs_cache_resident_bytes",
        "Memory of decoded frames.",
        stats.cache_resident_bytes as f64,
    );
    out.gauge(
        "dicomfs_cache_budget_bytes",
        "What it may be.",
        stats.cache_budget_bytes as f64,
    );
    out.gauge(
        "dicomfs_cache_passthrough_bytes",
        "Of it, what readers hold open by passthrough.",
        stats.cache_passthrough_bytes as f64,
    );
    out.gauge(
        "dicomfs_cache_slabs",
        "Volumes in memory, each variant for itself.",
        stats.cache_slabs as f64,
    );
    out.counter(
        "dicomfs_cache_evicted_frames_total",
        "Frames dropped to keep the budget.",
        stats.cache_evicted_frames as f64,
    );
}

/// All of it is left out where there is no such directory.
fn directory(out: &mut Exposition, stats: &Stats) {
    if stats.cache_dir_budget_bytes == 0 {
        return;
    }
    let is_writing = f64::from(u8::from(stats.cache_dir_is_writing));
    out.gauge(
        "dicomfs_cache_dir_bytes",
        "Bytes in the cache directory.",
        stats.cache_dir_bytes as f64,
    );
    out.gauge(
        "dicomfs_cache_dir_budget_bytes",
        "What they may be.",
        stats.cache_dir_budget_bytes as f64,
    );
    out.gauge(
        "dicomfs_cache_dir_entries",
        "Entries in it.",
        stats.cache_dir_entries as f64,
    );
    out.gauge(
        "dicomfs_cache_dir_is_writing",
        "0 for some minutes after writing to it has failed.",
        is_writing,
    );
    out.counter(
        "dicomfs_cache_dir_hits_total",
        "Frames that came from it.",
        stats.cache_dir_hits as f64,
    );
    out.counter(
        "dicomfs_cache_dir_misses_total",
        "Frames it did not have.",
        stats.cache_dir_misses as f64,
    );
    out.counter(
        "dicomfs_cache_dir_stored_total",
        "Entries written.",
        stats.cache_dir_stored as f64,
    );
    out.counter(
        "dicomfs_cache_dir_skipped_total",
        "Volumes that were not worth keeping, or too large.",
        stats.cache_dir_skipped as f64,
    );
    out.counter(
        "dicomfs_cache_dir_damaged_total",
        "Entries that were damaged, and removed.",
        stats.cache_dir_damaged as f64,
    );
}

fn by<'a>(label: &'a str, counts: &'a BTreeMap<String, u64>) -> Vec<Sample<'a>> {
    let samples = counts.iter();
    samples
        .map(|(value, count)| (vec![(label, value.as_str())], *count as f64))
        .collect()
}

#[cfg(test)]
mod tests;
