//! Zarr version 3 (`volume.zarr/`): a group with the array `0/`, one frame a chunk, uncompressed.
//!
//! A chunk holds the bytes of its frame in the slab and nothing else. Keys are flat
//! (`c.0.12.0.0`), so that a chunk is one name in one directory. Where OME-Zarr 0.5 can express the
//! array the group says so too. Carries nothing of the patient. Knows no file system.

use serde_json::{Value as Json, json};

use super::Error;
use super::grid::{Axis, Grid, Meaning, direction, type_name};
use super::json::{json_line, status_name};
use crate::volume::{Variant, Volume};

/// `volume.zarr/zarr.json`: the group. Holds the array's metadata as well (`consolidated_metadata`
/// of zarr-python 3), which saves its readers a look-up.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn group_json(volume: &Volume) -> Result<Vec<u8>, Error> {
    let grid = Grid::of(volume, Variant::Values);
    let attributes = match ome(volume, &grid) {
        Some(ome) => json!({ "ome": ome }),
        None => json!({}),
    };
    json_line(&json!({
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": false,
            "metadata": { "0": array(volume) },
        },
    }))
}

/// `volume.zarr/0/zarr.json`: the array.
///
/// # Errors
///
/// [`Error::Text`] as the writer gives it.
pub fn array_json(volume: &Volume) -> Result<Vec<u8>, Error> {
    json_line(&array(volume))
}

fn array(volume: &Volume) -> Json {
    let axes = volume.axes(Variant::Values);
    let frame = volume.frame_shape(Variant::Values);
    let leading = volume.shape(Variant::Values).len() - frame.len();
    let chunk: Vec<u64> = std::iter::repeat_n(1, leading)
        .chain(frame.iter().copied())
        .collect();
    let names: Vec<String> = axes.chars().map(String::from).collect();
    let dtype = volume.dtype(Variant::Values);
    // The byte order of single bytes is none.
    let bytes = match dtype.itemsize() {
        1 => json!({ "name": "bytes" }),
        _ => json!({ "name": "bytes", "configuration": { "endian": "little" } }),
    };
    let geometry = volume.geometry.as_ref();
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": volume.shape(Variant::Values),
        "data_type": type_name(dtype),
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunk } },
        "chunk_key_encoding": { "name": "default", "configuration": { "separator": "." } },
        "fill_value": 0,
        "codecs": [bytes],
        "dimension_names": names,
        "attributes": {
            "affine_lps": geometry.map(|g| g.affine_lps),
            "affine_ras": geometry.map(|g| g.affine_ras()),
            "spacing_mm": geometry.map(|g| g.spacing_mm),
            "units": volume.values.units,
            "status": status_name(volume.status),
        },
    })
}

/// The OME-Zarr 0.5 description of the array; `None` where its axes are not what that allows: at
/// most one of time, then at most one of another kind, then two or three of space.
fn ome(volume: &Volume, grid: &Grid<'_>) -> Option<Json> {
    let rank = |axis: &Axis| match axis.meaning {
        Meaning::Time => 0,
        Meaning::Frames | Meaning::List => 1,
        Meaning::Space => 2,
    };
    let count = |of: i32| grid.axes.iter().filter(|axis| rank(axis) == of).count();
    let is_allowed = grid.channels.is_none()
        && grid.axes.is_sorted_by_key(rank)
        && count(0) <= 1
        && count(1) <= 1
        && (2..=3).contains(&count(2));
    if !is_allowed {
        return None;
    }
    let axes: Vec<Json> = grid.axes.iter().map(ome_axis).collect();
    let scale: Vec<f64> = grid
        .axes
        .iter()
        .map(|axis| axis.step.unwrap_or(1.0))
        .collect();
    let mut transformations = vec![json!({ "type": "scale", "scale": scale })];
    if let Some(translation) = translation(grid) {
        transformations.push(json!({ "type": "translation", "translation": translation }));
    }
    Some(json!({
        "version": "0.5",
        "multiscales": [{
            "name": volume.name,
            "axes": axes,
            "datasets": [{ "path": "0", "coordinateTransformations": transformations }],
        }],
    }))
}

fn ome_axis(axis: &Axis) -> Json {
    let name = axis.letter.to_string();
    match (axis.meaning, axis.step) {
        (Meaning::Space, Some(_)) => {
            json!({ "name": name, "type": "space", "unit": "millimeter" })
        }
        (Meaning::Space, None) => json!({ "name": name, "type": "space" }),
        (Meaning::Time, Some(_)) => json!({ "name": name, "type": "time", "unit": "second" }),
        (Meaning::Time, None) => json!({ "name": name, "type": "time" }),
        (Meaning::List, _) if axis.letter == 's' => json!({ "name": name, "type": "channel" }),
        // Types of our own, as the specification allows: the published schema counts an axis without
        // a type as one of space.
        (Meaning::List, _) => json!({ "name": name, "type": "list" }),
        (Meaning::Frames, _) => json!({ "name": name, "type": "frame" }),
    }
}

/// The origin along each axis. OME-Zarr 0.5 has no rotations: for a volume along the axes of the
/// patient this is its origin in LPS; for any other, the affine is in the array's attributes.
fn translation(grid: &Grid<'_>) -> Option<Vec<f64>> {
    let [x, y, z, origin] = grid.columns_lps()?;
    let [step_z, step_y, step_x] = grid.geometry?.spacing_mm;
    let along = |column: [f64; 3], step: f64| {
        let unit = direction(column, step);
        // + 0.0 turns -0 into 0.
        unit[0] * origin[0] + unit[1] * origin[1] + unit[2] * origin[2] + 0.0
    };
    let of_axis = |axis: &Axis| match axis.letter {
        'x' => along(x, step_x),
        'y' => along(y, step_y),
        'z' => along(z, step_z),
        _ => 0.0,
    };
    Some(grid.axes.iter().map(of_axis).collect())
}

/// The name of the chunk that holds the 0-based `n`th frame.
pub fn chunk_name(volume: &Volume, n: u32) -> String {
    let shape = volume.shape(Variant::Values);
    let frame_rank = volume.frame_shape(Variant::Values).len();
    let leading = &shape[..shape.len() - frame_rank];
    let mut rest = u64::from(n);
    let mut places: Vec<u64> = leading
        .iter()
        .rev()
        .map(|len| {
            let place = rest.checked_rem(*len).unwrap_or(0);
            rest = rest.checked_div(*len).unwrap_or(0);
            place
        })
        .collect();
    places.reverse();
    places.extend(std::iter::repeat_n(0, frame_rank));
    let mut name = String::from("c");
    for place in places {
        name.push('.');
        name.push_str(&place.to_string());
    }
    name
}

/// The 0-based frame that the chunk of this name holds; `None` for any other name.
pub fn chunk_frame(volume: &Volume, name: &str) -> Option<u32> {
    let shape = volume.shape(Variant::Values);
    let leading = shape.len() - volume.frame_shape(Variant::Values).len();
    let mut n: u64 = 0;
    let places = name.strip_prefix("c.")?.split('.');
    for (len, place) in shape.iter().take(leading).zip(places) {
        let place: u64 = place.parse().ok().filter(|place| place < len)?;
        n = n.checked_mul(*len)?.checked_add(place)?;
    }
    let n = u32::try_from(n).ok()?;
    // What was not looked at, and other ways to write a number, show in the name.
    (chunk_name(volume, n) == name).then_some(n)
}
