//! A frame that is being filled.
//!
//! `unsafe` because its bytes are written through the shared mapping: see [`super`] for what makes that
//! sound.
#![allow(unsafe_code)]

use super::{Presence, Slab};

/// The right to write one frame. Dropped without [`Filling::commit`], the frame is absent again.
pub struct Filling<'a> {
    pub(super) slab: &'a Slab,
    pub(super) frame: usize,
    pub(super) large: bool,
    /// Counted for it until what it really takes is.
    pub(super) cost_bytes: u64,
    pub(super) committed: bool,
}

impl Filling<'_> {
    /// The frame's bytes: undefined before they are written.
    pub fn bytes(&mut self) -> &mut [u8] {
        let range = self.slab.range_of(self.frame..self.frame + 1);
        // SAFETY: while the frame is `Filling` this guard is the only one that touches it, and
        // `&mut self` keeps it so.
        let bytes = unsafe { self.slab.pages.bytes_mut(&range, self.large) };
        // Its number was checked by `claim`, so it lies within.
        bytes.unwrap_or_default()
    }

    /// Fills the frame from the tier below. False when it cannot be had from there; then its bytes
    /// are undefined as before.
    pub fn restore(&mut self) -> bool {
        let (slab, frame) = (self.slab, self.frame);
        let copy = slab.copy.as_ref();
        copy.is_some_and(|copy| copy.read(frame, self.bytes()))
    }

    /// Takes the frame's memory now, for another process that fills it through [`Slab::file`].
    pub fn take_memory(&mut self) {
        let range = self.slab.range_of(self.frame..self.frame + 1);
        // SAFETY: as of `bytes`.
        unsafe { self.slab.pages.take(&range, self.large) };
    }

    /// Leaves the frame for ever as it is: neither present nor to be filled, because somebody may
    /// still write to it. Its memory stays counted, also when the slab is gone, since it may be held.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Makes the frame present. True when that completed the slab.
    pub fn commit(mut self) -> bool {
        self.committed = true;
        let now = self.slab.usage.tick();
        let mut state = self.slab.lock();
        state.frames[self.frame].presence = Presence::Present;
        state.frames[self.frame].last_use = now;
        state.recency.push(self.frame);
        state.present += 1;
        let complete = state.present == state.frames.len();
        self.slab.become_giver(state);
        complete
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.committed {
            self.slab.account();
        } else {
            let mut state = self.slab.lock();
            state.frames[self.frame].presence = Presence::Dropping;
            self.slab.give_back(state, &[self.frame]);
        }
        self.slab.usage.sub(self.cost_bytes);
    }
}
