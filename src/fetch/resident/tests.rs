//! Residences over a device that is scripted: leases, filling, room, and what goes wrong.

mod beside;
mod ends;
pub(crate) mod fake;
mod hostile;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{DeviceMemory, Export, ExportWay, Lease, MemoryBudget};
use crate::cache::{Cache, Layout, SlabKey};
use crate::fetch::{Error, Fetcher, Readiness, Stream};
use crate::ipc::process::own_uid;
use fake::{FRAME, Fake, Volume, array};

const HEADER: usize = 4096;
const LONG: Duration = Duration::from_secs(30);

/// A fetcher with one device.
struct Bench {
    fetcher: Fetcher,
    fake: Arc<Fake>,
}

impl Bench {
    fn new(fake: Fake, budget: MemoryBudget) -> Bench {
        Bench::with_cache(fake, budget, 64 << 20)
    }

    fn with_cache(fake: Fake, budget: MemoryBudget, cache_bytes: u64) -> Bench {
        let cache = Arc::new(Cache::new(cache_bytes, 100).unwrap());
        let fetcher = Fetcher::new(cache, 2, usize::MAX).unwrap();
        let fake = Arc::new(fake);
        let memories = vec![fake.clone() as Arc<dyn DeviceMemory>];
        fetcher.export_to(memories, budget).unwrap();
        Bench { fetcher, fake }
    }

    /// Room for so many frames.
    fn of_frames(frames: usize) -> Bench {
        Bench::new(
            Fake::new(1 << 30),
            MemoryBudget::Bytes((frames * FRAME) as u64),
        )
    }

    fn open(&self, name: &str, frames: usize, volume: Volume) -> Arc<Stream> {
        self.open_shared(name, frames, Arc::new(volume))
    }

    fn open_shared(&self, name: &str, frames: usize, volume: Arc<Volume>) -> Arc<Stream> {
        let key = SlabKey {
            volume: name.to_string(),
            variant: "",
            fingerprint: [0; 32],
        };
        let layout = || Layout {
            header: vec![9; HEADER],
            frame_len_bytes: FRAME,
            frame_count: frames,
        };
        self.fetcher.open(&key, layout, || volume).unwrap()
    }

    fn lease(&self, stream: &Arc<Stream>) -> Lease {
        self.fetcher.lease(stream, own_uid()).unwrap()
    }

    /// What the device holds for a lease.
    fn bytes(&self, lease: &Lease, frames: usize) -> Vec<u8> {
        let export = wait(lease).unwrap();
        let (path, token) = door(&export);
        let file = hostile::fetch(&path, &token).expect("given");
        let mut bytes = vec![0; frames * FRAME];
        File::from(file).read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// A volume of its own name brought to the device, its lease ended.
    fn pass(&self, name: &str, frames: usize) {
        let stream = self.open(name, frames, Volume::new(frames));
        let lease = self.lease(&stream);
        assert!(self.bytes(&lease, frames) == array(frames), "{name}");
    }
}

fn door(export: &Export) -> (String, String) {
    match &export.way {
        ExportWay::Socket { path, token } => (path.clone(), token.clone()),
        ExportWay::Ipc(hex) => panic!("no socket: {hex}"),
    }
}

fn begin(lease: &Lease) -> Receiver<Result<Export, Error>> {
    let (send, receive) = mpsc::channel();
    lease.when_resident(move |settled| send.send(settled).unwrap());
    receive
}

fn wait(lease: &Lease) -> Result<Export, Error> {
    begin(lease).recv_timeout(LONG).expect("always answered")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_memory_holds_the_array_however_its_frames_come() {
    for (case, direct) in [
        ("none", vec![]),
        ("all", (0..40).collect()),
        ("some", vec![0, 1, 5, 17, 18, 19, 39]),
    ] {
        for present in [0..0, 0..3, 10..30, 0..40] {
            let bench = Bench::of_frames(100);
            let mut volume = Volume::new(40);
            volume.direct = direct.iter().copied().collect();
            let stream = bench.open("v", 40, volume);
            let range = stream.slab().range_of(present.clone());
            let (send, receive) = mpsc::channel();
            bench.fetcher.read(
                &stream,
                range,
                Box::new(move |answer| send.send(answer.is_ok()).unwrap()),
            );
            assert!(receive.recv_timeout(LONG).unwrap());
            let lease = bench.lease(&stream);
            assert!(bench.bytes(&lease, 40) == array(40), "{case} {present:?}");
            let stats = bench.fetcher.resident_stats();
            let absent = |frame: &&usize| !present.contains(frame);
            let expected = direct.iter().filter(absent).count() as u64;
            assert_eq!(stats.direct_frames, expected, "{case} {present:?}");
            assert_eq!(stats.uploaded_frames, 40 - expected);
            assert_eq!((stats.count, stats.leased, stats.opens), (1, 1, 1));
            assert_eq!(stats.bytes, 40 * FRAME as u64);
        }
    }
}

#[test]
fn opens_of_one_user_share_and_users_do_not() {
    let bench = Bench::of_frames(100);
    let volume = Arc::new(Volume::new(10));
    volume.gate.close();
    let stream = bench.open_shared("v", 10, volume.clone());
    let leases: Vec<Lease> = (0..5).map(|_| bench.lease(&stream)).collect();
    let waiting: Vec<_> = leases.iter().map(begin).collect();
    let other = bench.fetcher.lease(&stream, own_uid() + 1).unwrap();
    volume.gate.open();
    let exports: Vec<Export> = waiting
        .iter()
        .map(|receive| receive.recv_timeout(LONG).unwrap().unwrap())
        .collect();
    wait(&other).unwrap();
    assert_eq!(bench.fake.held.lock().unwrap().len(), 2);
    let mut tokens: Vec<String> = exports.iter().map(|export| door(export).1).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 5, "each lease has a token of its own");
    let made = volume.made.lock().unwrap().len();
    assert_eq!(made, 10, "each frame is made once");
    let stats = bench.fetcher.resident_stats();
    assert_eq!((stats.count, stats.leased, stats.opens), (2, 2, 6));
    drop((leases, other));
    assert_eq!(bench.fetcher.resident_stats().leased, 0);
}

#[test]
fn what_nobody_has_goes_when_room_is_needed_the_oldest_first() {
    let bench = Bench::of_frames(10);
    for name in ["a", "b"] {
        bench.pass(name, 4);
    }
    // Used again: now b is the oldest.
    bench.pass("a", 4);
    assert_eq!(bench.fake.uploads.load(Ordering::SeqCst), 2, "it was there");
    bench.pass("c", 4);
    let stats = bench.fetcher.resident_stats();
    assert_eq!((stats.count, stats.evictions), (2, 1));
    bench.pass("a", 4);
    assert_eq!(bench.fetcher.resident_stats().evictions, 1, "a has stayed");
    bench.pass("b", 4);
    assert_eq!(bench.fetcher.resident_stats().evictions, 2);
    assert_eq!(bench.fake.held.lock().unwrap().len(), 2);
}

#[test]
fn what_somebody_has_stays_and_then_there_is_no_room() {
    let bench = Bench::of_frames(10);
    let streams = ["a", "b", "c"].map(|name| bench.open(name, 4, Volume::new(4)));
    let leases = [bench.lease(&streams[0]), bench.lease(&streams[1])];
    for lease in &leases {
        wait(lease).unwrap();
    }
    let refused = bench.lease(&streams[2]);
    assert!(matches!(wait(&refused), Err(Error::NoRoom(_))));
    assert!(
        matches!(wait(&refused), Err(Error::NoRoom(_))),
        "and stays so"
    );
    drop(leases);
    let lease = bench.lease(&streams[2]);
    assert!(bench.bytes(&lease, 4) == array(4));
}

#[test]
fn nothing_goes_for_a_volume_that_then_has_no_room_all_the_same() {
    let bench = Bench::of_frames(10);
    let leased = bench.lease(&bench.open("a", 4, Volume::new(4)));
    wait(&leased).unwrap();
    bench.pass("b", 4);
    let refused = bench.lease(&bench.open("c", 8, Volume::new(8)));
    assert!(matches!(wait(&refused), Err(Error::NoRoom(_))));
    let stats = bench.fetcher.resident_stats();
    assert_eq!((stats.count, stats.evictions), (2, 0));
}

#[test]
fn a_volume_larger_than_the_budget_is_refused_at_once() {
    let bench = Bench::of_frames(10);
    let stream = bench.open("v", 11, Volume::new(11));
    let refused = bench.fetcher.lease(&stream, own_uid()).map(drop);
    assert!(matches!(refused, Err(Error::TooLarge(_))));
    // What it is rounded up to counts too.
    let mut fake = Fake::new(1 << 30);
    fake.granule_bytes = 1 << 20;
    let bench = Bench::new(fake, MemoryBudget::Bytes(1 << 19));
    let stream = bench.open("v", 11, Volume::new(11));
    let lease = bench.lease(&stream);
    assert!(matches!(wait(&lease), Err(Error::TooLarge(_))));
    assert!(bench.fake.held.lock().unwrap().is_empty());
    assert_eq!(bench.fetcher.resident_stats().bytes, 0);
}

#[test]
fn a_device_with_less_memory_than_its_budget_has_the_oldest_dropped() {
    let memory_bytes = 8 * FRAME as u64;
    let bench = Bench::new(Fake::new(memory_bytes), MemoryBudget::Bytes(1 << 30));
    bench.pass("a", 4);
    bench.pass("b", 4);
    bench.pass("c", 4);
    assert_eq!(bench.fetcher.resident_stats().evictions, 1);
    let lease = bench.lease(&bench.open("d", 8, Volume::new(8)));
    wait(&lease).unwrap();
    let refused = bench.lease(&bench.open("e", 1, Volume::new(1)));
    assert!(matches!(wait(&refused), Err(Error::NoRoom(_))));
}

#[test]
fn percents_are_of_the_device() {
    let fake = Fake::new(100 * 4 * FRAME as u64);
    let bench = Bench::new(fake, MemoryBudget::Percent(2));
    bench.pass("a", 8);
    let refused = bench
        .fetcher
        .lease(&bench.open("b", 9, Volume::new(9)), own_uid());
    assert!(matches!(refused.map(drop), Err(Error::TooLarge(_))));
}

#[test]
fn without_a_device_there_is_none() {
    let bench = Bench::of_frames(10);
    let stream = bench.open("v", 4, Volume::new(4));
    *bench.fake.readiness.lock().unwrap() = Readiness::Retired;
    let refused = bench.fetcher.lease(&stream, own_uid()).map(drop);
    assert!(matches!(refused, Err(Error::NoDevice(_))));
    // One that is being started is waited for.
    *bench.fake.readiness.lock().unwrap() = Readiness::Resting;
    let lease = bench.lease(&stream);
    let waiting = begin(&lease);
    assert!(waiting.try_recv().is_err());
    *bench.fake.readiness.lock().unwrap() = Readiness::Ready;
    assert!(waiting.recv_timeout(LONG).unwrap().is_ok());
    let cache = Arc::new(Cache::new(1 << 20, 100).unwrap());
    let plain = Fetcher::new(cache, 1, usize::MAX).unwrap();
    assert!(matches!(
        plain.lease(&stream, own_uid()).map(drop),
        Err(Error::NoDevice(_))
    ));
    assert_eq!(plain.resident_stats(), Default::default());
}

#[test]
fn a_frame_that_cannot_be_made_fails_the_volume_with_its_own_error() {
    let error = Error::Malformed("scripted".to_string());
    for direct in [false, true] {
        let bench = Bench::of_frames(100);
        let mut volume = match direct {
            true => Volume::all_direct(40),
            false => Volume::new(40),
        };
        volume.direct.remove(&17);
        volume.broken.insert(17, error.clone());
        let lease = bench.lease(&bench.open("v", 40, volume));
        assert_eq!(wait(&lease).err(), Some(error.clone()));
        assert!(
            bench.fake.held.lock().unwrap().is_empty(),
            "nothing is exported"
        );
        assert_eq!(bench.fetcher.resident_stats().bytes, 0);
    }
}

#[test]
fn a_file_that_changes_under_the_device_is_read_by_the_cpu() {
    let bench = Bench::of_frames(100);
    let mut volume = Volume::all_direct(10);
    volume.changed = [3].into();
    volume
        .broken
        .insert(3, Error::Changed("scripted".to_string()));
    let lease = bench.lease(&bench.open("v", 10, volume));
    assert!(matches!(wait(&lease), Err(Error::Changed(_))));
}

#[test]
fn what_a_device_reads_wrong_is_found_and_made_anew() {
    for (case, frame, forgets) in [("wrong", 0, false), ("wrong", 7, false), ("none", 30, true)] {
        let bench = Bench::of_frames(100);
        let volume = Arc::new(Volume::all_direct(40));
        match forgets {
            true => bench.fake.forgotten.lock().unwrap().insert(frame),
            false => bench.fake.wrong.lock().unwrap().insert(frame),
        };
        let stream = bench.open_shared("v", 40, volume);
        let lease = bench.lease(&stream);
        assert!(bench.bytes(&lease, 40) == array(40), "{case} {frame}");
        let stats = bench.fetcher.resident_stats();
        assert_eq!(stats.mismatches, 1);
        let findings = bench.fetcher.failures();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, "device_mismatch");
        // And no file is read by it any more.
        let read = bench.fake.direct_frames.load(Ordering::SeqCst);
        let lease = bench.lease(&bench.open("w", 40, Volume::all_direct(40)));
        assert!(bench.bytes(&lease, 40) == array(40));
        assert_eq!(bench.fake.direct_frames.load(Ordering::SeqCst), read);
    }
}

#[test]
fn what_was_read_by_a_device_that_is_wrong_goes() {
    let bench = Bench::of_frames(1000);
    let open = |name, volume| bench.lease(&bench.open(name, 40, volume));
    let [read, leased] = ["a", "b"].map(|name| open(name, Volume::all_direct(40)));
    let copied = open("c", Volume::new(40));
    for lease in [&read, &leased, &copied] {
        wait(lease).unwrap();
    }
    drop((read, copied));
    bench.fake.wrong.lock().unwrap().insert(2);
    let found = open("d", Volume::all_direct(40));
    assert!(bench.bytes(&found, 40) == array(40));
    let stats = bench.fetcher.resident_stats();
    assert_eq!((stats.mismatches, stats.evictions), (1, 1));
    assert_eq!(
        stats.count, 3,
        "what was copied stays, and what somebody has"
    );
}

#[test]
fn a_volume_is_where_its_series_is_decoded() {
    let cache = Arc::new(Cache::new(1 << 20, 100).unwrap());
    let fetcher = Fetcher::new(cache, 1, usize::MAX).unwrap();
    let fakes = ["a", "b"].map(|name| {
        let mut fake = Fake::new(1 << 30);
        fake.prefers = Some(name);
        Arc::new(fake)
    });
    let memories = fakes
        .iter()
        .map(|fake| fake.clone() as Arc<dyn DeviceMemory>);
    fetcher
        .export_to(memories.collect(), MemoryBudget::Percent(50))
        .unwrap();
    let held = || [0, 1].map(|n: usize| fakes[n].held.lock().unwrap().len());
    let bench = Bench {
        fetcher,
        fake: fakes[0].clone(),
    };
    let place = |name: &str, frames| {
        let lease = bench.lease(&bench.open(name, frames, Volume::new(frames)));
        wait(&lease).unwrap();
    };
    place("b", 3);
    assert_eq!(held(), [0, 1]);
    place("a", 3);
    assert_eq!(held(), [1, 1]);
    // Of what no device is the best for, and while the best one rests, another has it.
    place("c", 3);
    assert_eq!(held(), [2, 1]);
    *fakes[0].readiness.lock().unwrap() = Readiness::Resting;
    place("d", 3);
    assert_eq!(held(), [2, 2]);
}

#[test]
fn a_volume_larger_than_the_cache_is_brought_there_in_runs() {
    let cache_bytes = 64 * FRAME as u64;
    let fake = Fake::new(1 << 30);
    let bench = Bench::with_cache(fake, MemoryBudget::Percent(50), cache_bytes);
    let most = Arc::new(Mutex::new(0));
    let stream = bench.open("v", 400, Volume::new(400));
    let lease = bench.lease(&stream);
    let waiting = begin(&lease);
    let settled = loop {
        let held = bench.fetcher.cache().resident_bytes();
        let mut most = most.lock().unwrap();
        *most = held.max(*most);
        match waiting.try_recv() {
            Ok(settled) => break settled,
            Err(_) => std::thread::yield_now(),
        }
    };
    settled.unwrap();
    assert!(bench.bytes(&lease, 400) == array(400));
    // Demanded frames, one a worker, may be beyond it.
    let most = *most.lock().unwrap();
    assert!(most <= cache_bytes * 5 / 4, "{most}");
    assert!(
        bench.fake.uploads.load(Ordering::SeqCst) > 8,
        "piece by piece"
    );
}

#[test]
fn whoever_opens_and_closes_gets_right_bytes_or_no_room() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let bench = Bench::of_frames(40);
    let streams = NAMES.map(|name| bench.open(name, 12, Volume::all_direct(12)));
    let (right, no_room, left) = (Mutex::new(0), Mutex::new(0), Mutex::new(0));
    std::thread::scope(|scope| {
        for seed in 1..7_u64 {
            let (bench, streams) = (&bench, &streams);
            let (right, no_room, left) = (&right, &no_room, &left);
            scope.spawn(move || {
                let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..60 {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    let stream = &streams[(x % 6) as usize];
                    let uid = own_uid() + (x >> 8) as u32 % 2;
                    let lease = bench.fetcher.lease(stream, uid).unwrap();
                    if x >> 16 & 3 == 0 {
                        *left.lock().unwrap() += 1;
                        continue;
                    }
                    match wait(&lease) {
                        Ok(export) => {
                            let residences = bench.fetcher.shared.residences.get().unwrap();
                            let token = door(&export).1;
                            let file = residences.find(token.as_bytes(), uid).expect("given");
                            let mut bytes = vec![0; 12 * FRAME];
                            File::from(file).read_exact_at(&mut bytes, 0).unwrap();
                            assert!(bytes == array(12));
                            *right.lock().unwrap() += 1;
                        }
                        Err(Error::NoRoom(_)) => *no_room.lock().unwrap() += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    until("all settled", || bench.fetcher.resident_stats().leased == 0);
    until("nothing under way", || {
        let held = bench.fake.held.lock().unwrap();
        let held_bytes: u64 = held.values().map(|(_, len)| len).sum();
        let stats = bench.fetcher.resident_stats();
        stats.bytes == held_bytes && stats.count == held.len()
    });
    assert!(bench.fetcher.resident_stats().bytes <= 40 * FRAME as u64);
    let count = |counter: &Mutex<i32>| *counter.lock().unwrap();
    println!(
        "{} right, {} without room, {} left",
        count(&right),
        count(&no_room),
        count(&left)
    );
    assert!(count(&right) > 0 && count(&left) > 0);
}

#[test]
fn a_device_without_descriptors_gives_a_handle() {
    let bench = Bench::new(Fake::by_ipc(1 << 30), MemoryBudget::Percent(50));
    let lease = bench.lease(&bench.open("v", 4, Volume::new(4)));
    let export = wait(&lease).unwrap();
    assert_eq!(export.way, ExportWay::Ipc("ab".repeat(64)));
    assert_eq!(
        (export.ordinal, export.allocation_bytes),
        (7, 4 * FRAME as u64)
    );
}
