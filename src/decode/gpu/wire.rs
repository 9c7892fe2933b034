//! What the mount's process and the device's process say to each other, and the rules that both
//! sides hold a batch to.
//!
//! | mount's process | device's process |
//! |---|---|
//! | [`Order::Hello`], then [`Order::Lane`] for each lane | [`Answer::Ready`], or [`Answer::Unfit`] |
//! | [`Order::Store`] | residents have a line of their own ([`store`]) |
//! | on a lane: [`Order::Batch`] | [`Answer::Done`], or [`Answer::Lost`] and its end |
//!
//! A batch is of frames of one slab or of several, a [`Part`] each: that many small volumes are read
//! at once costs a device no more than one large volume. A message is bounded, and so is a batch:
//! [`JOBS_MAX`] jobs of some 110 bytes are far below what a socket takes in one piece, and more work
//! than a device needs at once. The frames' bytes are in
//! memory that both have mapped. Neither side trusts the other: the one has read hostile files, the
//! other has decoded them.

pub mod store;

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DeviceReport, Job, Outcome};
use crate::ipc;

/// Both processes are the same build; this is for the day when they are not.
pub const PROTOCOL: u32 = 2;

/// Jobs in one batch at most.
pub const JOBS_MAX: usize = 512;

/// Slabs that a batch writes to at most: as many descriptors come with it.
pub const PARTS_MAX: usize = 16;

/// Address space that the windows of a batch take at most, bytes: more than any slab, and a small
/// share of what a process has.
const WINDOWS_BYTES_MAX: u64 = 1 << 42;

/// Lanes of one device at most.
pub const LANES_MAX: u32 = 8;

/// Longest message, bytes: below the least buffer of a socket that is usual (212,992), and above
/// what [`JOBS_MAX`] jobs or outcomes with their words take.
const MESSAGE_BYTES_MAX: usize = 160 << 10;

/// Longest text of an outcome or a reason, bytes.
const TEXT_BYTES_MAX: usize = 200;

/// The part of a slab that a process maps for a batch begins at a multiple of this, bytes: of the
/// largest pages there are as the smallest unit (64 KiB, arm64).
const WINDOW_ALIGN_BYTES: u64 = 64 << 10;

/// What the mount's process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Which device, and for whom.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Number of the device.
        ordinal: u32,
        /// How many lanes follow; with none, the device is only looked at.
        lanes: u32,
        /// Process id of who says this.
        parent: u32,
    },
    /// A lane. Comes with two descriptors: its socket, and the memory of the encoded frames.
    Lane {
        /// How long the memory is.
        len_bytes: u64,
    },
    /// Frames to decode; on a lane's socket. Comes with a descriptor for each part: its slab.
    Batch {
        /// Which one, to be said in the answer.
        number: u64,
        /// What is to be decoded into which slab. No two of one slab.
        parts: Vec<Part>,
    },
    /// The line for residents, after the lanes. Comes with a descriptor: its socket.
    Store,
}

/// The frames of a batch that belong to one slab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The part of the slab in which all outputs lie.
    pub window: Range<u64>,
    /// The frames, [`Job::out`] in the slab's file.
    pub jobs: Vec<Job>,
    /// Where their values belong beside.
    pub resident: Option<Beside>,
}

impl Part {
    /// Frames whose values belong in the slab only.
    pub fn new(window: Range<u64>, jobs: Vec<Job>) -> Part {
        Part {
            window,
            jobs,
            resident: None,
        }
    }
}

/// A resident that gets the values of a part as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Its number.
    pub number: u64,
    /// The byte of the slab's file that is the resident's first.
    pub slab_offset_bytes: u64,
}

/// What the device's process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It decodes.
    Ready(DeviceReport),
    /// There is no device to be used, and why. It ends.
    Unfit(String),
    /// A batch is through.
    Done {
        /// Which one.
        number: u64,
        /// How each job went, in order: those of the first part, then those of the next.
        outcomes: Vec<Outcome>,
        /// What it took of a core.
        cpu_ns: u64,
        /// How long it took.
        wall_ns: u64,
    },
    /// The device is lost, or a batch breaks the rules. It ends.
    Lost(String),
}

/// Says something, with copies of `fds`. Never waits: each side has one thing to say at a time, which
/// the other takes before it answers. Who fills the line by not listening is no partner.
///
/// # Errors
///
/// The other end is closed or does not listen, or the message is too long.
pub fn tell(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(invalid("a message that is too long"));
    }
    ipc::send_at_once(socket, &bytes, fds).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => invalid("the other side does not listen"),
        _ => error,
    })
}

/// Waits for the other's word; `None` when the other end is closed.
///
/// # Errors
///
/// What was said makes no sense.
pub fn hear<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let (len, fds) = match ipc::receive(socket, &mut buffer) {
        Ok((0, _)) => return Ok(None),
        Ok(received) => received,
        // The other end died with words of ours unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error),
    };
    let message = postcard::from_bytes(&buffer[..len]);
    let message = message.map_err(|_| invalid("a message that makes no sense"))?;
    Ok(Some((message, fds)))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The words of a library or of another process, as they may stand in a log line: bounded, printable.
pub fn clean(text: &str) -> String {
    let printable = text.chars().map(|c| match c {
        ' '..='~' => c,
        _ => '?',
    });
    printable.take(TEXT_BYTES_MAX).collect()
}

/// The same for the words of an outcome.
pub fn clean_outcome(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(text) => Outcome::Failed(clean(&text)),
        other => other,
    }
}

/// The part of a slab of `slab_len_bytes` that holds all outputs of `jobs`, and begins where a page
/// does. Empty for no jobs.
pub fn window_of(jobs: &[Job], slab_len_bytes: u64) -> Range<u64> {
    let start = jobs.iter().map(|job| job.out.start).min().unwrap_or(0);
    let end = jobs.iter().map(|job| job.out.end).max().unwrap_or(0);
    let start = start - start % WINDOW_ALIGN_BYTES;
    let end = end
        .checked_next_multiple_of(WINDOW_ALIGN_BYTES)
        .map_or(end, |whole| whole.min(slab_len_bytes).max(end));
    start..end
}

/// Checks that every job lies in the memory it may use, and that no two write to the same place.
/// Both sides do: the one before it asks, the other before it works. That the parts are of different
/// slabs is what [`super::memory::lens_of`] checks.
///
/// # Errors
///
/// What is wrong.
pub fn check(
    parts: &[Part],
    slab_lens_bytes: &[u64],
    encoded_len_bytes: u64,
) -> Result<(), &'static str> {
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err("a batch of no parts or too many");
    }
    if parts.len() != slab_lens_bytes.len() {
        return Err("a batch without its slabs");
    }
    if parts.iter().map(|part| part.jobs.len()).sum::<usize>() > JOBS_MAX {
        return Err("a batch of too many jobs");
    }
    let mut windows_bytes = 0_u64;
    for (part, slab_len_bytes) in parts.iter().zip(slab_lens_bytes) {
        check_part(part, encoded_len_bytes, *slab_len_bytes)?;
        windows_bytes = windows_bytes.saturating_add(part.window.end - part.window.start);
    }
    if windows_bytes > WINDOWS_BYTES_MAX {
        return Err("windows that are too large");
    }
    Ok(())
}

fn check_part(
    part: &Part,
    encoded_len_bytes: u64,
    slab_len_bytes: u64,
) -> Result<(), &'static str> {
    let Part {
        window,
        jobs,
        resident,
    } = part;
    let first = resident.map_or(0, |beside| beside.slab_offset_bytes);
    if jobs.is_empty() {
        return Err("a part of no jobs");
    }
    let aligned = window.start.is_multiple_of(WINDOW_ALIGN_BYTES);
    if !aligned || window.start >= window.end || window.end > slab_len_bytes {
        return Err("a window that is not in the slab");
    }
    for job in jobs {
        if job.encoded.start >= job.encoded.end || job.encoded.end > encoded_len_bytes {
            return Err("an encoded frame that is not in the lane's memory");
        }
        let out = &job.out;
        if out.start >= out.end || out.start < window.start || out.end > window.end {
            return Err("an output that is not in the window");
        }
        if out.start < first {
            return Err("an output that is not in the resident");
        }
    }
    let mut outs: Vec<_> = jobs
        .iter()
        .map(|job| (job.out.start, job.out.end))
        .collect();
    outs.sort_unstable();
    if outs.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err("two outputs at one place");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::testing::job;
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let (a, b) = ipc::pair().expect("pair");
        let far = u64::MAX - 1..u64::MAX;
        let mut largest = job(far.clone(), far.clone());
        let image = &mut largest.image;
        (image.rows, image.columns) = (u32::MAX, u32::MAX);
        image.number_of_frames = u32::MAX;
        let part = Part {
            window: far,
            resident: Some(Beside {
                number: u64::MAX,
                slab_offset_bytes: u64::MAX,
            }),
            jobs: vec![largest; JOBS_MAX / PARTS_MAX],
        };
        let batch = Order::Batch {
            number: u64::MAX,
            parts: vec![part; PARTS_MAX],
        };
        let fds = [b.as_fd(); PARTS_MAX];
        tell(a.as_fd(), &batch, &fds).expect("the largest batch is sent");
        let (heard, fds) = hear::<Order>(b.as_fd()).expect("hear").expect("a message");
        assert_eq!((heard, fds.len()), (batch, PARTS_MAX));
        let outcome = clean_outcome(Outcome::Failed("\u{e4}\n".repeat(1000)));
        let done = Answer::Done {
            number: 7,
            outcomes: vec![outcome; JOBS_MAX],
            cpu_ns: u64::MAX,
            wall_ns: u64::MAX,
        };
        tell(b.as_fd(), &done, &[]).expect("the longest answer is sent");
        let (heard, _) = hear::<Answer>(a.as_fd()).expect("hear").expect("a message");
        assert_eq!(heard, done);
        ipc::send(a.as_fd(), b"\xff\xff", &[]).expect("send");
        assert!(hear::<Order>(b.as_fd()).is_err());
        assert!(tell(a.as_fd(), &vec![0_u8; MESSAGE_BYTES_MAX], &[]).is_err());
        drop(a);
        assert!(hear::<Order>(b.as_fd()).expect("closed").is_none());
    }

    #[test]
    fn who_does_not_listen_is_not_waited_for() {
        let (a, _b) = ipc::pair().expect("pair");
        let start = std::time::Instant::now();
        let long = vec![0_u8; MESSAGE_BYTES_MAX / 2];
        let told = (0..1000).map(|_| tell(a.as_fd(), &long, &[]));
        let refused = told.take_while(Result::is_ok).count();
        assert!(refused < 1000, "the line takes any number of messages");
        let error = tell(a.as_fd(), &long, &[]).expect_err("full");
        assert!(error.to_string().contains("does not listen"), "{error}");
        assert!(start.elapsed() < std::time::Duration::from_secs(30));
    }

    #[test]
    fn windows_begin_where_pages_do() {
        let align = WINDOW_ALIGN_BYTES;
        let len = 3 * align + 5;
        let cases = [
            (vec![], 0..0),
            (vec![job(0..1, 1..2)], 0..align),
            (vec![job(0..1, align..len)], align..len),
            (
                vec![
                    job(0..1, 2 * align..2 * align + 1),
                    job(0..1, align + 3..align + 4),
                ],
                align..3 * align,
            ),
            // Beyond the slab: the check's to refuse.
            (vec![job(0..1, align..len + 1)], align..len + 1),
            (vec![job(0..1, 1..u64::MAX)], 0..u64::MAX),
        ];
        for (jobs, expected) in cases {
            assert_eq!(window_of(&jobs, len), expected);
        }
    }

    use std::slice::from_ref as one;

    const WINDOW: Range<u64> = 65536..131_072;

    fn part(window: Range<u64>, jobs: &[Job]) -> Part {
        Part::new(window, jobs.to_vec())
    }

    #[test]
    fn jobs_outside_of_the_memory_are_refused() {
        let inside = job(0..100, 65536..65540);
        // The same as the only part and as one of two.
        let checked = |jobs: &[Job]| {
            let (good, other) = (part(WINDOW, one(&inside)), part(WINDOW, jobs));
            let alone = check(one(&other), &[1 << 20], 100);
            assert_eq!(check(&[good, other], &[131_072, 1 << 20], 100), alone);
            alone
        };
        assert_eq!(checked(one(&inside)), Ok(()));
        assert_eq!(checked(&[inside.clone(), job(0..1, 65540..65541)]), Ok(()));
        let backwards = |start, end| Range { start, end };
        let wrong = [
            job(0..101, 65536..65540),
            job(50..50, 65536..65540),
            job(backwards(60, 50), 65536..65540),
            job(u64::MAX - 1..u64::MAX, 65536..65540),
            job(0..1, 65535..65540),
            job(0..1, 65536..131_073),
            job(0..1, 70000..70000),
            job(0..1, backwards(70001, 70000)),
            job(0..1, u64::MAX - 1..u64::MAX),
            job(0..1, 65539..65550),
        ];
        for job in wrong {
            let refused = checked(&[inside.clone(), job.clone()]);
            assert!(refused.is_err(), "{job:?}");
        }
        assert!(checked(&[]).is_err());
        for window in [1..131_072, 65536..(1 << 20) + 1, backwards(131_072, 65536)] {
            let refused = check(&[part(window.clone(), one(&inside))], &[1 << 20], 100);
            assert!(refused.is_err(), "{window:?}");
        }
    }

    #[test]
    fn outputs_before_a_resident_are_refused() {
        let mut one = part(WINDOW, &[job(0..100, 69_632..69_640)]);
        for (slab_offset_bytes, good) in [(0, true), (4096, true), (69_632, true), (69_633, false)]
        {
            one.resident = Some(Beside {
                number: 1,
                slab_offset_bytes,
            });
            let checked = check(std::slice::from_ref(&one), &[1 << 20], 100);
            assert_eq!(checked.is_ok(), good, "{slab_offset_bytes}");
        }
    }

    #[test]
    fn batches_of_too_much_are_refused() {
        let (align, many) = (WINDOW_ALIGN_BYTES, JOBS_MAX as u64);
        let jobs: Vec<Job> = (0..=many).map(|n| job(0..1, n..n + 1)).collect();
        let checked = |parts: &[Part], slab| check(parts, &vec![slab; parts.len()], 1);
        let single = part(0..align, &jobs[..1]);
        assert_eq!(checked(&vec![single.clone(); PARTS_MAX], align), Ok(()));
        assert!(checked(&vec![single.clone(); PARTS_MAX + 1], align).is_err());
        assert!(checked(&[], align).is_err());
        assert!(check(one(&single), &[], 1).is_err(), "no slab");
        assert!(check(one(&single), &[align; 2], 1).is_err(), "two slabs");
        assert_eq!(checked(&[part(0..align, &jobs[1..])], align), Ok(()));
        assert!(checked(&[part(0..align, &jobs)], align).is_err());
        let halves = [part(0..align, &jobs[1..]), single];
        assert!(checked(&halves, align).is_err(), "jobs of all parts");
        let half = WINDOWS_BYTES_MAX / 2;
        let halves = vec![part(0..half, &jobs[..1]); 2];
        assert_eq!(checked(&halves, u64::MAX), Ok(()));
        let more = vec![part(0..half + align, &jobs[..1]); 2];
        assert!(checked(&more, u64::MAX).is_err());
        let all = vec![part(0..u64::MAX, &jobs[..1]); 2];
        assert!(checked(&all, u64::MAX).is_err());
    }
}
