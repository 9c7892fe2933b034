//! Rules of fetching, with a producer that is scripted instead of decoding.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::cache::Claim;

const HEADER: usize = 4096;
const FRAME: usize = 4096;

#[derive(Default)]
struct Script {
    made: Mutex<HashMap<usize, usize>>,
    fails: HashMap<usize, Error>,
    /// How often there is no descriptor for the source.
    lacks: Mutex<usize>,
    panics: Option<usize>,
    /// Frames that are not to be had at all.
    refused: Vec<usize>,
    /// A panic once the frame is made, by who is asked about it.
    panics_after: Option<usize>,
    delay_us: u64,
}

impl Produce for Script {
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), Error> {
        *self.made.lock().unwrap().entry(frame).or_default() += 1;
        let until = Instant::now() + Duration::from_micros(self.delay_us);
        while Instant::now() < until {
            thread::yield_now();
        }
        assert!(self.panics != Some(frame), "scripted");
        let mut lacks = self.lacks.lock().unwrap();
        if let Some(left) = lacks.checked_sub(1) {
            *lacks = left;
            let why = io::Error::from_raw_os_error(libc::EMFILE);
            return Err(Error::io("scripted", &why));
        }
        out.fill(frame as u8 + 1);
        self.fails
            .get(&frame)
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    fn admit(&self, frame: usize) -> Result<(), Error> {
        match self.refused.contains(&frame) {
            true => Err(Error::Malformed("refused".to_string())),
            false => Ok(()),
        }
    }

    fn describe(&self, frame: usize) -> String {
        format!("frame {}", frame + 1)
    }

    fn decoder(&self, frame: usize) -> Option<&'static str> {
        assert!(self.panics_after != Some(frame), "scripted");
        None
    }
}

fn fetcher(budget_frames: u64, threads: usize) -> Fetcher {
    let cache = Arc::new(Cache::new(budget_frames * FRAME as u64, 100).unwrap());
    Fetcher::new(cache, threads, usize::MAX).unwrap()
}

fn key(volume: &str) -> SlabKey {
    SlabKey {
        volume: volume.to_string(),
        variant: "values",
        fingerprint: [0; 32],
    }
}

fn layout(frame_count: usize) -> Layout {
    Layout {
        header: vec![9; HEADER],
        frame_len_bytes: FRAME,
        frame_count,
    }
}

fn open(fetcher: &Fetcher, frames: usize, script: Arc<Script>) -> Arc<Stream> {
    fetcher
        .open(&key("v"), || layout(frames), || script)
        .unwrap()
}

fn read(
    fetcher: &Fetcher,
    stream: &Arc<Stream>,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, Error> {
    let (send, receive) = mpsc::channel();
    let reply = move |answer: Result<&[u8], Error>| send.send(answer.map(<[u8]>::to_vec)).unwrap();
    fetcher.read(stream, range, Box::new(reply));
    receive
        .recv_timeout(Duration::from_secs(30))
        .expect("a read is always answered")
}

fn expected(range: std::ops::Range<u64>) -> Vec<u8> {
    let at = |n: u64| match (n as usize).checked_sub(HEADER) {
        None => 9,
        Some(k) => (k / FRAME) as u8 + 1,
    };
    range.map(at).collect()
}

#[test]
fn any_range_reads_right_and_each_frame_is_made_once() {
    let fetcher = fetcher(100, 3);
    let script = Arc::new(Script {
        delay_us: 200,
        ..Script::default()
    });
    let stream = open(&fetcher, 40, script.clone());
    let len = stream.slab().len_bytes();
    thread::scope(|scope| {
        for seed in 0..6_u64 {
            let (fetcher, stream) = (&fetcher, &stream);
            scope.spawn(move || {
                let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                for _ in 0..60 {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    let start = x % len;
                    let end = (start + (x >> 32) % 20_000).min(len);
                    let got = read(fetcher, stream, start..end).unwrap();
                    assert_eq!(got, expected(start..end));
                }
            });
        }
    });
    assert!(
        script.made.lock().unwrap().values().all(|&n| n == 1),
        "single flight"
    );
}

#[test]
fn header_needs_no_frame() {
    let fetcher = fetcher(100, 1);
    let script = Arc::new(Script::default());
    let stream = open(&fetcher, 4, script.clone());
    assert_eq!(read(&fetcher, &stream, 0..4096).unwrap(), vec![9; 4096]);
    assert!(script.made.lock().unwrap().is_empty());
}

#[test]
fn one_bad_frame_fails_alone_and_is_reported_once() {
    let fetcher = fetcher(100, 2);
    let error = Error::Malformed("scripted".to_string());
    let script = Script {
        fails: [(1, error.clone())].into(),
        panics: Some(2),
        ..Script::default()
    };
    let stream = open(&fetcher, 4, Arc::new(script));
    let frame = |k: u64| 4096 * (k + 1)..4096 * (k + 2);
    for _ in 0..2 {
        assert_eq!(read(&fetcher, &stream, frame(0)).unwrap(), vec![1; FRAME]);
        assert_eq!(read(&fetcher, &stream, frame(1)), Err(error.clone()));
        assert!(matches!(
            read(&fetcher, &stream, frame(2)),
            Err(Error::Malformed(_))
        ));
        assert_eq!(read(&fetcher, &stream, 4096..20480), Err(error.clone()));
        assert_eq!(read(&fetcher, &stream, frame(3)).unwrap(), vec![4; FRAME]);
    }
    assert_eq!(fetcher.failures().len(), 2);
    assert!(!stream.slab().is_complete());
}

#[test]
fn a_panic_wherever_it_is_leaves_nobody_waiting() {
    let fetcher = fetcher(100, 1);
    let script = Script {
        panics_after: Some(0),
        ..Script::default()
    };
    let stream = open(&fetcher, 2, Arc::new(script));
    let (failed, whole) = (4096..8192, 8192..12288);
    for _ in 0..2 {
        let answer = read(&fetcher, &stream, failed.clone());
        assert!(matches!(answer, Err(Error::Malformed(_))), "{answer:?}");
    }
    assert_eq!(
        read(&fetcher, &stream, whole.clone()),
        Ok(expected(whole)),
        "the worker is there for the next"
    );
}

#[test]
fn who_waits_for_another_reader_s_frame_is_not_answered_at_once() {
    let fetcher = fetcher(100, 1);
    let script = Script {
        delay_us: 50_000,
        ..Script::default()
    };
    let stream = open(&fetcher, 1, Arc::new(script));
    let (send, receive) = mpsc::channel();
    for _ in 0..2 {
        let send = send.clone();
        let reply = move |answer: Result<&[u8], Error>| send.send(answer.is_ok()).unwrap();
        fetcher.read(&stream, 4096..8192, Box::new(reply));
    }
    let answers = [receive.recv(), receive.recv()];
    assert_eq!(answers, [Ok(true), Ok(true)]);
    let at_once = || fetcher.counters().reads_at_once.load(Ordering::Relaxed);
    assert_eq!(at_once(), 0);
    read(&fetcher, &stream, 4096..8192).unwrap();
    assert_eq!(at_once(), 1);
}

#[test]
fn no_memory_is_taken_for_a_frame_that_cannot_be_had() {
    let fetcher = fetcher(4, 1);
    let script = Arc::new(Script {
        refused: vec![0],
        ..Script::default()
    });
    let stream = open(&fetcher, 2, script.clone());
    let answer = read(&fetcher, &stream, 4096..8192);
    assert_eq!(answer, Err(Error::Malformed("refused".to_string())));
    assert!(script.made.lock().unwrap().is_empty());
    assert_eq!(fetcher.cache().resident_bytes(), 0);
    assert_eq!(fetcher.failures().len(), 1);
    assert_eq!(read(&fetcher, &stream, 8192..8193).unwrap(), [2]);
}

#[test]
fn where_descriptors_lack_volumes_that_nobody_reads_give_theirs() {
    let fetcher = fetcher(100, 1);
    let unused = || Arc::new(Script::default()) as Arc<dyn Produce>;
    drop(fetcher.open(&key("other"), || layout(1), unused).unwrap());
    let script = Arc::new(Script {
        lacks: Mutex::new(1),
        ..Script::default()
    });
    let stream = open(&fetcher, 2, script.clone());
    assert_eq!(fetcher.cache().slab_count(), 2);
    assert_eq!(read(&fetcher, &stream, 4096..4097).unwrap(), [1]);
    assert_eq!(fetcher.cache().slab_count(), 1);
    // Those that are read keep theirs.
    *script.lacks.lock().unwrap() = 1;
    let answer = read(&fetcher, &stream, 8192..8193);
    assert!(matches!(answer, Err(Error::Io { errno, .. }) if errno == libc::EMFILE));
    assert_eq!(read(&fetcher, &stream, 8192..8193).unwrap(), [2]);
}

#[test]
fn opening_one_volume_does_not_keep_others_from_being_opened() {
    let fetcher = fetcher(100, 1);
    let producer = || Arc::new(Script::default()) as Arc<dyn Produce>;
    let (reached, is_under_way) = mpsc::channel();
    let (go_on, waits) = mpsc::channel();
    thread::scope(|scope| {
        let fetcher = &fetcher;
        let slow = scope.spawn(move || {
            let mut told = None;
            let slowly = || {
                reached.send(()).unwrap();
                told = Some(waits.recv_timeout(Duration::from_secs(10)));
                layout(1)
            };
            fetcher.open(&key("slow"), slowly, producer).unwrap();
            told
        });
        is_under_way.recv().unwrap();
        fetcher.open(&key("other"), || layout(1), producer).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(slow.join().unwrap(), Some(Ok(())));
    });
}

#[test]
fn a_passing_error_is_tried_again() {
    let fetcher = fetcher(100, 1);
    let error = Error::Io {
        errno: libc::EIO,
        message: "scripted".to_string(),
    };
    let script = Arc::new(Script {
        fails: [(0, error.clone())].into(),
        ..Script::default()
    });
    let stream = open(&fetcher, 1, script.clone());
    for _ in 0..3 {
        assert_eq!(read(&fetcher, &stream, 4096..4097), Err(error.clone()));
    }
    assert_eq!(script.made.lock().unwrap()[&0], 3);
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_sweep_makes_what_nobody_asked_for_yet() {
    let fetcher = fetcher(1000, 2);
    let stream = open(&fetcher, 64, Arc::new(Script::default()));
    let (low, high) = (Interest::default(), Interest::default());
    fetcher.sweep(&stream, &low, 8, 8);
    fetcher.sweep(&stream, &high, 40, usize::MAX);
    let present = |frames: std::ops::Range<usize>| {
        let slab = stream.slab();
        frames.filter(|&frame| slab.is_present(frame)).count()
    };
    wait_for("both are made", || present(8..16) + present(40..64) == 32);
    // Taken up where it was, and moved.
    fetcher.sweep(&stream, &low, 12, 8);
    wait_for("it goes on", || present(8..20) == 12);
    fetcher.sweep(&stream, &low, 0, 2);
    wait_for("it moves", || present(0..2) == 2);
    assert_eq!(stream.slab().present_frames(), 2 + 12 + 24);
}

#[test]
fn nothing_is_made_for_who_went_away() {
    let fetcher = fetcher(1000, 1);
    let script = Arc::new(Script {
        delay_us: 1000,
        ..Script::default()
    });
    let stream = open(&fetcher, 1000, script);
    let (gone, stays) = (Interest::default(), Interest::default());
    fetcher.sweep(&stream, &gone, 0, usize::MAX);
    fetcher.sweep(&stream, &stays, 900, 10);
    wait_for("it begins", || stream.slab().is_present(0));
    drop(gone);
    wait_for("the other is done", || {
        (900..910).all(|k| stream.slab().is_present(k))
    });
    let made = stream.slab().present_frames();
    fetcher.sweep(&stream, &stays, 950, 1);
    wait_for("the queue is empty", || stream.slab().is_present(950));
    assert!(stream.slab().present_frames() <= made + 2, "of 1000");
}

#[test]
fn the_budget_holds_under_load_and_bytes_stay_right() {
    let fetcher = fetcher(8, 2);
    let stream = open(&fetcher, 100, Arc::new(Script::default()));
    thread::scope(|scope| {
        for seed in 0..4_u64 {
            let (fetcher, stream) = (&fetcher, &stream);
            scope.spawn(move || {
                for step in 0..300 {
                    let k = (step * (seed + 1)) % 98;
                    let range = 4096 * (k + 1)..4096 * (k + 3);
                    let got = read(fetcher, stream, range.clone()).unwrap();
                    assert_eq!(got, expected(range));
                }
            });
        }
    });
    fetcher.cache().trim();
    assert!(fetcher.cache().resident_bytes() <= 8 * FRAME as u64);
    assert!(fetcher.cache().evicted_frames() > 0);
}

#[test]
fn news_of_a_frame_that_is_dropped_again_is_no_news() {
    let fetcher = fetcher(4, 1);
    let stream = open(&fetcher, 8, Arc::new(Script::default()));
    let Claim::Mine(filling) = stream.slab().claim(3) else {
        panic!("the frame is absent");
    };
    filling.commit();
    // Dropped before who made it says so, and wanted after that.
    fetcher.cache().make_room(4 * FRAME as u64);
    let range = 4 * 4096..5 * 4096;
    let (send, receive) = mpsc::channel();
    let reply = move |answer: Result<&[u8], Error>| send.send(answer.map(<[u8]>::to_vec)).unwrap();
    let demand = stream.demand(range.clone(), Box::new(reply)).ok().unwrap();
    assert_eq!(demand.wanted, [3]);
    assert_eq!((demand.hits, demand.misses), (0, 1));
    stream.done(3, Ok(()));
    assert!(receive.try_recv().is_err(), "it is not there yet");
    fetcher.shared.queue.push_urgent(&stream, &demand.wanted);
    let answer = receive.recv_timeout(Duration::from_secs(30));
    assert_eq!(
        answer.expect("a read is always answered"),
        Ok(expected(range))
    );
}

#[test]
fn shutdown_answers_those_who_wait() {
    let fetcher = fetcher(100, 1);
    let script = Arc::new(Script {
        delay_us: 20_000,
        ..Script::default()
    });
    let stream = open(&fetcher, 50, script);
    let (send, receive) = mpsc::channel();
    for k in 0..50 {
        let send = send.clone();
        let reply = move |answer: Result<&[u8], Error>| send.send(answer.map(|_| ())).unwrap();
        fetcher.read(&stream, 4096 * (k + 1)..4096 * (k + 2), Box::new(reply));
    }
    fetcher.shutdown();
    drop(send);
    let answers: Vec<_> = receive.iter().collect();
    assert_eq!(answers.len(), 50);
    assert!(answers.contains(&Err(Error::ShuttingDown)));
}

#[test]
fn what_is_asked_for_after_the_end_is_answered() {
    let fetcher = fetcher(100, 1);
    let stream = open(&fetcher, 2, Arc::new(Script::default()));
    read(&fetcher, &stream, 4096..8192).unwrap();
    fetcher.shutdown();
    let answer = read(&fetcher, &stream, 4096..12288);
    assert_eq!(answer, Err(Error::ShuttingDown));
    assert!(
        read(&fetcher, &stream, 4096..8192).is_ok(),
        "what is there needs nobody"
    );
    let (dropped, told) = mpsc::channel::<()>();
    fetcher.run_soon(move || drop(dropped));
    let answer = told.recv_timeout(Duration::from_secs(30));
    assert_eq!(answer, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn what_is_logged_of_a_source_file_does_not_name_it() {
    let path = || std::path::PathBuf::from("/archive/DOE^JANE/1");
    let source = || std::io::Error::from_raw_os_error(libc::EACCES);
    for (error, is_change) in [
        (crate::archive::Error::Absent { path: path() }, true),
        (crate::archive::Error::Changed { path: path() }, true),
        (
            crate::archive::Error::Io {
                path: path(),
                source: source(),
            },
            false,
        ),
    ] {
        let error = Error::from(error);
        assert!(!error.to_string().contains("DOE"), "{error}");
        assert_eq!(matches!(error, Error::Changed(_)), is_change, "{error}");
    }
}

#[test]
fn what_was_held_over_the_budget_goes_once_it_is_closed() {
    let fetcher = fetcher(2, 1);
    let stream = open(&fetcher, 8, Arc::new(Script::default()));
    let all = 4096..4096 * 9;
    let got = read(&fetcher, &stream, all.clone());
    assert_eq!(
        got.unwrap(),
        expected(all),
        "a demanded range is served beyond the budget"
    );
    drop(stream);
    fetcher.trim_soon();
    let deadline = Instant::now() + Duration::from_secs(30);
    while fetcher.cache().resident_bytes() > 2 * FRAME as u64 {
        assert!(Instant::now() < deadline, "memory is given back");
        thread::yield_now();
    }
}
