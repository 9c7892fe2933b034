//! Rules of the cache: what is present, what may be dropped, and that the budget holds.

use super::*;

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

fn fill(slab: &Slab, frame: usize) -> bool {
    match slab.claim(frame) {
        Claim::Mine(mut filling) => {
            filling.bytes().fill(frame as u8 + 1);
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
    let claim = slab.claim(0);
    assert_eq!(cache.resident_bytes(), 8192);
    assert!(matches!(slab.claim(0), Claim::Taken));
    drop(claim);
    assert_eq!(cache.resident_bytes(), 0);
    assert!(matches!(slab.claim(0), Claim::Mine(_)));
}

#[test]
fn the_least_recently_used_closed_slab_goes_first() {
    let cache = Cache::new(4 * 8192, 100).unwrap();
    for name in ["a", "b"] {
        let slab = cache.open(&key(name), || layout(2)).unwrap();
        fill(&slab, 0);
        fill(&slab, 1);
    }
    drop(cache.open(&key("a"), || layout(2)).unwrap());
    assert!(cache.make_room(8192));
    assert_eq!(cache.resident_bytes(), 2 * 8192);
    let survivor = cache.open(&key("a"), || panic!("a was used last")).unwrap();
    assert!(survivor.is_complete());
}

#[test]
fn one_volume_larger_than_the_budget_drops_its_idle_frames() {
    let cache = Cache::new(3 * 8192, 100).unwrap();
    let slab = cache.open(&key("big"), || layout(10)).unwrap();
    for frame in 0..10 {
        assert!(cache.make_room(8192), "frame {frame}");
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
    let cache = Cache::new(2 * 8192, 100).unwrap();
    let slab = cache.open(&key("a"), || layout(2)).unwrap();
    fill(&slab, 0);
    fill(&slab, 1);
    assert!(slab.pin(0..2).is_empty());
    assert!(!cache.make_room(8192), "both frames are pinned");
    slab.unpin(0..2);
    assert!(slab.passthrough_begin());
    assert!(!cache.make_room(8192), "a reader has the file itself");
    slab.passthrough_end();
    assert!(cache.make_room(8192));
    assert_eq!(slab.present_frames(), 1);
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
    let cache = Arc::new(Cache::new(4 * 8192, 100).unwrap());
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
                            cache.make_room(8192);
                            if let Claim::Mine(mut filling) = slab.claim(frame) {
                                filling.bytes().fill(frame as u8 + 1);
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
