//! The structure of the code, checked: layers, walls around foreign crates, sizes, plain ASCII.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from top to bottom: a module may import itself and what stands below it.
const LAYERS: [&str; 17] = [
    "main", "cli", "config", "mount", "fuse", "fs", "tree", "library", "fetch", "cache", "decode",
    "format", "volume", "archive", "dicom", "ipc", "hash",
];

/// Lines of a source file, unit tests included.
const FILE_LINES_MAX: usize = 600;

/// Crates that only some modules may name.
const WALLS: [(&str, &[&str]); 7] = [
    ("fuser", &["fuse", "mount"]),
    ("cudarc", &["decode"]),
    ("libloading", &["decode"]),
    ("openjpeg_sys", &["decode"]),
    ("memmap2", &["cache", "decode"]),
    ("rusqlite", &["archive"]),
    ("clap", &["cli", "config"]),
];

/// Modules that are pure: no files, threads or clocks.
const PURE: [&str; 3] = ["volume", "format", "hash"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(under: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root().join(under)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                found.insert(
                    path.strip_prefix(root()).expect("inside").to_path_buf(),
                    text,
                );
            }
        }
    }
    assert!(!found.is_empty(), "no sources under {under}");
    found
}

fn module(path: &Path) -> String {
    let part = path
        .components()
        .nth(1)
        .expect("src/<module>")
        .as_os_str()
        .to_string_lossy();
    part.trim_end_matches(".rs").to_string()
}

/// Tests may look up and read files: the rules are about what the program is built of.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

/// The code of a file without its comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let me = module(&path);
        if is_test(&path) {
            continue;
        }
        let Some(my_layer) = LAYERS.iter().position(|l| *l == me) else {
            assert_eq!(me, "lib", "{} is in no layer", path.display());
            continue;
        };
        let lead = if me == "main" { "dicomfs::" } else { "crate::" };
        for (n, line) in code(&text) {
            for used in line.split(lead).skip(1) {
                let names = used.split(|c: char| !c.is_alphanumeric() && c != '_');
                let name = names.into_iter().next().unwrap_or_default();
                let layer = LAYERS.iter().position(|l| *l == name);
                if layer.is_some_and(|layer| layer < my_layer) {
                    wrong.push(format!("{}:{}: {me} uses {name}", path.display(), n + 1));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn foreign_crates_stay_behind_their_walls() {
    for (path, text) in sources("src") {
        let me = module(&path);
        for (crate_name, allowed) in WALLS {
            let (path_use, import) = (format!("{crate_name}::"), format!("use {crate_name}"));
            let named = code(&text).any(|(_, l)| l.contains(&path_use) || l.contains(&import));
            assert!(
                !named || allowed.contains(&&*me),
                "{}: names {crate_name}",
                path.display()
            );
        }
    }
}

#[test]
fn pure_modules_do_no_io() {
    let banned = [
        "std::fs",
        "std::thread",
        "std::net",
        "std::time::Instant",
        "SystemTime::now",
    ];
    for (path, text) in sources("src") {
        if is_test(&path) || !PURE.contains(&&*module(&path)) {
            continue;
        }
        for (n, line) in code(&text) {
            let found = banned.iter().find(|b| line.contains(**b));
            assert!(found.is_none(), "{}:{}: {found:?}", path.display(), n + 1);
        }
    }
}

#[test]
fn unsafe_is_announced() {
    for (path, text) in sources("src") {
        let uses = code(&text).any(|(_, l)| l.contains("unsafe {") || l.contains("unsafe fn"));
        if uses {
            let name = path.display();
            assert!(
                text.contains("#![allow(unsafe_code)]"),
                "{name}: unsafe not announced"
            );
            let header: String = text.lines().take_while(|l| l.starts_with("//!")).collect();
            assert!(
                header.to_lowercase().contains("unsafe"),
                "{name}: the header does not say why unsafe"
            );
        }
    }
}

#[test]
fn files_are_short_ascii_and_say_what_they_are() {
    let mut all = sources("src");
    all.extend(sources("tests"));
    for (path, text) in all {
        let name = path.display();
        assert!(text.is_ascii(), "{name}: not ASCII");
        assert!(text.starts_with("//!"), "{name}: does not say what it is");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{name}: {lines} lines");
        let banned = [
            "todo!(",
            "unimplemented!(",
            "#[ignore",
            concat!("dbg", "!("),
        ];
        if path != Path::new("tests/tidy.rs") {
            let found = banned.iter().find(|b| text.contains(**b));
            assert!(found.is_none(), "{name}: {found:?}");
        }
    }
}

#[test]
fn the_changelog_has_room_for_what_is_new() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(changelog.contains("## Unreleased"));
}
