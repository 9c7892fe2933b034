//! Frames that repeat positions: reconstructions, dimensions, incomplete time points.

use std::sync::Arc;

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, Value};
use crate::volume::{PixelDigests, Status, build_with};

/// `times` slices at each of three heights.
pub(super) fn repeated(times: i64, change: impl Fn(&mut Record, i64)) -> Vec<Record> {
    let one = |n: i64| slice_with(n + 1, (n % 3) as f64, |record| change(record, n / 3));
    (0..times * 3).map(one).collect()
}

#[test]
fn reconstructions_are_volumes() {
    type Change = fn(&mut Record, i64);
    let cases: [Change; 6] = [
        |record, class| record.instance.shared.slice_thickness = Some(class as f64 + 1.0),
        |record, class| {
            set(
                record,
                "ReconstructionDiameter",
                Value::Float(200.5 + class as f64),
            )
        },
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
    check(
        &built.volumes[0],
        Status::Warn,
        &["duplicate_instance", "duplicate_positions"],
    );
    assert_eq!(numbers(&built.volumes[0]), [1, 2, 4]);
    assert_eq!(built.findings.len(), 1);
    assert_eq!(built.findings[0].0.to_str(), Some("s/0003.dcm"));
    assert!(built.undecided.is_empty());
    let built = build_with(&records, &digests(8));
    assert_eq!(outline(&built.volumes), [("", 3), ("_a2", 1)]);
    // Where the others of a second acquisition differ, a blank plane of it is no copy.
    let twice: Vec<Arc<Record>> = [(1, 0.0), (2, 1.0), (3, 0.0), (4, 1.0)]
        .map(|(number, z)| Arc::new(slice(number, z)))
        .to_vec();
    let of = |n: usize, byte: u8| (twice[n].path.clone(), [byte; 32]);
    let digests = PixelDigests::from([of(0, 0), of(1, 1), of(2, 0), of(3, 2)]);
    let built = build_with(&twice, &digests);
    assert_eq!(outline(&built.volumes), [("", 2), ("_a2", 2)]);
    assert_eq!(built.findings, []);
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

/// The delays of gated shots: other for each frame, and in no order.
fn delay_ms(number: i64) -> f64 {
    ((number * number * 7919 + 17 * number) % 997) as f64
}

#[test]
fn delays_of_gated_shots_order_nothing() {
    let gated = |named: bool| {
        repeated(4, move |record, time| {
            let shared = &mut record.instance.shared;
            let number = shared.instance_number.unwrap();
            shared.trigger_time_ms = Some(delay_ms(number));
            shared.content_time_ms = Some(delay_ms(number * 31));
            shared.acquisition_number = named.then_some(time);
        })
    };
    let volume = only(gated(true));
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(numbers(&volume), (1..=12).collect::<Vec<_>>());
    assert_eq!(volume.steps.unwrap().keyword, "AcquisitionNumber");
    // With nothing else there is no time axis.
    let volumes = volumes(gated(false));
    assert_eq!(volumes.len(), 4);
    check(
        &volumes[0],
        Status::Bad,
        &["duplicate_positions", "split_from"],
    );
}

#[test]
fn a_clock_that_agrees_with_the_names_comes_first() {
    // Phases whose delays follow the numbers of acquisition, in another order.
    let volume = only(repeated(3, |record, time| {
        let shared = &mut record.instance.shared;
        let z = (shared.instance_number.unwrap() - 1) % 3;
        shared.trigger_time_ms = Some([200.0, 0.0, 100.0][time as usize] + z as f64 * 90.0);
        shared.acquisition_number = Some(time);
    }));
    assert_eq!(numbers(&volume), [4, 5, 6, 7, 8, 9, 1, 2, 3]);
    assert_eq!(volume.steps.unwrap().keyword, "TriggerTime");
}

#[test]
fn two_attributes_order_phases_of_dynamics() {
    // Two dynamics of three phases.
    let volume = only(repeated(6, |record, time| {
        let shared = &mut record.instance.shared;
        shared.temporal_position = Some(1 - time % 2);
        shared.trigger_time_ms = Some((time / 2) as f64 * 50.0);
    }));
    check(&volume, Status::Ok, &["time_axis"]);
    let first_slices: Vec<i64> = numbers(&volume).into_iter().step_by(3).collect();
    assert_eq!(first_slices, [4, 10, 16, 1, 7, 13]);
    let steps = volume.steps.unwrap();
    assert_eq!(steps.values, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(steps.interval_s, None);
    // As many b-values at each position, each with its directions; one position lacks one.
    let diffusion = |directions: usize| {
        repeated(4, move |record, time| {
            let shared = &mut record.instance.shared;
            shared.diffusion_b_value = Some([0.0, 500.0, 500.0, 1000.0][time as usize]);
            let direction = [[0.0; 3], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]];
            shared.diffusion_gradient = Some(direction[time as usize % directions]);
        })
    };
    let volume = only(diffusion(4));
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(volume.steps.unwrap().values, [0.0, 500.0, 500.0, 1000.0]);
    assert_eq!(volumes(diffusion(1))[0].status, Status::Bad);
}

#[test]
fn directions_alone_order_diffusion() {
    let volume = only(repeated(3, |record, time| {
        let directions = [[0.0; 3], [0.6, 0.8, 0.0], [-0.6, 0.8, 0.0]];
        record.instance.shared.diffusion_gradient = Some(directions[time as usize]);
    }));
    check(&volume, Status::Ok, &["time_axis"]);
    assert_eq!(numbers(&volume), [1, 2, 3, 7, 8, 9, 4, 5, 6]);
}

/// Three times of four slices; each time moved along and across the slices.
fn moved(by_mm: f64, label: impl Fn(&mut FrameAttributes, i64)) -> Vec<Record> {
    let one = |n: i64| {
        let time = n / 4;
        slice_with(
            n + 1,
            (n % 4) as f64 * 2.0 + time as f64 * by_mm,
            |record| {
                let shared = &mut record.instance.shared;
                shared.image_position.as_mut().unwrap()[0] += time as f64 * by_mm;
                label(shared, time);
            },
        )
    };
    (0..12).map(one).collect()
}

#[test]
fn time_points_that_moved() {
    type Label = fn(&mut FrameAttributes, i64);
    let labels: [Label; 2] = [
        |a, time| a.temporal_position = Some(time),
        |a, time| a.acquisition_number = Some(time),
    ];
    for label in labels {
        let volume = only(moved(0.05, label));
        check(&volume, Status::Warn, &["time_axis", "moving_positions"]);
        assert_eq!(volume.axes, "tzyx");
        assert_eq!(numbers(&volume), (1..=12).collect::<Vec<_>>());
        assert_eq!(volume.geometry.unwrap().affine_lps[2], [0.0, 0.0, 2.0, 0.0]);
        // A part of a slice that is too much for one affine.
        let volumes = volumes(moved(0.7, label));
        assert_eq!(outline(&volumes), [("", 4), ("_a2", 4), ("_a3", 4)]);
        check(&volumes[1], Status::Ok, &["split_from"]);
        let origin = volumes[1].geometry.as_ref().unwrap().affine_lps[2][3];
        assert_eq!(origin, 0.7);
    }
}

#[test]
fn an_acquisition_in_two_parts_is_one_stack() {
    // Odd and even slices.
    let interleaved: Vec<Record> = (0..8)
        .map(|n| {
            slice_with(n + 1, n as f64, |record| {
                record.instance.shared.acquisition_number = Some(n % 2);
            })
        })
        .collect();
    check(&only(interleaved), Status::Ok, &[]);
    // Slabs side by side, one of them with a gap.
    let slabs: Vec<Record> = [0.0, 1.0, 2.0, 5.0, 6.0, 7.0]
        .into_iter()
        .zip(1..)
        .map(|(z, n)| {
            slice_with(n, z, |record| {
                record.instance.shared.temporal_position = Some(i64::from(z > 2.0));
            })
        })
        .collect();
    check(&only(slabs), Status::Warn, &["missing_slices"]);
}

#[test]
fn labels_come_before_clocks() {
    // Each slice is acquired with the b-values, or inversion times, in another order.
    type Label = fn(&mut FrameAttributes, f64);
    let labels: [Label; 2] = [
        |a, value| a.diffusion_b_value = Some(value),
        |a, value| a.inversion_time_ms = Some(value),
    ];
    for label in labels {
        let volume = only(repeated(3, |record, time| {
            let shared = &mut record.instance.shared;
            let z = (shared.instance_number.unwrap() - 1) % 3;
            label(shared, time as f64 * 500.0);
            shared.acquisition_time_ms = Some((z * 10 + (time + z) % 3) as f64);
            shared.trigger_time_ms = Some(((time + 2 * z) % 3) as f64);
        }));
        check(&volume, Status::Ok, &["time_axis"]);
        assert_eq!(numbers(&volume), (1..=9).collect::<Vec<_>>());
        assert_eq!(volume.steps.unwrap().values, [0.0, 500.0, 1000.0]);
    }
}

#[test]
fn echo_times_that_differ_a_little() {
    let jittered = |number: i64| (number % 7) as f64 * 0.003;
    // Numbers tell the echoes apart; times differ from slice to slice.
    let records = repeated(2, |record, echo| {
        let shared = &mut record.instance.shared;
        let jitter = jittered(shared.instance_number.unwrap());
        shared.echo_number = Some(echo + 1);
        shared.echo_time_ms = Some(4.6 * (echo + 1) as f64 + jitter);
    });
    assert_eq!(outline(&volumes(records)), [("", 3), ("_e2", 3)]);
    // Numbers that stand for two times each.
    let records = repeated(4, |record, echo| {
        let shared = &mut record.instance.shared;
        shared.echo_number = Some(echo / 2);
        shared.echo_time_ms = Some(5.0 * (echo + 1) as f64);
        shared.content_time_ms = Some(echo as f64);
    });
    let expected = [("", 3), ("_e2", 3), ("_e3", 3), ("_e4", 3)];
    assert_eq!(outline(&volumes(records)), expected);
    // One echo at several times.
    let volume = only(repeated(3, |record, time| {
        let shared = &mut record.instance.shared;
        shared.echo_time_ms = Some(30.0 + jittered(shared.instance_number.unwrap()));
        shared.temporal_position = Some(time);
    }));
    check(&volume, Status::Ok, &["time_axis"]);
    // Echoes from slice to slice are no series of echoes, and no plain stack either.
    let volume = only(repeated(1, |record, _| {
        let shared = &mut record.instance.shared;
        shared.echo_time_ms = Some([5.0, 10.0, 5.0][shared.instance_number.unwrap() as usize - 1]);
    }));
    check(&volume, Status::Warn, &["mixed_echo_time"]);
}
