//! Many codestreams at once: several threads, each with several streams.
//!
//! The library has no call for a batch, and its call for one picture does a good part of the work on
//! the CPU, in the thread that calls: packet headers, copies, many launches. (Its "parse" reads the
//! main header only: 2 us for a codestream whose packet headers take 30.) So frames are taken by
//! threads, and each keeps a few streams busy; a stream has a decode state of its own, which is
//! waited for before it is used again. A frame that cannot be decoded is an [`Outcome`] of that
//! frame; only a device that is lost ends the batch. Must not know CUDA nor where memory comes from
//! ([`Streams`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::{Outcome, Refusal};
use super::result::Failure;
use super::safe::{DecodeState, Handle, InFlight, Parsed, Streams};
use super::{Nvjpeg2k, codestream, expected};
use crate::dicom::ImagePixel;

/// One frame to be decoded.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// A codestream, or a JP2 file around one.
    pub encoded: &'a [u8],
    /// What the DICOM header says it holds.
    pub image: &'a ImagePixel,
}

/// How a frame went: `Ok` when its planes and all that was queued behind them are done.
pub type Decoded = Result<(), Outcome>;

/// The decoder of one device. It must be made on a thread whose current CUDA context is that device's.
pub struct Decoder {
    states: Vec<DecodeState>,
    handle: Arc<Handle>,
    threads: usize,
}

impl Decoder {
    /// Makes a decoder that has up to `states` pictures in flight and submits them from up to
    /// `threads` threads; both are at least 1.
    ///
    /// # Errors
    /// The library refuses, in words: no device, or no memory.
    pub fn new(library: &Nvjpeg2k, states: usize, threads: usize) -> Result<Decoder, String> {
        let handle = Handle::new(library.functions())?;
        let states: Result<Vec<_>, String> = (0..states.max(1))
            .map(|_| DecodeState::new(&handle))
            .collect();
        Ok(Decoder {
            states: states?,
            handle,
            threads: threads.max(1),
        })
    }

    /// Decodes frames, in any order, and waits for all of them.
    ///
    /// # Errors
    /// The device is lost, in words: nothing of this batch may be believed, and the decoder is not
    /// to be used again.
    pub fn decode(
        &mut self,
        frames: &[Frame<'_>],
        streams: &impl Streams,
    ) -> Result<Vec<Decoded>, String> {
        let lanes = self.states.len().min(streams.count());
        if lanes == 0 {
            return Err("no stream to decode on".into());
        }
        let threads = self.threads.min(lanes).min(frames.len()).max(1);
        let a_thread = lanes.div_ceil(threads);
        let next = AtomicUsize::new(0);
        let (handle, next) = (&self.handle, &next);
        let mut outcomes = vec![Err(Outcome::Failed("left out".into())); frames.len()];
        thread::scope(|scope| {
            let mut workers = Vec::new();
            let groups = self.states[..lanes].chunks_mut(a_thread).enumerate();
            for (group, states) in groups {
                let spawned = thread::Builder::new()
                    .name("j2k-submit".into())
                    .spawn_scoped(scope, move || {
                        Worker::new(handle, states, group * a_thread, streams).run(frames, next)
                    })
                    .inspect_err(|_| next.store(frames.len(), Ordering::Relaxed));
                workers.push(spawned.map_err(|error| format!("no thread: {error}"))?);
            }
            // All are waited for, also after one has lost the device.
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            for end in ends {
                let end = end.map_err(|_| "a decoding thread panicked".to_string())?;
                for (frame, outcome) in end? {
                    outcomes[frame] = outcome;
                }
            }
            Ok::<(), String>(())
        })?;
        Ok(outcomes)
    }
}

/// What one thread has of a batch.
struct Worker<'d, 'a, S: Streams> {
    handle: &'d Arc<Handle>,
    states: &'d mut [DecodeState],
    /// The stream of the first state; the others follow.
    first: usize,
    streams: &'d S,
    /// What each state is at.
    in_flight: Vec<Option<InFlight<'a>>>,
    /// The state that has been at work the longest, and is next.
    turn: usize,
    outcomes: Vec<(usize, Decoded)>,
}

impl<'d, 'a, S: Streams> Worker<'d, 'a, S> {
    fn new(
        handle: &'d Arc<Handle>,
        states: &'d mut [DecodeState],
        first: usize,
        streams: &'d S,
    ) -> Self {
        Worker {
            in_flight: states.iter().map(|_| None).collect(),
            handle,
            states,
            first,
            streams,
            turn: 0,
            outcomes: Vec::new(),
        }
    }

    /// Takes one frame after the other until there is none, then waits for all of its own.
    fn run(
        mut self,
        frames: &[Frame<'a>],
        next: &AtomicUsize,
    ) -> Result<Vec<(usize, Decoded)>, String> {
        let done = self.run_all(frames, next);
        if done.is_err() {
            // The others stop where they are.
            next.store(frames.len(), Ordering::Relaxed);
        }
        done.map(|()| std::mem::take(&mut self.outcomes))
    }

    fn run_all(&mut self, frames: &[Frame<'a>], next: &AtomicUsize) -> Result<(), String> {
        self.streams.enter()?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(frame) = frames.get(index) else {
                break;
            };
            let outcome = match parse(self.handle, frame) {
                Ok(parsed) => self.submit(index, parsed)?,
                Err(outcome) => Err(outcome),
            };
            self.outcomes.push((index, outcome));
        }
        (0..self.states.len()).try_for_each(|turn| self.wait(turn))
    }

    fn submit(&mut self, frame: usize, parsed: Parsed<'a>) -> Result<Decoded, String> {
        let turn = self.turn;
        self.wait(turn)?;
        let lane = self.first + turn;
        let planes = *parsed.planes();
        let submitted = self.states[turn].submit(parsed, self.streams, (lane, frame));
        let (in_flight, result) = match submitted {
            Ok(submitted) => submitted,
            Err(no_memory) => return Ok(Err(Outcome::Failed(no_memory))),
        };
        self.in_flight[turn] = Some(in_flight);
        self.turn = (turn + 1) % self.states.len();
        match result {
            Ok(()) => self.streams.decoded(lane, frame, &planes).map(Ok),
            Err(failure) if failure.is_of_the_device() => Err(failure.to_string()),
            Err(failure) => {
                // Half of its work may be queued, and the state is in the middle of something.
                self.wait(turn)?;
                self.states[turn] = DecodeState::new(self.handle)?;
                Ok(Err(outcome_of(failure)))
            }
        }
    }

    fn wait(&mut self, turn: usize) -> Result<(), String> {
        match self.in_flight[turn].take() {
            Some(in_flight) => self.states[turn].wait(in_flight, self.streams),
            None => Ok(()),
        }
    }
}

impl<S: Streams> Drop for Worker<'_, '_, S> {
    /// A batch that ended early leaves nothing at work: the frames' bytes go with it.
    fn drop(&mut self) {
        for turn in 0..self.in_flight.len() {
            if let Err(error) = self.wait(turn) {
                tracing::debug!("waiting for a lost device: {error}");
            }
        }
    }
}

/// Parses one frame and compares what the library found with the codestream's header, as this crate
/// reads it, and with the DICOM header.
fn parse<'a>(handle: &Handle, frame: &Frame<'a>) -> Result<Parsed<'a>, Outcome> {
    let refused = Outcome::Refused(Refusal::Codestream);
    let bytes = codestream(frame.encoded).map_err(|_| refused.clone())?;
    match Parsed::new(handle, bytes) {
        Ok(Ok(parsed))
            if parsed.planes().are_of(frame.image)
                && expected(bytes).as_ref() == Ok(parsed.planes()) =>
        {
            Ok(parsed)
        }
        Ok(_) => Err(refused),
        // Parsing runs on the CPU: whatever it meets, the device is as well as before.
        Err(failure) => Err(outcome_of(failure)),
    }
}

fn outcome_of(failure: Failure) -> Outcome {
    if failure.is_of_the_codestream() {
        Outcome::Refused(Refusal::Codestream)
    } else {
        Outcome::Failed(failure.to_string())
    }
}
