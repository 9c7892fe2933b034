//! Many frames at once: one call for all of them, whose Huffman codes the library undoes on the device
//! where there are enough.
//!
//! The library says of a batch only whether all of it went well. Where it did not, each frame is
//! decoded by itself, so that a broken one is an [`Outcome`] of its own; only a device that is lost
//! ends the batch. Each header is read by the library too before anything is decoded: it writes what
//! its own reading says, so that must be what ours says. Must not know CUDA nor where memory comes
//! from ([`Lane`]).
//!
//! Unsafe because the addresses and the stream are the caller's promise.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::Nvjpeg;
use super::result::Failure;
use super::safe::{DecodeState, Handle, Info, Picture};
use super::sys::{CSS_444, CSS_GRAY};
use crate::decode::cpu::jpeg;
use crate::decode::gpu::planes::PLANES_MAX;
use crate::decode::gpu::{Outcome, Refusal};
use crate::dicom::ImagePixel;

/// One frame to be decoded: 8 bits a sample, one plane a component.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The frame as the archive has it.
    pub encoded: &'a [u8],
    /// What the DICOM header says it holds.
    pub image: &'a ImagePixel,
    /// Device address of each component's plane; of those that it has not, anything.
    pub planes: [u64; PLANES_MAX],
    /// Bytes from one row of a plane to the next.
    pub pitch_bytes: usize,
}

/// How a frame went: `Ok` when its planes are there.
pub type Decoded = Result<(), Outcome>;

/// A stream of the device.
///
/// # Safety
/// - [`Lane::stream`] is a live CUstream of the context that is current.
/// - [`Lane::wait`] is `Ok` only when all work that was queued on the stream is done.
pub unsafe trait Lane {
    /// The CUstream.
    fn stream(&self) -> *mut c_void;

    /// Waits for all work on it.
    ///
    /// # Errors
    /// The device is lost.
    fn wait(&self) -> Result<(), String>;
}

/// The decoder of one device. It must be made and used on threads whose current CUDA context is that
/// device's.
pub struct Decoder {
    state: DecodeState,
    handle: Arc<Handle>,
    threads: c_int,
}

impl Decoder {
    /// Makes a decoder that uses up to `threads` threads of the CPU, at least 1.
    ///
    /// # Errors
    /// The library refuses, in words: no device, or no memory.
    pub fn new(library: &Nvjpeg, threads: usize) -> Result<Decoder, String> {
        let handle = Handle::new(library.functions())?;
        Ok(Decoder {
            state: DecodeState::new(&handle)?,
            handle,
            threads: c_int::try_from(threads.max(1)).unwrap_or(1),
        })
    }

    /// Decodes frames and waits for all of them.
    ///
    /// # Errors
    /// The device is lost, in words: nothing of this batch may be believed, and the decoder is not
    /// to be used again.
    ///
    /// # Safety
    /// Each frame has as many planes as Samples per Pixel, of Rows rows of the pitch, which is at least
    /// Columns bytes; they may be written by work on the lane, and nothing else uses them before this
    /// returns.
    pub unsafe fn decode(
        &mut self,
        frames: &[Frame<'_>],
        lane: &impl Lane,
    ) -> Result<Vec<Decoded>, String> {
        let mut outcomes: Vec<Decoded> = Vec::with_capacity(frames.len());
        let (mut pictures, mut places) = (Vec::new(), Vec::new());
        for frame in frames {
            match self.read(frame) {
                Ok(picture) => {
                    places.push(outcomes.len());
                    pictures.push(picture);
                    outcomes.push(Ok(()));
                }
                Err(outcome) => outcomes.push(Err(outcome)),
            }
        }
        if pictures.is_empty() {
            return Ok(outcomes);
        }
        // SAFETY: what was read agrees with the images; the rest is the caller's promise.
        let Err(failure) = (unsafe { self.call(&pictures, lane) })? else {
            return Ok(outcomes);
        };
        if let [only] = places[..] {
            outcomes[only] = Err(outcome_of(failure));
            return Ok(outcomes);
        }
        tracing::debug!(frames = pictures.len(), "one by one: {failure}");
        for (picture, place) in pictures.iter().zip(places) {
            // SAFETY: as above; what the call before had queued was waited for.
            let went = unsafe { self.call(std::slice::from_ref(picture), lane) }?;
            outcomes[place] = went.map_err(outcome_of);
        }
        Ok(outcomes)
    }

    /// Decodes pictures and waits, whether it went well or not. The outer error is a lost device.
    ///
    /// # Safety
    /// As [`Decoder::decode`], of pictures that [`Decoder::read`] gave.
    unsafe fn call(
        &mut self,
        pictures: &[Picture<'_>],
        lane: &impl Lane,
    ) -> Result<Result<(), Failure>, String> {
        // SAFETY: the caller's promise; this waits before it returns, or gives the state up.
        let called = unsafe { self.state.decode(pictures, self.threads, lane.stream()) };
        lane.wait()?;
        // SAFETY: it has just been waited for.
        unsafe { self.state.idle() };
        match called {
            Err(failure) if failure.is_of_the_device() => Err(failure.to_string()),
            Err(failure) => {
                // It is in the middle of something.
                self.state = DecodeState::new(&self.handle)?;
                Ok(Err(failure))
            }
            Ok(()) => Ok(Ok(())),
        }
    }

    /// Checks a frame once more, and that the library reads its header as we do.
    fn read<'a>(&self, frame: &Frame<'a>) -> Result<Picture<'a>, Outcome> {
        let refused = Outcome::Refused(Refusal::Codestream);
        let seen = jpeg::inspect(frame.image, frame.encoded).map_err(|_| refused.clone())?;
        if !seen.is_plain() {
            return Err(refused);
        }
        let mut planes = frame.planes;
        let samples = usize::from(frame.image.samples_per_pixel);
        planes.iter_mut().skip(samples).for_each(|none| *none = 0);
        let picture = Picture {
            bytes: seen.stream,
            planes,
            pitch_bytes: frame.pitch_bytes,
        };
        let info = self.handle.info(picture.bytes).map_err(outcome_of)?;
        if is_of(&info, frame.image) {
            Ok(picture)
        } else {
            Err(refused)
        }
    }
}

/// Whether the library has read what the header says.
fn is_of(info: &Info, image: &ImagePixel) -> bool {
    let samples = usize::from(image.samples_per_pixel);
    let subsampling = match samples {
        1 => CSS_GRAY,
        3 => CSS_444,
        _ => return false,
    };
    let all = |sizes: &[i32], size: u32| {
        sizes[..samples]
            .iter()
            .all(|&found| i64::from(found) == i64::from(size))
    };
    i64::from(info.components) == samples as i64
        && info.subsampling == subsampling
        && all(&info.widths, image.columns)
        && all(&info.heights, image.rows)
}

fn outcome_of(failure: Failure) -> Outcome {
    if failure.is_of_the_picture() {
        Outcome::Refused(Refusal::Codestream)
    } else {
        Outcome::Failed(failure.to_string())
    }
}
