//! The commands as a user types them: what they print and which status they end with.

mod common;

use assert_cmd::Command;
use common::can_mount;
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use tempfile::TempDir;

fn dicomfs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dicomfs"));
    // A user's own cache is not the tests' to write.
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("dicomfs-tests"));
    command
}

fn archive() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ct = Series::ct("2.25.61", uids::EXPLICIT_VR_LITTLE_ENDIAN, [5, 16, 16]);
    let mut gap = Series::mr("2.25.62", uids::RLE_LOSSLESS, [6, 16, 16]);
    gap.description = "GAP";
    for series in [ct, gap] {
        series
            .write(&dir.path().join(&series.uid))
            .expect("files written");
    }
    // One slice less: a gap that has to show in the verdict.
    let victim = dir.path().join("2.25.62");
    let slice = std::fs::read_dir(victim)
        .expect("files")
        .map(|e| e.expect("a file").path());
    let third = slice.into_iter().find(|path| {
        let bytes = std::fs::read(path).expect("the source");
        bytes.windows(9).any(|w| w == b"2.25.62.3")
    });
    std::fs::remove_file(third.expect("the third slice")).expect("removed");
    dir
}

#[test]
fn ls_shows_volumes_and_verdicts() {
    let dir = archive();
    let index = dir.path().join("../dicomfs-cli-test.sqlite");
    dicomfs()
        .args(["ls".as_ref(), dir.path().as_os_str()])
        .arg("--index")
        .arg(&index)
        .assert()
        .success()
        .stdout(
            contains("5x16x16")
                .and(contains("<i2"))
                .and(contains("2.25.61")),
        )
        .stdout(contains("missing_slices").and(contains("warn")))
        .stdout(contains("2 volumes from 10 DICOM files"))
        .stdout(contains("PHANTOM").not());
    std::fs::remove_file(index).expect("the index was made where it was asked for");
}

#[test]
fn doctor_names_a_decoder_or_a_reason_for_every_syntax() {
    dicomfs()
        .arg("doctor")
        .assert()
        .success()
        .stdout(
            contains("mounting")
                .and(contains("passthrough"))
                .and(contains("cache")),
        )
        .stdout(contains("1.2.840.10008.1.2.4.80").and(contains("no: video")))
        .stdout(contains("gpu 0"));
}

#[test]
fn a_device_s_process_is_not_started_by_hand() {
    dicomfs()
        .args(["gpu-worker", "0"])
        .assert()
        .code(32)
        .stdout(is_empty())
        .stderr(contains("is a part of `dicomfs mount`"));
    dicomfs()
        .arg("--help")
        .assert()
        .success()
        .stdout(contains("gpu-worker").not());
}

#[test]
fn mistakes_end_with_status_1_and_say_what_to_do() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["mount", "/a", "/b", "-o", "cache_siez=1G"],
            "did you mean `cache_size`?",
        ),
        (&["mount", "/a", "/b", "-o", "cache_size"], "needs a value"),
        (
            &["mount", "/a", "/b", "-o", "deid=basic"],
            "dicomfs generate deid-key",
        ),
        (&["mount", "/a"], "MOUNTPOINT"),
        (&["mout"], "mount"),
    ];
    for (args, words) in cases {
        dicomfs()
            .args(args)
            .assert()
            .code(1)
            .stdout(is_empty())
            .stderr(contains(words));
    }
}

#[test]
fn an_archive_that_is_not_there_is_a_mount_failure() {
    dicomfs()
        .args(["mount", "/does/not/exist", "/tmp"])
        .assert()
        .code(32)
        .stderr(contains("/does/not/exist"));
}

#[test]
fn help_manual_and_completions_come_from_one_table() {
    dicomfs()
        .arg("--help")
        .assert()
        .success()
        .stdout(contains("Usage: dicomfs"));
    dicomfs()
        .args(["mount", "--help"])
        .assert()
        .success()
        .stdout(contains("--cache-size"));
    dicomfs()
        .args(["generate", "man"])
        .assert()
        .success()
        .stdout(contains(".TH dicomfs"));
    for shell in ["bash", "zsh", "fish"] {
        let completions = dicomfs()
            .args(["generate", "completions", shell])
            .assert()
            .success();
        completions.stdout(contains("cache-size"));
    }
}

#[test]
fn help_has_examples_and_says_what_a_status_means() {
    for (command, words) in [
        (
            &["--help"][..],
            "Exit status: 0 done; 1 the command line is wrong",
        ),
        (&["mount", "--help"], "-o cache_size=8G,allow_other"),
        (
            &["ls", "--help"],
            "Nothing that names a patient is shown unless",
        ),
        (&["export", "--help"], "the numbers in ct.raw"),
        (&["top", "--help"], "until ctrl-c, or until it is unmounted"),
    ] {
        let help = dicomfs().args(command).assert().success();
        help.stdout(contains("Examples:\n  dicomfs ").and(contains(words)));
    }
}

#[test]
fn each_command_says_what_is_missing() {
    for (args, words) in [
        (&[][..], "Usage: dicomfs"),
        (&["export", "/a", "1.2"], "<FILE>"),
        (
            &["export", "/a", "1.2", "a.doc"],
            "the ending of FILE says which format to write",
        ),
        (
            &["export", "/a", "1.2", "a.npy", "--variant", "x"],
            "stored, f32, f16, i16, i32",
        ),
        (&["top"], "<MOUNTPOINT>"),
        (&["ls"], "<ARCHIVE>"),
        (
            &["ls", "/a", "--modalty", "CT"],
            "a similar argument exists: '--modality'",
        ),
    ] {
        let failed = dicomfs().args(args).assert().code(1).stdout(is_empty());
        failed.stderr(contains(words));
    }
}

#[test]
fn the_demo_works_or_says_what_is_missing() {
    if !can_mount("the_demo_works_or_says_what_is_missing") {
        let demo = dicomfs().arg("demo").assert().failure();
        demo.stderr(contains("has to mount, and this machine cannot"));
        return;
    }
    dicomfs()
        .arg("demo")
        .assert()
        .success()
        .stdout(contains("voxels equal").and(contains("Unmounted and removed")))
        .stderr(is_empty());
}
