//! NIfTI: a header padded to 4096 bytes, then the slab (`volume.nii`).
//!
//! NIfTI-1, or NIfTI-2 where a dimension does not fit 16 bits. Axes count from the fastest, so the
//! dimensions are the array's shape reversed. The affine goes into the sform as it is; a qform
//! stands beside it only where it says the same, because readers that cannot use a sheared sform
//! (ITK) take the qform instead, and would show another place without a word. Carries nothing of
//! the patient. Knows no file system.

mod encode;
mod qform;
mod timing;

use super::Error;
use super::grid::Grid;
use super::npy;
use crate::volume::{Dtype, Variant, Volume};
use encode::Fields;
use qform::Qform;

/// Length of the header, its zero extender and the padding: where the slab starts. That of npy, so
/// that both files hold the frames at the same offsets.
pub const HEADER_LEN_BYTES: usize = npy::HEADER_LEN_BYTES;

/// NIfTI has room for this many dimensions.
const DIMENSIONS_MAX: usize = 7;

/// Longest dimension of NIfTI-1.
const NIFTI1_LEN_MAX: i64 = i16::MAX as i64;

/// Coordinates: scanner anatomical.
const XFORM_SCANNER: i16 = 1;

/// `xyzt_units`: mm.
const UNITS_MM: u8 = 2;

/// `xyzt_units`: s.
const UNITS_S: u8 = 8;

/// How elements are written: `datatype` and `bitpix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Datatype {
    code: i16,
    bits: i16,
}

/// Whether NIfTI can express an array.
///
/// # Errors
///
/// [`Error::NotExpressible`] for float16, for channels other than 8-bit RGB, and for more than 7
/// dimensions.
pub fn check(volume: &Volume, variant: Variant) -> Result<(), Error> {
    let letters = volume.axes(variant);
    if !letters.contains('c') && letters.len() <= DIMENSIONS_MAX {
        // The case of nearly all volumes, without looking at their axes.
        return scalar(volume.dtype(variant)).map(|_| ());
    }
    datatype(&Grid::of(volume, variant)).map(|_| ())
}

/// The header of an array: 4096 bytes.
///
/// # Errors
///
/// As of [`check`].
pub fn header(volume: &Volume, variant: Variant) -> Result<Vec<u8>, Error> {
    let grid = Grid::of(volume, variant);
    let datatype = datatype(&grid)?;
    let lengths: Option<Vec<i64>> = grid
        .fastest_first()
        .map(|axis| i64::try_from(axis.len).ok())
        .collect();
    let lengths = lengths.ok_or_else(|| Error::TooLarge {
        shape: volume.shape(variant).to_vec(),
    })?;
    let is_nifti2 = lengths.iter().any(|len| *len > NIFTI1_LEN_MAX);
    // Unused dimensions are of length 1, as NIfTI asks for.
    let mut dim = [1_i64; 8];
    let mut pixdim = [1.0_f64; 8];
    dim[0] = lengths.len() as i64;
    for (place, (axis, len)) in (1..8).zip(grid.fastest_first().zip(lengths)) {
        dim[place] = len;
        pixdim[place] = match (axis.letter, axis.step) {
            (_, Some(step)) => step,
            // A time step of 1 s would be a claim; 0 is how NIfTI says that it is not known.
            ('t', None) => 0.0,
            (_, None) => 1.0,
        };
    }
    let mut fields = Fields {
        dim,
        pixdim,
        datatype: datatype.code,
        bitpix: datatype.bits,
        xyzt_units: units(&grid),
        descrip: descrip(volume, variant),
        timing: timing::of(volume, &grid),
        ..Fields::default()
    };
    // Coordinates are within a kilometre of the scanner, so they are finite in float32 as well.
    if let Some(geometry) = grid.geometry {
        let affine_ras = geometry.affine_ras();
        fields.sform_code = XFORM_SCANNER;
        fields.srow = [affine_ras[0], affine_ras[1], affine_ras[2]];
        let lengths = [dim[1], dim[2], dim[3]].map(|len| len as f64);
        if let Some(qform) = Qform::of(&affine_ras, lengths) {
            fields.qform_code = XFORM_SCANNER;
            fields.quatern = qform.quatern;
            fields.qoffset = qform.offset;
            fields.pixdim[0] = qform.qfac;
        }
    }
    let header = if is_nifti2 {
        fields.nifti2()
    } else {
        fields.nifti1()
    };
    Ok(header)
}

/// `datatype` and `bitpix` of an array with one value a voxel.
fn scalar(dtype: Dtype) -> Result<Datatype, Error> {
    let code = match dtype {
        Dtype::U8 => 2,
        Dtype::I16 => 4,
        Dtype::I32 => 8,
        Dtype::F32 => 16,
        Dtype::F64 => 64,
        Dtype::I8 => 256,
        Dtype::U16 => 512,
        Dtype::U32 => 768,
        Dtype::I64 => 1024,
        Dtype::U64 => 1280,
        Dtype::F16 => return Err(refuse("there is no 16-bit float")),
    };
    Ok(Datatype {
        code,
        bits: 8 * dtype.itemsize() as i16,
    })
}

fn datatype(grid: &Grid<'_>) -> Result<Datatype, Error> {
    if grid.axes.len() > DIMENSIONS_MAX {
        return Err(refuse("more than 7 dimensions"));
    }
    match grid.channels {
        None => scalar(grid.dtype),
        // DT_RGB24
        Some(_) if grid.is_rgb && grid.dtype == Dtype::U8 => Ok(Datatype {
            code: 128,
            bits: 24,
        }),
        Some(_) => Err(refuse("the only channels are 8-bit red, green and blue")),
    }
}

fn refuse(why: &'static str) -> Error {
    let format = "nifti";
    Error::NotExpressible { format, why }
}

/// mm where a spacing is known; s unless the fourth dimension is known to be no time.
fn units(grid: &Grid<'_>) -> u8 {
    let is_spaced = grid
        .axes
        .iter()
        .any(|axis| matches!(axis.letter, 'x' | 'y' | 'z') && axis.step.is_some());
    let mm = if is_spaced { UNITS_MM } else { 0 };
    // Without a fourth dimension the second unit says nothing, and most writers set both.
    let fourth = grid.fastest_first().nth(3);
    let s = if fourth.is_none_or(|axis| axis.letter == 't') {
        UNITS_S
    } else {
        0
    };
    mm | s
}

/// What the numbers are, in at most 79 characters: units come from the header, so only plain ones
/// of them are taken.
fn descrip(volume: &Volume, variant: Variant) -> String {
    let is_plain = |text: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/%^.*{}()[]-".contains(c);
        text.len() <= 16 && text.chars().all(plain)
    };
    let units = volume.values.units.as_deref().filter(is_plain);
    match (variant, units) {
        (Variant::Stored, _) => "dicomfs stored values".to_owned(),
        (Variant::Values, Some(units)) => format!("dicomfs values, {units}"),
        (Variant::Values, None) => "dicomfs values".to_owned(),
        (Variant::Cast(dtype), Some(units)) => {
            format!("dicomfs values as {}, {units}", dtype.descr())
        }
        (Variant::Cast(dtype), None) => format!("dicomfs values as {}", dtype.descr()),
    }
}
