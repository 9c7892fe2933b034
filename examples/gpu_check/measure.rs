//! How fast: all cores, the device alone, both together and the same without a device.
//!
//! Every round runs each of the four once, and every ratio is between figures of one round. Nothing
//! that is started is timed. All fill new slabs of a cache, as a mount does, and what they filled
//! is compared with what the CPU made of the pictures.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dicomfs::archive::{self, Source};
use dicomfs::cache::{Cache, Claim, Layout, Slab, SlabKey, SlabUse};
use dicomfs::decode::gpu::{self, Lane, Launch, Outcome, Pool, Show, Wanted};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::fetch::{Fetcher, FrameSource, Gpu, Interest};
use dicomfs::volume::{self, Variant, Volume};
use rayon::prelude::*;

use super::device::{self, BATCH_TIME, Device, Part};
use super::document::is_past;
use super::volumes::{Subject, Written};

const HEADER_BYTES: usize = 4096;

/// Frames of a batch of the device alone, at most; both lanes have some as soon as there are two.
const BATCH_FRAMES_MAX: usize = 64;

/// A volume that takes longer than this is no figure.
const VOLUME_TIME: Duration = Duration::from_secs(60);

/// How long a device may take to be ready.
const READY_TIME: Duration = Duration::from_secs(90);

/// What all cores need less time for than this is done several times a round, but not more often.
const SHORT: Duration = Duration::from_millis(20);
const REPEATS_MAX: f64 = 20.0;

/// How often it is looked whether a volume is complete.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// Seconds that each way took, a round each.
#[derive(Default)]
pub struct Row {
    pub codec: String,
    pub size: String,
    pub frames: usize,
    pub frame_len: usize,
    pub cpu: Vec<f64>,
    /// Empty where the device does not decode it, and then `why` says why.
    pub device: Vec<f64>,
    pub why: Option<String>,
    /// CPU time of the device's process a frame, s, when it is alone.
    pub device_cpu: f64,
    /// The first volume of a fetcher that has seen none.
    pub first: f64,
    pub together: Vec<f64>,
    /// Of the frames of the steady volumes, the device's share.
    pub share: f64,
    pub without: Vec<f64>,
}

/// What is the same for all rows.
pub struct Setting<'a> {
    pub launch: &'a Launch,
    pub ordinal: u32,
    /// Rounds at most.
    pub rounds: usize,
    /// Volumes before a fetcher is taken for calibrated, at most.
    pub calibrations: usize,
    pub pool: &'a rayon::ThreadPool,
}

/// Measures one codec, one size and one number of frames: a round in any case, and no more that would
/// begin after `end`.
pub fn row(
    setting: &Setting<'_>,
    device: &mut Device,
    subject: &Subject,
    frames: usize,
    written: &Written,
    end: Instant,
) -> Result<Row> {
    let half = Instant::now() + end.saturating_duration_since(Instant::now()) / 2;
    let mut row = Row {
        codec: subject.codec.to_string(),
        size: subject.size(),
        frames,
        frame_len: subject.frame_len(),
        why: device.report.can(subject.codec).err(),
        ..Row::default()
    };
    let bytes = (frames * subject.frame_len() + HEADER_BYTES) as u64;
    let slabs = Slabs::new(bytes, subject.frame_len(), frames)?;
    let mut without = Fetching::new(written, bytes, None)?;
    let mut with = Fetching::new(written, bytes, Some((setting.launch, setting.ordinal)))?;

    row.first = with.sweep(subject)?;
    for _ in 0..setting.calibrations {
        if !is_past(half) {
            with.sweep(subject)?;
        }
    }
    without.sweep(subject)?;
    let cores = || -> Result<f64> {
        let slab = slabs.new_slab()?;
        let took = all_cores(setting.pool, subject, &slab)?;
        check(&slab, subject)?;
        Ok(took)
    };
    let mut spent = Duration::ZERO;
    let mut device = || -> Result<f64> {
        let slab = slabs.new_slab()?;
        let (took, cpu) = alone(device, subject, &slab)?;
        check(&slab, subject)?;
        spent += cpu;
        Ok(took)
    };
    let times = (SHORT.as_secs_f64() / cores()?).clamp(1.0, REPEATS_MAX) as usize;
    if row.why.is_none() {
        device()?;
    }
    let before = with.device_frames();
    for round in 0..setting.rounds {
        if round > 0 && is_past(end) {
            break;
        }
        row.cpu.push(mean(times, cores)?);
        if row.why.is_none() {
            row.device.push(mean(times, &mut device)?);
        }
        row.without.push(mean(times, || without.sweep(subject))?);
        row.together.push(mean(times, || with.sweep(subject))?);
    }
    let all = (frames * times * row.cpu.len()) as f64;
    row.share = (with.device_frames() - before) as f64 / all;
    row.device_cpu = spent.as_secs_f64() / (all + frames as f64);
    Ok(row)
}

/// What is over quickly is done several times in each round, for a mean.
fn mean(times: usize, mut once: impl FnMut() -> Result<f64>) -> Result<f64> {
    let all = (0..times).map(|_| once()).sum::<Result<f64>>()?;
    Ok(all / times as f64)
}

/// New slabs, one after the other.
struct Slabs {
    cache: Cache,
    number: AtomicUsize,
    frame_len: usize,
    frames: usize,
}

impl Slabs {
    fn new(bytes: u64, frame_len: usize, frames: usize) -> Result<Slabs> {
        Ok(Slabs {
            cache: cache(bytes)?,
            number: AtomicUsize::new(0),
            frame_len,
            frames,
        })
    }

    fn new_slab(&self) -> Result<SlabUse> {
        let key = key("alone", &self.number);
        let layout = || layout(self.frame_len, self.frames);
        self.cache.open(&key, layout).context("no slab")
    }
}

/// A cache with room for the slab in hand and those of a few rounds before: a sweep goes half of the
/// budget ahead.
fn cache(bytes: u64) -> Result<Cache> {
    Ok(Cache::new(3 * bytes + (64 << 20), 1)?)
}

fn key(volume: &str, number: &AtomicUsize) -> SlabKey {
    SlabKey {
        volume: format!("{volume}.{}", number.fetch_add(1, Ordering::Relaxed)),
        variant: Variant::Stored.word(),
        fingerprint: [0; 32],
    }
}

fn layout(frame_len_bytes: usize, frame_count: usize) -> Layout {
    Layout {
        header: vec![0; HEADER_BYTES],
        frame_len_bytes,
        frame_count,
    }
}

/// (a) All cores, a frame each at a time. Seconds.
fn all_cores(pool: &rayon::ThreadPool, subject: &Subject, slab: &Slab) -> Result<f64> {
    let make = |frame: usize| -> Result<()> {
        let Claim::Mine(mut filling) = slab.claim(frame) else {
            bail!("frame {frame} is somebody's");
        };
        let encoded = Encoded {
            bytes: subject.encoded(frame),
            first_bit: 0,
        };
        decode_frame(&subject.uid, &subject.image, encoded, filling.bytes())?;
        filling.commit();
        Ok(())
    };
    let frames = (0..slab.frame_count()).into_par_iter().with_max_len(1);
    let start = Instant::now();
    pool.install(|| frames.try_for_each(make))?;
    Ok(start.elapsed().as_secs_f64())
}

/// (b) The device alone, over all of its lanes: seconds, and CPU time of its process.
fn alone(device: &mut Device, subject: &Subject, slab: &Slab) -> Result<(f64, Duration)> {
    let count = slab.frame_count();
    let batch = count
        .div_ceil(device.lanes.len().max(1))
        .clamp(1, BATCH_FRAMES_MAX);
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let spent = std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        for lane in &mut device.lanes {
            let next = &next;
            lanes.push(scope.spawn(move || -> Result<Duration> {
                let mut spent = Duration::ZERO;
                loop {
                    let first = next.fetch_add(batch, Ordering::Relaxed);
                    if first >= count {
                        return Ok(spent);
                    }
                    let frames = first..(first + batch).min(count);
                    spent += frames_alone(lane, subject, slab, frames)?;
                }
            }));
        }
        let join = |lane: std::thread::ScopedJoinHandle<'_, Result<Duration>>| {
            lane.join()
                .unwrap_or_else(|_| Err(anyhow!("a lane panicked")))
        };
        // All are waited for before any of them is judged.
        let spent: Vec<_> = lanes.into_iter().map(join).collect();
        spent.into_iter().sum::<Result<Duration>>()
    });
    let took = start.elapsed().as_secs_f64();
    Ok((took, spent?))
}

/// As many batches as the lane's memory needs.
fn frames_alone(
    lane: &mut Lane,
    subject: &Subject,
    slab: &Slab,
    frames: Range<usize>,
) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    let mut first = frames.start;
    while first < frames.end {
        let parts = (first..frames.end).map(|frame| Part {
            codec: subject.codec,
            image: &subject.image,
            show: Show::Stored,
            encoded: subject.encoded(frame),
            out: slab.range_of(frame..frame + 1),
        });
        let jobs = device::load(lane, parts);
        ensure!(!jobs.is_empty(), "a frame does not fit into a lane");
        let mut fillings = Vec::new();
        for frame in first..first + jobs.len() {
            let Claim::Mine(mut filling) = slab.claim(frame) else {
                bail!("frame {frame} is somebody's");
            };
            filling.take_memory();
            fillings.push(filling);
        }
        let parts = [gpu::Part::new(&jobs, slab.file(), slab.len_bytes())];
        let deadline = Instant::now() + BATCH_TIME;
        let (outcomes, took) = lane.run(&parts, deadline)?;
        if let Some(other) = outcomes.iter().find(|outcome| **outcome != Outcome::Done) {
            bail!("the device: {other:?}");
        }
        for filling in fillings {
            filling.commit();
        }
        spent += took.cpu;
        first += jobs.len();
    }
    Ok(spent)
}

/// Not timed: what was made is right.
fn check(slab: &Slab, subject: &Subject) -> Result<()> {
    for frame in 0..slab.frame_count() {
        ensure!(
            slab.pin(frame..frame + 1).is_empty(),
            "frame {frame} is not there"
        );
        let range = slab.range_of(frame..frame + 1);
        let is_equal = slab.with_bytes(range, |bytes| bytes == subject.decoded(frame));
        slab.unpin(frame..frame + 1);
        let codec = subject.codec;
        ensure!(
            is_equal == Some(true),
            "{codec}, {}: frame {frame} is wrong",
            subject.size()
        );
    }
    Ok(())
}

/// (c), (d) A mount's fetcher over a volume's file.
struct Fetching {
    fetcher: Fetcher,
    source: Arc<Source>,
    volume: Arc<Volume>,
    number: AtomicUsize,
    /// Ends its process when the fetcher is gone.
    _pool: Option<Arc<Pool>>,
}

impl Fetching {
    fn new(written: &Written, bytes: u64, device: Option<(&Launch, u32)>) -> Result<Fetching> {
        let catalog = archive::read_all(&written.dir, &archive::Options::default(), None, &())?;
        let volume = volume::build(&catalog.records).volumes.pop();
        let volume = Arc::new(volume.context("the written file is no volume")?);
        let source = Arc::new(Source::new(catalog.root));
        let (pool, devices) = match device {
            None => (None, Vec::new()),
            Some((launch, ordinal)) => {
                let (pool, lanes) = Pool::start(&Wanted::These(vec![ordinal]), launch)?;
                let end = Instant::now() + READY_TIME;
                for remote in pool.devices() {
                    remote.wait_settled(Some(end));
                    ensure!(remote.is_ready(), "cuda:{ordinal} is {}", remote.state());
                }
                let pool = Arc::new(pool);
                let devices = Gpu::all(&pool, lanes);
                (Some(pool), devices)
            }
        };
        let cache = Arc::new(cache(bytes)?);
        let threads = super::machine::cores();
        let fetcher = Fetcher::with_devices(cache, threads, usize::MAX, devices, true)?;
        Ok(Fetching {
            fetcher,
            source,
            volume,
            number: AtomicUsize::new(0),
            _pool: pool,
        })
    }

    /// Has all of a new volume made ahead, and compares it. Seconds.
    fn sweep(&mut self, subject: &Subject) -> Result<f64> {
        let key = key(&self.volume.name, &self.number);
        let frame_len = self.volume.frame_len_bytes(Variant::Stored) as usize;
        let layout = || layout(frame_len, self.volume.frames.len());
        let (source, volume) = (self.source.clone(), self.volume.clone());
        let source = || Arc::new(FrameSource::new(source, volume, Variant::Stored)) as _;
        let stream = self.fetcher.open(&key, layout, source)?;
        let interest = Interest::default();
        let start = Instant::now();
        self.fetcher.sweep(&stream, &interest, 0, usize::MAX);
        while !stream.slab().is_complete() {
            if start.elapsed() > VOLUME_TIME {
                let (present, all) = (stream.slab().present_frames(), stream.slab().frame_count());
                bail!(
                    "a sweep made {present} of {all} frames: {:?}",
                    self.fetcher.failures()
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        let took = start.elapsed().as_secs_f64();
        check(stream.slab(), subject)?;
        Ok(took)
    }

    fn device_frames(&self) -> u64 {
        self.fetcher
            .device_stats()
            .iter()
            .map(|device| device.frames)
            .sum()
    }
}
