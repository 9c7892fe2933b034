//! Memory: the device's, pinned memory of our own, and memory of others that is pinned for a while.
//!
//! `unsafe` because the driver copies from and to addresses while the program goes on: see the driver's
//! module.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;

use super::export::Mapped;
use super::{Context, CudaError, Stream, check, freed};
use crate::decode::gpu::report::Export;
use crate::decode::gpu::resident::{Handle, IPC_HANDLE_BYTES};

/// `CUDA_ERROR_INVALID_VALUE`.
const INVALID_VALUE: u32 = 1;

/// What memory that is shared by CUDA IPC is a multiple of, bytes: the driver cuts smaller pieces from
/// larger blocks, and shares whole blocks (CUDA C programming guide, interprocess communication).
const IPC_GRAIN_BYTES: usize = 2 << 20;

/// Memory of the device.
#[derive(Debug)]
pub struct DeviceMemory {
    address: u64,
    len: usize,
    /// What it is made of, if it is not plain.
    mapped: Option<Mapped>,
    context: Arc<Context>,
}

impl DeviceMemory {
    /// Memory of `len` > 0 bytes, aligned to 256, that may hold anything.
    pub fn new(context: &Arc<Context>, len: usize) -> Result<DeviceMemory, CudaError> {
        let mut address = 0;
        // SAFETY: the address is written by the call.
        unsafe { call!(cuMemAlloc_v2(&raw mut address, len)) }?;
        let context = Arc::clone(context);
        Ok(DeviceMemory {
            address,
            len,
            mapped: None,
            context,
        })
    }

    /// Memory of at least `len` > 0 bytes that can be given to other processes, of zeros: never what
    /// another process has left there. It takes as much as a multiple of what the device gives.
    pub fn for_others(
        context: &Arc<Context>,
        len: usize,
        export: Export,
        stream: &Stream,
    ) -> Result<DeviceMemory, CudaError> {
        let memory = match export {
            Export::Descriptor => {
                let mapped = Mapped::new(context, len)?;
                DeviceMemory {
                    address: mapped.address(),
                    len: mapped.len(),
                    mapped: Some(mapped),
                    context: Arc::clone(context),
                }
            }
            Export::Ipc => {
                let len = len.checked_next_multiple_of(IPC_GRAIN_BYTES);
                DeviceMemory::new(context, len.unwrap_or(usize::MAX))?
            }
            Export::None => return Err(refused("cuMemCreate", 801, "no way to share memory")),
        };
        memory.clear(0, memory.len, stream)?;
        stream.wait()?;
        Ok(memory)
    }

    /// Makes `len` bytes from `offset` on zero, after the work that the stream has.
    pub fn clear(&self, offset: usize, len: usize, stream: &Stream) -> Result<(), CudaError> {
        let to = self.at("cuMemsetD8Async", offset, len)?;
        // SAFETY: inside of memory that is ours.
        unsafe { call!(cuMemsetD8Async(to, 0, len, stream.handle)) }
    }

    /// How another process maps it: the whole of it.
    pub fn export(&self) -> Result<Handle, CudaError> {
        if let Some(mapped) = &self.mapped {
            return Ok(Handle::Descriptor(mapped.export()?));
        }
        let mut handle = sys::CUipcMemHandle {
            reserved: [0; IPC_HANDLE_BYTES],
        };
        // SAFETY: the handle is written by the call; the memory is a whole allocation of ours.
        unsafe { call!(cuIpcGetMemHandle(&raw mut handle, self.address)) }?;
        Ok(Handle::Ipc(handle.reserved.map(|byte| byte as u8)))
    }

    /// Address of its first byte, on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of a part, for a copy.
    fn at(&self, call: &'static str, offset: usize, len: usize) -> Result<u64, CudaError> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        inside
            .then_some(self.address + offset as u64)
            .ok_or_else(|| refused(call, INVALID_VALUE, "a copy beyond the device memory"))
    }

    /// Copies bytes to `offset`, after the work that the stream has.
    ///
    /// # Safety
    /// `from` must stay as it is until the stream has been waited for.
    pub unsafe fn upload(
        &self,
        offset: usize,
        from: &[u8],
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let to = self.at("cuMemcpyHtoDAsync_v2", offset, from.len())?;
        // SAFETY: inside both; the caller keeps `from`.
        unsafe {
            call!(cuMemcpyHtoDAsync_v2(
                to,
                from.as_ptr().cast(),
                from.len(),
                stream.handle
            ))
        }
    }

    /// Copies `len` bytes from `offset` to `to`, after the work that the stream has.
    ///
    /// # Safety
    /// `to` must be `len` bytes that nobody looks at or frees until the stream has been waited for.
    pub unsafe fn download(
        &self,
        offset: usize,
        to: *mut u8,
        len: usize,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let from = self.at("cuMemcpyDtoHAsync_v2", offset, len)?;
        // SAFETY: inside of this; the caller vouches for `to`.
        unsafe { call!(cuMemcpyDtoHAsync_v2(to.cast(), from, len, stream.handle)) }
    }

    /// Copies `len` bytes of other memory of the device to `offset`, after the work that the stream has.
    ///
    /// # Safety
    /// Both must live until the stream has been waited for.
    pub unsafe fn copy_from(
        &self,
        offset: usize,
        other: &DeviceMemory,
        other_offset: usize,
        len: usize,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let to = self.at("cuMemcpyDtoDAsync_v2", offset, len)?;
        let from = other.at("cuMemcpyDtoDAsync_v2", other_offset, len)?;
        // SAFETY: inside of both, which the caller keeps.
        unsafe { call!(cuMemcpyDtoDAsync_v2(to, from, len, stream.handle)) }
    }
}

/// An error of our own, in the driver's form.
fn refused(call: &'static str, code: u32, name: &str) -> CudaError {
    let name = name.to_string();
    CudaError { call, code, name }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // It frees itself.
        if self.mapped.is_some() {
            return;
        }
        // SAFETY: allocated by `new`, freed once; the call waits for work that uses it.
        freed(unsafe { call!(cuMemFree_v2(self.address)) });
    }
}

/// Memory of this process that the device copies from and to by itself; where the system pins none,
/// plain memory, which the driver copies from and to.
#[derive(Debug)]
pub enum HostMemory {
    /// Pinned.
    Pinned(Pinned),
    /// Plain.
    Plain(Vec<u8>),
}

/// Pinned memory, cached by the CPU as any other.
#[derive(Debug)]
pub struct Pinned {
    start: ptr::NonNull<u8>,
    len: usize,
    context: Arc<Context>,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pinned {}

impl HostMemory {
    /// `len` > 0 bytes of zeros.
    pub fn new(context: &Arc<Context>, len: usize) -> HostMemory {
        let mut start = ptr::null_mut();
        // SAFETY: the address is written by the call. No flags: write-combined memory would make
        // the CPU's reads crawl.
        let pinned = unsafe { call!(cuMemHostAlloc(&raw mut start, len, 0)) };
        match (pinned, ptr::NonNull::new(start.cast::<u8>())) {
            (Ok(()), Some(start)) => {
                // SAFETY: `len` bytes that are ours alone.
                unsafe { start.as_ptr().write_bytes(0, len) };
                let context = Arc::clone(context);
                HostMemory::Pinned(Pinned {
                    start,
                    len,
                    context,
                })
            }
            (result, _) => {
                freed(result);
                HostMemory::Plain(vec![0; len])
            }
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            HostMemory::Pinned(pinned) => pinned.len,
            HostMemory::Plain(bytes) => bytes.len(),
        }
    }

    /// The bytes. No copy of a stream may be under way.
    pub fn bytes(&mut self) -> &mut [u8] {
        match self {
            // SAFETY: initialised by `new`, and borrowed from its only owner.
            HostMemory::Pinned(pinned) => unsafe {
                std::slice::from_raw_parts_mut(pinned.start.as_ptr(), pinned.len)
            },
            HostMemory::Plain(bytes) => bytes,
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: allocated by `HostMemory::new`, freed once.
        freed(unsafe { call!(cuMemFreeHost(self.start.as_ptr().cast())) });
    }
}

/// Memory of somebody else, pinned for as long as this lives.
#[derive(Debug)]
pub struct Registered<'a> {
    start: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

impl Registered<'_> {
    /// Pins `len` > 0 bytes that the device will read, and with `written` write.
    ///
    /// # Safety
    /// They must stay mapped for the lifetime, and this must be dropped only when no stream copies
    /// from or to them.
    pub unsafe fn new<'a>(
        start: *mut u8,
        len: usize,
        written: bool,
    ) -> Result<Registered<'a>, CudaError> {
        let register = |flags| {
            // SAFETY: memory that is mapped, as the caller says.
            unsafe { call!(cuMemHostRegister_v2(start.cast(), len, flags)) }
        };
        // A map for reading only is pinned only as such, which not every device can.
        register(0).or_else(|error| {
            if written {
                Err(error)
            } else {
                register(sys::CU_MEMHOSTREGISTER_READ_ONLY)
            }
        })?;
        let memory = PhantomData;
        Ok(Registered { start, memory })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // SAFETY: registered by `new`, in the context that is current.
        freed(unsafe { call!(cuMemHostUnregister(self.start.cast())) });
    }
}
