//! The devices of a fetcher and what is known of each; their lanes, a thread each, started and ended.
//!
//! What such a thread does is in `crew.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::crew::Crew;
use super::rates::{CpuRates, Kind, Rates};
use super::report::{DeviceCounters, DeviceStats};
use super::trust::{PROVEN_FRAMES, Trust};
use super::{Device, Lane};
use crate::decode::gpu::Codec;
use crate::fetch::tally::{CODECS, codec_index};
use crate::fetch::{Shared, Stream};

/// How long the end waits for lanes. What they do after that changes nothing that anybody sees.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// One frame of so many is compared though nothing is suspicious about it.
const SPOT_CHECK_ONE_IN: u64 = 256;

/// What tests set otherwise.
#[derive(Debug, Clone, Copy)]
pub(in crate::fetch) struct Tuning {
    pub(super) exact: bool,
    pub(super) spot_check_one_in: u64,
    /// Frames that prove a device.
    pub(super) proven_frames: u32,
    /// Frames that readers wait for may be a device's.
    pub(super) takes_waiting: bool,
    /// Frames of each batch, whatever is known of rates.
    pub(super) frames: Option<usize>,
    /// The same for deadlines.
    pub(super) deadline: Option<Duration>,
    pub(super) stop_within: Duration,
}

impl Tuning {
    pub(in crate::fetch) fn new(exact: bool) -> Tuning {
        Tuning {
            exact,
            spot_check_one_in: SPOT_CHECK_ONE_IN,
            proven_frames: PROVEN_FRAMES,
            takes_waiting: true,
            frames: None,
            deadline: None,
            stop_within: STOP_WITHIN,
        }
    }
}

/// A device and what is known of it.
pub(super) struct Known {
    pub(super) device: Arc<dyn Device>,
    pub(super) counters: DeviceCounters,
    rates: Mutex<Rates>,
    trust: Mutex<Trust>,
    /// A bit a codec that it got wrong.
    retired: AtomicU32,
    pub(super) lanes: AtomicU32,
    /// Why it could not be started.
    unusable: Mutex<Option<String>>,
}

/// The devices beside the workers.
pub(in crate::fetch) struct Devices {
    pub(super) list: Vec<Known>,
    pub(super) threads: usize,
    pub(super) tuning: Tuning,
    cpu: Mutex<CpuRates>,
    pub(super) bell: Bell,
    is_stopped: AtomicBool,
    pub(super) batches: AtomicU64,
    pub(super) epoch: Instant,
    /// Threads that have not ended, and who waits for that.
    running: Mutex<usize>,
    ended: Condvar,
}

/// Says that there may be something to do.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<u64>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
    }

    pub(super) fn heard(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is rung again, at most for `time`.
    pub(super) fn wait(&self, heard: u64, time: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken or late: the caller looks for itself.
        let _ = self
            .wake
            .wait_timeout_while(rung, time, |rung| *rung == heard);
    }
}

impl Devices {
    pub(in crate::fetch) fn new(
        devices: Vec<Arc<dyn Device>>,
        threads: usize,
        tuning: Tuning,
    ) -> Devices {
        let known = |device| Known {
            device,
            counters: DeviceCounters::default(),
            rates: Mutex::default(),
            trust: Mutex::default(),
            retired: AtomicU32::new(0),
            lanes: AtomicU32::new(0),
            unusable: Mutex::default(),
        };
        Devices {
            list: devices.into_iter().map(known).collect(),
            threads,
            tuning,
            cpu: Mutex::default(),
            bell: Bell::default(),
            is_stopped: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            epoch: Instant::now(),
            running: Mutex::new(0),
            ended: Condvar::new(),
        }
    }

    /// Starts a thread for each device, which starts one for each of its lanes.
    pub(in crate::fetch) fn start(shared: &Arc<Shared>) -> io::Result<()> {
        let Some(devices) = &shared.devices else {
            return Ok(());
        };
        for index in 0..devices.list.len() {
            let name = format!("device-{index}");
            spawn(shared, name, move |shared| start_lanes(shared, index))?;
        }
        Ok(())
    }

    /// Says that sweeps have changed.
    pub(in crate::fetch) fn ring(&self) {
        self.bell.ring();
    }

    /// Says that so much waits for a worker, which is news where they cannot take all of it at once.
    pub(in crate::fetch) fn ring_if_late(&self, waiting: usize) {
        if self.tuning.takes_waiting && waiting > self.threads {
            self.bell.ring();
        }
    }

    /// Notes what the CPU took for a frame.
    pub(in crate::fetch) fn cpu_took(&self, stream: &Stream, frame: usize, ns: u64) {
        // One measurement less where several come at once.
        if let (Some(kind), Ok(mut cpu)) = (kind_of(stream, frame), self.cpu.try_lock()) {
            cpu.took(kind, ns);
        }
    }

    pub(in crate::fetch) fn reports(&self) -> Vec<DeviceStats> {
        self.list.iter().map(Known::report).collect()
    }

    /// Ends all lanes.
    pub(in crate::fetch) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        for known in &self.list {
            known.device.stop();
        }
        self.bell.ring();
        let running = self.lock_running();
        let time = self.tuning.stop_within;
        let waited = self
            .ended
            .wait_timeout_while(running, time, |running| *running > 0);
        let (running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *running > 0 {
            tracing::warn!("{} device threads do not end and are left", *running);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    pub(super) fn is_spot_check(&self, random: u64) -> bool {
        random.is_multiple_of(self.tuning.spot_check_one_in.max(1))
    }

    pub(super) fn cpu_ns(&self, kind: Kind) -> Option<f64> {
        self.cpu
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ns(kind)
    }

    fn lock_running(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Does not use the device for a codec any more.
    pub(super) fn retire(&self, codec: Codec) {
        self.retired
            .fetch_or(1 << codec_index(codec), Ordering::SeqCst);
    }

    pub(super) fn is_retired(&self, codec: Codec) -> bool {
        self.retired.load(Ordering::SeqCst) & 1 << codec_index(codec) != 0
    }

    pub(super) fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> DeviceStats {
        let retired = CODECS.into_iter().filter(|codec| self.is_retired(*codec));
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        let state = unusable.clone().unwrap_or_else(|| self.device.state());
        let retired = retired.map(|codec| codec.to_string()).collect();
        self.counters.report(self.device.name(), state, retired)
    }
}

pub(super) fn kind_of(stream: &Stream, frame: usize) -> Option<Kind> {
    let decoder = stream.producer().decoder(frame)?;
    Some(Kind::new(decoder, stream.slab().frame_len_bytes()))
}

/// Starts a thread that [`Devices::stop`] waits for.
fn spawn(
    shared: &Arc<Shared>,
    name: String,
    work: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> io::Result<()> {
    /// Counts a thread as running.
    struct Running(Arc<Shared>);
    impl Running {
        fn add(&self, more: isize) {
            if let Some(devices) = &self.0.devices {
                let mut running = devices.lock_running();
                *running = running.saturating_add_signed(more);
                devices.ended.notify_all();
            }
        }
    }
    impl Drop for Running {
        fn drop(&mut self) {
            self.add(-1);
        }
    }
    let running = Running(shared.clone());
    running.add(1);
    let run = move || {
        // Whatever is wrong with a device, the mount goes on without it.
        if catch_unwind(AssertUnwindSafe(|| work(&running.0))).is_err() {
            tracing::error!("a device thread ended by a panic");
        }
    };
    thread::Builder::new().name(name).spawn(run).map(drop)
}

fn start_lanes(shared: &Arc<Shared>, index: usize) {
    let Some(known) = shared.devices.as_ref().and_then(|d| d.list.get(index)) else {
        return;
    };
    let started = match known.device.start() {
        Ok(lanes) => lanes.into_iter().enumerate().try_for_each(|(n, lane)| {
            known.lanes.fetch_add(1, Ordering::SeqCst);
            let serve = move |shared: &Arc<Shared>| serve(shared, index, lane);
            spawn(shared, format!("lane-{index}.{n}"), serve).map_err(|why| why.to_string())
        }),
        Err(why) => Err(why),
    };
    if let Err(why) = started {
        tracing::warn!("device {} is not used: {why}", known.device.name());
        let mut unusable = known
            .unusable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *unusable = Some(why);
    }
}

fn serve(shared: &Shared, index: usize, lane: Box<dyn Lane>) {
    let Some(devices) = &shared.devices else {
        return;
    };
    let Some(known) = devices.list.get(index) else {
        return;
    };
    Crew::new(shared, devices, (index, known), lane).work();
    known.lanes.fetch_sub(1, Ordering::SeqCst);
}
