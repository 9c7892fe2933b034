//! A lane: memory for the encoded frames of one batch, and the way to have it decoded.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::ask::answer;
use super::{Shared, State};
use crate::decode::gpu::resident::ResidentId;
use crate::decode::gpu::wire::{self, Answer, Order};
use crate::decode::gpu::{Job, Outcome, memory};

/// Who has answered a batch, and what it has taken, as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which of the device's processes, one after the other: what is known of one says nothing of the
    /// next.
    pub process: u32,
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
    #[error("against the rules: {0}")]
    Refused(&'static str),
    /// The device's process could not do it, or not all of it, in these words, and goes on. Never said
    /// of a batch.
    #[error("{0}")]
    Failed(String),
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
    /// A resident that gets the values of all frames that are [`Outcome::Done`] as well, and the byte
    /// of the slab's file that is its first. One that is gone gets nothing.
    pub resident: Option<(ResidentId, u64)>,
}

impl<'a> Part<'a> {
    /// These frames, of a slab of this length.
    pub fn new(jobs: &'a [Job], slab: BorrowedFd<'a>, slab_len_bytes: u64) -> Part<'a> {
        Part {
            jobs,
            slab,
            slab_len_bytes,
            resident: None,
        }
    }

    /// The same, to a resident as well: see [`Part::resident`].
    #[must_use]
    pub fn beside(self, resident: ResidentId, slab_offset_bytes: u64) -> Part<'a> {
        let resident = Some((resident, slab_offset_bytes));
        Part { resident, ..self }
    }

    /// As a device's process is told.
    fn told(&self, ordinal: u32, process: u32) -> wire::Part {
        let there = |(id, _): &(ResidentId, u64)| id.ordinal == ordinal && id.process == process;
        let beside = |(id, slab_offset_bytes): (ResidentId, u64)| wire::Beside {
            number: id.number,
            slab_offset_bytes,
        };
        let window = wire::window_of(self.jobs, self.slab_len_bytes);
        let mut part = wire::Part::new(window, self.jobs.to_vec());
        part.resident = self.resident.filter(there).map(beside);
        part
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
        let (ordinal, socket) = (self.ordinal(), self.shared.socket(self.index));
        // Of no process, to be checked all the same.
        let process = socket.as_ref().map_or(0, |(_, process)| *process);
        let told = |part: &Part<'_>| part.told(ordinal, process);
        let parts: Vec<wire::Part> = parts.iter().map(told).collect();
        wire::check(&parts, &lens, self.memory.len() as u64).map_err(Fault::Refused)?;
        memory::lens_of(slabs.iter().copied())
            .map_err(|_| Fault::Refused("no slabs, or one twice"))?;
        let (socket, process) = socket?;
        self.number += 1;
        let number = self.number;
        let batch = Order::Batch { number, parts };
        let answered = wire::tell(socket.as_fd(), &batch, &slabs)
            .map_err(|error| format!("it takes no batch: {error}"))
            .and_then(|()| answer(&socket, "a batch", deadline))
            .and_then(|(answer, _)| check(answer, number, jobs, process));
        answered.map_err(|why| self.shared.fault(process, why))
    }
}

fn check(
    answer: Answer,
    number: u64,
    jobs: usize,
    process: u32,
) -> Result<(Vec<Outcome>, Spent), String> {
    match answer {
        Answer::Done {
            number: answered,
            outcomes,
            cpu_ns,
            wall_ns,
        } if answered == number && outcomes.len() == jobs => {
            let spent = Spent {
                process,
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
