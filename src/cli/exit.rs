//! Exit statuses, the same as mount(8) has them.

use std::io;
use std::process::ExitCode;

use crate::mount;

/// Arguments that make no sense together, in words: the user's mistake.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mistake(pub(super) String);

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; or the reader of our output has seen enough.
    Success = 0,
    /// Wrong arguments or options.
    Usage = 1,
    /// The system has no process, pipe or thread left.
    System = 2,
    /// Anything that failed when it was done: most of all the mount.
    Failure = 32,
}

impl Exit {
    /// The exit status for the failure of an action.
    pub(super) fn of_failure(error: &anyhow::Error) -> Exit {
        if is_broken_pipe(error) {
            Exit::Success
        } else if error.is::<Mistake>() {
            Exit::Usage
        } else if error.is::<mount::SystemFailure>() {
            Exit::System
        } else {
            Exit::Failure
        }
    }

    /// False if the user knows already, or has turned away.
    pub(super) fn is_worth_words(self, error: &anyhow::Error) -> bool {
        self != Exit::Success && !error.is::<mount::Reported>()
    }
}

/// `dicomfs ls | head` is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn failures_have_their_status() {
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let system: anyhow::Result<()> = Err(anyhow!("no process")).context(mount::SystemFailure);
        let system = system.expect_err("failed");
        let cases = [
            (pipe, Exit::Success, false),
            (system, Exit::System, true),
            (anyhow!("cannot mount"), Exit::Failure, true),
            (mount::Reported.into(), Exit::Failure, false),
            (Mistake("no".into()).into(), Exit::Usage, true),
        ];
        for (error, exit, words) in cases {
            assert_eq!(Exit::of_failure(&error), exit, "{error}");
            assert_eq!(exit.is_worth_words(&error), words, "{error}");
        }
    }
}
