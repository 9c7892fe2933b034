//! From a file in the page cache to values, and what keeping a frame in a slab costs.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::open_file;
use dicomfs::archive::{self, Source};
use dicomfs::cache::{Cache, Claim, Layout, Slab, SlabKey};
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::fetch::{FrameSource, Produce};
use dicomfs::volume::{self, Variant};

use crate::{SIDES, samples};

const BITS_STORED: Tag = Tag(0x0028, 0x0101);
const HIGH_BIT: Tag = Tag(0x0028, 0x0102);

/// A series of one slice, written; `bits_stored` of 16.
fn write(dir: &Path, side: u32, syntax: &'static str, rescale: (f64, f64), bits_stored: u16) {
    let side_len = side as usize;
    let mut series = Series::ct("2.25.6001", syntax, [1, side_len, side_len]);
    series.stored = samples(side);
    series.rescale = vec![rescale];
    for path in series.write(dir).expect("written") {
        let mut object = open_file(&path).expect("readable");
        for (tag, value) in [(BITS_STORED, bits_stored), (HIGH_BIT, bits_stored - 1)] {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        object.write_to_file(&path).expect("written");
    }
}

/// A native frame from its file to the values shown, as the workers of a mount make it: open, read
/// and rule, in one pass over memory.
pub fn one_pass(c: &mut Criterion) {
    let little = "1.2.840.10008.1.2.1";
    let cases = [
        ("stored as shown", little, (1.0, 0.0), 16),
        ("offset to int16", little, (1.0, -1024.0), 16),
        ("12 bits, offset to int16", little, (1.0, -1024.0), 12),
        ("linear to float32", little, (1.25, -1024.0), 16),
        (
            "big endian, offset to int16",
            "1.2.840.10008.1.2.2",
            (1.0, -1024.0),
            16,
        ),
    ];
    for (name, syntax, rescale, bits_stored) in cases {
        let mut group = c.benchmark_group(format!("file to values, {name}"));
        for side in SIDES {
            let dir = tempfile::tempdir().expect("a directory");
            write(dir.path(), side, syntax, rescale, bits_stored);
            let options = archive::Options { threads: 1 };
            let catalog = archive::read_all(dir.path(), &options, None, &()).expect("scanned");
            let mut built = volume::build(&catalog.records);
            let volume = Arc::new(built.volumes.pop().expect("a volume"));
            let mut out = vec![0; volume.frame_len_bytes(Variant::Values) as usize];
            let source = Arc::new(Source::new(dir.path()));
            let frames = FrameSource::new(source, volume, Variant::Values);
            group.throughput(Throughput::Bytes(u64::from(side * side) * 2));
            let size = format!("{side}x{side}x16");
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| frames.produce(0, black_box(&mut out)).expect("made"));
            });
        }
        group.finish();
    }
}

fn key(n: usize) -> SlabKey {
    SlabKey {
        volume: n.to_string(),
        variant: "values",
        fingerprint: [0; 32],
    }
}

fn fill(slab: &Slab, frame: usize, with: &[u8]) {
    let Claim::Mine(mut filling) = slab.claim(frame) else {
        panic!("frame {frame} is somebody's");
    };
    filling.bytes().copy_from_slice(with);
    filling.commit();
}

/// Filling a slab frame by frame (with the memory it takes), and reading a frame that is there.
pub fn slab(c: &mut Criterion) {
    const FRAMES: usize = 16;
    let mut group = c.benchmark_group("slab");
    for side in SIDES {
        let frame = vec![7_u8; (side * side * 2) as usize];
        let layout = || Layout {
            header: vec![0; 4096],
            frame_len_bytes: frame.len(),
            frame_count: FRAMES,
        };
        // Room for the slab in hand and no other: each one's memory is given back.
        let cache = Cache::new(FRAMES as u64 * frame.len() as u64, 1).expect("a cache");
        let size = format!("{side}x{side}x16");
        let mut n = 0;
        group.throughput(Throughput::Bytes((FRAMES * frame.len()) as u64));
        group.bench_function(BenchmarkId::new("open, claim, copy, commit", &size), |b| {
            b.iter(|| {
                n += 1;
                let slab = cache.open(&key(n), layout).expect("a slab");
                (0..FRAMES).for_each(|index| fill(&slab, index, &frame));
            });
        });
        let slab = cache.open(&key(0), layout).expect("a slab");
        (0..FRAMES).for_each(|index| fill(&slab, index, &frame));
        group.throughput(Throughput::Bytes(frame.len() as u64));
        let mut out = vec![0; frame.len()];
        let start = 4096 + (FRAMES as u64 / 2) * frame.len() as u64;
        let range = start..start + frame.len() as u64;
        group.bench_function(BenchmarkId::new("pin, copy out, unpin", &size), |b| {
            b.iter(|| {
                let frames = slab.frames_of(black_box(&range));
                assert!(slab.pin(frames.clone()).is_empty());
                slab.with_bytes(range.clone(), |bytes| out.copy_from_slice(bytes))
                    .expect("present");
                slab.unpin(frames);
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("pin, unpin", &size), |b| {
            b.iter(|| {
                let frames = slab.frames_of(black_box(&range));
                black_box(slab.pin(frames.clone()));
                slab.unpin(frames);
            });
        });
    }
    group.finish();
}
