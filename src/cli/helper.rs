//! mount(8)'s helper grammar: `mount.dicomfs SRC MNT [-sfnv] [-N ns] [-t type] -o opts`. Pure.
//!
//! mount(8) gives options as text with the flags (ro, nosuid, ...) among them, strips `x-*` and
//! leaves `_netdev`, `nofail` and the like in. Its `-f` is "fake", not our "foreground".

use std::ffi::OsString;
use std::path::Path;

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
    verbose: bool,
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
pub fn parse(args: &[OsString]) -> Result<Call, String> {
    let mut positional = Vec::new();
    let mut lists = Vec::new();
    let (mut fake, mut verbose) = (false, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(flags) = arg.to_str().and_then(|arg| arg.strip_prefix('-')) else {
            positional.push(arg.clone());
            continue;
        };
        let mut letters = flags.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'f' => fake = true,
                'v' => verbose = true,
                // Sloppy: options of other systems are accepted anyway. No mtab: there is none.
                's' | 'n' => {}
                'o' | 't' | 'N' => {
                    let attached = letters.as_str();
                    let value = match attached.is_empty() {
                        true => rest.next().cloned(),
                        false => Some(attached.into()),
                    };
                    let value = value.ok_or_else(|| usage(&format!("-{letter} needs a value")))?;
                    match letter {
                        'o' => lists.push(value),
                        't' => {}
                        _ => {
                            return Err("cannot mount into another namespace (-N): run mount in \
                                         it, with nsenter(1)"
                                .into());
                        }
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
    Ok(Call {
        source,
        mountpoint,
        lists,
        fake,
        verbose,
    })
}

fn usage(what: &str) -> String {
    format!("{what}\nusage: mount.dicomfs ARCHIVE MOUNTPOINT [-sfnv] [-t TYPE] [-o OPT[=VAL],...]")
}

impl Call {
    /// True if a live mount is to be changed.
    pub fn asks_remount(&self) -> bool {
        self.lists.iter().any(|list| options::asks_remount(list))
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
        parse(&args)
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
    fn mistakes() {
        for (line, words) in [
            ("/a", "usage"),
            ("/a /m /x", "usage"),
            ("/a /m -o", "-o needs a value"),
            ("/a /m -q", "unknown flag -q"),
            ("/a /m -N /proc/1/ns/mnt", "nsenter"),
        ] {
            assert!(call(line).expect_err(line).contains(words), "{line}");
        }
    }
}
