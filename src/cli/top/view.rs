//! Two looks at a mount's numbers to a page of text. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};

use crate::fetch::Made;
use crate::fs::stats::{Latency, Stats};

/// Marks in a bar.
const BAR_CELLS: u64 = 20;
/// Width of a page: that of the narrowest terminals in use. What is longer than usual is cut.
const PAGE_CELLS: usize = 80;
/// Width of what stands before the text of a line.
const HEADING_CELLS: usize = 11;

/// What was counted between two looks, or since the start.
struct Span<'a> {
    now: &'a Stats,
    before: Stats,
    seconds: f64,
    is_all: bool,
}

/// A page about the mount at `name`: rates since the look `before`, so long ago, or since the start
/// without one (or where another process serves by now).
pub fn view(name: &str, before: Option<(&Stats, Duration)>, now: &Stats) -> String {
    let before = before.filter(|(stats, _)| stats.uptime_ms <= now.uptime_ms);
    let span = Span {
        now,
        before: before.map(|(stats, _)| stats.clone()).unwrap_or_default(),
        seconds: match before {
            Some((_, time)) => time.as_secs_f64(),
            None => now.uptime_ms as f64 / 1e3,
        },
        is_all: before.is_none(),
    };
    let mut page = String::new();
    span.program(&mut page, name);
    span.archive(&mut page);
    span.reads(&mut page);
    span.decoding(&mut page);
    span.budgets(&mut page);
    span.devices(&mut page);
    if !now.errors.is_empty() {
        list(&mut page, "errors", &now.errors);
    }
    // The longest at the end: a small terminal has room for the rest.
    list(&mut page, "findings", &now.findings);
    page
}

fn line(page: &mut String, heading: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{heading:<10} {text}");
}

/// What was counted, by name, in as many lines as it takes.
fn list(page: &mut String, heading: &str, counts: &BTreeMap<String, u64>) {
    let all: u64 = counts.values().sum();
    if all == 0 {
        return line(page, heading, "none");
    }
    let mut text = HumanCount(all).to_string();
    let last = counts.len() - 1;
    for (n, (name, count)) in counts.iter().enumerate() {
        let lead = if n == 0 { " (" } else { " " };
        let end = if n == last { ")" } else { "," };
        let word = format!("{lead}{name} {count}{end}");
        if HEADING_CELLS + text.len() + word.len() > PAGE_CELLS {
            line(
                page,
                if text.starts_with(' ') { "" } else { heading },
                &text,
            );
            text = " ".to_string();
        }
        text += &word;
    }
    line(
        page,
        if text.starts_with(' ') { "" } else { heading },
        &text,
    );
}

impl Span<'_> {
    /// How much more of something there is than before.
    fn more(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        of(self.now).saturating_sub(of(&self.before))
    }

    /// The same by the second.
    fn rate(&self, more: u64) -> f64 {
        if self.seconds > 0.0 {
            more as f64 / self.seconds
        } else {
            0.0
        }
    }

    fn bytes_rate(&self, more: u64) -> String {
        format!("{}/s", HumanBytes(self.rate(more) as u64))
    }

    fn program(&self, page: &mut String, name: &str) {
        let up = HumanDuration(Duration::from_secs(self.now.uptime_s));
        let mut text = format!("{name}, up {up}");
        text += &match self.now.worker_restarts {
            0 => String::new(),
            1 => ", 1 restart after a crash".to_string(),
            many => format!(", {many} restarts after crashes"),
        };
        if self.is_all {
            text += "; rates since then";
        }
        line(page, "dicomfs", &text);
    }

    fn archive(&self, page: &mut String) {
        let (now, scan) = (self.now, &self.now.scan);
        let text = format!(
            "{} volumes in {} series, {} instances, {}",
            HumanCount(now.volumes),
            HumanCount(scan.series),
            HumanCount(now.instances),
            HumanBytes(now.volume_bytes),
        );
        line(page, "archive", &text);
        let files = match scan.state.as_str() {
            "running" => format!(
                "{} of {} files",
                HumanCount(scan.files_done),
                HumanCount(scan.files_found)
            ),
            _ => format!("{} files", HumanCount(scan.files_done)),
        };
        line(
            page,
            "scan",
            &format!("{}, {files}, {:.1} s", scan.state, scan.seconds),
        );
    }

    fn reads(&self, page: &mut String) {
        let requests = self.more(|stats| stats.requests);
        let bytes = self.bytes_rate(self.more(|stats| stats.request_bytes));
        let mut text = format!("{bytes}, {:.0} requests/s", self.rate(requests));
        let latency = self.latency();
        if let (Some(half), Some(most)) = (quantile(&latency, 0.5), quantile(&latency, 0.99)) {
            let _ = write!(text, ", half {half}, 99 % {most}");
        }
        line(page, "reads", &text);
        let hits = self.more(|stats| stats.frame_hits);
        let all = hits + self.more(|stats| stats.frame_misses);
        let text = match all {
            0 => "no frame was asked for".into(),
            all => format!(
                "{:.1} % of {} frames asked for were decoded already",
                hits as f64 * 100.0 / all as f64,
                HumanCount(all)
            ),
        };
        line(page, "hits", &text);
        let now = self.now;
        let text = format!(
            "{} passthrough ({} open), {} page cache, {} direct",
            HumanCount(now.opens_passthrough),
            HumanBytes(now.cache_passthrough_bytes),
            HumanCount(now.opens_cached),
            HumanCount(now.opens_direct),
        );
        line(page, "opens", &text);
    }

    /// The requests between the two looks.
    fn latency(&self) -> Latency {
        let (now, before) = (&self.now.request_latency, &self.before.request_latency);
        let is_like = now.bounds_us == before.bounds_us;
        let before = |class: usize| match is_like {
            true => before.counts.get(class).copied().unwrap_or(0),
            false => 0,
        };
        let counts = now.counts.iter().enumerate();
        Latency {
            bounds_us: now.bounds_us.clone(),
            counts: counts
                .map(|(n, count)| count.saturating_sub(before(n)))
                .collect(),
            sum_ns: 0,
        }
    }

    fn decoding(&self, page: &mut String) {
        let frames = self.more(|stats| stats.frames_decoded);
        let bytes = self.bytes_rate(self.more(|stats| stats.decoded_bytes));
        let busy = self.rate(self.more(|stats| stats.decode_ms)) / 1e3;
        let failed = self.now.decode_failures;
        let text = format!(
            "{bytes}, {:.1} frames/s, {busy:.1} threads busy, {failed} failed",
            self.rate(frames)
        );
        line(page, "decoding", &text);
        for made in &self.now.made {
            line(page, "", &self.maker(made));
        }
        let text = format!(
            "{} waited for, {} ahead",
            self.now.queue_urgent, self.now.queue_ahead
        );
        line(page, "queue", &text);
    }

    fn maker(&self, made: &Made) -> String {
        let key =
            |made: &Made| [&made.tier, &made.device, &made.decoder, &made.codec].map(String::clone);
        let before = self
            .before
            .made
            .iter()
            .find(|known| key(known) == key(made));
        let (frames, bytes) = before.map_or((0, 0), |known| (known.frames, known.bytes));
        let name = match made.tier.as_str() {
            // Most decoders are named after what they decode.
            "cpu" if made.decoder.starts_with(&made.codec) => made.decoder.clone(),
            "cpu" => format!("{}, {}", made.codec, made.decoder),
            "device" => format!("{}, {}", made.codec, made.device),
            tier => tier.to_string(),
        };
        format!(
            "{name:<23} {:>7.1} frames/s {:>12}, {} made",
            self.rate(made.frames.saturating_sub(frames)),
            self.bytes_rate(made.bytes.saturating_sub(bytes)),
            HumanCount(made.frames)
        )
    }

    fn budgets(&self, page: &mut String) {
        let now = self.now;
        let dropped = self.rate(self.more(|stats| stats.cache_evicted_frames));
        let memory = format!(
            "{}, {dropped:.1} frames/s dropped",
            share(now.cache_resident_bytes, now.cache_budget_bytes),
        );
        line(page, "memory", &memory);
        if now.cache_dir_budget_bytes > 0 {
            let mut disk = share(now.cache_dir_bytes, now.cache_dir_budget_bytes);
            let _ = write!(
                disk,
                ", {} hits, {} misses",
                now.cache_dir_hits, now.cache_dir_misses
            );
            if !now.cache_dir_is_writing {
                disk += ", not written to just now";
            }
            line(page, "cache_dir", &disk);
        }
    }

    fn devices(&self, page: &mut String) {
        for device in &self.now.devices {
            let before = self
                .before
                .devices
                .iter()
                .find(|known| known.name == device.name);
            let ms = device
                .batch_ms
                .saturating_sub(before.map_or(0, |known| known.batch_ms));
            let text = format!(
                "{}, {:.1} lanes busy, {} batches, {} mismatches, {} faults",
                device.state,
                self.rate(ms) / 1e3,
                HumanCount(device.batches),
                device.mismatches,
                device.faults,
            );
            line(page, &device.name, &text);
        }
    }
}

/// A part of a budget, with a bar.
fn share(part: u64, whole: u64) -> String {
    let cells = (part * BAR_CELLS)
        .checked_div(whole)
        .unwrap_or(0)
        .min(BAR_CELLS);
    let bar = "#".repeat(cells as usize) + &"-".repeat((BAR_CELLS - cells) as usize);
    format!("[{bar}] {} of {}", HumanBytes(part), HumanBytes(whole))
}

/// How long so much of all requests took at most, in words; `None` without any request.
fn quantile(latency: &Latency, share: f64) -> Option<String> {
    let all: u64 = latency.counts.iter().sum();
    let wanted = (all as f64 * share).ceil() as u64;
    let mut sum = 0;
    for (class, count) in latency.counts.iter().enumerate() {
        sum += count;
        if sum >= wanted && all > 0 {
            return Some(match latency.bounds_us.get(class) {
                Some(us) => format!("within {} ms", *us as f64 / 1e3),
                None => "longer than counted".into(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::DeviceStats;
    use crate::fs::stats::Scan;

    fn stats(uptime_s: u64, n: u64) -> Stats {
        let made = |tier: &str, device: &str, decoder: &str, codec: &str, frames| Made {
            tier: tier.into(),
            device: device.into(),
            decoder: decoder.into(),
            codec: codec.into(),
            frames,
            bytes: frames << 20,
            ns: 0,
        };
        Stats {
            uptime_s,
            uptime_ms: uptime_s * 1000,
            volumes: 5001,
            instances: 1_000_000,
            volume_bytes: 3 << 30,
            scan: Scan {
                state: "done".into(),
                files_found: 1_000_010,
                files_done: 1_000_010,
                series: 5000,
                seconds: 15.26,
                ..Scan::default()
            },
            requests: 100 * n,
            request_bytes: n << 20,
            request_latency: Latency {
                bounds_us: vec![100, 2500],
                counts: vec![60 * n, 39 * n, n],
                sum_ns: 0,
            },
            frame_hits: 3 * n,
            frame_misses: n,
            frames_decoded: 7 * n,
            decoded_bytes: n << 21,
            decode_ms: 1500 * n,
            made: vec![
                made("cpu", "", "jpeg 2000 (openjpeg)", "jpeg 2000", 4 * n),
                made("device", "cuda:0", "", "jpeg 2000", 3 * n),
            ],
            queue_urgent: 2,
            queue_ahead: 1,
            cache_resident_bytes: 1 << 30,
            cache_budget_bytes: 4 << 30,
            ..Stats::default()
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let page = view(
            "/mnt/dicom",
            Some((&stats(60, 10), Duration::from_secs(2))),
            &stats(62, 14),
        );
        let expected = "\
dicomfs    /mnt/dicom, up 62 seconds
archive    5,001 volumes in 5,000 series, 1,000,000 instances, 3.00 GiB
scan       done, 1,000,010 files, 15.3 s
reads      2.00 MiB/s, 200 requests/s, half within 0.1 ms, 99 % within 2.5 ms
hits       75.0 % of 16 frames asked for were decoded already
opens      0 passthrough (0 B open), 0 page cache, 0 direct
decoding   4.00 MiB/s, 14.0 frames/s, 3.0 threads busy, 0 failed
           jpeg 2000 (openjpeg)        8.0 frames/s   8.00 MiB/s, 56 made
           jpeg 2000, cuda:0           6.0 frames/s   6.00 MiB/s, 42 made
queue      2 waited for, 1 ahead
memory     [#####---------------] 1.00 GiB of 4.00 GiB, 0.0 frames/s dropped
findings   none
";
        assert_eq!(page, expected);
        assert!(page.lines().all(|line| line.len() <= PAGE_CELLS), "{page}");
    }

    #[test]
    fn without_a_look_before_or_after_a_crash_they_are_since_the_start() {
        let first = view("/m", None, &stats(10, 10));
        assert!(first.contains("up 10 seconds; rates since then"), "{first}");
        assert!(
            first.contains("\nreads      1.00 MiB/s, 100 requests/s"),
            "{first}"
        );
        let mut again = stats(10, 10);
        again.worker_restarts = 1;
        let page = view("/m", Some((&stats(99, 99), Duration::from_secs(1))), &again);
        assert!(
            page.contains("1 restart after a crash; rates since then"),
            "{page}"
        );
        assert!(page.contains("\nreads      1.00 MiB/s"), "{page}");
    }

    #[test]
    fn what_there_is_is_shown_and_what_there_is_not_is_left_out() {
        let mut now = stats(10, 0);
        now.scan.state = "running".into();
        now.scan.files_done = 7;
        now.findings = [("lossy".to_string(), 2), ("gantry_tilt".to_string(), 1)].into();
        now.errors = [("EIO".to_string(), 3)].into();
        now.cache_dir_budget_bytes = 10;
        now.cache_dir_bytes = 20;
        now.devices = vec![DeviceStats {
            name: "cuda:0".into(),
            state: "ready".into(),
            ..DeviceStats::default()
        }];
        let page = view("/m", None, &now);
        for words in [
            "scan       running, 7 of 1,000,010 files",
            "findings   3 (gantry_tilt 1, lossy 2)",
            "errors     3 (EIO 3)",
            "cache_dir  [####################] 20 B of 10 B, 0 hits, 0 misses, not written to just now",
            "cuda:0     ready, 0.0 lanes busy",
            "hits       no frame was asked for",
            "reads      0 B/s, 0 requests/s\n",
        ] {
            assert!(page.contains(words), "{words} in\n{page}");
        }
        // As many lines as it takes, none too long.
        now.findings = [
            "assumed_slice_spacing",
            "burned_in_annotation",
            "duplicate_instance",
            "lossy",
        ]
        .map(|code| (code.to_string(), 12_345))
        .into();
        let page = view("/m", None, &now);
        let expected = "\
findings   49,380 (assumed_slice_spacing 12345, burned_in_annotation 12345,
             duplicate_instance 12345, lossy 12345)
";
        assert!(page.contains(expected), "{page}");
        let empty = view("/m", None, &Stats::default());
        assert!(
            !empty.contains("cache_dir") && !empty.contains("errors"),
            "{empty}"
        );
    }
}
