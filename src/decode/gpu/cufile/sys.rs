//! The part of cufile.h (1.14) that is used: plain data and functions.
//!
//! Unsafe because a symbol of a shared library is believed to have the type written here; a test
//! compares data and constants with NVIDIA's header where it is at hand. Must not know what the
//! functions are called for.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use super::super::library::functions;

/// CUfileError_t, which is returned by value.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// CUfileOpError.
    pub err: c_int,
    /// CUresult, where `err` is [`CUDA_DRIVER_ERROR`].
    pub cu_err: c_int,
}

/// CUfileDescr_t with a descriptor: the union is as wide as a pointer.
#[repr(C)]
pub(super) struct Descr {
    pub kind: c_int,
    pub handle: Union,
    pub fs_ops: *const c_void,
}

/// The union of CUfileDescr_t.
#[repr(C)]
pub(super) union Union {
    pub fd: c_int,
    pub handle: *mut c_void,
}

/// CUfileHandle_t.
pub(super) type Handle = *mut c_void;

/// CU_FILE_HANDLE_TYPE_OPAQUE_FD
pub(super) const OPAQUE_FD: c_int = 1;
/// CU_FILE_CUDA_DRIVER_ERROR
pub(super) const CUDA_DRIVER_ERROR: c_int = 5011;
/// CU_FILE_DRIVER_ALREADY_OPEN
pub(super) const DRIVER_ALREADY_OPEN: c_int = 5026;

functions! {
    driver_open = "cuFileDriverOpen" () -> Status;
    driver_close = "cuFileDriverClose" () -> Status;
    handle_register = "cuFileHandleRegister" (*mut Handle, *mut Descr) -> Status;
    handle_deregister = "cuFileHandleDeregister" (Handle) -> ();
    read = "cuFileRead" (Handle, *mut c_void, usize, i64, i64) -> isize;
    ? driver_close_v2 = "cuFileDriverClose_v2" () -> Status;
    ? get_version = "cuFileGetVersion" (*mut c_int) -> Status;
}
