//! Components that a library leaves in device memory, made stored samples and values.
//!
//! Unsafe because the decoder of these tests writes planes by address, as a library does; the fake's
//! device memory is memory of the process.
#![allow(unsafe_code)]

use dicomfs::decode::gpu::{
    Codec, Engine, LibraryReport, NVJPEG2K, Outcome, PlaneDecoder, PlaneRequest, Planes, Refusal,
    Show, Stream,
};
use dicomfs::decode::values::{apply, stored_dtype};
use dicomfs::dicom::{ImagePixel, Luts};
use dicomfs::volume::{Transform, ValueKind, Values};

use crate::cases::{Batch, Case, DENSE, LITTLE, Random, gray, shows};
use crate::fake_gpu::libcuda::{Setup, child};

/// A codestream of these tests: bytes a sample, precision, then the planes without padding.
struct Decoder;

impl PlaneDecoder for Decoder {
    fn report(&self) -> LibraryReport {
        LibraryReport {
            name: "planes of the tests".into(),
            version: Ok("1".into()),
        }
    }

    fn decode(
        &mut self,
        frames: &[PlaneRequest<'_>],
        streams: &[Stream],
        done: &mut Vec<Result<Planes, Outcome>>,
    ) -> Result<(), String> {
        assert!(!streams.is_empty() && streams.iter().all(|stream| !stream.handle().is_null()));
        for frame in frames {
            let [sample_bytes, precision, ref planes @ ..] = *frame.codestream else {
                done.push(Err(Outcome::Refused(Refusal::Codestream)));
                continue;
            };
            if precision == 99 {
                return Err("the device is lost".into());
            }
            let row = frame.image.columns as usize * usize::from(sample_bytes);
            let rows = frame.image.rows as usize;
            assert!(frame.pitch_bytes >= row);
            for (number, plane) in planes.chunks_exact((row * rows).max(1)).enumerate() {
                assert_eq!(frame.planes[number] % 256, 0);
                for (y, line) in plane.chunks_exact(row).enumerate() {
                    let at = frame.planes[number] as usize + y * frame.pitch_bytes;
                    // SAFETY: the engine gave a plane of that pitch and so many rows.
                    unsafe { std::ptr::copy(line.as_ptr(), at as *mut u8, row) };
                }
            }
            done.push(Ok(Planes {
                sample_bytes,
                precision,
            }));
        }
        Ok(())
    }
}

fn engine() -> Engine {
    let mut engine = Engine::open(0).unwrap();
    engine
        .set_plane_decoder(NVJPEG2K, || Ok(Box::new(Decoder)))
        .unwrap();
    let named = |report: &&LibraryReport| report.name == NVJPEG2K;
    let libraries = engine.report().libraries.iter().filter(named);
    assert!(
        libraries
            .map(|found| &found.version)
            .eq([&Ok("1".to_string())])
    );
    engine
}

/// What `finish_component` in `decode/cpu.rs` makes of the planes.
fn stored(image: &ImagePixel, sample_bytes: usize, precision: u32, planes: &[u8]) -> Vec<u8> {
    let pixels = (image.rows * image.columns) as usize;
    let samples = usize::from(image.samples_per_pixel);
    let width = image.sample_len_bytes();
    let mut out = Vec::new();
    for pixel in 0..pixels {
        for sample in 0..samples {
            let at = (sample * pixels + pixel) * sample_bytes;
            let mut word = [0; 4];
            word[..sample_bytes].copy_from_slice(&planes[at..at + sample_bytes]);
            let shift = 32 - precision;
            let top = i32::from_le_bytes(word) << shift;
            let value = if image.signed {
                top >> shift
            } else {
                (top as u32 >> shift) as i32
            };
            out.extend(&value.to_le_bytes()[..width]);
        }
    }
    out
}

fn case(random: &mut Random, image: ImagePixel, show: Show, sample: usize, precision: u8) -> Case {
    let len = image.frame_len_bytes().unwrap() / image.sample_len_bytes() * sample;
    let mut encoded = vec![sample as u8, precision];
    encoded.extend(random.bytes(len));
    Case {
        codec: Codec::Jpeg2000,
        image,
        show,
        encoded,
    }
}

fn expected(case: &Case) -> Option<Vec<u8>> {
    let (sample, precision) = (usize::from(case.encoded[0]), case.encoded[1].into());
    let stored = stored(&case.image, sample, precision, &case.encoded[2..]);
    let (transform, dtype, frame) = match case.show {
        Show::Stored => return Some(stored),
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
    let mut out = vec![0; case.out_len()];
    let luts = Luts::default();
    apply(&rule, frame, &case.image, &luts, &stored, &mut out).ok()?;
    Some(out)
}

#[test]
fn components_of_all_kinds() {
    let ran = child("planes::components_of_all_kinds", &Setup::default(), || {
        let (mut engine, mut random) = (engine(), Random(21));
        let mut cases = Vec::new();
        for bits in [8, 16, 32] {
            for signed in [false, true] {
                for samples in 1..=4 {
                    let image = ImagePixel {
                        signed,
                        samples_per_pixel: samples,
                        ..gray(7, 131, bits)
                    };
                    for (sample, precision) in [(1, 8), (1, 5), (2, 8), (2, 12), (2, 16), (2, 1)] {
                        if precision > bits {
                            continue;
                        }
                        let all = shows(stored_dtype(&image).unwrap());
                        for show in all.into_iter().step_by(2) {
                            let image = image.clone();
                            cases.push(case(&mut random, image, show, sample, precision as u8));
                        }
                    }
                }
            }
        }
        // Frames of other codecs between them.
        for at in (0..cases.len()).step_by(9) {
            let image = gray(4, 4, 16);
            let (codec, show, encoded) = (LITTLE, Show::Stored, random.bytes(32));
            cases.insert(
                at,
                Case {
                    codec,
                    image,
                    show,
                    encoded,
                },
            );
        }
        let mut batch = Batch::new(&cases, DENSE);
        let outcomes = batch.run(&mut engine);
        let mut done = 0;
        for (index, case) in cases.iter().enumerate() {
            let truth = if case.codec == LITTLE {
                Some(case.encoded.clone())
            } else {
                expected(case)
            };
            match (&outcomes[index], truth) {
                (Outcome::Done, Some(values)) => {
                    assert!(
                        batch.values(index) == values,
                        "{:?} {:?}",
                        case.image,
                        case.show
                    );
                    done += 1;
                }
                (Outcome::Overflow, None) => {}
                (outcome, truth) => panic!("{outcome:?}, {}: {case:?}", truth.is_some()),
            }
        }
        println!("{done} frames of components");
        assert!(done > 400);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn planes_that_nobody_has_written_show_no_earlier_picture() {
    let test = "planes::planes_that_nobody_has_written_show_no_earlier_picture";
    let ran = child(test, &Setup::default(), || {
        let (mut engine, mut random) = (engine(), Random(23));
        let image = gray(64, 48, 16);
        let pictures: Vec<Case> = (0..8)
            .map(|_| case(&mut random, image.clone(), Show::Stored, 2, 16))
            .collect();
        // All slots have had pictures in their memory.
        for _ in 0..6 {
            let mut batch = Batch::new(&pictures, DENSE);
            let outcomes = batch.run(&mut engine);
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
            assert!(Some(batch.values(7).to_vec()) == expected(&pictures[7]));
        }
        // "All went well", says the library, and has written nothing.
        let mut silent = pictures.clone();
        silent.iter_mut().for_each(|case| case.encoded.truncate(2));
        let mut batch = Batch::new(&silent, DENSE);
        for (index, outcome) in batch.run(&mut engine).iter().enumerate() {
            assert_eq!(*outcome, Outcome::Done);
            assert!(
                batch.values(index).iter().all(|byte| *byte == 0),
                "frame {index} shows what was there before"
            );
        }
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn a_frame_the_library_refuses_is_that_frame_alone() {
    let test = "planes::a_frame_the_library_refuses_is_that_frame_alone";
    let ran = child(test, &Setup::default(), || {
        let (mut engine, mut random) = (engine(), Random(22));
        let image = gray(8, 8, 16);
        let mut cases: Vec<Case> = (0..6)
            .map(|_| case(&mut random, image.clone(), Show::Stored, 2, 16))
            .collect();
        cases[1].encoded.clear();
        // Planes that cannot be: a sample of 3 bytes, more bits than the sample has, none.
        cases[2].encoded[1] = 17;
        cases[3].encoded[1] = 0;
        let mut batch = Batch::new(&cases, DENSE);
        let outcomes = batch.run(&mut engine);
        assert_eq!(outcomes[1], Outcome::Refused(Refusal::Codestream));
        for bad in [2, 3] {
            assert!(
                matches!(outcomes[bad], Outcome::Failed(_)),
                "{:?}",
                outcomes[bad]
            );
        }
        for good in [0, 4, 5] {
            assert_eq!(outcomes[good], Outcome::Done);
            assert!(Some(batch.values(good).to_vec()) == expected(&cases[good]));
        }
        cases[5].encoded[1] = 99;
        let mut batch = Batch::new(&cases, DENSE);
        let lost = engine.run(&batch.jobs, &batch.encoded, &mut batch.slab);
        assert_eq!(lost.unwrap_err(), "the device is lost");
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}
