//! Keys of MR that are worked out of several attributes.

use std::collections::BTreeMap;

use super::{Common, Sidecar};
use crate::dicom::Value;
use crate::volume::Volume;

/// The axis of the array that phase encoding runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PhaseAxis {
    /// Along a row: x.
    Row,
    /// Along a column: y.
    Column,
}

/// Adds what follows for MR.
pub(super) fn add(volume: &Volume, shared: &BTreeMap<&'static str, Value>, sidecar: &mut Sidecar) {
    if !volume.slice_times_s.is_empty() {
        sidecar.insert("SliceTiming", volume.slice_times_s.clone().into());
    }
    // The fraction is known only where all of k-space is acquired (0018,9081).
    if shared.get("PartialFourier") == Some(&Value::Text("NO".to_owned())) {
        sidecar.insert("PartialFourier", 1.into());
    }
    let axis = match shared.get("InPlanePhaseEncodingDirection") {
        Some(Value::Text(term)) if term == "ROW" => PhaseAxis::Row,
        // COL in MR Image Storage, COLUMN in Enhanced MR (PS3.3 C.8.3.1, C.8.13.5.3).
        Some(Value::Text(term)) if term == "COL" || term == "COLUMN" => PhaseAxis::Column,
        _ => return,
    };
    let term = match axis {
        PhaseAxis::Row => "ROW",
        PhaseAxis::Column => "COL",
    };
    sidecar.insert("InPlanePhaseEncodingDirectionDICOM", term.into());
    phase_encoding(volume, axis, sidecar);
}

/// Which way phase encoding runs and how long it takes, where the vendor says it.
fn phase_encoding(volume: &Volume, axis: PhaseAxis, sidecar: &mut Sidecar) {
    let positive = common_of_mosaics(volume, |mosaic| mosaic.phase_encoding_positive);
    if let Common::One(positive) = positive {
        let direction = match (axis, positive) {
            (PhaseAxis::Row, true) => "i",
            (PhaseAxis::Row, false) => "i-",
            (PhaseAxis::Column, true) => "j",
            (PhaseAxis::Column, false) => "j-",
        };
        sidecar.insert("PhaseEncodingDirection", direction.into());
    }
    // Tiles that were not cut leave the number of lines of a slice unknown.
    let is_cut = |frame: &crate::volume::Frame| frame.stored.is_none_or(|s| s.tile.is_some());
    let bandwidth = common_of_mosaics(volume, |m| m.bandwidth_per_pixel_phase_encode_hz);
    let Common::One(bandwidth) = bandwidth else {
        return;
    };
    let letter = match axis {
        PhaseAxis::Row => 'x',
        PhaseAxis::Column => 'y',
    };
    let lines = volume.axes.find(letter).and_then(|at| volume.shape.get(at));
    let Some(lines) = lines.filter(|lines| **lines > 1 && volume.frames.iter().all(is_cut)) else {
        return;
    };
    let spacing = 1.0 / (bandwidth * *lines as f64);
    if spacing.is_finite() && spacing > 0.0 {
        sidecar.insert("EffectiveEchoSpacing", spacing.into());
        sidecar.insert("TotalReadoutTime", (spacing * (lines - 1) as f64).into());
    }
}

/// What all files say of their mosaics.
fn common_of_mosaics<T: PartialEq>(
    volume: &Volume,
    get: impl Fn(&crate::dicom::Mosaic) -> Option<T>,
) -> Common<T> {
    let mut said = volume
        .records
        .iter()
        .map(|record| record.instance.mosaic.as_ref().and_then(&get));
    match said.next().flatten() {
        None => Common::Absent,
        Some(first) if said.all(|other| other.as_ref() == Some(&first)) => Common::One(first),
        Some(_) => Common::Mixed,
    }
}
