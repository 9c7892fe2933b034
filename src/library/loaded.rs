//! Volumes in memory: built once for all who wait, kept within a budget, those used last.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;

use super::veil::{Lengths, Veil};
use super::{Error, Series};
use crate::archive::Record;
use crate::decode;
use crate::format::json;
use crate::volume::{Frame, Volume};

/// Bytes of a record beside its own fields: strings and descriptive attributes, as measured on
/// archives of CT and MR.
const RECORD_HEAP_BYTES: usize = 3 << 10;

/// Bytes of what an enhanced multi-frame header says of one frame.
const FRAME_HEADER_BYTES: usize = 512;

/// A volume in memory, and what follows from it.
pub struct Loaded {
    /// The volume.
    pub volume: Arc<Volume>,
    /// Somebody here decodes at least one of its files; else it shows no arrays.
    pub is_decodable: bool,
    json_len_bytes: OnceLock<u64>,
    /// Where the source files are not served as they are.
    file_lengths: Option<Lengths>,
}

/// The volumes of a series, in the order of its cards.
pub type Volumes = Arc<[Loaded]>;

impl Loaded {
    fn new(volume: Volume, veil: Option<&Arc<Veil>>) -> Loaded {
        let served = |record: &Arc<Record>| {
            decode::decoder_for(&record.instance.transfer_syntax_uid).is_ok()
        };
        Loaded {
            is_decodable: volume.records.iter().any(served),
            file_lengths: veil.map(|veil| Lengths::new(veil.clone(), volume.records.len())),
            volume: Arc::new(volume),
            json_len_bytes: OnceLock::new(),
        }
    }

    /// Length of `volume.json`, the one text that grows with the frames; found out when first asked
    /// for. 0 where it cannot be written.
    pub fn json_len_bytes(&self) -> u64 {
        let count = || json::volume_json_len_bytes(&self.volume).unwrap_or(0);
        *self.json_len_bytes.get_or_init(count)
    }

    /// Length of a source file as it is served, by its place in the volume's records. Where that is not
    /// its length in the archive, its header is read when this is first asked for; 0 where that fails.
    pub fn file_len_bytes(&self, record: usize) -> u64 {
        let records = &self.volume.records;
        match &self.file_lengths {
            Some(lengths) => lengths.of(records, record),
            None => records.get(record).map_or(0, |r| r.identity.size_bytes),
        }
    }
}

pub(super) fn volumes(volumes: Vec<Volume>, veil: Option<&Arc<Veil>>) -> Volumes {
    let load = |volume| Loaded::new(volume, veil);
    volumes.into_iter().map(load).collect()
}

/// Memory that volumes take, bytes: an estimate.
pub(super) fn weight_bytes(volumes: &Volumes) -> u64 {
    let mut bytes = 0;
    for loaded in volumes.iter() {
        let volume = &loaded.volume;
        bytes += volume.frames.len() * size_of::<Frame>();
        for record in &volume.records {
            let frames = record.instance.per_frame.len();
            bytes += size_of::<Record>() + RECORD_HEAP_BYTES + frames * FRAME_HEADER_BYTES;
        }
    }
    bytes as u64
}

/// The volumes of the series used last.
pub(super) struct Kept {
    bytes_max: u64,
    state: Mutex<State>,
}

struct State {
    series: LruCache<Box<str>, Entry>,
    bytes: u64,
}

/// Filled by the first who asks; the others wait for that.
type Cell = Arc<OnceLock<Result<Volumes, Error>>>;

struct Entry {
    of: Arc<Series>,
    cell: Cell,
    /// 0 while it is being loaded.
    bytes: u64,
}

impl Kept {
    pub(super) fn new(bytes_max: u64) -> Kept {
        // The bytes are what is bounded.
        let series = LruCache::unbounded();
        Kept {
            bytes_max,
            state: Mutex::new(State { series, bytes: 0 }),
        }
    }

    /// The volumes of a series; `load` makes them where they are not there.
    pub(super) fn get(
        &self,
        series: &Arc<Series>,
        load: impl FnOnce() -> Result<Volumes, Error>,
    ) -> Result<Volumes, Error> {
        let cell = self.cell(series);
        let mut is_mine = false;
        // Who loads holds no lock but this cell's, and what loading does never asks for volumes.
        let result = cell.get_or_init(|| {
            is_mine = true;
            load()
        });
        if is_mine {
            self.account(series, &cell, result);
        }
        result.clone()
    }

    /// Takes in volumes that are there already.
    pub(super) fn put(&self, series: &Arc<Series>, volumes: Volumes) {
        // A cell just made cannot be filled already.
        let _ = self.cell(series).set(Ok(volumes));
    }

    fn cell(&self, series: &Arc<Series>) -> Cell {
        let mut state = self.state();
        if let Some(entry) = state.series.get(&series.uid)
            // Of another generation: not checked against these cards.
            && Arc::ptr_eq(&entry.of, series)
        {
            return entry.cell.clone();
        }
        let entry = Entry {
            of: series.clone(),
            cell: Cell::default(),
            bytes: 0,
        };
        let cell = entry.cell.clone();
        let replaced = state.series.put(series.uid.clone(), entry);
        state.bytes -= replaced.map_or(0, |entry| entry.bytes);
        cell
    }

    /// Weighs what was loaded and lets go of what is too much. A failure is not kept, but that these
    /// cards are wrong is: only others can be right.
    fn account(&self, series: &Arc<Series>, cell: &Cell, result: &Result<Volumes, Error>) {
        let mut dropped = Vec::new();
        let mut state = self.state();
        let Some(entry) = state.series.peek_mut(&series.uid) else {
            return;
        };
        if !Arc::ptr_eq(&entry.cell, cell) {
            return;
        }
        match result {
            Ok(volumes) => {
                entry.bytes = weight_bytes(volumes);
                state.bytes += entry.bytes;
            }
            Err(Error::Changed) => {}
            Err(_) => dropped.extend(state.series.pop_entry(&series.uid)),
        }
        while state.bytes > self.bytes_max && state.series.len() > 1 {
            let Some(last) = state.series.pop_lru() else {
                break;
            };
            state.bytes -= last.1.bytes;
            dropped.push(last);
        }
        // Large ones take a while to be freed.
        drop(state);
        drop(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Kept {
    pub(super) fn len(&self) -> usize {
        self.state().series.len()
    }
}
