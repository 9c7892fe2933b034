//! The operations that are always refused, as a macro: an `impl` cannot be spread over files.
//!
//! Paths are written out so that the module that uses the macro imports nothing for it.

/// Methods of `fuser::Filesystem` for what a read-only file system of plain files does not have.
macro_rules! operations {
    () => {
        // What the file system does not have.

        fn flush(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: fuser::LockOwner,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn fsync(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: bool,
            reply: fuser::ReplyEmpty,
        ) {
            // The kernel takes ENOSYS for "nothing to do" and does not ask again.
            reply.error(fuser::Errno::ENOSYS);
        }

        fn fsyncdir(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: bool,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn getxattr(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: u32,
            reply: fuser::ReplyXattr,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn listxattr(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: u32,
            reply: fuser::ReplyXattr,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn lseek(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: i64,
            _: i32,
            reply: fuser::ReplyLseek,
        ) {
            // The kernel then answers SEEK_DATA and SEEK_HOLE itself: one extent, no hole.
            reply.error(fuser::Errno::ENOSYS);
        }

        fn ioctl(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: fuser::IoctlFlags,
            _: u32,
            _: &[u8],
            _: u32,
            reply: fuser::ReplyIoctl,
        ) {
            reply.error(fuser::Errno::ENOTTY);
        }

        fn poll(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: fuser::PollNotifier,
            _: fuser::PollEvents,
            _: fuser::PollFlags,
            reply: fuser::ReplyPoll,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn bmap(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: u32,
            _: u64,
            reply: fuser::ReplyBmap,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn getlk(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: fuser::LockOwner,
            _: u64,
            _: u64,
            _: i32,
            _: u32,
            reply: fuser::ReplyLock,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        fn setlk(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: fuser::LockOwner,
            _: u64,
            _: u64,
            _: i32,
            _: u32,
            _: bool,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::ENOSYS);
        }

        // What would change something. The kernel refuses most of it itself on a read-only mount.

        fn setattr(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: Option<u32>,
            _: Option<u32>,
            _: Option<u32>,
            _: Option<u64>,
            _: Option<fuser::TimeOrNow>,
            _: Option<fuser::TimeOrNow>,
            _: Option<std::time::SystemTime>,
            _: Option<fuser::FileHandle>,
            _: Option<std::time::SystemTime>,
            _: Option<std::time::SystemTime>,
            _: Option<std::time::SystemTime>,
            _: Option<fuser::BsdFileFlags>,
            reply: fuser::ReplyAttr,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn mknod(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: u32,
            _: u32,
            _: u32,
            reply: fuser::ReplyEntry,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn mkdir(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: u32,
            _: u32,
            reply: fuser::ReplyEntry,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn unlink(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn rmdir(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn symlink(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: &std::path::Path,
            reply: fuser::ReplyEntry,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn rename(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: fuser::RenameFlags,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn link(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            reply: fuser::ReplyEntry,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn write(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: u64,
            _: &[u8],
            _: fuser::WriteFlags,
            _: fuser::OpenFlags,
            _: Option<fuser::LockOwner>,
            reply: fuser::ReplyWrite,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn create(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: u32,
            _: u32,
            _: i32,
            reply: fuser::ReplyCreate,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn fallocate(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: u64,
            _: u64,
            _: i32,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn setxattr(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            _: &[u8],
            _: i32,
            _: u32,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn removexattr(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: &std::ffi::OsStr,
            reply: fuser::ReplyEmpty,
        ) {
            reply.error(fuser::Errno::EROFS);
        }

        fn copy_file_range(
            &self,
            _: &fuser::Request,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: u64,
            _: fuser::INodeNo,
            _: fuser::FileHandle,
            _: u64,
            _: u64,
            _: fuser::CopyFileRangeFlags,
            reply: fuser::ReplyWrite,
        ) {
            reply.error(fuser::Errno::EROFS);
        }
    };
}

pub(super) use operations;
