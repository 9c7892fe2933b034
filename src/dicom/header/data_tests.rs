//! The parser against real files: their manifest, and dicom-object as a second opinion.

use std::fs::File;
use std::path::Path;

use dicom_object::{InMemDicomObject, OpenFileOptions, file::ReadPreamble};
use serde_json::Value as Json;

use super::*;
use crate::dicom::testing::manifest;
use crate::dicom::{FrameTable, ImagePixel, Photometric, PixelElement};

fn read(path: &Path) -> Result<Header, Error> {
    let file = File::open(path).expect("readable");
    let len = file.metadata().expect("stat").len();
    read_header(&file, len)
}

fn photometric(image: &ImagePixel) -> &str {
    match &image.photometric {
        Photometric::Monochrome1 => "MONOCHROME1",
        Photometric::Monochrome2 => "MONOCHROME2",
        Photometric::PaletteColor => "PALETTE COLOR",
        Photometric::Rgb => "RGB",
        Photometric::YbrFull => "YBR_FULL",
        Photometric::YbrFull422 => "YBR_FULL_422",
        Photometric::YbrIct => "YBR_ICT",
        Photometric::YbrRct => "YBR_RCT",
        Photometric::Xyb => "XYB",
        Photometric::Other(term) => term,
    }
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
        differ("PhotometricInterpretation", photometric(image).into());
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
