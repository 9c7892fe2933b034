//! A lane: memory for the encoded frames of one batch, and the way to have it decoded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::{Inner, Shared, State};
use crate::decode::gpu::wire::{self, Answer, Order};
use crate::decode::gpu::{Job, Outcome, memory};
use crate::ipc::process::wait_readable;

/// What the keeper may take beyond the time of reaping, before it is given up.
const KEEPER_TIME: Duration = Duration::from_secs(5);

/// What a batch has taken, as the device's process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Of a core.
    pub cpu: Duration,
    /// From the batch's arrival to its answer.
    pub wall: Duration,
}

/// Why a batch was not decoded. None of it is an error to a reader: the CPU decodes the frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing was asked: the device is not ready. Counts as no fault of it.
    #[error("the device is not ready ({0})")]
    NotReady(State),
    /// Nothing was asked: the batch breaks the rules. A mistake of the caller.
    #[error("not a batch: {0}")]
    Refused(&'static str),
    /// The device's process has failed and is gone. The outputs' places hold anything, and nobody
    /// but the caller will write there.
    #[error("{0}")]
    Lost(String),
    /// The device's process has failed, and the kernel cannot end it: it hangs within the driver.
    /// **It, or the device, may write to the outputs' places of the slab at any time**: these bytes
    /// must never be shown, nor decoded into. What was decoded elsewhere in the slab is sound. The
    /// volume takes another slab, in which the CPU decodes these frames, and the old one serves no
    /// reader any more. The device is retired.
    #[error("{0}, and its process cannot be ended")]
    Stuck(String),
}

impl Fault {
    /// True if the outputs' places must never be used again: [`Fault::Stuck`].
    pub fn may_still_write(&self) -> bool {
        matches!(self, Fault::Stuck(_))
    }
}

/// The frames of a batch that belong to one slab. No two parts of a batch are of one slab.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The frames, [`Job::out`] in the slab's file.
    pub jobs: &'a [Job],
    /// The slab's file.
    pub slab: BorrowedFd<'a>,
    /// How long it is.
    pub slab_len_bytes: u64,
}

impl<'a> Part<'a> {
    /// These frames, of a slab of this length.
    pub fn new(jobs: &'a [Job], slab: BorrowedFd<'a>, slab_len_bytes: u64) -> Part<'a> {
        Part {
            jobs,
            slab,
            slab_len_bytes,
        }
    }

    fn told(&self) -> wire::Part {
        wire::Part {
            window: wire::window_of(self.jobs, self.slab_len_bytes),
            jobs: self.jobs.to_vec(),
        }
    }
}

/// One of the batches that a device can have under way. Kept over restarts of its process.
pub struct Lane {
    index: usize,
    shared: Arc<Shared>,
    memory: MmapMut,
    /// Batches asked so far.
    number: u64,
}

impl Lane {
    pub(super) fn new(index: usize, shared: Arc<Shared>, memory: MmapMut) -> Lane {
        Lane {
            index,
            shared,
            memory,
            number: 0,
        }
    }

    /// The number of its device.
    pub fn ordinal(&self) -> u32 {
        self.shared.ordinal
    }

    /// Where the encoded frames of the next batch are put: [`Job::encoded`] counts from its start.
    pub fn encoded(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// True if the device decodes at the moment.
    pub fn is_ready(&self) -> bool {
        self.shared.lock().state == State::Ready
    }

    /// Waits until the device is ready or never will be, at most until `deadline`: where it stands.
    pub fn wait_settled(&self, deadline: Option<Instant>) -> State {
        self.shared.wait_settled(deadline)
    }

    /// Has a batch decoded into its slabs, and waits for it: how each job went, in order, those of the
    /// first part first. At most [`wire::JOBS_MAX`] jobs in [`wire::PARTS_MAX`] parts.
    ///
    /// Returns once nothing writes to the slabs any more on this batch's behalf, with the one
    /// exception of [`Fault::Stuck`].
    ///
    /// # Errors
    ///
    /// See [`Fault`]; with one, nothing is known of any output.
    pub fn run(
        &mut self,
        parts: &[Part<'_>],
        deadline: Instant,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        let slabs: Vec<BorrowedFd<'_>> = parts.iter().map(|part| part.slab).collect();
        let lens: Vec<u64> = parts.iter().map(|part| part.slab_len_bytes).collect();
        let jobs = parts.iter().map(|part| part.jobs.len()).sum();
        let parts: Vec<wire::Part> = parts.iter().map(Part::told).collect();
        wire::check(&parts, &lens, self.memory.len() as u64).map_err(Fault::Refused)?;
        memory::lens_of(slabs.iter().copied())
            .map_err(|_| Fault::Refused("no slabs, or one twice"))?;
        let (socket, process) = self.socket()?;
        self.number += 1;
        let number = self.number;
        let batch = Order::Batch { number, parts };
        let answered = wire::tell(socket.as_fd(), &batch, &slabs)
            .map_err(|error| format!("it takes no batch: {error}"))
            .and_then(|()| answer(&socket, deadline))
            .and_then(|answer| check(answer, number, jobs));
        answered.map_err(|why| self.fault(process, why))
    }

    /// The line to the present process, and which one that is.
    fn socket(&self) -> Result<(Arc<OwnedFd>, u32), Fault> {
        let inner = self.shared.lock();
        match inner.sockets.get(self.index) {
            Some(socket) if inner.state == State::Ready && inner.failed.is_none() => {
                Ok((Arc::clone(socket), inner.starts))
            }
            _ => Err(Fault::NotReady(inner.state.clone())),
        }
    }

    /// Has the keeper end the process, and waits until that is done.
    fn fault(&self, process: u32, why: String) -> Fault {
        self.shared.change(|inner| {
            // It may be another one by now.
            if inner.starts == process && inner.gone < process {
                inner.failed.get_or_insert_with(|| why.clone());
                inner.pause();
            }
        });
        self.shared.wake();
        let limit = self.shared.limits.reap + KEEPER_TIME;
        let ended = |inner: &Inner| {
            let is_gone = inner.gone >= process;
            (is_gone || inner.is_stuck).then_some(is_gone)
        };
        match self.shared.wait(Some(Instant::now() + limit), ended) {
            Some(true) => Fault::Lost(why),
            _ => Fault::Stuck(why),
        }
    }
}

/// Waits for an answer.
fn answer(socket: &OwnedFd, deadline: Instant) -> Result<Answer, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match wait_readable([socket.as_fd()], Some(left)) {
            Ok([true]) => break,
            Ok([false]) if left.is_zero() => return Err("a batch took too long".into()),
            Ok([false]) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    match wire::hear(socket.as_fd()) {
        Ok(Some((answer, _))) => Ok(answer),
        Ok(None) => Err("it died with a batch".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn check(answer: Answer, number: u64, jobs: usize) -> Result<(Vec<Outcome>, Spent), String> {
    match answer {
        Answer::Done {
            number: answered,
            outcomes,
            cpu_ns,
            wall_ns,
        } if answered == number && outcomes.len() == jobs => {
            let spent = Spent {
                cpu: Duration::from_nanos(cpu_ns),
                wall: Duration::from_nanos(wall_ns),
            };
            let outcomes = outcomes.into_iter().map(wire::clean_outcome).collect();
            Ok((outcomes, spent))
        }
        Answer::Done { .. } => Err("it answered another batch than was asked".into()),
        Answer::Lost(why) => Err(wire::clean(&why)),
        Answer::Ready(_) | Answer::Unfit(_) => Err("it spoke out of turn".into()),
    }
}
