//! What the files of a series must hold, from what was written and not from what is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dicomfs::cli::demo::synthetic::Series;
use dicomfs::format::preview::Picture;
use dicomfs::format::{json, metaimage, nifti, npy, nrrd, zarr};
use dicomfs::volume::{Dtype, Variant, Volume};

use crate::common::expected_slab;

/// Adds what a series must look like to the model; returns its source files by z.
pub fn describe(
    series: &Series,
    written: &[PathBuf],
    model: &mut BTreeMap<String, Vec<u8>>,
) -> Vec<PathBuf> {
    let at = |rest: &str| format!("series/{}/{rest}", series.uid);
    let [z, y, x] = series.shape.map(|n| n as u64);
    let slab = expected_slab(series);
    let dtype = match slab.len() as u64 / (z * y * x) {
        2 => Dtype::I16,
        _ => Dtype::F32,
    };
    let file = |dtype, shape: &[u64], bytes: &[u8]| {
        [npy::header(dtype, shape).expect("a header"), bytes.to_vec()].concat()
    };
    model.insert(at("volume.npy"), file(dtype, &[z, y, x], &slab));
    model.insert(at("volume.raw"), slab.clone());
    let stored: Vec<u8> = series.stored.iter().flat_map(|v| v.to_le_bytes()).collect();
    model.insert(
        at("volume.stored.npy"),
        file(Dtype::I16, &[z, y, x], &stored),
    );
    model.insert(at("volume.stored.raw"), stored);
    let shown = || values(series, dtype);
    let f32s: Vec<u8> = shown().flat_map(|v| (v as f32).to_le_bytes()).collect();
    model.insert(at("volume.f32.npy"), file(Dtype::F32, &[z, y, x], &f32s));
    let i32s: Vec<u8> = shown()
        .flat_map(|v| (v.round_ties_even() as i32).to_le_bytes())
        .collect();
    model.insert(at("volume.i32.raw"), i32s);
    for (k, frame) in slab.chunks(slab.len() / z as usize).enumerate() {
        model.insert(
            at(&format!("frames/{:04}.npy", k + 1)),
            file(dtype, &[y, x], frame),
        );
    }
    // The SOP Instance UID ends in the slice's number, and stands in the file as text.
    let slice = |k: u64| {
        let needle = format!("{}.{}", series.uid, k + 1).into_bytes();
        let holds = |path: &&PathBuf| {
            let bytes = std::fs::read(path).expect("the source");
            let mut ends = bytes
                .windows(needle.len() + 1)
                .filter(|w| w.starts_with(&needle));
            ends.any(|w| !w[needle.len()].is_ascii_digit())
        };
        written
            .iter()
            .find(holds)
            .expect("one file a slice")
            .clone()
    };
    let by_z: Vec<PathBuf> = (0..z).map(slice).collect();
    for (k, path) in by_z.iter().enumerate() {
        let bytes = std::fs::read(path).expect("the source");
        model.insert(at(&format!("dicom/{:04}.dcm", k + 1)), bytes);
    }
    by_z
}

/// Adds the files of other formats. Their headers are those of `format`, which has tests of its
/// own; the bytes behind them are the slab's.
pub fn dialects(series: &Series, volume: &Volume, model: &mut BTreeMap<String, Vec<u8>>) {
    let at = |rest: &str| format!("series/{}/{rest}", series.uid);
    let slab = expected_slab(series);
    let nii = |variant, slab: &[u8]| {
        let header = nifti::header(volume, variant).expect("a header");
        [header, slab.to_vec()].concat()
    };
    model.insert(at("volume.nii"), nii(Variant::Values, &slab));
    let shown = values(series, volume.dtype(Variant::Values));
    let f32s: Vec<u8> = shown.flat_map(|v| (v as f32).to_le_bytes()).collect();
    model.insert(at("volume.f32.nii"), nii(Variant::Cast(Dtype::F32), &f32s));
    let stored: Vec<u8> = series.stored.iter().flat_map(|v| v.to_le_bytes()).collect();
    model.insert(at("volume.stored.nii"), nii(Variant::Stored, &stored));
    let mut picture = Picture::new(&Arc::new(volume.clone()));
    for (k, frame) in slab.chunks(slab.len() / series.shape[0]).enumerate() {
        let chunk = at(&format!("volume.zarr/0/c.{k}.0.0"));
        model.insert(chunk, frame.to_vec());
        if picture.layout().frames().contains(&k) {
            picture.add(k, frame).expect("a frame of the volume");
        }
    }
    model.insert(at("preview.png"), picture.png().expect("a picture"));
    let texts = [
        ("volume.json", json::volume_json(volume)),
        ("volume.nhdr", nrrd::header(volume)),
        ("volume.mhd", metaimage::header(volume)),
        ("volume.zarr/zarr.json", zarr::group_json(volume)),
        ("volume.zarr/0/zarr.json", zarr::array_json(volume)),
    ];
    for (name, text) in texts {
        model.insert(at(name), text.expect("a text"));
    }
}

/// The values shown, in C order; float32 ones are rounded once.
fn values(series: &Series, dtype: Dtype) -> impl Iterator<Item = f64> {
    let [slices, rows, columns] = series.shape;
    (0..slices * rows * columns).map(move |n| {
        let value = series.value(n / (rows * columns), n / columns % rows, n % columns);
        match dtype {
            Dtype::F32 => f64::from(value as f32),
            _ => value,
        }
    })
}
