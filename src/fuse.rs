//! The FUSE protocol: converts requests and replies, decides nothing.
//!
//! Every operation is one guarded call into [`Fs`] and one reply. A panic below becomes EIO and a
//! line in the log, so that no bug in a decoder can end a session thread and hang the mount. What
//! a name means, how a file is served and which errno stands for what is decided in [`crate::fs`].
//!
//! Operations that would change something are all EROFS. Those the file system does not have are
//! ENOSYS where the kernel then remembers not to ask again (FLUSH, GETXATTR, OPENDIR, ...): that
//! saves a round trip for each later call.

mod convert;
mod passthrough;
mod refused;

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{
    AccessFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};

use crate::fs::{Backing, Cached, Error, Fs, OpenMode, Opening, PageCache, ReadReply};

pub use passthrough::Passthrough;

/// Largest request the kernel may send or ask for: what it allows without a raised
/// `fs.fuse.max_pages_limit` (256 pages of 4 KiB).
pub const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Readahead requests in flight: enough that readers of several files do not wait for each other.
const BACKGROUND_REQUESTS_MAX: u16 = 64;

/// Inodes are a pure function of identity and never reused for something else.
const GENERATION: Generation = Generation(0);

/// Bit of a request's number that says that the kernel sent it before (FUSE_UNIQUE_RESEND).
const REPEATED: u64 = 1 << 63;

/// Capabilities asked for, each only if the kernel offers it.
///
/// READDIRPLUS_AUTO is left out on purpose: its guess is wrong for `find` and `du`, which read a
/// whole directory before they stat.
const CAPABILITIES: [InitFlags; 10] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_PASSTHROUGH,
];

/// Answers the kernel's requests from a file system.
pub struct Adapter {
    fs: Arc<Fs>,
    passthrough: Arc<Passthrough>,
}

impl Adapter {
    /// An adapter that serves `fs`.
    pub fn new(fs: Arc<Fs>) -> Self {
        Adapter {
            fs,
            passthrough: Arc::new(Passthrough::default()),
        }
    }

    /// What became of passthrough on this mount; filled in while the mount is used.
    pub fn passthrough(&self) -> Arc<Passthrough> {
        Arc::clone(&self.passthrough)
    }

    /// Calls `fs`; a failure, a panic included, comes back as the errno to reply.
    fn call<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Fs) -> Result<T, Error>,
    ) -> Result<T, Errno> {
        match guard(operation, || run(&self.fs)) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                if !matches!(error, Error::Absent) {
                    tracing::debug!(operation, %error, "refused");
                }
                Err(errno(&error))
            }
            None => Err(Errno::EIO),
        }
    }
}

/// Has `fs` fill and drop the page cache of this session.
pub fn connect_page_cache(fs: &Fs, notifier: Notifier) {
    fs.set_page_cache(Box::new(KernelPages(notifier)));
}

/// The page cache behind a session. What fails only costs time or memory: slabs never change their
/// bytes.
struct KernelPages(Notifier);

impl PageCache for KernelPages {
    fn invalidate(&self, ino: u64) {
        // Length 0: to the end of the file. The attributes are dropped too and fetched again.
        if let Err(error) = self.0.inval_inode(INodeNo(ino), 0, 0) {
            tracing::debug!(ino, %error, "cannot invalidate");
        }
    }

    fn drop_name(&self, parent: u64, name: &OsStr) {
        if let Err(error) = self.0.inval_entry(INodeNo(parent), name) {
            // It stays until its time is up; what it stands for keeps its bytes.
            tracing::debug!(parent, %error, "cannot drop a name");
        }
    }

    fn store(&self, ino: u64, offset_bytes: u64, bytes: &[u8]) {
        if let Err(error) = self.0.store(INodeNo(ino), offset_bytes, bytes) {
            tracing::debug!(ino, %error, "cannot store");
        }
    }
}

/// Runs `run`; a panic is logged with the operation's name and becomes `None`.
fn guard<T>(operation: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    // What a panic may have left half-changed belongs to `fs`, whose locks are poisoned by it.
    catch_unwind(AssertUnwindSafe(run))
        .inspect_err(|_| tracing::error!(operation, "panicked; answered with an I/O error"))
        .ok()
}

fn errno(error: &Error) -> Errno {
    Errno::from_i32(error.errno())
}

/// An open request of the kernel, as `fs` sees it.
struct KernelOpening<'a> {
    passthrough: &'a Passthrough,
    reply: &'a ReplyOpen,
    request: u64,
    uid: u32,
}

impl Opening for KernelOpening<'_> {
    fn register(&mut self, file: BorrowedFd<'_>) -> io::Result<Backing> {
        self.passthrough.open_backing(self.reply, file)
    }

    fn request(&self) -> u64 {
        self.request
    }

    fn uid(&self) -> u32 {
        self.uid
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        for capability in CAPABILITIES {
            if offered.contains(capability) && config.add_capabilities(capability).is_err() {
                tracing::debug!(?capability, "offered and then refused");
            }
        }
        let stackable = offered.contains(InitFlags::FUSE_PASSTHROUGH)
            // Depth 1: backing files lie on a plain file system, and the mount itself can still
            // be the lower layer of an overlayfs.
            && config.set_max_stack_depth(1).is_ok();
        self.passthrough.set_offered(stackable);
        // Each of these comes back as an error only beyond fuser's own limits.
        if config.set_max_write(REQUEST_BYTES_MAX).is_err()
            || config.set_max_background(BACKGROUND_REQUESTS_MAX).is_err()
        {
            tracing::warn!("request sizes stay at their defaults: reads will be slower");
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.call("lookup", |fs| fs.lookup(parent.0, name)) {
            Ok(attr) => reply.entry(&attr.ttl, &convert::attr(&attr), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, _nlookup: u64) {
        guard("forget", || self.fs.forget(ino.0));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.call("getattr", |fs| fs.getattr(ino.0)) {
            Ok(attr) => reply.attr(&attr.ttl, &convert::attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.call("readlink", |fs| fs.readlink(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn access(&self, _req: &Request, _ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        // Asked only without `default_permissions`, where the owner of the mount may read all.
        if mask.contains(AccessFlags::W_OK) {
            reply.error(Errno::EROFS);
        } else {
            reply.ok();
        }
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY || flags.0 & libc::O_TRUNC != 0 {
            return reply.error(Errno::EROFS);
        }
        let unique = u64::from(req.unique());
        let request = unique & !REPEATED;
        let opened = self.call("open", |fs| {
            if unique & REPEATED != 0 {
                fs.forget_unanswered_open(request);
            }
            let mut opening = KernelOpening {
                passthrough: &self.passthrough,
                reply: &reply,
                request,
                uid: req.uid(),
            };
            fs.open(ino.0, flags.0, &mut opening)
        });
        let opened = match opened {
            Ok(opened) => opened,
            Err(errno) => return reply.error(errno),
        };
        let fh = FileHandle(opened.fh);
        // Nothing is ever written, so close() has nothing to flush.
        let flags = FopenFlags::FOPEN_NOFLUSH;
        match opened.mode {
            OpenMode::Cached => reply.opened(fh, flags | FopenFlags::FOPEN_KEEP_CACHE),
            OpenMode::Direct => reply.opened(fh, flags | FopenFlags::FOPEN_DIRECT_IO),
            OpenMode::Passthrough(backing) => {
                passthrough::answer(reply, opened.fh, flags, &backing);
            }
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let reply = ReadReply::new(move |answer| match answer {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(errno(&error)),
        });
        // A reply that a panic drops answers EIO by itself.
        let cached = match flags.0 & libc::O_DIRECT {
            0 => Cached::Maybe,
            _ => Cached::No,
        };
        guard("read", || {
            self.fs.read(ino.0, fh.0, offset, size, cached, reply)
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        guard("release", || self.fs.release(fh.0));
        reply.ok();
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // With NO_OPENDIR_SUPPORT the kernel opens directories alone from now on.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.call("readdir", |fs| {
            fs.readdir(ino.0, offset, &mut |entry| {
                reply.add(
                    INodeNo(entry.attr.ino),
                    entry.next_offset,
                    convert::kind(entry.attr.kind),
                    &entry.name,
                )
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.call("readdirplus", |fs| {
            fs.readdir(ino.0, offset, &mut |entry| {
                reply.add(
                    INodeNo(entry.attr.ino),
                    entry.next_offset,
                    &entry.name,
                    &entry.attr.ttl,
                    &convert::attr(&entry.attr),
                    GENERATION,
                )
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.call("statfs", |fs| Ok(fs.statfs())) {
            Ok(totals) => {
                let block = u64::from(convert::BLOCK_BYTES);
                let blocks = totals.total_bytes.div_ceil(block);
                reply.statfs(
                    blocks,
                    0,
                    0,
                    totals.files,
                    0,
                    convert::BLOCK_BYTES,
                    convert::NAME_BYTES_MAX,
                    convert::BLOCK_BYTES,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    refused::operations!();
}
