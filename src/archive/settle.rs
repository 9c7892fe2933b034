//! When new and changed files have come to rest: the rule by which a scan takes what it finds, or
//! leaves it for later.
//!
//! Files arrive one by one and are written bit by bit. What is different in a directory is kept
//! apart by series, and a series is taken when none of its files there has changed for a while: by
//! the times of the files, and where clocks are not to be trusted (those of servers, and any that has
//! just been set), by having been seen as it is for as long. Pure: times are passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::SourceIdentity;
use super::pack::{Key, Kind};

/// How long files have to be quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settle {
    /// This long.
    pub after: Duration,
    /// How far the clock that gives files their times may be off: that of a server is another one.
    pub clock_slack: Duration,
}

/// A file that is no instance, or not yet, keeps what else is new in its directory waiting: it may be
/// the last of that, half written. For so many times the usual wait, since it may be a log too.
const PATIENCE: u32 = 3;

/// The wall clock was set when it went on so much more or less than the steady one. Rates are the same:
/// what keeps the one to the second keeps the other too.
const SET_BY_MIN_NS: i128 = 500_000_000;

/// One moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) steady: Instant,
    /// Nanoseconds since the epoch.
    pub(super) wall_ns: i64,
}

/// How the files of one series in one directory differ from what the index has of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Of all of them, in any order.
    digest: u64,
    /// When the last of them came about, by the file system's clock.
    newest_ns: i64,
}

impl Differences {
    /// A file that is new or another one; `None` for one that is gone. `changed_ns` is when that
    /// happened.
    pub(super) fn add(&mut self, name: &[u8], now: Option<SourceIdentity>, changed_ns: i64) {
        let mut hasher = DefaultHasher::new();
        (name, now, changed_ns).hash(&mut hasher);
        self.digest = self.digest.wrapping_add(hasher.finish());
        self.newest_ns = self.newest_ns.max(changed_ns);
    }
}

/// Differences that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    key: Key,
    digest: u64,
    /// Since when it was seen as it is.
    since: Instant,
    /// When it may have settled.
    due: Instant,
}

/// What is on its way into an archive: differences that have not settled, by directory.
#[derive(Debug, Default)]
pub struct Arrivals {
    rule: Option<Settle>,
    held: HashMap<Vec<u8>, Vec<Held>>,
    /// Series of which the index has something new that nobody was told of, since there is more to
    /// come.
    untold: BTreeSet<String>,
    /// When something was decided last.
    decided: Option<Moment>,
    /// When the wall clock was found to have been set: files from before that have wrong ages.
    set_at: Option<Instant>,
}

impl Arrivals {
    /// Nothing is on its way, and what comes is taken by `rule`; without one at once.
    pub fn new(rule: Option<Settle>) -> Arrivals {
        Arrivals {
            rule,
            ..Arrivals::default()
        }
    }

    /// From now on this rule.
    pub fn set_rule(&mut self, rule: Option<Settle>) {
        self.rule = rule;
    }

    /// Is anything ever left for later?
    pub(super) fn is_settling(&self) -> bool {
        self.rule.is_some()
    }

    /// Decides about all differences found in a directory: those that wait are returned.
    pub(super) fn judge(
        &mut self,
        directory: &[u8],
        found: HashMap<Key, Differences>,
        now: Moment,
    ) -> HashSet<Key> {
        let before = self.held.remove(directory).unwrap_or_default();
        self.compare_clocks(now);
        let Some(rule) = self.rule else {
            return HashSet::new();
        };
        let is_set = self.set_at.is_some_and(|at| now.steady < at + rule.after);
        let mut held: Vec<Held> = Vec::new();
        let mut unknown_due = None;
        let mut found: Vec<(Key, Differences)> = found.into_iter().collect();
        found.sort_unstable_by_key(|(key, _)| key.kind == Kind::Instance);
        for (key, differences) in found {
            let seen = before.iter().find(|held| held.key == key);
            let same = seen.filter(|held| held.digest == differences.digest);
            let since = same.map_or(now.steady, |held| held.since);
            let mut due = match is_set {
                true => rule.due_by_sight(since, now),
                false => rule.due(&differences, since, now),
            };
            if key.kind != Kind::Instance {
                unknown_due = unknown_due.max(due);
            } else if now.steady.saturating_duration_since(since) < rule.after * PATIENCE {
                due = due.max(unknown_due);
            }
            if let Some(due) = due {
                held.push(Held {
                    key,
                    digest: differences.digest,
                    since,
                    due,
                });
            }
        }
        let keys = held.iter().map(|held| held.key.clone()).collect();
        if !held.is_empty() {
            self.held.insert(directory.to_vec(), held);
        }
        keys
    }

    /// Notices when the wall clock was set.
    fn compare_clocks(&mut self, now: Moment) {
        if let Some(before) = self.decided.replace(now) {
            let steady = now.steady.saturating_duration_since(before.steady);
            let wall_ns = i128::from(now.wall_ns) - i128::from(before.wall_ns);
            if wall_ns.abs_diff(steady.as_nanos() as i128) > SET_BY_MIN_NS.unsigned_abs() {
                self.set_at = Some(now.steady);
            }
        }
    }

    /// A directory is gone, and all that was on its way there.
    pub(super) fn forget(&mut self, directory: &[u8]) {
        self.held.remove(directory);
    }

    /// The index is another one: what was known of differences from it means nothing.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.untold.clear();
    }

    /// Of series that have changed in the index, those that may be told of: of which nothing waits.
    pub(super) fn sift(&mut self, changed: impl Iterator<Item = String>) -> Vec<String> {
        self.untold.extend(changed);
        let untold = std::mem::take(&mut self.untold);
        let waiting: HashSet<&str> = self.waiting().map(|(key, _)| key.series.as_str()).collect();
        let is_whole = |series: &String| !waiting.contains(series.as_str());
        let (told, held): (Vec<String>, Vec<String>) = untold.into_iter().partition(is_whole);
        self.untold = held.into_iter().collect();
        told
    }

    /// Series of which the index has a part that nobody was told of.
    pub fn untold(&self) -> &BTreeSet<String> {
        &self.untold
    }

    /// How many series are on their way.
    pub fn series_count(&self) -> usize {
        let keys = self.waiting().map(|(key, _)| key);
        let series: HashSet<&Key> = keys.filter(|key| key.kind == Kind::Instance).collect();
        series.len()
    }

    /// When the next series may have settled.
    pub fn due(&self) -> Option<Instant> {
        self.due_by_key().into_values().min()
    }

    /// The directories of all series that may have settled by now.
    pub fn due_directories(&self, now: Instant) -> BTreeSet<Vec<u8>> {
        let due = self.due_by_key();
        let is_due = |held: &Held| due.get(&held.key).is_some_and(|due| *due <= now);
        let directories = self.held.iter().filter(|(_, all)| all.iter().any(is_due));
        directories.map(|(path, _)| path.clone()).collect()
    }

    fn due_by_key(&self) -> BTreeMap<&Key, Instant> {
        let mut due: BTreeMap<&Key, Instant> = BTreeMap::new();
        for (key, at) in self.waiting() {
            due.entry(key)
                .and_modify(|due| *due = at.max(*due))
                .or_insert(at);
        }
        due
    }

    fn waiting(&self) -> impl Iterator<Item = (&Key, Instant)> {
        let held = self.held.values().flatten();
        held.map(|held| (&held.key, held.due))
    }
}

impl Settle {
    /// When differences may have settled that have been as they are `since` then; `None` when they
    /// have.
    fn due(&self, differences: &Differences, since: Instant, now: Moment) -> Option<Instant> {
        let quiet_ns = i128::from(now.wall_ns) - i128::from(differences.newest_ns);
        let needed = self.after.saturating_add(self.clock_slack);
        let left_ns = needed.as_nanos() as i128 - quiet_ns;
        if left_ns <= 0 {
            return None;
        }
        // A time in the future says nothing but that a clock is wrong.
        let by_time = u64::try_from(left_ns).map_or(Duration::MAX, Duration::from_nanos);
        let by_sight = self.due_by_sight(since, now)?;
        let by_time = now.steady.checked_add(by_time);
        Some(by_time.map_or(by_sight, |by_time| by_time.min(by_sight)))
    }

    /// The same for who does not trust the times of files.
    fn due_by_sight(&self, since: Instant, now: Moment) -> Option<Instant> {
        let seen_for = now.steady.saturating_duration_since(since);
        let left = self.after.checked_sub(seen_for)?;
        (!left.is_zero()).then(|| now.steady + left)
    }
}

/// What waits until it has settled: instances, and what may become one. Other files are taken as
/// they are.
pub(super) fn may_wait(kind: Kind) -> bool {
    matches!(kind, Kind::Instance | Kind::Unusable | Kind::NotDicom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;
    const RULE: Settle = Settle {
        after: Duration::from_secs(10),
        clock_slack: Duration::ZERO,
    };

    fn key(series: &str) -> Key {
        Key {
            kind: Kind::Instance,
            series: series.to_owned(),
        }
    }

    fn different(names: &[&str], changed_s: i64) -> Differences {
        let mut differences = Differences::default();
        for name in names {
            let identity = SourceIdentity {
                size_bytes: 7,
                mtime_ns: 0,
                inode: 0,
            };
            differences.add(name.as_bytes(), Some(identity), changed_s * SECOND_NS);
        }
        differences
    }

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Moment {
            Moment {
                steady: self.0 + Duration::from_secs(seconds),
                wall_ns: seconds as i64 * SECOND_NS,
            }
        }
    }

    #[test]
    fn what_has_been_quiet_is_taken_at_once_and_the_rest_when_it_has() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::new(Some(RULE));
        let found = HashMap::from([
            (key("old"), different(&["a"], 80)),
            (key("young"), different(&["b", "c"], 95)),
        ]);
        let held = arrivals.judge(b"d", found.clone(), clock.at(100));
        assert_eq!(held, HashSet::from([key("young")]));
        assert_eq!(arrivals.due(), Some(clock.at(105).steady));
        assert!(arrivals.due_directories(clock.at(104).steady).is_empty());
        let due = arrivals.due_directories(clock.at(105).steady);
        assert_eq!(due, BTreeSet::from([b"d".to_vec()]));
        assert!(arrivals.judge(b"d", found, clock.at(105)).is_empty());
        assert_eq!((arrivals.due(), arrivals.series_count()), (None, 0));
    }

    #[test]
    fn a_file_that_is_half_written_keeps_its_directory_waiting_but_not_for_ever() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::new(Some(RULE));
        let half = Key {
            kind: Kind::Unusable,
            series: String::new(),
        };
        let found = |at: u64| {
            let half = (half.clone(), different(&["half"], at as i64));
            HashMap::from([(key("s"), different(&["a"], 80)), half])
        };
        for at in [100, 109, 118, 127] {
            assert_eq!(arrivals.judge(b"d", found(at), clock.at(at)).len(), 2);
            assert_eq!(arrivals.due(), Some(clock.at(at + 10).steady));
            assert_eq!(arrivals.series_count(), 1);
        }
        let held = arrivals.judge(b"d", found(130), clock.at(130));
        assert_eq!(held, HashSet::from([half]));
    }

    #[test]
    fn each_file_that_comes_begins_the_wait_anew() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::new(Some(RULE));
        let names = ["a", "b", "c", "d"];
        for n in 1..=names.len() {
            let at = 100 + 9 * n as u64;
            let found = HashMap::from([(key("s"), different(&names[..n], at as i64))]);
            assert_eq!(arrivals.judge(b"d", found, clock.at(at)).len(), 1);
            assert_eq!(arrivals.due(), Some(clock.at(at + 10).steady));
        }
        let found = HashMap::from([(key("s"), different(&names, 136))]);
        assert!(arrivals.judge(b"d", found, clock.at(146)).is_empty());
    }

    #[test]
    fn where_the_clock_is_wrong_what_is_seen_counts() {
        let clock = Clock(Instant::now());
        for (changed_s, slack_s) in [(5000, 0), (100, 60), (100, 0)] {
            let mut arrivals = Arrivals::new(Some(Settle {
                clock_slack: Duration::from_secs(slack_s),
                ..RULE
            }));
            let mut judge = |names: &[&str], at| {
                let found = HashMap::from([(key("s"), different(names, changed_s))]);
                !arrivals.judge(b"d", found, clock.at(at)).is_empty()
            };
            assert!(judge(&["a"], 100) && judge(&["a"], 109));
            // A wrong clock may give a new file the time of an old one.
            if slack_s > 0 {
                assert!(judge(&["a", "b"], 109) && judge(&["a", "b"], 118));
                assert!(!judge(&["a", "b"], 119), "{changed_s}");
            } else {
                assert!(!judge(&["a"], 110), "{changed_s}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_makes_nothing_old() {
        let clock = Clock(Instant::now());
        for step_s in [3600, -60] {
            let set = |seconds: u64| Moment {
                wall_ns: clock.at(seconds).wall_ns + step_s * SECOND_NS,
                ..clock.at(seconds)
            };
            let mut arrivals = Arrivals::new(Some(RULE));
            let found =
                |key: &str, at: i64| HashMap::from([(self::key(key), different(&["a"], at))]);
            assert!(
                arrivals
                    .judge(b"d", found("s", 80), clock.at(100))
                    .is_empty()
            );
            // Written just before the clock was set.
            assert_eq!(arrivals.judge(b"e", found("t", 104), set(105)).len(), 1);
            assert_eq!(arrivals.due(), Some(clock.at(115).steady));
            assert_eq!(arrivals.judge(b"e", found("t", 104), set(114)).len(), 1);
            assert!(arrivals.judge(b"e", found("t", 104), set(115)).is_empty());
            // And then times count again.
            let after = found("u", 104 + step_s);
            assert!(arrivals.judge(b"f", after, set(116)).is_empty());
        }
    }

    #[test]
    fn a_series_is_told_when_nothing_of_it_waits_in_any_directory() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::new(Some(RULE));
        let found = |at| HashMap::from([(key("s"), different(&["a"], at))]);
        assert!(arrivals.judge(b"1", found(80), clock.at(100)).is_empty());
        assert_eq!(arrivals.judge(b"2", found(99), clock.at(100)).len(), 1);
        let changed = ["s".to_owned(), "t".to_owned()];
        assert_eq!(arrivals.sift(changed.into_iter()), ["t"]);
        assert_eq!(arrivals.untold().len(), 1);
        // What came to nothing has settled too.
        assert!(
            arrivals
                .judge(b"2", HashMap::new(), clock.at(101))
                .is_empty()
        );
        assert_eq!(arrivals.sift(std::iter::empty()), ["s"]);
        assert!(arrivals.untold().is_empty());
    }

    #[test]
    fn a_series_is_due_when_its_last_directory_is() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::new(Some(RULE));
        for (directory, at) in [(b"1", 95), (b"2", 99)] {
            let found = HashMap::from([(key("s"), different(&["a"], at))]);
            arrivals.judge(directory, found, clock.at(100));
        }
        assert_eq!(
            (arrivals.due(), arrivals.series_count()),
            (Some(clock.at(109).steady), 1)
        );
        assert_eq!(arrivals.due_directories(clock.at(109).steady).len(), 2);
        arrivals.forget(b"2");
        assert_eq!(arrivals.due(), Some(clock.at(105).steady));
    }

    #[test]
    fn without_a_rule_nothing_waits() {
        let clock = Clock(Instant::now());
        let mut arrivals = Arrivals::default();
        let found = HashMap::from([(key("s"), different(&["a"], 100))]);
        assert!(arrivals.judge(b"d", found, clock.at(100)).is_empty());
        assert_eq!(arrivals.sift(["s".to_owned()].into_iter()), ["s"]);
    }
}
