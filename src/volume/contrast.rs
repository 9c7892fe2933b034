//! Frames of one plane geometry that show different things: parts of the complex signal, echoes,
//! reconstructions.
//!
//! Decides by what the headers call the frames. What is left at one position after this are
//! repetitions, which `time` orders.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::item::Item;
use super::order::{covers_all_slots, positions_repeat};
use crate::dicom::Value;

/// More classes than this are no reconstructions but something that runs on.
const RECONSTRUCTIONS_MAX: usize = 8;

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

/// Splits frames that repeat positions by what tells reconstructions apart: the first of these
/// attributes with several values each of which occurs at every position.
fn reconstructions<'a>(items: Vec<Item<'a>>) -> Vec<Vec<Item<'a>>> {
    const KEYS: [fn(&Item<'_>) -> String; 4] = [
        |item| item.image_type().join("\\"),
        |item| text(item, "ConvolutionKernel"),
        |item| text(item, "SeriesNumber"),
        |item| text(item, "SeriesDescription"),
    ];
    if !positions_repeat(&items) {
        return vec![items];
    }
    for key in KEYS {
        let mut classes: BTreeMap<String, Vec<Item<'a>>> = BTreeMap::new();
        for item in &items {
            classes.entry(key(item)).or_default().push(*item);
        }
        let is_split = (2..=RECONSTRUCTIONS_MAX).contains(&classes.len());
        if !is_split
            || !classes
                .values()
                .all(|class| covers_all_slots(&items, class))
        {
            continue;
        }
        let mut classes: Vec<Vec<Item<'a>>> = classes.into_values().collect();
        classes.sort_by_cached_key(|class| {
            (Reverse(class.len()), class.iter().map(Item::tie_key).min())
        });
        return classes;
    }
    vec![items]
}

/// A shown attribute as text; empty when absent.
fn text(item: &Item<'_>, keyword: &str) -> String {
    match item.record.instance.attributes.get(keyword) {
        Some(Value::Text(text)) => text,
        Some(Value::Texts(texts)) => texts.join("\\"),
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    }
}
