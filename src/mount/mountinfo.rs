//! /proc/self/mountinfo (proc(5)): which mounts there are. Pure but for one function that reads it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Mount id.
    pub id: u64,
    /// Mount id of the mount it is attached to.
    pub parent: u64,
    /// Where it is attached.
    pub mountpoint: PathBuf,
    /// Nothing may be executed from it.
    pub noexec: bool,
    /// Type with subtype: `fuse.dicomfs`.
    pub fstype: String,
    /// Source as the file system shows it.
    pub source: OsString,
}

/// The mounts of this process's namespace.
pub fn read() -> io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Parses mountinfo; lines that are not as proc(5) says are left out.
pub fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let mountpoint = PathBuf::from(unescape(fields.nth(2)?));
    let noexec = fields.next()?.split(|byte| *byte == b',');
    let noexec = noexec.into_iter().any(|flag| flag == b"noexec");
    // After the options come any number of tags, ended by a hyphen.
    fields.find(|field| *field == b"-")?;
    let fstype = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let source = unescape(fields.next()?);
    Some(Entry {
        id,
        parent,
        mountpoint,
        noexec,
        fstype,
        source,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the octal escapes: the kernel writes blank, tab, newline and backslash as `\040` etc.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The mount that is seen at `path`: of several on top of each other, the topmost.
pub fn topmost<'a>(entries: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    let at_path = || entries.iter().filter(|entry| entry.mountpoint == path);
    // The one that no other mount at the same place is attached to.
    at_path()
        .rfind(|entry| !at_path().any(|other| other.parent == entry.id && other.id != entry.id))
}

/// Places below `path` at which something is mounted, and `path` itself.
pub fn places_in<'a>(entries: &'a [Entry], path: &'a Path) -> Vec<&'a Path> {
    let below = entries.iter().map(|entry| entry.mountpoint.as_path());
    let below = below.filter(|place| *place != path && place.starts_with(path));
    let mut places: Vec<&Path> = below.chain([path]).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/d\\040i\\134com ro,noexec,nosuid - fuse.dicomfs /arch\\011ive ro,user_id=0
42 41 0:52 / /mnt/x ro - fuse.dicomfs /new ro
41 27 0:51 / /mnt/x ro propagate_from:3 - fuse.dicomfs /old ro
garbage
50 27 0:60 / /mnt/short ro
\xff 1 2 3 4 5 - 7 8

";

    #[test]
    fn lines_are_parsed_and_bad_ones_left_out() {
        let entries = parse(TEXT);
        let ids: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [22, 27, 40, 42, 41]);
        let dicom = &entries[2];
        assert_eq!(dicom.mountpoint, Path::new("/mnt/d i\\com"));
        assert_eq!(dicom.fstype, "fuse.dicomfs");
        assert!(dicom.noexec && !entries[1].noexec);
        assert_eq!(dicom.source, "/arch\tive");
        assert_eq!(entries[1].fstype, "ext4");
    }

    #[test]
    fn the_topmost_of_a_stack_is_found_whatever_the_order() {
        let entries = parse(TEXT);
        let source = |path: &str| topmost(&entries, Path::new(path)).map(|e| e.source.clone());
        assert_eq!(source("/mnt/x"), Some("/new".into()));
        assert_eq!(source("/proc"), Some("proc".into()));
        assert_eq!(source("/mnt"), None);
    }

    #[test]
    fn places_are_those_below_and_the_path_itself() {
        let entries = parse(TEXT);
        let places = |path: &'static str| {
            let places = places_in(&entries, Path::new(path)).into_iter();
            places
                .map(|place| place.to_str().expect("UTF-8").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(places("/mnt"), ["/mnt", "/mnt/d i\\com", "/mnt/x"]);
        assert_eq!(places("/mnt/x"), ["/mnt/x"]);
        assert_eq!(places("/mn"), ["/mn"]);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for (field, expected) in [
            (&b"a\\"[..], &b"a\\"[..]),
            (b"\\04", b"\\04"),
            (b"\\999", b"\\999"),
            (b"\\377", b"\xff"),
            (b"\\012x", b"\nx"),
        ] {
            assert_eq!(unescape(field).into_vec(), expected);
        }
    }

    #[test]
    fn this_process_has_a_root() {
        let entries = read().expect("mountinfo");
        assert!(topmost(&entries, Path::new("/")).is_some());
    }
}
