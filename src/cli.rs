//! The command line: flags to actions. Parses, sets up the log, calls one action, and turns its
//! result into an exit status and a sentence on standard error.
//!
//! The same program is mount(8)'s helper when it is called `mount.dicomfs`: `helper.rs` translates
//! that grammar into the one here, so there is one parser and one set of rules, and `run_helper.rs`
//! does what is asked.

mod deid_key;
pub mod demo;
pub mod doctor;
mod exit;
mod expand;
pub mod export;
mod follow;
pub mod generate;
pub mod gpu_worker;
mod helper;
mod interrupt;
mod library;
mod logging;
pub mod ls;
mod mount_command;
pub mod rescan;
mod run_helper;
pub mod top;
pub mod worker;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Config, Flags, Machine};

pub use exit::Exit;

const EXAMPLES: &str = "\
Examples:
  dicomfs demo                                  see it work, on an archive made for that
  dicomfs ls /archive                           what is in an archive, and what is wrong with it
  dicomfs mount /archive /mnt/dicom             mount it; `umount /mnt/dicom` ends that
  dicomfs top /mnt/dicom                        watch the mount
  dicomfs export /archive 1.2.840.113 ct.nii.gz one series to a file, without a mount
  dicomfs doctor                                why something does not work on this machine

Exit status: 0 done; 1 the command line is wrong; 2 the system has no process or pipe left;
32 anything else that failed.";

const MOUNT_EXAMPLES: &str = "\
Examples:
  dicomfs mount /archive /mnt/dicom
  dicomfs mount /archive /mnt/dicom --cache-size 8G --allow-other
  dicomfs mount /archive /mnt/dicom -o cache_size=8G,allow_other      the same, as in /etc/fstab
  python3 -c 'import numpy; print(numpy.load(\"/mnt/dicom/series/1.2.840.113/volume.npy\").shape)'
  umount /mnt/dicom                                                   or: fusermount3 -u /mnt/dicom

The archive is only read. `dicomfs doctor` says what is missing when mounting fails.";

/// Mount a DICOM archive as ordinary array files
///
/// Shows every imaging series of a DICOM archive as array files (volume.npy, ...), decoded when
/// they are read. The archive is never written.
#[derive(Debug, Parser)]
#[command(
    name = "dicomfs",
    version,
    after_help = EXAMPLES,
    args_override_self = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount an archive; returns when the mount is live
    Mount(Box<MountArgs>),
    /// List the volumes of an archive and what is wrong with them, without a mount
    Ls(Box<ls::LsArgs>),
    /// Write one volume to a file, without a mount
    Export(Box<export::ExportArgs>),
    /// Watch what a mount does, second by second
    Top(top::TopArgs),
    /// Have a mount look at its archive anew, and wait until what is new is shown
    Rescan(rescan::RescanArgs),
    /// Make a small archive, mount it, read it back, show it, unmount
    Demo(demo::DemoArgs),
    /// Say what this machine can do, and what is missing
    Doctor,
    /// Serve a mount; started by `mount`
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Decode on a GPU; started by `worker`
    #[command(hide = true)]
    GpuWorker(gpu_worker::GpuWorkerArgs),
    /// Write a key to de-identify with, the manual page, or shell completions
    Generate(generate::GenerateArgs),
}

/// Arguments of `dicomfs mount`.
#[derive(Debug, Args)]
#[command(after_help = MOUNT_EXAMPLES)]
pub struct MountArgs {
    /// Directory with DICOM files, or a zip or tar file
    #[arg(value_name = "ARCHIVE")]
    pub source: PathBuf,

    /// Directory to mount at
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// The same options as mount(8) takes them: every flag below, with underscores
    // Expanded before clap sees the arguments; declared for the help.
    #[arg(short = 'o', value_name = "OPT[=VAL],...", help_heading = "Mount")]
    pub options: Vec<OsString>,

    /// All options.
    #[command(flatten)]
    pub flags: Flags,
}

/// What went wrong on the way to an action.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// clap's error: it carries its own text (help and version come as errors too).
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Options that make no sense.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// mount(8)'s grammar was not kept.
    #[error("{0}")]
    Helper(String),
    /// The action failed.
    #[error(transparent)]
    Action(#[from] anyhow::Error),
}

/// Runs the program with `args`, the program's name first.
pub fn main(args: Vec<OsString>) -> Exit {
    let name = program_name(&args);
    let result = if helper::is_helper(&name) {
        run_helper::run(&args)
    } else {
        run(args)
    };
    report(&name, result)
}

fn program_name(args: &[OsString]) -> String {
    args.first()
        .and_then(|path| Path::new(path).file_name())
        .map_or_else(
            || "dicomfs".into(),
            |name| name.to_string_lossy().into_owned(),
        )
}

/// A command line with what was given of the options of a mount.
struct Parsed {
    cli: Cli,
    given: BTreeMap<String, String>,
}

fn parse(args: Vec<OsString>) -> Result<Parsed, Error> {
    let matches = Cli::command().try_get_matches_from(expand::expand(args)?)?;
    let mount = matches.subcommand_matches(expand::MOUNT);
    Ok(Parsed {
        given: mount.map(config::options::given).unwrap_or_default(),
        cli: Cli::from_arg_matches(&matches)?,
    })
}

fn run(args: Vec<OsString>) -> Result<(), Error> {
    let parsed = parse(args)?;
    let cli = &parsed.cli;
    let mut out = io::stdout().lock();
    match &cli.command {
        Command::Mount(_) => {
            // The lock would be inherited over the fork.
            drop(out);
            mount_command::run(&resolve(&parsed)?)?;
        }
        Command::Ls(args) => {
            let config =
                config::ArchiveConfig::resolve(&args.source, &args.flags, &Machine::read())?;
            logging::start(config.log_level);
            ls::run(&config, args, &mut out)?;
        }
        Command::Export(args) => {
            let config =
                config::ArchiveConfig::resolve(&args.source, &args.flags, &Machine::read())?;
            logging::start(config.log_level);
            export::run(&config, args, &mut out)?;
        }
        Command::Top(args) => {
            logging::start(config::LogLevel::default());
            top::run(args, &mut out)?;
        }
        Command::Rescan(args) => {
            logging::start(config::LogLevel::default());
            rescan::run(args, &mut out)?;
        }
        Command::Demo(args) => {
            logging::start(config::LogLevel::default());
            demo::run(args, &mut out)?;
        }
        Command::Doctor => {
            logging::start(config::LogLevel::default());
            doctor::run(&mut out)?;
        }
        Command::Worker(_) => {
            drop(out);
            worker::run()?;
        }
        Command::GpuWorker(_) => {
            drop(out);
            gpu_worker::run()?;
        }
        Command::Generate(args) => generate::run(args, &mut out)?,
    }
    Ok(())
}

fn resolve(parsed: &Parsed) -> Result<Config, Error> {
    let Command::Mount(args) = &parsed.cli.command else {
        return Err(Error::Helper("mount only mounts".into()));
    };
    if !args.options.is_empty() {
        return Err(Error::Helper("write -o as an argument of its own".into()));
    }
    let machine = Machine::read();
    let mut config = Config::resolve(&args.source, &args.mountpoint, &args.flags, &machine)?;
    config.given.clone_from(&parsed.given);
    logging::start(config.archive.log_level);
    Ok(config)
}

/// Says what went wrong, and which exit status that is.
fn report(name: &str, result: Result<(), Error>) -> Exit {
    let Err(error) = result else {
        return Exit::Success;
    };
    match error {
        Error::Usage(error) => {
            let exit = match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Success,
            };
            // Nowhere is left to say that the error cannot be said.
            let _ = error.print();
            exit
        }
        Error::Config(error) => {
            eprintln!("{name}: {error}");
            Exit::Usage
        }
        Error::Helper(error) => {
            eprintln!("{name}: {error}");
            Exit::Usage
        }
        Error::Action(error) => {
            let exit = Exit::of_failure(&error);
            if exit.is_worth_words(&error) {
                eprintln!("{name}: {error:#}");
            }
            exit
        }
    }
}

#[cfg(test)]
mod tests;
