//! The settings of a unit file, and the names that its system call filter lets through.

use std::collections::BTreeSet;
use std::process::Command;

/// A unit file as its assignments, in order.
pub struct Unit(Vec<(String, String)>);

impl Unit {
    /// Reads `systemd/dicomfs@.service`.
    pub fn service() -> Unit {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/dicomfs@.service");
        let text = std::fs::read_to_string(path).expect("the unit");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        Unit(pairs.map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// All values of a setting.
    pub fn all(&self, key: &str) -> Vec<&str> {
        let of_key = self.0.iter().filter(|(k, _)| k == key);
        of_key.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a setting that is there once.
    pub fn one(&self, key: &str) -> &str {
        match self.all(key)[..] {
            [value] => value,
            ref other => panic!("{key}: {other:?}"),
        }
    }

    /// Names of the settings.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// System calls that the filter lets through, by name; `None` without systemd-analyze.
    pub fn system_calls(&self) -> Option<BTreeSet<String>> {
        // Always let through (systemd.exec(5)).
        let mut allowed = members("@default")?;
        for list in self.all("SystemCallFilter") {
            let (removes, list) = match list.strip_prefix('~') {
                Some(list) => (true, list),
                None => (false, list),
            };
            for name in list.split_whitespace() {
                for call in members(name)? {
                    match removes {
                        true => allowed.remove(&call),
                        false => allowed.insert(call),
                    };
                }
            }
        }
        Some(allowed)
    }
}

/// The system calls of a set, sets within it included; a name that is no set is itself.
fn members(name: &str) -> Option<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Some(BTreeSet::from([name.to_string()]));
    }
    let output = Command::new("systemd-analyze")
        .args(["--no-pager", "syscall-filter", name])
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).expect("names");
    let words = text.lines().skip(1).map(str::trim);
    let mut all = BTreeSet::new();
    for word in words.filter(|word| !word.is_empty() && !word.starts_with('#')) {
        all.extend(members(word)?);
    }
    assert!(!all.is_empty(), "{name} is empty");
    Some(all)
}
