//! A frame that is being filled.
//!
//! `unsafe` because its bytes are written through the shared mapping: see [`super`] for what makes that
//! sound.
#![allow(unsafe_code)]

use std::cell::RefCell;

use super::{Presence, Slab};

thread_local! {
    /// A frame on its way into a slab that is written at once, less than a large page.
    static STAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The right to write one frame. Dropped without [`Filling::commit`], the frame is absent again.
pub struct Filling<'a> {
    pub(super) slab: &'a Slab,
    pub(super) frame: usize,
    pub(super) large: bool,
    /// Its pages were taken, of the size it is to be written in.
    pub(super) has_memory: bool,
    /// Counted for it until what it really takes is.
    pub(super) cost_bytes: u64,
    pub(super) committed: bool,
}

impl Filling<'_> {
    /// Has `make` write all of the frame, by the fastest way there is: where the slab lies, or from a
    /// buffer with one call.
    ///
    /// # Errors
    /// Those of `make`; then the frame's bytes are undefined as before.
    pub fn make<T, E>(&mut self, make: impl FnOnce(&mut [u8]) -> Result<T, E>) -> Result<T, E> {
        let slab = self.slab;
        if !slab.is_written_at_once {
            return make(self.bytes());
        }
        STAGE.with_borrow_mut(|stage| {
            stage.resize(slab.frame_len_bytes, 0);
            let made = make(stage)?;
            let range = slab.range_of(self.frame..self.frame + 1);
            // SAFETY: as of `bytes`.
            if let Err(why) = unsafe { slab.pages.write(stage, &range) } {
                tracing::debug!("a frame is not written by a call: {why}");
                self.bytes().copy_from_slice(stage);
            }
            Ok(made)
        })
    }

    /// The frame's bytes: undefined before they are written.
    pub fn bytes(&mut self) -> &mut [u8] {
        let range = self.slab.range_of(self.frame..self.frame + 1);
        if !self.large && !self.has_memory {
            self.slab.pages.take_small(&range);
            self.has_memory = true;
        }
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
        let Some(copy) = &slab.copy else { return false };
        let read = |out: &mut [u8]| copy.read(frame, out).then_some(()).ok_or(());
        self.make(read).is_ok()
    }

    /// Takes the frame's memory now, for another process that fills it through [`Slab::file`].
    pub fn take_memory(&mut self) {
        let range = self.slab.range_of(self.frame..self.frame + 1);
        // SAFETY: as of `bytes`.
        unsafe { self.slab.pages.take(&range, self.large) };
        self.has_memory = true;
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
