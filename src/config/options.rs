//! mount(8)'s option lists: `-o a=b,c` becomes `--a=b --c`.
//!
//! The names of our own options are those of the flags, with underscores: nothing is listed
//! twice. Beside them mount(8)'s generic options are accepted, of which only `noexec` and `exec`
//! change anything, and those are flags: a mount of an archive is always read-only, nosuid, nodev
//! and noatime.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::PossibleValue;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use super::Error;
use super::flags::Flags;
use crate::hash::fnv1a;

/// Options of mount(8) that mean the same to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generic {
    /// Their names.
    pub names: &'static [&'static str],
    /// What becomes of them, for the manual.
    pub help: &'static str,
}

/// mount(8)'s vocabulary: accepted without an effect here.
pub const GENERIC: [Generic; 5] = [
    Generic {
        names: &["ro", "rw", "defaults"],
        help: "The mount is read-only whatever is asked for: the archive is never written",
    },
    Generic {
        names: &["nosuid", "suid", "nodev", "dev"],
        help: "The mount is nosuid and nodev whatever is asked for",
    },
    Generic {
        names: &[
            "noatime",
            "atime",
            "relatime",
            "norelatime",
            "strictatime",
            "nostrictatime",
            "diratime",
            "nodiratime",
            "lazytime",
            "nolazytime",
        ],
        help: "The mount is noatime whatever is asked for",
    },
    Generic {
        names: &[
            "sync",
            "async",
            "dirsync",
            "mand",
            "nomand",
            "iversion",
            "noiversion",
            "silent",
            "loud",
            "symfollow",
            "nosymfollow",
        ],
        help: "Without effect: they are about writing, or about what the mount does not have",
    },
    Generic {
        names: &[
            "auto", "noauto", "nofail", "_netdev", "user", "users", "nouser", "owner", "noowner",
            "group", "nogroup",
        ],
        help: "For mount(8) and systemd: what is mounted at boot, who may mount, what it waits for",
    },
];

/// Prefixes of options that are for others to read: systemd, util-linux, people.
const FOREIGN_PREFIXES: [&[u8]; 3] = [b"x-", b"X-", b"comment="];

/// What mount(8) reads from a live mount and passes on when it is to be changed: the kernel's words.
const KERNEL_NAMES: [&[u8]; 8] = [
    b"remount",
    b"user_id",
    b"group_id",
    b"rootmode",
    b"fd",
    b"max_read",
    b"blksize",
    b"default_permissions",
];

/// Longest distance (Damerau-Levenshtein, share of the name) of a name that is worth suggesting.
const SIMILARITY_MIN: f64 = 0.5;

/// Translates one `-o` list into long flags.
///
/// Commas and backslashes within a value are written with a backslash in front, as fstab users of
/// other FUSE file systems do, or the value stands in double quotes, which is how mount(8) passes
/// SELinux contexts. No value of ours needs a comma: `device=cuda:0+1`.
///
/// # Errors
///
/// An unknown name (with the nearest known one), a missing value, a value where none goes.
pub fn translate(list: &OsStr) -> Result<Vec<OsString>, Error> {
    let known = own_options();
    let mut flags = Vec::new();
    for option in split(list.as_bytes()) {
        if option.is_empty() || FOREIGN_PREFIXES.iter().any(|p| option.starts_with(p)) {
            continue;
        }
        let name = name_of(&option);
        let value = option.get(name.len() + 1..);
        let name = String::from_utf8_lossy(name).into_owned();
        if is_generic(&name) {
            if value.is_some() {
                return Err(Error::OptionWithoutValue { name });
            }
            continue;
        }
        let Some(own) = known.iter().find(|own| own.name == name) else {
            return Err(unknown(name, &known));
        };
        let mut flag = format!("--{}", own.name.replace('_', "-")).into_bytes();
        match (own.takes_value, value) {
            (true, Some(value)) => {
                flag.push(b'=');
                flag.extend(value);
            }
            (false, None) => {}
            (true, None) => return Err(Error::OptionNeedsValue { name }),
            (false, Some(_)) => return Err(Error::OptionWithoutValue { name }),
        }
        flags.push(OsString::from_vec(flag));
    }
    Ok(flags)
}

/// True if an `-o` list asks for a change of a live mount.
pub fn asks_remount(list: &OsStr) -> bool {
    split(list.as_bytes()).iter().any(|o| o == b"remount")
}

/// True if an `-o` list asks for a mount that can be written: of `ro` and `rw` the last one counts.
pub fn asks_writing(list: &OsStr) -> bool {
    let options = split(list.as_bytes());
    let last = options.iter().rfind(|o| *o == b"ro" || *o == b"rw");
    last.is_some_and(|o| o == b"rw")
}

/// An `-o` list without what describes a live mount to mount(8), which passes it on for a remount.
pub fn without_kernel_names(list: &OsStr) -> OsString {
    let ours = split(list.as_bytes()).into_iter();
    join(ours.filter(|option| !KERNEL_NAMES.contains(&name_of(option))))
}

/// An `-o` list without the options that nobody knows (`mount -s`), and their names.
pub fn without_unknown(list: &OsStr) -> (OsString, Vec<String>) {
    let known = own_options();
    let is_known = |option: &Vec<u8>| {
        let name = String::from_utf8_lossy(name_of(option));
        option.is_empty()
            || FOREIGN_PREFIXES.iter().any(|p| option.starts_with(p))
            || is_generic(&name)
            || known.iter().any(|own| own.name == name)
    };
    let options = split(list.as_bytes()).into_iter();
    let (known, unknown): (Vec<_>, Vec<_>) = options.partition(is_known);
    let name = |option: &Vec<u8>| String::from_utf8_lossy(name_of(option)).into_owned();
    (join(known.into_iter()), unknown.iter().map(name).collect())
}

/// What was given of our own options, each with a short digest of its value: enough to tell whether
/// a remount asks for something else, too little to tell a path, which may name a patient.
pub fn given(matches: &ArgMatches) -> BTreeMap<String, String> {
    let given = own_options().into_iter().filter_map(|own| {
        if matches.value_source(&own.id) != Some(ValueSource::CommandLine) {
            return None;
        }
        let values = matches.get_raw(&own.id).into_iter().flatten();
        let value = values.last().map(OsStrExt::as_bytes).unwrap_or_default();
        Some((own.name, short_digest(value)))
    });
    given.collect()
}

/// 16 bits of a hash.
fn short_digest(bytes: &[u8]) -> String {
    let hash = fnv1a(bytes.iter().copied());
    let folded = (hash ^ hash >> 32) & 0xffff_ffff;
    format!("{:04x}", (folded ^ folded >> 16) & 0xffff)
}

/// One of our own options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its name in an `-o` list.
    pub name: String,
    /// What its value is called, if it has one.
    pub value_name: Option<String>,
    /// What it does, in one paragraph with its default.
    pub help: String,
    /// The manual has it: what is promised and not served yet is left out.
    pub is_shown: bool,
    takes_value: bool,
    id: String,
}

/// All options of our own, in the order of the flags.
pub fn own_options() -> Vec<Own> {
    Flags::augment_args(Command::new("mount"))
        .get_arguments()
        .filter_map(|argument| {
            let takes_value = argument.get_action().takes_values();
            let value_names = argument.get_value_names().filter(|_| takes_value);
            let help = argument.get_long_help().or(argument.get_help());
            let mut help = help.map(ToString::to_string).unwrap_or_default();
            let values = argument.get_possible_values();
            let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
            if takes_value && !values.is_empty() {
                help.push_str(&format!("; one of {}", values.join(", ")));
            }
            Some(Own {
                name: argument.get_long()?.replace('-', "_"),
                value_name: value_names.map(|names| names.join(" ")),
                help,
                is_shown: !argument.is_hide_set(),
                takes_value,
                id: argument.get_id().to_string(),
            })
        })
        .collect()
}

fn generic_names() -> impl Iterator<Item = &'static str> {
    GENERIC.iter().flat_map(|generic| generic.names).copied()
}

fn is_generic(name: &str) -> bool {
    generic_names().any(|generic| generic == name)
}

fn unknown(name: String, known: &[Own]) -> Error {
    let names = known.iter().map(|own| own.name.as_str());
    let generic: Vec<&str> = generic_names().collect();
    let nearest = names
        .chain(generic)
        .map(|known| (strsim::normalized_damerau_levenshtein(known, &name), known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_string());
    Error::UnknownOption { name, nearest }
}

/// What stands before the value.
fn name_of(option: &[u8]) -> &[u8] {
    let end = option.iter().position(|byte| *byte == b'=');
    &option[..end.unwrap_or(option.len())]
}

/// The reverse of [`split`].
fn join(options: impl Iterator<Item = Vec<u8>>) -> OsString {
    let mut list = Vec::new();
    for option in options {
        if !list.is_empty() {
            list.push(b',');
        }
        for byte in option {
            if matches!(byte, b',' | b'\\' | b'"') {
                list.push(b'\\');
            }
            list.push(byte);
        }
    }
    OsString::from_vec(list)
}

/// Splits at commas and undoes the backslashes, and the quotes around a value.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut options = Vec::new();
    let mut option: Vec<u8> = Vec::new();
    let mut rest = list;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let quoted = match byte {
            b'"' if option.last() == Some(&b'=') => after.iter().position(|byte| *byte == b'"'),
            _ => None,
        };
        match (byte, quoted) {
            (_, Some(end)) => {
                option.extend(&after[..end]);
                rest = &after[end + 1..];
            }
            (b',', _) => options.push(std::mem::take(&mut option)),
            (b'\\', _) => {
                option.push(after.first().copied().unwrap_or(b'\\'));
                rest = after.get(1..).unwrap_or_default();
            }
            _ => option.push(byte),
        }
    }
    options.push(option);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &str) -> Vec<String> {
        translate(OsStr::new(list))
            .expect(list)
            .into_iter()
            .map(|flag| flag.to_string_lossy().into_owned())
            .collect()
    }

    fn refusal(list: &str) -> String {
        translate(OsStr::new(list)).expect_err(list).to_string()
    }

    #[test]
    fn lists_become_flags() {
        let cases: [(&str, &[&str]); 11] = [
            ("", &[]),
            (",,", &[]),
            ("allow_other", &["--allow-other"]),
            (
                "cache_size=2GiB,umask=027",
                &["--cache-size=2GiB", "--umask=027"],
            ),
            ("index=/a\\,b\\\\c=d", &["--index=/a,b\\c=d"]),
            ("index=", &["--index="]),
            ("index=\\", &["--index=\\"]),
            (
                "ro,context=\"u:object_r:t:s0:c1,c2\",uid=7",
                &["--context=u:object_r:t:s0:c1,c2", "--uid=7"],
            ),
            ("index=\"a,uid=7", &["--index=\"a", "--uid=7"]),
            ("index=\\\"a,uid=7", &["--index=\"a", "--uid=7"]),
            (
                "rw,noexec,x-systemd.automount,X-mount.mkdir,comment=a b,_netdev,nofail,uid=7",
                &["--noexec", "--uid=7"],
            ),
        ];
        for (list, expected) in cases {
            assert_eq!(flags(list), expected, "{list:?}");
        }
    }

    #[test]
    fn mount_8_s_words_are_accepted() {
        let all: Vec<&str> = generic_names().collect();
        assert_eq!(flags(&all.join(",")), [""; 0]);
        // As mount(8) and mount.fuse3 call the helper.
        assert_eq!(
            flags("rw,noexec,allow_other,_netdev,nofail,dev,suid"),
            ["--noexec", "--allow-other"]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("cache_sise=1G", "`cache_size`"),
            ("allow-other", "`allow_other`"),
            ("noatme", "`noatime`"),
            ("qqqqqqqq", "unknown option `qqqqqqqq`"),
            ("cache_size", "needs a value"),
            ("allow_other=1", "takes no value"),
            ("ro=1", "takes no value"),
            ("=3", "unknown option"),
            ("cache-size=1G", "`cache_size`"),
        ];
        for (list, words) in cases {
            assert!(refusal(list).contains(words), "{list}: {}", refusal(list));
        }
        assert!(!refusal("qqqqqqqq").contains("did you mean"));
    }

    #[test]
    fn every_flag_is_an_option() {
        let own = own_options();
        assert!(own.len() > 10);
        for option in own {
            assert!(!is_generic(&option.name), "{}", option.name);
            assert!(!option.help.is_empty(), "{}", option.name);
            let list = match option.takes_value {
                true => format!("{}=1", option.name),
                false => option.name.clone(),
            };
            assert_eq!(flags(&list).len(), 1, "{list}");
        }
    }

    #[test]
    fn lists_lose_what_is_not_for_us() {
        let kernel = "ro,remount,user_id=0,default_permissions,index=/a\\,b,max_read=1";
        let ours = without_kernel_names(OsStr::new(kernel));
        assert_eq!(ours, "ro,index=/a\\,b");
        let (kept, dropped) = without_unknown(OsStr::new("ro,cheese=3,uid=1,x-a,wine,comment=b"));
        assert_eq!(kept, "ro,uid=1,x-a,comment=b");
        assert_eq!(dropped, ["cheese", "wine"]);
    }

    #[test]
    fn the_last_of_ro_and_rw_counts() {
        let asks = |list: &str| asks_writing(OsStr::new(list));
        assert!(asks("ro,rw,nosuid") && asks("rw"));
        assert!(!asks("rw,ro") && !asks("remount") && !asks("comment=rw"));
    }

    #[test]
    fn what_is_given_is_told_apart_and_not_told() {
        let command = || Flags::augment_args(Command::new("mount").args_override_self(true));
        let given = |args: &[&str]| {
            let args = ["mount"].iter().chain(args);
            given(&command().try_get_matches_from(args).expect("args"))
        };
        assert!(given(&[]).is_empty());
        let some = given(&["--index=/ward 7/x", "--noexec", "--uid=1", "--uid=2"]);
        assert_eq!(some.keys().collect::<Vec<_>>(), ["index", "noexec", "uid"]);
        assert_eq!(some["uid"], given(&["--uid=2"])["uid"]);
        assert_ne!(some["uid"], given(&["--uid=1"])["uid"]);
        assert!(some.values().all(|digest| digest.len() == 4), "{some:?}");
    }

    #[test]
    fn remount_is_seen() {
        assert!(asks_remount(OsStr::new("remount,user_id=0,ro")));
        assert!(!asks_remount(OsStr::new("comment=remount,ro")));
    }
}
