//! When a worker that dies is replaced, how soon, and when no more. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Deaths further back than this are forgotten.
const WINDOW: Duration = Duration::from_secs(60);

/// How long to wait before the first, second, ... replacement within [`WINDOW`]; then no other.
/// A crash now and then costs no time, and one at each start ends soon.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// The deaths of a mount's workers.
#[derive(Debug, Default)]
pub struct Deaths {
    recent: VecDeque<Instant>,
    total: u64,
}

impl Deaths {
    /// A worker has died: how long to wait before the next one, `None` for none.
    pub fn note(&mut self, now: Instant) -> Option<Duration> {
        self.total += 1;
        let is_old = |death: &Instant| now.saturating_duration_since(*death) > WINDOW;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        PAUSES.get(self.recent.len() - 1).copied()
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_death_within_a_minute_is_the_last() {
        let mut deaths = Deaths::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (n, pause) in PAUSES.into_iter().enumerate() {
            assert_eq!(deaths.note(at(n as u64)), Some(pause));
        }
        assert_eq!(deaths.note(at(59)), None);
        assert_eq!(deaths.total(), 5);
    }

    #[test]
    fn a_minute_without_one_forgets_all() {
        let mut deaths = Deaths::default();
        let start = Instant::now();
        for n in 0..100 {
            let pause = deaths.note(start + Duration::from_secs(61) * n);
            assert_eq!(pause, Some(Duration::ZERO));
        }
    }
}
