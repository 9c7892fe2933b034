//! Files read into device memory by cuFile: the library faked (`fake_gpu/fake_cufile.cpp`), and the
//! real one where its wheel is in the tests' Python.
//!
//! Unsafe because device memory is written by address; here it is memory of the test.
#![allow(unsafe_code)]

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use dicomfs::decode::gpu::cufile::{CuFile, FILE_NAME, FileHandle, LOG_VARIABLE};

use fake_gpu::build::build;
use fake_gpu::cufile::Fake;

const SKIPS: &str = "DICOMFS_REQUIRE_CLIENTS";

fn fake(test: &str) -> Option<Fake> {
    Fake::new()
        .inspect_err(|why| common::skip(test, why, SKIPS))
        .ok()
}

fn load(fake: &Fake, faults: &str) -> Result<CuFile, String> {
    fake.faults(faults);
    CuFile::load_from(fake.dir())
}

/// A file of 10,000 bytes, each other than its neighbours.
fn file() -> (File, Vec<u8>) {
    let bytes: Vec<u8> = (0..10_000u32).map(|at| (at * 7 % 251) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("written");
    (file, bytes)
}

/// Reads into memory that is one byte longer at both ends, which must stay.
fn read(handle: &FileHandle, len: usize, offset: u64) -> Result<Vec<u8>, String> {
    let mut memory = vec![0xA5u8; len + 2];
    let device = memory[1..].as_mut_ptr() as u64;
    // SAFETY: `len` bytes of `memory`, which nothing else uses.
    let got = unsafe { handle.read(device, len, offset) }?;
    assert!(got <= len);
    assert!(memory[0] == 0xA5 && memory[got + 1..].iter().all(|&byte| byte == 0xA5));
    Ok(memory[1..][..got].to_vec())
}

#[test]
fn files_are_read_where_they_are_asked_for() {
    let Some(fake) = fake("files_are_read_where_they_are_asked_for") else {
        return;
    };
    let library = load(&fake, "").expect("it starts");
    assert_eq!(library.version(), "1.14.0");
    let (file, bytes) = file();
    let handle = library.register(file.as_fd()).expect("registered");
    // The handle has a descriptor of its own.
    drop(file);
    for (len, offset) in [(10_000, 0), (1, 0), (4096, 4096), (333, 9667), (0, 77)] {
        let wanted = &bytes[offset..][..len];
        assert_eq!(read(&handle, len, offset as u64).as_deref(), Ok(wanted));
    }
    // The end of the file is no error.
    assert_eq!(read(&handle, 100, 9_990).as_deref(), Ok(&bytes[9_990..]));
    assert_eq!(read(&handle, 100, 20_000), Ok(Vec::new()));
    let why = read(&handle, 1, u64::MAX).unwrap_err();
    assert!(why.contains("beyond any file"), "{why}");
    let second = library
        .register(self::file().0.as_fd())
        .expect("registered");
    drop(library);
    assert_eq!(read(&second, 5, 5).as_deref(), Ok(&bytes[5..10]));
    drop(second);
    assert_eq!(fake.live(), "1 1");
    drop(handle);
    assert_eq!(fake.live(), "0 0", "the last file stops the driver");
}

#[test]
fn several_threads_read_one_file() {
    let Some(fake) = fake("several_threads_read_one_file") else {
        return;
    };
    let library = load(&fake, "").expect("it starts");
    let (file, bytes) = file();
    let handle = &library.register(file.as_fd()).expect("registered");
    std::thread::scope(|scope| {
        for part in 0..8 {
            let wanted = &bytes[part * 1000..][..1000];
            scope.spawn(move || {
                for _ in 0..50 {
                    let got = read(handle, 1000, part as u64 * 1000);
                    assert_eq!(got.as_deref(), Ok(wanted));
                }
            });
        }
    });
}

#[test]
fn what_goes_wrong_is_a_sentence() {
    let Some(fake) = fake("what_goes_wrong_is_a_sentence") else {
        return;
    };
    for (faults, words) in [("open", "did not start"), ("cuda", "CUDA error 100")] {
        let why = load(&fake, faults).map(drop).unwrap_err();
        assert!(
            why.contains("cuFileDriverOpen") && why.contains(words),
            "{why}"
        );
    }
    let (file, bytes) = file();
    {
        let library = load(&fake, "register:2").expect("it starts");
        let first = library.register(file.as_fd()).expect("registered");
        let why = library.register(file.as_fd()).map(drop).unwrap_err();
        assert!(why.contains("may not open the file anew"), "{why}");
        assert_eq!(read(&first, 10, 0).as_deref(), Ok(&bytes[..10]));
        let directory = File::open("/").expect("a directory");
        let why = library.register(directory.as_fd()).map(drop).unwrap_err();
        assert!(why.contains("not a regular file"), "{why}");
    }
    assert_eq!(fake.live(), "0 0");
    for (faults, words) in [
        ("error:1", "Input/output error"),
        ("permission:1", "permission denied (5025)"),
        ("more:1", "101 of 100 bytes"),
    ] {
        let library = load(&fake, faults).expect("it starts");
        let handle = library.register(file.as_fd()).expect("registered");
        let why = read(&handle, 100, 0).unwrap_err();
        assert!(why.contains("cuFileRead") && why.contains(words), "{why}");
        // One read's failure is its own.
        assert_eq!(read(&handle, 100, 0).as_deref(), Ok(&bytes[..100]));
    }
    for (faults, got) in [("short:1", 50), ("none:1", 0)] {
        let library = load(&fake, faults).expect("it starts");
        let handle = library.register(file.as_fd()).expect("registered");
        assert_eq!(read(&handle, 100, 0).as_deref(), Ok(&bytes[..got]));
    }
    assert_eq!(fake.live(), "0 0");
}

#[test]
fn a_driver_that_others_have_started_is_not_stopped() {
    let Some(fake) = fake("a_driver_that_others_have_started_is_not_stopped") else {
        return;
    };
    let theirs = load(&fake, "").expect("it starts");
    let ours = load(&fake, "already").expect("it is started");
    let (file, bytes) = file();
    let handle = ours.register(file.as_fd()).expect("registered");
    assert_eq!(read(&handle, 9, 1).as_deref(), Ok(&bytes[1..10]));
    drop((handle, ours));
    assert_eq!(fake.live(), "1 0");
    drop(theirs);
    assert_eq!(fake.live(), "0 0");
}

#[test]
fn a_library_that_will_not_do_is_a_sentence() {
    // Its log would go somewhere: nothing is even looked for.
    assert!(std::env::var_os(LOG_VARIABLE).is_none());
    let why = CuFile::load().unwrap_err();
    assert!(why.contains(LOG_VARIABLE), "{why}");
    let dir = tempfile::tempdir().expect("a directory");
    let why = CuFile::load_from(dir.path()).unwrap_err();
    assert!(why.contains("libcufile.so.0 cannot be loaded"), "{why}");
    std::fs::write(dir.path().join(FILE_NAME), "no library").expect("written");
    let why = CuFile::load_from(dir.path()).unwrap_err();
    assert!(why.contains("put it beside the program"), "{why}");
    let Some(fake) = fake("a_library_that_will_not_do_is_a_sentence") else {
        return;
    };
    fake.version(1201);
    assert_eq!(load(&fake, "").expect("it starts").version(), "1.20.1");
    let empty = build("empty.cpp", FILE_NAME).expect("the compiler that made the fake");
    let why = CuFile::load_from(empty.parent().expect("a directory")).unwrap_err();
    assert!(why.contains("it has no function cuFileDriverOpen"), "{why}");
}

#[test]
fn without_a_driver_the_real_library_says_so() {
    let test = "without_a_driver_the_real_library_says_so";
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
    let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let dir = pythons
        .map(|python| python.path().join("site-packages/nvidia/cufile/lib"))
        .find(|dir| dir.join(FILE_NAME).is_file());
    let Some(dir) = dir else {
        let why = "no nvidia-cufile-cu12 in target/venv (pip install)";
        return common::skip(test, why, SKIPS);
    };
    if Path::new("/dev/nvidiactl").exists() {
        println!("left out: there is a driver");
        return;
    }
    // Its log goes to the working directory, so it is started in one that goes with the test.
    let work = tempfile::tempdir().expect("a directory");
    let ran = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "in_a_directory_of_its_own", "--nocapture"])
        .env("LD_LIBRARY_PATH", dir)
        .env(LOG_VARIABLE, "/dev/null")
        .current_dir(work.path())
        .output()
        .expect("this program runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    let left = std::fs::read_dir(work.path()).expect("readable").count();
    assert_eq!(left, 0, "it wrote a log");
}

/// A part of the test above, in a process of its own.
#[test]
fn in_a_directory_of_its_own() {
    if std::env::var_os(LOG_VARIABLE).is_none() {
        return;
    }
    let version = dicomfs::decode::gpu::cufile::version().expect("it loads");
    assert!(version.starts_with("1."), "{version}");
    let why = CuFile::load().unwrap_err();
    assert!(why.contains("cuFileDriverOpen: it did not start"), "{why}");
}
