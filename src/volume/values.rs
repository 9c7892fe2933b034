//! The value rule: from headers alone, what stored values become and in which dtype.
//!
//! Decides, and computes no sample. All frames handed in look alike (`split` saw to that): same
//! element, Bits Allocated, sign, samples and kind of Photometric Interpretation.

use super::expand::RT_DOSE;
use super::finding::Findings;
use super::item::Item;
use super::{Dtype, Transform, ValueKind, Values};
use crate::archive::Record;
use crate::dicom::{FrameAttributes, ImagePixel, Photometric, PixelElement, Value};

/// JPEG XL JPEG Recompression: the codec undoes the JPEG's own colour transform.
const JPEG_XL_RECOMPRESSION: &str = "1.2.840.10008.1.2.4.111";

/// Whole numbers up to here are exact in f64.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Photometric Interpretation as far as it tells arrays apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// MONOCHROME1: shown as stored, but never in one array with MONOCHROME2.
    Monochrome1,
    /// MONOCHROME2.
    Monochrome2,
    /// PALETTE COLOR with the bits of an output sample, `None` when the table is unusable.
    Palette(Option<u16>),
    /// Red, green, blue once decoded.
    Rgb,
    /// YBR_FULL once decoded.
    Ybr,
    /// Shown as stored, by its term.
    Other(String),
}

/// What an image's samples are once decoded, by Photometric Interpretation and transfer syntax.
pub(super) fn look(record: &Record, image: &ImagePixel) -> Look {
    let other = |term: &str| Look::Other(term.to_owned());
    let samples = image.samples_per_pixel;
    let integer = image.element == PixelElement::PixelData;
    match &image.photometric {
        Photometric::Monochrome1 if samples == 1 => Look::Monochrome1,
        Photometric::Monochrome2 if samples == 1 => Look::Monochrome2,
        Photometric::PaletteColor if samples == 1 && integer => {
            Look::Palette(palette_bits(record, image))
        }
        Photometric::Rgb | Photometric::YbrIct | Photometric::YbrRct | Photometric::Xyb
            if samples == 3 =>
        {
            Look::Rgb
        }
        Photometric::YbrFull | Photometric::YbrFull422 if samples == 3 && integer => {
            if record.instance.transfer_syntax_uid == JPEG_XL_RECOMPRESSION {
                Look::Rgb
            } else if matches!(image.bits_allocated, 8 | 16) && !image.signed {
                Look::Ybr
            } else {
                other("YBR_FULL of other than unsigned 8 or 16 bits")
            }
        }
        Photometric::Other(term) => other(term),
        known => other(&format!("{known:?} with {samples} samples a pixel")),
    }
}

/// Bits of a palette's entries, 8 or 16 (PS3.3 C.7.6.3.1.5).
fn palette_bits(record: &Record, image: &ImagePixel) -> Option<u16> {
    let [entries, _, bits] = record.instance.shared.palette_descriptor?;
    // 0 entries stands for 2^16.
    let usable = (0..=65536).contains(&entries) && matches!(image.bits_allocated, 8 | 16);
    match bits {
        8 if usable => Some(8),
        16 if usable => Some(16),
        _ => None,
    }
}

/// Bits of the output of the frame's Modality LUT, where one applies: it wins over Rescale, and
/// has no meaning for colour or floats.
pub(super) fn modality_lut_bits(item: &Item<'_>) -> Option<i32> {
    let image = item.image;
    let applies = image.samples_per_pixel == 1
        && image.element == PixelElement::PixelData
        && matches!(
            image.photometric,
            Photometric::Monochrome1 | Photometric::Monochrome2
        )
        && !is_segmentation(&item.record.instance.sop_class_uid);
    item.get(|a| a.modality_lut_descriptor)
        .filter(|_| applies)
        .map(|descriptor| descriptor[2])
}

/// Segmentation Storage and Label Map Segmentation Storage: the samples are labels.
pub(super) fn is_segmentation(sop_class_uid: &str) -> bool {
    matches!(
        sop_class_uid,
        "1.2.840.10008.5.1.4.1.1.66.4" | "1.2.840.10008.5.1.4.1.1.66.7"
    )
}

/// dtype of the stored values; `None` for a width that `admit` does not let pass.
fn stored_dtype(image: &ImagePixel) -> Option<Dtype> {
    Some(match (image.element, image.bits_allocated, image.signed) {
        (PixelElement::FloatPixelData, ..) => Dtype::F32,
        (PixelElement::DoubleFloatPixelData, ..) => Dtype::F64,
        (_, 1, _) | (_, 8, false) => Dtype::U8,
        (_, 8, true) => Dtype::I8,
        (_, 16, false) => Dtype::U16,
        (_, 16, true) => Dtype::I16,
        (_, 32, false) => Dtype::U32,
        (_, 32, true) => Dtype::I32,
        (_, 64, false) => Dtype::U64,
        (_, 64, true) => Dtype::I64,
        _ => return None,
    })
}

/// Lowest and highest stored value; `None` beyond 32 bits.
fn stored_range(image: &ImagePixel) -> Option<(i64, i64)> {
    let bits = u32::from(image.bits_stored.min(image.bits_allocated));
    match (bits, image.signed && image.bits_allocated > 1) {
        (0, _) | (33.., _) => None,
        (_, true) => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        (_, false) => Some((0, (1 << bits) - 1)),
    }
}

/// The rule for a volume and, for each frame, slope and intercept.
pub(super) struct Ruled {
    pub(super) values: Values,
    pub(super) stored_dtype: Dtype,
    pub(super) rescale: Vec<(f64, f64)>,
}

/// Applies the value rule to the frames of a volume. `None` when there is no frame, or of a width that
/// cannot be stored.
pub(super) fn rule(items: &[Item<'_>], findings: &mut Findings) -> Option<Ruled> {
    let first = items.first()?;
    let stored = stored_dtype(first.image)?;
    let ruled = |(dtype, transform, kind)| Ruled {
        values: Values {
            dtype,
            transform,
            units: units(first, kind),
            kind,
        },
        stored_dtype: stored,
        rescale: vec![(1.0, 0.0); items.len()],
    };
    if let Some(without_slope) =
        labels_or_colour(first, stored, findings).or_else(|| modality_lut(first, stored, findings))
    {
        return Some(ruled(without_slope));
    }
    let kind = kind(items);
    if let Some(detail) = malformed_rescale(items, kind) {
        findings.push("malformed_rescale", detail);
        return Some(ruled((stored, Transform::Identity, ValueKind::Stored)));
    }
    if kind == ValueKind::Modality && !items.iter().any(is_rescaled) {
        report_unused_mapping(items, findings);
    }
    Some(linear(items, stored, kind, findings))
}

/// dtype, transform and kind of values that no slope applies to.
type WithoutSlope = (Dtype, Transform, ValueKind);

/// The rule for what is no monochrome image; `None` for one.
fn labels_or_colour(
    first: &Item<'_>,
    stored: Dtype,
    findings: &mut Findings,
) -> Option<WithoutSlope> {
    // A label map may have a palette to paint its labels with: they stay labels.
    if is_segmentation(&first.record.instance.sop_class_uid) {
        return Some((stored, Transform::Identity, ValueKind::Segmentation));
    }
    let rgb = |dtype, transform| Some((dtype, transform, ValueKind::Rgb));
    let (code, why) = match look(first.record, first.image) {
        Look::Monochrome1 | Look::Monochrome2 => return None,
        Look::Rgb => return rgb(stored, Transform::Identity),
        Look::Ybr => return rgb(stored, Transform::YbrFullToRgb),
        Look::Palette(Some(8)) => return rgb(Dtype::U8, Transform::Palette),
        Look::Palette(Some(_)) => return rgb(Dtype::U16, Transform::Palette),
        Look::Palette(None) => (
            "malformed_palette",
            "the descriptor is absent or not of 8 or 16 bits: indices are shown".to_owned(),
        ),
        Look::Other(term) => (
            "unsupported_photometric",
            format!("{term}: stored samples are shown"),
        ),
    };
    findings.push(code, why);
    Some((stored, Transform::Identity, ValueKind::Stored))
}

/// The rule of a Modality LUT Sequence; `None` where there is none.
fn modality_lut(first: &Item<'_>, stored: Dtype, findings: &mut Findings) -> Option<WithoutSlope> {
    let table = |dtype| Some((dtype, Transform::ModalityLut, ValueKind::Modality));
    match modality_lut_bits(first)? {
        8 => table(Dtype::U8),
        9..=16 => table(Dtype::U16),
        bits => {
            findings.push(
                "malformed_rescale",
                format!("the Modality LUT has {bits} bits an entry: stored values are shown"),
            );
            Some((stored, Transform::Identity, ValueKind::Stored))
        }
    }
}

/// Says why a Real World Value Mapping is there and not applied.
fn report_unused_mapping(items: &[Item<'_>], findings: &mut Findings) {
    let any = |test: &dyn Fn(&Item<'_>) -> bool| items.iter().any(test);
    if any(&|item| {
        item.get(|a| a.real_world_value_is_lut.then_some(()))
            .is_some()
    }) {
        findings.push(
            "nonlinear_real_world_value",
            "the Real World Value Mapping is a table, which is not applied",
        );
    } else if any(&|item| item.get(|a| a.real_world_value).is_some()) {
        findings.push(
            "partial_real_world_value",
            "not all frames have a Real World Value Mapping: none is applied",
        );
    }
}

/// Whether a frame states a Rescale (PS3.3 C.11.1). The Identity Pixel Value Transformation
/// (PS3.3 C.7.6.16.2.9b), of unspecified units, is there to leave the values to the Real World
/// Value Mapping.
fn is_rescaled(item: &Item<'_>) -> bool {
    let is_unspecified = item.get(|a| a.rescale_type.as_deref()).map(str::trim) == Some("US");
    if is_unspecified && stated_rescale(item, ValueKind::Modality) == (1.0, 0.0) {
        return false;
    }
    item.get(|a| a.rescale_slope.or(a.rescale_intercept))
        .is_some()
}

/// Where slope and intercept of these frames come from. A Real World Value Mapping is used where
/// no frame has a Rescale and all have a mapping: it maps stored values too.
fn kind(items: &[Item<'_>]) -> ValueKind {
    let is_dose = |item: &Item<'_>| item.record.instance.sop_class_uid == RT_DOSE;
    if items.iter().all(is_dose) {
        ValueKind::Dose
    } else if !items.iter().any(is_rescaled)
        && items
            .iter()
            .all(|item| item.get(|a| a.real_world_value).is_some())
    {
        ValueKind::RealWorld
    } else {
        ValueKind::Modality
    }
}

/// Why the frames' Rescale cannot be used, if so.
fn malformed_rescale(items: &[Item<'_>], kind: ValueKind) -> Option<String> {
    let bad_number = items.iter().find_map(|item| {
        let (slope, intercept) = stated_rescale(item, kind);
        (slope == 0.0 || !slope.is_finite() || !intercept.is_finite())
            .then(|| format!("slope {slope}, intercept {intercept}: stored values are shown"))
    });
    const KEYWORDS: [&str; 3] = ["RescaleSlope", "RescaleIntercept", "DoseGridScaling"];
    bad_number.or_else(|| {
        let bad_text = |item: &&Item<'_>| {
            let mut issues = item.record.instance.issues.iter();
            issues.any(|issue| KEYWORDS.contains(&issue.keyword.as_str()))
        };
        let bad = items.iter().find(bad_text);
        bad.map(|_| "a slope or intercept is not a number: stored values are shown".into())
    })
}

/// Slope and intercept of a frame, 1 and 0 where absent.
fn stated_rescale(item: &Item<'_>, kind: ValueKind) -> (f64, f64) {
    match kind {
        ValueKind::RealWorld => {
            let [slope, intercept] = item.get(|a| a.real_world_value).unwrap_or([1.0, 0.0]);
            (slope, intercept + 0.0)
        }
        ValueKind::Dose => {
            let scaling = item.numbers("DoseGridScaling");
            let scaling = scaling.and_then(|numbers| numbers.first().copied());
            (scaling.unwrap_or(1.0), 0.0)
        }
        _ => (
            item.get(|a| a.rescale_slope).unwrap_or(1.0),
            // -0 would be shown as such.
            item.get(|a| a.rescale_intercept).unwrap_or(0.0) + 0.0,
        ),
    }
}

/// Rules 1 to 3, for usable slopes and intercepts.
fn linear(items: &[Item<'_>], stored: Dtype, kind: ValueKind, findings: &mut Findings) -> Ruled {
    let stated = |item| stated_rescale(item, kind);
    let rescale: Vec<(f64, f64)> = items.iter().map(stated).collect();
    if rescale.windows(2).any(|pair| pair[0] != pair[1]) {
        findings.push(
            "mixed_rescale",
            "slope or intercept differ from frame to frame, each frame has its own applied",
        );
    }
    let whole = |x: f64| x.fract() == 0.0 && x.abs() <= WHOLE_MAX;
    let is_identity = rescale.iter().all(|r| *r == (1.0, 0.0));
    let is_offset = rescale.iter().all(|r| r.0 == 1.0 && whole(r.1));
    let offset_dtype = is_offset
        .then(|| offset_dtype(items, &rescale, stored))
        .flatten();
    let (transform, dtype) = match offset_dtype {
        _ if is_identity => (Transform::Identity, stored),
        Some(dtype) => (Transform::Offset, dtype),
        None if stored.itemsize() >= 4 => (Transform::Linear, Dtype::F64),
        None => (Transform::Linear, Dtype::F32),
    };
    Ruled {
        values: Values {
            dtype,
            transform,
            units: common_units(items, kind, findings),
            kind,
        },
        stored_dtype: stored,
        rescale,
    }
}

/// int16 if it fits or the stored type is int16, else int32 if that fits; `None` for floats and for
/// 32-bit input that int32 cannot hold (rule 3 then has float64, which can).
fn offset_dtype(items: &[Item<'_>], rescale: &[(f64, f64)], stored: Dtype) -> Option<Dtype> {
    if matches!(stored, Dtype::F32 | Dtype::F64) {
        return None;
    }
    let (mut lowest, mut highest) = (i64::MAX, i64::MIN);
    for (item, (_, intercept)) in items.iter().zip(rescale) {
        let (low, high) = stored_range(item.image)?;
        // Both terms are below 2^54.
        lowest = lowest.min(low + *intercept as i64);
        highest = highest.max(high + *intercept as i64);
    }
    let fits = |min: i64, max: i64| lowest >= min && highest <= max;
    if fits(i16::MIN.into(), i16::MAX.into()) || stored == Dtype::I16 {
        Some(Dtype::I16)
    } else if fits(i32::MIN.into(), i32::MAX.into()) {
        Some(Dtype::I32)
    } else {
        None
    }
}

/// Units of all frames; none where they differ.
fn common_units(items: &[Item<'_>], kind: ValueKind, findings: &mut Findings) -> Option<String> {
    let common = items.first().and_then(|item| units(item, kind));
    // Frames of one file that state the same are looked at once.
    let are_alike = |a: &Item<'_>, b: &Item<'_>| {
        let same = |field: fn(&FrameAttributes) -> Option<&str>| a.get(field) == b.get(field);
        std::ptr::eq(a.record.as_ref(), b.record.as_ref())
            && same(|a| a.rescale_type.as_deref())
            && same(|a| a.units.as_deref())
    };
    let mut pairs = items.iter().zip(items.iter().skip(1));
    let other = pairs.find_map(|(before, item)| {
        let own = (!are_alike(before, item)).then(|| units(item, kind))?;
        (own != common).then_some(own)
    });
    let Some(other) = other else {
        return common;
    };
    let name = |units: &Option<String>| units.clone().unwrap_or_else(|| "none".to_owned());
    let detail = format!("frames have units {} and {}", name(&common), name(&other));
    findings.push("mixed_units", detail);
    None
}

/// Units of the values, where the header states them: those of the mapping that was used, PET's
/// Units (0054,1001), or Rescale Type. CT whose Rescale Type is absent is in Hounsfield Units
/// (PS3.3 C.8.2.1.1.2, C.11.1.1.2).
fn units(item: &Item<'_>, kind: ValueKind) -> Option<String> {
    let text = |keyword| match item.record.instance.attributes.get(keyword) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let mapped = || {
        // The units of a mapping are those of the rescaled values only if it is the same mapping.
        let mapping = item.get(|a| a.real_world_value);
        let rescale = stated_rescale(item, ValueKind::Modality);
        let is_same = mapping.is_none_or(|[slope, intercept]| (slope, intercept) == rescale);
        item.get(|a| a.units.clone()).filter(|_| is_same)
    };
    let stated = match kind {
        ValueKind::Rgb | ValueKind::Segmentation | ValueKind::Stored => return None,
        ValueKind::Dose => text("DoseUnits"),
        ValueKind::RealWorld => item.get(|a| a.units.clone()),
        _ => text("Units")
            .or_else(mapped)
            .or_else(|| item.get(|a| a.rescale_type.clone())),
    };
    let stated = stated
        .map(|units| units.trim().to_owned())
        .filter(|units| !units.is_empty() && units != "US");
    let is_ct = item.record.instance.modality == "CT" && kind == ValueKind::Modality;
    let type_absent = item.get(|a| a.rescale_type.as_ref()).is_none();
    stated.or_else(|| (is_ct && type_absent && is_rescaled(item)).then(|| "HU".to_owned()))
}
