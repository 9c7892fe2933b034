//! The threads that fill residences: a device is chosen, room is made on it, the frames are brought
//! there (`fill.rs`), and who waits is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::fill::{Failure, Fill};
use super::{DeviceMemory, Order, Residences, Resident, no_device, too_large};
use crate::decode::gpu::{Exported, Handle, ReserveError, ResidentId};
use crate::fetch::{Error, Readiness, Shared};

/// How long a residence waits for a device that is being started.
const DEVICE_WAIT: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How often it is looked, while volumes are resident, whether their devices still have them.
const LOOK_FOR_LOST: Duration = Duration::from_secs(1);

/// Attempts of one residence: the device's process may fail under it once.
const ATTEMPTS_MAX: usize = 2;

/// Starts a thread that fills until the end.
pub(super) fn spawn(
    residences: &Arc<Residences>,
    shared: &Arc<Shared>,
    number: usize,
) -> io::Result<()> {
    /// Counts a thread as running.
    struct Running(Arc<Residences>);
    impl Drop for Running {
        fn drop(&mut self) {
            let mut running = self
                .0
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *running -= 1;
            drop(running);
            self.0.ended.notify_all();
        }
    }
    let mut running = residences
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *running += 1;
    drop(running);
    let counted = Running(residences.clone());
    let shared = shared.clone();
    let run = move || {
        let residences = &counted.0;
        while let Some(order) = residences.next_order() {
            let residence = order.residence;
            let done = catch_unwind(AssertUnwindSafe(|| residences.carry_out(&shared, order)));
            if done.is_err() {
                tracing::error!("filling a device's memory ended by a panic");
                let why = "filling the device's memory failed".to_string();
                residences.settle(residence, Err(Error::Malformed(why)));
            }
        }
    };
    let builder = thread::Builder::new().name(format!("fill-{number}"));
    builder.spawn(run).map(drop)
}

/// Memory that is reserved for a residence, and given back unless it is kept.
struct Reserved<'r> {
    residences: &'r Residences,
    memory: usize,
    id: ResidentId,
    /// Until it is kept.
    exported: Option<Exported>,
}

impl Reserved<'_> {
    fn keep(mut self) -> Option<Exported> {
        self.exported.take()
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(exported) = self.exported.take() {
            let bytes = exported.allocation_bytes;
            // Its descriptor first: the memory is taken as long as one is open.
            drop(exported);
            if let Some(memory) = self.residences.memories.get(self.memory) {
                memory.release(self.id);
            }
            self.residences.table().uncharge(self.memory, bytes);
        }
    }
}

impl Residences {
    /// Waits for something to do; `None` at the end. Meanwhile lets go of what went with a device's
    /// process: a descriptor keeps the memory taken, also on a device that is used no more.
    fn next_order(&self) -> Option<Order> {
        loop {
            let has_residents = !self.table().residents().is_empty();
            let mut orders = self.orders();
            if self.is_stopped() {
                return None;
            }
            if let Some(order) = orders.pop_front() {
                return Some(order);
            }
            if has_residents {
                drop(self.bell.wait_timeout(orders, LOOK_FOR_LOST));
                self.drop_lost();
            } else {
                drop(self.bell.wait(orders));
            }
        }
    }

    /// Takes out what its device does not have any more.
    fn drop_lost(&self) {
        let residents = self.table().residents();
        for (number, resident) in residents {
            self.is_held(number, &resident);
        }
    }

    fn carry_out(self: &Arc<Residences>, shared: &Arc<Shared>, order: Order) {
        let residence = order.residence;
        let mut attempts = 0;
        let outcome = loop {
            attempts += 1;
            match self.make(shared, &order) {
                Err(Failure::Lost(why)) if attempts < ATTEMPTS_MAX && !self.is_stopped() => {
                    tracing::warn!("a device was lost while it was filled: {why}; once more");
                }
                Err(Failure::Lost(why)) => break Err(Error::NoDevice(why)),
                Err(Failure::Error(error)) => break Err(error),
                Err(Failure::Unwanted) => {
                    let waiters = self.table().abandon(residence);
                    if let Some(waiters) = waiters {
                        for waiter in waiters {
                            waiter(Err(Error::ShuttingDown));
                        }
                        return;
                    }
                    // Somebody has opened it again meanwhile: he waits for it.
                    attempts = 0;
                }
                Ok(resident) => break Ok(Arc::new(resident)),
            }
        };
        self.settle(residence, outcome);
    }

    /// One attempt to make a volume resident.
    fn make(
        self: &Arc<Residences>,
        shared: &Arc<Shared>,
        order: &Order,
    ) -> Result<Resident, Failure> {
        let len_bytes = super::array_len_bytes(&order.stream);
        let index = self.choose(order)?;
        let memory = self.memories.get(index).ok_or_else(no_device)?;
        let reserved = self.reserve(index, &**memory, len_bytes)?;
        let needs_socket = reserved
            .exported
            .as_ref()
            .is_some_and(|exported| matches!(exported.handle, Handle::Descriptor(_)));
        if needs_socket {
            self.handout()
                .map_err(|error| Error::io("no socket to hand descriptors out by", &error))?;
        }
        let id = reserved.id;
        let mut fill = Fill::new(self, shared, memory, id, order.residence, &order.stream);
        let direct_frames = fill.run()?;
        let exported = reserved.keep().ok_or_else(no_device)?;
        Ok(Resident {
            memory: index,
            ordinal: memory.ordinal(),
            id,
            exported,
            direct_frames,
        })
    }

    /// The device for a volume: the one that its series is decoded on, or another one that is ready.
    /// Waits for one that is being started.
    fn choose(&self, order: &Order) -> Result<usize, Failure> {
        let deadline = Instant::now() + DEVICE_WAIT;
        let volume = order.stream.volume();
        loop {
            if !self.table().is_wanted(order.residence) {
                return Err(Failure::Unwanted);
            }
            let memories = || self.memories.iter().enumerate();
            let mut ready = memories().filter(|(_, m)| m.readiness() == Readiness::Ready);
            let first = ready.clone().next();
            let chosen = ready.find(|(_, memory)| memory.prefers(volume)).or(first);
            if let Some((index, _)) = chosen {
                return Ok(index);
            }
            let is_coming = memories().any(|(_, m)| m.readiness() == Readiness::Resting);
            if !is_coming || self.is_stopped() || Instant::now() >= deadline {
                return Err(no_device().into());
            }
            self.wait(Instant::now() + LOOK_AGAIN);
        }
    }

    /// Reserves memory, and drops what nobody has where there is no room.
    fn reserve(
        &self,
        index: usize,
        memory: &dyn DeviceMemory,
        len_bytes: u64,
    ) -> Result<Reserved<'_>, Failure> {
        let budget_bytes = self.budget.bytes_of(memory);
        if len_bytes > budget_bytes {
            return Err(too_large().into());
        }
        // What a process took with it holds no memory any more.
        self.drop_lost();
        self.charge(index, len_bytes, budget_bytes)?;
        let (id, exported) = loop {
            match memory.reserve(len_bytes, budget_bytes) {
                Ok(reserved) => break reserved,
                Err(refused) => {
                    let victim = match refused {
                        ReserveError::NoMemory => self.table().evict(index),
                        _ => None,
                    };
                    let Some(victim) = victim else {
                        self.table().uncharge(index, len_bytes);
                        return Err(refused.into());
                    };
                    self.drop_memory([victim]);
                }
            }
        };
        let more_bytes = exported.allocation_bytes.saturating_sub(len_bytes);
        let charged = self.charge(index, more_bytes, budget_bytes);
        if let Err(refused) = charged {
            self.table().uncharge(index, len_bytes);
            let never = exported.allocation_bytes > budget_bytes;
            drop(exported);
            memory.release(id);
            return Err(if never { too_large().into() } else { refused });
        }
        Ok(Reserved {
            residences: self,
            memory: index,
            id,
            exported: Some(exported),
        })
    }

    fn charge(&self, index: usize, bytes: u64, budget_bytes: u64) -> Result<(), Failure> {
        let victims = self.table().charge(index, bytes, budget_bytes);
        match victims {
            Some(victims) => {
                self.drop_memory(victims);
                Ok(())
            }
            None => Err(Failure::Error(no_room())),
        }
    }
}

fn no_room() -> Error {
    Error::NoRoom("all of device_cache_size is in use".to_string())
}

impl From<ReserveError> for Failure {
    fn from(refused: ReserveError) -> Failure {
        Failure::Error(match &refused {
            ReserveError::NoMemory => no_room(),
            ReserveError::TooLarge => too_large(),
            ReserveError::CannotShare(_) => Error::NoDevice(refused.to_string()),
            ReserveError::Fault(fault) => return Failure::Lost(fault.to_string()),
        })
    }
}
