//! What the defaults depend on: memory, user, home. Read once at the start.

use std::path::{Path, PathBuf};

/// The machine as the defaults see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Memory that can be had without swapping, bytes.
    pub memory_available_bytes: u64,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Where this user's programs keep what can be made again.
    pub cache_home: PathBuf,
}

/// Assumed where the memory cannot be told: a small machine.
const MEMORY_UNKNOWN_BYTES: u64 = 2 << 30;

impl Machine {
    /// Reads what there is; nothing here can fail for good.
    pub fn read() -> Machine {
        let (uid, gid) = crate::mount::effective_user();
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Machine {
            memory_available_bytes: memory_available_bytes(),
            uid,
            gid,
            // Also without HOME, which mount(8) takes from users' helpers.
            cache_home: cache_home(uid, variable("XDG_CACHE_HOME"), std::env::home_dir()),
        }
    }
}

/// The smaller of the machine's available memory and the limit of this process's cgroup.
fn memory_available_bytes() -> u64 {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let available = parse_meminfo(&text(Path::new("/proc/meminfo")));
    let cgroup = parse_cgroup(&text(Path::new("/proc/self/cgroup")));
    let limit = cgroup.and_then(|path| cgroup_limit(Path::new("/sys/fs/cgroup"), &path));
    let available = available.unwrap_or(MEMORY_UNKNOWN_BYTES);
    limit.map_or(available, |limit| available.min(limit))
}

/// MemAvailable of /proc/meminfo, bytes.
fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The unified hierarchy's path in /proc/self/cgroup, relative to its root.
fn parse_cgroup(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from(path))
}

/// The least limit of a cgroup and of those above it, which hold for it too: a batch system or a pod has
/// its limit some levels up.
fn cgroup_limit(root: &Path, cgroup: &Path) -> Option<u64> {
    let limits = cgroup.ancestors().filter_map(|cgroup| {
        let limit = std::fs::read_to_string(root.join(cgroup).join("memory.max"));
        parse_limit(&limit.unwrap_or_default())
    });
    limits.min()
}

/// `memory.max`: a number of bytes, or `max` for no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The XDG base directory for caches; for root, whose HOME is not always set, a system directory.
fn cache_home(uid: u32, xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    if let Some(xdg) = xdg.filter(|path| path.is_absolute()) {
        return xdg;
    }
    match home.filter(|path| path.is_absolute()) {
        Some(home) if uid != 0 => home.join(".cache"),
        _ => PathBuf::from("/var/cache"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel() {
        let meminfo = "MemTotal: 24684084 kB\nMemAvailable:   20000 kB\n";
        assert_eq!(parse_meminfo(meminfo), Some(20_480_000));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), None);
        assert_eq!(parse_meminfo("MemAvailable: x kB\n"), None);
        assert_eq!(parse_cgroup("1:cpu:/a\n0::/b/c\n"), Some("b/c".into()));
        assert_eq!(parse_cgroup("0::/\n"), Some("".into()));
        assert_eq!(parse_cgroup("1:cpu:/a\n"), None);
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1048576\n"), Some(1 << 20));
    }

    #[test]
    fn limits_above_hold_too() {
        let root = tempfile::tempdir().expect("a directory");
        let cgroup = Path::new("job_1/step_0/task_0");
        std::fs::create_dir_all(root.path().join(cgroup)).expect("made");
        assert_eq!(cgroup_limit(root.path(), cgroup), None);
        for (at, limit) in [
            ("", "max\n"),
            ("job_1", "2048\n"),
            ("job_1/step_0", "1024\n"),
            ("job_1/step_0/task_0", "max\n"),
        ] {
            std::fs::write(root.path().join(at).join("memory.max"), limit).expect("written");
        }
        assert_eq!(cgroup_limit(root.path(), cgroup), Some(1024));
        let above = Path::new("job_1");
        assert_eq!(cgroup_limit(root.path(), above), Some(2048));
        assert_eq!(cgroup_limit(root.path(), Path::new("")), None);
    }

    #[test]
    fn homes_of_caches() {
        let path = |text: &str| Some(PathBuf::from(text));
        let cases = [
            (1000, path("/x"), path("/home/a"), "/x"),
            (1000, None, path("/home/a"), "/home/a/.cache"),
            (1000, path("relative"), path("/home/a"), "/home/a/.cache"),
            (1000, None, None, "/var/cache"),
            (0, None, path("/root"), "/var/cache"),
            (0, path("/x"), path("/root"), "/x"),
        ];
        for (uid, xdg, home, expected) in cases {
            assert_eq!(cache_home(uid, xdg, home), Path::new(expected));
        }
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(Machine::read().memory_available_bytes > 0);
    }
}
