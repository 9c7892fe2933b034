//! What goes wrong with residents, injected: nothing leaks, nothing is another's, and the mount goes on.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dicomfs::decode::gpu::{Fault, Outcome, Part, ReserveError};

use crate::direct::frames;
use crate::host::{Device, MIB, deadline, downloaded, file_of, kill, mapped, noise, piece};
use crate::memory::batch;

#[test]
fn no_memory_leaves_nothing_behind() {
    for fault in ["create:1", "map:1", "access:1"] {
        let Some(device) = Device::with("no_memory_leaves_nothing_behind", fault, &[]) else {
            return;
        };
        let refused = device.residents.reserve(5 * MIB).map(|_| ());
        assert_eq!(refused, Err(ReserveError::NoMemory), "{fault}");
        device.assert_released();
        let (id, _exported) = device.reserve(5 * MIB);
        device.residents.release(id);
        device.assert_released();
        assert_eq!(device.remote.facts().faults, 0, "{fault}");
    }
}

#[test]
fn residents_are_lost_with_their_process() {
    let Some(device) = Device::new("residents_are_lost_with_their_process") else {
        return;
    };
    let residents = &device.residents;
    let (old, exported) = device.reserve(MIB);
    let bytes = noise(5, MIB as usize);
    let slab = file_of(&bytes);
    let all = [piece(0, 0, MIB)];
    let upload = |id| residents.upload(id, slab.as_fd(), MIB, &all, deadline());
    upload(old).expect("uploaded");
    assert!(residents.is_held(old));
    kill(&device);
    assert!(!residents.is_held(old));
    let lost = upload(old);
    assert!(matches!(lost, Err(Fault::Lost(_))), "{lost:?}");
    // Who has it mapped still has it.
    assert!(mapped(&exported, 0, bytes.len()) == bytes);
    let (new, _exported) = device.reserve(MIB);
    assert!(new != old && residents.is_held(new) && !residents.is_held(old));
    let zeros = downloaded(residents, new, MIB as usize);
    assert!(zeros.iter().all(|byte| *byte == 0));
    // The old one's release is not the new one's.
    residents.release(old);
    assert!(residents.is_held(new));
    upload(new).expect("uploaded");
    assert_eq!(device.remote.facts().faults, 1);
}

#[test]
fn a_device_that_is_lost_or_hangs_ends_its_process() {
    for (fault, patience) in [
        ("lost:1", Duration::from_secs(60)),
        ("hang:1", Duration::from_millis(300)),
        ("die:1", Duration::from_secs(60)),
    ] {
        let test = "a_device_that_is_lost_or_hangs_ends_its_process";
        let Some(device) = Device::with(test, fault, &[]) else {
            return;
        };
        let (files, jobs, _) = frames(3);
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let (id, _exported) = device.reserve(3 * 8192);
        let pid = device.remote.facts().pid.expect("a process");
        let ends = Instant::now() + patience;
        let lost = device.residents.direct(id, &files, &jobs, ends);
        assert!(matches!(lost, Err(Fault::Lost(_))), "{fault}: {lost:?}");
        let gone = !std::fs::exists(format!("/proc/{pid}")).expect("/proc");
        assert!(gone, "{fault}: reaped before anybody goes on");
        assert!(!device.residents.is_held(id));
        assert_eq!(device.remote.facts().faults, 1, "{fault}");
    }
}

#[test]
fn a_launch_that_fails_fails_its_frames_alone() {
    let test = "a_launch_that_fails_fails_its_frames_alone";
    let Some(device) = Device::with(test, "launch:1", &[]) else {
        return;
    };
    let (files, jobs, expected) = frames(5);
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let (id, exported) = device.reserve(5 * 8192);
    let direct = || device.residents.direct(id, &files, &jobs, deadline());
    let outcomes = direct().expect("answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Failed(_), ..]),
        "{outcomes:?}"
    );
    assert_eq!(direct(), Ok(vec![Outcome::Done; 5]));
    assert!(mapped(&exported, 0, expected.len()) == expected);
}

#[test]
fn a_resident_that_is_released_while_it_is_used_is_freed_after_that() {
    let test = "a_resident_that_is_released_while_it_is_used_is_freed_after_that";
    let Some(device) = Device::new(test) else {
        return;
    };
    let bytes = noise(6, 40 * MIB as usize);
    let slab = file_of(&bytes);
    let len = bytes.len() as u64;
    let all = [piece(0, 0, len)];
    for round in 0..8 {
        let (id, exported) = device.reserve(len);
        let (uploaded, ()) = std::thread::scope(|scope| {
            let upload = scope.spawn(|| {
                device
                    .residents
                    .upload(id, slab.as_fd(), len, &all, deadline())
            });
            // Sooner in some rounds than in others.
            std::thread::sleep(Duration::from_millis(round * 3));
            device.residents.release(id);
            (upload.join().expect("thread"), ())
        });
        match uploaded {
            Ok(()) => assert!(mapped(&exported, 0, bytes.len()) == bytes),
            Err(fault) => assert!(
                matches!(fault, Fault::Refused(_) | Fault::Failed(_)),
                "{fault}"
            ),
        }
    }
    crate::common::wait_until("all released", || device.counters().mapped_live == 0);
    device.assert_released();
    assert_eq!(device.remote.facts().faults, 0);
}

#[test]
fn a_resident_may_be_released_while_a_lane_copies_to_it() {
    let test = "a_resident_may_be_released_while_a_lane_copies_to_it";
    let Some(mut device) = Device::new(test) else {
        return;
    };
    let mut lane = device.lanes.remove(0);
    let (jobs, bytes) = batch(lane.encoded(), 500);
    let slab = file_of(&vec![0; 4096 + bytes.len()]);
    let len = 4096 + bytes.len() as u64;
    for round in 0..8 {
        let (id, exported) = device.reserve(bytes.len() as u64);
        let outcomes = std::thread::scope(|scope| {
            let lane = &mut lane;
            let (jobs, slab) = (&jobs, slab.as_fd());
            let run = scope.spawn(move || {
                let part = Part::new(jobs, slab, len).beside(id, 4096);
                lane.run(&[part], deadline())
            });
            // Sooner in some rounds than in others.
            std::thread::sleep(Duration::from_millis(round * 4));
            device.residents.release(id);
            run.join().expect("thread").expect("decoded").0
        });
        assert_eq!(outcomes, vec![Outcome::Done; 500]);
        let found = mapped(&exported, 0, bytes.len());
        let is_there = found == bytes;
        assert!(is_there || found.iter().all(|byte| *byte == 0), "in part");
    }
    crate::common::wait_until("all released", || device.counters().mapped_live == 0);
    assert_eq!(
        (device.counters().misuses, device.remote.facts().faults),
        (0, 0)
    );
}
