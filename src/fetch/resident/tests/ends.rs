//! What ends too early: the device's process, the wish for a volume, the mount.

use super::*;

#[test]
fn a_device_that_is_lost_while_it_is_filled_is_filled_once_more() {
    for copies in [0, 1] {
        let bench = Bench::of_frames(100);
        *bench.fake.dies_after.lock().unwrap() = Some(copies);
        let mut volume = Volume::new(40);
        volume.direct = (20..40).collect();
        let lease = bench.lease(&bench.open("v", 40, volume));
        assert!(bench.bytes(&lease, 40) == array(40));
    }
}

#[test]
fn a_device_that_is_lost_ends_its_leases() {
    let bench = Bench::of_frames(100);
    let stream = bench.open("v", 4, Volume::new(4));
    let lease = bench.lease(&stream);
    let (path, token) = door(&wait(&lease).unwrap());
    bench.fake.die();
    assert!(matches!(wait(&lease), Err(Error::Changed(_))));
    assert!(hostile::fetch(&path, &token).is_none());
    let again = bench.lease(&stream);
    assert!(bench.bytes(&again, 4) == array(4), "made anew");
    assert!(matches!(wait(&lease), Err(Error::Changed(_))), "for ever");
    drop(lease);
    let stats = bench.fetcher.resident_stats();
    assert_eq!((stats.count, stats.leased), (1, 1));
    assert_eq!(stats.bytes, 4 * FRAME as u64);
}

#[test]
fn memory_of_a_device_that_was_lost_is_let_go_of_though_nobody_asks() {
    for state in [Readiness::Ready, Readiness::Retired] {
        let bench = Bench::of_frames(100);
        let leased = bench.lease(&bench.open("leased", 4, Volume::new(4)));
        wait(&leased).unwrap();
        bench.pass("idle", 4);
        assert_eq!(bench.fetcher.resident_stats().count, 2);
        *bench.fake.readiness.lock().unwrap() = state;
        bench.fake.die();
        // With the last descriptor, which takes the device's memory as long as it is open.
        until("nothing is kept", || {
            let stats = bench.fetcher.resident_stats();
            (stats.count, stats.bytes) == (0, 0)
        });
        assert!(matches!(wait(&leased), Err(Error::Changed(_))));
    }
}

#[test]
fn a_volume_that_nobody_waits_for_any_more_is_left() {
    let bench = Bench::of_frames(100);
    let volume = Arc::new(Volume::new(40));
    volume.gate.close();
    let stream = bench.open_shared("v", 40, volume.clone());
    let lease = bench.lease(&stream);
    drop(lease);
    volume.gate.open();
    until("given back", || {
        let stats = bench.fetcher.resident_stats();
        stats.bytes == 0 && stats.count == 0
    });
    let lease = bench.lease(&stream);
    assert!(bench.bytes(&lease, 40) == array(40));
}

#[test]
fn the_end_answers_who_waits() {
    let bench = Bench::of_frames(100);
    let volume = Arc::new(Volume::new(40));
    bench.fake.gate.close();
    let stream = bench.open_shared("v", 40, volume.clone());
    let lease = bench.lease(&stream);
    let waiting = begin(&lease);
    until("a copy", || bench.fake.gate.waiting.load(Ordering::SeqCst));
    let fetcher = &bench.fetcher;
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| fetcher.shutdown());
        let settled = waiting.recv_timeout(LONG).unwrap();
        assert!(matches!(settled, Err(Error::ShuttingDown)));
        bench.fake.gate.open();
        ended.join().unwrap();
    });
    assert!(matches!(wait(&lease), Err(Error::ShuttingDown)));
    let refused = bench.fetcher.lease(&stream, own_uid()).map(drop);
    assert!(matches!(refused, Err(Error::NoDevice(_))));
    until("given back", || bench.fake.held.lock().unwrap().is_empty());
}

#[test]
fn who_opens_just_as_it_ends_is_told_so() {
    let bench = Bench::of_frames(100);
    let stream = bench.open("v", 4, Volume::new(4));
    let residences = bench.fetcher.shared.residences.get().unwrap().clone();
    *bench.fake.meanwhile.lock().unwrap() = Some(Box::new(move || residences.stop()));
    let lease = bench.lease(&stream);
    assert!(matches!(wait(&lease), Err(Error::ShuttingDown)));
}
