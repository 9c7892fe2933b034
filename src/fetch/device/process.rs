//! A GPU of this machine as a [`Device`]: a process of its own, told what to do over its lanes.
//!
//! Turns what [`crate::decode::gpu`] says of that process into what the lanes' threads ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Device, Lane, Readiness};
use crate::decode::gpu::{self, Codec, Fault, Outcome, Part, Pool, Refusal, Remote, Spent, State};

/// One of the GPUs of a mount.
pub struct Gpu {
    pool: Arc<Pool>,
    remote: Arc<Remote>,
    /// Until they are handed out.
    lanes: Mutex<Vec<gpu::Lane>>,
}

impl Gpu {
    /// The devices of a pool, each with its lanes.
    pub fn all(pool: &Arc<Pool>, lanes: Vec<Vec<gpu::Lane>>) -> Vec<Arc<dyn Device>> {
        let remotes = pool.devices().iter().cloned();
        let device = |(remote, lanes)| {
            let (pool, lanes) = (pool.clone(), Mutex::new(lanes));
            let gpu = Gpu {
                pool,
                remote,
                lanes,
            };
            Arc::new(gpu) as Arc<dyn Device>
        };
        remotes.zip(lanes).map(device).collect()
    }
}

impl Readiness {
    /// Where a device's process stands, for who asks something of it.
    pub(in crate::fetch) fn of(state: &State) -> Readiness {
        match state {
            State::Ready => Readiness::Ready,
            State::Starting | State::Resting(_) => Readiness::Resting,
            State::Retired(_) | State::Absent(_) => Readiness::Retired,
        }
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        format!("cuda:{}", self.remote.ordinal())
    }

    fn ordinal(&self) -> Option<u32> {
        Some(self.remote.ordinal())
    }

    /// No lanes where it is absent: the pool has said so to who asked for it.
    fn start(&self) -> Result<Vec<Box<dyn Lane>>, String> {
        if self.remote.wait_settled(None).is_final() {
            return Ok(Vec::new());
        }
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = std::mem::take(&mut *lanes).into_iter();
        Ok(lanes.map(|lane| Box::new(lane) as Box<dyn Lane>).collect())
    }

    fn readiness(&self) -> Readiness {
        Readiness::of(&self.remote.state())
    }

    fn state(&self) -> String {
        let state = self.remote.state();
        match self.remote.report() {
            Some(report) => format!("{state} ({})", report.name),
            None => state.to_string(),
        }
    }

    fn serves(&self, codec: Codec) -> Result<(), Refusal> {
        match self.remote.report() {
            Some(report) => report.can(codec).map_err(|_| Refusal::NoLibrary),
            None => Ok(()),
        }
    }

    fn prefers(&self, volume: &str) -> bool {
        let chosen = self.pool.choose(volume.as_bytes());
        chosen.is_some_and(|chosen| Arc::ptr_eq(chosen, &self.remote))
    }

    fn stop(&self) {
        self.remote.retire("unmounted");
    }
}

impl Lane for gpu::Lane {
    fn encoded(&mut self) -> &mut [u8] {
        gpu::Lane::encoded(self)
    }

    fn run(
        &mut self,
        parts: &[Part<'_>],
        deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        gpu::Lane::run(self, parts, Instant::now() + deadline)
    }
}
