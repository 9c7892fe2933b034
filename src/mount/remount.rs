//! What mount(8) may ask of a mount that is there: which it is, a change of its flags, another
//! namespace to mount in.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{FSTYPE, kernel, mountinfo, place};

/// A mount of ours, as mountinfo has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Where it is mounted, without symbolic links.
    pub mountpoint: PathBuf,
    /// Its archive.
    pub source: OsString,
    /// Nothing may be executed from it.
    pub noexec: bool,
}

impl Live {
    /// Is it a mount of this archive?
    pub fn is_of(&self, archive: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let source = Path::new(&self.source);
        source == kernel::shown_source(archive) || real(source) == real(archive)
    }
}

/// The mount of ours at `mountpoint`.
///
/// # Errors
///
/// There is none.
pub fn find(mountpoint: &Path) -> anyhow::Result<Live> {
    let mountpoint = place::resolve(mountpoint)?;
    let entries = mountinfo::read().context("cannot read /proc/self/mountinfo")?;
    match mountinfo::topmost(&entries, &mountpoint) {
        Some(top) if top.fstype == FSTYPE => Ok(Live {
            source: top.source.clone(),
            noexec: top.noexec,
            mountpoint,
        }),
        _ => bail!(
            "no dicomfs is mounted at {place}; mount it first, without remount",
            place = mountpoint.display()
        ),
    }
}

/// Lets programs be executed from the mount, or no longer.
///
/// # Errors
///
/// The kernel refuses: it takes CAP_SYS_ADMIN and Linux 5.12.
pub fn set_noexec(live: &Live, noexec: bool) -> anyhow::Result<()> {
    let place = kernel::open_place(&live.mountpoint)?;
    kernel::set_noexec(place.as_fd(), noexec).with_context(|| {
        format!(
            "cannot change noexec of {place}; unmount it and mount it again",
            place = live.mountpoint.display()
        )
    })
}

/// Goes on in another mount namespace, a file like /proc/PID/ns/mnt: paths mean what they mean there
/// from now on. Only before any thread is started.
///
/// # Errors
///
/// There is none, or it takes rights.
pub fn enter_namespace(file: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot mount in the namespace {}", file.display());
    let namespace = std::fs::File::open(file).with_context(cannot)?;
    kernel::enter_mount_namespace(namespace.as_fd()).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_not_found() {
        let directory = tempfile::tempdir().expect("tempdir");
        for place in [directory.path(), Path::new("/proc")] {
            let error = find(place).expect_err("must refuse");
            assert!(error.to_string().contains("no dicomfs is mounted"));
        }
        assert!(find(&directory.path().join("none")).is_err());
    }

    #[test]
    fn a_file_is_no_namespace() {
        let error = enter_namespace(Path::new("/proc/self/status")).expect_err("must refuse");
        assert!(error.to_string().contains("/proc/self/status"));
        assert!(enter_namespace(Path::new("/no/such/namespace")).is_err());
    }
}
