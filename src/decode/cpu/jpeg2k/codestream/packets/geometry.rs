//! How a tile is cut into resolutions, subbands, precincts and code-blocks (T.800 B.3 to B.9), and
//! in which order its packets come (B.12). Tiles and picture start at the origin.

use super::super::Codestream;
use super::bits::TagTree;
use super::style::{Planes, Style};

/// Along x or y: from, to.
type Span = [u32; 2];

/// One tile.
pub(super) struct Tile {
    /// Along x and y.
    spans: [Span; 2],
    layers: u32,
}

/// A precinct of one component and resolution.
pub(super) struct Precinct {
    component: u32,
    resolution: u32,
    /// Its place on the reference grid: y and x.
    at: [u64; 2],
    pub bands: Vec<Band>,
}

/// What a precinct has of one subband.
pub(super) struct Band {
    pub inclusion: TagTree,
    pub zero_planes: TagTree,
    /// Row by row.
    pub blocks: Vec<Block>,
    /// Bit-planes of the subband.
    pub planes: u32,
}

/// One code-block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Coding passes so far; 0 until it is first in a packet.
    pub passes: u32,
    pub zero_planes: u32,
    /// Bits that lengths take ("Lblock").
    pub length_bits: u8,
}

impl Tile {
    /// The tile of this number; `None` when there is none.
    pub fn new(style: &Style, stream: &Codestream, number: u16) -> Option<Tile> {
        let [width, height] = stream.tile_size;
        let across = stream.columns.div_ceil(width);
        let (column, row) = (u32::from(number) % across, u32::from(number) / across);
        let span = |index: u32, size: u32, all: u32| {
            let from = index.checked_mul(size)?;
            (from < all).then(|| [from, from.saturating_add(size).min(all)])
        };
        Some(Tile {
            spans: [
                span(column, width, stream.columns)?,
                span(row, height, stream.rows)?,
            ],
            layers: style.layers,
        })
    }

    /// All precincts: by component, by resolution, row by row.
    pub fn precincts(&self, style: &Style, planes: &Planes) -> Vec<Precinct> {
        let mut precincts = Vec::new();
        for (component, planes) in (0..).zip(planes) {
            for resolution in 0..=style.levels {
                self.resolution(style, (component, planes), resolution, &mut precincts);
            }
        }
        precincts
    }

    fn resolution(
        &self,
        style: &Style,
        (component, planes): (u32, &[u32]),
        resolution: u32,
        to: &mut Vec<Precinct>,
    ) {
        let halvings = style.levels - resolution;
        let spans = self.spans.map(|span| span.map(|at| halved(at, halvings)));
        if spans.iter().any(|[from, to]| from >= to) {
            return;
        }
        let exponents = style.precincts[resolution as usize];
        let first = [0, 1].map(|axis| spans[axis][0] >> exponents[axis]);
        let count = [0, 1].map(|axis| {
            let size = 1u64 << exponents[axis];
            u64::from(spans[axis][1]).div_ceil(size) as u32 - first[axis]
        });
        for row in first[1]..first[1] + count[1] {
            for column in first[0]..first[0] + count[0] {
                let place = [column, row];
                let at = [1, 0].map(|axis: usize| {
                    let at = u64::from(place[axis]) << (exponents[axis] + halvings);
                    at.max(self.spans[axis][0].into())
                });
                to.push(Precinct {
                    component,
                    resolution,
                    at,
                    bands: self.bands(style, planes, resolution, place),
                });
            }
        }
    }

    fn bands(&self, style: &Style, planes: &[u32], resolution: u32, place: [u32; 2]) -> Vec<Band> {
        // Orientation of a subband: whether it is high-pass along x and y.
        let (orientations, level, first): (&[[u32; 2]], _, _) = match resolution {
            0 => (&[[0, 0]], style.levels, 0),
            _ => (
                &[[1, 0], [0, 1], [1, 1]],
                style.levels - resolution + 1,
                3 * resolution as usize - 2,
            ),
        };
        let in_band = u32::from(resolution > 0);
        let mut bands = Vec::new();
        for (index, high) in orientations.iter().enumerate() {
            let mut counts = [0; 2];
            for axis in [0, 1] {
                let exponent = style.precincts[resolution as usize][axis] - in_band;
                let from = u64::from(place[axis]) << exponent;
                let until = from + (1 << exponent);
                let band = self.spans[axis].map(|at| band_at(at, level, high[axis]));
                let (from, until) = (from.max(band[0]), until.min(band[1]));
                let size = style.block_exponents[axis].min(exponent);
                if from < until {
                    counts[axis] = (until.div_ceil(1 << size) - (from >> size)) as usize;
                }
            }
            let [width, height] = counts;
            if width == 0 || height == 0 {
                continue;
            }
            let block = Block {
                passes: 0,
                zero_planes: 0,
                length_bits: 3,
            };
            bands.push(Band {
                inclusion: TagTree::new(width, height),
                zero_planes: TagTree::new(width, height),
                blocks: vec![block; width * height],
                planes: planes[first + index],
            });
        }
        bands
    }

    /// The packets in their order: which precinct, which layer.
    pub fn order(&self, style: &Style, precincts: &[Precinct]) -> Vec<(usize, u32)> {
        let mut packets: Vec<(usize, u32)> = (0..self.layers)
            .flat_map(|layer| (0..precincts.len()).map(move |place| (place, layer)))
            .collect();
        packets.sort_by_key(|&(place, layer)| {
            let Precinct {
                component,
                resolution,
                at: [y, x],
                ..
            } = precincts[place];
            let [layer, component, resolution] = [layer, component, resolution].map(u64::from);
            // The place comes last: precincts at the same point are in their own order.
            let place = place as u64;
            match style.progression {
                0 => [layer, resolution, component, place, 0, 0],
                1 => [resolution, layer, component, place, 0, 0],
                2 => [resolution, y, x, component, place, layer],
                3 => [y, x, component, resolution, place, layer],
                _ => [component, y, x, resolution, place, layer],
            }
        });
        packets
    }
}

/// A coordinate after `halvings` halvings, rounded up.
fn halved(at: u32, halvings: u32) -> u32 {
    u64::from(at).div_ceil(1 << halvings) as u32
}

/// A coordinate of the tile in a subband of this decomposition level (T.800 B-15).
fn band_at(at: u32, level: u32, high: u32) -> u64 {
    if level == 0 {
        return at.into();
    }
    let shift = u64::from(high) << (level - 1);
    u64::from(at).saturating_sub(shift).div_ceil(1 << level)
}
