//! Frames of a segmentation: one volume with a leading axis of segments, `s`.
//!
//! A binary or fractional segmentation stores a frame for a segment and a plane, and may leave out
//! those in which there is nothing of the segment (PS3.3 A.51). Those are zeros here: no value is
//! made up, since what is left out says that there is nothing. A label map has one frame a plane, and
//! may leave out empty planes too; it needs no axis.

use std::collections::{BTreeMap, HashMap};

use super::Finding;
use super::finding::Findings;
use super::geometry::{common_spacing, tolerance};
use super::item::Item;
use super::order::{Slot, slots};
use super::vector::{Vector, add, dot, scale, sub};
use crate::dicom::Segment;

/// Most frames, stored or not, of one segmentation: segments and planes multiply.
const CELLS_MAX: usize = 1 << 20;

/// Label Map Segmentation Storage.
const LABEL_MAP: &str = "1.2.840.10008.5.1.4.1.1.66.7";

/// A segmentation in volume order: C order over (s, z).
pub(super) struct Segmented<'a> {
    pub(super) items: Vec<Item<'a>>,
    /// Described in the order of the axis.
    pub(super) segments: Vec<Segment>,
    /// Entries of the `s` axis; `None` for a label map.
    pub(super) count: Option<usize>,
    pub(super) slices: usize,
    pub(super) findings: Findings,
}

/// Arranges the frames of a segmentation, all in parallel planes; else says why not.
pub(super) fn arrange(items: Vec<Item<'_>>) -> Result<Segmented<'_>, Finding> {
    let refuse = |why: &str| Finding {
        code: "segments_not_split",
        detail: format!("{why}: stored order"),
    };
    let first = *items.first().ok_or_else(|| refuse("there are no frames"))?;
    let orientation = first
        .orientation()
        .ok_or_else(|| refuse("frames have no orientation"))?;
    let stored = items.len();
    let planes = slots(items, &orientation);
    let is_label_map = first.record.instance.sop_class_uid == LABEL_MAP;
    // A label map has all segments in each frame: none of them has a number.
    let numbered = |item: &Item<'_>| match is_label_map {
        true => Some(0),
        false => item.get(|a| a.segment_number),
    };
    let all = planes.iter().flatten();
    if all.clone().any(|item| numbered(item).is_none()) {
        return Err(refuse("some frames name no segment"));
    }
    let segments = match is_label_map {
        true => first.record.instance.segments.clone(),
        false => described(&first, all.filter_map(numbered)),
    };
    let rows: Vec<u32> = match is_label_map {
        true => vec![0],
        false => segments.iter().map(|segment| segment.number).collect(),
    };
    let planes = regular(planes, orientation.normal, rows.len())
        .ok_or_else(|| refuse("segments and planes are too many"))?;
    let mut cells: HashMap<(u32, usize), Item<'_>> = HashMap::with_capacity(stored);
    for (z, plane) in planes.iter().enumerate() {
        for item in plane.iter().filter(|item| !item.is_empty) {
            let number = numbered(item).unwrap_or_default();
            if cells.insert((number, z), *item).is_some() {
                return Err(refuse("a segment has several frames at one position"));
            }
        }
    }
    let cell = |number: u32, z: usize| {
        let empty = || {
            planes[z].first().map(|item| Item {
                is_empty: true,
                ..*item
            })
        };
        cells.get(&(number, z)).copied().or_else(empty)
    };
    let cell = &cell;
    let items: Vec<Item<'_>> = rows
        .iter()
        .flat_map(|number| (0..planes.len()).filter_map(move |z| cell(*number, z)))
        .collect();
    Ok(Segmented {
        count: (!is_label_map).then_some(rows.len()),
        slices: planes.len(),
        findings: report_empty(items.len(), stored),
        items,
        segments,
    })
}

fn report_empty(frames: usize, stored: usize) -> Findings {
    let mut findings = Findings::default();
    if frames > stored {
        let empty = frames - stored;
        findings.push(
            "empty_frames",
            format!(
                "{empty} of {frames} frames are not stored, because nothing of the segment is \
                 there: zeros"
            ),
        );
    }
    findings
}

/// The segments that the Segment Sequence describes, in its order, then those that frames name all
/// the same.
fn described(first: &Item<'_>, named: impl Iterator<Item = u32>) -> Vec<Segment> {
    let mut segments = first.record.instance.segments.clone();
    let mut known: BTreeMap<u32, bool> = segments.iter().map(|s| (s.number, true)).collect();
    for number in named {
        known.entry(number).or_insert(false);
    }
    // A number that is described twice would be two entries of the same frames.
    let mut seen = std::collections::BTreeSet::new();
    segments.retain(|segment| seen.insert(segment.number));
    let undescribed = known.into_iter().filter(|(_, described)| !described);
    segments.extend(undescribed.map(|(number, _)| Segment {
        number,
        ..Segment::default()
    }));
    segments
}

/// Adds the planes that no segment has a frame in, where the others lie on an even grid with
/// gaps: nothing is there, and without them the affine would be wrong. `None` when planes and
/// segments are too many.
fn regular<'a>(planes: Vec<Slot<'a>>, normal: Vector, segments: usize) -> Option<Vec<Slot<'a>>> {
    let cells_max = CELLS_MAX / segments.max(1);
    if planes.len() > cells_max {
        return None;
    }
    let positions: Option<Vec<Vector>> = planes
        .iter()
        .map(|plane| plane.first().and_then(Item::position))
        .collect();
    let positions = positions?;
    let gaps: Vec<f64> = positions
        .windows(2)
        .map(|pair| dot(sub(pair[1], pair[0]), normal))
        .collect();
    let Some(counts) = steps(&planes, &gaps) else {
        return Some(planes);
    };
    if counts
        .iter()
        .try_fold(1_usize, |sum, n| sum.checked_add(*n))?
        > cells_max
    {
        return None;
    }
    let mut regular = Vec::with_capacity(planes.len());
    let mut ahead = planes.into_iter();
    regular.extend(ahead.next());
    for ((plane, count), pair) in ahead.zip(counts).zip(positions.windows(2)) {
        let step = scale(sub(pair[1], pair[0]), 1.0 / count as f64);
        for between in 1..count {
            let target = add(pair[0], scale(step, between as f64));
            regular.push(vec![not_stored(plane.first()?, target)?]);
        }
        regular.push(plane);
    }
    Some(regular)
}

/// How many steps of the grid each gap is, by Spacing Between Slices or else by the gaps
/// themselves; `None` where they are no whole numbers.
fn steps(planes: &[Slot<'_>], gaps: &[f64]) -> Option<Vec<usize>> {
    let stated = planes
        .first()
        .and_then(|plane| plane.first())
        .and_then(|item| item.length_mm(|a| a.spacing_between_slices));
    let whole = |spacing: f64| {
        let step = |gap: &f64| {
            let steps = (gap / spacing).round();
            let off = (gap - steps * spacing).abs();
            let fits = steps >= 1.0 && steps <= CELLS_MAX as f64;
            (fits && off <= 2.0 * tolerance(spacing)).then_some(steps as usize)
        };
        gaps.iter().map(step).collect::<Option<Vec<usize>>>()
    };
    stated
        .and_then(whole)
        .or_else(|| common_spacing(gaps).and_then(whole))
}

/// A frame that is not stored at `target`, with the attributes of `like`.
fn not_stored<'a>(like: &Item<'a>, target: Vector) -> Option<Item<'a>> {
    let off = sub(target, like.position()?);
    let shift_mm = add(like.shift_mm.unwrap_or_default(), off);
    Some(Item {
        shift_mm: Some(shift_mm),
        is_empty: true,
        ..*like
    })
}
