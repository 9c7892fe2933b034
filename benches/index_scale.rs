//! The index of a large archive: how fast the first scan is, how long the next one takes, and what
//! memory is held after it.
//!
//! `cargo bench --bench index_scale -- ARCHIVE INDEX`, with an archive that
//! `examples/synthetic_archive.rs` wrote. Each step runs in a process of its own, so that its
//! memory is its own. Without arguments, or with `--test`, an empty archive is scanned.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use dicomfs::archive::{Index, Options, scan};

/// Resident memory of this process now and at most, MiB.
fn memory_mib() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Scans and says what it took.
fn step(what: &str, root: &Path, path: &Path) {
    let started = Instant::now();
    let index = Index::open(path).expect("an index");
    let shelf = index.bind(root).expect("bound");
    let notes = shelf.notes().expect("notes").len();
    let bound = started.elapsed();
    let (mut calls, mut told) = (0, 0);
    let mut settled = |changed: &[String], _: &[String]| {
        calls += 1;
        told += changed.len();
    };
    let done = scan(root, &Options::default(), index, &(), &mut settled).expect("scanned");
    let took = started.elapsed();
    let files = done.counts.files;
    let (now_mib, most_mib) = memory_mib();
    println!(
        "{what}: {files} files, {} from the index, in {:.3} s ({:.0} files/s); bound with {notes} \
         notes after {:.3} s; {told} series told in {calls} calls; memory {now_mib} MiB, at most \
         {most_mib} MiB",
        done.counts.from_index,
        took.as_secs_f64(),
        files as f64 / took.as_secs_f64(),
        bound.as_secs_f64(),
    );
    let Some(series) = shelf.series().expect("series").pop() else {
        return;
    };
    let started = Instant::now();
    let records = shelf.records(&series).expect("records").len();
    println!(
        "    a series of {records} instances loaded in {:?}",
        started.elapsed()
    );
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match words.as_slice() {
        [what, root, index] => step(what, Path::new(root), Path::new(index)),
        [root, index] => {
            let program = std::env::current_exe().expect("this program");
            for suffix in ["", "-wal", "-shm", "-scan"] {
                let _ = std::fs::remove_file(format!("{index}{suffix}"));
            }
            for what in ["first scan", "second scan", "third scan"] {
                let done = Command::new(&program).args([what, root, index]).status();
                assert!(done.expect("started").success());
            }
            let bytes = std::fs::metadata(index).map_or(0, |index| index.len());
            println!("index: {:.1} MiB", bytes as f64 / f64::from(1 << 20));
        }
        _ => {
            let home = tempfile::tempdir().expect("a directory");
            std::fs::create_dir(home.path().join("archive")).expect("made");
            step(
                "empty",
                &home.path().join("archive"),
                &home.path().join("index"),
            );
        }
    }
}
