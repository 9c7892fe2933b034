//! A libnvjpeg2k.so.0 that answers what a test told it: a directory with the library, its answers
//! and its faults (`fake_nvjpeg2k.cpp` says in which form).
//!
//! Each [`Fake`] is a copy of the library of its own, so tests in one process do not meet. Another
//! process finds it by `LD_LIBRARY_PATH`.

use std::fs;
use std::path::{Path, PathBuf};

use dicomfs::decode::gpu::nvjpeg2k::{FILE_NAME, codestream};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::ImagePixel;
use tempfile::TempDir;

use super::build::{build, fnv1a};

/// A fake library in a directory of its own.
pub struct Fake {
    dir: TempDir,
}

/// What the samples of a codestream are (SIZ, T.800 A.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Samples {
    precision: u32,
    signed: bool,
}

impl Samples {
    fn of(codestream: &[u8]) -> Result<Samples, String> {
        let spec = *codestream.get(42).ok_or("no SIZ")?;
        Ok(Samples {
            precision: u32::from(spec & 0x7F) + 1,
            signed: spec & 0x80 != 0,
        })
    }

    fn len_bytes(self) -> usize {
        if self.precision <= 8 && !self.signed {
            1
        } else {
            2
        }
    }
}

impl Fake {
    /// A library without answers or faults.
    ///
    /// # Errors
    /// It cannot be built, in words.
    pub fn new() -> Result<Fake, String> {
        let library = build("fake_nvjpeg2k.cpp", FILE_NAME)?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::copy(library, dir.path().join(FILE_NAME)).map_err(|error| error.to_string())?;
        fs::create_dir(dir.path().join("answers")).map_err(|error| error.to_string())?;
        Ok(Fake { dir })
    }

    /// The directory the library is loaded from.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What is to go wrong from the next handle on: `decode:2,zero:0`.
    pub fn faults(&self, list: &str) {
        fs::write(self.dir().join("faults"), list).expect("faults written");
    }

    /// The version it says it has.
    pub fn version(&self, version: &str) {
        fs::write(self.dir().join("version"), version).expect("version written");
    }

    /// Decode states, streams and parameters that were left when a handle was last destroyed.
    pub fn live(&self) -> String {
        fs::read_to_string(self.dir().join("live")).unwrap_or_default()
    }

    fn answer_path(&self, codestream: &[u8]) -> PathBuf {
        let name = format!("{:016x}", fnv1a(codestream));
        self.dir().join("answers").join(name)
    }

    /// Has the library answer this frame with what the CPU decodes.
    ///
    /// # Errors
    /// The CPU cannot decode it, in words.
    pub fn answer(&self, uid: &str, image: &ImagePixel, encoded: &[u8]) -> Result<(), String> {
        let mut stored = vec![0; image.frame_len_bytes().ok_or("too large")?];
        let bytes = Encoded {
            bytes: encoded,
            first_bit: 0,
        };
        decode_frame(uid, image, bytes, &mut stored).map_err(|error| error.to_string())?;
        let codestream = codestream(encoded)?;
        let samples = Samples::of(codestream)?;
        let mut answer = b"FNVJ2K1\0".to_vec();
        let components = usize::from(image.samples_per_pixel);
        let numbers = [
            image.columns,
            image.rows,
            image.samples_per_pixel.into(),
            samples.len_bytes() as u32,
        ];
        answer.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
        for component in 0..components {
            answer.extend(plane(
                image.sample_len_bytes(),
                samples,
                &stored,
                component,
                components,
            ));
        }
        fs::write(self.answer_path(codestream), answer).map_err(|error| error.to_string())
    }
}

/// One component of stored samples, as the library would have left it.
fn plane(width: usize, samples: Samples, stored: &[u8], first: usize, step: usize) -> Vec<u8> {
    let mut plane = Vec::new();
    for word in stored.chunks_exact(width).skip(first).step_by(step) {
        let mut wide = [0; 4];
        wide[..width.min(4)].copy_from_slice(&word[..width.min(4)]);
        let top = u32::from_le_bytes(wide) << (32 - samples.precision);
        let value = match samples.signed {
            true => (top as i32 >> (32 - samples.precision)) as u32,
            false => top >> (32 - samples.precision),
        };
        plane.extend_from_slice(&value.to_le_bytes()[..samples.len_bytes()]);
    }
    plane
}
