//! What became of passthrough on this mount: asked for, offered, refused.
//!
//! Knows nothing of files: [`crate::fs`] decides which file is worth a backing.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use crate::fs::Backing;

/// State of passthrough (FUSE_PASSTHROUGH, Linux 6.9) for the life of a mount.
#[derive(Debug, Default)]
pub struct Passthrough {
    offered: AtomicBool,
    /// errno of the refusal that is remembered; 0 while there is none.
    refused: AtomicI32,
    registered: AtomicU64,
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

    /// Registers a backing file with `open_backing`, unless the kernel cannot or has said that
    /// it will not. EPERM is about the mount and not about the file, so it is final.
    pub(super) fn register(
        &self,
        open_backing: impl FnOnce() -> io::Result<Backing>,
    ) -> io::Result<Backing> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn backing() -> Backing {
        Arc::new(())
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
