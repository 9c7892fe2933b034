//! `dicomfs generate`: the manual pages and shell completions, made from the flags themselves; and keys
//! to de-identify with.

mod helper_page;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;

/// Page of the program as mount(8)'s helper.
const HELPER: &str = "mount.dicomfs";

/// When the text of the manual last changed: a page without a date is none to its readers.
const DATE: &str = "2026-11-21";

/// What the pages are part of.
const MANUAL: &str = "dicomfs manual";

/// Arguments of `dicomfs generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to write.
    #[command(subcommand)]
    pub what: What,
}

/// What can be generated.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The manual page dicomfs(1), with a command that of the command, dicomfs-mount(1), or
    /// mount.dicomfs(8)
    Man {
        /// Command whose page to write, or mount.dicomfs
        command: Option<String>,
    },
    /// A key to de-identify with (deid_key=FILE), in a new file that only you can read
    DeidKey {
        /// The file
        file: PathBuf,
    },
    /// Completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// All of it, as files in a directory: man1/, man8/, bash/, zsh/, fish/
    All {
        /// The directory; it is made
        directory: PathBuf,
    },
}

/// Writes what is asked for.
///
/// # Errors
///
/// There is no such command, a key's file exists, or `out` or the directory takes no more.
pub fn run(args: &GenerateArgs, out: &mut dyn Write) -> Result<()> {
    let text = match &args.what {
        What::Man { command } => page(command.as_deref())?,
        What::Completions { shell } => completions(*shell),
        What::DeidKey { file } => return super::deid_key::create(file),
        What::All { directory } => return all(directory),
    };
    out.write_all(&text)?;
    Ok(())
}

fn all(directory: &Path) -> Result<()> {
    let write = |name: String, text: Vec<u8>| -> Result<()> {
        let file = directory.join(name);
        let cannot = || format!("cannot write {}", file.display());
        fs::create_dir_all(file.parent().unwrap_or(directory)).with_context(cannot)?;
        fs::write(&file, text).with_context(cannot)
    };
    write("man1/dicomfs.1".into(), page(None)?)?;
    for command in commands().get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = command.get_name();
        write(format!("man1/dicomfs-{name}.1"), page(Some(name))?)?;
    }
    write(format!("man8/{HELPER}.8"), page(Some(HELPER))?)?;
    // The other name that mount(8) knows it by.
    let link = format!(".so man8/{HELPER}.8\n");
    write("man8/mount.fuse.dicomfs.8".into(), link.into_bytes())?;
    write("bash/dicomfs".into(), completions(Shell::Bash))?;
    write("zsh/_dicomfs".into(), completions(Shell::Zsh))?;
    write("fish/dicomfs.fish".into(), completions(Shell::Fish))
}

fn commands() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Fills in the names of the commands' own pages and usages.
    command.build();
    command
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dicomfs", &mut text);
    text
}

/// The manual page of a command, or of the whole program.
fn page(command: Option<&str>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let all = commands();
    let Some(name) = command else {
        render(Man::new(all), "dicomfs", &mut text)?;
        general_sections().to_writer(&mut text)?;
        return Ok(text);
    };
    if name == HELPER {
        helper_page::page().to_writer(&mut text)?;
        return Ok(text);
    }
    let command = all
        .find_subcommand(name)
        .with_context(|| format!("there is no command `{name}`"))?;
    render(
        Man::new(command.clone()),
        &format!("dicomfs-{name}"),
        &mut text,
    )?;
    let mut roff = Roff::new();
    see_also(&mut roff, &[("dicomfs", 1), (HELPER, 8)]);
    roff.to_writer(&mut text)?;
    Ok(text)
}

fn render(man: Man, title: &str, text: &mut Vec<u8>) -> Result<()> {
    let man = man.title(title).date(DATE).source(source()).manual(MANUAL);
    Ok(man.render(text)?)
}

fn source() -> String {
    format!("dicomfs {}", env!("CARGO_PKG_VERSION"))
}

fn general_sections() -> Roff {
    let mut roff = Roff::new();
    exit_statuses(&mut roff);
    see_also(
        &mut roff,
        &[("dicomfs-mount", 1), (HELPER, 8), ("mount", 8)],
    );
    roff
}

/// Those of `cli/exit.rs`.
fn exit_statuses(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    let statuses = [
        ("0", "Done; of a mount: it is live and answers."),
        (
            "1",
            "Wrong arguments or options; the message names the option.",
        ),
        (
            "2",
            "The system has no process, pipe or memory left for the start.",
        ),
        (
            "32",
            "It was tried and failed, most of all the mount; the message says what to do.",
        ),
    ];
    for (status, meaning) in statuses {
        roff.control("TP", []);
        roff.text([bold(status)]);
        roff.text([roman(meaning)]);
    }
}

fn see_also(roff: &mut Roff, pages: &[(&str, u8)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (n, (name, section)) in pages.iter().enumerate() {
        words.push(bold(*name));
        let comma = if n + 1 < pages.len() { ", " } else { "" };
        words.push(roman(format!("({section}){comma}")));
    }
    roff.text(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(what: What) -> Result<String> {
        let mut out = Vec::new();
        run(&GenerateArgs { what }, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    fn man(command: &str) -> Result<String> {
        generated(What::Man {
            command: Some(command.into()),
        })
    }

    #[test]
    fn manual_pages() {
        let page = generated(What::Man { command: None }).expect("page");
        assert!(page.contains(".TH dicomfs 1") && page.contains("doctor"));
        assert!(page.contains("EXIT STATUS"), "{page}");
        let page = man("mount").expect("page");
        assert!(page.contains(r"cache\-size"), "{page}");
        assert!(man("nonsense").is_err());
    }

    #[test]
    fn completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = generated(What::Completions { shell }).expect("completions");
            assert!(text.contains("decode-threads"), "{shell}");
        }
    }

    #[test]
    fn all_of_it_as_files() {
        let directory = tempfile::tempdir().expect("tempdir");
        let place = directory.path().join("new");
        generated(What::All {
            directory: place.clone(),
        })
        .expect("written");
        for file in [
            "man1/dicomfs.1",
            "man1/dicomfs-mount.1",
            "man8/mount.dicomfs.8",
            "bash/dicomfs",
            "zsh/_dicomfs",
            "fish/dicomfs.fish",
        ] {
            let text = fs::read_to_string(place.join(file)).expect(file);
            assert!(text.contains("dicomfs") && text.len() > 1000, "{file}");
        }
        // What only the program itself starts is no command of a user's.
        assert!(!place.join("man1/dicomfs-worker.1").exists());
    }
}
