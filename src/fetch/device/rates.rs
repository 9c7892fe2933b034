//! How fast the CPU and a device are at what, whether the device is worth using for it, and how much
//! of it to give it at a time.
//!
//! Pure: told what was measured and what time it is. Of each kind of frame a device first gets small
//! batches that grow, since a batch has costs of its own; then it is used or left, and what is left
//! is tried again, ever more rarely.

use std::collections::HashMap;
use std::time::Duration;

/// How long a batch is meant to take: long against its own costs (a message each way, launches),
/// short for who comes to wait for one of its frames.
const BATCH_TARGET: Duration = Duration::from_millis(30);

/// A trial that took this long says enough about larger ones.
const TRIAL_LONG_ENOUGH: Duration = Duration::from_millis(20);

/// Frames of the first trial and of the last.
const TRIAL_FRAMES_MIN: usize = 8;
const TRIAL_FRAMES_MAX: usize = 64;

/// Trials before it is decided, however small they were.
const TRIALS_MAX: u32 = 6;

/// Most frames of a batch.
const BATCH_FRAMES_MAX: usize = 512;

/// Fewer are left to the CPU.
const BATCH_FRAMES_MIN: usize = 2;

/// How long a route that lost is left alone: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Shortest deadline of a batch, and that of one whose speed is not known: a device compiles and loads
/// before its first.
const DEADLINE_MIN: Duration = Duration::from_secs(2);
const DEADLINE_UNKNOWN: Duration = Duration::from_secs(10);

/// A batch may take so many times what is expected.
const DEADLINE_FACTOR: f64 = 20.0;

/// Share of a new measurement in what is believed.
const WEIGHT_OF_BATCH: f64 = 0.25;
const WEIGHT_OF_FRAME: f64 = 1.0 / 16.0;

/// What frames have in common that take the same time: who decodes them on the CPU, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    decoder: &'static str,
    /// Frames of one class differ by less than a factor of two.
    class: u32,
}

impl Kind {
    pub(super) fn new(decoder: &'static str, frame_len_bytes: usize) -> Kind {
        let class = frame_len_bytes.max(1).ilog2();
        Kind { decoder, class }
    }
}

/// Time that a worker of the CPU takes for a frame.
#[derive(Debug, Default)]
pub(super) struct CpuRates(HashMap<Kind, f64>);

impl CpuRates {
    /// Notes that a frame took `ns`.
    pub(super) fn took(&mut self, kind: Kind, ns: u64) {
        let ns = ns as f64;
        let known = self.0.entry(kind).or_insert(ns);
        *known += (ns - *known) * WEIGHT_OF_FRAME;
    }

    /// ns a frame.
    pub(super) fn ns(&self, kind: Kind) -> Option<f64> {
        self.0.get(&kind).copied()
    }
}

/// Who shares the work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    /// Workers of the CPU.
    pub(super) threads: usize,
    /// Lanes of the device.
    pub(super) lanes: usize,
}

/// What a batch took, host and device together, checks left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// Good frames.
    pub(super) frames: usize,
    /// From the first frame prepared to the last one committed.
    pub(super) wall: Duration,
    /// What of it kept a CPU of this machine busy, on either side.
    pub(super) host: Duration,
}

/// Limits of the next batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    /// Most frames.
    most: usize,
    /// Share of what is left to be made that a lane may take, so that all end at the same time.
    share: f64,
}

impl Size {
    /// Frames to take of those that are left.
    pub(super) fn of(self, left: usize, threads: usize) -> usize {
        // As many as there are workers are as good as taken by them.
        let free = left.saturating_sub(threads);
        let count = ((left as f64 * self.share) as usize)
            .min(self.most)
            .min(free);
        match count < BATCH_FRAMES_MIN {
            true => 0,
            false => count,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Trial { frames: usize, trials: u32 },
    InUse,
    Left { until: Duration },
}

#[derive(Debug, Clone, Copy)]
struct Route {
    stage: Stage,
    /// ns a frame of a lane, and of that on this machine's CPUs.
    wall_ns: Option<f64>,
    host_ns: f64,
    pause: Duration,
}

const TRIAL: Stage = Stage::Trial {
    frames: TRIAL_FRAMES_MIN,
    trials: 0,
};

impl Default for Route {
    fn default() -> Route {
        Route {
            stage: TRIAL,
            wall_ns: None,
            host_ns: 0.0,
            pause: Duration::ZERO,
        }
    }
}

/// What is known of one device.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<Kind, Route>);

impl Rates {
    /// How large a batch of this kind may be now; `None` while the device is not used for it.
    pub(super) fn size(
        &mut self,
        kind: Kind,
        cpu_ns: Option<f64>,
        crowd: Crowd,
        now: Duration,
    ) -> Option<Size> {
        let route = self.0.entry(kind).or_default();
        if let Stage::Left { until } = route.stage {
            if now < until {
                return None;
            }
            route.stage = TRIAL;
        }
        let (most, share) = match (route.stage, route.wall_ns, cpu_ns) {
            (Stage::InUse, Some(wall_ns), Some(cpu_ns)) => {
                let most = (BATCH_TARGET.as_nanos() as f64 / wall_ns.max(1.0)) as usize;
                let lane = 1.0 / wall_ns.max(1.0);
                let all = crowd.lanes as f64 * lane + crowd.threads as f64 / cpu_ns.max(1.0);
                (most.clamp(BATCH_FRAMES_MIN, BATCH_FRAMES_MAX), lane / all)
            }
            (Stage::Trial { frames, .. }, ..) => (frames, 0.5),
            // Nothing to compare with yet.
            _ => (TRIAL_FRAMES_MIN, 0.5),
        };
        Some(Size { most, share })
    }

    /// Notes what a batch took, and decides.
    pub(super) fn took(
        &mut self,
        kind: Kind,
        took: Took,
        cpu_ns: Option<f64>,
        crowd: Crowd,
        now: Duration,
    ) {
        let route = self.0.entry(kind).or_default();
        if took.frames == 0 {
            return route.leave(now);
        }
        let per_frame = |time: Duration| time.as_nanos() as f64 / took.frames as f64;
        let (wall_ns, host_ns) = (per_frame(took.wall), per_frame(took.host));
        match (route.stage, route.wall_ns) {
            (Stage::InUse, Some(known)) => {
                route.wall_ns = Some(known + (wall_ns - known) * WEIGHT_OF_BATCH);
                route.host_ns += (host_ns - route.host_ns) * WEIGHT_OF_BATCH;
            }
            // A larger batch knows better.
            _ => (route.wall_ns, route.host_ns) = (Some(wall_ns), host_ns),
        }
        if let Stage::Trial { frames, trials } = route.stage {
            let more = frames < TRIAL_FRAMES_MAX && trials + 1 < TRIALS_MAX;
            if more && took.wall < TRIAL_LONG_ENOUGH || cpu_ns.is_none() {
                let filled = took.frames >= frames;
                route.stage = Stage::Trial {
                    frames: if filled {
                        (2 * frames).min(TRIAL_FRAMES_MAX)
                    } else {
                        frames
                    },
                    trials: trials + 1,
                };
                return;
            }
        }
        match cpu_ns.is_none_or(|cpu_ns| route.wins(cpu_ns, crowd)) {
            true => (route.stage, route.pause) = (Stage::InUse, Duration::ZERO),
            false => route.leave(now),
        }
    }

    /// Notes that a batch came to nothing.
    pub(super) fn lost(&mut self, kind: Kind, now: Duration) {
        self.0.entry(kind).or_default().leave(now);
    }

    /// How long a batch may take before its device is taken for dead.
    pub(super) fn deadline(&self, kind: Kind, frames: usize) -> Duration {
        let known = self
            .0
            .get(&kind)
            .filter(|route| route.stage == Stage::InUse);
        let Some(wall_ns) = known.and_then(|route| route.wall_ns) else {
            return DEADLINE_UNKNOWN;
        };
        let expected_ns = wall_ns * frames as f64 * DEADLINE_FACTOR;
        Duration::from_nanos(expected_ns as u64).max(DEADLINE_MIN)
    }
}

impl Route {
    /// A device is worth it when each of its frames costs this machine's CPUs less than decoding it
    /// there would, and it adds at least what one more of them would.
    fn wins(&self, cpu_ns: f64, crowd: Crowd) -> bool {
        let wall_ns = self.wall_ns.unwrap_or(f64::INFINITY);
        self.host_ns < cpu_ns && wall_ns <= cpu_ns * crowd.lanes as f64
    }

    fn leave(&mut self, now: Duration) {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.stage = Stage::Left {
            until: now.saturating_add(self.pause),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Crowd = Crowd {
        threads: 4,
        lanes: 2,
    };
    const NOW: Duration = Duration::from_secs(100);
    const MS: f64 = 1e6;

    fn kind() -> Kind {
        Kind::new("openjpeg", 512 << 10)
    }

    fn took(frames: usize, frame_us: u64, host_us: u64) -> Took {
        Took {
            frames,
            wall: Duration::from_micros(frame_us * frames as u64),
            host: Duration::from_micros(host_us * frames as u64),
        }
    }

    /// Rates after trials of a device that takes `frame_us` a frame, `host_us` of them on this machine.
    fn tried(frame_us: u64, host_us: u64, cpu_ns: f64) -> Rates {
        let mut rates = Rates::default();
        for _ in 0..TRIALS_MAX {
            let Some(size) = rates.size(kind(), Some(cpu_ns), CROWD, NOW) else {
                break;
            };
            let took = took(size.most, frame_us, host_us);
            rates.took(kind(), took, Some(cpu_ns), CROWD, NOW);
        }
        rates
    }

    #[test]
    fn a_route_is_used_when_it_wins() {
        for (frame_us, host_us, cpu_ns, wins, why) in [
            (300, 100, 20.0 * MS, true, "much faster"),
            (39_000, 1000, 20.0 * MS, true, "two lanes of half a core"),
            (41_000, 1000, 20.0 * MS, false, "less than a core"),
            (300, 300, 0.2 * MS, false, "dearer than decoding"),
            (50, 20, 0.03 * MS, true, "small frames"),
        ] {
            let mut rates = tried(frame_us, host_us, cpu_ns);
            let size = rates.size(kind(), Some(cpu_ns), CROWD, NOW);
            assert_eq!(size.is_some(), wins, "{why}: {rates:?}");
        }
    }

    #[test]
    fn trials_grow_until_they_say_enough() {
        let mut rates = Rates::default();
        let mut sizes = Vec::new();
        let cpu_ns = Some(20.0 * MS);
        for _ in 0..5 {
            let size = rates.size(kind(), cpu_ns, CROWD, NOW).unwrap();
            sizes.push(size.most);
            rates.took(kind(), took(size.most, 100, 10), cpu_ns, CROWD, NOW);
        }
        assert_eq!(sizes, [8, 16, 32, 64, 300], "30 ms at 100 us");
        // A batch with dear fixed costs is not judged by its first.
        let mut rates = Rates::default();
        for frame_us in [2000, 1000, 500] {
            let size = rates.size(kind(), Some(0.5 * MS), CROWD, NOW).unwrap();
            rates.took(
                kind(),
                took(size.most, frame_us, 10),
                Some(0.5 * MS),
                CROWD,
                NOW,
            );
        }
        assert!(rates.size(kind(), Some(0.5 * MS), CROWD, NOW).is_some());
    }

    #[test]
    fn trials_end_also_where_they_stay_small() {
        let mut rates = Rates::default();
        for _ in 0..TRIALS_MAX {
            rates.took(kind(), took(2, 100, 90), Some(0.08 * MS), CROWD, NOW);
        }
        assert_eq!(rates.size(kind(), Some(0.08 * MS), CROWD, NOW), None);
    }

    #[test]
    fn what_lost_is_tried_again_ever_more_rarely() {
        let (mut rates, mut now) = (Rates::default(), NOW);
        for pause_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            rates.lost(kind(), now);
            let just_before = now + Duration::from_secs(pause_s) - Duration::from_nanos(1);
            assert_eq!(rates.size(kind(), None, CROWD, just_before), None);
            now += Duration::from_secs(pause_s);
            let size = rates.size(kind(), None, CROWD, now).unwrap();
            assert_eq!(size.most, TRIAL_FRAMES_MIN);
        }
        // Another kind is not concerned.
        let other = Kind::new("rle (own)", 512 << 10);
        rates.lost(kind(), now);
        assert!(rates.size(other, None, CROWD, now).is_some());
        // Having won, it starts again with the shortest pause.
        now += PAUSE_MAX;
        for _ in 0..TRIALS_MAX {
            rates.size(kind(), Some(20.0 * MS), CROWD, now);
            rates.took(kind(), took(64, 300, 10), Some(20.0 * MS), CROWD, now);
        }
        rates.took(kind(), took(0, 0, 0), Some(20.0 * MS), CROWD, now);
        assert!(rates.size(kind(), None, CROWD, now + PAUSE_MIN).is_some());
    }

    #[test]
    fn a_batch_leaves_the_cpus_their_part() {
        // 1 ms a frame and lane, 4 ms a frame and thread: 2 lanes make 2 a ms, 4 threads 1.
        let mut rates = tried(1000, 100, 4.0 * MS);
        let size = rates.size(kind(), Some(4.0 * MS), CROWD, NOW).unwrap();
        for (left, expected) in [
            (1000, 30),
            (60, 20),
            (30, 10),
            (9, 3),
            (7, 2),
            (6, 2),
            (5, 0),
            (0, 0),
        ] {
            assert_eq!(size.of(left, 4), expected, "{left}");
        }
        let size = Size {
            most: 8,
            share: 0.5,
        };
        assert_eq!((size.of(7, 4), size.of(8, 6), size.of(40, 4)), (3, 2, 8));
    }

    #[test]
    fn what_is_measured_is_smoothed() {
        let mut cpu = CpuRates::default();
        assert_eq!(cpu.ns(kind()), None);
        cpu.took(kind(), 1000);
        cpu.took(kind(), 2600);
        assert_eq!(cpu.ns(kind()), Some(1100.0));
        assert_eq!(cpu.ns(Kind::new("openjpeg", 1 << 10)), None);
        let mut rates = tried(300, 100, 20.0 * MS);
        rates.took(kind(), took(64, 700, 100), Some(20.0 * MS), CROWD, NOW);
        assert_eq!(rates.0[&kind()].wall_ns, Some(400_000.0));
    }

    #[test]
    fn deadlines_are_generous() {
        let rates = tried(30_000, 100, 20.0 * MS);
        assert_eq!(rates.deadline(kind(), 10), Duration::from_secs(6));
        assert_eq!(rates.deadline(kind(), 1), DEADLINE_MIN);
        assert_eq!(Rates::default().deadline(kind(), 10), DEADLINE_UNKNOWN);
    }
}
