//! The data of `sys.rs` against NVIDIA's header, where its wheel is at hand; the library itself is
//! loaded in `tests/gpu_jpeg.rs`.

use std::mem::{offset_of, size_of};

use super::super::testing::header::{self, Wheel};
use super::sys::{
    BACKEND_GPU_HYBRID, COMPONENTS_MAX, CSS_444, CSS_GRAY, Functions, Image, OUTPUT_UNCHANGED,
    Status,
};

#[test]
fn data_is_laid_out_as_in_the_header() {
    let wheel = Wheel {
        package: "nvidia-nvjpeg-cu12",
        folder: "nvjpeg",
        header: "nvjpeg.h",
    };
    let Some(include) = wheel.include_dir("nvjpeg data_is_laid_out_as_in_the_header") else {
        return;
    };
    let expectations = [
        ("sizeof(nvjpegImage_t)", size_of::<Image>()),
        (
            "offsetof(nvjpegImage_t, channel)",
            offset_of!(Image, channel),
        ),
        ("offsetof(nvjpegImage_t, pitch)", offset_of!(Image, pitch)),
        ("sizeof(nvjpegStatus_t)", size_of::<Status>()),
        ("NVJPEG_MAX_COMPONENT", COMPONENTS_MAX),
        ("NVJPEG_BACKEND_GPU_HYBRID", BACKEND_GPU_HYBRID as usize),
        ("NVJPEG_OUTPUT_UNCHANGED", OUTPUT_UNCHANGED as usize),
        ("NVJPEG_CSS_444", CSS_444 as usize),
        ("NVJPEG_CSS_GRAY", CSS_GRAY as usize),
        ("NVJPEG_STATUS_SUCCESS", 0),
        ("NVJPEG_STATUS_BAD_JPEG", 3),
        ("NVJPEG_STATUS_JPEG_NOT_SUPPORTED", 4),
        ("NVJPEG_STATUS_ALLOCATOR_FAILURE", 5),
        ("NVJPEG_STATUS_EXECUTION_FAILED", 6),
        ("NVJPEG_STATUS_ARCH_MISMATCH", 7),
        ("NVJPEG_STATUS_INTERNAL_ERROR", 8),
        ("NVJPEG_STATUS_INCOMPLETE_BITSTREAM", 10),
    ];
    // What it takes of CUDA's headers, which are not at hand.
    let cuda = "typedef struct CUstream_st *cudaStream_t;\n";
    let types = "typedef enum libraryPropertyType_t { MAJOR_VERSION } libraryPropertyType;\n";
    header::agrees(
        &include,
        "#include <nvjpeg.h>\n",
        &[("cuda_runtime_api.h", cuda), ("library_types.h", types)],
        &expectations.map(|(text, value)| (text.to_string(), value)),
        Functions::SIGNATURES,
    );
}
