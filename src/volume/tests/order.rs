//! Repeated positions, time, and the frames of multi-frame instances.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, Value};
use crate::volume::Status;

/// `times` frames at each of three heights, numbered in scan order.
fn repeated(times: i64, change: impl Fn(&mut FrameAttributes, i64, i64)) -> Vec<Record> {
    let mut records = Vec::new();
    for time in 0..times {
        for z in 0..3 {
            records.push(slice_with(time * 3 + z + 1, z as f64, |record| {
                change(&mut record.instance.shared, time, z);
            }));
        }
    }
    records
}

#[test]
fn time_axis() {
    type Set = fn(&mut FrameAttributes, i64, i64);
    let cases: [(&str, Set); 6] = [
        ("TemporalPositionIdentifier", |a, t, _| {
            a.temporal_position = Some(t)
        }),
        // Times may differ from slice to slice: only their order counts.
        ("TriggerTime", |a, t, z| {
            a.trigger_time_ms = Some((t * 100 + z) as f64)
        }),
        ("AcquisitionNumber", |a, t, _| {
            a.acquisition_number = Some(t)
        }),
        ("AcquisitionTime", |a, t, z| {
            a.acquisition_time_ms = Some((t * 9 - z) as f64)
        }),
        ("ContentTime", |a, t, _| a.content_time_ms = Some(t as f64)),
        ("DiffusionBValue", |a, t, _| {
            a.diffusion_b_value = Some(t as f64 * 1000.0)
        }),
    ];
    for (name, set) in cases {
        // Time runs against the instance numbers.
        let volume = only(repeated(4, |a, t, z| set(a, 3 - t, z)));
        check(&volume, Status::Ok, &["time_axis"]);
        assert!(
            volume.findings[0].detail.ends_with(name),
            "{:?}",
            volume.findings
        );
        assert_eq!(volume.axes, "tzyx");
        assert_eq!(volume.shape, [4, 3, 4, 6]);
        assert_eq!(numbers(&volume), [10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3]);
        assert_eq!(volume.geometry.unwrap().spacing_mm[0], 1.0);
    }
    // An acquisition number that names no time point is not taken for one.
    let volume = only(repeated(2, |a, t, z| {
        a.acquisition_number = Some(t * 3 + z);
        a.content_time_ms = Some(t as f64);
    }));
    assert!(volume.findings[0].detail.ends_with("ContentTime"));
}

#[test]
fn repeats_that_nothing_orders_are_dealt_out() {
    let volumes = volumes(repeated(2, |_, _, _| {}));
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
    for volume in &volumes {
        check(volume, Status::Bad, &["duplicate_positions", "split_from"]);
    }
    assert_eq!(numbers(&volumes[0]), [1, 2, 3]);
    assert_eq!(numbers(&volumes[1]), [4, 5, 6]);
}

#[test]
fn incomplete_time_points_stand_alone() {
    let mut records = repeated(3, |a, t, _| a.temporal_position = Some(t));
    records.remove(4);
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 6), ("_a2", 2)]);
    assert_eq!(volumes[0].shape, [2, 3, 4, 6]);
    for volume in &volumes {
        assert_eq!(codes(volume)[0], "incomplete_time_point");
    }
    assert_eq!(numbers(&volumes[1]), [4, 6]);
    check(
        &volumes[1],
        Status::Warn,
        &["incomplete_time_point", "split_from"],
    );
}

#[test]
fn overlapping_acquisitions_split_by_their_number() {
    let heights = [0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0];
    let numbered = heights.iter().zip(1..);
    let mut records: Vec<Record> = numbered.map(|(z, n)| slice(n, *z)).collect();
    for (index, record) in records.iter_mut().enumerate() {
        record.instance.shared.acquisition_number = Some(if index < 4 { 1 } else { 2 });
    }
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 4), ("_a2", 3)]);
    check(&volumes[0], Status::Ok, &["split_from"]);
    assert_eq!(numbers(&volumes[1]), [5, 6, 7]);
}

#[test]
fn parallel_stacks_side_by_side_are_not_one() {
    let mut records = repeated(2, |a, t, _| a.temporal_position = Some(t));
    for record in &mut records[3..] {
        record.instance.shared.image_position.as_mut().unwrap()[0] = 80.0;
    }
    let volumes = volumes(records.clone());
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
    assert_eq!(numbers(&volumes[0]), [1, 2, 3]);
    check(&volumes[0], Status::Ok, &["split_from"]);
    // Without a name for the two, their places say which frame is of which.
    for record in &mut records {
        record.instance.shared.temporal_position = None;
    }
    let volumes = super::fixture::volumes(records);
    assert_eq!(numbers(&volumes[0]), [1, 2, 3]);
    check(&volumes[0], Status::Ok, &["split_from"]);
}

fn frame_at(z: f64, change: impl FnOnce(&mut FrameAttributes)) -> FrameAttributes {
    let mut frame = FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        ..FrameAttributes::default()
    };
    change(&mut frame);
    frame
}

fn indices(volume: &crate::volume::Volume) -> Vec<u32> {
    volume
        .frames
        .iter()
        .map(|frame| frame.stored.unwrap().frame_index)
        .collect()
}

#[test]
fn multi_frame_in_planes() {
    let volume = only(vec![multi_frame(
        1,
        [4.0, 0.0, 2.0].map(|z| frame_at(z, |_| {})).to_vec(),
    )]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(indices(&volume), [1, 2, 0]);
    assert_eq!(
        (volume.axes.as_str(), volume.shape.as_slice()),
        ("zyx", &[3, 4, 6][..])
    );
    assert_eq!(volume.geometry.unwrap().spacing_mm[0], 2.0);
    assert_eq!(volume.records.len(), 1);

    let timed = |z, t| frame_at(z, |frame| frame.temporal_position = Some(t));
    let frames = vec![timed(0.0, 2), timed(1.0, 2), timed(1.0, 1), timed(0.0, 1)];
    let volume = only(vec![multi_frame(1, frames)]);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(indices(&volume), [3, 2, 0, 1]);
    assert_eq!(volume.shape, [2, 2, 4, 6]);
}

#[test]
fn multi_frame_in_stored_order() {
    let plain = |z| frame_at(z, |_| {});
    let nowhere = frame_at(1.0, |frame| frame.image_position = None);
    let cases = [
        (vec![plain(2.0), nowhere], Status::Warn, "no_geometry"),
        (
            vec![plain(2.0), plain(2.0), plain(1.0)],
            Status::Bad,
            "duplicate_positions",
        ),
    ];
    for (frames, status, code) in cases {
        let count = frames.len() as u32;
        let volume = only(vec![multi_frame(1, frames)]);
        check(&volume, status, &[code]);
        assert_eq!(volume.axes, "fyx");
        assert_eq!(volume.geometry, None);
        assert_eq!(indices(&volume), (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn cine_has_no_geometry() {
    // The position of the header is that of no frame in particular.
    let volume = only(vec![slice_with(1, 0.0, |record| {
        image(record).number_of_frames = 5
    })]);
    check(&volume, Status::Warn, &["no_geometry"]);
    assert_eq!(
        (volume.axes.as_str(), volume.shape.as_slice()),
        ("fyx", &[5, 4, 6][..])
    );
    assert!(
        volume
            .frames
            .iter()
            .all(|frame| frame.position_lps_mm.is_none())
    );
    // So is it when the per-frame attributes are not one a frame.
    let mut record = multi_frame(1, vec![frame_at(0.0, |_| {}), frame_at(1.0, |_| {})]);
    image(&mut record).number_of_frames = 3;
    fit(&mut record);
    let volume = only(vec![record]);
    check(&volume, Status::Bad, &["no_geometry", "malformed_header"]);
}

#[test]
fn instance_number_orders_time_only_when_the_header_counts_it() {
    let counted = |numbers: [i64; 6], stated: i64| {
        let mut records = repeated(2, |_, _, _| {});
        for (record, number) in records.iter_mut().zip(numbers) {
            record.instance.shared.instance_number = Some(number);
            let attributes = &mut record.instance.attributes;
            attributes
                .insert("NumberOfTemporalPositions", &Value::Int(stated))
                .expect("known");
        }
        volumes(records)
    };
    // Volume after volume, and slice after slice; time runs backwards in the second.
    for (numbers, expected) in [
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        ([3, 1, 2, 6, 4, 5], [3, 1, 2, 6, 4, 5]),
        ([2, 4, 6, 1, 3, 5], [1, 3, 5, 2, 4, 6]),
    ] {
        let volumes = counted(numbers, 2);
        assert_eq!(outline(&volumes), [("", 6)]);
        check(&volumes[0], Status::Warn, &["assumed_time_axis"]);
        assert_eq!(volumes[0].shape, [2, 3, 4, 6]);
        assert_eq!(
            crate::volume::tests::fixture::numbers(&volumes[0]),
            expected
        );
    }
    // Another count, a number twice, and no whole blocks.
    for (numbers, stated) in [
        ([1, 2, 3, 4, 5, 6], 3),
        ([1, 2, 3, 4, 5, 5], 2),
        ([1, 3, 4, 2, 5, 6], 2),
    ] {
        let volumes = counted(numbers, stated);
        assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)], "{numbers:?}");
        assert_eq!(volumes[0].status, Status::Bad);
    }
}
