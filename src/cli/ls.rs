//! `dicomfs ls SRC`: the volumes of an archive and their verdicts, without a mount.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::library::{self, Library};
use crate::config::{ArchiveConfig, ArchiveFlags};
use crate::volume::{Status, Variant, Volume};

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

/// Writes the table.
///
/// # Errors
///
/// The archive cannot be read, or `out` takes no more.
pub fn run(config: &ArchiveConfig, out: &mut dyn Write) -> Result<()> {
    let library = library::open(config)?;
    writeln!(
        out,
        "{:<6} {:<4} {:<18} {:<4} {:<24} SERIES",
        "STATUS", "MOD", "SHAPE", "TYPE", "SPACING (mm)"
    )?;
    for volume in &library.built.volumes {
        row(out, volume)?;
    }
    summary(&library, out)
}

fn row(out: &mut dyn Write, volume: &Volume) -> Result<()> {
    let shape: Vec<String> = volume.shape.iter().map(u64::to_string).collect();
    let spacing = volume.geometry.as_ref().map_or_else(
        || "-".to_string(),
        |g| g.spacing_mm.map(|mm| format!("{mm:.3}")).join(" x "),
    );
    let modality = volume
        .records
        .first()
        .map_or("", |record| &record.instance.modality);
    writeln!(
        out,
        "{:<6} {modality:<4} {:<18} {:<4} {spacing:<24} {}",
        status(volume.status),
        shape.join("x"),
        volume.dtype(Variant::Values).descr(),
        volume.name,
    )?;
    for finding in volume
        .findings
        .iter()
        .filter(|_| volume.status != Status::Ok)
    {
        writeln!(out, "         {}: {}", finding.code, finding.detail)?;
    }
    Ok(())
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Bad => "bad",
    }
}

fn summary(library: &Library, out: &mut dyn Write) -> Result<()> {
    let counts = &library.counts;
    writeln!(
        out,
        "{} volumes from {} DICOM files; {} other files, {} findings about files in no volume",
        library.built.volumes.len(),
        counts.dicom,
        counts.not_dicom,
        library.built.findings.len(),
    )?;
    Ok(())
}
