//! The connection to the kernel and the mount that comes with it: made, attached, detached.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::kernel::{self, Identity, Superblock};
use super::probe::{self, Way};
use super::{FSTYPE, Options, fusermount, mountinfo};

/// Readahead of the mount, KiB: eight times the default makes cold sequential reads 1.7 times as
/// fast. Only root can set it.
const READ_AHEAD_KIB: u32 = 1024;

/// A connection to the kernel with its mount.
pub struct Connection {
    /// /dev/fuse, open.
    pub device: OwnedFd,
    /// The mount.
    pub attached: Attached,
}

/// How far the mount is.
pub enum Attached {
    /// Made by us and seen by nobody yet.
    NotYet(OwnedFd),
    /// Made by the helper, which attaches at once.
    Already(PathBuf, Identity),
}

impl Attached {
    /// Makes the mount visible if it is not.
    ///
    /// # Errors
    ///
    /// The mountpoint has gone, or the kernel does not want it there.
    pub fn complete(self, mountpoint: &Path) -> anyhow::Result<(Way, Identity)> {
        match self {
            Attached::NotYet(mount) => {
                let identity = kernel::identity(mount.as_fd())?;
                kernel::attach(mount.as_fd(), mountpoint)
                    .with_context(|| format!("cannot mount at {}", mountpoint.display()))?;
                Ok((Way::Kernel, identity))
            }
            Attached::Already(helper, identity) => Ok((Way::Fusermount(helper), identity)),
        }
    }

    /// Takes back what is visible already, after a failure.
    pub fn undo(&self, mountpoint: &Path) {
        let Attached::Already(helper, identity) = self else {
            return;
        };
        let way = Way::Fusermount(helper.clone());
        if let Err(error) = detach(&way, mountpoint, identity) {
            tracing::error!("cannot unmount {}: {error:#}", mountpoint.display());
        }
    }
}

/// Makes a mount and its connection: by ourselves, or where the kernel does not let us (a
/// container may say yes to everything but mounting) through the helper.
///
/// # Errors
///
/// What failed, in words for the user.
pub fn connect(options: &Options, way: Way) -> anyhow::Result<Connection> {
    let helper = match way {
        Way::Fusermount(helper) => helper,
        Way::Kernel => match connect_kernel(options) {
            Ok(connection) => return Ok(connection),
            Err(error) => match probe::probe().fusermount3 {
                Some(helper) if may_need_helper(&error) => {
                    tracing::debug!(%error, "mounting through fusermount3");
                    helper
                }
                _ if options.context.is_some() && error.to_string().contains("context") => {
                    bail!("the kernel takes no SELinux context ({error}); leave context out")
                }
                _ => return Err(explain(error)),
            },
        },
    };
    connect_helper(options, helper)
}

fn connect_kernel(options: &Options) -> io::Result<Connection> {
    let device = kernel::open_device()?;
    let (uid, gid) = kernel::effective_user();
    let superblock = Superblock {
        source: kernel::shown_source(&options.source),
        uid,
        gid,
        allow_other: options.allow_other,
        noexec: options.noexec,
        context: options.context.as_deref(),
    };
    let mount = kernel::create_mount(device.as_fd(), &superblock)?;
    Ok(Connection {
        device,
        attached: Attached::NotYet(mount),
    })
}

fn connect_helper(options: &Options, helper: PathBuf) -> anyhow::Result<Connection> {
    if options.context.is_some() {
        bail!("only root gives a mount an SELinux context: leave context out, or mount as root");
    }
    let device = fusermount::mount(
        &helper,
        &options.source,
        &options.mountpoint,
        options.allow_other,
        options.noexec,
    )?;
    let entries = mountinfo::read().context("cannot read /proc/self/mountinfo")?;
    match mountinfo::topmost(&entries, &options.mountpoint) {
        Some(top) if top.fstype == FSTYPE => {}
        _ => bail!("fusermount3 mounted, but the mount is not there"),
    }
    let place = kernel::open_place(&options.mountpoint)?;
    let identity = kernel::identity(place.as_fd())?;
    Ok(Connection {
        device,
        attached: Attached::Already(helper, identity),
    })
}

/// True for what the setuid helper may be able to do where we are not: no rights, or a kernel or
/// a sandbox without fsopen.
fn may_need_helper(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(libc::ENOSYS)
}

fn explain(error: io::Error) -> anyhow::Error {
    if may_need_helper(&error) {
        anyhow!(
            "the kernel does not let this process mount ({error}). In a container, start it with \
             `--cap-add SYS_ADMIN --security-opt apparmor:unconfined`; it takes Linux 5.8 or newer"
        )
    } else {
        anyhow!(error).context("cannot make a FUSE mount")
    }
}

/// Raises the readahead of the mount: to how many bytes. Best effort: sysfs takes it from root alone.
pub fn raise_read_ahead(identity: &Identity) -> Option<u64> {
    let (major, minor) = identity.device;
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    match std::fs::write(&path, READ_AHEAD_KIB.to_string()) {
        Ok(()) => Some(u64::from(READ_AHEAD_KIB) << 10),
        Err(error) => {
            tracing::debug!(%error, path, "the readahead stays");
            None
        }
    }
}

/// Detaches our mount, and no other.
///
/// # Errors
///
/// Another mount is there now, or the system refuses.
pub fn detach(way: &Way, mountpoint: &Path, identity: &Identity) -> anyhow::Result<()> {
    match way {
        Way::Kernel => {
            if !kernel::detach(mountpoint, identity)? {
                bail!("another mount is there now; ours is left as it is");
            }
        }
        Way::Fusermount(helper) => {
            let place = kernel::open_place(mountpoint)?;
            if kernel::identity(place.as_fd())? != *identity {
                bail!("another mount is there now; ours is left as it is");
            }
            // An open place would make the mount busy for some versions of the helper.
            drop(place);
            fusermount::unmount(helper, mountpoint)?;
        }
    }
    Ok(())
}
