//! Decoding on a GPU: whole batches of frames, in a process of its own.
//!
//! A device changes speed, never bytes. What it may be asked for is decided here on the CPU, from
//! headers and codestreams (`plan`), and told as [`Job`]s; the process that has the device (`worker`)
//! turns them into the bytes of a slab, which the caller checks before anybody sees them. Whatever a
//! device does not do, or does wrong, or never finishes is decoded on the CPU.
//!
//! | file | what |
//! |---|---|
//! | `job.rs` | what the two processes say of a frame |
//! | `driver.rs` | the CUDA driver, found at run time: memory, streams, kernels |
//! | `probe.rs` | what a device is, or why there is none |
//! | `kernels.cu`, `.ptx`, `.rs` | the kernels, what they were compiled to, their launches |
//! | `planes.rs` | what a library that decodes on the device must do |
//! | `jpeg2k.rs` | NVIDIA's decoder, as the engine uses it |
//! | `engine.rs` | a batch of jobs on a device |
//! | `plan.rs` | what a device may be asked for, from headers alone |
//! | `nvjpeg2k.rs` | NVIDIA's JPEG 2000 decoder, loaded when it is there |
//!
//! Must not know the archive, volumes' order or who reads.

mod driver;
mod engine;
mod job;
mod jpeg2k;
mod kernels;
pub mod nvjpeg2k;
mod plan;
mod planes;
mod probe;

pub use driver::{CudaError, Stream};
pub use engine::Engine;
pub use job::{Codec, Job, Outcome, Refusal, Show};
pub use plan::plan;
pub use planes::{PLANES_MAX, PlaneDecoder, PlaneRequest, Planes};
pub use probe::{DeviceReport, LibraryReport, probe};
