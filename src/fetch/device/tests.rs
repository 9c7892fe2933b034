//! Devices and workers at the same frames: bytes are exact whatever a device does.

mod beside;
mod fake;
mod faults;
mod several;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::Tuning;
use crate::cache::{Cache, Layout, SlabKey};
use crate::fetch::{DeviceStats, Error, Fetcher, Interest, Stream};
use fake::{FRAME, Fake, Fate, Handle, Pattern};

const HEADER: usize = 4096;

/// Batches of `frames`; nothing but what has to be is compared.
fn tuning(frames: usize) -> Tuning {
    Tuning {
        spot_check_one_in: u64::MAX,
        takes_waiting: false,
        frames: Some(frames),
        deadline: Some(Duration::from_millis(30)),
        stop_within: Duration::from_millis(50),
        ..Tuning::new(true)
    }
}

fn fetcher(budget_frames: usize, threads: usize, fake: &Arc<Fake>, tuning: Tuning) -> Fetcher {
    let cache = Arc::new(Cache::new((budget_frames * FRAME) as u64, 100).unwrap());
    let devices = vec![Arc::new(Handle(fake.clone())) as Arc<_>];
    Fetcher::tuned(cache, threads, usize::MAX, devices, tuning).unwrap()
}

/// Keeps the worker of a fetcher that has one from its frames until it is dropped, so that a device
/// has its part however slow this machine is.
struct Hold(#[allow(dead_code)] mpsc::Sender<()>);

impl Hold {
    fn new(fetcher: &Fetcher) -> Hold {
        let (send, receive) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        fetcher.run_soon(move || {
            begin.send(()).unwrap_or_default();
            receive.recv().unwrap_or_default();
        });
        begun.recv_timeout(Duration::from_secs(30)).unwrap();
        Hold(send)
    }
}

fn open(fetcher: &Fetcher, frames: usize, pattern: &Arc<Pattern>) -> Arc<Stream> {
    let key = SlabKey {
        volume: format!("v{}", pattern.seed),
        variant: "values",
        fingerprint: [0; 32],
    };
    let layout = || Layout {
        header: vec![9; HEADER],
        frame_len_bytes: FRAME,
        frame_count: frames,
    };
    fetcher.open(&key, layout, || pattern.clone()).unwrap()
}

fn ask(
    fetcher: &Fetcher,
    stream: &Arc<Stream>,
    range: Range<u64>,
) -> mpsc::Receiver<Result<Vec<u8>, Error>> {
    let (send, receive) = mpsc::channel();
    let reply = move |answer: Result<&[u8], Error>| {
        // Who asked may have gone.
        let _ = send.send(answer.map(<[u8]>::to_vec));
    };
    fetcher.read(stream, range, Box::new(reply));
    receive
}

fn answer(receive: &mpsc::Receiver<Result<Vec<u8>, Error>>) -> Result<Vec<u8>, Error> {
    receive
        .recv_timeout(Duration::from_secs(30))
        .expect("a read is always answered")
}

fn frame_range(frame: usize) -> Range<u64> {
    (HEADER + frame * FRAME) as u64..(HEADER + (frame + 1) * FRAME) as u64
}

fn check(pattern: &Pattern, range: &Range<u64>, got: &[u8]) {
    assert_eq!(got.len() as u64, range.end - range.start);
    for (at, byte) in range.clone().zip(got) {
        let expected = match (at as usize).checked_sub(HEADER) {
            None => 9,
            Some(at) => pattern.byte(at / FRAME, at % FRAME),
        };
        assert_eq!(*byte, expected, "at {at}");
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

fn report(fetcher: &Fetcher) -> DeviceStats {
    fetcher.device_stats().remove(0)
}

#[test]
fn a_sweep_is_shared_and_each_frame_is_made_once() {
    let fake = Fake::new(2, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    let pattern = Arc::new(Pattern {
        delay_us: 1000,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 300, &pattern);
    let interest = Interest::default();
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("all is made", || stream.slab().is_complete());
    let all = 0..stream.slab().len_bytes();
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
    let by_device: Vec<usize> = fake.sent.lock().unwrap().concat();
    let mut once = by_device.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), by_device.len(), "no frame is sent twice");
    let made = pattern.made.lock().unwrap();
    assert!(made.values().all(|&n| n == 1));
    let report = report(&fetcher);
    // A frame that was compared was made on both sides.
    let both = made
        .keys()
        .filter(|frame| once.binary_search(frame).is_ok());
    assert_eq!(both.count() as u64, report.frames_compared);
    assert!(
        (1..=2 * 10).contains(&report.frames_compared),
        "the first batch of each lane"
    );
    assert_eq!(report.frames as usize, by_device.len());
    assert!(report.frames > 150, "{report:?}");
    // The CPU has the head, the device the tail.
    assert!(made.contains_key(&0) && by_device.contains(&299));
    let counts = fetcher.made_of("v0");
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 300, "{counts:?}");
    assert_eq!(counts[1], ("fake:0 rle".to_string(), report.frames));
    assert_eq!(fetcher.counters().frames.load(Ordering::Relaxed), 300);
}

#[test]
fn a_demanded_frame_does_not_wait_for_a_batch_that_is_not_sent() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    let pattern = Arc::new(Pattern::default());
    pattern.prepare_gate.close();
    let hold = Hold::new(&fetcher);
    let stream = open(&fetcher, 20, &pattern);
    let interest = Interest::default();
    fetcher.sweep(&stream, &interest, 10, 10);
    wait_for("it is being prepared", || {
        pattern.prepare_gate.waiting.load(Ordering::SeqCst) == 1
    });
    let reads = [15, 19].map(|frame| ask(&fetcher, &stream, frame_range(frame)));
    drop(hold);
    for (read, frame) in reads.iter().zip([15, 19]) {
        check(&pattern, &frame_range(frame), &answer(read).unwrap());
    }
    assert_eq!(fake.batches.load(Ordering::SeqCst), 0);
    pattern.prepare_gate.open();
    wait_for("the rest is made", || stream.slab().present_frames() == 10);
    let made = pattern.made.lock().unwrap().clone();
    let sent = fake.sent.lock().unwrap().concat();
    assert!(!sent.contains(&15) && !sent.contains(&19));
    assert_eq!((made[&15], made[&19]), (1, 1));
}

#[test]
fn a_frame_that_is_demanded_while_it_is_in_a_batch_comes_with_it() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    fake.gate.close();
    let pattern = Arc::new(Pattern {
        delay_us: 100,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 30, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, 30);
    wait_for("it is sent", || {
        fake.gate.waiting.load(Ordering::SeqCst) == 1
    });
    drop(hold);
    wait_for("the CPU has made the others", || {
        let sent = fake.sent.lock().unwrap().concat();
        stream.slab().present_frames() + sent.len() == 30
    });
    let frame = *fake.sent.lock().unwrap()[0].last().unwrap();
    let range = frame_range(frame);
    let read = ask(&fetcher, &stream, range.clone());
    assert!(read.try_recv().is_err());
    fake.gate.open();
    check(&pattern, &range, &answer(&read).unwrap());
    wait_for("all", || stream.slab().is_complete());
    assert_eq!(fetcher.counters().frames.load(Ordering::Relaxed), 30);
}

#[test]
fn nothing_is_sent_for_readers_that_went_away() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(50));
    let pattern = Arc::new(Pattern {
        delay_us: 500,
        ..Pattern::default()
    });
    pattern.prepare_gate.close();
    let stream = open(&fetcher, 1000, &pattern);
    let interest = Interest::default();
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("it is being prepared", || {
        pattern.prepare_gate.waiting.load(Ordering::SeqCst) == 1
    });
    drop(interest);
    pattern.prepare_gate.open();
    let other = Arc::new(Pattern {
        seed: 1,
        ..Pattern::default()
    });
    let second = open(&fetcher, 100, &other);
    let interest = Interest::default();
    fetcher.sweep(&second, &interest, 0, 100);
    wait_for("the other is made", || second.slab().is_complete());
    let prepared = pattern.prepared.lock().unwrap().len();
    assert!(prepared <= 2, "{prepared} of 50");
    let made = stream.slab().present_frames();
    assert!(made < 950, "{made} of 1000");
}

#[test]
fn the_budget_holds() {
    let fake = Fake::new(2, |_| Fate::Right);
    let fetcher = fetcher(60, 2, &fake, tuning(10));
    let pattern = Arc::new(Pattern {
        delay_us: 200,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 400, &pattern);
    let interest = Interest::default();
    for frame in 0..400 {
        fetcher.sweep(&stream, &interest, frame, usize::MAX);
        let range = frame_range(frame);
        check(
            &pattern,
            &range,
            &answer(&ask(&fetcher, &stream, range.clone())).unwrap(),
        );
        let resident = fetcher.cache().resident_bytes();
        // A demanded frame may go beyond it, and two batches may be counted twice for a moment.
        assert!(resident <= 82 * FRAME as u64, "{resident} at {frame}");
    }
    drop(interest);
    wait_for("all that is held is what is there", || {
        fetcher.cache().trim();
        fetcher.cache().resident_bytes() <= 60 * FRAME as u64
    });
    assert!(report(&fetcher).frames > 0);
}

#[test]
fn shutdown_ends_a_batch_under_way() {
    for (fate, takes_ms) in [(Fate::Hang, 0), (Fate::Deaf, 50)] {
        let fake = Fake::new(2, move |_| fate);
        let tuning = Tuning {
            deadline: Some(Duration::from_secs(60)),
            ..tuning(10)
        };
        let fetcher = fetcher(1000, 1, &fake, tuning);
        let pattern = Arc::new(Pattern {
            delay_us: 2000,
            ..Pattern::default()
        });
        let stream = open(&fetcher, 100, &pattern);
        let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
        fetcher.sweep(&stream, &interest, 0, usize::MAX);
        wait_for("both lanes", || fake.batches.load(Ordering::SeqCst) >= 2);
        drop(hold);
        let frame = fake.sent.lock().unwrap()[0][0];
        let read = ask(&fetcher, &stream, frame_range(frame));
        let start = Instant::now();
        fetcher.shutdown();
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(takes_ms),
            "{fate:?}: {took:?}"
        );
        assert!(took < Duration::from_secs(10), "{fate:?}: {took:?}");
        // Made by the CPU or not at all, never wrong.
        match answer(&read) {
            Ok(bytes) => check(&pattern, &frame_range(frame), &bytes),
            Err(error) => assert_eq!(error, Error::ShuttingDown),
        }
    }
}

#[test]
fn a_device_that_does_not_start_is_no_device() {
    struct Absent;
    impl super::Device for Absent {
        fn name(&self) -> String {
            "absent:0".to_string()
        }
        fn start(&self) -> Result<Vec<Box<dyn super::Lane>>, String> {
            Err("no driver".to_string())
        }
        fn readiness(&self) -> super::Readiness {
            super::Readiness::Ready
        }
        fn state(&self) -> String {
            "ready".to_string()
        }
        fn stop(&self) {}
    }
    let cache = Arc::new(Cache::new(1 << 20, 100).unwrap());
    let devices = vec![Arc::new(Absent) as Arc<_>];
    let fetcher = Fetcher::with_devices(cache, 1, usize::MAX, devices, true).unwrap();
    let pattern = Arc::new(Pattern::default());
    let stream = open(&fetcher, 20, &pattern);
    fetcher.sweep(&stream, &Interest::default(), 0, 20);
    let all = 0..stream.slab().len_bytes();
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
    wait_for("it is said", || report(&fetcher).state == "no driver");
}

#[test]
fn a_device_that_loses_is_left_alone() {
    // The CPU takes some 20 us a frame, the device 50 ms a batch.
    let fake = Fake::new(1, |_| Fate::Slow(50_000));
    let tuning = Tuning {
        frames: None,
        deadline: None,
        ..tuning(0)
    };
    let fetcher = fetcher(8000, 1, &fake, tuning);
    let pattern = Arc::new(Pattern {
        delay_us: 20,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 3000, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    let start = Instant::now();
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("it is tried", || fake.batches.load(Ordering::SeqCst) > 0);
    drop(hold);
    wait_for("all is made", || stream.slab().is_complete());
    let batches = fake.batches.load(Ordering::SeqCst);
    // One, or as many as there are seconds: many where the machine has other work.
    let seconds = start.elapsed().as_secs();
    assert!(
        (1..=5 + seconds).contains(&batches),
        "{batches}, {seconds} s"
    );
    let frames = report(&fetcher).frames;
    assert!(frames < 300, "{frames} of 3000");
}

#[test]
fn a_device_that_wins_makes_most() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        frames: None,
        deadline: None,
        ..tuning(0)
    };
    let fetcher = fetcher(4000, 1, &fake, tuning);
    let pattern = Arc::new(Pattern {
        delay_us: 2000,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 1000, &pattern);
    let interest = Interest::default();
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("all is made", || stream.slab().is_complete());
    let report = report(&fetcher);
    assert!(report.frames > 600, "{report:?}");
    let all = 0..stream.slab().len_bytes();
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
}
