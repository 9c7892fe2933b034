//! NRRD: a detached header (`volume.nhdr`) that points into `volume.npy`, past its 4096 bytes.
//!
//! Axes count from the fastest. Numbers are printed so that they read back as the same float64, and
//! the columns of the affine stand as they are, sheared or not. Knows no file system.
//!
//! Of the legal ways to write a time axis the one is taken that ITK reads as an array of four
//! dimensions: a fourth dimension of space. (A `time` axis without a direction beside a space of
//! three dimensions is refused by `itk::NrrdImageIO`.) What time does not order is a `list`, as
//! usual for diffusion: to ITK its entries are components of a voxel.

use std::fmt::Write;

use super::grid::{self, Axis, Grid, Meaning};
use super::{Error, Numbers};
use crate::volume::{Dtype, Variant, Volume};

/// Whether NRRD can express the values of a volume.
///
/// # Errors
///
/// [`Error::NotExpressible`] for float16.
pub fn check(volume: &Volume) -> Result<(), Error> {
    type_name(volume.dtype(Variant::Values)).map(|_| ())
}

/// The text of `volume.nhdr`.
///
/// # Errors
///
/// As of [`check`].
pub fn header(volume: &Volume) -> Result<Vec<u8>, Error> {
    header_of(volume, Variant::Values, super::IN_NPY)
}

/// The header of a variant whose numbers are elsewhere, little endian.
///
/// # Errors
///
/// As of [`check`], for the variant.
pub fn header_of(
    volume: &Volume,
    variant: Variant,
    numbers: Numbers<'_>,
) -> Result<Vec<u8>, Error> {
    let grid = Grid::of(volume, variant);
    let type_name = type_name(grid.dtype)?;
    let channels = grid.channels.iter().map(u64::to_string);
    let axes: Vec<&Axis> = grid.fastest_first().collect();
    let sizes: Vec<String> = channels
        .chain(axes.iter().map(|axis| axis.len.to_string()))
        .collect();
    let channel_kind = if grid.is_rgb { "RGB-color" } else { "vector" };
    let kinds: Vec<&str> = grid
        .channels
        .iter()
        .map(|_| channel_kind)
        .chain(axes.iter().map(|axis| kind(axis, &grid)))
        .collect();
    let mut text = format!("NRRD0004\ntype: {type_name}\ndimension: {}\n", sizes.len());
    // `space` has to come before what is counted in its dimensions.
    match space(&grid, &axes) {
        Some(space) => {
            line(&mut text, "space", space.name);
            line(&mut text, "sizes", &sizes.join(" "));
            line(&mut text, "space directions", &space.directions.join(" "));
            line(&mut text, "kinds", &kinds.join(" "));
            line(&mut text, "space origin", &space.origin);
            line(&mut text, "space units", space.units);
        }
        None => {
            line(&mut text, "sizes", &sizes.join(" "));
            line(&mut text, "kinds", &kinds.join(" "));
            plain_steps(&mut text, &grid, &axes);
        }
    }
    line(&mut text, "endian", "little");
    line(&mut text, "encoding", "raw");
    match numbers {
        Numbers::Beside { name, skip_bytes } => {
            line(&mut text, "byte skip", &skip_bytes.to_string());
            line(&mut text, "data file", name);
        }
        // An empty line ends the header.
        Numbers::Behind => text.push('\n'),
    }
    Ok(text.into_bytes())
}

fn line(text: &mut String, field: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{field}: {value}");
}

fn type_name(dtype: Dtype) -> Result<&'static str, Error> {
    match dtype {
        Dtype::F16 => Err(Error::NotExpressible {
            format: "nrrd",
            why: "there is no 16-bit float",
        }),
        Dtype::F32 => Ok("float"),
        Dtype::F64 => Ok("double"),
        // Integers are called as in C99 and NumPy.
        integer => Ok(grid::type_name(integer)),
    }
}

fn kind(axis: &Axis, grid: &Grid<'_>) -> &'static str {
    match axis.meaning {
        Meaning::Space if grid.geometry.is_some() => "space",
        Meaning::Space => "domain",
        Meaning::Time => "time",
        // A domain beside a space would have to be part of it.
        Meaning::Frames if grid.geometry.is_none() => "domain",
        Meaning::Frames | Meaning::List => "list",
    }
}

/// The fields that say where an array lies.
struct Space {
    name: &'static str,
    directions: Vec<String>,
    origin: String,
    units: &'static str,
}

fn space(grid: &Grid<'_>, axes: &[&Axis]) -> Option<Space> {
    let [x, y, z, origin] = grid.columns_lps()?;
    let time = grid.time();
    // The fourth component, where there is time.
    let vector = |v: [f64; 3], t: f64| match time {
        Some(_) => format!("({},{},{},{t})", v[0], v[1], v[2]),
        None => format!("({},{},{})", v[0], v[1], v[2]),
    };
    let of_channels = grid.channels.iter().map(|_| "none".to_owned());
    let of_axes = axes.iter().map(|axis| match (axis.letter, axis.meaning) {
        ('x', _) => vector(x, 0.0),
        ('y', _) => vector(y, 0.0),
        ('z', _) => vector(z, 0.0),
        (_, Meaning::Time) => vector([0.0; 3], axis.step.unwrap_or(1.0)),
        _ => "none".to_owned(),
    });
    let (name, units) = match time.map(|time| time.step) {
        None => ("left-posterior-superior", r#""mm" "mm" "mm""#),
        Some(Some(_)) => ("left-posterior-superior-time", r#""mm" "mm" "mm" "s""#),
        // Steps of no known length are counted.
        Some(None) => ("left-posterior-superior-time", r#""mm" "mm" "mm" """#),
    };
    Some(Space {
        name,
        directions: of_channels.chain(of_axes).collect(),
        origin: vector(origin, 0.0),
        units,
    })
}

/// Spacings and their units where there is no space, if any are known.
fn plain_steps(text: &mut String, grid: &Grid<'_>, axes: &[&Axis]) {
    if axes.iter().all(|axis| axis.step.is_none()) {
        return;
    }
    let steps = axes.iter().map(|axis| match (axis.step, axis.meaning) {
        (Some(step), Meaning::Time) => (step.to_string(), r#""s""#),
        (Some(step), _) => (step.to_string(), r#""mm""#),
        (None, _) => ("nan".to_owned(), r#""""#),
    });
    let of_channels = grid.channels.iter().map(|_| ("nan".to_owned(), r#""""#));
    let (spacings, units): (Vec<String>, Vec<&str>) = of_channels.chain(steps).unzip();
    line(text, "spacings", &spacings.join(" "));
    line(text, "units", &units.join(" "));
}
