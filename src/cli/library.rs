//! An archive opened: its index, and the library of what the index remembers.
//!
//! What `mount`, `ls` and the rest have in common.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

use super::deid_key;
use crate::archive::{self, Counts, Index, Options, Shelf, Source, Touched};
use crate::config::ArchiveConfig;
use crate::library::Library;
use crate::mount;
use crate::tree;

/// An opened archive.
pub struct Opened {
    /// What is known of it: what the index remembers, until it is scanned.
    pub library: Arc<Library>,
    pub(super) index: Index,
    /// What the index holds.
    pub(super) shelf: Shelf,
}

/// Opens the archive and its index; `touched` is told of files that turn out to have changed.
///
/// # Errors
/// When the archive cannot be read at all, or there is no place for an index.
pub fn open(config: &ArchiveConfig, touched: Option<Arc<Touched>>) -> Result<Opened> {
    // A scan would say so too, but only when the mount is live.
    archive::check(&config.archive).map_err(unreadable)?;
    refuse_index_within(config)?;
    let (index, shelf) = open_index(config).context("there is no place for an index")?;
    let source = Arc::new(Source::doubting(&config.archive, shelf.clone(), touched));
    let library = Library::new(Box::new(shelf.clone()), source, tree::show);
    let library = match &config.deid {
        Some(deid) => library.with_deid(deid_key::read(&deid.key_file)?),
        None => library,
    };
    let library = Arc::new(library);
    if let Err(why) = library.recall() {
        tracing::warn!("nothing is known before the scan: {why}");
    }
    Ok(Opened {
        library,
        index,
        shelf,
    })
}

/// The error's own words, which have its cause and the path in them.
fn unreadable(error: archive::Error) -> anyhow::Error {
    anyhow!("cannot read the archive: {error}")
}

/// The archive is never written to, and what is written there would be followed as a change of it.
fn refuse_index_within(config: &ArchiveConfig) -> Result<()> {
    let archive = mount::resolve_missing(&config.archive);
    if mount::resolve_missing(&config.index).starts_with(&archive) {
        bail!(
            "the index {} lies in the archive, which is never written to; name another place with \
             --index FILE",
            config.index.display()
        );
    }
    Ok(())
}

fn open_index(config: &ArchiveConfig) -> Result<(Index, Shelf), archive::Error> {
    let bound = |index: Index| {
        let shelf = index.bind(&config.archive)?;
        Ok((index, shelf))
    };
    Index::open(&config.index).and_then(bound).or_else(|why| {
        // Without an index every mount reads all headers again: slower, never wrong.
        tracing::warn!("no index, all headers are read: {why}");
        Index::temporary().and_then(bound)
    })
}

impl Opened {
    /// Scans the archive, which brings the library up to date; `settled` is called whenever it has
    /// changed, and at the end.
    ///
    /// # Errors
    /// When the archive cannot be read at all.
    pub fn scan(
        self,
        config: &ArchiveConfig,
        bar: &Bar,
        settled: &mut dyn FnMut(),
    ) -> Result<Counts> {
        let Opened { library, index, .. } = self;
        let options = Options::default();
        let counts = library.scan(&config.archive, &options, index, bar, settled);
        bar.0.finish_and_clear();
        counts.map_err(unreadable)
    }
}

/// Progress of a scan, where somebody watches.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar on standard error, if that is a terminal.
    pub fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(
            "{spinner} reading headers: {human_pos} of {human_len} files, {rate}, {elapsed}",
        ) {
            // The bar's own has four decimals.
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
            };
            bar.set_style(style.with_key("rate", rate));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }

    /// The scan has ended.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }

    /// Ends the bar before the scan has ended, with a line in its place.
    pub fn leave(&self, line: &str) {
        self.0.finish_and_clear();
        eprintln!("{line}");
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
