//! JPEG by nvJPEG: which frames of the data set a device may be asked for, the library faked, and the
//! real one where its wheel is in the tests' Python.
//!
//! Unsafe because planes are memory by address; the fake library's device memory is memory.
#![allow(unsafe_code)]

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;
#[path = "gpu_jpeg2k/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use dicomfs::decode::gpu::nvjpeg::{Decoded, Decoder, FILE_NAMES, Frame, Lane, Nvjpeg};
use dicomfs::decode::gpu::{Codec, Outcome, Refusal, Show, plan};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::syntax::CodecFamily;

use fake_gpu::build::build;
use fake_gpu::nvjpeg::Fake;

const SKIPS: &str = "DICOMFS_REQUIRE_CLIENTS";

/// Bytes at the end of each row that nobody may touch.
const PADDING: usize = 3;
const UNTOUCHED: u8 = 0xA5;

fn fake(test: &str) -> Option<Fake> {
    Fake::new()
        .inspect_err(|why| common::skip(test, why, SKIPS))
        .ok()
}

fn planned(frame: &frames::Frame, exact: bool) -> Result<Codec, Refusal> {
    let show = Show::Stored;
    plan(&frame.uid, &frame.image, &show, &frame.encoded, exact)
}

fn all(test: &str) -> Option<Vec<frames::Frame>> {
    frames::of(test, &[CodecFamily::JpegDct])
}

/// What the CPU decodes.
fn by_cpu(frame: &frames::Frame) -> Vec<u8> {
    let mut stored = vec![0; frame.image.frame_len_bytes().expect("small")];
    let bytes = Encoded {
        bytes: &frame.encoded,
        first_bit: 0,
    };
    decode_frame(&frame.uid, &frame.image, bytes, &mut stored).expect("the CPU decodes it");
    stored
}

#[test]
fn each_frame_of_the_data_set_is_planned() {
    let Some(frames) = all("each_frame_of_the_data_set_is_planned") else {
        return;
    };
    let mut tally: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut eligible = 0;
    for frame in &frames {
        // exact=on never asks a device.
        assert!(planned(frame, true).is_err(), "{}", frame.name);
        let plan = planned(frame, false);
        assert_ne!(plan, Err(Refusal::Lossy));
        let says = plan.map_or_else(|why| why.to_string(), |codec| codec.to_string());
        *tally.entry((frame.uid.clone(), says)).or_default() += 1;
        if plan.is_ok() {
            assert_eq!(
                (plan, planned(frame, true)),
                (Ok(Codec::Jpeg), Err(Refusal::Lossy))
            );
            // What a device is asked for, the CPU can decode and compare.
            by_cpu(frame);
            eligible += 1;
        }
    }
    for ((uid, says), count) in &tally {
        println!("{uid}: {count} {says}");
    }
    assert!(eligible > 10, "{tally:?}");
    let refusals = |word: &str| tally.keys().any(|(_, says)| says == word);
    assert!(refusals("samples") && refusals("codestream"), "{tally:?}");
}

/// A stream of plain memory.
#[derive(Default)]
struct Host {
    waits: AtomicUsize,
    is_lost: bool,
}

// SAFETY: the fake library does all its work within the call, and has no use for a stream.
unsafe impl Lane for Host {
    fn stream(&self) -> *mut c_void {
        ptr::null_mut()
    }

    fn wait(&self) -> Result<(), String> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        match self.is_lost {
            true => Err("the stream is lost".into()),
            false => Ok(()),
        }
    }
}

/// Frames with answers, and memory for their planes.
struct Setup {
    fake: Fake,
    frames: Vec<frames::Frame>,
}

impl Setup {
    /// The frames of the data set that a device may be asked for, at most `count`.
    fn new(test: &str, count: usize) -> Option<Setup> {
        let mut frames = all(test)?;
        let fake = fake(test)?;
        frames.retain(|frame| planned(frame, false).is_ok());
        frames.truncate(count);
        for frame in &frames {
            let answered = fake.answer(&frame.uid, &frame.image, &frame.encoded);
            assert_eq!(answered, Ok(()), "{}", frame.name);
        }
        Some(Setup { fake, frames })
    }

    fn decoder(&self, faults: &str) -> Result<Decoder, String> {
        self.fake.faults(faults);
        let library = Nvjpeg::load_from(self.fake.dir()).expect("the fake loads");
        Decoder::new(&library, 2)
    }

    /// Decodes all frames: how each went, and its samples, interleaved, a byte each.
    fn run(
        &self,
        decoder: &mut Decoder,
        host: &Host,
    ) -> Result<(Vec<Decoded>, Vec<Vec<u8>>), String> {
        let mut memory: Vec<Vec<u8>> = Vec::new();
        for frame in &self.frames {
            let image = &frame.image;
            let plane = (image.columns as usize + PADDING) * image.rows as usize;
            memory.push(vec![
                UNTOUCHED;
                plane * usize::from(image.samples_per_pixel)
            ]);
        }
        let asked: Vec<Frame<'_>> = self.frames.iter().zip(&mut memory).map(asked).collect();
        // SAFETY: planes of that pitch and so many rows, which nothing else uses.
        let outcomes = unsafe { decoder.decode(&asked, host) }?;
        let samples = self.frames.iter().zip(&memory).map(samples).collect();
        Ok((outcomes, samples))
    }

    /// All but `bad` are as the CPU decodes them.
    fn assert_right(&self, outcomes: &[Decoded], samples: &[Vec<u8>], bad: &[usize]) {
        for (at, frame) in self.frames.iter().enumerate() {
            if !bad.contains(&at) {
                assert_eq!(outcomes[at], Ok(()), "{}", frame.name);
                let width = frame.image.sample_len_bytes();
                let cpu: Vec<u8> = by_cpu(frame).into_iter().step_by(width).collect();
                assert!(samples[at] == cpu, "{}", frame.name);
            }
        }
    }
}

fn asked<'a>((frame, memory): (&'a frames::Frame, &'a mut Vec<u8>)) -> Frame<'a> {
    let pitch_bytes = frame.image.columns as usize + PADDING;
    let mut planes = [0; 4];
    let len = pitch_bytes * frame.image.rows as usize;
    for (place, plane) in planes.iter_mut().zip(memory.chunks_exact_mut(len)) {
        *place = plane.as_mut_ptr() as u64;
    }
    Frame {
        encoded: &frame.encoded,
        image: &frame.image,
        planes,
        pitch_bytes,
    }
}

fn samples((frame, memory): (&frames::Frame, &Vec<u8>)) -> Vec<u8> {
    let columns = frame.image.columns as usize;
    let rows: Vec<&[u8]> = memory.chunks_exact(columns + PADDING).collect();
    assert!(
        rows.iter()
            .all(|row| row[columns..] == [UNTOUCHED; PADDING])
    );
    let height = frame.image.rows as usize;
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..columns {
            samples.extend(rows.iter().skip(y).step_by(height).map(|row| row[x]));
        }
    }
    samples
}

#[test]
fn the_data_set_comes_through_planes_as_the_cpu_decodes_it() {
    let test = "the_data_set_comes_through_planes_as_the_cpu_decodes_it";
    let Some(setup) = Setup::new(test, usize::MAX) else {
        return;
    };
    let colour = setup
        .frames
        .iter()
        .filter(|f| f.image.samples_per_pixel == 3);
    println!(
        "{} frames, {} of three components",
        setup.frames.len(),
        colour.count()
    );
    let mut decoder = setup.decoder("").expect("a decoder");
    let host = Host::default();
    // Twice: a decoder lives longer than a batch.
    for _ in 0..2 {
        let (outcomes, samples) = setup.run(&mut decoder, &host).expect("a device");
        setup.assert_right(&outcomes, &samples, &[]);
    }
    assert_eq!(host.waits.load(Ordering::Relaxed), 2);
    drop(decoder);
    assert_eq!(
        setup.fake.live(),
        (0, 2, 0),
        "states left, calls for batches, for one"
    );
}

#[test]
fn one_frames_failure_is_its_own() {
    let Some(setup) = Setup::new("one_frames_failure_is_its_own", 8) else {
        return;
    };
    let refused = Err(Outcome::Refused(Refusal::Codestream));
    // The library reads its header otherwise than we do, or not at all: it is not even asked.
    for faults in ["info:3", "other:3"] {
        let mut decoder = setup.decoder(faults).expect("a decoder");
        let (outcomes, samples) = setup.run(&mut decoder, &Host::default()).expect("well");
        assert_eq!(outcomes[2], refused, "{faults}");
        assert!(samples[2].iter().all(|&byte| byte == UNTOUCHED), "{faults}");
        setup.assert_right(&outcomes, &samples, &[2]);
    }
    // The whole batch fails, for a reason that is gone when each is asked for alone.
    for faults in ["batch:1", "alloc:1", "initialize:1"] {
        let mut decoder = setup.decoder(faults).expect("a decoder");
        let (outcomes, samples) = setup.run(&mut decoder, &Host::default()).expect("well");
        setup.assert_right(&outcomes, &samples, &[]);
        drop(decoder);
        let (states, _, alone) = setup.fake.live();
        assert_eq!((states, alone % 8), (0, 0), "{faults}");
    }
    // One is broken.
    setup.fake.forget(&setup.frames[5].encoded);
    let mut decoder = setup.decoder("").expect("a decoder");
    let (outcomes, samples) = setup.run(&mut decoder, &Host::default()).expect("well");
    assert_eq!(outcomes[5], refused);
    setup.assert_right(&outcomes, &samples, &[5]);
    drop(decoder);
    // Its memory fails, also alone.
    let mut decoder = setup.decoder("alloc:0").expect("a decoder");
    let (outcomes, _) = setup.run(&mut decoder, &Host::default()).expect("well");
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Outcome::Failed(why)) if why.contains("allocation")));
    }
    drop(decoder);
    assert_eq!(setup.fake.live().0, 0);
}

#[test]
fn a_lost_device_ends_the_batch() {
    let Some(setup) = Setup::new("a_lost_device_ends_the_batch", 5) else {
        return;
    };
    for faults in ["exec:1", "arch:1", "internal:1", "batch:1,internal:3"] {
        let mut decoder = setup.decoder(faults).expect("a decoder");
        let why = setup.run(&mut decoder, &Host::default()).unwrap_err();
        assert!(why.contains("nvJPEG Decode"), "{faults}: {why}");
        drop(decoder);
        assert_eq!(setup.fake.live().0, 0, "{faults}");
    }
    for faults in ["create:1", "state:1"] {
        let why = setup.decoder(faults).map(drop).unwrap_err();
        assert!(why.contains("execution on the device failed"), "{why}");
    }
    // A stream that cannot be waited for: what it uses is never freed.
    let host = Host {
        is_lost: true,
        ..Host::default()
    };
    let mut decoder = setup.decoder("").expect("a decoder");
    let why = setup.run(&mut decoder, &host).unwrap_err();
    assert_eq!(why, "the stream is lost");
    drop(decoder);
    assert_eq!(setup.decoder("").map(drop), Ok(()));
    assert_eq!(setup.fake.live().0, 1);
}

#[test]
fn frames_that_are_not_what_they_say_are_refused() {
    let Some(setup) = Setup::new("frames_that_are_not_what_they_say_are_refused", 1) else {
        return;
    };
    let frame = &setup.frames[0];
    let mut taller = frame.image.clone();
    taller.rows += 1;
    let mut colours = frame.image.clone();
    colours.samples_per_pixel = 4 - colours.samples_per_pixel;
    let whole = &frame.encoded[..];
    let mut twice = fake_gpu::nvjpeg::picture(whole).to_vec();
    // A second frame header behind the scan, of another size.
    twice.truncate(twice.len() - 2);
    twice.extend([
        0xFF, 0xC0, 0, 11, 8, 255, 255, 255, 255, 1, 1, 0x11, 0, 0xFF, 0xD9,
    ]);
    let mut memory = vec![0u8; 4 * (frame.image.columns as usize + 8) * (taller.rows as usize)];
    let plane = memory.len() / 4;
    let planes = std::array::from_fn(|n| memory[n * plane..].as_mut_ptr() as u64);
    let ask = |encoded, image| Frame {
        encoded,
        image,
        planes,
        pitch_bytes: frame.image.columns as usize,
    };
    let bad = [
        ask(whole, &taller),
        ask(whole, &colours),
        ask(&whole[..60], &frame.image),
        ask(&twice, &frame.image),
        ask(&[], &frame.image),
    ];
    let mut decoder = setup.decoder("").expect("a decoder");
    // SAFETY: each has four planes, as large as the tallest of them says.
    let outcomes = unsafe { decoder.decode(&bad, &Host::default()) }.expect("well");
    for (at, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome, Err(Outcome::Refused(Refusal::Codestream)), "{at}");
    }
    drop(decoder);
    assert_eq!(
        setup.fake.live(),
        (0, 0, 0),
        "the library decodes none of them"
    );
}

#[test]
fn a_library_that_will_not_do_is_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let why = Nvjpeg::load_from(dir.path()).unwrap_err();
    assert!(why.contains("put it beside the program"), "{why}");
    std::fs::write(dir.path().join(FILE_NAMES[1]), "no library").expect("written");
    let why = Nvjpeg::load_from(dir.path()).unwrap_err();
    assert!(why.contains("cannot be loaded"), "{why}");
    let Some(fake) = fake("a_library_that_will_not_do_is_a_sentence") else {
        return;
    };
    let library = Nvjpeg::load_from(fake.dir()).expect("it loads");
    assert_eq!(library.version(), "12.4.0");
    fake.version("11.9.1");
    let why = Nvjpeg::load_from(fake.dir()).unwrap_err();
    assert!(why.contains("11.9 is too old"), "{why}");
    let empty = build("empty.cpp", FILE_NAMES[1]).expect("the compiler that made the fake");
    let why = Nvjpeg::load_from(empty.parent().expect("a directory")).unwrap_err();
    assert!(why.contains("nvjpegGetProperty"), "{why}");
}

#[test]
fn without_a_driver_the_real_library_makes_no_decoder() {
    let test = "without_a_driver_the_real_library_makes_no_decoder";
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
    let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let dir = pythons
        .map(|python| python.path().join("site-packages/nvidia/nvjpeg/lib"))
        .find(|dir| FILE_NAMES.iter().any(|name| dir.join(name).is_file()));
    let Some(dir) = dir else {
        let why = "no nvidia-nvjpeg-cu12 in target/venv (pip install)";
        return common::skip(test, why, SKIPS);
    };
    // That it cannot be loaded is a failure: it is there.
    let library = Nvjpeg::load_from(&dir).expect("the library loads without a driver");
    println!("{library:?}");
    if Path::new("/dev/nvidiactl").exists() {
        println!("left out: there is a driver");
        return;
    }
    // It does not even read headers then: there is nothing to compare ours with.
    let why = Decoder::new(&library, 1).map(drop).unwrap_err();
    assert!(why.contains("CreateEx"), "{why}");
}
