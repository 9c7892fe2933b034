//! Memory of a device that holds a whole array and is given to other processes: the words that the
//! mount's process and the device's process share. Pure data.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::Job;

/// Length of a CUDA IPC handle, bytes (`CU_IPC_HANDLE_SIZE` in cuda.h).
pub const IPC_HANDLE_BYTES: usize = 64;

/// A piece of device memory that was reserved. It names the process that has reserved it: after a
/// restart it is none, never another array's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResidentId {
    /// The device's number.
    pub ordinal: u32,
    /// Which of the device's processes, counted from 1.
    pub process: u32,
    /// Which of its residents.
    pub number: u64,
}

/// Device memory, and how another process maps it.
#[derive(Debug)]
pub struct Exported {
    /// The device, as nvidia-smi writes it: `GPU-` and a UUID.
    pub device_uuid: String,
    /// What was asked for, bytes.
    pub len_bytes: u64,
    /// What it takes, and what is mapped, bytes: behind `len_bytes` there are zeros.
    pub allocation_bytes: u64,
    /// How it is mapped.
    pub handle: Handle,
}

/// How another process maps device memory. It can write there as well: CUDA has no other way.
#[derive(Debug)]
pub enum Handle {
    /// For `cuMemImportFromShareableHandle`. As long as any copy of it is open the device's memory is
    /// taken, whoever has released it.
    Descriptor(OwnedFd),
    /// For `cuIpcOpenMemHandle`. Of use as long as the device's process has the memory.
    Ipc([u8; IPC_HANDLE_BYTES]),
}

/// Bytes of a file that belong at a place in a resident, or come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Where they lie in the file.
    pub file_offset_bytes: u64,
    /// Where they lie in the resident.
    pub offset_bytes: u64,
    /// How many.
    pub len_bytes: u64,
}

/// An uncompressed frame that is read from a file by the device's process and shown in a resident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectJob {
    /// Which of the files.
    pub file: u32,
    /// Where in the file it begins.
    pub file_offset_bytes: u64,
    /// What it is: [`super::Codec::Native`]. Of [`Job::encoded`] only the length counts; [`Job::out`]
    /// is in the resident.
    pub job: Job,
}
