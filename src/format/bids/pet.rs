//! Keys of PET that are worked out of several attributes, or have a unit that depends on the module.

use std::collections::BTreeMap;

use super::{Sidecar, number, time};
use crate::dicom::{FrameAttributes, Instance, Value};
use crate::volume::{Frame, Volume};

/// Adds what follows for PET, and for NM what it has in common with it.
pub(super) fn add(volume: &Volume, shared: &BTreeMap<&'static str, Value>, sidecar: &mut Sidecar) {
    let modality = volume.records.first().map(|r| r.instance.modality.as_str());
    // Radionuclide Total Dose is in Bq for PET (PS3.3 C.8.9.2), in MBq for NM (C.8.4.10).
    let unit = match modality {
        Some("PT") => "Bq",
        Some("NM") => "MBq",
        _ => return,
    };
    let dose = shared.get("RadionuclideTotalDose").and_then(number);
    if let Some(dose) = dose.filter(|dose| *dose > 0.0) {
        sidecar.insert("InjectedRadioactivity", dose.into());
        sidecar.insert("InjectedRadioactivityUnits", unit.into());
    }
    if let Some(Value::Text(term)) = shared.get("DecayCorrection") {
        sidecar.insert("ImageDecayCorrected", (term != "NONE").into());
    }
    if modality == Some("PT") {
        frame_times(volume, sidecar);
    }
}

/// Start and duration of each entry of the t axis, in seconds from the start of the first, where all
/// slices of an entry have the same: those of a scan in several beds do not.
fn frame_times(volume: &Volume, sidecar: &mut Sidecar) {
    let times = match volume.axes.starts_with('t') {
        true => volume.shape.first().map_or(1, |length| *length as usize),
        false => 1,
    };
    let slices = volume.frames.len() / times.max(1);
    if slices == 0 || slices * times != volume.frames.len() {
        return;
    }
    let each = |get: &dyn Fn(&Instance, &FrameAttributes) -> Option<f64>| -> Option<Vec<f64>> {
        let entries = volume.frames.chunks_exact(slices);
        entries.map(|entry| same(volume, entry, get)).collect()
    };
    let duration = |instance: &Instance, _: &FrameAttributes| {
        number(&instance.attributes.get("ActualFrameDuration")?).and_then(time::seconds)
    };
    if let Some(durations) = each(&duration) {
        sidecar.insert("FrameDuration", durations.into());
    }
    let start = |instance: &Instance, own: &FrameAttributes| {
        let own = own.acquisition_time_ms;
        own.or(instance.shared.acquisition_time_ms)
            .filter(|ms| ms.is_finite())
    };
    let Some(starts) = each(&start) else { return };
    // Of a scan past midnight the order is not known by the time of day, and a time that is the same
    // for all entries is that of the series.
    let ascends = starts.windows(2).all(|pair| pair[0] < pair[1]);
    let Some(first) = starts.first().filter(|_| ascends) else {
        return;
    };
    let relative: Option<Vec<f64>> = starts.iter().map(|s| time::seconds(s - first)).collect();
    if let (Some(zero), Some(relative)) = (time::clock(*first), relative) {
        // BIDS has whole seconds here: a fraction is written only where there is one.
        sidecar.insert("TimeZero", zero.trim_end_matches(".000000").into());
        sidecar.insert("FrameTimesStart", relative.into());
    }
}

/// What all these frames say.
fn same(
    volume: &Volume,
    frames: &[Frame],
    get: &dyn Fn(&Instance, &FrameAttributes) -> Option<f64>,
) -> Option<f64> {
    let mut said = frames.iter().map(|frame| {
        let stored = frame.stored?;
        let instance = &volume.records.get(stored.record)?.instance;
        let own = instance.per_frame.get(stored.frame_index as usize);
        get(instance, own.unwrap_or(&instance.shared))
    });
    let first = said.next().flatten()?;
    said.all(|other| other == Some(first)).then_some(first)
}
