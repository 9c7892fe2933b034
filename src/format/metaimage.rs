//! MetaImage: a header (`volume.mhd`) that points into `volume.npy`, past its 4096 bytes.
//!
//! Axes count from the fastest; the channels of a pixel are no axis. Offset and TransformMatrix are
//! in LPS as ITK keeps them: the matrix lists the direction of each axis in turn, sheared or not.
//! AnatomicalOrientation is left out: its letters can only round what the matrix says.

use std::fmt::Write;

use super::grid::{Axis, Grid, direction};
use super::{Error, Numbers};
use crate::volume::{Dtype, Variant, Volume};

/// Whether MetaImage can express the values of a volume.
///
/// # Errors
///
/// [`Error::NotExpressible`] for float16.
pub fn check(volume: &Volume) -> Result<(), Error> {
    element_type(volume.dtype(Variant::Values)).map(|_| ())
}

/// The text of `volume.mhd`.
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
    let element_type = element_type(grid.dtype)?;
    let axes: Vec<&Axis> = grid.fastest_first().collect();
    let mut text = String::new();
    line(&mut text, "ObjectType", "Image");
    line(&mut text, "NDims", &axes.len().to_string());
    line(&mut text, "BinaryData", "True");
    line(&mut text, "BinaryDataByteOrderMSB", "False");
    line(&mut text, "CompressedData", "False");
    if let Some((matrix, offset)) = place(&grid, &axes) {
        line(&mut text, "TransformMatrix", &joined(matrix));
        line(&mut text, "Offset", &joined(offset));
    }
    // Where no step is known 1 is what readers would take anyway.
    let steps = axes.iter().map(|axis| axis.step.unwrap_or(1.0));
    line(&mut text, "ElementSpacing", &joined(steps));
    line(
        &mut text,
        "DimSize",
        &joined(axes.iter().map(|axis| axis.len)),
    );
    let (file, skip_bytes) = match numbers {
        Numbers::Beside { name, skip_bytes } => (name, skip_bytes),
        Numbers::Behind => ("LOCAL", 0),
    };
    line(&mut text, "HeaderSize", &skip_bytes.to_string());
    if let Some(channels) = grid.channels {
        line(&mut text, "ElementNumberOfChannels", &channels.to_string());
    }
    line(&mut text, "ElementType", element_type);
    // Readers stop here: it has to be the last.
    line(&mut text, "ElementDataFile", file);
    Ok(text.into_bytes())
}

fn line(text: &mut String, field: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{field} = {value}");
}

fn joined<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    texts.join(" ")
}

fn element_type(dtype: Dtype) -> Result<&'static str, Error> {
    Ok(match dtype {
        Dtype::U8 => "MET_UCHAR",
        Dtype::I8 => "MET_CHAR",
        Dtype::U16 => "MET_USHORT",
        Dtype::I16 => "MET_SHORT",
        Dtype::U32 => "MET_UINT",
        Dtype::I32 => "MET_INT",
        // MET_ULONG and MET_LONG are of four or eight bytes, as the platform has it.
        Dtype::U64 => "MET_ULONG_LONG",
        Dtype::I64 => "MET_LONG_LONG",
        Dtype::F32 => "MET_FLOAT",
        Dtype::F64 => "MET_DOUBLE",
        Dtype::F16 => {
            return Err(Error::NotExpressible {
                format: "metaimage",
                why: "there is no 16-bit float",
            });
        }
    })
}

/// TransformMatrix and Offset: axes that are not space stand at right angles to it.
fn place(grid: &Grid<'_>, axes: &[&Axis]) -> Option<(Vec<f64>, Vec<f64>)> {
    let [x, y, z, origin] = grid.columns_lps()?;
    let [step_z, step_y, step_x] = grid.geometry?.spacing_mm;
    let space = [
        direction(x, step_x),
        direction(y, step_y),
        direction(z, step_z),
    ];
    let rank = axes.len();
    let entry = |row: usize, column: usize| match space.get(row) {
        Some(unit) => unit.get(column).copied().unwrap_or(0.0),
        None if row == column => 1.0,
        None => 0.0,
    };
    let entry = &entry;
    let matrix = (0..rank).flat_map(|row| (0..rank).map(move |column| entry(row, column)));
    let offset = (0..rank).map(|n| origin.get(n).copied().unwrap_or(0.0));
    Some((matrix.collect(), offset.collect()))
}
