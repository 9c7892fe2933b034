//! The real files, through a real mount: every lossless one equals its oracle's md5.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use common::oracle::{digest, gather, read_json};
use common::{Mount, can_mount, data_dir};
use serde_json::Value;

/// The files a volume's frames come from; frames that are not stored have none.
fn files_of(json: &Value) -> BTreeSet<String> {
    let frames = json["frames"].as_array().expect("frames");
    let files = frames.iter().filter_map(|frame| frame["file"].as_str());
    files.map(str::to_string).collect()
}

/// Files that were left out as copies, and which file each is a copy of.
fn copies(root: &Path) -> HashMap<String, String> {
    let findings = fs::read_to_string(root.join(".dicomfs/findings.jsonl")).expect("findings");
    let copies = findings.lines().filter_map(|line| {
        let finding: Value = serde_json::from_str(line).expect("a JSON object a line");
        let detail = finding["detail"].as_str()?.strip_prefix("a copy of ")?;
        let (original, _) = detail.split_once(" by its ")?;
        Some((finding["file"].as_str()?.to_string(), original.to_string()))
    });
    copies.collect()
}

#[test]
fn stored_values_equal_the_oracles() {
    const NAME: &str = "stored_values_equal_the_oracles";
    let Some(data) = data_dir(NAME) else { return };
    if !can_mount(NAME) {
        return;
    }
    let mount = Mount::of(&data, &[]);
    let mut failed: HashMap<String, String> = HashMap::new();
    let mut gathered = HashMap::new();
    let mut volumes = 0;
    for entry in fs::read_dir(mount.root.join("series")).expect("series/") {
        let volume = entry.expect("an entry").path();
        volumes += 1;
        let json = read_json(&volume.join("volume.json"));
        match fs::read(volume.join("volume.stored.raw")) {
            Ok(slab) => gather(&json, &slab, &mut gathered),
            Err(why) => failed.extend(files_of(&json).into_iter().map(|f| (f, why.to_string()))),
        }
    }
    let mut seen: HashMap<String, Result<String, String>> = gathered
        .iter()
        .map(|(file, frames)| (file.clone(), Ok(digest(frames))))
        .collect();
    seen.extend(failed.into_iter().map(|(file, why)| (file, Err(why))));
    for (copy, original) in copies(&mount.root) {
        if let Some(of_original) = seen.get(&original).cloned() {
            seen.entry(copy).or_insert(of_original);
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
