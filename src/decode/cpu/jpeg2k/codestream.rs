//! The markers of a JPEG 2000 codestream (ITU-T T.800 Annex A): the picture's size, how finely it
//! is cut up, how it is coded, and whether the tile-parts are all there. Decodes nothing; knows
//! nothing of DICOM, nor who asks.

mod coding;
pub(crate) mod packets;

pub(crate) use coding::Coding;

use std::collections::HashSet;

/// What the SIZ marker segment (T.800 A.5.1) says, and where the tile-parts start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codestream {
    pub rows: u32,
    pub columns: u32,
    pub components: u16,
    /// Bits a sample, of the first component.
    pub precision: u32,
    pub same_precision: bool,
    /// The samples of the first component are signed.
    pub signed: bool,
    pub same_sign: bool,
    /// Picture and tiles start at the origin of the reference grid.
    pub at_origin: bool,
    /// A component has fewer samples than the picture has pixels.
    pub subsampled: bool,
    pub tiles: u64,
    /// Width and height of a tile.
    pub tile_size: [u32; 2],
    /// Quality layers, the most that a COD marker segment asks for.
    pub layers: u64,
    /// What the marker segments say of the coding.
    pub coding: Coding,
    /// Tiles that no tile-part belongs to; counted by [`Codestream::check_complete`].
    pub tiles_missing: u64,
    /// Precincts of a component over all resolutions, the most that a COD or COC marker segment
    /// asks for.
    precincts: u64,
    tile_parts_at: usize,
}

const SOC_SIZ: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
const SOT: u16 = 0xFF90;
const SOD: u16 = 0xFF93;
const COD: u16 = 0xFF52;
const COC: u16 = 0xFF53;
const EOC: [u8; 2] = [0xFF, 0xD9];
/// Marker, length, tile index, tile-part length, tile-part index and count.
const SOT_LEN: usize = 12;

/// The codestream inside JP2 boxes (T.800 Annex I), or the bytes themselves when there are none.
/// PS3.5 A.4.4 forbids the boxes; some writers leave them in.
pub(crate) fn without_boxes(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.starts_with(&SOC_SIZ) || bytes.get(4..8).is_none_or(|kind| kind != b"jP  ") {
        return Ok(bytes);
    }
    let mut at = 0;
    while let Some(length) = be32(bytes, at) {
        let kind = bytes.get(at + 4..at + 8).ok_or("a JP2 box is cut short")?;
        let rest = bytes.len() - at;
        let (head, whole) = match length {
            0 => (8, rest),
            1 => {
                let high = be32(bytes, at + 8).ok_or("a JP2 box is cut short")?;
                let low = be32(bytes, at + 12).ok_or("a JP2 box is cut short")?;
                (16, if high == 0 { low as usize } else { usize::MAX })
            }
            length => (8, length as usize),
        };
        if whole < head || (whole > rest && kind != b"jp2c") {
            return Err(format!("a JP2 box of {whole} bytes, {rest} are left"));
        }
        if kind == b"jp2c" {
            return Ok(&bytes[at + head..at + whole.min(rest)]);
        }
        at += whole;
    }
    Err("JP2 boxes without a codestream".into())
}

impl Codestream {
    /// Reads the main header. `Err` says what is wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Codestream, String> {
        if !bytes.starts_with(&SOC_SIZ) {
            return Err("no JPEG 2000 codestream at the start".into());
        }
        let siz = segment(bytes, 4)?;
        let mut stream = parse_siz(siz)?;
        let mut at = 4 + 2 + siz.len();
        loop {
            let marker = be16(bytes, at).ok_or("the main header is cut short")?;
            if marker == SOT {
                stream.tile_parts_at = at;
                return Ok(stream);
            }
            if marker < 0xFF01 {
                return Err(format!("no marker at byte {at} of the main header"));
            }
            let body = segment(bytes, at + 2)?;
            stream.note_coding(marker, body)?;
            at += 4 + body.len();
        }
    }

    /// Packets of the picture at most: what a decoder keeps a record of for each.
    pub fn packets(&self) -> u64 {
        self.layers
            .saturating_mul(self.precincts)
            .saturating_mul(self.components.into())
    }

    /// Takes note of how finely a COD or COC marker segment (T.800 A.6.1, A.6.2) cuts the picture.
    fn note_coding(&mut self, marker: u16, body: &[u8]) -> Result<(), String> {
        self.coding.note(marker, body, self.components);
        let short = || "a COD or COC marker segment is cut short".to_string();
        let (style, spec) = match marker {
            COD => {
                self.layers = self.layers.max(be16(body, 2).ok_or_else(short)?.into());
                (body[0], body.get(5..).ok_or_else(short)?)
            }
            COC => {
                let skip = if self.components < 257 { 1 } else { 2 };
                (*body.get(skip).ok_or_else(short)?, &body[skip + 1..])
            }
            _ => return Ok(()),
        };
        let levels = usize::from(*spec.first().ok_or_else(short)?);
        if levels > 32 {
            return Err(format!("{levels} decomposition levels"));
        }
        let explicit = style & 1 == 1;
        let sizes = if explicit {
            spec.get(5..6 + levels).ok_or_else(short)?
        } else {
            &[]
        };
        let mut precincts = self.tiles.saturating_mul(levels as u64 + 1);
        for resolution in 0..=levels {
            let size = sizes.get(resolution).copied().unwrap_or(0xFF);
            let halvings = (levels - resolution) as u32;
            let across = along(self.columns, halvings, size & 15);
            precincts += across * along(self.rows, halvings, size >> 4);
        }
        self.precincts = self.precincts.max(precincts);
        Ok(())
    }

    /// Reads the marker segments between SOT and SOD of a tile-part.
    fn tile_header(&mut self, bytes: &[u8], sot_at: usize) -> Result<(), String> {
        let mut at = sot_at + SOT_LEN;
        loop {
            match be16(bytes, at) {
                Some(SOD) => return Ok(()),
                Some(marker) if marker > 0xFF00 => {
                    let body = segment(bytes, at + 2)?;
                    self.note_coding(marker, body)?;
                    at += 4 + body.len();
                }
                Some(_) => return Err(format!("no marker at byte {at} of a tile-part header")),
                None => return Err("a tile-part header is cut short".into()),
            }
        }
    }

    /// Follows the tile-parts to the end. A decoder makes what it can of a codestream that was cut
    /// short; this is where it becomes an error.
    ///
    /// Lenient where real writers are: bytes after the last tile-part need not be an EOC marker
    /// when every announced byte is there, and the number of tile-parts is not looked at.
    pub fn check_complete(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut at = self.tile_parts_at;
        let mut tiles = HashSet::new();
        self.tiles_missing = self.tiles;
        while be16(bytes, at) == Some(SOT) {
            let length = be32(bytes, at + 6).filter(|_| bytes.len() - at >= SOT_LEN);
            let length = length.ok_or("a tile-part header is cut short")? as usize;
            let tile = be16(bytes, at + 4).map(u64::from);
            if tile.is_some_and(|tile| tile < self.tiles && tiles.insert(tile)) {
                self.tiles_missing -= 1;
            }
            if length != SOT_LEN {
                self.tile_header(bytes, at)?;
            }
            if length == 0 {
                // The last tile-part, up to EOC: nothing else says where it ends.
                return ends_with_eoc(bytes);
            }
            if length < SOT_LEN {
                return Err(format!("a tile-part of {length} bytes"));
            }
            let left = bytes.len() - at;
            if length > left {
                return Err(format!(
                    "the codestream is cut short: a tile-part of {length} bytes, {left} are left"
                ));
            }
            at += length;
        }
        match bytes.get(at..) {
            None | Some([] | [_] | [0, ..]) => Ok(()),
            Some(rest) if rest.starts_with(&EOC) => Ok(()),
            Some(_) => ends_with_eoc(bytes),
        }
    }
}

fn ends_with_eoc(bytes: &[u8]) -> Result<(), String> {
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    if bytes[..end].ends_with(&EOC) {
        return Ok(());
    }
    Err("the codestream is cut short: it has no EOC marker".into())
}

fn parse_siz(siz: &[u8]) -> Result<Codestream, String> {
    let short = || "the SIZ marker segment is cut short".to_string();
    let word = |index: usize| be32(siz, 2 + 4 * index).ok_or_else(short);
    let (x1, y1, x0, y0) = (word(0)?, word(1)?, word(2)?, word(3)?);
    let (tile_w, tile_h, tile_x0, tile_y0) = (word(4)?, word(5)?, word(6)?, word(7)?);
    let components = be16(siz, 34).ok_or_else(short)?;
    let specs = siz.get(36..).unwrap_or_default();
    if components == 0 || specs.len() != 3 * usize::from(components) {
        return Err(format!(
            "the SIZ marker segment does not describe {components} components"
        ));
    }
    let (Some(columns), Some(rows)) = (x1.checked_sub(x0), y1.checked_sub(y0)) else {
        return Err("the picture ends before it starts".into());
    };
    if tile_w == 0 || tile_h == 0 || tile_x0 > x0 || tile_y0 > y0 {
        return Err("the tiles do not cover the picture".into());
    }
    let across = u64::from((x1 - tile_x0).div_ceil(tile_w));
    let down = u64::from((y1 - tile_y0).div_ceil(tile_h));
    let depth = |spec: &[u8]| u32::from(spec[0] & 0x7F) + 1;
    Ok(Codestream {
        rows,
        columns,
        components,
        precision: depth(&specs[..3]),
        same_precision: specs
            .chunks_exact(3)
            .all(|spec| depth(spec) == depth(&specs[..3])),
        subsampled: specs
            .chunks_exact(3)
            .any(|spec| spec[1] != 1 || spec[2] != 1),
        signed: specs[0] & 0x80 != 0,
        same_sign: specs
            .chunks_exact(3)
            .all(|spec| (spec[0] ^ specs[0]) & 0x80 == 0),
        at_origin: [x0, y0, tile_x0, tile_y0] == [0; 4],
        tiles: across * down,
        tile_size: [tile_w, tile_h],
        layers: 0,
        coding: Coding::of_profile(be16(siz, 0).ok_or_else(short)?),
        tiles_missing: 0,
        precincts: 0,
        tile_parts_at: 0,
    })
}

/// Precincts along one axis of a resolution: `len` halved `halvings` times, cut into pieces of
/// 2^`exponent`; one more, because pieces are counted from the grid's origin.
fn along(len: u32, halvings: u32, exponent: u8) -> u64 {
    let halved = u64::from(len).div_ceil(1 << halvings);
    halved.div_ceil(1 << exponent) + 1
}

/// The body of a marker segment whose length field is at `at`, without that field.
fn segment(bytes: &[u8], at: usize) -> Result<&[u8], String> {
    let length = usize::from(be16(bytes, at).ok_or("a marker segment is cut short")?);
    bytes
        .get(at + 2..at + length.max(2))
        .filter(|_| length >= 2)
        .ok_or_else(|| format!("a marker segment of {length} bytes at byte {at}"))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}
