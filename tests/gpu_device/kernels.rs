//! Every kernel and every rule against the CPU: tables, then random jobs.

use dicomfs::decode::gpu::{Codec, Engine, Outcome, Refusal, Show};
use dicomfs::decode::values::stored_dtype;
use dicomfs::dicom::{ImagePixel, Photometric, PixelElement};
use dicomfs::volume::Dtype;

use crate::cases::{
    BIG, Batch, Case, DENSE, LITTLE, Random, Spread, check, gray, rle, segments, shows, smooth,
};
use crate::fake_gpu::libcuda::{Setup, child};

/// Images of all widths, signs, stored bits, places of High Bit and numbers of samples.
fn images(rows: u32, columns: u32) -> Vec<ImagePixel> {
    let mut images = Vec::new();
    for (bits, stored, high) in [
        (8, 8, 7),
        (8, 5, 4),
        (8, 6, 7),
        (16, 16, 15),
        (16, 12, 11),
        (16, 12, 15),
        (16, 1, 9),
        (32, 32, 31),
        (32, 20, 27),
        (64, 64, 63),
        (64, 33, 40),
    ] {
        for signed in [false, true] {
            for (samples, planar) in [(1, 0), (3, 0), (3, 1), (2, 1), (4, 0)] {
                images.push(ImagePixel {
                    bits_stored: stored,
                    high_bit: high,
                    signed,
                    samples_per_pixel: samples,
                    planar_configuration: planar,
                    ..gray(rows, columns, bits)
                });
            }
        }
    }
    images
}

fn engine() -> Engine {
    Engine::open(0).expect("the fake device")
}

#[test]
fn native_frames() {
    let ran = child("kernels::native_frames", &Setup::default(), || {
        let (mut engine, mut random, mut frames) = (engine(), Random(1), 0);
        for spread in [
            DENSE,
            Spread {
                encoded_gap: 3,
                out_gap: 5,
                reversed: true,
            },
        ] {
            let mut cases = Vec::new();
            for image in images(5, 7) {
                for show in shows(stored_dtype(&image).unwrap()) {
                    for codec in [LITTLE, BIG] {
                        cases.push(Case {
                            codec,
                            image: image.clone(),
                            show,
                            encoded: random.bytes(image.frame_len_bytes().unwrap()),
                        });
                    }
                }
            }
            frames += check(&mut engine, &cases, spread);
        }
        println!("{frames} native frames");
        assert!(frames > 3000);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn floats_are_stored_as_they_are() {
    let ran = child(
        "kernels::floats_are_stored_as_they_are",
        &Setup::default(),
        || {
            let mut random = Random(2);
            let mut cases = Vec::new();
            for (bits, element) in [
                (32, PixelElement::FloatPixelData),
                (64, PixelElement::DoubleFloatPixelData),
            ] {
                for codec in [LITTLE, BIG] {
                    let image = ImagePixel {
                        element,
                        ..gray(3, 5, bits)
                    };
                    cases.push(Case {
                        codec,
                        show: Show::Stored,
                        encoded: random.bytes(image.frame_len_bytes().unwrap()),
                        image,
                    });
                }
            }
            assert_eq!(check(&mut engine(), &cases, DENSE), 4);
        },
    );
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn every_16_bit_sample_by_every_rule() {
    let name = "kernels::every_16_bit_sample_by_every_rule";
    let ran = child(name, &Setup::default(), || {
        let (mut engine, mut done) = (engine(), 0);
        let encoded: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for signed in [false, true] {
            let image = ImagePixel {
                signed,
                ..gray(256, 256, 16)
            };
            let cases: Vec<Case> = shows(stored_dtype(&image).unwrap())
                .into_iter()
                .map(|show| Case {
                    codec: LITTLE,
                    image: image.clone(),
                    show,
                    encoded: encoded.clone(),
                })
                .collect();
            done += check(&mut engine, &cases, DENSE);
        }
        println!("{done} frames of all 16-bit samples");
        assert!(done > 20);
    });
    if let Some(ran) = ran {
        // A batch of this size is worth pinning.
        assert!(ran.assert_passed().counters.registrations >= 4, "{ran:?}");
        assert_eq!(ran.counters.pageable_copies, 0);
    }
}

#[test]
fn rle_frames() {
    let ran = child("kernels::rle_frames", &Setup::default(), || {
        let (mut engine, mut random, mut frames) = (engine(), Random(3), 0);
        // Planes shorter than a chunk of the kernels, and longer than several.
        for (rows, columns) in [(1, 1), (3, 5), (61, 67), (211, 199)] {
            let mut cases = Vec::new();
            for image in images(rows, columns) {
                let planes = usize::from(image.samples_per_pixel) * image.sample_len_bytes();
                if planes > 15 {
                    continue;
                }
                let from = stored_dtype(&image).unwrap();
                let every = if rows < 60 { 3 } else { 11 };
                for show in shows(from).into_iter().step_by(every) {
                    let words = smooth(&mut random, image.frame_len_bytes().unwrap());
                    let encoded = rle(&mut random, &image, &words);
                    let (codec, image) = (Codec::Rle, image.clone());
                    cases.push(Case {
                        codec,
                        image,
                        show,
                        encoded,
                    });
                }
            }
            frames += check(&mut engine, &cases, DENSE);
        }
        println!("{frames} RLE frames");
        assert!(frames > 400);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

/// Segments made by hand around the length of a chunk (4096 bytes) and of packets.
fn awkward_segments() -> Vec<(usize, Vec<u8>)> {
    let run = |len: usize, value: u8| [(257 - len) as u8, value];
    let mut segments = Vec::new();
    // Nothing but runs of two: every chunk starts at a packet.
    segments.push((8192, run(2, 7).repeat(4096)));
    // One byte that does nothing, so that runs straddle the chunks.
    let mut odd = vec![128];
    odd.extend(run(128, 9).repeat(3000));
    segments.push((128 * 3000, odd.clone()));
    segments.push((128 * 3000 + 1, odd));
    // Literals of 128 bytes that reach as far as they can into the next chunk.
    for lead in [0, 1, 2, 95, 96, 97, 126, 127, 128] {
        let mut literal = vec![128; lead];
        for number in 0..100u8 {
            literal.push(127);
            literal.extend((0..128).map(|at| number.wrapping_mul(3) ^ at));
        }
        segments.push((12_800, literal.clone()));
        // More than is wanted, and less.
        segments.push((12_700, literal.clone()));
        segments.push((12_801, literal));
    }
    // Only bytes that do nothing, for chunks on end, before and after what counts.
    let mut idle = vec![128; 10_000];
    idle.extend([3, 1, 2, 3, 4]);
    idle.extend(vec![128; 9000]);
    segments.push((4, idle.clone()));
    segments.push((5, idle));
    // The last packet cut off, in all ways.
    segments.push((3, vec![5, 1, 2, 3]));
    segments.push((4, vec![5, 1, 2, 3]));
    segments.push((1, vec![0]));
    segments.push((1, vec![200]));
    segments.push((1, vec![]));
    segments.push((2, vec![255, 9]));
    // A packet that begins on the last byte of a chunk.
    for control in [2u8, 200] {
        let mut edge = vec![128; 4095];
        edge.extend([control, 1, 2, 3]);
        segments.push((3, edge.clone()));
        segments.push((60, edge));
    }
    let exact = vec![128; 4096];
    segments.push((1, exact));
    segments
}

#[test]
fn rle_at_the_edges_of_chunks_and_packets() {
    let name = "kernels::rle_at_the_edges_of_chunks_and_packets";
    let ran = child(name, &Setup::default(), || {
        let mut cases = Vec::new();
        for (len, packed) in awkward_segments() {
            for second in [vec![128, 128], packed.clone()] {
                for (samples, packed) in
                    [(1, vec![packed.clone()]), (2, vec![packed.clone(), second])]
                {
                    cases.push(Case {
                        codec: Codec::Rle,
                        image: ImagePixel {
                            samples_per_pixel: samples,
                            ..gray(1, len as u32, 8)
                        },
                        show: Show::Stored,
                        encoded: segments(&packed),
                    });
                }
            }
        }
        // Rows and Columns are 16-bit numbers.
        cases.retain(|case| case.image.columns <= 0xFFFF);
        let all = cases.len();
        let done = check(&mut engine(), &cases, DENSE);
        println!("{done} of {all} awkward segments decode");
        assert!(done > 20 && done < all);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn corrupt_rle_is_told_as_the_cpu_tells_it() {
    let name = "kernels::corrupt_rle_is_told_as_the_cpu_tells_it";
    let ran = child(name, &Setup::default(), || {
        let (mut engine, mut random) = (engine(), Random(5));
        let (mut done, mut all) = (0, 0);
        for _ in 0..40 {
            let mut cases = Vec::new();
            for _ in 0..50 {
                let samples = 1 + random.below(3) as u16;
                let bits = [8, 16, 32][random.below(3) as usize];
                let image = ImagePixel {
                    samples_per_pixel: samples,
                    ..gray(
                        1 + random.below(90) as u32,
                        1 + random.below(90) as u32,
                        bits,
                    )
                };
                let words = smooth(&mut random, image.frame_len_bytes().unwrap());
                let mut encoded = rle(&mut random, &image, &words);
                for _ in 0..random.below(4) {
                    let at = random.below(encoded.len() as u64) as usize;
                    encoded[at] = random.next() as u8;
                }
                if random.below(3) == 0 {
                    encoded.truncate(random.below(encoded.len() as u64 + 1) as usize);
                }
                cases.push(Case {
                    codec: Codec::Rle,
                    image,
                    show: Show::Stored,
                    encoded,
                });
            }
            all += cases.len();
            done += check(&mut engine, &cases, DENSE);
        }
        println!("{done} of {all} corrupt RLE frames decode");
        assert!(done > 200 && all - done > 200);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

/// A job of any kind.
fn any_case(random: &mut Random) -> Case {
    let bits = [8, 16, 16, 32, 64][random.below(5) as usize];
    let stored = 1 + random.below(u64::from(bits)) as u16;
    let samples = [1, 1, 1, 2, 3, 4][random.below(6) as usize];
    let image = ImagePixel {
        bits_stored: stored,
        high_bit: stored - 1 + random.below(u64::from(bits - stored) + 1) as u16,
        signed: random.below(2) == 0,
        samples_per_pixel: samples,
        planar_configuration: random.below(2) as u16,
        ..gray(
            1 + random.below(80) as u32,
            1 + random.below(80) as u32,
            bits,
        )
    };
    let from = stored_dtype(&image).unwrap();
    let mut show = shows(from)[random.below(shows(from).len() as u64) as usize];
    match &mut show {
        Show::Offset { intercept, .. } if random.below(2) == 0 => {
            *intercept = random.below(140_000) as i64 - 70_000;
        }
        Show::Linear {
            slope, intercept, ..
        } => {
            let any = f64::from_bits(random.next());
            *slope = if any.is_finite() { any } else { 0.7 };
            *intercept = random.next() as i64 as f64 / 1e15;
        }
        _ => {}
    }
    let words = smooth(random, image.frame_len_bytes().unwrap());
    let rle_planes = usize::from(samples) * image.sample_len_bytes();
    let (codec, encoded) = match random.below(3) {
        0 if rle_planes <= 15 => (Codec::Rle, rle(random, &image, &words)),
        1 => (BIG, words),
        _ => (LITTLE, words),
    };
    Case {
        codec,
        image,
        show,
        encoded,
    }
}

#[test]
fn random_batches() {
    let ran = child("kernels::random_batches", &Setup::default(), || {
        let (mut engine, mut random, mut done) = (engine(), Random(7), 0);
        for _ in 0..60 {
            let count = 1 + random.below(60);
            let cases: Vec<Case> = (0..count).map(|_| any_case(&mut random)).collect();
            let spread = Spread {
                encoded_gap: random.below(20) as usize,
                out_gap: [0, 0, 1, 64][random.below(4) as usize],
                reversed: random.below(2) == 0,
            };
            done += check(&mut engine, &cases, spread);
        }
        println!("{done} random jobs");
        assert!(done > 1000);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

/// A change to a batch that makes its first job bad, and what that job is then refused for.
type BadJob = (Box<dyn Fn(&mut Batch)>, Option<Refusal>);

/// Jobs that must not reach the device.
fn bad_jobs() -> Vec<BadJob> {
    fn bad(change: impl Fn(&mut Batch) + 'static, refusal: Option<Refusal>) -> BadJob {
        (Box::new(change), refusal)
    }
    vec![
        bad(|b| b.jobs[0].out.end += 1, None),
        bad(|b| b.jobs[0].out.end = 0, None),
        bad(|b| b.jobs[0].out = u64::MAX - 1..u64::MAX, None),
        bad(
            |b| b.jobs[0].out = b.jobs[1].out.start + 2..b.jobs[1].out.end + 2,
            None,
        ),
        bad(|b| b.jobs[0].encoded.end = u64::MAX, None),
        bad(
            |b| b.jobs[0].encoded.start = b.jobs[0].encoded.end + 1,
            None,
        ),
        bad(|b| b.jobs[0].encoded.end -= 1, Some(Refusal::Codestream)),
        bad(|b| b.jobs[0].image.rows = 0, Some(Refusal::Samples)),
        bad(
            |b| b.jobs[0].image.samples_per_pixel = 0,
            Some(Refusal::Samples),
        ),
        bad(|b| b.jobs[0].image.rows = u32::MAX, Some(Refusal::TooLarge)),
        bad(
            |b| b.jobs[0].image.bits_allocated = 1,
            Some(Refusal::Samples),
        ),
        bad(
            |b| b.jobs[0].image.bits_allocated = 12,
            Some(Refusal::Samples),
        ),
        bad(|b| b.jobs[0].image.bits_stored = 0, Some(Refusal::Samples)),
        bad(|b| b.jobs[0].image.bits_stored = 17, Some(Refusal::Samples)),
        bad(|b| b.jobs[0].image.high_bit = 16, Some(Refusal::Samples)),
        bad(
            |b| {
                b.jobs[0].image.photometric = Photometric::YbrFull422;
                b.jobs[0].image.samples_per_pixel = 3;
            },
            Some(Refusal::Samples),
        ),
        bad(
            |b| b.jobs[0].image.element = PixelElement::FloatPixelData,
            Some(Refusal::Samples),
        ),
        bad(
            |b| {
                b.jobs[0].show = Show::Offset {
                    intercept: 0,
                    dtype: Dtype::U8,
                }
            },
            Some(Refusal::Values),
        ),
        bad(
            |b| {
                b.jobs[0].show = Show::Offset {
                    intercept: i64::MIN,
                    dtype: Dtype::I16,
                }
            },
            Some(Refusal::Values),
        ),
        bad(
            |b| {
                b.jobs[0].show = Show::Linear {
                    slope: f64::NAN,
                    intercept: 0.0,
                    dtype: Dtype::F32,
                }
            },
            Some(Refusal::Values),
        ),
        bad(|b| b.jobs[0].codec = Codec::Rle, Some(Refusal::Codestream)),
        bad(
            |b| b.jobs[0].codec = Codec::Jpeg2000,
            Some(Refusal::NoLibrary),
        ),
        bad(|b| b.jobs[0].codec = Codec::Htj2k, Some(Refusal::NoLibrary)),
    ]
}

#[test]
fn a_bad_job_harms_no_other() {
    let ran = child(
        "kernels::a_bad_job_harms_no_other",
        &Setup::default(),
        || {
            let (mut engine, mut random) = (engine(), Random(8));
            let image = gray(9, 9, 16);
            let cases: Vec<Case> = (0..4)
                .map(|_| Case {
                    codec: LITTLE,
                    image: image.clone(),
                    show: Show::Stored,
                    encoded: random.bytes(162),
                })
                .collect();
            let jobs = bad_jobs();
            println!("{} bad jobs", jobs.len());
            for (number, (change, refusal)) in jobs.into_iter().enumerate() {
                let mut batch = Batch::new(&cases, DENSE);
                change(&mut batch);
                let outcomes = batch.run(&mut engine);
                match (&refusal, &outcomes[0]) {
                    (Some(refusal), Outcome::Refused(got)) => assert_eq!(refusal, got, "{number}"),
                    (None, Outcome::Failed(_)) => {}
                    // Of two jobs for the same bytes either may be the one that is done.
                    (None, Outcome::Done) if matches!(outcomes[1], Outcome::Failed(_)) => continue,
                    other => panic!("{number}: {other:?}"),
                }
                // The slab's part of job 0 may be anything; the others are right.
                for (index, case) in cases.iter().enumerate().skip(1) {
                    if outcomes[index] == Outcome::Done {
                        assert!(
                            batch.values(index) == case.encoded,
                            "{number}: frame {index}"
                        );
                    }
                }
                let good = outcomes[1..]
                    .iter()
                    .filter(|o| **o == Outcome::Done)
                    .count();
                assert!(good >= 2, "{number}: {outcomes:?}");
            }
            assert!(engine.run(&[], &[], &mut []).unwrap().is_empty());
        },
    );
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}
