//! Residents of a device, in the process that has it: memory that holds whole arrays, is filled here,
//! and is mapped by other processes.
//!
//! | file | what |
//! |---|---|
//! | `table.rs` | which there are, and what they take; shared with the engines |
//! | `stage.rs` | memory in which copies from and to files are put together, two pieces by turns |
//! | `copy.rs` | files to residents and back |
//! | `direct.rs` | uncompressed frames, read from their files and shown in a resident |
//!
//! Whatever an order says is checked against the memory and the files that are really there. What
//! cannot be done is an answer; only a device that is lost ends the process.
//!
//! Must not know what an array is of, or who maps it.

mod copy;
mod direct;
mod stage;
mod table;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub use self::direct::{DeviceFile, ReadToDevice};
use self::stage::{Failure, Stages};
pub use self::table::{Account, Resident, Table};
use super::driver::{Context, CudaError, DeviceMemory};
use super::kernels::Kernels;
use super::report::Export;
use super::resident::Handle;
use super::wire::store::{self, StoreAnswer, StoreOrder};
use super::worker::store::Keep;

/// Device memory that can be shared is given in multiples of this, bytes (every device that there is).
const GRAIN_BYTES: u64 = 2 << 20;

/// An answer, and a descriptor that goes with it.
type Said = (StoreAnswer, Option<OwnedFd>);

/// Keeps the residents of a device.
pub struct Store {
    // Dropped in this order: what uses the context, then that.
    stages: Stages,
    kernels: Option<Kernels>,
    reader: Option<Box<dyn ReadToDevice>>,
    account: Account,
    table: Arc<Table>,
    /// What works, as far as is known.
    export: Export,
    memory_bytes: u64,
    context: Arc<Context>,
}

impl Store {
    /// Of the device of this context; `table` is shared with its engines. Without a `reader` files are
    /// read into pinned memory.
    pub(super) fn new(
        context: &Arc<Context>,
        table: &Arc<Table>,
        export: Export,
        memory_bytes: u64,
        reader: Option<Box<dyn ReadToDevice>>,
    ) -> Result<Store, CudaError> {
        Ok(Store {
            stages: Stages::new(context)?,
            kernels: None,
            reader,
            account: Account::new(table),
            table: Arc::clone(table),
            export,
            memory_bytes,
            context: Arc::clone(context),
        })
    }

    fn reserve(&mut self, number: u64, len_bytes: u64, budget_bytes: u64) -> Result<Said, String> {
        let taken = self.table.taken_bytes();
        let most = budget_bytes.min(self.memory_bytes);
        let (Ok(len), Some(needed)) = (
            usize::try_from(len_bytes),
            len_bytes.checked_next_multiple_of(GRAIN_BYTES),
        ) else {
            return Ok((StoreAnswer::TooLarge, None));
        };
        if len == 0 || self.table.get(number).is_some() {
            return Ok(refused("not a new resident"));
        }
        if needed > most {
            return Ok((StoreAnswer::TooLarge, None));
        }
        if taken.saturating_add(needed) > budget_bytes {
            return Ok((StoreAnswer::NoMemory, None));
        }
        loop {
            let error = match self.allocate(len) {
                Ok((memory, handle)) => {
                    let allocation_bytes = memory.len() as u64;
                    self.table.insert(number, memory, len_bytes);
                    return Ok(reserved(allocation_bytes, handle));
                }
                Err(error) => error,
            };
            if error.is_out_of_memory() {
                return Ok((StoreAnswer::NoMemory, None));
            }
            if error.is_lost() {
                return Err(error.to_string());
            }
            tracing::debug!(%error, "device memory is not shared {}", self.export);
            self.export = match self.export {
                Export::Descriptor if error.is_denied() => Export::Ipc,
                _ => return Ok((StoreAnswer::CannotShare(error.to_string()), None)),
            };
        }
    }

    fn allocate(&self, len: usize) -> Result<(DeviceMemory, Handle), CudaError> {
        let stream = self.stages.stream();
        let memory = DeviceMemory::for_others(&self.context, len, self.export, stream)?;
        let handle = memory.export()?;
        Ok((memory, handle))
    }

    /// Pieces of a file, up or down.
    fn copy(
        &mut self,
        number: u64,
        pieces: &[super::resident::Piece],
        fds: &[OwnedFd],
        up: bool,
    ) -> Result<StoreAnswer, Failure> {
        let resident = self.resident(number)?;
        let [fd] = fds else {
            return Err(Failure::Words("one file was expected".into()));
        };
        let file = regular(fd)?;
        let len_bytes = file.metadata().map_err(words)?.len();
        store::check_pieces(pieces, len_bytes, resident.len_bytes(), up)?;
        let copied = match up {
            true => copy::upload(&mut self.stages, &resident, &file, pieces),
            false => copy::download(&mut self.stages, &resident, &file, pieces),
        };
        // Nothing of the resident is in use when it is let go.
        self.stages.finish().map_err(Failure::Call)?;
        copied.map(|()| StoreAnswer::Done)
    }

    fn direct(
        &mut self,
        number: u64,
        jobs: &[super::resident::DirectJob],
        fds: &[OwnedFd],
    ) -> Result<StoreAnswer, Failure> {
        let resident = self.resident(number)?;
        store::check_direct(jobs, fds.len(), resident.len_bytes())?;
        let kernels = match &self.kernels {
            Some(kernels) => kernels,
            None => self.kernels.insert(Kernels::load(&self.context)?),
        };
        let mut direct = direct::Direct {
            kernels,
            stages: &mut self.stages,
            reader: self.reader.as_deref(),
            resident: &resident,
        };
        let outcomes = direct.run(jobs, fds);
        self.stages.finish().map_err(Failure::Call)?;
        self.account.set(self.stages.device_bytes());
        outcomes.map(StoreAnswer::Outcomes)
    }

    fn resident(&self, number: u64) -> Result<Arc<Resident>, Failure> {
        let none = || Failure::Words("no such resident".into());
        self.table.get(number).ok_or_else(none)
    }

    fn release(&mut self, numbers: &[u64]) -> StoreAnswer {
        for number in numbers {
            self.table.remove(*number);
        }
        if self.table.is_empty() {
            self.stages.release();
            self.account.set(0);
        }
        StoreAnswer::Done
    }
}

impl Keep for Store {
    fn obey(&mut self, order: StoreOrder, fds: &[OwnedFd]) -> Result<Said, String> {
        let current = self.context.make_current();
        current.map_err(|error| error.to_string())?;
        let answer = match order {
            StoreOrder::Reserve {
                number,
                len_bytes,
                budget_bytes,
            } => return self.reserve(number, len_bytes, budget_bytes),
            StoreOrder::Upload { number, pieces } => self.copy(number, &pieces, fds, true),
            StoreOrder::Download { number, pieces } => self.copy(number, &pieces, fds, false),
            StoreOrder::Direct { number, jobs } => self.direct(number, &jobs, fds),
            StoreOrder::Release { numbers } => Ok(self.release(&numbers)),
        };
        match answer {
            Ok(answer) => Ok((answer, None)),
            Err(Failure::Call(error)) if error.is_lost() => Err(error.to_string()),
            Err(failure) => Ok(refused(&failure.to_string())),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.table.clear();
    }
}

fn refused(why: &str) -> Said {
    (StoreAnswer::Refused(why.to_string()), None)
}

fn reserved(allocation_bytes: u64, handle: Handle) -> Said {
    let (ipc, fd) = match handle {
        Handle::Descriptor(fd) => (None, Some(fd)),
        Handle::Ipc(handle) => (Some(handle.to_vec()), None),
    };
    let answer = StoreAnswer::Reserved {
        allocation_bytes,
        ipc,
    };
    (answer, fd)
}

/// A file that has a length and can be read anywhere.
fn regular(fd: &OwnedFd) -> Result<File, Failure> {
    let file = File::from(fd.try_clone().map_err(words)?);
    match file.metadata().map_err(words)?.is_file() {
        true => Ok(file),
        false => Err(Failure::Words("not a file".into())),
    }
}

/// What the system said: it names no file, which has none here.
fn words(error: std::io::Error) -> Failure {
    Failure::Words(error.to_string())
}
