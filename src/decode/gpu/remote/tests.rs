//! A device's process that works, dies, hangs, lies or never starts; this test program plays it.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::*;
use crate::decode::gpu::testing::*;
use crate::decode::gpu::{Job, Outcome};

fn start(part: &str) -> (Remote, Vec<Lane>) {
    let (remote, lanes) = Remote::start(0, launch(part)).expect("started");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert_eq!(state, State::Ready);
    (remote, lanes)
}

fn pid(remote: &Remote) -> u32 {
    remote.facts().pid.expect("a process")
}

fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("/proc")
}

/// Asks for one frame that begins with `first`.
fn ask(lane: &mut Lane, first: u8, deadline: Duration) -> Result<Vec<Outcome>, Fault> {
    let slab = slab(65536);
    lane.encoded()[0] = first;
    let jobs = [job(0..1, 0..100)];
    let parts = [Part::new(&jobs, slab.as_fd(), 65536)];
    let ran = lane.run(&parts, Instant::now() + deadline);
    ran.map(|(outcomes, _)| outcomes)
}

#[test]
fn batches_are_decoded_into_the_slab() {
    let (remote, mut lanes) = start("well");
    assert_eq!(remote.report(), Some(report(0)));
    for lane in &mut lanes {
        decode_well(lane, b"abc");
        decode_well(lane, b"z");
    }
    let failed = ask(&mut lanes[0], FAIL, LONG).expect("an answer");
    assert_eq!(
        failed,
        [Outcome::Failed("b?d?".into())],
        "one frame's failure is no fault"
    );
    let facts = remote.facts();
    assert_eq!((facts.faults, facts.starts, facts.ordinal), (0, 1, 0));
    let pid = pid(&remote);
    drop(remote);
    assert!(!exists(pid), "dropped, it is killed and reaped");
    let refused = ask(&mut lanes[0], b'a', LONG).expect_err("closed");
    assert_eq!(refused, Fault::NotReady(State::Retired("closed".into())));
}

#[test]
fn the_largest_batch_goes_through() {
    let (_remote, mut lanes) = start("well");
    let slab = slab(1 << 20);
    let jobs: Vec<Job> = (0..crate::decode::gpu::JOBS_MAX as u64)
        .map(|n| job(n..n + 1, n * 100..n * 100 + 100))
        .collect();
    lanes[0].encoded()[..jobs.len()].fill(FAIL);
    let deadline = Instant::now() + LONG;
    let parts = [Part::new(&jobs, slab.as_fd(), 1 << 20)];
    let ran = lanes[0].run(&parts, deadline);
    assert_eq!(ran.expect("an answer").0.len(), jobs.len());
}

#[test]
fn frames_of_many_slabs_are_one_batch() {
    let (_remote, mut lanes) = start("well");
    let count = crate::decode::gpu::PARTS_MAX;
    // Not all of one length, and not all at one place.
    let lens: Vec<u64> = (0..count as u64).map(|n| 70_000 + n * 30_000).collect();
    let slabs: Vec<_> = lens.iter().map(|len| slab(*len)).collect();
    let first = |n: usize| b"abF"[n % 3];
    let jobs: Vec<[Job; 2]> = (0..count)
        .map(|n| {
            lanes[0].encoded()[n * 10..][..10].fill(first(n));
            let (n, end) = (n as u64, lens[n]);
            // One at the very end, and one before a window's start.
            let outs = [end - 100..end, 65_000 + n..66_000 + n];
            outs.map(|out| job(n * 10..n * 10 + 10, out))
        })
        .collect();
    let parts: Vec<Part<'_>> = (0..count)
        .map(|n| Part::new(&jobs[n], slabs[n].as_fd(), lens[n]))
        .collect();
    let ran = lanes[0].run(&parts, Instant::now() + LONG);
    let (outcomes, _) = ran.expect("an answer");
    assert_eq!(outcomes.len(), 2 * count);
    for n in 0..count {
        let failed = first(n) == FAIL;
        for outcome in &outcomes[2 * n..2 * n + 2] {
            assert_eq!(*outcome != Outcome::Done, failed, "{n}: {outcome:?}");
        }
        let mut bytes = vec![0; lens[n] as usize];
        slabs[n].read_exact_at(&mut bytes, 0).expect("read");
        let expected = if failed { 0 } else { decoded(first(n)) };
        for (at, byte) in bytes.iter().enumerate() {
            let at = at as u64;
            let is_out = jobs[n].iter().any(|job| job.out.contains(&at));
            assert_eq!(*byte, if is_out { expected } else { 0 }, "{n} at {at}");
        }
    }
}

#[test]
fn lanes_work_at_the_same_time() {
    let (_remote, lanes) = start("well");
    let threads: Vec<_> = lanes
        .into_iter()
        // Neither answers before the other was asked.
        .map(|mut lane| thread::spawn(move || ask(&mut lane, MEET, LONG)))
        .collect();
    for thread in threads {
        let outcomes = thread.join().expect("thread").expect("decoded");
        assert_eq!(outcomes, [Outcome::Done]);
    }
}

#[test]
fn a_caller_s_mistake_is_refused_and_no_fault() {
    let (remote, mut lanes) = start("well");
    let slab = slab(65536);
    let mut run = |jobs: &[Job], len| {
        let parts = [Part::new(jobs, slab.as_fd(), len)];
        let ran = lanes[0].run(&parts, Instant::now() + LONG);
        ran.map(|(outcomes, _)| outcomes)
    };
    for jobs in [
        vec![],
        vec![job(0..(1 << 20) + 1, 0..100)],
        vec![job(0..1, 65536..65537)],
        vec![job(0..1, 0..100), job(0..1, 99..110)],
    ] {
        assert!(
            matches!(run(&jobs, 65536), Err(Fault::Refused(_))),
            "{jobs:?}"
        );
    }
    let jobs = [job(0..1, 0..100)];
    let part = |slab| Part::new(&jobs, slab, 65536);
    for parts in [
        vec![],
        vec![part(slab.as_fd()); 2],
        vec![part(slab.as_fd()); crate::decode::gpu::PARTS_MAX + 1],
    ] {
        let ran = lanes[0].run(&parts, Instant::now() + LONG);
        assert!(matches!(ran, Err(Fault::Refused(_))), "{}", parts.len());
    }
    assert_eq!(remote.facts().faults, 0);
    let mut run = |jobs: &[Job], len| {
        let parts = [Part::new(jobs, slab.as_fd(), len)];
        let ran = lanes[0].run(&parts, Instant::now() + LONG);
        ran.map(|(outcomes, _)| outcomes)
    };
    // A slab that is shorter than its caller says: only the other side sees it.
    let lost = run(&[job(0..1, 65536..70000)], 1 << 20);
    assert!(matches!(lost, Err(Fault::Lost(_))), "{lost:?}");
}

#[test]
fn a_process_that_dies_or_fails_is_gone_before_the_caller_goes_on() {
    for (first, words) in [
        (DIE, "died"),
        (LOSE, "fell off the bus"),
        (PANIC, "panicked"),
        (MISCOUNT, "lost count"),
    ] {
        let (remote, mut lanes) = start("well");
        let pid = pid(&remote);
        let fault = ask(&mut lanes[1], first, LONG).expect_err("a fault");
        assert!(!exists(pid), "not reaped: {fault}");
        assert!(!fault.may_still_write());
        assert!(
            matches!(&fault, Fault::Lost(why) if why.contains(words)),
            "{fault}"
        );
        // Another process takes over, for both lanes.
        assert_eq!(
            remote.wait_settled(Some(Instant::now() + LONG)),
            State::Ready
        );
        assert_eq!((remote.facts().faults, remote.facts().starts), (1, 2));
        for lane in &mut lanes {
            decode_well(lane, b"xy");
        }
    }
}

#[test]
fn a_hang_ends_at_the_deadline() {
    let (remote, mut lanes) = start("well");
    let pid = pid(&remote);
    let fault = ask(&mut lanes[0], HANG, Duration::from_millis(50)).expect_err("a fault");
    assert_eq!(fault, Fault::Lost("a batch took too long".into()));
    assert!(!exists(pid));
    assert_eq!(remote.facts().faults, 1);
}

#[test]
fn a_fault_of_one_lane_is_that_of_the_other() {
    let mut launch = launch("well");
    // Who asks too late finds no other process.
    launch.limits.rests = [LONG; 2];
    let (remote, mut lanes) = Remote::start(0, launch).expect("started");
    assert_eq!(
        remote.wait_settled(Some(Instant::now() + LONG)),
        State::Ready
    );
    let mut other = lanes.pop().expect("two lanes");
    let hanging = thread::spawn(move || ask(&mut other, HANG, LONG));
    let fault = ask(&mut lanes[0], DIE, LONG).expect_err("a fault");
    assert!(matches!(fault, Fault::Lost(_)));
    let fault = hanging.join().expect("thread").expect_err("a fault");
    // It may have asked too late to be asked at all.
    assert!(
        matches!(fault, Fault::Lost(_) | Fault::NotReady(_)),
        "{fault}"
    );
    assert_eq!(remote.facts().faults, 1, "one process, one fault");
}

#[test]
fn an_idle_process_that_is_killed_is_replaced() {
    let (remote, mut lanes) = start("well");
    let first = pid(&remote);
    kill("-9", first);
    wait_until("another process", || {
        remote.is_ready() && remote.facts().pid.is_some_and(|pid| pid != first)
    });
    decode_well(&mut lanes[0], b"q");
    assert_eq!(remote.facts().faults, 1);
}

/// What a person reads who asks why there is no device.
#[test]
fn how_a_process_has_ended_is_said() {
    let (remote, _lanes) = start("well");
    for faults in 1..=3 {
        let state = remote.wait_settled(Some(Instant::now() + LONG));
        assert_eq!(state, State::Ready);
        kill("-9", pid(&remote));
        wait_until("its end", || remote.facts().faults == faults);
    }
    let state = remote.state().to_string();
    assert_eq!(state, "retired: it died (signal: 9 (SIGKILL))");
    let why = probe(0, &launch("crash")).expect_err("it crashes");
    assert!(why.contains("died when it was started (signal: 6"), "{why}");
}

#[test]
fn kernels_are_loaded_before_the_first_batch() {
    let (remote, _lanes) = start("well");
    let variables = fs::read(format!("/proc/{}/environ", pid(&remote)));
    // Who is not root may not look into a process of another user.
    let Ok(variables) = variables else {
        println!("skipped: its environment cannot be read");
        return;
    };
    let mut variables = variables.split(|byte| *byte == 0);
    let expected = match env::var("CUDA_MODULE_LOADING") {
        Ok(own) => format!("CUDA_MODULE_LOADING={own}"),
        Err(_) => "CUDA_MODULE_LOADING=EAGER".to_string(),
    };
    assert!(variables.any(|variable| variable == expected.as_bytes()));
}

#[test]
fn nonsense_is_a_fault() {
    for part in ["too few", "too many", "another", "garbage", "ready again"] {
        let (remote, mut lanes) = start(part);
        let pid = pid(&remote);
        let fault = ask(&mut lanes[0], b'a', LONG).expect_err(part);
        assert!(matches!(fault, Fault::Lost(_)), "{part}: {fault}");
        assert!(!exists(pid), "{part}");
        assert_eq!(remote.facts().faults, 1, "{part}");
    }
}

#[test]
fn the_third_fault_retires_and_each_before_is_followed_by_a_rest() {
    // Long enough to be seen, also where much else runs.
    let rests = [Duration::from_secs(1), Duration::from_millis(1500)];
    let mut launch = launch("well");
    launch.limits.rests = rests;
    let (remote, mut lanes) = Remote::start(0, launch).expect("started");
    for rest in rests {
        assert_eq!(
            remote.wait_settled(Some(Instant::now() + LONG)),
            State::Ready
        );
        ask(&mut lanes[0], DIE, LONG).expect_err("a fault");
        let fault = Instant::now();
        let refused = ask(&mut lanes[0], b'a', LONG).expect_err("not ready");
        assert!(
            matches!(refused, Fault::NotReady(State::Resting(_))),
            "{refused}"
        );
        assert_eq!(
            remote.wait_settled(Some(Instant::now() + LONG)),
            State::Ready
        );
        // The rest began a little before the caller knew.
        assert!(fault.elapsed() > rest / 2, "{:?}", fault.elapsed());
    }
    ask(&mut lanes[0], DIE, LONG).expect_err("a fault");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert!(
        matches!(&state, State::Retired(why) if why.contains("died")),
        "{state}"
    );
    assert_eq!((remote.facts().faults, remote.facts().starts), (3, 3));
    let refused = ask(&mut lanes[1], b'a', LONG).expect_err("retired");
    assert_eq!(refused, Fault::NotReady(state));
}

#[test]
fn a_start_that_fails_is_a_fault_and_no_device_is_none() {
    for (part, words) in [
        ("crash", "died"),
        ("mute", ""),
        ("out of turn", "out of turn"),
    ] {
        let (remote, _lanes) = Remote::start(0, launch(part)).expect("started");
        let state = remote.wait_settled(Some(Instant::now() + LONG));
        assert!(
            matches!(&state, State::Retired(why) if why.contains(words)),
            "{part}: {state}"
        );
        assert_eq!(
            (remote.facts().faults, remote.facts().pid),
            (3, None),
            "{part}"
        );
    }
    for (part, words) in [("absent", "no driver"), ("panic", "panicked")] {
        let (remote, mut lanes) = Remote::start(0, launch(part)).expect("started");
        let state = remote.wait_settled(Some(Instant::now() + LONG));
        assert!(
            matches!(&state, State::Absent(why) if why.contains(words)),
            "{part}: {state}"
        );
        wait_until("its end", || remote.facts().pid.is_none());
        assert_eq!(
            (remote.facts().faults, remote.facts().starts),
            (0, 1),
            "{part}"
        );
        assert_eq!(lanes[0].wait_settled(None), state);
        let refused = ask(&mut lanes[0], b'a', LONG).expect_err(part);
        assert_eq!(refused, Fault::NotReady(state));
    }
    let mut nothing = launch("well");
    nothing.program = PathBuf::from("/no/such/program");
    let (remote, _lanes) = Remote::start(0, nothing).expect("started");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert!(matches!(state, State::Retired(_)), "{state}");
}

#[test]
fn a_start_that_hangs_ends_at_its_deadline_or_when_it_is_not_wanted() {
    let mut soon = launch("hang");
    soon.limits.start = Duration::from_millis(30);
    let (remote, _lanes) = Remote::start(0, soon).expect("started");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert!(
        matches!(&state, State::Retired(why) if why.contains("too long")),
        "{state}"
    );
    let (remote, _lanes) = Remote::start(0, launch("hang")).expect("started");
    wait_until("a process", || remote.facts().pid.is_some());
    let pid = pid(&remote);
    let start = Instant::now();
    remote.close();
    assert!(!exists(pid) && start.elapsed() < LONG / 2);
}

#[test]
fn a_retired_device_stays_retired() {
    let (remote, mut lanes) = start("well");
    let pid = pid(&remote);
    let hanging = {
        let mut lane = lanes.pop().expect("two lanes");
        thread::spawn(move || ask(&mut lane, HANG, LONG))
    };
    remote.retire("wrong bytes");
    let fault = hanging.join().expect("thread").expect_err("a fault");
    assert!(
        matches!(fault, Fault::Lost(_) | Fault::NotReady(_)),
        "{fault}"
    );
    wait_until("its end", || !exists(pid));
    assert_eq!(remote.state(), State::Retired("wrong bytes".into()));
    remote.retire("another word");
    assert_eq!(remote.state(), State::Retired("wrong bytes".into()));
}

#[test]
fn a_process_that_cannot_be_ended_is_reported_as_such() {
    let mut impatient = launch("well");
    // No time to reap: to the keeper it is as if the kernel held the process.
    impatient.limits.reap = Duration::ZERO;
    let (remote, mut lanes) = Remote::start(0, impatient).expect("started");
    assert_eq!(
        remote.wait_settled(Some(Instant::now() + LONG)),
        State::Ready
    );
    let fault = ask(&mut lanes[0], HANG, Duration::from_millis(1)).expect_err("a fault");
    assert!(fault.may_still_write(), "{fault}");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert!(
        matches!(state, State::Retired(_)),
        "at the first of these: {state}"
    );
    assert_eq!(remote.facts().starts, 1);
}

#[test]
fn a_look_at_a_device_leaves_nothing_behind() {
    assert_eq!(probe(3, &launch("well")), Ok(report(3)));
    assert_eq!(probe(0, &launch("absent")), Err("no driver".into()));
    assert!(probe(0, &launch("crash")).is_err_and(|why| why.contains("died")));
    let mut soon = launch("hang");
    soon.limits.start = Duration::from_millis(30);
    assert!(probe(0, &soon).is_err_and(|why| why.contains("too long")));
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}
