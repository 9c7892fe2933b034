//! A slab: one variant of one volume, laid out as users read it, filled frame by frame.
//!
//! `unsafe` because frames are written and read through shared mappings, without a copy. What
//! makes it sound is the state of each frame, kept under one mutex:
//! - bytes of a frame are written only by the one thread that turned it from `Absent` to `Filling`;
//! - bytes of a frame are read only while it is `Present` and pinned;
//! - the memory of a frame is given back (it then reads as zeros) only by the one thread that
//!   turned it to `Dropping`, from `Absent`, or from `Present` while it is not pinned and no reader
//!   has the file open by passthrough;
//! - the header is written before the first frame is, once;
//! - another process that is lent the file ([`Slab::file`]) writes only frames that are `Filling`, and
//!   is done with them before their [`Filling`] is used again; else it is abandoned.
//!
//! The file is anonymous and private to this program, so nobody can truncate it under the mapping.
#![allow(unsafe_code)]

mod filling;
mod giving;

use std::any::Any;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak};

use super::backing;
use super::disk::SlabCopy;
use super::pages::{self, LARGE_PAGE_BYTES, Pages};
use super::recency::Recency;
use super::usage::{Charge, Usage};

pub use filling::Filling;

/// Slabs of up to this length are mostly read whole, bytes.
const READ_WHOLE_MAX_BYTES: u64 = 16 << 20;

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

impl Layout {
    /// Length of header and frames together; `None` for one that is impossible.
    fn len_bytes(&self) -> Option<usize> {
        if self.frame_len_bytes == 0 || self.frame_count >= u32::MAX as usize {
            return None;
        }
        let frames = self.frame_len_bytes.checked_mul(self.frame_count)?;
        // Room for rounding up to pages.
        let limit = usize::try_from(i64::MAX)
            .ok()?
            .checked_sub(LARGE_PAGE_BYTES as usize)?;
        let len = frames.checked_add(self.header.len())?;
        (1..limit).contains(&len).then_some(len)
    }
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
    last_use: u64,
}

struct State {
    frames: Vec<FrameState>,
    /// Those that are present.
    recency: Recency,
    present: usize,
    passthrough_handles: u32,
    /// In the list of slabs that have frames to give back.
    is_giver: bool,
}

/// One variant of one volume, in memory.
pub struct Slab {
    header: Vec<u8>,
    header_written: Once,
    frame_len_bytes: usize,
    /// All there is is one frame, which is best written by one call.
    is_written_at_once: bool,
    state: Mutex<State>,
    /// Where else the frames may be had.
    pub(super) copy: Option<SlabCopy>,
    usage: Arc<Usage>,
    me: Weak<Slab>,
    pages: Pages,
    registration: OnceLock<Registration>,
    /// After what it counts, so that nothing is given up before it is free.
    charge: Charge,
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

impl Slab {
    pub(super) fn new(
        store: &backing::Store,
        layout: Layout,
        large_pages: bool,
        usage: Arc<Usage>,
        copy: Option<SlabCopy>,
    ) -> io::Result<Arc<Slab>> {
        let impossible = || io::Error::new(io::ErrorKind::InvalidInput, "slab size overflows");
        let len_bytes = layout.len_bytes().ok_or_else(impossible)?;
        let pages = Pages::new(store, len_bytes, large_pages)?;
        let empty = FrameState {
            presence: Presence::Absent,
            pins: 0,
            last_use: 0,
        };
        let slab = Arc::new_cyclic(|me| Slab {
            header: layout.header,
            header_written: Once::new(),
            frame_len_bytes: layout.frame_len_bytes,
            is_written_at_once: layout.frame_count == 1 && (len_bytes as u64) < LARGE_PAGE_BYTES,
            state: Mutex::new(State {
                frames: vec![empty; layout.frame_count],
                recency: Recency::new(layout.frame_count),
                present: 0,
                passthrough_handles: 0,
                is_giver: false,
            }),
            copy,
            charge: Charge::new(usage.clone()),
            usage,
            me: me.clone(),
            pages,
            registration: OnceLock::new(),
        });
        if layout.frame_count == 0 {
            slab.write_header(false);
        }
        Ok(slab)
    }

    /// Length of the whole slab in bytes, header included.
    pub fn len_bytes(&self) -> u64 {
        self.pages.len_bytes()
    }

    /// Bytes of one frame.
    pub fn frame_len_bytes(&self) -> usize {
        self.frame_len_bytes
    }

    /// Memory that filling this frame may take, bytes.
    pub fn cost_bytes(&self, frame: usize) -> u64 {
        self.cost(&self.lock(), frame).0
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
        let header = self.header.len() as u64;
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
        (self.header.len() + frames.end * self.frame_len_bytes) as u64
    }

    /// The slab's file, to be lent to a process of ours that fills frames.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.pages.file().as_fd()
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            header: self.header.clone(),
            frame_len_bytes: self.frame_len_bytes,
            frame_count: self.frame_count(),
        }
    }

    /// Where some frames lie in the slab.
    pub fn range_of(&self, frames: Range<usize>) -> Range<u64> {
        let start = self.header.len() + frames.start * self.frame_len_bytes;
        start as u64..self.end_bytes_of(&frames)
    }

    /// Pins the frames and returns those of them that are not present. Every call is to be paired
    /// with [`Slab::unpin`] of the same frames.
    pub fn pin(&self, frames: Range<usize>) -> Vec<usize> {
        let now = self.usage.tick();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut missing = Vec::new();
        for index in frames {
            let frame = &mut state.frames[index];
            frame.pins += 1;
            frame.last_use = now;
            match frame.presence {
                Presence::Present => state.recency.touch(index),
                _ => missing.push(index),
            }
        }
        missing
    }

    /// Pins a frame without counting that as a use of it.
    pub(super) fn hold(&self, frame: usize) {
        self.lock().frames[frame].pins += 1;
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
        if range.end <= self.header.len() as u64 {
            return Some(use_bytes(
                &self.header[range.start as usize..range.end as usize],
            ));
        }
        let usable = |f: &FrameState| f.pins > 0 && f.presence == Presence::Present;
        let frames = self.frames_of(&range);
        if !self.lock().frames[frames].iter().all(usable) {
            return None;
        }
        // SAFETY: the frames of the range are present and pinned. The caller holds the pins until
        // this returns, so nothing writes or drops them meanwhile; and with a frame present the
        // header has been written.
        unsafe { self.pages.bytes(&range) }.map(use_bytes)
    }

    /// True when the frame may be had from [`Filling::restore`] instead of its source.
    pub fn has_copy(&self) -> bool {
        self.copy.as_ref().is_some_and(SlabCopy::exists)
    }

    /// Has a frame that was made from its source within `ns` kept in the tier below, sometime.
    pub fn keep_copy(&self, ns: u64) {
        if let Some(copy) = &self.copy
            && copy.made(ns)
        {
            copy.queue(self.me.clone());
        }
    }

    /// Has a slab that a restored frame has completed kept in the tier below, if it is not there any more.
    pub fn complete_copy(&self) {
        if let Some(copy) = &self.copy
            && copy.completed()
        {
            copy.queue(self.me.clone());
        }
    }

    /// Asks to fill a frame.
    pub fn claim(&self, frame: usize) -> Claim<'_> {
        let mut state = self.lock();
        match state.frames[frame].presence {
            Presence::Present => Claim::Present,
            Presence::Filling => Claim::Taken,
            Presence::Dropping => Claim::Dropping,
            Presence::Absent => {
                let (cost_bytes, large) = self.cost(&state, frame);
                state.frames[frame].presence = Presence::Filling;
                drop(state);
                // Counted from the claim on, so that frames under decode are in the budget too.
                self.usage.add(cost_bytes);
                self.write_header(large && self.starts_in_first_large_page(frame));
                Claim::Mine(Filling {
                    slab: self,
                    frame,
                    large,
                    has_memory: false,
                    cost_bytes,
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

    /// The absent frames in `range`, ascending.
    pub fn absent(&self, range: Range<usize>) -> Vec<usize> {
        let state = self.lock();
        let end = range.end.min(state.frames.len());
        let absent = |i: &usize| state.frames[*i].presence == Presence::Absent;
        (range.start..end).filter(absent).collect()
    }

    /// The first frame from `from` on that is present and that `wanted` holds for.
    pub(super) fn first_present(
        &self,
        from: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let state = self.lock();
        let present = |i: &usize| state.frames[*i].presence == Presence::Present;
        (from..state.frames.len())
            .filter(present)
            .find(|i| wanted(*i))
    }

    /// If the slab is complete, counts one more passthrough handle: from then on no frame is
    /// dropped until [`Slab::passthrough_end`]. False when it is not complete, or when slabs that
    /// are held like this would leave too little of the budget for all others.
    pub fn passthrough_begin(&self) -> bool {
        let mut state = self.lock();
        let complete = state.present == state.frames.len();
        let more = || self.usage.try_add_passthrough(self.len_bytes());
        let granted = complete && (state.passthrough_handles > 0 || more());
        state.passthrough_handles += u32::from(granted);
        granted
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
        let made = register(self.pages.file().as_fd())?;
        // Of two that race the first one in is kept: all handles have to use the same.
        Ok(self.registration.get_or_init(|| made).clone())
    }

    /// One passthrough handle less.
    pub fn passthrough_end(&self) {
        let mut state = self.lock();
        state.passthrough_handles -= 1;
        if state.passthrough_handles == 0 {
            self.usage.sub_passthrough(self.len_bytes());
            self.become_giver(state);
        }
    }

    /// What filling a frame may take, and whether it is to be written in large pages: a frame
    /// alone is not, since that takes the memory of its neighbours, who may never come. Those of a
    /// small slab mostly do, and are given that as long as there is plenty.
    fn cost(&self, state: &State, frame: usize) -> (u64, bool) {
        let held = |i: usize| {
            let other = state.frames.get(i).map(|f| f.presence);
            matches!(other, Some(Presence::Present | Presence::Filling))
        };
        let follows = frame > 0 && held(frame - 1);
        let company = follows || held(frame + 1) || self.frame_len_bytes as u64 >= LARGE_PAGE_BYTES;
        let awaited = || self.len_bytes() <= READ_WHOLE_MAX_BYTES && self.usage.is_plenty();
        let large = self.pages.has_large() && (company || awaited());
        let mut range = self.range_of(frame..frame + 1);
        if large && !follows {
            range.start = pages::around(&range, self.len_bytes(), true).start;
        }
        (pages::cost_bytes(&range, self.len_bytes(), large), large)
    }

    /// Whether a frame begins in the large page that the header lies in.
    fn starts_in_first_large_page(&self, frame: usize) -> bool {
        self.range_of(frame..frame).start < LARGE_PAGE_BYTES
    }

    /// Writes the header, once. `large` where the first frame to be written takes the large page that
    /// the header lies in; in small pages otherwise: the rest is not the header's.
    fn write_header(&self, large: bool) {
        let range = 0..self.header.len() as u64;
        self.header_written.call_once(|| {
            // SAFETY: nobody reads the header from the pages before a frame is present, and no
            // frame is written before this returns.
            if let Some(out) = unsafe { self.pages.bytes_mut(&range, large) } {
                out.copy_from_slice(&self.header);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the states consistent, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
