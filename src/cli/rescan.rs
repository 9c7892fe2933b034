//! `dicomfs rescan MNT`: asks a mount to look at its archive anew, and waits until that is done.
//!
//! The mount says in `.dicomfs` which process serves it and how far it is; the wish itself is SIGHUP,
//! so that who may ask is the system's rule: the user who mounted, and root.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::mount::{self, Asked};

/// Arguments of `dicomfs rescan`.
#[derive(Debug, Args)]
pub struct RescanArgs {
    /// Where the archive is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// Longest to wait for series that are still arriving [default: twice what `settle` is, and 5
    /// seconds]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
}

/// How often the mount is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a process that was replaced may take to say that it was.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// What matters of `.dicomfs/config.json`.
#[derive(Deserialize)]
struct Config {
    settle_s: u64,
    process: Process,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Process {
    pid: u32,
    started_ticks: u64,
}

/// What matters of `.dicomfs/stats.json`.
#[derive(Deserialize)]
struct Stats {
    scan: Scan,
    watch: Watch,
}

#[derive(Deserialize)]
struct Scan {
    state: String,
    series: u64,
    series_new: u64,
    series_changed: u64,
    series_gone: u64,
}

#[derive(Deserialize)]
struct Watch {
    pending_series: u64,
    rescans_asked: u64,
    rescans_done: u64,
}

/// Asks, waits, and says what has changed.
///
/// # Errors
///
/// It is no mount of this program, somebody else's, or its archive cannot be read.
pub fn run(args: &RescanArgs, out: &mut dyn Write) -> Result<()> {
    let place = Mount(&args.mountpoint);
    let before: Stats = place.read("stats.json")?;
    let asked = before.watch.rescans_asked;
    let config = place.ask()?;
    let mut now: Stats;
    loop {
        now = place.read("stats.json")?;
        let now_serves: Config = place.read("config.json")?;
        // One that has taken the place of the one that was asked begins with a scan.
        let has_scanned = match now_serves.process == config.process {
            true => now.watch.rescans_done > asked,
            false => now.scan.state != "running",
        };
        if has_scanned {
            break;
        }
        thread::sleep(ASK_AGAIN);
    }
    let wait = args.wait.map_or(2 * config.settle_s + 5, u64::from);
    let end = Instant::now() + Duration::from_secs(wait);
    while now.watch.pending_series > 0 && Instant::now() < end {
        thread::sleep(ASK_AGAIN);
        now = place.read("stats.json")?;
    }
    if now.scan.state == "failed" {
        bail!("the scan failed: what is shown may be old (the log of the mount says why)");
    }
    report(&before, &now, out)
}

fn report(before: &Stats, now: &Stats, out: &mut dyn Write) -> Result<()> {
    let since = |before: u64, now: u64| now.saturating_sub(before);
    writeln!(
        out,
        "{} series: {} new, {} changed, {} gone",
        now.scan.series,
        since(before.scan.series_new, now.scan.series_new),
        since(before.scan.series_changed, now.scan.series_changed),
        since(before.scan.series_gone, now.scan.series_gone),
    )?;
    match now.watch.pending_series {
        0 => {}
        1 => writeln!(
            out,
            "1 series is still arriving: it is shown when it is complete"
        )?,
        many => writeln!(
            out,
            "{many} series are still arriving: they are shown when they are complete"
        )?,
    }
    Ok(())
}

struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let place = self.0.display();
        let text = std::fs::read(self.0.join(".dicomfs").join(name));
        let text = text.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => anyhow!(
                "{place} is no mount of dicomfs; give the directory that `dicomfs mount` was given last"
            ),
            ErrorKind::PermissionDenied => not_permitted(&place),
            _ => anyhow!(error).context(format!("cannot ask the mount at {place}")),
        })?;
        let words = || format!("the mount at {place} is of another version of dicomfs");
        serde_json::from_slice(&text).with_context(words)
    }

    /// Asks the process that serves it; what that says of itself.
    fn ask(&self) -> Result<Config> {
        let place = self.0.display();
        let end = Instant::now() + REPLACED_WITHIN;
        loop {
            let config: Config = self.read("config.json")?;
            let process = Asked {
                pid: config.process.pid,
                started_ticks: config.process.started_ticks,
            };
            match mount::ask_to_rescan(&process) {
                Ok(()) => return Ok(config),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(not_permitted(&place));
                }
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(anyhow!(error).context(format!("cannot ask the mount at {place}")));
                }
                // It has died just now, and another takes its place; or it is not to be seen here.
                Err(_) if Instant::now() < end => thread::sleep(ASK_AGAIN),
                Err(_) => bail!(
                    "the process that serves {place} is not to be seen here: ask where it runs, \
                     in its container"
                ),
            }
        }
    }
}

fn not_permitted(place: &impl Display) -> anyhow::Error {
    anyhow!("only the user who mounted {place}, and root, may ask for a rescan")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(new: u64, pending_series: u64) -> Stats {
        Stats {
            scan: Scan {
                state: "done".into(),
                series: 7,
                series_new: new,
                series_changed: 1,
                series_gone: 4,
            },
            watch: Watch {
                pending_series,
                rescans_asked: 0,
                rescans_done: 0,
            },
        }
    }

    #[test]
    fn what_has_changed_is_said() {
        for (new, pending, expected) in [
            (5, 0, "7 series: 2 new, 0 changed, 0 gone\n"),
            (
                3,
                1,
                "7 series: 0 new, 0 changed, 0 gone\n1 series is still",
            ),
            (
                3,
                2,
                "7 series: 0 new, 0 changed, 0 gone\n2 series are still",
            ),
        ] {
            let mut out = Vec::new();
            report(&stats(3, 0), &stats(new, pending), &mut out).expect("written");
            let said = String::from_utf8(out).expect("UTF-8");
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
