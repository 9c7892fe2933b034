//! What goes wrong on a device, injected: no frame comes out wrong unsaid, and nothing is left behind.

use std::time::Duration;

use dicomfs::decode::gpu::{Engine, Outcome, Refusal, Show, probe};

use crate::cases::{Batch, Case, DENSE, LITTLE, Random, check, gray, rle};
use crate::fake_gpu::libcuda::{Setup, child};
use dicomfs::decode::gpu::Codec;

fn setup(faults: &str) -> Setup<'_> {
    Setup {
        faults,
        ..Setup::default()
    }
}

/// Frames of 256 KiB, all different.
fn frames(count: u64) -> Vec<Case> {
    let mut random = Random(11);
    let image = gray(256, 512, 16);
    (0..count)
        .map(|number| {
            let words: Vec<u8> = (0..256 * 512u64)
                .flat_map(|at| ((at / 37 + number * 7) as u16).to_le_bytes())
                .collect();
            let (codec, encoded) = if number % 2 == 0 {
                (LITTLE, words)
            } else {
                (Codec::Rle, rle(&mut random, &image, &words))
            };
            Case {
                codec,
                image: image.clone(),
                show: Show::Stored,
                encoded,
            }
        })
        .collect()
}

#[test]
fn without_a_device_there_is_a_sentence() {
    for (faults, expected) in [
        ("no_device", "the CUDA driver does not start: cuInit"),
        ("old", "the driver is for CUDA 11.8"),
    ] {
        let ran = child(
            "faults::without_a_device_there_is_a_sentence",
            &setup(faults),
            || {
                println!("probe: {}", probe(0).unwrap_err());
                println!("open: {}", Engine::open(0).unwrap_err());
            },
        );
        let Some(ran) = ran else { return };
        ran.assert_passed();
        for who in ["probe", "open"] {
            let line = format!("{who}: {expected}");
            assert!(ran.output.contains(&line), "{}", ran.output);
        }
    }
}

#[test]
fn a_device_is_described() {
    let ran = child("faults::a_device_is_described", &Setup::default(), || {
        let report = probe(0).unwrap();
        assert_eq!(report.name, "fake device of the tests");
        assert_eq!(report.uuid, "GPU-f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff");
        assert_eq!(report.memory_bytes, 4 << 30);
        assert_eq!(report.driver_version, "12.2");
        assert_eq!(report.compute_capability, "7.5");
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            serde_json::from_str::<dicomfs::decode::gpu::DeviceReport>(&text).unwrap(),
            report
        );
        assert!(probe(1).unwrap_err().contains("no CUDA device 1"));
        assert_eq!(Engine::open(0).unwrap().report(), &report);
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}

#[test]
fn no_memory_makes_smaller_chunks_and_then_a_refusal() {
    for (faults, least) in [
        ("alloc:1", 24),
        ("alloc:2", 24),
        ("alloc:3+", 24),
        ("alloc:1+", 0),
    ] {
        let name = "faults::no_memory_makes_smaller_chunks_and_then_a_refusal";
        let ran = child(name, &setup(faults), || {
            let cases = frames(24);
            let mut batch = Batch::new(&cases, DENSE);
            let mut engine = Engine::open(0).unwrap();
            let outcomes = batch.run(&mut engine);
            let mut done = 0;
            for (index, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Outcome::Done => {
                        done += 1;
                        assert!(
                            crate::cases::Truth::Values(batch.values(index).to_vec())
                                == cases[index].truth()
                        );
                    }
                    Outcome::Refused(Refusal::TooLarge) => {}
                    other => panic!("{other:?}"),
                }
            }
            println!("done: {done}.");
        });
        let Some(ran) = ran else { return };
        ran.assert_passed();
        let done = ran
            .output
            .split("done: ")
            .nth(1)
            .and_then(|rest| rest.split('.').next());
        let done: usize = done.expect("a count").parse().expect("a number");
        assert!(done >= least, "{faults}: {done} of 24");
    }
}

#[test]
fn device_memory_stays_within_its_share() {
    let test = "faults::device_memory_stays_within_its_share";
    let limited = Setup {
        environment: &[("FAKE_CUDA_MEMORY", "25165824")],
        ..Setup::default()
    };
    let ran = child(test, &limited, || {
        let mut engine = Engine::open(0).unwrap();
        assert_eq!(check(&mut engine, &frames(60), DENSE), 60);
        // A frame that no share holds.
        let big = Case {
            codec: LITTLE,
            image: gray(2048, 2048, 16),
            show: Show::Stored,
            encoded: vec![1; 8 << 20],
        };
        let mut batch = Batch::new(&[big], DENSE);
        assert_eq!(
            batch.run(&mut engine),
            [Outcome::Refused(Refusal::TooLarge)]
        );
    });
    if let Some(ran) = ran {
        ran.assert_passed();
        // Half of 24 MiB, and what rounding to large pages adds to each of three slots.
        assert!(
            ran.counters.peak_bytes <= (12 + 6) << 20,
            "{:?}",
            ran.counters
        );
    }
}

#[test]
fn memory_that_cannot_be_pinned_is_copied() {
    for faults in [
        "register:1+",
        "register:1",
        "register:2",
        "register:1+,pinned:1+",
    ] {
        let name = "faults::memory_that_cannot_be_pinned_is_copied";
        let ran = child(name, &setup(faults), || {
            let mut engine = Engine::open(0).unwrap();
            for _ in 0..2 {
                assert_eq!(check(&mut engine, &frames(24), DENSE), 24);
            }
            engine.release();
            assert_eq!(check(&mut engine, &frames(3), DENSE), 3);
        });
        let Some(ran) = ran else { return };
        ran.assert_passed();
        assert!(ran.counters.launches > 0);
    }
}

#[test]
fn a_launch_that_fails_fails_its_chunk_alone() {
    for nth in 1..=9 {
        let faults = format!("launch:{nth}");
        let ran = child(
            "faults::a_launch_that_fails_fails_its_chunk_alone",
            &setup(&faults),
            || {
                let cases = frames(24);
                let mut engine = Engine::open(0).unwrap();
                let mut batch = Batch::new(&cases, DENSE);
                let outcomes = batch.run(&mut engine);
                let mut failed = 0;
                for (index, outcome) in outcomes.iter().enumerate() {
                    match outcome {
                        Outcome::Done => {
                            let values = crate::cases::Truth::Values(batch.values(index).to_vec());
                            assert!(values == cases[index].truth());
                        }
                        Outcome::Failed(why) => {
                            assert!(why.contains("LAUNCH_OUT_OF_RESOURCES"), "{why}");
                            failed += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
                assert!((1..24).contains(&failed), "{failed} failed");
                // The engine goes on.
                assert_eq!(check(&mut engine, &cases, DENSE), 24);
            },
        );
        let Some(ran) = ran else { return };
        ran.assert_passed();
    }
}

#[test]
fn a_lost_device_ends_the_engine() {
    for nth in 1..=9 {
        let faults = format!("lost:{nth}");
        let ran = child(
            "faults::a_lost_device_ends_the_engine",
            &setup(&faults),
            || {
                let cases = frames(24);
                let mut engine = Engine::open(0).unwrap();
                let mut batch = Batch::new(&cases, DENSE);
                let lost = engine.run(&batch.jobs, &batch.encoded, &mut batch.slab);
                let why = lost.unwrap_err();
                assert!(why.contains("ILLEGAL_ADDRESS"), "{why}");
                let again = engine.run(&batch.jobs, &batch.encoded, &mut batch.slab);
                assert!(again.is_err());
            },
        );
        let Some(ran) = ran else { return };
        assert!(ran.status.success(), "{}", ran.output);
        assert_eq!(ran.counters.misuses, 0, "{}", ran.output);
    }
}

#[test]
fn wrong_bytes_are_what_the_caller_sees() {
    // Nobody but the caller, who compares, can tell: what the device says is that all is well.
    for (faults, zeros) in [("zeros:2", true), ("wrong:2", false)] {
        let ran = child(
            "faults::wrong_bytes_are_what_the_caller_sees",
            &setup(faults),
            || {
                let cases = frames(24);
                let mut engine = Engine::open(0).unwrap();
                let mut batch = Batch::new(&cases, DENSE);
                let outcomes = batch.run(&mut engine);
                assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
                let wrong = (0..24)
                    .filter(|&index| {
                        let values = crate::cases::Truth::Values(batch.values(index).to_vec());
                        values != cases[index].truth()
                    })
                    .count();
                let zeros = (0..24).filter(|&index| batch.values(index).iter().all(|&b| b == 0));
                println!("{wrong} wrong, {} of zeros.", zeros.count());
                assert!((1..24).contains(&wrong));
            },
        );
        let Some(ran) = ran else { return };
        ran.assert_passed();
        assert_eq!(
            !ran.output.contains(" 0 of zeros."),
            zeros,
            "{}",
            ran.output
        );
    }
}

#[test]
fn a_hang_and_a_death_end_with_the_process() {
    let run = || {
        let mut engine = Engine::open(0).unwrap();
        let mut batch = Batch::new(&frames(24), DENSE);
        batch.run(&mut engine);
        println!("not reached");
    };
    let name = "faults::a_hang_and_a_death_end_with_the_process";
    let hanging = Setup {
        faults: "hang:2",
        deadline: Duration::from_secs(5),
        ..Setup::default()
    };
    let Some(ran) = child(name, &hanging, run) else {
        return;
    };
    assert!(ran.timed_out && ran.counters.launches >= 2, "{ran:?}");
    assert!(!ran.output.contains("not reached"));
    let Some(ran) = child(name, &setup("die:2"), run) else {
        return;
    };
    assert!(!ran.timed_out && !ran.status.success(), "{ran:?}");
    assert_eq!(ran.counters.launches, 1);
    assert!(!ran.output.contains("not reached"));
}
