//! What a mount gives away: de-identified nothing of a patient, else nothing but where it is promised.

mod common;
#[path = "common/patient.rs"]
mod patient;
#[path = "common/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Mount, can_mount, program, wait_until};
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use patient::{DATE, ROOT, SECRET};
use place::{Place, SLICES, json, volume};
use serde_json::Value as Json;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Everything below a mount: names, and what short files hold.
#[derive(Default)]
struct Seen {
    names: Vec<PathBuf>,
    texts: Vec<(PathBuf, Vec<u8>)>,
}

fn see(root: &Path) -> Seen {
    let mut seen = Seen::default();
    let mut open = vec![root.to_path_buf(), root.join(".dicomfs")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(root).expect("inside").to_path_buf();
            let metadata = path.symlink_metadata().expect("attributes");
            if metadata.is_symlink() {
                seen.names.push(fs::read_link(&path).expect("a target"));
            } else if metadata.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).unwrap_or_else(|why| panic!("{inside:?}: {why}"));
                assert_eq!(bytes.len() as u64, metadata.len(), "{inside:?}");
                seen.texts.push((inside.clone(), bytes));
            }
            seen.names.push(inside);
        }
    }
    seen
}

fn found(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

fn clean(what: &Path, bytes: &[u8]) {
    for text in [SECRET, ROOT, DATE] {
        assert!(!found(bytes, text), "{text} is in {}", what.display());
    }
}

/// A mount in the foreground whose log goes to a file.
struct Foreground {
    child: Child,
    root: PathBuf,
    log: PathBuf,
}

impl Foreground {
    fn new(place: &Place, options: &str) -> Foreground {
        let (root, log) = (place.path("mnt"), place.path("log"));
        fs::create_dir_all(&root).expect("a mount point");
        let child = program()
            .arg("mount")
            .args([&place.archive(), &root])
            .args(["-f", "--log-level", "debug", "-o", options, "--index"])
            .arg(place.path("index.sqlite"))
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("dicomfs runs");
        let mount = Foreground { child, root, log };
        wait_until("it is scanned", || {
            let stats = fs::read(mount.root.join(".dicomfs/stats.json")).unwrap_or_default();
            let stats: Json = serde_json::from_slice(&stats).unwrap_or_default();
            stats["scan"]["state"] == "done"
        });
        mount
    }

    fn end(mut self) -> Vec<u8> {
        let status = Command::new("umount").arg(&self.root).status();
        assert!(status.expect("umount runs").success());
        assert!(self.child.wait().expect("it ends").success());
        fs::read(&self.log).expect("a log")
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = Command::new("umount").arg("-l").arg(&self.root).status();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn a_de_identified_mount_names_nobody() {
    if !can_mount("a_de_identified_mount_names_nobody") {
        return;
    }
    for syntax in [EXPLICIT, DEFLATED] {
        let place = Place::new(syntax);
        let tier = place.path("tier");
        let audit = place.path("audit.jsonl");
        let options = format!(
            "{},cache_dir={},audit={}",
            place.deid("key"),
            tier.display(),
            audit.display()
        );
        let mount = Foreground::new(&place, &options);
        let seen = see(&mount.root);
        for name in &seen.names {
            clean(name, name.as_os_str().as_encoded_bytes());
        }
        for (name, bytes) in &seen.texts {
            clean(name, bytes);
        }
        let findings = fs::read_to_string(mount.root.join(".dicomfs/findings.jsonl"));
        let findings = findings.expect("findings");
        for code in [
            "burned_in_annotation",
            "duplicate_instance",
            "no_pixel_data",
        ] {
            assert!(findings.contains(code), "{code} in {findings}");
        }
        let volume = json(&volume(&mount.root).join("volume.json"));
        assert_eq!(volume["shape"], Json::from(vec![SLICES as u64, 5, 7]));
        assert_eq!(volume["frames"][0]["file"], "dicom/0001.dcm");
        let patient = volume["dicom"]["PatientID"].as_str().expect("a pseudonym");
        assert!(patient.starts_with("DEID-"), "{patient}");
        assert!(mount.root.join("patients").join(patient).is_dir());
        let attributes = volume["dicom"].as_object().expect("attributes");
        for gone in [
            "PatientSex",
            "PatientAge",
            "SeriesDescription",
            "StationName",
        ] {
            assert!(!attributes.contains_key(gone), "{gone}");
        }
        let log = mount.end();
        clean(Path::new("the log"), &log);
        clean(&audit, &fs::read(&audit).expect("the audit file"));
        for entry in fs::read_dir(&tier).expect("the tier") {
            let path = entry.expect("an entry").path();
            clean(&path, &fs::read(&path).expect("an entry"));
        }
    }
}

#[test]
fn failures_of_a_de_identified_mount_name_nobody() {
    if !can_mount("failures_of_a_de_identified_mount_name_nobody") {
        return;
    }
    let place = Place::new(EXPLICIT);
    let audit = place.path("audit.jsonl");
    let options = format!("{},settle=1,audit={}", place.deid("key"), audit.display());
    let mount = Foreground::new(&place, &options);
    let before = volume(&mount.root);
    let study = place.archive().join(format!("{SECRET}-study"));
    let source = |n: usize| study.join(format!("{SECRET}-{n}.dcm"));
    // One file is written to in place, one is cut short, one goes.
    let bytes = fs::read(source(2)).expect("a file");
    fs::write(source(2), [&bytes[..], SECRET.as_bytes()].concat()).expect("written");
    fs::write(source(3), &bytes[..bytes.len() / 2]).expect("written");
    fs::remove_file(source(4)).expect("removed");
    for name in [
        "volume.npy",
        "volume.f32.npy",
        "dicom/0003.dcm",
        "frames/0004.npy",
    ] {
        assert!(fs::read(before.join(name)).is_err(), "{name}");
    }
    assert!(fs::read(before.join(SECRET)).is_err());
    let told = |what: &str| {
        let failed = fs::read(mount.root.join(".dicomfs").join(what)).expect("a file");
        clean(Path::new(what), &failed);
        String::from_utf8(failed).expect("text")
    };
    assert!(told("findings.jsonl").contains("decode_error"));
    // What is left becomes another volume.
    wait_until("the changed series is shown", || {
        volume(&mount.root).join("volume.json").exists()
            && json(&volume(&mount.root).join("volume.json"))["shape"] != json_of(SLICES)
    });
    let seen = see(&mount.root);
    for (name, bytes) in &seen.texts {
        clean(name, name.as_os_str().as_encoded_bytes());
        clean(name, bytes);
    }
    for what in ["metrics.prom", "stats.json", "config.json"] {
        told(what);
    }
    let log = mount.end();
    assert!(!log.is_empty(), "nothing was logged");
    clean(Path::new("the log"), &log);
    clean(&audit, &fs::read(&audit).expect("the audit file"));
}

/// The shape of a volume of so many slices.
fn json_of(slices: usize) -> Json {
    Json::from(vec![slices as u64, 5, 7])
}

#[test]
fn pixels_and_their_places_stay() {
    if !can_mount("pixels_and_their_places_stay") {
        return;
    }
    let place = Place::new(EXPLICIT);
    let plain = Mount::of(&place.archive(), &[]);
    let deid = Mount::of(&place.archive(), &["-o", &place.deid("key")]);
    let (was, is) = (volume(&plain.root), volume(&deid.root));
    for name in ["volume.npy", "volume.nii", "preview.png", "frames/0003.npy"] {
        let (was, is) = (fs::read(was.join(name)), fs::read(is.join(name)));
        assert!(was.expect("a file") == is.expect("a file"), "{name}");
    }
    let (original, shown) = (
        json(&was.join("volume.json")),
        json(&is.join("volume.json")),
    );
    for key in ["affine_lps", "shape", "spacing_mm", "dtype", "axes"] {
        assert_eq!(original[key], shown[key]);
    }
    for n in 0..SLICES {
        let name = format!("dicom/{:04}.dcm", n + 1);
        let path = is.join(&name);
        let object = dicom_object::open_file(&path).expect("dicom-object reads it");
        let pixels = object.element(tags::PIXEL_DATA).expect("pixels");
        let pixels = pixels.to_multi_int::<u16>().expect("numbers");
        assert_eq!(pixels, patient::pixels(n + 1));
        let text = |tag| {
            let text = object.element(tag).expect("an element").to_str();
            text.expect("text").trim_end_matches('\0').to_owned()
        };
        // The tree, the tables and the files say the same.
        assert_eq!(
            shown["series_instance_uid"],
            text(tags::SERIES_INSTANCE_UID)
        );
        assert_eq!(shown["study_instance_uid"], text(tags::STUDY_INSTANCE_UID));
        assert_eq!(
            shown["frames"][n]["sop_instance_uid"],
            text(tags::SOP_INSTANCE_UID)
        );
        assert_eq!(shown["frames"][n]["file"], name.as_str());
        assert_eq!(shown["dicom"]["PatientID"], text(tags::PATIENT_ID));
        assert_eq!(shown["dicom"]["StudyDate"], text(tags::STUDY_DATE));
        let name = is.file_name().expect("a name").to_str().expect("text");
        assert_eq!(name, text(tags::SERIES_INSTANCE_UID));
        // When it was written would tell when it was acquired.
        let mtime = path.metadata().expect("attributes").mtime();
        let source = was
            .join("dicom/0001.dcm")
            .metadata()
            .expect("attributes")
            .mtime();
        assert!(mtime <= source - 86_400, "{mtime} {source}");
    }
}

/// Names and inode numbers of the volume's files.
fn identity(root: &Path) -> BTreeSet<(PathBuf, u64)> {
    let volume = volume(root);
    let files = fs::read_dir(&volume).expect("a directory");
    let files = files.map(|entry| entry.expect("an entry").path());
    files
        .map(|path| (path.clone(), path.metadata().expect("attributes").ino()))
        .collect()
}

#[test]
fn the_key_decides_what_stands_for_what() {
    if !can_mount("the_key_decides_what_stands_for_what") {
        return;
    }
    let place = Place::new(EXPLICIT);
    let mount = Mount::of(&place.archive(), &["-o", &place.deid("key")]);
    let first = identity(&mount.root);
    let again = |options: Option<String>| {
        assert!(mount.umount(&[]).status.success());
        wait_until("the mount has ended", || mount.pids().is_empty());
        match options {
            Some(options) => mount.mount(&["-o", &options]),
            None => mount.mount(&[]),
        }
        identity(&mount.root)
    };
    assert_eq!(again(Some(place.deid("key"))), first);
    let other = again(Some(place.deid("another")));
    assert!(other.is_disjoint(&first));
    // The index remembers nothing of one that is shown by another.
    let plain = again(None);
    assert!(
        plain
            .iter()
            .all(|(path, _)| path.to_string_lossy().contains(ROOT))
    );
    let inos = |set: &BTreeSet<(PathBuf, u64)>| -> BTreeSet<u64> {
        set.iter().map(|(_, ino)| *ino).collect()
    };
    assert!(inos(&plain).is_disjoint(&inos(&first)) && inos(&other).is_disjoint(&inos(&first)));
    assert_eq!(again(Some(place.deid("key"))), first);
}

#[test]
fn without_a_good_key_nothing_is_mounted() {
    let place = Place::new(EXPLICIT);
    let try_mount = |options: &str| {
        let output = program()
            .arg("mount")
            .args([&place.archive(), &place.path("none")])
            .args(["-o", options])
            .output()
            .expect("dicomfs runs");
        let words = String::from_utf8(output.stderr).expect("text");
        assert_eq!(words.lines().count(), 1, "{words}");
        (output.status.code(), words)
    };
    let (code, words) = try_mount("deid=basic");
    assert!(
        code == Some(1) && words.contains("dicomfs generate deid-key"),
        "{words}"
    );
    if !can_mount("without_a_good_key_nothing_is_mounted") {
        return;
    }
    fs::create_dir(place.path("none")).expect("a mount point");
    let (code, words) = try_mount(&format!(
        "deid=basic,deid_key={}",
        place.path("no").display()
    ));
    assert!(
        code == Some(32) && words.contains("dicomfs generate deid-key"),
        "{words}"
    );
    let key = place.key("key");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&key, open).expect("permissions");
    let (code, words) = try_mount(&format!("deid=basic,deid_key={}", key.display()));
    assert!(code == Some(32) && words.contains("chmod 600"), "{words}");
    // Nor without a place to write who opens what.
    let (code, words) = try_mount(&format!("audit={}", place.path("no/audit").display()));
    assert!(code == Some(32) && words.contains("audit file"), "{words}");
    let inside = place.archive().join("audit");
    let (code, words) = try_mount(&format!("audit={}", inside.display()));
    assert!(
        code == Some(32) && words.contains("never written"),
        "{words}"
    );
    assert!(!inside.exists());
}

/// The text that the synthetic patient has in an attribute.
fn text_of(keyword: &str) -> String {
    let entry = StandardDataDictionary.by_name(keyword).expect("a keyword");
    let at = patient::rows().position(|(tag, _)| tag == entry.tag());
    format!("{SECRET}{}", at.expect("a row"))
}

#[test]
fn without_de_identification_patients_are_where_it_is_promised() {
    let test = "without_de_identification_patients_are_where_it_is_promised";
    if !can_mount(test) {
        return;
    }
    let place = Place::new(EXPLICIT);
    let audit = place.path("audit.jsonl");
    let tier = place.path("tier");
    let options = format!("cache_dir={},audit={}", tier.display(), audit.display());
    let mount = Foreground::new(&place, &options);
    let seen = see(&mount.root);
    // `studies/` names series by their description, as promised.
    let description = text_of("SeriesDescription");
    for name in seen
        .names
        .iter()
        .filter(|name| !name.starts_with("patients"))
    {
        let name = name.to_string_lossy();
        let rest = match name.starts_with("studies/") {
            true => name.replace(&description, ""),
            false => name.into_owned(),
        };
        assert!(!rest.contains(SECRET) && !rest.contains(DATE), "{rest}");
    }
    for (name, bytes) in &seen.texts {
        let is_promised = name.ends_with("volume.json") || name.iter().any(|n| n == "dicom");
        let names_files = name.ends_with("findings.jsonl");
        if names_files {
            // By their paths, as volume.json does; of attributes it says nothing.
            let bytes = String::from_utf8_lossy(bytes).replace(&format!("{SECRET}-"), "");
            assert!(!bytes.contains(SECRET) && !bytes.contains(DATE), "{bytes}");
        } else if !is_promised {
            assert!(
                !found(bytes, SECRET) && !found(bytes, DATE),
                "{}",
                name.display()
            );
        }
    }
    // A file that changes while it is read is a failure that is spoken of.
    let volume = volume(&mount.root);
    let source = place
        .archive()
        .join(format!("{SECRET}-study/{SECRET}-2.dcm"));
    let touched = File::options().append(true).open(&source).expect("a file");
    touched
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("a time");
    assert!(fs::read(volume.join("volume.f32.npy")).is_err());
    assert!(fs::read(volume.join("no such file")).is_err());
    let log = mount.end();
    assert!(!log.is_empty(), "nothing was logged");
    let log = String::from_utf8_lossy(&log);
    assert!(!log.contains(SECRET) && !log.contains(DATE), "{log}");
    let audit = fs::read_to_string(&audit).expect("the audit file");
    assert!(!audit.contains(SECRET) && !audit.contains(DATE), "{audit}");
    for entry in fs::read_dir(&tier).expect("the tier") {
        let name = entry.expect("an entry").file_name();
        assert!(!name.to_string_lossy().contains(ROOT));
    }
}

#[test]
fn export_de_identifies_too() {
    let place = Place::new(EXPLICIT);
    let key = place.key("key");
    let export = |series: &str, file: &str| {
        program()
            .arg("export")
            .arg(place.archive())
            .arg(series)
            .arg(place.path(file))
            .arg("--index")
            .arg(place.path("index.sqlite"))
            .args(["--log-level", "debug", "--deid", "basic", "--deid-key"])
            .arg(&key)
            .output()
            .expect("dicomfs runs")
    };
    for file in ["a.json", "a.nii", "a.nhdr", "a.mha", "a.png"] {
        let output = export("2.25.", file);
        assert!(output.status.success(), "{file}: {output:?}");
        clean(Path::new("what is said"), &output.stdout);
        clean(Path::new("the log"), &output.stderr);
        let bytes = fs::read(place.path(file)).expect("a file");
        clean(Path::new(file), &bytes);
    }
    let shown = json(&place.path("a.json"));
    assert!(
        shown["dicom"]["PatientID"]
            .as_str()
            .is_some_and(|id| id.starts_with("DEID-"))
    );
    // By the name that the headers have nothing is found.
    let output = export(&patient::uid(2000), "b.json");
    assert_eq!(output.status.code(), Some(32), "{output:?}");
    assert!(!place.path("b.json").exists());
}

#[test]
fn ls_de_identifies_too() {
    let place = Place::new(EXPLICIT);
    let key = place.key("key");
    let output = program()
        .arg("ls")
        .arg(place.archive())
        .arg("--index")
        .arg(place.path("index.sqlite"))
        .args(["--deid", "basic", "--deid-key"])
        .arg(&key)
        .output()
        .expect("dicomfs runs");
    assert!(output.status.success());
    clean(Path::new("the list"), &output.stdout);
    assert!(found(&output.stdout, "2.25."), "{:?}", output.stdout);
}
