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
//! | `plan.rs` | what a device may be asked for, from headers alone |
//! | `report.rs` | what is known of a device; which codecs a device may do |
//! | `pool.rs` | all devices of a mount |
//! | `remote.rs` | a device's process as the mount's sees it: started, asked, killed, replaced |
//! | `wire.rs`, `memory.rs` | messages and memory between the two processes |
//! | `worker.rs`, `confine.rs`, `nodes.rs` | the device's process, what it gives up, the driver's files |
//! | `engine.rs` | a batch of jobs on a device |
//! | `planes.rs`, `jpeg2k.rs`, `jpeg.rs` | what a library that decodes on the device must do; nvJPEG2000 and nvJPEG doing it |
//! | `library.rs` | NVIDIA's libraries found, loaded and looked through |
//! | `cufile.rs` | files read straight into device memory by NVIDIA's cuFile, when it is there |
//! | `nvjpeg.rs` | NVIDIA's decoder of baseline JPEG, loaded when it is there |
//! | `nvjpeg2k.rs` | NVIDIA's JPEG 2000 decoder, loaded when it is there |
//! | `kernels.cu`, `.ptx`, `.rs` | the kernels, what they were compiled to, their launches |
//! | `lossless.cu`, `.ptx`, `.rs` | the same for JPEG Lossless |
//! | `driver.rs`, `probe.rs` | the CUDA driver, found at run time; what a device is, or why there is none |
//!
//! Must not know the archive, volumes' order or who reads.

mod confine;
pub mod cufile;
mod driver;
mod engine;
mod job;
mod jpeg;
mod jpeg2k;
mod kernels;
mod library;
mod lossless;
mod memory;
mod nodes;
pub mod nvjpeg;
pub mod nvjpeg2k;
mod plan;
mod planes;
mod pool;
mod probe;
mod remote;
mod report;
#[cfg(test)]
mod testing;
mod wire;
pub mod worker;

pub use driver::{CudaError, Stream};
pub use engine::Engine;
pub use job::{Codec, Job, Outcome, Refusal, Show};
pub use nodes::device_count;
pub use plan::plan;
pub use planes::{PLANES_MAX, PlaneDecoder, PlaneRequest, Planes};
pub use pool::{Pool, Wanted};
pub use remote::{Facts, Fault, Lane, Launch, Limits, Part, Remote, Spent, State, probe};
pub use report::{CUFILE, DeviceReport, LibraryReport, NVJPEG, NVJPEG2K};
pub use wire::{JOBS_MAX, PARTS_MAX};
pub use worker::{Opened, Run};
