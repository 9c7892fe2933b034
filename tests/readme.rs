//! The README, followed word by word: its blocks of shell and Python, in their order, in a root of their
//! own over this machine's, so that `/archive`, `/mnt` and `/etc` are theirs.
//!
//! What others follow is marked there by a comment before the block. One placeholder is filled in:
//! `1.2.840...` is a series of the archive.

mod common;
#[path = "clients/venv.rs"]
mod venv;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::{can_mount, skip};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;

const UID: &str = "1.2.840.113619.2.1";

/// A block, and why it is not followed.
struct Block {
    language: String,
    text: String,
    left_out: Option<String>,
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut left_out = None;
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("<!-- not followed by tests/readme.rs: ") {
            left_out = Some(rest.trim_end_matches(" -->").to_owned());
        } else if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Block {
                language: language.to_owned(),
                text: text.join("\n"),
                left_out: left_out.take(),
            });
        }
    }
    found
}

/// The blocks as one script, which says what it does.
fn script(blocks: &[Block], python: &Path) -> (String, u32) {
    let mut script = String::from("set -eux\n");
    let mut followed = 0;
    for block in blocks {
        let text = block.text.replace("1.2.840...", UID);
        let run = match (block.language.as_str(), &block.left_out) {
            (_, Some(why)) => {
                println!("left out, {why}: {}", text.lines().next().unwrap_or(""));
                continue;
            }
            ("sh", _) => text,
            ("python", _) => format!("{} - <<'PYTHON'\n{text}\nPYTHON", python.display()),
            _ => continue,
        };
        followed += 1;
        let _ = writeln!(script, "{run}");
    }
    (script, followed)
}

/// A root over this one, which goes with its namespace.
fn enclosure(work: &Path) -> String {
    let (work, here) = (work.display(), env!("CARGO_MANIFEST_DIR"));
    let program = env!("CARGO_BIN_EXE_dicomfs");
    format!(
        "set -eu
        mount --make-rprivate /
        mount -t tmpfs -o mode=755 tmpfs {work}/over
        cd {work}/over
        mkdir up work root
        mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
        for dir in /dev /proc /sys {here}; do
            mkdir -p root$dir
            mount --rbind $dir root$dir
        done
        mkdir -p root/archive root/mnt/dicom
        cp -r {work}/archive/. root/archive/
        cp {work}/follow.sh root/follow.sh
        install -m 755 {program} root/usr/bin/dicomfs
        # What is still mounted in the end has processes that do not go with the namespace.
        trap 'chroot root umount -a -t fuse.dicomfs' EXIT
        chroot root sh /follow.sh"
    )
}

#[test]
fn the_readme_can_be_followed() {
    let test = "the_readme_can_be_followed";
    if !can_mount(test) {
        return;
    }
    let Some(python) = venv::python(test) else {
        return;
    };
    let can = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt";
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", can])
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        skip(
            test,
            "no mount namespace without root",
            "DICOMFS_REQUIRE_INSTALL",
        );
        return;
    }
    let work = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| work.path().join(name);
    fs::create_dir(at("over")).expect("made");
    let native = uids::EXPLICIT_VR_LITTLE_ENDIAN;
    for series in [
        Series::ct(UID, native, [170, 272, 272]),
        Series::mr("2.25.95", uids::RLE_LOSSLESS, [12, 64, 64]),
    ] {
        let to = at("archive").join(&series.uid);
        series.write(&to).expect("files written");
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).expect("README.md");
    let (script, followed) = script(&blocks(&readme), &python);
    fs::write(at("follow.sh"), script).expect("written");
    let start = Instant::now();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &enclosure(work.path())])
        .current_dir("/")
        .output()
        .expect("unshare runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    println!("{followed} blocks followed in {:?}", start.elapsed());
    assert!(followed >= 6, "{followed}");
}
