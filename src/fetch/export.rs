//! What a [`Fetcher`] offers of volumes in device memory.

use std::io;
use std::sync::Arc;

use super::resident::Residences;
use super::{DeviceMemory, Error, Fetcher, Lease, MemoryBudget, ResidentStats, Stream};

impl Fetcher {
    /// Lets volumes be held by these devices, within a budget on each. To be called once, before the
    /// first [`Fetcher::lease`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn export_to(
        &self,
        memories: Vec<Arc<dyn DeviceMemory>>,
        budget: MemoryBudget,
    ) -> io::Result<()> {
        let made = Residences::new(memories, budget);
        if self.shared.residences.set(made.clone()).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        made.start(&self.shared)
    }

    /// Begins to bring a stream's volume to device memory for a user, unless it is there: a lease of it.
    /// Never waits.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no device holds volumes, [`Error::TooLarge`] for one that none can hold.
    pub fn lease(&self, stream: &Arc<Stream>, uid: u32) -> Result<Lease, Error> {
        match self.shared.residences.get() {
            Some(residences) => residences.lease(stream, uid),
            None => Err(Error::NoDevice("no GPU can be used".to_string())),
        }
    }

    /// How volumes in device memory do.
    pub fn resident_stats(&self) -> ResidentStats {
        let residences = self.shared.residences.get();
        residences.map_or_else(ResidentStats::default, |residences| residences.stats())
    }
}
