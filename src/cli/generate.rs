//! `dicomfs generate`: the manual pages and shell completions, made from the flags themselves; and keys
//! to de-identify with.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

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
    /// The manual page dicomfs(1), or with a command that of the command, dicomfs-mount(1)
    Man {
        /// Command whose page to write
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
}

/// Writes what is asked for.
///
/// # Errors
///
/// There is no such command, the file exists, or `out` takes no more.
pub fn run(args: &GenerateArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut command = Cli::command();
    // Fills in the names of the commands' own pages and usages.
    command.build();
    let mut text = Vec::new();
    match &args.what {
        What::Man { command: None } => Man::new(command).render(&mut text)?,
        What::Man {
            command: Some(name),
        } => {
            let command = command
                .find_subcommand(name)
                .with_context(|| format!("there is no command `{name}`"))?;
            let page = format!("dicomfs-{name}");
            Man::new(command.clone()).title(page).render(&mut text)?;
        }
        What::DeidKey { file } => return super::deid_key::create(file),
        What::Completions { shell } => {
            clap_complete::generate(*shell, &mut command, "dicomfs", &mut text);
        }
    }
    out.write_all(&text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(what: What) -> anyhow::Result<String> {
        let mut out = Vec::new();
        run(&GenerateArgs { what }, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn manual_pages() {
        let page = generated(What::Man { command: None }).expect("page");
        assert!(page.contains(".TH dicomfs 1") && page.contains("doctor"));
        let command = Some("mount".to_string());
        let page = generated(What::Man { command }).expect("page");
        assert!(page.contains(r"cache\-size"), "{page}");
        let command = Some("nonsense".to_string());
        assert!(generated(What::Man { command }).is_err());
    }

    #[test]
    fn completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = generated(What::Completions { shell }).expect("completions");
            assert!(text.contains("decode-threads"), "{shell}");
        }
    }
}
