//! The Python of the tested clients: made once a checkout from `tests/clients/requirements.txt`.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{Mount, can_mount, data_dir, skip};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A Python with every tested client; else the skip has been printed.
///
/// Tests in other processes wait while one makes it. It is made anew when the requirements change.
/// Gigabytes are fetched only for who has the real files, or asks with `DICOMFS_REQUIRE_CLIENTS=1`.
pub fn python(test: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let venv = target.join("clients-venv");
    let wanted = fs::read_to_string(format!("{SCRIPTS}/requirements.txt")).expect("requirements");
    fs::create_dir_all(&target).expect("target/");
    let lock = File::create(target.join("clients-venv.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let stamp = venv.join("requirements.stamp");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Some(venv.join("bin/python"));
    }
    if !required() && data_dir(test).is_none() {
        eprintln!("SKIPPED {test}: DICOMFS_REQUIRE_CLIENTS=1 fetches the clients, 2.4 GB");
        return None;
    }
    match make(&venv) {
        Ok(()) => {
            fs::write(&stamp, wanted).expect("the stamp written");
            Some(venv.join("bin/python"))
        }
        Err(why) => {
            skip(test, &why, "DICOMFS_REQUIRE_CLIENTS");
            None
        }
    }
}

fn required() -> bool {
    std::env::var("DICOMFS_REQUIRE_CLIENTS").as_deref() == Ok("1")
}

/// Makes the environment from nothing: what a stopped run left is cleared.
fn make(venv: &Path) -> Result<(), String> {
    eprintln!("making {}: 2.4 GB to fetch", venv.display());
    let mut create = Command::new("python3");
    run(create.args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut install = Command::new(venv.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    // Without a cache: a second copy of the wheels would be of use to nobody.
    install.args(["--no-cache-dir", "--no-deps", "-r"]);
    run(install.arg(format!("{SCRIPTS}/requirements.txt")))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let why = text.lines().rfind(|line| !line.trim().is_empty());
    Err(format!("{program}: {}", why.unwrap_or("failed")))
}

/// Runs a script of `tests/clients` over a mount of the real files; its arguments are the mount and
/// their directory.
pub fn run_over_data(test: &str, script: &str) {
    let Some(data) = data_dir(test) else { return };
    if !can_mount(test) {
        return;
    }
    let Some(python) = python(test) else { return };
    run_over(&python, &data, script);
}

/// Runs a script over a mount of `archive`. What it prints is the test's output; it must exit with 0.
pub fn run_over(python: &Path, archive: &Path, script: &str) {
    let mount = Mount::of(archive, &[]);
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(format!("{SCRIPTS}/{script}"))
        .args([&mount.root, archive])
        .output()
        .expect("python runs");
    let text = [output.stderr, output.stdout].concat();
    print!("{}", String::from_utf8_lossy(&text));
    assert!(output.status.success(), "{script}: {}", output.status);
}
