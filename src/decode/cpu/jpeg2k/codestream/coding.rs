//! How a JPEG 2000 picture is coded, summed up over all its marker segments: what a decoder that
//! does not do everything must know before it is asked. Judges nothing and refuses nothing.

use super::be16;

const COD: u16 = 0xFF52;
const COC: u16 = 0xFF53;
const QCD: u16 = 0xFF5C;
const QCC: u16 = 0xFF5D;
const CAP: u16 = 0xFF50;

/// Marker segments that change nothing of how packets and samples are decoded, or are told by other
/// fields: COC, QCC, CPF (T.814), PRF, TLM, PLM, PLT, CRG and COM.
const HARMLESS: [u16; 7] = [0xFF56, 0xFF59, 0xFF55, 0xFF57, 0xFF58, 0xFF63, 0xFF64];

/// Bit of the code-block style that says high-throughput coding (T.814 A.4).
const STYLE_HT: u8 = 0x40;

/// Bit of Rsiz that says extensions of T.801.
const PROFILE_PART_2: u16 = 0x8000;

/// What the marker segments of the main header and of tile-parts say, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    /// Some component is coded by the reversible 5-3 wavelet.
    pub reversible: bool,
    /// Some component is coded by the irreversible 9-7 wavelet.
    pub irreversible: bool,
    /// A quantization style other than "none" (T.800 A.6.4) stands somewhere.
    pub quantized: bool,
    /// The first three components went through the component transform, in some tile at least.
    pub component_transform: bool,
    /// Some tile says the opposite of `component_transform`.
    pub mixed_component_transform: bool,
    /// Every code-block is high-throughput, as far as headers say.
    pub all_ht: bool,
    /// Some code-block is high-throughput.
    pub any_ht: bool,
    /// All bits of code-block styles but the one for high throughput (T.800 Table A.19).
    pub block_styles: u8,
    /// Ccap of T.814 (A.3), where there is a CAP marker segment.
    pub ht_capabilities: Option<u16>,
    /// Extensions of T.801 are announced.
    pub part_2: bool,
    /// The first marker segment beyond those whose meaning stands in other fields: POC, PPM, PPT,
    /// RGN, NLT, ...
    pub other: Option<u16>,
    /// Some COD, COC, QCD, QCC or CAP marker segment is too short or says what no standard does.
    pub odd: bool,
}

impl Coding {
    /// Of a picture whose SIZ marker segment has this Rsiz, before any other marker segment.
    pub(super) fn of_profile(rsiz: u16) -> Coding {
        Coding {
            reversible: false,
            irreversible: false,
            quantized: false,
            component_transform: false,
            mixed_component_transform: false,
            all_ht: true,
            any_ht: false,
            block_styles: 0,
            ht_capabilities: None,
            part_2: rsiz & PROFILE_PART_2 != 0,
            other: None,
            odd: false,
        }
    }

    /// Takes note of one marker segment.
    pub(super) fn note(&mut self, marker: u16, body: &[u8], components: u16) {
        let component_len = if components < 257 { 1 } else { 2 };
        match marker {
            COD => {
                self.note_component_transform(body.get(4).copied());
                self.note_blocks(body.get(5..).unwrap_or_default());
            }
            COC => self.note_blocks(body.get(component_len + 1..).unwrap_or_default()),
            QCD => self.note_quantization(body.first()),
            QCC => self.note_quantization(body.get(component_len)),
            CAP => self.note_capabilities(body),
            _ if HARMLESS.contains(&marker) => {}
            _ => self.other = self.other.or(Some(marker)),
        }
    }

    /// A value of SGcod (T.800 Table A.17). Before the first one neither wavelet is known.
    fn note_component_transform(&mut self, value: Option<u8>) {
        let first = !self.reversible && !self.irreversible;
        let on = value == Some(1);
        self.odd |= value.is_none_or(|value| value > 1);
        self.mixed_component_transform |= !first && on != self.component_transform;
        self.component_transform |= on;
    }

    /// SPcod or SPcoc (T.800 Table A.15): levels, code-block width, height, style, transformation.
    fn note_blocks(&mut self, spec: &[u8]) {
        let &[_, width, height, style, transform, ..] = spec else {
            self.odd = true;
            return;
        };
        // Exponents less 2; T.800 allows 1024 along a side and 4096 in all.
        self.odd |= width > 8 || height > 8 || width + height > 8;
        let ht = style & STYLE_HT != 0;
        self.any_ht |= ht;
        self.all_ht &= ht;
        self.block_styles |= style & !STYLE_HT;
        match transform {
            0 => self.irreversible = true,
            1 => self.reversible = true,
            _ => self.odd = true,
        }
    }

    fn note_quantization(&mut self, style: Option<&u8>) {
        match style.map(|style| style & 0x1F) {
            Some(0) => {}
            Some(1 | 2) => self.quantized = true,
            _ => self.odd = true,
        }
    }

    /// Pcap, one bit a part of the standard from the top, and a Ccap for each bit set; only that of
    /// part 15 is known.
    fn note_capabilities(&mut self, body: &[u8]) {
        const PART_15: u32 = 1 << (32 - 15);
        let parts = super::be32(body, 0);
        match (parts, be16(body, 4)) {
            (Some(PART_15), Some(ccap)) => self.ht_capabilities = Some(ccap),
            _ => self.odd = true,
        }
    }
}
