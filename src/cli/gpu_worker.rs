//! `dicomfs gpu-worker`: the process that has a GPU. The worker of a mount starts it, or
//! `dicomfs doctor`; nobody else.

use std::io;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use crate::config::Device;
use crate::decode::gpu::{Lane, Launch, Pool, Wanted, worker};
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

/// Begins to start the devices of a mount: for the fetcher, and as the pool that they are in. Where the
/// system has no thread, descriptor or memory left for that, it is said, and there are none.
pub fn start(device: &Device) -> (Arc<Pool>, Devices) {
    let wanted = match device {
        Device::Cpu => return (Arc::new(Pool::none()), Vec::new()),
        Device::Auto => Wanted::Auto,
        Device::Cuda(ordinals) => Wanted::These(ordinals.clone()),
    };
    or_none(device, Pool::start(&wanted, &Launch::this_program()))
}

fn or_none(device: &Device, started: io::Result<(Pool, Vec<Vec<Lane>>)>) -> (Arc<Pool>, Devices) {
    let (pool, lanes) = started.unwrap_or_else(|error| {
        tracing::warn!(
            "device={device}: its process cannot be started: {error}; everything is decoded on the CPU"
        );
        (Pool::none(), Vec::new())
    });
    let pool = Arc::new(pool);
    let devices = Gpu::all(&pool, lanes);
    (pool, devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_there_is_no_room_for_costs_no_mount() {
        let full = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        for device in [Device::Auto, Device::Cuda(vec![0, 1])] {
            let (pool, devices) = or_none(&device, full());
            assert!(pool.devices().is_empty() && devices.is_empty());
        }
    }
}
