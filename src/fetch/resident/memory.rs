//! What a device offers to hold whole volumes: memory that is reserved, filled and exported.
//!
//! How a device does it is behind [`DeviceMemory`]; a test has one in its own process. Knows nothing of
//! volumes, users or budgets.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::decode::gpu::{
    DirectJob, Exported, Fault, Job, Outcome, Piece, ReserveError, ResidentId,
};
use crate::fetch::{Error, Readiness};

/// A frame of a volume that lies in its file just as a device can read it.
pub struct DirectFrame<'p> {
    /// Its file, opened and found to be the one that was indexed; frames of one file may share it.
    pub file: Arc<File>,
    /// Where the frame starts in it.
    pub file_offset_bytes: u64,
    /// What is to be made of it; `out` is for the caller to set.
    pub job: Job,
    /// Is the file still the one that was indexed? To be asked after the device has read it.
    pub verify: Box<dyn Fn() -> Result<(), Error> + 'p>,
}

/// The memory of a device. What is asked of it may take its time: never on a thread that serves
/// requests, and never under a lock. [`DeviceMemory::is_held`] alone answers at once.
pub trait DeviceMemory: Send + Sync {
    /// Number of the device, as the driver counts.
    fn ordinal(&self) -> u32;

    /// Whether it may be asked now.
    fn readiness(&self) -> Readiness;

    /// Whether this volume is this device's, as long as it is ready.
    fn prefers(&self, volume: &str) -> bool {
        let _ = volume;
        true
    }

    /// All its memory, bytes; `None` while that is not known.
    fn memory_bytes(&self) -> Option<u64>;

    /// Reserves memory and exports it. All that is reserved keeps to `budget_bytes` already; what the
    /// device takes beside it may leave less. Who releases it lets go of the descriptor first.
    ///
    /// # Errors
    /// [`ReserveError`].
    fn reserve(
        &self,
        len_bytes: u64,
        budget_bytes: u64,
    ) -> Result<(ResidentId, Exported), ReserveError>;

    /// False once the memory is gone, with the process that held it for example.
    fn is_held(&self, id: ResidentId) -> bool;

    /// Copies pieces of a slab's file there. Returns when that is done.
    ///
    /// # Errors
    /// [`Fault`]: then the memory holds anything.
    fn upload(
        &self,
        id: ResidentId,
        slab: BorrowedFd<'_>,
        slab_len_bytes: u64,
        pieces: &[Piece],
        deadline: Duration,
    ) -> Result<(), Fault>;

    /// Has the device read frames from their files and make what is shown of them.
    ///
    /// # Errors
    /// As of [`DeviceMemory::upload`]. Of what is not [`Outcome::Done`] the memory holds anything.
    fn direct(
        &self,
        id: ResidentId,
        files: &[BorrowedFd<'_>],
        jobs: &[DirectJob],
        deadline: Duration,
    ) -> Result<Vec<Outcome>, Fault>;

    /// Copies pieces into a file, which is as long as it has to be.
    ///
    /// # Errors
    /// As of [`DeviceMemory::upload`].
    fn download(
        &self,
        id: ResidentId,
        pieces: &[Piece],
        into: BorrowedFd<'_>,
        deadline: Duration,
    ) -> Result<(), Fault>;

    /// Gives the memory back. Who has it mapped keeps it, where it was exported by descriptor.
    fn release(&self, id: ResidentId);
}

/// How much of each device volumes may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBudget {
    /// Bytes.
    Bytes(u64),
    /// Percent of all its memory.
    Percent(u8),
}

impl MemoryBudget {
    /// The budget in bytes on a device.
    pub(super) fn bytes_of(self, memory: &dyn DeviceMemory) -> u64 {
        match self {
            MemoryBudget::Bytes(bytes) => bytes,
            MemoryBudget::Percent(percent) => {
                memory.memory_bytes().unwrap_or(0) / 100 * u64::from(percent)
            }
        }
    }
}
