//! `dicomfs mount`: builds the file system and has it mounted.

use std::sync::Arc;

use crate::config::Config;
use crate::fs::Fs;
use crate::mount;

/// Mounts, and serves until the end; in the background this returns when the mount is live.
///
/// # Errors
///
/// What failed, in words for the user.
pub fn run(config: &Config) -> anyhow::Result<()> {
    mount::run(&config.mount_options(), || make_fs(config))
}

/// Builds the file system. Runs in the process that serves, so it may start threads.
fn make_fs(_config: &Config) -> anyhow::Result<Arc<Fs>> {
    Ok(Arc::new(Fs {}))
}
