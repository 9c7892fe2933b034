//! The veil: what a library that de-identifies shows of its source files.
//!
//! Everything else is done where volumes are built ([`crate::volume::deidentify`]); this is about the
//! files under `dicom/`, whose headers are read to know how long they are as they are served.

use std::sync::{Arc, OnceLock};

use crate::archive::{self, FileFinding, Record, Source, SourceFile};
use crate::dicom::deid::{Rewritten, rewrite};
use crate::dicom::{self, Deid};
use crate::volume;

/// Files whose lengths are found out together: a listing asks for all, and a disk is faster when it is
/// asked for several.
const BATCH_FILES: usize = 64;

/// Threads that do so.
const BATCH_THREADS: usize = 8;

/// De-identifies what a library holds.
pub struct Veil {
    deid: Deid,
    source: Arc<Source>,
}

/// Why a file cannot be served de-identified.
#[derive(Debug, thiserror::Error)]
pub enum VeilError {
    /// The file cannot be opened, or is another one by now.
    #[error(transparent)]
    Source(#[from] archive::Error),
    /// Its header cannot be rewritten.
    #[error(transparent)]
    Header(#[from] dicom::Error),
}

impl Veil {
    pub(super) fn new(deid: Deid, source: Arc<Source>) -> Veil {
        Veil { deid, source }
    }

    /// What names and values are mapped by.
    pub fn deid(&self) -> &Deid {
        &self.deid
    }

    /// The file of a record as it is served, and the file that its pixels are read from.
    ///
    /// # Errors
    /// See [`VeilError`].
    pub fn open(&self, record: &Record) -> Result<(Rewritten, SourceFile), VeilError> {
        let file = self.source.open(record)?;
        let rewritten = rewrite(&file, record.identity.size_bytes, &self.deid)?;
        self.source.verify(&file, record)?;
        Ok((rewritten, file))
    }

    /// 0 for a file that cannot be served: opening it says why.
    fn len_bytes(&self, record: &Record) -> u64 {
        let opened = self.open(record);
        opened.map_or(0, |(rewritten, _)| rewritten.len_bytes())
    }

    /// A finding about a file that is in no volume, as it may be shown.
    pub(super) fn finding(&self, found: &FileFinding) -> FileFinding {
        FileFinding {
            path: volume::file_alias(&found.path, &self.deid),
            code: found.code.clone(),
            detail: volume::general_detail(&found.code).to_owned(),
        }
    }
}

/// Lengths of the files of one volume as they are served; found out when they are first asked for, some
/// at a time.
pub(super) struct Lengths {
    veil: Arc<Veil>,
    batches: Box<[OnceLock<Box<[u64]>>]>,
}

impl Lengths {
    pub(super) fn new(veil: Arc<Veil>, files: usize) -> Lengths {
        let batches = (0..files.div_ceil(BATCH_FILES)).map(|_| OnceLock::new());
        Lengths {
            veil,
            batches: batches.collect(),
        }
    }

    pub(super) fn of(&self, records: &[Arc<Record>], n: usize) -> u64 {
        let (batch, at) = (n / BATCH_FILES, n % BATCH_FILES);
        let Some(cell) = self.batches.get(batch) else {
            return 0;
        };
        let lengths = cell.get_or_init(|| {
            let records = records.iter().skip(batch * BATCH_FILES).take(BATCH_FILES);
            let records: Vec<_> = records.collect();
            self.lengths(&records)
        });
        lengths.get(at).copied().unwrap_or(0)
    }

    fn lengths(&self, records: &[&Arc<Record>]) -> Box<[u64]> {
        let share = records.len().div_ceil(BATCH_THREADS).max(1);
        let mut lengths = vec![0; records.len()];
        // Threads of their own: those of the scan may be busy for long, and somebody waits.
        std::thread::scope(|scope| {
            for (records, lengths) in records.chunks(share).zip(lengths.chunks_mut(share)) {
                let find_out = move || {
                    for (record, length) in records.iter().zip(lengths) {
                        *length = self.veil.len_bytes(record);
                    }
                };
                let thread = std::thread::Builder::new().name("header".into());
                if let Err(why) = thread.spawn_scoped(scope, find_out) {
                    tracing::warn!("no thread to read headers: {why}");
                }
            }
        });
        lengths.into()
    }
}
