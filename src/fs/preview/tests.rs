//! Previews over a slab whose frames are scripted: what is made, when, and who is told.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::*;
use crate::cache::{Cache, Layout as SlabLayout, SlabKey};
use crate::fetch::Produce;
use crate::format::preview::tests::volume;
use crate::volume::Dtype;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Script {
    made: Mutex<BTreeMap<usize, usize>>,
    /// Errors still to come, by frame.
    fails: Mutex<BTreeMap<usize, Vec<fetch::Error>>>,
    /// Frames wait as long as this is held.
    gate: Mutex<()>,
}

fn pixels(frame: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 5 + frame * 11) as u8).collect()
}

impl Produce for Script {
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), fetch::Error> {
        *self.made.lock().unwrap().entry(frame).or_default() += 1;
        drop(self.gate.lock().unwrap());
        out.copy_from_slice(&pixels(frame, out.len()));
        match self
            .fails
            .lock()
            .unwrap()
            .get_mut(&frame)
            .and_then(Vec::pop)
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn describe(&self, frame: usize) -> String {
        format!("frame {}", frame + 1)
    }
}

struct Stage {
    fetcher: Fetcher,
    volume: Arc<Volume>,
    stream: Arc<Stream>,
    script: Arc<Script>,
}

/// Five times of 40 slices, of which the picture needs the first 40.
fn stage(threads: usize) -> Stage {
    let volume = volume("tzyx", &[5, 40, 8, 8], Dtype::U8, None);
    let cache = Arc::new(Cache::new(1 << 20, 100).unwrap());
    let fetcher = Fetcher::new(cache, threads, usize::MAX).unwrap();
    let script = Arc::new(Script::default());
    let key = SlabKey {
        volume: volume.name.clone(),
        variant: "",
        fingerprint: volume.fingerprint,
    };
    let layout = || SlabLayout {
        header: vec![0; npy::HEADER_LEN_BYTES],
        frame_len_bytes: 64,
        frame_count: volume.frames.len(),
    };
    let stream = fetcher.open(&key, layout, || script.clone()).unwrap();
    Stage {
        fetcher,
        volume: Arc::new(volume),
        stream,
        script,
    }
}

type Answer = (Result<Vec<u8>, Error>, ThreadId);

impl Stage {
    fn open(&self) -> Preview {
        Preview::over(&self.fetcher, self.stream.clone(), &self.volume)
    }

    fn ask(&self, preview: &Preview, offset: u64, size_bytes: u64) -> mpsc::Receiver<Answer> {
        let (send, receive) = mpsc::channel();
        let reply = ReadReply::new(move |answer: Result<&[u8], Error>| {
            let answer = answer.map(<[u8]>::to_vec);
            send.send((answer, thread::current().id())).unwrap();
        });
        preview.read(&self.fetcher, offset, size_bytes, reply);
        receive
    }

    fn read(&self, preview: &Preview, offset: u64, size_bytes: u64) -> Result<Vec<u8>, Error> {
        let answer = self.ask(preview, offset, size_bytes);
        answer
            .recv_timeout(PATIENCE)
            .expect("every read is answered")
            .0
    }

    fn expected(&self) -> Vec<u8> {
        let mut picture = Picture::new(&self.volume);
        for frame in 0..40 {
            picture.add(frame, &pixels(frame, 64)).unwrap();
        }
        picture.png().unwrap()
    }

    fn reads(&self) -> u64 {
        let reads = &self.fetcher.counters().reads;
        reads.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn every_reader_gets_the_file_and_each_frame_is_made_once() {
    let stage = stage(3);
    let expected = stage.expected();
    let len = expected.len() as u64;
    assert_eq!(Layout::of(&stage.volume).len_bytes(), len);
    let preview = stage.open();
    assert!(
        stage.script.made.lock().unwrap().is_empty(),
        "nothing at open"
    );
    assert!(stage.read(&preview, len, 10).unwrap().is_empty());
    assert!(
        stage.script.made.lock().unwrap().is_empty(),
        "nor past the end"
    );
    thread::scope(|scope| {
        for n in 0..8 {
            let (stage, preview, expected) = (&stage, &preview, &expected);
            scope.spawn(move || {
                for (offset, size) in [(0, len), (n * 100, 77), (len - 1, 9), (0, u64::MAX)] {
                    let end = offset.saturating_add(size).min(len);
                    let got = stage.read(preview, offset, size).unwrap();
                    assert_eq!(got, expected[offset as usize..end as usize]);
                }
            });
        }
    });
    // Another handle finds the frames in the slab.
    assert_eq!(stage.read(&stage.open(), 0, len).unwrap(), expected);
    let made = stage.script.made.lock().unwrap();
    assert!(made.keys().copied().eq(0..40) && made.values().all(|n| *n == 1));
}

#[test]
fn frames_are_asked_for_a_few_at_a_time_and_nobody_waits() {
    let stage = stage(1);
    let gate = stage.script.gate.lock().unwrap();
    let preview = stage.open();
    let answers = [0, 50, 100].map(|offset| stage.ask(&preview, offset, 50));
    let deadline = Instant::now() + PATIENCE;
    while stage.script.made.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the first frame is begun");
        thread::yield_now();
    }
    assert_eq!(stage.reads(), FRAMES_IN_FLIGHT_MAX as u64);
    assert!(answers.iter().all(|answer| answer.try_recv().is_err()));
    drop(gate);
    let expected = stage.expected();
    for (n, answer) in answers.iter().enumerate() {
        let (answer, by) = answer.recv_timeout(PATIENCE).unwrap();
        assert_eq!(answer.unwrap(), expected[n * 50..][..50]);
        assert_ne!(by, thread::current().id(), "a worker answers");
    }
    assert_eq!(stage.reads(), 40);
    // The file is kept: it is there at once, and no frame is read for it.
    let (answer, by) = stage.ask(&preview, 0, 8).try_recv().unwrap();
    assert_eq!(
        (answer.unwrap(), by),
        (expected[..8].to_vec(), thread::current().id())
    );
    // Where all frames are present, a worker draws the picture all the same.
    let second = stage.open();
    let (answer, by) = stage.ask(&second, 0, 8).recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer.unwrap(), expected[..8]);
    assert_ne!(by, thread::current().id());
    assert_eq!(stage.reads(), 80);
}

#[test]
fn a_frame_that_fails_fails_those_who_wait_and_a_later_read_tries_again() {
    let io = |n: i32| fetch::Error::Io {
        errno: n,
        message: "scripted".to_string(),
    };
    for at in [0, 17, 39] {
        let stage = stage(2);
        stage
            .script
            .fails
            .lock()
            .unwrap()
            .insert(at, vec![io(7), io(5)]);
        let preview = stage.open();
        for expected in [5, 7] {
            let error = stage.read(&preview, 0, 10).unwrap_err();
            assert_eq!(error.errno(), expected, "{error}");
        }
        let expected = stage.expected();
        assert_eq!(stage.read(&preview, 0, 1 << 20).unwrap(), expected);
        assert_eq!(stage.script.made.lock().unwrap()[&at], 3);
    }
    let stage = stage(2);
    let lasting = vec![fetch::Error::Unsupported("scripted".to_string())];
    stage.script.fails.lock().unwrap().insert(3, lasting);
    let preview = stage.open();
    for _ in 0..2 {
        let error = stage.read(&preview, 0, 10).unwrap_err();
        assert_eq!(error.errno(), libc::EOPNOTSUPP);
    }
    assert_eq!(stage.script.made.lock().unwrap()[&3], 1);
}

#[test]
fn a_file_of_another_length_is_refused() {
    let stage = stage(1);
    let mut preview = stage.open();
    Arc::get_mut(&mut preview.0).unwrap().len_bytes += 1;
    for _ in 0..2 {
        let error = stage.read(&preview, 0, 10).unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{error}");
    }
}

#[test]
fn those_who_wait_are_told_when_it_ends() {
    // The workers stop.
    let stopped = stage(1);
    let gate = stopped.script.gate.lock().unwrap();
    let (first, second) = (stopped.open(), stopped.open());
    let answers = [stopped.ask(&first, 0, 10), stopped.ask(&second, 0, 10)];
    thread::scope(|scope| {
        scope.spawn(|| stopped.fetcher.shutdown());
        drop(gate);
    });
    for answer in answers {
        // One may have been served before the end came.
        let (answer, _) = answer.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(answer, Ok(_) | Err(Error::ShuttingDown)));
    }
    // The handle is closed: the frames in flight are the last.
    let closed = stage(1);
    let gate = closed.script.gate.lock().unwrap();
    let preview = closed.open();
    let answer = closed.ask(&preview, 0, 10);
    let deadline = Instant::now() + PATIENCE;
    while closed.script.made.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the first frame is begun");
        thread::yield_now();
    }
    drop(preview);
    let (answer, _) = answer.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answer, Err(Error::BadHandle)));
    drop(gate);
    closed.fetcher.shutdown();
    assert!(closed.script.made.lock().unwrap().len() <= FRAMES_IN_FLIGHT_MAX);
}
