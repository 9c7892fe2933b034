//! JPEG Lossless on the fake device: what it gives is what the CPU gives, whatever the stream; what
//! it leaves to the CPU is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use dicomfs::decode::gpu::{Codec, Engine, Outcome, Refusal, Show, plan};
use dicomfs::dicom::ImagePixel;
use dicomfs::dicom::syntax::CodecFamily;
use dicomfs::volume::Dtype;

use crate::cases::{Batch, Case, DENSE, Random, Spread, Truth, gray};
use crate::fake_gpu::libcuda::{Setup, child};
use crate::jpeg2k_frames;
use crate::ljpeg_encoder::{Codes, Job};

const UID: &str = "1.2.840.10008.1.2.4.57";

/// How many frames went how.
type Tally = BTreeMap<String, usize>;

/// Runs the cases as one batch. What is done must be what the CPU makes of it, and what the CPU
/// refuses must not be done; what else is refused is counted by its reason.
fn run(engine: &mut Engine, cases: &[Case], spread: Spread, tally: &mut Tally) {
    let mut batch = Batch::new(cases, spread);
    let outcomes = batch.run(engine);
    for (index, (case, outcome)) in cases.iter().zip(&outcomes).enumerate() {
        let how = match (case.truth(), outcome) {
            (Truth::Values(expected), Outcome::Done) => {
                let at = expected
                    .iter()
                    .zip(batch.values(index))
                    .position(|(expected, got)| expected != got);
                assert_eq!(at, None, "other bytes: {:?} {:?}", case.image, case.show);
                "equal".to_string()
            }
            (Truth::Overflow, Outcome::Overflow) => "equal".to_string(),
            (Truth::Undecodable, Outcome::Refused(_)) => "undecodable on either side".to_string(),
            (Truth::Values(_) | Truth::Overflow, Outcome::Refused(why)) => format!("left: {why}"),
            (truth, outcome) => {
                let truth = match truth {
                    Truth::Values(_) => "values".to_string(),
                    other => format!("{other:?}"),
                };
                panic!("{outcome:?} where the CPU has {truth}: {:?}", case.image);
            }
        };
        *tally.entry(how).or_default() += 1;
    }
    batch.assert_rest_untouched();
}

fn total(tally: &Tally) -> usize {
    tally.values().sum()
}

fn slow() -> Setup<'static> {
    Setup {
        deadline: Duration::from_secs(240),
        ..Setup::default()
    }
}

#[test]
fn real_frames_give_what_the_cpu_decodes() {
    let test = "ljpeg::real_frames_give_what_the_cpu_decodes";
    let Some(frames) = jpeg2k_frames::of(test, &[CodecFamily::JpegLossless]) else {
        return;
    };
    let ran = child(test, &slow(), || {
        let mut engine = Engine::open(0).unwrap();
        let mut tally = Tally::new();
        let mut cases = Vec::new();
        for frame in &frames {
            match plan(
                &frame.uid,
                &frame.image,
                &Show::Stored,
                &frame.encoded,
                true,
            ) {
                Ok(codec) => cases.push(Case {
                    codec,
                    image: frame.image.clone(),
                    show: Show::Stored,
                    encoded: frame.encoded.clone(),
                }),
                Err(why) => {
                    println!("{}: not planned: {why}", frame.name);
                    *tally.entry(format!("not planned: {why}")).or_default() += 1;
                }
            }
        }
        for cases in cases.chunks(16) {
            run(&mut engine, cases, DENSE, &mut tally);
        }
        println!("{} frames: {tally:?}", frames.len());
        assert_eq!(total(&tally), frames.len());
        assert!(tally["equal"] * 10 >= frames.len() * 8, "{tally:?}");
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}

/// The image that a job of the encoder is one of.
fn image(job: &Job) -> ImagePixel {
    let bits = if job.precision > 8 { 16 } else { 8 };
    ImagePixel {
        samples_per_pixel: job.components as u16,
        ..gray(job.height as u32, job.width as u32, bits)
    }
}

/// Noise, a slope with little noise, one value, or stripes that ask for the rarest differences.
fn samples(job: &Job, random: &mut Random) -> Vec<u16> {
    let mask = ((1_u32 << job.precision) - (1 << job.point_transform)) as u16;
    let kind = random.below(5);
    let value = random.next() as u16;
    let sample = |i: usize| match kind {
        0 => random.next() as u16 & mask,
        1 | 2 => ((i / job.components * 3) as u16 + random.below(4) as u16) & mask,
        3 => value & mask,
        _ if random.below(9) == 0 => mask,
        _ => (i % 2 * 0x8000) as u16 & mask,
    };
    (0..job.len()).map(sample).collect()
}

fn case(job: &Job, random: &mut Random) -> Case {
    let encoded = job.encode(&samples(job, random));
    let mut image = image(job);
    // Stored bits below those that are coded, a sign, a place of High Bit that means nothing here.
    if random.below(3) == 0 {
        image.bits_stored = 1 + random.below(image.bits_allocated.into()) as u16;
        image.signed = random.below(2) == 0;
    }
    let show = match random.below(4) {
        0 => Show::Offset {
            intercept: -1024,
            dtype: Dtype::I32,
        },
        1 => Show::Linear {
            slope: 0.1,
            intercept: -3.0,
            dtype: Dtype::F32,
        },
        _ => Show::Stored,
    };
    Case {
        codec: Codec::JpegLossless,
        image,
        show,
        encoded,
    }
}

/// Every predictor with every precision, and the rest at random.
fn jobs(random: &mut Random, (width, height): (u64, u64)) -> Vec<Job> {
    let mut jobs = Vec::new();
    for selection in 1..=7 {
        for precision in 2..=16 {
            let width = 1 + random.below(width) as usize;
            let height = 1 + random.below(height) as usize;
            let components = [1, 1, 3][random.below(3) as usize];
            let mut job = Job::new(width, height, components, precision);
            job.selection = selection;
            if random.below(3) == 0 {
                job.point_transform = random.below(precision.into()) as u8;
            }
            if random.below(3) == 0 {
                job.restart_lines = 1 + random.below(height as u64) as usize;
            }
            let all = [Codes::Skewed, Codes::SkewedBack, Codes::Flat, Codes::Long];
            let table = || all[(random.next() >> 20) as usize % 4];
            job.tables = std::iter::repeat_with(table).take(components).collect();
            if random.below(2) == 0 {
                job.tables.truncate(1);
            }
            (job.dnl, job.clutter) = (random.below(9) == 0, random.below(4) == 0);
            jobs.push(job);
        }
    }
    jobs
}

#[test]
fn every_predictor_precision_and_table() {
    let name = "ljpeg::every_predictor_precision_and_table";
    let ran = child(name, &slow(), || {
        let (mut engine, mut random) = (Engine::open(0).unwrap(), Random(11));
        let (mut small, mut large) = (Tally::new(), Tally::new());
        for turn in 0..6 {
            let jobs = jobs(&mut random, (40, 30));
            let cases: Vec<Case> = jobs.iter().map(|job| case(job, &mut random)).collect();
            for case in &cases {
                assert_eq!(planned(&case.image, &case.encoded), Ok(Codec::JpegLossless));
            }
            let spread = Spread {
                encoded_gap: turn,
                out_gap: turn * 4,
                reversed: turn % 2 == 1,
            };
            run(&mut engine, &cases, spread, &mut small);
        }
        for _ in 0..2 {
            let jobs = jobs(&mut random, (300, 90));
            let cases: Vec<Case> = jobs.iter().map(|job| case(job, &mut random)).collect();
            run(&mut engine, &cases, DENSE, &mut large);
        }
        println!("small: {small:?}\nlarge: {large:?}");
        // Nothing is undecodable, and only what does not settle is left.
        let settled = |tally: &Tally| tally["equal"] + tally.get("left: unsettled").unwrap_or(&0);
        assert_eq!(settled(&small), total(&small));
        assert_eq!(settled(&large), total(&large));
        assert!(small["equal"] * 100 >= total(&small) * 95);
        assert!(large["equal"] * 2 >= total(&large));
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}

/// What [`plan`] says of a stream in an image.
fn planned(image: &ImagePixel, encoded: &[u8]) -> Result<Codec, Refusal> {
    plan(UID, image, &Show::Stored, encoded, true)
}

#[test]
fn what_the_markers_rule_out_is_not_asked_for() {
    let mut job = Job::new(9, 5, 3, 8);
    let whole = job.encode(&vec![7; job.len()]);
    let rgb = image(&job);
    assert_eq!(planned(&rgb, &whole), Ok(Codec::JpegLossless));
    let broken = Err(Refusal::Codestream);
    for len in [0, 1, 20, 60] {
        assert_eq!(planned(&rgb, &whole[..len]), broken, "{len} bytes");
    }
    job.scans = vec![vec![0], vec![1], vec![2]];
    let encoded = job.encode(&vec![7; job.len()]);
    assert_eq!(planned(&rgb, &encoded), broken, "several scans");
    job.scans = vec![vec![2, 0, 1]];
    let encoded = job.encode(&vec![7; job.len()]);
    assert_eq!(
        planned(&rgb, &encoded),
        broken,
        "components in another order"
    );
    for other in [gray(5, 9, 8), gray(9, 5, 8)] {
        assert_eq!(planned(&other, &whole), broken, "another image");
    }
    let wide = ImagePixel {
        bits_allocated: 32,
        ..rgb.clone()
    };
    assert_eq!(planned(&wide, &whole), Err(Refusal::Samples));
    let mut baseline = whole.clone();
    let at = whole
        .windows(2)
        .position(|two| two == [0xFF, 0xC3])
        .unwrap();
    baseline[at + 1] = 0xC0;
    assert_eq!(planned(&rgb, &baseline), broken, "baseline");
}

/// A sample of more bits than its word: what then stands there is the CPU's own affair.
#[test]
fn samples_beyond_their_width_are_left_to_the_cpu() {
    let name = "ljpeg::samples_beyond_their_width_are_left_to_the_cpu";
    let ran = child(name, &Setup::default(), || {
        let mut engine = Engine::open(0).unwrap();
        for selection in 1..=7 {
            let mut job = Job::new(30, 20, 1, 16);
            job.selection = selection;
            let ramp: Vec<u16> = (0..600).map(|i| 32768 - 128 + i).collect();
            let mut encoded = job.encode(&ramp);
            let at = encoded.windows(2).position(|two| two == [0xFF, 0xC3]);
            encoded[at.unwrap() + 4] = 8;
            let case = Case {
                codec: Codec::JpegLossless,
                image: gray(20, 30, 8),
                show: Show::Stored,
                encoded,
            };
            assert!(matches!(case.truth(), Truth::Values(_)));
            let outcomes = Batch::new(&[case], DENSE).run(&mut engine);
            assert_eq!(outcomes, [Outcome::Refused(Refusal::Codestream)]);
        }
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

/// One value, coded by five zero bits a sample: a decoder that starts beside a code stays beside.
#[test]
fn a_run_that_never_falls_into_step_is_left_to_the_cpu() {
    let name = "ljpeg::a_run_that_never_falls_into_step_is_left_to_the_cpu";
    let ran = child(name, &Setup::default(), || {
        let mut engine = Engine::open(0).unwrap();
        // The first difference apart, 409.6 samples to a part; as many rounds as there are parts help.
        for (lines, settles) in [(2, true), (7, true), (200, false)] {
            let mut job = Job::new(400, lines, 1, 12);
            job.tables = vec![Codes::Flat];
            let case = Case {
                codec: Codec::JpegLossless,
                image: image(&job),
                show: Show::Stored,
                encoded: job.encode(&vec![777; job.len()]),
            };
            let mut batch = Batch::new(std::slice::from_ref(&case), DENSE);
            let expected = match settles {
                true => Outcome::Done,
                false => Outcome::Refused(Refusal::Unsettled),
            };
            assert_eq!(batch.run(&mut engine), [expected], "{lines} lines");
            if settles {
                assert_eq!(case.truth(), Truth::Values(batch.values(0).to_vec()));
            }
        }
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

/// Breaks a stream in one to three places, mostly in its entropy-coded data.
fn broken(encoded: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = encoded.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.len() < 4 {
            break;
        }
        let at = match random.below(4) {
            0 => random.below(bytes.len() as u64),
            _ => bytes.len() as u64 - 1 - random.below(bytes.len() as u64 / 2),
        } as usize;
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes[at] = 0xFF,
            2 => bytes[at] = 0,
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, random.next() as u8),
            5 => {
                let marker = 0xC0 + random.below(64) as u8;
                bytes.splice(at..at, [0xFF, marker]);
            }
            6 => bytes.extend(random.bytes(1 + at % 40)),
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
    bytes
}

#[test]
fn broken_streams_never_give_other_values() {
    let name = "ljpeg::broken_streams_never_give_other_values";
    let ran = child(name, &slow(), || {
        let (mut engine, mut random) = (Engine::open(0).unwrap(), Random(12));
        let mut tally = Tally::new();
        for turn in 0..12 {
            let size = if turn < 10 { (24, 16) } else { (120, 60) };
            let mut cases = Vec::new();
            for job in jobs(&mut random, size) {
                let whole = case(&job, &mut random);
                for _ in 0..4 {
                    let encoded = broken(&whole.encoded, &mut random);
                    cases.push(Case {
                        encoded,
                        ..whole.clone()
                    });
                }
            }
            run(&mut engine, &cases, DENSE, &mut tally);
        }
        println!("{} streams: {tally:?}", total(&tally));
        assert!(tally["equal"] > 500 && tally["undecodable on either side"] > 500);
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}
