//! The scan of an archive, in files a second: bare reads, headers, all of it, and from the index.
//!
//! Files of a phantom whose header is padded to the 260 elements and 6 KB of a real CT, in a
//! temporary directory and so in the page cache. `cargo bench --bench header_scan`; with
//! `-- --test` each runs once, with `-- peers ARCHIVE` as `peers` says.

#[path = "header_scan/peers.rs"]
mod peers;

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::open_file;
use dicomfs::archive::{Index, Options, read_all};
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::dicom::{Header, read_header};

const FILES: usize = 2_000;
const ELEMENTS: usize = 260;

/// Where Pixel Data has to begin for the header to be that of a real CT.
const HEADER_BYTES: std::ops::Range<u64> = 5_500..7_000;

/// Files of a series, of which each has its own instance number and position.
fn archive(dir: &Path) -> Vec<PathBuf> {
    let series = Series::ct(
        "1.2.826.0.1.3680043.9",
        "1.2.840.10008.1.2.1",
        [FILES, 8, 8],
    );
    let paths = series.write(dir).expect("written");
    for path in &paths {
        let mut object = open_file(path).expect("readable");
        let mut put = |tag: Tag, vr: VR, value: String| {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        };
        for (tag, value) in [
            (Tag(0x0018, 0x0060), "120"),
            (Tag(0x0018, 0x1100), "360"),
            (Tag(0x0018, 0x1110), "949.075"),
            (Tag(0x0018, 0x1111), "541"),
            (Tag(0x0018, 0x1120), "0"),
            (Tag(0x0018, 0x1130), "157.5"),
            (Tag(0x0020, 0x1041), "-12.625"),
            (Tag(0x0028, 0x1050), "40"),
            (Tag(0x0028, 0x1051), "400"),
        ] {
            put(tag, VR::DS, value.to_owned());
        }
        for element in [0x0022, 0x0023, 0x0070, 0x0080, 0x1010, 0x1090] {
            put(Tag(0x0008, element), VR::LO, "20240229".to_owned());
        }
        for n in 0..(ELEMENTS - object.iter().count()) as u16 {
            let tag = Tag(0x0019 + 2 * (n / 60), 0x1001 + n % 60);
            let (vr, value) = match n % 2 {
                0 => (VR::DS, format!("{:.9}", f64::from(n) * 1.37)),
                _ => (VR::LO, format!("a private {n}")),
            };
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        }
        assert_eq!(object.iter().count(), ELEMENTS);
        object.write_to_file(path).expect("written");
    }
    paths
}

fn single_files(c: &mut Criterion, files: &[PathBuf]) {
    let mut group = c.benchmark_group("one thread");
    group.throughput(Throughput::Elements(files.len() as u64));
    group.bench_function("open, fstat, pread of 8 KiB", |b| {
        let mut buf = vec![0; 8 << 10];
        b.iter(|| {
            for path in files {
                let file = File::open(path).expect("opened");
                black_box(file.metadata().expect("stat").len());
                black_box(file.read_at(&mut buf, 0).expect("read"));
            }
        });
    });
    group.bench_function("read_header", |b| {
        b.iter(|| {
            for path in files {
                let file = File::open(path).expect("opened");
                let len = file.metadata().expect("stat").len();
                black_box(read_header(&file, len).expect("a header"));
            }
        });
    });
    group.bench_function("read_header, in memory", |b| {
        let bytes: Vec<Vec<u8>> = files.iter().map(|p| fs::read(p).expect("read")).collect();
        b.iter(|| {
            for bytes in &bytes {
                black_box(read_header(bytes, bytes.len() as u64).expect("a header"));
            }
        });
    });
    group.finish();
}

fn scans(c: &mut Criterion, dir: &Path, home: &Path) {
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(FILES as u64));
    for threads in [1, 2, 32] {
        let options = Options { threads };
        group.bench_function(BenchmarkId::new("threads", threads), |b| {
            b.iter(|| read_all(dir, &options, None, &()).expect("scanned"));
        });
        let path = home.join(format!("index {threads}"));
        let indexed = || {
            let index = Index::open(&path).expect("opened");
            read_all(dir, &options, Some(index), &()).expect("scanned")
        };
        indexed();
        group.bench_function(BenchmarkId::new("from the index, threads", threads), |b| {
            b.iter(|| {
                let catalog = indexed();
                assert_eq!(catalog.counts.from_index, FILES as u64);
                catalog
            });
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    let (dir, home) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, home) = (dir.expect("a directory"), home.expect("a directory"));
    let files = archive(dir.path());
    let bytes = fs::read(&files[0]).expect("read");
    let Ok(Header::Instance(instance)) = read_header(&bytes, bytes.len() as u64) else {
        panic!("no instance was written");
    };
    let offset_bytes = instance.pixel_data.expect("pixels").offset_bytes;
    assert!(HEADER_BYTES.contains(&offset_bytes), "{offset_bytes}");
    single_files(c, &files);
    scans(c, dir.path(), home.path());
}

criterion_group!(benches, all);

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match words.split_first() {
        Some((word, rest)) if word == "peers" => peers::run(rest),
        Some((word, rest)) if word == "peer" => peers::child(rest),
        _ => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
