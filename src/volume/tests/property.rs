//! Laws that hold for any archive: no panic, no frame lost or shown twice, no dependence on order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{Deid, FrameAttributes, Mosaic, Photometric, PixelElement, Value};
use crate::volume::{Built, Status, Variant, build, deidentify};

/// Small sets, so that records collide in every way.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0..4_i8).prop_map(f64::from),
        2 => -2.0..2.0_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0, 1e300, 1e6, 5e-324, 1e-4]),
    ]
}

fn position() -> impl Strategy<Value = Option<[f64; 3]>> {
    prop_oneof![
        6 => number().prop_map(|z| Some([0.0, 0.0, z])),
        2 => [number(), number(), number()].prop_map(Some),
        1 => Just(None),
    ]
}

fn orientation() -> impl Strategy<Value = Option<[f64; 6]>> {
    let turned = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
    let tipped = [1.0, 0.0, 0.0, 0.0, 0.8, 0.6];
    prop_oneof![
        6 => Just(Some(AXIAL)),
        1 => Just(Some(turned)),
        1 => Just(Some(tipped)),
        1 => prop::array::uniform6(number()).prop_map(Some),
        1 => Just(None),
    ]
}

prop_compose! {
    fn attributes()(
        image_position in position(),
        image_orientation in orientation(),
        pixel_spacing in prop::option::weighted(0.9, [number(), number()]),
        slice_thickness in prop::option::of(number()),
        rescale in prop::option::of((number(), number())),
        lut in prop::option::weighted(0.1, 0..20_i32),
        temporal_position in prop::option::of(0..3_i64),
        times in (prop::option::of(number()), prop::option::of(number())),
        acquisition_number in prop::option::of(0..3_i64),
        echo_number in prop::option::of(0..3_i64),
        segment_number in prop::option::weighted(0.2, 0..3_u32),
        component in prop::option::of(prop::sample::select(vec!["PHASE", "MAGNITUDE", "REAL"])),
        instance_number in prop::option::of(0..5_i64),
    ) -> FrameAttributes {
        FrameAttributes {
            image_position,
            image_orientation,
            pixel_spacing,
            slice_thickness,
            rescale_slope: rescale.map(|r| r.0),
            rescale_intercept: rescale.map(|r| r.1),
            modality_lut_descriptor: lut.map(|bits| [256, 0, bits]),
            palette_descriptor: lut.map(|bits| [256, 0, bits]),
            temporal_position,
            trigger_time_ms: times.0,
            content_time_ms: times.1,
            acquisition_number,
            echo_number,
            segment_number,
            complex_image_component: component.map(String::from),
            instance_number,
            ..FrameAttributes::default()
        }
    }
}

prop_compose! {
    fn record()(
        uids in (0..6_u8, 0..3_u8),
        syntax in prop::sample::select(vec![EXPLICIT_LE, JPEG_2000, "1.2.840.10008.1.2.4.50"]),
        mr in any::<bool>(),
        size in (0..4_u32, 0..3_u32, prop_oneof![6 => Just(1_u32), 2 => 0..5_u32, 1 => any::<u32>()]),
        photometric in prop::sample::select(vec![
            Photometric::Monochrome2, Photometric::Monochrome2, Photometric::Monochrome1,
            Photometric::PaletteColor, Photometric::Rgb, Photometric::YbrFull422,
            Photometric::Other("HSV".into()),
        ]),
        samples in prop::sample::select(vec![1_u16, 1, 1, 3, 4, 0]),
        bits in prop::sample::select(vec![(16_u16, 12_u16), (16, 16), (8, 8), (1, 1), (32, 32), (64, 64), (12, 12)]),
        flags in (any::<bool>(), 0..10_u8),
        shared in attributes(),
        object in (0..12_u8, prop::option::weighted(0.2, (0..6_u32, prop::option::of(number())))),
        per_frame in prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(attributes(), 0..5)],
        size_bytes in prop_oneof![4 => Just(1 << 20), 1 => 0..3000_u64],
    ) -> Record {
        let mut record = slice(i64::from(uids.0), 0.0);
        record.instance.sop_instance_uid = ["", "1", "2", "3", "4", "5"][usize::from(uids.0)].into();
        record.instance.series_instance_uid = ["", "9.1", "9.2"][usize::from(uids.1)].into();
        record.instance.transfer_syntax_uid = syntax.into();
        record.instance.modality = if mr { "MR" } else { "CT" }.into();
        // Objects that stand alone are as likely as they collide with others.
        let class = ["1.66.4", "1.66.7", "1.481.2", "1.20", "1.30"].get(usize::from(object.0));
        if let Some(class) = class {
            record.instance.sop_class_uid = format!("1.2.840.10008.5.1.4.1.{class}");
        }
        let series_number = Value::Int(i64::from(object.0 % 3));
        let vector = Value::Ints(vec![1, 2, i64::from(object.0)]);
        let attributes = &mut record.instance.attributes;
        attributes.insert("SeriesNumber", &series_number).expect("known");
        attributes.insert("SliceVector", &vector).expect("known");
        attributes.insert("GridFrameOffsetVector", &vector).expect("known");
        record.instance.mosaic = object.1.map(|(tiles, z)| Mosaic {
            tiles,
            slice_normal: z.map(|z| [0.0, 0.0, z]),
            ..Mosaic::default()
        });
        let image = image(&mut record);
        (image.rows, image.columns, image.number_of_frames) = size;
        image.photometric = photometric;
        image.samples_per_pixel = samples;
        (image.bits_allocated, image.bits_stored) = bits;
        image.signed = flags.0;
        match flags.1 {
            0 => image.element = PixelElement::FloatPixelData,
            1 => record.instance.image = None,
            2 => record.instance.pixel_data = None,
            _ => {}
        }
        record.instance.shared = shared;
        if record.instance.mosaic.is_some() {
            record.instance.shared.image_type = vec!["MOSAIC".into()];
        }
        record.instance.per_frame = per_frame;
        record.identity.size_bytes = size_bytes;
        if let Some(location) = &mut record.instance.pixel_data {
            location.length_bytes = (syntax == EXPLICIT_LE).then_some(size_bytes);
        }
        record
    }
}

fn archive() -> impl Strategy<Value = Vec<Arc<Record>>> {
    prop::collection::vec(record(), 0..24).prop_map(|records| {
        let numbered = records.into_iter().enumerate();
        numbered
            .map(|(index, mut record)| {
                record.path = PathBuf::from(format!("{index:03}.dcm"));
                Arc::new(record)
            })
            .collect()
    })
}

/// Everything about the outcome; NaN compares by its text.
fn text(built: &Built) -> String {
    format!("{built:?}")
}

fn check_frames(records: &[Arc<Record>], built: &Built) {
    let mut shown: BTreeMap<&PathBuf, Vec<u32>> = BTreeMap::new();
    let mut tiles = BTreeSet::new();
    for volume in &built.volumes {
        for stored in volume.frames.iter().filter_map(|frame| frame.stored) {
            let path = &volume.records[stored.record].path;
            let frames = shown.entry(path).or_default();
            match stored.tile {
                None => frames.push(stored.frame_index),
                // A frame that is shown in tiles counts once, and each tile is shown once.
                Some(tile) => {
                    assert!(tiles.insert((path, stored.frame_index, tile.row, tile.column)));
                    if !frames.contains(&stored.frame_index) {
                        frames.push(stored.frame_index);
                    }
                }
            }
        }
    }
    let reported: BTreeSet<&PathBuf> = built.findings.iter().map(|f| &f.0).collect();
    for record in records {
        match shown.remove(&record.path) {
            None => assert!(reported.contains(&record.path), "{:?}", record.path),
            Some(mut frames) => {
                assert!(!reported.contains(&record.path), "{:?}", record.path);
                frames.sort_unstable();
                let count = record.instance.image.as_ref().unwrap().number_of_frames;
                assert!(frames.into_iter().eq(0..count), "{:?}", record.path);
            }
        }
    }
    assert!(shown.is_empty());
}

fn check_volumes(built: &Built) {
    let names: BTreeSet<&str> = built.volumes.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names.len(), built.volumes.len());
    for volume in &built.volumes {
        assert_eq!(volume.axes.len(), volume.shape.len());
        let leading: u64 = volume.shape[..volume.axes.find('y').unwrap()]
            .iter()
            .product();
        assert_eq!(leading, volume.frames.len() as u64);
        for variant in Variant::ALL {
            let itemsize = volume.dtype(variant).itemsize() as u64;
            let elements: u64 = volume.shape(variant).iter().product();
            assert_eq!(volume.len_bytes(variant), elements * itemsize);
            assert!(volume.len_bytes(variant) > 0);
        }
        if volume.same_bytes_as(Variant::Stored) == Variant::Values {
            assert_eq!(volume.dtype(Variant::Stored), volume.dtype(Variant::Values));
            assert_eq!(volume.shape(Variant::Stored), volume.shape(Variant::Values));
        }
        let severity = |f: &crate::volume::Finding| crate::volume::finding::severity(f.code);
        let worst = volume.findings.iter().map(severity).max();
        assert!(volume.status >= worst.unwrap_or(Status::Ok));
        assert!(
            volume
                .frames
                .iter()
                .all(|f| f.slope != 0.0 && f.slope.is_finite())
        );
        let finite =
            |g: &crate::volume::Geometry| g.affine_lps.iter().flatten().all(|x| x.is_finite());
        assert!(
            volume.geometry.as_ref().is_none_or(finite),
            "{:?}",
            volume.geometry
        );
        crate::format::json::volume_json(volume).unwrap();
        crate::format::table::csv_row(volume).unwrap();
        crate::format::table::jsonl_row(volume).unwrap();
        crate::format::table::volume_findings(volume).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_archive((records, shuffled) in archive().prop_flat_map(|records| {
        (Just(records.clone()), Just(records).prop_shuffle())
    })) {
        let built = build(&records);
        check_frames(&records, &built);
        check_volumes(&built);
        prop_assert_eq!(text(&built), text(&build(&shuffled)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_archive_de_identified(records in archive()) {
        let named = |record: Arc<Record>| {
            let mut record = Record::clone(&record);
            record.path = PathBuf::from(format!("Jones/{}", record.path.display()));
            Arc::new(record)
        };
        let records: Vec<_> = records.into_iter().map(named).collect();
        let was = build(&records);
        let mut is = was.clone();
        deidentify(&mut is, &Deid::new(&[7; 32]).unwrap());
        // Names are as many as they were.
        check_volumes(&is);
        check_frames_of(&was, &is);
        let mut told = Vec::new();
        for volume in &is.volumes {
            told.extend(crate::format::json::volume_json(volume).unwrap());
            told.extend(crate::format::table::jsonl_row(volume).unwrap());
            told.extend(crate::format::table::volume_findings(volume).unwrap());
        }
        for (path, finding) in &is.findings {
            let (code, detail) = (finding.code, &finding.detail);
            told.extend(crate::format::table::file_finding_line(path, code, detail).unwrap());
        }
        let told = String::from_utf8(told).unwrap();
        for name in ["Jones", "\"9.1", "\"9.2", "series/9", "series 9"] {
            prop_assert!(!told.contains(name), "{} in {}", name, told);
        }
    }
}

/// What is shown of frames, and in which order, does not depend on who is told of it.
fn check_frames_of(was: &Built, is: &Built) {
    assert_eq!(was.volumes.len(), is.volumes.len());
    for (was, is) in was.volumes.iter().zip(&is.volumes) {
        let of = |volume: &crate::volume::Volume| {
            let paths: Vec<_> = volume.records.iter().map(|r| r.path.clone()).collect();
            format!(
                "{:?} {:?} {:?} {paths:?}",
                volume.frames, volume.shape, volume.values
            )
        };
        assert_eq!(of(was), of(is));
    }
}
