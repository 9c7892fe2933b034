//! What of a series cannot be one array.
//!
//! Decides by what frames are (size, element, colour, orientation), not by where they lie; `order`
//! does the latter.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Finding;
use super::expand::{Expanded, expand, stands_alone};
use super::item::{Item, Orientation};
use super::values::{Look, look, modality_lut_bits};
use super::vector::max_difference;

/// Direction cosines that differ less are one orientation: 1e-3 is 0.06 degrees, above the
/// rounding of headers and below any intended rotation.
const COSINE_TOLERANCE: f64 = 1e-3;

/// Pixel Spacings that differ by less than this part are the same.
const SPACING_TOLERANCE: f64 = 1e-3;

/// What a group of frames can become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Frames in parallel planes, of any number of instances.
    Stack,
    /// Frames in parallel planes, of an instance that is complete in itself.
    Alone,
    /// All frames of an instance in stored order, and why.
    Stored(Finding),
    /// One frame that does not say where it lies.
    Lone,
}

/// Frames that go together.
pub(super) struct Group<'a> {
    pub(super) kind: Kind,
    pub(super) items: Vec<Item<'a>>,
}

impl<'a> Group<'a> {
    /// Sorts the groups of a series: most frames, lowest Instance Number, lowest SOP Instance UID.
    fn rank(&self) -> impl Ord + use<'a> {
        let first = self.items.iter().map(Item::tie_key).min();
        (Reverse(self.items.len()), first)
    }
}

/// What must be equal in one array.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    /// Some programs give series of several studies, and so of several patients, one UID.
    study_instance_uid: &'a str,
    sop_class_uid: &'a str,
    shape: (u32, u32, u16),
    sample: (u8, u16, bool),
    look: Look,
    modality_lut_bits: Option<i32>,
}

impl<'a> Key<'a> {
    fn new(item: &Item<'a>) -> Self {
        let image = item.image;
        let (rows, columns) = item.size();
        let record: &'a crate::archive::Record = item.record;
        // Bits Stored may vary in one array: it widens the range, not the element.
        Key {
            study_instance_uid: record.instance.study_instance_uid.as_str(),
            sop_class_uid: record.instance.sop_class_uid.as_str(),
            shape: (rows, columns, image.samples_per_pixel),
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
pub(super) fn groups<'a>(images: Vec<Item<'a>>) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut alike: BTreeMap<Key<'a>, Vec<Item<'a>>> = BTreeMap::new();
    for image in images {
        let (kind, items) = match expand(image) {
            Expanded::Placed(items) if stands_alone(&image) => {
                let parts = parallel(items).into_iter();
                groups.extend(parts.map(|items| Group {
                    kind: Kind::Alone,
                    items,
                }));
                continue;
            }
            Expanded::Placed(items) => {
                alike.entry(Key::new(&image)).or_default().extend(items);
                continue;
            }
            Expanded::Stored(items, why) => (Kind::Stored(why), items),
            Expanded::Lone(item) => (Kind::Lone, vec![item]),
        };
        groups.push(Group { kind, items });
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

/// Groups frames by orientation, Pixel Spacing and stack. The first frame of a group stands for it.
fn parallel<'a>(mut items: Vec<Item<'a>>) -> Vec<Vec<Item<'a>>> {
    items.sort_by_key(Item::tie_key);
    let mut groups: Vec<(Plane<'a>, Vec<Item<'a>>)> = Vec::new();
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

/// Orientation and scale of a frame, and the stack that it says it belongs to (PS3.3
/// C.7.6.16.2.2.4).
pub(super) struct Plane<'a> {
    orientation: Orientation,
    pixel_spacing: Option<[f64; 2]>,
    stack_id: Option<&'a str>,
}

impl<'a> Plane<'a> {
    pub(super) fn new(item: &Item<'a>) -> Option<Self> {
        Some(Plane {
            orientation: item.orientation()?,
            pixel_spacing: item.pixel_spacing(),
            stack_id: item.get(|a| a.stack_id.as_deref()),
        })
    }

    pub(super) fn is_like(&self, other: &Plane<'_>) -> bool {
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
        turned <= COSINE_TOLERANCE && same_scale && self.stack_id == other.stack_id
    }
}
