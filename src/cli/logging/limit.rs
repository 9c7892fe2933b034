//! How many lines of one kind are written: a few within a time, then they are counted.
//!
//! Lines are of one kind when the same place in the program writes them. So an archive with ten
//! thousand broken files, or a disk that fails at every read, does not fill the log; all that was
//! found about single frames and files is in `.dicomfs/findings.jsonl`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Write,
    /// It is counted.
    Count,
}

/// The limits of all kinds.
pub(super) struct Limits {
    lines_max: u32,
    period: Duration,
    /// As many as there are places in the program that write lines.
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

struct Kind {
    since: Instant,
    written: u32,
    /// Counted and not told yet.
    untold: u64,
    /// Counted before `since`, for the line that is being written.
    to_tell: u64,
}

impl Limits {
    pub(super) fn new(lines_max: u32, period: Duration) -> Limits {
        Limits {
            lines_max,
            period,
            kinds: Mutex::default(),
        }
    }

    /// Decides about a line.
    pub(super) fn take(&self, kind: &Identifier) -> Verdict {
        self.take_at(kind, Instant::now())
    }

    fn take_at(&self, kind: &Identifier, now: Instant) -> Verdict {
        let mut kinds = self.lock();
        let kind = kinds.entry(kind.clone()).or_insert(Kind {
            since: now,
            written: 0,
            untold: 0,
            to_tell: 0,
        });
        if now.saturating_duration_since(kind.since) > self.period {
            kind.since = now;
            kind.written = 0;
            kind.to_tell += std::mem::take(&mut kind.untold);
        }
        if kind.written < self.lines_max {
            kind.written += 1;
            return Verdict::Write;
        }
        kind.untold += 1;
        Verdict::Count
    }

    /// What is to be said behind a line that is written.
    pub(super) fn words(&self, kind: &Identifier) -> String {
        let mut kinds = self.lock();
        let Some(kind) = kinds.get_mut(kind) else {
            return String::new();
        };
        let mut words = String::new();
        let told = std::mem::take(&mut kind.to_tell);
        if told > 0 {
            words = format!(" ({told} more before)");
        }
        if kind.written == self.lines_max {
            words += " (more like this within a minute are only counted)";
        }
        words
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::{Callsite, DefaultCallsite};

    use super::*;

    static KIND: DefaultCallsite = {
        static METADATA: tracing::Metadata<'static> = tracing::metadata! {
            name: "kind",
            target: "dicomfs",
            level: tracing::Level::WARN,
            fields: &[],
            callsite: &KIND,
            kind: tracing::metadata::Kind::EVENT,
        };
        DefaultCallsite::new(&METADATA)
    };

    #[test]
    fn what_was_counted_is_told_with_the_next_line() {
        let kind = &KIND.metadata().callsite();
        let limits = Limits::new(2, Duration::from_secs(60));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let verdicts: Vec<Verdict> = (0..5).map(|s| limits.take_at(kind, at(s))).collect();
        use Verdict::{Count, Write};
        assert_eq!(verdicts, [Write, Write, Count, Count, Count]);
        assert_eq!(limits.take_at(kind, at(61)), Write);
        assert_eq!(limits.words(kind), " (3 more before)");
        assert_eq!(limits.take_at(kind, at(62)), Write);
        let last = " (more like this within a minute are only counted)";
        assert_eq!(limits.words(kind), last);
        assert_eq!(limits.take_at(kind, at(63)), Count);
    }
}
