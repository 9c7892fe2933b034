//! Files read straight into device memory by NVIDIA's cuFile (GPUDirect Storage): a library that may
//! be there or not, and is loaded when it is. Whatever it refuses is read with pread and copied.
//!
//! The process that uses it has given up its rights (`confine.rs`), which cuFile meets so:
//! - [`CuFile::load`] comes before that: the driver's start opens /dev/nvidia-fs* and reads
//!   /etc/cufile.json (or `CUFILE_ENV_PATH_JSON`), and its threads are reached by what is given up
//!   after. Without nvidia-fs it reads with pread itself (its compatibility mode, which the JSON may
//!   forbid: then it does not start).
//! - Files come as descriptors. cuFile wants a second one of a file, with or without O_DIRECT (its
//!   CU_FILE_GETNEWFD_FAILED and messages; not seen on a device). If it opens one by the file's name,
//!   nobody may not where the file is not readable to all: then [`CuFile::register`] or the first
//!   read fails. Descriptors with O_DIRECT are the best to give, and the only ones before cuFile 1.7;
//!   those opened with O_NOFOLLOW or O_NONBLOCK are refused outside of the compatibility mode.
//! - It writes a log, `cufile.log` in the working directory, that names files, and prints: so it is not
//!   used unless [`LOG_VARIABLE`] says [`LOG_TO`], which who starts the process has to see to (the
//!   parameters of the library do not reach as far). A look at the version writes none.
//! - Nothing may fork after it was loaded.
//!
//! Device memory is not registered with it (cuFileBufRegister): each byte of it is read once, and
//! pinning costs more than the library's own buffers.
//!
//! Unsafe because the library is C and writes to memory by address. Must not know what is read.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::library;
use sys::{CUDA_DRIVER_ERROR, DRIVER_ALREADY_OPEN, Descr, Functions, OPAQUE_FD, Status, Union};

mod sys;

/// Name of the library's file: its ABI has been 0 since the first release.
pub const FILE_NAME: &str = "libcufile.so.0";

/// The variable that says where the library writes its log. It is read when the driver is started.
pub const LOG_VARIABLE: &str = "CUFILE_LOGFILE_PATH";

/// The one value of [`LOG_VARIABLE`] with which the library is used.
pub const LOG_TO: &str = "/dev/null";

/// The library with its driver started. Clones share it; the last one, or the last file, stops it.
#[derive(Clone)]
pub struct CuFile {
    driver: Arc<Driver>,
}

impl fmt::Debug for CuFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CuFile").field(&self.version()).finish()
    }
}

struct Driver {
    functions: Functions,
    version: String,
    /// Nobody else in this process had started it.
    is_ours: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let close = self.functions.driver_close_v2;
        let close = close.unwrap_or(self.functions.driver_close);
        // SAFETY: started once by this value, and no file is registered any more: each holds it.
        if let Err(why) = check("cuFileDriverClose", unsafe { close() }) {
            tracing::debug!("stopping cuFile: {why}");
        }
    }
}

/// Its version, without starting anything: for reports.
///
/// # Errors
/// A sentence: it is not there, cannot be loaded, or is another library.
pub fn version() -> Result<String, String> {
    let (_, version) = usable(library::find(&[FILE_NAME])?)?;
    Ok(version)
}

impl CuFile {
    /// Loads the library from beside the program, from `lib` beside it, or from where the loader
    /// finds it, and starts its driver. A CUDA device must have been opened, and the rights of this
    /// process must not yet be given up.
    ///
    /// # Errors
    /// A sentence: it is not there, is another library, would write a log, or its driver does not
    /// start.
    pub fn load() -> Result<CuFile, String> {
        if std::env::var_os(LOG_VARIABLE).as_deref() != Some(OsStr::new(LOG_TO)) {
            return Err(format!(
                "its log would name files: {LOG_VARIABLE} is not {LOG_TO}"
            ));
        }
        CuFile::start(library::find(&[FILE_NAME])?)
    }

    /// Loads the library of this directory and no other, wherever its log goes: for tests.
    ///
    /// # Errors
    /// As [`CuFile::load`].
    pub fn load_from(dir: &Path) -> Result<CuFile, String> {
        CuFile::start(library::find_in(dir, &[FILE_NAME])?)
    }

    fn start(library: &'static libloading::Library) -> Result<CuFile, String> {
        let (functions, version) = usable(library)?;
        // SAFETY: takes nothing; the library was looked through.
        let started = unsafe { (functions.driver_open)() };
        let is_ours = started.err != DRIVER_ALREADY_OPEN;
        if is_ours {
            check("cuFileDriverOpen", started)?;
        }
        let driver = Driver {
            functions,
            version,
            is_ours,
        };
        Ok(CuFile {
            driver: Arc::new(driver),
        })
    }

    /// Its version, as `1.14.0`; what it says is unknown before 1.8.
    pub fn version(&self) -> String {
        self.driver.version.clone()
    }

    /// Makes a file known to the library. The descriptor is duplicated, so the caller's may be closed;
    /// it is open for reading, of a regular file, and best opened with O_DIRECT.
    ///
    /// # Errors
    /// A sentence: the library cannot read this file, or no descriptor is left.
    pub fn register(&self, file: BorrowedFd<'_>) -> Result<FileHandle, String> {
        let file = file
            .try_clone_to_owned()
            .map_err(|error| format!("the descriptor cannot be duplicated: {error}"))?;
        let mut raw = ptr::null_mut();
        let mut descr = Descr {
            kind: OPAQUE_FD,
            handle: Union {
                handle: ptr::null_mut(),
            },
            fs_ops: ptr::null(),
        };
        descr.handle.fd = file.as_raw_fd();
        // SAFETY: writes one pointer and reads one structure; the descriptor is open, and stays so
        // until the handle is given back.
        let status = unsafe { (self.driver.functions.handle_register)(&mut raw, &mut descr) };
        check("cuFileHandleRegister", status)?;
        Ok(FileHandle {
            raw: NonNull::new(raw).ok_or("cuFile made no handle")?,
            _file: file,
            driver: Arc::clone(&self.driver),
        })
    }
}

/// A file that is read into device memory.
pub struct FileHandle {
    raw: NonNull<c_void>,
    /// Closed after the handle was given back.
    _file: OwnedFd,
    driver: Arc<Driver>,
}

// SAFETY: "All APIs are thread-safe" (GDS cuFile API Reference Guide, Usage), and reading moves no
// position: offsets are arguments.
unsafe impl Send for FileHandle {}
// SAFETY: as above.
unsafe impl Sync for FileHandle {}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHandle").finish_non_exhaustive()
    }
}

impl FileHandle {
    /// Reads `len_bytes` bytes from `file_offset_bytes` on to the device memory at `device`, and waits
    /// for them: how many there were. That may be fewer, as of any read, and is none at the file's end;
    /// it is never more. The device's context must be current in this thread.
    ///
    /// # Errors
    /// A sentence; the memory may have been written to in part.
    ///
    /// # Safety
    /// From `device` on, `len_bytes` bytes are memory of a device that may be written, and that nothing
    /// else uses before this returns.
    pub unsafe fn read(
        &self,
        device: u64,
        len_bytes: usize,
        file_offset_bytes: u64,
    ) -> Result<usize, String> {
        let end = i64::try_from(len_bytes)
            .ok()
            .and_then(|len| i64::try_from(file_offset_bytes).ok()?.checked_add(len));
        if end.is_none() {
            return Err(format!(
                "{len_bytes} bytes at byte {file_offset_bytes} are beyond any file"
            ));
        }
        if len_bytes == 0 {
            return Ok(0);
        }
        let offset = file_offset_bytes as i64;
        // SAFETY: the handle is registered, and the memory is as the caller promises; both offsets
        // are in range.
        let read = unsafe {
            let base = device as usize as *mut c_void;
            (self.driver.functions.read)(self.raw.as_ptr(), base, len_bytes, offset, 0)
        };
        match read {
            0.. if read as usize <= len_bytes => Ok(read as usize),
            0.. => Err(format!("cuFileRead: {read} of {len_bytes} bytes")),
            -1 => Err(format!("cuFileRead: {}", io::Error::last_os_error())),
            status => {
                let status = c_int::try_from(status.unsigned_abs()).unwrap_or(c_int::MAX);
                Err(format!("cuFileRead: {}", meaning(status)))
            }
        }
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        // SAFETY: registered once, by this value, and no read is under way: each borrows it.
        unsafe { (self.driver.functions.handle_deregister)(self.raw.as_ptr()) }
    }
}

/// All functions, and the version in words.
fn usable(library: &'static libloading::Library) -> Result<(Functions, String), String> {
    let functions = Functions::find(library).map_err(|why| format!("{FILE_NAME}: {why}"))?;
    let Some(get_version) = functions.get_version else {
        return Ok((functions, "unknown, before 1.8".to_string()));
    };
    let mut number = 0;
    // SAFETY: writes one number.
    check("cuFileGetVersion", unsafe { get_version(&mut number) })?;
    Ok((functions, version_text(number)))
}

/// 1140 is 1.14.0 (cufile.h: a thousand a major version, ten a minor one).
fn version_text(number: c_int) -> String {
    format!("{}.{}.{}", number / 1000, number % 1000 / 10, number % 10)
}

/// `Ok` for success.
fn check(call: &str, status: Status) -> Result<(), String> {
    match status.err {
        0 => Ok(()),
        CUDA_DRIVER_ERROR => Err(format!("{call}: CUDA error {}", status.cu_err)),
        // Signs differ between versions.
        other => Err(format!("{call}: {}", meaning(other.saturating_abs()))),
    }
}

/// What a CUfileOpError means, as far as somebody could do something about it.
fn meaning(status: c_int) -> String {
    let words = match status {
        5001 => "nvidia-fs is not loaded, and cufile.json forbids to go without",
        5004 | 5005 => "nvidia-fs is of another version",
        5007 => "not supported on this machine",
        5008 => "not supported on this file or file system",
        5009 => "not supported on this device",
        CUDA_DRIVER_ERROR => "an error of the CUDA driver",
        5012..=5017 => "the device memory is none that it can write to",
        5018 => "not a regular file",
        5019 => "the file was opened with flags that it does not take",
        5020 => "the file was not opened with O_DIRECT",
        5025 => "permission denied",
        5028 => "the file is registered already",
        5031 => "it may not open the file anew",
        5033 => "it did not start",
        5034 => "forbidden for this file by cufile.json",
        5036 => "no device memory could be pinned",
        other => return format!("status {other}"),
    };
    format!("{words} ({status})")
}

#[cfg(test)]
mod tests;
