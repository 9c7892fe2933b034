//! Uncompressed frames that the device's process reads from their files: real ones of the data set and
//! made ones, against what the CPU makes of them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use dicomfs::decode::cpu::native::native_frame_location;
use dicomfs::decode::gpu::{Codec, DirectJob, Fault, Job, Outcome, Show};
use dicomfs::decode::values::stored_dtype;
use dicomfs::dicom::{Header, ImagePixel, read_header};
use dicomfs::volume::Dtype;
use serde_json::Value;

use crate::cases::{BIG, Case, LITTLE, Truth, gray};
use crate::common;
use crate::host::{Device, MIB, deadline, file_of, mapped, noise};

/// Frames of 64 x 64 pixels, a file each, behind a header of its own length: files, jobs for a resident
/// that holds one after the other, and its bytes.
pub fn frames(count: u64) -> (Vec<File>, Vec<DirectJob>, Vec<u8>) {
    let mut all = Vec::new();
    let (files, jobs) = (0..count)
        .map(|n| {
            let bytes = noise(n + 1, 8192);
            let mut file = vec![0xEE; 100 + n as usize];
            file.extend(&bytes);
            all.extend(&bytes);
            let job = DirectJob {
                file: n as u32,
                file_offset_bytes: 100 + n,
                job: Job {
                    codec: LITTLE,
                    image: gray(64, 64, 16),
                    show: Show::Stored,
                    encoded: 0..8192,
                    out: n * 8192..(n + 1) * 8192,
                },
            };
            (file_of(&file), job)
        })
        .unzip();
    (files, jobs, all)
}

fn borrowed(files: &[File]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

#[test]
fn frames_of_many_files_are_read_where_they_belong() {
    let Some(device) = Device::new("frames_of_many_files_are_read_where_they_belong") else {
        return;
    };
    // More files than one order has, and more frames.
    let (files, mut jobs, expected) = frames(700);
    // In another order than they lie, and some files used again after others.
    jobs.reverse();
    jobs.rotate_left(333);
    let (id, exported) = device.reserve(expected.len() as u64);
    let direct = |jobs: &[DirectJob]| {
        let files = borrowed(&files);
        device.residents.direct(id, &files, jobs, deadline())
    };
    assert_eq!(direct(&jobs), Ok(vec![Outcome::Done; 700]));
    assert!(mapped(&exported, 0, expected.len()) == expected);
    assert_eq!(direct(&[]), Ok(vec![]));
    let mut absent = jobs[0].clone();
    absent.file = 700;
    assert!(matches!(direct(&[absent]), Err(Fault::Refused(_))));
    let mut packed = jobs[0].clone();
    packed.job.codec = Codec::Rle;
    assert!(matches!(direct(&[packed]), Err(Fault::Refused(_))));
    let mut beyond = jobs[0].clone();
    beyond.job.out = 700 * 8192..701 * 8192;
    assert!(matches!(direct(&[beyond]), Err(Fault::Refused(_))));
    device.residents.release(id);
    device.assert_released();
    let counted = device.counters();
    assert_eq!(counted.downloaded_bytes, 700 * 4, "flags alone come back");
    assert_eq!(device.remote.facts().faults, 0);
}

#[test]
fn what_cannot_be_read_in_full_fails_alone() {
    let Some(device) = Device::new("what_cannot_be_read_in_full_fails_alone") else {
        return;
    };
    let (files, mut jobs, expected) = frames(6);
    files[1].set_len(101 + 8191).expect("cut");
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let directory = File::open("/").expect("a directory");
    let mut fds = borrowed(&files);
    fds[2] = pipe.as_fd();
    fds[3] = directory.as_fd();
    // Less than the header says.
    jobs[4].job.encoded = 0..8191;
    let (id, exported) = device.reserve(expected.len() as u64);
    let direct = device.residents.direct(id, &fds, &jobs, deadline());
    let outcomes = direct.expect("answered");
    for n in [0, 5] {
        let place = n * 8192..(n + 1) * 8192;
        assert_eq!(outcomes[n], Outcome::Done);
        assert!(mapped(&exported, place.start as u64, 8192) == expected[place]);
    }
    for n in [1, 2, 3] {
        assert!(
            matches!(outcomes[n], Outcome::Failed(_)),
            "{n}: {outcomes:?}"
        );
    }
    assert!(matches!(outcomes[4], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(device.remote.facts().faults, 0);
}

#[test]
fn a_frame_that_is_larger_than_the_pinned_memory_is_read_in_pieces() {
    let test = "a_frame_that_is_larger_than_the_pinned_memory_is_read_in_pieces";
    let Some(device) = Device::new(test) else {
        return;
    };
    let image = gray(3000, 7000, 16);
    let mut bytes = vec![0; 42_000_000];
    for (at, word) in bytes.chunks_exact_mut(2).enumerate() {
        word.copy_from_slice(&((at % 65_521) as u16).to_be_bytes());
    }
    let file = file_of(&bytes);
    let case = Case {
        codec: BIG,
        image: image.clone(),
        show: Show::Stored,
        encoded: bytes,
    };
    let job = DirectJob {
        file: 0,
        file_offset_bytes: 0,
        job: Job {
            codec: BIG,
            image,
            show: Show::Stored,
            encoded: 0..42_000_000,
            out: 0..42_000_000,
        },
    };
    let (id, exported) = device.reserve(42_000_000);
    let outcomes = device
        .residents
        .direct(id, &[file.as_fd()], &[job], deadline());
    assert_eq!(outcomes, Ok(vec![Outcome::Done]));
    assert!(Truth::Values(mapped(&exported, 0, 42_000_000)) == case.truth());
    let pinned = device.counters().peak_bytes;
    assert!(pinned <= 42 * MIB + 2 * 33 * MIB, "{pinned}");
}

/// The frames of a native file: where they lie, and as cases for the CPU.
fn native(path: &Path, codec: Codec) -> Option<Vec<(u64, Case)>> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let Ok(Header::Instance(instance)) = read_header(&file, len) else {
        return None;
    };
    let image: ImagePixel = instance.image.clone()?;
    if !matches!(image.bits_allocated, 8 | 16 | 32) {
        return None;
    }
    let location = instance.pixel_data?;
    let bytes = std::fs::read(path).ok()?;
    (0..image.number_of_frames)
        .map(|index| {
            let place = native_frame_location(&image, index)?;
            let start = location.offset_bytes + place.offset_bytes;
            let encoded = bytes.get(start as usize..)?.get(..place.len_bytes)?;
            let case = Case {
                codec,
                image: image.clone(),
                show: Show::Stored,
                encoded: encoded.to_vec(),
            };
            Some((start, case))
        })
        .collect()
}

/// What a case is shown as, beside its stored values: a rescale to f32, and a whole offset.
fn shown(case: &Case) -> Vec<Case> {
    let shows = [
        Show::Stored,
        Show::Linear {
            slope: 0.37,
            intercept: -1000.25,
            dtype: Dtype::F32,
        },
        Show::Offset {
            intercept: -1024,
            dtype: Dtype::I32,
        },
    ];
    let float = matches!(
        stored_dtype(&case.image),
        Some(Dtype::F32 | Dtype::F64) | None
    );
    let some = if float { 1 } else { 3 };
    shows[..some]
        .iter()
        .map(|show| Case {
            show: *show,
            ..case.clone()
        })
        .collect()
}

#[test]
fn real_files_are_shown_as_the_cpu_shows_them() {
    let test = "real_files_are_shown_as_the_cpu_shows_them";
    let Some(dir) = common::data_dir(test) else {
        return;
    };
    let Some(device) = Device::new(test) else {
        return;
    };
    let manifest = std::fs::read_to_string(dir.join("MANIFEST.json")).expect("a manifest");
    let manifest: Vec<Value> = serde_json::from_str(&manifest).expect("JSON");
    let mut done = 0;
    let mut tally = std::collections::BTreeMap::new();
    for entry in &manifest {
        let expected = &entry["expected"];
        let uid = expected["transfer_syntax"].as_str().unwrap_or_default();
        let codec = match uid {
            "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" => LITTLE,
            "1.2.840.10008.1.2.2" => BIG,
            _ => continue,
        };
        if expected["status"] != "ok" {
            continue;
        }
        let path = dir.join(entry["file"].as_str().expect("a name"));
        let Some(frames) = native(&path, codec).filter(|frames| !frames.is_empty()) else {
            continue;
        };
        let image = &frames[0].1.image;
        let kind = (uid.to_string(), image.bits_allocated, image.signed);
        // Enough of each kind; a few frames of each file.
        let count = tally.entry(kind).or_insert(0);
        if *count >= 12 {
            continue;
        }
        done += compare(&device, &path, &frames[..frames.len().min(4)]);
        *count += 1;
    }
    println!("{tally:?}: {done} frames shown");
    assert!(done > 150, "{done} frames");
    let has = |uid: &str, bits, signed| tally.contains_key(&(uid.to_string(), bits, signed));
    let little = "1.2.840.10008.1.2.1";
    assert!(has(little, 16, true) && has(little, 16, false) && has(little, 8, false));
    assert!(tally.keys().any(|(uid, ..)| uid == "1.2.840.10008.1.2.2"));
    device.assert_released();
}

/// Has the device read some frames of a file, in all ways to show them, and compares each: how many it
/// has shown.
fn compare(device: &Device, path: &Path, frames: &[(u64, Case)]) -> usize {
    let (mut jobs, mut truths, mut at) = (Vec::new(), Vec::new(), 0_u64);
    for (start, case) in frames {
        for case in shown(case) {
            let len = case.out_len() as u64;
            jobs.push(DirectJob {
                file: 0,
                file_offset_bytes: *start,
                job: Job {
                    codec: case.codec,
                    image: case.image.clone(),
                    show: case.show,
                    encoded: 0..case.encoded.len() as u64,
                    out: at..at + len,
                },
            });
            truths.push(case.truth());
            // Some start off a word of 8 bytes.
            at = (at + len).next_multiple_of(4);
        }
    }
    let file = File::open(path).expect("a file");
    let (id, exported) = device.reserve(at);
    let outcomes = device
        .residents
        .direct(id, &[file.as_fd()], &jobs, deadline())
        .expect("answered");
    let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done);
    let done = done.count();
    for ((job, outcome), truth) in jobs.iter().zip(outcomes).zip(truths) {
        let out = &job.job.out;
        let name = path.display();
        match (outcome, truth) {
            (Outcome::Done, Truth::Values(values)) => {
                let found = mapped(&exported, out.start, values.len());
                assert!(found == values, "{name}: {:?}", job.job.show);
            }
            // The CPU has its own words.
            (Outcome::Refused(_), _) | (Outcome::Overflow, Truth::Overflow) => {}
            (outcome, truth) => panic!("{name}: {outcome:?}, not {:.60?}", truth),
        }
    }
    device.residents.release(id);
    done
}
