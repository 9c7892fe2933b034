//! The device under test: its process, its lanes, and encoded frames put into them as a mount does.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use dicomfs::decode::gpu::{Codec, DeviceReport, JOBS_MAX, Job, Lane, Launch, Remote, Show, State};
use dicomfs::dicom::ImagePixel;

/// Where encoded frames may start, as in a mount.
const ALIGNED_BYTES: usize = 64;

/// How long a batch may take: more than any should, since a check is no race.
pub const BATCH_TIME: Duration = Duration::from_secs(30);

/// Restarts are waited for so long.
const SETTLE_TIME: Duration = Duration::from_secs(90);

/// How a mount's program is started as a device's process.
pub fn launch(program: PathBuf) -> Launch {
    Launch {
        program,
        ..Launch::this_program()
    }
}

pub struct Device {
    ordinal: u32,
    launch: Launch,
    pub report: DeviceReport,
    pub remote: Remote,
    pub lanes: Vec<Lane>,
}

/// A frame for the device.
pub struct Part<'a> {
    pub codec: Codec,
    pub image: &'a ImagePixel,
    pub show: Show,
    pub encoded: &'a [u8],
    pub out: Range<u64>,
}

impl Device {
    pub fn start(ordinal: u32, launch: &Launch) -> Result<Device> {
        let (remote, lanes) = Remote::start(ordinal, launch.clone())?;
        let state = remote.wait_settled(Some(Instant::now() + SETTLE_TIME));
        match (state, remote.report()) {
            (State::Ready, Some(report)) => Ok(Device {
                ordinal,
                launch: launch.clone(),
                report,
                remote,
                lanes,
            }),
            (state, _) => bail!("cuda:{ordinal} is {state}"),
        }
    }

    /// Waits for a process that is started again, and begins anew with one that is retired, as a mount
    /// would not: true when it decodes.
    pub fn revive(&mut self) -> bool {
        let end = Instant::now() + SETTLE_TIME;
        if self.remote.wait_settled(Some(end)) == State::Ready {
            return true;
        }
        match Device::start(self.ordinal, &self.launch) {
            Ok(device) => {
                *self = device;
                true
            }
            Err(error) => {
                eprintln!("gpu_check: {error:#}");
                false
            }
        }
    }
}

/// Copies as many encoded frames into a lane's memory as fit, and describes them.
pub fn load<'a>(lane: &mut Lane, parts: impl Iterator<Item = Part<'a>>) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0);
    for part in parts.take(JOBS_MAX) {
        let end = at + part.encoded.len();
        let Some(room) = lane.encoded().get_mut(at..end) else {
            break;
        };
        room.copy_from_slice(part.encoded);
        jobs.push(Job {
            codec: part.codec,
            image: part.image.clone(),
            show: part.show,
            encoded: at as u64..end as u64,
            out: part.out,
        });
        at = end.next_multiple_of(ALIGNED_BYTES);
    }
    jobs
}
