//! From the file system's own types to fuser's. Pure.

use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo};

use crate::fs::{Attr, Kind};

/// Preferred I/O size, bytes: readers with a buffer (Python's `open`, stdio) take it for their
/// buffer. 4096 is the length of the header, which is served without any decode; more would have
/// them decode frames only to look at the shape.
pub const BLOCK_BYTES: u32 = 4096;

/// Longest name, bytes.
pub const NAME_BYTES_MAX: u32 = 255;

/// The unit of `st_blocks`, bytes, whatever the block size is (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// Kind of an inode.
pub fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
    }
}

/// Attributes. There is one time: access and change are not kept.
pub fn attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size_bytes,
        blocks: attr.size_bytes.div_ceil(STAT_BLOCK_BYTES),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(attr.kind),
        perm: attr.mode & 0o7777,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attributes_are_carried_over() {
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let cases = [
            (Kind::Directory, FileType::Directory, 0, 0),
            (Kind::File, FileType::RegularFile, 1, 1),
            (Kind::File, FileType::RegularFile, 4096 + 512, 9),
            (Kind::File, FileType::RegularFile, u64::MAX, 1 << 55),
            (Kind::Symlink, FileType::Symlink, 513, 2),
        ];
        for (kind, file_type, size_bytes, blocks) in cases {
            let converted = attr(&Attr {
                ino: 7,
                kind,
                size_bytes,
                mtime,
                mode: 0o100_444u32 as u16,
                nlink: 2,
                uid: 3,
                gid: 4,
                ttl: Duration::from_secs(1),
            });
            assert_eq!(converted.kind, file_type);
            assert_eq!(converted.size, size_bytes);
            assert_eq!(converted.blocks, blocks, "{size_bytes} bytes");
            assert_eq!(converted.perm, 0o444);
            assert_eq!((converted.mtime, converted.ctime), (mtime, mtime));
            assert_eq!((converted.ino, converted.nlink), (INodeNo(7), 2));
            assert_eq!((converted.uid, converted.gid), (3, 4));
        }
    }
}
