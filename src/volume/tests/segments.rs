//! Segmentations: the axis of segments and the frames that are not stored.

use super::fixture::*;
use crate::archive::Record;
use crate::dicom::{FrameAttributes, Segment};
use crate::volume::{Status, ValueKind, Volume};

/// A segmentation with these frames: segment number and height.
fn segmentation(frames: &[(u32, f64)], described: &[u32]) -> Record {
    let attributes = frames.iter().map(|(number, z)| FrameAttributes {
        image_position: Some([0.0, 0.0, *z]),
        segment_number: Some(*number),
        ..FrameAttributes::default()
    });
    let mut record = multi_frame(1, attributes.collect());
    record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.66.4".into();
    record.instance.modality = "SEG".into();
    let segment = |number: &u32| Segment {
        number: *number,
        label: format!("label {number}"),
        ..Segment::default()
    };
    record.instance.segments = described.iter().map(segment).collect();
    record
}

fn stored(volume: &Volume) -> Vec<Option<u32>> {
    let index = |frame: &crate::volume::Frame| frame.stored.map(|stored| stored.frame_index);
    volume.frames.iter().map(index).collect()
}

#[test]
fn segments_are_the_first_axis() {
    let frames = [(2, 1.0), (1, 0.0), (1, 2.0), (1, 1.0)];
    let volume = only(vec![segmentation(&frames, &[1, 2])]);
    check(&volume, Status::Ok, &["empty_frames"]);
    assert_eq!(volume.axes, "szyx");
    assert_eq!(volume.shape, [2, 3, 4, 6]);
    assert_eq!(
        stored(&volume),
        [Some(1), Some(3), Some(2), None, Some(0), None]
    );
    let labels: Vec<&str> = volume.segments.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["label 1", "label 2"]);
    assert_eq!(volume.values.kind, ValueKind::Segmentation);
    let heights: Vec<f64> = volume
        .frames
        .iter()
        .map(|f| f.position_lps_mm.unwrap()[2])
        .collect();
    assert_eq!(heights, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_eq!(volume.geometry.unwrap().affine_lps[2], [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn planes_without_any_segment_are_zeros() {
    // The grid follows from the gaps, or from what the header states.
    let volume = only(vec![segmentation(&[(1, 0.0), (1, 1.0), (1, 4.0)], &[1])]);
    assert_eq!(volume.shape, [1, 5, 4, 6]);
    assert_eq!(stored(&volume), [Some(0), Some(1), None, None, Some(2)]);
    assert_eq!(volume.geometry.as_ref().unwrap().spacing_mm[0], 1.0);
    let mut record = segmentation(&[(1, 0.0), (1, 4.0)], &[1]);
    record.instance.shared.spacing_between_slices = Some(2.0);
    let volume = only(vec![record]);
    assert_eq!(stored(&volume), [Some(0), None, Some(1)]);
    assert_eq!(volume.frames[1].position_lps_mm, Some([0.0, 0.0, 2.0]));
    // No grid: nothing is added.
    let volume = only(vec![segmentation(&[(1, 0.0), (1, 1.0), (1, 2.37)], &[1])]);
    assert_eq!(volume.shape, [1, 3, 4, 6]);
    check(&volume, Status::Bad, &["uneven_spacing"]);
}

#[test]
fn segments_without_frames_or_descriptions_are_there() {
    let volume = only(vec![segmentation(&[(3, 0.0), (1, 0.0)], &[2, 1, 2])]);
    let numbers: Vec<u32> = volume.segments.iter().map(|s| s.number).collect();
    assert_eq!(numbers, [2, 1, 3]);
    assert_eq!(stored(&volume), [None, Some(1), Some(0)]);
    assert_eq!(volume.shape, [3, 1, 4, 6]);
}

#[test]
fn what_is_no_such_grid_stays_in_stored_order() {
    let twice = segmentation(&[(1, 0.0), (1, 1.0), (1, 1.0)], &[1]);
    let mut unnamed = segmentation(&[(1, 0.0), (1, 1.0)], &[1]);
    unnamed.instance.per_frame[1].segment_number = None;
    // A hostile header: a million planes by the stated spacing, for each of many segments.
    let mut vast = segmentation(&[(1, 0.0), (1, 900_000.0)], &[1, 2, 3]);
    vast.instance.shared.spacing_between_slices = Some(1.0);
    for record in [twice, unnamed, vast] {
        let count = record.instance.per_frame.len() as u32;
        let volume = only(vec![record]);
        check(&volume, Status::Warn, &["segments_not_split"]);
        assert_eq!(volume.axes, "fyx");
        assert_eq!(stored(&volume), (0..count).map(Some).collect::<Vec<_>>());
    }
}

#[test]
fn label_maps_need_no_axis() {
    let mut record = segmentation(&[(1, 1.0), (1, 0.0)], &[1, 2]);
    record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.66.7".into();
    for frame in &mut record.instance.per_frame {
        frame.segment_number = None;
    }
    let volume = only(vec![record]);
    check(&volume, Status::Ok, &[]);
    assert_eq!(volume.axes, "zyx");
    assert_eq!(stored(&volume), [Some(1), Some(0)]);
    assert_eq!(volume.segments.len(), 2);
}

#[test]
fn planes_that_a_label_map_leaves_out_are_zeros() {
    let mut record = segmentation(&[(1, 4.0), (1, 0.0), (1, 2.0), (1, 3.0)], &[1, 2]);
    record.instance.sop_class_uid = "1.2.840.10008.5.1.4.1.1.66.7".into();
    let volume = only(vec![record]);
    check(&volume, Status::Ok, &["empty_frames"]);
    assert_eq!(volume.axes, "zyx");
    assert_eq!(stored(&volume), [Some(1), None, Some(2), Some(3), Some(0)]);
    assert_eq!(volume.geometry.unwrap().spacing_mm[0], 1.0);
}
