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
//! | `nvjpeg2k.rs` | NVIDIA's JPEG 2000 decoder, loaded when it is there |
//!
//! Must not know the archive, volumes' order or who reads.

mod job;
pub mod nvjpeg2k;
mod plan;

pub use job::{Codec, Job, Outcome, Refusal, Show};
pub use plan::plan;
