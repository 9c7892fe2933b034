//! Pinned memory in which copies between files and the device are put together: two pieces by turns, so
//! that the CPU reads one file while the device copies from the other piece.

use std::io;
use std::sync::Arc;

use crate::decode::gpu::driver::{Context, CudaError, DeviceMemory, HostMemory, Stream};

/// Bytes of files that a stage holds. Two are pinned as long as there are residents.
pub const STAGE_BYTES: usize = 32 << 20;

/// Bytes before them for what kernels are told.
pub const TABLES_BYTES: usize = 64 << 10;

/// Start of everything in a stage: samples must be aligned, and rows of 256 are read best.
pub const ALIGN: usize = 256;

/// Why an order was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A call of the driver.
    #[error(transparent)]
    Call(#[from] CudaError),
    /// Anything else.
    #[error("{0}")]
    Words(String),
}

impl From<&'static str> for Failure {
    fn from(what: &'static str) -> Failure {
        Failure::Words(what.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Words(error.to_string())
    }
}

/// One piece, with a stream of its own.
#[derive(Debug)]
pub struct Stage {
    pub stream: Stream,
    host: Option<HostMemory>,
    device: Option<DeviceMemory>,
    is_under_way: bool,
}

impl Stage {
    fn new(context: &Arc<Context>) -> Result<Stage, CudaError> {
        Ok(Stage {
            stream: Stream::new(context)?,
            host: None,
            device: None,
            is_under_way: false,
        })
    }

    /// Waits for what is under way; from now on the memory is the CPU's.
    pub fn wait(&mut self) -> Result<(), CudaError> {
        match std::mem::take(&mut self.is_under_way) {
            true => self.stream.wait(),
            false => Ok(()),
        }
    }

    /// Copies or kernels are about to be started that use the memory. Until [`Stage::wait`] the CPU
    /// leaves it alone.
    pub fn set_under_way(&mut self) {
        self.is_under_way = true;
    }

    /// The pinned memory: [`TABLES_BYTES`], then [`STAGE_BYTES`]. Nothing may be under way.
    pub fn host(&mut self, context: &Arc<Context>) -> &mut [u8] {
        self.host
            .get_or_insert_with(|| HostMemory::new(context, TABLES_BYTES + STAGE_BYTES))
            .bytes()
    }

    /// Takes memory of the device that is as long, if it has none yet.
    pub fn need_device(&mut self, context: &Arc<Context>) -> Result<(), CudaError> {
        if self.device.is_none() {
            self.device = Some(DeviceMemory::new(context, TABLES_BYTES + STAGE_BYTES)?);
        }
        Ok(())
    }

    /// All of it at once, after [`Stage::need_device`].
    pub fn parts(&mut self) -> Option<(&mut [u8], &DeviceMemory, &Stream)> {
        match (&mut self.host, &self.device) {
            (Some(host), Some(device)) => Some((host.bytes(), device, &self.stream)),
            _ => None,
        }
    }
}

/// The two stages of a device.
#[derive(Debug)]
pub struct Stages {
    stages: [Stage; 2],
    context: Arc<Context>,
}

impl Stages {
    /// Without memory yet.
    pub fn new(context: &Arc<Context>) -> Result<Stages, CudaError> {
        Ok(Stages {
            stages: [Stage::new(context)?, Stage::new(context)?],
            context: Arc::clone(context),
        })
    }

    /// The stage whose turn it is, and the context.
    pub fn turn(&mut self, n: usize) -> (&mut Stage, &Arc<Context>) {
        (&mut self.stages[n % 2], &self.context)
    }

    /// A stream that nothing is under way on between orders.
    pub fn stream(&self) -> &Stream {
        &self.stages[0].stream
    }

    /// Waits for all that is under way.
    pub fn finish(&mut self) -> Result<(), CudaError> {
        let [one, other] = &mut self.stages;
        let (one, other) = (one.wait(), other.wait());
        one.and(other)
    }

    /// Device memory that they have, bytes.
    pub fn device_bytes(&self) -> u64 {
        let of = |stage: &Stage| stage.device.as_ref().map_or(0, DeviceMemory::len);
        self.stages.iter().map(of).sum::<usize>() as u64
    }

    /// Gives all memory back; nothing may be under way.
    pub fn release(&mut self) {
        for stage in &mut self.stages {
            stage.host = None;
            stage.device = None;
        }
    }
}

/// Puts things into loads that fit a stage, in their order: each takes a multiple of [`ALIGN`] bytes, and
/// there are no more than `most` in one.
pub fn loads<T>(things: Vec<T>, len: impl Fn(&T) -> usize, most: usize) -> Vec<Vec<T>> {
    let mut loads: Vec<Vec<T>> = Vec::new();
    let mut used = 0;
    for thing in things {
        let needed = len(&thing).next_multiple_of(ALIGN);
        let fits = used + needed <= STAGE_BYTES;
        match loads.last_mut() {
            Some(load) if fits && load.len() < most => load.push(thing),
            _ => {
                loads.push(vec![thing]);
                used = 0;
            }
        }
        used += needed;
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_fit_and_leave_nothing_out() {
        let lens = vec![STAGE_BYTES, 1, STAGE_BYTES - ALIGN, 1, 257, 256, 3];
        let found = loads(lens.clone(), |len| *len, 3);
        let expected = vec![
            vec![STAGE_BYTES],
            vec![1, STAGE_BYTES - ALIGN],
            vec![1, 257, 256],
            vec![3],
        ];
        assert_eq!(found, expected);
        assert!(loads(Vec::<usize>::new(), |len| *len, 3).is_empty());
    }
}
