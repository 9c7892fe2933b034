//! What of a series cannot be one array.
//!
//! Decides by what frames are (size, element, colour, orientation), not by where they lie; `order`
//! does the latter.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::item::{Item, Orientation};
use super::order::positions_repeat;
use super::values::{Look, look, modality_lut_bits};
use super::vector::max_difference;

/// Direction cosines that differ less are one orientation: 1e-3 is 0.06 degrees, above the
/// rounding of headers and below any intended rotation.
const COSINE_TOLERANCE: f64 = 1e-3;

/// Pixel Spacings that differ by less than this part are the same.
const SPACING_TOLERANCE: f64 = 1e-3;

/// What a group of frames can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Single frames in parallel planes.
    Stack,
    /// All frames of one multi-frame instance.
    MultiFrame,
    /// One frame that does not say where it lies.
    Lone,
}

/// Frames that go together. For `MultiFrame`, the first frame stands for all.
pub(super) struct Group<'a> {
    pub(super) kind: Kind,
    pub(super) items: Vec<Item<'a>>,
}

impl<'a> Group<'a> {
    /// Frames of the group.
    pub(super) fn frame_count(&self) -> u64 {
        self.items
            .iter()
            .map(|item| u64::from(item.image.number_of_frames))
            .sum()
    }

    /// Sorts the groups of a series: most frames, lowest Instance Number, lowest SOP Instance UID.
    pub(super) fn rank(&self) -> impl Ord + use<'a> {
        let first = self.items.iter().map(Item::tie_key).min();
        (Reverse(self.frame_count()), first)
    }
}

/// What must be equal in one array.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    sop_class_uid: &'a str,
    shape: (u32, u32, u16),
    sample: (u8, u16, bool),
    look: Look,
    modality_lut_bits: Option<i32>,
}

impl<'a> Key<'a> {
    fn new(item: &Item<'a>) -> Self {
        let image = item.image;
        let record: &'a crate::archive::Record = item.record;
        // Bits Stored may vary in one array: it widens the range, not the element.
        Key {
            sop_class_uid: record.instance.sop_class_uid.as_str(),
            shape: (image.rows, image.columns, image.samples_per_pixel),
            sample: (image.element as u8, image.bits_allocated, image.signed),
            look: look(item.record, image),
            modality_lut_bits: modality_lut_bits(item),
        }
    }
}

/// Splits the images of a series (first frames, in a fixed order) into groups, best first.
///
/// Images that do not say where they lie (CR, US, SC, ...) are groups of one each: nothing in them
/// says that they belong on one axis, or in which order, and a guess would look like a volume.
pub(super) fn groups<'a>(items: Vec<Item<'a>>) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut alike: BTreeMap<Key<'a>, Vec<Item<'a>>> = BTreeMap::new();
    for item in items {
        let kind = if item.image.number_of_frames > 1 {
            Kind::MultiFrame
        } else if item.has_geometry() {
            alike.entry(Key::new(&item)).or_default().push(item);
            continue;
        } else {
            Kind::Lone
        };
        groups.push(Group {
            kind,
            items: vec![item],
        });
    }
    for items in alike.into_values() {
        groups.extend(parallel(items).into_iter().map(|items| Group {
            kind: Kind::Stack,
            items,
        }));
    }
    groups.sort_by_cached_key(Group::rank);
    groups
}

/// Groups frames by orientation and Pixel Spacing. The first frame of a group stands for it.
fn parallel<'a>(mut items: Vec<Item<'a>>) -> Vec<Vec<Item<'a>>> {
    items.sort_by_key(Item::tie_key);
    let mut groups: Vec<(Plane, Vec<Item<'a>>)> = Vec::new();
    for item in items {
        let Some(plane) = Plane::new(&item) else {
            continue;
        };
        match groups.iter_mut().find(|group| group.0.is_like(&plane)) {
            Some(group) => group.1.push(item),
            None => groups.push((plane, vec![item])),
        }
    }
    groups.into_iter().map(|group| group.1).collect()
}

/// Orientation and scale of a frame.
pub(super) struct Plane {
    orientation: Orientation,
    pixel_spacing: Option<[f64; 2]>,
}

impl Plane {
    pub(super) fn new(item: &Item<'_>) -> Option<Self> {
        Some(Plane {
            orientation: item.orientation()?,
            pixel_spacing: item.pixel_spacing(),
        })
    }

    pub(super) fn is_like(&self, other: &Plane) -> bool {
        let turned = max_difference(&self.orientation.row, &other.orientation.row).max(
            max_difference(&self.orientation.column, &other.orientation.column),
        );
        let same_scale = match (self.pixel_spacing, other.pixel_spacing) {
            (Some(a), Some(b)) => a
                .iter()
                .zip(b)
                .all(|(a, b)| (a - b).abs() <= SPACING_TOLERANCE * a),
            (None, None) => true,
            _ => false,
        };
        turned <= COSINE_TOLERANCE && same_scale
    }
}

/// Splits a stack by part of the complex signal and by echo: suffix and frames, best first. The
/// suffix of the first is empty.
pub(super) fn contrasts<'a>(items: Vec<Item<'a>>) -> Vec<(String, Vec<Item<'a>>)> {
    let mut parts: BTreeMap<&'static str, Vec<Item<'a>>> = BTreeMap::new();
    for item in items {
        parts.entry(component(&item)).or_default().push(item);
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(suffix, items)| (Reverse(items.len()), *suffix != "_mag", *suffix));
    let mut contrasts = Vec::new();
    for (index, (suffix, items)) in parts.into_iter().enumerate() {
        let suffix = if index == 0 { "" } else { suffix };
        for (echo, items) in echoes(items) {
            contrasts.push((format!("{suffix}{echo}"), items));
        }
    }
    contrasts
}

/// Which part of a complex MR signal a frame shows: by Complex Image Component, else by the terms
/// that vendors put third and later into Image Type.
fn component(item: &Item<'_>) -> &'static str {
    if item.record.instance.modality != "MR" {
        return "_mag";
    }
    let stated = item.get(|a| a.complex_image_component.as_deref());
    let types = item.image_type().iter().skip(2).map(|term| term.trim());
    for term in stated.into_iter().chain(types) {
        match term {
            "MAGNITUDE" | "M" => return "_mag",
            "PHASE" | "PHASE MAP" | "P" => return "_ph",
            "REAL" | "R" => return "_real",
            "IMAGINARY" | "I" => return "_imaginary",
            _ => {}
        }
    }
    "_mag"
}

/// Splits by echo where positions repeat and every frame states its echo. The number in the
/// suffix is the echo's rank.
fn echoes<'a>(items: Vec<Item<'a>>) -> Vec<(String, Vec<Item<'a>>)> {
    let whole = |items| vec![(String::new(), items)];
    let key = |item: &Item<'_>| {
        let number = item.get(|a| a.echo_number);
        let time = item.get(|a| a.echo_time_ms).filter(|ms| ms.is_finite());
        // To a microsecond: headers round echo times differently from frame to frame.
        let time_us = time.map(|ms| (ms * 1000.0).round() as i64);
        (number.is_some() || time.is_some()).then_some((number, time_us))
    };
    let Some(keys) = items.iter().map(key).collect::<Option<Vec<_>>>() else {
        return whole(items);
    };
    if keys.windows(2).all(|pair| pair[0] == pair[1]) || !positions_repeat(&items) {
        return whole(items);
    }
    let mut echoes: BTreeMap<_, Vec<Item<'a>>> = BTreeMap::new();
    for (key, item) in keys.into_iter().zip(items) {
        echoes.entry(key).or_default().push(item);
    }
    let mut ranked: Vec<_> = echoes.into_values().enumerate().collect();
    ranked.sort_by_key(|(rank, items)| (Reverse(items.len()), *rank));
    ranked
        .into_iter()
        .enumerate()
        .map(|(index, (rank, items))| match index {
            0 => (String::new(), items),
            _ => (format!("_e{}", rank + 1), items),
        })
        .collect()
}
