//! What tells apart frames at the same positions, beside time: words, places, maps, directions.

use super::fixture::*;
use super::repeats::repeated;
use crate::dicom::{FrameAttributes, Value};
use crate::volume::{Status, ValueKind};

#[test]
fn descriptions_tell_apart_what_nothing_orders() {
    // Ten phases of breathing, written into text: more than anybody reconstructs.
    for keyword in [
        "SeriesDescription",
        "ImageComments",
        "DerivationDescription",
    ] {
        let phases = |count: i64| {
            repeated(count, |record, phase| {
                let text = format!("{} %", 10 * phase);
                set(record, keyword, Value::Text(text));
            })
        };
        let volumes = volumes(phases(10));
        assert_eq!(volumes.len(), 10, "{keyword}");
        let told = ["duplicate_positions", "split_from"];
        check(&volumes[0], Status::Warn, &told);
        assert_eq!(numbers(&volumes[9]), [28, 29, 30], "{keyword}");
        // A text that is another one for each frame names nothing.
        let mut records = phases(10);
        for (index, record) in records.iter_mut().enumerate() {
            set(record, keyword, Value::Text(index.to_string()));
        }
        assert!(
            build_of(records)
                .volumes
                .iter()
                .all(|v| v.status == Status::Bad)
        );
    }
}

#[test]
fn stacks_side_by_side_are_volumes() {
    let two = |heights: &[f64], column_mm: fn(usize, f64) -> f64| {
        let mut records = Vec::new();
        for (index, z) in heights.iter().enumerate() {
            for stack in 0..2 {
                let number = (2 * index + stack + 1) as i64;
                records.push(slice_with(number, *z, |record| {
                    let x = column_mm(stack, *z);
                    record.instance.shared.image_position = Some([x, 3.0, *z]);
                }));
            }
        }
        build_of(records).volumes
    };
    let volumes = two(&[0.0, 2.0, 4.0], |stack, _| 40.0 * stack as f64);
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
    check(&volumes[0], Status::Ok, &["split_from"]);
    assert_eq!(numbers(&volumes[0]), [1, 3, 5]);
    assert!(volumes[1].geometry.is_some());
    // Of two planes any pairing is in line; stacks that cross are not told apart.
    for volumes in [
        two(&[0.0, 2.0], |stack, _| 40.0 * stack as f64),
        two(&[0.0, 2.0, 4.0], |stack, z| match stack {
            0 => z,
            _ => 5.0 - z,
        }),
    ] {
        assert!(volumes.iter().all(|volume| volume.status == Status::Bad));
    }
}

#[test]
fn maps_of_one_object_are_volumes() {
    let frame = |z: f64, units: &str, label: &str| FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        real_world_value: Some([2.0, 0.0]),
        real_world_label: Some(label.into()),
        units: Some(units.into()),
        ..FrameAttributes::default()
    };
    for (units, labels) in [(["um2/s", "1"], ["x", "x"]), (["1", "1"], ["FA", "MD"])] {
        let frames = (0..6).map(|n| {
            let map = usize::from(n >= 3);
            frame(f64::from(n % 3), units[map], labels[map])
        });
        let mut record = multi_frame(1, frames.collect());
        record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.30".into();
        let volumes = volumes(vec![record]);
        assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
        for (volume, map) in volumes.iter().zip([0, 1]) {
            check(volume, Status::Ok, &["split_from"]);
            assert_eq!(volume.values.kind, ValueKind::RealWorld);
            assert_eq!(volume.values.units.as_deref(), Some(units[map]));
        }
    }
}

#[test]
fn phases_and_directions_of_frames_order_them() {
    type Change = fn(&mut FrameAttributes, u32);
    let cases: [(&str, Change); 6] = [
        ("NominalPercentageOfCardiacPhase", |frame, t| {
            frame.cardiac_phase_percent = Some(f64::from(10 * t));
        }),
        ("NominalPercentageOfRespiratoryPhase", |frame, t| {
            frame.respiratory_phase_percent = Some(f64::from(10 * t));
        }),
        ("TemporalPositionTimeOffset", |frame, t| {
            frame.temporal_position_offset_s = Some(f64::from(t));
        }),
        ("VelocityEncodingDirection", |frame, t| {
            frame.velocity_direction =
                [None, Some([0.0, 0.0, 1.0]), Some([1.0, 0.0, 0.0])][t as usize];
        }),
        ("DiffusionGradientOrientation", |frame, t| {
            frame.gradient_as_written = Some([0.0, 0.0, f64::from(t) / 2.0]);
        }),
        // Four-dimensional flow: each direction at each time.
        ("VelocityEncodingDirection", |frame, t| {
            frame.velocity_direction = (t > 0).then_some([1.0, 0.0, 0.0]);
            frame.trigger_time_ms = Some([0.0, 0.0, 40.0][t as usize]);
        }),
    ];
    for (index, (keyword, change)) in cases.into_iter().enumerate() {
        let mut frames = Vec::new();
        for t in (0..3).rev() {
            for z in [1.0, 0.0] {
                let mut frame = FrameAttributes {
                    image_position: Some([0.0, 0.0, z]),
                    ..FrameAttributes::default()
                };
                change(&mut frame, t);
                frames.push(frame);
            }
        }
        let volume = only(vec![multi_frame(1, frames)]);
        check(&volume, Status::Ok, &["time_axis"]);
        let order: Vec<u32> = volume
            .frames
            .iter()
            .map(|f| f.stored.unwrap().frame_index)
            .collect();
        assert_eq!(order, [5, 4, 3, 2, 1, 0], "{index} {keyword}");
        assert_eq!(volume.steps.unwrap().keyword, keyword, "{index}");
    }
}

#[test]
fn ultrasound_volumes_lie_in_their_own_coordinates() {
    let frame = |z: f64, t: u32| FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        is_in_volume: true,
        dimension_index_values: vec![t, z as u32 + 1],
        ..FrameAttributes::default()
    };
    let frames = [(0.0, 1), (1.0, 1), (2.0, 1), (0.0, 2), (1.0, 2), (2.0, 2)];
    let mut record = multi_frame(1, frames.map(|(z, t)| frame(z, t)).to_vec());
    record.instance.modality = "US".into();
    record.instance.dimension_pointers = vec![(0x0020, 0x930D), (0x0020, 0x9301)];
    let volume = only(vec![record]);
    check(&volume, Status::Warn, &["time_axis", "volume_coordinates"]);
    assert_eq!(volume.axes, "tzyx");
    assert!(volume.geometry.is_some());
}
