//! The `bids` object of `volume.json`: what a header says, by the keys and in the units of BIDS
//! sidecars (BIDS 1.10, and the keys that dcm2niix added where BIDS has none).
//!
//! A key is there only where the header has the attribute and it is the same in every source file;
//! times of acquisition are those of the first frame. Numbers that stand for "none" by being 0 give
//! no key. Directions are along the axes of the volume's own array: `i` is x, `j` is y, and rows are
//! not flipped as they are by converters that turn images for NIfTI. Values are as the header has
//! them: `Manufacturer` is not rewritten, several values of a text are joined by a backslash.
//!
//! `RepetitionTime` is the attribute, not the time from one entry of a t axis to the next: that is
//! `t.interval_s`.

mod mr;
mod pet;
mod time;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;

use crate::dicom::{FrameAttributes, Value};
use crate::volume::Volume;

/// The object, by key.
pub(super) type Sidecar = BTreeMap<&'static str, Json>;

/// How an attribute becomes the value of a key.
#[derive(Debug, Clone, Copy)]
enum As {
    /// One text, several joined by a backslash.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number.
    Whole,
    /// A number above 0.
    Positive,
    /// A number above 0 in ms, as s.
    Seconds,
}

/// Key, keywords of which the first that is there counts, and how.
const KEYS: &[(&str, &[&str], As)] = &[
    ("Manufacturer", &["Manufacturer"], As::Text),
    (
        "ManufacturersModelName",
        &["ManufacturerModelName"],
        As::Text,
    ),
    ("DeviceSerialNumber", &["DeviceSerialNumber"], As::Text),
    ("SoftwareVersions", &["SoftwareVersions"], As::Text),
    ("BodyPart", &["BodyPartExamined"], As::Text),
    ("PatientPosition", &["PatientPosition"], As::Text),
    ("SeriesDescription", &["SeriesDescription"], As::Text),
    ("ProtocolName", &["ProtocolName"], As::Text),
    ("ImageType", &["ImageType"], As::Texts),
    ("SeriesNumber", &["SeriesNumber"], As::Whole),
    // MR.
    (
        "MagneticFieldStrength",
        &["MagneticFieldStrength"],
        As::Positive,
    ),
    (
        "ImagingFrequency",
        &["ImagingFrequency", "TransmitterFrequency"],
        As::Positive,
    ),
    ("MRAcquisitionType", &["MRAcquisitionType"], As::Text),
    ("ScanningSequence", &["ScanningSequence"], As::Text),
    ("SequenceVariant", &["SequenceVariant"], As::Text),
    ("ScanOptions", &["ScanOptions"], As::Text),
    (
        "SequenceName",
        &["SequenceName", "PulseSequenceName"],
        As::Text,
    ),
    ("RepetitionTime", &["RepetitionTime"], As::Seconds),
    ("EchoTrainLength", &["EchoTrainLength"], As::Positive),
    ("PixelBandwidth", &["PixelBandwidth"], As::Positive),
    ("SAR", &["SAR"], As::Positive),
    ("ReceiveCoilName", &["ReceiveCoilName"], As::Text),
    (
        "ParallelReductionFactorInPlane",
        &["ParallelReductionFactorInPlane"],
        As::Positive,
    ),
    (
        "ParallelReductionFactorOutOfPlane",
        &["ParallelReductionFactorOutOfPlane"],
        As::Positive,
    ),
    (
        "ParallelAcquisitionTechnique",
        &["ParallelAcquisitionTechnique"],
        As::Text,
    ),
    (
        "PartialFourierDirection",
        &["PartialFourierDirection"],
        As::Text,
    ),
    // CT. BIDS has no keys for it; those of dcm2niix, and the keyword where it has none either.
    ("KVP", &["KVP"], As::Positive),
    ("XRayTubeCurrent", &["XRayTubeCurrent"], As::Positive),
    ("XRayExposure", &["Exposure"], As::Positive),
    ("ExposureTime", &["ExposureTime"], As::Seconds),
    ("ConvolutionKernel", &["ConvolutionKernel"], As::Text),
    // PET.
    ("Units", &["Units"], As::Text),
    ("DecayCorrection", &["DecayCorrection"], As::Text),
    (
        "AttenuationCorrection",
        &["AttenuationCorrectionMethod"],
        As::Text,
    ),
    ("ReconMethodName", &["ReconstructionMethod"], As::Text),
    ("TracerName", &["Radiopharmaceutical"], As::Text),
    (
        "RadionuclideHalfLife",
        &["RadionuclideHalfLife"],
        As::Positive,
    ),
];

/// Keywords beside those of [`KEYS`] that must be the same in every file.
const OTHER_KEYWORDS: &[&str] = &[
    "InPlanePhaseEncodingDirection",
    "PartialFourier",
    "RadionuclideTotalDose",
];

/// Where a number that may differ from frame to frame is, by the keyword of its attribute.
type FrameNumber = fn(&FrameAttributes) -> Option<f64>;

/// Numbers of frames: key, keyword, place, and how.
const FRAME_KEYS: &[(&str, &str, FrameNumber, As)] = &[
    (
        "SliceThickness",
        "SliceThickness",
        |f| f.slice_thickness,
        As::Positive,
    ),
    (
        "SpacingBetweenSlices",
        "SpacingBetweenSlices",
        |f| f.spacing_between_slices,
        As::Positive,
    ),
    ("EchoTime", "EchoTime", |f| f.echo_time_ms, As::Seconds),
    (
        "InversionTime",
        "InversionTime",
        |f| f.inversion_time_ms,
        As::Seconds,
    ),
    ("FlipAngle", "FlipAngle", |f| f.flip_angle_deg, As::Positive),
    (
        "EchoNumber",
        "EchoNumbers",
        |f| f.echo_number.map(|n| n as f64),
        As::Whole,
    ),
    (
        "AcquisitionNumber",
        "AcquisitionNumber",
        |f| f.acquisition_number.map(|n| n as f64),
        As::Whole,
    ),
];

/// What all frames of a volume say.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Common<T> {
    /// None says anything.
    Absent,
    /// They differ, or some say nothing.
    Mixed,
    /// All say this.
    One(T),
}

/// The `bids` object of a volume.
pub(super) fn sidecar(volume: &Volume) -> Sidecar {
    let shared = common_attributes(volume);
    let mut sidecar = Sidecar::new();
    for (key, keywords, rule) in KEYS {
        let value = keywords.iter().find_map(|keyword| shared.get(keyword));
        if let Some(value) = value.and_then(|value| show(value, *rule)) {
            sidecar.insert(key, value);
        }
    }
    for (key, keyword, number, rule) in FRAME_KEYS {
        let value = match common_of_frames(volume, number) {
            Common::One(number) => Some(Value::Float(number)),
            Common::Absent => shared.get(keyword).cloned(),
            Common::Mixed => None,
        };
        if let Some(value) = value.and_then(|value| show(&value, *rule)) {
            sidecar.insert(key, value);
        }
    }
    if let Some(time) = time::acquisition_time(volume) {
        sidecar.insert("AcquisitionTime", time.into());
    }
    mr::add(volume, &shared, &mut sidecar);
    pet::add(volume, &shared, &mut sidecar);
    sidecar.insert("ConversionSoftware", env!("CARGO_PKG_NAME").into());
    sidecar.insert(
        "ConversionSoftwareVersion",
        env!("CARGO_PKG_VERSION").into(),
    );
    sidecar
}

/// The attributes that all files have with the same value, of those that are used here.
fn common_attributes(volume: &Volume) -> BTreeMap<&'static str, Value> {
    let used: HashSet<&str> = KEYS
        .iter()
        .flat_map(|(_, keywords, _)| keywords.iter())
        .chain(FRAME_KEYS.iter().map(|(_, keyword, _, _)| keyword))
        .chain(OTHER_KEYWORDS)
        .copied()
        .collect();
    let mut records = volume.records.iter();
    let Some(first) = records.next() else {
        return BTreeMap::new();
    };
    let attributes = first.instance.attributes.iter();
    let mut common: BTreeMap<_, _> = attributes.filter(|(k, _)| used.contains(k)).collect();
    for record in records {
        // In one pass: an archive has very many files.
        let same: HashSet<&str> = record
            .instance
            .attributes
            .iter()
            .filter(|(keyword, value)| common.get(keyword) == Some(value))
            .map(|(keyword, _)| keyword)
            .collect();
        common.retain(|keyword, _| same.contains(keyword));
    }
    common
}

/// What a volume's frames say, each by its own or its file's attributes. Frames that are not stored
/// say nothing and do not count.
fn common_of_frames<T: PartialEq>(
    volume: &Volume,
    get: impl Fn(&FrameAttributes) -> Option<T>,
) -> Common<T> {
    let mut common = Common::Absent;
    let mut is_first = true;
    for stored in volume.frames.iter().filter_map(|frame| frame.stored) {
        let said = volume.records.get(stored.record).and_then(|record| {
            let own = record.instance.per_frame.get(stored.frame_index as usize);
            own.and_then(&get).or_else(|| get(&record.instance.shared))
        });
        common = match (common, said) {
            (_, Some(said)) if is_first => Common::One(said),
            (Common::Absent, None) => Common::Absent,
            (Common::One(one), Some(said)) if one == said => Common::One(one),
            _ => return Common::Mixed,
        };
        is_first = false;
    }
    common
}

/// The value of a key; `None` where there is nothing to say.
fn show(value: &Value, rule: As) -> Option<Json> {
    match rule {
        As::Text => {
            let text = texts(value)?.join("\\");
            (!text.is_empty()).then(|| text.into())
        }
        As::Texts => Some(texts(value)?.into()),
        As::Whole => match number(value)? {
            whole if whole.fract() == 0.0 && whole.abs() < 2f64.powi(53) => {
                Some((whole as i64).into())
            }
            _ => None,
        },
        As::Positive => number(value).filter(|n| *n > 0.0).map(Json::from),
        As::Seconds => number(value)
            .filter(|n| *n > 0.0)
            .and_then(time::seconds)
            .map(Json::from),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(text) => Some(vec![text.clone()]),
        Value::Texts(texts) => Some(texts.clone()),
        _ => None,
    }
}

/// The only number of a value, finite.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
