//! Orders that no mount's process gives, said to a device's process on the libcuda of the tests; and
//! answers that no device's process gives.

#[path = "../../../../../tests/fake_gpu/build.rs"]
mod build;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::decode::gpu::remote::child::{Child, Heard};
use crate::decode::gpu::remote::{Remote, State};
use crate::decode::gpu::testing::{LONG, job, launch, slab};
use crate::decode::gpu::{Codec, Show, memory};

/// The directory of the libcuda of the tests; `None` where there is no C++ compiler.
fn library() -> Option<PathBuf> {
    let built = build::build("fake_libcuda.cpp", "libcuda.so.1");
    let dir = built.map(|library| library.parent().map(PathBuf::from));
    match dir {
        Ok(Some(dir)) => {
            // cudarc asks for the name without a version first; another test may have made it.
            let _ = std::os::unix::fs::symlink("libcuda.so.1", dir.join("libcuda.so"));
            Some(dir)
        }
        other => {
            eprintln!("SKIPPED: {other:?}");
            None
        }
    }
}

/// A device's process, and its line for residents.
struct Raw {
    _child: Child,
    sockets: Vec<OwnedFd>,
}

impl Raw {
    fn start(part: &str) -> Option<Raw> {
        let mut launch = launch(part);
        let library: OsString = library()?.into();
        launch.variables.push(("LD_LIBRARY_PATH".into(), library));
        let (_map, memory) = memory::create(launch.limits.lane_bytes).expect("memory");
        let (mut child, sockets) = Child::start(0, &launch, &[memory]).expect("started");
        let heard = child.ready(Instant::now() + LONG, None);
        assert!(matches!(heard, Heard::Ready(_)));
        let _child = child;
        Some(Raw { _child, sockets })
    }

    fn ask(&self, order: &StoreOrder, fds: &[BorrowedFd<'_>]) -> (StoreAnswer, Vec<OwnedFd>) {
        let socket = &self.sockets[1];
        wire::tell(socket.as_fd(), order, fds).expect("told");
        answer(socket, "an order", Instant::now() + LONG).expect("answered")
    }
}

fn reserve(number: u64, len_bytes: u64) -> StoreOrder {
    StoreOrder::Reserve {
        number,
        len_bytes,
        budget_bytes: u64::MAX,
    }
}

fn upload(number: u64, pieces: &[(u64, u64, u64)]) -> StoreOrder {
    let pieces = pieces.iter().map(|piece| Piece {
        file_offset_bytes: piece.0,
        offset_bytes: piece.1,
        len_bytes: piece.2,
    });
    let pieces = pieces.collect();
    StoreOrder::Upload { number, pieces }
}

fn direct(number: u64, change: impl Fn(&mut DirectJob)) -> StoreOrder {
    let mut job = job(0..100, 0..100);
    job.codec = Codec::Native { big_endian: false };
    job.show = Show::Stored;
    (job.image.rows, job.image.columns) = (5, 10);
    let mut direct = DirectJob {
        file: 0,
        file_offset_bytes: 0,
        job,
    };
    change(&mut direct);
    let jobs = vec![direct];
    StoreOrder::Direct { number, jobs }
}

#[test]
fn hostile_orders_are_refused_and_the_process_goes_on() {
    let Some(raw) = Raw::start("cuda") else {
        return;
    };
    let (said, fds) = raw.ask(&reserve(1, 1000), &[]);
    assert!(matches!(said, StoreAnswer::Reserved { .. }) && fds.len() == 1);
    let slab = slab(500);
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let (file, pipe) = (slab.as_fd(), pipe.as_fd());
    let some = [(0, 0, 10)];
    let far = u64::MAX;
    let download = |number| StoreOrder::Download {
        number,
        pieces: vec![Piece {
            file_offset_bytes: 400,
            offset_bytes: 0,
            len_bytes: 101,
        }],
    };
    let cases: Vec<(StoreOrder, Vec<BorrowedFd<'_>>)> = vec![
        (reserve(1, 1000), vec![]),
        (reserve(2, 0), vec![]),
        (upload(2, &some), vec![file]),
        (upload(1, &some), vec![]),
        (upload(1, &some), vec![file, file]),
        (upload(1, &some), vec![pipe]),
        (upload(1, &[]), vec![file]),
        (upload(1, &[(0, 0, 0)]), vec![file]),
        (upload(1, &[(491, 0, 10)]), vec![file]),
        (upload(1, &[(0, 991, 10)]), vec![file]),
        (upload(1, &[(far, 0, 10)]), vec![file]),
        (upload(1, &[(0, far, 10)]), vec![file]),
        (upload(1, &[(0, 0, far)]), vec![file]),
        (upload(1, &[(0, 0, 10), (0, 5, 10)]), vec![file]),
        (download(1), vec![file]),
        (download(7), vec![file]),
        (direct(7, |_| {}), vec![file]),
        (direct(1, |_| {}), vec![]),
        (direct(1, |job| job.file = 1), vec![file]),
        (direct(1, |job| job.file_offset_bytes = far), vec![file]),
        (direct(1, |job| job.job.out = 901..1001), vec![file]),
        (direct(1, |job| job.job.out = far - 100..far), vec![file]),
        (direct(1, |job| job.job.codec = Codec::Rle), vec![file]),
        (direct(1, |job| job.job.encoded = 0..0), vec![file]),
    ];
    for (order, fds) in cases {
        let (said, fds) = raw.ask(&order, &fds);
        assert!(
            matches!(said, StoreAnswer::Refused(_)),
            "{order:?}: {said:?}"
        );
        assert!(fds.is_empty());
    }
    // Frames that are none are outcomes.
    let frames: [fn(&mut DirectJob); 6] = [
        |job| job.file_offset_bytes = 401,
        |job| job.job.image.rows = u32::MAX,
        |job| job.job.image.bits_allocated = 1,
        |job| job.job.encoded = 0..99,
        |job| job.job.out = 0..98,
        |job| job.job.out = 1..101,
    ];
    for change in frames {
        let (said, _) = raw.ask(&direct(1, change), &[file]);
        let StoreAnswer::Outcomes(outcomes) = said else {
            panic!("{said:?}");
        };
        assert!(
            outcomes.len() == 1 && outcomes[0] != Outcome::Done,
            "{outcomes:?}"
        );
    }
    let release = |numbers| raw.ask(&StoreOrder::Release { numbers }, &[]).0;
    assert_eq!(release(vec![far, 0, 7]), StoreAnswer::Done);
    let (said, _) = raw.ask(&direct(1, |_| {}), &[file]);
    assert_eq!(said, StoreAnswer::Outcomes(vec![Outcome::Done]));
    assert_eq!(raw.ask(&upload(1, &some), &[file]).0, StoreAnswer::Done);
    assert_eq!(release(vec![1, 1]), StoreAnswer::Done);
    let (said, _) = raw.ask(&upload(1, &some), &[file]);
    assert!(matches!(said, StoreAnswer::Refused(_)), "{said:?}");
}

#[test]
fn a_reader_is_used_where_it_can_be() {
    use crate::decode::gpu::testing::reader::{NOT_READ_BYTES, NOT_TAKEN_BYTES};
    let Some(raw) = Raw::start("cuda, with a reader") else {
        return;
    };
    let (_, fds) = raw.ask(&reserve(1, 5 * 8192), &[]);
    let memory = File::from(fds.into_iter().next().expect("a descriptor"));
    // The last is too short, which the reader finds.
    let lens = [8192, NOT_TAKEN_BYTES, NOT_READ_BYTES, 9000, 8191];
    let files: Vec<File> = lens.iter().map(|len| slab(*len)).collect();
    let jobs = (0..5_u32).map(|file| {
        let mut job = job(0..8192, u64::from(file) * 8192..u64::from(file + 1) * 8192);
        job.codec = Codec::Native { big_endian: false };
        job.show = Show::Stored;
        (job.image.rows, job.image.columns) = (64, 64);
        (job.image.bits_stored, job.image.high_bit) = (16, 15);
        DirectJob {
            file,
            file_offset_bytes: 0,
            job,
        }
    });
    let order = StoreOrder::Direct {
        number: 1,
        jobs: jobs.collect(),
    };
    let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let (said, _) = raw.ask(&order, &fds);
    let StoreAnswer::Outcomes(outcomes) = said else {
        panic!("{said:?}");
    };
    assert_eq!(outcomes[..4], vec![Outcome::Done; 4]);
    assert!(matches!(outcomes[4], Outcome::Failed(_)), "{outcomes:?}");
    // What the reader has read is turned.
    for (n, byte) in [(0, 0xff), (1, 0), (2, 0), (3, 0xff)] {
        let mut bytes = vec![0x77; 8192];
        memory.read_exact_at(&mut bytes, n * 8192).expect("read");
        assert!(bytes.iter().all(|found| *found == byte), "{n}");
    }
}

#[test]
fn nonsense_of_a_store_is_a_fault() {
    for part in [
        "done",
        "no handle",
        "short handle",
        "both",
        "two",
        "too little",
        "outcomes",
        "garbage",
        "dies",
    ] {
        let launch = launch(&format!("store: {part}"));
        let (remote, _lanes) = Remote::start(0, launch).expect("started");
        let state = remote.wait_settled(Some(Instant::now() + LONG));
        assert_eq!(state, State::Ready);
        let said = remote.residents().reserve(100).map(|_| ());
        let is_lost = matches!(said, Err(ReserveError::Fault(Fault::Lost(_))));
        assert!(is_lost, "{part}: {said:?}");
        assert_eq!(remote.facts().faults, 1, "{part}");
    }
}

#[test]
fn a_device_that_keeps_none_says_so() {
    let (remote, mut lanes) = Remote::start(0, launch("well")).expect("started");
    remote.wait_settled(Some(Instant::now() + LONG));
    let said = remote.residents().reserve(100).map(|_| ());
    assert!(
        matches!(said, Err(ReserveError::CannotShare(_))),
        "{said:?}"
    );
    crate::decode::gpu::testing::decode_well(&mut lanes[0], b"abc");
    remote.close();
    let said = remote.residents().reserve(100).map(|_| ());
    let not_ready = matches!(said, Err(ReserveError::Fault(Fault::NotReady(_))));
    assert!(not_ready, "{said:?}");
}

#[test]
fn orders_hold_no_more_files_and_frames_than_may_be() {
    let files: Vec<_> = (0..200).map(|_| slab(1)).collect();
    let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let job = |file| DirectJob {
        file,
        file_offset_bytes: 0,
        job: job(5..15, 0..10),
    };
    // A file each, then one file for many frames.
    let jobs: Vec<_> = (0..150).chain([3; 1200]).map(job).collect();
    let orders = in_orders(&fds, &jobs).expect("all files are there");
    let sizes: Vec<_> = orders.iter().map(|(f, j)| (f.len(), j.len())).collect();
    let last = 1350 - 128 - 2 * JOBS_MAX;
    assert_eq!(
        sizes,
        [(64, 64), (64, 64), (23, JOBS_MAX), (1, JOBS_MAX), (1, last)]
    );
    assert_eq!(orders[1].1[5].file, 5);
    assert_eq!(orders[1].1[5].job.encoded, 0..10);
    assert!(in_orders(&fds, &[job(200)]).is_none());
    assert!(in_orders(&fds, &[]).expect("none").is_empty());
}
