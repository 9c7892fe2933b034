//! Rules of the cache: what is present, what may be dropped, and that the budget holds.

use super::*;

/// What a slab takes with its first frame, beside the frames.
const HEADER: u64 = 4096;

/// Bytes of a frame, whole pages.
const FRAME: u64 = 8192;

fn fits(cache: &Cache, len_bytes: u64) -> bool {
    cache.make_room(len_bytes).fits()
}

fn layout(frame_count: usize) -> Layout {
    Layout {
        header: vec![7; 4096],
        frame_len_bytes: 8192,
        frame_count,
    }
}

fn key(name: &str) -> SlabKey {
    SlabKey {
        volume: name.to_string(),
        variant: "values",
        fingerprint: [0; 32],
    }
}

fn write(filling: &mut Filling<'_>, value: u8) {
    let made: Result<(), ()> = filling.make(|out| {
        out.fill(value);
        Ok(())
    });
    made.unwrap();
}

fn fill(slab: &Slab, frame: usize) -> bool {
    match slab.claim(frame) {
        Claim::Mine(mut filling) => {
            write(&mut filling, frame as u8 + 1);
            filling.commit()
        }
        _ => panic!("frame {frame} cannot be claimed"),
    }
}

fn read(slab: &Slab, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    let frames = slab.frames_of(&range);
    let missing = slab.pin(frames.clone());
    let bytes = slab.with_bytes(range, <[u8]>::to_vec);
    assert!(bytes.is_some() || !missing.is_empty());
    slab.unpin(frames);
    bytes
}

#[test]
fn frames_of_a_byte_range() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    let slab = cache.open(&key("a"), || layout(4)).unwrap();
    let table = [
        (0..4096, 0..0),
        (0..4097, 0..1),
        (4096..4097, 0..1),
        (4096..4096 + 8192, 0..1),
        (4096..4097 + 8192, 0..2),
        (4095 + 8192..4097 + 8192, 0..2),
        (4096 + 8192 * 3..4096 + 8192 * 4, 3..4),
        (5000..5000, 0..0),
    ];
    for (range, frames) in table {
        assert_eq!(slab.frames_of(&range), frames, "{range:?}");
    }
}

#[test]
fn header_is_there_at_once_and_frames_once_filled() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    let slab = cache.open(&key("a"), || layout(2)).unwrap();
    assert_eq!(read(&slab, 10..20).unwrap(), vec![7; 10]);
    assert!(read(&slab, 4096..4100).is_none());
    assert!(!fill(&slab, 0));
    assert_eq!(read(&slab, 4094..4098).unwrap(), vec![7, 7, 1, 1]);
    assert!(
        !slab.passthrough_begin(),
        "never publish an incomplete slab"
    );
    assert!(fill(&slab, 1), "the last frame completes");
    assert!(slab.is_complete());
    assert!(matches!(slab.claim(1), Claim::Present));
}

#[test]
fn an_abandoned_fill_leaves_the_frame_absent_and_uncounted() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    let slab = cache.open(&key("a"), || layout(2)).unwrap();
    let mut claim = slab.claim(0);
    assert_eq!(cache.resident_bytes(), FRAME);
    assert!(matches!(slab.claim(0), Claim::Taken));
    if let Claim::Mine(filling) = &mut claim {
        filling.bytes().fill(9);
    }
    drop(claim);
    assert_eq!(cache.resident_bytes(), HEADER);
    assert!(matches!(slab.claim(0), Claim::Mine(_)));
}

#[test]
fn the_least_recently_used_closed_slab_goes_first() {
    let cache = Cache::new(4 * FRAME + 2 * HEADER, 100).unwrap();
    for name in ["a", "b"] {
        let slab = cache.open(&key(name), || layout(2)).unwrap();
        fill(&slab, 0);
        fill(&slab, 1);
    }
    drop(cache.open(&key("a"), || layout(2)).unwrap());
    assert!(fits(&cache, FRAME));
    assert_eq!(cache.resident_bytes(), 2 * FRAME + HEADER);
    let survivor = cache.open(&key("a"), || panic!("a was used last")).unwrap();
    assert!(survivor.is_complete());
}

#[test]
fn one_volume_larger_than_the_budget_drops_its_idle_frames() {
    let cache = Cache::new(3 * FRAME + HEADER, 100).unwrap();
    let slab = cache.open(&key("big"), || layout(10)).unwrap();
    for frame in 0..10 {
        assert!(frame == 0 || fits(&cache, FRAME), "frame {frame}");
        fill(&slab, frame);
        assert!(cache.resident_bytes() <= cache.budget_bytes());
        assert_eq!(slab.present_frames(), (frame + 1).min(3));
    }
    let last = 4096 + 9 * 8192;
    assert_eq!(read(&slab, last..last + 8192).unwrap(), vec![10; 8192]);
    assert!(
        read(&slab, 4096..4097).is_none(),
        "a dropped frame is absent, not zeros"
    );
    fill(&slab, 0);
    assert_eq!(read(&slab, 4096..4097).unwrap(), vec![1]);
}

#[test]
fn pinned_frames_and_passthrough_slabs_are_left_alone() {
    let cache = Cache::new(4 * FRAME, 100).unwrap();
    let slab = cache.open(&key("a"), || layout(2)).unwrap();
    fill(&slab, 0);
    fill(&slab, 1);
    assert!(slab.pin(0..2).is_empty());
    assert!(!fits(&cache, 2 * FRAME), "both frames are pinned");
    slab.unpin(0..2);
    assert!(slab.passthrough_begin());
    assert!(!fits(&cache, 2 * FRAME), "a reader has the file itself");
    slab.passthrough_end();
    assert!(fits(&cache, 2 * FRAME));
    assert_eq!(slab.present_frames(), 1);
}

#[test]
fn passthrough_readers_never_hold_the_whole_budget() {
    // Each slab takes a quarter: three of them may be held.
    let cache = Cache::new(4 * (3 * FRAME + HEADER), 100).unwrap();
    let names = ["a", "b", "c", "d"];
    let slabs = names.map(|name| cache.open(&key(name), || layout(3)).unwrap());
    for slab in &slabs {
        (0..3).for_each(|frame| assert_eq!(fill(slab, frame), frame == 2));
    }
    let begun = slabs.iter().map(|slab| slab.passthrough_begin());
    assert_eq!(begun.collect::<Vec<_>>(), [true, true, true, false]);
    assert!(
        slabs[0].passthrough_begin(),
        "one that is held costs nothing more"
    );
    assert!(fits(&cache, 3 * FRAME), "the rest is for others");
    assert_eq!(slabs[3].present_frames(), 0);
    slabs[0].passthrough_end();
    assert!(!fits(&cache, 4 * FRAME), "one handle is left");
    slabs[0].passthrough_end();
    assert!(fits(&cache, 4 * FRAME));
}

#[test]
fn what_is_dropped_is_what_was_not_read_for_longest() {
    let cache = Cache::new(8 * FRAME + 2 * HEADER, 100).unwrap();
    let (a, b) = (
        cache.open(&key("a"), || layout(4)).unwrap(),
        cache.open(&key("b"), || layout(4)).unwrap(),
    );
    for frame in 0..4 {
        fill(&a, frame);
        fill(&b, frame);
    }
    // From then on all of a was read before all of b, but a 0.
    for (slab, frame) in [
        (&a, 1),
        (&a, 2),
        (&a, 3),
        (&b, 0),
        (&a, 0),
        (&b, 1),
        (&b, 2),
    ] {
        assert!(read(slab, slab.range_of(frame..frame + 1)).is_some());
    }
    let present = |slab: &Slab| (0..4).filter(|&f| slab.is_present(f)).collect::<Vec<_>>();
    for (a_has, b_has) in [
        (&[0, 1, 2, 3][..], &[0, 1, 2][..]),
        (&[0, 2, 3], &[0, 1, 2]),
        (&[0, 3], &[0, 1, 2]),
        (&[0], &[0, 1, 2]),
        (&[0], &[1, 2]),
        (&[], &[1, 2]),
    ] {
        let free = cache.budget_bytes() - cache.resident_bytes();
        assert!(fits(&cache, free + FRAME));
        assert_eq!((&*present(&a), &*present(&b)), (a_has, b_has));
    }
}

#[test]
fn memory_is_what_the_kernel_says_also_for_lone_frames() {
    let frame_len = 512 << 10;
    let cache = Cache::new(256 << 20, 100).unwrap();
    let big = || Layout {
        header: vec![7; 4096],
        frame_len_bytes: frame_len,
        frame_count: 64,
    };
    let slab = cache.open(&key("a"), big).unwrap();
    for frame in (0..64).step_by(8) {
        fill(&slab, frame);
    }
    let lone = 8 * frame_len as u64 + HEADER;
    assert_eq!(
        cache.resident_bytes(),
        lone,
        "no large page for a frame alone"
    );
    for frame in 0..64 {
        if !slab.is_present(frame) {
            fill(&slab, frame);
        }
    }
    assert_eq!(cache.resident_bytes(), slab.len_bytes());
    // One by one, in an order that leaves holes first.
    for frame in (0..64).step_by(2).chain((1..64).step_by(2)) {
        assert!(read(&slab, slab.range_of(frame..frame + 1)).is_some());
    }
    while slab.present_frames() > 0 {
        assert!(slab.drop_frames(1) > 0);
        let frames = (slab.present_frames() * frame_len) as u64;
        let taken = cache.resident_bytes();
        assert!(taken <= frames + HEADER, "{taken} bytes for {frames}");
    }
    assert_eq!(cache.resident_bytes(), HEADER);
    drop(slab);
    assert!(fits(&cache, cache.budget_bytes()));
}

#[test]
fn a_small_slab_takes_large_pages_as_long_as_there_is_plenty() {
    let cache = Cache::new(64 << 20, 100).unwrap();
    let of = |frame_count| {
        move || Layout {
            header: vec![7; 4096],
            frame_len_bytes: 64 << 10,
            frame_count,
        }
    };
    let small = cache.open(&key("small"), of(100)).unwrap();
    let big = cache.open(&key("big"), of(1000)).unwrap();
    let costs = |slab: &Slab| [0, 50].map(|frame| slab.cost_bytes(frame));
    assert_eq!(
        costs(&big),
        [64 << 10; 2],
        "no large page for a frame alone"
    );
    assert_eq!(costs(&small), [2 << 20; 2]);
    fill(&small, 0);
    assert_eq!(read(&small, 4094..4098).unwrap(), vec![7, 7, 1, 1]);
    for frame in 0..520 {
        fill(&big, frame);
    }
    assert_eq!(
        small.cost_bytes(50),
        64 << 10,
        "half of the budget is taken"
    );
}

#[test]
fn an_only_frame_is_written_at_once_and_takes_what_it_is_long() {
    for len in [1, 4096, 300_001, (2 << 20) - 4097, 2 << 20] {
        let cache = Cache::new(64 << 20, 100).unwrap();
        let only = || Layout {
            header: vec![7; 4096],
            frame_len_bytes: len,
            frame_count: 1,
        };
        let slab = cache.open(&key("a"), only).unwrap();
        let Claim::Mine(mut filling) = slab.claim(0) else {
            panic!("the frame is absent");
        };
        let failed: Result<(), &str> = filling.make(|out| {
            out.fill(9);
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        drop(filling);
        assert!(slab.is_absent(0) && cache.resident_bytes() <= HEADER);
        assert!(fill(&slab, 0));
        let bytes = read(&slab, 0..slab.len_bytes()).unwrap();
        assert!(bytes[..4096] == [7; 4096] && bytes[4096..] == vec![1; len]);
        let taken = cache.resident_bytes();
        assert_eq!(taken, slab.len_bytes().next_multiple_of(4096), "{len}");
        assert!(slab.drop_frames(1) == 1 && cache.resident_bytes() <= HEADER);
    }
}

#[test]
fn a_header_alone_takes_nothing() {
    let cache = Cache::new(256 << 20, 100).unwrap();
    let big = || Layout {
        header: vec![7; 4096],
        frame_len_bytes: 1 << 20,
        frame_count: 8,
    };
    let slab = cache.open(&key("a"), big).unwrap();
    assert_eq!(read(&slab, 0..4096).unwrap(), vec![7; 4096]);
    slab.account();
    assert_eq!(cache.resident_bytes(), 0);
}

#[test]
fn room_is_kept_until_it_is_dropped() {
    let cache = Cache::new(4 * FRAME, 100).unwrap();
    let room = cache.make_room(3 * FRAME);
    assert!(room.fits() && !fits(&cache, 2 * FRAME) && fits(&cache, FRAME));
    drop(room);
    assert!(fits(&cache, 4 * FRAME));
    assert_eq!(cache.resident_bytes(), 0);
}

#[test]
fn the_number_of_slabs_is_bounded_too() {
    let cache = Cache::new(1 << 20, 3).unwrap();
    let held = cache.open(&key("held"), || layout(1)).unwrap();
    for n in 0..10 {
        drop(cache.open(&key(&n.to_string()), || layout(1)).unwrap());
    }
    assert_eq!(cache.slab_count(), 3);
    drop(
        cache
            .open(&key("held"), || panic!("a slab in use was dropped"))
            .unwrap(),
    );
    drop(held);
}

#[test]
fn a_version_that_is_of_no_use_any_more_is_let_go_of() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    let mut other = key("a");
    other.fingerprint[0] ^= 1;
    let mut variant = key("a");
    variant.variant = "stored";
    for key in [&key("a"), &variant, &other, &key("b")] {
        fill(&cache.open(key, || layout(2)).unwrap(), 0);
    }
    let each = cache.resident_bytes() / 4;
    let open = cache.open(&key("a"), || layout(2)).unwrap();
    cache.forget_version("a", &key("a").fingerprint);
    assert_eq!(cache.slab_count(), 2);
    assert!(open.is_present(0), "who has it open keeps it");
    let anew = cache.open(&key("a"), || layout(2)).unwrap();
    assert!(anew.is_absent(0) && !anew.is_present(0));
    drop(open);
    assert_eq!(cache.slab_count(), 3);
    drop(anew);
    assert!(
        cache.resident_bytes() < 3 * each,
        "{}",
        cache.resident_bytes()
    );
}

#[test]
fn absurd_layouts_are_errors() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    for (frame_len_bytes, frame_count) in [(0, 1), (usize::MAX, 2), (usize::MAX / 2, 2)] {
        let layout = Layout {
            header: vec![0; 4096],
            frame_len_bytes,
            frame_count,
        };
        assert!(cache.open(&key("x"), || layout).is_err());
    }
}

#[test]
fn readers_never_see_a_dropped_frame_as_zeros() {
    let cache = Arc::new(Cache::new(5 * FRAME, 100).unwrap());
    let slab = Arc::new(cache.open(&key("a"), || layout(16)).unwrap());
    std::thread::scope(|scope| {
        for seed in 0..4_u64 {
            let (cache, slab) = (cache.clone(), slab.clone());
            scope.spawn(move || {
                for step in 0..4000_u64 {
                    let frame = ((step * 7 + seed * 5) % 16) as usize;
                    let at = 4096 + frame as u64 * 8192;
                    match read(&slab, at..at + 8192) {
                        Some(bytes) => assert!(bytes.iter().all(|&b| b == frame as u8 + 1)),
                        None => {
                            let _room = cache.make_room(FRAME);
                            if let Claim::Mine(mut filling) = slab.claim(frame) {
                                write(&mut filling, frame as u8 + 1);
                                filling.commit();
                            }
                        }
                    }
                }
            });
        }
    });
    cache.trim();
    assert!(cache.resident_bytes() <= cache.budget_bytes());
}

#[test]
fn a_slab_that_is_renewed_leaves_its_readers_what_they_have() {
    let cache = Cache::new(1 << 20, 100).unwrap();
    let old = cache.open(&key("a"), || layout(3)).unwrap();
    fill(&old, 0);
    let Claim::Mine(filling) = old.claim(1) else {
        panic!("the frame is absent");
    };
    filling.abandon();
    let new = cache.renew(&old).unwrap();
    let again = cache.open(&key("a"), || layout(3)).unwrap();
    assert!(std::ptr::eq(&*new, &*again) && !std::ptr::eq(&*new, &*old));
    assert_eq!(
        (new.len_bytes(), new.present_frames()),
        (old.len_bytes(), 0)
    );
    assert_eq!(read(&old, 4096..4097), Some(vec![1]));
    assert!(matches!(old.claim(1), Claim::Taken), "for ever");
    fill(&new, 1);
    drop(old);
    assert_eq!(cache.slab_count(), 1);
    // The one before counts as a user no more.
    drop((new, again));
    let kept = cache.open(&key("a"), || layout(3)).unwrap();
    assert_eq!(kept.present_frames(), 1);
    drop(kept);
    assert!(fits(&cache, (1 << 20) - FRAME), "all but what may be held");
    assert!(!fits(&cache, 1 << 20));
}
