//! Volumes of series as they were before a scan found others: the index has them no more.
//!
//! A generation of the tree goes on for a moment after that, until the next one takes its place and
//! nobody is on the way through it any more. What is shown of a series then has to be there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::loaded::{Volumes, weight_bytes};
use super::{Library, Series};

/// Volumes that the index has no more.
pub(super) struct Left {
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    series: HashMap<Box<str>, (Arc<Series>, Volumes)>,
    bytes: u64,
}

impl Left {
    pub(super) fn new(bytes_max: u64) -> Left {
        Left {
            bytes_max,
            state: Mutex::default(),
        }
    }

    pub(super) fn get(&self, series: &Arc<Series>) -> Option<Volumes> {
        let state = self.state();
        let (of, volumes) = state.series.get(&series.uid)?;
        Arc::ptr_eq(of, series).then(|| volumes.clone())
    }

    /// Is there room for more?
    fn is_full(&self) -> bool {
        let state = self.state();
        state.bytes >= self.bytes_max
    }

    fn put(&self, series: Arc<Series>, volumes: Volumes) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_add(weight_bytes(&volumes));
        state.series.insert(series.uid.clone(), (series, volumes));
    }

    fn has(&self, uid: &str) -> bool {
        self.state().series.contains_key(uid)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Library {
    /// Keeps the volumes of series whose records the index is about to have no more, within a budget.
    /// Beyond it they are refused until the next generation.
    pub(super) fn keep_left(&self, series: &[String]) {
        for uid in series {
            let shown = self.known().series.get(uid.as_str()).cloned();
            let Some(shown) = shown.filter(|_| !self.left.has(uid) && !self.left.is_full()) else {
                continue;
            };
            match self.volumes(&shown) {
                Ok(volumes) => self.left.put(shown, volumes),
                // It was not to be had before either.
                Err(why) => {
                    let series = self.shown_uid(uid);
                    tracing::debug!(series, "not kept to the last: {why}");
                }
            }
        }
    }

    /// Volumes that no longer are what is held of their series, with that series: what was kept of
    /// their bytes is of no use to those who come now.
    pub fn left(&self) -> Vec<(Arc<Series>, Volumes)> {
        let known = self.known();
        let is_left = |series: &Arc<Series>| {
            let now = known.series.get(&series.uid);
            now.is_none_or(|now| !Arc::ptr_eq(now, series))
        };
        let state = self.left.state();
        let left = state.series.values().filter(|(series, _)| is_left(series));
        left.cloned().collect()
    }

    /// Lets go of volumes that were kept for those who were on their way to them, but for those of
    /// series of which nothing new is held yet.
    pub fn forget_left(&self) {
        let gone: Vec<Box<str>> = self
            .left()
            .into_iter()
            .map(|(series, _)| series.uid.clone())
            .collect();
        let mut state = self.left.state();
        let mut dropped = Vec::new();
        for uid in gone {
            if let Some((series, volumes)) = state.series.remove(&uid) {
                state.bytes = state.bytes.saturating_sub(weight_bytes(&volumes));
                dropped.push((series, volumes));
            }
        }
        // Large ones take a while to be freed.
        drop(state);
        drop(dropped);
    }
}
