//! `dicomfs top MNT`: what a mount does, second by second, from its `.dicomfs/stats.json`.

mod view;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use console::{Term, truncate_str};

use super::interrupt::Interrupt;
use crate::fs::stats::Stats;
use crate::mount::SystemFailure;

/// Clears a terminal and goes to its upper left corner. Nothing else of the terminal is changed, so
/// there is nothing to be undone at the end.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shortest time between two looks, s: looking is work for the mount as well.
const INTERVAL_MIN_S: f64 = 0.1;
const INTERVAL_MAX_S: f64 = 3600.0;

const EXAMPLES: &str = "\
Examples:
  dicomfs top /mnt/dicom             until ctrl-c, or until it is unmounted
  dicomfs top /mnt/dicom --once      averages since the mount was made
  dicomfs top /mnt/dicom -n 10       ten views, one after the other (the first since the start)

Reads that the kernel answers by itself (passthrough, page cache) never reach the program, and are
not among those counted. For Prometheus there is .dicomfs/metrics.prom.";

/// Arguments of `dicomfs top`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// Print one view and end
    #[arg(long, conflicts_with = "count")]
    pub once: bool,

    /// Print so many views and end
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub count: Option<u64>,

    /// Time between two views
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub interval: Duration,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|s| (INTERVAL_MIN_S..=INTERVAL_MAX_S).contains(s));
    let seconds = seconds.ok_or_else(|| "write seconds from 0.1 to 3600".to_string())?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Shows views until there have been enough, or the mount ends.
///
/// # Errors
///
/// There is no mount of ours, or it cannot be read.
pub fn run(args: &TopArgs, out: &mut dyn Write) -> Result<()> {
    let interrupt = Interrupt::watch().context(SystemFailure)?;
    interrupt.heed();
    let count = if args.once { Some(1) } else { args.count };
    let is_screen = count.is_none() && io::stdout().is_terminal();
    let name = args.mountpoint.display().to_string();
    let mut before: Option<(Stats, Instant)> = None;
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        let now = match read(&args.mountpoint) {
            Ok(stats) => (stats, Instant::now()),
            Err(why) if before.is_some() && has_ended(&why) => {
                writeln!(out, "{name} is not mounted any more")?;
                return Ok(());
            }
            Err(why) => return Err(not_read(&args.mountpoint, why)),
        };
        let since = before
            .as_ref()
            .map(|(stats, at)| (stats, now.1.duration_since(*at)));
        let text = view::view(&name, since, &now.0);
        let lead = match (is_screen, shown) {
            (true, _) => CLEAR,
            (false, 0) => "",
            (false, _) => "\n",
        };
        let text = match Term::stdout().size_checked().filter(|_| is_screen) {
            Some((rows, cells)) => fitted(&text, usize::from(rows), usize::from(cells)),
            None => text,
        };
        write!(out, "{lead}{text}")?;
        out.flush()?;
        before = Some(now);
        shown += 1;
        if Some(shown) != count && interrupt.wait(args.interval) {
            break;
        }
    }
    Ok(())
}

/// A page whose lines do not wrap, and whose first one is not pushed out: what there is no room for is
/// counted.
fn fitted(page: &str, rows: usize, cells: usize) -> String {
    // The last row is the cursor's.
    let room = rows.saturating_sub(1).max(2);
    let all = page.lines().count();
    let shown = if all > room { room - 1 } else { all };
    let lines = page.lines().take(shown);
    let lines = lines.map(|line| truncate_str(line, cells, "..."));
    let mut fitted: String = lines.map(|line| format!("{line}\n")).collect();
    if shown < all {
        fitted += &format!("... {} lines more: make the window higher\n", all - shown);
    }
    fitted
}

fn read(mountpoint: &Path) -> io::Result<Stats> {
    let bytes = fs::read(mountpoint.join(".dicomfs/stats.json"))?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// True for what a mount that was there leaves behind.
fn has_ended(why: &io::Error) -> bool {
    let gone = [
        libc::ENOENT,
        libc::ENOTCONN,
        libc::ENOTDIR,
        libc::ECONNABORTED,
    ];
    why.raw_os_error()
        .is_some_and(|errno| gone.contains(&errno))
}

fn not_read(mountpoint: &Path, why: io::Error) -> anyhow::Error {
    let name = mountpoint.display();
    match why.raw_os_error() {
        Some(libc::ENOTCONN) => {
            anyhow!("{name}: the mount is dead; `umount {name}` takes it away")
        }
        Some(libc::EACCES) => {
            anyhow!("{name}: not allowed: whoever mounts it has to say allow_other for other users")
        }
        _ if has_ended(&why) => anyhow!(
            "{name} is not a dicomfs mount (`findmnt -t {}` lists those there are)",
            crate::mount::FSTYPE
        ),
        _ => anyhow::Error::from(why).context(format!("cannot read what {name} does")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(parse_interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        assert_eq!(fitted("short\nrather long\n", 24, 8), "short\nrathe...\n");
        let page = "1\n2\n3\n4\n";
        assert_eq!(fitted(page, 5, 80), page);
        let cut = fitted(page, 4, 80);
        assert_eq!(cut, "1\n2\n... 2 lines more: make the window higher\n");
        assert_eq!(fitted(page, 0, 80).lines().count(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_said_in_one_line() {
        let error = |errno| not_read(Path::new("/m"), io::Error::from_raw_os_error(errno));
        for (errno, words) in [
            (libc::ENOENT, "is not a dicomfs mount"),
            (libc::ENOTDIR, "is not a dicomfs mount"),
            (libc::ENOTCONN, "umount /m"),
            (libc::EACCES, "allow_other"),
            (libc::EIO, "cannot read what /m does"),
        ] {
            let text = format!("{:#}", error(errno));
            assert!(text.contains(words) && !text.contains('\n'), "{text}");
        }
    }
}
