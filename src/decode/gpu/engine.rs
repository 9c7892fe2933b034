//! The engine: a batch of jobs in, values in the slab and an outcome a job.
//!
//! A batch is cut into chunks that fit the device memory set aside; chunks go round through a few
//! slots, each with a stream, so that one is uploaded while another is decoded and a third
//! downloaded. Whatever a job says is checked first ([`frame`]): the device is told nothing that
//! reaches beyond the memory of the job.
//!
//! `unsafe` because the caller's memory is pinned for the time of a batch, and the device goes on
//! reading and writing it while the program does other things: every way out of [`Engine::run`] has
//! waited for it.
//!
//! Must not know of processes, files or the archive.
#![allow(unsafe_code)]

mod frame;
mod layout;
mod lossless;
mod slot;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use self::frame::Checked;
use self::slot::{Memory, Slot, Stop, Tools};
use super::driver::{Context, CudaError, Registered, Stream};
use super::job::{Job, Outcome, Refusal};
use super::jpeg::Jpeg;
use super::jpeg2k::Jpeg2k;
use super::kernels::Kernels;
use super::planes::{Decoders, PlaneDecoder};
use super::{CUFILE, DeviceReport, LibraryReport, NVJPEG, NVJPEG2K, cufile, probe};

/// Chunks on their way at once: one each to upload, decode and download.
const SLOTS: usize = 3;

/// Most device memory that an engine takes for frames; a library takes its own beside it.
const DEVICE_BYTES_MAX: usize = 1 << 30;

/// A batch is cut into at least so many chunks where they are not smaller than
/// [`CHUNK_BYTES_MIN`], so that copies and kernels overlap.
const CHUNKS_A_BATCH: usize = 2 * SLOTS;

/// Device memory below which it does not pay to cut a batch further: a copy of this size takes as
/// long as a few launches.
const CHUNK_BYTES_MIN: usize = 4 << 20;

/// What a chunk's layout takes beyond the sum of its frames: the starts of its parts are aligned.
const LAYOUT_SLACK_BYTES: usize = 4096;

/// Batches of fewer bytes are copied to pinned memory rather than pinned, which takes system calls.
const PIN_BYTES_MIN: usize = 1 << 20;

/// Pinned memory that a slot keeps for copies from and to memory that is not pinned; a chunk takes
/// no more, but for a single frame that is larger.
const STAGE_BYTES_MAX: usize = 64 << 20;

/// Streams that a library decodes on.
const PLANE_STREAMS: usize = 8;

/// A device that decodes.
pub struct Engine {
    // Dropped in this order: the decoder's state, then what it and the slots run on.
    decoders: Decoders,
    slots: Vec<Slot>,
    plane_streams: Vec<Stream>,
    kernels: Kernels,
    context: Arc<Context>,
    report: DeviceReport,
    device_bytes_max: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("report", &self.report)
            .field("device_bytes_max", &self.device_bytes_max)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes the device with this ordinal, and NVIDIA's libraries if they are there: what needs one
    /// that is not is refused, and the report says why.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn open(ordinal: u32) -> Result<Engine, String> {
        let (device, report) = probe::find(ordinal)?;
        let text = |error: CudaError| error.to_string();
        let context = Context::open(&device).map_err(text)?;
        let kernels = Kernels::load(&context).map_err(text)?;
        let slots: Result<Vec<Slot>, CudaError> = (0..SLOTS).map(|_| Slot::new(&context)).collect();
        let free = context.free_bytes().map_err(text)?;
        let mut engine = Engine {
            decoders: Decoders::default(),
            slots: slots.map_err(text)?,
            plane_streams: Vec::new(),
            kernels,
            context,
            report,
            device_bytes_max: (free / 2).min(DEVICE_BYTES_MAX),
        };
        let jpeg2k = || Ok(Box::new(Jpeg2k::new(PLANE_STREAMS)?) as Box<dyn PlaneDecoder>);
        let found = engine.set_plane_decoder(NVJPEG2K, jpeg2k);
        engine.say_missing(NVJPEG2K, found);
        let jpeg = || Ok(Box::new(Jpeg::new()?) as Box<dyn PlaneDecoder>);
        let found = engine.set_plane_decoder(NVJPEG, jpeg);
        engine.say_missing(NVJPEG, found);
        engine.report.libraries.push(LibraryReport {
            name: CUFILE.to_string(),
            version: cufile::version(),
        });
        Ok(engine)
    }

    /// What the device is.
    pub fn report(&self) -> &DeviceReport {
        &self.report
    }

    /// Has the report say why a library is not there.
    fn say_missing(&mut self, library: &str, found: Result<(), String>) {
        if let Err(why) = found {
            self.report.libraries.push(LibraryReport {
                name: library.to_string(),
                version: Err(why),
            });
        }
    }

    /// Gives it a decoder for the codecs of a library ([`super::Codec::library`]). The device's context
    /// is current when this returns, and must be when `make` is called: so it is called here.
    ///
    /// # Errors
    /// What `make` says; it then stands in the report, and those codecs are refused.
    pub fn set_plane_decoder(
        &mut self,
        library: &'static str,
        make: impl FnOnce() -> Result<Box<dyn PlaneDecoder>, String>,
    ) -> Result<(), String> {
        let text = |error: CudaError| error.to_string();
        self.context.make_current().map_err(text)?;
        let decoder = make()?;
        if self.plane_streams.is_empty() {
            let streams: Result<Vec<Stream>, CudaError> = (0..PLANE_STREAMS)
                .map(|_| Stream::new(&self.context))
                .collect();
            self.plane_streams = streams.map_err(text)?;
        }
        let libraries = &mut self.report.libraries;
        libraries.retain(|known| known.name != library);
        libraries.push(LibraryReport {
            name: library.to_string(),
            ..decoder.report()
        });
        self.decoders.set(library, decoder);
        Ok(())
    }

    /// Gives the device memory and pinned memory back; the next batch takes them again.
    pub fn release(&mut self) {
        self.slots.iter_mut().for_each(Slot::release);
    }

    /// Does a batch. `encoded` holds what [`Job::encoded`] speaks of, `slab` is the window of the
    /// slab in which [`Job::out`] counts. The outcomes are in the order of the jobs; of the slab,
    /// only the bytes of jobs are written, and they hold values only where the outcome is
    /// [`Outcome::Done`].
    ///
    /// # Errors
    /// The device is lost, in words: no engine of this process will work again.
    pub fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String> {
        self.context
            .make_current()
            .map_err(|error| error.to_string())?;
        let mut outcomes = vec![None; jobs.len()];
        let chunk_bytes_max = self.device_bytes_max / SLOTS;
        let mut queue = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            match self.check(index, job, encoded, slab.len(), chunk_bytes_max) {
                Ok(checked) => queue.push(checked),
                Err(outcome) => outcomes[index] = Some(outcome),
            }
        }
        in_order(&mut queue, &mut outcomes);

        // Pinned here, and given back after all streams have been waited for.
        let reads = || queue.iter().filter(|checked| checked.is_uploaded());
        let read = hull(reads().map(|checked| &checked.encoded));
        let written = hull(queue.iter().map(|checked| &checked.out));
        let slab_start = slab.as_mut_ptr();
        let pinned = (
            pin(encoded.as_ptr().cast_mut(), read, false),
            pin(slab_start, written, true),
        );
        let memory = Memory {
            jobs,
            encoded,
            encoded_is_pinned: pinned.0.is_some(),
            slab: slab_start,
            slab_is_pinned: pinned.1.is_some(),
        };
        let ran = self.run_all(queue.into(), chunk_bytes_max, &memory, &mut outcomes);
        for slot in &mut self.slots {
            slot.abandon();
            slot.trim(STAGE_BYTES_MAX);
        }
        ran?;
        let unsaid = || Outcome::Failed("left out".to_string());
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(unsaid))
            .collect())
    }

    fn check(
        &self,
        index: usize,
        job: &Job,
        encoded: &[u8],
        slab_len: usize,
        bytes_max: usize,
    ) -> Result<Checked, Outcome> {
        if job.codec.library().is_some() && !self.decoders.has(job.codec) {
            return Err(Outcome::Refused(Refusal::NoLibrary));
        }
        let checked = frame::check(index, job, encoded, slab_len)?;
        if checked.device_bytes() > bytes_max {
            return Err(Outcome::Refused(Refusal::TooLarge));
        }
        Ok(checked)
    }

    /// Sends all chunks through the slots. On an error chunks may still be on their way.
    fn run_all(
        &mut self,
        mut queue: VecDeque<Checked>,
        bytes_max: usize,
        memory: &Memory<'_>,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), String> {
        let all: usize = queue.iter().map(Checked::device_bytes).sum();
        let mut limit = (all / CHUNKS_A_BATCH).max(CHUNK_BYTES_MIN).min(bytes_max);
        if !memory.encoded_is_pinned || !memory.slab_is_pinned {
            limit = limit.min(STAGE_BYTES_MAX);
        }
        let mut tools = Tools {
            context: &self.context,
            kernels: &self.kernels,
            decoders: &mut self.decoders,
            plane_streams: &self.plane_streams,
        };
        // The slots that are used, by turns: those that got memory.
        let mut active: VecDeque<usize> = (0..SLOTS).collect();
        // All slots' memory has been given back for the frame that is next.
        let mut alone = false;
        loop {
            let chunk = take(&mut queue, limit);
            let Some(&turn) = active.front().filter(|_| !chunk.is_empty()) else {
                break;
            };
            self.slots[turn].finish(memory, outcomes)?;
            let chunk = match self.slots[turn].start(chunk, memory, &mut tools) {
                Ok(()) => {
                    active.rotate_left(1);
                    alone = false;
                    continue;
                }
                Err(Stop::NoMemory(chunk)) => chunk,
                Err(Stop::Lost(text)) => return Err(text),
            };
            tracing::debug!(frames = chunk.len(), "no device memory for a chunk");
            let others = active.iter().skip(1);
            let held = others.map(|&slot| self.slots[slot].held_bytes());
            if let Some(held) = held.filter(|&held| held > 0).min() {
                // The others go on with what they have.
                active.pop_front();
                active.retain(|&slot| self.slots[slot].held_bytes() > 0);
                limit = limit.min(held.saturating_sub(LAYOUT_SLACK_BYTES));
            } else if chunk.len() > 1 {
                limit = chunk.iter().map(Checked::device_bytes).sum::<usize>() / 2;
            } else if !alone {
                self.slots.iter_mut().for_each(Slot::release);
                alone = true;
            } else {
                outcomes[chunk[0].index] = Some(Outcome::Refused(Refusal::TooLarge));
                alone = false;
                continue;
            }
            for checked in chunk.into_iter().rev() {
                queue.push_front(checked);
            }
        }
        for slot in &mut self.slots {
            slot.finish(memory, outcomes)?;
        }
        Ok(())
    }
}

/// Takes the frames of the next chunk: at least one, all of them decoded alike.
fn take(queue: &mut VecDeque<Checked>, limit: usize) -> Vec<Checked> {
    let mut chunk: Vec<Checked> = Vec::new();
    let mut bytes = 0;
    while let Some(next) = queue.front() {
        let alike = chunk
            .first()
            .is_none_or(|first| first.codec.library() == next.codec.library());
        let fits = bytes + next.device_bytes() <= limit || chunk.is_empty();
        if !alike || !fits {
            break;
        }
        bytes += next.device_bytes();
        chunk.extend(queue.pop_front());
    }
    chunk
}

/// Sorts by the way of decoding, then by the place in the slab, and fails what would be written over
/// the values of another job.
fn in_order(queue: &mut Vec<Checked>, outcomes: &mut [Option<Outcome>]) {
    queue.sort_by_key(|checked| checked.out.start);
    let mut end = 0;
    queue.retain(|checked| {
        let free = checked.out.start >= end;
        if free {
            end = checked.out.end;
        } else {
            let what = "its values belong where another job's do".to_string();
            outcomes[checked.index] = Some(Outcome::Failed(what));
        }
        free
    });
    queue.sort_by_key(|checked| (checked.is_uploaded(), checked.codec.library()));
}

/// The bytes from the first to the last, if most of them are in one of the ranges and they are
/// worth pinning.
fn hull<'a>(ranges: impl Iterator<Item = &'a Range<usize>>) -> Option<Range<usize>> {
    let (mut start, mut end, mut sum) = (usize::MAX, 0, 0usize);
    for range in ranges {
        (start, end) = (start.min(range.start), end.max(range.end));
        sum = sum.saturating_add(range.len());
    }
    let worth_it = sum >= PIN_BYTES_MIN && end.saturating_sub(start) / 2 <= sum;
    worth_it.then_some(start..end)
}

/// Pins a part of the caller's memory for the batch; where that fails, copies go through ours.
fn pin<'a>(start: *mut u8, part: Option<Range<usize>>, written: bool) -> Option<Registered<'a>> {
    let part = part?;
    // SAFETY: a part of a slice that is borrowed for the batch; dropped after all streams have been
    // waited for.
    let pinned = unsafe { Registered::new(start.add(part.start), part.len(), written) };
    pinned
        .inspect_err(|error| tracing::debug!(%error, "memory was not pinned"))
        .ok()
}

#[cfg(test)]
mod tests;
