//! Pure hot spots, in bytes a second: what a read costs between the disk and the slab.
//!
//! Synthetic input, one thread. `cargo bench --bench hot_spots`; with `-- --test` each runs once.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dicomfs::decode::values;
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::{ImagePixel, Luts, Photometric, PixelElement};
use dicomfs::volume::{Dtype, Transform, ValueKind, Values};

const ROWS: u32 = 512;
const FRAME_BYTES: usize = 512 * 512 * 2;

fn image(bits_stored: u16) -> ImagePixel {
    ImagePixel {
        rows: ROWS,
        columns: ROWS,
        number_of_frames: 1,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: 16,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: true,
        element: PixelElement::PixelData,
    }
}

/// 12-bit noise over a gradient: neither flat nor random.
fn samples() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as i16
    };
    (0..FRAME_BYTES / 2)
        .flat_map(|n| ((n / 512) as i16 + next()).to_le_bytes())
        .collect()
}

fn native(c: &mut Criterion) {
    let mut group = c.benchmark_group("native 512x512x16");
    group.throughput(Throughput::Bytes(FRAME_BYTES as u64));
    let (bytes, mut out) = (samples(), vec![0; FRAME_BYTES]);
    let cases = [
        ("little endian", "1.2.840.10008.1.2.1", 16),
        ("little endian, 12 bits", "1.2.840.10008.1.2.1", 12),
        ("big endian", "1.2.840.10008.1.2.2", 16),
    ];
    for (name, syntax, bits) in cases {
        let image = image(bits);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let encoded = Encoded {
                    bytes: black_box(&bytes),
                    first_bit: 0,
                };
                decode_frame(syntax, &image, encoded, &mut out).expect("it decodes");
            });
        });
    }
    group.finish();
}

fn value_rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("values 512x512x16");
    group.throughput(Throughput::Bytes(FRAME_BYTES as u64));
    let stored = samples();
    let cases = [
        (
            "offset to int16",
            Dtype::I16,
            Transform::Offset,
            (1.0, -1024.0),
        ),
        (
            "linear to float32",
            Dtype::F32,
            Transform::Linear,
            (1.25, -1024.0),
        ),
    ];
    for (name, dtype, transform, rescale) in cases {
        let rule = Values {
            dtype,
            transform,
            units: None,
            kind: ValueKind::Modality,
        };
        let mut out = vec![0; FRAME_BYTES / 2 * dtype.itemsize()];
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let luts = Luts::default();
                values::apply(
                    &rule,
                    rescale,
                    &image(16),
                    &luts,
                    black_box(&stored),
                    &mut out,
                )
                .expect("it fits");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, native, value_rules);
criterion_main!(benches);
