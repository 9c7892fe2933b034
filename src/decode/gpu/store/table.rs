//! Which residents there are and what device memory is taken: one for all threads of a process.
//!
//! No lock is held while anything is copied: who uses a resident holds it, and it is freed when the
//! last one lets go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::decode::gpu::driver::DeviceMemory;

/// Device memory that holds an array.
#[derive(Debug)]
pub struct Resident {
    // Freed before it is accounted for as free.
    memory: DeviceMemory,
    len_bytes: u64,
    _account: Taken,
}

impl Resident {
    /// The memory, which may be longer than the array.
    pub(in crate::decode::gpu) fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// Length of the array, bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// Bytes that are taken as long as this lives.
#[derive(Debug)]
struct Taken {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

/// All residents of a process, by number.
#[derive(Debug, Default)]
pub struct Table {
    residents: Mutex<HashMap<u64, Arc<Resident>>>,
    /// Of residents and of buffers, bytes.
    taken: Arc<AtomicU64>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Resident>>> {
        // Every change is one call of the map.
        self.residents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The resident with this number, to be used as long as it is held.
    pub fn get(&self, number: u64) -> Option<Arc<Resident>> {
        self.lock().get(&number).cloned()
    }

    /// Takes up memory under a number that is new.
    pub(super) fn insert(&self, number: u64, memory: DeviceMemory, len_bytes: u64) {
        let bytes = memory.len() as u64;
        self.taken.fetch_add(bytes, Relaxed);
        let resident = Resident {
            memory,
            len_bytes,
            _account: Taken {
                all: Arc::clone(&self.taken),
                bytes,
            },
        };
        self.lock().insert(number, Arc::new(resident));
    }

    /// Forgets a resident. Its memory is freed when nobody uses it any more.
    pub(super) fn remove(&self, number: u64) {
        let removed = self.lock().remove(&number);
        // Without the lock.
        drop(removed);
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        let removed = std::mem::take(&mut *self.lock());
        drop(removed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Device memory that residents and buffers take, bytes: also of those that are forgotten and not
    /// yet freed.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

/// What the buffers of one user of the device take.
#[derive(Debug)]
pub struct Account(Taken);

impl Account {
    /// Of one that takes nothing yet.
    pub fn new(table: &Table) -> Account {
        Account(Taken {
            all: Arc::clone(&table.taken),
            bytes: 0,
        })
    }

    /// Says what it takes now, bytes.
    pub fn set(&mut self, bytes: u64) {
        self.0.all.fetch_add(bytes, Relaxed);
        self.0.all.fetch_sub(self.0.bytes, Relaxed);
        self.0.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_buffers_take_is_counted_until_they_are_gone() {
        let table = Table::default();
        let (mut one, mut other) = (Account::new(&table), Account::new(&table));
        one.set(100);
        other.set(10);
        assert_eq!(table.taken_bytes(), 110);
        one.set(30);
        assert_eq!(table.taken_bytes(), 40);
        drop(other);
        assert_eq!(table.taken_bytes(), 30);
        one.set(0);
        assert_eq!(table.taken_bytes(), 0);
        assert!(table.is_empty() && table.get(1).is_none());
    }
}
