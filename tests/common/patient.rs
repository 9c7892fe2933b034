//! A synthetic patient: every attribute of Table E.1-1 with a value that is found again, at the top of
//! the data set and within sequences, and what must not survive beside it.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::path::Path;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicomfs::dicom::deid::table;

/// What every text has in it.
pub const SECRET: &str = "SECRET";
/// What every UID of the patient's begins with.
pub const ROOT: &str = "9.87.654.";
/// All of the patient's dates.
pub const DATE: &str = "20010203";

pub const ROWS: u16 = 5;
pub const COLUMNS: u16 = 7;

/// UID number `n` of the patient's.
pub fn uid(n: usize) -> String {
    format!("{ROOT}{n}")
}

/// The representation that a row's values have.
pub fn vr_of(tag: Tag) -> VR {
    let entry = StandardDataDictionary.by_tag(tag);
    entry.map_or(VR::LO, |entry| entry.vr().relaxed())
}

/// Rows that can stand in a data set before its pixels.
pub fn rows() -> impl Iterator<Item = (Tag, &'static table::Row)> {
    let all = table::rows().map(|row| (Tag((row.tag >> 16) as u16, row.tag as u16), row));
    all.filter(|(tag, _)| (0x0008..0x7FE0).contains(&tag.0))
}

fn text(n: usize) -> String {
    format!("{SECRET}{n}")
}

/// A value of this representation that is found again.
fn value(vr: VR, n: usize) -> PrimitiveValue {
    match vr {
        VR::UI => uid(5000 + n).into(),
        VR::DA => DATE.into(),
        VR::DT => format!("{DATE}101112").into(),
        VR::TM => "101112".into(),
        VR::AS => "042Y".into(),
        VR::DS | VR::IS => format!("{}", 987_000 + n).into(),
        VR::US => PrimitiveValue::from(60_000_u16),
        VR::SS => PrimitiveValue::from(-20_000_i16),
        VR::UL => PrimitiveValue::from(0xDEAD_0000_u32 + n as u32),
        VR::SL => PrimitiveValue::from(-0x0DEA_D000_i32 + n as i32),
        VR::FL => PrimitiveValue::from(98_765.0_f32),
        VR::FD => PrimitiveValue::from(98_765.0_f64),
        VR::OB | VR::UN => PrimitiveValue::U8(format!("{:<10}", text(n)).into_bytes().into()),
        VR::OW => PrimitiveValue::U16(text(10 + n % 90).bytes().map(u16::from).collect()),
        _ => text(n).into(),
    }
}

/// An item that names an instance, and what the table names.
fn reference(n: usize) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    item.put_str(
        tags::REFERENCED_SOP_CLASS_UID,
        VR::UI,
        uids::CT_IMAGE_STORAGE,
    );
    item.put_str(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid(1));
    item.put_str(tags::PATIENT_NAME, VR::PN, text(n));
    item.put_str(Tag(0x0009, 0x0010), VR::LO, text(n));
    item
}

/// The same with a code, which the table does not name: it goes with the sequence that it is in.
fn code(n: usize) -> InMemDicomObject {
    let mut item = reference(n);
    item.put_str(tags::CODE_VALUE, VR::SH, text(n));
    item.put_str(tags::CODING_SCHEME_DESIGNATOR, VR::SH, "99LOCAL");
    item.put_str(tags::CODE_MEANING, VR::LO, text(n));
    item
}

fn sequence(tag: Tag, item: InMemDicomObject) -> DataElement<InMemDicomObject> {
    let items = DataSetSequence::from(vec![item]);
    DataElement::new(tag, VR::SQ, Value::from(items))
}

/// All rows, each with a value.
fn all_rows() -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (n, (tag, row)) in rows().enumerate() {
        match vr_of(tag) {
            VR::SQ if row.action == table::Action::Xzu => object.put(sequence(tag, reference(n))),
            VR::SQ => object.put(sequence(tag, code(n))),
            vr => object.put(DataElement::new(tag, vr, value(vr, n))),
        };
    }
    object
}

/// What no row names and must go as well.
fn others(object: &mut InMemDicomObject) {
    for tag in [
        Tag(0x0009, 0x0010),
        Tag(0x0009, 0x1001),
        Tag(0x0029, 0x0010),
        Tag(0x5000, 0x0030),
        Tag(0x6000, 0x0022),
        Tag(0x6000, 0x4000),
    ] {
        object.put_str(tag, VR::LO, text(1));
    }
    // Not in PS3.6.
    object.put_str(Tag(0x0008, 0x9FFE), VR::LO, text(2));
    // In PS3.6, and of a kind that says who or when.
    for (tag, vr, text) in [
        (
            tags::SOP_INSTANCE_UID_OF_CONCATENATION_SOURCE,
            VR::UI,
            uid(1),
        ),
        (tags::VOLUME_FRAME_OF_REFERENCE_UID, VR::UI, uid(3000)),
        (tags::SECONDARY_REVIEWER_NAME, VR::PN, text(3)),
        (tags::DATE_OF_GAIN_CALIBRATION, VR::DA, DATE.into()),
    ] {
        object.put_str(tag, vr, text);
    }
    let overlay = PrimitiveValue::U8(SECRET.as_bytes().into());
    object.put(DataElement::new(Tag(0x6000, 0x3000), VR::OB, overlay));
}

/// The data set of slice `n` of the patient's only series, without its pixels: the first UIDs are its
/// own, its series' and so on.
pub fn dataset(n: usize) -> InMemDicomObject {
    let mut object = all_rows();
    others(&mut object);
    let mut nested = all_rows();
    nested.put(sequence(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        all_rows(),
    ));
    object.put(sequence(Tag(0x0040, 0x0260), nested));
    let strings = [
        (
            tags::SOP_CLASS_UID,
            VR::UI,
            uids::CT_IMAGE_STORAGE.to_owned(),
        ),
        (tags::SOP_INSTANCE_UID, VR::UI, uid(n)),
        (tags::STUDY_INSTANCE_UID, VR::UI, uid(1000)),
        (tags::SERIES_INSTANCE_UID, VR::UI, uid(2000)),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, uid(3000)),
        (tags::MODALITY, VR::CS, "CT".to_owned()),
        (
            tags::IMAGE_TYPE,
            VR::CS,
            "ORIGINAL\\PRIMARY\\AXIAL".to_owned(),
        ),
        (tags::INSTANCE_NUMBER, VR::IS, n.to_string()),
        (tags::SERIES_NUMBER, VR::IS, "4".to_owned()),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, format!("0\\0\\{n}")),
        (
            tags::IMAGE_ORIENTATION_PATIENT,
            VR::DS,
            "1\\0\\0\\0\\1\\0".to_owned(),
        ),
        (tags::PIXEL_SPACING, VR::DS, "1\\1".to_owned()),
        (tags::SLICE_THICKNESS, VR::DS, "1".to_owned()),
        (
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            "MONOCHROME2".to_owned(),
        ),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "YES".to_owned()),
    ];
    for (tag, vr, text) in strings {
        object.put_str(tag, vr, text);
    }
    let numbers = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, ROWS),
        (tags::COLUMNS, COLUMNS),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, number) in numbers {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
    }
    object
}

/// The pixels of slice `n`.
pub fn pixels(n: usize) -> Vec<u16> {
    let count = usize::from(ROWS) * usize::from(COLUMNS);
    (0..count).map(|at| (n * 1000 + at) as u16).collect()
}

/// Slice `n` with its pixels, and what follows them.
pub fn whole(n: usize) -> InMemDicomObject {
    let mut object = dataset(n);
    let pixels = PrimitiveValue::U16(pixels(n).into());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
    object.put(sequence(Tag(0xFFFA, 0xFFFA), code(1)));
    let padding = PrimitiveValue::U8(SECRET.as_bytes().into());
    object.put(DataElement::new(Tag(0xFFFC, 0xFFFC), VR::OB, padding));
    object
}

/// A data set as the bytes of a file.
pub fn file(object: InMemDicomObject, transfer_syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .source_application_entity_title(SECRET)
        .private_information_creator_uid("9.87.654.1")
        .private_information(SECRET.as_bytes().to_vec());
    let file = object.with_meta(meta).expect("meta information");
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).expect("written");
    // A preamble may hold anything.
    bytes[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    bytes
}

/// Writes slices 1 to `count` into a directory that is named after the patient.
pub fn write(dir: &Path, count: usize, transfer_syntax: &str) {
    std::fs::create_dir_all(dir).expect("a directory");
    for n in 1..=count {
        let bytes = file(whole(n), transfer_syntax);
        std::fs::write(dir.join(format!("{SECRET}-{n}.dcm")), bytes).expect("written");
    }
}
