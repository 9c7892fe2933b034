//! What `.dicomfs/stats.json` shows of devices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::decode::gpu::Refusal;

/// What a device has done so far.
#[derive(Debug, Default)]
pub(super) struct DeviceCounters {
    pub(super) batches: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) frame_bytes: AtomicU64,
    pub(super) batch_ns: AtomicU64,
    pub(super) compared: AtomicU64,
    pub(super) mismatches: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) faults: AtomicU64,
    refusals: Mutex<BTreeMap<String, u64>>,
}

impl DeviceCounters {
    pub(super) fn refused(&self, refusal: Refusal) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(refusal.to_string()).or_default() += 1;
    }

    pub(super) fn report(&self, name: String, state: String, retired: Vec<String>) -> DeviceStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        DeviceStats {
            name,
            state,
            batches: get(&self.batches),
            frames: get(&self.frames),
            decoded_bytes: get(&self.frame_bytes),
            batch_ms: get(&self.batch_ns) / 1_000_000,
            frames_compared: get(&self.compared),
            mismatches: get(&self.mismatches),
            frames_failed: get(&self.failed),
            faults: get(&self.faults),
            refusals: refusals.clone(),
            retired,
        }
    }
}

/// What a device has done so far, as `stats.json` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceStats {
    /// Its name.
    pub name: String,
    /// How it is, in words.
    pub state: String,
    /// Batches answered.
    pub batches: u64,
    /// Frames it made that are shown.
    pub frames: u64,
    /// Bytes of these.
    pub decoded_bytes: u64,
    /// Time its lanes spent on batches, ms, all lanes added up.
    pub batch_ms: u64,
    /// Frames that were made on both sides and compared.
    pub frames_compared: u64,
    /// Comparisons that were not equal.
    pub mismatches: u64,
    /// Frames that it or its library failed at.
    pub frames_failed: u64,
    /// Batches that came to nothing.
    pub faults: u64,
    /// Frames that were not for it, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Codecs it is not used for any more, since it got them wrong.
    pub retired: Vec<String>,
}
