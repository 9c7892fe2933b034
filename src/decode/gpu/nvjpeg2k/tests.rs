//! The data of `sys.rs` against NVIDIA's header, where its wheel is at hand; the library itself is
//! loaded in `tests/gpu_jpeg2k.rs`.

use std::mem::{offset_of, size_of};

use super::super::testing::header::{self, Wheel};
use super::sys::{ComponentInfo, FORMAT_PLANAR, Functions, INT16, Image, ImageInfo, UINT8, UINT16};

/// Expressions of C and the numbers that they must be.
fn expectations() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    macro_rules! structure {
        ($c:literal, $rust:ty, $($field:ident),*) => {
            all.push((format!("sizeof({})", $c), size_of::<$rust>()));
            $(all.push((
                format!("offsetof({}, {})", $c, stringify!($field)),
                offset_of!($rust, $field),
            ));)*
        };
    }
    structure!(
        "nvjpeg2kImageInfo_t",
        ImageInfo,
        image_width,
        image_height,
        tile_width,
        tile_height,
        num_tiles_x,
        num_tiles_y,
        num_components
    );
    structure!(
        "nvjpeg2kImageComponentInfo_t",
        ComponentInfo,
        component_width,
        component_height,
        precision,
        sgn
    );
    structure!(
        "nvjpeg2kImage_t",
        Image,
        pixel_data,
        pitch_in_bytes,
        pixel_type,
        num_components
    );
    let constants = [
        ("NVJPEG2K_FORMAT_PLANAR", FORMAT_PLANAR),
        ("NVJPEG2K_UINT8", UINT8),
        ("NVJPEG2K_UINT16", UINT16),
        ("NVJPEG2K_INT16", INT16),
        ("NVJPEG2K_STATUS_SUCCESS", 0),
        ("NVJPEG2K_STATUS_BAD_JPEG", 3),
        ("NVJPEG2K_STATUS_JPEG_NOT_SUPPORTED", 4),
        ("NVJPEG2K_STATUS_ALLOCATOR_FAILURE", 5),
        ("NVJPEG2K_STATUS_EXECUTION_FAILED", 6),
        ("NVJPEG2K_STATUS_ARCH_MISMATCH", 7),
        ("NVJPEG2K_STATUS_INTERNAL_ERROR", 8),
    ];
    all.extend(constants.map(|(name, value)| (name.to_string(), value as usize)));
    all.push((
        "sizeof(nvjpeg2kStatus_t)".into(),
        size_of::<super::sys::Status>(),
    ));
    all
}

#[test]
fn data_is_laid_out_as_in_the_header() {
    let wheel = Wheel {
        package: "nvidia-nvjpeg2k-cu12",
        folder: "nvjpeg2k",
        header: "nvjpeg2k.h",
    };
    let Some(include) = wheel.include_dir("data_is_laid_out_as_in_the_header") else {
        return;
    };
    header::agrees(
        &include,
        "#define _NVJPEG2K_DISABLE_CUDA_TOOLKIT_HEADERS\n#include <nvjpeg2k.h>\n",
        &[],
        &expectations(),
        Functions::SIGNATURES,
    );
}
