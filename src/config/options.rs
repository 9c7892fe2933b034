//! mount(8)'s option lists: `-o a=b,c` becomes `--a=b --c`.
//!
//! The names of our own options are those of the flags, with underscores: nothing is listed
//! twice. Beside them mount(8)'s generic options are accepted, of which only `noexec` changes
//! anything: a mount of an archive is always read-only, nosuid, nodev and noatime.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Args, Command};

use super::Error;
use super::flags::Flags;

/// mount(8)'s vocabulary: accepted without an effect here.
const GENERIC: [&str; 26] = [
    "ro",
    "rw",
    "defaults",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "strictatime",
    "nodev",
    "dev",
    "nosuid",
    "suid",
    "exec",
    "sync",
    "async",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "nogroup",
    "noowner",
];

/// Prefixes of options that are for others to read: systemd, util-linux, people.
const FOREIGN_PREFIXES: [&[u8]; 3] = [b"x-", b"X-", b"comment="];

/// Longest distance (Damerau-Levenshtein, share of the name) of a name that is worth suggesting.
const SIMILARITY_MIN: f64 = 0.5;

/// Translates one `-o` list into long flags.
///
/// Commas and backslashes within a value are written with a backslash in front, as fstab users of
/// other FUSE file systems do. mount(8) itself splits at every comma, so no value needs one:
/// `device=cuda:0+1`.
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
        let (name, value) = match option.iter().position(|byte| *byte == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (&option[..], None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if GENERIC.contains(&name.as_str()) {
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

/// One of our own options.
struct Own {
    name: String,
    takes_value: bool,
}

fn own_options() -> Vec<Own> {
    Flags::augment_args(Command::new("mount"))
        .get_arguments()
        .filter_map(|argument| {
            Some(Own {
                name: argument.get_long()?.replace('-', "_"),
                takes_value: argument.get_action().takes_values(),
            })
        })
        .collect()
}

fn unknown(name: String, known: &[Own]) -> Error {
    let names = known.iter().map(|own| own.name.as_str());
    let nearest = names
        .chain(GENERIC)
        .map(|known| (strsim::normalized_damerau_levenshtein(known, &name), known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_string());
    Error::UnknownOption { name, nearest }
}

/// Splits at commas and undoes the backslashes.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        let last = options.len() - 1;
        match byte {
            b',' => options.push(Vec::new()),
            b'\\' => options[last].push(bytes.next().copied().unwrap_or(b'\\')),
            _ => options[last].push(byte),
        }
    }
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
        let cases: [(&str, &[&str]); 8] = [
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
        assert_eq!(flags(&GENERIC.join(",")), [""; 0]);
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
            assert!(!GENERIC.contains(&option.name.as_str()), "{}", option.name);
            let list = match option.takes_value {
                true => format!("{}=1", option.name),
                false => option.name.clone(),
            };
            assert_eq!(flags(&list).len(), 1, "{list}");
        }
    }

    #[test]
    fn remount_is_seen() {
        assert!(asks_remount(OsStr::new("remount,user_id=0,ro")));
        assert!(!asks_remount(OsStr::new("comment=remount,ro")));
    }
}
