//! What is measured with: pictures in each codec, and volumes of as many frames as are wanted, written as
//! multi-frame files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use dicom_core::value::{PixelFragmentSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicomfs::decode::gpu::{Codec, Show, plan};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::ImagePixel;

use super::frames::{Frames, files};

/// Pictures of one codec and one size.
pub struct Subject {
    pub codec: Codec,
    pub uid: String,
    pub image: ImagePixel,
    /// In turn the frames of every volume.
    pub encoded: Vec<Vec<u8>>,
    /// What the CPU makes of them.
    pub decoded: Vec<Vec<u8>>,
}

impl Subject {
    /// `512 x 512 x 16`: columns, rows, bits.
    pub fn size(&self) -> String {
        let image = &self.image;
        let samples = match image.samples_per_pixel {
            1 => String::new(),
            count => format!(" x {count}"),
        };
        format!(
            "{} x {} x {}{samples}",
            image.columns, image.rows, image.bits_allocated
        )
    }

    pub fn frame_len(&self) -> usize {
        self.decoded.first().map_or(0, Vec::len)
    }

    pub fn encoded(&self, frame: usize) -> &[u8] {
        &self.encoded[frame % self.encoded.len()]
    }

    pub fn decoded(&self, frame: usize) -> &[u8] {
        &self.decoded[frame % self.decoded.len()]
    }
}

/// The pictures of a directory that a device may decode, and each size unencoded beside them; what
/// matters most first.
pub fn subjects(root: &Path) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for path in files(root) {
        let Some(frames) = Frames::open(&path) else {
            continue;
        };
        let image = ImagePixel {
            number_of_frames: 1,
            ..frames.image.clone()
        };
        for index in 0..frames.count() {
            // What is broken is compared, and nothing to measure with.
            let Some(encoded) = frames.encoded(index) else {
                continue;
            };
            let Ok(codec) = plan(&frames.uid, &image, &Show::Stored, &encoded, true) else {
                continue;
            };
            let mut decoded = vec![0; image.frame_len_bytes().unwrap_or_default()];
            let bytes = Encoded {
                bytes: &encoded,
                first_bit: 0,
            };
            if decode_frame(&frames.uid, &image, bytes, &mut decoded).is_err() {
                continue;
            }
            let known = subjects
                .iter_mut()
                .find(|known| known.uid == frames.uid && known.image == image);
            match known {
                Some(known) => {
                    known.encoded.push(encoded);
                    known.decoded.push(decoded);
                }
                None => subjects.push(Subject {
                    codec,
                    uid: frames.uid.clone(),
                    image: image.clone(),
                    encoded: vec![encoded],
                    decoded: vec![decoded],
                }),
            }
        }
    }
    add_native(&mut subjects);
    subjects.sort_by_key(|subject| (place(subject.codec), subject.frame_len()));
    subjects
}

/// What the goals are about comes first.
fn place(codec: Codec) -> usize {
    match codec {
        Codec::Jpeg2000 => 0,
        Codec::Htj2k => 1,
        Codec::JpegLossless => 2,
        Codec::Rle => 3,
        Codec::Native { .. } => 4,
        Codec::Jpeg => 5,
    }
}

fn add_native(subjects: &mut Vec<Subject>) {
    let is_native = |subject: &Subject| matches!(subject.codec, Codec::Native { .. });
    let mut added: Vec<Subject> = Vec::new();
    for subject in &*subjects {
        let image = ImagePixel {
            planar_configuration: 0,
            ..subject.image.clone()
        };
        let of_size = |other: &Subject| is_native(other) && other.size() == subject.size();
        if !subjects.iter().chain(&added).any(of_size) {
            added.push(Subject {
                codec: Codec::Native { big_endian: false },
                uid: uids::EXPLICIT_VR_LITTLE_ENDIAN.to_string(),
                image,
                encoded: subject.decoded.clone(),
                decoded: subject.decoded.clone(),
            });
        }
    }
    subjects.extend(added);
}

/// A volume of `frames` frames, as one file in a directory of its own.
pub struct Written {
    pub dir: PathBuf,
    pub series_uid: String,
}

/// Writes it below `root`; `number` is its own.
pub fn write(root: &Path, number: usize, subject: &Subject, frames: usize) -> Result<Written> {
    let dir = root.join(number.to_string());
    std::fs::create_dir(&dir)?;
    let series_uid = format!("2.25.7301.{number}");
    let instance_uid = format!("{series_uid}.1");
    let class = match (
        subject.image.samples_per_pixel,
        subject.image.bits_allocated,
    ) {
        (1, 8) => uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
        (1, _) => uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
        _ => uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
    };
    let mut object = header(subject, frames, [class, &series_uid, &instance_uid]);
    object.put(pixel_data(subject, frames));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(subject.uid.as_str())
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(&instance_uid);
    object.with_meta(meta)?.write_to_file(dir.join("1.dcm"))?;
    Ok(Written { dir, series_uid })
}

fn header(subject: &Subject, frames: usize, uids: [&str; 3]) -> InMemDicomObject {
    let [class, series, instance] = uids;
    let image = &subject.image;
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, class),
        (tags::SOP_INSTANCE_UID, VR::UI, instance),
        (tags::MODALITY, VR::CS, "OT"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "2.25.7301"),
        (tags::SERIES_INSTANCE_UID, VR::UI, series),
        (tags::NUMBER_OF_FRAMES, VR::IS, &frames.to_string()),
        (
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            image.photometric.term(),
        ),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, image.samples_per_pixel),
        (tags::PLANAR_CONFIGURATION, image.planar_configuration),
        (tags::ROWS, image.rows as u16),
        (tags::COLUMNS, image.columns as u16),
        (tags::BITS_ALLOCATED, image.bits_allocated),
        (tags::BITS_STORED, image.bits_stored),
        (tags::HIGH_BIT, image.high_bit),
        (tags::PIXEL_REPRESENTATION, image.signed.into()),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object
}

fn pixel_data(subject: &Subject, frames: usize) -> DataElement<InMemDicomObject> {
    let all = (0..frames).map(|frame| subject.encoded(frame));
    if matches!(subject.codec, Codec::Native { .. }) {
        let mut bytes = all.collect::<Vec<_>>().concat();
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        if subject.image.bits_allocated == 8 {
            return DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(bytes));
        }
        let words: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        return DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into()));
    }
    let (mut offsets, mut fragments, mut at) = (Vec::new(), Vec::new(), 0);
    for encoded in all {
        let mut fragment = encoded.to_vec();
        if fragment.len() % 2 == 1 {
            fragment.push(0);
        }
        offsets.push(at);
        at += 8 + fragment.len() as u32;
        fragments.push(fragment);
    }
    let sequence = PixelFragmentSequence::new(offsets, fragments);
    DataElement::new(tags::PIXEL_DATA, VR::OB, Value::PixelSequence(sequence))
}
