//! `dicomfs ls`: which volumes, in which form, of an archive and of a mount.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use common::{Mount, can_mount};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use tempfile::TempDir;

const CT: &str = "2.25.831";
const MR: &str = "2.25.832";

struct World {
    dir: TempDir,
    archive: PathBuf,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let archive = dir.path().join("archive");
        let ct = Series::ct(CT, uids::RLE_LOSSLESS, [7, 24, 20]);
        let mut mr = Series::mr(MR, uids::EXPLICIT_VR_LITTLE_ENDIAN, [3, 10, 12]);
        mr.description = "T1 \x1b[31mRED";
        for series in [ct, mr] {
            series
                .write(&archive.join(&series.uid))
                .expect("files written");
        }
        World { dir, archive }
    }

    fn ls(&self, args: &[&str]) -> Assert {
        self.ls_of(&self.archive, args)
    }

    fn ls_of(&self, place: &Path, args: &[&str]) -> Assert {
        Command::new(env!("CARGO_BIN_EXE_dicomfs"))
            .args(["ls".as_ref(), place.as_os_str(), "--index".as_ref()])
            .arg(self.dir.path().join("index.sqlite"))
            .args(args)
            .assert()
    }

    /// Names of the volumes that are listed, in their order.
    fn listed(&self, args: &[&str]) -> Vec<String> {
        let args = [args, &["--format", "csv", "--columns", "path"]].concat();
        let done = self.ls(&args).success();
        let text = String::from_utf8(done.get_output().stdout.clone()).expect("text");
        let names = text.lines().skip(1);
        names.map(|name| name.replace("series/", "")).collect()
    }
}

#[test]
fn volumes_are_chosen_and_sorted() {
    let world = World::new();
    let patient = world.ls(&["--format", "csv", "--columns", "patient_id,study_date"]);
    let text = String::from_utf8(patient.get_output().stdout.clone()).expect("text");
    let (id, date) = text
        .lines()
        .nth(1)
        .and_then(|l| l.split_once(','))
        .expect("a patient");
    let cases: [(&[&str], &[&str]); 14] = [
        (&[], &[CT, MR]),
        (&["--modality", "ct"], &[CT]),
        (&["--modality", "PT,MR"], &[MR]),
        (&["--status", "ok"], &[CT, MR]),
        (&["--status", "bad,warn"], &[]),
        (&["--min-slices", "4"], &[CT]),
        (&["--description", "ax*"], &[CT]),
        (&["--patient", id], &[CT, MR]),
        (&["--patient", "nobody"], &[]),
        (&["--since", date], &[CT, MR]),
        (&["--until", "1950"], &[]),
        (&["--sort", "bytes"], &[MR, CT]),
        (&["--sort", "modality", "--reverse"], &[MR, CT]),
        (&["--study", "2.25.831*", "--modality", "CT"], &[CT]),
    ];
    for (args, expected) in cases {
        assert_eq!(world.listed(args), expected, "{args:?}");
    }
}

#[test]
fn the_table_names_nobody_and_moves_no_cursor() {
    let world = World::new();
    let plain = world.ls(&[]).success();
    plain.stdout(
        contains("2 volumes from 10 DICOM files")
            .and(contains("PATIENT").not())
            .and(contains("PHANTOM").not())
            .and(contains("\x1b").not()),
    );
    world.ls(&["--patients"]).success().stdout(
        contains("AX PHANTOM")
            .and(contains("RED"))
            .and(contains("DESCRIPTION"))
            .and(contains("\x1b").not()),
    );
    let some = world.ls(&["--modality", "CT"]).success();
    some.stdout(contains("1 of 2 volumes from 10 DICOM files"));
    let empty = tempfile::tempdir().expect("a temporary directory");
    let none = world.ls_of(empty.path(), &[]).success();
    none.stdout(contains("0 volumes").and(contains("is it the right directory?")));
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let world = World::new();
    for (args, words) in [
        (&["--columns", "size"][..], "the columns are path, "),
        (&["--sort", "x"], "the columns are path, "),
        (&["--since", "yesterday"], "2026-11"),
        (&["--status", "good"], "[possible values: ok, warn, bad]"),
        (
            &["--format", "xml"],
            "[possible values: table, csv, json, jsonl]",
        ),
        (&["--patients", "--columns", "path"], "cannot be used with"),
    ] {
        world
            .ls(args)
            .code(1)
            .stdout(is_empty())
            .stderr(contains(words));
    }
    let file = world.dir.path().join("file");
    fs::write(&file, "x").expect("a file");
    world.ls_of(&file, &[]).code(32).stderr(contains(
        "file is not a directory, a zip file or a tar file",
    ));
    let none = world.dir.path().join("none");
    world
        .ls_of(&none, &[])
        .code(32)
        .stderr(contains("none does not exist"));
}

#[test]
fn csv_and_jsonl_are_those_of_a_mount_which_is_listed_as_well() {
    if !can_mount("csv_and_jsonl_are_those_of_a_mount_which_is_listed_as_well") {
        return;
    }
    let world = World::new();
    let mount = Mount::of(&world.archive, &[]);
    for (format, file) in [("csv", "index.csv"), ("jsonl", "index.jsonl")] {
        let table = fs::read_to_string(mount.root.join(file)).expect(file);
        for place in [&world.archive, &mount.root] {
            let done = world.ls_of(place, &["--format", format]).success();
            assert_eq!(
                String::from_utf8_lossy(&done.get_output().stdout),
                table,
                "{file}"
            );
        }
    }
    let some = world.ls_of(&mount.root, &["--modality", "MR"]).success();
    some.stdout(
        contains(MR)
            .and(contains("1 of 2 volumes in this mount"))
            .and(contains(CT).not()),
    );
    for args in [
        &["--patients"][..],
        &["--since", "2000"],
        &["--sort", "patient_id"],
    ] {
        let refused = world.ls_of(&mount.root, args).code(1).stdout(is_empty());
        refused.stderr(contains("list the archive itself"));
    }
}
