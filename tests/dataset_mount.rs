//! The real files, through a real mount: every lossless one equals its oracle's md5.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use common::{Mount, can_mount, data_dir};
use md5::{Digest, Md5};
use serde_json::Value;

/// Where a source file's frames are in a mounted volume: directory, then for each frame of the
/// volume the file and its 1-based frame number.
type Frames = Vec<(String, u64)>;

fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn frames_of(json: &Value) -> Frames {
    let frames = json["frames"].as_array().expect("frames");
    let text = |frame: &Value| frame["file"].as_str().expect("file").to_string();
    frames
        .iter()
        .map(|f| (text(f), f["frame_number"].as_u64().expect("frame_number")))
        .collect()
}

/// md5 of each file's frames in stored order, from one volume's `volume.stored.npy`.
fn digests(volume: &Path) -> Result<HashMap<String, String>, String> {
    let json = read_json(&volume.join("volume.json"));
    let frames = frames_of(&json);
    let npy = fs::read(volume.join("volume.stored.npy")).map_err(|e| e.to_string())?;
    let slab = &npy[4096..];
    let frame_len = slab.len() / frames.len();
    let mut by_file: BTreeMap<&str, Vec<(u64, &[u8])>> = BTreeMap::new();
    for ((file, number), bytes) in frames.iter().zip(slab.chunks(frame_len)) {
        by_file.entry(file).or_default().push((*number, bytes));
    }
    let digest = |mut frames: Vec<(u64, &[u8])>| {
        frames.sort_by_key(|(number, _)| *number);
        let mut md5 = Md5::new();
        frames.iter().for_each(|(_, bytes)| md5.update(bytes));
        format!("{:x}", md5.finalize())
    };
    Ok(by_file
        .into_iter()
        .map(|(file, frames)| (file.to_string(), digest(frames)))
        .collect())
}

#[test]
fn stored_values_equal_the_oracles() {
    const NAME: &str = "stored_values_equal_the_oracles";
    let Some(data) = data_dir(NAME) else { return };
    if !can_mount(NAME) {
        return;
    }
    let mount = Mount::of(&data, &[]);
    let mut seen: HashMap<String, Result<String, String>> = HashMap::new();
    let mut volumes = 0;
    for entry in fs::read_dir(mount.root.join("series")).expect("series/") {
        let volume = entry.expect("an entry").path();
        volumes += 1;
        match digests(&volume) {
            Ok(digests) => seen.extend(digests.into_iter().map(|(file, md5)| (file, Ok(md5)))),
            Err(why) => {
                let frames = frames_of(&read_json(&volume.join("volume.json")));
                seen.extend(frames.into_iter().map(|(file, _)| (file, Err(why.clone()))));
            }
        }
    }
    let manifest = read_json(&data.join("MANIFEST.json"));
    let (mut equal, mut missed) = (0, Vec::new());
    for entry in manifest.as_array().expect("a list") {
        let expected = &entry["expected"];
        if expected["lossless"] != true || expected["status"] != "ok" {
            continue;
        }
        let file = entry["file"].as_str().expect("file");
        let want = expected["oracle"]["md5"].as_str().expect("md5");
        match seen.get(file) {
            Some(Ok(got)) if got == want => equal += 1,
            Some(Ok(_)) => missed.push(format!("{file}: other bytes")),
            Some(Err(why)) => missed.push(format!("{file}: {why}")),
            None => missed.push(format!("{file}: in no volume")),
        }
    }
    let all = equal + missed.len();
    println!("{equal} of {all} lossless files equal their md5 through {volumes} mounted volumes");
    missed.iter().for_each(|line| println!("  {line}"));
    assert!(
        equal * 100 >= all * 95,
        "{equal} of {all}:\n{}",
        missed.join("\n")
    );
    let wrong: Vec<_> = missed
        .iter()
        .filter(|line| line.ends_with("other bytes"))
        .collect();
    assert!(
        wrong.is_empty(),
        "wrong bytes are never acceptable: {wrong:?}"
    );
}

#[test]
fn bad_files_cost_a_finding_and_no_more() {
    const NAME: &str = "bad_files_cost_a_finding_and_no_more";
    let Some(data) = data_dir(NAME) else { return };
    if !can_mount(NAME) {
        return;
    }
    let mount = Mount::of(&data, &[]);
    let mut failed = 0;
    for entry in walkdir::WalkDir::new(mount.root.join("series")) {
        let path = entry.expect("everything can be walked").into_path();
        if !path.is_file() {
            continue;
        }
        let size = fs::metadata(&path).expect("stat").len();
        match fs::read(&path) {
            Ok(bytes) => assert_eq!(bytes.len() as u64, size, "{}", path.display()),
            // EIO, EOPNOTSUPP, EFBIG: an answer in the errno table, and never for a whole tree.
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                assert!([5, 95, 27].contains(&errno), "{}: {error}", path.display());
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "the data set has broken files");
    let findings = fs::read_to_string(mount.root.join(".dicomfs/findings.jsonl")).expect("read");
    let failures = findings
        .lines()
        .filter(|line| line.contains("decode_error"))
        .count();
    assert!(failures > 0, "each failed frame is in the findings");
    for line in findings.lines() {
        let finding: Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(
            finding["code"].is_string() && finding["detail"].is_string(),
            "{line}"
        );
    }
}
