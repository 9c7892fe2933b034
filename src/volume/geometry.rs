//! From ordered positions to an affine, and what is wrong with them.
//!
//! Never resamples: what an affine can say (spacing, oblique planes, tilt as shear) it says
//! exactly; what it cannot say is a finding.

use super::finding::Findings;
use super::item::{Item, Orientation};
use super::vector::{Vector, add, divide, dot, max_difference, norm, scale, sub};
use super::{Geometry, Status};

/// Positions nearer than this along the normal are the same slice. The DS of real headers carries
/// five or six decimals; no scanner has slices a micrometre apart.
pub(super) const SAME_POSITION_MM: f64 = 1e-3;

/// How many gaps a finding names.
const GAPS_NAMED: usize = 8;

/// Geometry of slices in z order, one item a slice. `None` when it is unknown or not to be
/// trusted; the findings say why.
pub(super) fn geometry(slices: &[Item<'_>], findings: &mut Findings) -> Option<Geometry> {
    let first = slices.first()?;
    let orientation = first.orientation()?;
    let positions: Vec<Vector> = slices.iter().filter_map(Item::position).collect();
    let origin = *positions.first()?;
    let spacing = first.pixel_spacing();
    let third = if positions.len() == 1 {
        let thickness = single_slice_spacing(first, findings);
        Some(scale(orientation.normal, thickness))
    } else {
        through_plane(&orientation, &positions, spacing, findings)
    };
    let Some([spacing_y, spacing_x]) = spacing else {
        if first.get(|a| a.pixel_spacing).is_some() {
            findings.push("malformed_geometry", "Pixel Spacing is not two lengths");
        } else {
            findings.push("no_geometry", "Pixel Spacing is absent");
        }
        return None;
    };
    let third = third?;
    let x = scale(orientation.row, spacing_x);
    let y = scale(orientation.column, spacing_y);
    let mut affine_lps = [[0.0; 4]; 4];
    for (axis, line) in affine_lps.iter_mut().take(3).enumerate() {
        // + 0.0 turns -0 into 0, so that equal geometries are equal in print.
        *line = [x[axis], y[axis], third[axis], origin[axis]].map(|value| value + 0.0);
    }
    affine_lps[3][3] = 1.0;
    Some(Geometry {
        affine_lps,
        spacing_mm: [norm(third), spacing_y, spacing_x],
    })
}

/// Slice spacing of a lone slice: what the header says, for want of positions.
fn single_slice_spacing(item: &Item<'_>, findings: &mut Findings) -> f64 {
    item.length_mm(|a| a.spacing_between_slices)
        .or_else(|| item.length_mm(|a| a.slice_thickness))
        .unwrap_or_else(|| {
            findings.push(
                "assumed_slice_spacing",
                "one slice without thickness: 1 mm is used",
            );
            1.0
        })
}

/// The affine's third column from two or more positions whose distances along the normal ascend.
fn through_plane(
    orientation: &Orientation,
    positions: &[Vector],
    pixel_spacing: Option<[f64; 2]>,
    findings: &mut Findings,
) -> Option<Vector> {
    let (first, last) = (*positions.first()?, *positions.last()?);
    let distances: Vec<f64> = positions
        .iter()
        .map(|p| dot(sub(*p, first), orientation.normal))
        .collect();
    let span = *distances.last()?;
    let pixel_mm = pixel_spacing.map_or(1.0, |[y, x]| y.min(x));
    // Per mm along the normal.
    let line = divide(sub(last, first), span);
    let off_line = off_line_mm(positions, orientation.normal);
    let straight = off_line <= (0.05 * pixel_mm).max(0.01);
    if straight {
        report_tilt(orientation, line, span, pixel_mm, findings);
    } else {
        findings.push(
            "not_collinear",
            format!("slice corners are up to {off_line:.4} mm off a straight line"),
        );
    }
    let step = divide(sub(last, first), (positions.len() - 1) as f64);
    let third = spacing(&distances, step, line, findings);
    third.filter(|_| straight)
}

/// How far positions, whose distances along the normal ascend, are off the line from the first to the
/// last.
pub(super) fn off_line_mm(positions: &[Vector], normal: Vector) -> f64 {
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
        return 0.0;
    };
    let along = |p: &Vector| dot(sub(*p, *first), normal);
    // Per mm along the normal.
    let line = divide(sub(*last, *first), along(last));
    positions
        .iter()
        .map(|p| max_difference(p, &add(*first, scale(line, along(p)))))
        .fold(0.0, f64::max)
}

/// Reports a shear that is more than rounding: over a tenth of a pixel across the whole stack.
fn report_tilt(
    orientation: &Orientation,
    line: Vector,
    span: f64,
    pixel_mm: f64,
    findings: &mut Findings,
) {
    let shear = norm(sub(line, orientation.normal));
    let degrees = shear.atan().to_degrees();
    if shear * span > (0.1 * pixel_mm).max(0.02) && degrees > 0.05 {
        findings.push(
            "gantry_tilt",
            format!("slices are sheared by {degrees:.3} degrees: kept in the affine"),
        );
    }
}

/// Evenness: the third column, or `None` when no single column can be trusted. `step` is the mean
/// step, `line` the step for each mm along the normal.
fn spacing(
    distances: &[f64],
    step: Vector,
    line: Vector,
    findings: &mut Findings,
) -> Option<Vector> {
    let span = *distances.last()?;
    let mean = span / (distances.len() - 1) as f64;
    let deviation = distances
        .iter()
        .enumerate()
        .map(|(index, d)| (d - index as f64 * mean).abs())
        .fold(0.0, f64::max);
    if deviation <= tolerance(mean) {
        return Some(step);
    }
    let gaps: Vec<f64> = distances.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if let Some(common) = common_spacing(&gaps) {
        report_gaps(&gaps, common, findings);
        return Some(scale(line, common));
    }
    let detail = format!("slices are up to {deviation:.4} mm off an even grid of {mean:.4} mm");
    if deviation > 0.1 * mean {
        findings.push_as("uneven_spacing", Status::Bad, detail);
        return None;
    }
    findings.push("uneven_spacing", detail);
    Some(step)
}

/// How far a slice may be off its place before that is worth saying: a hundredth of the spacing,
/// or the rounding of positions to 0.01 mm.
pub(super) fn tolerance(spacing_mm: f64) -> f64 {
    (0.01 * spacing_mm).max(0.01_f64.min(0.1 * spacing_mm))
}

/// The spacing of which all gaps are whole multiples, refined over the whole stack: the usual gap,
/// or the smallest if more slices are there than missing.
pub(super) fn common_spacing(gaps: &[f64]) -> Option<f64> {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let usual = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    let smallest = *sorted.first()?;
    let steps = |candidate: f64| {
        let steps = |gap: &f64| {
            let steps = (gap / candidate).round();
            let off = (gap - steps * candidate).abs();
            (steps >= 1.0 && off <= 2.0 * tolerance(candidate)).then_some(steps)
        };
        gaps.iter().map(steps).sum::<Option<f64>>()
    };
    let span: f64 = gaps.iter().sum();
    steps(usual)
        .or_else(|| steps(smallest).filter(|steps| *steps < 2.0 * gaps.len() as f64))
        .map(|steps| span / steps)
}

fn report_gaps(gaps: &[f64], common: f64, findings: &mut Findings) {
    let missing: Vec<(usize, f64)> = gaps
        .iter()
        .enumerate()
        .map(|(index, gap)| (index, (gap / common).round() - 1.0))
        .filter(|(_, missing)| *missing >= 1.0)
        .collect();
    let total: f64 = missing.iter().map(|(_, missing)| missing).sum();
    let places: Vec<String> = missing
        .iter()
        .take(GAPS_NAMED)
        .map(|(index, missing)| format!("{missing} between z {index} and {}", index + 1))
        .collect();
    let more = missing.len().saturating_sub(GAPS_NAMED);
    let more = if more > 0 {
        format!(" and {more} more gaps")
    } else {
        String::new()
    };
    findings.push(
        "missing_slices",
        format!(
            "{total} slices of a {common:.4} mm spacing are missing: {}{more}",
            places.join(", ")
        ),
    );
}

impl Geometry {
    /// The affine in RAS: x and y negated.
    pub fn affine_ras(&self) -> [[f64; 4]; 4] {
        let mut ras = self.affine_lps;
        for line in ras.iter_mut().take(2) {
            *line = line.map(|value| 0.0 - value);
        }
        ras
    }
}
