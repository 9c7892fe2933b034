//! The line for residents, from the side of the device's process: one thread, one order at a time.
//!
//! What an order says is checked where it is known what it speaks of: by who keeps the residents
//! ([`Keep`]).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread;

use super::broken;
use crate::decode::gpu::Outcome;
use crate::decode::gpu::wire::store::{StoreAnswer, StoreOrder};
use crate::decode::gpu::wire::{self, Order};

/// Something that keeps residents of a device. Used by one thread.
pub trait Keep: Send {
    /// Does what an order says, with the descriptors that came with it, and says how it went, with a
    /// descriptor that goes with the answer. All that it says of memory is checked here.
    ///
    /// # Errors
    ///
    /// The device is lost: the process ends.
    fn obey(
        &mut self,
        order: StoreOrder,
        fds: &[OwnedFd],
    ) -> Result<(StoreAnswer, Option<OwnedFd>), String>;
}

/// Takes up the line for residents.
///
/// # Errors
///
/// The mount's process is gone, or breaks the rules.
pub(super) fn line(line: &OwnedFd) -> io::Result<OwnedFd> {
    let Some((Order::Store, fds)) = wire::hear(line.as_fd())? else {
        return Err(broken("the line for residents was expected"));
    };
    let [socket] =
        <[OwnedFd; 1]>::try_from(fds).map_err(|_| broken("a line without its socket"))?;
    Ok(socket)
}

/// Starts the thread: a way to tell it that it may begin.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn start(socket: OwnedFd, keep: Option<Box<dyn Keep>>) -> io::Result<Sender<()>> {
    let (go, may_go) = mpsc::channel();
    let mut keep = keep.unwrap_or_else(|| Box::new(Nothing));
    let work = move || {
        if may_go.recv().is_ok() {
            work(&socket, &mut *keep);
        }
    };
    thread::Builder::new()
        .name("residents".into())
        .spawn(work)?;
    Ok(go)
}

fn work(socket: &OwnedFd, keep: &mut dyn Keep) {
    loop {
        let said = match wire::hear::<StoreOrder>(socket.as_fd()) {
            Ok(Some((order, fds))) => {
                let obey = AssertUnwindSafe(|| keep.obey(order, &fds));
                catch_unwind(obey).unwrap_or_else(|_| Err("the store panicked".into()))
            }
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let is_lost = said.is_err();
        let (answer, fd) = said.unwrap_or_else(|why| (StoreAnswer::Lost(why), None));
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        // Who does not listen is gone, and this process with it.
        let told = wire::tell(socket.as_fd(), &cleaned(answer), &fds);
        if told.is_err() || is_lost {
            return;
        }
    }
}

/// An answer whose words may stand in a log line.
fn cleaned(answer: StoreAnswer) -> StoreAnswer {
    let words = |outcome: Outcome| wire::clean_outcome(outcome);
    match answer {
        StoreAnswer::CannotShare(why) => StoreAnswer::CannotShare(wire::clean(&why)),
        StoreAnswer::Refused(why) => StoreAnswer::Refused(wire::clean(&why)),
        StoreAnswer::Lost(why) => StoreAnswer::Lost(wire::clean(&why)),
        StoreAnswer::Outcomes(all) => StoreAnswer::Outcomes(all.into_iter().map(words).collect()),
        other => other,
    }
}

/// Keeps none.
struct Nothing;

impl Keep for Nothing {
    fn obey(
        &mut self,
        order: StoreOrder,
        _fds: &[OwnedFd],
    ) -> Result<(StoreAnswer, Option<OwnedFd>), String> {
        let none = || "there are no residents here".to_string();
        let answer = match order {
            StoreOrder::Reserve { .. } => StoreAnswer::CannotShare(none()),
            StoreOrder::Release { .. } => StoreAnswer::Done,
            _ => StoreAnswer::Refused(none()),
        };
        Ok((answer, None))
    }
}
