//! nvJPEG as a decoder of planes of the engine.
//!
//! `unsafe` because the library writes to device memory by address; the addresses are the engine's,
//! which are as its requests say.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::thread::available_parallelism;

use super::NVJPEG;
use super::driver::Stream;
use super::job::Outcome;
use super::nvjpeg::{Decoder, FILE_NAMES, Frame, Lane, Nvjpeg};
use super::planes::{PlaneDecoder, PlaneRequest, Planes};
use super::report::LibraryReport;

/// Threads of the CPU that the library uses at most: the CPUs have frames of their own to decode.
const THREADS_MAX: usize = 4;

/// The library with what it needs on one device.
pub(super) struct Jpeg {
    decoder: Decoder,
    version: String,
}

impl Jpeg {
    /// Loads the newest library that works with this device, whose context must be current.
    ///
    /// # Errors
    /// There is none, in words: those of the newest that is there.
    pub fn new() -> Result<Jpeg, String> {
        let threads = available_parallelism().map_or(1, |threads| threads.get());
        let mut why = None;
        let mut loaded = false;
        for name in FILE_NAMES {
            let library = Nvjpeg::load(name);
            let is_there = library.is_ok();
            let made = library.and_then(|library| {
                Ok(Jpeg {
                    decoder: Decoder::new(&library, threads.min(THREADS_MAX))?,
                    version: library.version(),
                })
            });
            match made {
                Ok(made) => return Ok(made),
                Err(error) if why.is_none() || is_there && !loaded => why = Some(error),
                Err(_) => {}
            }
            loaded |= is_there;
        }
        Err(why.unwrap_or_default())
    }
}

impl PlaneDecoder for Jpeg {
    fn report(&self) -> LibraryReport {
        LibraryReport {
            name: NVJPEG.to_string(),
            version: Ok(self.version.clone()),
        }
    }

    fn decode(
        &mut self,
        frames: &[PlaneRequest<'_>],
        streams: &[Stream],
        done: &mut Vec<Result<Planes, Outcome>>,
    ) -> Result<(), String> {
        let Some(stream) = streams.first() else {
            return Err("no stream to decode on".into());
        };
        let pictures: Vec<Frame<'_>> = frames
            .iter()
            .map(|request| Frame {
                encoded: request.codestream,
                image: request.image,
                planes: request.planes,
                pitch_bytes: request.pitch_bytes,
            })
            .collect();
        // SAFETY: each frame has planes of its own, of Rows rows of its pitch, that nothing else uses
        // before the batch is over.
        let decoded = unsafe { self.decoder.decode(&pictures, &OnStream(stream)) }?;
        let planes = Planes {
            sample_bytes: 1,
            precision: 8,
        };
        done.extend(decoded.into_iter().map(|went| went.map(|()| planes)));
        Ok(())
    }
}

/// One of the engine's streams, as the library's decoder asks for it.
struct OnStream<'a>(&'a Stream);

// SAFETY: the stream lives as long as the engine and is of the context that it has made current;
// waiting is the driver's.
unsafe impl Lane for OnStream<'_> {
    fn stream(&self) -> *mut c_void {
        self.0.handle()
    }

    fn wait(&self) -> Result<(), String> {
        self.0.wait().map_err(|error| error.to_string())
    }
}
