//! `dicomfs worker`: the process that serves a mount. `dicomfs mount` starts it, nobody else.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{logging, mount_command};
use crate::config::Config;
use crate::mount::{Launch, Worker};

/// Arguments of `dicomfs worker`: they tell whoever lists processes what this one is for. What
/// counts comes from the process that starts it.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    pub source: PathBuf,

    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// How a worker for `config` is started.
pub fn launch(config: &Config) -> Result<Launch> {
    let source = config.archive.archive.clone();
    let mountpoint = config.mountpoint.clone();
    Ok(Launch {
        // Both are absolute, so neither looks like a flag.
        args: vec!["worker".into(), source.into(), mountpoint.into()],
        settings: config.to_bytes().context("cannot pass the settings on")?,
    })
}

/// Serves until the mount ends.
///
/// # Errors
///
/// Nobody has started this as a worker; or what failed, which `dicomfs mount` has been told.
pub fn run() -> Result<()> {
    let worker = Worker::connect()?;
    let config = Config::from_bytes(worker.settings()).context("cannot read the settings")?;
    logging::start(config.archive.log_level);
    worker.serve(|| mount_command::make_service(&config))
}
