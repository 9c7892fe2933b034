//! `dicomfs gpu-worker`: the process that has a GPU. The worker of a mount starts it, or
//! `dicomfs doctor`; nobody else.

use anyhow::{Context, Result};
use clap::Args;

use crate::config::Device;
use crate::decode::gpu::{Launch, Pool, Wanted, worker};

/// Arguments of `dicomfs gpu-worker`: they tell whoever lists processes what this one is for. What
/// counts comes from the process that starts it.
#[derive(Debug, Args)]
pub struct GpuWorkerArgs {
    /// Number of the device
    #[arg(value_name = "DEVICE")]
    pub ordinal: u32,
}

/// Decodes until the line to who has started this is closed.
///
/// # Errors
///
/// Nobody has started this as a device's process.
pub fn run() -> Result<()> {
    Ok(worker::run(worker::open_engine)?)
}

/// Begins to start the devices of a mount.
///
/// # Errors
///
/// The system has no thread or descriptor left.
pub fn start(device: &Device) -> Result<Pool> {
    let wanted = match device {
        Device::Cpu => return Ok(Pool::none()),
        Device::Auto => Wanted::Auto,
        Device::Cuda(ordinals) => Wanted::These(ordinals.clone()),
    };
    // The lead hands the lanes to the fetcher here.
    let (pool, _lanes) = Pool::start(&wanted, &Launch::this_program())
        .context("cannot start the processes of the devices")?;
    Ok(pool)
}
