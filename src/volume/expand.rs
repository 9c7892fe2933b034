//! One image to the frames of volumes: which of its frames say where they lie.
//!
//! Here the ways in which files hold many slices are made alike: functional groups, the tiles of a
//! Siemens MOSAIC, the offsets of a dose grid, the slice vector of nuclear medicine. Looks at one
//! image at a time; what goes together is for `split`.

use super::item::{Item, TileOf};
use super::split::Plane;
use super::values::is_segmentation;
use super::vector::{Vector, add, divide, norm, scale, sub};
use super::{Finding, Tile};

/// Orientations that one instance is split by. Beyond that (radial acquisitions) its frames are
/// no stacks, and comparing each with each would take long.
const PLANES_MAX: usize = 64;

/// Offsets of a dose grid that start at the position of the first frame are coordinates; header
/// decimals may differ by this.
const SAME_COORDINATE_MM: f64 = 0.01;

/// An image as frames.
pub(super) enum Expanded<'a> {
    /// Frames that all say where they lie.
    Placed(Vec<Item<'a>>),
    /// Frames in stored order, and why they stay so.
    Stored(Vec<Item<'a>>, Finding),
    /// One frame that does not say where it lies.
    Lone(Item<'a>),
}

/// Tiles of one mosaic; real ones have some 100.
const TILES_MAX: u32 = 4096;

/// RT Dose Storage (PS3.3 A.18).
pub(super) const RT_DOSE: &str = "1.2.840.10008.5.1.4.1.1.481.2";
/// Parametric Map Storage (PS3.3 A.75).
const PARAMETRIC_MAP: &str = "1.2.840.10008.5.1.4.1.1.30";
/// Nuclear Medicine Image Storage (PS3.3 A.5).
const NUCLEAR_MEDICINE: &str = "1.2.840.10008.5.1.4.1.1.20";

/// Whether an object is complete in one instance: its frames never go together with those of
/// another. Dose and nuclear medicine may also be stored plane by plane.
pub(super) fn stands_alone(image: &Item<'_>) -> bool {
    let sop_class_uid = image.record.instance.sop_class_uid.as_str();
    match sop_class_uid {
        PARAMETRIC_MAP => true,
        RT_DOSE | NUCLEAR_MEDICINE => image.image.number_of_frames > 1,
        _ => is_segmentation(sop_class_uid),
    }
}

/// The frames of an image, given as its first.
pub(super) fn expand(image: Item<'_>) -> Expanded<'_> {
    if let Some(tiles) = mosaic(image) {
        return Expanded::Placed(tiles);
    }
    if image.image.number_of_frames == 1 {
        return match image.has_geometry() {
            true => Expanded::Placed(vec![image]),
            false => Expanded::Lone(image),
        };
    }
    let frames = match shifts(&image) {
        Some(shifts) => image
            .frames()
            .zip(shifts)
            .map(|(frame, shift)| Item {
                shift_mm: Some(shift),
                ..frame
            })
            .collect(),
        None => image.frames().collect::<Vec<_>>(),
    };
    match stored_order_reason(&image, &frames) {
        None => Expanded::Placed(frames),
        Some(why) => Expanded::Stored(frames, why),
    }
}

fn finding(code: &'static str, detail: &str) -> Finding {
    Finding {
        code,
        detail: detail.to_owned(),
    }
}

/// Why the frames of a multi-frame image stay in stored order, if they must.
fn stored_order_reason(image: &Item<'_>, frames: &[Item<'_>]) -> Option<Finding> {
    let no_geometry = |why: &str| Some(finding("no_geometry", why));
    let described = image.record.instance.per_frame.len();
    let is_shifted = frames.iter().all(|frame| frame.shift_mm.is_some());
    if described != frames.len() && !is_shifted {
        return no_geometry("nothing says where each frame lies: stored order");
    }
    if let Some(why) = frames.iter().find_map(Item::malformed_geometry) {
        return Some(finding("malformed_geometry", why));
    }
    if !frames.iter().all(Item::has_geometry) {
        return no_geometry("some frames do not say where they lie: stored order");
    }
    let mut planes: Vec<Plane<'_>> = Vec::new();
    for plane in frames.iter().filter_map(Plane::new) {
        if planes.iter().any(|known| known.is_like(&plane)) {
            continue;
        }
        if planes.len() == PLANES_MAX {
            return no_geometry("frames have too many orientations: stored order");
        }
        planes.push(plane);
    }
    None
}

/// Where each frame lies from the position that the header states for the first, where something
/// but functional groups says so.
fn shifts(image: &Item<'_>) -> Option<Vec<Vector>> {
    if !image.record.instance.per_frame.is_empty() {
        return None;
    }
    match image.record.instance.sop_class_uid.as_str() {
        NUCLEAR_MEDICINE => slice_vector(image),
        _ => dose_grid(image),
    }
}

/// Grid Frame Offset Vector (3004,000C): distances from the first frame along the normal where its
/// first is 0, else coordinates along z of transverse planes (PS3.3 C.8.8.3.2).
fn dose_grid(image: &Item<'_>) -> Option<Vec<Vector>> {
    let offsets = image.numbers("GridFrameOffsetVector")?;
    if offsets.len() != image.image.number_of_frames as usize {
        return None;
    }
    let normal = image.orientation()?.normal;
    let first = *offsets.first()?;
    if first == 0.0 {
        return Some(offsets.iter().map(|o| scale(normal, *o)).collect());
    }
    let z = image.position()?[2];
    let is_transverse = normal[2].abs() > 1.0 - 1e-6;
    if !is_transverse || (first - z).abs() > SAME_COORDINATE_MM {
        return None;
    }
    // The first keeps the position it states: only differences are taken from the offsets.
    Some(offsets.iter().map(|o| [0.0, 0.0, o - first]).collect())
}

/// Slice Vector (0054,0080) of reconstructed nuclear medicine: the number of each frame's slice,
/// from 1; Spacing Between Slices is negative where they are stacked against the normal
/// (PS3.3 C.8.4.15).
fn slice_vector(image: &Item<'_>) -> Option<Vec<Vector>> {
    let slices = image.numbers("SliceVector")?;
    if slices.len() != image.image.number_of_frames as usize {
        return None;
    }
    let spacing = image
        .get(|a| a.spacing_between_slices)
        .filter(|mm| mm.is_finite() && *mm != 0.0)
        .or_else(|| image.length_mm(|a| a.slice_thickness))?;
    let normal = image.orientation()?.normal;
    let along = |slice: &f64| scale(normal, (slice - 1.0) * spacing);
    Some(slices.iter().map(along).collect())
}

/// Image Type of an image whose frame is a grid of slices: MOSAIC of Siemens, VFRAME of United
/// Imaging.
pub(super) fn is_mosaic(image: &Item<'_>) -> bool {
    let is_grid = |term: &String| term == "MOSAIC" || term == "VFRAME";
    // Enhanced objects keep the word though their frames are single slices.
    image.image.number_of_frames == 1 && image.image_type().iter().any(is_grid)
}

/// The slices of a VFRAME of United Imaging, each with a position of its own: a grid of
/// ceil(sqrt(n)) columns and the rows that n slices need, filled row by row.
fn grid<'a>(image: Item<'a>, positions: &[Vector]) -> Option<Vec<Item<'a>>> {
    let count = u32::try_from(positions.len()).ok()?;
    let stated = image.record.instance.shared.image_position?;
    if count > TILES_MAX || !image.has_geometry() {
        return None;
    }
    let across = (1..=count).find(|across| across * across >= count)?;
    let down = count.div_ceil(across);
    let (rows, columns) = (image.image.rows, image.image.columns);
    if !rows.is_multiple_of(down) || !columns.is_multiple_of(across) {
        return None;
    }
    let (tile_rows, tile_columns) = (rows / down, columns / across);
    let tile = |(index, position): (u32, &Vector)| Item {
        shift_mm: Some(sub(*position, stated)),
        tile: Some(TileOf {
            index,
            at: Tile {
                row: index / across * tile_rows,
                column: index % across * tile_columns,
            },
            rows: tile_rows,
            columns: tile_columns,
        }),
        ..image
    };
    Some((0..).zip(positions).map(tile).collect())
}

/// The slices of a MOSAIC. Its Image Position (Patient) is that of a single slice as large as the
/// whole grid, around the centre of the first tile: each tile's corner is half of what the grid is
/// larger further in.
fn mosaic(image: Item<'_>) -> Option<Vec<Item<'_>>> {
    let stated = image.record.instance.mosaic.as_ref()?;
    if !is_mosaic(&image) {
        return None;
    }
    if !stated.positions.is_empty() {
        return grid(image, &stated.positions);
    }
    let normal = stated.slice_normal?;
    let (rows, columns) = (image.image.rows, image.image.columns);
    if !(1..=TILES_MAX).contains(&stated.tiles) {
        return None;
    }
    let side = (1..=rows.min(columns)).find(|side| side.saturating_mul(*side) >= stated.tiles)?;
    let fits = rows.is_multiple_of(side) && columns.is_multiple_of(side);
    if !fits || image.image.number_of_frames != 1 || !image.has_geometry() {
        return None;
    }
    let (tile_rows, tile_columns) = (rows / side, columns / side);
    let orientation = image.orientation()?;
    let [spacing_y, spacing_x] = image.pixel_spacing()?;
    let spacing = image
        .length_mm(|a| a.spacing_between_slices)
        .or_else(|| image.length_mm(|a| a.slice_thickness))?;
    let length = norm(normal);
    if !(length - 1.0).abs().le(&0.01) {
        return None;
    }
    let step = scale(divide(normal, length), spacing);
    let inward = |whole: u32, tile: u32, mm: f64| f64::from(whole - tile) / 2.0 * mm;
    let corner = add(
        scale(orientation.row, inward(columns, tile_columns, spacing_x)),
        scale(orientation.column, inward(rows, tile_rows, spacing_y)),
    );
    let tile = |index: u32| Item {
        shift_mm: Some(add(corner, scale(step, f64::from(index)))),
        tile: Some(TileOf {
            index,
            at: Tile {
                row: index / side * tile_rows,
                column: index % side * tile_columns,
            },
            rows: tile_rows,
            columns: tile_columns,
        }),
        ..image
    };
    Some((0..stated.tiles).map(tile).collect())
}
