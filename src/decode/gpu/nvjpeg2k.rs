//! JPEG 2000 and HTJ2K on a device, by NVIDIA's nvJPEG2000: a library that may be there or not, and
//! is loaded when it is.
//!
//! | file | what |
//! |---|---|
//! | `sys.rs` | data and functions of its header |
//! | `result.rs` | status numbers |
//! | `safe.rs` | its objects, and device memory by address |
//! | `planes.rs` | what it leaves in device memory |
//! | `batch.rs` | many frames at once |
//!
//! What may be given to it is for [`super::plan`] to say. Must not know CUDA: streams and memory are
//! the caller's ([`Streams`]).

mod batch;
mod planes;
mod result;
mod safe;
mod sys;

use std::fmt;
use std::path::Path;

pub use batch::{Decoded, Decoder, Frame};
pub use planes::{COMPONENTS_MAX, Planes, Sample};
pub use safe::{Places, Streams};

use super::library::{self, Version};
use crate::decode::cpu::jpeg2k::codestream::{Codestream, without_boxes};
use sys::Functions;

/// Name of the library's file: its ABI has been 0 since the first release.
pub const FILE_NAME: &str = "libnvjpeg2k.so.0";

/// The oldest version used, major and minor: the first that decodes HTJ2K.
const VERSION_MIN: (i32, i32) = (0, 8);

/// The library, loaded. It stays so until the process ends: a CUDA library that is unloaded takes
/// with it what the driver still calls at exit.
#[derive(Clone, Copy)]
pub struct Nvjpeg2k {
    functions: &'static Functions,
    version: Version,
}

impl fmt::Debug for Nvjpeg2k {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nvjpeg2k").field(&self.version()).finish()
    }
}

impl Nvjpeg2k {
    /// Loads the library from beside the program, from `lib` beside it, or from where the loader
    /// finds it (LD_LIBRARY_PATH, /etc/ld.so.conf).
    ///
    /// # Errors
    /// A sentence: it is not there, cannot be loaded, is too old, or is another library.
    pub fn load() -> Result<Nvjpeg2k, String> {
        Nvjpeg2k::new(library::find(&[FILE_NAME])?)
    }

    /// Loads the library of this directory and no other.
    ///
    /// # Errors
    /// As [`Nvjpeg2k::load`].
    pub fn load_from(dir: &Path) -> Result<Nvjpeg2k, String> {
        Nvjpeg2k::new(library::find_in(dir, &[FILE_NAME])?)
    }

    fn new(library: &'static libloading::Library) -> Result<Nvjpeg2k, String> {
        let (functions, version) = usable(library).map_err(|why| format!("{FILE_NAME}: {why}"))?;
        Ok(Nvjpeg2k {
            functions: Box::leak(Box::new(functions)),
            version,
        })
    }

    /// Its version, as `0.11.0`.
    pub fn version(&self) -> String {
        self.version.to_string()
    }

    fn functions(&self) -> &'static Functions {
        self.functions
    }
}

/// All functions and the version, when both will do.
fn usable(library: &'static libloading::Library) -> Result<(Functions, Version), String> {
    let functions = Functions::find(library)?;
    let version = safe::version(&functions)?.at_least(VERSION_MIN)?;
    Ok((functions, version))
}

/// The bytes of a frame that the library is given: a codestream without the JP2 boxes around it.
///
/// # Errors
/// The boxes do not add up, in words.
pub fn codestream(encoded: &[u8]) -> Result<&[u8], String> {
    // The boxes can ask for palettes and colour conversions, which DICOM forbids (PS3.5 A.4.4).
    without_boxes(encoded)
}

/// What the library makes of a frame without a device: for tests and reports.
///
/// # Errors
/// What the library says, or that its description makes no sense.
pub fn describe(library: &Nvjpeg2k, encoded: &[u8]) -> Result<Planes, String> {
    let bytes = codestream(encoded)?;
    let handle = safe::Handle::new(library.functions())?;
    let parsed = safe::Parsed::new(&handle, bytes).map_err(|failure| failure.to_string())??;
    Ok(*parsed.planes())
}

/// What this crate's own reader of main headers says that the library will leave of a frame.
///
/// # Errors
/// The header is broken, or its samples are none that the library decodes.
pub fn expected(encoded: &[u8]) -> Result<Planes, String> {
    let stream = Codestream::parse(codestream(encoded)?)?;
    if stream.subsampled || !stream.same_precision || !stream.same_sign {
        return Err("components that differ".into());
    }
    let Codestream { rows, columns, .. } = stream;
    let components = stream.components.into();
    Planes::new(rows, columns, components, stream.precision, stream.signed)
}

#[cfg(test)]
mod tests;
