//! Who writes which frame of a residence that is being filled.

use std::ops::Range;

use super::*;
use crate::decode::gpu::ResidentId;
use crate::fetch::resident::Residences;
use crate::fetch::resident::beside::Place;

const FRAMES: usize = 10;

/// Of no fetcher; with memory that is reserved.
fn residences() -> (Arc<Residences>, Arc<dyn DeviceMemory>, ResidentId) {
    let memory = Arc::new(Fake::new(1 << 30)) as Arc<dyn DeviceMemory>;
    let budget = MemoryBudget::Percent(50);
    let residences = Residences::new(vec![memory.clone()], budget);
    let (id, _) = memory.reserve((FRAMES * FRAME) as u64, u64::MAX).unwrap();
    (residences, memory, id)
}

fn key(variant: &'static str) -> SlabKey {
    SlabKey {
        volume: "v".to_string(),
        variant,
        fingerprint: [0; 32],
    }
}

#[test]
fn a_batch_gets_frames_of_its_slab_and_device_that_nobody_has_seen_to() {
    let (residences, memory, id) = residences();
    assert!(residences.beside(7, &key(""), &[1]).is_none(), "no target");
    let target = residences.offer(&key(""), &memory, id, FRAMES);
    let other_version = SlabKey {
        fingerprint: [1; 32],
        ..key("")
    };
    for (case, ordinal, key, frames) in [
        ("another device", 8, key(""), [1, 2]),
        ("another variant", 7, key("f32"), [1, 2]),
        ("another version", 7, other_version, [1, 2]),
        ("no such frame", 7, key(""), [9, 10]),
    ] {
        assert!(
            residences.beside(ordinal, &key, &frames).is_none(),
            "{case}"
        );
    }
    let batch = residences.beside(7, &key(""), &[1, 2]).expect("open");
    assert!(batch.id() == id && batch.is_held());
    let asked = |frames: &[usize]| residences.beside(7, &key(""), frames).is_some();
    assert!(!asked(&[2, 3]), "another batch has one");
    assert!(asked(&[3]), "and none of these is taken for that");
    assert_eq!(target.take(2), Place::Batch);
    assert_eq!(target.take(5), Place::Open);
    assert!(!asked(&[4, 5]), "who fills has one");
    target.give_up(5);
    assert!(asked(&[4, 5]));
    drop(batch);
    assert!(asked(&[2]));
    drop(target);
    assert!(!asked(&[2]), "it is filled");
}

/// The only run.
fn only(runs: Option<Vec<Range<usize>>>) -> Option<Range<usize>> {
    let [run] = <[Range<usize>; 1]>::try_from(runs?).ok()?;
    Some(run)
}

#[test]
fn who_fills_copies_what_no_batch_has_left_there() {
    let (residences, memory, id) = residences();
    let target = residences.offer(&key(""), &memory, id, FRAMES);
    let mut batch = residences.beside(7, &key(""), &[2, 3, 4, 6]).unwrap();
    batch.note(2);
    batch.note(3);
    batch.leave(4);
    assert_eq!(target.take_run(0..FRAMES, Duration::ZERO), None, "6");
    assert_eq!(only(target.take_run(0..4, Duration::ZERO)), Some(0..2));
    assert_eq!(target.first_missing(2..4), None);
    assert_eq!(target.first_missing(2..FRAMES), Some(4));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| target.take_run(2..FRAMES, LONG));
        drop(batch);
        assert_eq!(only(waiting.join().unwrap()), Some(4..FRAMES));
    });
    assert_eq!(residences.stats().beside_frames, 2);
    // A batch never gets what was copied.
    assert!(residences.beside(7, &key(""), &[6]).is_none());
    assert_eq!(target.take(2), Place::There);
    target.give_up(2);
    assert_eq!(target.take(2), Place::There, "that was never his");
}

#[test]
fn of_two_residences_each_batch_has_one() {
    let (residences, memory, one) = residences();
    let (other, _) = memory.reserve((FRAMES * FRAME) as u64, u64::MAX).unwrap();
    let targets = [one, other].map(|id| residences.offer(&key(""), &memory, id, FRAMES));
    let first = residences.beside(7, &key(""), &[0, 1]).unwrap();
    let second = residences.beside(7, &key(""), &[1, 2]).unwrap();
    assert_eq!((first.id(), second.id()), (one, other));
    assert!(residences.beside(7, &key(""), &[1]).is_none());
    assert_eq!(targets[0].take(2), Place::Open);
    assert_eq!(targets[1].take(2), Place::Batch);
}

#[test]
fn what_may_be_written_at_any_time_is_of_no_use() {
    let (residences, memory, id) = residences();
    let target = residences.offer(&key(""), &memory, id, FRAMES);
    let batch = residences.beside(7, &key(""), &[0]).unwrap();
    assert!(!target.is_spoiled());
    batch.spoil();
    assert!(target.is_spoiled());
    assert!(residences.beside(7, &key(""), &[5]).is_none());
}

#[test]
fn memory_that_was_released_holds_nothing() {
    let (residences, memory, id) = residences();
    let _target = residences.offer(&key(""), &memory, id, FRAMES);
    let batch = residences.beside(7, &key(""), &[0]).unwrap();
    memory.release(id);
    assert!(!batch.is_held());
}
