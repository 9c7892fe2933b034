//! The files in `.dicomfs`: what the program is, what it does, and what it found.
//!
//! Made anew at every open. Carries no patient data: volumes are named by UID; only `findings.jsonl`
//! names files of the archive, by paths that may name a patient, unless it is de-identified.

use super::{Fs, metrics};
use crate::format;
use crate::tree::{ControlFile, Tree};

/// `stats.json` and `metrics.prom` are padded to this, so that their sizes do not change from one
/// stat to the next.
const PADDED_LEN_BYTES: usize = 32 << 10;

impl Fs {
    pub(super) fn control_file(&self, tree: &Tree, file: ControlFile) -> Vec<u8> {
        match file {
            ControlFile::Version => format!("{}\n", env!("CARGO_PKG_VERSION")).into_bytes(),
            ControlFile::Config => self.config_json.clone(),
            ControlFile::Stats => self.stats_json(tree),
            ControlFile::Findings => self.findings(tree),
            // What fills it up is a comment.
            ControlFile::Metrics => padded(metrics::text(&self.stats(tree)), "#"),
        }
    }

    /// Length of a file as [`Fs::control_file`] would make it now.
    pub(super) fn control_file_len_bytes(&self, tree: &Tree, file: ControlFile) -> u64 {
        match file {
            // May be long, and is asked for by each stat.
            ControlFile::Findings => tree.findings_len_bytes() + self.failure_lines().len() as u64,
            short => self.control_file(tree, short).len() as u64,
        }
    }

    fn stats_json(&self, tree: &Tree) -> Vec<u8> {
        match serde_json::to_string_pretty(&self.stats(tree)) {
            Ok(text) => padded(text, ""),
            Err(why) => {
                tracing::error!("stats.json cannot be written: {why}");
                Vec::new()
            }
        }
    }

    fn findings(&self, tree: &Tree) -> Vec<u8> {
        [&**tree.findings(), &self.failure_lines()].concat()
    }

    /// What was found while frames were decoded.
    fn failure_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for failure in self.fetcher.failures() {
            let detail = format!("{}: {}", failure.frame, failure.what);
            match format::table::finding_line(&failure.volume, failure.code, &detail) {
                Ok(line) => lines.extend(line),
                Err(why) => tracing::warn!("a finding cannot be written: {why}"),
            }
        }
        lines
    }
}

/// A text with blanks behind it, and `lead` before these.
fn padded(mut text: String, lead: &str) -> Vec<u8> {
    text.push_str(lead);
    let mut bytes = text.into_bytes();
    let len = PADDED_LEN_BYTES.max(bytes.len() + 1);
    bytes.resize(len - 1, b' ');
    bytes.push(b'\n');
    bytes
}
