//! The same SOP Instance UID more than once: copies are dropped, versions are kept apart.
//!
//! Sees headers only, so "the same" means: same encoding, as many bytes of Pixel Data, same
//! attributes of the frames. Where the pixels of files are known by their digests, copies under
//! other UIDs are found as well. Another transfer syntax is another version: lossy or lossless, its
//! samples may differ, and silently preferring one would be a guess.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::item::Item;
use super::{Finding, PixelDigests};

/// With how many versions of its instance a file is compared. A UID that stands for more is no UID;
/// what is a copy of a later version is then shown as a version itself.
const VERSIONS_COMPARED: usize = 64;

/// The images of a series with every SOP Instance once a set.
pub(super) struct Resolved<'a> {
    /// The first set holds one version of every instance; each further one holds other versions,
    /// all of one encoding.
    pub(super) sets: Vec<Vec<Item<'a>>>,
    /// Copies that are in no set.
    pub(super) dropped: Vec<(PathBuf, Finding)>,
    /// By SOP Instance UID, what to say about the volume that holds it.
    pub(super) notes: HashMap<&'a str, Vec<Finding>>,
}

/// How an instance is encoded. Ordered only so that the outcome is the same every time.
type Encoding<'a> = (&'a str, String);

fn encoding<'a>(item: &Item<'a>) -> Encoding<'a> {
    let record: &'a crate::archive::Record = item.record;
    (
        record.instance.transfer_syntax_uid.as_str(),
        format!("{:?}", item.image),
    )
}

/// Bytes of Pixel Data that the file holds. Where the length is undefined, all that follows counts:
/// a file that was cut short has fewer.
fn pixel_bytes(item: &Item<'_>) -> u64 {
    let Some(location) = item.record.instance.pixel_data else {
        return 0;
    };
    let available = item.record.identity.size_bytes;
    let available = available.saturating_sub(location.offset_bytes);
    available.min(location.length_bytes.unwrap_or(u64::MAX))
}

/// Whether two instances of one UID and encoding are copies as far as headers tell.
fn are_copies(a: &Item<'_>, b: &Item<'_>) -> bool {
    pixel_bytes(a) == pixel_bytes(b)
        && a.record.instance.shared == b.record.instance.shared
        && a.record.instance.per_frame == b.record.instance.per_frame
        && a.record.instance.sop_class_uid == b.record.instance.sop_class_uid
        && a.record.instance.study_instance_uid == b.record.instance.study_instance_uid
}

/// Sorts out repeated SOP Instance UIDs. `items` holds the first frame of every image of a series,
/// sorted by path; an instance without a UID never repeats.
pub(super) fn resolve<'a>(items: Vec<Item<'a>>, digests: &PixelDigests) -> Resolved<'a> {
    let mut resolved = Resolved {
        sets: Vec::new(),
        dropped: Vec::new(),
        notes: HashMap::new(),
    };
    let items = drop_same_pixels(items, digests, &mut resolved);
    let mut by_uid: BTreeMap<&'a str, Vec<Item<'a>>> = BTreeMap::new();
    let mut primary = Vec::new();
    for item in items {
        let record: &'a crate::archive::Record = item.record;
        match record.instance.sop_instance_uid.as_str() {
            "" => primary.push(item),
            uid => by_uid.entry(uid).or_default().push(item),
        }
    }
    if by_uid.values().all(|versions| versions.len() == 1) {
        primary.extend(by_uid.into_values().flatten());
        resolved.sets.push(primary);
        return resolved;
    }
    for (uid, versions) in &mut by_uid {
        drop_copies(uid, versions, &mut resolved);
    }
    let popularity = encoding_counts(&by_uid);
    let mut alternates: BTreeMap<(Encoding<'a>, usize), Vec<Item<'a>>> = BTreeMap::new();
    for (uid, mut versions) in by_uid {
        if versions.len() > 1 {
            let detail = format!("{uid} exists in {} versions that differ", versions.len());
            resolved.notes.entry(uid).or_default().push(Finding {
                code: "duplicate_instance",
                detail,
            });
        }
        // The most common encoding of the series first, then the version with most pixels: another
        // may be cut short. Among equals the order of paths stays.
        versions.sort_by_cached_key(|item| {
            let encoding = encoding(item);
            (
                std::cmp::Reverse(popularity.get(&encoding).copied()),
                encoding,
                std::cmp::Reverse(pixel_bytes(item)),
            )
        });
        let mut seen: HashMap<Encoding<'a>, usize> = HashMap::new();
        for (index, item) in versions.into_iter().enumerate() {
            if index == 0 {
                primary.push(item);
                continue;
            }
            let rank = seen.entry(encoding(&item)).or_default();
            alternates
                .entry((encoding(&item), *rank))
                .or_default()
                .push(item);
            *rank += 1;
        }
    }
    resolved.sets.push(primary);
    resolved.sets.extend(alternates.into_values());
    resolved
}

/// Drops slices that are equal to another in pixels, encoding and place; the one with the lowest
/// Instance Number stays.
fn drop_same_pixels<'a>(
    items: Vec<Item<'a>>,
    digests: &PixelDigests,
    resolved: &mut Resolved<'a>,
) -> Vec<Item<'a>> {
    if digests.is_empty() {
        return items;
    }
    let mut known: Vec<(String, Item<'a>)> = Vec::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        match digests.get(&item.record.path) {
            Some(digest) if item.image.number_of_frames == 1 => {
                let place = (item.position(), item.get(|a| a.image_orientation));
                let same = format!("{digest:?} {:?} {place:?}", encoding(&item));
                known.push((same, item));
            }
            _ => kept.push(item),
        }
    }
    known.sort_by(|a, b| (&a.0, a.1.tie_key()).cmp(&(&b.0, b.1.tie_key())));
    for group in known.chunk_by(|a, b| a.0 == b.0) {
        let Some(((_, original), copies)) = group.split_first() else {
            continue;
        };
        kept.push(*original);
        for (_, copy) in copies {
            let record: &'a crate::archive::Record = original.record;
            let uid = record.instance.sop_instance_uid.as_str();
            let (copy, original) = (&copy.record.path, original.record.path.display());
            let detail = format!(
                "{} has the position and the pixels of {original}: left out",
                copy.display()
            );
            let notes = resolved.notes.entry(uid).or_default();
            for code in ["duplicate_instance", "duplicate_positions"] {
                let detail = detail.clone();
                notes.push(Finding { code, detail });
            }
            let finding = Finding {
                code: "duplicate_instance",
                detail: format!("a copy of {original} by its pixels and position: left out"),
            };
            resolved.dropped.push((copy.clone(), finding));
        }
    }
    kept.sort_by(|a, b| a.record.path.cmp(&b.record.path));
    kept
}

fn drop_copies<'a>(uid: &'a str, versions: &mut Vec<Item<'a>>, resolved: &mut Resolved<'a>) {
    let mut kept: Vec<Item<'a>> = Vec::new();
    let encodings: Vec<_> = versions.iter().map(encoding).collect();
    let mut kept_encodings: Vec<&Encoding<'a>> = Vec::new();
    for (item, encoding) in versions.iter().zip(&encodings) {
        let original = kept
            .iter()
            .zip(&kept_encodings)
            .take(VERSIONS_COMPARED)
            .find(|(other, other_encoding)| {
                **other_encoding == encoding && are_copies(other, item)
            });
        let Some((original, _)) = original else {
            kept.push(*item);
            kept_encodings.push(encoding);
            continue;
        };
        let (copy, original) = (item.record.path.display(), original.record.path.display());
        let detail = format!("{copy} is a copy of {original}: left out");
        resolved.notes.entry(uid).or_default().push(Finding {
            code: "duplicate_instance",
            detail,
        });
        resolved.dropped.push((
            item.record.path.clone(),
            Finding {
                code: "duplicate_instance",
                detail: format!("a copy of {original} by its header: left out"),
            },
        ));
    }
    *versions = kept;
}

fn encoding_counts<'a>(by_uid: &BTreeMap<&'a str, Vec<Item<'a>>>) -> HashMap<Encoding<'a>, usize> {
    let mut counts = HashMap::new();
    for item in by_uid.values().flatten() {
        *counts.entry(encoding(item)).or_default() += 1;
    }
    counts
}
