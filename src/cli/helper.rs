//! mount(8)'s helper grammar: `mount.dicomfs SRC MNT [-sfnv] [-N ns] [-t type] -o opts`. Pure.
//!
//! mount(8) gives options as text with the flags (ro, nosuid, ...) among them, strips `x-*` and
//! leaves `_netdev`, `nofail` and the like in. Its `-f` is "fake", not our "foreground". What it asks
//! for and what becomes of it is in mount.dicomfs(8), which `generate/helper_page.rs` writes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config::options;

/// Names that make the program a helper: for `-t dicomfs` and for `-t fuse.dicomfs`.
const NAMES: [&str; 2] = ["mount.dicomfs", "mount.fuse.dicomfs"];

/// One call of the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    source: OsString,
    mountpoint: OsString,
    lists: Vec<OsString>,
    /// Do everything but the mount.
    pub fake: bool,
    /// A mount namespace to mount in: its file.
    pub namespace: Option<PathBuf>,
    /// Options that nobody knows are left out (`-s`): which they were, once they are.
    pub left_out: Vec<String>,
    verbose: bool,
}

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A mount.
    Mount(Call),
    /// The usage.
    Help,
    /// The version.
    Version,
}

/// True if a program of this name is the helper.
pub fn is_helper(program_name: &str) -> bool {
    NAMES.contains(&program_name)
}

/// Parses the arguments after the program's name.
///
/// # Errors
///
/// A sentence with the usage.
pub fn parse(args: &[OsString]) -> Result<Asked, String> {
    let mut positional = Vec::new();
    let mut lists = Vec::new();
    let mut namespace = None;
    let (mut fake, mut verbose, mut sloppy) = (false, false, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let flags = match arg.to_str() {
            Some("--") => {
                positional.extend(rest.by_ref().cloned());
                break;
            }
            Some("-h" | "--help") => return Ok(Asked::Help),
            Some("-V" | "--version") => return Ok(Asked::Version),
            Some(word) => word.strip_prefix('-'),
            None => None,
        };
        let Some(flags) = flags else {
            positional.push(arg.clone());
            continue;
        };
        let mut letters = flags.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'f' => fake = true,
                'v' => verbose = true,
                's' => sloppy = true,
                // No mtab: there is none.
                'n' => {}
                'o' | 't' | 'N' => {
                    let attached = letters.as_str();
                    let value = match attached.is_empty() {
                        true => rest.next().cloned(),
                        false => Some(attached.into()),
                    };
                    let value = value.ok_or_else(|| usage(&format!("-{letter} needs a value")))?;
                    match letter {
                        'o' => lists.push(value),
                        'N' => namespace = Some(namespace_file(value)),
                        // A type with a subtype: there is only one.
                        _ => {}
                    }
                    break;
                }
                _ => return Err(usage(&format!("unknown flag -{letter}"))),
            }
        }
    }
    let [source, mountpoint]: [OsString; 2] = positional
        .try_into()
        .map_err(|_| usage("it takes an archive and a mountpoint"))?;
    let mut left_out = Vec::new();
    if sloppy {
        for list in &mut lists {
            let (kept, dropped) = options::without_unknown(list);
            *list = kept;
            left_out.extend(dropped);
        }
    }
    Ok(Asked::Mount(Call {
        source,
        mountpoint,
        lists,
        fake,
        namespace,
        left_out,
        verbose,
    }))
}

/// How it is called.
pub const USAGE: &str = "mount.dicomfs ARCHIVE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-t TYPE] \
                         [-o OPT[=VAL],...]";

fn usage(what: &str) -> String {
    format!("{what}; usage: {USAGE}")
}

/// A number is that of a process, as with mount(8).
fn namespace_file(value: OsString) -> PathBuf {
    let pid = value.to_str().and_then(|text| text.parse::<u32>().ok());
    pid.map_or_else(
        || PathBuf::from(value),
        |pid| PathBuf::from(format!("/proc/{pid}/ns/mnt")),
    )
}

impl Call {
    /// True if a live mount is to be changed.
    pub fn asks_remount(&self) -> bool {
        self.lists.iter().any(|list| options::asks_remount(list))
    }

    /// True if the mount is asked to be one that can be written.
    pub fn asks_writing(&self) -> bool {
        let list = self.lists.join(OsStr::new(","));
        options::asks_writing(&list)
    }

    /// The same call without what mount(8) adds for a change of a live mount.
    pub fn of_remount(mut self) -> Call {
        for list in &mut self.lists {
            *list = options::without_kernel_names(list);
        }
        self
    }

    /// The same call for the ordinary command line.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["dicomfs".into(), "mount".into()];
        if self.verbose {
            args.push("--log-level=info".into());
        }
        for list in &self.lists {
            args.push("-o".into());
            args.push(list.clone());
        }
        // Names may begin with a hyphen.
        args.push("--".into());
        args.push(Path::new(&self.source).into());
        args.push(Path::new(&self.mountpoint).into());
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, String> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match parse(&args)? {
            Asked::Mount(call) => Ok(call),
            other => Err(format!("{other:?}")),
        }
    }

    fn args(line: &str) -> String {
        let args = call(line).expect(line).to_args();
        let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    #[test]
    fn both_names_and_no_other() {
        assert!(is_helper("mount.dicomfs") && is_helper("mount.fuse.dicomfs"));
        assert!(!is_helper("dicomfs") && !is_helper("mount"));
    }

    #[test]
    fn calls_as_mount_8_makes_them() {
        assert_eq!(
            args("/a /m -o ro,allow_other"),
            "dicomfs mount -o ro,allow_other -- /a /m"
        );
        assert_eq!(
            args("/a /m -v -s -n -t fuse.dicomfs -o rw -o uid=1"),
            "dicomfs mount --log-level=info -o rw -o uid=1 -- /a /m"
        );
        assert_eq!(args("/a /m -sno rw"), "dicomfs mount -o rw -- /a /m");
        assert_eq!(args("-orw /a /m"), "dicomfs mount -o rw -- /a /m");
        assert!(call("/a /m -fv").is_ok_and(|call| call.fake));
        assert!(call("/a /m").is_ok_and(|call| !call.fake));
        assert!(call("/a /m -o remount,ro").is_ok_and(|call| call.asks_remount()));
    }

    #[test]
    fn sloppy_calls_lose_what_nobody_knows() {
        let sloppy = call("/a /m -o ro,cheese=3 -s -o wine,uid=1").expect("sloppy");
        assert_eq!(sloppy.left_out, ["cheese", "wine"]);
        let words = args("/a /m -o ro,cheese=3 -s -o wine,uid=1");
        assert_eq!(words, "dicomfs mount -o ro -o uid=1 -- /a /m");
        assert!(args("/a /m -o cheese").contains("cheese"), "not sloppy");
    }

    #[test]
    fn changes_of_a_live_mount() {
        let line = "/a /m -o ro,nosuid,remount,user_id=0,max_read=1 -o uid=1";
        let changed = call(line).expect("call").of_remount().to_args();
        let changed: Vec<_> = changed.iter().map(|arg| arg.to_string_lossy()).collect();
        let words = changed.join(" ");
        assert_eq!(words, "dicomfs mount -o ro,nosuid -o uid=1 -- /a /m");
        assert!(!call(line).is_ok_and(|call| call.asks_writing()));
        assert!(call("/a /m -o ro -o rw").is_ok_and(|call| call.asks_writing()));
    }

    #[test]
    fn namespaces_by_file_and_by_process() {
        let namespace = |line: &str| call(line).expect(line).namespace;
        assert_eq!(namespace("/a /m"), None);
        let file = namespace("/a /m -N /proc/7/fd/3 -o ro");
        assert_eq!(file, Some("/proc/7/fd/3".into()));
        assert_eq!(namespace("-N7 /a /m"), Some("/proc/7/ns/mnt".into()));
    }

    #[test]
    fn names_may_begin_with_a_hyphen() {
        assert_eq!(args("-o ro -- -a /m"), "dicomfs mount -o ro -- -a /m");
    }

    #[test]
    fn mistakes() {
        for (line, words) in [
            ("/a", "usage"),
            ("/a /m /x", "usage"),
            ("/a /m -o", "-o needs a value"),
            ("/a /m -q", "unknown flag -q"),
            ("/a /m -N", "-N needs a value"),
            ("--help", "Help"),
            ("/a /m -V", "Version"),
        ] {
            assert!(call(line).expect_err(line).contains(words), "{line}");
        }
    }
}
