//! Batches for a volume whose memory the device is being filled with: what is right of them is there and
//! is not copied, all else is, and the memory holds the array whatever happens.

use std::os::unix::fs::FileExt;

use super::*;
use crate::fetch::fake_memory as memory;
use crate::fetch::{DeviceMemory, Lease, MemoryBudget, ResidentStats};

const FRAMES: usize = 100;

/// The number that the memory has.
const ORDINAL: u32 = 7;

/// A cache of which the half, as much as is made ahead, has room for the volume; and the frames of the
/// filler's runs under way then: all else is made ahead.
const CACHE_FRAMES: usize = 240;
const DEMANDED: usize = 3 * CACHE_FRAMES / 16;

/// A fetcher whose only device has one lane, and memory for volumes.
struct Bench {
    fetcher: Fetcher,
    device: Arc<Fake>,
    memory: Arc<memory::Fake>,
    pattern: Arc<Pattern>,
    stream: Arc<Stream>,
}

impl Bench {
    fn new(choose: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Bench {
        Bench::of(ORDINAL, choose)
    }

    /// The same of a device with this number.
    fn of(ordinal: u32, choose: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Bench {
        let memory = Arc::new(memory::Fake::new(1 << 30));
        let device = Fake::with_memory((ordinal, &memory), choose);
        let fetcher = fetcher(CACHE_FRAMES, 1, &device, tuning(10));
        let memories = vec![memory.clone() as Arc<dyn DeviceMemory>];
        let budget = MemoryBudget::Percent(50);
        fetcher.export_to(memories, budget).unwrap();
        let pattern = Arc::new(Pattern::default());
        let stream = open(&fetcher, FRAMES, &pattern);
        Bench {
            fetcher,
            device,
            memory,
            pattern,
            stream,
        }
    }

    fn begin(&self, uid: u32) -> (Lease, mpsc::Receiver<Result<(), Error>>) {
        let lease = self.fetcher.lease(&self.stream, uid).unwrap();
        let (send, receive) = mpsc::channel();
        lease.when_resident(move |settled| send.send(settled.map(drop)).unwrap_or_default());
        (lease, receive)
    }

    /// Has the volume made resident with the worker kept away until the device has done its part, or has
    /// been asked so often.
    fn fill(&self, batches: u64) -> Lease {
        let hold = Hold::new(&self.fetcher);
        let (lease, settled) = self.begin(1);
        wait_for("the device's part", || {
            let is_ahead = self.stream.slab().present_frames() >= FRAMES - DEMANDED;
            is_ahead || self.device.batches.load(Ordering::SeqCst) >= batches
        });
        drop(hold);
        self.wait(&settled);
        lease
    }

    fn wait(&self, settled: &mpsc::Receiver<Result<(), Error>>) {
        let settled = settled.recv_timeout(Duration::from_secs(30));
        settled.expect("always answered").unwrap();
    }

    /// Checks all that the device holds.
    fn check_held(&self, volumes: usize, case: &str) {
        let held = self.memory.held.lock().unwrap();
        assert_eq!(held.len(), volumes, "{case}");
        for (file, _) in held.values() {
            let mut bytes = vec![0; FRAMES * FRAME];
            file.read_exact_at(&mut bytes, 0).unwrap();
            for (at, byte) in bytes.iter().enumerate() {
                let expected = self.pattern.byte(at / FRAME, at % FRAME);
                assert_eq!(*byte, expected, "{case}: frame {}", at / FRAME);
            }
        }
    }

    fn stats(&self) -> ResidentStats {
        self.fetcher.resident_stats()
    }

    /// Frames that the device made; they are counted just after the last of them may be seen.
    fn shown(&self) -> u64 {
        let shown = || report(&self.fetcher).frames;
        wait_for("all are counted", || shown() >= self.stats().beside_frames);
        shown()
    }

    /// Waits until a batch is with the device, whose gate is closed.
    fn wait_sent(&self) {
        wait_for("a batch is sent", || {
            self.device.gate.waiting.load(Ordering::SeqCst) == 1
        });
    }

    fn asked_beside(&self) -> usize {
        self.device.beside.lock().unwrap().iter().flatten().count()
    }
}

#[test]
fn what_a_lane_decodes_does_not_go_up_again() {
    let bench = Bench::new(|_| Fate::Right);
    let _lease = bench.fill(u64::MAX);
    bench.check_held(1, "right");
    let stats = bench.stats();
    let by_device = bench.shown();
    assert!(by_device as usize >= FRAMES - DEMANDED, "{by_device}");
    assert_eq!(stats.beside_frames, by_device);
    assert_eq!(stats.uploaded_frames, FRAMES as u64 - by_device);
    let parts = bench.device.beside.lock().unwrap();
    assert!(parts.iter().all(Option::is_some), "{parts:?}");
}

#[test]
fn whatever_becomes_of_a_batch_the_memory_holds_the_array() {
    for fate in fake::FATES {
        // What is wrong with one frame later, in no way that shows, is what devices are trusted with.
        let is_seen = !matches!(fate, Fate::WrongFirst | Fate::WrongLast);
        for bad in [0, 2].into_iter().filter(|bad| *bad == 0 || is_seen) {
            let case = format!("{fate:?} from batch {bad}");
            let bench = Bench::new(move |batch| if batch == bad { fate } else { Fate::Right });
            let _lease = bench.fill(bad + 1);
            bench.check_held(1, &case);
            let stats = bench.stats();
            let is_stuck = matches!(fate, Fate::Stuck | Fate::Panic);
            let released = bench.memory.released.load(Ordering::SeqCst);
            assert_eq!(released, usize::from(is_stuck), "{case}: filled again");
            let shown = bench.shown();
            let all = stats.beside_frames + stats.uploaded_frames;
            match is_stuck {
                true => assert!(all >= FRAMES as u64, "{case}: {stats:?}"),
                false => assert_eq!(all, FRAMES as u64, "{case}: {stats:?}"),
            }
            // Nothing of a batch counts that has a difference.
            if bad == 0 && matches!(fate, Fate::WrongFirst | Fate::WrongLast | Fate::Zeros) {
                assert_eq!((shown, stats.beside_frames), (0, 0), "{case}");
                assert!(bench.asked_beside() > 0, "{case}");
            }
        }
    }
}

#[test]
fn a_difference_in_a_batch_leaves_what_came_before_it() {
    let bench = Bench::new(|batch| match batch {
        // Its first frame is suspicious, and so compared.
        2 => Fate::Zeros,
        _ => Fate::Right,
    });
    let _lease = bench.fill(3);
    bench.check_held(1, "zeros");
    let stats = bench.stats();
    assert_eq!(report(&bench.fetcher).mismatches, 1);
    let sent = bench.device.sent.lock().unwrap();
    let before: usize = sent[..2].iter().map(Vec::len).sum();
    assert_eq!(stats.beside_frames, before as u64);
}

#[test]
fn a_volume_that_is_left_while_a_batch_is_under_way_costs_nobody_anything() {
    let bench = Bench::new(|_| Fate::Right);
    bench.device.gate.close();
    let hold = Hold::new(&bench.fetcher);
    let (lease, _settled) = bench.begin(1);
    bench.wait_sent();
    drop(lease);
    let released = || bench.memory.released.load(Ordering::SeqCst) == 1;
    wait_for("its memory is given back", released);
    bench.device.gate.open();
    wait_for("the batch is shown", || report(&bench.fetcher).batches == 1);
    let shown = report(&bench.fetcher).frames;
    assert!(shown > 0 && report(&bench.fetcher).faults == 0);
    assert_eq!(bench.stats().beside_frames, 0, "there is nothing there");
    drop(hold);
    let (_lease, settled) = bench.begin(1);
    bench.wait(&settled);
    bench.check_held(1, "anew");
    let stats = bench.stats();
    assert_eq!(stats.beside_frames + stats.uploaded_frames, FRAMES as u64);
    assert!(stats.uploaded_frames >= shown, "those are in the slab");
}

#[test]
fn memory_that_is_lost_while_a_batch_is_under_way_is_filled_again() {
    let bench = Bench::new(|_| Fate::Right);
    bench.device.gate.close();
    let hold = Hold::new(&bench.fetcher);
    let (_lease, settled) = bench.begin(1);
    bench.wait_sent();
    bench.memory.die();
    bench.device.gate.open();
    wait_for("the batch is shown", || report(&bench.fetcher).batches >= 1);
    assert_eq!(bench.stats().beside_frames, 0);
    drop(hold);
    bench.wait(&settled);
    bench.check_held(1, "again");
}

#[test]
fn memory_that_is_lost_when_all_is_there_is_filled_again() {
    let bench = Bench::new(|_| Fate::Right);
    // All but the device's part is in the slab, and the last batch of it is under way.
    let hold = Hold::new(&bench.fetcher);
    bench.memory.gate.close();
    let (_lease, settled) = bench.begin(1);
    wait_for("the device's part", || {
        bench.stream.slab().present_frames() >= FRAMES - DEMANDED
    });
    drop(hold);
    wait_for("a copy", || {
        bench.memory.gate.waiting.load(Ordering::SeqCst)
    });
    *bench.memory.dies_after.lock().unwrap() = Some(0);
    bench.memory.gate.open();
    bench.wait(&settled);
    bench.check_held(1, "again");
    assert!(bench.stats().uploaded_frames >= FRAMES as u64);
}

#[test]
fn of_two_users_memories_one_is_filled_beside() {
    let bench = Bench::new(|_| Fate::Right);
    bench.device.gate.close();
    let hold = Hold::new(&bench.fetcher);
    let begun = [1, 2].map(|uid| bench.begin(uid));
    wait_for("both are filled", || {
        bench.memory.held.lock().unwrap().len() == 2
    });
    bench.wait_sent();
    bench.device.gate.open();
    wait_for("the device's part", || {
        bench.stream.slab().present_frames() >= FRAMES - DEMANDED
    });
    drop(hold);
    for (_, settled) in &begun {
        bench.wait(settled);
    }
    bench.check_held(2, "two");
    let stats = bench.stats();
    assert_eq!(stats.beside_frames, bench.shown());
    let all = stats.beside_frames + stats.uploaded_frames;
    assert_eq!(all, 2 * FRAMES as u64, "{stats:?}");
}

#[test]
fn frames_that_were_there_before_are_copied() {
    let bench = Bench::new(|_| Fate::Right);
    let hold = Hold::new(&bench.fetcher);
    let interest = Interest::default();
    bench.fetcher.sweep(&bench.stream, &interest, 0, FRAMES);
    wait_for("all is made", || bench.stream.slab().is_complete());
    drop(hold);
    let (_lease, settled) = bench.begin(1);
    bench.wait(&settled);
    bench.check_held(1, "before");
    let stats = bench.stats();
    assert_eq!((stats.beside_frames, bench.asked_beside()), (0, 0));
    assert_eq!(stats.uploaded_frames, FRAMES as u64);
}

#[test]
fn a_batch_from_before_the_volume_was_wanted_there_is_copied() {
    let bench = Bench::new(|_| Fate::Right);
    bench.device.gate.close();
    let hold = Hold::new(&bench.fetcher);
    let interest = Interest::default();
    bench.fetcher.sweep(&bench.stream, &interest, 0, FRAMES);
    bench.wait_sent();
    let early = bench.device.sent.lock().unwrap()[0].len() as u64;
    let (_lease, settled) = bench.begin(1);
    wait_for("it is being filled", || {
        bench.memory.held.lock().unwrap().len() == 1
    });
    bench.device.gate.open();
    wait_for("the device's part", || {
        bench.stream.slab().present_frames() >= FRAMES - DEMANDED
    });
    drop(hold);
    bench.wait(&settled);
    bench.check_held(1, "early");
    let stats = bench.stats();
    wait_for("the early ones count as copied", || {
        report(&bench.fetcher).frames >= stats.beside_frames + early
    });
    assert_eq!(stats.beside_frames + stats.uploaded_frames, FRAMES as u64);
}

#[test]
fn another_device_leaves_nothing_in_this_ones_memory() {
    let bench = Bench::of(ORDINAL + 1, |_| Fate::Right);
    let _lease = bench.fill(u64::MAX);
    bench.check_held(1, "another");
    assert!(report(&bench.fetcher).frames > 0);
    let stats = bench.stats();
    assert_eq!((stats.beside_frames, bench.asked_beside()), (0, 0));
    assert_eq!(stats.uploaded_frames, FRAMES as u64);
}
