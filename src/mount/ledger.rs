//! The ledger of open handles in memory that outlives a worker: the supervisor makes it, each worker
//! maps it.
//!
//! Unsafe because memory that is shared with other processes, some of them dead, has no safe form.
//! It is touched through atomics only. An entry counts from the moment its last word is written, so
//! a process that dies in between leaves none.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::fs::ledger::{Entry, Ledger, OpenHandle, Place};

/// Entries at most: 2^20 handles of `volume.npy` open at once cost the kernel far more memory than
/// the 32 MiB here, of which only what was used once takes any.
const ENTRIES_MAX: u32 = 1 << 20;

/// 64-bit words of an entry: handle, inode, request, kind. The kind is written last; 0 is no entry.
const ENTRY_WORDS: usize = 4;
const HANDLE: usize = 0;
const INO: usize = 1;
const REQUEST: usize = 2;
const KIND: usize = 3;

/// Words before the entries: how many handle numbers were given out, how many entries were ever in
/// use at once.
const HEADER_WORDS: usize = 4;
const COUNTER: usize = 0;
const HIGH_WATER: usize = 1;

/// Behind the entries: a bit for each inode of which something was declined. Inodes may share one,
/// which costs speed; with 2^20 bits that takes thousands of inodes.
const DECLINED: usize = HEADER_WORDS + ENTRIES_MAX as usize * ENTRY_WORDS;
const DECLINED_WORDS: usize = 1 << 14;

const LEN_WORDS: usize = DECLINED + DECLINED_WORDS;
const LEN_BYTES: usize = LEN_WORDS * 8;

/// Kinds of entries, in the low half of the word; a backing's number is in the high half.
const CACHED: u64 = 1;
const PASSTHROUGH: u64 = 2;
const BACKING: u64 = 3;

/// The word and the bit of an inode; multiplied so that neighbours do not share a word.
fn declined_bit(ino: u64) -> (usize, u64) {
    let bits = DECLINED_WORDS * u64::BITS as usize;
    let hash = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits.ilog2());
    let at = hash as usize;
    (at / 64, 1 << (at % 64))
}

/// Memory for a ledger, empty.
///
/// # Errors
///
/// The system has no memory or descriptor left.
pub fn create() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; the call takes no other pointer.
    let fd = unsafe { libc::memfd_create(c"dicomfs handles".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let file = std::fs::File::from(fd);
    file.set_len(LEN_BYTES as u64)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: a descriptor of ours and a number.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

/// A ledger in shared memory.
pub struct SharedLedger {
    words: NonNull<AtomicU64>,
    free: Mutex<Free>,
    /// The bits that others have set before.
    declined_before: Vec<u64>,
}

/// Places without an entry.
struct Free {
    given_back: Vec<u32>,
    /// From here on none was ever used.
    next: u32,
}

// SAFETY: the memory is only touched through atomics, and stays mapped as long as this lives.
unsafe impl Send for SharedLedger {}
// SAFETY: as above.
unsafe impl Sync for SharedLedger {}

impl SharedLedger {
    /// Maps memory that [`create`] made.
    ///
    /// # Errors
    ///
    /// It is of another size, or there is no address space left.
    pub fn map(memory: impl AsFd) -> io::Result<SharedLedger> {
        let memory = memory.as_fd();
        let file = std::fs::File::from(memory.try_clone_to_owned()?);
        if file.metadata()?.len() != LEN_BYTES as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a ledger of handles",
            ));
        }
        // SAFETY: a new mapping of a descriptor of ours; its length was checked and is sealed, so
        // every byte of it stays there.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                LEN_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut ledger = SharedLedger {
            words,
            free: Mutex::new(Free {
                given_back: Vec::new(),
                next: 0,
            }),
            declined_before: Vec::new(),
        };
        let declined = (DECLINED..LEN_WORDS).map(|at| ledger.word(at).load(Ordering::Acquire));
        ledger.declined_before = declined.collect();
        let high_water = ledger.word(HIGH_WATER).load(Ordering::Acquire);
        let next = u32::try_from(high_water)
            .unwrap_or(ENTRIES_MAX)
            .min(ENTRIES_MAX);
        let is_free = |&place: &u32| ledger.entry(place, KIND).load(Ordering::Acquire) == 0;
        // The last is taken first: low places stay dense.
        let given_back = (0..next).rev().filter(is_free).collect();
        ledger.free = Mutex::new(Free { given_back, next });
        Ok(ledger)
    }

    /// `index` is below [`LEN_WORDS`].
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < LEN_WORDS);
        // SAFETY: within the mapping (each caller's index is), which is aligned to a page and lives
        // as long as `self`; any bits are a u64.
        unsafe { self.words.add(index).as_ref() }
    }

    /// `place` is below [`ENTRIES_MAX`].
    fn entry(&self, place: u32, word: usize) -> &AtomicU64 {
        self.word(HEADER_WORDS + place as usize * ENTRY_WORDS + word)
    }

    fn take_free(&self) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = free.given_back.pop() {
            return Some(place);
        }
        let place = free.next;
        if place >= ENTRIES_MAX {
            return None;
        }
        free.next += 1;
        // Before the entry: the next process looks no further than this.
        self.word(HIGH_WATER)
            .store(u64::from(free.next), Ordering::Release);
        Some(place)
    }
}

impl Drop for SharedLedger {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody can reach any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), LEN_BYTES) };
    }
}

impl Ledger for SharedLedger {
    fn next_fh(&self) -> u64 {
        self.word(COUNTER).fetch_add(1, Ordering::Relaxed) + 1
    }

    fn add(&self, entry: Entry) -> Option<Place> {
        let place = self.take_free()?;
        let kind = match entry {
            Entry::Handle(open) => {
                self.entry(place, HANDLE).store(open.fh, Ordering::Relaxed);
                self.entry(place, INO).store(open.ino, Ordering::Relaxed);
                self.entry(place, REQUEST)
                    .store(open.request, Ordering::Relaxed);
                match open.backing {
                    None => CACHED,
                    Some(id) => PASSTHROUGH | u64::from(id) << 32,
                }
            }
            Entry::Backing(id) => BACKING | u64::from(id) << 32,
        };
        self.entry(place, KIND).store(kind, Ordering::Release);
        Some(Place(place))
    }

    fn remove(&self, place: Place) {
        self.entry(place.0, KIND).store(0, Ordering::Release);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.given_back.push(place.0);
    }

    fn note_declined(&self, ino: u64) {
        let (word, bit) = declined_bit(ino);
        self.word(DECLINED + word).fetch_or(bit, Ordering::Release);
    }

    fn was_declined_before(&self, ino: u64) -> bool {
        let (word, bit) = declined_bit(ino);
        self.declined_before[word] & bit != 0
    }

    fn entries(&self) -> Vec<(Place, Entry)> {
        let next = {
            let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.next
        };
        let entry = |place: u32| {
            let kind = self.entry(place, KIND).load(Ordering::Acquire);
            let id = (kind >> 32) as u32;
            let backing = match kind & u64::from(u32::MAX) {
                CACHED => None,
                PASSTHROUGH => Some(id),
                BACKING => return Some((Place(place), Entry::Backing(id))),
                _ => return None,
            };
            let open = OpenHandle {
                fh: self.entry(place, HANDLE).load(Ordering::Relaxed),
                ino: self.entry(place, INO).load(Ordering::Relaxed),
                request: self.entry(place, REQUEST).load(Ordering::Relaxed),
                backing,
            };
            Some((Place(place), Entry::Handle(open)))
        };
        (0..next).filter_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(fh: u64, backing: Option<u32>) -> Entry {
        Entry::Handle(OpenHandle {
            fh,
            ino: fh * 2,
            request: fh * 3,
            backing,
        })
    }

    #[test]
    fn the_next_process_finds_what_is_left() {
        let memory = create().expect("memory");
        let first = SharedLedger::map(&memory).expect("map");
        assert_eq!(first.entries(), []);
        assert_eq!((first.next_fh(), first.next_fh()), (1, 2));
        first.note_declined(8);
        assert!(!first.was_declined_before(8), "its own it knows better");
        let gone = first.add(handle(1, None)).expect("room");
        let kept = [handle(2, Some(7)), Entry::Backing(7), handle(3, None)];
        let kept = kept.map(|entry| (first.add(entry).expect("room"), entry));
        first.remove(gone);
        drop(first);

        let second = SharedLedger::map(&memory).expect("map");
        assert_eq!(second.entries(), kept);
        assert_eq!(second.next_fh(), 3, "no number is given twice");
        assert!(second.was_declined_before(8) && !second.was_declined_before(9));
        let added = second.add(handle(4, None)).expect("room");
        assert_eq!(added, gone, "a place that was given back is used again");
        assert_eq!(second.entries().len(), 4);
        for (place, _) in second.entries() {
            second.remove(place);
        }
        assert_eq!(SharedLedger::map(&memory).expect("map").entries(), []);
    }

    #[test]
    fn a_full_one_takes_no_more() {
        let memory = create().expect("memory");
        let ledger = SharedLedger::map(&memory).expect("map");
        let places: Vec<Place> = std::iter::from_fn(|| ledger.add(Entry::Backing(1))).collect();
        assert_eq!(places.len(), ENTRIES_MAX as usize);
        ledger.remove(places[5]);
        assert_eq!(ledger.add(Entry::Backing(2)), Some(places[5]));
        assert_eq!(ledger.add(Entry::Backing(2)), None);
    }

    #[test]
    fn other_memory_is_refused() {
        let (reader, _writer) = io::pipe().expect("pipe");
        assert!(SharedLedger::map(&reader).is_err());
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        assert!(SharedLedger::map(&null).is_err());
    }
}
