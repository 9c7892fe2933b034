//! `dicomfs demo`: makes a small archive, mounts it, reads it back, shows it, unmounts.

use std::io::Write;

use clap::Args;

/// Arguments of `dicomfs demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs the demonstration and writes what it does.
///
/// # Errors
///
/// A step failed, or `out` takes no more.
pub fn run(_args: &DemoArgs, _out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::bail!("`dicomfs demo` is not available in this version")
}
