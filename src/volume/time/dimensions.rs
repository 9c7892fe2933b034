//! Order by the dimensions that an enhanced or nuclear medicine instance says it has.

use super::super::item::Item;
use super::super::order::Slot;
use crate::archive::Record;
use crate::dicom::Instance;

/// Each slot in lexical order of what tells the frames of an instance apart where they lie at the
/// same place; `None` where it is not unique at each position and the same at all.
pub(super) fn order_by_dimensions<'a>(slots: &[Slot<'a>]) -> Option<Vec<Slot<'a>>> {
    let vectors = Vectors::of(slots.first()?.first()?);
    let mut labels: Option<Vec<Vec<i64>>> = None;
    let mut ordered: Vec<Slot<'a>> = Vec::with_capacity(slots.len());
    for slot in slots {
        let mut keyed: Vec<(Vec<i64>, Item<'a>)> = slot
            .iter()
            .map(|item| {
                let key = index_values(item).or_else(|| vectors.at(item))?;
                Some((key, *item))
            })
            .collect::<Option<_>>()?;
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        if keyed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let keys: Vec<Vec<i64>> = keyed.iter().map(|entry| entry.0.clone()).collect();
        if *labels.get_or_insert_with(|| keys.clone()) != keys {
            return None;
        }
        ordered.push(keyed.into_iter().map(|(_, item)| item).collect());
    }
    Some(ordered)
}

/// Dimension Index Values (0020,9157) without those that say where a frame lies.
fn index_values(item: &Item<'_>) -> Option<Vec<i64>> {
    /// Stack ID, In-Stack Position Number, Image Position (Patient), Image Position (Volume).
    const SPATIAL: [(u16, u16); 4] = [
        (0x0020, 0x9056),
        (0x0020, 0x9057),
        (0x0020, 0x0032),
        (0x0020, 0x9301),
    ];
    let pointers = &item.record.instance.dimension_pointers;
    let values = item.get(|a| {
        let values = a.dimension_index_values.as_slice();
        (!values.is_empty()).then_some(values)
    })?;
    if values.len() != pointers.len() {
        return None;
    }
    let told = values.iter().zip(pointers);
    let told = told.filter(|(_, pointer)| !SPATIAL.contains(pointer));
    Some(told.map(|(value, _)| i64::from(*value)).collect())
}

/// The vectors of a nuclear medicine image, one entry a frame, without that of slices (PS3.3
/// C.8.4.8). Its frames go together with no other's.
struct Vectors<'a> {
    instance: &'a Instance,
    entries: Vec<Vec<f64>>,
}

impl<'a> Vectors<'a> {
    fn of(item: &Item<'a>) -> Self {
        const KEYWORDS: [&str; 8] = [
            "EnergyWindowVector",
            "DetectorVector",
            "PhaseVector",
            "RotationVector",
            "RRIntervalVector",
            "TimeSlotVector",
            "AngularViewVector",
            "TimeSliceVector",
        ];
        let record: &'a Record = item.record;
        let entries = KEYWORDS.iter().filter_map(|keyword| item.numbers(keyword));
        Vectors {
            instance: &record.instance,
            entries: entries.collect(),
        }
    }

    fn at(&self, item: &Item<'_>) -> Option<Vec<i64>> {
        let is_same = std::ptr::eq(self.instance, &item.record.instance);
        let index = item.frame_index as usize;
        let entries = self.entries.iter();
        let key: Vec<i64> = entries
            .map(|vector| vector.get(index).map(|number| *number as i64))
            .collect::<Option<_>>()?;
        (is_same && !key.is_empty()).then_some(key)
    }
}
