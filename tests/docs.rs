//! The documents, checked against the program and the tests they speak of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// All Rust sources below a directory, one after the other.
fn sources(under: &Path) -> String {
    let walk = walkdir::WalkDir::new(under).sort_by_file_name();
    let entries = walk.into_iter().map(|entry| entry.expect("an entry"));
    let paths = entries.map(walkdir::DirEntry::into_path);
    let rust = paths.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| fs::read_to_string(path).expect("UTF-8"))
        .collect()
}

/// The source of a program of tests, with its parts.
fn test_program(name: &str) -> String {
    let parts = root().join("tests").join(name);
    let parts = match parts.is_dir() {
        true => sources(&parts),
        false => String::new(),
    };
    read(&format!("tests/{name}.rs")) + &parts
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let text = read("docs/semantics.md");
    let own = sources(&root().join("src"));
    let mut count = 0;
    for claim in text.lines().filter(|line| line.starts_with("- ")) {
        let (_, tests) = claim.rsplit_once(". (").expect("a claim and its tests");
        let tests = quoted(tests);
        assert!(!tests.is_empty(), "{claim}");
        for test in tests {
            let (file, name) = test.split_once(": ").expect("file: test");
            let source = match file {
                "src" => own.clone(),
                _ => test_program(file),
            };
            let function = format!("fn {name}(");
            let before = source.find(&function).map(|at| &source[..at]);
            // Nothing but attributes and blanks between.
            let is_test = |before: &str| {
                let last = before.rfind("#[test]");
                last.is_some_and(|at| !before[at..].contains(['{', '}']))
            };
            let found = before.is_some_and(is_test);
            assert!(found, "no test {test}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// Words of the operating system for what reads answer with.
const SYSTEM: [&str; 9] = [
    "Input/output error",
    "Stale file handle",
    "Operation not supported",
    "File too large",
    "Read-only file system",
    "Permission denied",
    "No such device",
    "No space left on device",
    "Transport endpoint is not connected",
];

#[test]
fn every_message_explained_is_one_that_is_said() {
    let text = read("docs/troubleshooting.md");
    let own = sources(&root().join("src"));
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `"));
    let mut count = 0;
    for message in headings.map(|rest| rest.trim_end_matches('`')) {
        let is_said = own.contains(message) || SYSTEM.contains(&message);
        assert!(is_said, "nothing says {message:?}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn every_option_is_documented_and_every_documented_one_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_dicomfs"))
        .args(["mount", "--help"])
        .output()
        .expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let flag = |line: &str| {
        let rest = line.split_once("--")?.1;
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        Some(rest[..end].replace('-', "_"))
    };
    let offered: BTreeSet<String> = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .filter_map(flag)
        .filter(|name| !["help", "version"].contains(&name.as_str()))
        .collect();
    let text = read("docs/configuration.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let described: BTreeSet<String> = rows
        .filter_map(|row| row.split(['`', '=']).next())
        .map(str::to_owned)
        .collect();
    assert_eq!(described, offered);
}
