//! Headers a second beside dicom-object and pydicom, over the same files on the same cores.
//!
//! `cargo bench --bench header_scan -- peers ARCHIVE [PYTHON]`, with an archive that
//! `examples/synthetic_archive.rs` wrote and a Python that has pydicom. Each reader runs in
//! processes of its own: ours as one that scans into a new index, dicom-object as one with so many
//! threads, pydicom as one process a core. Files a second of processor time tell them apart even
//! where other programs are running. As root, the page cache is dropped before each cold reading.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dicom_core::Tag;
use dicom_object::OpenFileOptions;
use dicomfs::archive::{Index, Options, scan};
use dicomfs::dicom::read_header;

/// Files that pydicom reads in each process: enough for its best of three to be steady.
const PYDICOM_FILES: usize = 3000;

/// What a reader did.
#[derive(Clone, Copy)]
struct Reading {
    files: f64,
    wall_s: f64,
    cpu_s: f64,
}

/// Processor time of this process, seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc(5)");
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    // Fields 14 and 15 of all, in hundredths of seconds.
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .map(|n| n.parse::<f64>().expect("ticks"))
        .sum();
    ticks / 100.0
}

fn files(root: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    let entries = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file());
    entries.map(walkdir::DirEntry::into_path).collect()
}

/// Reads as a child: says how many files, and the time it took, on its output.
pub fn child(words: &[String]) {
    let [what, root, threads] = words else {
        panic!("what, where, how many threads");
    };
    let (root, threads) = (Path::new(root), threads.parse().expect("a number"));
    let started = Instant::now();
    let count = match what.as_str() {
        "dicomfs" => {
            let index = Index::temporary().expect("an index");
            let options = Options { threads };
            let done = scan(root, &options, index, &(), &mut |_, _| {}).expect("scanned");
            done.counts.dicom as usize
        }
        _ => {
            let (files, next) = (files(root), AtomicUsize::new(0));
            let read = if what == "headers" { header } else { object };
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                            read(path);
                        }
                    });
                }
            });
            files.len()
        }
    };
    println!("{count} {} {}", started.elapsed().as_secs_f64(), cpu_s());
}

fn header(path: &Path) {
    let file = File::open(path).expect("opened");
    let len = file.metadata().expect("stat").len();
    std::hint::black_box(read_header(&file, len).expect("a header"));
}

fn object(path: &Path) {
    let options = OpenFileOptions::new();
    let object = options.read_until(Tag(0x7FE0, 0x0010)).open_file(path);
    std::hint::black_box(object.expect("readable"));
}

fn reading(output: &[u8]) -> Reading {
    let text = String::from_utf8_lossy(output);
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let [files, wall_s, cpu_s] = numbers[..] else {
        panic!("no reading: {text}");
    };
    Reading {
        files,
        wall_s,
        cpu_s,
    }
}

fn read(what: &str, root: &str, threads: usize) -> Reading {
    let program = std::env::current_exe().expect("this program");
    let threads = threads.to_string();
    let output = Command::new(program)
        .args(["peer", what, root, &threads])
        .output();
    reading(&output.expect("started").stdout)
}

/// pydicom in one process a core, all at once.
fn pydicom(python: &str, root: &str, cores: usize) -> Reading {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/header_scan/with_pydicom.py"
    );
    let files = PYDICOM_FILES.to_string();
    let start = |_| {
        let mut command = Command::new(python);
        command.args([script, root, &files]).stdout(Stdio::piped());
        command.spawn().expect("started")
    };
    let started: Vec<_> = (0..cores).map(start).collect();
    let readings = started.into_iter().map(|child| {
        let output = child.wait_with_output().expect("run");
        reading(&output.stdout)
    });
    readings.fold(
        Reading {
            files: 0.0,
            wall_s: 0.0,
            cpu_s: 0.0,
        },
        |sum, one| Reading {
            files: sum.files + one.files,
            wall_s: sum.wall_s.max(one.wall_s),
            cpu_s: sum.cpu_s + one.cpu_s,
        },
    )
}

fn show(what: &str, reading: Reading, base: Reading) {
    let rate = |reading: Reading| reading.files / reading.wall_s;
    let cost = |reading: Reading| reading.files / reading.cpu_s;
    println!(
        "{what:32} {:>9.0} files/s {:6.1}x  {:>9.0} files/s of processor time {:6.1}x",
        rate(reading),
        rate(reading) / rate(base),
        cost(reading),
        cost(reading) / cost(base),
    );
}

fn best(what: &str, root: &str, threads: &[usize], cold: bool) -> Reading {
    let mut readings = threads.iter().map(|threads| {
        if cold {
            drop_caches();
        }
        read(what, root, *threads)
    });
    let first = readings.next().expect("one");
    readings.fold(
        first,
        |best, one| if one.wall_s < best.wall_s { one } else { best },
    )
}

fn drop_caches() {
    let _ = Command::new("sync").status();
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root may");
}

/// All of them, one after the other.
pub fn run(words: &[String]) {
    let root = words.first().expect("an archive").as_str();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("warm, {cores} cores; ratios to the first line");
    // The first reading warms the page cache.
    let ours = read("dicomfs", root, 32);
    let base = words.get(1).map(|python| pydicom(python, root, cores));
    if let Some(base) = base {
        show("pydicom, a process a core", base, base);
    }
    let base = base.unwrap_or(ours);
    let object = best("dicom-object", root, &[cores, 4, 32], false);
    show("dicom-object, best of threads", object, base);
    let headers = read("headers", root, cores);
    show("dicomfs, headers alone", headers, base);
    show(
        "dicomfs, scan into an index",
        read("dicomfs", root, 32),
        base,
    );
    let caches = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/vm/drop_caches");
    if caches.is_err() {
        println!("cold: left out, only root can drop the page cache");
        return;
    }
    println!("cold; ratios to the first line");
    let object = best("dicom-object", root, &[cores, 4, 32], true);
    show("dicom-object, best of threads", object, object);
    show(
        "dicomfs, 32 threads",
        best("dicomfs", root, &[32], true),
        object,
    );
}
