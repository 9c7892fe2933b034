//! The parser against real files: their manifest, and dicom-object as a second opinion.

use std::fs::File;
use std::path::Path;

use dicom_core::VR;
use dicom_core::header::Header as _;
use dicom_object::mem::InMemElement;
use dicom_object::{InMemDicomObject, OpenFileOptions, file::ReadPreamble};
use serde_json::Value as Json;

use super::*;
use crate::dicom::testing::manifest;
use crate::dicom::{FrameTable, PixelElement};

fn read(path: &Path) -> Result<Header, Error> {
    let file = File::open(path).expect("readable");
    let len = file.metadata().expect("stat").len();
    read_header(&file, len)
}

/// What of `expected` the instance does not have.
fn differences(instance: &Instance, expected: &Json, file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |key: &str, got: Json| {
        let wanted = &expected[key];
        if !wanted.is_null() && *wanted != got {
            found.push(format!("{key}: {got}, expected {wanted}"));
        }
    };
    differ(
        "transfer_syntax",
        instance.transfer_syntax_uid.as_str().into(),
    );
    differ(
        "transfer_syntax_assumed",
        instance.transfer_syntax_uid.as_str().into(),
    );
    differ("Modality", instance.modality.as_str().into());
    differ("SOPClassUID", instance.sop_class_uid.as_str().into());
    differ(
        "SeriesInstanceUID",
        instance.series_instance_uid.as_str().into(),
    );
    if let Some(image) = &instance.image {
        differ("Rows", image.rows.into());
        differ("Columns", image.columns.into());
        differ("NumberOfFrames", image.number_of_frames.into());
        differ("SamplesPerPixel", image.samples_per_pixel.into());
        differ("PlanarConfiguration", image.planar_configuration.into());
        differ("BitsAllocated", image.bits_allocated.into());
        differ("BitsStored", image.bits_stored.into());
        differ("HighBit", image.high_bit.into());
        differ("PixelRepresentation", u16::from(image.signed).into());
        differ("PhotometricInterpretation", image.photometric.term().into());
        if instance.pixel_data.is_some() {
            let element = match image.element {
                PixelElement::PixelData => "PixelData",
                PixelElement::FloatPixelData => "FloatPixelData",
                PixelElement::DoubleFloatPixelData => "DoubleFloatPixelData",
            };
            differ("pixel_element", element.into());
        }
    } else if expected["Rows"].is_number() && expected["BitsAllocated"].is_number() {
        differ("Rows", Json::Null);
    }
    if expected["fragments"].is_number() && instance.image.is_some() {
        match frame_table(instance, file) {
            Ok(table) => {
                differ("fragments", table.fragment_count().into());
                differ("bot_entries", table.basic_offset_table_entries().into());
                let location = instance.pixel_data.expect("encapsulated");
                let extended = location.extended_offset_table.is_some();
                differ("extended_offset_table", extended.into());
            }
            Err(error) => differ("fragments", error.to_string().into()),
        }
    }
    found
}

fn frame_table(instance: &Instance, file: &File) -> Result<FrameTable, Error> {
    let location = instance.pixel_data.expect("pixels are expected");
    let image = instance.image.as_ref().expect("an image is expected");
    let syntax = syntax::by_uid(&instance.transfer_syntax_uid).expect("known");
    let len = file.metadata()?.len();
    // A video is one stream, however many frames the header counts.
    let frames = if syntax.video {
        1
    } else {
        image.number_of_frames
    };
    FrameTable::read(file, len, &location, frames, syntax.codec)
}

#[test]
fn headers_are_what_the_manifest_says() {
    let mut failures = Vec::new();
    let entries = manifest();
    for (path, expected) in &entries {
        let file = File::open(path).expect("readable");
        let found = match read(path) {
            Ok(Header::Instance(instance)) => differences(&instance, expected, &file),
            Ok(Header::Dicomdir) if path.to_string_lossy().contains("DICOMDIR") => Vec::new(),
            Ok(Header::Dicomdir) => vec!["taken for a DICOMDIR".to_owned()],
            Err(error) => vec![error.to_string()],
        };
        failures.extend(
            found
                .into_iter()
                .map(|what| format!("{}: {what}", path.display())),
        );
    }
    println!("{} files compared", entries.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What dicom-object makes of a file, up to Pixel Data; `None` when it cannot read it.
fn second_opinion(path: &Path) -> Option<(InMemDicomObject, String)> {
    let options = OpenFileOptions::new().read_preamble(ReadPreamble::Auto);
    let object = options.read_until(tags::PIXEL_DATA).open_file(path).ok()?;
    let syntax = object.meta().transfer_syntax().to_owned();
    Some((object.into_inner(), syntax))
}

/// Do the Shared Functional Groups have this attribute, and so take its place?
fn is_shared(object: &InMemDicomObject, tag: tags::Tag) -> bool {
    let groups = object.element(tags::Tag(0x5200, 0x9229)).ok();
    let groups = groups
        .and_then(|element| element.items())
        .unwrap_or_default();
    let macros = groups
        .iter()
        .flatten()
        .filter_map(|element| element.items());
    macros.flatten().any(|item| item.element(tag).is_ok())
}

#[test]
fn dicom_object_agrees() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for (path, _) in manifest() {
        let (Ok(Header::Instance(ours)), Some((theirs, syntax))) =
            (read(&path), second_opinion(&path))
        else {
            continue;
        };
        // dicom-object leaves UN undecoded, and one file has nothing else.
        let unknown = |element: &InMemElement| element.vr() == VR::UN;
        if theirs
            .iter()
            .any(|element| element.tag() == tags::MODALITY && unknown(element))
        {
            continue;
        }
        compared += 1;
        let mut differ = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                failures.push(format!("{}: {what}: {ours}, not {theirs}", path.display()));
            }
        };
        let text = |tag| {
            let value = theirs
                .element(tag)
                .ok()
                .and_then(|element| element.to_str().ok());
            value.map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        differ(
            "transfer syntax",
            ours.transfer_syntax_uid,
            syntax.trim_end_matches('\0').to_owned(),
        );
        differ("SOP class", ours.sop_class_uid, text(tags::SOP_CLASS_UID));
        differ(
            "SOP instance",
            ours.sop_instance_uid,
            text(tags::SOP_INSTANCE_UID),
        );
        differ(
            "study",
            ours.study_instance_uid,
            text(tags::STUDY_INSTANCE_UID),
        );
        differ(
            "series",
            ours.series_instance_uid,
            text(tags::SERIES_INSTANCE_UID),
        );
        differ("modality", ours.modality, text(tags::MODALITY));
        if let Some(image) = ours.image {
            differ("rows", image.rows.to_string(), text(tags::ROWS));
            differ("columns", image.columns.to_string(), text(tags::COLUMNS));
        }
        // Every attribute that we show, by the text that they have for it.
        for (keyword, value) in ours.attributes.iter() {
            let Ok(element) = theirs.element_by_name(keyword) else {
                continue;
            };
            if is_shared(&theirs, element.tag()) {
                continue;
            }
            let numbers = || element.to_multi_float64().unwrap_or_default();
            match value {
                crate::dicom::Value::Int(number) => {
                    differ(
                        keyword,
                        format!("{:?}", [number as f64]),
                        format!("{:?}", numbers()),
                    );
                }
                crate::dicom::Value::Float(number) => {
                    differ(
                        keyword,
                        format!("{:?}", [number]),
                        format!("{:?}", numbers()),
                    );
                }
                crate::dicom::Value::Floats(list) => {
                    differ(keyword, format!("{list:?}"), format!("{:?}", numbers()));
                }
                crate::dicom::Value::Text(text) => {
                    let theirs = element.to_str().unwrap_or_default();
                    differ(
                        keyword,
                        text.clone(),
                        theirs.trim_matches([' ', '\0', '\r', '\n']).into(),
                    );
                }
                _ => {}
            }
        }
    }
    println!("{compared} files compared with dicom-object");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
