//! `dicomfs top` on a real mount, in a pipe: what it prints, and how it ends.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{Mount, can_mount, program, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use tempfile::TempDir;

const UID: &str = "2.25.821";

fn top(args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = assert_cmd::Command::from_std(program());
    command.arg("top").args(args).assert()
}

fn mount() -> (TempDir, Mount) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let series = Series::ct(UID, uids::RLE_LOSSLESS, [5, 16, 16]);
    series.write(dir.path()).expect("files written");
    // Without the look that follows the first scan: it would show as a scan that runs.
    let mount = Mount::of(dir.path(), &["--watch", "off"]);
    (dir, mount)
}

/// `dicomfs top` without an end of its own, once it has shown something.
fn running(mount: &Mount) -> (Child, BufReader<ChildStdout>) {
    let mut child = program()
        .arg("top")
        .arg(&mount.root)
        .args(["--interval", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dicomfs runs");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert!(line.starts_with("dicomfs    "), "{line}");
    (child, out)
}

fn ends_well(mut child: Child, mut out: BufReader<ChildStdout>) -> String {
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    wait_until("top ends", || child.try_wait().expect("a child").is_some());
    let status = child.wait().expect("a child");
    assert_eq!(status.code(), Some(0), "{status:?}");
    rest
}

#[test]
fn what_is_no_mount_is_said_in_one_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("UTF-8");
    for place in [path, "/does/not/exist"] {
        let done = top(&[place]).code(32).stdout(is_empty());
        let done = done.stderr(contains("is not a dicomfs mount"));
        let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    top(&[path, "--interval", "0"])
        .code(1)
        .stderr(contains("from 0.1 to 3600"));
    top(&[path, "--once", "-n", "2"]).code(1);
}

#[test]
fn once_shows_what_was_done_since_the_start() {
    if !can_mount("once_shows_what_was_done_since_the_start") {
        return;
    }
    let (_dir, mount) = mount();
    fs::read(mount.series(UID).join("volume.npy")).expect("read");
    let root = mount.root.to_str().expect("UTF-8");
    top(&[root, "--once"]).success().stderr(is_empty()).stdout(
        contains("1 volumes in 1 series, 5 instances")
            .and(contains("rates since then"))
            .and(contains("scan       done, 5 files"))
            .and(contains("threads busy, 0 failed"))
            .and(contains("rle (own)"))
            .and(contains(", 5 made"))
            .and(contains("findings   none"))
            .and(contains("\x1b").not()),
    );
    let two = top(&[root, "-n", "2", "--interval", "0.1"]).success();
    let text = String::from_utf8_lossy(&two.get_output().stdout).into_owned();
    assert_eq!(text.matches("dicomfs    ").count(), 2, "{text}");
    assert_eq!(text.matches("rates since then").count(), 1, "{text}");
}

#[test]
fn it_ends_with_the_mount_and_says_so() {
    if !can_mount("it_ends_with_the_mount_and_says_so") {
        return;
    }
    let (_dir, mount) = mount();
    let (child, out) = running(&mount);
    wait_until("the mount is not busy", || {
        mount.umount(&[]).status.success()
    });
    let text = ends_well(child, out);
    assert!(text.ends_with("is not mounted any more\n"), "{text}");
}

#[test]
fn ctrl_c_is_a_good_end() {
    if !can_mount("ctrl_c_is_a_good_end") {
        return;
    }
    let (_dir, mount) = mount();
    let (child, out) = running(&mount);
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.expect("kill runs").success());
    ends_well(child, out);
}
