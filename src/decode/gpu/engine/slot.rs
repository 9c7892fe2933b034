//! One chunk of a batch on its way: uploaded, decoded, downloaded on a stream of its own.
//!
//! `unsafe` because copies and kernels go on after the calls that start them: what they read and
//! write stays until [`Slot::finish`] has waited.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::frame::{Checked, aligned};
use super::layout::{Layout, Run};
use crate::decode::gpu::driver::{Context, CudaError, DeviceMemory, HostMemory, Stream};
use crate::decode::gpu::job::{Job, Outcome, Refusal};
use crate::decode::gpu::kernels::{Kernels, flag};
use crate::decode::gpu::planes::{Decoders, PlaneRequest, Planes};
use crate::decode::gpu::store::Resident;

/// Device memory is taken in multiples of this, the size of its large pages.
const GRAIN_BYTES: usize = 2 << 20;

/// The same for pinned memory that holds what the kernels are told: that of a few hundred frames.
const TABLES_GRAIN_BYTES: usize = 64 << 10;

/// The memory of the caller, for the time of a batch.
pub(super) struct Memory<'a> {
    pub jobs: &'a [Job],
    pub encoded: &'a [u8],
    /// The encoded memory of this batch is pinned: the device reads it by itself.
    pub encoded_is_pinned: bool,
    /// First byte of the window of the slab. A pointer, because the device writes there while the
    /// program goes on.
    pub slab: *mut u8,
    /// The part of the window that this batch fills is pinned.
    pub slab_is_pinned: bool,
    /// Where the values of each job belong beside; empty if none do. Long enough for them.
    pub beside: &'a [Option<Beside>],
}

/// A place in a resident.
pub(super) struct Beside {
    /// Not freed while it is held.
    pub resident: Arc<Resident>,
    pub offset_bytes: u64,
}

/// What decodes, beside the slots.
pub(super) struct Tools<'a> {
    pub context: &'a Arc<Context>,
    pub kernels: &'a Kernels,
    pub decoders: &'a mut Decoders,
    pub plane_streams: &'a [Stream],
}

/// Why a chunk is not on its way.
pub(super) enum Stop {
    /// No memory for so many frames: here they are again.
    NoMemory(Vec<Checked>),
    /// The device is lost.
    Lost(String),
}

/// A stream and the memory of one chunk at a time.
#[derive(Debug)]
pub(super) struct Slot {
    stream: Stream,
    memory: Option<DeviceMemory>,
    tables: Option<HostMemory>,
    stage: Option<HostMemory>,
    pending: Option<Pending>,
}

/// What is on its way.
#[derive(Debug)]
struct Pending {
    chunk: Vec<Checked>,
    /// How frames went that never reached the kernels.
    early: Vec<Option<Outcome>>,
    flags: Range<usize>,
    /// Values in the staging memory, `device` counting from its start.
    staged: Vec<Run>,
    /// A call that failed while the chunk was started.
    error: Option<CudaError>,
}

impl Slot {
    pub fn new(context: &Arc<Context>) -> Result<Slot, CudaError> {
        Ok(Slot {
            stream: Stream::new(context)?,
            memory: None,
            tables: None,
            stage: None,
            pending: None,
        })
    }

    /// Bytes of device memory that it has.
    pub fn held_bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, DeviceMemory::len)
    }

    /// Gives pinned memory back that is larger than a chunk should take.
    pub fn trim(&mut self, stage_bytes_max: usize) {
        if self.pending.is_none() {
            self.stage.take_if(|stage| stage.len() > stage_bytes_max);
        }
    }

    /// Gives the memory back that nothing is on its way in.
    pub fn release(&mut self) {
        if self.pending.is_some() {
            return;
        }
        self.memory = None;
        self.tables = None;
        self.stage = None;
    }

    /// Starts a chunk; the one before must be finished.
    pub fn start(
        &mut self,
        chunk: Vec<Checked>,
        memory: &Memory<'_>,
        tools: &mut Tools<'_>,
    ) -> Result<(), Stop> {
        let mut layout = Layout::new(&chunk);
        match self.reserve(tools.context, &layout, memory) {
            Ok(()) => {}
            Err(error) if error.is_out_of_memory() => return Err(Stop::NoMemory(chunk)),
            Err(error) => return Err(Stop::Lost(error.to_string())),
        }
        let mut pending = Pending {
            early: vec![None; chunk.len()],
            chunk,
            flags: layout.flags(),
            staged: Vec::new(),
            error: None,
        };
        let started = self.enqueue(&mut layout, &mut pending, memory, tools);
        self.pending = Some(pending);
        match started {
            Ok(()) => Ok(()),
            Err(Failure::Lost(text)) => Err(Stop::Lost(text)),
            Err(Failure::Call(error)) if error.is_lost() => Err(Stop::Lost(error.to_string())),
            Err(Failure::Call(error)) => {
                if let Some(pending) = &mut self.pending {
                    pending.error = Some(error);
                }
                Ok(())
            }
        }
    }

    fn reserve(
        &mut self,
        context: &Arc<Context>,
        layout: &Layout,
        memory: &Memory<'_>,
    ) -> Result<(), CudaError> {
        if self.memory.as_ref().is_none_or(|m| m.len() < layout.len) {
            // The old memory goes first, to make room.
            self.memory = None;
            let len = layout.len.next_multiple_of(GRAIN_BYTES);
            self.memory = Some(DeviceMemory::new(context, len)?);
        }
        reserve_host(
            &mut self.tables,
            context,
            layout.tables_len(),
            TABLES_GRAIN_BYTES,
        );
        let (encoded, values) = stages(layout, memory);
        let stage = aligned(encoded) + values;
        if stage > 0 {
            reserve_host(&mut self.stage, context, stage, GRAIN_BYTES);
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        layout: &mut Layout,
        pending: &mut Pending,
        memory: &Memory<'_>,
        tools: &mut Tools<'_>,
    ) -> Result<(), Failure> {
        let (Some(device), Some(tables)) = (&self.memory, &mut self.tables) else {
            return Ok(());
        };
        let mut no_stage: [u8; 0] = [];
        let stage = self.stage.as_mut().map_or(&mut no_stage[..], |m| m.bytes());
        let (encoded_len, values_len) = stages(layout, memory);
        let (stage_in, rest) = stage.split_at_mut(aligned(encoded_len).min(stage.len()));
        let stream = &self.stream;
        layout.move_to(device.address());
        upload(layout, memory, device, &mut stage_in[..encoded_len], stream)?;
        decode_planes(layout, pending, memory, tools, (device, stream))?;
        let tables = &mut tables.bytes()[..layout.tables_len()];
        layout.write_tables(tables);
        // SAFETY: the tables, the stage and the slab are left alone until `finish` has waited; the
        // frames were checked against both memories, and laid out inside of the device's.
        unsafe {
            device.upload(0, tables, stream)?;
            let told = layout.tables(device.address());
            tools.kernels.launch(&told, stream)?;
            let flags = &mut tables[pending.flags.clone()];
            device.download(pending.flags.start, flags.as_mut_ptr(), flags.len(), stream)?;
        }
        copy_beside(layout, pending, memory, device, stream)?;
        let first = layout.values.start;
        if !memory.slab_is_pinned {
            let from = rest.as_mut_ptr();
            // SAFETY: as above; `reserve` made the stage as long as the values.
            unsafe { device.download(first, from, values_len, stream)? };
            let at = aligned(encoded_len);
            pending.staged = std::mem::take(&mut layout.downloads);
            for run in &mut pending.staged {
                run.device = run.device - first + at;
            }
            return Ok(());
        }
        for run in &layout.downloads {
            // SAFETY: a part of the window that was checked, nobody else's for the batch.
            unsafe {
                let to = memory.slab.add(run.host.start);
                device.download(run.device, to, run.host.len(), stream)?;
            }
        }
        Ok(())
    }

    /// Waits for the chunk and says how its frames went.
    ///
    /// # Errors
    /// The device is lost.
    pub fn finish(
        &mut self,
        memory: &Memory<'_>,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), String> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let waited = self.stream.wait();
        if let Err(error) = &waited
            && error.is_lost()
        {
            return Err(error.to_string());
        }
        let error = pending.error.or(waited.err());
        let flags = match &mut self.tables {
            Some(tables) if error.is_none() => &tables.bytes()[pending.flags.clone()],
            _ => &[],
        };
        if let (Some(stage), None) = (&mut self.stage, &error) {
            let stage = stage.bytes();
            for run in &pending.staged {
                let from = &stage[run.device..][..run.host.len()];
                // SAFETY: a part of the window that was checked; nothing else is written there now.
                unsafe {
                    let to = memory.slab.add(run.host.start);
                    to.copy_from_nonoverlapping(from.as_ptr(), from.len());
                }
            }
        }
        let (words, _) = flags.as_chunks::<4>();
        for (at, (checked, early)) in pending.chunk.iter().zip(pending.early).enumerate() {
            let flags = words.get(at).map_or(0, |word| u32::from_ne_bytes(*word));
            outcomes[checked.index] = Some(match (early, &error) {
                (Some(outcome), _) => outcome,
                (None, Some(error)) => Outcome::Failed(error.to_string()),
                (None, None) => outcome(flags),
            });
        }
        Ok(())
    }

    /// Waits for whatever is on its way and forgets it.
    pub fn abandon(&mut self) {
        if self.pending.take().is_some()
            && let Err(error) = self.stream.wait()
        {
            tracing::debug!(%error, "a chunk was abandoned");
        }
    }
}

/// Why a chunk could not be started as it should.
enum Failure {
    Call(CudaError),
    Lost(String),
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Failure {
        Failure::Call(error)
    }
}

fn reserve_host(memory: &mut Option<HostMemory>, context: &Arc<Context>, len: usize, grain: usize) {
    if memory.as_ref().is_none_or(|m| m.len() < len) {
        *memory = None;
        *memory = Some(HostMemory::new(context, len.next_multiple_of(grain)));
    }
}

/// Bytes of encoded frames and of values that go through memory of our own.
fn stages(layout: &Layout, memory: &Memory<'_>) -> (usize, usize) {
    let of = |pinned: bool, region: &Range<usize>| if pinned { 0 } else { region.len() };
    (
        of(memory.encoded_is_pinned, &layout.encoded),
        of(memory.slab_is_pinned, &layout.values),
    )
}

fn upload(
    layout: &Layout,
    memory: &Memory<'_>,
    device: &DeviceMemory,
    stage: &mut [u8],
    stream: &Stream,
) -> Result<(), CudaError> {
    if memory.encoded_is_pinned {
        for run in &layout.uploads {
            let from = &memory.encoded[run.host.clone()];
            // SAFETY: borrowed for the batch, at the end of which every slot has waited.
            unsafe { device.upload(run.device, from, stream)? };
        }
        return Ok(());
    }
    if stage.is_empty() {
        return Ok(());
    }
    let first = layout.encoded.start;
    for run in &layout.uploads {
        let to = &mut stage[run.device - first..][..run.host.len()];
        to.copy_from_slice(&memory.encoded[run.host.clone()]);
    }
    // SAFETY: the stage is left alone until `finish` has waited.
    unsafe { device.upload(first, stage, stream) }
}

/// Copies values to residents, on the device. The layout has its addresses.
fn copy_beside(
    layout: &Layout,
    pending: &Pending,
    memory: &Memory<'_>,
    device: &DeviceMemory,
    stream: &Stream,
) -> Result<(), CudaError> {
    for (checked, frame) in pending.chunk.iter().zip(&layout.frames) {
        let Some(Some(beside)) = memory.beside.get(checked.index) else {
            continue;
        };
        let from = (frame.out - device.address()) as usize;
        let (to, len) = (beside.offset_bytes as usize, checked.out.len());
        // SAFETY: the slot's memory stays until `finish` has waited, the resident for the batch.
        unsafe {
            let resident = beside.resident.memory();
            resident.copy_from(to, device, from, len, stream)?;
        }
    }
    Ok(())
}

/// Has a library decode the frames that are its own; those that it does not take get no samples.
///
/// Into zeros: where a library says that all went well and has written nothing, what is shown would
/// be a picture of the chunk before, of another patient perhaps, and nothing about it suspicious.
fn decode_planes(
    layout: &mut Layout,
    pending: &mut Pending,
    memory: &Memory<'_>,
    tools: &mut Tools<'_>,
    (device, stream): (&DeviceMemory, &Stream),
) -> Result<(), Failure> {
    if pending.chunk.iter().all(Checked::is_uploaded) {
        return Ok(());
    }
    device.clear(layout.between.start, layout.between.len(), stream)?;
    // The streams that the library decodes on are others.
    stream.wait()?;
    let mut requests = Vec::with_capacity(pending.chunk.len());
    for (checked, frame) in pending.chunk.iter().zip(&layout.frames) {
        requests.push(PlaneRequest {
            image: &memory.jobs[checked.index].image,
            codestream: &memory.encoded[checked.encoded.clone()],
            planes: frame.planes,
            pitch_bytes: checked.pitch_bytes(),
        });
    }
    let mut done = Vec::with_capacity(requests.len());
    // All of a chunk are decoded alike.
    let codec = pending.chunk.first().map(|checked| checked.codec);
    if let Some(decoder) = codec.and_then(|codec| tools.decoders.of(codec)) {
        let decoded = decoder.decode(&requests, tools.plane_streams, &mut done);
        for plane_stream in tools.plane_streams {
            if stream.wait_for(plane_stream).is_err() {
                plane_stream.wait()?;
            }
        }
        decoded.map_err(Failure::Lost)?;
    }
    done.resize(
        requests.len(),
        Err(Outcome::Failed("no answer of the decoder".into())),
    );
    for (at, done) in done.into_iter().enumerate() {
        let frame = &mut layout.frames[at];
        let bits = 8 * frame.width;
        match done {
            Ok(Planes {
                sample_bytes: bytes @ (1 | 2),
                precision,
            }) if (1..=bits.min(8 * u32::from(bytes))).contains(&u32::from(precision)) => {
                frame.source_width = bytes.into();
                frame.up = 64 - u32::from(precision);
                frame.down = frame.up;
            }
            other => {
                frame.samples_all = 0;
                pending.early[at] = Some(match other {
                    Ok(planes) => Outcome::Failed(format!("the decoder made {planes:?}")),
                    Err(outcome) => outcome,
                });
            }
        }
    }
    Ok(())
}

fn outcome(flags: u32) -> Outcome {
    // Whatever else it is: nothing is known of codes that are out of step.
    if flags & flag::UNSETTLED != 0 {
        return Outcome::Refused(Refusal::Unsettled);
    }
    if flags & (flag::ENDS_EARLY | flag::BEYOND) != 0 {
        return Outcome::Refused(Refusal::Codestream);
    }
    if flags & flag::OVERFLOWED != 0 {
        return Outcome::Overflow;
    }
    Outcome::Done
}
