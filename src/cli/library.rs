//! An archive opened: scanned, and its instances grouped into volumes.
//!
//! What `mount`, `ls` and the rest have in common.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::digest::DIGESTED_BYTES_MAX;
use crate::archive::scan::Options as ScanOptions;
use crate::archive::{self, Counts, Index, Source};
use crate::config::ArchiveConfig;
use crate::decode;
use crate::volume::{self, Built, Finding, finding};

/// An opened archive.
pub struct Library {
    /// The volumes, and the findings about files that are in none.
    pub built: Built,
    /// What the scan met.
    pub counts: Counts,
    /// Where source files are opened.
    pub source: Arc<Source>,
}

/// Scans the archive, showing progress on a terminal.
///
/// # Errors
/// When the archive cannot be read at all.
pub fn open(config: &ArchiveConfig) -> Result<Library> {
    let progress = Bar::new();
    // Without an index every mount reads all headers again: slower, never wrong.
    let index = match Index::open(&config.index) {
        Ok(index) => Some(index),
        Err(why) => {
            tracing::warn!("no index, all headers are read: {why}");
            None
        }
    };
    let catalog = archive::read_all(&config.archive, &ScanOptions::default(), index, &progress)
        .with_context(|| format!("cannot read the archive {}", config.archive.display()))?;
    progress.0.finish_and_clear();
    let source = Arc::new(Source::new(catalog.root));
    let mut built = volume::build(&catalog.records);
    if !built.undecided.is_empty() {
        let undecided = &built.undecided;
        let (digests, skipped) = archive::pixel_digests(&source, undecided, DIGESTED_BYTES_MAX);
        if skipped > 0 {
            tracing::warn!("{skipped} slices at repeated positions were not compared by pixels");
        }
        built = volume::build_with(&catalog.records, &digests);
    }
    decode::report_unsupported(&mut built.volumes);
    built
        .findings
        .extend(catalog.findings.into_iter().map(|found| {
            (
                found.path,
                Finding {
                    code: finding::known_code(&found.code),
                    detail: found.detail,
                },
            )
        }));
    Ok(Library {
        built,
        counts: catalog.counts,
        source,
    })
}

/// Progress of a scan, where somebody watches.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(
            "{spinner} reading headers: {human_pos} of {human_len} files, {per_sec}, {elapsed}",
        ) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }
}

impl archive::Progress for Bar {
    fn files_found(&self, total: u64) {
        self.0.set_length(total);
    }

    fn files_done(&self, total: u64) {
        self.0.set_position(total);
    }
}
