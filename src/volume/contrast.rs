//! Frames of one plane geometry that show different things: parts of the complex signal, echoes,
//! reconstructions.
//!
//! Decides by what the headers call the frames. What is left at one position after this are
//! repetitions, which `time` orders.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::item::Item;
use super::order::{count_slots, positions_repeat};
use crate::dicom::Value;

/// More classes than this are no reconstructions but something that runs on.
const RECONSTRUCTIONS_MAX: usize = 8;

/// More descriptions than this are a text that runs on (a date, a count), which costs time to compare.
const DESCRIPTIONS_MAX: usize = 128;

/// More echoes than any sequence has.
const ECHOES_MAX: usize = 128;

/// The part of the positions at which an echo has to have a frame: the last slices may be missing.
const ECHO_COVERAGE_MIN: f64 = 0.5;

/// Echo times nearer than this are the same; real echoes are some 0.2 ms apart at least.
const SAME_ECHO_MS: f64 = 0.05;

/// Splits a stack by part of the complex signal and by echo, best first, and each by reconstruction.
/// The suffix of the first is empty; reconstructions have none of their own.
pub(super) fn contrasts<'a>(items: Vec<Item<'a>>) -> Vec<(String, Vec<Vec<Item<'a>>>)> {
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
            contrasts.push((format!("{suffix}{echo}"), reconstructions(items)));
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

/// Splits by echo where positions repeat: by Echo Number(s) and Echo Time, else by the one that is
/// not only of some slices. The number in the suffix is the echo's rank.
fn echoes<'a>(items: Vec<Item<'a>>) -> Vec<(String, Vec<Item<'a>>)> {
    let whole = |items| vec![(String::new(), items)];
    let orientation = items.first().and_then(Item::orientation);
    let Some(orientation) = orientation.filter(|_| positions_repeat(&items)) else {
        return whole(items);
    };
    let number = |item: &Item<'_>| item.get(|a| a.echo_number);
    let enough = ECHO_COVERAGE_MIN * count_slots(&items, &orientation) as f64;
    let clusters = echo_times(&items);
    let time = |item: &Item<'_>| {
        let ms = item.get(|a| a.echo_time_ms)?;
        Some(clusters.partition_point(|end| *end < ms) as i64)
    };
    type Key = (Option<i64>, Option<i64>);
    let keys: [&dyn Fn(&Item<'_>) -> Key; 3] = [
        &|item| (number(item), time(item)),
        &|item| (number(item), None),
        &|item| (None, time(item)),
    ];
    let split = keys.iter().find_map(|key| {
        let mut echoes: BTreeMap<Key, Vec<Item<'a>>> = BTreeMap::new();
        for item in &items {
            echoes.entry(key(item)).or_default().push(*item);
        }
        // A number or a time that most positions lack is that of single slices, not of an echo.
        let is_echo = |echo: &Vec<Item<'a>>| count_slots(echo, &orientation) as f64 >= enough;
        let is_split = (2..=ECHOES_MAX).contains(&echoes.len());
        (is_split && echoes.values().all(is_echo)).then_some(echoes)
    });
    let Some(echoes) = split else {
        return whole(items);
    };
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

/// The echo times of frames as clusters, by their ends in ms, ascending: headers round them
/// differently from slice to slice.
fn echo_times(items: &[Item<'_>]) -> Vec<f64> {
    let times = items.iter().filter_map(|item| item.get(|a| a.echo_time_ms));
    let mut times: Vec<f64> = times.filter(|ms| ms.is_finite()).collect();
    times.sort_by(f64::total_cmp);
    let clusters = times.chunk_by(|a, b| b - a <= SAME_ECHO_MS);
    clusters
        .filter_map(|cluster| cluster.last().copied())
        .collect()
}

/// Whether frames have echo times that are not the same but for their rounding: lowest and highest.
pub(super) fn mixed_echo_times(items: &[Item<'_>]) -> Option<(f64, f64)> {
    let clusters = echo_times(items);
    let (first, last) = (*clusters.first()?, *clusters.last()?);
    (clusters.len() > 1).then_some((first, last))
}

/// Splits frames that repeat positions by what tells reconstructions apart: the first of these
/// attributes with several values each of which occurs at every position.
fn reconstructions<'a>(items: Vec<Item<'a>>) -> Vec<Vec<Item<'a>>> {
    const KEYS: [fn(&Item<'_>) -> String; 6] = [
        |item| item.image_type().join("\\"),
        |item| text(item, "ConvolutionKernel"),
        |item| format!("{:?}", item.get(|a| a.slice_thickness)),
        |item| text(item, "ReconstructionDiameter"),
        |item| text(item, "SeriesNumber"),
        |item| text(item, "SeriesDescription"),
    ];
    if !positions_repeat(&items) {
        return vec![items];
    }
    KEYS.iter()
        .find_map(|key| classes(&items, key, RECONSTRUCTIONS_MAX))
        .unwrap_or_else(|| vec![items])
}

/// The maps of a parametric map: by the units and the label of their Real World Value Mapping
/// (PS3.3 C.7.6.16.2.11), where each map has a frame at every position.
pub(super) fn maps<'a>(items: Vec<Item<'a>>) -> Vec<Vec<Item<'a>>> {
    let key = |item: &Item<'_>| {
        let label = item.get(|a| a.real_world_label.as_deref());
        format!("{:?} {label:?}", item.get(|a| a.units.as_deref()))
    };
    if !positions_repeat(&items) {
        return vec![items];
    }
    classes(&items, key, RECONSTRUCTIONS_MAX).unwrap_or_else(|| vec![items])
}

/// Frames that repeat positions by the words that people have for them, one of each at every
/// position, and which attribute has them: phases of breathing or of the heart as some write them.
/// They order nothing, so that each is a volume of its own.
pub(super) fn described<'a>(items: &[Item<'a>]) -> Option<(&'static str, Vec<Vec<Item<'a>>>)> {
    const KEYWORDS: [&str; 3] = [
        "SeriesDescription",
        "ImageComments",
        "DerivationDescription",
    ];
    KEYWORDS.into_iter().find_map(|keyword| {
        let classes = classes(items, |item| text(item, keyword), DESCRIPTIONS_MAX)?;
        let is_one_each = classes.iter().all(|class| !positions_repeat(class));
        is_one_each.then_some((keyword, classes))
    })
}

/// The frames by a key that has several values, up to `most`, each of which occurs at every position;
/// the largest class first.
fn classes<'a>(
    items: &[Item<'a>],
    key: impl Fn(&Item<'_>) -> String,
    most: usize,
) -> Option<Vec<Vec<Item<'a>>>> {
    let mut classes: BTreeMap<String, Vec<Item<'a>>> = BTreeMap::new();
    for item in items {
        classes.entry(key(item)).or_default().push(*item);
    }
    if !(2..=most).contains(&classes.len()) {
        return None;
    }
    let orientation = items.first().and_then(Item::orientation)?;
    let count = |items: &[Item<'_>]| count_slots(items, &orientation);
    let positions = count(items);
    if !classes.values().all(|class| count(class) >= positions) {
        return None;
    }
    let mut classes: Vec<Vec<Item<'a>>> = classes.into_values().collect();
    classes
        .sort_by_cached_key(|class| (Reverse(class.len()), class.iter().map(Item::tie_key).min()));
    Some(classes)
}

/// A shown attribute as text; empty when absent.
fn text(item: &Item<'_>, keyword: &str) -> String {
    match item.record.instance.attributes.get(keyword) {
        Some(Value::Text(text)) => text,
        Some(Value::Texts(texts)) => texts.join("\\"),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        _ => String::new(),
    }
}
