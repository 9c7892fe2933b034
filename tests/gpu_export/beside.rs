//! Volumes of which lanes decode a part while they are brought to the device: that part does not go
//! there by way of the slab.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use dicom_core::value::{PixelFragmentSequence, Value};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicomfs::cli::demo::synthetic::Series;

use super::{Bench, document, memory, stats};
use crate::common::{Mount, can_mount, wait_until};
use crate::fake_gpu::libcuda;
use crate::ljpeg_encoder::Job;

const JPEG_LOSSLESS: &str = uids::JPEG_LOSSLESS_SV1;

/// Series of 10 MiB, of which the runs that are demanded at once with such a cache are a third.
const SHAPE: [usize; 3] = [160, 128, 256];
const FLAGS: [&str; 3] = ["--device=cuda", "--decode-threads=1", "--cache-size=16M"];

/// Writes a series in JPEG Lossless, by predictor 1.
fn write_lossless(series: &Series, dir: &Path) {
    let [_, rows, columns] = series.shape;
    let job = Job::new(columns, rows, 1, 16);
    for path in series.write(dir).expect("files written") {
        let mut object = dicom_object::open_file(&path).expect("a file just written");
        let native = object.element(tags::PIXEL_DATA).expect("pixel data");
        let samples: Vec<u16> = native.to_multi_int().expect("words");
        let mut encoded = job.encode(&samples);
        if encoded.len() % 2 == 1 {
            encoded.push(0);
        }
        let fragments = PixelFragmentSequence::new(vec![0_u32], vec![encoded]);
        let value = Value::PixelSequence(fragments);
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, value));
        object.meta_mut().set_transfer_syntax(
            &dicom_transfer_syntax_registry::entries::JPEG_LOSSLESS_NON_HIERARCHICAL_FIRST_ORDER_PREDICTION.erased(),
        );
        object.write_to_file(&path).expect("written back");
    }
}

fn bench(test: &str, syntax: &'static str, faults: &str) -> Option<Bench> {
    if !can_mount(test) {
        return None;
    }
    let library = libcuda::library(test)?;
    let archive = tempfile::tempdir().expect("a temporary directory");
    let series = match syntax {
        JPEG_LOSSLESS => Series::ct("2.25.92", uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE),
        _ => Series::mr("2.25.92", syntax, SHAPE),
    };
    match syntax {
        JPEG_LOSSLESS => write_lossless(&series, archive.path()),
        _ => drop(series.write(archive.path()).expect("files written")),
    }
    let counters = archive.path().join("counters");
    let variables = libcuda::environment(&library, faults, &counters);
    let mount = Mount::with(archive.path(), &FLAGS, variables);
    wait_until("the device", || {
        let state = stats(&mount)["devices"][0]["state"].clone();
        state
            .as_str()
            .is_some_and(|state| state.starts_with("ready"))
    });
    Some(Bench {
        mount,
        _archive: archive,
        all: vec![series],
        library,
    })
}

/// Maps variants of the volume until lanes have left frames there, and compares each with its file.
/// Whether lanes get a part at all is a matter of speeds; mostly they do at once.
fn map(bench: &Bench, case: &str, ops: &[&str]) {
    for op in ops {
        let open = |end| File::open(bench.dir(0).join(format!("volume{op}.{end}")));
        let file = open("cuda.json").expect("opened");
        let document = document(&file).expect("resident");
        let mut raw = Vec::new();
        let read = open("raw").expect("opened").read_to_end(&mut raw);
        assert!(read.is_ok() && memory(&document) == raw, "{case} {op}");
        let residents = stats(&bench.mount)["residents"].clone();
        println!("{case} {op}: {residents}");
        if bench.residents("beside_frames") > 0 {
            return;
        }
    }
}

#[test]
fn what_lanes_decode_is_left_on_the_device() {
    let test = "what_lanes_decode_is_left_on_the_device";
    for syntax in [uids::RLE_LOSSLESS, JPEG_LOSSLESS] {
        let Some(bench) = bench(test, syntax, "") else {
            return;
        };
        let ops = ["", ".stored", ".f32", ".i16", ".i32", ".f16"];
        map(&bench, syntax, &ops);
        let device = stats(&bench.mount)["devices"][0].clone();
        assert!(bench.residents("beside_frames") > 0, "{syntax}: {device}");
        assert!(bench.residents("uploaded_frames") > 0, "{syntax}: {device}");
        assert_eq!(device["mismatches"], 0, "{syntax}: {device}");
        let text = fs::read_to_string(bench.mount.root.join(".dicomfs/metrics.prom"));
        let name = "dicomfs_device_memory_beside_frames_total";
        let expected = format!("\n{name} {}\n", bench.residents("beside_frames"));
        assert!(text.expect("metrics").contains(&expected), "{syntax}");
    }
}

#[test]
fn a_lane_that_is_wrong_leaves_nothing_on_the_device() {
    let test = "a_lane_that_is_wrong_leaves_nothing_on_the_device";
    for faults in ["wrong:1+", "zeros:1+"] {
        let Some(bench) = bench(test, uids::RLE_LOSSLESS, faults) else {
            return;
        };
        map(&bench, faults, &["", ".stored"]);
        let device = stats(&bench.mount)["devices"][0].clone();
        println!("{faults}: {device}");
        assert_eq!(bench.residents("beside_frames"), 0, "{faults}: {device}");
    }
}
