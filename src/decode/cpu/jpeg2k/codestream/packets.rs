//! The packet headers of a codestream (T.800 Annex B): how many coding passes of each code-block are
//! there. Tells a codestream that holds every bit from one that was cut down to a rate, which no
//! marker does, and finds packets that do not add up, without decoding a sample.
//!
//! Follows the common ways to lay packets out and says so where it cannot: one coding style for all
//! tiles and components, no packet headers elsewhere, no change of the progression.

mod bits;
mod geometry;
mod style;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Codestream, SOD, SOT, SOT_LEN, be16, be32, segment};
use bits::Bits;
use geometry::{Precinct, Tile};
use style::Style;

/// Most code-blocks of a picture that is looked into: one of 16k x 16k in blocks of 32 x 32 has less,
/// and each costs some forty bytes here.
const BLOCKS_MAX: u64 = 1 << 19;

/// Most packets of a picture that is looked into: precincts cost up to a KiB each.
const PACKETS_MAX: u64 = 1 << 16;

/// Most bit-planes that are not coded: 37 of a coefficient and some for guard bits.
const ZERO_PLANES_MAX: u32 = 74;

/// What the packet headers say.
///
/// A code-block that is not complete may still come out right: some encoders leave out the last
/// passes where a decoder that guesses the middle of an interval guesses right (frames 2, 7 and 9 of
/// pydicom's emri_small_jpeg_2k_lossless.dcm). Another decoder need not guess so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passes {
    /// Every code-block that is there at all is there down to its last bit.
    pub complete: bool,
    /// Most coding passes of a code-block.
    pub most: u32,
}

/// Why the packets could not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// A layout that is not looked into: nothing is known.
    Unusual,
    /// Headers and lengths do not add up.
    Broken,
}

/// Follows all packets of a codestream whose headers have been checked.
pub(crate) fn follow(stream: &Codestream, bytes: &[u8]) -> Result<Passes, Lost> {
    let style = Style::read(bytes, stream)?;
    if stream.packets() > PACKETS_MAX || !stream.at_origin || stream.subsampled {
        return Err(Lost::Unusual);
    }
    let size = style.block_width * style.block_height;
    let samples = u64::from(stream.rows) * u64::from(stream.columns);
    let blocks = samples * u64::from(stream.components) / u64::from(size);
    if blocks > BLOCKS_MAX {
        return Err(Lost::Unusual);
    }
    let mut all = Passes {
        complete: true,
        most: 0,
    };
    for (number, parts) in tile_parts(bytes, stream.tile_parts_at)? {
        let tile = Tile::new(&style, stream, number).ok_or(Lost::Broken)?;
        let planes = style.with_segments(parts.segments)?;
        let precincts = tile.precincts(&style, &planes);
        let passes = follow_tile(&style, &tile, precincts, &parts.data)?;
        all.complete &= passes.complete;
        all.most = all.most.max(passes.most);
    }
    Ok(all)
}

/// What all tile-parts of a tile hold.
#[derive(Default)]
struct Parts<'a> {
    /// Marker segments that speak of components.
    segments: Vec<(u16, &'a [u8])>,
    /// Packets.
    data: Cow<'a, [u8]>,
}

fn tile_parts(bytes: &[u8], start: usize) -> Result<BTreeMap<u16, Parts<'_>>, Lost> {
    let mut tiles: BTreeMap<u16, Parts<'_>> = BTreeMap::new();
    let mut at = start;
    while be16(bytes, at) == Some(SOT) {
        let number = be16(bytes, at + 4).ok_or(Lost::Broken)?;
        let length = be32(bytes, at + 6).ok_or(Lost::Broken)? as usize;
        let end = match length {
            0 => bytes.len(),
            _ => at.checked_add(length).ok_or(Lost::Broken)?,
        };
        if length != SOT_LEN {
            let parts = tiles.entry(number).or_default();
            let body = header(bytes, at + SOT_LEN, &mut parts.segments)?;
            let data = bytes.get(body..end).ok_or(Lost::Broken)?;
            if parts.data.is_empty() {
                parts.data = Cow::Borrowed(data);
            } else {
                parts.data.to_mut().extend_from_slice(data);
            }
        }
        at = end;
    }
    Ok(tiles)
}

/// Reads the header of a tile-part, whose marker segments start at `at`: where its packets start.
fn header<'a>(
    bytes: &'a [u8],
    mut at: usize,
    segments: &mut Vec<(u16, &'a [u8])>,
) -> Result<usize, Lost> {
    const COC: u16 = 0xFF53;
    const PLT: u16 = 0xFF58;
    const QCC: u16 = 0xFF5D;
    const COM: u16 = 0xFF64;
    loop {
        let marker = be16(bytes, at).ok_or(Lost::Broken)?;
        if marker == SOD {
            return Ok(at + 2);
        }
        let body = segment(bytes, at + 2).map_err(|_| Lost::Broken)?;
        match marker {
            COC | QCC => segments.push((marker, body)),
            PLT | COM => {}
            _ => return Err(Lost::Unusual),
        }
        at += 4 + body.len();
    }
}

fn follow_tile(
    style: &Style,
    tile: &Tile,
    mut precincts: Vec<Precinct>,
    data: &[u8],
) -> Result<Passes, Lost> {
    let mut reader = Reader { style, data, at: 0 };
    for (place, layer) in tile.order(style, &precincts) {
        reader.packet(&mut precincts[place], layer)?;
    }
    let mut passes = Passes {
        complete: true,
        most: 0,
    };
    for band in precincts.iter().flat_map(|precinct| &precinct.bands) {
        for block in band.blocks.iter().filter(|block| block.passes > 0) {
            let planes = band.planes.checked_sub(block.zero_planes);
            let full = match (planes, style.ht) {
                // The one cleanup pass reaches down to the bit-plane that is told (T.814 B.3).
                (Some(planes), true) => planes == 1 && block.passes == 1,
                // Each bit-plane has three passes, the first one has one (T.800 D.3). Some encoders
                // leave out the very last, a cleanup pass, where it says nothing; without it whatever
                // is not significant stays zero, and all else is there to the last bit.
                (Some(planes), false) => matches!(3 * planes - block.passes.min(3 * planes), 2 | 3),
                (None, _) => false,
            };
            passes.complete &= full;
            passes.most = passes.most.max(block.passes);
        }
    }
    Ok(passes)
}

/// Reads packet after packet.
struct Reader<'a> {
    style: &'a Style,
    data: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn packet(&mut self, precinct: &mut Precinct, layer: u32) -> Result<(), Lost> {
        const SOP: [u8; 4] = [0xFF, 0x91, 0, 4];
        const EPH: [u8; 2] = [0xFF, 0x92];
        let rest = self.data.get(self.at..).ok_or(Lost::Broken)?;
        if self.style.may_have_sop && rest.starts_with(&SOP) {
            self.at += SOP.len() + 2;
        }
        let mut bits = Bits::new(self.data.get(self.at..).ok_or(Lost::Broken)?);
        let mut body = 0usize;
        if bits.bit()? {
            for band in &mut precinct.bands {
                for place in 0..band.blocks.len() {
                    body += self.block(&mut bits, band, place, layer)?;
                }
            }
        }
        self.at += bits.end()?;
        let rest = self.data.get(self.at..).ok_or(Lost::Broken)?;
        if self.style.has_eph && rest.starts_with(&EPH) {
            self.at += EPH.len();
        }
        self.at = self.at.checked_add(body).ok_or(Lost::Broken)?;
        if self.at > self.data.len() {
            return Err(Lost::Broken);
        }
        Ok(())
    }

    /// What a packet header says of one code-block (T.800 B.10): bytes that the body holds of it.
    fn block(
        &self,
        bits: &mut Bits<'_>,
        band: &mut geometry::Band,
        place: usize,
        layer: u32,
    ) -> Result<usize, Lost> {
        let first = band.blocks[place].passes == 0;
        let here = match first {
            true => band.inclusion.is_below(bits, place, layer + 1)?,
            false => bits.bit()?,
        };
        if !here {
            return Ok(0);
        }
        if first {
            let mut planes = 0;
            while !band.zero_planes.is_below(bits, place, planes + 1)? {
                planes += 1;
                if planes > ZERO_PLANES_MAX {
                    return Err(Lost::Broken);
                }
            }
            band.blocks[place].zero_planes = planes;
        }
        let passes = bits.pass_count()?;
        if self.style.ht && (passes > 1 || !first) {
            // Further passes have lengths of their own; nobody who asks takes them.
            return Err(Lost::Unusual);
        }
        let block = &mut band.blocks[place];
        while bits.bit()? {
            block.length_bits = block.length_bits.saturating_add(1);
        }
        let count = u32::from(block.length_bits) + passes.ilog2();
        if count > 31 {
            return Err(Lost::Broken);
        }
        block.passes += passes;
        Ok(bits.number(count)? as usize)
    }
}

#[cfg(test)]
mod tests;
