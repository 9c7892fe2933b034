//! A live mount: attached when the daemon answers, detached when it ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use fuser::{Session, SessionACL};

use super::kernel::{self, Identity, Superblock};
use super::probe::{self, Way};
use super::signals::Signal;
use super::{FSTYPE, Options, fusermount, mountinfo};
use crate::fs::Fs;
use crate::fuse::{self, Adapter, Passthrough};

/// How long open files go on being served after the end was asked for.
const GRACE: Duration = Duration::from_secs(15);

/// Readahead of the mount, KiB: eight times the default makes cold sequential reads 1.7 times as
/// fast. Only root can set it.
const READ_AHEAD_KIB: u32 = 1024;

/// Session threads: handlers never wait, so a few are enough.
const SESSION_THREADS_MIN: usize = 2;
const SESSION_THREADS_MAX: usize = 8;

/// What a waiting mount hears of.
#[derive(Debug)]
pub enum Event {
    /// The user asks for the end.
    Signal(Signal),
    /// Who asked for the mount is gone.
    Unwanted(anyhow::Error),
    /// The kernel has closed the connection (unmounted), or it broke.
    SessionEnded(io::Result<()>),
}

/// A live mount.
pub struct Mounted {
    mountpoint: PathBuf,
    identity: Identity,
    way: Way,
    fs: Arc<Fs>,
    passthrough: Arc<Passthrough>,
    events: Receiver<Event>,
    /// Taken down already, or found unmounted.
    over: bool,
}

impl Mounted {
    /// Mounts `fs` at `options.mountpoint`, which [`super::check`] has resolved. Signals are the
    /// caller's affair: this is for a program that mounts for a while (the demonstration, tests).
    ///
    /// # Errors
    ///
    /// What failed, in words for the user.
    pub fn start(options: &Options, fs: Arc<Fs>) -> anyhow::Result<Mounted> {
        let (sender, received) = mpsc::channel();
        Mounted::attach(options, fs, sender, received)
    }

    /// As [`Mounted::start`]; the end of the session is told through `events`.
    pub(super) fn attach(
        options: &Options,
        fs: Arc<Fs>,
        events: Sender<Event>,
        received: Receiver<Event>,
    ) -> anyhow::Result<Mounted> {
        let way = probe::probe().way().map_err(anyhow::Error::msg)?;
        let connection = connect(options, way)?;
        let adapter = Adapter::new(Arc::clone(&fs));
        let passthrough = adapter.passthrough();
        // The kernel enforces `allow_other` itself, so fuser need not compare users again.
        let mut config = fuser::Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(session_threads());
        let session = Session::from_fd(adapter, connection.device, SessionACL::All, config)
            .context("the kernel did not accept the file system")
            .inspect_err(|_| connection.attached.undo(&options.mountpoint))?;
        fuse::connect_page_cache(&fs, session.notifier());
        let run = move || {
            // Nobody hears it if the mount was given up meanwhile.
            let _ = events.send(Event::SessionEnded(session.run()));
        };
        std::thread::Builder::new()
            .name("fuse-session".into())
            .spawn(run)
            .context(super::SystemFailure)
            .inspect_err(|_| connection.attached.undo(&options.mountpoint))?;
        let (way, identity) = connection.attached.complete(&options.mountpoint)?;
        if raise_read_ahead(&identity) {
            fs.set_readahead_bytes(u64::from(READ_AHEAD_KIB) << 10);
        }
        Ok(Mounted {
            mountpoint: options.mountpoint.clone(),
            identity,
            way,
            fs,
            passthrough,
            events: received,
            over: false,
        })
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// What became of passthrough.
    pub fn passthrough(&self) -> &Passthrough {
        &self.passthrough
    }

    /// Waits for the end: the mount is unmounted from outside, or a signal comes.
    ///
    /// # Errors
    ///
    /// The connection to the kernel broke.
    pub fn wait(self) -> anyhow::Result<()> {
        match self.events.recv() {
            Ok(Event::SessionEnded(ended)) => self.ended(ended),
            Ok(Event::Signal(signal)) => {
                tracing::info!("{}: unmounting", signal.name());
                self.finish();
                Ok(())
            }
            Ok(Event::Unwanted(error)) => {
                self.finish();
                Err(error)
            }
            Err(mpsc::RecvError) => {
                self.finish();
                Err(anyhow!("the session thread ended without a word"))
            }
        }
    }

    /// Takes the mount down: detaches it, serves open files for at most 15 s (or until another
    /// signal), then fails what is left.
    pub fn finish(mut self) {
        self.over = true;
        if let Err(error) = self.detach() {
            tracing::error!("cannot unmount {}: {error:#}", self.mountpoint.display());
        }
        match self.events.recv_timeout(GRACE) {
            Ok(Event::SessionEnded(_)) => {}
            Ok(Event::Signal(_) | Event::Unwanted(_)) | Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("files are still open; they fail from now on");
            }
            Err(RecvTimeoutError::Disconnected) => {}
        }
        self.fs.shutdown();
    }

    /// After the session's end: leaves no dead mount behind.
    fn ended(mut self, ended: io::Result<()>) -> anyhow::Result<()> {
        self.over = true;
        self.fs.shutdown();
        // An abort through /sys/fs/fuse leaves the mount in place. Only an identity that is never
        // given twice tells for sure that it is still ours.
        if self.identity.is_unique()
            && let Err(error) = self.detach()
        {
            tracing::debug!("after the end: {error:#}");
        }
        ended.context("the connection to the kernel broke")
    }

    fn detach(&self) -> anyhow::Result<()> {
        detach(&self.way, &self.mountpoint, &self.identity)
    }
}

impl Drop for Mounted {
    /// A mount that is given up half-way (an error, a panic) is not left behind dead.
    fn drop(&mut self) {
        if !self.over
            && let Err(error) = self.detach()
        {
            tracing::error!("cannot unmount {}: {error:#}", self.mountpoint.display());
        }
    }
}

/// Detaches our mount, and no other.
fn detach(way: &Way, mountpoint: &Path, identity: &Identity) -> anyhow::Result<()> {
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

/// A connection to the kernel with its mount.
struct Connection {
    device: OwnedFd,
    attached: Attached,
}

/// How far the mount is.
enum Attached {
    /// Made by us and seen by nobody yet.
    NotYet(OwnedFd),
    /// Made by the helper, which attaches at once.
    Already(PathBuf, Identity),
}

impl Attached {
    /// Makes the mount visible if it is not.
    fn complete(self, mountpoint: &Path) -> anyhow::Result<(Way, Identity)> {
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
    fn undo(&self, mountpoint: &Path) {
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
fn connect(options: &Options, way: Way) -> anyhow::Result<Connection> {
    let helper = match way {
        Way::Fusermount(helper) => helper,
        Way::Kernel => match connect_kernel(options) {
            Ok(connection) => return Ok(connection),
            Err(error) => match probe::probe().fusermount3 {
                Some(helper) if may_need_helper(&error) => {
                    tracing::debug!(%error, "mounting through fusermount3");
                    helper
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
        source: &options.source,
        uid,
        gid,
        allow_other: options.allow_other,
        noexec: options.noexec,
    };
    let mount = kernel::create_mount(device.as_fd(), &superblock)?;
    Ok(Connection {
        device,
        attached: Attached::NotYet(mount),
    })
}

fn connect_helper(options: &Options, helper: PathBuf) -> anyhow::Result<Connection> {
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

fn session_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(SESSION_THREADS_MIN, SESSION_THREADS_MAX)
}

/// Raises the readahead of the mount. Best effort: sysfs takes it from root alone.
fn raise_read_ahead(identity: &Identity) -> bool {
    let (major, minor) = identity.device;
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    std::fs::write(&path, READ_AHEAD_KIB.to_string())
        .inspect_err(|error| tracing::debug!(%error, path, "the readahead stays"))
        .is_ok()
}
