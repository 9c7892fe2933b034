//! Memory reserved, filled, mapped by another process, copied back and released; the budget.

use std::os::fd::AsFd;

use dicomfs::decode::gpu::{
    Codec, Export, Fault, Handle, Job, Outcome, Part, ReserveError, ResidentId, Show,
};

use crate::cases::{LITTLE, gray};
use crate::host::{Device, MIB, deadline, downloaded, file_of, mapped, noise, piece};

#[test]
fn what_is_uploaded_is_what_another_process_maps() {
    let Some(device) = Device::new("what_is_uploaded_is_what_another_process_maps") else {
        return;
    };
    let report = device.remote.report().expect("a report");
    assert_eq!(report.export, Export::Descriptor);
    let len = 70 * MIB as usize + 5;
    let (id, exported) = device.reserve(len as u64);
    assert_eq!(exported.device_uuid, report.uuid);
    assert_eq!(exported.len_bytes, len as u64);
    assert_eq!(exported.allocation_bytes, 72 * MIB);
    // Never what somebody else has left there.
    let all = mapped(&exported, 0, 72 * MIB as usize);
    assert!(all.iter().all(|byte| *byte == 0), "not zeros");
    let bytes = noise(3, len);
    let mut slab = vec![0xEE; 4096];
    slab.extend(&bytes);
    let slab = file_of(&slab);
    // The last first, and a gap that is filled later.
    let (half, end) = (len as u64 / 2, len as u64);
    let pieces = [
        piece(4096 + half, half, end - half),
        piece(4096, 0, 1000),
        piece(4096 + 1001, 1001, half - 1001),
    ];
    let slab_len = 4096 + end;
    device
        .residents
        .upload(id, slab.as_fd(), slab_len, &pieces, deadline())
        .expect("uploaded");
    let found = mapped(&exported, 0, len);
    assert_eq!(found[1000], 0, "the gap");
    assert!(found[..1000] == bytes[..1000] && found[1001..] == bytes[1001..]);
    let rest = [piece(4096 + 1000, 1000, 1)];
    device
        .residents
        .upload(id, slab.as_fd(), slab_len, &rest, deadline())
        .expect("uploaded");
    assert!(mapped(&exported, 0, len) == bytes);
    assert!(downloaded(&device.residents, id, len) == bytes);
    let behind = mapped(&exported, len as u64, 72 * MIB as usize - len);
    assert!(behind.iter().all(|byte| *byte == 0), "behind the array");
    device.residents.release(id);
    assert!(!device.residents.is_held(id));
    device.assert_released();
    // Who has it mapped keeps it.
    assert!(mapped(&exported, 0, len) == bytes);
    assert_eq!(device.remote.facts().faults, 0);
}

#[test]
fn many_pieces_and_residents_do_not_meet() {
    let Some(device) = Device::new("many_pieces_and_residents_do_not_meet") else {
        return;
    };
    let count = 3000_u64;
    let bytes = noise(9, 100 * count as usize);
    let slab = file_of(&bytes);
    // Backwards, and more than fit one order.
    let pieces: Vec<_> = (0..count)
        .map(|n| piece(n * 100, (count - 1 - n) * 100, 100))
        .collect();
    let two = [device.reserve(100 * count), device.reserve(100 * count)];
    let upload = |id: ResidentId| {
        let len = bytes.len() as u64;
        device
            .residents
            .upload(id, slab.as_fd(), len, &pieces, deadline())
    };
    // At the same time: each waits for its turn.
    std::thread::scope(|scope| {
        for (id, _) in &two {
            scope.spawn(|| upload(*id).expect("uploaded"));
        }
    });
    let backwards: Vec<u8> = bytes.chunks(100).rev().flatten().copied().collect();
    for (id, exported) in &two {
        assert!(mapped(exported, 0, bytes.len()) == backwards);
        device.residents.release(*id);
        device.residents.release(*id);
    }
    device.assert_released();
}

#[test]
fn what_breaks_the_rules_is_refused_and_no_fault() {
    let Some(device) = Device::new("what_breaks_the_rules_is_refused_and_no_fault") else {
        return;
    };
    let (id, _exported) = device.reserve(1000);
    let slab = file_of(&noise(1, 500));
    let upload = |id, len, pieces: &[_]| {
        device
            .residents
            .upload(id, slab.as_fd(), len, pieces, deadline())
    };
    let refused = |result: Result<(), Fault>| matches!(result, Err(Fault::Refused(_)));
    assert!(refused(upload(id, 500, &[piece(0, 901, 100)])));
    assert!(refused(upload(id, 500, &[piece(401, 0, 100)])));
    assert!(refused(upload(
        id,
        500,
        &[piece(0, 0, 10), piece(0, 9, 10)]
    )));
    let unknown = ResidentId {
        number: id.number + 1,
        ..id
    };
    assert!(refused(upload(unknown, 500, &[piece(0, 0, 1)])));
    // A slab that is shorter than its caller says: the other side sees it, and goes on.
    let failed = upload(id, 1000, &[piece(500, 0, 100)]);
    assert!(matches!(failed, Err(Fault::Failed(_))), "{failed:?}");
    let none = device.residents.reserve(0);
    assert!(matches!(none, Err(ReserveError::Fault(Fault::Refused(_)))));
    // A time that is over costs nobody the process.
    let late = device.residents.upload(
        id,
        slab.as_fd(),
        500,
        &[piece(0, 0, 1)],
        std::time::Instant::now(),
    );
    assert!(refused(late));
    assert_eq!(upload(id, 500, &[piece(0, 0, 500)]), Ok(()));
    assert_eq!(
        (device.remote.facts().faults, device.remote.facts().starts),
        (0, 1)
    );
    assert!(device.residents.is_held(id) && !device.residents.is_held(unknown));
}

#[test]
fn residents_keep_to_the_budget_and_to_what_the_device_has() {
    let test = "residents_keep_to_the_budget_and_to_what_the_device_has";
    let memory = (32 * MIB).to_string();
    let Some(device) = Device::with(test, "", &[("FAKE_CUDA_MEMORY", &memory)]) else {
        return;
    };
    let residents = &device.residents;
    residents.set_budget_bytes(8 * MIB);
    let refused = |len| residents.reserve(len).map(|_| ()).expect_err("no memory");
    assert_eq!(refused(8 * MIB + 1), ReserveError::TooLarge);
    assert_eq!(refused(u64::MAX), ReserveError::TooLarge);
    // Each takes a multiple of 2 MiB.
    let (one, _) = device.reserve(3 * MIB);
    let (two, _) = device.reserve(4 * MIB);
    assert_eq!(refused(1), ReserveError::NoMemory);
    residents.release(one);
    let (three, _) = device.reserve(1);
    let (four, _) = device.reserve(2 * MIB);
    assert_eq!(refused(1), ReserveError::NoMemory);
    for id in [two, three, four] {
        residents.release(id);
    }
    device.assert_released();
    // Without a budget it is the device that says no.
    residents.set_budget_bytes(u64::MAX);
    assert_eq!(refused(33 * MIB), ReserveError::TooLarge);
    let (all, exported) = device.reserve(30 * MIB);
    assert_eq!(refused(4 * MIB), ReserveError::NoMemory);
    residents.release(all);
    drop(exported);
    device.reserve(30 * MIB);
    assert_eq!(device.remote.facts().faults, 0);
}

/// Frames of 64 x 64 pixels, one after the other from byte 4096 of a slab on.
pub fn batch(encoded: &mut [u8], count: u64) -> (Vec<Job>, Vec<u8>) {
    let bytes = noise(21, 8192 * count as usize);
    encoded[..bytes.len()].copy_from_slice(&bytes);
    let jobs = (0..count).map(|n| Job {
        codec: LITTLE,
        image: gray(64, 64, 16),
        show: Show::Stored,
        encoded: n * 8192..(n + 1) * 8192,
        out: 4096 + n * 8192..4096 + (n + 1) * 8192,
    });
    (jobs.collect(), bytes)
}

#[test]
fn a_batch_leaves_its_values_in_a_resident_as_well() {
    let Some(mut device) = Device::new("a_batch_leaves_its_values_in_a_resident_as_well") else {
        return;
    };
    let (id, exported) = device.reserve(300 * 8192);
    let mut lane = device.lanes.remove(0);
    let (mut jobs, bytes) = batch(lane.encoded(), 300);
    // One that the device refuses.
    jobs[7].codec = Codec::Rle;
    let slab = file_of(&vec![0; 4096 + bytes.len()]);
    let slab_len = 4096 + bytes.len() as u64;
    let part = Part::new(&jobs, slab.as_fd(), slab_len).beside(id, 4096);
    let (outcomes, _) = lane.run(&[part], deadline()).expect("decoded");
    let found = mapped(&exported, 0, bytes.len());
    for (n, outcome) in outcomes.iter().enumerate() {
        let place = n * 8192..(n + 1) * 8192;
        match n {
            7 => assert_ne!(*outcome, Outcome::Done),
            _ => assert!(*outcome == Outcome::Done && found[place.clone()] == bytes[place]),
        }
    }
    assert!(device.counters().device_copies >= 299);
    // A part of the slab that belongs elsewhere, and one that reaches beyond the resident.
    jobs[7].codec = LITTLE;
    let part = Part::new(&jobs[7..9], slab.as_fd(), slab_len).beside(id, 4096 + 8192);
    let (outcomes, _) = lane.run(&[part], deadline()).expect("decoded");
    assert_eq!(outcomes, vec![Outcome::Done; 2]);
    let at = mapped(&exported, 6 * 8192, 2 * 8192);
    assert!(at == bytes[7 * 8192..9 * 8192]);
    let (short, _exported) = device.reserve(8192);
    let part = Part::new(&jobs[..2], slab.as_fd(), slab_len).beside(short, 4096);
    let (outcomes, _) = lane.run(&[part], deadline()).expect("decoded");
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(matches!(outcomes[1], Outcome::Failed(_)));
    // The engine's buffers count, and are given back when it has nothing to do.
    device.residents.set_budget_bytes(8 * MIB);
    let full = device.residents.reserve(MIB).map(|_| ());
    assert_eq!(full.expect_err("buffers"), ReserveError::NoMemory);
    crate::common::wait_until("buffers given back", || {
        device.residents.reserve(MIB).is_ok()
    });
    // A resident that is gone gets nothing, and nobody minds.
    device.residents.release(short);
    device.residents.release(id);
    let part = Part::new(&jobs, slab.as_fd(), slab_len).beside(id, 4096);
    let (outcomes, _) = lane.run(&[part], deadline()).expect("decoded");
    assert_eq!(outcomes, vec![Outcome::Done; 300]);
    let before = Part::new(&jobs[..1], slab.as_fd(), slab_len).beside(id, 4097);
    let refused = lane.run(&[before], deadline());
    assert!(matches!(refused, Err(Fault::Refused(_))), "{refused:?}");
    assert_eq!(
        (device.remote.facts().faults, device.counters().misuses),
        (0, 0)
    );
}

#[test]
fn a_device_without_descriptors_gives_ipc_handles() {
    for (faults, report) in [
        ("no_vmm", Export::Ipc),
        ("no_export", Export::Ipc),
        // What it says it can and then does not.
        ("export:1+", Export::Descriptor),
    ] {
        let test = "a_device_without_descriptors_gives_ipc_handles";
        let Some(device) = Device::with(test, faults, &[]) else {
            return;
        };
        assert_eq!(device.remote.report().expect("a report").export, report);
        let (id, exported) = device.reserve(3 * MIB);
        let Handle::Ipc(handle) = exported.handle else {
            panic!("{faults}: no IPC handle");
        };
        // As the fake has it: its process, the address, the length.
        let word = |n: usize| u64::from_ne_bytes(handle[n * 8..][..8].try_into().expect("a word"));
        let pid = device.remote.facts().pid.expect("a process");
        assert_eq!((word(0), word(2)), (u64::from(pid), 4 * MIB));
        assert_eq!(exported.allocation_bytes, 4 * MIB);
        let zeros = downloaded(&device.residents, id, 3 * MIB as usize);
        assert!(zeros.iter().all(|byte| *byte == 0), "{faults}: not zeros");
        let bytes = noise(4, 3 * MIB as usize);
        let slab = file_of(&bytes);
        let all = [piece(0, 0, 3 * MIB)];
        device
            .residents
            .upload(id, slab.as_fd(), 3 * MIB, &all, deadline())
            .expect("uploaded");
        assert!(downloaded(&device.residents, id, bytes.len()) == bytes);
        device.residents.release(id);
        device.assert_released();
        assert_eq!(device.counters().live_bytes, 0, "{faults}");
    }
    let Some(device) = Device::with("no export at all", "no_vmm,no_ipc", &[]) else {
        return;
    };
    assert_eq!(
        device.remote.report().expect("a report").export,
        Export::None
    );
    let refused = device.residents.reserve(1).map(|_| ());
    assert!(
        matches!(refused, Err(ReserveError::CannotShare(_))),
        "{refused:?}"
    );
}
