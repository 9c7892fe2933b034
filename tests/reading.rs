//! How much is decoded for what is read: slices, patches and whole files, by mmap and by read.

mod common;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use common::{Mount, can_mount, expected_slab, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use memmap2::Mmap;
use tempfile::TempDir;

const HEADER: usize = 4096;
const UID: &str = "2.25.81";

/// Frames of 32 KiB, 8 pages each: mmap of one page has the kernel ask for many of them. The end of the
/// file is out of reach of what the tests read: there a guess may come to a page of its own.
const SHAPE: [usize; 3] = [120, 128, 128];

struct World {
    /// Kept until the mount is gone.
    _dir: TempDir,
    mount: Mount,
    expected: Vec<u8>,
    frame: usize,
}

impl World {
    fn new() -> World {
        World::of(SHAPE)
    }

    fn of(shape: [usize; 3]) -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let series = Series::ct(UID, uids::RLE_LOSSLESS, shape);
        series.write(dir.path()).expect("files written");
        let mut expected = vec![0; HEADER];
        expected.extend(expected_slab(&series));
        World {
            mount: Mount::of(dir.path(), &["--decode-threads", "2"]),
            _dir: dir,
            frame: (expected.len() - HEADER) / shape[0],
            expected,
        }
    }

    fn open(&self, name: &str) -> File {
        File::open(self.mount.series(UID).join(name)).expect("opens")
    }

    fn decoded(&self) -> u64 {
        self.stat("frames_decoded")
    }

    fn stat(&self, key: &str) -> u64 {
        let stats = std::fs::read(self.mount.root.join(".dicomfs/stats.json")).expect("stats");
        let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
        stats[key].as_u64().expect("a number")
    }

    fn slice(&self, z: usize) -> Range<usize> {
        HEADER + z * self.frame..HEADER + (z + 1) * self.frame
    }
}

fn map(file: &File) -> Mmap {
    // SAFETY: the file lies on a read-only mount that nobody changes while the test runs.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(file).expect("maps")
    }
}

#[test]
fn a_header_decodes_nothing() {
    if !can_mount("a_header_decodes_nothing") {
        return;
    }
    let world = World::new();
    for name in ["volume.npy", "volume.nii", "volume.stored.npy"] {
        let mut header = [0; HEADER];
        world.open(name).read_exact(&mut header).expect("reads");
    }
    assert_eq!(world.decoded(), 0);
}

#[test]
fn a_volume_of_one_frame_is_read_in_few_requests() {
    if !can_mount("a_volume_of_one_frame_is_read_in_few_requests") {
        return;
    }
    for name in ["volume.npy", "volume.nii", "volume.raw", "frames/0001.npy"] {
        let world = World::of([1, 512, 512]);
        let mut file = world.open(name);
        let header_len = if name.ends_with("raw") { 0 } else { HEADER };
        file.read_exact(&mut vec![0; header_len]).expect("reads");
        assert_eq!(world.stat("frames_decoded"), 0, "{name}");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("reads");
        assert!(bytes == world.expected[HEADER..], "{name}");
        assert_eq!(world.stat("frames_decoded"), 1, "{name}");
        // Linux 6.18 makes one of it where a window is a MiB; none is for a page alone.
        let requests = world.stat("reads");
        println!("{name}: {requests} requests");
        assert!(requests <= 2 + 512 / 64, "{name}: {requests}");
    }
}

#[test]
fn a_slice_decodes_one_frame() {
    if !can_mount("a_slice_decodes_one_frame") {
        return;
    }
    for (name, by_mmap) in [
        ("volume.npy", true),
        ("volume.npy", false),
        ("volume.raw", true),
    ] {
        let world = World::new();
        let mut file = world.open(name);
        let in_file = |at: usize| {
            if name.ends_with("raw") {
                at - HEADER
            } else {
                at
            }
        };
        for (count, z) in [(1, 40), (2, 7), (3, 71)] {
            let wanted = world.slice(z);
            let part = in_file(wanted.start)..in_file(wanted.end);
            if by_mmap {
                assert!(map(&file)[part] == world.expected[wanted], "{name}");
            } else {
                let mut bytes = vec![0; part.len()];
                file.seek(SeekFrom::Start(part.start as u64))
                    .expect("seeks");
                file.read_exact(&mut bytes).expect("reads");
                assert!(bytes == world.expected[wanted], "{name}");
            }
            assert_eq!(world.decoded(), count, "{name} {z} by_mmap {by_mmap}");
        }
    }
}

#[test]
fn a_patch_decodes_its_slices() {
    if !can_mount("a_patch_decodes_its_slices") {
        return;
    }
    for (z_start, depth, rows) in [(10, 32, 48..80), (0, 64, 0..32), (48, 32, 96..128)] {
        let world = World::new();
        let file = world.open("volume.npy");
        let bytes = map(&file);
        for z in z_start..z_start + depth {
            for row in rows.clone() {
                let start = world.slice(z).start + row * 256 + 64;
                assert!(bytes[start..start + 64] == world.expected[start..start + 64]);
            }
        }
        assert_eq!(world.decoded(), depth as u64, "{z_start}");
    }
}

#[test]
fn random_reads_decode_what_they_touch() {
    if !can_mount("random_reads_decode_what_they_touch") {
        return;
    }
    let world = World::new();
    let file = world.open("volume.npy");
    let mut touched = std::collections::BTreeSet::new();
    for n in 0..20 {
        let (z, inside) = ((n * 29) % 80, (n * 4099) % (world.frame - 9000));
        let start = world.slice(z).start + inside;
        let mut bytes = vec![0; 9000 - 400 * n];
        file.read_exact_at(&mut bytes, start as u64).expect("reads");
        assert!(bytes == world.expected[start..start + bytes.len()]);
        touched.insert(z);
    }
    assert_eq!(world.decoded(), touched.len() as u64);
}

#[test]
fn going_through_has_the_rest_made_ahead() {
    if !can_mount("going_through_has_the_rest_made_ahead") {
        return;
    }
    for by_mmap in [true, false] {
        let world = World::new();
        let mut file = world.open("volume.npy");
        let half = world.slice(30).end;
        if by_mmap {
            let bytes = map(&file);
            assert!(bytes[HEADER..half] == world.expected[HEADER..half]);
            drop(bytes);
        } else {
            let mut bytes = vec![0; half];
            file.read_exact(&mut bytes).expect("reads");
            assert!(bytes[HEADER..] == world.expected[HEADER..half]);
        }
        wait_until("the sweep reaches the end", || world.decoded() == 120);
        drop(file);
        // From now on the slab itself is read.
        let whole = std::fs::read(world.mount.series(UID).join("volume.npy")).expect("reads");
        assert!(whole[HEADER..] == world.expected[HEADER..]);
        assert_eq!(world.decoded(), 120);
    }
}
