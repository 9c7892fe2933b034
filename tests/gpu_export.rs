//! Volumes in device memory, through real mounts on the libcuda of the tests: what another program maps
//! is what `volume.raw` has, and a lease ends with whoever had it.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

#[path = "gpu_export/beside.rs"]
mod beside;
#[allow(dead_code)]
#[path = "../src/decode/cpu/jpeg_lossless/tests/encoder.rs"]
mod ljpeg_encoder;
#[path = "gpu_export/strangers.rs"]
mod strangers;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::{Mount, can_mount, skip};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::ipc;
use fake_gpu::libcuda;
use serde_json::Value;
use tempfile::TempDir;

const NAME: &str = "volume.cuda.json";

/// A mount with the device of the tests, and what its archive has.
struct Bench {
    mount: Mount,
    /// After the mount.
    _archive: TempDir,
    all: Vec<Series>,
    library: PathBuf,
}

/// Series of 1 MiB each or less: one that a device can read itself, one with float values, and one that is
/// compressed.
fn series() -> Vec<Series> {
    let shape = [16, 256, 128];
    vec![
        Series::ct("2.25.91.1", uids::EXPLICIT_VR_LITTLE_ENDIAN, shape),
        Series::mr("2.25.91.2", uids::IMPLICIT_VR_LITTLE_ENDIAN, [16, 128, 128]),
        Series::ct("2.25.91.3", uids::RLE_LOSSLESS, shape),
    ]
}

impl Bench {
    fn new(test: &str, faults: &str, args: &[&str]) -> Option<Bench> {
        Bench::with(test, faults, args, |_| {})
    }

    /// The same of an archive that something is done to before.
    fn with(test: &str, faults: &str, args: &[&str], change: impl Fn(&Path)) -> Option<Bench> {
        if !can_mount(test) {
            return None;
        }
        let library = libcuda::library(test)?;
        let archive = tempfile::tempdir().expect("a temporary directory");
        let all = series();
        for series in &all {
            let dir = archive.path().join(&series.uid);
            fs::create_dir(&dir).expect("a directory");
            series.write(&dir).expect("files written");
        }
        change(archive.path());
        let counters = archive.path().join("counters");
        let variables = libcuda::environment(&library, faults, &counters);
        let mut given = vec!["--device=cuda", "--cache-size=64M"];
        given.extend(args);
        Some(Bench {
            mount: Mount::with(archive.path(), &given, variables),
            _archive: archive,
            all,
            library,
        })
    }

    fn dir(&self, n: usize) -> PathBuf {
        self.mount.series(&self.all[n].uid)
    }

    fn open(&self, n: usize) -> File {
        File::open(self.dir(n).join(NAME)).expect("opened")
    }

    fn residents(&self, key: &str) -> u64 {
        stats(&self.mount)["residents"][key].as_u64().expect(key)
    }

    /// Runs Python with the example as a module, and the device of the tests.
    fn python(&self, script: &str) -> Command {
        let mut python = Command::new("python3");
        python
            .args(["-c", script])
            .env("PYTHONPATH", examples())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LD_LIBRARY_PATH", &self.library);
        python
    }
}

fn stats(mount: &Mount) -> Value {
    let text = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// True if Python can receive descriptors (3.9); else the skip has been printed.
fn has_python(test: &str) -> bool {
    let check = "import socket; socket.recv_fds";
    let found = Command::new("python3").args(["-c", check]).output();
    let is_there = found.is_ok_and(|output| output.status.success());
    if !is_there {
        skip(test, "no Python 3.9", "DICOMFS_REQUIRE_CLIENTS");
    }
    is_there
}

fn document(mut file: &File) -> io::Result<Value> {
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    assert_eq!(text.len(), 4096);
    Ok(serde_json::from_slice(&text).expect("JSON"))
}

/// Shows the token of a document: the memory, which is a file on this device.
fn fetch(document: &Value) -> Option<OwnedFd> {
    let handle = &document["handle"];
    let text = |key: &str| handle[key].as_str().expect(key);
    let mut door = UnixStream::connect(text("socket")).ok()?;
    let line = format!("{}\n", text("token"));
    door.write_all(line.as_bytes()).ok()?;
    let (_, mut fds) = ipc::receive(door.as_fd(), &mut [0; 1]).ok()?;
    fds.pop()
}

fn memory(document: &Value) -> Vec<u8> {
    let file = File::from(fetch(document).expect("given"));
    let mut bytes = vec![0; document["bytes"].as_u64().expect("bytes") as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn another_program_maps_what_the_files_have() {
    let test = "another_program_maps_what_the_files_have";
    let Some(bench) = Bench::new(test, "", &[]) else {
        return;
    };
    for n in 0..bench.all.len() {
        for op in ["", ".stored", ".f32", ".i16"] {
            let open = |end| File::open(bench.dir(n).join(format!("volume{op}.{end}")));
            let file = open("cuda.json").expect("opened");
            assert_eq!(file.metadata().expect("metadata").len(), 4096);
            // Read only after, so that the device has to see to the frames.
            let document = document(&file).expect("resident");
            let mut raw = Vec::new();
            open("raw")
                .expect("opened")
                .read_to_end(&mut raw)
                .expect("read");
            assert!(memory(&document) == raw, "{n} {op}");
        }
    }
    assert!(bench.residents("direct_frames") > 0 && bench.residents("uploaded_frames") > 0);
    assert_eq!(bench.residents("mismatches"), 0);
    common::wait_until("the leases' end", || bench.residents("leased") == 0);
    let names = fs::read_dir(bench.dir(0)).expect("a listing");
    let mut names = names.map(|entry| entry.expect("an entry").file_name());
    assert!(!names.any(|name| name.to_string_lossy().contains("cuda")));
    let config = fs::read_to_string(bench.mount.root.join(".dicomfs/config.json"));
    assert!(
        config
            .expect("config")
            .contains("\"device_cache_size\": \"25%\"")
    );
}

#[test]
fn every_real_volume_is_on_the_device_what_it_is_in_the_files() {
    let test = "every_real_volume_is_on_the_device_what_it_is_in_the_files";
    let (true, Some(data)) = (can_mount(test), common::data_dir(test)) else {
        return;
    };
    let Some(library) = libcuda::library(test) else {
        return;
    };
    let counters = tempfile::NamedTempFile::new().expect("a file");
    let variables = libcuda::environment(&library, "", counters.path());
    let mount = Mount::with(&data, &["--device=cuda"], variables);
    let (mut same, mut refused) = (0, 0);
    for entry in fs::read_dir(mount.root.join("series")).expect("series") {
        let dir = entry.expect("an entry").path();
        for op in ["", ".stored"] {
            let path = |end| dir.join(format!("volume{op}.{end}"));
            let opened = File::open(path("cuda.json"));
            let settled = opened.and_then(|file| Ok((document(&file)?, file)));
            let raw = fs::read(path("raw"));
            match (settled, raw) {
                (Ok((document, _file)), Ok(raw)) => {
                    assert!(memory(&document) == raw, "{dir:?} {op}");
                    same += 1;
                }
                (settled, raw) => {
                    assert_eq!(errno(settled.map(drop)), errno(raw), "{dir:?} {op}");
                    refused += 1;
                }
            }
        }
    }
    let stats = stats(&mount);
    println!("{same} the same, {refused} refused: {}", stats["residents"]);
    assert!(same > refused && stats["residents"]["mismatches"] == 0);
}

#[test]
fn a_device_that_is_wrong_or_dies_gives_right_bytes_or_none() {
    let test = "a_device_that_is_wrong_or_dies_gives_right_bytes_or_none";
    let mut right = 0;
    for faults in ["wrong:1+", "zeros:1+", "launch:1+", "die:2"] {
        let Some(bench) = Bench::new(test, faults, &[]) else {
            return;
        };
        for n in 0..bench.all.len() {
            let settled = File::open(bench.dir(n).join(NAME))
                .and_then(|file| document(&file).map(|found| (found, file)));
            match settled {
                Ok((found, file)) => {
                    let Some(given) = fetch(&found) else {
                        // It died just now.
                        assert_eq!(errno(document(&file)), Some(libc::ESTALE), "{faults} {n}");
                        continue;
                    };
                    let raw = fs::read(bench.dir(n).join("volume.raw")).expect("read");
                    let mut bytes = vec![0; raw.len()];
                    let read = File::from(given).read_exact_at(&mut bytes, 0);
                    assert!(read.is_ok() && bytes == raw, "{faults} {n}");
                    right += 1;
                }
                Err(error) => {
                    let errno = error.raw_os_error();
                    assert_eq!(errno, Some(libc::ENODEV), "{faults} {n}: {error}");
                }
            }
        }
        let found = bench.residents("mismatches");
        println!("{faults}: {right} right so far, {found} mismatches");
        let is_wrong = faults.starts_with("wrong") || faults.starts_with("zeros");
        assert_eq!(found > 0, is_wrong, "{faults}");
    }
    assert!(right >= 9, "{right}");
}

#[test]
fn files_inside_a_container_are_read_there_by_the_device() {
    let test = "files_inside_a_container_are_read_there_by_the_device";
    if !has_python(test) {
        return;
    }
    // Of the first series as they are, of the second compressed.
    let pack = |archive: &Path| {
        let script = "
import os, shutil, sys, zipfile
for n, how in ((1, zipfile.ZIP_STORED), (2, zipfile.ZIP_DEFLATED)):
    series = os.path.join(sys.argv[1], f'2.25.91.{n}')
    with zipfile.ZipFile(series + '.zip', 'w', how) as packed:
        for name in sorted(os.listdir(series)):
            packed.write(os.path.join(series, name), name)
    shutil.rmtree(series)
";
        let mut python = Command::new("python3");
        let packed = python.args(["-c", script]).arg(archive).status();
        assert!(packed.expect("python3 runs").success());
    };
    let Some(bench) = Bench::with(test, "", &[], pack) else {
        return;
    };
    for (n, direct_frames) in [(0, 16), (1, 16)] {
        let file = bench.open(n);
        let bytes = memory(&document(&file).expect("resident"));
        let raw = fs::read(bench.dir(n).join("volume.raw")).expect("read");
        assert!(bytes == raw, "{n}");
        assert_eq!(bench.residents("direct_frames"), direct_frames, "{n}");
    }
    assert_eq!(bench.residents("mismatches"), 0);
}

#[test]
fn the_example_maps_a_volume() {
    let test = "the_example_maps_a_volume";
    if !has_python(test) {
        return;
    }
    // By a descriptor, and by a handle of CUDA IPC.
    for (faults, kind) in [("", "posix_fd"), ("no_vmm", "cuda_ipc")] {
        let Some(bench) = Bench::new(test, faults, &[]) else {
            return;
        };
        let script = "
import ctypes, sys, threading, torch_zero_copy
volume = torch_zero_copy.DeviceVolume(sys.argv[1] + '/volume.cuda.json')
view = volume.__cuda_array_interface__
data, read_only = view['data']
assert ctypes.string_at(data, volume.info['bytes']) == open(sys.argv[1] + '/volume.raw', 'rb').read()
assert volume.info['handle']['kind'] == sys.argv[2], volume.info
def current():
    context = ctypes.c_void_p()
    assert volume.cuda.cuCtxGetCurrent(ctypes.byref(context)) == 0
    return context.value
assert current() is None, 'which device is current is for the program to say'
print(view['shape'], view['typestr'], view['strides'])
# It ends on a thread that has never heard of the device.
cuda, ends = volume.cuda, [volume]
del volume
thread = threading.Thread(target=ends.clear)
thread.start()
thread.join()
assert cuda.cuInit(0) == cuda.cuDeviceGet(ctypes.byref(ctypes.c_int()), 0) == 0, 'misused'
";
        for n in 0..bench.all.len() {
            let output = bench.python(script).arg(bench.dir(n)).arg(kind).output();
            let output = output.expect("python3 runs");
            assert!(output.status.success(), "{kind}: {}", text(&output));
        }
        assert_eq!(bench.residents("opens"), 3);
        common::wait_until("the leases' end", || bench.residents("leased") == 0);
    }
}

#[test]
fn without_a_device_the_example_says_so_and_reads_the_file() {
    let test = "without_a_device_the_example_says_so_and_reads_the_file";
    let (true, Some(python)) = (can_mount(test), common::numpy(test)) else {
        return;
    };
    let archive = tempfile::tempdir().expect("a temporary directory");
    let series = &series()[0];
    series.write(archive.path()).expect("files written");
    let mount = Mount::of(archive.path(), &["--device=cpu"]);
    let path = mount.series(&series.uid);
    assert_eq!(errno(File::open(path.join(NAME))), Some(libc::ENODEV));
    let output = Command::new(python)
        .arg(examples().join("torch_zero_copy.py"))
        .arg(&path)
        .output()
        .expect("Python runs");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for words in ["read from volume.npy", "(16, 256, 128)", "int16"] {
        assert!(said.contains(words), "{said}");
    }
}

/// A program that has mapped a volume and waits, to be killed.
fn consumer(bench: &Bench, n: usize) -> Child {
    let script = "
import sys, torch_zero_copy
volume = torch_zero_copy.DeviceVolume(sys.argv[1] + '/volume.cuda.json')
print('mapped', flush=True)
sys.stdin.read()
";
    let mut child = bench
        .python(script)
        .arg(bench.dir(n))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut word = [0; 6];
    let stdout = child.stdout.as_mut().expect("its output");
    stdout.read_exact(&mut word).expect("mapped");
    child
}

#[test]
fn a_killed_consumer_makes_room() {
    let test = "a_killed_consumer_makes_room";
    if !has_python(test) {
        return;
    }
    // Each takes 2 MiB: that is what devices share memory by.
    let Some(bench) = Bench::new(test, "", &["--device-cache-size=5M"]) else {
        return;
    };
    let mut killed = consumer(&bench, 0);
    let mine = bench.open(1);
    document(&mine).expect("resident");
    assert_eq!(bench.residents("leased"), 2);
    let refused = document(&bench.open(2));
    assert_eq!(errno(refused), Some(libc::ENOSPC));
    killed.kill().expect("killed");
    killed.wait().expect("waited");
    common::wait_until("the lease's end", || bench.residents("leased") == 1);
    let file = bench.open(2);
    let bytes = memory(&document(&file).expect("resident"));
    assert!(bytes == fs::read(bench.dir(2).join("volume.raw")).expect("read"));
    assert_eq!(
        (bench.residents("evictions"), bench.residents("count")),
        (1, 2)
    );
    assert!(memory(&document(&mine).expect("still there")).len() > 1);
}

#[test]
fn a_volume_larger_than_the_budget_is_refused() {
    let test = "a_volume_larger_than_the_budget_is_refused";
    let Some(bench) = Bench::new(test, "", &["--device-cache-size=1000K"]) else {
        return;
    };
    let settled = || File::open(bench.dir(0).join(NAME)).and_then(|file| document(&file));
    assert_eq!(errno(settled()), Some(libc::EFBIG));
    assert_eq!(errno(settled()), Some(libc::EFBIG));
    assert_eq!(bench.residents("count"), 0);
}

#[test]
fn a_frame_that_cannot_be_decoded_fails_as_it_does_in_the_files() {
    let test = "a_frame_that_cannot_be_decoded_fails_as_it_does_in_the_files";
    let cut = |archive: &Path| {
        for series in series() {
            let files = fs::read_dir(archive.join(&series.uid)).expect("the series");
            let path = files.last().expect("a file").expect("an entry").path();
            let bytes = fs::read(&path).expect("a file just written");
            fs::write(&path, &bytes[..bytes.len() - 900]).expect("written back");
        }
    };
    let Some(bench) = Bench::with(test, "", &[], cut) else {
        return;
    };
    for n in 0..bench.all.len() {
        let refused = errno(document(&bench.open(n)));
        let plain = errno(fs::read(bench.dir(n).join("volume.npy")));
        assert_eq!((refused, plain), (Some(libc::EIO), Some(libc::EIO)), "{n}");
    }
    assert_eq!((bench.residents("count"), bench.residents("bytes")), (0, 0));
}

#[test]
fn a_lease_ends_with_the_process_that_gave_it() {
    let test = "a_lease_ends_with_the_process_that_gave_it";
    let Some(bench) = Bench::new(test, "", &[]) else {
        return;
    };
    // The device's process, and then the one that serves.
    let gpu = |worker: i32| {
        let children = format!("/proc/{worker}/task/{worker}/children");
        fs::read_to_string(children).ok()
    };
    for kills_worker in [false, true] {
        let file = bench.open(2);
        let before = document(&file).expect("resident");
        let worker = bench.mount.worker().expect("a worker");
        let victims = match kills_worker {
            true => vec![worker],
            false => gpus_of(worker, gpu(worker)),
        };
        assert!(!victims.is_empty());
        for pid in victims {
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.expect("kill runs").success());
        }
        common::wait_until("the lease's end", || {
            errno(document(&file)) == Some(libc::ESTALE)
        });
        assert!(fetch(&before).is_none());
        let mut after = None;
        common::wait_until("another device", || {
            let opened = File::open(bench.dir(2).join(NAME));
            let settled = opened.and_then(|file| Ok((document(&file)?, file)));
            after = settled.ok();
            after.is_some()
        });
        let (after, _file) = after.expect("resident");
        assert!(memory(&after) == fs::read(bench.dir(2).join("volume.raw")).expect("read"));
        let socket = |document: &Value| document["handle"]["socket"].clone();
        assert_eq!(socket(&before) != socket(&after), kills_worker);
        if kills_worker {
            let left = socket(&before);
            let left = Path::new(left.as_str().expect("a path"));
            assert!(
                ipc::process::own_uid() != 0 || !left.exists(),
                "what it left is removed"
            );
        }
    }
    let root = bench.mount.root.clone();
    let socket = document(&bench.open(0)).expect("resident")["handle"]["socket"].clone();
    drop(bench);
    assert!(common::processes_of(&root).is_empty());
    assert!(!Path::new(socket.as_str().expect("a path")).exists());
}

/// The devices' processes among the children of the one that serves; those of all its threads.
fn gpus_of(worker: i32, first: Option<String>) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{worker}/task"))
        .into_iter()
        .flatten();
    let of_tasks =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: String = of_tasks.chain(first).collect::<Vec<_>>().join(" ");
    let mut pids: Vec<i32> = all
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}
