//! Segments as `volume.json` shows them, with their colour as screens take it.

use serde::Serialize;

use crate::dicom::Segment;

/// A segment: the entry of the `s` axis with its place in the list, or the label `number` of a label
/// map. What the header does not say is `null`.
#[derive(Serialize)]
pub(super) struct JsonSegment<'a> {
    number: u32,
    label: Option<&'a str>,
    category: Option<&'a str>,
    #[serde(rename = "type")]
    property_type: Option<&'a str>,
    algorithm_type: Option<&'a str>,
    /// Red, green and blue of sRGB.
    color_srgb: Option<[u8; 3]>,
}

impl<'a> From<&'a Segment> for JsonSegment<'a> {
    fn from(segment: &'a Segment) -> Self {
        let said = |text: &'a str| (!text.is_empty()).then_some(text);
        JsonSegment {
            number: segment.number,
            label: said(&segment.label),
            category: said(&segment.category),
            property_type: said(&segment.property_type),
            algorithm_type: said(&segment.algorithm_type),
            color_srgb: segment.color_cielab.map(srgb),
        }
    }
}

/// The white of the ICC profile connection space, D50, that CIELab values are relative to
/// (PS3.3 C.10.7.1.1).
const WHITE: [f64; 3] = [0.96422, 1.0, 0.82521];

/// From XYZ relative to D50 to linear sRGB: the matrix of IEC 61966-2-1 after Bradford's adaptation
/// from D50 to D65.
const LINEAR_SRGB: [[f64; 3]; 3] = [
    [3.133_856_1, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// Recommended Display CIELab Value (0062,000D), as stored, in sRGB of 8 bits: 0 to FFFFH are 0 to
/// 100 of L* and -128 to 127 of a* and b* (PS3.3 C.10.7.1.1). Colours that sRGB lacks are clipped.
fn srgb([l, a, b]: [u16; 3]) -> [u8; 3] {
    let l = f64::from(l) / 65535.0 * 100.0;
    let [a, b] = [a, b].map(|stored| f64::from(stored) / 65535.0 * 255.0 - 128.0);
    // CIE 15: the cube, and a line below (6/29)^3.
    let y = (l + 16.0) / 116.0;
    let linear = |f: f64| {
        if f > 6.0 / 29.0 {
            f.powi(3)
        } else {
            (f - 4.0 / 29.0) * 3.0 * (6.0_f64 / 29.0).powi(2)
        }
    };
    let relative = [y + a / 500.0, y, y - b / 200.0].map(linear);
    LINEAR_SRGB.map(|row| {
        let light: f64 = (0..3).map(|n| row[n] * relative[n] * WHITE[n]).sum();
        let encoded = if light <= 0.003_130_8 {
            12.92 * light
        } else {
            1.055 * light.powf(1.0 / 2.4) - 0.055
        };
        (encoded * 255.0).round().clamp(0.0, 255.0) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L*, a* and b* as they are stored.
    fn stored([l, a, b]: [f64; 3]) -> [u16; 3] {
        let of = |x: f64, least: f64, range: f64| ((x - least) / range * 65535.0).round() as u16;
        [
            of(l, 0.0, 100.0),
            of(a, -128.0, 255.0),
            of(b, -128.0, 255.0),
        ]
    }

    #[test]
    fn colours_of_known_lab_values() {
        // L*, a*, b* relative to D50 of sRGB colours, as colour calculators give them.
        for (lab, expected) in [
            ([0.0, 0.0, 0.0], [0, 0, 0]),
            ([100.0, 0.0, 0.0], [255, 255, 255]),
            ([53.585, 0.0, 0.0], [128, 128, 128]),
            ([54.29, 80.81, 69.89], [255, 0, 0]),
            ([87.82, -79.29, 80.99], [0, 255, 0]),
            ([29.57, 68.30, -112.03], [0, 0, 255]),
            ([97.61, -15.75, 93.39], [255, 255, 0]),
        ] {
            let got = srgb(stored(lab));
            let near = got
                .iter()
                .zip(expected)
                .all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1);
            assert!(near, "{lab:?}: {got:?} instead of {expected:?}");
        }
        // The ends of the range, which sRGB does not have.
        assert_eq!(srgb([0xFFFF; 3])[0], 255);
        assert_eq!(srgb([0x8000, 0, 0])[0], 0);
    }

    #[test]
    fn what_is_not_said_is_null() {
        let segment = Segment {
            number: 2,
            label: "Liver".to_owned(),
            color_cielab: Some([0xFFFF, 0x8080, 0x8080]),
            ..Segment::default()
        };
        assert_eq!(
            serde_json::to_value(JsonSegment::from(&segment)).unwrap(),
            serde_json::json!({
                "number": 2, "label": "Liver", "category": null, "type": null,
                "algorithm_type": null, "color_srgb": [255, 255, 255]
            })
        );
    }
}
