//! The account of what is resident: for whom, by which lease, and what goes when room is needed.
//!
//! Pure bookkeeping under one lock of its user's. Asks no device and calls nobody: what is to be
//! answered, or given back to a device, is handed out to be done without the lock.

use std::collections::HashMap;
use std::sync::Arc;

use super::Resident;
use crate::cache::SlabKey;
use crate::fetch::Error;

/// Who waits for a residence.
pub(super) type Waiter = Box<dyn FnOnce(Result<Arc<Resident>, Error>) + Send>;

/// What a residence is of. Memory that is exported can be written to by who has it, so users do not
/// share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) slab: SlabKey,
    pub(super) uid: u32,
}

/// Proof of a lease to whoever is shown it.
pub(super) type Secret = [u8; 16];

enum State {
    /// With those who wait for its end.
    Filling(Vec<Waiter>),
    Resident(Arc<Resident>),
    Failed(Error),
}

struct Entry {
    key: Key,
    state: State,
    leases: usize,
    last_use: u64,
}

struct LeaseEntry {
    residence: u64,
    secret: Secret,
}

/// All residences and leases, by number.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<u64, Entry>,
    by_key: HashMap<Key, u64>,
    leases: HashMap<u64, LeaseEntry>,
    /// Taken of each device, bytes: what is reserved, and what is about to be.
    used_bytes: HashMap<usize, u64>,
    /// The last number given, and the time of uses.
    clock: u64,
}

/// What is known of a lease.
pub(super) enum Standing {
    Filling,
    Resident(Arc<Resident>),
    Failed(Error),
}

/// Counts for the statistics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) count: usize,
    pub(super) leased: usize,
    pub(super) bytes: u64,
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The residence of a key that is there or being made, with its number.
    pub(super) fn find(&self, key: &Key) -> Option<(u64, Option<Arc<Resident>>)> {
        let number = *self.by_key.get(key)?;
        let resident = match &self.entries.get(&number)?.state {
            State::Resident(resident) => Some(resident.clone()),
            _ => None,
        };
        Some((number, resident))
    }

    /// A lease of the residence of a key: its number, and the residence's if it is new and has to be
    /// filled.
    pub(super) fn lease(&mut self, key: &Key, secret: Secret) -> (u64, Option<u64>) {
        let known = self.by_key.get(key).copied();
        let residence = known.unwrap_or_else(|| {
            let number = self.tick();
            let entry = Entry {
                key: key.clone(),
                state: State::Filling(Vec::new()),
                leases: 0,
                last_use: number,
            };
            self.entries.insert(number, entry);
            self.by_key.insert(key.clone(), number);
            number
        });
        if let Some(entry) = self.entries.get_mut(&residence) {
            entry.leases += 1;
        }
        let lease = self.tick();
        self.leases.insert(lease, LeaseEntry { residence, secret });
        let is_new = known.is_none();
        (lease, is_new.then_some(residence))
    }

    /// Ends a lease. What nobody has any more stays until room is needed.
    pub(super) fn release(&mut self, lease: u64) {
        let now = self.tick();
        let Some(lease) = self.leases.remove(&lease) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&lease.residence) else {
            return;
        };
        entry.leases -= 1;
        entry.last_use = now;
        if entry.leases == 0 && matches!(entry.state, State::Failed(_)) {
            self.entries.remove(&lease.residence);
        }
    }

    /// How it stands with a lease; with `waiter` given and the residence still being filled, that is
    /// kept.
    pub(super) fn standing(&mut self, lease: u64, waiter: &mut Option<Waiter>) -> Option<Standing> {
        let residence = self.leases.get(&lease)?.residence;
        Some(match &mut self.entries.get_mut(&residence)?.state {
            State::Filling(waiters) => {
                waiters.extend(waiter.take());
                Standing::Filling
            }
            State::Resident(resident) => Standing::Resident(resident.clone()),
            State::Failed(error) => Standing::Failed(error.clone()),
        })
    }

    /// What a lease with this secret stands for, and whose it is.
    pub(super) fn shown(&self, lease: u64, secret: &Secret) -> Option<(Arc<Resident>, u32)> {
        let lease = self.leases.get(&lease)?;
        if !is_same(&lease.secret, secret) {
            return None;
        }
        let entry = self.entries.get(&lease.residence)?;
        match &entry.state {
            State::Resident(resident) => Some((resident.clone(), entry.key.uid)),
            _ => None,
        }
    }

    /// True as long as somebody has a residence that is being filled.
    pub(super) fn is_wanted(&self, residence: u64) -> bool {
        let entry = self.entries.get(&residence);
        entry.is_some_and(|entry| entry.leases > 0 && matches!(entry.state, State::Filling(_)))
    }

    /// Ends the filling of a residence that nobody has: who is to be told, where somebody waits whose
    /// lease is gone. `None` if somebody has it after all.
    pub(super) fn abandon(&mut self, residence: u64) -> Option<Vec<Waiter>> {
        if self.is_wanted(residence) {
            return None;
        }
        let entry = self.entries.get_mut(&residence);
        let waiters = match entry.map(|entry| &mut entry.state) {
            Some(State::Filling(waiters)) => std::mem::take(waiters),
            _ => return Some(Vec::new()),
        };
        self.remove(residence);
        Some(waiters)
    }

    /// Ends the filling of a residence: whom to tell. `None` where it had ended before, and then the
    /// outcome is nobody's.
    pub(super) fn settle(
        &mut self,
        residence: u64,
        outcome: &Result<Arc<Resident>, Error>,
    ) -> Option<Vec<Waiter>> {
        let entry = self.entries.get_mut(&residence)?;
        let State::Filling(waiters) = &mut entry.state else {
            return None;
        };
        let waiters = std::mem::take(waiters);
        entry.state = match outcome {
            Ok(resident) => State::Resident(resident.clone()),
            Err(error) => State::Failed(error.clone()),
        };
        if outcome.is_err() {
            self.detach(residence);
        }
        Some(waiters)
    }

    /// The memory of a residence is gone: who has a lease is told so when he asks.
    pub(super) fn lose(&mut self, residence: u64, error: Error) -> Option<Arc<Resident>> {
        let entry = self.entries.get_mut(&residence)?;
        let State::Resident(resident) = &entry.state else {
            return None;
        };
        let resident = resident.clone();
        entry.state = State::Failed(error);
        self.uncharge(resident.memory, resident.exported.allocation_bytes);
        self.detach(residence);
        Some(resident)
    }

    /// No key leads to it any more; without a lease it is gone.
    fn detach(&mut self, residence: u64) {
        let Some(entry) = self.entries.get(&residence) else {
            return;
        };
        if self.by_key.get(&entry.key) == Some(&residence) {
            self.by_key.remove(&entry.key);
        }
        if entry.leases == 0 {
            self.entries.remove(&residence);
        }
    }

    fn remove(&mut self, residence: u64) -> Option<Entry> {
        let entry = self.entries.remove(&residence)?;
        if self.by_key.get(&entry.key) == Some(&residence) {
            self.by_key.remove(&entry.key);
        }
        Some(entry)
    }

    /// All that is resident, by number.
    pub(super) fn residents(&self) -> Vec<(u64, Arc<Resident>)> {
        let residents = self.entries.iter();
        let residents = residents.filter_map(|(number, entry)| match &entry.state {
            State::Resident(resident) => Some((*number, resident.clone())),
            _ => None,
        });
        residents.collect()
    }

    /// All that are being filled.
    pub(super) fn filling(&self) -> Vec<u64> {
        let entries = self.entries.iter();
        let filling = entries.filter(|(_, entry)| matches!(entry.state, State::Filling(_)));
        filling.map(|(number, _)| *number).collect()
    }

    /// Counts `bytes` more of a device if its budget then holds, with what has to go for that: what
    /// nobody has, least recently used first. `None`, and nothing goes, where that does not suffice.
    pub(super) fn charge(
        &mut self,
        memory: usize,
        bytes: u64,
        budget_bytes: u64,
    ) -> Option<Vec<Arc<Resident>>> {
        let idle_bytes: u64 = self
            .idle(memory)
            .map(|(_, resident)| resident.exported.allocation_bytes)
            .sum();
        let used = self.used_bytes(memory);
        if (used - idle_bytes.min(used)).saturating_add(bytes) > budget_bytes {
            return None;
        }
        let mut victims = Vec::new();
        while self.used_bytes(memory).saturating_add(bytes) > budget_bytes {
            victims.push(self.evict(memory)?);
        }
        *self.used_bytes.entry(memory).or_default() += bytes;
        Some(victims)
    }

    /// Counts less of a device.
    pub(super) fn uncharge(&mut self, memory: usize, bytes: u64) {
        let used = self.used_bytes.entry(memory).or_default();
        *used = used.saturating_sub(bytes);
    }

    /// Takes out what nobody has and was not used for longest, on a device.
    pub(super) fn evict(&mut self, memory: usize) -> Option<Arc<Resident>> {
        let (number, _) = self.idle(memory).min_by_key(|(number, _)| {
            let entry = self.entries.get(number);
            entry.map_or(0, |entry| entry.last_use)
        })?;
        self.evict_this(number)
    }

    /// Takes out a residence, if nobody has it.
    pub(super) fn evict_this(&mut self, residence: u64) -> Option<Arc<Resident>> {
        self.entries.get(&residence).filter(|e| e.leases == 0)?;
        let State::Resident(resident) = self.remove(residence)?.state else {
            return None;
        };
        self.uncharge(resident.memory, resident.exported.allocation_bytes);
        Some(resident)
    }

    fn idle(&self, memory: usize) -> impl Iterator<Item = (u64, &Resident)> {
        self.entries
            .iter()
            .filter_map(move |(number, entry)| match &entry.state {
                State::Resident(resident) if entry.leases == 0 && resident.memory == memory => {
                    Some((*number, &**resident))
                }
                _ => None,
            })
    }

    fn used_bytes(&self, memory: usize) -> u64 {
        self.used_bytes.get(&memory).copied().unwrap_or(0)
    }

    pub(super) fn census(&self) -> Census {
        let leased = self.entries.values().filter(|entry| entry.leases > 0);
        Census {
            count: self.residents().len(),
            leased: leased.count(),
            bytes: self.used_bytes.values().sum(),
        }
    }
}

/// Compares without telling by the time it takes where the first difference is.
fn is_same(a: &Secret, b: &Secret) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}
