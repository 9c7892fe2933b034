//! nvJPEG2000 as the engine's decoder of planes.
//!
//! `unsafe` because the library writes to device memory by address; the addresses are the engine's,
//! which are as its requests say.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use super::driver::Stream;
use super::job::Outcome;
use super::nvjpeg2k::{self, Decoder, Frame, Nvjpeg2k, Places, Streams};
use super::planes::{PlaneDecoder, PlaneRequest, Planes};
use super::{LibraryReport, NVJPEG2K};

/// Threads that give pictures to the library, at most: it reads packet headers in them, and the CPUs
/// have frames of their own to decode.
const THREADS_MAX: usize = 4;

/// The library with what it needs on one device.
pub(super) struct Jpeg2k {
    decoder: Decoder,
    version: String,
}

impl Jpeg2k {
    /// Loads the library and makes it ready for as many pictures at once as there are streams. The
    /// device's context must be current.
    ///
    /// # Errors
    /// The library is not there, or does not work with this device, in words.
    pub fn new(streams: usize) -> Result<Jpeg2k, String> {
        let library = Nvjpeg2k::load()?;
        let threads = available_parallelism().map_or(1, |threads| threads.get());
        Ok(Jpeg2k {
            decoder: Decoder::new(&library, streams, threads.min(THREADS_MAX))?,
            version: library.version(),
        })
    }
}

impl PlaneDecoder for Jpeg2k {
    fn report(&self) -> LibraryReport {
        LibraryReport {
            name: NVJPEG2K.to_string(),
            version: Ok(self.version.clone()),
        }
    }

    fn decode(
        &mut self,
        frames: &[PlaneRequest<'_>],
        streams: &[Stream],
        done: &mut Vec<Result<Planes, Outcome>>,
    ) -> Result<(), String> {
        let pictures: Vec<Frame<'_>> = frames
            .iter()
            .map(|request| Frame {
                encoded: request.codestream,
                image: request.image,
            })
            .collect();
        let lanes = Lanes {
            frames,
            streams,
            found: frames.iter().map(|_| OnceLock::new()).collect(),
        };
        let decoded = self.decoder.decode(&pictures, &lanes)?;
        let found = lanes.found.into_iter().map(OnceLock::into_inner);
        done.extend(decoded.into_iter().zip(found).map(|(went, found)| {
            let unsaid = || Outcome::Failed("the library said nothing of its planes".to_string());
            went.and_then(|()| found.ok_or_else(unsaid))
        }));
        Ok(())
    }
}

/// The engine's streams and planes, as the library's decoder asks for them.
struct Lanes<'a> {
    frames: &'a [PlaneRequest<'a>],
    streams: &'a [Stream],
    found: Vec<OnceLock<Planes>>,
}

// SAFETY: the streams live as long as the engine and are of the context that they enter; each frame
// has planes of its own, of Rows (which the decoder compares) rows of its pitch, that nothing else
// uses before the batch is over; waiting is the driver's.
unsafe impl Streams for Lanes<'_> {
    fn count(&self) -> usize {
        self.streams.len()
    }

    fn enter(&self) -> Result<(), String> {
        let entered = self.streams.iter().take(1).try_for_each(Stream::enter);
        entered.map_err(|error| error.to_string())
    }

    fn stream(&self, index: usize) -> *mut c_void {
        self.streams[index].handle()
    }

    fn planes(
        &self,
        _index: usize,
        frame: usize,
        _planes: &nvjpeg2k::Planes,
    ) -> Result<Places, String> {
        let request = &self.frames[frame];
        Ok(Places {
            planes: request.planes,
            pitch_bytes: request.pitch_bytes,
        })
    }

    fn decoded(
        &self,
        _index: usize,
        frame: usize,
        planes: &nvjpeg2k::Planes,
    ) -> Result<(), String> {
        let found = Planes {
            sample_bytes: planes.sample.len_bytes() as u8,
            precision: planes.precision as u8,
        };
        let again = |_| "a frame was decoded twice".to_string();
        self.found[frame].set(found).map_err(again)
    }

    fn wait(&self, index: usize) -> Result<(), String> {
        self.streams[index]
            .wait()
            .map_err(|error| error.to_string())
    }
}
