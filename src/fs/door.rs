//! What is counted where requests come in: opens, reads and how long they took, and failures.
//!
//! A few atomic additions a request, no lock. What the kernel answers by itself (its page cache,
//! passthrough) never comes here. Knows nothing of who asks for what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stats::Latency;
use super::{Error, OpenMode};

/// Upper ends of the classes of [`Latency`], microseconds: from an answer out of memory to one that
/// waits for a slow archive.
pub(super) const BOUNDS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The failures that are told apart; all others are counted as one.
const ERRNOS: [(i32, &str); 11] = [
    (libc::EIO, "EIO"),
    (libc::ESTALE, "ESTALE"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EFBIG, "EFBIG"),
    (libc::EROFS, "EROFS"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::EACCES, "EACCES"),
    (libc::ENOENT, "ENOENT"),
    (libc::EBADF, "EBADF"),
    (libc::EINVAL, "EINVAL"),
];
const OTHER_ERRNO: &str = "other";

/// The counts.
#[derive(Default)]
pub(super) struct Door {
    opens_passthrough: AtomicU64,
    opens_cached: AtomicU64,
    opens_direct: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    /// Answered reads by how long they took; the last class has no upper end.
    latency: [AtomicU64; BOUNDS_US.len() + 1],
    latency_ns: AtomicU64,
    /// As [`ERRNOS`], then the others.
    failures: [AtomicU64; ERRNOS.len() + 1],
    replaced_workers: AtomicU64,
}

/// The opens of a mount so far.
pub(super) struct Opens {
    pub(super) passthrough: u64,
    pub(super) cached: u64,
    pub(super) direct: u64,
}

impl Door {
    pub(super) fn opened(&self, mode: &OpenMode) {
        let count = match mode {
            OpenMode::Passthrough(_) => &self.opens_passthrough,
            OpenMode::Cached => &self.opens_cached,
            OpenMode::Direct => &self.opens_direct,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read: its bytes or why there are none, and what it took.
    pub(super) fn read_answered(&self, answer: Result<usize, &Error>, took: Duration) {
        let order = Ordering::Relaxed;
        match answer {
            // The kernel only guessed; it asks again for what it needs.
            Err(Error::Declined) => return,
            Err(error) => self.failed(error),
            Ok(bytes) => {
                self.read_bytes.fetch_add(bytes as u64, order);
            }
        }
        self.reads.fetch_add(1, order);
        let us = took.as_micros();
        let class = BOUNDS_US.partition_point(|bound| u128::from(*bound) < us);
        self.latency[class].fetch_add(1, order);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.fetch_add(ns, order);
    }

    /// Counts a failure. A name that is not there is none: programs look for names all the time.
    pub(super) fn failed(&self, error: &Error) {
        if matches!(error, Error::Absent) {
            return;
        }
        let errno = error.errno();
        let known = ERRNOS.iter().position(|(number, _)| *number == errno);
        self.failures[known.unwrap_or(ERRNOS.len())].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_replaced_workers(&self, count: u64) {
        self.replaced_workers.store(count, Ordering::Relaxed);
    }

    pub(super) fn opens(&self) -> Opens {
        Opens {
            passthrough: get(&self.opens_passthrough),
            cached: get(&self.opens_cached),
            direct: get(&self.opens_direct),
        }
    }

    /// Reads that were answered, with an error or not, and the bytes handed out.
    pub(super) fn reads(&self) -> (u64, u64) {
        (get(&self.reads), get(&self.read_bytes))
    }

    pub(super) fn latency(&self) -> Latency {
        Latency {
            bounds_us: BOUNDS_US.to_vec(),
            counts: self.latency.iter().map(get).collect(),
            sum_ns: get(&self.latency_ns),
        }
    }

    /// Failures by the name of their errno, those that occurred.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        let names = ERRNOS.iter().map(|(_, name)| *name).chain([OTHER_ERRNO]);
        let counts = self.failures.iter().map(get);
        let named = names.zip(counts).filter(|(_, count)| *count > 0);
        named.map(|(name, count)| (name.into(), count)).collect()
    }

    pub(super) fn replaced_workers(&self) -> u64 {
        get(&self.replaced_workers)
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_in_the_class_of_its_time() {
        let door = Door::default();
        let us = Duration::from_micros;
        for took in [us(0), us(50), us(51), us(10_000_000), us(10_000_001)] {
            door.read_answered(Ok(3), took);
        }
        let latency = door.latency();
        let counted: Vec<_> = (0..=14).filter(|n| latency.counts[*n] > 0).collect();
        assert_eq!(counted, [0, 1, 13, 14]);
        assert_eq!(latency.counts[0], 2);
        assert_eq!(latency.sum_ns, 20_000_102_000);
        assert_eq!(door.reads(), (5, 15));
    }

    #[test]
    fn failures_are_counted_by_errno() {
        let door = Door::default();
        let io = |errno| Error::Io {
            errno,
            message: String::new(),
        };
        door.read_answered(Err(&Error::Malformed("x".into())), Duration::ZERO);
        door.read_answered(Err(&Error::Declined), Duration::ZERO);
        door.failed(&Error::Changed("x".into()));
        door.failed(&io(libc::EIO));
        door.failed(&io(libc::ENOSPC));
        door.failed(&Error::Absent);
        let failures: Vec<_> = door.failures().into_iter().collect();
        let expected = [("EIO", 2), ("ESTALE", 1), ("other", 1)];
        assert_eq!(failures, expected.map(|(name, n)| (name.to_string(), n)));
        assert_eq!(door.reads(), (1, 0), "a declined read is none");
    }
}
