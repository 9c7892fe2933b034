//! Figures to Markdown, losses included, and the goals held to them.

use dicomfs::decode::gpu::Codec;

use super::compare::Compared;
use super::machine;
use super::measure::Row;
use super::mounted::Reading;

/// Goals: times of all cores, where these are so many.
const CT_GOAL: f64 = 6.0;
const MG_GOAL: f64 = 8.0;
const GOAL_CORES: usize = 16;

/// The pictures of the first goal, frames from which batches count as such, and bytes of a frame from
/// which it is a mammogram's.
const CT_SIZE: &str = "512 x 512 x 16";
const BATCHED_FRAMES: usize = 64;
const LARGE_BYTES: usize = 8 << 20;

/// A volume read through mounts.
pub struct Mounted {
    pub codec: String,
    pub size: String,
    pub frames: usize,
    pub bytes: usize,
    pub cpu: Vec<Reading>,
    pub cuda: Vec<Reading>,
}

impl Mounted {
    /// All bytes that were read were right.
    pub fn is_equal(&self) -> bool {
        let mut readings = self.cpu.iter().chain(&self.cuda);
        readings.all(|reading| reading.is_equal)
    }
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    let value = if value.is_finite() {
        value
    } else {
        return "-".into();
    };
    if value >= 100.0 || value == 0.0 {
        return format!("{value:.0}");
    }
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0);
    format!("{value:.*}", digits as usize)
}

fn times(ratio: f64) -> String {
    match ratio.is_finite() {
        true => format!("{ratio:.2}x"),
        false => "-".into(),
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// How many times as fast as `base`: median of the ratios of each round.
fn ratio(base: &[f64], of: &[f64]) -> f64 {
    let ratios: Vec<f64> = base.iter().zip(of).map(|(base, of)| base / of).collect();
    median(&ratios)
}

/// How far equal rounds were apart, as a share of their median: half of the range of their middle
/// half. Asked of rounds without the device only: what it makes uneven is a loss and no noise.
fn noise(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let range = at(3 * sorted.len() / 4) - at(sorted.len() / 4);
    range / 2.0 / median(seconds)
}

impl Row {
    fn rate(&self, seconds: f64) -> String {
        figure(self.frames as f64 / seconds)
    }

    fn alone_over_cores(&self) -> f64 {
        ratio(&self.cpu, &self.device)
    }

    fn with_over_without(&self) -> f64 {
        ratio(&self.without, &self.together)
    }

    fn name(&self) -> String {
        let plural = if self.frames == 1 { "" } else { "s" };
        let (codec, size, frames) = (&self.codec, &self.size, self.frames);
        format!("{codec}, {size}, {frames} frame{plural}")
    }
}

pub fn compared(found: &Compared) -> Vec<String> {
    let mut lines = vec![
        "### Every frame on both sides".into(),
        String::new(),
        format!("{} files with frames, {} others.", found.files, found.others),
        match found.left {
            0 => String::new(),
            left => format!("**{left} files were not compared: there was no time left.**"),
        },
        String::new(),
        "| transfer syntax | shown | equal | different | refused | failed | lossy: rounded otherwise, by at most |".into(),
        "|---|---|---|---|---|---|---|".into(),
    ];
    let list = |counts: &std::collections::BTreeMap<String, u64>| {
        let words: Vec<String> = counts
            .iter()
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        match words.is_empty() {
            true => "0".to_string(),
            false => words.join(", ").replace('|', "/"),
        }
    };
    for ((uid, shown), tally) in &found.rows {
        let rounded = match tally.rounded {
            0 => String::new(),
            count => format!("{count}, {}", figure(tally.largest)),
        };
        lines.push(format!(
            "| {uid} | {shown} | {} | {} | {} | {} | {rounded} |",
            tally.equal,
            tally.different,
            list(&tally.refused),
            list(&tally.failed)
        ));
    }
    lines.push(String::new());
    lines.push(match (found.different(), found.equal()) {
        (0, 0) => "**No frame was compared.**".into(),
        (0, equal) => format!("All {equal} frames that were compared are equal."),
        (different, equal) => format!("**{different} frames differ**, {equal} are equal."),
    });
    lines.push(String::new());
    let differences = found
        .differences
        .iter()
        .map(|what| format!("- different: {what}"));
    let faults = found
        .faults
        .iter()
        .map(|why| format!("- the device's process was lost, {why}"));
    if found.lost > 0 {
        let times = match found.lost {
            1 => "once".to_string(),
            more => format!("{more} times"),
        };
        lines.push(format!("**The device's process was lost {times}.**"));
        lines.push(String::new());
    }
    let named: Vec<String> = differences.chain(faults).collect();
    if !named.is_empty() {
        lines.extend(named);
        lines.push(String::new());
    }
    lines
}

/// What there is no row for, a line each.
pub fn missing(what: &str, names: &[String]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let lines = names.iter().map(|name| format!("- {what}: {name}"));
    lines.chain([String::new()]).collect()
}

pub fn measured(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        "### Frames a second".into(),
        String::new(),
        format!("All cores: {} of {}. Device alone: whole batches through its lanes, host work included.", machine::cores(), machine::cpu_model()),
        "Both, without: a mount's fetcher that makes a volume ahead, with the device beside the cores and without; first: a".into(),
        "volume of a fetcher that has seen none. Device's share: of the frames made by both. Device's CPU: what its process".into(),
        "takes of a core for a frame, when alone. Medians of the rounds; every ratio is the median of the rounds' ratios.".into(),
        String::new(),
        "| codec | pixels | frames | all cores | device alone | over all cores | both, first | both | without | with over without | device's share | device's CPU | rounds |".into(),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|".into(),
    ];
    for row in rows {
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} % | {} ms | {} |",
            row.codec,
            row.size,
            row.frames,
            row.rate(median(&row.cpu)),
            row.rate(median(&row.device)),
            times(row.alone_over_cores()),
            row.rate(row.first),
            row.rate(median(&row.together)),
            row.rate(median(&row.without)),
            times(row.with_over_without()),
            100.0 * row.share,
            figure(1e3 * row.device_cpu),
            row.cpu.len()
        ));
    }
    lines.push(String::new());
    let reasons = rows.iter().filter_map(|row| {
        Some(format!(
            "- {}: not on the device: {}",
            row.codec,
            row.why.as_ref()?
        ))
    });
    let mut reasons: Vec<String> = reasons.collect();
    reasons.dedup();
    if !reasons.is_empty() {
        lines.extend(reasons);
        lines.push(String::new());
    }
    lines
}

/// The goals, met or missed by these figures.
pub fn goals(rows: &[Row]) -> Vec<String> {
    let mut lines = vec!["### Goals".into(), String::new()];
    let of = |is_large: bool| {
        let fits = move |row: &&Row| {
            row.codec == Codec::Jpeg2000.to_string()
                && match is_large {
                    true => row.frame_len >= LARGE_BYTES,
                    false => row.size == CT_SIZE && row.frames >= BATCHED_FRAMES,
                }
        };
        rows.iter().filter(fits).max_by_key(|row| row.frames)
    };
    let cases = [
        ("JPEG 2000, 512 x 512 x 16, batched", of(false), CT_GOAL),
        ("JPEG 2000, mammography", of(true), MG_GOAL),
    ];
    for (name, row, goal) in cases {
        let Some(row) = row.filter(|row| !row.device.is_empty()) else {
            lines.push(format!(
                "- {name}: at least {goal}x of all cores: not measured"
            ));
            continue;
        };
        let reached = row.alone_over_cores();
        let verdict = if reached >= goal { "met" } else { "**missed**" };
        let cores = match machine::cores() {
            GOAL_CORES => String::new(),
            other => format!(" (the goal is meant for {GOAL_CORES} cores, here are {other})"),
        };
        lines.push(format!(
            "- {name}: at least {goal}x of all cores: {verdict}: {} alone, {} where both share the work ({} frames){cores}",
            times(reached),
            times(ratio(&row.cpu, &row.together)),
            row.frames
        ));
    }
    let worst = rows
        .iter()
        .min_by(|a, b| a.with_over_without().total_cmp(&b.with_over_without()));
    if let Some(worst) = worst {
        let is_slower = |row: &&Row| row.with_over_without() < 1.0;
        let beyond = |row: &&Row| 1.0 - row.with_over_without() > noise(&row.without);
        let slower: Vec<&Row> = rows.iter().filter(is_slower).collect();
        let beyond: Vec<&Row> = slower.iter().copied().filter(beyond).collect();
        let verdict = match (slower.len(), beyond.len()) {
            (0, _) => "met".to_string(),
            (some, 0) => format!(
                "met but for noise ({some} rows below, each by less than its rounds without it differ)"
            ),
            (_, some) => format!("**missed** in {some} of {} rows", rows.len()),
        };
        lines.push(format!(
            "- Never below 1.0x with the device: {verdict}; lowest {} ({})",
            times(worst.with_over_without()),
            worst.name()
        ));
        for row in slower {
            lines.push(format!(
                "  - {}: {}; rounds without it differ by {:.1} %",
                row.name(),
                times(row.with_over_without()),
                100.0 * noise(&row.without)
            ));
        }
    }
    lines.push(String::new());
    lines
}

pub fn mounted(rows: &[Mounted]) -> Vec<String> {
    let mut lines = vec![
        "### Through mounts".into(),
        String::new(),
        "`volume.npy` read whole, once, from a new mount each time, with a device that has decoded nothing before.".into(),
        String::new(),
        "| codec | pixels | frames | device=cpu, MB/s | device=cuda, MB/s | ratio | bytes | frames by the device |".into(),
        "|---|---|---|---|---|---|---|---|".into(),
    ];
    for row in rows {
        let seconds = |of: &[Reading]| of.iter().map(|reading| reading.seconds).collect::<Vec<_>>();
        let (cpu, cuda) = (seconds(&row.cpu), seconds(&row.cuda));
        let rate = |seconds: &[f64]| figure(row.bytes as f64 / 1e6 / median(seconds));
        let made = |reading: &Reading| reading.devices[0]["frames"].as_f64().unwrap_or_default();
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.codec,
            row.size,
            row.frames,
            rate(&cpu),
            rate(&cuda),
            times(ratio(&cpu, &cuda)),
            if row.is_equal() {
                "equal"
            } else {
                "**different**"
            },
            figure(median(&row.cuda.iter().map(made).collect::<Vec<_>>()))
        ));
    }
    lines.extend([
        String::new(),
        "`\"devices\"` of `stats.json` after the last of each:".into(),
        String::new(),
    ]);
    lines.push("```json".into());
    for row in rows {
        if let Some(last) = row.cuda.last() {
            lines.push(last.devices.to_string());
        }
    }
    lines.extend(["```".into(), String::new()]);
    lines
}
