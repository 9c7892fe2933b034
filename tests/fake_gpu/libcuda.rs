//! The libcuda of `fake_libcuda.cpp`: a process that has [`library`] in `LD_LIBRARY_PATH` has a GPU.
//!
//! The loader reads that variable when a process starts. So a test runs its body in a process of its
//! own ([`child`]), or sets the variable for a program that it starts ([`environment`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::build::build;
use crate::common;

/// Names the test that a child process is to run.
const CHILD: &str = "DICOMFS_FAKE_GPU_CHILD";

/// The directory with `libcuda.so.1` and `libcuda.so`; else the skip has been printed.
pub fn library(test: &str) -> Option<PathBuf> {
    let built = build("fake_libcuda.cpp", "libcuda.so.1").and_then(|library| {
        let dir = library.parent().ok_or("no directory")?.to_path_buf();
        // cudarc asks for the name without a version first.
        match std::os::unix::fs::symlink("libcuda.so.1", dir.join("libcuda.so")) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error.to_string())
            }
            _ => Ok(dir),
        }
    });
    built
        .inspect_err(|why| common::skip(test, why, "DICOMFS_REQUIRE_CLIENTS"))
        .ok()
}

/// What a process needs in its environment to have the fake device: faults as the library's source
/// says them, and a file for [`Counters::read`].
pub fn environment(library: &Path, faults: &str, counters: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("LD_LIBRARY_PATH", library.into()),
        ("FAKE_CUDA_FAULTS", faults.into()),
        ("FAKE_CUDA_COUNTERS", counters.into()),
    ]
}

/// What the fake counted, up to now or up to the end of its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub launches: u64,
    pub allocations: u64,
    pub live_bytes: u64,
    pub peak_bytes: u64,
    pub pinned_live: u64,
    pub registered_live: u64,
    pub uploads: u64,
    pub downloads: u64,
    pub uploaded_bytes: u64,
    pub downloaded_bytes: u64,
    pub registrations: u64,
    pub misuses: u64,
    pub streams_live: u64,
    pub contexts_live: u64,
    pub modules_live: u64,
    pub pageable_copies: u64,
    pub physical_live: u64,
    pub reserved_live: u64,
    pub mapped_live: u64,
    pub exports: u64,
    pub device_copies: u64,
}

impl Counters {
    /// Reads the file that `FAKE_CUDA_COUNTERS` named; all zeros while there is none.
    pub fn read(path: &Path) -> Counters {
        let bytes = std::fs::read(path).unwrap_or_default();
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
        let mut next = || words.next().unwrap_or(0);
        Counters {
            launches: next(),
            allocations: next(),
            live_bytes: next(),
            peak_bytes: next(),
            pinned_live: next(),
            registered_live: next(),
            uploads: next(),
            downloads: next(),
            uploaded_bytes: next(),
            downloaded_bytes: next(),
            registrations: next(),
            misuses: next(),
            streams_live: next(),
            contexts_live: next(),
            modules_live: next(),
            pageable_copies: next(),
            physical_live: next(),
            reserved_live: next(),
            mapped_live: next(),
            exports: next(),
            device_copies: next(),
        }
    }

    /// All that was taken was given back, and nothing was done that a device may not survive.
    pub fn assert_clean(&self) {
        let left = (
            self.misuses,
            self.live_bytes,
            self.pinned_live,
            self.registered_live,
            self.streams_live,
            self.contexts_live,
            self.modules_live,
        );
        assert_eq!(left, (0, 0, 0, 0, 0, 0, 0), "{self:?}");
        let left = (self.physical_live, self.reserved_live, self.mapped_live);
        assert_eq!(left, (0, 0, 0), "{self:?}");
    }
}

/// How a child went.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub output: String,
    pub counters: Counters,
    /// It did not end in [`Setup::deadline`] and was killed.
    pub timed_out: bool,
}

impl Ran {
    /// It passed, and left nothing behind.
    pub fn assert_passed(&self) -> &Ran {
        assert!(self.status.success(), "{}\n{}", self.status, self.output);
        self.counters.assert_clean();
        self
    }
}

/// What a child is started with.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    pub faults: &'a str,
    /// Directories of further libraries.
    pub libraries: Vec<PathBuf>,
    pub environment: &'a [(&'a str, &'a str)],
    pub deadline: Duration,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            faults: "",
            libraries: Vec::new(),
            environment: &[],
            deadline: common::DEADLINE,
        }
    }
}

/// Whether this process was started by [`child`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs `body` in a process that has the fake device: this program again, with nothing but the test
/// `test` (its full name). `None` in that process, and where there is no C++ compiler: then the test
/// is over.
pub fn child(test: &str, setup: &Setup<'_>, body: impl FnOnce()) -> Option<Ran> {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        body();
        return None;
    }
    let library = library(test)?;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let counters = dir.path().join("counters");
    let output = dir.path().join("output");
    let file = std::fs::File::create(&output).expect("a file for its output");
    let dirs = std::iter::once(&library).chain(&setup.libraries);
    let dirs = std::env::join_paths(dirs).expect("directories without colons");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .envs(environment(&library, setup.faults, &counters))
        .env("LD_LIBRARY_PATH", dirs)
        .envs(setup.environment.iter().copied())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(Stdio::from(file))
        .spawn()
        .expect("this program runs");
    let start = Instant::now();
    let (status, timed_out) = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break (status, false);
        }
        if start.elapsed() > setup.deadline {
            child.kill().expect("a child");
            break (child.wait().expect("a child"), true);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let output = std::fs::read_to_string(&output).unwrap_or_default();
    // Whatever the test's name, it must have been found.
    assert!(output.contains("running 1 test"), "{test}: {output}");
    Some(Ran {
        status,
        output,
        counters: Counters::read(&counters),
        timed_out,
    })
}
