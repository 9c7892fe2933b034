//! An engine whose store reads files straight into device memory, for the tests: on their libcuda device
//! memory is memory like any other.
//!
//! `unsafe` because it writes to addresses that it is told.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use crate::decode::gpu::worker::store::Keep;
use crate::decode::gpu::worker::{Opened, Run};
use crate::decode::gpu::{DeviceFile, Engine, Job, Outcome, ReadToDevice};

/// Files of this length it does not take; of this one it takes no read.
pub const NOT_TAKEN_BYTES: u64 = 8192 + 1;
pub const NOT_READ_BYTES: u64 = 8192 + 2;

struct WithReader(Engine);

/// Opens the device of the tests' libcuda.
pub fn open(ordinal: u32) -> Result<Opened, String> {
    let engine = Engine::open(ordinal)?;
    Ok((engine.report().clone(), Box::new(WithReader(engine))))
}

impl Run for WithReader {
    fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String> {
        self.0.run(jobs, encoded, slab)
    }

    fn store(&mut self) -> Option<Box<dyn Keep>> {
        let store = self.0.store_with(Some(Box::new(Reader)));
        Some(Box::new(store.ok()?))
    }
}

struct Reader;

struct Opening(File, u64);

impl ReadToDevice for Reader {
    fn open<'a>(&'a self, file: BorrowedFd<'a>) -> Result<Box<dyn DeviceFile + 'a>, String> {
        let text = |error: std::io::Error| error.to_string();
        let file = File::from(file.try_clone_to_owned().map_err(text)?);
        let len = file.metadata().map_err(text)?.len();
        match len {
            NOT_TAKEN_BYTES => Err("not taken".into()),
            len => Ok(Box::new(Opening(file, len))),
        }
    }
}

impl DeviceFile for Opening {
    unsafe fn read(
        &self,
        address: u64,
        len_bytes: usize,
        file_offset_bytes: u64,
    ) -> Result<usize, String> {
        if self.1 == NOT_READ_BYTES {
            return Err("not read".into());
        }
        // A part of it, and all bits turned, so that it can be told who has read.
        let mut bytes = vec![0; len_bytes.min(5000)];
        let read = self.0.read_at(&mut bytes, file_offset_bytes);
        let read = read.map_err(|error| error.to_string())?;
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        // SAFETY: so much memory of the fake device is there, as the caller says.
        unsafe { (address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), read) };
        Ok(read)
    }
}
