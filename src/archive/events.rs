//! What is said to have happened in an archive, gathered until somebody looks: any number of events
//! becomes a bounded set of directories, or the word that all has to be looked at.
//!
//! The rules are pure, with times passed in ([`Gathered`]); [`Touched`] is what threads share.
//! Touches no file.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::index::lock;

/// Directories gathered at most; with more, all of the archive is looked at, which costs less than
/// a list of everything.
const DIRECTORIES_MAX: usize = 16_384;

/// A directory in which something happens all the time is looked at after so many times the time
/// that others have to be quiet for.
const PATIENCE: u32 = 2;

/// What has been gathered.
#[derive(Debug)]
pub(super) struct Gathered {
    /// By path: when something happened first and last.
    directories: HashMap<Vec<u8>, (Instant, Instant)>,
    directories_max: usize,
    /// Some events were lost, first and last so.
    lost: Option<(Instant, Instant)>,
    overflows: u64,
}

impl Gathered {
    pub(super) fn new(directories_max: usize) -> Gathered {
        Gathered {
            directories: HashMap::new(),
            directories_max,
            lost: None,
            overflows: 0,
        }
    }

    /// Something happened in a directory.
    pub(super) fn touch(&mut self, directory: &[u8], now: Instant) {
        if let Some((_, last)) = self.directories.get_mut(directory) {
            *last = now;
        } else if let Some((_, last)) = &mut self.lost {
            *last = now;
        } else if self.directories.len() >= self.directories_max {
            self.lose(now);
        } else {
            self.directories.insert(directory.to_vec(), (now, now));
        }
    }

    /// Something happened, nobody knows where.
    pub(super) fn lose(&mut self, now: Instant) {
        self.directories = HashMap::new();
        match &mut self.lost {
            Some((_, last)) => *last = now,
            None => {
                self.lost = Some((now, now));
                self.overflows += 1;
            }
        }
    }

    /// When somebody should look: once it has been quiet for as long as `quiet` where something
    /// happened, or after some time in which it never was.
    pub(super) fn due(&self, quiet: Duration) -> Option<Instant> {
        let times = self.directories.values().chain(&self.lost);
        let due =
            |(first, last): &(Instant, Instant)| (*last + quiet).min(*first + quiet * PATIENCE);
        times.map(due).min()
    }

    /// All directories that are to be looked at; `None` for all of the archive.
    pub(super) fn take(&mut self) -> Option<BTreeSet<Vec<u8>>> {
        let directories = std::mem::take(&mut self.directories);
        match self.lost.take() {
            Some(_) => None,
            None => Some(directories.into_keys().collect()),
        }
    }
}

/// What is to be looked at, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    /// Directories; `None` when what happened where is not known.
    pub directories: Option<BTreeSet<Vec<u8>>>,
    /// How many times a look at everything was asked for so far, if it was.
    pub asked: Option<u64>,
}

/// What has happened in an archive since somebody looked.
#[derive(Debug)]
pub struct Touched {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    gathered: Gathered,
    asked: u64,
    answered: u64,
    is_over: bool,
}

impl Default for Touched {
    fn default() -> Touched {
        Touched {
            state: Mutex::new(State {
                gathered: Gathered::new(DIRECTORIES_MAX),
                asked: 0,
                answered: 0,
                is_over: false,
            }),
            wake: Condvar::new(),
        }
    }
}

impl Touched {
    /// Something happened in a directory, by its path relative to the root.
    pub fn touch(&self, directory: &[u8]) {
        let mut state = lock(&self.state);
        let was_empty = state.gathered.directories.is_empty();
        state.gathered.touch(directory, Instant::now());
        drop(state);
        // One that is there is due no later for what happens again.
        if was_empty {
            self.wake.notify_all();
        }
    }

    /// Something happened, nobody knows where.
    pub fn lose(&self) {
        lock(&self.state).gathered.lose(Instant::now());
        self.wake.notify_all();
    }

    /// Asks for a look at everything, now. Tells how many times it was asked for.
    pub fn ask(&self) -> u64 {
        let mut state = lock(&self.state);
        state.asked += 1;
        let asked = state.asked;
        drop(state);
        self.wake.notify_all();
        asked
    }

    /// How many times a look at everything was asked for.
    pub fn asked(&self) -> u64 {
        lock(&self.state).asked
    }

    /// How many times events were lost.
    pub fn overflows(&self) -> u64 {
        lock(&self.state).gathered.overflows
    }

    /// Nobody is to look any more.
    pub fn end(&self) {
        lock(&self.state).is_over = true;
        self.wake.notify_all();
    }

    /// Waits until something is to be looked at, or until `until`, and unless somebody asks, until
    /// `earliest`; `None` when it is over. Directories have to be quiet for as long as `quiet`.
    pub fn wait(&self, quiet: Duration, until: Option<Instant>, earliest: Instant) -> Option<Due> {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let times = [state.gathered.due(quiet), until];
            let due = times.into_iter().flatten().min();
            let due = due.map(|due| due.max(earliest));
            if state.is_over {
                return None;
            }
            let is_asked = state.asked > state.answered;
            if is_asked || due.is_some_and(|due| due <= now) {
                state.answered = state.asked;
                return Some(Due {
                    directories: state.gathered.take(),
                    asked: is_asked.then_some(state.asked),
                });
            }
            state = match due {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(now);
                    let woken = self.wake.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    #[test]
    fn many_events_become_one_directory_that_is_due_when_it_is_quiet() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut gathered = Gathered::new(4);
        assert_eq!(gathered.due(QUIET), None);
        for second in 0..5 {
            gathered.touch(b"a", at(second));
        }
        assert_eq!(gathered.due(QUIET), Some(at(14)));
        gathered.touch(b"b", at(7));
        assert_eq!(gathered.due(QUIET), Some(at(14)), "the first that is due");
        let expected = BTreeSet::from([b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(gathered.take(), Some(expected));
        assert_eq!(gathered.due(QUIET), None);
        assert_eq!(gathered.take(), Some(BTreeSet::new()));
    }

    #[test]
    fn a_directory_that_is_never_quiet_is_looked_at_all_the_same() {
        let start = Instant::now();
        let mut gathered = Gathered::new(4);
        for second in 0..60 {
            gathered.touch(b"a", start + Duration::from_secs(second));
        }
        assert_eq!(gathered.due(QUIET), Some(start + 2 * QUIET));
    }

    #[test]
    fn too_many_directories_are_all_of_the_archive() {
        let now = Instant::now();
        let mut gathered = Gathered::new(4);
        for n in 0..4_u8 {
            gathered.touch(&[n], now);
        }
        gathered.touch(&[0], now);
        assert_eq!((gathered.overflows, gathered.directories.len()), (0, 4));
        for n in 4..200_u8 {
            gathered.touch(&[n], now);
            assert_eq!(gathered.directories.len(), 0);
        }
        assert_eq!(
            (gathered.overflows, gathered.due(QUIET)),
            (1, Some(now + QUIET))
        );
        assert_eq!(gathered.take(), None);
        gathered.touch(&[1], now);
        assert_eq!(gathered.take(), Some(BTreeSet::from([vec![1]])));
    }

    #[test]
    fn who_waits_is_woken_by_who_asks_and_by_the_end() {
        let touched = &Touched::default();
        std::thread::scope(|scope| {
            let start = Instant::now();
            let long = Duration::from_secs(3600);
            let waiter = scope.spawn(move || touched.wait(long, None, start + long));
            touched.touch(b"a");
            assert_eq!(touched.ask(), 1);
            let due = waiter.join().expect("no panic").expect("not over");
            assert_eq!(due.asked, Some(1));
            let waiter = scope.spawn(move || touched.wait(long, None, start));
            touched.end();
            assert_eq!(waiter.join().expect("no panic"), None);
        });
    }

    #[test]
    fn what_is_quiet_at_once_is_due_at_once() {
        let touched = Touched::default();
        touched.touch(b"a/b");
        let now = Instant::now();
        let due = touched.wait(Duration::ZERO, None, now).expect("not over");
        let expected = BTreeSet::from([b"a/b".to_vec()]);
        assert_eq!((due.directories, due.asked), (Some(expected), None));
        let due = touched.wait(Duration::ZERO, Some(now), now);
        assert_eq!(due.and_then(|due| due.directories), Some(BTreeSet::new()));
        let later = now + Duration::from_millis(30);
        assert!(touched.wait(Duration::ZERO, Some(now), later).is_some());
        assert!(Instant::now() >= later);
    }
}
