//! A libcufile.so.0 that reads with pread: a directory with the library and its faults
//! (`fake_cufile.cpp` says which). Each [`Fake`] is a copy of its own, so tests in one process do not
//! meet. Another process finds it by `LD_LIBRARY_PATH`.

use std::fs;
use std::path::Path;

use dicomfs::decode::gpu::cufile::FILE_NAME;
use tempfile::TempDir;

use super::build::build;

/// A fake library in a directory of its own.
pub struct Fake {
    dir: TempDir,
}

impl Fake {
    /// A library without faults.
    ///
    /// # Errors
    /// It cannot be built, in words.
    pub fn new() -> Result<Fake, String> {
        let library = build("fake_cufile.cpp", FILE_NAME)?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::copy(library, dir.path().join(FILE_NAME)).map_err(|error| error.to_string())?;
        Ok(Fake { dir })
    }

    /// The directory the library is loaded from.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What is to go wrong from the next start on: `register:2,short:0`.
    pub fn faults(&self, list: &str) {
        fs::write(self.dir().join("faults"), list).expect("faults written");
    }

    /// The version it says it has, as cuFileGetVersion does.
    pub fn version(&self, number: u32) {
        fs::write(self.dir().join("version"), number.to_string()).expect("version written");
    }

    /// Starts of the driver and registered files that were left when last one was given back.
    pub fn live(&self) -> String {
        fs::read_to_string(self.dir().join("live")).unwrap_or_default()
    }
}
