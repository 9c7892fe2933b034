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
    pub planes: Planes,
    /// Scod's bit of precincts, and SPcod: what a COC marker segment has to repeat.
    of_component: Vec<u8>,
}

/// Bit-planes by component and band.
pub(super) type Planes = Vec<Vec<u32>>;

impl Style {
    /// Reads the main header again.
    pub fn read(bytes: &[u8], stream: &Codestream) -> Result<Style, Lost> {
        let (mut style, mut quantization) = (None, None);
        let mut of_components = Vec::new();
        let mut at = 2;
        loop {
            let marker = be16(bytes, at).ok_or(Lost::Broken)?;
            if marker == SOT {
                break;
            }
            let body = segment(bytes, at + 2).map_err(|_| Lost::Broken)?;
            match marker {
                COD => style = Some(Style::of_cod(body).ok_or(Lost::Unusual)?),
                QCD => quantization = Some(body),
                COC | QCC => of_components.push((marker, body)),
                _ => {}
            }
            at += 4 + body.len();
        }
        let mut style = style.ok_or(Lost::Broken)?;
        let quantization = quantization.ok_or(Lost::Broken)?;
        let planes = planes(quantization, style.bands())?;
        style.planes = vec![planes; stream.components.into()];
        style.planes = style.with_segments(of_components)?;
        Ok(style)
    }

    /// Bit-planes after the COC and QCC marker segments of a header. A COC that says other than the
    /// COD is a style that is not followed.
    pub fn with_segments(&self, segments: Vec<(u16, &[u8])>) -> Result<Planes, Lost> {
        let mut all = self.planes.clone();
        for (marker, body) in segments {
            let (&component, body) = body.split_first().ok_or(Lost::Broken)?;
            let of_component = all.get_mut(usize::from(component));
            match marker {
                COC if body == self.of_component => {}
                // With 257 components and more their numbers have two bytes: these are few.
                QCC if self.planes.len() < 257 => {
                    *of_component.ok_or(Lost::Broken)? = planes(body, self.bands())?;
                }
                _ => return Err(Lost::Unusual),
            }
        }
        Ok(all)
    }

    /// Subbands of a component.
    fn bands(&self) -> usize {
        3 * self.levels as usize + 1
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
            of_component: [&[scod & 1], body.get(5..)?].concat(),
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
