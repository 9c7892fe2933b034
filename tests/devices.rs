//! Frames of real files described for a device, which here decodes as the CPU does: the bytes are the
//! same, whoever made them, and what is none for a device is the CPU's.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{DEADLINE, expected_slab, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::archive::{self, Source};
use dicomfs::cache::{Cache, Layout, SlabKey};
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::decode::gpu::{Codec, Fault, Job, Outcome, Part, Show, Spent};
use dicomfs::decode::{self, Encoded, values};
use dicomfs::dicom::Luts;
use dicomfs::fetch::{Device, Error, Fetcher, FrameSource, Interest, Lane, Readiness, Stream};
use dicomfs::volume::{self, Transform, ValueKind, Values, Variant, Volume};
use tempfile::TempDir;

const SHAPE: [usize; 3] = [24, 37, 41];

/// A device that decodes with the CPU's decoders.
#[derive(Default)]
struct Twin {
    jobs: Arc<AtomicUsize>,
}

impl Device for Twin {
    fn name(&self) -> String {
        "twin:0".to_string()
    }

    fn start(&self) -> Result<Vec<Box<dyn Lane>>, String> {
        let lane = TwinLane {
            memory: vec![0; 1 << 20],
            jobs: self.jobs.clone(),
        };
        Ok(vec![Box::new(lane)])
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn state(&self) -> String {
        "ready".to_string()
    }

    fn stop(&self) {}
}

struct TwinLane {
    memory: Vec<u8>,
    jobs: Arc<AtomicUsize>,
}

impl Lane for TwinLane {
    fn encoded(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    fn run(
        &mut self,
        parts: &[Part<'_>],
        _deadline: Duration,
    ) -> Result<(Vec<Outcome>, Spent), Fault> {
        let start = Instant::now();
        let mut count = 0;
        for part in parts {
            let slab = File::from(part.slab.try_clone_to_owned().expect("a descriptor"));
            assert_eq!(slab.metadata().expect("a file").len(), part.slab_len_bytes);
            for job in part.jobs {
                let place = job.encoded.start as usize..job.encoded.end as usize;
                let shown = shown(job, &self.memory[place]);
                assert_eq!(shown.len() as u64, job.out.end - job.out.start);
                slab.write_all_at(&shown, job.out.start).expect("written");
            }
            count += part.jobs.len();
        }
        self.jobs.fetch_add(count, Ordering::SeqCst);
        let spent = Spent {
            process: 1,
            wall: start.elapsed(),
            cpu: Duration::ZERO,
        };
        Ok((vec![Outcome::Done; count], spent))
    }
}

/// What a job asks for.
fn shown(job: &Job, bytes: &[u8]) -> Vec<u8> {
    let uid = match job.codec {
        Codec::Native { big_endian: false } => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        Codec::Native { big_endian: true } => "1.2.840.10008.1.2.2",
        Codec::Rle => uids::RLE_LOSSLESS,
        Codec::Jpeg => "1.2.840.10008.1.2.4.50",
        Codec::JpegLossless => "1.2.840.10008.1.2.4.70",
        Codec::Jpeg2000 => uids::JPEG2000,
        Codec::Htj2k => "1.2.840.10008.1.2.4.203",
    };
    let mut stored = vec![0; job.image.frame_len_bytes().expect("a size")];
    let encoded = Encoded {
        bytes,
        first_bit: 0,
    };
    decode::decode_frame(uid, &job.image, encoded, &mut stored).expect("decodes");
    let (transform, dtype, frame) = match job.show {
        Show::Stored => return stored,
        Show::Offset { intercept, dtype } => (Transform::Offset, dtype, (1.0, intercept as f64)),
        Show::Linear {
            slope,
            intercept,
            dtype,
        } => (Transform::Linear, dtype, (slope, intercept)),
    };
    let rule = Values {
        dtype,
        transform,
        units: None,
        kind: ValueKind::Modality,
    };
    let count = stored.len() / job.image.sample_len_bytes();
    let mut out = vec![0; count * dtype.itemsize()];
    values::apply(
        &rule,
        frame,
        &job.image,
        &Luts::default(),
        &stored,
        &mut out,
    )
    .expect("values");
    out
}

struct World {
    dir: TempDir,
    source: Arc<Source>,
    volume: Arc<Volume>,
    fetcher: Fetcher,
    device: Arc<Twin>,
}

impl World {
    fn new(series: &Series) -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        series.write(dir.path()).expect("files written");
        let options = archive::Options::default();
        let catalog = archive::read_all(dir.path(), &options, None, &()).expect("a scan");
        let volume = volume::build(&catalog.records).volumes.remove(0);
        let cache = Arc::new(Cache::new(64 << 20, 8).expect("a cache"));
        let device = Arc::new(Twin::default());
        let devices = vec![device.clone() as Arc<dyn Device>];
        World {
            dir,
            source: Arc::new(Source::new(catalog.root)),
            volume: Arc::new(volume),
            fetcher: Fetcher::with_devices(cache, 1, usize::MAX, devices, true).expect("workers"),
            device,
        }
    }

    fn open(&self, variant: Variant) -> Arc<Stream> {
        let key = SlabKey {
            volume: self.volume.name.clone(),
            variant: variant.word(),
            fingerprint: self.volume.fingerprint,
        };
        let layout = || Layout {
            header: vec![0; 4096],
            frame_len_bytes: self.volume.frame_len_bytes(variant) as usize,
            frame_count: self.volume.frames.len(),
        };
        let source = || {
            Arc::new(FrameSource::new(
                self.source.clone(),
                self.volume.clone(),
                variant,
            )) as _
        };
        self.fetcher.open(&key, layout, source).expect("a slab")
    }

    /// Has all of a stream made with the worker held back until `is_enough` holds.
    fn sweep(&self, stream: &Arc<Stream>, is_enough: impl Fn() -> bool) {
        let (release, held) = mpsc::channel::<()>();
        // Ends when the sender is dropped.
        self.fetcher
            .run_soon(move || held.recv().unwrap_or_default());
        let interest = Interest::default();
        self.fetcher.sweep(stream, &interest, 0, usize::MAX);
        wait_until("the device has its part", is_enough);
        drop(release);
        let answer = self.read(stream, 0..stream.slab().len_bytes());
        assert!(answer.is_ok() || stream.slab().present_frames() < SHAPE[0]);
    }

    fn read(&self, stream: &Arc<Stream>, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
        let (send, receive) = mpsc::channel();
        let reply = move |answer: Result<&[u8], Error>| {
            send.send(answer.map(<[u8]>::to_vec)).expect("waited for");
        };
        self.fetcher.read(stream, range, Box::new(reply));
        receive.recv_timeout(DEADLINE).expect("answered")
    }

    fn refused(&self, why: &str) -> u64 {
        let reports = self.fetcher.device_stats();
        reports[0].refusals.get(why).copied().unwrap_or_default()
    }
}

#[test]
fn the_bytes_are_the_same_whoever_made_them() {
    for syntax in [
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.2",
        uids::RLE_LOSSLESS,
    ] {
        for series in [
            Series::ct("2.25.7", syntax, SHAPE),
            Series::mr("2.25.7", syntax, SHAPE),
        ] {
            let stored: Vec<u8> = series.stored.iter().flat_map(|v| v.to_le_bytes()).collect();
            for (variant, expected) in [
                (Variant::Values, expected_slab(&series)),
                (Variant::Stored, stored),
            ] {
                let world = World::new(&series);
                let stream = world.open(variant);
                let jobs = || world.device.jobs.load(Ordering::SeqCst);
                world.sweep(&stream, || jobs() >= SHAPE[0] / 3);
                let bytes = world.read(&stream, 4096..stream.slab().len_bytes());
                assert!(bytes.expect("reads") == expected, "{syntax} {variant:?}");
                let report = world.fetcher.device_stats().remove(0);
                assert_eq!((report.mismatches, report.faults), (0, 0), "{report:?}");
                assert!(report.frames_compared > 0);
                let made = world.fetcher.made_of("2.25.7");
                let total: u64 = made.iter().map(|(_, count)| count).sum();
                assert_eq!(total, SHAPE[0] as u64, "{made:?}");
                assert!(
                    made.iter().any(|(name, _)| name.starts_with("twin:0 ")),
                    "{made:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_none_for_a_device_is_the_cpus() {
    let (rle, deflated) = (uids::RLE_LOSSLESS, "1.2.840.10008.1.2.1.99");
    for (syntax, variant, why) in [
        (rle, Variant::Cast(volume::Dtype::F32), "values"),
        (deflated, Variant::Stored, "transfer_syntax"),
    ] {
        let series = Series::ct("2.25.7", syntax, SHAPE);
        let world = World::new(&series);
        let stream = world.open(variant);
        world.sweep(&stream, || world.refused(why) > 0);
        wait_until("all is made", || stream.slab().is_complete());
        assert_eq!(world.device.jobs.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_source_that_changed_is_no_job() {
    let series = Series::ct("2.25.7", uids::RLE_LOSSLESS, SHAPE);
    let world = World::new(&series);
    for record in &world.volume.records {
        let path = world.dir.path().join(&record.path);
        let bytes = std::fs::read(&path).expect("the source");
        std::fs::write(&path, [&bytes[..], b"  "].concat()).expect("changed");
    }
    let stream = world.open(Variant::Values);
    world.sweep(&stream, || true);
    for frame in [0, 10, 23] {
        let range = stream.slab().range_of(frame..frame + 1);
        assert!(matches!(world.read(&stream, range), Err(Error::Changed(_))));
    }
    assert_eq!(world.device.jobs.load(Ordering::SeqCst), 0);
    assert_eq!(stream.slab().present_frames(), 0);
}
