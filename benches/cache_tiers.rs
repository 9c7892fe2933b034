//! What the cache costs by itself: slabs, claims, dropping frames with few and with many slabs, and
//! frames that come back from a directory. Medians, printed; compare within one run only.

use std::time::Instant;

use dicomfs::cache::{Cache, Claim, Disk, DiskBudget, DiskOptions, Layout, Slab, SlabKey, SlabUse};

const MIB: u64 = 1 << 20;

fn key(n: usize) -> SlabKey {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&(n as u64).to_le_bytes());
    SlabKey {
        volume: n.to_string(),
        variant: "values",
        fingerprint,
    }
}

fn open(cache: &Cache, n: usize, frame_len_bytes: usize, frame_count: usize) -> SlabUse {
    let layout = || Layout {
        header: vec![0; 4096],
        frame_len_bytes,
        frame_count,
    };
    cache.open(&key(n), layout).expect("a slab")
}

fn fill(slab: &Slab, frame: usize, source: &[u8]) {
    if let Claim::Mine(mut filling) = slab.claim(frame) {
        filling.bytes().copy_from_slice(source);
        filling.commit();
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median time of `work`, seconds.
fn timed(rounds: usize, mut work: impl FnMut(usize)) -> f64 {
    let one = |n| {
        let start = Instant::now();
        work(n);
        start.elapsed().as_secs_f64()
    };
    median((0..rounds).map(one).collect())
}

fn slabs() {
    let cache = Cache::new(1 << 34, 100_000).expect("a cache");
    let made = timed(2000, |n| drop(open(&cache, n, 512 << 10, 300)));
    println!(
        "slab of 300 frames, made                    {:8.1} us",
        made * 1e6
    );
    let slab = open(&cache, 1_000_000, 64, 200_000);
    let claimed = timed(100_000, |n| fill(&slab, n, &[1; 64]));
    println!(
        "claim, 64 bytes, commit                     {:8.2} us",
        claimed * 1e6
    );
    let held = timed(100_000, |n| {
        slab.pin(n..n + 1);
        slab.unpin(n..n + 1);
    });
    println!(
        "pin and unpin                               {:8.3} us",
        held * 1e6
    );
}

fn filling() {
    let source = vec![7; 512 << 10];
    let mut plain = vec![0_u8; 512 << 10];
    let copied = timed(200, |_| plain.copy_from_slice(&source));
    let rate = |seconds: f64, bytes: f64| bytes / seconds / 1e9;
    let whole = timed(9, |n| {
        let cache = Cache::new(1 << 34, 100).expect("a cache");
        let slab = open(&cache, n, source.len(), 256);
        (0..256).for_each(|frame| fill(&slab, frame, &source));
    });
    let lone = timed(9, |n| {
        let cache = Cache::new(1 << 34, 100).expect("a cache");
        let slab = open(&cache, n, source.len(), 1024);
        (0..1024)
            .step_by(8)
            .for_each(|frame| fill(&slab, frame, &source));
    });
    let len = source.len() as f64;
    println!(
        "copy of a frame in plain memory             {:8.1} GB/s",
        rate(copied, len)
    );
    println!(
        "a fresh slab filled in order                {:8.1} GB/s",
        rate(whole, 256.0 * len)
    );
    println!(
        "lone frames in a fresh slab                 {:8.1} GB/s",
        rate(lone, 128.0 * len)
    );
}

/// Each new frame pushes an old one out.
fn dropping(slab_count: usize) {
    const FRAME: usize = 64 << 10;
    let frames_each = 16_384 / slab_count;
    let budget = (slab_count * frames_each * (FRAME + 4096)) as u64 / 2;
    let cache = Cache::new(budget, 100_000).expect("a cache");
    let slabs: Vec<SlabUse> = (0..slab_count)
        .map(|n| open(&cache, n, FRAME, frames_each))
        .collect();
    let source = vec![1; FRAME];
    let one = |n: usize| {
        let (slab, frame) = (&slabs[n % slab_count], n / slab_count % frames_each);
        drop(cache.make_room(slab.cost_bytes(frame)));
        fill(slab, frame, &source);
    };
    (0..16_384).for_each(one);
    let time = timed(16_384, one);
    println!(
        "64 KiB for 64 KiB, {slab_count:5} slabs open          {:8.1} us",
        time * 1e6
    );
}

fn restoring() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = DiskOptions {
        dir: dir.path().to_path_buf(),
        budget: DiskBudget::Bytes(8 << 30),
        maker: "bench".to_string(),
        origin: Vec::new(),
    };
    let source = vec![7; 512 << 10];
    let cache = || {
        let disk = Disk::open(&options).expect("a tier");
        Cache::new(1 << 34, 100).expect("a cache").with_disk(disk)
    };
    let first = cache();
    let slab = open(&first, 0, source.len(), 256);
    for frame in 0..256 {
        fill(&slab, frame, &source);
        slab.keep_copy(10_000_000);
    }
    let start = Instant::now();
    while first.disk().expect("a tier").stats().stored == 0 {
        std::thread::yield_now();
    }
    let stored = start.elapsed().as_secs_f64();
    let again = timed(9, |_| {
        let cache = cache();
        let slab = open(&cache, 0, source.len(), 256);
        for frame in 0..256 {
            if let Claim::Mine(mut filling) = slab.claim(frame) {
                assert!(slab.has_copy() && filling.restore());
                filling.commit();
            }
        }
    });
    let rate = |seconds: f64| 128.0 * MIB as f64 / seconds / 1e9;
    println!(
        "128 MiB written to disk, with fsync         {:8.1} GB/s",
        rate(stored)
    );
    println!(
        "and back from the page cache, checked       {:8.1} GB/s",
        rate(again)
    );
    let mut crc = crc32fast::Hasher::new();
    let checked = timed(200, |_| crc.update(&source));
    let len = source.len() as f64;
    println!(
        "checksum of a frame                         {:8.1} GB/s",
        len / checked / 1e9
    );
}

fn main() {
    slabs();
    filling();
    for slab_count in [8, 64, 1024, 8192] {
        dropping(slab_count);
    }
    restoring();
}
