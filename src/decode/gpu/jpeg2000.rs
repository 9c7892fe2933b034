//! nvJPEG2000 as the engine's decoder of planes.
//!
//! `unsafe` because the library is told of streams and of device memory by their addresses, which
//! are the engine's and stay what they are until the streams have been waited for.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use super::nvjpeg2k::{self, Decoder, Frame, Nvjpeg2k, Places, Streams};
use super::planes::{PLANES_MAX, PlaneDecoder, PlaneRequest, Planes};
use super::{Outcome, Stream};

/// Pictures that are decoded at once, and threads that submit them: most of what the library does
/// on the CPU is done by the thread that submits.
const STATES: usize = 8;
const THREADS: usize = 4;

/// The library with a decoder on one device.
struct Jpeg2000 {
    library: Nvjpeg2k,
    decoder: Decoder,
}

/// Loads the library and makes a decoder on the device whose context is current.
///
/// # Errors
/// In words: the library is not there, or refuses.
pub(super) fn open() -> Result<Box<dyn PlaneDecoder>, String> {
    let library = Nvjpeg2k::load()?;
    let decoder = Decoder::new(&library, STATES, THREADS)?;
    Ok(Box::new(Jpeg2000 { library, decoder }))
}

impl PlaneDecoder for Jpeg2000 {
    fn version(&self) -> String {
        self.library.version()
    }

    fn decode(
        &mut self,
        requests: &[PlaneRequest<'_>],
        streams: &[Stream],
        done: &mut Vec<Result<Planes, Outcome>>,
    ) -> Result<(), String> {
        let frames: Vec<Frame<'_>> = requests
            .iter()
            .map(|request| Frame {
                encoded: request.codestream,
                image: request.image,
            })
            .collect();
        let batch = Batch {
            requests,
            streams,
            found: Mutex::new(vec![None; requests.len()]),
        };
        let decoded = self.decoder.decode(&frames, &batch)?;
        let found = batch
            .found
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        done.extend(decoded.into_iter().zip(found).map(|(decoded, found)| {
            decoded.and_then(|()| found.ok_or_else(|| Outcome::Failed("no planes".to_string())))
        }));
        Ok(())
    }
}

/// The streams and the memory of one batch.
struct Batch<'a> {
    requests: &'a [PlaneRequest<'a>],
    streams: &'a [Stream],
    /// What the planes of each frame hold.
    found: Mutex<Vec<Option<Planes>>>,
}

// SAFETY: the streams are live ones of the context that `enter` makes current. The engine gives each
// request planes of its own, of Rows times `pitch_bytes` with room for two bytes a sample, which
// nobody else uses before all streams have been waited for; `planes` refuses what does not fit.
unsafe impl Streams for Batch<'_> {
    fn count(&self) -> usize {
        self.streams.len()
    }

    fn enter(&self) -> Result<(), String> {
        let first = self.streams.first().ok_or("no stream to decode on")?;
        first.enter().map_err(|error| error.to_string())
    }

    fn stream(&self, index: usize) -> *mut c_void {
        self.streams[index].handle()
    }

    fn planes(&self, _: usize, frame: usize, planes: &nvjpeg2k::Planes) -> Result<Places, String> {
        let request = &self.requests[frame];
        let image = request.image;
        let is_as_said = (planes.rows, planes.columns, planes.components)
            == (image.rows, image.columns, image.samples_per_pixel.into());
        let row_bytes = planes.columns as usize * planes.sample.len_bytes();
        if !is_as_said || planes.components as usize > PLANES_MAX || row_bytes > request.pitch_bytes
        {
            return Err("planes of another size than was asked for".to_string());
        }
        Ok(Places {
            planes: request.planes,
            pitch_bytes: request.pitch_bytes,
        })
    }

    fn decoded(&self, _: usize, frame: usize, planes: &nvjpeg2k::Planes) -> Result<(), String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // Both are bounded: at most two bytes, at most 16 bits.
        found[frame] = Some(Planes {
            sample_bytes: planes.sample.len_bytes() as u8,
            precision: planes.precision as u8,
        });
        Ok(())
    }

    fn wait(&self, index: usize) -> Result<(), String> {
        self.streams[index]
            .wait()
            .map_err(|error| error.to_string())
    }
}
