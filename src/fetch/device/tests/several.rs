//! Batches of several streams, made ahead or waited for, and what one of them costs the others.

use super::fake::Gate;
use super::*;

type Streams = Vec<(Arc<Pattern>, Arc<Stream>)>;

/// So many small streams, each with its pattern.
fn streams(fetcher: &Fetcher, count: usize, frames: usize) -> Streams {
    let pattern = |n| {
        Arc::new(Pattern {
            seed: n,
            ..Pattern::default()
        })
    };
    (0..count)
        .map(pattern)
        .map(|pattern| (pattern.clone(), open(fetcher, frames, &pattern)))
        .collect()
}

fn waiting(gate: &Gate) -> bool {
    gate.waiting.load(Ordering::SeqCst) > 0
}

/// Holds the only lane with frames of a stream of its own, so that what follows is gathered at once.
struct Busy {
    _interest: Interest,
    stream: Arc<Stream>,
}

impl Busy {
    fn new(fetcher: &Fetcher, fake: &Fake) -> Busy {
        fake.gate.close();
        let pattern = Arc::new(Pattern {
            seed: 1000,
            ..Pattern::default()
        });
        let stream = open(fetcher, 2, &pattern);
        let interest = Interest::default();
        fetcher.sweep(&stream, &interest, 0, 2);
        wait_for("the lane is busy", || waiting(&fake.gate));
        Busy {
            _interest: interest,
            stream,
        }
    }
}

fn read_all(fetcher: &Fetcher, all: &[(Arc<Pattern>, Arc<Stream>)]) {
    for (pattern, stream) in all {
        let range = 0..stream.slab().len_bytes();
        let read = ask(fetcher, stream, range.clone());
        check(pattern, &range, &answer(&read).unwrap());
    }
}

fn all_present(all: &[(Arc<Pattern>, Arc<Stream>)]) -> bool {
    all.iter().all(|(_, stream)| stream.slab().is_complete())
}

fn made(all: &[(Arc<Pattern>, Arc<Stream>)]) -> Vec<usize> {
    let count = |(pattern, _): &(Arc<Pattern>, _)| pattern.made.lock().unwrap().values().sum();
    all.iter().map(count).collect()
}

#[test]
fn small_streams_are_made_ahead_in_one_batch() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        proven_frames: 0,
        ..tuning(12)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 4, 3);
    let interests: Vec<Interest> = all.iter().map(|_| Interest::default()).collect();
    for ((_, stream), interest) in all.iter().zip(&interests) {
        fetcher.sweep(stream, interest, 0, 3);
    }
    fake.gate.open();
    wait_for("all is made", || all_present(&all));
    drop(hold);
    read_all(&fetcher, &all);
    assert_eq!(*fake.parts.lock().unwrap(), [vec![2], vec![3; 4]]);
    assert!(busy.stream.slab().is_complete());
    let report = report(&fetcher);
    assert_eq!((report.batches, report.frames), (2, 14));
}

#[test]
fn no_more_streams_than_a_message_takes() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        proven_frames: 0,
        ..tuning(100)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 40, 2);
    let interests: Vec<Interest> = all.iter().map(|_| Interest::default()).collect();
    for ((_, stream), interest) in all.iter().zip(&interests) {
        fetcher.sweep(stream, interest, 0, 2);
    }
    fake.gate.open();
    wait_for("all is made", || all_present(&all));
    drop(hold);
    read_all(&fetcher, &all);
    let counts: Vec<usize> = fake.parts.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 16, 16, 8]);
}

#[test]
fn readers_who_would_wait_for_a_worker_share_a_batch() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        takes_waiting: true,
        proven_frames: 0,
        ..tuning(8)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 9, 2);
    let reads: Vec<_> = all
        .iter()
        .map(|(_, stream)| ask(&fetcher, stream, frame_range(0)))
        .collect();
    fake.gate.open();
    // The worker is held; one more than a batch takes is left to it.
    for ((pattern, _), read) in all.iter().zip(&reads).skip(1) {
        check(pattern, &frame_range(0), &answer(read).unwrap());
    }
    assert_eq!(*fake.parts.lock().unwrap(), [vec![2], vec![1; 8]]);
    drop(hold);
    check(&all[0].0, &frame_range(0), &answer(&reads[0]).unwrap());
}

/// Streams whose readers wait for a batch of this fate: what was made of it.
fn waited_with(fate: Fate, tuning: Tuning) -> (Fetcher, Streams) {
    let fake = Fake::new(1, move |batch| if batch == 0 { Fate::Right } else { fate });
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 6, 2);
    let reads: Vec<_> = all
        .iter()
        .map(|(_, stream)| ask(&fetcher, stream, frame_range(0)))
        .collect();
    fake.gate.open();
    wait_for("a batch of all", || fake.parts.lock().unwrap().len() > 1);
    drop(hold);
    for ((pattern, _), read) in all.iter().zip(&reads) {
        check(pattern, &frame_range(0), &answer(read).unwrap());
    }
    assert!(fake.parts.lock().unwrap()[1].len() > 1, "{fate:?}");
    wait_for("the device is through with it", || {
        let report = report(&fetcher);
        report.batches + report.faults > 1
    });
    (fetcher, all)
}

#[test]
fn whatever_becomes_of_it_who_waits_gets_right_bytes() {
    for fate in super::fake::FATES {
        if fate == Fate::NotReady {
            // Nothing was asked, so nothing is counted: see the sweeps.
            continue;
        }
        let tuning = Tuning {
            takes_waiting: true,
            ..tuning(5)
        };
        let (fetcher, all) = waited_with(fate, tuning);
        for (pattern, stream) in &all {
            let again = open(&fetcher, 2, pattern);
            check(
                pattern,
                &frame_range(0),
                &answer(&ask(&fetcher, &again, frame_range(0))).unwrap(),
            );
            let is_stuck = matches!(fate, Fate::Stuck | Fate::Panic);
            assert!(is_stuck || stream.heir().is_none(), "{fate:?}");
        }
        if matches!(fate, Fate::Stuck | Fate::Panic) {
            let heirs = all.iter().filter(|(_, stream)| stream.heir().is_some());
            assert_eq!(heirs.count(), 5, "each part has another slab");
        }
        // Offered once, whatever becomes of it: then it is the CPU's.
        assert!(made(&all).iter().all(|&n| n <= 2), "{fate:?}");
    }
}

#[test]
fn a_mismatch_costs_the_other_parts_nothing_that_was_compared() {
    for fate in [Fate::WrongFirst, Fate::WrongLast] {
        let tuning = Tuning {
            takes_waiting: true,
            ..tuning(5)
        };
        let (fetcher, all) = waited_with(fate, tuning);
        let report = report(&fetcher);
        assert_eq!(
            (report.mismatches, report.retired.len()),
            (1, 1),
            "{fate:?}"
        );
        // The parts before it were compared and right; those after it are no more looked at.
        let shown = if fate == Fate::WrongLast { 4 } else { 0 };
        assert_eq!(report.frames, 2 + shown, "{fate:?}: {report:?}");
        assert_eq!(fetcher.failures().len(), 1, "one volume is named");
        assert_eq!(all.len(), 6);
    }
}

#[test]
fn where_the_device_was_wrong_nothing_is_shown_that_was_not_compared() {
    let fake = Fake::new(1, |batch| match batch {
        0 => Fate::Right,
        _ => Fate::WrongLast,
    });
    let tuning = Tuning {
        takes_waiting: true,
        proven_frames: 0,
        ..tuning(5)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let mut all = streams(&fetcher, 6, 2);
    // Long enough to be compared always; the last part, since it has waited longest.
    let pattern = Arc::new(Pattern {
        seed: 77,
        ..Pattern::default()
    });
    all[1] = (pattern.clone(), open(&fetcher, 8, &pattern));
    let reads: Vec<_> = all
        .iter()
        .map(|(_, stream)| ask(&fetcher, stream, frame_range(0)))
        .collect();
    fake.gate.open();
    wait_for("it is found out", || report(&fetcher).mismatches == 1);
    drop(hold);
    for ((pattern, _), read) in all.iter().zip(&reads) {
        check(pattern, &frame_range(0), &answer(read).unwrap());
    }
    assert_eq!(*fake.parts.lock().unwrap(), [vec![2], vec![1; 5]]);
    assert!(made(&all).iter().all(|&n| n >= 1), "{:?}", made(&all));
}

#[test]
fn a_refused_frame_costs_its_own_part_alone() {
    let fake = Fake::new(1, |_| Fate::Half);
    let tuning = Tuning {
        proven_frames: 0,
        ..tuning(12)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 6, 2);
    let interests: Vec<Interest> = all.iter().map(|_| Interest::default()).collect();
    for ((_, stream), interest) in all.iter().zip(&interests) {
        fetcher.sweep(stream, interest, 0, 2);
    }
    fake.gate.open();
    wait_for("the answers", || report(&fetcher).batches == 2);
    let is_present = |frame| move |(_, stream): &(_, Arc<Stream>)| !stream.slab().is_absent(frame);
    assert!(all.iter().all(is_present(0)) && !all.iter().any(is_present(1)));
    drop(hold);
    wait_for("the CPU makes the rest", || all_present(&all));
    read_all(&fetcher, &all);
}

#[test]
fn a_demanded_frame_of_one_part_is_the_cpu_s_and_the_others_go() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        proven_frames: 0,
        ..tuning(8)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    let all = streams(&fetcher, 4, 2);
    all[3].0.prepare_gate.close();
    let interests: Vec<Interest> = all.iter().map(|_| Interest::default()).collect();
    for ((_, stream), interest) in all.iter().zip(&interests) {
        fetcher.sweep(stream, interest, 0, 2);
    }
    fake.gate.open();
    wait_for("the last is prepared", || waiting(&all[3].0.prepare_gate));
    // Prepared already, and not sent.
    let read = ask(&fetcher, &all[1].1, frame_range(0));
    drop(hold);
    check(&all[1].0, &frame_range(0), &answer(&read).unwrap());
    assert_eq!(fake.parts.lock().unwrap().len(), 1);
    all[3].0.prepare_gate.open();
    wait_for("all is made", || all_present(&all));
    assert_eq!(fake.parts.lock().unwrap()[1], [2, 1, 2, 2]);
    // The one that was demanded, and the first of the device to be compared.
    assert_eq!(made(&all), [1, 2, 1, 1]);
    read_all(&fetcher, &all);
}

#[test]
fn what_does_not_fit_a_lane_goes_with_the_next_batch() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        takes_waiting: true,
        proven_frames: 0,
        ..tuning(100)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let _busy = Busy::new(&fetcher, &fake);
    // The lane's memory takes 64.
    let all = streams(&fetcher, 10, 8);
    let whole = |stream: &Arc<Stream>| 0..stream.slab().len_bytes();
    let reads: Vec<_> = all
        .iter()
        .map(|(_, stream)| ask(&fetcher, stream, whole(stream)))
        .collect();
    fake.gate.open();
    wait_for("two batches", || report(&fetcher).batches == 3);
    drop(hold);
    for ((pattern, stream), read) in all.iter().zip(&reads) {
        check(pattern, &whole(stream), &answer(read).unwrap());
    }
    let parts = fake.parts.lock().unwrap();
    assert_eq!(*parts, [vec![2], vec![8; 8], vec![8; 2]]);
}

#[test]
fn what_is_waited_for_of_large_streams_is_the_cpu_s() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        takes_waiting: true,
        ..tuning(100)
    };
    let fetcher = fetcher(1000, 1, &fake, tuning);
    let all = streams(&fetcher, 4, 9);
    let hold = Hold::new(&fetcher);
    let whole = |stream: &Arc<Stream>| 0..stream.slab().len_bytes();
    let reads: Vec<_> = all
        .iter()
        .map(|(_, stream)| ask(&fetcher, stream, whole(stream)))
        .collect();
    drop(hold);
    for ((pattern, stream), read) in all.iter().zip(&reads) {
        check(pattern, &whole(stream), &answer(read).unwrap());
    }
    assert_eq!(fake.batches.load(Ordering::SeqCst), 0);
    assert_eq!(made(&all), [9; 4]);
}

#[test]
fn a_proven_device_makes_small_streams_that_the_cpu_does_not() {
    let fake = Fake::new(1, |_| Fate::Right);
    let tuning = Tuning {
        proven_frames: 16,
        ..tuning(16)
    };
    let fetcher = fetcher(2000, 1, &fake, tuning);
    let hold = Hold::new(&fetcher);
    let all = streams(&fetcher, 400, 2);
    let interests: Vec<Interest> = all.iter().map(|_| Interest::default()).collect();
    for ((_, stream), interest) in all.iter().zip(&interests) {
        fetcher.sweep(stream, interest, 0, 2);
    }
    wait_for("all is made", || all_present(&all));
    drop(hold);
    let report = report(&fetcher);
    assert_eq!((report.frames, report.mismatches), (800, 0));
    let compared = report.frames_compared;
    // Both frames of the first streams, as many as two batches may have, and then one of each.
    assert!((408..=416 + 8).contains(&compared), "{compared}");
    read_all(&fetcher, &all);
    assert_eq!(made(&all).iter().sum::<usize>() as u64, compared);
}
