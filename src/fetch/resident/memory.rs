//! What a device offers to hold whole volumes: memory that is reserved, filled and exported.
//!
//! How a device does it is behind [`DeviceMemory`]; a test has one in its own process. Knows nothing of
//! volumes, users or budgets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::decode::gpu::{Fault, Job, Outcome};
use crate::fetch::{Error, Readiness};

/// A piece of device memory, by the device's own number of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(pub u64);

/// What another process needs to map a piece of device memory.
#[derive(Debug)]
pub struct Exported {
    /// `GPU-` and a UUID, as nvidia-smi writes it.
    pub device_uuid: String,
    /// What it takes of the device, bytes: at least what was asked for.
    pub allocation_bytes: u64,
    /// How it is opened.
    pub handle: Handle,
}

/// How another process opens a piece of device memory.
#[derive(Debug)]
pub enum Handle {
    /// An allocation of the driver's virtual memory management, as a file descriptor
    /// (`cuMemExportToShareableHandle`): lives as long as somebody has it mapped.
    Descriptor(OwnedFd),
    /// A CUDA IPC handle (`cuIpcGetMemHandle`): the memory must not be freed while somebody uses it.
    Ipc([u8; 64]),
}

/// Why memory could not be reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// Not as much is free now.
    #[error("the device has no memory left")]
    NoMemory,
    /// More than the device ever has.
    #[error("larger than the device's memory")]
    TooLarge,
    /// The device is not to be used now, or cannot export.
    #[error("{0}")]
    Unusable(String),
}

/// Bytes of a file that belong at a place of device memory, or come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where they lie in the file.
    pub file_offset_bytes: u64,
    /// Where they lie in the device memory.
    pub offset_bytes: u64,
    /// How many.
    pub len_bytes: u64,
}

/// A frame that the device reads from its file by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectJob {
    /// Which of the files.
    pub file: usize,
    /// Where the frame starts in it.
    pub file_offset_bytes: u64,
    /// What is to be made of it; `encoded` is 0 and its length, `out` lies in the device memory.
    pub job: Job,
}

/// A frame of a volume that lies in its file just as a device can read it.
pub struct DirectFrame<'p> {
    /// Its file, opened and found to be the one that was indexed; frames of one file may share it.
    pub file: Arc<dyn AsFd + Send + Sync>,
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

    /// Reserves memory and exports it.
    ///
    /// # Errors
    /// [`ReserveError`].
    fn reserve(&self, len_bytes: u64) -> Result<(Place, Exported), ReserveError>;

    /// False once the memory is gone, with the process that held it for example.
    fn is_held(&self, place: Place) -> bool;

    /// Copies pieces of a slab's file there. Returns when that is done.
    ///
    /// # Errors
    /// [`Fault`]: then the memory holds anything.
    fn upload(
        &self,
        place: Place,
        slab: BorrowedFd<'_>,
        slab_len_bytes: u64,
        pieces: &[Piece],
        deadline: Duration,
    ) -> Result<(), Fault>;

    /// Has the device read frames from their files and make what is shown of them.
    ///
    /// # Errors
    /// As of [`DeviceMemory::upload`]. Of what is not [`Outcome::Done`] the place holds anything.
    fn direct(
        &self,
        place: Place,
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
        place: Place,
        pieces: &[Piece],
        into: BorrowedFd<'_>,
        deadline: Duration,
    ) -> Result<(), Fault>;

    /// Gives the memory back. Who has it mapped keeps it, where it was exported by descriptor.
    fn release(&self, place: Place);
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
