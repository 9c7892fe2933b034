//! What decodes pictures into planes in the device's memory (nvJPEG2000, nvJPEG), as the engine sees it.
//!
//! The engine owns the memory, makes values of the planes and copies them out; a [`PlaneDecoder`]
//! parses a codestream and has the device decode it.

use super::LibraryReport;
use super::driver::Stream;
use super::job::{Codec, Outcome};
use crate::dicom::ImagePixel;

/// Most components that a frame for a [`PlaneDecoder`] has.
pub const PLANES_MAX: usize = 4;

/// A codestream, and where its components belong.
#[derive(Debug)]
pub struct PlaneRequest<'a> {
    /// What the data set says of it: Rows, Columns and Samples per Pixel are 1 or more.
    pub image: &'a ImagePixel,
    /// The bytes of the frame, in the memory of this process. They stay until all work is done.
    pub codestream: &'a [u8],
    /// Device address of each component's plane: as many as Samples per Pixel, aligned to 256.
    pub planes: [u64; PLANES_MAX],
    /// Bytes from one row of a plane to the next: at least 2 * Columns.
    pub pitch_bytes: usize,
}

/// How the planes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Bytes of a sample: 1 or 2.
    pub sample_bytes: u8,
    /// Bits of a sample that count, the lowest: 1 to 8 * `sample_bytes`, the same for all components.
    pub precision: u8,
}

/// A library that decodes pictures on the device.
pub trait PlaneDecoder: Send {
    /// Its name and version.
    fn report(&self) -> LibraryReport;

    /// Has all frames decoded, spread over the streams, and pushes to `done` how each went, in their
    /// order. `Ok` means that the work of a frame is on one of the streams: the engine's kernels wait
    /// for all of them, and waiting for a stream ([`Stream::wait`]) is the decoder's to do only for what
    /// is its own. The context is current in the thread that calls.
    ///
    /// A frame that it does not take is an [`Outcome::Refused`] or [`Outcome::Failed`].
    ///
    /// # Errors
    /// The device is lost: no frame of this process will be decoded any more.
    fn decode(
        &mut self,
        frames: &[PlaneRequest<'_>],
        streams: &[Stream],
        done: &mut Vec<Result<Planes, Outcome>>,
    ) -> Result<(), String>;
}

/// The libraries that an engine has.
#[derive(Default)]
pub(super) struct Decoders(Vec<(&'static str, Box<dyn PlaneDecoder>)>);

impl Decoders {
    /// The one for this codec, if it is one that needs a library and that is there.
    pub fn of(&mut self, codec: Codec) -> Option<&mut Box<dyn PlaneDecoder>> {
        let needed = codec.library()?;
        let found = self.0.iter_mut().find(|(library, _)| *library == needed);
        found.map(|(_, decoder)| decoder)
    }

    /// Whether [`Decoders::of`] finds one.
    pub fn has(&self, codec: Codec) -> bool {
        codec
            .library()
            .is_some_and(|needed| self.0.iter().any(|(library, _)| *library == needed))
    }

    /// Takes a decoder as this library, in place of the one before.
    pub fn set(&mut self, library: &'static str, decoder: Box<dyn PlaneDecoder>) {
        self.0.retain(|(known, _)| *known != library);
        self.0.push((library, decoder));
    }
}
