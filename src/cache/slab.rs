//! A slab: one variant of one volume, laid out as users read it, filled frame by frame.
//!
//! `unsafe` because frames are written and read through one shared mapping, without a copy. What
//! makes it sound is the state of each frame, kept under one mutex:
//! - bytes of a frame are written only by the one thread that turned it from `Absent` to `Filling`;
//! - bytes of a frame are read only while it is `Present` and pinned;
//! - a frame is dropped (its pages are given back and read as zeros) only while it is `Present`,
//!   not pinned, and no reader has the file open by passthrough.
//!
//! The file is anonymous and private to this process, so nobody can truncate it under the mapping.
#![allow(unsafe_code)]

use std::any::Any;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use super::{Usage, backing};

/// How a slab is laid out: `header`, then `frame_count` frames of `frame_len_bytes` each.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Bytes before the first frame.
    pub header: Vec<u8>,
    /// Bytes of one frame; at least 1.
    pub frame_len_bytes: usize,
    /// Number of frames.
    pub frame_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Absent,
    Filling,
    Present,
    Dropping,
}

#[derive(Debug, Clone, Copy)]
struct FrameState {
    presence: Presence,
    pins: u32,
    last_use: u32,
}

struct State {
    frames: Vec<FrameState>,
    present: usize,
    passthrough_handles: u32,
    clock: u32,
}

/// One variant of one volume, in memory.
pub struct Slab {
    file: File,
    map: MmapRaw,
    header_len_bytes: usize,
    frame_len_bytes: usize,
    state: Mutex<State>,
    users: AtomicI64,
    usage: Arc<Usage>,
    registration: OnceLock<Registration>,
}

/// What somebody keeps with a slab's file as long as the slab lives: here unknown.
pub type Registration = Arc<dyn Any + Send + Sync>;

/// The outcome of asking to fill a frame.
pub enum Claim<'a> {
    /// The frame is the caller's to fill.
    Mine(Filling<'a>),
    /// It is present already.
    Present,
    /// Another thread is filling it and will see to those who wait.
    Taken,
    /// Its old pages are being given back: ask again.
    Dropping,
}

/// The right to write one frame. Dropped without [`Filling::commit`], the frame is absent again.
pub struct Filling<'a> {
    slab: &'a Slab,
    frame: usize,
    committed: bool,
}

impl Slab {
    pub(super) fn new(
        store: &backing::Store,
        layout: Layout,
        usage: Arc<Usage>,
    ) -> io::Result<Slab> {
        let overflow = || io::Error::new(io::ErrorKind::InvalidInput, "slab size overflows");
        let len_bytes = layout
            .frame_len_bytes
            .checked_mul(layout.frame_count)
            .and_then(|frames| frames.checked_add(layout.header.len()))
            .filter(|&len| len > 0 && layout.frame_len_bytes > 0 && i64::try_from(len).is_ok())
            .ok_or_else(overflow)?;
        let file = store.file(len_bytes as u64)?;
        let map = MmapOptions::new().len(len_bytes).map_raw(&file)?;
        // SAFETY: the mapping is at least as long as the header and nobody else has it yet.
        unsafe {
            std::ptr::copy_nonoverlapping(
                layout.header.as_ptr(),
                map.as_mut_ptr(),
                layout.header.len(),
            );
        }
        let empty = FrameState {
            presence: Presence::Absent,
            pins: 0,
            last_use: 0,
        };
        Ok(Slab {
            file,
            map,
            header_len_bytes: layout.header.len(),
            frame_len_bytes: layout.frame_len_bytes,
            state: Mutex::new(State {
                frames: vec![empty; layout.frame_count],
                present: 0,
                passthrough_handles: 0,
                clock: 0,
            }),
            users: AtomicI64::new(0),
            usage,
            registration: OnceLock::new(),
        })
    }

    /// Length of the whole slab in bytes, header included.
    pub fn len_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Bytes of one frame.
    pub fn frame_len_bytes(&self) -> usize {
        self.frame_len_bytes
    }

    /// Number of frames.
    pub fn frame_count(&self) -> usize {
        self.lock().frames.len()
    }

    /// Number of frames present.
    pub fn present_frames(&self) -> usize {
        self.lock().present
    }

    /// True when the frame is present.
    pub fn is_present(&self, frame: usize) -> bool {
        let state = self.lock();
        let presence = state.frames.get(frame).map(|frame| frame.presence);
        presence == Some(Presence::Present)
    }

    /// True when the frame is neither present nor being made.
    pub fn is_absent(&self, frame: usize) -> bool {
        let state = self.lock();
        let presence = state.frames.get(frame).map(|frame| frame.presence);
        !matches!(presence, Some(Presence::Present | Presence::Filling))
    }

    /// True when every frame is present.
    pub fn is_complete(&self) -> bool {
        let state = self.lock();
        state.present == state.frames.len()
    }

    /// The frames that a byte range of the slab touches (none for the header alone).
    pub fn frames_of(&self, range: &Range<u64>) -> Range<usize> {
        let header = self.header_len_bytes as u64;
        let frame = self.frame_len_bytes as u64;
        if range.end <= header || range.is_empty() {
            return 0..0;
        }
        let first = range.start.saturating_sub(header) / frame;
        let last = (range.end - 1 - header) / frame;
        first as usize..last as usize + 1
    }

    /// Where the last of some frames ends in the slab, bytes; the header's end for none.
    pub fn end_bytes_of(&self, frames: &Range<usize>) -> u64 {
        (self.header_len_bytes + frames.end * self.frame_len_bytes) as u64
    }

    /// Pins the frames and returns those of them that are not present. Every call is to be paired
    /// with [`Slab::unpin`] of the same frames.
    pub fn pin(&self, frames: Range<usize>) -> Vec<usize> {
        let mut state = self.lock();
        state.clock = state.clock.wrapping_add(1);
        let now = state.clock;
        let mut missing = Vec::new();
        for index in frames {
            let frame = &mut state.frames[index];
            frame.pins += 1;
            frame.last_use = now;
            if frame.presence != Presence::Present {
                missing.push(index);
            }
        }
        missing
    }

    /// Ends the pins of [`Slab::pin`].
    pub fn unpin(&self, frames: Range<usize>) {
        let mut state = self.lock();
        for index in frames {
            state.frames[index].pins -= 1;
        }
    }

    /// Calls `use_bytes` with the bytes of a range whose frames the caller has pinned and found
    /// present; `None` when they are not.
    pub fn with_bytes<R>(
        &self,
        range: Range<u64>,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        if range.start > range.end || range.end > self.len_bytes() {
            return None;
        }
        let usable = |f: &FrameState| f.pins > 0 && f.presence == Presence::Present;
        if !self.lock().frames[self.frames_of(&range)]
            .iter()
            .all(usable)
        {
            return None;
        }
        // SAFETY: the range is inside the mapping, and its frames are present and pinned. The
        // caller holds the pins until this returns, so nothing writes or drops them meanwhile.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                self.map.as_ptr().add(range.start as usize),
                (range.end - range.start) as usize,
            )
        };
        Some(use_bytes(bytes))
    }

    /// Asks to fill a frame.
    pub fn claim(&self, frame: usize) -> Claim<'_> {
        let mut state = self.lock();
        let entry = &mut state.frames[frame];
        match entry.presence {
            Presence::Present => Claim::Present,
            Presence::Filling => Claim::Taken,
            Presence::Dropping => Claim::Dropping,
            Presence::Absent => {
                entry.presence = Presence::Filling;
                drop(state);
                // Counted from the claim on, so that frames under decode are in the budget too.
                self.usage.add(self.frame_len_bytes as u64);
                Claim::Mine(Filling {
                    slab: self,
                    frame,
                    committed: false,
                })
            }
        }
    }

    /// The first absent frame in `range`, if any.
    pub fn first_absent(&self, range: Range<usize>) -> Option<usize> {
        let state = self.lock();
        let end = range.end.min(state.frames.len());
        (range.start..end).find(|&i| state.frames[i].presence == Presence::Absent)
    }

    /// If the slab is complete, counts one more passthrough handle: from then on no frame is
    /// dropped until [`Slab::passthrough_end`]. False when it is not complete.
    pub fn passthrough_begin(&self) -> bool {
        let mut state = self.lock();
        let complete = state.present == state.frames.len();
        state.passthrough_handles += u32::from(complete);
        complete
    }

    /// What `register` made of the slab's file, the first time it did.
    ///
    /// # Errors
    /// Those of `register`; it is asked again the next time.
    pub fn registration(
        &self,
        register: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<Registration>,
    ) -> io::Result<Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration.clone());
        }
        let made = register(self.file.as_fd())?;
        // Of two that race the first one in is kept: all handles have to use the same.
        Ok(self.registration.get_or_init(|| made).clone())
    }

    /// One passthrough handle less.
    pub fn passthrough_end(&self) {
        self.lock().passthrough_handles -= 1;
    }

    /// Drops unpinned frames, least recently used first, until `wanted_bytes` are given back or
    /// nothing more can be. Returns how many frames were dropped.
    pub(super) fn drop_frames(&self, wanted_bytes: u64) -> usize {
        let wanted = wanted_bytes.div_ceil(self.frame_len_bytes as u64) as usize;
        let mut victims: Vec<usize> = {
            let mut state = self.lock();
            if state.passthrough_handles > 0 {
                return 0;
            }
            let idle = |f: &FrameState| f.presence == Presence::Present && f.pins == 0;
            let mut idle: Vec<usize> = (0..state.frames.len())
                .filter(|&i| idle(&state.frames[i]))
                .collect();
            idle.sort_by_key(|&i| state.frames[i].last_use);
            idle.truncate(wanted);
            for &i in &idle {
                state.frames[i].presence = Presence::Dropping;
            }
            state.present -= idle.len();
            idle
        };
        victims.sort_unstable();
        // Neighbours go in one call, so that a page they share is given back as well.
        for run in victims.chunk_by(|a, b| a + 1 == *b) {
            let start = self.header_len_bytes + run[0] * self.frame_len_bytes;
            let len = run.len() * self.frame_len_bytes;
            if let Err(why) = backing::punch_hole(&self.file, start as u64, len as u64) {
                tracing::warn!("cannot give cache memory back: {why}");
            }
            self.usage.sub(len as u64);
        }
        let mut state = self.lock();
        for &i in &victims {
            state.frames[i].presence = Presence::Absent;
        }
        victims.len()
    }

    pub(super) fn users(&self) -> i64 {
        self.users.load(Ordering::Acquire)
    }

    pub(super) fn users_add(&self, change: i64) {
        self.users.fetch_add(change, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the states consistent, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let present = self.lock().present;
        self.usage.sub((present * self.frame_len_bytes) as u64);
    }
}

impl Filling<'_> {
    /// The frame's bytes: undefined before they are written.
    pub fn bytes(&mut self) -> &mut [u8] {
        let slab = self.slab;
        let start = slab.header_len_bytes + self.frame * slab.frame_len_bytes;
        // SAFETY: the frame lies inside the mapping (its index was checked by `claim`), and while
        // it is `Filling` this guard is the only one that touches it; `&mut self` keeps it so.
        unsafe {
            std::slice::from_raw_parts_mut(slab.map.as_mut_ptr().add(start), slab.frame_len_bytes)
        }
    }

    /// Makes the frame present. True when that completed the slab.
    pub fn commit(mut self) -> bool {
        self.committed = true;
        let mut state = self.slab.lock();
        state.clock = state.clock.wrapping_add(1);
        let now = state.clock;
        state.frames[self.frame].presence = Presence::Present;
        state.frames[self.frame].last_use = now;
        state.present += 1;
        state.present == state.frames.len()
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.slab.lock().frames[self.frame].presence = Presence::Absent;
            self.slab.usage.sub(self.slab.frame_len_bytes as u64);
        }
    }
}
