//! The CUDA driver: what of it is used, as values that free what they own.
//!
//! `unsafe` because the driver is a C library: its functions are found at run time by `cudarc`, and
//! copies and kernels read and write memory by address. Nothing of `cudarc` passes out of
//! here.
//!
//! A machine without a driver is an error in words, never a panic: `cudarc` panics when the library
//! or a function of it is absent, so both are looked for first ([`require`]). Of `cudarc` only the
//! plain functions are used: its own streams and buffers make events for each allocation and take
//! pinned memory that the CPU reads at a crawl.
//!
//! Must not know what a frame is.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;

use super::report::Export;

/// Calls a function of the driver: `call!(cuInit(0))`.
macro_rules! call {
    ($function:ident($($arg:expr),* $(,)?)) => {
        check(stringify!($function), sys::$function($($arg),*))
    };
}

mod export;
mod memory;

pub(super) use memory::{DeviceMemory, HostMemory, Registered};

/// Says when kernels are made ready for the device (CUDA C programming guide, lazy loading): with
/// [`LOADING`] when they are loaded, which is before rights are given up, in the time that a start may take,
/// and not in the first batch, whose time is measured and short.
pub(super) const LOADING_VARIABLE: &str = "CUDA_MODULE_LOADING";
/// See [`LOADING_VARIABLE`].
pub(super) const LOADING: &str = "EAGER";

/// All functions that are called: each must be there before the first is.
const FUNCTIONS: [&str; 45] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuGetErrorName",
    "cuInit",
    "cuIpcGetMemHandle",
    "cuLaunchKernel",
    "cuMemAddressFree",
    "cuMemAddressReserve",
    "cuMemAlloc_v2",
    "cuMemCreate",
    "cuMemExportToShareableHandle",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemGetAllocationGranularity",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuMemMap",
    "cuMemRelease",
    "cuMemSetAccess",
    "cuMemUnmap",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// A call of the driver that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {name} ({code})")]
pub struct CudaError {
    /// The function.
    pub call: &'static str,
    /// `CUresult`.
    pub code: u32,
    /// Its name in cuda.h.
    pub name: String,
}

impl CudaError {
    /// There is no memory left, on the device or to be pinned: less may do.
    pub fn is_out_of_memory(&self) -> bool {
        self.code == 2
    }

    /// The system does not allow it or does not have it: another way may do.
    pub fn is_denied(&self) -> bool {
        // Invalid value, operating system, not permitted, not supported (`CUresult` in cuda.h).
        matches!(self.code, 1 | 304 | 800 | 801)
    }

    /// Whether the context may still be used. After a fault on the device every call fails, and only
    /// a new process has a device again. Codes that are not known to be harmless are such faults.
    pub fn is_lost(&self) -> bool {
        // Invalid value, out of memory, operating system, out of resources for a launch, memory (not)
        // registered, not permitted, not supported (`CUresult` in cuda.h).
        !matches!(self.code, 1 | 2 | 304 | 701 | 712 | 713 | 800 | 801)
    }
}

/// The result of a call, with its name.
fn check(call: &'static str, result: sys::CUresult) -> Result<(), CudaError> {
    let code = result as u32;
    if code == 0 {
        return Ok(());
    }
    let mut name = ptr::null();
    // SAFETY: `name` is written or left null; the driver's text is never freed.
    let known = unsafe { sys::cuGetErrorName(result, &raw mut name) } as u32 == 0;
    let name = if known && !name.is_null() {
        // SAFETY: a C string of the driver.
        unsafe { CStr::from_ptr(name) }
            .to_string_lossy()
            .into_owned()
    } else {
        "unknown".to_string()
    };
    Err(CudaError { call, code, name })
}

/// Finds the driver and all its functions, and wakes it up.
///
/// # Errors
/// There is no driver here, it is too old, or it says why it does not work.
pub fn require() -> Result<(), String> {
    // SAFETY: loading a library runs its initialisers; libcuda is what was asked for.
    if !unsafe { sys::is_culib_present() } {
        return Err("there is no CUDA driver here (libcuda.so.1)".to_string());
    }
    // SAFETY: it is there, so this does not panic.
    let library = unsafe { sys::culib() };
    for name in FUNCTIONS {
        // SAFETY: the address is not called.
        let found = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
        if found.is_err() {
            return Err(format!("the CUDA driver is too old: it has no {name}"));
        }
    }
    // SAFETY: no arguments but the flags, which must be 0.
    unsafe { call!(cuInit(0)) }.map_err(|error| format!("the CUDA driver does not start: {error}"))
}

/// What the driver says of itself and of one device. Call [`require`] first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    handle: sys::CUdevice,
    /// Name for people.
    pub name: String,
    /// 16 bytes that tell it from all others.
    pub uuid: [u8; 16],
    /// All its memory.
    pub memory_bytes: u64,
    /// CUDA version of the driver: 12020 is 12.2.
    pub driver_version: u32,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// How its memory can be given to other processes.
    pub export: Export,
}

impl Device {
    /// The device with this ordinal.
    ///
    /// # Errors
    /// There is none, or the driver fails.
    pub fn find(ordinal: u32) -> Result<Device, String> {
        let text = |error: CudaError| error.to_string();
        let (mut count, mut handle, mut version) = (0, 0, 0);
        // SAFETY: numbers of ours, written by the calls.
        unsafe { call!(cuDeviceGetCount(&raw mut count)) }.map_err(text)?;
        let count = u32::try_from(count).unwrap_or(0);
        if ordinal >= count {
            return Err(format!("there is no CUDA device {ordinal} ({count} found)"));
        }
        // SAFETY: as above; the ordinal was checked.
        unsafe {
            call!(cuDriverGetVersion(&raw mut version)).map_err(text)?;
            call!(cuDeviceGet(&raw mut handle, ordinal as i32)).map_err(text)?;
        }
        let mut name = [0; 256];
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        let mut memory = 0;
        // SAFETY: memory of ours, as long as the calls are told; the handle is a device.
        unsafe {
            let room = name.len() as i32 - 1;
            call!(cuDeviceGetName(name.as_mut_ptr(), room, handle)).map_err(text)?;
            call!(cuDeviceGetUuid(&raw mut uuid, handle)).map_err(text)?;
            call!(cuDeviceTotalMem_v2(&raw mut memory, handle)).map_err(text)?;
        }
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED as DESCRIPTORS,
            CU_DEVICE_ATTRIBUTE_INTEGRATED as INTEGRATED,
            CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING as UNIFIED,
            CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED as MAPPED,
        };
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: as above.
            unsafe { call!(cuDeviceGetAttribute(&raw mut value, which, handle)) }.map_err(text)?;
            Ok::<u32, String>(u32::try_from(value).unwrap_or(0))
        };
        let has = |which| Ok::<bool, String>(attribute(which)? != 0);
        let export = if has(MAPPED)? && has(DESCRIPTORS)? {
            Export::Descriptor
        } else if has(UNIFIED)? && !has(INTEGRATED)? {
            Export::Ipc
        } else {
            Export::None
        };
        Ok(Device {
            handle,
            // SAFETY: zeroed, and the call left the last byte alone: there is a null.
            name: unsafe { CStr::from_ptr(name.as_ptr()) }
                .to_string_lossy()
                .into_owned(),
            uuid: uuid.bytes.map(|byte| byte as u8),
            memory_bytes: memory as u64,
            driver_version: u32::try_from(version).unwrap_or(0),
            capability: (attribute(MAJOR)?, attribute(MINOR)?),
            export,
        })
    }
}

/// The primary context of a device: the one that NVIDIA's libraries use as well.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: a context may be current in several threads at once (CUDA C programming guide, 17.1).
unsafe impl Send for Context {}
// SAFETY: as above; the driver locks what it shares.
unsafe impl Sync for Context {}

impl Context {
    /// Takes the context and makes it current in this thread.
    ///
    /// # Errors
    /// The driver gives none: no memory, or the device is in use by one process alone.
    pub fn open(device: &Device) -> Result<Arc<Context>, CudaError> {
        let mut handle = ptr::null_mut();
        let waits = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: the handle is a device; the context is written by the call.
        unsafe {
            // A thread that waits must not spin: its core is one that could decode. The flag is
            // refused when a library has woken the context already, which does no harm.
            let flagged = call!(cuDevicePrimaryCtxSetFlags_v2(device.handle, waits));
            if let Err(error) = flagged {
                tracing::debug!(%error, "the CUDA context spins while it waits");
            }
            call!(cuDevicePrimaryCtxRetain(&raw mut handle, device.handle))?;
        }
        let context = Arc::new(Context {
            device: device.handle,
            handle,
        });
        context.make_current()?;
        Ok(context)
    }

    /// Makes it the one that calls of this thread go to.
    pub fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { call!(cuCtxSetCurrent(self.handle)) }
    }

    /// Bytes of device memory that nobody has taken.
    pub fn free_bytes(&self) -> Result<usize, CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: numbers of ours.
        unsafe { call!(cuMemGetInfo_v2(&raw mut free, &raw mut total)) }?;
        Ok(free)
    }
}

/// Says what could not be freed: the owner is gone, nobody can act on it.
fn freed(result: Result<(), CudaError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "CUDA memory or handles not freed");
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once by `open`; all that was made in it holds the `Arc`.
        freed(unsafe { call!(cuDevicePrimaryCtxRelease_v2(self.device)) });
    }
}

/// Work that is done in order, beside the work of other streams.
#[derive(Debug)]
pub struct Stream {
    handle: sys::CUstream,
    context: Arc<Context>,
}

// SAFETY: the driver takes a stream from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above, and from several at once: the driver locks what it shares.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream that does not wait for the default one.
    pub(super) fn new(context: &Arc<Context>) -> Result<Stream, CudaError> {
        let mut handle = ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the handle is written by the call.
        unsafe { call!(cuStreamCreate(&raw mut handle, flags)) }?;
        let context = Arc::clone(context);
        Ok(Stream { handle, context })
    }

    /// Makes its context the one that calls of this thread go to.
    ///
    /// # Errors
    /// The context is lost.
    pub fn enter(&self) -> Result<(), CudaError> {
        self.context.make_current()
    }

    /// The `CUstream`, for a library that decodes on it; this must outlive what is done with it.
    pub fn handle(&self) -> *mut c_void {
        self.handle.cast()
    }

    /// Waits until all its work is done.
    ///
    /// # Errors
    /// Any of it failed; [`CudaError::is_lost`] says whether the device did.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: a stream of ours.
        unsafe { call!(cuStreamSynchronize(self.handle)) }
    }

    /// Lets all later work of this stream begin when `other` has done what it was given so far.
    pub(super) fn wait_for(&self, other: &Stream) -> Result<(), CudaError> {
        let mut event = ptr::null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: streams of ours; an event may be destroyed once it is waited for: the driver keeps
        // it until it has come (cuEventDestroy).
        unsafe {
            call!(cuEventCreate(&raw mut event, flags))?;
            let waiting = call!(cuEventRecord(event, other.handle))
                .and_then(|()| call!(cuStreamWaitEvent(self.handle, event, 0)));
            freed(call!(cuEventDestroy_v2(event)));
            waiting
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: made by `new`, destroyed once; what it still does goes on.
        freed(unsafe { call!(cuStreamDestroy_v2(self.handle)) });
    }
}

/// Kernels, loaded.
#[derive(Debug)]
pub(super) struct Module {
    handle: sys::CUmodule,
    context: Arc<Context>,
}

// SAFETY: the driver takes a module from any thread.
unsafe impl Send for Module {}

/// One kernel; the [`Module`] it came from must outlive it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(sys::CUfunction);

// SAFETY: the driver takes a kernel from any thread.
unsafe impl Send for Kernel {}

impl Module {
    /// Has the driver compile PTX for the device.
    pub fn load(context: &Arc<Context>, ptx: &CString) -> Result<Module, CudaError> {
        let mut handle = ptr::null_mut();
        // SAFETY: PTX is text that ends with a null.
        unsafe {
            call!(cuModuleLoadData(
                &raw mut handle,
                ptx.as_ptr().cast::<c_void>()
            ))
        }?;
        let context = Arc::clone(context);
        Ok(Module { handle, context })
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &CStr) -> Result<Kernel, CudaError> {
        let mut kernel = ptr::null_mut();
        // SAFETY: a module of ours and a C string.
        unsafe {
            call!(cuModuleGetFunction(
                &raw mut kernel,
                self.handle,
                name.as_ptr()
            ))
        }?;
        Ok(Kernel(kernel))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: loaded by `load`, unloaded once.
        freed(unsafe { call!(cuModuleUnload(self.handle)) });
    }
}

impl Kernel {
    /// Launches it after the work that the stream has.
    ///
    /// # Safety
    /// `args` must point to what the kernel takes, in order, and the memory that it is told of must
    /// be as it expects until the stream has been waited for.
    pub unsafe fn launch(
        self,
        grid: (u32, u32),
        block: u32,
        stream: &Stream,
        args: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        // SAFETY: as the caller says; the driver copies the arguments before it returns.
        unsafe {
            call!(cuLaunchKernel(
                self.0,
                grid.0,
                grid.1,
                1,
                block,
                1,
                1,
                0,
                stream.handle,
                args.as_mut_ptr(),
                ptr::null_mut(),
            ))
        }
    }
}
