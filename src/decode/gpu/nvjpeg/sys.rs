//! The part of nvjpeg.h (12.4) that is used: plain data and functions.
//!
//! Unsafe because a symbol of a shared library is believed to have the type written here; a test
//! compares data and constants with NVIDIA's header where it is at hand. Must not know what the
//! functions are called for.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};

use super::super::library::functions;

/// nvjpegStatus_t.
pub(super) type Status = c_int;

/// A pointer to one of the library's own structures, or a cudaStream_t.
pub(super) type Opaque = *mut c_void;

/// NVJPEG_MAX_COMPONENT
pub(super) const COMPONENTS_MAX: usize = 4;
/// NVJPEG_BACKEND_GPU_HYBRID: Huffman codes of a batch of baseline pictures undone on the device.
pub(super) const BACKEND_GPU_HYBRID: c_int = 2;
/// NVJPEG_OUTPUT_UNCHANGED: planes of the components as they are coded.
pub(super) const OUTPUT_UNCHANGED: c_int = 0;
/// NVJPEG_CSS_444
pub(super) const CSS_444: c_int = 0;
/// NVJPEG_CSS_GRAY
pub(super) const CSS_GRAY: c_int = 6;

/// nvjpegImage_t: device addresses and pitches in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    pub channel: [*mut u8; COMPONENTS_MAX],
    pub pitch: [usize; COMPONENTS_MAX],
}

functions! {
    get_property = "nvjpegGetProperty" (c_int, *mut c_int) -> Status;
    create = "nvjpegCreateEx" (c_int, *mut c_void, *mut c_void, c_uint, *mut Opaque) -> Status;
    destroy = "nvjpegDestroy" (Opaque) -> Status;
    state_create = "nvjpegJpegStateCreate" (Opaque, *mut Opaque) -> Status;
    state_destroy = "nvjpegJpegStateDestroy" (Opaque) -> Status;
    image_info = "nvjpegGetImageInfo"
        (Opaque, *const u8, usize, *mut c_int, *mut c_int, *mut c_int, *mut c_int) -> Status;
    decode = "nvjpegDecode"
        (Opaque, Opaque, *const u8, usize, c_int, *mut Image, Opaque) -> Status;
    batch_initialize = "nvjpegDecodeBatchedInitialize"
        (Opaque, Opaque, c_int, c_int, c_int) -> Status;
    decode_batch = "nvjpegDecodeBatched"
        (Opaque, Opaque, *const *const u8, *const usize, *mut Image, Opaque) -> Status;
}
