//! A device's process on the fake libcuda, and what these tests ask of it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dicomfs::decode::gpu::{Exported, Handle, Lane, Launch, Limits, Piece, Remote, ResidentId};
use dicomfs::decode::gpu::{Residents, State};
use tempfile::TempDir;

use crate::common::{self, DEADLINE};
use crate::fake_gpu::libcuda::{self, Counters};

pub const MIB: u64 = 1 << 20;

/// A device's process; ended when dropped.
pub struct Device {
    pub remote: Remote,
    pub lanes: Vec<Lane>,
    pub residents: Residents,
    counters: PathBuf,
    _dir: TempDir,
}

impl Device {
    /// With these faults; `None`: there is no C++ compiler, and the skip has been printed.
    pub fn with(test: &str, faults: &str, variables: &[(&str, &str)]) -> Option<Device> {
        let library = libcuda::library(test)?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let counters = dir.path().join("counters");
        let environment = libcuda::environment(&library, faults, &counters);
        let ours = environment.into_iter().map(|(name, to)| (name.into(), to));
        let theirs = variables.iter().map(|(name, to)| (name.into(), to.into()));
        let launch = Launch {
            program: env!("CARGO_BIN_EXE_dicomfs").into(),
            args: vec!["gpu-worker".into()],
            variables: ours.chain(theirs).collect(),
            limits: Limits {
                lane_bytes: 16 << 20,
                rests: [Duration::from_millis(20), Duration::from_millis(40)],
                ..Limits::default()
            },
        };
        let (remote, lanes) = Remote::start(0, launch).expect("started");
        let state = remote.wait_settled(Some(deadline()));
        assert_eq!(state, State::Ready);
        Some(Device {
            residents: remote.residents(),
            remote,
            lanes,
            counters,
            _dir: dir,
        })
    }

    pub fn new(test: &str) -> Option<Device> {
        Device::with(test, "", &[])
    }

    pub fn counters(&self) -> Counters {
        Counters::read(&self.counters)
    }

    pub fn reserve(&self, len_bytes: u64) -> (ResidentId, Exported) {
        self.residents.reserve(len_bytes).expect("reserved")
    }

    /// Nothing of residents is left, and nothing was done that a device may not survive.
    pub fn assert_released(&self) {
        let now = self.counters();
        let left = (
            now.misuses,
            now.physical_live,
            now.reserved_live,
            now.mapped_live,
            now.pinned_live,
        );
        assert_eq!(left, (0, 0, 0, 0, 0), "{now:?}");
    }
}

pub fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// What another process sees that maps the memory: the fake's descriptors are files of its bytes.
pub fn mapped(exported: &Exported, offset_bytes: u64, len: usize) -> Vec<u8> {
    let Handle::Descriptor(fd) = &exported.handle else {
        panic!("no descriptor");
    };
    let file = File::from(fd.try_clone().expect("a copy"));
    let all = file.metadata().expect("metadata").len();
    assert_eq!(all, exported.allocation_bytes);
    let mut bytes = vec![0x77; len];
    file.read_exact_at(&mut bytes, offset_bytes).expect("read");
    bytes
}

/// What the device's process copies back of a resident.
pub fn downloaded(residents: &Residents, id: ResidentId, len: usize) -> Vec<u8> {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len as u64).expect("length");
    let all = [piece(0, 0, len as u64)];
    residents
        .download(id, &all, file.as_fd(), deadline())
        .expect("downloaded");
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

pub fn piece(file_offset_bytes: u64, offset_bytes: u64, len_bytes: u64) -> Piece {
    Piece {
        file_offset_bytes,
        offset_bytes,
        len_bytes,
    }
}

/// A file of these bytes.
pub fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    file
}

/// Bytes that are not the same anywhere near.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    crate::cases::Random(seed).bytes(len)
}

/// Kills the process and waits until the keeper knows.
pub fn kill(device: &Device) {
    let pid = device.remote.facts().pid.expect("a process");
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
    common::wait_until("another process", || {
        let facts = device.remote.facts();
        facts.state == State::Ready && facts.pid.is_some_and(|now| now != pid)
    });
}
