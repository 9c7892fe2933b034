//! What became of passthrough on this mount: asked for, offered, refused.
//!
//! Knows nothing of files: [`crate::fs`] decides which file is worth a backing.
//!
//! Backings are handled by their numbers, because those outlive the process that registered them.
//! Unsafe because giving one up is an ioctl without a safe form, and because fuser cannot check
//! that a number is one of its connection's.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fuser::{FileHandle, FopenFlags, ReplyOpen};

use crate::fs::Backing;

/// FUSE_DEV_IOC_BACKING_CLOSE (linux/fuse.h).
const BACKING_CLOSE: libc::Ioctl = libc::_IOW::<u32>(229, 2);

/// State of passthrough (FUSE_PASSTHROUGH, Linux 6.9) for the life of a mount.
#[derive(Debug, Default)]
pub struct Passthrough {
    offered: AtomicBool,
    /// errno of the refusal that is remembered; 0 while there is none.
    refused: AtomicI32,
    registered: AtomicU64,
    /// The connection, on which backings are given up.
    device: OnceLock<Arc<OwnedFd>>,
}

impl Passthrough {
    /// True if the kernel offered it and has not refused it since.
    pub fn usable(&self) -> bool {
        self.offered.load(Ordering::Relaxed) && self.refused.load(Ordering::Relaxed) == 0
    }

    /// How many backing files were registered so far.
    pub fn registered_count(&self) -> u64 {
        self.registered.load(Ordering::Relaxed)
    }

    /// Why files are served through the page cache only; `None` while passthrough is usable.
    pub fn why_not(&self) -> Option<String> {
        if !self.offered.load(Ordering::Relaxed) {
            return Some("the kernel does not offer it (it takes Linux 6.9 or newer)".into());
        }
        match self.refused.load(Ordering::Relaxed) {
            0 => None,
            libc::EPERM => Some("it takes CAP_SYS_ADMIN in the initial user namespace".into()),
            errno => Some(io::Error::from_raw_os_error(errno).to_string()),
        }
    }

    /// Notes what the kernel offered at INIT.
    pub(super) fn set_offered(&self, offered: bool) {
        self.offered.store(offered, Ordering::Relaxed);
    }

    /// Says which connection this is about: before that no backing is registered.
    pub fn connect(&self, device: OwnedFd) {
        if self.device.set(Arc::new(device)).is_err() {
            tracing::error!("one mount has one connection; another is not used");
        }
    }

    /// A backing that an earlier process of this mount has registered.
    pub fn adopt(&self, id: u32) -> Backing {
        let device = self.device.get().map(Arc::downgrade);
        Backing::adopted(id, move |id| {
            if let Some(device) = device.as_ref().and_then(std::sync::Weak::upgrade) {
                close(&device, id);
            }
        })
    }

    /// Registers `file` through the open request that `reply` is going to answer.
    pub(super) fn open_backing(
        &self,
        reply: &ReplyOpen,
        file: BorrowedFd<'_>,
    ) -> io::Result<Backing> {
        self.register(|| {
            let device = self
                .device
                .get()
                .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))?;
            let device = Arc::downgrade(device);
            // By number from here on: fuser would close it when this process's session ends, and
            // would not tell the number that the next process needs.
            let id = reply.open_backing(file)?.into_raw();
            Ok(Backing::new(id, move |id| {
                // Without the connection there is nothing left to give up.
                if let Some(device) = device.upgrade() {
                    close(&device, id);
                }
            }))
        })
    }

    /// Registers a backing file with `open_backing`, unless the kernel cannot or has said that
    /// it will not. EPERM is about the mount and not about the file, so it is final.
    fn register(&self, open_backing: impl FnOnce() -> io::Result<Backing>) -> io::Result<Backing> {
        if !self.offered.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        match self.refused.load(Ordering::Relaxed) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        let backing = open_backing();
        match &backing {
            Ok(_) => {
                self.registered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                self.refused.store(libc::EPERM, Ordering::Relaxed);
                tracing::info!("no passthrough without CAP_SYS_ADMIN; the page cache serves");
            }
            // EMFILE, ELOOP and the like concern this one file.
            Err(error) => tracing::debug!(%error, "no passthrough for this file"),
        }
        backing
    }
}

/// Answers an open: the handle is read through this backing.
pub(super) fn answer(reply: ReplyOpen, fh: u64, flags: FopenFlags, backing: &Backing) {
    // SAFETY: `fs` hands out backings that are registered with this connection and alive; the
    // number is taken out again below, so that fuser never closes it.
    let id = unsafe { reply.wrap_backing(backing.id()) };
    reply.opened_passthrough(FileHandle(fh), flags, &id);
    id.into_raw();
}

fn close(device: &OwnedFd, id: u32) {
    // SAFETY: a descriptor of ours and a number of ours that outlives the call, which only reads it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BACKING_CLOSE, &raw const id) };
    if result < 0 {
        // After the end of the connection the kernel has closed them all.
        tracing::debug!(error = %io::Error::last_os_error(), "cannot give up a backing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backing() -> Backing {
        Backing::new(1, drop)
    }

    #[test]
    fn not_tried_when_not_offered() {
        let state = Passthrough::default();
        let answer = state.register(|| panic!("must not be tried"));
        assert_eq!(
            answer.err().and_then(|e| e.raw_os_error()),
            Some(libc::EOPNOTSUPP)
        );
        assert!(!state.usable());
        assert!(state.why_not().is_some());
    }

    #[test]
    fn a_refusal_for_lack_of_rights_is_final() {
        let state = Passthrough::default();
        state.set_offered(true);
        assert!(state.usable());
        assert_eq!(state.why_not(), None);
        let refuse = || Err(io::Error::from_raw_os_error(libc::EPERM));
        assert!(state.register(refuse).is_err());
        assert!(!state.usable());
        assert!(
            state
                .register(|| panic!("must not be tried again"))
                .is_err()
        );
        assert!(
            state
                .why_not()
                .is_some_and(|why| why.contains("CAP_SYS_ADMIN"))
        );
        assert_eq!(state.registered_count(), 0);
    }

    #[test]
    fn another_failure_concerns_one_file() {
        let state = Passthrough::default();
        state.set_offered(true);
        let refuse = || Err(io::Error::from_raw_os_error(libc::ELOOP));
        assert!(state.register(refuse).is_err());
        assert!(state.usable());
        assert!(state.register(|| Ok(backing())).is_ok());
        assert_eq!(state.registered_count(), 1);
    }
}
