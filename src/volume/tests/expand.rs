//! The ways in which one file holds many slices: mosaics, dose grids, slice vectors, stacks.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, Mosaic, Value};
use crate::volume::{Status, Tile, ValueKind};

/// A mosaic of 3 x 3 tiles of 4 x 6 pixels at (100, 200, 10), 5 of them in use.
fn mosaic(number: i64, change: impl FnOnce(&mut Record)) -> Record {
    slice_with(number, 0.0, |record| {
        image(record).rows = 12;
        image(record).columns = 18;
        record.instance.modality = "MR".into();
        record.instance.mosaic = Some(Mosaic {
            tiles: 5,
            slice_normal: Some([0.0, 0.0, 1.0]),
            slice_times_ms: vec![0.0, 500.0, 100.0, 600.0, 200.0],
            ..Mosaic::default()
        });
        let shared = &mut record.instance.shared;
        shared.image_type = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
            .map(String::from)
            .to_vec();
        shared.image_position = Some([100.0, 200.0, 10.0]);
        shared.spacing_between_slices = Some(3.0);
        shared.acquisition_number = Some(number);
        shared.acquisition_time_ms = Some(number as f64 * 1500.0);
        change(record);
    })
}

#[test]
fn mosaics_are_split_into_slices() {
    let volume = only(vec![mosaic(2, |_| {}), mosaic(1, |_| {})]);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(volume.axes, "tzyx");
    assert_eq!(volume.shape, [2, 5, 4, 6]);
    let tiles: Vec<Option<Tile>> = volume.frames[..5]
        .iter()
        .map(|frame| frame.stored.unwrap().tile)
        .collect();
    let tile = |row, column| Some(Tile { row, column });
    assert_eq!(
        tiles,
        [tile(0, 0), tile(0, 6), tile(0, 12), tile(4, 0), tile(4, 6)]
    );
    assert_eq!(numbers(&volume), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    // Pixels are 0.75 mm along a row and 0.5 mm along a column: the corner moves in by half of
    // 12 columns and 8 rows.
    let geometry = volume.geometry.unwrap();
    assert_eq!(geometry.affine_lps[0], [0.75, 0.0, 0.0, 104.5]);
    assert_eq!(geometry.affine_lps[1], [0.0, 0.5, 0.0, 202.0]);
    assert_eq!(geometry.affine_lps[2], [0.0, 0.0, 3.0, 10.0]);
    assert_eq!(volume.slice_times_s, [0.0, 0.5, 0.1, 0.6, 0.2]);
    let steps = volume.steps.unwrap();
    assert_eq!(
        (steps.keyword, steps.interval_s),
        ("AcquisitionNumber", Some(1.5))
    );
}

#[test]
fn tiles_against_the_normal_are_turned_round() {
    let volume = only(vec![mosaic(1, |record| {
        let mosaic = record.instance.mosaic.as_mut().unwrap();
        mosaic.slice_normal = Some([0.0, 0.0, -1.0]);
    })]);
    assert_eq!(volume.shape, [5, 4, 6]);
    let first = volume.frames[0].stored.unwrap().tile.unwrap();
    assert_eq!((first.row, first.column), (4, 6));
    assert_eq!(
        volume.geometry.unwrap().affine_lps[2],
        [0.0, 0.0, 3.0, -2.0]
    );
    assert_eq!(volume.slice_times_s, [0.2, 0.6, 0.1, 0.5, 0.0]);
}

#[test]
fn enhanced_objects_that_are_called_mosaic_are_slices() {
    // Siemens XA keeps the word in Image Type of what it has taken apart.
    let frames = (0..3).map(|z| frame(0.0, f64::from(z), |_| {}));
    let mut record = multi_frame(1, frames.collect());
    record.instance.modality = "MR".into();
    record.instance.shared.image_type = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        .map(String::from)
        .to_vec();
    let volume = only(vec![record]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(volume.axes, "zyx");
    assert!(volume.geometry.is_some());
}

#[test]
fn grids_with_a_position_for_each_slice_are_split() {
    // Five slices: three columns, two rows, the last tile empty; stored from the top down.
    let positions: Vec<[f64; 3]> = (0..5).map(|z| [1.0, 2.0, 9.0 - f64::from(z)]).collect();
    let of = |rows: u32, columns: u32| {
        slice_with(1, 9.0, |record| {
            record.instance.modality = "MR".into();
            let terms = ["ORIGINAL", "PRIMARY", "DWI", "VFRAME"];
            record.instance.shared.image_type = terms.map(String::from).to_vec();
            record.instance.mosaic = Some(Mosaic {
                tiles: 5,
                positions: positions.clone(),
                ..Mosaic::default()
            });
            let image = image(record);
            (image.rows, image.columns) = (rows, columns);
        })
    };
    let volume = only(vec![of(8, 18)]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(volume.shape, [5, 4, 6]);
    let places: Vec<(u32, u32, f64)> = volume
        .frames
        .iter()
        .map(|frame| {
            let tile = frame.stored.unwrap().tile.unwrap();
            (tile.row, tile.column, frame.position_lps_mm.unwrap()[2])
        })
        .collect();
    let expected = [
        (4, 6, 5.0),
        (4, 0, 6.0),
        (0, 12, 7.0),
        (0, 6, 8.0),
        (0, 0, 9.0),
    ];
    assert_eq!(places, expected);
    // A frame that is no such grid stays whole.
    check(&only(vec![of(9, 18)]), Status::Bad, &["mosaic_not_split"]);
}

#[test]
fn mosaics_that_do_not_say_how_stay_whole() {
    type Change = fn(&mut Record);
    let cases: [Change; 5] = [
        |record| record.instance.mosaic = None,
        |record| record.instance.mosaic.as_mut().unwrap().slice_normal = None,
        |record| record.instance.mosaic.as_mut().unwrap().tiles = 0,
        |record| record.instance.mosaic.as_mut().unwrap().tiles = 17,
        |record| record.instance.mosaic.as_mut().unwrap().tiles = u32::MAX,
    ];
    for change in cases {
        let volume = only(vec![mosaic(1, change), mosaic(2, change)]);
        check(&volume, Status::Bad, &["time_axis", "mosaic_not_split"]);
        assert_eq!(volume.shape, [2, 1, 12, 18]);
        assert_eq!(volume.geometry, None);
    }
}

fn dose(offsets: Vec<f64>, change: impl FnOnce(&mut Record)) -> Record {
    slice_with(1, 5.0, |record| {
        image(record).number_of_frames = 3;
        record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.481.2".into();
        record.instance.modality = "RTDOSE".into();
        set(record, "GridFrameOffsetVector", Value::Floats(offsets));
        set(record, "DoseGridScaling", Value::Float(0.25));
        set(record, "DoseUnits", Value::Text("GY".into()));
        change(record);
    })
}

#[test]
fn dose_grids_have_offsets() {
    // Relative ones, against the normal, and coordinates along z.
    for (offsets, z) in [
        (vec![0.0, -2.0, -4.0], 1.0),
        (vec![5.0, 3.0, 1.0], 1.0),
        (vec![5.0, 7.0, 9.0], 5.0),
    ] {
        let volume = only(vec![dose(offsets, |_| {})]);
        check(&volume, Status::Ok, &[]);
        assert_eq!(volume.axes, "zyx");
        assert_eq!(volume.geometry.unwrap().affine_lps[2], [0.0, 0.0, 2.0, z]);
        assert_eq!(volume.values.kind, ValueKind::Dose);
        assert_eq!(volume.values.units.as_deref(), Some("GY"));
        assert_eq!(
            (volume.frames[0].slope, volume.frames[0].intercept),
            (0.25, 0.0)
        );
    }
    // Not one a frame, from elsewhere, or of planes that are not transverse: no offsets.
    let sagittal = |record: &mut Record| {
        record.instance.shared.image_orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0]);
    };
    for record in [
        dose(vec![0.0, 2.0], |_| {}),
        dose(vec![4.0, 6.0, 8.0], |_| {}),
        dose(vec![5.0, 7.0, 9.0], sagittal),
    ] {
        let volume = only(vec![record]);
        check(&volume, Status::Warn, &["no_geometry"]);
        assert_eq!(volume.axes, "fyx");
    }
}

#[test]
fn doses_never_go_together() {
    let second = dose(vec![0.0, 2.0, 4.0], |record| {
        record.path = "other.dcm".into();
        record.instance.sop_instance_uid = "1.2.3.99".into();
    });
    let volumes = volumes(vec![dose(vec![0.0, 2.0, 4.0], |_| {}), second]);
    assert_eq!(outline(&volumes), [("", 3), ("_i2", 3)]);
    check(&volumes[1], Status::Ok, &["split_from"]);
}

#[test]
fn doses_stored_plane_by_plane_are_a_stack() {
    let plane = |number: i64, z: f64, scaling: f64| {
        slice_with(number, z, |record| {
            record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.481.2".into();
            set(record, "DoseGridScaling", Value::Float(scaling));
        })
    };
    let volume = only(vec![plane(1, 4.0, 0.5), plane(2, 2.0, 0.25)]);
    check(&volume, Status::Ok, &["mixed_rescale"]);
    assert_eq!(volume.shape, [2, 4, 6]);
    assert_eq!(
        [volume.frames[0].slope, volume.frames[1].slope],
        [0.25, 0.5]
    );
}

fn nuclear(slices: Vec<i64>, spacing: f64, change: impl FnOnce(&mut Record)) -> Record {
    slice_with(1, 50.0, |record| {
        image(record).number_of_frames = slices.len() as u32;
        record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.20".into();
        record.instance.modality = "NM".into();
        record.instance.shared.spacing_between_slices = Some(spacing);
        set(record, "SliceVector", Value::Ints(slices));
        change(record);
    })
}

#[test]
fn reconstructed_nuclear_medicine_is_a_stack() {
    let z_and_first = |volume: &crate::volume::Volume| {
        let first = volume.frames[0].stored.unwrap().frame_index;
        (volume.geometry.as_ref().unwrap().affine_lps[2], first)
    };
    let volume = only(vec![nuclear(vec![1, 2, 3], 4.0, |_| {})]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(z_and_first(&volume), ([0.0, 0.0, 4.0, 50.0], 0));
    let volume = only(vec![nuclear(vec![1, 2, 3], -4.0, |_| {})]);
    assert_eq!(z_and_first(&volume), ([0.0, 0.0, 4.0, 42.0], 2));
    let gated = nuclear(vec![1, 2, 1, 2], 4.0, |record| {
        set(record, "TimeSlotVector", Value::Ints(vec![2, 2, 1, 1]));
    });
    let volume = only(vec![gated]);
    assert_eq!(volume.axes, "tzyx");
    let order: Vec<u32> = volume
        .frames
        .iter()
        .map(|f| f.stored.unwrap().frame_index)
        .collect();
    assert_eq!(order, [2, 3, 0, 1]);
    let no_position = nuclear(vec![1, 2, 3], 4.0, |record| {
        record.instance.shared.image_position = None;
    });
    let volume = only(vec![no_position]);
    check(&volume, Status::Warn, &["no_geometry"]);
}

fn frame(x: f64, z: f64, change: impl FnOnce(&mut FrameAttributes)) -> FrameAttributes {
    let mut frame = FrameAttributes {
        image_position: Some([x, 0.0, z]),
        ..FrameAttributes::default()
    };
    change(&mut frame);
    frame
}

#[test]
fn stacks_of_one_instance_are_volumes() {
    let stack = |id: &'static str| move |a: &mut FrameAttributes| a.stack_id = Some(id.into());
    let frames = vec![
        frame(0.0, 0.0, stack("1")),
        frame(0.0, 1.0, stack("1")),
        frame(0.0, 2.0, stack("1")),
        frame(0.0, 7.0, stack("2")),
        frame(0.0, 8.0, stack("2")),
    ];
    let volumes = volumes(vec![multi_frame(1, frames)]);
    assert_eq!(outline(&volumes), [("", 3), ("_o2", 2)]);
    check(&volumes[0], Status::Ok, &["split_from"]);
    let turned = frame(0.0, 1.0, |a| {
        a.image_orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0]);
    });
    let volumes = super::fixture::volumes(vec![multi_frame(
        1,
        vec![frame(0.0, 0.0, |_| {}), frame(0.0, 1.0, |_| {}), turned],
    )]);
    assert_eq!(outline(&volumes), [("", 2), ("_o2", 1)]);
}

#[test]
fn instances_of_an_enhanced_series_go_together() {
    let instance = |number: i64, time: i64| {
        let at = |z| frame(0.0, z, |a| a.temporal_position = Some(time));
        multi_frame(number, vec![at(1.0), at(0.0)])
    };
    let volume = only(vec![instance(1, 2), instance(2, 1)]);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(volume.shape, [2, 2, 4, 6]);
    assert_eq!(numbers(&volume), [2, 2, 1, 1]);
    // Nothing orders them: each on its own, and neither is in doubt.
    let plain = |number| {
        multi_frame(
            number,
            vec![frame(0.0, 1.0, |_| {}), frame(0.0, 0.0, |_| {})],
        )
    };
    let volumes = volumes(vec![plain(1), plain(2)]);
    assert_eq!(outline(&volumes), [("", 2), ("_a2", 2)]);
    check(&volumes[0], Status::Ok, &["split_from"]);
}

#[test]
fn too_many_orientations_stay_in_stored_order() {
    let frames = (0..100).map(|n| {
        let (sin, cos) = (f64::from(n) * 0.03).sin_cos();
        frame(0.0, 0.0, |a| {
            a.image_orientation = Some([cos, sin, 0.0, 0.0, 0.0, -1.0])
        })
    });
    let volume = only(vec![multi_frame(1, frames.collect())]);
    check(&volume, Status::Warn, &["no_geometry"]);
    assert_eq!(volume.axes, "fyx");
}
