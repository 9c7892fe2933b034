//! The one errno table: what went wrong, in words for the log and as a number for the kernel.

/// Why an operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such name or inode.
    #[error("no such file or directory")]
    Absent,
    /// A file operation on a directory.
    #[error("is a directory")]
    IsDirectory,
    /// A directory operation on something else.
    #[error("not a directory")]
    NotDirectory,
    /// `readlink` on something that is no symbolic link, or another argument that makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// An open handle that is not open.
    #[error("bad file handle")]
    BadHandle,
    /// Any attempt to change something.
    #[error("read-only file system")]
    ReadOnly,
    /// The source bytes break the standard's or a codec's rules.
    #[error("malformed: {0}")]
    Malformed(String),
    /// No decoder for it.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Larger than a limit allows.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The source changed since it was indexed.
    #[error("source changed: {0}")]
    Changed(String),
    /// The operating system's error.
    #[error("I/O error: {message}")]
    Io {
        /// errno of the failed call.
        errno: i32,
        /// What was being done.
        message: String,
    },
    /// More handles than can be kept account of.
    #[error("too many open files")]
    TooManyOpen,
    /// Nobody needs an answer: the kernel only guessed, and asks again for what is needed.
    #[error("declined")]
    Declined,
    /// No device holds volumes, or the one that did is gone.
    #[error("no device: {0}")]
    NoDevice(String),
    /// All room for volumes in device memory is in use.
    #[error("no room: {0}")]
    NoRoom(String),
    /// The mount is going away.
    #[error("shutting down")]
    ShuttingDown,
}

impl Error {
    /// The errno that stands for this error at the kernel's door.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Absent => libc::ENOENT,
            Error::IsDirectory => libc::EISDIR,
            Error::NotDirectory => libc::ENOTDIR,
            Error::Invalid => libc::EINVAL,
            Error::BadHandle => libc::EBADF,
            Error::ReadOnly => libc::EROFS,
            Error::Malformed(_) => libc::EIO,
            Error::Unsupported(_) => libc::EOPNOTSUPP,
            Error::TooLarge(_) => libc::EFBIG,
            Error::Changed(_) => libc::ESTALE,
            Error::Io { errno, .. } => *errno,
            Error::TooManyOpen => libc::ENFILE,
            Error::Declined => libc::EAGAIN,
            Error::NoDevice(_) => libc::ENODEV,
            Error::NoRoom(_) => libc::ENOSPC,
            // The caller can do nothing but try again on another mount.
            Error::ShuttingDown => libc::EIO,
        }
    }
}

impl From<crate::fetch::Error> for Error {
    fn from(error: crate::fetch::Error) -> Error {
        use crate::fetch::Error as Fetch;
        match error {
            Fetch::Malformed(why) => Error::Malformed(why),
            Fetch::Unsupported(why) => Error::Unsupported(why),
            Fetch::TooLarge(why) => Error::TooLarge(why),
            Fetch::Changed(why) => Error::Changed(why),
            Fetch::Io { errno, message } => Error::Io { errno, message },
            Fetch::NoDevice(why) => Error::NoDevice(why),
            Fetch::NoRoom(why) => Error::NoRoom(why),
            Fetch::ShuttingDown => Error::ShuttingDown,
        }
    }
}

impl From<crate::library::Error> for Error {
    fn from(error: crate::library::Error) -> Error {
        use crate::library::Error as Library;
        match error {
            Library::Changed => Error::Changed(error.to_string()),
            Library::Text(_) | Library::Panicked => Error::Malformed(error.to_string()),
            Library::Index(message) => Error::Io {
                errno: libc::EIO,
                message,
            },
        }
    }
}
