//! What lanes and residents have in common: a line to the device's process, an answer on it, and what
//! becomes of a process that has failed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::{Fault, Inner, Shared, State};
use crate::decode::gpu::wire;
use crate::ipc::process::wait_readable;

/// What the keeper may take beyond the time of reaping, before it is given up.
const KEEPER_TIME: Duration = Duration::from_secs(5);

impl Shared {
    /// A line to the present process, and which one that is.
    pub(super) fn socket(&self, index: usize) -> Result<(Arc<OwnedFd>, u32), Fault> {
        let inner = self.lock();
        match inner.sockets.get(index) {
            Some(socket) if inner.state == State::Ready && inner.failed.is_none() => {
                Ok((Arc::clone(socket), inner.starts))
            }
            _ => Err(Fault::NotReady(inner.state.clone())),
        }
    }

    /// Has the keeper end the process, and waits until that is done.
    pub(super) fn fault(&self, process: u32, why: String) -> Fault {
        self.change(|inner| {
            // It may be another one by now.
            if inner.starts == process && inner.gone < process {
                inner.failed.get_or_insert_with(|| why.clone());
                inner.pause();
            }
        });
        self.wake();
        let limit = self.limits.reap + KEEPER_TIME;
        let ended = |inner: &Inner| {
            let is_gone = inner.gone >= process;
            (is_gone || inner.is_stuck).then_some(is_gone)
        };
        match self.wait(Some(Instant::now() + limit), ended) {
            Some(true) => Fault::Lost(why),
            _ => Fault::Stuck(why),
        }
    }
}

/// Waits for an answer to `what`, with the descriptors that come with it.
pub(super) fn answer<T: DeserializeOwned>(
    socket: &OwnedFd,
    what: &str,
    deadline: Instant,
) -> Result<(T, Vec<OwnedFd>), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match wait_readable([socket.as_fd()], Some(left)) {
            Ok([true]) => break,
            Ok([false]) if left.is_zero() => return Err(format!("{what} took too long")),
            Ok([false]) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    match wire::hear(socket.as_fd()) {
        Ok(Some(heard)) => Ok(heard),
        Ok(None) => Err(format!("it died with {what}")),
        Err(error) => Err(error.to_string()),
    }
}
