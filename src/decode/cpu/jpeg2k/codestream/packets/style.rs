//! The coding style of all tiles and components, where there is one.

use super::super::{Codestream, SOT, be16, segment};
use super::Lost;

const COD: u16 = 0xFF52;
const COC: u16 = 0xFF53;
const QCD: u16 = 0xFF5C;
const QCC: u16 = 0xFF5D;

/// What COD, QCD and QCC of the main header say.
pub(super) struct Style {
    pub may_have_sop: bool,
    pub has_eph: bool,
    /// Progression order (T.800 Table A.16).
    pub progression: u8,
    pub layers: u32,
    /// Decomposition levels.
    pub levels: u32,
    /// Exponents of the code-blocks' extent.
    pub block_exponents: [u32; 2],
    pub block_width: u32,
    pub block_height: u32,
    pub ht: bool,
    /// Exponents of the precincts' extent along x and y, a resolution each.
    pub precincts: Vec<[u32; 2]>,
    /// Bit-planes of each subband (T.800 E.1, Mb), by component and band; those that are not known
    /// because coefficients are quantized are 0.
    pub planes: Vec<Vec<u32>>,
}

impl Style {
    /// Reads the main header again.
    pub fn read(bytes: &[u8], stream: &Codestream) -> Result<Style, Lost> {
        let (mut style, mut quantization) = (None, None);
        let mut overrides = Vec::new();
        let mut at = 2;
        loop {
            let marker = be16(bytes, at).ok_or(Lost::Broken)?;
            if marker == SOT {
                break;
            }
            let body = segment(bytes, at + 2).map_err(|_| Lost::Broken)?;
            match marker {
                COD => style = Some(Style::of_cod(body).ok_or(Lost::Unusual)?),
                COC => return Err(Lost::Unusual),
                QCD => quantization = Some(body),
                QCC if stream.components < 257 => overrides.push(body),
                QCC => return Err(Lost::Unusual),
                _ => {}
            }
            at += 4 + body.len();
        }
        let mut style = style.ok_or(Lost::Broken)?;
        let quantization = quantization.ok_or(Lost::Broken)?;
        let bands = 3 * style.levels as usize + 1;
        style.planes = vec![planes(quantization, bands)?; stream.components.into()];
        for body in overrides {
            let (component, quantization) = body.split_first().ok_or(Lost::Broken)?;
            let place = style.planes.get_mut(usize::from(*component));
            *place.ok_or(Lost::Broken)? = planes(quantization, bands)?;
        }
        Ok(style)
    }

    fn of_cod(body: &[u8]) -> Option<Style> {
        let &[
            scod,
            progression,
            layers_1,
            layers_2,
            _,
            levels,
            width,
            height,
            style,
            _,
            ..,
        ] = body
        else {
            return None;
        };
        if levels > 32 || width > 8 || height > 8 || width + height > 8 || progression > 4 {
            return None;
        }
        let (width, height) = (u32::from(width) + 2, u32::from(height) + 2);
        let mut precincts = vec![[15, 15]; usize::from(levels) + 1];
        if scod & 1 == 1 {
            let sizes = body.get(10..)?.get(..precincts.len())?;
            for (precinct, &size) in precincts.iter_mut().zip(sizes) {
                *precinct = [u32::from(size & 15), u32::from(size >> 4)];
            }
            // A precinct of one sample has no room for the subbands of its resolution.
            if precincts.iter().skip(1).flatten().any(|&size| size == 0) {
                return None;
            }
        }
        Some(Style {
            may_have_sop: scod & 2 != 0,
            has_eph: scod & 4 != 0,
            progression,
            layers: u16::from_be_bytes([layers_1, layers_2]).into(),
            levels: levels.into(),
            block_exponents: [width, height],
            block_width: 1 << width,
            block_height: 1 << height,
            ht: style & 0x40 != 0,
            precincts,
            planes: Vec::new(),
        })
    }
}

/// Mb = G + exponent - 1 for each subband (T.800 E-2), from Sqcd and SPqcd.
fn planes(quantization: &[u8], bands: usize) -> Result<Vec<u32>, Lost> {
    let (&style, exponents) = quantization.split_first().ok_or(Lost::Broken)?;
    if style & 0x1F != 0 {
        return Ok(vec![0; bands]);
    }
    let exponents = exponents.get(..bands).ok_or(Lost::Broken)?;
    let guard = u32::from(style >> 5);
    let planes = exponents
        .iter()
        .map(|&exponent| (guard + u32::from(exponent >> 3)).saturating_sub(1));
    Ok(planes.collect())
}
