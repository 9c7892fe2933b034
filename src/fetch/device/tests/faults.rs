//! What a device may do wrong, one after the other and at random.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::fake::FATES;
use super::*;

/// Sweeps a stream of 60 frames with batches of this fate, reads all of it, and compares.
fn sweep_with(fate: Fate, tuning: Tuning) -> (Fetcher, Arc<Stream>, Arc<Fake>, Arc<Pattern>) {
    let fake = Fake::new(1, move |_| fate);
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let pattern = Arc::new(Pattern {
        delay_us: 300,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 60, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("a batch is sent", || {
        fake.batches.load(Ordering::SeqCst) > 0
    });
    drop(hold);
    let all = 0..stream.slab().len_bytes();
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
    // What nobody asks for any more is made too: read once more, it is still right.
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
    (fetcher, stream, fake, pattern)
}

#[test]
fn whatever_becomes_of_a_batch_the_bytes_are_right() {
    for fate in FATES {
        // What is wrong in its last frame alone is for spot checks.
        let spot_check_one_in = if fate == Fate::WrongLast { 1 } else { u64::MAX };
        let tuning = Tuning {
            spot_check_one_in,
            ..tuning(10)
        };
        let (fetcher, _stream, _fake, pattern) = sweep_with(fate, tuning);
        let report = report(&fetcher);
        let is_fault = matches!(
            fate,
            Fate::Short | Fate::Hang | Fate::Die | Fate::Stuck | Fate::Panic | Fate::Deaf
        );
        assert_eq!(report.faults > 0, is_fault, "{fate:?}: {report:?}");
        let is_wrong = matches!(fate, Fate::WrongFirst | Fate::WrongLast | Fate::Zeros);
        assert_eq!(
            report.mismatches,
            u64::from(is_wrong),
            "{fate:?}: {report:?}"
        );
        let retired: &[&str] = if is_wrong { &["rle"] } else { &[] };
        assert_eq!(report.retired, retired, "{fate:?}");
        let refused = report.refusals.contains_key("codestream");
        assert_eq!(refused, fate == Fate::Refused, "{fate:?}: {report:?}");
        let findings = fetcher.failures();
        assert_eq!(
            findings.len(),
            usize::from(is_wrong),
            "{fate:?}: {findings:?}"
        );
        assert!(
            findings
                .iter()
                .all(|f| f.code == "device_mismatch" && f.volume == "v0")
        );
        // Right, compared, or abandoned with their slab: no frame is made more than so often.
        let most = if fate == Fate::Stuck || fate == Fate::Panic {
            3
        } else {
            2
        };
        assert!(
            pattern.made.lock().unwrap().values().all(|&n| n <= most),
            "{fate:?}"
        );
        assert_eq!(fetcher.counters().failures.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn frames_of_one_value_are_compared() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    let pattern = Arc::new(Pattern {
        delay_us: 300,
        uniform_from: Some(30),
        ..Pattern::default()
    });
    let stream = open(&fetcher, 60, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("a batch is sent", || {
        fake.batches.load(Ordering::SeqCst) > 0
    });
    drop(hold);
    wait_for("all is made", || stream.slab().is_complete());
    let sent = fake.sent.lock().unwrap().concat();
    let uniform = sent.iter().filter(|frame| **frame >= 30).count() as u64;
    let report = report(&fetcher);
    assert!(
        (uniform..=uniform + 1).contains(&report.frames_compared),
        "{report:?}"
    );
    assert_eq!((report.mismatches, report.frames), (0, sent.len() as u64));
}

/// A process that ends while nobody waits for it is replaced, and nobody is told.
#[test]
fn another_process_is_proven_anew_also_at_streams_that_the_one_before_was_proven_at() {
    // The second process is wrong in what would not be looked at, were it believed for the first.
    let is_second = Arc::new(AtomicBool::new(false));
    let is_wrong = is_second.clone();
    let fake = Fake::new(1, move |_| match is_wrong.load(Ordering::SeqCst) {
        false => Fate::Right,
        true => Fate::WrongFirst,
    });
    let tuning = Tuning {
        proven_frames: 4,
        ..tuning(8)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let pattern = Arc::new(Pattern {
        delay_us: 300,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 60, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 52, usize::MAX);
    wait_for("it is proven", || stream.slab().present_frames() == 8);
    let first = report(&fetcher);
    assert_eq!((first.frames, first.frames_compared), (8, 4), "{first:?}");
    is_second.store(true, Ordering::SeqCst);
    fake.process.fetch_add(1, Ordering::SeqCst);
    let other = Interest::default();
    fetcher.sweep(&stream, &other, 0, usize::MAX);
    wait_for("the other is found out", || {
        report(&fetcher).mismatches == 1
    });
    drop(hold);
    let all = 0..stream.slab().len_bytes();
    check(
        &pattern,
        &all,
        &answer(&ask(&fetcher, &stream, all.clone())).unwrap(),
    );
    assert_eq!(report(&fetcher).mismatches, 1);
}

#[test]
fn what_the_cpu_cannot_make_is_not_shown_of_a_device() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    let pattern = Arc::new(Pattern {
        delay_us: 300,
        broken: (40..60).collect(),
        ..Pattern::default()
    });
    let stream = open(&fetcher, 60, &pattern);
    let interest = Interest::default();
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("the others are made", || {
        stream.slab().present_frames() == 40
    });
    for frame in 40..60 {
        let read = ask(&fetcher, &stream, frame_range(frame));
        assert!(matches!(answer(&read), Err(Error::Malformed(_))), "{frame}");
    }
    assert_eq!(report(&fetcher).frames, 0, "the stream is left to the CPU");
    assert!(
        report(&fetcher).retired.is_empty(),
        "one bad file retires nothing"
    );
}

#[test]
fn a_stream_that_is_refused_is_offered_no_more() {
    let fake = Fake::new(1, |_| Fate::Right);
    let fetcher = fetcher(1000, 1, &fake, tuning(5));
    let pattern = Arc::new(Pattern {
        delay_us: 300,
        refused_from: Some(0),
        ..Pattern::default()
    });
    let stream = open(&fetcher, 100, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("it is offered", || {
        report(&fetcher).refusals.get("values") == Some(&8)
    });
    drop(hold);
    wait_for("all is made", || stream.slab().is_complete());
    let report = report(&fetcher);
    assert_eq!(report.refusals.get("values"), Some(&8), "{report:?}");
    assert!(pattern.made.lock().unwrap().values().all(|&n| n == 1));
}

#[test]
fn a_stuck_device_costs_a_slab_and_no_read() {
    let fake = Fake::new(1, |_| Fate::Stuck);
    let fetcher = fetcher(1000, 1, &fake, tuning(10));
    fake.gate.close();
    let pattern = Arc::new(Pattern {
        delay_us: 100,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 40, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("it is sent", || {
        fake.gate.waiting.load(Ordering::SeqCst) == 1
    });
    drop(hold);
    let stuck = fake.sent.lock().unwrap().concat();
    // These wait for a frame of the batch: alone, with others, and with one of the CPU's.
    let last = *stuck.iter().max().unwrap();
    let mixed = frame_range(0).start..frame_range(last).end;
    let waiting = [
        (frame_range(last), ask(&fetcher, &stream, frame_range(last))),
        (mixed.clone(), ask(&fetcher, &stream, mixed)),
    ];
    fake.gate.open();
    for (range, read) in &waiting {
        check(&pattern, range, &answer(read).unwrap());
    }
    wait_for("there is an heir", || stream.heir().is_some());
    // Of the one slab and the other, by the old handle and by a new one.
    let again = open(&fetcher, 40, &pattern);
    assert!(Arc::ptr_eq(stream.heir().unwrap(), &again));
    for handle in [&stream, &again] {
        let all = 0..stream.slab().len_bytes();
        check(
            &pattern,
            &all,
            &answer(&ask(&fetcher, handle, all.clone())).unwrap(),
        );
    }
    assert!(!stream.slab().is_complete(), "never shown whole");
    assert!(again.slab().is_complete());
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    assert!(stream.are_under_way(0..40));
}

fn xorshift(x: &AtomicU64) -> u64 {
    let mut next = 0;
    // Each call takes one step, whoever calls.
    let _ = x.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |mut x| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        next = x;
        Some(x)
    });
    next
}

/// Readers, sweeps, and batches that end anyhow, over a cache that is too small.
#[test]
fn at_random_no_read_is_wrong_or_lost() {
    for seed in 1..=12_u64 {
        let random = Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let fates = random.clone();
        let fake = Fake::new(3, move |_| match xorshift(&fates) % 40 {
            n if (n as usize) < FATES.len() => FATES[n as usize],
            _ => Fate::Right,
        });
        let tuning = Tuning {
            spot_check_one_in: 1,
            takes_waiting: true,
            deadline: Some(Duration::from_millis(5)),
            ..tuning(1 + (seed % 12) as usize)
        };
        let fetcher = fetcher(120, 2, &fake, tuning);
        let patterns = [0, 1, 2].map(|n| {
            Arc::new(Pattern {
                seed: seed as usize * 3 + n,
                delay_us: 20 * n as u64,
                uniform_from: (n == 1).then_some(50),
                broken: if n == 2 { vec![7, 33] } else { Vec::new() },
                ..Pattern::default()
            })
        });
        let wrong = Mutex::new(0);
        thread::scope(|scope| {
            for reader in 0..4 {
                let (fetcher, patterns, random) = (&fetcher, &patterns, &random);
                let wrong = &wrong;
                scope.spawn(move || {
                    for _ in 0..6 {
                        let pattern = &patterns[(xorshift(random) % 3) as usize];
                        let stream = open(fetcher, 80, pattern);
                        let interest = Interest::default();
                        let from = (xorshift(random) % 40) as usize;
                        for step in 0..20 {
                            let frame = match reader % 2 {
                                0 => from + step,
                                _ => (xorshift(random) % 80) as usize,
                            };
                            fetcher.sweep(&stream, &interest, frame + 1, usize::MAX);
                            let range = frame_range(frame);
                            match answer(&ask(fetcher, &stream, range.clone())) {
                                Ok(bytes) => {
                                    assert!(!pattern.broken.contains(&frame));
                                    check(pattern, &range, &bytes);
                                }
                                Err(error) => {
                                    assert!(pattern.broken.contains(&frame), "{error}");
                                    *wrong.lock().unwrap() += 1;
                                }
                            }
                        }
                    }
                });
            }
        });
        fetcher.shutdown();
        let start = Instant::now();
        drop(fetcher);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn what_one_lane_compares_speaks_for_no_batch_of_another_that_is_not_settled() {
    // Both are wrong in what would not be looked at if each were believed for half of the comparisons.
    let fake = Fake::new(2, |_| Fate::WrongLast);
    fake.gate.close();
    let fetcher = fetcher(1000, 1, &fake, tuning(8));
    let pattern = Arc::new(Pattern {
        delay_us: 2000,
        ..Pattern::default()
    });
    let stream = open(&fetcher, 100, &pattern);
    let (interest, hold) = (Interest::default(), Hold::new(&fetcher));
    fetcher.sweep(&stream, &interest, 0, usize::MAX);
    wait_for("both are sent", || {
        fake.gate.waiting.load(Ordering::SeqCst) == 2
    });
    fake.gate.open();
    wait_for("both are settled", || report(&fetcher).batches >= 2);
    drop(hold);
    let all = 0..stream.slab().len_bytes();
    let read = ask(&fetcher, &stream, all.clone());
    check(&pattern, &all, &answer(&read).unwrap());
    assert_eq!(report(&fetcher).frames, 0);
}
