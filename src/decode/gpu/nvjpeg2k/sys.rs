//! The part of nvjpeg2k.h (0.11) that is used: plain data and functions.
//!
//! Unsafe because a symbol of a shared library is believed to have the type written here; a test
//! compares data and constants with NVIDIA's header where it is at hand. Must not know what the
//! functions are called for.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use super::super::library::functions;

/// nvjpeg2kStatus_t.
pub(super) type Status = c_int;

/// A pointer to one of the library's own structures, or a cudaStream_t.
pub(super) type Opaque = *mut c_void;

/// NVJPEG2K_FORMAT_PLANAR
pub(super) const FORMAT_PLANAR: c_int = 0;
/// NVJPEG2K_UINT8
pub(super) const UINT8: c_int = 0;
/// NVJPEG2K_UINT16
pub(super) const UINT16: c_int = 1;
/// NVJPEG2K_INT16
pub(super) const INT16: c_int = 2;

/// nvjpeg2kImageInfo_t: sizes in pixels.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageInfo {
    pub image_width: u32,
    pub image_height: u32,
    pub tile_width: u32,
    pub tile_height: u32,
    pub num_tiles_x: u32,
    pub num_tiles_y: u32,
    pub num_components: u32,
}

/// nvjpeg2kImageComponentInfo_t.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ComponentInfo {
    pub component_width: u32,
    pub component_height: u32,
    pub precision: u8,
    pub sgn: u8,
}

/// nvjpeg2kImage_t: an array of device pointers and one of pitches, an element a component.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Image {
    pub pixel_data: *mut *mut c_void,
    pub pitch_in_bytes: *mut usize,
    pub pixel_type: c_int,
    pub num_components: u32,
}

functions! {
    get_property = "nvjpeg2kGetProperty" (c_int, *mut c_int) -> Status;
    create_simple = "nvjpeg2kCreateSimple" (*mut Opaque) -> Status;
    destroy = "nvjpeg2kDestroy" (Opaque) -> Status;
    decode_state_create = "nvjpeg2kDecodeStateCreate" (Opaque, *mut Opaque) -> Status;
    decode_state_destroy = "nvjpeg2kDecodeStateDestroy" (Opaque) -> Status;
    stream_create = "nvjpeg2kStreamCreate" (*mut Opaque) -> Status;
    stream_destroy = "nvjpeg2kStreamDestroy" (Opaque) -> Status;
    stream_parse = "nvjpeg2kStreamParse" (Opaque, *const u8, usize, c_int, c_int, Opaque) -> Status;
    stream_image_info = "nvjpeg2kStreamGetImageInfo" (Opaque, *mut ImageInfo) -> Status;
    stream_component_info = "nvjpeg2kStreamGetImageComponentInfo" (Opaque, *mut ComponentInfo, u32) -> Status;
    params_create = "nvjpeg2kDecodeParamsCreate" (*mut Opaque) -> Status;
    params_destroy = "nvjpeg2kDecodeParamsDestroy" (Opaque) -> Status;
    params_set_rgb = "nvjpeg2kDecodeParamsSetRGBOutput" (Opaque, i32) -> Status;
    params_set_format = "nvjpeg2kDecodeParamsSetOutputFormat" (Opaque, c_int) -> Status;
    decode_image = "nvjpeg2kDecodeImage" (Opaque, Opaque, Opaque, Opaque, *mut Image, Opaque) -> Status;
}
