//! Residents as the mount's process sees them: device memory that holds whole arrays and is given to
//! other processes.
//!
//! All of it goes over one line, one order at a time: who asks waits for its turn. Faults are those of
//! a lane, and end the process; what it held is gone with it, and its numbers mean nothing to the next.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ask::answer;
use super::{Fault, Shared};
use crate::decode::gpu::Outcome;
use crate::decode::gpu::memory::len_of;
use crate::decode::gpu::resident::{DirectJob, Exported, Handle, Piece, ResidentId};
use crate::decode::gpu::wire::store::{
    FILES_MAX, PIECES_MAX, RELEASES_MAX, StoreAnswer, StoreOrder, check_direct, check_pieces,
};
use crate::decode::gpu::wire::{self, JOBS_MAX};

/// How long a turn may take to come before memory is reserved.
const TURN_TIME: Duration = Duration::from_secs(60);

/// How long the device's process may take to reserve memory, which it fills with zeros, or to release.
const MEMORY_TIME: Duration = Duration::from_secs(60);

/// Why no memory was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// It would be more than the budget or the device has left: once others are released, and nobody
    /// has them mapped any more, there may be.
    #[error("the device has no memory left")]
    NoMemory,
    /// The device or the budget is smaller.
    #[error("larger than the device's memory or the budget")]
    TooLarge,
    /// The device shares no memory, and why.
    #[error("the device shares no memory: {0}")]
    CannotShare(String),
    /// It was not asked, or has failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The residents of a device. Kept over restarts of its process, which lose all that it holds.
#[derive(Clone)]
pub struct Residents(Arc<Line>);

struct Line {
    index: usize,
    shared: Arc<Shared>,
    own: Mutex<Own>,
    /// Somebody's turn is over.
    free: Condvar,
}

struct Own {
    /// It is somebody's turn.
    is_taken: bool,
    /// The last number given.
    number: u64,
    budget_bytes: u64,
    /// What is held, and how long it is.
    lens_bytes: HashMap<ResidentId, u64>,
    /// To be released by whose turn it is.
    released: Vec<ResidentId>,
}

/// A turn. When it is dropped, what others have released meanwhile is released, and it is the next
/// one's turn.
struct Turn<'a>(&'a Line);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        loop {
            {
                let mut own = self.0.lock();
                if own.released.is_empty() {
                    own.is_taken = false;
                    break;
                }
            }
            self.0.release_all();
        }
        self.0.free.notify_one();
    }
}

/// What was said of an order, with what, and by which process.
type Said = (StoreAnswer, Vec<OwnedFd>, u32);

impl Residents {
    pub(super) fn new(index: usize, shared: Arc<Shared>) -> Residents {
        let own = Own {
            is_taken: false,
            number: 0,
            budget_bytes: u64::MAX,
            lens_bytes: HashMap::new(),
            released: Vec::new(),
        };
        Residents(Arc::new(Line {
            index,
            shared,
            own: Mutex::new(own),
            free: Condvar::new(),
        }))
    }

    /// Sets what all residents, and the buffers of decoding beside them, may take of the device. As
    /// much as it has until this is called. What is reserved stays.
    pub fn set_budget_bytes(&self, budget_bytes: u64) {
        self.0.lock().budget_bytes = budget_bytes;
    }

    /// Reserves `len_bytes` > 0 of zeros, and says how other processes map them. The caller lets go of
    /// [`Exported::handle`] before it releases the memory.
    ///
    /// # Errors
    ///
    /// See [`ReserveError`].
    pub fn reserve(&self, len_bytes: u64) -> Result<(ResidentId, Exported), ReserveError> {
        if len_bytes == 0 {
            return Err(Fault::Refused("memory of no bytes").into());
        }
        let (number, budget_bytes) = {
            let mut own = self.0.lock();
            own.number += 1;
            (own.number, own.budget_bytes)
        };
        let order = StoreOrder::Reserve {
            number,
            len_bytes,
            budget_bytes,
        };
        let turn = self.0.turn(Instant::now() + TURN_TIME)?;
        let deadline = Instant::now() + MEMORY_TIME;
        let (said, fds, process) = self.0.ask(None, &order, &[], deadline)?;
        drop(turn);
        let (allocation_bytes, ipc) = match said {
            StoreAnswer::Reserved {
                allocation_bytes,
                ipc,
            } => (allocation_bytes, ipc),
            StoreAnswer::NoMemory => return Err(ReserveError::NoMemory),
            StoreAnswer::TooLarge => return Err(ReserveError::TooLarge),
            StoreAnswer::CannotShare(why) => {
                return Err(ReserveError::CannotShare(wire::clean(&why)));
            }
            other => return Err(self.0.amiss(process, other).into()),
        };
        let descriptor = <[OwnedFd; 1]>::try_from(fds);
        let handle = match (ipc.map(<[u8; 64]>::try_from), descriptor) {
            (None, Ok([fd])) => Handle::Descriptor(fd),
            (Some(Ok(handle)), Err(fds)) if fds.is_empty() => Handle::Ipc(handle),
            _ => return Err(self.0.lost(process, "it gave no handle").into()),
        };
        if allocation_bytes < len_bytes {
            return Err(self.0.lost(process, "it gave too little memory").into());
        }
        let report = self.0.shared.lock().report.clone();
        let id = ResidentId {
            ordinal: self.0.shared.ordinal,
            process,
            number,
        };
        self.0.lock().lens_bytes.insert(id, len_bytes);
        let exported = Exported {
            device_uuid: report.map(|report| report.uuid).unwrap_or_default(),
            len_bytes,
            allocation_bytes,
            handle,
        };
        Ok((id, exported))
    }

    /// False once the memory is gone: released, or with the process that held it.
    pub fn is_held(&self, id: ResidentId) -> bool {
        let present = self.0.shared.socket(self.0.index);
        present.is_ok_and(|(_, process)| process == id.process)
            && self.0.lock().lens_bytes.contains_key(&id)
    }

    /// Copies pieces of a slab's file of this length there.
    ///
    /// # Errors
    ///
    /// See [`Fault`]; with one, the resident holds anything.
    pub fn upload(
        &self,
        id: ResidentId,
        slab: BorrowedFd<'_>,
        slab_len_bytes: u64,
        pieces: &[Piece],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let order = |number, pieces| StoreOrder::Upload { number, pieces };
        self.copy(id, pieces, (slab, slab_len_bytes), true, order, deadline)
    }

    /// Copies pieces into a file, which is as long as it has to be.
    ///
    /// # Errors
    ///
    /// See [`Fault`]; with one, the file holds anything there.
    pub fn download(
        &self,
        id: ResidentId,
        pieces: &[Piece],
        into: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let len_bytes = len_of(into).map_err(|_| Fault::Refused("a file without a length"))?;
        let order = |number, pieces| StoreOrder::Download { number, pieces };
        self.copy(id, pieces, (into, len_bytes), false, order, deadline)
    }

    fn copy(
        &self,
        id: ResidentId,
        pieces: &[Piece],
        (file, file_len_bytes): (BorrowedFd<'_>, u64),
        up: bool,
        order: impl Fn(u64, Vec<Piece>) -> StoreOrder,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let len_bytes = self.0.len_bytes(id)?;
        for some in pieces.chunks(PIECES_MAX) {
            check_pieces(some, file_len_bytes, len_bytes, up).map_err(Fault::Refused)?;
        }
        for some in pieces.chunks(PIECES_MAX) {
            let order = order(id.number, some.to_vec());
            let turn = self.0.turn(deadline)?;
            let (said, _, process) = self.0.ask(Some(id), &order, &[file], deadline)?;
            drop(turn);
            if said != StoreAnswer::Done {
                return Err(self.0.amiss(process, said));
            }
        }
        Ok(())
    }

    /// Has the device's process read uncompressed frames from their files, and shows them in the
    /// resident: how each went, in order. Any number of files and frames.
    ///
    /// # Errors
    ///
    /// See [`Fault`]; with one, nothing is known of any output.
    pub fn direct(
        &self,
        id: ResidentId,
        files: &[BorrowedFd<'_>],
        jobs: &[DirectJob],
        deadline: Instant,
    ) -> Result<Vec<Outcome>, Fault> {
        let len_bytes = self.0.len_bytes(id)?;
        let orders = in_orders(files, jobs).ok_or(Fault::Refused("no such file"))?;
        for (files, jobs) in &orders {
            check_direct(jobs, files.len(), len_bytes).map_err(Fault::Refused)?;
        }
        let mut outcomes = Vec::with_capacity(jobs.len());
        for (files, jobs) in orders {
            let count = jobs.len();
            let number = id.number;
            let order = StoreOrder::Direct { number, jobs };
            let turn = self.0.turn(deadline)?;
            let (said, _, process) = self.0.ask(Some(id), &order, &files, deadline)?;
            drop(turn);
            match said {
                StoreAnswer::Outcomes(some) if some.len() == count => {
                    outcomes.extend(some.into_iter().map(wire::clean_outcome));
                }
                other => return Err(self.0.amiss(process, other)),
            }
        }
        Ok(outcomes)
    }

    /// Gives the memory back. Who has it mapped by a descriptor keeps it. Does not wait if others are
    /// at work: it is done after their turn.
    pub fn release(&self, id: ResidentId) {
        {
            let mut own = self.0.lock();
            if own.lens_bytes.remove(&id).is_none() {
                return;
            }
            own.released.push(id);
            if own.is_taken {
                return;
            }
            own.is_taken = true;
        }
        drop(Turn(&self.0));
    }
}

/// The jobs in orders that hold no more files and jobs than may be, files counted within each; `None`
/// if there is no such file.
fn in_orders<'a>(
    files: &[BorrowedFd<'a>],
    jobs: &[DirectJob],
) -> Option<Vec<(Vec<BorrowedFd<'a>>, Vec<DirectJob>)>> {
    let mut orders: Vec<(Vec<BorrowedFd<'a>>, Vec<DirectJob>)> = Vec::new();
    let mut known: HashMap<u32, u32> = HashMap::new();
    for job in jobs {
        let file = *files.get(job.file as usize)?;
        let is_full = orders.last().is_none_or(|(files, jobs)| {
            jobs.len() == JOBS_MAX || (files.len() == FILES_MAX && !known.contains_key(&job.file))
        });
        if is_full {
            orders.push(Default::default());
            known.clear();
        }
        let (files, jobs) = orders.last_mut()?;
        let place = *known.entry(job.file).or_insert_with(|| {
            files.push(file);
            files.len() as u32 - 1
        });
        let mut job = job.clone();
        job.file = place;
        // Where it begins in the file is said beside.
        job.job.encoded = 0..job.job.encoded.end.saturating_sub(job.job.encoded.start);
        jobs.push(job);
    }
    Some(orders)
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Own> {
        // Every change is one assignment or a few that cannot panic.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    fn turn(&self, deadline: Instant) -> Result<Turn<'_>, Fault> {
        let mut own = self.lock();
        while own.is_taken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Refused("its time was over before its turn came"));
            }
            let waited = self.free.wait_timeout(own, left);
            own = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        own.is_taken = true;
        Ok(Turn(self))
    }

    /// Tells the process what is released; in a turn.
    fn release_all(&self) {
        loop {
            let Ok((_, process)) = self.shared.socket(self.index) else {
                // All of it is gone, or about to go, with its process.
                self.lock().released.clear();
                return;
            };
            let numbers: Vec<u64> = {
                let mut own = self.lock();
                let count = own.released.len().min(RELEASES_MAX);
                let some = own.released.drain(..count);
                let there = some.filter(|id| id.process == process);
                let numbers = there.map(|id| id.number).collect();
                if count == 0 {
                    return;
                }
                numbers
            };
            let order = StoreOrder::Release { numbers };
            let deadline = Instant::now() + MEMORY_TIME;
            match self.ask(None, &order, &[], deadline) {
                Ok((StoreAnswer::Done, ..)) => {}
                Ok((other, _, process)) => {
                    self.amiss(process, other);
                }
                // The keeper says it.
                Err(fault) => tracing::debug!(%fault, "residents are not released"),
            }
        }
    }

    /// The length of a resident that is held.
    fn len_bytes(&self, id: ResidentId) -> Result<u64, Fault> {
        let len_bytes = self.lock().lens_bytes.get(&id).copied();
        len_bytes.ok_or(Fault::Refused("no such resident"))
    }

    /// Says an order to the process that holds `id`, or to the present one, and hears the answer.
    fn ask(
        &self,
        id: Option<ResidentId>,
        order: &StoreOrder,
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<Said, Fault> {
        let gone = || Fault::Lost("its process has ended, and all that it held is gone".into());
        let (socket, process) = match (self.shared.socket(self.index), id) {
            (Ok((_, process)), Some(id)) if process != id.process => return Err(gone()),
            (Err(_), Some(_)) => return Err(gone()),
            (Err(fault), None) => return Err(fault),
            (Ok(present), _) => present,
        };
        if deadline <= Instant::now() {
            return Err(Fault::Refused("its time was over before it was asked"));
        }
        let said = wire::tell(socket.as_fd(), order, fds)
            .map_err(|error| format!("it takes no order: {error}"))
            .and_then(|()| answer(&socket, "an order for residents", deadline));
        match said {
            Ok((StoreAnswer::Lost(why), _)) => Err(self.shared.fault(process, wire::clean(&why))),
            Ok((said, fds)) => Ok((said, fds, process)),
            Err(why) => Err(self.shared.fault(process, why)),
        }
    }

    /// An answer that is not what was hoped for.
    fn amiss(&self, process: u32, said: StoreAnswer) -> Fault {
        match said {
            StoreAnswer::Refused(why) => Fault::Failed(wire::clean(&why)),
            _ => self.lost(process, "it answered what was not asked"),
        }
    }

    fn lost(&self, process: u32, why: &str) -> Fault {
        self.shared.fault(process, why.to_string())
    }
}

#[cfg(test)]
mod tests;
