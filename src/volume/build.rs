//! The way in: an archive's records to volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admit::{admit, carried_issues};
use super::item::Item;
use super::name::{no_series_name, series_name};
use super::series::{Images, build_series};
use super::{Built, PixelDigests};
use crate::archive::Record;

/// Groups records into volumes. The outcome does not depend on the order of
/// `records`. Every frame of every record is in exactly one volume, or its path is in the findings.
pub fn build(records: &[Arc<Record>]) -> Built {
    build_with(records, &PixelDigests::new())
}

/// The same, where the pixels of some files are known by their digests: of single-frame images of
/// a series that are equal in pixels, encoding and position one is kept.
pub fn build_with(records: &[Arc<Record>], digests: &PixelDigests) -> Built {
    let mut sorted: Vec<&Arc<Record>> = records.iter().collect();
    // Paths are unique in an archive; the rest is for callers that hand in what is not one.
    sorted.sort_by_cached_key(|record| {
        let instance = &record.instance;
        (
            &record.path,
            &instance.sop_instance_uid,
            &instance.transfer_syntax_uid,
        )
    });
    let mut built = Built::default();
    let mut series: BTreeMap<String, (bool, Images<'_>)> = BTreeMap::new();
    for record in sorted {
        match admit(record) {
            Ok((image, findings)) => {
                let item = Item::new(record, image);
                let (name, has_uid) = directory(record);
                let entry = series.entry(name).or_insert((has_uid, Vec::new()));
                entry.1.push((item, findings));
            }
            Err(finding) => {
                let issues = carried_issues(record).map(|issue| (record.path.clone(), issue));
                built.findings.push((record.path.clone(), finding));
                built.findings.extend(issues);
            }
        }
    }
    for (name, (has_uid, items)) in series {
        build_series(&name, items, has_uid, digests, &mut built);
    }
    built.findings.sort_by(|a, b| a.0.cmp(&b.0));
    built.undecided.sort_by(|a, b| a.path.cmp(&b.path));
    built.undecided.dedup_by(|a, b| a.path == b.path);
    built
}

/// The name of a record's series, and whether it is the series' own.
pub(super) fn directory(record: &Record) -> (String, bool) {
    let instance = &record.instance;
    if !instance.series_instance_uid.is_empty() {
        return (series_name(&instance.series_instance_uid), true);
    }
    let path = record.path.to_string_lossy();
    let own = match instance.sop_instance_uid.as_str() {
        "" => path.as_ref(),
        uid => uid,
    };
    (no_series_name(&instance.study_instance_uid, own), false)
}
