//! What supervisor and worker say to each other.
//!
//! | supervisor | worker |
//! |---|---|
//! | [`Order::Hello`]: what to serve | [`Report::Built`]: the archive is read |
//! | [`Order::Serve`]: here is the connection | [`Report::Serving`]: it answers |
//! | [`Order::Live`]: the mount is attached | [`Report::Settled`]: who waits for it may go on |
//!
//! A worker that fails on the way says so with [`Report::Failed`] and ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::kernel::Identity;
use crate::ipc;

/// Longest message, bytes: paths and words.
const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Longest error text, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// FUSE_HAS_RESEND: the kernel repeats on demand what was not answered (linux/fuse.h).
const HAS_RESEND: u64 = 1 << 39;

/// FUSE_INIT_EXT: the flags go on in a second word.
const INIT_EXT: u32 = 1 << 30;

/// Where in FUSE_INIT the two words of flags are: behind the header of 40 bytes, two words of
/// version and one of readahead.
const INIT_FLAGS: usize = 52;
const INIT_FLAGS_MORE: usize = 56;

/// What the supervisor says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// What to serve.
    Hello {
        /// The settings, in a form that the program knows.
        settings: Vec<u8>,
        /// How many workers have served this mount before.
        replaced: u64,
        /// Process id of the supervisor.
        supervisor: u32,
    },
    /// Comes with two descriptors: the connection to the kernel and the memory of the ledger.
    Serve {
        /// The kernel's FUSE_INIT.
        offer: Vec<u8>,
        /// What the first worker answered it; `None` for the first.
        answered: Option<Vec<u8>>,
    },
    /// The mount is attached and from now on the worker's to detach.
    Live {
        /// Where, without symbolic links.
        mountpoint: Vec<u8>,
        /// fusermount3, if it has mounted.
        helper: Option<Vec<u8>>,
        /// Which mount it is.
        identity: Identity,
        /// How far the kernel reads ahead of a reader, if that was changed.
        readahead_bytes: Option<u64>,
        /// No terminal any more.
        background: bool,
    },
}

/// What the worker says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The file system is there. Comes with a descriptor that can be read when the worker has ended,
    /// where the kernel has such.
    Built,
    /// Requests are answered.
    Serving {
        /// The answer to FUSE_INIT.
        answer: Vec<u8>,
    },
    /// The caller's process may return; said in the background only.
    Settled,
    /// It cannot be served.
    Failed {
        /// Why, in words for the user.
        text: String,
        /// Nothing is wrong with this mount: the system refused.
        is_system: bool,
    },
}

impl Report {
    /// The failure `error`.
    pub fn failed(error: &anyhow::Error) -> Report {
        let is_system = error.is::<super::SystemFailure>();
        // Who hears it says "system error" again.
        let causes = error.chain().skip(usize::from(is_system));
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        let mut text = causes.join(": ");
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Report::Failed { text, is_system }
    }
}

/// One end of the line between the two.
pub struct Line(OwnedFd);

impl Line {
    /// This end.
    pub fn new(socket: OwnedFd) -> Line {
        Line(socket)
    }

    /// Says something, with copies of `fds`.
    ///
    /// # Errors
    ///
    /// The other end is closed.
    pub fn tell(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
        ipc::send(self.0.as_fd(), &bytes, fds)
    }

    /// Waits for the other's word; `None` when the other end is closed.
    ///
    /// # Errors
    ///
    /// What was said makes no sense.
    pub fn hear<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let (len, fds) = match ipc::receive(self.0.as_fd(), &mut buffer) {
            Ok((0, _)) => return Ok(None),
            Ok(received) => received,
            // The other end died with words of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = postcard::from_bytes(&buffer[..len]);
        let message = message.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(Some((message, fds)))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// True if the kernel that made this FUSE_INIT repeats unanswered requests on demand.
pub fn can_resend(offer: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = offer.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let flags = match (word(INIT_FLAGS), word(INIT_FLAGS_MORE)) {
        (Some(low), Some(high)) if low & INIT_EXT != 0 => u64::from(low) | u64::from(high) << 32,
        (low, _) => u64::from(low.unwrap_or(0)),
    };
    flags & HAS_RESEND != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let (a, b) = ipc::pair().expect("pair");
        let (a, b) = (Line::new(a), Line::new(b));
        let hello = || Order::Hello {
            settings: b"abc\xff".to_vec(),
            replaced: 3,
            supervisor: 7,
        };
        let (reader, _writer) = io::pipe().expect("pipe");
        a.tell(&hello(), &[reader.as_fd()]).expect("tell");
        let (heard, fds) = b.hear::<Order>().expect("hear").expect("a message");
        assert_eq!((heard, fds.len()), (hello(), 1));
        ipc::send(a.as_fd(), b"\xff\xff", &[]).expect("send");
        assert!(b.hear::<Order>().is_err());
        drop(a);
        assert!(b.hear::<Order>().expect("closed").is_none());
    }

    #[test]
    fn errors_keep_their_kind_and_a_bound() {
        let long = "\u{e4}".repeat(TEXT_BYTES_MAX);
        let error = anyhow::anyhow!("why").context(long);
        let Report::Failed { text, is_system } = Report::failed(&error) else {
            panic!("a failure");
        };
        assert_eq!((text.len(), is_system), (TEXT_BYTES_MAX, false));
        let system = anyhow::anyhow!("no thread").context(super::super::SystemFailure);
        let expected = Report::Failed {
            text: "no thread".into(),
            is_system: true,
        };
        assert_eq!(Report::failed(&system), expected);
    }

    #[test]
    fn kernels_that_resend_are_told_apart() {
        let mut offer = vec![0; 104];
        assert!(!can_resend(&offer));
        offer[INIT_FLAGS_MORE] = 1 << 7;
        assert!(!can_resend(&offer), "the second word does not count");
        offer[INIT_FLAGS..INIT_FLAGS + 4].copy_from_slice(&INIT_EXT.to_ne_bytes());
        assert!(can_resend(&offer));
        assert!(!can_resend(&offer[..56]) && !can_resend(&[]));
    }
}
