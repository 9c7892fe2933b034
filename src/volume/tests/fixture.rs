//! Records made in code, and what tests ask of volumes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::archive::{Record, SourceIdentity};
use crate::dicom::{
    FrameAttributes, ImagePixel, Instance, Photometric, PixelDataLocation, PixelElement, Value,
};
use crate::volume::{Built, Status, Volume, build};

pub(super) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(super) const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub(super) const SERIES: &str = "1.2.3";
pub(super) const AXIAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
const HEADER_BYTES: u64 = 1000;

/// An axial CT slice of 4 x 6 pixels at height `z`; its path and UID follow from `number`.
pub(in crate::volume) fn slice(number: i64, z: f64) -> Record {
    let image = ImagePixel {
        rows: 4,
        columns: 6,
        number_of_frames: 1,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: 16,
        bits_stored: 12,
        high_bit: 11,
        signed: false,
        element: PixelElement::PixelData,
    };
    let mut record = Record {
        path: PathBuf::from(format!("s/{number:04}.dcm")),
        inside: None,
        identity: SourceIdentity {
            size_bytes: 0,
            mtime_ns: 0,
            inode: 0,
        },
        instance: Instance {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".into(),
            sop_instance_uid: format!("1.2.3.{number}"),
            study_instance_uid: "1.2".into(),
            series_instance_uid: SERIES.into(),
            transfer_syntax_uid: EXPLICIT_LE.into(),
            modality: "CT".into(),
            image: Some(image),
            pixel_data: Some(PixelDataLocation {
                offset_bytes: HEADER_BYTES,
                length_bytes: None,
                extended_offset_table: None,
            }),
            shared: FrameAttributes {
                image_position: Some([-10.0, -20.0, z]),
                image_orientation: Some(AXIAL),
                pixel_spacing: Some([0.5, 0.75]),
                instance_number: Some(number),
                ..FrameAttributes::default()
            },
            ..Instance::default()
        },
    };
    fit(&mut record);
    record
}

/// Makes the file just long enough for native pixel data of what the header says.
pub(super) fn fit(record: &mut Record) {
    let image = record.instance.image.as_ref().unwrap();
    let mut bytes = image.frame_len_bytes().unwrap() as u64 * u64::from(image.number_of_frames);
    if image.is_422() {
        bytes = bytes * 2 / 3;
    }
    record.identity.size_bytes = HEADER_BYTES + bytes;
    if let Some(location) = &mut record.instance.pixel_data {
        location.length_bytes = Some(bytes);
    }
}

/// A slice changed by `change`, its file made to fit.
pub(super) fn slice_with(number: i64, z: f64, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = slice(number, z);
    change(&mut record);
    fit(&mut record);
    record
}

pub(super) fn image(record: &mut Record) -> &mut ImagePixel {
    record.instance.image.as_mut().unwrap()
}

/// Sets a shown attribute.
pub(super) fn set(record: &mut Record, keyword: &str, value: Value) {
    let attributes = &mut record.instance.attributes;
    attributes.insert(keyword, &value).expect("known");
}

/// A multi-frame instance with these per-frame attributes.
pub(super) fn multi_frame(number: i64, frames: Vec<FrameAttributes>) -> Record {
    slice_with(number, 0.0, |record| {
        image(record).number_of_frames = frames.len() as u32;
        record.instance.shared.image_position = None;
        record.instance.per_frame = frames;
    })
}

pub(super) fn build_of(records: Vec<Record>) -> Built {
    let records: Vec<Arc<Record>> = records.into_iter().map(Arc::new).collect();
    build(&records)
}

/// The volumes of records none of which is left out.
pub(super) fn volumes(records: Vec<Record>) -> Vec<Volume> {
    let built = build_of(records);
    assert_eq!(built.findings, []);
    built.volumes
}

/// The only volume of records none of which is left out.
pub(in crate::volume) fn only(records: Vec<Record>) -> Volume {
    let mut volumes = volumes(records);
    assert_eq!(volumes.len(), 1, "{:?}", names(&volumes));
    volumes.remove(0)
}

pub(super) fn names(volumes: &[Volume]) -> Vec<&str> {
    volumes.iter().map(|volume| volume.name.as_str()).collect()
}

/// Suffixes and numbers of frames.
pub(super) fn outline(volumes: &[Volume]) -> Vec<(&str, usize)> {
    volumes
        .iter()
        .map(|volume| {
            let suffix = volume.name.strip_prefix(SERIES).unwrap();
            (suffix, volume.frames.len())
        })
        .collect()
}

/// Codes of a volume's findings.
pub(super) fn codes(volume: &Volume) -> Vec<&'static str> {
    volume.findings.iter().map(|finding| finding.code).collect()
}

/// Instance Numbers in volume order.
pub(super) fn numbers(volume: &Volume) -> Vec<i64> {
    let number = |record: usize| volume.records[record].instance.shared.instance_number;
    volume
        .frames
        .iter()
        .map(|frame| number(frame.stored.unwrap().record).unwrap())
        .collect()
}

/// Checks verdict and findings at once.
pub(super) fn check(volume: &Volume, status: Status, expected: &[&str]) {
    assert_eq!(codes(volume), expected, "{:?}", volume.findings);
    assert_eq!(volume.status, status, "{:?}", volume.findings);
}
