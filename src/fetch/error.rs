//! Why frames and ranges cannot be had. Knows no errno but the operating system's own.

use std::io;

/// Why a frame or a range could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source bytes break the rules of the standard or of a codec.
    #[error("{0}")]
    Malformed(String),
    /// Nothing here decodes it.
    #[error("{0}")]
    Unsupported(String),
    /// Larger than a limit.
    #[error("{0}")]
    TooLarge(String),
    /// The source is not what it was when it was indexed.
    #[error("{0}")]
    Changed(String),
    /// The operating system's error.
    #[error("{message}")]
    Io {
        /// errno of the failed call.
        errno: i32,
        /// What was being done.
        message: String,
    },
    /// No device holds volumes, or the one that did is gone.
    #[error("{0}")]
    NoDevice(String),
    /// All room for volumes in device memory is in use.
    #[error("{0}")]
    NoRoom(String),
    /// The workers are stopping.
    #[error("shutting down")]
    ShuttingDown,
}

impl Error {
    /// An I/O error while doing `what`.
    pub fn io(what: &str, error: &io::Error) -> Error {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::Io {
            errno,
            message: format!("{what}: {error}"),
        }
    }

    /// True when this process, or the system, has no descriptor left.
    pub(super) fn is_lack_of_descriptors(&self) -> bool {
        matches!(self, Error::Io { errno, .. } if [libc::EMFILE, libc::ENFILE].contains(errno))
    }

    /// True when asking again cannot help as long as the source stays what it is.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Error::Malformed(_) | Error::Unsupported(_) | Error::TooLarge(_)
        )
    }
}
