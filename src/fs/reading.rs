//! How one open file is being read: what is asked for, what the kernel only guesses, and what is
//! worth making ahead.
//!
//! A fault of mmap has the kernel ask for a window of up to 1 MiB *around* the page, and a read for
//! one beyond its end. Such a guess may reach into frames that nobody wants, and the reader would
//! wait for all of them. But a guess that fails costs its reader nothing: the kernel then asks for
//! the one page that is needed (measured on Linux 6.18: a page at a time, in order). So guesses
//! about frames that are not there are declined, unless the reader goes through the whole file. What
//! that page's reader will want next is then pushed into the page cache, so that it does not go on
//! page by page.
//!
//! Pure bookkeeping: touches no frames and no kernel.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::fetch::Interest;

/// Pages are what the kernel asks for when it needs them; a larger request may be a guess.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Frames that a reader is believed to want once it climbs from frame to frame: patches for training
/// are multiples of 16 deep, since networks halve them several times. Nothing beyond the multiple is
/// made before it is asked for.
const CLIMB_FRAMES: usize = 16;

/// First push after a page: 64 rows of 512 16-bit pixels.
const PUSH_BYTES_MIN: u64 = 64 << 10;

/// What a push may grow by to reach the end of a guess that was declined, as a share of it: pages left out there
/// are asked for one by one.
const PUSH_STRETCH: u64 = 4;

/// By how much pushes grow as long as the reader goes on: a slice of 512 KiB takes three.
const PUSH_GROWTH: u64 = 4;

/// A reader that goes through the file stays one while it is at most so many windows from where it
/// was: requests of one reader arrive from several threads and may be swapped.
const WINDOWS_NEAR: u64 = 4;

/// Where in a request the byte is that its reader needs, as far as that can be told: mmap has half a
/// window read on each side, less what the page cache has already.
pub(super) fn needed_byte(range: &Range<u64>, window_bytes: u64) -> u64 {
    range.end.saturating_sub(window_bytes / 2).max(range.start)
}

/// A request for bytes of a slab.
pub(super) struct Ask {
    pub(super) range: Range<u64>,
    pub(super) frames: Range<usize>,
    /// The frame of [`needed_byte`].
    pub(super) frame: usize,
    /// Where the last of the frames ends in the slab.
    pub(super) frame_end_bytes: u64,
    /// The kernel may only be guessing, and frames would have to be made for it.
    pub(super) is_guess: bool,
    /// It lies in what was declined before.
    pub(super) was_declined: bool,
    /// How far the kernel reads ahead.
    pub(super) window_bytes: u64,
    /// Frames that are made at a time.
    pub(super) workers: usize,
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Let it fail: whoever needs a page of it asks again.
    Decline,
    /// Answer it.
    Serve {
        /// Frames after it that are worth making now.
        ahead_frames: usize,
        /// Bytes after it that are worth putting into the page cache.
        push_bytes: u64,
    },
}

/// What one open file has been asked for so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    seen: Mutex<Seen>,
    /// Frames are made ahead as long as the file is open.
    pub(super) interest: Interest,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last guess that was declined.
    guess: Range<u64>,
    /// Where the reader goes on if it goes on: the end of what it was given, pushed bytes included.
    next_bytes: u64,
    /// Where what is pushed up to `next_bytes` starts: the reader may be faster than the push.
    pushed_from_bytes: u64,
    push_bytes: u64,
    /// Requests in a row that went on where the one before ended.
    contiguous: u32,
    /// The last frame asked for, and the first of those that were climbed up to it.
    frame: Option<usize>,
    climb_start: usize,
    /// The reader goes through the file.
    is_through: bool,
}

impl Reading {
    /// Notes a request and says what to do about it.
    pub(super) fn observe(&self, ask: &Ask) -> Course {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if ask.frames.is_empty() {
            return Course::Serve {
                ahead_frames: 0,
                push_bytes: 0,
            };
        }
        let near_bytes = WINDOWS_NEAR * ask.window_bytes;
        seen.is_through &= ask.range.start.abs_diff(seen.next_bytes) <= near_bytes;
        if ask.is_guess && !seen.is_through {
            seen.guess = ask.range.clone();
            return Course::Decline;
        }
        seen.advance(ask);
        Course::Serve {
            ahead_frames: seen.ahead_frames(ask),
            push_bytes: seen.push(ask),
        }
    }
}

impl Seen {
    fn advance(&mut self, ask: &Ask) {
        let before = self.frame.replace(ask.frame);
        let climbs = before.is_some_and(|before| (before..=before + 1).contains(&ask.frame));
        if !climbs && !self.is_through {
            self.climb_start = ask.frame;
        }
        if ask.range.start == self.next_bytes {
            self.contiguous = self.contiguous.saturating_add(1);
        } else if !self.is_pushed(ask.range.start) {
            self.contiguous = 0;
        }
        // On into another frame. Once might be the first row of the next slice of a patch, after a
        // push that nobody looked at.
        let goes_on = before.is_some_and(|before| before != ask.frame) && self.contiguous >= 2;
        self.is_through |= goes_on || self.starts_read(ask);
    }

    fn is_pushed(&self, at: u64) -> bool {
        (self.pushed_from_bytes..self.next_bytes).contains(&at)
    }

    /// True for a read of much more than a window from the start of the file: its guess is a full
    /// window from the needed page on, while one of mmap lies around the page.
    fn starts_read(&self, ask: &Ask) -> bool {
        let full = self.guess.end - self.guess.start == ask.window_bytes;
        let at_head = ask.range.start == self.guess.start && ask.range.end < self.guess.end;
        full && at_head && ask.range.start < ask.window_bytes / 2
    }

    fn ahead_frames(&self, ask: &Ask) -> usize {
        if self.is_through {
            return usize::MAX;
        }
        let climbed = ask.frame.saturating_sub(self.climb_start);
        let believed = self.climb_start + (climbed + 1).next_multiple_of(CLIMB_FRAMES);
        let left = believed.saturating_sub(ask.frames.end);
        left.min(2 * climbed).min(ask.workers)
    }

    /// How much to push after the page asked for, within its frame.
    fn push(&mut self, ask: &Ask) -> u64 {
        let end = ask.range.end;
        let is_page = end - ask.range.start <= PAGE_BYTES;
        if !is_page || !ask.was_declined {
            // Of a window no more is known to be read than a page.
            self.next_bytes = match self.is_through {
                true => end,
                false => needed_byte(&ask.range, ask.window_bytes) + PAGE_BYTES,
            };
            self.pushed_from_bytes = self.next_bytes;
            return 0;
        }
        if self.is_pushed(ask.range.start) && !self.is_through {
            return 0;
        }
        let left = ask.frame_end_bytes.saturating_sub(end);
        self.push_bytes = match self.contiguous {
            // Not all of the frame: whether the reader wants that is to be seen.
            0 => PUSH_BYTES_MIN.min(left / 2),
            _ => (self.push_bytes.saturating_mul(PUSH_GROWTH)).max(PUSH_BYTES_MIN),
        };
        let mut pushed = match self.is_through {
            true => left,
            false => left.min(self.push_bytes),
        };
        if self.guess.contains(&(end + pushed)) {
            let short_bytes = self.guess.end.min(ask.frame_end_bytes) - (end + pushed);
            if short_bytes <= pushed / PUSH_STRETCH {
                pushed += short_bytes;
            }
        }
        let pushed = pushed / PAGE_BYTES * PAGE_BYTES;
        self.pushed_from_bytes = end;
        self.next_bytes = end + pushed;
        pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: u64 = 4096;
    const FRAME: u64 = 512 << 10;
    const SMALL_FRAME: u64 = 32 << 10;
    const WINDOW: u64 = 1 << 20;

    /// A kernel in front of a reader: a page cache, guesses, and frames that are there once asked
    /// for.
    struct Kernel {
        frame: u64,
        reading: Reading,
        cached: std::collections::HashSet<u64>,
        /// In the page cache, not up to date.
        failed: std::collections::HashSet<u64>,
        made: std::collections::BTreeSet<usize>,
        swept: bool,
        requests: usize,
    }

    impl Kernel {
        fn new(frame: u64) -> Kernel {
            Kernel {
                frame,
                reading: Reading::default(),
                cached: [].into(),
                failed: [].into(),
                made: [].into(),
                swept: false,
                requests: 0,
            }
        }

        fn slice(&self, z: u64) -> Range<u64> {
            HEADER + z * self.frame..HEADER + (z + 1) * self.frame
        }

        fn request(&mut self, pages: Range<u64>) -> bool {
            self.requests += 1;
            let range = pages.start * PAGE_BYTES..pages.end * PAGE_BYTES;
            let first = range.start.saturating_sub(HEADER) / self.frame;
            let last = (range.end - 1 - HEADER.min(range.end - 1)) / self.frame;
            let frames = match range.end <= HEADER {
                true => 0..0,
                false => first as usize..last as usize + 1,
            };
            let is_page = pages.end - pages.start == 1;
            let needed = needed_byte(&range, WINDOW).saturating_sub(HEADER) / self.frame;
            let course = self.reading.observe(&Ask {
                is_guess: !is_page && !frames.clone().all(|f| self.made.contains(&f) || self.swept),
                was_declined: self.failed.contains(&pages.start),
                frame_end_bytes: HEADER + frames.end as u64 * self.frame,
                window_bytes: WINDOW,
                workers: 4,
                frames: frames.clone(),
                frame: needed as usize,
                range: range.clone(),
            });
            match course {
                Course::Decline => {
                    self.failed.extend(pages);
                    false
                }
                Course::Serve {
                    ahead_frames,
                    push_bytes,
                } => {
                    self.cached.extend(pages.clone());
                    self.cached
                        .extend(pages.end..pages.end + push_bytes / PAGE_BYTES);
                    self.made.extend(frames.clone());
                    self.swept |= ahead_frames == usize::MAX;
                    if !self.swept {
                        self.made.extend(frames.end..frames.end + ahead_frames);
                    }
                    true
                }
            }
        }

        fn absent(&self, mut pages: Range<u64>) -> Range<u64> {
            let there = |page: &u64| self.cached.contains(page) || self.failed.contains(page);
            while pages.start < pages.end && there(&pages.start) {
                pages.start += 1;
            }
            let end = (pages.start..pages.end).find(there);
            pages.start..end.unwrap_or(pages.end)
        }

        /// A page that is needed; `guess` is what the kernel would read at once for it.
        fn need(&mut self, page: u64, guess: Range<u64>) {
            if self.cached.contains(&page) {
                return;
            }
            if !self.failed.contains(&page) && self.request(self.absent(guess)) {
                return;
            }
            assert!(
                self.request(page..page + 1),
                "a needed page is never declined"
            );
        }

        fn touch(&mut self, bytes: Range<u64>) {
            let around = WINDOW / PAGE_BYTES;
            for page in bytes.start / PAGE_BYTES..bytes.end.div_ceil(PAGE_BYTES) {
                let start = page.saturating_sub(around / 2);
                let fresh = self.absent(page..page + 1).start == page;
                let guess = match fresh {
                    true => page.max(start)..start + around,
                    false => page..page + 1,
                };
                self.need(page, guess);
            }
        }

        fn read(&mut self, bytes: Range<u64>) {
            let end = bytes.end.div_ceil(PAGE_BYTES);
            for page in bytes.start / PAGE_BYTES..end {
                self.need(page, page..end.min(page + WINDOW / PAGE_BYTES));
            }
        }
    }

    #[test]
    fn a_header_needs_no_frame() {
        let mut kernel = Kernel::new(FRAME);
        kernel.need(0, 0..4);
        assert!(kernel.made.is_empty() && kernel.cached.contains(&0));
    }

    #[test]
    fn one_slice_needs_one_frame_and_few_requests() {
        for by_mmap in [true, false] {
            let mut kernel = Kernel::new(FRAME);
            kernel.need(0, 0..4);
            match by_mmap {
                true => kernel.touch(kernel.slice(7)),
                false => kernel.read(kernel.slice(7)),
            }
            assert_eq!(kernel.made.iter().collect::<Vec<_>>(), [&7], "{by_mmap}");
            assert!(kernel.requests < 10, "{}", kernel.requests);
        }
    }

    #[test]
    fn what_was_declined_close_by_is_pushed_as_well() {
        // Linux 6.18 before np.load reads on after the header: pages ahead, and then the one it needs.
        let mut kernel = Kernel::new(FRAME);
        kernel.need(0, 0..4);
        assert!(!kernel.request(4..20));
        kernel.need(1, 1..2);
        assert!((1..20).all(|page| kernel.cached.contains(&page)));
        assert!(!kernel.cached.contains(&20));
    }

    #[test]
    fn a_patch_needs_its_frames_and_no_others() {
        for (frame, z, depth, from, len) in [
            (FRAME, 100, 64, 200 << 10, 64 << 10),
            (FRAME, 100, 64, 0, 64 << 10),
            (FRAME, 0, 64, 3 << 10, 64 << 10),
            (FRAME, 100, 32, 448 << 10, 64 << 10),
            (FRAME, 100, 16, 100 << 10, 96 << 10),
            (SMALL_FRAME, 0, 64, 0, 8 << 10),
            (SMALL_FRAME, 10, 32, 12 << 10, 8 << 10),
            (SMALL_FRAME, 48, 32, 24 << 10, 8 << 10),
        ] {
            let mut kernel = Kernel::new(frame);
            kernel.need(0, 0..4);
            for z in z..z + depth {
                let start = kernel.slice(z).start + from;
                kernel.touch(start..start + len);
            }
            let made: Vec<u64> = kernel.made.iter().map(|&frame| frame as u64).collect();
            assert_eq!(made, (z..z + depth).collect::<Vec<_>>(), "{frame} {from}");
        }
    }

    #[test]
    fn who_goes_through_is_swept_for() {
        for frame in [FRAME, SMALL_FRAME, 8192, 4096, 1000] {
            let mut load = Kernel::new(frame);
            load.need(0, 0..4);
            load.read(HEADER..load.slice(9).end.max(HEADER + 6 * WINDOW));
            assert!(load.swept, "{frame}");
            let mut scan = Kernel::new(frame);
            scan.need(0, 0..4);
            scan.touch(HEADER..scan.slice(9).end.max(HEADER + 6 * WINDOW));
            assert!(scan.swept, "{frame}");
            // A page at a time only until that is known, and in windows that were declined.
            let pages = scan.slice(9).end.max(HEADER + 6 * WINDOW) / PAGE_BYTES;
            assert!(load.requests < 40.max(pages as usize / 4), "{frame}");
            assert!(scan.requests < 60.max(pages as usize / 4), "{frame}");
        }
        let mut later = Kernel::new(FRAME);
        later.touch(later.slice(20).start..later.slice(29).end);
        assert!(later.swept);
        // And no more once it jumps.
        later.swept = false;
        later.touch(later.slice(90));
        assert!(!later.swept && later.made.contains(&90) && !later.made.contains(&91));
    }

    #[test]
    fn random_pages_push_and_guess_nothing() {
        let mut kernel = Kernel::new(FRAME);
        for z in [5, 1, 9, 3, 7_u64] {
            let page = kernel.slice(z).start / PAGE_BYTES + 17;
            kernel.need(page, page..page + 1);
        }
        assert_eq!(kernel.made.len(), 5);
        assert_eq!(kernel.cached.len(), 5);
    }
}
