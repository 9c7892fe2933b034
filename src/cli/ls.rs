//! `dicomfs ls SRC`: the volumes of an archive and their verdicts, without a mount.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::library::{self, Bar};
use crate::archive::Counts;
use crate::config::{ArchiveConfig, ArchiveFlags};
use crate::library::{Card, Holdings};

/// Arguments of `dicomfs ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Directory with DICOM files
    #[arg(value_name = "ARCHIVE")]
    pub source: PathBuf,

    /// About the archive.
    #[command(flatten)]
    pub flags: ArchiveFlags,
}

/// What is printed of a line of `index.jsonl`.
#[derive(Deserialize)]
struct Row<'a> {
    modality: String,
    shape: Vec<u64>,
    dtype: &'a str,
    spacing_mm: Option<[f64; 3]>,
    status: &'a str,
}

/// What is printed of a line of `findings.jsonl`.
#[derive(Deserialize)]
struct FindingLine {
    code: String,
    detail: String,
}

/// Writes the table.
///
/// # Errors
///
/// The archive cannot be read, or `out` takes no more.
pub fn run(config: &ArchiveConfig, out: &mut dyn Write) -> Result<()> {
    let opened = library::open(config, None)?;
    let library = opened.library.clone();
    let counts = opened.scan(config, &Bar::new(), &mut || {})?;
    writeln!(
        out,
        "{:<6} {:<4} {:<18} {:<4} {:<24} SERIES",
        "STATUS", "MOD", "SHAPE", "TYPE", "SPACING (mm)"
    )?;
    let holdings = library.holdings();
    for card in holdings.series.iter().flat_map(|series| &series.cards) {
        row(out, card)?;
    }
    summary(&holdings, &counts, out)
}

fn row(out: &mut dyn Write, card: &Card) -> Result<()> {
    let row: Row<'_> = serde_json::from_slice(&card.index_jsonl).context("a damaged card")?;
    let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
    let spacing = row.spacing_mm.map_or_else(
        || "-".to_string(),
        |spacing_mm| spacing_mm.map(|mm| format!("{mm:.3}")).join(" x "),
    );
    writeln!(
        out,
        "{:<6} {:<4} {:<18} {:<4} {spacing:<24} {}",
        row.status,
        row.modality,
        shape.join("x"),
        row.dtype,
        card.name,
    )?;
    if row.status == "ok" {
        return Ok(());
    }
    for line in lines(&card.findings) {
        let finding: FindingLine = serde_json::from_slice(line).context("a damaged card")?;
        writeln!(out, "         {}: {}", finding.code, finding.detail)?;
    }
    Ok(())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

fn summary(holdings: &Holdings, counts: &Counts, out: &mut dyn Write) -> Result<()> {
    let volumes = holdings.series.iter().map(|series| series.cards.len());
    let findings = holdings.series.iter().map(|series| &*series.findings);
    let findings = findings.chain([&*holdings.findings]);
    writeln!(
        out,
        "{} volumes from {} DICOM files; {} other files, {} findings about files in no volume",
        volumes.sum::<usize>(),
        counts.dicom,
        counts.not_dicom,
        findings.map(|text| lines(text).count()).sum::<usize>(),
    )?;
    Ok(())
}
