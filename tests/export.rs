//! `dicomfs export` as a user types it: the bytes are those of the mount, there is all of a file or
//! none of it, and what is refused is refused in words.

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use common::oracle::{digest, gather, read_json};
use common::{Mount, can_mount, data_dir, expected_slab, program, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use serde_json::Value;
use tempfile::TempDir;

const CT: &str = "2.25.811";
const MR: &str = "2.25.812";

struct World {
    dir: TempDir,
    archive: PathBuf,
    ct: Series,
    sources: Vec<PathBuf>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let archive = dir.path().join("archive");
        let ct = Series::ct(CT, uids::RLE_LOSSLESS, [7, 24, 20]);
        let sources = ct.write(&archive.join("ct")).expect("files written");
        let mr = Series::mr(MR, uids::EXPLICIT_VR_LITTLE_ENDIAN, [3, 10, 12]);
        mr.write(&archive.join("mr")).expect("files written");
        fs::create_dir(dir.path().join("out")).expect("a directory");
        World {
            dir,
            archive,
            ct,
            sources,
        }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    fn export(&self, series: &str, file: &str, more: &[&str]) -> Assert {
        export(
            &self.archive,
            series,
            &self.out(file),
            self.dir.path(),
            more,
        )
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("out")).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.out(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
    }
}

fn export(archive: &Path, series: &str, file: &Path, index: &Path, more: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_dicomfs"))
        .arg("export")
        .args([archive.as_os_str(), series.as_ref(), file.as_os_str()])
        .arg("--index")
        .arg(index.join("export-index.sqlite"))
        .args(more)
        .assert()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut gz = flate2::read::GzDecoder::new(bytes);
    gz.read_to_end(&mut plain).expect("gzip");
    plain
}

/// All files below a directory, by path.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name();
    let files = entries.into_iter().map(|entry| entry.expect("an entry"));
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry
                .path()
                .strip_prefix(root)
                .expect("inside")
                .to_path_buf();
            (path, fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[test]
fn every_format_holds_the_array() {
    let world = World::new();
    let slab = expected_slab(&world.ct);
    for file in [
        "a.npy", "a.raw", "a.nii", "a.nii.gz", "a.nrrd", "b.nhdr", "a.mha", "c.mhd", "a.zarr",
    ] {
        let done = world.export(CT, file, &[]).success().stderr(is_empty());
        done.stdout(contains("7x24x20 <i2 (zyx)").and(contains("lossy").not()));
    }
    assert!(world.read("a.raw") == slab);
    for file in ["a.npy", "a.nii"] {
        assert!(world.read(file)[4096..] == slab, "{file}");
    }
    assert!(gunzip(&world.read("a.nii.gz")) == world.read("a.nii"));
    for (file, end_of_header) in [("a.nrrd", "\n\n"), ("a.mha", "ElementDataFile = LOCAL\n")] {
        let bytes = world.read(file);
        let header = &bytes[..bytes.len() - slab.len()];
        assert!(
            bytes.ends_with(&slab) && header.ends_with(end_of_header.as_bytes()),
            "{file}"
        );
    }
    for (header, raw, line) in [
        ("b.nhdr", "b.raw", "byte skip: 0\ndata file: b.raw\n"),
        ("c.mhd", "c.raw", "ElementDataFile = c.raw\n"),
    ] {
        assert!(world.read(raw) == slab, "{raw}");
        let text = String::from_utf8(world.read(header)).expect("text");
        assert!(text.ends_with(line), "{text}");
    }
    let chunks: Vec<u8> = tree(&world.out("a.zarr"))
        .into_iter()
        .filter(|(path, _)| path.starts_with("0") && !path.ends_with("zarr.json"))
        .flat_map(|(_, bytes)| bytes)
        .collect();
    assert!(
        chunks == slab,
        "fewer than ten chunks are in order of their names"
    );
}

#[test]
fn variants_are_asked_for_in_three_ways() {
    let world = World::new();
    for (series, file, more) in [
        (CT, "a.npy", &["--variant", "f32"][..]),
        (CT, "volume.f32.npy", &[]),
        ("series/2.25.811/volume.f32.npy", "b.npy", &[]),
    ] {
        world
            .export(series, file, more)
            .success()
            .stdout(contains("<f4"));
        assert!(world.read(file) == world.read("a.npy"), "{file}");
    }
    let expected: Vec<u8> = expected_slab(&world.ct)
        .chunks_exact(2)
        .flat_map(|v| f32::from(i16::from_le_bytes([v[0], v[1]])).to_le_bytes())
        .collect();
    assert!(world.read("a.npy")[4096..] == expected);
    world
        .export(CT, "a.nii", &["--variant", "f16"])
        .code(32)
        .stderr(contains("cannot express it").and(contains("write .npy")));
    world.export(CT, "a.json", &["--variant", "f32"]).code(1);
}

#[test]
fn files_are_those_of_the_mount() {
    if !can_mount("files_are_those_of_the_mount") {
        return;
    }
    let world = World::new();
    let mount = Mount::of(&world.archive, &[]);
    for uid in [CT, MR] {
        let shown = mount.series(uid);
        for (file, name) in [("a.json", "volume.json"), ("a.png", "preview.png")] {
            world.export(uid, file, &["--force"]).success();
            assert!(
                world.read(file) == fs::read(shown.join(name)).expect(name),
                "{name}"
            );
        }
        for op in ["", ".stored", ".f32", ".f16", ".i16", ".i32"] {
            for ending in ["npy", "raw", "nii"] {
                let file = format!("volume{op}.{ending}");
                let Ok(bytes) = fs::read(shown.join(&file)) else {
                    assert_eq!((op, ending), (".f16", "nii"));
                    continue;
                };
                world.export(uid, &file, &["--force"]).success();
                assert!(world.read(&file) == bytes, "{file}");
            }
        }
        world.export(uid, "a.zarr", &["--force"]).success();
        assert!(tree(&world.out("a.zarr")) == tree(&shown.join("volume.zarr")));
    }
    export(&mount.root, CT, &world.out("x.npy"), world.dir.path(), &[])
        .code(1)
        .stderr(contains("copy them out of its series/"));
}

#[test]
fn the_name_may_be_short_and_not_ambiguous() {
    let world = World::new();
    world.export("2.25.812", "a.npy", &[]).success();
    let both = contains("2 volumes begin with 2.25").and(contains("2.25.811  CT 7x24x20 ok"));
    world.export("2.25", "b.npy", &[]).code(32).stderr(both);
    let none = contains("no series 9").and(contains("dicomfs ls"));
    world.export("9", "b.npy", &[]).code(32).stderr(none);
    assert_eq!(world.names(), ["a.npy"]);
}

#[test]
fn a_broken_frame_leaves_no_file() {
    let world = World::new();
    let victim = &world.sources[3];
    let bytes = fs::read(victim).expect("a source");
    // Within the last frame: no header tells.
    fs::write(victim, &bytes[..bytes.len() - 40]).expect("cut");
    for file in [
        "a.npy", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mhd", "a.zarr", "a.png",
    ] {
        world
            .export(CT, file, &[])
            .code(32)
            .stdout(is_empty())
            .stderr(contains("dicomfs: "));
        assert!(world.names().is_empty(), "{file}: {:?}", world.names());
    }
    fs::write(world.out("a.npy"), "precious").expect("a file");
    world.export(CT, "a.npy", &["--force"]).code(32);
    assert_eq!(world.read("a.npy"), b"precious");
}

#[test]
fn nothing_is_replaced_unasked_and_the_archive_never_written_to() {
    let world = World::new();
    fs::write(world.out("a.npy"), "mine").expect("a file");
    world
        .export(CT, "a.npy", &[])
        .code(32)
        .stderr(contains("--force"));
    assert_eq!(world.read("a.npy"), b"mine");
    world.export(CT, "a.npy", &["--force"]).success();
    fs::write(world.out("b.raw"), "mine").expect("a file");
    world
        .export(CT, "b.nhdr", &[])
        .code(32)
        .stderr(contains("b.raw"));
    assert_eq!(world.names(), ["a.npy", "b.raw"]);
    let inside = world.archive.join("x.npy");
    export(&world.archive, CT, &inside, world.dir.path(), &["--force"])
        .code(32)
        .stderr(contains("never written to"));
    assert!(!inside.exists());
    world
        .export(CT, "none/a.npy", &[])
        .code(32)
        .stderr(contains("there is no directory"));
    world
        .export(CT, "a.dcm", &[])
        .code(1)
        .stderr(contains(".nii.gz"));
    world
        .export(CT, "50%.mhd", &[])
        .code(1)
        .stderr(contains("plain name"));
}

#[test]
fn an_interruption_leaves_nothing() {
    let world = World::new();
    // Compressing takes a while.
    let large = Series::ct("2.25.813", uids::EXPLICIT_VR_LITTLE_ENDIAN, [150, 256, 256]);
    large
        .write(&world.archive.join("large"))
        .expect("files written");
    let mut child = program()
        .arg("export")
        .arg(&world.archive)
        .arg(&large.uid)
        .arg(world.out("a.nii.gz"))
        .arg("--index")
        .arg(world.dir.path().join("index.sqlite"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("dicomfs runs");
    wait_until("writing", || !world.names().is_empty());
    let name = &world.names()[0];
    assert!(name.starts_with(".dicomfs-export-"), "done already: {name}");
    let pid = child.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.expect("kill runs").success());
    wait_until("it ends", || child.try_wait().expect("a child").is_some());
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(32));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted: nothing is written"));
    assert!(world.names().is_empty(), "{:?}", world.names());
}

#[test]
fn exported_values_equal_the_oracles() {
    const NAME: &str = "exported_values_equal_the_oracles";
    let Some(data) = data_dir(NAME) else { return };
    let world = World::new();
    let list = Command::new(env!("CARGO_BIN_EXE_dicomfs"))
        .args(["ls".as_ref(), data.as_os_str()])
        .args(["--format", "jsonl", "--index"])
        .arg(world.dir.path().join("export-index.sqlite"))
        .assert()
        .success();
    let rows = String::from_utf8(list.get_output().stdout.clone()).expect("text");
    let (mut gathered, mut failed) = (HashMap::new(), 0);
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).expect("JSON");
        let path = row["path"].as_str().expect("a path");
        let out = |name: &str| {
            export(
                &data,
                path,
                &world.out(name),
                world.dir.path(),
                &["--force"],
            )
        };
        out("volume.json").success();
        let json = read_json(&world.out("volume.json"));
        let done = out("volume.stored.raw");
        match done.get_output().status.code() {
            Some(0) => gather(&json, &world.read("volume.stored.raw"), &mut gathered),
            Some(32) => failed += 1,
            code => panic!("{path}: {code:?}"),
        }
    }
    let manifest = read_json(&data.join("MANIFEST.json"));
    let (mut equal, mut wrong) = (0, Vec::new());
    for entry in manifest.as_array().expect("a list") {
        let expected = &entry["expected"];
        let file = entry["file"].as_str().expect("file");
        if expected["lossless"] != true || expected["status"] != "ok" {
            continue;
        }
        match gathered.get(file).map(digest) {
            Some(got) if expected["oracle"]["md5"] == got.as_str() => equal += 1,
            Some(_) => wrong.push(file),
            // A copy that was left out, or of a volume with another file that is broken.
            None => {}
        }
    }
    println!("{equal} lossless files equal their md5; {failed} volumes have a broken frame");
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(equal > 100, "{equal}");
}
