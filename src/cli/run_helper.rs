//! The program as mount(8)'s helper: a mount, or a change of a live one, and what there is to say in
//! one line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use anyhow::{Context, anyhow, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::Value;

use super::helper::{self, Asked, Call};
use super::{Error, mount_command, parse, resolve};
use crate::config::Config;
use crate::mount::remount::{self, Live};

/// `given` has this where `rw` was asked for: not ours, but a remount may repeat it.
const WRITING: &str = "rw";

/// Options that a remount changes; all others are the daemon's since its start.
const CHANGEABLE: [&str; 2] = ["noexec", "exec"];

/// Runs `mount.dicomfs ARCHIVE MOUNTPOINT ...`; `args` begins with the program's name.
pub fn run(args: &[OsString]) -> Result<(), Error> {
    let args = args.get(1..).unwrap_or_default();
    let call = match helper::parse(args).map_err(Error::Helper)? {
        Asked::Mount(call) => call,
        Asked::Help => {
            println!(
                "usage: {}\nThe options are in mount.dicomfs(8) and `dicomfs mount --help`.",
                helper::USAGE
            );
            return Ok(());
        }
        Asked::Version => {
            println!("mount.dicomfs {}", env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
    };
    if let Some(namespace) = &call.namespace {
        remount::enter_namespace(namespace)?;
    }
    for name in &call.left_out {
        eprintln!("mount.dicomfs: the unknown option `{name}` is left out (-s)");
    }
    if call.asks_remount() {
        return change(call.of_remount());
    }
    let config = config(&call)?;
    if !call.fake {
        mount_command::run(&config)?;
    }
    Ok(())
}

fn config(call: &Call) -> Result<Config, Error> {
    let parsed = parse(call.to_args()).map_err(|error| match error {
        Error::Usage(error) => Error::Helper(in_one_line(&error)),
        other => other,
    })?;
    let mut config = resolve(&parsed)?;
    if call.asks_writing() {
        config.given.insert(WRITING.into(), String::new());
    }
    Ok(config)
}

/// `mount -o remount`: what can be changed is, anything else that would be is refused by name.
fn change(call: Call) -> Result<(), Error> {
    let config = config(&call)?;
    let live = remount::find(&config.mountpoint)?;
    refuse_changes(&live, &config)?;
    if !call.fake && config.noexec != live.noexec {
        remount::set_noexec(&live, config.noexec)?;
    }
    Ok(())
}

fn refuse_changes(live: &Live, config: &Config) -> anyhow::Result<()> {
    let place = live.mountpoint.display();
    if !live.is_of(&config.archive.archive) {
        bail!("another archive is mounted at {place}; unmount it first with `umount {place}`");
    }
    let given = given(live)?;
    let is_new = |name: &str, value: &String| given.get(name) != Some(value);
    let changed = config.given.iter();
    let changed: Vec<&str> = changed
        .filter(|(name, value)| !CHANGEABLE.contains(&name.as_str()) && is_new(name, value))
        .map(|(name, _)| name.as_str())
        .collect();
    if changed == [WRITING] {
        bail!("{place} stays read-only: the archive is never written; leave rw out");
    }
    if !changed.is_empty() {
        bail!(
            "only noexec and exec change while it is mounted, not {}: `umount {place}`, then mount \
             it again",
            changed.join(", ")
        );
    }
    Ok(())
}

/// What the live mount was given.
fn given(live: &Live) -> anyhow::Result<BTreeMap<String, String>> {
    let file = live.mountpoint.join(".dicomfs/config.json");
    let text = fs::read(&file).with_context(|| {
        format!(
            "the mount at {} does not say how it was made; unmount it and mount it again",
            live.mountpoint.display()
        )
    })?;
    let config: Value = serde_json::from_slice(&text)?;
    serde_json::from_value(config["given"].clone()).map_err(|_| {
        anyhow!("another version of dicomfs is mounted; unmount it and mount it again")
    })
}

/// clap's error without its layout. mount(8)'s users have written no flags but options.
fn in_one_line(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let option = context(ContextKind::InvalidArg).map(|flag| {
        let name = flag.trim_start_matches('-').split([' ', '=']).next();
        name.unwrap_or_default().replace('-', "_")
    });
    let value = context(ContextKind::InvalidValue);
    let why = std::error::Error::source(error).map(ToString::to_string);
    let choice = context(ContextKind::ValidValue).map(|values| format!("write one of {values}"));
    match (error.kind(), option, value, why.or(choice)) {
        (ErrorKind::MissingRequiredArgument, Some(option), ..) => {
            format!("the option `{option}` has to be given too")
        }
        (_, Some(option), Some(value), Some(why)) => {
            format!("{option}={value} is not possible: {why}")
        }
        _ => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim);
            let lines = lines.take_while(|line| !line.starts_with("Usage:"));
            let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            words.join(" ").trim_start_matches("error: ").to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: &str) -> String {
        let args = ["mount.dicomfs", "/a", "/m", "-fo", options].map(OsString::from);
        match run(&args).expect_err(options) {
            Error::Helper(text) => text,
            other => other.to_string(),
        }
    }

    #[test]
    fn mistakes_are_one_line_that_says_what_to_do() {
        let cases = [
            (
                "umask=99",
                "umask=99 is not possible: write an octal number",
            ),
            (
                "log_level=loud",
                "log_level=loud is not possible: write one of error, warn",
            ),
            (
                "cache_size=1X",
                "cache_size=1X is not possible: write a whole number",
            ),
            ("cache_dir_size=1G", "`cache_dir` has to be given too"),
            ("uid=me", "uid=me is not possible: write a number"),
            (
                "settle=-1",
                "settle=-1 is not possible: write a whole number of seconds",
            ),
            ("cache_siez=1", "did you mean `cache_size`?"),
            ("cache_size=0", "cache_size=0 is not possible"),
        ];
        for (options, words) in cases {
            let said = refusal(options);
            assert!(said.contains(words), "{options}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_remount_takes_a_mount() {
        let args = ["mount.dicomfs", "/a", "/proc", "-o", "remount,ro"].map(OsString::from);
        let said = run(&args).expect_err("nothing of ours").to_string();
        assert!(said.contains("no dicomfs is mounted at /proc"), "{said}");
    }
}
