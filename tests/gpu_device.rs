//! The engine on a device that is none: host code and kernels as they are, run by a libcuda of the
//! tests (`fake_gpu/fake_libcuda.cpp`), against the decoders and value rules of the CPU.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

#[path = "gpu_device/cases.rs"]
mod cases;
#[path = "gpu_device/faults.rs"]
mod faults;
#[path = "gpu_device/files.rs"]
mod files;
#[path = "gpu_device/jpeg.rs"]
mod jpeg;
#[path = "gpu_device/jpeg2k.rs"]
mod jpeg2k;
#[path = "gpu_jpeg2k/frames.rs"]
mod jpeg2k_frames;
#[path = "gpu_device/kernels.rs"]
mod kernels;
#[path = "gpu_device/ljpeg.rs"]
mod ljpeg;
#[allow(dead_code)]
#[path = "../src/decode/cpu/jpeg_lossless/tests/encoder.rs"]
mod ljpeg_encoder;
#[path = "gpu_device/planes.rs"]
mod planes;
#[path = "gpu_device/ptx.rs"]
mod ptx;
