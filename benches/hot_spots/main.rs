//! Hot spots, in bytes a second (names and pins: in items): what a read costs between the disk and the slab.
//!
//! One thread. Input is synthetic, but for codecs without an encoder here: they take files of the
//! data set beside the repository (or in `DICOMFS_DATA`) and say so where it is missing.
//! `cargo bench --bench hot_spots`; with `-- --test` each runs once.

mod codecs;
mod names;
mod volumes;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dicomfs::dicom::{ImagePixel, Photometric, PixelElement};

/// Sides of the square frames: a small MR, a CT, a radiograph.
const SIDES: [u32; 3] = [128, 512, 2048];

/// A signed 16-bit image of one frame, of which `bits_stored` are used.
fn image(side: u32, bits_stored: u16) -> ImagePixel {
    ImagePixel {
        rows: side,
        columns: side,
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
fn samples(side: u32) -> Vec<i16> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as i16
    };
    let gradient = |n: u32| (n / side % 2000) as i16;
    (0..side * side).map(|n| gradient(n) + next()).collect()
}

/// Enough to tell a change of a few percent; all of it stays below some minutes.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
}

criterion_group!(
    name = benches;
    config = short();
    targets = codecs::native,
    codecs::value_rules,
    codecs::rle,
    codecs::from_files,
    volumes::one_pass,
    volumes::slab,
    names::header,
    names::npy_header,
    names::tree
);
criterion_main!(benches);
