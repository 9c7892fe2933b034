//! The file system against a model: random archives, random operations, no mount.
//!
//! The model is a map from path to bytes, made from what was written, not from what is read.

mod common;
#[path = "model/truth.rs"]
mod truth;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use common::DEADLINE;
use dicom_dictionary_std::uids;
use dicomfs::archive::{self, Source};
use dicomfs::cache::Cache;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::fetch::Fetcher;
use dicomfs::format::json;
use dicomfs::fs::{Attr, Cached, Error, Fs, Kind, OpenMode, Parts, ReadReply};
use dicomfs::tree::Tree;
use dicomfs::volume;
use proptest::prelude::*;
use tempfile::TempDir;
use truth::{describe, dialects};

const ROOT: u64 = 1;

struct World {
    dir: TempDir,
    fs: Arc<Fs>,
    /// Path below the mount to the bytes it must have.
    model: BTreeMap<String, Vec<u8>>,
    /// Source files by series and z, for changing them.
    sources: Vec<Vec<PathBuf>>,
    uids: Vec<String>,
}

fn syntaxes() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(uids::EXPLICIT_VR_LITTLE_ENDIAN),
        Just(uids::IMPLICIT_VR_LITTLE_ENDIAN),
        Just("1.2.840.10008.1.2.2"),
        Just("1.2.840.10008.1.2.1.99"),
        Just(uids::RLE_LOSSLESS),
    ]
}

fn series() -> impl Strategy<Value = Series> {
    let shape = (1..9_usize, 1..40_usize, 1..40_usize);
    (shape, syntaxes(), any::<bool>(), any::<u32>()).prop_map(|((z, y, x), syntax, ct, seed)| {
        let mut series = match ct {
            true => Series::ct("2.25.0", syntax, [z, y, x]),
            false => Series::mr("2.25.0", syntax, [z, y, x]),
        };
        // Phantoms are too smooth to tell voxels apart.
        let mut state = u64::from(seed) | 1 << 40;
        for value in &mut series.stored {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *value = ((state >> 33) % 4000) as i16;
        }
        series
    })
}

fn world(all: &[Series], budget_bytes: u64) -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut model, mut sources, mut written) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (n, template) in all.iter().enumerate() {
        let series = Series {
            uid: format!("2.25.{}", 900 + n),
            ..template.clone()
        };
        let paths = series
            .write(&dir.path().join(format!("s{n}")))
            .expect("files written");
        written.push((series, paths));
    }
    let catalog =
        archive::read_all(dir.path(), &archive::Options::default(), None, &()).expect("a scan");
    let built = volume::build(&catalog.records);
    for (series, paths) in &written {
        let volume = built.volumes.iter().find(|v| v.name == series.uid);
        dialects(series, volume.expect("one a series"), &mut model);
        sources.push(describe(series, paths, &mut model));
    }
    let names = written.into_iter().map(|(series, _)| series.uid).collect();
    let tree = Tree::pinned(built, SystemTime::now()).expect("a tree");
    let cache = Arc::new(Cache::new(budget_bytes, 64).expect("a cache"));
    let fs = Fs::new(Parts {
        tree,
        source: Arc::new(Source::new(catalog.root)),
        fetcher: Fetcher::new(cache, 2, usize::MAX).expect("workers"),
        uid: 0,
        gid: 0,
        umask: 0,
        config_json: b"{}\n".to_vec(),
        audit: None,
    });
    World {
        dir,
        fs: Arc::new(fs),
        model,
        sources,
        uids: names,
    }
}

impl World {
    fn lookup(&self, path: &str) -> Result<Attr, Error> {
        let mut attr = self.fs.getattr(ROOT)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            attr = self.fs.lookup(attr.ino, OsStr::new(name))?;
        }
        Ok(attr)
    }

    fn open(&self, path: &str) -> u64 {
        let ino = self.lookup(path).expect("it is there").ino;
        let mut refuse = |_: std::os::fd::BorrowedFd<'_>| Err(io::Error::other("no kernel here"));
        let opened = self
            .fs
            .open(ino, libc::O_RDONLY, &mut refuse)
            .expect("it opens");
        match path.ends_with("volume.json") {
            true => assert!(matches!(opened.mode, OpenMode::Direct)),
            false => assert!(matches!(opened.mode, OpenMode::Cached)),
        }
        opened.fh
    }

    fn read(&self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>, Error> {
        let (send, receive) = mpsc::channel();
        let reply = ReadReply::new(move |answer| {
            send.send(answer.map(<[u8]>::to_vec))
                .expect("somebody waits");
        });
        // The inode counts only for handles of another process.
        self.fs.read(ROOT, fh, offset, size, Cached::Maybe, reply);
        receive
            .recv_timeout(DEADLINE)
            .expect("a read is always answered")
    }

    /// Lists a directory, `step` entries a call.
    fn list(&self, ino: u64, step: usize) -> Vec<(String, Attr)> {
        let (mut all, mut offset) = (Vec::new(), 0);
        loop {
            let (mut taken, from) = (0, offset);
            let mut add = |entry: &dicomfs::fs::DirEntry| {
                if taken == step {
                    return true;
                }
                taken += 1;
                offset = entry.next_offset;
                all.push((entry.name.to_string_lossy().into_owned(), entry.attr));
                false
            };
            self.fs.readdir(ino, from, &mut add).expect("a directory");
            if taken == 0 {
                return all;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Lookup(prop::sample::Index),
    Missing(prop::sample::Index),
    List {
        directory: prop::sample::Index,
        step: usize,
    },
    Open(prop::sample::Index),
    Pread {
        handle: prop::sample::Index,
        offset: prop::sample::Index,
        size: u32,
    },
    Release(prop::sample::Index),
    Change(prop::sample::Index),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let index = any::<prop::sample::Index>;
    let op = prop_oneof![
        2 => index().prop_map(Op::Lookup),
        1 => index().prop_map(Op::Missing),
        1 => (index(), 1..5_usize).prop_map(|(directory, step)| Op::List { directory, step }),
        4 => index().prop_map(Op::Open),
        9 => (index(), index(), 0..20_000_u32)
            .prop_map(|(handle, offset, size)| Op::Pread { handle, offset, size }),
        2 => index().prop_map(Op::Release),
        1 => index().prop_map(Op::Change),
    ];
    prop::collection::vec(op, 1..60)
}

/// Runs operations and compares every answer with the model.
fn run(world: &World, ops: Vec<Op>) {
    let paths: Vec<&String> = world.model.keys().collect();
    let mut handles: Vec<(u64, &String)> = Vec::new();
    let mut changed: Vec<usize> = Vec::new();
    for op in ops {
        match op {
            Op::Lookup(path) => {
                let path = path.get(&paths);
                let attr = world.lookup(path).expect("it is there");
                assert_eq!(attr.size_bytes, world.model[*path].len() as u64, "{path}");
                assert_eq!(world.fs.getattr(attr.ino).expect("by ino"), attr);
            }
            Op::Missing(path) => {
                let path = format!("{}x", path.get(&paths));
                assert!(matches!(world.lookup(&path), Err(Error::Absent)), "{path}");
            }
            Op::List { directory, step } => {
                check_listing(world, directory.get::<&String>(&paths), step)
            }
            Op::Open(path) => {
                let path = path.get(&paths);
                handles.push((world.open(path), *path));
            }
            Op::Pread {
                handle,
                offset,
                size,
            } if !handles.is_empty() => {
                let (fh, path) = handle.get(&handles);
                let truth = &world.model[*path];
                let offset = offset.index(truth.len() + 2);
                let answer = world.read(*fh, offset as u64, size);
                check_read(world, path, truth, offset, size, answer, &changed);
            }
            Op::Release(handle) if !handles.is_empty() => {
                let (fh, _) = handles.remove(handle.index(handles.len()));
                world.fs.release(fh);
                assert!(matches!(world.read(fh, 0, 1), Err(Error::BadHandle)));
            }
            Op::Change(which) => {
                let n = which.index(world.sources.len());
                let path = which.get(&world.sources[n]);
                let bytes = std::fs::read(path).expect("the source");
                std::fs::write(path, [&bytes[..], b"\0\0"].concat()).expect("changed");
                changed.push(n);
            }
            Op::Pread { .. } | Op::Release(_) => {}
        }
    }
}

fn check_listing(world: &World, path: &str, step: usize) {
    let directory = path.rsplit_once('/').expect("a directory").0;
    let ino = world.lookup(directory).expect("a directory").ino;
    let listed = world.list(ino, step);
    assert_eq!(
        listed,
        world.list(ino, usize::MAX),
        "any chunking lists the same"
    );
    let mut names: Vec<&String> = listed.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), listed.len(), "each name once");
    for (name, attr) in &listed {
        assert_eq!(
            world.fs.lookup(ino, OsStr::new(name)).expect("listed"),
            *attr,
            "{name}"
        );
        if attr.kind == Kind::File {
            let truth = &world.model[&format!("{directory}/{name}")];
            assert_eq!(attr.size_bytes, truth.len() as u64, "{directory}/{name}");
        }
    }
}

fn check_read(
    world: &World,
    path: &str,
    truth: &[u8],
    offset: usize,
    size: u32,
    answer: Result<Vec<u8>, Error>,
    changed: &[usize],
) {
    let start = offset.min(truth.len());
    let mut end = (start + size as usize).min(truth.len());
    let mut answer = answer;
    if let (true, Ok(bytes)) = (path.ends_with("volume.json"), &mut answer) {
        // Who made how many frames is at the end.
        assert_eq!(bytes.len(), end - start, "{path}");
        let stable = truth.len() - json::MAKERS_LEN_BYTES;
        end = end.min(stable).max(start);
        bytes.truncate(end - start);
    }
    match answer {
        Ok(bytes) => assert!(bytes == truth[start..end], "{path} {start}..{end}"),
        Err(error) => {
            let touched = changed.iter().any(|&n| path.contains(&world.uids[n]));
            assert!(
                touched && matches!(error, Error::Changed(_)),
                "{path}: {error}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_is_what_was_written(
        all in prop::collection::vec(series(), 1..4),
        budget_bytes in prop_oneof![Just(20_000_u64), Just(1 << 30)],
        ops in ops(),
    ) {
        let world = world(&all, budget_bytes);
        run(&world, ops);
        world.fs.shutdown();
        world.dir.close().expect("cleaned up");
    }
}

#[test]
fn a_volume_lists_its_dialects_in_order() {
    let ct = Series::ct("2.25.0", uids::EXPLICIT_VR_LITTLE_ENDIAN, [2, 8, 8]);
    let world = world(&[ct], 1 << 20);
    let table = [
        (
            "",
            "volume.npy volume.raw volume.nii volume.nhdr volume.mhd volume.zarr volume.json \
             preview.png frames dicom",
        ),
        ("/volume.zarr", "zarr.json 0"),
        ("/volume.zarr/0", "zarr.json c.0.0.0 c.1.0.0"),
        ("/frames", "0001.npy 0002.npy"),
    ];
    for (directory, names) in table {
        let path = format!("series/{}{directory}", world.uids[0]);
        let attr = world.lookup(&path).expect("a directory");
        let listed = world.list(attr.ino, usize::MAX);
        let listed: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            listed,
            [". ..", names].join(" ").split(' ').collect::<Vec<_>>()
        );
    }
    // NIfTI has no float16; chunks have one name each.
    for name in [
        "volume.f16.nii",
        "volume.zarr/0/c.2.0.0",
        "volume.zarr/0/c.00.0.0",
        "volume.zarr/0/c/0/0/0",
        "volume.zarr/.zarray",
    ] {
        let path = format!("series/{}/{name}", world.uids[0]);
        let missing = world.lookup(&path);
        assert!(matches!(missing, Err(Error::Absent)), "{name}: {missing:?}");
    }
}

#[test]
fn writing_is_refused_everywhere() {
    let ct = Series::ct("2.25.0", uids::EXPLICIT_VR_LITTLE_ENDIAN, [2, 8, 8]);
    let world = world(&[ct], 1 << 20);
    let mut refuse = |_: std::os::fd::BorrowedFd<'_>| Err(io::Error::other("no kernel here"));
    for path in world
        .model
        .keys()
        .map(String::as_str)
        .chain(["index.csv", ".dicomfs/version"])
    {
        let ino = world.lookup(path).expect("it is there").ino;
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_TRUNC] {
            let opened = world.fs.open(ino, flags, &mut refuse);
            assert!(opened.is_err_and(|e| e.errno() == libc::EROFS), "{path}");
        }
    }
}

#[test]
fn a_value_beyond_int16_fails_its_frame_and_names_the_file_that_has_it() {
    let mut ct = Series::ct("2.25.0", uids::EXPLICIT_VR_LITTLE_ENDIAN, [2, 8, 8]);
    ct.stored.fill(0);
    ct.stored[5] = -32000;
    let world = world(&[ct], 1 << 20);
    let at = |name: &str| world.open(&format!("series/{}/{name}", world.uids[0]));
    let error = world
        .read(at("volume.npy"), 4096, 128)
        .expect_err("-33024 is no int16");
    assert_eq!(error.errno(), libc::EIO);
    assert!(error.to_string().contains("volume.i32.npy"), "{error}");
    assert!(
        world.read(at("volume.npy"), 4096 + 128, 128).is_ok(),
        "the other frame"
    );
    let bytes = world
        .read(at("volume.i32.raw"), 20, 4)
        .expect("32 bits hold it");
    assert_eq!(bytes, (-33024_i32).to_le_bytes());
    let bytes = world
        .read(at("volume.i16.raw"), 10, 2)
        .expect("a cast saturates");
    assert_eq!(bytes, i16::MIN.to_le_bytes());
}
