//! The devices of a fetcher and their lanes, a thread each: streams chosen, batches run.
//!
//! What is done with the answers is in `settle.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::batch::{Batch, Claimed, Judge};
use super::rates::{CpuRates, Crowd, Kind, Rates, Took};
use super::report::{DeviceCounters, DeviceStats};
use super::{Device, Lane, Readiness};
use crate::decode::gpu::{self, Codec, Fault, Job, Outcome, Spent};
use crate::fetch::tally::{CODECS, codec_index};
use crate::fetch::{Error, Shared, Stream};

/// Most decoded bytes of a batch, and those of all lanes as a share of the cache's budget: what is
/// being filled may be counted twice for that time, as claimed and as what the kernel has given.
const BATCH_BYTES_MAX: u64 = 256 << 20;
const BATCH_OF_BUDGET: u64 = 8;

/// How often a lane looks again for work while there is some that it does not take.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Faults in a row after which a lane is given up, whatever its device says.
const FAULTS_MAX: u32 = 3;

/// How long the end waits for lanes. What they do after that changes nothing that anybody sees.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Frames of a stream's first batch, at most: what is wrong in every frame, or in one of a few, shows.
const FIRST_BATCH_FRAMES: usize = 8;

/// One frame of so many is compared though nothing is suspicious about it.
const SPOT_CHECK_ONE_IN: u64 = 256;

/// What tests set otherwise.
#[derive(Debug, Clone, Copy)]
pub(in crate::fetch) struct Tuning {
    pub(super) exact: bool,
    pub(super) spot_check_one_in: u64,
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
    /// A bit a codec that it got wrong.
    retired: AtomicU32,
    lanes: AtomicU32,
    /// Why it could not be started.
    unusable: Mutex<Option<String>>,
}

/// The devices beside the workers.
pub(in crate::fetch) struct Devices {
    list: Vec<Known>,
    threads: usize,
    tuning: Tuning,
    cpu: Mutex<CpuRates>,
    bell: Bell,
    is_stopped: AtomicBool,
    batches: AtomicU64,
    epoch: Instant,
    /// Threads that have not ended, and who waits for that.
    running: Mutex<usize>,
    ended: Condvar,
}

/// Says that there may be something to do.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
    }

    fn heard(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is rung again, at most for `time`.
    fn wait(&self, heard: u64, time: Duration) {
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

    fn cpu_ns(&self, kind: Kind) -> Option<f64> {
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

    fn rates(&self) -> MutexGuard<'_, Rates> {
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

fn kind_of(stream: &Stream, frame: usize) -> Option<Kind> {
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
    let mut crew = Crew {
        shared,
        devices,
        index,
        known,
        lane,
        faults_in_a_row: 0,
        random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1),
    };
    while crew.faults_in_a_row < FAULTS_MAX
        && let Some(batch) = crew.next_batch()
    {
        crew.make(batch);
    }
    known.lanes.fetch_sub(1, Ordering::SeqCst);
}

/// A lane at work.
pub(super) struct Crew<'s> {
    pub(super) shared: &'s Shared,
    pub(super) devices: &'s Devices,
    pub(super) index: usize,
    pub(super) known: &'s Known,
    lane: Box<dyn Lane>,
    faults_in_a_row: u32,
    pub(super) random: u64,
}

/// What has become of a batch that was answered.
pub(super) struct Settled {
    /// Frames that are shown.
    pub(super) frames: usize,
    /// Time that comparing took.
    pub(super) checking: Duration,
}

impl<'s> Crew<'s> {
    /// Waits for something to do; `None` at the end.
    fn next_batch(&mut self) -> Option<Batch<'s>> {
        loop {
            if self.devices.is_stopped() {
                return None;
            }
            let heard = self.devices.bell.heard();
            match self.known.device.readiness() {
                Readiness::Retired => return None,
                Readiness::Resting => self.devices.bell.wait(heard, LOOK_AGAIN),
                Readiness::Ready => {
                    let mut streams = self.shared.queue.swept();
                    // In turn, so that each reader has its part.
                    streams.sort_by_key(|s| s.acquaintance().last_batch.load(Ordering::Relaxed));
                    if let Some(batch) = streams.iter().find_map(|stream| self.take(stream)) {
                        return Some(batch);
                    }
                    let time = match streams.is_empty() {
                        true => Duration::from_secs(3600),
                        false => LOOK_AGAIN,
                    };
                    drop(streams);
                    self.devices.bell.wait(heard, time);
                }
            }
        }
    }

    /// Takes the tail of a sweep, if that is worth it.
    fn take(&self, stream: &Arc<Stream>) -> Option<Batch<'s>> {
        let acquaintance = stream.acquaintance();
        let slab = stream.slab();
        let last = slab.frame_count().checked_sub(1)?;
        let is_mine = self.known.device.prefers(stream.volume());
        if !is_mine || acquaintance.is_out() || slab.has_copy() {
            return None;
        }
        let kind = kind_of(stream, last).or_else(|| kind_of(stream, 0))?;
        let crowd = self.crowd();
        let share_bytes = self.shared.cache.budget_bytes() / BATCH_OF_BUDGET / crowd.lanes as u64;
        let bytes_max = share_bytes.min(BATCH_BYTES_MAX);
        let mut most = (bytes_max / slab.frame_len_bytes() as u64) as usize;
        if acquaintance.verified_on(self.index).is_empty() {
            // All of it is made by the CPU too.
            most = most.min(FIRST_BATCH_FRAMES);
        }
        let tuning = &self.devices.tuning;
        let reserved = match tuning.frames {
            Some(frames) => stream.reserve_tail(|left| frames.min(left))?,
            None => {
                let now = self.devices.epoch.elapsed();
                let cpu_ns = self.devices.cpu_ns(kind);
                let size = self.known.rates().size(kind, cpu_ns, crowd, now)?;
                stream.reserve_tail(|left| size.of(left, crowd.threads).min(most))?
            }
        };
        let number = self.devices.batches.fetch_add(1, Ordering::Relaxed) + 1;
        acquaintance.last_batch.store(number, Ordering::Relaxed);
        Some(Batch::new(
            &self.shared.queue,
            stream.clone(),
            kind,
            reserved,
        ))
    }

    fn crowd(&self) -> Crowd {
        Crowd {
            threads: self.devices.threads,
            lanes: self.known.lanes.load(Ordering::SeqCst).max(1) as usize,
        }
    }

    /// Makes the frames of a batch; what cannot be made is left to the CPU.
    fn make(&mut self, mut batch: Batch<'_>) {
        let start = Instant::now();
        let (devices, known) = (self.devices, self.known);
        let judge = Judge {
            exact: devices.tuning.exact,
            is_stopped: &|| devices.is_stopped(),
            serves: &|codec| (!known.is_retired(codec)).then(|| known.device.serves(codec)),
            refused: &|refusal| known.counters.refused(refusal),
        };
        let ready = batch.prepare(self.lane.encoded(), &judge);
        // Outlives the claims on its frames.
        let stream = batch.stream.clone();
        let claimed = batch.claim(&stream, &self.shared.cache, ready);
        if claimed.is_empty() {
            return;
        }
        let kind = batch.kind;
        let deadline = known.rates().deadline(kind, claimed.len());
        let deadline = devices.tuning.deadline.unwrap_or(deadline);
        let host_before = start.elapsed();
        match self.run(&stream, &claimed, deadline) {
            Ok((outcomes, spent)) => {
                self.faults_in_a_row = 0;
                let settling = Instant::now();
                let settled = self.settle(&mut batch, &stream, claimed, &outcomes, spent);
                let host = host_before + settling.elapsed() + spent.cpu;
                let took = Took {
                    frames: settled.frames,
                    wall: start.elapsed().saturating_sub(settled.checking),
                    host: host.saturating_sub(settled.checking),
                };
                let ns = u64::try_from(took.wall.as_nanos()).unwrap_or(u64::MAX);
                known.counters.batches.fetch_add(1, Ordering::Relaxed);
                known.counters.batch_ns.fetch_add(ns, Ordering::Relaxed);
                let (cpu_ns, crowd) = (devices.cpu_ns(kind), self.crowd());
                let now = devices.epoch.elapsed();
                known.rates().took(kind, took, cpu_ns, crowd, now);
            }
            // It went to rest meanwhile: nothing was asked.
            Err(Fault::NotReady(_)) => {}
            Err(fault) => {
                self.note_fault(kind, &fault);
                if let Fault::Stuck(_) = fault {
                    self.abandon(&mut batch, &stream, claimed);
                }
            }
        }
    }

    fn note_fault(&mut self, kind: Kind, fault: &Fault) {
        self.faults_in_a_row += 1;
        let known = self.known;
        known.counters.faults.fetch_add(1, Ordering::Relaxed);
        known.rates().lost(kind, self.devices.epoch.elapsed());
        if !self.devices.is_stopped() {
            tracing::warn!("{}: {fault}; the CPU goes on", known.device.name());
        }
    }

    /// Has the device decode. A panic on the way leaves the device writing, for all that is known.
    fn run(
        &mut self,
        stream: &Stream,
        claimed: &[Claimed<'_>],
        deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        let jobs: Vec<Job> = claimed.iter().map(|c| c.prepared.job.clone()).collect();
        let slab = stream.slab();
        let parts = [gpu::Part::new(&jobs, slab.file(), slab.len_bytes())];
        let run = || self.lane.run(&parts, deadline);
        let (outcomes, spent) = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(Fault::Stuck("the lane panicked".to_string())))?;
        match outcomes.len() == jobs.len() {
            true => Ok((outcomes, spent)),
            false => Err(Fault::Lost("not as many answers as questions".to_string())),
        }
    }

    /// Gives up the frames of a batch that may still be written to: reads of this slab go to another
    /// one from now on, where the CPU makes them anew.
    fn abandon(&self, batch: &mut Batch<'_>, stream: &Arc<Stream>, claimed: Vec<Claimed<'_>>) {
        let frames: Vec<usize> = claimed.iter().map(|claimed| claimed.frame).collect();
        for claimed in claimed {
            claimed.filling.abandon();
        }
        batch.settle(&frames);
        stream.stop_sweeps();
        match self.shared.heir_of(stream) {
            Ok(heir) => {
                for read in stream.give_up(&frames, heir) {
                    self.shared.read(&read.stream, read.range, read.reply);
                }
            }
            Err(error) => {
                let error = Error::io("cannot make room for the decoded volume", &error);
                stream.give_up_for_good(&frames, &error);
            }
        }
    }
}

impl Shared {
    /// The stream that goes on in place of one whose slab cannot be filled any more.
    fn heir_of(&self, stream: &Arc<Stream>) -> io::Result<Arc<Stream>> {
        let mut streams = self.streams();
        if let Some(heir) = stream.heir() {
            return Ok(heir.clone());
        }
        let slab = self.cache.renew(stream.slab_use())?;
        let heir = Arc::new(stream.over(slab));
        streams.insert(stream.slab_use().key().clone(), Arc::downgrade(&heir));
        Ok(heir)
    }
}
