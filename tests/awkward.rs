//! Awkward series, written by `tests/awkward` with their truth: dicomfs is right on every one.
//!
//! `python tests/awkward/table.py` shows what other readers make of the same series.

mod common;
#[path = "clients/venv.rs"]
mod venv;

use std::path::Path;
use std::process::{Command, Output};

use common::can_mount;

/// Runs a program of `tests/awkward`.
fn run(python: &Path, program: &str, args: &[&str]) -> Output {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/awkward");
    Command::new(python)
        // The tests leave nothing in the source tree.
        .arg("-B")
        .arg(dir.join(program))
        .args(args)
        .output()
        .expect("Python starts")
}

#[test]
fn the_comparison_tells_right_from_wrong() {
    const NAME: &str = "the_comparison_tells_right_from_wrong";
    let Some(python) = venv::python(NAME) else {
        return;
    };
    let output = run(&python, "selfcheck.py", &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn dicomfs_is_right_on_every_awkward_series() {
    const NAME: &str = "dicomfs_is_right_on_every_awkward_series";
    if !can_mount(NAME) {
        return;
    }
    let Some(python) = venv::python(NAME) else {
        return;
    };
    let dicomfs = env!("CARGO_BIN_EXE_dicomfs");
    let args = ["--only", "dicomfs", "--dicomfs", dicomfs];
    let output = run(&python, "table.py", &args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.ends_with(": right"))
        .collect();
    println!("{}", told.join("\n"));
    assert!(output.status.success(), "{}", told.join("\n"));
}
