//! Who opened what, written down.

mod common;
#[path = "common/patient.rs"]
mod patient;
#[path = "common/place.rs"]
mod place;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Mount, can_mount, wait_until};
use place::{Place, SLICES, json, volume};
use serde_json::Value as Json;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn audit_lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

/// Reads a file with `cat`; its process.
fn cat(path: &Path) -> u32 {
    let mut child = Command::new("cat")
        .arg(path)
        .stdout(Stdio::null())
        .spawn()
        .expect("cat runs");
    assert!(child.wait().expect("cat ends").success());
    child.id()
}

#[test]
fn who_opens_what_is_written_down() {
    if !can_mount("who_opens_what_is_written_down") {
        return;
    }
    let place = Place::new(EXPLICIT);
    let audit = place.path("audit.jsonl");
    let mount = Mount::of(
        &place.archive(),
        &["-o", &format!("audit={}", audit.display())],
    );
    let volume = volume(&mount.root);
    let files = [
        "volume.npy",
        "volume.json",
        "frames/0002.npy",
        "dicom/0003.dcm",
    ];
    let kinds = ["array", "text", "frame", "dicom"];
    let mut expected = Vec::new();
    // The second time it may be by passthrough.
    for _ in 0..2 {
        for (file, kind) in files.into_iter().zip(kinds) {
            expected.push((cat(&volume.join(file)), file, kind));
        }
    }
    // Neither a listing nor another file is an open of a series' file.
    fs::read_dir(&volume).expect("a directory").for_each(drop);
    fs::read(mount.root.join("index.csv")).expect("a file");
    wait_until("all is written", || {
        audit_lines(&audit).len() >= expected.len()
    });
    let lines = audit_lines(&audit);
    assert_eq!(lines.len(), expected.len());
    for (line, (pid, file, kind)) in lines.iter().zip(&expected) {
        assert_eq!(line["pid"], *pid, "{line}");
        assert_eq!(
            (&line["file"], &line["kind"]),
            (&(*file).into(), &(*kind).into())
        );
        assert_eq!(line["program"], "cat");
        assert_eq!(line["series"], patient::uid(2000));
        assert!(
            line["time"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
        assert_eq!(line["uid"], fs::metadata("/proc/self").expect("me").uid());
    }
    let mode = audit.metadata().expect("attributes").mode();
    assert_eq!(mode & 0o777, 0o600);

    // A zarr array is one line for each process.
    let zarr = volume.join("volume.zarr/0");
    let all: Vec<_> = fs::read_dir(&zarr).expect("chunks").collect();
    assert!(all.len() > SLICES);
    for chunk in all {
        fs::read(chunk.expect("an entry").path()).expect("a chunk");
    }
    let last = cat(&volume.join("volume.npy"));
    let is_last = |line: &Json| line["pid"] == last;
    wait_until("all is written", || audit_lines(&audit).iter().any(is_last));
    let lines = audit_lines(&audit);
    assert_eq!(
        lines.iter().filter(|line| line["kind"] == "zarr").count(),
        1
    );

    // Renamed away, as log rotation does.
    let rotated = place.path("audit.jsonl.1");
    fs::rename(&audit, &rotated).expect("renamed");
    let pid = cat(&volume.join("volume.npy"));
    wait_until("a new file", || audit_lines(&audit).len() == 1);
    assert_eq!(audit_lines(&audit)[0]["pid"], pid);
    assert_eq!(audit_lines(&rotated), lines);
    let stats = json(&mount.root.join(".dicomfs/stats.json"));
    assert_eq!(stats["audit_lines"], lines.len() as u64 + 1);
    assert_eq!(
        (&stats["audit_lost"], &stats["audit_failures"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_de_identified_mount_is_audited_by_its_own_names() {
    if !can_mount("a_de_identified_mount_is_audited_by_its_own_names") {
        return;
    }
    let place = Place::new(EXPLICIT);
    let audit = place.path("audit.jsonl");
    let options = format!("{},audit={}", place.deid("key"), audit.display());
    let mount = Mount::of(&place.archive(), &["-o", &options]);
    let volume = volume(&mount.root);
    cat(&volume.join("dicom/0001.dcm"));
    wait_until("it is written", || audit_lines(&audit).len() == 1);
    let line = &audit_lines(&audit)[0];
    let name = volume.file_name().expect("a name").to_str().expect("text");
    assert_eq!(
        (&line["series"], &line["volume"]),
        (&name.into(), &name.into())
    );
}
