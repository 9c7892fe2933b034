//! Memory of the device that has a file descriptor, by which another process can map it (CUDA driver
//! API, virtual memory management): made of physical memory, of addresses, and of the mapping of the
//! one at the other. Each frees itself; together in the order that the driver asks for.
//!
//! `unsafe` because the driver is a C library: see the driver's module.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use cudarc::driver::sys;

use super::{Context, CudaError, check, freed};

/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`.
const DESCRIPTOR: sys::CUmemAllocationHandleType =
    sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;

/// Memory that is mapped, and can be by others.
#[derive(Debug)]
pub struct Mapped {
    // Dropped in this order.
    mapping: Mapping,
    physical: Physical,
    addresses: Addresses,
}

/// Physical memory; the driver keeps it as long as anybody maps it or has a descriptor of it.
#[derive(Debug)]
struct Physical {
    handle: sys::CUmemGenericAllocationHandle,
    context: Arc<Context>,
}

/// Addresses that nothing else gets.
#[derive(Debug)]
struct Addresses {
    start: u64,
    len: usize,
    context: Arc<Context>,
}

/// Physical memory at addresses. Freed before both.
#[derive(Debug)]
struct Mapping {
    start: u64,
    len: usize,
    context: Arc<Context>,
}

impl Mapped {
    /// At least `len` bytes that hold anything, readable and writable by the device.
    pub fn new(context: &Arc<Context>, len: usize) -> Result<Mapped, CudaError> {
        let properties = properties(context);
        let grain = granularity(&properties)?;
        let len = len.checked_next_multiple_of(grain).unwrap_or(usize::MAX);
        let physical = Physical::new(context, len, &properties)?;
        let addresses = Addresses::new(context, len)?;
        let mapping = Mapping::new(context, &physical, &addresses)?;
        Ok(Mapped {
            mapping,
            physical,
            addresses,
        })
    }

    /// Address of its first byte, on the device.
    pub fn address(&self) -> u64 {
        self.mapping.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.addresses.len
    }

    /// A descriptor by which another process gets all of it, to read and to write: there is no other
    /// kind. The memory lives as long as the descriptor.
    pub fn export(&self) -> Result<OwnedFd, CudaError> {
        let mut fd: i32 = -1;
        let handle = self.physical.handle;
        // SAFETY: for this type of handle the call writes an int.
        unsafe {
            let to = (&raw mut fd).cast();
            call!(cuMemExportToShareableHandle(to, handle, DESCRIPTOR, 0))?;
        }
        if fd < 0 {
            return Err(CudaError {
                call: "cuMemExportToShareableHandle",
                code: 801,
                name: "no descriptor".to_string(),
            });
        }
        // SAFETY: the driver has just opened it for us; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Memory of the device, with a descriptor.
fn properties(context: &Context) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: DESCRIPTOR,
        location: location(context),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

fn location(context: &Context) -> sys::CUmemLocation {
    sys::CUmemLocation {
        type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
        id: context.device,
    }
}

/// What lengths must be multiples of, bytes: at least 1.
fn granularity(properties: &sys::CUmemAllocationProp) -> Result<usize, CudaError> {
    let mut grain = 0;
    let least = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    // SAFETY: a number and a struct of ours.
    unsafe {
        call!(cuMemGetAllocationGranularity(
            &raw mut grain,
            properties,
            least
        ))
    }?;
    Ok(grain.max(1))
}

impl Physical {
    fn new(
        context: &Arc<Context>,
        len: usize,
        properties: &sys::CUmemAllocationProp,
    ) -> Result<Physical, CudaError> {
        let mut handle = 0;
        // SAFETY: a handle and a struct of ours.
        unsafe { call!(cuMemCreate(&raw mut handle, len, properties, 0)) }?;
        let context = Arc::clone(context);
        Ok(Physical { handle, context })
    }
}

impl Drop for Physical {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: created by `new`, released once.
        freed(unsafe { call!(cuMemRelease(self.handle)) });
    }
}

impl Addresses {
    fn new(context: &Arc<Context>, len: usize) -> Result<Addresses, CudaError> {
        let mut start = 0;
        // SAFETY: an address of ours; no alignment beyond the usual, no wish where.
        unsafe { call!(cuMemAddressReserve(&raw mut start, len, 0, 0, 0)) }?;
        let context = Arc::clone(context);
        Ok(Addresses {
            start,
            len,
            context,
        })
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: reserved by `new`, freed once, as a whole; nothing is mapped there any more.
        freed(unsafe { call!(cuMemAddressFree(self.start, self.len)) });
    }
}

impl Mapping {
    fn new(
        context: &Arc<Context>,
        physical: &Physical,
        addresses: &Addresses,
    ) -> Result<Mapping, CudaError> {
        let (start, len) = (addresses.start, addresses.len);
        // SAFETY: addresses of ours, as long as the memory.
        unsafe { call!(cuMemMap(start, len, 0, physical.handle, 0)) }?;
        let mapping = Mapping {
            start,
            len,
            context: Arc::clone(context),
        };
        let access = sys::CUmemAccessDesc {
            location: location(context),
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        // SAFETY: the whole mapping; a struct of ours.
        unsafe { call!(cuMemSetAccess(start, len, &raw const access, 1)) }?;
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        freed(self.context.make_current());
        // SAFETY: mapped by `new`, unmapped once, as a whole. Whoever has work under way that uses
        // it waits before this is dropped: the call does not.
        freed(unsafe { call!(cuMemUnmap(self.start, self.len)) });
    }
}
