//! Headers too absurd to believe, and files too short for them.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{ImagePixel, Photometric, PixelElement};
use crate::volume::{Status, Variant};

#[test]
fn headers_that_are_refused() {
    type Set = fn(&mut ImagePixel);
    let cases: [(Set, &str); 14] = [
        // The file holds one frame: 1025 are not believed.
        (|i| i.rows = 0, "malformed_header"),
        (|i| i.columns = 0, "malformed_header"),
        (|i| i.number_of_frames = 0, "malformed_header"),
        (|i| i.samples_per_pixel = 0, "malformed_header"),
        (|i| i.bits_allocated = 12, "malformed_header"),
        (|i| i.bits_allocated = 0, "malformed_header"),
        (|i| i.bits_stored = 0, "malformed_header"),
        (|i| i.bits_stored = 17, "malformed_header"),
        (
            |i| i.element = PixelElement::FloatPixelData,
            "malformed_header",
        ),
        (|i| i.number_of_frames = 1025, "malformed_header"),
        (|i| i.number_of_frames = u32::MAX, "too_large"),
        (|i| (i.rows, i.columns) = (u32::MAX, u32::MAX), "too_large"),
        (|i| (i.rows, i.columns) = (1 << 16, 1 << 15), "too_large"),
        (
            |i| (i.rows, i.number_of_frames) = (1 << 20, 1 << 19),
            "too_large",
        ),
    ];
    for (index, (set, code)) in cases.into_iter().enumerate() {
        let mut record = slice(1, 0.0);
        set(image(&mut record));
        let built = build_of(vec![record]);
        let found: Vec<_> = built.findings.iter().map(|f| f.1.code).collect();
        assert_eq!(
            (built.volumes.len(), found),
            (0, vec![code]),
            "case {index}"
        );
    }
}

#[test]
fn short_files_are_volumes_whose_frames_fail() {
    type Set = fn(&mut Record);
    let cases: [(Set, &[&str]); 6] = [
        (|_| {}, &[]),
        // Exactly at the limit of size.
        (
            |r| (image(r).rows, image(r).columns) = (1 << 15, 1 << 14),
            &["truncated_pixel_data"],
        ),
        (
            |r| image(r).number_of_frames = 1024,
            &["truncated_pixel_data"],
        ),
        (|r| r.identity.size_bytes -= 1, &["truncated_pixel_data"]),
        (|r| r.identity.size_bytes = 0, &["truncated_pixel_data"]),
        // Encapsulated: nothing is known of the frames' lengths.
        (
            |r| {
                r.instance.transfer_syntax_uid = JPEG_2000.into();
                r.instance.pixel_data.as_mut().unwrap().length_bytes = None;
                r.identity.size_bytes = 1008;
            },
            &[],
        ),
    ];
    for (set, expected) in cases {
        let mut record = slice(1, 0.0);
        record.instance.shared.slice_thickness = Some(1.0);
        set(&mut record);
        let found = codes(&only(vec![record]));
        assert_eq!(
            found.iter().filter(|code| **code != "no_geometry").count(),
            expected.len()
        );
        assert!(
            expected.iter().all(|code| found.contains(code)),
            "{found:?}"
        );
    }
    // 1-bit frames are packed across frames; YBR_FULL_422 stores two samples a pixel.
    let mut packed = slice(1, 0.0);
    let bits = image(&mut packed);
    (bits.bits_allocated, bits.bits_stored, bits.number_of_frames) = (1, 1, 9);
    packed.instance.pixel_data.as_mut().unwrap().length_bytes = Some(27);
    packed.identity.size_bytes = 1000 + 27;
    check(&only(vec![packed]), Status::Warn, &["no_geometry"]);
    let mut subsampled = slice(1, 0.0);
    let image = image(&mut subsampled);
    (image.photometric, image.samples_per_pixel) = (Photometric::YbrFull422, 3);
    (image.bits_allocated, image.bits_stored) = (8, 8);
    subsampled.instance.shared.slice_thickness = Some(1.0);
    subsampled
        .instance
        .pixel_data
        .as_mut()
        .unwrap()
        .length_bytes = Some(48);
    subsampled.identity.size_bytes = 1000 + 48;
    check(&only(vec![subsampled.clone()]), Status::Ok, &[]);
    // Three samples a pixel are there: it is no 4:2:2.
    let pixels = subsampled.instance.pixel_data.as_mut().unwrap();
    pixels.length_bytes = Some(72);
    subsampled.identity.size_bytes = 1000 + 72;
    let volume = only(vec![subsampled]);
    check(&volume, Status::Bad, &["malformed_header"]);
}

#[test]
fn values_larger_than_the_limit_are_refused_too() {
    // 2^28 pixels of 1 byte are well within 1 GiB; as float32 they are at the limit.
    let mut record = slice(1, 0.0);
    let image = image(&mut record);
    (image.rows, image.columns) = (1 << 14, 1 << 14);
    (image.bits_allocated, image.bits_stored) = (8, 8);
    fit(&mut record);
    assert_eq!(
        only(vec![record.clone()]).len_bytes(Variant::Values),
        1 << 28
    );
    record.instance.shared.rescale_slope = Some(0.5);
    assert_eq!(
        only(vec![record.clone()]).len_bytes(Variant::Values),
        1 << 30
    );
    super::fixture::image(&mut record).columns += 1;
    let built = build_of(vec![record]);
    assert!(built.volumes.is_empty());
    assert_eq!(built.findings[0].1.code, "too_large");
}
