//! Puts the long flags of `-o` lists in the place of the lists, before clap sees them. Pure.
//!
//! So an option means the same however it is written, and of an option that is given twice the
//! last one counts, as with mount(8).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::config::{self, options};

/// Name of the command that takes `-o`.
pub(super) const MOUNT: &str = "mount";

/// Short flags that may stand before `o` in one argument: `-fo ro`.
const SHORT_FLAGS: &[u8] = b"f";

/// Expands the `-o` lists of `dicomfs mount ...`; `args` begins with the program's name.
///
/// # Errors
///
/// What is wrong with a list.
pub fn expand(args: Vec<OsString>) -> Result<Vec<OsString>, config::Error> {
    if args.get(1).is_none_or(|command| command != MOUNT) {
        return Ok(args);
    }
    let mut expanded = Vec::with_capacity(args.len());
    let mut rest = args.into_iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            expanded.push(arg);
            expanded.extend(rest);
            break;
        }
        let Some((flags, list)) = split_short(&arg) else {
            expanded.push(arg);
            continue;
        };
        let list = match list {
            Some(list) => list,
            // A missing list is clap's to complain about.
            None => match rest.next() {
                Some(list) => list,
                None => {
                    expanded.push(arg);
                    break;
                }
            },
        };
        expanded.extend(flags);
        expanded.extend(options::translate(&list)?);
    }
    Ok(expanded)
}

/// For `-o`, `-oLIST` and `-fo`: the flags before the `o` and the list if it is in the argument.
fn split_short(arg: &OsStr) -> Option<(Option<OsString>, Option<OsString>)> {
    let letters = arg.as_bytes().strip_prefix(b"-")?;
    let before = letters
        .iter()
        .take_while(|l| SHORT_FLAGS.contains(l))
        .count();
    let list = letters[before..].strip_prefix(b"o")?;
    let list = list.strip_prefix(b"=").unwrap_or(list);
    let flags = [b"-", &letters[..before]].concat();
    Some((
        (before > 0).then(|| OsString::from_vec(flags)),
        (!list.is_empty()).then(|| OsString::from_vec(list.to_vec())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let expanded: Vec<String> = expand(args)
            .expect(line)
            .into_iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        expanded.join(" ")
    }

    #[test]
    fn lists_are_replaced_in_place() {
        let cases = [
            ("dicomfs mount A M", "dicomfs mount A M"),
            ("dicomfs mount A M -o ro,uid=1", "dicomfs mount A M --uid=1"),
            (
                "dicomfs mount -o uid=1 A --gid 2 M -ogid=3",
                "dicomfs mount --uid=1 A --gid 2 M --gid=3",
            ),
            (
                "dicomfs mount -fo noexec A M",
                "dicomfs mount -f --noexec A M",
            ),
            ("dicomfs mount -o=noexec A M", "dicomfs mount --noexec A M"),
            ("dicomfs mount A M -o", "dicomfs mount A M -o"),
            ("dicomfs mount -- -o uid=1", "dicomfs mount -- -o uid=1"),
            ("dicomfs ls -o uid=1", "dicomfs ls -o uid=1"),
            ("dicomfs mount -f A M", "dicomfs mount -f A M"),
        ];
        for (line, expected) in cases {
            assert_eq!(expanded(line), expected);
        }
    }

    #[test]
    fn a_bad_list_is_an_error() {
        let args = ["dicomfs", "mount", "A", "M", "-o", "nonsense"].map(OsString::from);
        assert!(expand(args.into()).is_err());
    }
}
