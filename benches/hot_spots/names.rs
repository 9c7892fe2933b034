//! Headers and names: what stat, lookup and readdir cost, and what a format's header does.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::hint::black_box;
use std::time::SystemTime;

use criterion::{Criterion, Throughput};
use dicomfs::archive;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::dicom::read_header;
use dicomfs::format::npy;
use dicomfs::tree::{Node, Tree};
use dicomfs::volume::{self, Built, Dtype};

/// Entries of the big directory: volumes of an archive of a department.
const VOLUMES: usize = 10_000;

/// Parse of a header in memory, by the bytes before Pixel Data.
pub fn header(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let series = Series::ct("2.25.6002", "1.2.840.10008.1.2.1", [1, 512, 512]);
    let paths = series.write(dir.path()).expect("written");
    let bytes = fs::read(&paths[0]).expect("read");
    let mut group = c.benchmark_group("read_header");
    group.throughput(Throughput::Bytes((bytes.len() - 512 * 512 * 2) as u64));
    group.bench_function("synthetic CT, in memory", |b| {
        b.iter(|| read_header(black_box(&bytes), bytes.len() as u64).expect("a header"));
    });
    group.finish();
}

/// The header of an npy file.
pub fn npy_header(c: &mut Criterion) {
    let mut group = c.benchmark_group("npy header");
    group.throughput(Throughput::Bytes(npy::HEADER_LEN_BYTES as u64));
    for shape in [&[300, 512, 512][..], &[20, 300, 512, 512, 3]] {
        group.bench_function(format!("{} axes", shape.len()), |b| {
            b.iter(|| npy::header(Dtype::I16, black_box(shape)).expect("a header"));
        });
    }
    group.finish();
}

/// Many volumes of one series, under names of their own.
fn big_tree() -> Tree {
    let dir = tempfile::tempdir().expect("a directory");
    let series = Series::ct("2.25.6003", "1.2.840.10008.1.2.1", [24, 8, 8]);
    series.write(dir.path()).expect("written");
    let options = archive::Options::default();
    let catalog = archive::read_all(dir.path(), &options, None, &()).expect("scanned");
    let template = volume::build(&catalog.records).volumes.remove(0);
    let volumes = (0..VOLUMES)
        .map(|n| volume::Volume {
            name: format!("1.2.826.0.1.3680043.9.{n}"),
            ..template.clone()
        })
        .collect();
    let built = Built {
        volumes,
        ..Built::default()
    };
    Tree::pinned(built, SystemTime::UNIX_EPOCH).expect("a tree")
}

fn find(tree: &Tree, directory: Node, name: &OsStr) -> Node {
    let found = tree.child(directory, name).expect("loaded");
    found.expect("it is there")
}

/// Lookup by name, inode number to thing, and a whole listing, of a directory of many volumes.
pub fn tree(c: &mut Criterion) {
    let tree = big_tree();
    let names: Vec<OsString> = (0..)
        .map_while(|n| tree.child_at(Node::Series, n).expect("listed"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names.len(), VOLUMES);
    let files = ["volume.npy", "volume.json", "volume.f32.npy"].map(OsString::from);
    let mut group = c.benchmark_group("tree of 10,000 volumes");
    group.throughput(Throughput::Elements(VOLUMES as u64));
    group.bench_function("lookup of every volume", |b| {
        b.iter(|| {
            for name in &names {
                black_box(find(&tree, Node::Series, name));
            }
        });
    });
    group.bench_function("list with inode numbers", |b| {
        b.iter(|| {
            for n in 0..VOLUMES {
                let (name, node) = tree
                    .child_at(Node::Series, n)
                    .expect("listed")
                    .expect("it is there");
                black_box((name, tree.ino(node)));
            }
        });
    });
    group.throughput(Throughput::Elements((VOLUMES * files.len()) as u64));
    group.bench_function("lookup of files, and back from the inode number", |b| {
        b.iter(|| {
            for name in &names {
                let volume = find(&tree, Node::Series, name);
                for file in &files {
                    let node = find(&tree, volume, file);
                    let found = tree.node(black_box(tree.ino(node))).expect("loaded");
                    assert_eq!(found, Some(node));
                }
            }
        });
    });
    group.finish();
}
