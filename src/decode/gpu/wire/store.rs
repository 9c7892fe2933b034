//! What is said of residents, on a line of its own beside the lanes, and the rules that both sides
//! hold it to.
//!
//! | mount's process | device's process |
//! |---|---|
//! | [`StoreOrder::Reserve`] | [`StoreAnswer::Reserved`], or why not |
//! | [`StoreOrder::Upload`], with the slab | [`StoreAnswer::Done`] |
//! | [`StoreOrder::Direct`], with the files | [`StoreAnswer::Outcomes`] |
//! | [`StoreOrder::Download`], with a file to be written | [`StoreAnswer::Done`] |
//! | [`StoreOrder::Release`] | [`StoreAnswer::Done`] |
//!
//! One order at a time. What cannot be done, or is against the rules, is [`StoreAnswer::Refused`], and
//! the process goes on; if the device is lost, [`StoreAnswer::Lost`] is its last word.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::JOBS_MAX;
use crate::decode::gpu::resident::{DirectJob, Piece};
use crate::decode::gpu::{Codec, Outcome};
use crate::ipc;

/// Pieces of one order at most: 30 bytes each at most in a message.
pub const PIECES_MAX: usize = 1024;

/// Files of one order at most.
pub const FILES_MAX: usize = ipc::FDS_MAX;

/// Residents that one order releases at most.
pub const RELEASES_MAX: usize = 1024;

/// What the mount's process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StoreOrder {
    /// Device memory is wanted.
    Reserve {
        /// Its number: one that was never used in this process.
        number: u64,
        /// What is to fit.
        len_bytes: u64,
        /// What all residents and the engines' buffers may take.
        budget_bytes: u64,
    },
    /// Parts of a slab are copied to a resident. Comes with a descriptor: the slab.
    Upload {
        /// Which resident.
        number: u64,
        /// Which parts, and where to.
        pieces: Vec<Piece>,
    },
    /// Uncompressed frames are read and shown in a resident. Comes with descriptors: the files.
    Direct {
        /// Which resident.
        number: u64,
        /// The frames.
        jobs: Vec<DirectJob>,
    },
    /// Parts of a resident are copied to a file. Comes with a descriptor: the file.
    Download {
        /// Which resident.
        number: u64,
        /// Which parts, and where to.
        pieces: Vec<Piece>,
    },
    /// These are not needed any more. Numbers that are none are passed over.
    Release {
        /// Which residents.
        numbers: Vec<u64>,
    },
}

/// What the device's process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreAnswer {
    /// Here is the memory, of zeros. Comes with a descriptor, unless there is an IPC handle.
    Reserved {
        /// What it takes.
        allocation_bytes: u64,
        /// A CUDA IPC handle, if it is shared by that.
        ipc: Option<Vec<u8>>,
    },
    /// There is no memory left for it: others must go first.
    NoMemory,
    /// It is larger than the device or the budget.
    TooLarge,
    /// The device shares no memory, and why.
    CannotShare(String),
    /// It is done.
    Done,
    /// How each frame went, in order.
    Outcomes(Vec<Outcome>),
    /// It was not done, or not all of it, and why.
    Refused(String),
    /// The device is lost. The process ends.
    Lost(String),
}

/// Checks that pieces lie in a file and a resident of these lengths, and that nothing is written twice:
/// `into_resident` says which of the two is written.
///
/// # Errors
///
/// What is wrong.
pub fn check_pieces(
    pieces: &[Piece],
    file_len_bytes: u64,
    resident_len_bytes: u64,
    into_resident: bool,
) -> Result<(), &'static str> {
    if pieces.is_empty() || pieces.len() > PIECES_MAX {
        return Err("no pieces or too many");
    }
    let mut written = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if piece.len_bytes == 0 {
            return Err("a piece of nothing");
        }
        let within = |start, len_bytes| {
            place(start, piece.len_bytes).filter(|place: &Range<u64>| place.end <= len_bytes)
        };
        let Some(file) = within(piece.file_offset_bytes, file_len_bytes) else {
            return Err("a piece that is not in the file");
        };
        let Some(place) = within(piece.offset_bytes, resident_len_bytes) else {
            return Err("a piece that is not in the resident");
        };
        written.push(match into_resident {
            true => (place.start, place.end),
            false => (file.start, file.end),
        });
    }
    once(&mut written)
}

/// Checks jobs against the number of files and the length of the resident.
///
/// # Errors
///
/// What is wrong.
pub fn check_direct(
    jobs: &[DirectJob],
    files: usize,
    resident_len_bytes: u64,
) -> Result<(), &'static str> {
    if jobs.is_empty() || jobs.len() > JOBS_MAX {
        return Err("no frames or too many");
    }
    if files == 0 || files > FILES_MAX {
        return Err("no files or too many");
    }
    let mut written = Vec::with_capacity(jobs.len());
    for DirectJob {
        file,
        file_offset_bytes,
        job,
    } in jobs
    {
        if !matches!(job.codec, Codec::Native { .. }) {
            return Err("a frame that is compressed");
        }
        if *file as usize >= files {
            return Err("a frame of a file that is not there");
        }
        let encoded = &job.encoded;
        if encoded.start >= encoded.end
            || place(*file_offset_bytes, encoded.end - encoded.start).is_none()
        {
            return Err("a frame of no bytes or too many");
        }
        let out = &job.out;
        if out.start >= out.end || out.end > resident_len_bytes {
            return Err("an output that is not in the resident");
        }
        written.push((out.start, out.end));
    }
    once(&mut written)
}

/// The range of `len_bytes` from `start`, if there is such a one.
fn place(start: u64, len_bytes: u64) -> Option<Range<u64>> {
    // Files and copies count in signed 64 bits.
    let end = start.checked_add(len_bytes)?;
    i64::try_from(end).ok()?;
    Some(start..end)
}

fn once(written: &mut [(u64, u64)]) -> Result<(), &'static str> {
    written.sort_unstable();
    match written.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        true => Err("two outputs at one place"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::decode::gpu::testing::job;
    use crate::decode::gpu::wire::{clean, hear, tell};

    fn piece(file: Range<u64>, offset_bytes: u64) -> Piece {
        Piece {
            file_offset_bytes: file.start,
            offset_bytes,
            len_bytes: file.end - file.start,
        }
    }

    fn direct(
        file: u32,
        file_offset_bytes: u64,
        encoded: Range<u64>,
        out: Range<u64>,
    ) -> DirectJob {
        let mut job = job(encoded, out);
        job.codec = Codec::Native { big_endian: false };
        DirectJob {
            file,
            file_offset_bytes,
            job,
        }
    }

    fn backwards(start: u64, end: u64) -> Range<u64> {
        Range { start, end }
    }

    #[test]
    fn the_longest_orders_and_answers_go_through() {
        let (a, b) = ipc::pair().expect("pair");
        let far = u64::MAX - 1;
        let orders = [
            StoreOrder::Upload {
                number: far,
                pieces: vec![piece(far..u64::MAX, far); PIECES_MAX],
            },
            StoreOrder::Direct {
                number: far,
                jobs: vec![direct(u32::MAX, far, far..u64::MAX, far..u64::MAX); JOBS_MAX],
            },
            StoreOrder::Release {
                numbers: vec![far; RELEASES_MAX],
            },
        ];
        for order in orders {
            tell(a.as_fd(), &order, &vec![b.as_fd(); FILES_MAX]).expect("told");
            let (heard, fds) = hear::<StoreOrder>(b.as_fd()).expect("heard").expect("one");
            assert_eq!((heard, fds.len()), (order, FILES_MAX));
        }
        let words = Outcome::Failed(clean(&"x".repeat(1000)));
        let answer = StoreAnswer::Outcomes(vec![words; JOBS_MAX]);
        tell(b.as_fd(), &answer, &[]).expect("told");
        let (heard, _) = hear::<StoreAnswer>(a.as_fd()).expect("heard").expect("one");
        assert_eq!(heard, answer);
    }

    #[test]
    fn pieces_outside_of_the_memory_are_refused() {
        let good = piece(0..100, 900);
        let check = |pieces: &[Piece], up| check_pieces(pieces, 500, 1000, up);
        for up in [true, false] {
            assert_eq!(check(std::slice::from_ref(&good), up), Ok(()));
            assert_eq!(check(&[good, piece(100..500, 0)], up), Ok(()));
            assert!(check(&[], up).is_err());
            assert!(check(&vec![good; PIECES_MAX + 1], up).is_err());
        }
        let wrong = [
            piece(0..501, 0),
            piece(10..10, 0),
            piece(0..u64::MAX, 0),
            piece(0..101, 900),
            piece(0..1, 1000),
            piece(0..1, u64::MAX),
            piece(0..2, u64::MAX - 1),
        ];
        for piece in wrong {
            for up in [true, false] {
                assert!(
                    check(std::slice::from_ref(&piece), up).is_err(),
                    "{piece:?}"
                );
            }
        }
        // The same source twice is nothing bad, the same place is.
        let twice = [piece(0..100, 0), piece(50..150, 100)];
        assert!(check(&twice, true).is_ok() && check(&twice, false).is_err());
        let onto = [piece(0..100, 0), piece(100..200, 99)];
        assert!(check(&onto, true).is_err() && check(&onto, false).is_ok());
        assert!(check_pieces(&[piece(0..u64::MAX, 0)], u64::MAX, u64::MAX, true).is_err());
    }

    #[test]
    fn frames_outside_of_the_memory_are_refused() {
        let check = |jobs: &[DirectJob]| check_direct(jobs, 2, 1000);
        let good = direct(1, 77, 0..10, 990..1000);
        assert_eq!(check(std::slice::from_ref(&good)), Ok(()));
        assert_eq!(check(&[good.clone(), direct(1, 77, 0..10, 0..990)]), Ok(()));
        let mut packed = good.clone();
        packed.job.codec = Codec::Rle;
        let wrong = [
            packed,
            direct(2, 0, 0..10, 0..10),
            direct(u32::MAX, 0, 0..10, 0..10),
            direct(0, 0, 10..10, 0..10),
            direct(0, 0, backwards(10, 0), 0..10),
            direct(0, u64::MAX, 0..1, 0..10),
            direct(0, i64::MAX as u64, 0..1, 0..10),
            direct(0, 0, 0..u64::MAX, 0..10),
            direct(0, 0, 0..10, 991..1001),
            direct(0, 0, 0..10, 5..5),
            direct(0, 0, 0..10, backwards(10, 5)),
            direct(0, 0, 0..10, 999..1001),
        ];
        for job in wrong {
            assert!(check(std::slice::from_ref(&job)).is_err(), "{job:?}");
            assert!(check(&[direct(0, 0, 0..10, 100..110), job]).is_err());
        }
        assert!(
            check(&[good.clone(), good.clone()]).is_err(),
            "one place twice"
        );
        assert!(check(&[]).is_err());
        assert!(check(&vec![good.clone(); JOBS_MAX + 1]).is_err());
        assert!(check_direct(std::slice::from_ref(&good), 0, 1000).is_err());
        assert!(check_direct(&[good], FILES_MAX + 1, 1000).is_err());
    }
}
