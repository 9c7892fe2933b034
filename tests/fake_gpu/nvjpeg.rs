//! A libnvjpeg.so.12 that answers what a test told it: a directory with the library, its answers and
//! its faults (`fake_nvjpeg.cpp` says in which form).
//!
//! Each [`Fake`] is a copy of the library of its own, so tests in one process do not meet. Another
//! process finds it by `LD_LIBRARY_PATH`.

use std::fs;
use std::path::Path;

use dicomfs::decode::gpu::nvjpeg::FILE_NAMES;
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::ImagePixel;
use tempfile::TempDir;

use super::build::{build, fnv1a};

/// A fake library in a directory of its own.
pub struct Fake {
    dir: TempDir,
}

/// The bytes of a frame up to its end, as the library is given them; all where there is none.
pub fn picture(encoded: &[u8]) -> &[u8] {
    let end = encoded.windows(2).position(|pair| pair == [0xFF, 0xD9]);
    &encoded[..end.map_or(encoded.len(), |at| at + 2)]
}

impl Fake {
    /// A library without answers or faults.
    ///
    /// # Errors
    /// It cannot be built, in words.
    pub fn new() -> Result<Fake, String> {
        let name = FILE_NAMES[1];
        let library = build("fake_nvjpeg.cpp", name)?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::copy(library, dir.path().join(name)).map_err(|error| error.to_string())?;
        fs::create_dir(dir.path().join("answers")).map_err(|error| error.to_string())?;
        Ok(Fake { dir })
    }

    /// The directory the library is loaded from.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What is to go wrong from the next handle on: `batch:2,zero:0`.
    pub fn faults(&self, list: &str) {
        fs::write(self.dir().join("faults"), list).expect("faults written");
    }

    /// The version it says it has.
    pub fn version(&self, version: &str) {
        fs::write(self.dir().join("version"), version).expect("version written");
    }

    /// Decode states that were left when a handle was last destroyed, and calls that went well: for
    /// batches, for one picture.
    pub fn live(&self) -> (u32, u32, u32) {
        let text = fs::read_to_string(self.dir().join("live")).expect("a handle was destroyed");
        let mut numbers = text.split(' ').map(|word| word.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        (next(), next(), next())
    }

    /// Has the library answer this frame, of a byte a sample, with what the CPU decodes.
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
        let mut answer = b"FNVJPEG\0".to_vec();
        let numbers = [image.columns, image.rows, image.samples_per_pixel.into()];
        answer.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
        let width = image.sample_len_bytes();
        let samples = usize::from(image.samples_per_pixel);
        for component in 0..samples {
            let words = stored.chunks_exact(width).skip(component).step_by(samples);
            answer.extend(words.map(|word| word[0]));
        }
        let name = format!("{:016x}", fnv1a(picture(encoded)));
        fs::write(self.dir().join("answers").join(name), answer).map_err(|error| error.to_string())
    }

    /// Takes the answer back: the picture is a broken one then.
    pub fn forget(&self, encoded: &[u8]) {
        let name = format!("{:016x}", fnv1a(picture(encoded)));
        fs::remove_file(self.dir().join("answers").join(name)).expect("it was answered");
    }
}
