//! `dicomfs gpu-worker`: the process that has a GPU. The worker of a mount starts it, or
//! `dicomfs doctor`; nobody else.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::Device;
use crate::decode::gpu::{Launch, Pool, Wanted, worker};
use crate::fetch::{self, Gpu};

/// What a fetcher takes.
type Devices = Vec<Arc<dyn fetch::Device>>;

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
    Ok(worker::run(worker::engines())?)
}

/// Begins to start the devices of a mount: for the fetcher, and as the pool that they are in.
///
/// # Errors
///
/// The system has no thread or descriptor left.
pub fn start(device: &Device) -> Result<(Arc<Pool>, Devices)> {
    let wanted = match device {
        Device::Cpu => return Ok((Arc::new(Pool::none()), Vec::new())),
        Device::Auto => Wanted::Auto,
        Device::Cuda(ordinals) => Wanted::These(ordinals.clone()),
    };
    let (pool, lanes) = Pool::start(&wanted, &Launch::this_program())
        .context("cannot start the processes of the devices")?;
    let pool = Arc::new(pool);
    let devices = Gpu::all(&pool, lanes);
    Ok((pool, devices))
}
