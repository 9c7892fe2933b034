//! Many codestreams at once: parsed by several threads, decoded on several streams.
//!
//! The library has no call for a batch. What it does on the CPU (reading packet headers) is spread
//! over threads that run ahead by a bounded number of frames; what it does on the device runs on as
//! many streams as the caller has, each with a decode state of its own, which is waited for before
//! it is used again. A frame that cannot be decoded is an [`Outcome`] of that frame; only a device
//! that is lost ends the batch. Must not know CUDA nor where memory comes from ([`Streams`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::super::{Outcome, Refusal};
use super::result::Failure;
use super::safe::{DecodeState, Handle, InFlight, Params, Parsed, Streams};
use super::{Nvjpeg2k, codestream, expected};
use crate::dicom::ImagePixel;

/// Frames parsed ahead of the device, for each parsing thread: enough that neither waits when
/// frames differ in size.
const AHEAD_A_THREAD: usize = 2;

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

/// The decoder of one device. It must be made and used on a thread whose current CUDA context is
/// that device's.
pub struct Decoder {
    // In this order they are dropped: the handle is destroyed after what was made with it.
    states: Vec<DecodeState>,
    params: Params,
    handle: Arc<Handle>,
    parsers: usize,
}

impl Decoder {
    /// Makes a decoder that has up to `states` pictures in flight and parses on `parsers` threads;
    /// both are at least 1.
    ///
    /// # Errors
    /// The library refuses, in words: no device, or no memory.
    pub fn new(library: &Nvjpeg2k, states: usize, parsers: usize) -> Result<Decoder, String> {
        let handle = Handle::new(library.functions())?;
        let params = Params::new(&handle)?;
        let states: Result<Vec<_>, String> = (0..states.max(1))
            .map(|_| DecodeState::new(&handle))
            .collect();
        Ok(Decoder {
            params,
            states: states?,
            handle,
            parsers: parsers.max(1),
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
        streams: &mut impl Streams,
    ) -> Result<Vec<Decoded>, String> {
        let lanes = self.states.len().min(streams.count());
        if lanes == 0 {
            return Err("no stream to decode on".into());
        }
        let parsers = self.parsers.min(frames.len());
        let next = AtomicUsize::new(0);
        let handle = self.handle.clone();
        let mut batch = Batch {
            decoder: self,
            streams,
            in_flight: (0..lanes).map(|_| None).collect(),
            lane: 0,
            outcomes: vec![Ok(()); frames.len()],
        };
        thread::scope(|scope| {
            let (sender, parsed) = sync_channel(parsers * AHEAD_A_THREAD);
            for _ in 0..parsers {
                let (sender, handle, next) = (sender.clone(), &*handle, &next);
                let spawned = thread::Builder::new()
                    .name("j2k-parse".into())
                    .spawn_scoped(scope, move || parse_all(handle, frames, next, &sender));
                spawned.map_err(|error| format!("no thread to parse on: {error}"))?;
            }
            drop(sender);
            // On an error the receiver goes, and with it the threads.
            batch.run(parsed, frames.len())
        })?;
        Ok(std::mem::take(&mut batch.outcomes))
    }
}

type Parse<'a> = (usize, Result<Parsed<'a>, Outcome>);

/// Takes one frame after the other until there is none, or nobody listens.
fn parse_all<'a>(
    handle: &Handle,
    frames: &[Frame<'a>],
    next: &AtomicUsize,
    sender: &SyncSender<Parse<'a>>,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(frame) = frames.get(index) else {
            return;
        };
        if sender.send((index, parse(handle, frame))).is_err() {
            return;
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

/// A batch under way.
struct Batch<'d, 'a, S: Streams> {
    decoder: &'d mut Decoder,
    streams: &'d mut S,
    /// What each stream is at.
    in_flight: Vec<Option<InFlight<'a>>>,
    /// The stream that has been at work the longest, and is next.
    lane: usize,
    outcomes: Vec<Decoded>,
}

impl<'a, S: Streams> Batch<'_, 'a, S> {
    fn run(&mut self, parsed: Receiver<Parse<'a>>, count: usize) -> Result<(), String> {
        for _ in 0..count {
            match parsed.recv() {
                Ok((frame, Ok(parsed))) => self.submit(frame, parsed)?,
                Ok((frame, Err(outcome))) => self.outcomes[frame] = Err(outcome),
                Err(_) => return Err("a parsing thread ended early".into()),
            }
        }
        (0..self.in_flight.len()).try_for_each(|lane| self.wait(lane))
    }

    fn submit(&mut self, frame: usize, parsed: Parsed<'a>) -> Result<(), String> {
        let lane = self.lane;
        self.wait(lane)?;
        let planes = *parsed.planes();
        let (decoder, streams) = (&mut *self.decoder, &mut *self.streams);
        let state = &mut decoder.states[lane];
        let submitted = state.submit(parsed, &decoder.params, streams, (lane, frame));
        let (in_flight, result) = match submitted {
            Ok(submitted) => submitted,
            Err(no_memory) => {
                self.outcomes[frame] = Err(Outcome::Failed(no_memory));
                return Ok(());
            }
        };
        self.in_flight[lane] = Some(in_flight);
        self.lane = (lane + 1) % self.in_flight.len();
        match result {
            Ok(()) => self.streams.decoded(lane, frame, &planes),
            Err(failure) if failure.is_of_the_device() => Err(failure.to_string()),
            Err(failure) => {
                self.outcomes[frame] = Err(outcome_of(failure));
                // Half of its work may be queued, and the state is in the middle of something.
                self.wait(lane)?;
                self.decoder.states[lane] = DecodeState::new(&self.decoder.handle)?;
                Ok(())
            }
        }
    }

    fn wait(&mut self, lane: usize) -> Result<(), String> {
        match self.in_flight[lane].take() {
            Some(in_flight) => self.decoder.states[lane].wait(in_flight, self.streams),
            None => Ok(()),
        }
    }
}

impl<S: Streams> Drop for Batch<'_, '_, S> {
    /// A batch that ended early leaves nothing at work: the frames' bytes go with it.
    fn drop(&mut self) {
        for lane in 0..self.in_flight.len() {
            if let Err(error) = self.wait(lane) {
                tracing::debug!("waiting for a lost device: {error}");
            }
        }
    }
}
