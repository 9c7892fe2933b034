//! Synthetic series: phantoms with known values, written as DICOM files of several syntaxes.
//!
//! Used by `dicomfs demo` and by the tests, which both know what every voxel has to be. Real
//! archives shuffle their files, so these do too.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dicom_core::value::{PixelFragmentSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// A series to write: one file a slice.
#[derive(Debug, Clone)]
pub struct Series {
    /// Series Instance UID; the other UIDs are made from it.
    pub uid: String,
    /// Modality: `CT` or `MR`.
    pub modality: &'static str,
    /// Series Description.
    pub description: &'static str,
    /// Transfer Syntax UID: native ones, deflated and RLE Lossless can be written.
    pub transfer_syntax: &'static str,
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// Stored values in C order over (z, y, x).
    pub stored: Vec<i16>,
    /// Rescale Slope and Intercept of each slice.
    pub rescale: Vec<(f64, f64)>,
    /// Spacing along z, y, x in mm.
    pub spacing_mm: [f64; 3],
    /// Image Orientation (Patient).
    pub orientation: [f64; 6],
    /// Image Position (Patient) of the first slice, mm.
    pub origin_lps_mm: [f64; 3],
}

impl Series {
    /// A CT phantom in stored values, -1024 away from HU: body, bone, lungs, a moving lesion.
    pub fn ct(uid: &str, transfer_syntax: &'static str, shape: [usize; 3]) -> Series {
        let voxel = |z: f64, y: f64, x: f64| {
            let lesion = (0.3 * (z * TAU).cos(), 0.15 * (z * TAU).sin());
            let inside = |cy: f64, cx: f64, ry: f64, rx: f64| {
                ((y - cy) / ry).powi(2) + ((x - cx) / rx).powi(2) < 1.0
            };
            match () {
                () if inside(lesion.1, lesion.0, 0.08, 0.08) => 1110.0,
                () if inside(-0.1, -0.38, 0.4, 0.24) || inside(-0.1, 0.38, 0.4, 0.24) => 174.0,
                () if inside(0.55, 0.0, 0.13, 0.13) => 1624.0,
                () if inside(0.0, 0.0, 0.72, 0.9) => 1064.0 + 8.0 * (9.0 * x + 7.0 * y).sin(),
                () => 0.0,
            }
        };
        Series {
            uid: uid.to_string(),
            modality: "CT",
            description: "AX PHANTOM",
            transfer_syntax,
            stored: fill(shape, voxel),
            rescale: vec![(1.0, -1024.0); shape[0]],
            shape,
            spacing_mm: [2.5, 0.75, 0.75],
            orientation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            origin_lps_mm: [-100.0, -120.0, 40.5],
        }
    }

    /// An oblique MR phantom whose slices have slopes of their own.
    pub fn mr(uid: &str, transfer_syntax: &'static str, shape: [usize; 3]) -> Series {
        let voxel = |z: f64, y: f64, x: f64| {
            let r = (x * x + y * y + z * z).sqrt();
            if r < 0.9 {
                600.0 + 500.0 * (12.0 * r).cos()
            } else {
                3.0
            }
        };
        let slope = |z: usize| 0.5 + z as f64 / 64.0;
        Series {
            modality: "MR",
            description: "COR OBL PHANTOM",
            rescale: (0..shape[0]).map(|z| (slope(z), 0.0)).collect(),
            stored: fill(shape, voxel),
            spacing_mm: [3.0, 1.0, 1.0],
            orientation: [1.0, 0.0, 0.0, 0.0, 0.6, -0.8],
            ..Series::ct(uid, transfer_syntax, shape)
        }
    }

    /// The value shown for a voxel, by the value rule.
    pub fn value(&self, z: usize, y: usize, x: usize) -> f64 {
        let [_, rows, columns] = self.shape;
        let (slope, intercept) = self.rescale[z];
        f64::from(self.stored[(z * rows + y) * columns + x]) * slope + intercept
    }

    /// Writes one file a slice into `dir`, in an order and under names that say nothing of z.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let count = self.shape[0];
        // A step that shares no factor with the count visits every slice once.
        let step = (1..)
            .map(|n| 7 * n + 3)
            .find(|s| gcd(*s, count) == 1)
            .unwrap_or(1);
        let mut paths = Vec::with_capacity(count);
        for n in 0..count {
            let z = n * step % count;
            let path = dir.join(format!("IM{:05}", n * 13 + 1));
            self.write_slice(z, count - n, &path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn write_slice(&self, z: usize, instance_number: usize, path: &Path) -> Result<()> {
        let class = if self.modality == "CT" {
            uids::CT_IMAGE_STORAGE
        } else {
            uids::MR_IMAGE_STORAGE
        };
        let instance = format!("{}.{}", self.uid, z + 1);
        let mut object = self.header(class, &instance);
        let mut text = |tag: Tag, vr: VR, value: String| {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        };
        text(tags::INSTANCE_NUMBER, VR::IS, instance_number.to_string());
        text(
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            decimals(&self.position(z)),
        );
        let (slope, intercept) = self.rescale[z];
        text(tags::RESCALE_INTERCEPT, VR::DS, intercept.to_string());
        text(tags::RESCALE_SLOPE, VR::DS, slope.to_string());
        object.put(self.pixel_data(z));
        object
            .with_meta(
                FileMetaTableBuilder::new()
                    .transfer_syntax(self.transfer_syntax)
                    .media_storage_sop_class_uid(class)
                    .media_storage_sop_instance_uid(&instance),
            )?
            .write_to_file(path)?;
        Ok(())
    }

    fn header(&self, class: &str, instance: &str) -> InMemDicomObject {
        let mut object = InMemDicomObject::new_empty();
        let study = format!("{}.0", self.uid);
        let [_, dy, dx] = self.spacing_mm;
        let texts = [
            (tags::SOP_CLASS_UID, VR::UI, class.to_string()),
            (tags::SOP_INSTANCE_UID, VR::UI, instance.to_string()),
            (tags::STUDY_DATE, VR::DA, "20200102".to_string()),
            (tags::MODALITY, VR::CS, self.modality.to_string()),
            (tags::STUDY_DESCRIPTION, VR::LO, "SYNTHETIC".to_string()),
            (
                tags::SERIES_DESCRIPTION,
                VR::LO,
                self.description.to_string(),
            ),
            (tags::PATIENT_NAME, VR::PN, "PHANTOM".to_string()),
            (tags::PATIENT_ID, VR::LO, "PHANTOM".to_string()),
            (
                tags::SLICE_THICKNESS,
                VR::DS,
                self.spacing_mm[0].to_string(),
            ),
            (tags::STUDY_INSTANCE_UID, VR::UI, study.clone()),
            (tags::SERIES_INSTANCE_UID, VR::UI, self.uid.clone()),
            (tags::SERIES_NUMBER, VR::IS, "1".to_string()),
            (
                tags::IMAGE_ORIENTATION_PATIENT,
                VR::DS,
                decimals(&self.orientation),
            ),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, format!("{study}.9")),
            (
                tags::PHOTOMETRIC_INTERPRETATION,
                VR::CS,
                "MONOCHROME2".to_string(),
            ),
            (tags::PIXEL_SPACING, VR::DS, decimals(&[dy, dx])),
        ];
        for (tag, vr, value) in texts {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        }
        let numbers = [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, self.shape[1]),
            (tags::COLUMNS, self.shape[2]),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 1),
        ];
        for (tag, value) in numbers {
            object.put(DataElement::new(
                tag,
                VR::US,
                PrimitiveValue::from(value as u16),
            ));
        }
        object
    }

    fn position(&self, z: usize) -> [f64; 3] {
        let o = &self.orientation;
        let normal = [
            o[1] * o[5] - o[2] * o[4],
            o[2] * o[3] - o[0] * o[5],
            o[0] * o[4] - o[1] * o[3],
        ];
        std::array::from_fn(|k| self.origin_lps_mm[k] + normal[k] * self.spacing_mm[0] * z as f64)
    }

    fn pixel_data(&self, z: usize) -> DataElement<InMemDicomObject> {
        let frame = self.shape[1] * self.shape[2];
        let slice = &self.stored[z * frame..(z + 1) * frame];
        if self.transfer_syntax != uids::RLE_LOSSLESS {
            let words: Vec<u16> = slice.iter().map(|v| v.cast_unsigned()).collect();
            return DataElement::new(
                tags::PIXEL_DATA,
                VR::OW,
                PrimitiveValue::U16(words.into_iter().collect()),
            );
        }
        let fragment = rle(slice);
        let sequence = PixelFragmentSequence::new(vec![0_u32], vec![fragment]);
        DataElement::new(tags::PIXEL_DATA, VR::OB, Value::PixelSequence(sequence))
    }
}

fn fill(shape: [usize; 3], voxel: impl Fn(f64, f64, f64) -> f64) -> Vec<i16> {
    let [slices, rows, columns] = shape;
    let unit = |n: usize, count: usize| 2.0 * (n as f64 + 0.5) / count as f64 - 1.0;
    let mut stored = Vec::with_capacity(slices * rows * columns);
    for z in 0..slices {
        for y in 0..rows {
            for x in 0..columns {
                let value = voxel(unit(z, slices), unit(y, rows), unit(x, columns));
                stored.push(value.round() as i16);
            }
        }
    }
    stored
}

/// One RLE Lossless frame (PS3.5 G): the high bytes, then the low bytes, PackBits coded.
fn rle(samples: &[i16]) -> Vec<u8> {
    let plane = |shift: u32| {
        samples
            .iter()
            .map(move |v| (v.cast_unsigned() >> shift) as u8)
    };
    let segments = [8, 0].map(|shift| pack_bits(&plane(shift).collect::<Vec<u8>>()));
    let mut fragment = vec![0_u8; 64];
    fragment[0] = 2;
    let second = 64 + segments[0].len() as u32;
    fragment[4..8].copy_from_slice(&64_u32.to_le_bytes());
    fragment[8..12].copy_from_slice(&second.to_le_bytes());
    segments.iter().for_each(|segment| fragment.extend(segment));
    fragment
}

fn pack_bits(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        for piece in run.chunks(128) {
            match piece {
                [byte] => packed.extend([0, *byte]),
                [byte, ..] => packed.extend([(257 - piece.len()) as u8, *byte]),
                [] => {}
            }
        }
    }
    if packed.len() % 2 == 1 {
        packed.push(0x80);
    }
    packed
}

fn decimals(values: &[f64]) -> String {
    values
        .iter()
        .map(f64::to_string)
        .collect::<Vec<_>>()
        .join("\\")
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
