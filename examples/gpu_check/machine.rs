//! What the figures are measured on: CPU, kernel, date, commit.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use dicomfs::decode::gpu::DeviceReport;

fn text(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_string()
}

/// The value of the first line `key : value`.
fn field(path: &str, key: &str) -> Option<String> {
    let text = text(path);
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub fn cpu_model() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unnamed CPU".into())
}

/// The commit of the sources, if they are here: `unknown` on a machine that has the program alone.
fn commit() -> String {
    let git = |words: &[&str]| {
        let root = ["-C", env!("CARGO_MANIFEST_DIR")];
        let output = Command::new("git").args(root).args(words).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_string();
        output.status.success().then_some(said)
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]).as_deref() {
        Some("") => commit,
        _ => format!("{commit} with changes"),
    }
}

/// Date and time now, UTC, to the minute.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date(since.map_or(0, |since| since.as_secs()))
}

/// `2026-11-21 05:40 UTC`. The day is found by counting years and months down.
fn date(seconds: u64) -> String {
    let (mut days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!(
        "{year}-{month:02}-{:02} {hour:02}:{minute:02} UTC",
        days + 1
    )
}

/// The list at the head of the document.
pub fn lines(device: &DeviceReport, given_commit: Option<&str>) -> Vec<String> {
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|value| value.split(' ').next()?.parse::<f64>().ok())
        .unwrap_or_default();
    let commit = given_commit.map_or_else(commit, str::to_string);
    let mut lines = vec![
        format!(
            "- Device: cuda:{} {}, {:.1} GiB, compute capability {}, {}",
            device.ordinal,
            device.name,
            gib(device.memory_bytes as f64),
            device.compute_capability,
            device.uuid
        ),
        match field("/proc/driver/nvidia/version", "NVRM version") {
            Some(driver) => format!("- Driver: CUDA {}; {driver}", device.driver_version),
            None => format!("- Driver: CUDA {}", device.driver_version),
        },
    ];
    for library in &device.libraries {
        lines.push(match &library.version {
            Ok(version) => format!("- {} {version}", library.name),
            Err(why) => format!("- {}: not used: {why}", library.name),
        });
    }
    lines.push(format!(
        "- Machine: {}, {} cores for this program, {:.0} GiB; load at the end {}",
        cpu_model(),
        cores(),
        gib(memory * 1024.0),
        text("/proc/loadavg").split(' ').next().unwrap_or("unknown")
    ));
    lines.push(format!(
        "- System: Linux {}",
        text("/proc/sys/kernel/osrelease")
    ));
    lines.push(format!(
        "- dicomfs {}, commit {commit}",
        env!("CARGO_PKG_VERSION")
    ));
    lines.push(format!("- {}", now()));
    lines
}
