//! What it costs that a device is in another process: its start, a batch that does nothing, and a
//! batch whose bytes are copied there, against the same copy made here; and frames of many series in
//! one batch, against a batch each.
//!
//! `cargo bench --bench gpu_process`. The device is none: this program plays its process and copies
//! each frame. Needs no GPU.

use std::env;
use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dicomfs::decode::gpu::{
    Codec, DeviceReport, Job, Lane, Launch, Outcome, PARTS_MAX, Part, Remote, Run, Show, State,
    worker,
};
use dicomfs::dicom::{ImagePixel, Photometric, PixelElement};
use memmap2::MmapMut;

/// Decoded bytes of a frame of 512 x 512 x 16, and encoded ones as HTJ2K has them.
const OUT_BYTES: usize = 512 << 10;
const ENCODED_BYTES: usize = 200 << 10;

/// Series of one frame each.
const SERIES: usize = PARTS_MAX;

/// Frames of a batch that fills most of a lane's memory.
const FRAMES: usize = 256;

const ROUNDS: usize = 20;

/// Copies each frame as often as it goes into the output.
struct Copier;

impl Run for Copier {
    fn run(
        &mut self,
        jobs: &[Job],
        encoded: &[u8],
        slab: &mut [u8],
    ) -> Result<Vec<Outcome>, String> {
        for job in jobs {
            let from = &encoded[job.encoded.start as usize..job.encoded.end as usize];
            copy(
                from,
                &mut slab[job.out.start as usize..job.out.end as usize],
            );
        }
        Ok(vec![Outcome::Done; jobs.len()])
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    for part in to.chunks_mut(from.len()) {
        part.copy_from_slice(&from[..part.len()]);
    }
}

fn open(ordinal: u32) -> Result<worker::Opened, String> {
    let report = DeviceReport {
        ordinal,
        name: "none".into(),
        uuid: String::new(),
        memory_bytes: 0,
        driver_version: String::new(),
        compute_capability: String::new(),
        libraries: Vec::new(),
    };
    Ok((report, Box::new(Copier)))
}

fn job(n: usize, encoded_len: usize, out_len: usize) -> Job {
    let at = |len: usize| (n * len) as u64..((n + 1) * len) as u64;
    Job {
        codec: Codec::Htj2k,
        image: ImagePixel {
            rows: 512,
            columns: 512,
            number_of_frames: 1,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            planar_configuration: 0,
            bits_allocated: 16,
            bits_stored: 16,
            high_bit: 15,
            signed: true,
            element: PixelElement::PixelData,
        },
        show: Show::Stored,
        encoded: at(encoded_len),
        out: at(out_len),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

fn batch(lane: &mut Lane, jobs: &[Job], slab: &File) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let len = slab.metadata()?.len();
    let parts = [Part::new(jobs, slab.as_fd(), len)];
    let (outcomes, _) = lane.run(&parts, deadline)?;
    assert_eq!(outcomes.len(), jobs.len());
    Ok(())
}

/// A frame of each of many series, in one batch or in a batch each.
fn series(lane: &mut Lane, encoded_len: usize, out_len: usize) -> Result<(), Box<dyn Error>> {
    let slabs = (0..SERIES).map(|_| {
        let slab = tempfile::tempfile_in("/dev/shm")?;
        slab.set_len(out_len as u64)?;
        Ok(slab)
    });
    let slabs = slabs.collect::<Result<Vec<File>, Box<dyn Error>>>()?;
    let jobs: Vec<[Job; 1]> = (0..SERIES)
        .map(|n| {
            let out = 0..out_len as u64;
            let job = job(n, encoded_len, out_len);
            [Job { out, ..job }]
        })
        .collect();
    let each = timed(|| {
        let mut each = slabs.iter().zip(&jobs);
        each.try_for_each(|(slab, jobs)| batch(lane, jobs, slab))
    })?;
    let one = timed(|| {
        let parts: Vec<Part<'_>> = slabs
            .iter()
            .zip(&jobs)
            .map(|(slab, jobs)| Part::new(jobs, slab.as_fd(), out_len as u64))
            .collect();
        lane.run(&parts, Instant::now() + Duration::from_secs(60))?;
        Ok(())
    })?;
    let ratio = each.as_secs_f64() / one.as_secs_f64();
    println!(
        "{SERIES} series of 1 frame, {out_len} bytes: a batch each {each:.1?}, one {one:.1?}, ratio {ratio:.2}"
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("device") {
        return Ok(worker::run(open)?);
    }
    let launch = Launch {
        program: env::current_exe()?,
        args: vec!["device".into()],
        ..Launch::this_program()
    };
    let start = timed(|| {
        let (remote, _lanes) = Remote::start(0, launch.clone())?;
        assert_eq!(remote.wait_settled(None), State::Ready);
        Ok(())
    })?;
    println!("start, hello, end                 {start:>10.1?}");
    let (remote, mut lanes) = Remote::start(0, launch)?;
    assert_eq!(remote.wait_settled(None), State::Ready);
    let lane = &mut lanes[0];
    let slab = tempfile::tempfile_in("/dev/shm")?;
    slab.set_len((FRAMES * OUT_BYTES) as u64)?;
    let one = timed(|| batch(lane, &[job(0, 1, 1)], &slab))?;
    println!("batch of 1 job, 1 byte            {one:>10.1?}");
    let many: Vec<Job> = (0..512).map(|n| job(n, 1, 1)).collect();
    let many = timed(|| batch(lane, &many, &slab))?;
    println!("batch of 512 jobs, 1 byte each    {many:>10.1?}");
    lane.encoded().fill(1);
    series(lane, 1, 1)?;
    series(lane, ENCODED_BYTES, OUT_BYTES)?;
    let frames: Vec<Job> = (0..FRAMES)
        .map(|n| job(n, ENCODED_BYTES, OUT_BYTES))
        .collect();
    batch(lane, &frames, &slab)?;
    let there = timed(|| batch(lane, &frames, &slab))?;
    // SAFETY: nobody shortens the file.
    #[allow(unsafe_code)]
    let mut map = unsafe { MmapMut::map_mut(&slab) }?;
    let here = timed(|| {
        for job in &frames {
            let from = &lane.encoded()[job.encoded.start as usize..job.encoded.end as usize];
            copy(from, &mut map[job.out.start as usize..job.out.end as usize]);
        }
        Ok(())
    })?;
    let bytes = (FRAMES * OUT_BYTES) as f64;
    println!("batch of {FRAMES} frames, copied there  {there:>10.1?}");
    drop(map);
    #[allow(unsafe_code)]
    let anew = timed(|| {
        // SAFETY: as above.
        let mut map = unsafe { MmapMut::map_mut(&slab) }?;
        for job in &frames {
            let from = &lane.encoded()[job.encoded.start as usize..job.encoded.end as usize];
            copy(from, &mut map[job.out.start as usize..job.out.end as usize]);
        }
        Ok(())
    })?;
    println!("the same, copied here             {here:>10.1?}");
    println!("the same, mapped anew each time   {anew:>10.1?}");
    println!(
        "ratio {:.2}, {:.2} GB/s",
        here.as_secs_f64() / there.as_secs_f64(),
        bytes / there.as_secs_f64() / 1e9
    );
    Ok(())
}
