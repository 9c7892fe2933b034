//! The part of nvjpeg2k.h (0.11) that is used: plain data, and the functions as a table that is
//! loaded whole or not at all.
//!
//! Unsafe because a symbol of a shared library is believed to have the type written here; a test
//! compares data and constants with NVIDIA's header where it is at hand. Must not know what the
//! functions are called for.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_int, c_void};

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

/// Declares the table and how it is filled.
macro_rules! functions {
    ($($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions of the library, by their names without "nvjpeg2k".
        pub(super) struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Functions {
            /// Looks up all functions.
            ///
            /// # Errors
            /// The first that is missing, in words.
            pub fn find(library: &libloading::Library) -> Result<Functions, String> {
                Ok(Functions {
                    $($field: {
                        // SAFETY: the type is that of the symbol in nvjpeg2k.h, which keeps its
                        // functions within a major version; the library is never unloaded.
                        let symbol = unsafe { library.get($symbol) };
                        *symbol.map_err(|_| missing($symbol))?
                    },)*
                })
            }

            /// The names that are looked up, and the types of their arguments.
            #[cfg(test)]
            pub const SIGNATURES: &'static [(&'static str, &'static [&'static str])] =
                &[$(($symbol, &[$(stringify!($argument)),*])),*];
        }
    };
}

functions! {
    get_property = "nvjpeg2kGetProperty" (c_int, *mut c_int);
    create_simple = "nvjpeg2kCreateSimple" (*mut Opaque);
    destroy = "nvjpeg2kDestroy" (Opaque);
    decode_state_create = "nvjpeg2kDecodeStateCreate" (Opaque, *mut Opaque);
    decode_state_destroy = "nvjpeg2kDecodeStateDestroy" (Opaque);
    stream_create = "nvjpeg2kStreamCreate" (*mut Opaque);
    stream_destroy = "nvjpeg2kStreamDestroy" (Opaque);
    stream_parse = "nvjpeg2kStreamParse" (Opaque, *const u8, usize, c_int, c_int, Opaque);
    stream_image_info = "nvjpeg2kStreamGetImageInfo" (Opaque, *mut ImageInfo);
    stream_component_info = "nvjpeg2kStreamGetImageComponentInfo" (Opaque, *mut ComponentInfo, u32);
    params_create = "nvjpeg2kDecodeParamsCreate" (*mut Opaque);
    params_destroy = "nvjpeg2kDecodeParamsDestroy" (Opaque);
    params_set_rgb = "nvjpeg2kDecodeParamsSetRGBOutput" (Opaque, i32);
    params_set_format = "nvjpeg2kDecodeParamsSetOutputFormat" (Opaque, c_int);
    decode_image = "nvjpeg2kDecodeImage" (Opaque, Opaque, Opaque, Opaque, *mut Image, Opaque);
}

fn missing(symbol: &str) -> String {
    format!("it has no function {symbol}: too old, or another library")
}

/// Opens the library of this file name or path.
///
/// # Errors
/// What the loader says.
pub(super) fn open(name: &OsStr) -> Result<libloading::Library, String> {
    // SAFETY: loading runs the library's initialisers. NVIDIA's does nothing there but set up its
    // own statics; which file is loaded is the administrator's choice, as for any library.
    unsafe { libloading::Library::new(name) }.map_err(|error| {
        let text = error.to_string();
        text.chars().filter(|c| !c.is_control()).take(300).collect()
    })
}
