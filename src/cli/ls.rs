//! `dicomfs ls`: the volumes of an archive and what is wrong with them, without a mount.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::config::{ArchiveConfig, ArchiveFlags};

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
pub fn run(_config: &ArchiveConfig, _out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::bail!("`dicomfs ls` is not available in this version")
}
