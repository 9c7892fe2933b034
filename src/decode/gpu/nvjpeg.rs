//! JPEG, baseline and extended sequential with 8 bits, on a device, by NVIDIA's nvJPEG: a library that
//! may be there or not, and is loaded when it is.
//!
//! | file | what |
//! |---|---|
//! | `sys.rs` | data and functions of its header |
//! | `result.rs` | status numbers |
//! | `safe.rs` | its objects, and device memory by address |
//! | `batch.rs` | many frames at once |
//!
//! What may be given to it is for [`super::plan`] to say. Unlike nvJPEG2000 it does nothing without a
//! device, not even read headers. Must not know CUDA: streams and memory are the caller's.

mod batch;
mod result;
mod safe;
mod sys;

use std::fmt;
use std::path::Path;

pub use batch::{Decoded, Decoder, Frame, Lane};

use super::library::{self, Version};
use sys::Functions;

/// Names of the library's file, by the CUDA version that it was built for; the newest that works with
/// the driver is used.
pub const FILE_NAMES: [&str; 2] = ["libnvjpeg.so.13", "libnvjpeg.so.12"];

/// The oldest version used, major and minor: of CUDA 12.0, as the driver is.
const VERSION_MIN: (i32, i32) = (12, 0);

/// The library, loaded. It stays so until the process ends.
#[derive(Clone, Copy)]
pub struct Nvjpeg {
    functions: &'static Functions,
    version: Version,
}

impl fmt::Debug for Nvjpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nvjpeg").field(&self.version()).finish()
    }
}

impl Nvjpeg {
    /// Loads the library of this name, one of [`FILE_NAMES`], from beside the program, from `lib` beside
    /// it, or from where the loader finds it (LD_LIBRARY_PATH, /etc/ld.so.conf).
    ///
    /// # Errors
    /// A sentence: it is not there, cannot be loaded, is too old, or is another library.
    pub fn load(file_name: &str) -> Result<Nvjpeg, String> {
        Nvjpeg::new(library::find(&[file_name])?)
    }

    /// Loads the library of this directory and no other.
    ///
    /// # Errors
    /// As [`Nvjpeg::load`].
    pub fn load_from(dir: &Path) -> Result<Nvjpeg, String> {
        Nvjpeg::new(library::find_in(dir, &FILE_NAMES)?)
    }

    fn new(library: &'static libloading::Library) -> Result<Nvjpeg, String> {
        let (functions, version) = usable(library).map_err(|why| format!("libnvjpeg: {why}"))?;
        Ok(Nvjpeg {
            functions: Box::leak(Box::new(functions)),
            version,
        })
    }

    /// Its version, as `12.4.0`.
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

#[cfg(test)]
mod tests;
