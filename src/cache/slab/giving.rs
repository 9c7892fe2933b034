//! What a slab gives back: frames that nobody reads, those not used for longest first.
//!
//! No lock is held while the system takes the memory: the frames concerned are `Dropping` meanwhile.

use std::ops::Range;
use std::sync::MutexGuard;

use super::{Presence, Slab, State};
use crate::cache::pages;

/// Most that is given back at once beyond what is needed now, bytes: neighbours in one call.
const DROPPED_AHEAD_BYTES_MAX: u64 = 4 << 20;

/// The same as a share of the budget.
const DROPPED_AHEAD_OF_BUDGET: u64 = 64;

impl Slab {
    /// Drops unpinned frames, least recently used first, until `wanted_bytes` are given back or
    /// nothing more can be. Returns how many frames were dropped.
    pub(in crate::cache) fn drop_frames(&self, wanted_bytes: u64) -> usize {
        let frame = self.frame_len_bytes as u64;
        let ahead =
            (self.usage.budget_bytes() / DROPPED_AHEAD_OF_BUDGET).min(DROPPED_AHEAD_BYTES_MAX);
        let count = (wanted_bytes.div_ceil(frame) + ahead / frame).max(1);
        let mut guard = self.lock();
        if guard.passthrough_handles > 0 {
            return 0;
        }
        let state = &mut *guard;
        let idle = state.recency.oldest_first();
        let idle = idle.filter(|&i| state.frames[i].pins == 0);
        let mut victims: Vec<usize> = idle
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .collect();
        for &i in &victims {
            state.recency.remove(i);
            state.frames[i].presence = Presence::Dropping;
        }
        state.present -= victims.len();
        victims.sort_unstable();
        self.give_back(guard, &victims);
        victims.len()
    }

    /// Gives the memory of frames back that are `Dropping`, in ascending order, and of absent ones
    /// beside them that lie in the same pages; then all of them are absent.
    pub(super) fn give_back(&self, mut state: MutexGuard<'_, State>, victims: &[usize]) {
        let mut runs = Vec::new();
        // Neighbours go in one call, so that a page they share is given back as well.
        for run in victims.chunk_by(|a, b| a + 1 == *b) {
            let run = self.with_absent_neighbours(&state, run[0]..run[run.len() - 1] + 1);
            for i in run.clone() {
                state.frames[i].presence = Presence::Dropping;
            }
            runs.push(run);
        }
        drop(state);
        for run in &runs {
            if let Err(why) = self.pages.punch(&self.range_of(run.clone())) {
                tracing::warn!("cannot give cache memory back: {why}");
            }
        }
        self.account();
        let mut state = self.lock();
        for i in runs.into_iter().flatten() {
            state.frames[i].presence = Presence::Absent;
        }
    }

    fn with_absent_neighbours(&self, state: &State, run: Range<usize>) -> Range<usize> {
        let unit = pages::around(
            &self.range_of(run.clone()),
            self.len_bytes(),
            self.pages.has_large(),
        );
        let near = self.frames_of(&unit);
        let absent = |i: &usize| state.frames[*i].presence == Presence::Absent;
        let before = (near.start..run.start).rev().take_while(absent).count();
        let after = (run.end..near.end).take_while(absent).count();
        run.start - before..run.end + after
    }

    /// Counts what the slab really takes.
    pub(in crate::cache) fn account(&self) {
        self.charge.set(|| self.pages.allocated_bytes());
    }

    /// When the frame that was not used for longest was used; `None` when none can be dropped.
    pub(in crate::cache) fn oldest_use(&self) -> Option<u64> {
        let state = self.lock();
        let oldest = state.recency.oldest_first().next()?;
        (state.passthrough_handles == 0).then(|| state.frames[oldest].last_use)
    }

    /// True when the slab may have frames to give back; else it is to leave their list, and will
    /// be back in it by itself.
    pub(in crate::cache) fn stays_giver(&self) -> bool {
        let mut state = self.lock();
        state.is_giver = state.present > 0 && state.passthrough_handles == 0;
        state.is_giver
    }

    pub(super) fn become_giver(&self, mut state: MutexGuard<'_, State>) {
        let entered = !std::mem::replace(&mut state.is_giver, true);
        drop(state);
        if entered {
            self.usage.add_giver(self.me.clone());
        }
    }
}
