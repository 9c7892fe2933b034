//! A device that is none, for the tests: jobs, an engine that does as it is told by the bytes that it
//! "decodes", and this test program as the device's process.

pub mod header;
pub mod reader;

use std::env;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::wire::store::{StoreAnswer, StoreOrder};
use super::wire::{self, Answer, Order};
use super::worker::{self, Opened};
use super::{Codec, DeviceReport, Export, Job, Lane, Launch, Limits, Outcome, Part, Run, Show};
use crate::dicom::{ImagePixel, Photometric, PixelElement};

/// How long anything that should happen may take before a test fails.
pub const LONG: Duration = Duration::from_secs(60);

/// Says which part this program plays when it is started as a device's process.
const PART: &str = "DICOMFS_TEST_DEVICE";

/// What the engine does with a frame, by its first byte. Any other is decoded: [`decoded`].
pub const FAIL: u8 = b'F';
pub const LOSE: u8 = b'L';
pub const PANIC: u8 = b'P';
pub const MISCOUNT: u8 = b'C';
pub const HANG: u8 = b'H';
pub const DIE: u8 = b'D';
/// Waits until the other lane is told the same.
pub const MEET: u8 = b'M';

/// A job that reads and writes there.
pub fn job(encoded: Range<u64>, out: Range<u64>) -> Job {
    let image = ImagePixel {
        rows: 512,
        columns: 512,
        number_of_frames: 300,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: 16,
        bits_stored: 12,
        high_bit: 11,
        signed: true,
        element: PixelElement::PixelData,
    };
    Job {
        codec: Codec::Htj2k,
        image,
        show: Show::Linear {
            slope: 0.5,
            intercept: -1024.0,
            dtype: crate::volume::Dtype::F32,
        },
        encoded,
        out,
    }
}

/// What the fake device makes of a byte.
pub fn decoded(byte: u8) -> u8 {
    byte ^ 0x5a
}

pub fn report(ordinal: u32) -> DeviceReport {
    DeviceReport {
        ordinal,
        name: "fake".into(),
        uuid: "GPU-0".into(),
        memory_bytes: 1 << 30,
        driver_version: "12.2".into(),
        compute_capability: "8.0".into(),
        libraries: Vec::new(),
        export: Export::Ipc,
    }
}

/// Fills each output with what [`decoded`] makes of the frame's bytes in turn.
pub struct Engine;

static MEETING: Barrier = Barrier::new(2);

impl Run for Engine {
    fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::new();
        for job in jobs {
            let frame = &encoded[job.encoded.start as usize..job.encoded.end as usize];
            let out = &mut slab[job.out.start as usize..job.out.end as usize];
            match frame[0] {
                FAIL => {
                    outcomes.push(Outcome::Failed("b\u{e4}d\n".into()));
                    continue;
                }
                LOSE => return Err("the device fell off the bus".into()),
                PANIC => panic!("asked to"),
                MISCOUNT => continue,
                HANG => loop {
                    thread::park();
                },
                DIE => std::process::abort(),
                MEET => {
                    MEETING.wait();
                }
                _ => {}
            }
            let bytes = frame.iter().cycle().map(|byte| decoded(*byte));
            out.iter_mut()
                .zip(bytes)
                .for_each(|(out, byte)| *out = byte);
            outcomes.push(Outcome::Done);
        }
        Ok(outcomes)
    }
}

/// Opens the engine, with a thread of its own as drivers have them.
pub fn open(ordinal: u32) -> Result<Opened, String> {
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
    Ok((report(ordinal), Box::new(Engine)))
}

/// How this test program is started as a device's process that plays `part`.
pub fn launch(part: &str) -> Launch {
    let args = ["decode::gpu::testing::as_device", "--exact", "--nocapture"];
    Launch {
        program: env::current_exe().expect("this program"),
        args: args.map(Into::into).into(),
        variables: vec![(PART.into(), part.into())],
        limits: Limits {
            lane_bytes: 1 << 20,
            start: LONG,
            reap: LONG,
            rests: [Duration::from_millis(50), Duration::from_millis(100)],
            ..Limits::default()
        },
    }
}

/// No test: the device's process of the others.
#[test]
fn as_device() {
    let Ok(part) = env::var(PART) else {
        return;
    };
    let result = match &*part {
        "well" => worker::run(open),
        "absent" => worker::run(|_| Err("no driver".into())),
        "two" => worker::run(|ordinal| match ordinal {
            0 | 1 => open(ordinal),
            _ => Err("no such device".into()),
        }),
        "crash" => worker::run(|_| std::process::abort()),
        "panic" => worker::run(|_| panic!("asked to")),
        "hang" => worker::run(|_| {
            loop {
                thread::park();
            }
        }),
        // Ends before it has said a word.
        "mute" => Ok(()),
        // With the libcuda of the tests.
        "cuda" => worker::run(worker::engines()),
        "cuda, with a reader" => worker::run(reader::open),
        part => speak(part),
    };
    result.expect("a device's process");
}

/// A process that starts as it should and then answers each batch with nonsense.
fn speak(part: &str) -> std::io::Result<()> {
    let line = std::io::stdin().as_fd().try_clone_to_owned()?;
    let Some((Order::Hello { lanes, ordinal, .. }, _)) = wire::hear(line.as_fd())? else {
        return Ok(());
    };
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for _ in 0..lanes {
        if let Some((Order::Lane { .. }, fds)) = wire::hear(line.as_fd())? {
            sockets.extend(fds.into_iter().take(1));
        }
    }
    // All of it, so that who starts this is not told of a closed line instead.
    let Some((Order::Store, store)) = wire::hear(line.as_fd())? else {
        return Ok(());
    };
    if part == "out of turn" {
        return wire::tell(line.as_fd(), &Answer::Lost("?".into()), &[]);
    }
    wire::tell(line.as_fd(), &Answer::Ready(report(ordinal)), &[])?;
    if let Some(part) = part.strip_prefix("store: ") {
        return speak_of_residents(part, store[0].as_fd());
    }
    let Some((Order::Batch { number, parts }, _)) = wire::hear(sockets[0].as_fd())? else {
        return Ok(());
    };
    let count: usize = parts.iter().map(|part| part.jobs.len()).sum();
    let done = |number, count| Answer::Done {
        number,
        outcomes: vec![Outcome::Done; count],
        cpu_ns: 1,
        wall_ns: 1,
    };
    match part {
        "too few" => wire::tell(sockets[0].as_fd(), &done(number, count - 1), &[])?,
        "too many" => wire::tell(sockets[0].as_fd(), &done(number, count + 1), &[])?,
        "another" => wire::tell(sockets[0].as_fd(), &done(number + 1, count), &[])?,
        "garbage" => crate::ipc::send(sockets[0].as_fd(), &[0xff; 40], &[])?,
        "ready again" => wire::tell(sockets[0].as_fd(), &Answer::Ready(report(0)), &[])?,
        _ => panic!("no such part: {part}"),
    }
    // Killed for it.
    loop {
        thread::park();
    }
}

/// Answers the first order for residents with nonsense.
fn speak_of_residents(part: &str, socket: BorrowedFd<'_>) -> std::io::Result<()> {
    if wire::hear::<StoreOrder>(socket)?.is_none() {
        return Ok(());
    }
    let reserved = |allocation_bytes, ipc: Option<usize>| StoreAnswer::Reserved {
        allocation_bytes,
        ipc: ipc.map(|len| vec![0; len]),
    };
    match part {
        "done" => wire::tell(socket, &StoreAnswer::Done, &[])?,
        "no handle" => wire::tell(socket, &reserved(1 << 21, None), &[])?,
        "short handle" => wire::tell(socket, &reserved(1 << 21, Some(63)), &[])?,
        "both" => wire::tell(socket, &reserved(1 << 21, Some(64)), &[socket])?,
        "two" => wire::tell(socket, &reserved(1 << 21, None), &[socket, socket])?,
        "too little" => wire::tell(socket, &reserved(99, Some(64)), &[])?,
        "outcomes" => wire::tell(socket, &StoreAnswer::Outcomes(vec![]), &[])?,
        "garbage" => crate::ipc::send(socket, &[0xff; 40], &[])?,
        "dies" => return Ok(()),
        _ => panic!("no such part: {part}"),
    }
    // Killed for it.
    loop {
        thread::park();
    }
}

/// A slab of zeros.
pub fn slab(len_bytes: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len_bytes).expect("length");
    file
}

/// Has one lane decode frames of `first` bytes and checks what comes out.
pub fn decode_well(lane: &mut Lane, first: &[u8]) {
    let slab = slab(300_000);
    let jobs: Vec<Job> = first
        .iter()
        .enumerate()
        .map(|(n, byte)| {
            let n = n as u64;
            lane.encoded()[n as usize * 10..][..10].fill(*byte);
            job(n * 10..n * 10 + 10, 100_000 + n * 1000..101_000 + n * 1000)
        })
        .collect();
    let deadline = Instant::now() + LONG;
    let parts = [Part::new(&jobs, slab.as_fd(), 300_000)];
    let decoded_batch = lane.run(&parts, deadline);
    let (outcomes, _) = decoded_batch.expect("decoded");
    assert_eq!(outcomes, vec![Outcome::Done; first.len()]);
    let mut bytes = vec![0; 300_000];
    slab.read_exact_at(&mut bytes, 0).expect("read");
    for (n, byte) in first.iter().enumerate() {
        let out = &bytes[100_000 + n * 1000..101_000 + n * 1000];
        assert!(
            out.iter().all(|found| *found == decoded(*byte)),
            "frame {n}"
        );
    }
    let end = 100_000 + first.len() * 1000;
    let others = bytes[..100_000].iter().chain(&bytes[end..]);
    assert!(others.into_iter().all(|byte| *byte == 0), "other bytes");
}

/// Waits until `done`, or fails.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "timed out: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
