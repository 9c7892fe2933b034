//! A GPU of this machine as a [`DeviceMemory`]: the line for residents to the process that has it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DeviceMemory;
use crate::decode::gpu::{
    DirectJob, Exported, Fault, Outcome, Piece, Pool, Remote, ReserveError, ResidentId, Residents,
};
use crate::fetch::Readiness;

/// What copies and decoding may take of the device beside the volumes, bytes. If they take more, it is the
/// volumes' room that they take.
const BUFFERS_BYTES: u64 = 512 << 20;

/// The memory of one of the GPUs of a mount.
pub struct GpuMemory {
    pool: Arc<Pool>,
    remote: Arc<Remote>,
    residents: Residents,
}

impl GpuMemory {
    /// That of each device of a pool.
    pub fn all(pool: &Arc<Pool>) -> Vec<Arc<dyn DeviceMemory>> {
        let memory = |remote: &Arc<Remote>| {
            let memory = GpuMemory {
                pool: pool.clone(),
                remote: remote.clone(),
                residents: remote.residents(),
            };
            Arc::new(memory) as Arc<dyn DeviceMemory>
        };
        pool.devices().iter().map(memory).collect()
    }
}

impl DeviceMemory for GpuMemory {
    fn ordinal(&self) -> u32 {
        self.remote.ordinal()
    }

    fn readiness(&self) -> Readiness {
        Readiness::of(&self.remote.state())
    }

    fn prefers(&self, volume: &str) -> bool {
        let chosen = self.pool.choose(volume.as_bytes());
        chosen.is_some_and(|chosen| Arc::ptr_eq(chosen, &self.remote))
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.remote.report()?.memory_bytes)
    }

    fn reserve(
        &self,
        len_bytes: u64,
        budget_bytes: u64,
    ) -> Result<(ResidentId, Exported), ReserveError> {
        let all_bytes = budget_bytes.saturating_add(BUFFERS_BYTES);
        self.residents.set_budget_bytes(all_bytes);
        self.residents.reserve(len_bytes)
    }

    fn is_held(&self, id: ResidentId) -> bool {
        self.residents.is_held(id)
    }

    fn upload(
        &self,
        id: ResidentId,
        slab: BorrowedFd<'_>,
        slab_len_bytes: u64,
        pieces: &[Piece],
        deadline: Duration,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + deadline;
        self.residents
            .upload(id, slab, slab_len_bytes, pieces, deadline)
    }

    fn direct(
        &self,
        id: ResidentId,
        files: &[BorrowedFd<'_>],
        jobs: &[DirectJob],
        deadline: Duration,
    ) -> Result<Vec<Outcome>, Fault> {
        let deadline = Instant::now() + deadline;
        self.residents.direct(id, files, jobs, deadline)
    }

    fn download(
        &self,
        id: ResidentId,
        pieces: &[Piece],
        into: BorrowedFd<'_>,
        deadline: Duration,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + deadline;
        self.residents.download(id, pieces, into, deadline)
    }

    fn release(&self, id: ResidentId) {
        self.residents.release(id);
    }
}
