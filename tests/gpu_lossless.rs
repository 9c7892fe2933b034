//! JPEG Lossless through a real mount with the libcuda of the tests: the device decodes what falls into
//! step, what does not is the CPU's and counted, and every byte is the CPU's either way.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

#[allow(dead_code)]
#[path = "../src/decode/cpu/jpeg_lossless/tests/encoder.rs"]
mod ljpeg_encoder;

use std::fs;
use std::path::Path;

use common::{Mount, can_mount};
use dicom_core::value::{PixelFragmentSequence, Value};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_transfer_syntax_registry::entries::JPEG_LOSSLESS_NON_HIERARCHICAL as PROCESS_14;
use dicomfs::cli::demo::synthetic::Series;
use fake_gpu::libcuda;
use ljpeg_encoder::{Codes, Job};

/// Frames of 100 x 400 pixels; more than there are workers for at once.
const SHAPE: [usize; 3] = [96, 100, 400];

/// Writes two series: one whose codes fall into step, and one of constant frames whose codes never do,
/// because each of their zeros takes five zero bits.
fn write(archive: &Path) -> [Series; 2] {
    ["2.25.94.1", "2.25.94.2"].map(|uid| {
        let mut series = Series::ct(uid, uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE);
        let is_flat = uid.ends_with('2');
        let mut job = Job::new(SHAPE[2], SHAPE[1], 1, 16);
        if is_flat {
            job.tables = vec![Codes::Flat];
            for (n, frame) in series.stored.chunks_mut(SHAPE[1] * SHAPE[2]).enumerate() {
                frame.fill(n as i16 + 1);
            }
        }
        for path in series.write(&archive.join(uid)).expect("files written") {
            encode(&path, &job);
        }
        series
    })
}

fn encode(path: &Path, job: &Job) {
    let mut object = dicom_object::open_file(path).expect("a file just written");
    let native = object.element(tags::PIXEL_DATA).expect("pixel data");
    let samples: Vec<u16> = native.to_multi_int().expect("words");
    let mut encoded = job.encode(&samples);
    if encoded.len() % 2 == 1 {
        encoded.push(0);
    }
    let value = Value::PixelSequence(PixelFragmentSequence::new(vec![0_u32], vec![encoded]));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, value));
    object.meta_mut().set_transfer_syntax(&PROCESS_14.erased());
    object.write_to_file(path).expect("written back");
}

#[test]
fn what_falls_into_step_is_the_devices_and_the_rest_is_counted() {
    let test = "what_falls_into_step_is_the_devices_and_the_rest_is_counted";
    if !can_mount(test) {
        return;
    }
    let Some(library) = libcuda::library(test) else {
        return;
    };
    let archive = tempfile::tempdir().expect("a temporary directory");
    let all = write(archive.path());
    let counters = archive.path().join("counters");
    let flags = ["--device=cuda", "--decode-threads=1", "--cache-size=1GiB"];
    let device = |mount: &Mount| {
        let text = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
        let stats: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        stats["devices"][0].clone()
    };
    // Of a mount of its own each: how the device did with the one says nothing of the other.
    for (series, is_flat) in all.iter().zip([false, true]) {
        let is_seen = |device: &serde_json::Value| match is_flat {
            true => device["refusals"]["unsettled"].as_u64() > Some(0),
            false => device["frames"].as_u64() > Some(0),
        };
        // What the device gets is a matter of speeds; mostly some at once.
        let found = (0..5).any(|_| {
            let variables = libcuda::environment(&library, "", &counters);
            let mount = Mount::with(&archive.path().join(&series.uid), &flags, variables);
            common::wait_until("the device", || {
                let state = device(&mount)["state"].clone();
                state
                    .as_str()
                    .is_some_and(|state| state.starts_with("ready"))
            });
            let path = mount.series(&series.uid).join("volume.npy");
            let bytes = fs::read(path).expect("read");
            let right = &common::expected_slab(series)[..];
            assert!(bytes[4096..] == *right, "{}", series.uid);
            let device = device(&mount);
            println!("{}: {device}", series.uid);
            let wrong = (&device["mismatches"], &device["faults"]);
            assert_eq!(wrong, (&0.into(), &0.into()));
            assert!(!is_flat || device["frames"] == 0, "{device}");
            is_seen(&device)
        });
        assert!(found, "{}", series.uid);
    }
}
