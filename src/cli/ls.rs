//! `dicomfs ls SRC`: the volumes of an archive and their verdicts, without a mount.
//!
//! | file | job |
//! |---|---|
//! | `row.rs` | a volume as it is listed |
//! | `filter.rs` | which are, and in which order |
//! | `show.rs` | the table, csv and json |

mod filter;
mod row;
mod show;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use console::Term;

use self::filter::Filter;
use self::row::{COLUMNS, FindingLine, INDEX_COLUMNS, lines};
use self::show::Format;
use super::exit::Mistake;
use super::library::{self, Bar};
use crate::archive::Counts;
use crate::config::{ArchiveConfig, ArchiveFlags};
use crate::library::Holdings;

pub(super) use self::row::{Row, printable};

const EXAMPLES: &str = "\
Examples:
  dicomfs ls /archive                                     all volumes, with what is wrong with them
  dicomfs ls /archive --modality CT --min-slices 100 --status ok
  dicomfs ls /archive --patients --since 2026-01          who they are of, this year's
  dicomfs ls /archive --sort bytes --reverse | head       the largest first
  dicomfs ls /archive --format csv > volumes.csv          the same as index.csv of a mount
  dicomfs ls /mnt/dicom --status bad                      of a mount, from its index

Status: ok; warn: usable, read the findings; bad: frames are served, geometry is not to be trusted.
Nothing that names a patient is shown unless --patients or --columns asks for it.";

/// Arguments of `dicomfs ls`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LsArgs {
    /// Directory with DICOM files, a zip or tar file, or a mount
    #[arg(value_name = "ARCHIVE")]
    pub source: PathBuf,

    /// Which volumes.
    #[command(flatten)]
    pub filter: Filter,

    /// How to write the list
    #[arg(long, value_enum, default_value_t, help_heading = "List")]
    pub format: Format,

    /// Only these columns, in this order: those of index.csv, and patient_id, study_date, description
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = filter::column,
        help_heading = "List"
    )]
    pub columns: Vec<&'static str>,

    /// Show patient_id, study_date and description as well
    #[arg(long, conflicts_with = "columns", help_heading = "List")]
    pub patients: bool,

    /// Column to sort by
    #[arg(
        long,
        value_name = "NAME",
        value_parser = filter::column,
        default_value = "path",
        help_heading = "List"
    )]
    pub sort: &'static str,

    /// The last first
    #[arg(long, help_heading = "List")]
    pub reverse: bool,

    /// About the archive.
    #[command(flatten)]
    pub flags: ArchiveFlags,
}

/// All volumes, and a line about what else there is.
struct Listing {
    rows: Vec<Row>,
    source: String,
}

/// Writes the list.
///
/// # Errors
///
/// The archive cannot be read, or `out` takes no more.
pub fn run(config: &ArchiveConfig, args: &LsArgs, out: &mut dyn Write) -> Result<()> {
    let listing = match is_mount(&config.archive) {
        true => of_mount(&config.archive, args)?,
        false => of_archive(config)?,
    };
    let Listing { mut rows, source } = listing;
    let all = rows.len();
    rows.retain(|row| args.filter.takes(row));
    filter::sort(&mut rows, args.sort, args.reverse);
    if args.format != Format::Table {
        let columns = match (&args.columns[..], args.patients) {
            ([], false) => &COLUMNS[..INDEX_COLUMNS],
            ([], true) => &COLUMNS[..],
            (asked, _) => asked,
        };
        out.write_all(&show::records(&rows, args.format, columns)?)?;
        return Ok(());
    }
    let cells = Term::stdout()
        .size_checked()
        .map(|(_, cells)| usize::from(cells));
    let table = show::table(&rows, &args.columns, args.patients, cells);
    out.write_all(table.as_bytes())?;
    match args.filter.is_open() {
        true => writeln!(out, "{all} volumes{source}")?,
        false => writeln!(out, "{} of {all} volumes{source}", rows.len())?,
    }
    if all == 0 {
        writeln!(out, "There is no image in it: is it the right directory?")?;
    }
    Ok(())
}

/// True if this is the root of a mount of ours.
pub(super) fn is_mount(path: &Path) -> bool {
    path.join(".dicomfs/version").is_file()
}

fn of_archive(config: &ArchiveConfig) -> Result<Listing> {
    let opened = library::open(config, None)?;
    let library = opened.library.clone();
    let counts = opened.scan(config, &Bar::new(), &mut || {})?;
    let holdings = library.holdings();
    let cards = holdings.series.iter().flat_map(|series| &series.cards);
    Ok(Listing {
        rows: cards.map(Row::of).collect::<Result<_>>()?,
        source: summary(&holdings, &counts),
    })
}

fn summary(holdings: &Holdings, counts: &Counts) -> String {
    let findings = holdings.series.iter().map(|series| &*series.findings);
    let findings = findings.chain([&*holdings.findings]);
    format!(
        " from {} DICOM files; {} other files, {} findings about files in no volume",
        counts.dicom,
        counts.not_dicom,
        findings.map(|text| lines(text).count()).sum::<usize>(),
    )
}

/// A mount has an index of its own: no need to read headers through it.
fn of_mount(mount: &Path, args: &LsArgs) -> Result<Listing> {
    let persons = &COLUMNS[INDEX_COLUMNS..];
    let is_asked = args.patients
        || args.filter.asks_for_persons()
        || persons
            .iter()
            .any(|name| args.columns.contains(name) || args.sort == *name);
    if is_asked {
        let why = "the index of a mount does not say who a volume is of: list the archive itself, or look \
                   into patients/ of the mount";
        return Err(Mistake(why.into()).into());
    }
    let read = |name: &str| {
        let path = mount.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let rows = read("index.jsonl")?;
    let mut rows = lines(&rows).map(Row::parse).collect::<Result<Vec<Row>>>()?;
    let mut of_path: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for line in lines(&read(".dicomfs/findings.jsonl")?) {
        let line: FindingLine = serde_json::from_slice(line).context("a damaged finding")?;
        if let Some(path) = line.volume {
            of_path
                .entry(path)
                .or_default()
                .push((line.code, line.detail));
        }
    }
    for row in &mut rows {
        row.details = of_path.remove(&row.path).unwrap_or_default();
    }
    Ok(Listing {
        rows,
        source: " in this mount".into(),
    })
}
