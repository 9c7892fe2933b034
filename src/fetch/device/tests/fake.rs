//! A device in this process that decodes as the CPU does, or does what a test has it do instead; and
//! a source of frames for it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::decode::cpu::tests::gray;
use crate::decode::gpu::{
    Codec, Fault, Job, Outcome, Part, Refusal, ResidentId, Show, Spent, State,
};
use crate::fetch::device::{Device, Lane, Prepared, Readiness, Unfit};
use crate::fetch::{Error, Produce, fake_memory};

pub(super) const FRAME: usize = 4096;

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Right,
    /// Right, after this many microseconds.
    Slow(u64),
    /// One sample of its first frame, or of its last, is wrong.
    WrongFirst,
    WrongLast,
    /// Nothing is written, and it says that all went well.
    Zeros,
    Refused,
    Failed,
    Overflow,
    /// Every other frame fails.
    Half,
    /// Garbage, and one answer too few.
    Short,
    /// Nothing is asked.
    NotReady,
    /// No answer: ended at the deadline, or when the device is stopped.
    Hang,
    /// Garbage in half of it, then it is gone.
    Die,
    /// Garbage, and more of it for as long as the fake lives.
    Stuck,
    Panic,
    /// Neither answers nor ends for a while, whatever is asked of it.
    Deaf,
}

pub(super) const FATES: [Fate; 16] = [
    Fate::Right,
    Fate::Slow(500),
    Fate::WrongFirst,
    Fate::WrongLast,
    Fate::Zeros,
    Fate::Refused,
    Fate::Failed,
    Fate::Overflow,
    Fate::Half,
    Fate::Short,
    Fate::NotReady,
    Fate::Hang,
    Fate::Die,
    Fate::Stuck,
    Fate::Panic,
    Fate::Deaf,
];

type Choose = Box<dyn Fn(u64) -> Fate + Send + Sync>;

pub(super) struct Fake {
    lanes: usize,
    room_bytes: usize,
    choose: Choose,
    pub(super) batches: AtomicU64,
    /// The frames of each batch, and how many each part has.
    pub(super) sent: Mutex<Vec<Vec<usize>>>,
    pub(super) parts: Mutex<Vec<Vec<usize>>>,
    /// Where each part's frames were to be left as well.
    pub(super) beside: Mutex<Vec<Option<ResidentId>>>,
    /// Its number, and the memory that it can leave frames in.
    memory: Option<(u32, Arc<fake_memory::Fake>)>,
    pub(super) gate: Gate,
    /// Which of its processes answers.
    pub(super) process: AtomicU32,
    is_stopped: AtomicBool,
    is_over: Arc<AtomicBool>,
}

impl Fake {
    pub(super) fn new(
        lanes: usize,
        choose: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> Arc<Fake> {
        Fake::build(lanes, None, Box::new(choose))
    }

    /// One that leaves frames in such a memory too, if it is asked to.
    pub(super) fn with_memory(
        (ordinal, memory): (u32, &Arc<fake_memory::Fake>),
        choose: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> Arc<Fake> {
        Fake::build(1, Some((ordinal, memory.clone())), Box::new(choose))
    }

    fn build(
        lanes: usize,
        memory: Option<(u32, Arc<fake_memory::Fake>)>,
        choose: Choose,
    ) -> Arc<Fake> {
        Arc::new(Fake {
            lanes,
            room_bytes: 64 * FRAME,
            choose,
            batches: AtomicU64::new(0),
            sent: Mutex::default(),
            parts: Mutex::default(),
            beside: Mutex::default(),
            memory,
            gate: Gate::default(),
            process: AtomicU32::new(1),
            is_stopped: AtomicBool::new(false),
            is_over: Arc::default(),
        })
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// The device that a fetcher gets; its lanes keep the fake.
pub(super) struct Handle(pub(super) Arc<Fake>);

impl Device for Handle {
    fn name(&self) -> String {
        "fake:0".to_string()
    }

    fn ordinal(&self) -> Option<u32> {
        self.0.memory.as_ref().map(|(ordinal, _)| *ordinal)
    }

    fn start(&self) -> Result<Vec<Box<dyn Lane>>, String> {
        let lane = |_| {
            let memory = vec![0; self.0.room_bytes];
            let fake = self.0.clone();
            Box::new(FakeLane { fake, memory }) as Box<dyn Lane>
        };
        Ok((0..self.0.lanes).map(lane).collect())
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn state(&self) -> String {
        "ready".to_string()
    }

    fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
    }
}

/// A job, and where its frame goes.
struct Output {
    job: Job,
    slab: Arc<File>,
    /// The memory of a resident, and where it begins in the slab.
    beside: Option<(Arc<File>, u64)>,
}

impl Output {
    fn write(&self, bytes: &[u8]) {
        let start = self.job.out.start;
        self.slab.write_all_at(bytes, start).unwrap();
        if let Some((memory, first)) = &self.beside {
            memory.write_all_at(bytes, start - first).unwrap();
        }
    }
}

/// The jobs of a part, each with where it goes.
fn opened(fake: &Fake, part: &Part<'_>) -> Vec<Output> {
    let slab = Arc::new(File::from(part.slab.try_clone_to_owned().unwrap()));
    assert!(!part.jobs.is_empty());
    let is_inside = |job: &Job| job.out.end <= part.slab_len_bytes;
    assert!(part.jobs.iter().all(is_inside));
    fake.beside
        .lock()
        .unwrap()
        .push(part.resident.map(|(id, _)| id));
    // Whoever is gone gets nothing, and what is released meanwhile is still there for the batch.
    let beside = part.resident.and_then(|(id, first)| {
        let (_, memory) = fake.memory.as_ref().expect("no memory was offered");
        let held = memory.held.lock().unwrap();
        let (file, _) = held.get(&id.number)?;
        Some((Arc::new(file.try_clone().unwrap()), first))
    });
    let output = |job: &Job| Output {
        job: job.clone(),
        slab: slab.clone(),
        beside: beside.clone(),
    };
    part.jobs.iter().map(output).collect()
}

struct FakeLane {
    fake: Arc<Fake>,
    memory: Vec<u8>,
}

impl Lane for FakeLane {
    fn encoded(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    fn run(
        &mut self,
        parts: &[Part<'_>],
        deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        let start = Instant::now();
        let batch = self.fake.batches.fetch_add(1, Ordering::SeqCst);
        let opened = |part| opened(&self.fake, part);
        let outputs: Vec<Output> = parts.iter().flat_map(opened).collect();
        let frame = |output: &Output| output.job.out.start as usize / FRAME - 1;
        let frames = outputs.iter().map(frame).collect();
        self.fake.sent.lock().unwrap().push(frames);
        let lens = parts.iter().map(|part| part.jobs.len()).collect();
        self.fake.parts.lock().unwrap().push(lens);
        self.fake.gate.pass();
        let fate = (self.fake.choose)(batch);
        let garbage = |outputs: &[Output]| {
            for output in outputs {
                output.write(&[0xAB; FRAME]);
            }
        };
        let lost = || Err(Fault::Lost(format!("scripted: {fate:?}")));
        let mut outcomes = vec![Outcome::Done; outputs.len()];
        match fate {
            Fate::Zeros => {}
            Fate::NotReady => return Err(Fault::NotReady(State::Resting(Instant::now()))),
            Fate::Hang => {
                garbage(&outputs);
                let stopped = || self.fake.is_stopped.load(Ordering::SeqCst);
                while start.elapsed() < deadline && !stopped() {
                    thread::yield_now();
                }
                return lost();
            }
            Fate::Deaf => {
                thread::sleep(Duration::from_millis(300));
                return lost();
            }
            Fate::Die => {
                garbage(&outputs[..outputs.len() / 2]);
                return lost();
            }
            Fate::Panic => panic!("scripted"),
            Fate::Stuck => {
                garbage(&outputs);
                let is_over = self.fake.is_over.clone();
                thread::spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        for output in &outputs {
                            output.write(&[0xCD; FRAME]);
                        }
                        thread::yield_now();
                    }
                });
                return Err(Fault::Stuck("scripted".to_string()));
            }
            Fate::Short => {
                garbage(&outputs);
                outcomes.pop();
            }
            _ => {
                for (n, output) in outputs.iter().enumerate() {
                    let job = &output.job;
                    let encoded = job.encoded.start as usize..job.encoded.end as usize;
                    let mut bytes = self.memory[encoded].to_vec();
                    let is_wrong = fate == Fate::WrongFirst && n == 0
                        || fate == Fate::WrongLast && n + 1 == outputs.len();
                    bytes[FRAME / 2] ^= u8::from(is_wrong);
                    outcomes[n] = match fate {
                        Fate::Refused => Outcome::Refused(Refusal::Codestream),
                        Fate::Failed => Outcome::Failed("scripted".to_string()),
                        Fate::Overflow => Outcome::Overflow,
                        Fate::Half if n % 2 == 1 => Outcome::Failed("scripted".to_string()),
                        _ => Outcome::Done,
                    };
                    if outcomes[n] != Outcome::Done {
                        bytes.fill(0xAB);
                    }
                    output.write(&bytes);
                }
            }
        }
        if let Fate::Slow(us) = fate {
            thread::sleep(Duration::from_micros(us));
        }
        let wall = start.elapsed();
        let spent = Spent {
            process: self.fake.process.load(Ordering::SeqCst),
            cpu: wall,
            wall,
        };
        Ok((outcomes, spent))
    }
}

/// Lets nobody pass while it is closed.
#[derive(Default)]
pub(super) struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
    pub(super) waiting: AtomicUsize,
}

impl Gate {
    pub(super) fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    pub(super) fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    pub(super) fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let closed = self.is_closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A source of frames of bytes that are nowhere alike.
#[derive(Default)]
pub(super) struct Pattern {
    pub(super) seed: usize,
    /// How long the CPU takes.
    pub(super) delay_us: u64,
    /// Frames that have one value everywhere.
    pub(super) uniform_from: Option<usize>,
    /// Frames that are refused to devices before anything is read.
    pub(super) refused_from: Option<usize>,
    pub(super) prepare_gate: Gate,
    pub(super) made: Mutex<HashMap<usize, usize>>,
    pub(super) prepared: Mutex<HashMap<usize, usize>>,
    /// Frames that the CPU cannot make.
    pub(super) broken: Vec<usize>,
}

impl Pattern {
    pub(super) fn byte(&self, frame: usize, at: usize) -> u8 {
        let at = match self.uniform_from {
            Some(from) if frame >= from => 0,
            _ => at,
        };
        let x =
            (self.seed * 31 + frame + 1).wrapping_mul(0x9e37_79b9) ^ at.wrapping_mul(0x85eb_ca6b);
        (x >> 7) as u8
    }
}

impl Produce for Pattern {
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), Error> {
        *self.made.lock().unwrap().entry(frame).or_default() += 1;
        let until = Instant::now() + Duration::from_micros(self.delay_us);
        while Instant::now() < until {
            thread::yield_now();
        }
        for (at, byte) in out.iter_mut().enumerate() {
            *byte = self.byte(frame, at);
        }
        match self.broken.contains(&frame) {
            true => Err(Error::Malformed("scripted".to_string())),
            false => Ok(()),
        }
    }

    fn describe(&self, frame: usize) -> String {
        format!("frame {}", frame + 1)
    }

    fn decoder(&self, _frame: usize) -> Option<&'static str> {
        Some("rle (own)")
    }

    fn prepare(&self, frame: usize, room: &mut [u8], _exact: bool) -> Result<Prepared, Unfit> {
        *self.prepared.lock().unwrap().entry(frame).or_default() += 1;
        self.prepare_gate.pass();
        if self.refused_from.is_some_and(|from| frame >= from) {
            return Err(Refusal::Values.into());
        }
        let room = room.get_mut(..FRAME).ok_or(Unfit::NoRoom)?;
        for (at, byte) in room.iter_mut().enumerate() {
            *byte = self.byte(frame, at);
        }
        let job = Job {
            codec: Codec::Rle,
            image: gray(1, FRAME as u32 / 2, 16),
            show: Show::Stored,
            encoded: 0..FRAME as u64,
            out: 0..0,
        };
        Ok(Prepared {
            job,
            is_lossy: false,
        })
    }
}
