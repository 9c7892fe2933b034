//! Frames that repeat positions: reconstructions, dimensions, incomplete time points.

use std::sync::Arc;

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, Value};
use crate::volume::{PixelDigests, Status, build_with};

/// `times` slices at each of three heights.
fn repeated(times: i64, change: impl Fn(&mut Record, i64)) -> Vec<Record> {
    let one = |n: i64| slice_with(n + 1, (n % 3) as f64, |record| change(record, n / 3));
    (0..times * 3).map(one).collect()
}

#[test]
fn reconstructions_are_volumes() {
    type Change = fn(&mut Record, i64);
    let cases: [Change; 4] = [
        |record, class| {
            let term = ["WATER", "FAT"][class as usize];
            record.instance.shared.image_type =
                ["DERIVED", "PRIMARY", term].map(String::from).to_vec();
        },
        |record, class| {
            set(
                record,
                "ConvolutionKernel",
                Value::Text(format!("B{class}")),
            )
        },
        |record, class| set(record, "SeriesNumber", Value::Int(class)),
        |record, class| set(record, "SeriesDescription", Value::Text(format!("{class}"))),
    ];
    for change in cases {
        // A clock would order them too, but they are no time points.
        let records = repeated(2, |record, class| {
            change(record, class);
            record.instance.shared.content_time_ms = Some(class as f64);
        });
        let volumes = volumes(records);
        assert_eq!(outline(&volumes), [("", 3), ("_a2", 3)]);
        check(&volumes[0], Status::Ok, &["split_from"]);
        assert_eq!(numbers(&volumes[1]), [4, 5, 6]);
    }
    // A class that is not at every position says nothing of reconstructions.
    let mut records = repeated(2, |record, time| {
        record.instance.shared.temporal_position = Some(time);
    });
    set(
        &mut records[0],
        "SeriesDescription",
        Value::Text("x".into()),
    );
    let volume = only(records);
    assert_eq!(volume.axes, "tzyx");
    // Nor do more classes than anybody reconstructs.
    let volume = only(repeated(9, |record, time| {
        set(record, "SeriesDescription", Value::Text(format!("{time}")));
        record.instance.shared.temporal_position = Some(time);
    }));
    assert_eq!(volume.shape, [9, 3, 4, 6]);
}

#[test]
fn repeats_of_reconstructions_are_numbered_on() {
    let records = repeated(3, |record, time| {
        let class = i64::from(time == 2);
        set(record, "SeriesNumber", Value::Int(class));
    });
    let volumes = volumes(records);
    assert_eq!(outline(&volumes), [("", 3), ("_a2", 3), ("_a3", 3)]);
    assert_eq!(numbers(&volumes[2]), [7, 8, 9]);
}

fn set(record: &mut Record, keyword: &str, value: Value) {
    let attributes = &mut record.instance.attributes;
    attributes.insert(keyword, &value).expect("known");
}

#[test]
fn dimensions_order_what_nothing_else_does() {
    let frame = |z: f64, values: [u32; 3]| FrameAttributes {
        image_position: Some([0.0, 0.0, z]),
        dimension_index_values: values.to_vec(),
        ..FrameAttributes::default()
    };
    let frames = vec![
        frame(0.0, [1, 2, 1]),
        frame(1.0, [2, 2, 1]),
        frame(0.0, [1, 1, 2]),
        frame(1.0, [2, 1, 2]),
    ];
    let mut record = multi_frame(1, frames);
    record.instance.dimension_pointers = vec![(0x0020, 0x9057), (0x0018, 0x9087), (0x0018, 0x9089)];
    let volume = only(vec![record.clone()]);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(volume.shape, [2, 2, 4, 6]);
    let order: Vec<u32> = volume
        .frames
        .iter()
        .map(|f| f.stored.unwrap().frame_index)
        .collect();
    assert_eq!(order, [2, 3, 0, 1]);
    let steps = volume.steps.unwrap();
    assert_eq!(
        (steps.keyword, steps.interval_s),
        ("DimensionIndexValues", None)
    );
    // Values that nothing explains order nothing.
    record.instance.dimension_pointers.pop();
    let volume = only(vec![record]);
    check(&volume, Status::Bad, &["duplicate_positions"]);
    assert_eq!(volume.axes, "fyx");
}

#[test]
fn a_clock_tells_the_incomplete_time_point() {
    let timed = |times: i64, order: fn(i64) -> f64| {
        let mut records = repeated(times, |record, time| {
            let n = record.instance.shared.instance_number.unwrap() - 1;
            record.instance.shared.content_time_ms = Some(order(n) + time as f64 * 1000.0);
        });
        records.pop();
        volumes(records)
    };
    let volumes = timed(3, |n| (n % 3) as f64);
    assert_eq!(outline(&volumes), [("", 6), ("_a2", 2)]);
    check(
        &volumes[0],
        Status::Warn,
        &["incomplete_time_point", "split_from"],
    );
    assert_eq!(volumes[0].axes, "tzyx");
    assert_eq!(numbers(&volumes[0]), [1, 2, 3, 4, 5, 6]);
    let steps = volumes[0].steps.as_ref().unwrap();
    assert_eq!(
        (steps.values.as_slice(), steps.interval_s),
        (&[0.0, 1000.0][..], Some(1.0))
    );
    // Times that run slice by slice do not say which time point lacks a slice.
    let volumes = timed(3, |n| (n % 3) as f64 * 5000.0);
    assert_eq!(volumes[0].status, Status::Bad);
}

#[test]
fn intervals_and_slice_times() {
    let records = |interval_ms: f64| {
        repeated(3, move |record, time| {
            let n = record.instance.shared.instance_number.unwrap() - 1;
            record.instance.modality = "MR".into();
            record.instance.shared.temporal_position = Some(time);
            // Interleaved: 0, 2, 1.
            let slice_ms = [0.0, 200.0, 100.0][(n % 3) as usize];
            record.instance.shared.acquisition_time_ms = Some(time as f64 * interval_ms + slice_ms);
        })
    };
    let volume = only(records(300.0));
    let steps = volume.steps.unwrap();
    assert_eq!(
        (steps.keyword, steps.interval_s),
        ("TemporalPositionIdentifier", Some(0.3))
    );
    assert_eq!(volume.slice_times_s, [0.0, 0.2, 0.1]);
    // Longer than the interval: not within one time point.
    let volume = only(records(150.0));
    assert!(volume.slice_times_s.is_empty());
}

#[test]
fn pixels_tell_copies_under_other_uids() {
    let records: Vec<Arc<Record>> = [(1, 0.0), (2, 1.0), (3, 1.0), (4, 2.0)]
        .map(|(number, z)| Arc::new(slice(number, z)))
        .to_vec();
    let built = crate::volume::build(&records);
    assert_eq!(outline(&built.volumes), [("", 3), ("_a2", 1)]);
    let undecided: Vec<&str> = built
        .undecided
        .iter()
        .map(|r| r.path.to_str().unwrap())
        .collect();
    assert_eq!(undecided, ["s/0002.dcm", "s/0003.dcm"]);
    let digests = |second: u8| {
        let of = |record: &Arc<Record>, byte: u8| (record.path.clone(), [byte; 32]);
        PixelDigests::from([of(&records[1], 7), of(&records[2], second)])
    };
    let built = build_with(&records, &digests(7));
    assert_eq!(outline(&built.volumes), [("", 3)]);
    check(&built.volumes[0], Status::Warn, &["duplicate_instance"]);
    assert_eq!(numbers(&built.volumes[0]), [1, 2, 4]);
    assert_eq!(built.findings.len(), 1);
    assert_eq!(built.findings[0].0.to_str(), Some("s/0003.dcm"));
    assert!(built.undecided.is_empty());
    let built = build_with(&records, &digests(8));
    assert_eq!(outline(&built.volumes), [("", 3), ("_a2", 1)]);
}

#[test]
fn frame_reference_time_orders_dynamic_pet() {
    let records = repeated(2, |record, time| {
        // The series' time in every slice orders nothing.
        record.instance.shared.acquisition_time_ms = Some(5000.0);
        let at_ms = Value::Float((1 - time) as f64 * 60_000.0 + 30_000.0);
        set(record, "FrameReferenceTime", at_ms);
    });
    let volume = only(records);
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(numbers(&volume), [4, 5, 6, 1, 2, 3]);
    let steps = volume.steps.unwrap();
    assert_eq!(
        (steps.keyword, steps.interval_s),
        ("FrameReferenceTime", Some(60.0))
    );
}

#[test]
fn time_runs_past_midnight() {
    let night = |dates: [Option<&'static str>; 2]| {
        repeated(2, move |record, time| {
            let shared = &mut record.instance.shared;
            shared.acquisition_time_ms = Some([86_399_000.0, 500.0][time as usize]);
            if let Some(date) = dates[time as usize] {
                set(record, "AcquisitionDate", Value::Text(date.into()));
            }
        })
    };
    let volume = only(night([Some("20261120"), Some("20261121")]));
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(numbers(&volume), [1, 2, 3, 4, 5, 6]);
    assert_eq!(volume.steps.unwrap().interval_s, Some(1.5));
    // Without dates there is only the time of the day.
    assert_eq!(numbers(&only(night([None, None]))), [4, 5, 6, 1, 2, 3]);
    // One with and one without cannot be compared.
    let volumes = volumes(night([Some("20261120"), None]));
    assert_eq!(volumes[0].status, Status::Bad);
}
