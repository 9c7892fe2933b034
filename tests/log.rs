//! The log of a mount in the foreground: it names nobody, and a cause that repeats is a few lines.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{can_mount, program, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;

const UID: &str = "2.25.841";

/// Mounts an archive of broken files in the foreground, reads all of it, unmounts: what was logged.
fn log_of(root: &Path, level: &str) -> String {
    let archive = root.join("DOE_JOHN_19500101");
    let series = Series::ct(UID, uids::RLE_LOSSLESS, [30, 16, 16]);
    for source in series.write(&archive).expect("files written") {
        let bytes = fs::read(&source).expect("a source");
        fs::write(&source, &bytes[..bytes.len() - 40]).expect("cut");
    }
    let mnt = root.join("mnt");
    fs::create_dir_all(&mnt).expect("a mount point");
    let child = program()
        .args(["mount".as_ref(), archive.as_os_str(), mnt.as_os_str()])
        .args(["-f", "--log-level", level, "--index"])
        .arg(root.join(format!("{level}.sqlite")))
        .stderr(Stdio::piped())
        .spawn()
        .expect("dicomfs runs");
    let frame = |n: u32| mnt.join(format!("series/{UID}/frames/{n:04}.npy"));
    wait_until("the series is there", || frame(1).exists());
    for n in 1..=30 {
        fs::read(frame(n)).expect_err("a broken frame");
    }
    wait_until("unmounted", || {
        let umount = Command::new("umount").arg(&mnt).output();
        umount.expect("umount runs").status.success()
    });
    let output = child.wait_with_output().expect("an end");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_log_names_nobody_and_repeats_itself_little() {
    if !can_mount("a_log_names_nobody_and_repeats_itself_little") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = log_of(dir.path(), "debug");
    for word in ["DOE", "JOHN", "1950", "PHANTOM"] {
        assert!(!log.contains(word), "{word} in\n{log}");
    }
    let of_frames: Vec<&str> = log.lines().filter(|l| l.contains(UID)).collect();
    assert_eq!(of_frames.len(), 5, "{log}");
    assert!(of_frames[0].starts_with(" WARN 2.25.841 frame "), "{log}");
    let last = "(more like this within a minute are only counted)";
    assert!(of_frames[4].ends_with(last), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
    let quiet = log_of(dir.path(), "error");
    assert!(!quiet.contains("WARN") && !quiet.contains(UID), "{quiet}");
}
