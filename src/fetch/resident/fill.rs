//! The frames of one residence, brought to the device's memory.
//!
//! What a device can read from its file itself is read so, where the slab does not have it yet, and what
//! it decodes meanwhile it leaves there (`beside.rs`). All else
//! is asked for as a reader of the whole volume would, a run of frames after the other, and each run is
//! copied as soon as it is there, while the next ones are made. Only the runs under way are held in the
//! slab, so a volume may be larger than the cache.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::beside::{Filling, Place};
use super::{DeviceMemory, DirectFrame, Residences};
use crate::decode::gpu::{DirectJob, Fault, Outcome, Piece, ResidentId};
use crate::fetch::{Error, Interest, Reply, Shared, Stream};
use crate::ipc::process::random;

/// Runs of frames under way at once: one is copied while the others are made.
const RUNS_MAX: usize = 3;

/// Least bytes of a run, where the cache has room for them: a copy of less is not worth asking for.
const RUN_BYTES_MIN: u64 = 4 << 20;

/// Most bytes of a run, and that as a share of the cache's budget.
const RUN_BYTES_MAX: u64 = 64 << 20;
const RUN_OF_BUDGET: u64 = 16;

/// Frames that a device is asked to read at once, and their bytes.
const DIRECT_FRAMES_MAX: usize = 64;
const DIRECT_BYTES_MAX: u64 = 64 << 20;

/// How long a copy may take: this, and as long as it takes at a tenth of the slowest link.
const COPY_TIME: Duration = Duration::from_secs(10);
const COPY_BYTES_PER_S: u64 = 100 << 20;

/// How often it is looked whether somebody still wants the volume.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often a run may come from another slab than asked for: once for each device that gets stuck.
const MOVES_MAX: usize = 16;

/// Why a residence could not be filled.
#[derive(Debug)]
pub(super) enum Failure {
    /// What its readers are told.
    Error(Error),
    /// The device is gone, in its words.
    Lost(String),
    /// Nobody has it any more.
    Unwanted,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Lost(fault.to_string())
    }
}

/// Frames that stay in their slab as long as this lives.
struct Pinned {
    stream: Arc<Stream>,
    frames: Range<usize>,
}

impl Pinned {
    fn new(stream: &Arc<Stream>, frames: Range<usize>) -> Pinned {
        // Which are missing is asked again once they were made.
        stream.slab().pin(frames.clone());
        Pinned {
            stream: stream.clone(),
            frames,
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.stream.slab().unpin(self.frames.clone());
    }
}

/// A run of frames that is being made.
struct Run {
    number: u64,
    pinned: Pinned,
}

/// One residence being filled.
pub(super) struct Fill<'f> {
    pub(super) residences: &'f Residences,
    pub(super) shared: &'f Arc<Shared>,
    pub(super) memory: &'f dyn DeviceMemory,
    pub(super) id: ResidentId,
    residence: u64,
    pub(super) stream: Arc<Stream>,
    interest: Interest,
    /// Who sees to which frame.
    target: Filling<'f>,
    /// To be made by who makes frames, in runs of neighbours.
    made: VecDeque<Range<usize>>,
    /// To be read by the device.
    direct: VecDeque<usize>,
    /// Read by the device, and not to be doubted so far.
    pub(super) direct_done: Vec<usize>,
    runs: Vec<Run>,
    answers: (Sender<Answer>, Receiver<Answer>),
    run_frames: usize,
    runs_asked: u64,
    moves: usize,
    /// Where frames come back from the device to be compared; made when it is needed.
    pub(super) back: Option<File>,
    pub(super) random: u64,
}

/// Which run was answered, and how.
type Answer = (u64, Result<(), Error>);

impl<'f> Fill<'f> {
    pub(super) fn new(
        residences: &'f Residences,
        shared: &'f Arc<Shared>,
        memory: &'f Arc<dyn DeviceMemory>,
        id: ResidentId,
        residence: u64,
        stream: &Arc<Stream>,
    ) -> Fill<'f> {
        let stream = newest(stream);
        let key = stream.slab_use().key();
        let target = residences.offer(key, memory, id, stream.slab().frame_count());
        let run_frames = run_frames(shared, &stream);
        Fill {
            residences,
            shared,
            memory: &**memory,
            id,
            residence,
            stream,
            interest: Interest::default(),
            target,
            made: VecDeque::new(),
            direct: VecDeque::new(),
            direct_done: Vec::new(),
            runs: Vec::new(),
            answers: mpsc::channel(),
            run_frames,
            runs_asked: 0,
            moves: 0,
            back: None,
            // Not zero, which xorshift would stay at.
            random: random().map_or(residence, u64::from_le_bytes) | 1,
        }
    }

    /// Brings all frames there: how many the device has read itself.
    pub(super) fn run(&mut self) -> Result<usize, Failure> {
        self.divide();
        loop {
            if !self.residences.table().is_wanted(self.residence) {
                return Err(Failure::Unwanted);
            }
            if self.target.is_spoiled() {
                return Err(Failure::Lost("it may write at any time".to_string()));
            }
            self.ask();
            // What has been made goes first: it takes room in the cache.
            if let Ok(answer) = self.answers.1.try_recv() {
                self.take(answer)?;
            } else if !self.direct.is_empty() {
                self.read_direct()?;
            } else if !self.runs.is_empty() {
                match self.answers.1.recv_timeout(LOOK_AGAIN) {
                    Ok(answer) => self.take(answer)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(Error::ShuttingDown.into()),
                }
            } else if self.made.is_empty() {
                // Nothing may have been asked of it since the last batch.
                return match self.memory.is_held(self.id) {
                    true => Ok(self.direct_done.len()),
                    false => Err(Failure::Lost("its memory is gone".to_string())),
                };
            }
        }
    }

    /// Decides what the device is to read itself.
    fn divide(&mut self) {
        let count = self.stream.slab().frame_count();
        let allowed = self.residences.is_direct.load(Ordering::SeqCst);
        let absent = match allowed {
            true => self.stream.slab().absent(0..count),
            false => Vec::new(),
        };
        let producer = self.stream.producer();
        let direct = absent
            .into_iter()
            .filter(|frame| producer.is_direct(*frame));
        self.direct = direct.collect();
        let mut next = 0;
        for frame in self.direct.iter().copied().chain([count]) {
            if frame > next {
                self.made.push_back(next..frame);
            }
            next = frame + 1;
        }
    }

    /// Asks for runs of frames until enough are under way, and has those after them made ahead.
    fn ask(&mut self) {
        while self.runs.len() < RUNS_MAX
            && let Some(mut all) = self.made.pop_front()
        {
            // What is there already need not be in the slab any more.
            match self.target.first_missing(all.clone()) {
                Some(first) => all.start = first,
                None => continue,
            }
            let end = all.end.min(all.start + self.run_frames);
            if end < all.end {
                self.made.push_front(end..all.end);
            }
            let (shared, stream) = (self.shared.clone(), self.stream.clone());
            shared.sweep(&stream, &self.interest, end, all.end - end);
            let frames = all.start..end;
            let pinned = Pinned::new(&stream, frames.clone());
            self.runs_asked += 1;
            let number = self.runs_asked;
            let told = self.answers.0.clone();
            // Nobody listens any more where the filling has failed.
            let reply: Reply = Box::new(move |answer| drop(told.send((number, answer.map(drop)))));
            self.runs.push(Run { number, pinned });
            shared.read(&stream, stream.slab().range_of(frames), reply);
        }
    }

    /// Takes the answer for a run: copies it.
    fn take(&mut self, (number, answer): Answer) -> Result<(), Failure> {
        let Some(at) = self.runs.iter().position(|run| run.number == number) else {
            return Ok(());
        };
        let Run { pinned, .. } = self.runs.remove(at);
        answer?;
        let slab = pinned.stream.slab();
        let frames = pinned.frames.clone();
        if !frames.clone().all(|frame| slab.is_present(frame)) {
            // Answered from another slab, which took this one's place.
            self.stream = newest(&self.stream);
            self.moves += 1;
            if self.moves > MOVES_MAX {
                return Err(Error::Malformed("a decoded frame was lost".to_string()).into());
            }
            self.made.push_front(frames);
            return Ok(());
        }
        let Some(own) = self.target.take_run(frames.clone(), LOOK_AGAIN) else {
            // A batch of the slab whose place this one took is under way.
            self.made.push_front(frames);
            return Ok(());
        };
        self.upload(&pinned, &own)
    }

    /// Copies frames of a slab, of which all are present.
    fn upload(&mut self, pinned: &Pinned, own: &[Range<usize>]) -> Result<(), Failure> {
        if own.is_empty() {
            return Ok(());
        }
        let slab = pinned.stream.slab();
        let piece = |frames: &Range<usize>| {
            let range = slab.range_of(frames.clone());
            Piece {
                file_offset_bytes: range.start,
                offset_bytes: self.offset_bytes(frames.start),
                len_bytes: range.end - range.start,
            }
        };
        let pieces: Vec<Piece> = own.iter().map(piece).collect();
        let deadline = copy_time(pieces.iter().map(|piece| piece.len_bytes).sum());
        self.memory
            .upload(self.id, slab.file(), slab.len_bytes(), &pieces, deadline)?;
        let uploaded = &self.residences.counters.uploaded_frames;
        let count: usize = own.iter().map(ExactSizeIterator::len).sum();
        uploaded.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Has the device read some frames from their files. What it does not, or gets wrong, is made by who
    /// makes frames.
    fn read_direct(&mut self) -> Result<(), Failure> {
        let stream = self.stream.clone();
        let frame_len = stream.slab().frame_len_bytes() as u64;
        let count = usize::try_from(DIRECT_BYTES_MAX / frame_len).unwrap_or(DIRECT_FRAMES_MAX);
        let count = count.clamp(1, DIRECT_FRAMES_MAX).min(self.direct.len());
        let frames: Vec<usize> = self.direct.drain(..count).collect();
        let mut opened: Vec<(usize, DirectFrame<'_>)> = Vec::new();
        for frame in frames {
            match self.target.take(frame) {
                Place::Open => {}
                Place::There => continue,
                Place::Batch | Place::Filler => {
                    self.leave(frame);
                    continue;
                }
            }
            match stream.producer().direct(frame) {
                Ok(direct) => opened.push((frame, direct)),
                Err(why) => {
                    tracing::debug!("frame {} is not read by a device: {why:?}", frame + 1);
                    self.leave(frame);
                }
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        let outcomes = self.ask_direct(&opened, frame_len)?;
        let mut done = Vec::new();
        for ((frame, direct), outcome) in opened.iter().zip(outcomes) {
            match outcome {
                // A file that has changed under it is the CPU's to say.
                Outcome::Done if (direct.verify)().is_ok() => done.push((*frame, &direct.job)),
                _ => self.leave(*frame),
            }
        }
        if self.residences.is_direct.load(Ordering::SeqCst) && self.is_right(&done)? {
            let counter = &self.residences.counters.direct_frames;
            counter.fetch_add(done.len() as u64, Ordering::Relaxed);
            self.direct_done
                .extend(done.iter().map(|(frame, _)| *frame));
            return Ok(());
        }
        // Nothing of it is believed, nor what it read before.
        let doubted = done.iter().map(|(frame, _)| *frame);
        let doubted: Vec<usize> = doubted.chain(self.direct_done.drain(..)).collect();
        let rest = std::mem::take(&mut self.direct);
        for frame in doubted.into_iter().chain(rest) {
            self.leave(frame);
        }
        Ok(())
    }

    fn ask_direct(
        &self,
        opened: &[(usize, DirectFrame<'_>)],
        frame_len: u64,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut files: Vec<&Arc<_>> = Vec::new();
        let mut jobs = Vec::new();
        for (frame, direct) in opened {
            let known = files
                .iter()
                .position(|file| Arc::ptr_eq(file, &direct.file));
            let file = known.unwrap_or_else(|| {
                files.push(&direct.file);
                files.len() - 1
            });
            let start = self.offset_bytes(*frame);
            let mut job = direct.job.clone();
            job.out = start..start + frame_len;
            jobs.push(DirectJob {
                file: u32::try_from(file).unwrap_or(u32::MAX),
                file_offset_bytes: direct.file_offset_bytes,
                job,
            });
        }
        let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        let deadline = copy_time(frame_len * opened.len() as u64);
        let outcomes = self.memory.direct(self.id, &files, &jobs, deadline)?;
        match outcomes.len() == jobs.len() {
            true => Ok(outcomes),
            false => Err(Failure::Lost(
                "not as many answers as questions".to_string(),
            )),
        }
    }

    /// Leaves a frame to who makes frames.
    fn leave(&mut self, frame: usize) {
        self.target.give_up(frame);
        match self.made.back_mut() {
            Some(last) if last.end == frame => last.end += 1,
            _ => self.made.push_back(frame..frame + 1),
        }
    }

    /// Where a frame belongs in the device's memory: as in the slab, without its header.
    pub(super) fn offset_bytes(&self, frame: usize) -> u64 {
        frame as u64 * self.stream.slab().frame_len_bytes() as u64
    }
}

/// The stream that reads of a stream are answered from now.
fn newest(stream: &Arc<Stream>) -> Arc<Stream> {
    let mut newest = stream;
    while let Some(heir) = newest.heir() {
        newest = heir;
    }
    newest.clone()
}

/// Frames of a run: enough for the workers, and few enough that the runs under way leave room in the
/// cache for all others.
fn run_frames(shared: &Shared, stream: &Stream) -> usize {
    let frame = stream.slab().frame_len_bytes() as u64;
    let most = (shared.cache.budget_bytes() / RUN_OF_BUDGET).min(RUN_BYTES_MAX) / frame;
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let least = (2 * threads).max(RUN_BYTES_MIN / frame);
    usize::try_from(least.min(most).max(1)).unwrap_or(1)
}

pub(super) fn copy_time(bytes: u64) -> Duration {
    COPY_TIME + Duration::from_secs(bytes / COPY_BYTES_PER_S)
}
