//! One data element's header (PS3.5 7.1): tag, Value Representation, length.
//!
//! Pure: bytes in, numbers out. Knows nothing of what the elements mean.

use dicom_core::Tag;

/// A Value Representation: its two letters; [`NO_VR`] where none is written.
pub(crate) type Vr = [u8; 2];

/// Implicit VR: the dictionary says.
pub(crate) const NO_VR: Vr = [0, 0];

/// How the elements of a dataset are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) explicit_vr: bool,
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) const EXPLICIT_LITTLE: Encoding = Encoding {
        explicit_vr: true,
        big_endian: false,
    };
    pub(crate) const IMPLICIT_LITTLE: Encoding = Encoding {
        explicit_vr: false,
        big_endian: false,
    };

    pub(crate) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    pub(crate) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    pub(crate) fn u64(self, bytes: [u8; 8]) -> u64 {
        if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        }
    }
}

/// An element's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElementHeader {
    pub(crate) tag: Tag,
    pub(crate) vr: Vr,
    /// Bytes that the header itself takes: 8 or 12.
    pub(crate) header_len: u8,
    /// Bytes of the value; `None` for undefined length.
    pub(crate) length: Option<u32>,
}

/// Representations with a length of 16 bits; all others, those to come included, have 32
/// (PS3.5 7.1.2).
const SHORT_LENGTH: [&Vr; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

/// The same as bits: a word for each first letter, a bit in it for each second one. A branch for
/// each representation costs a third of all the work on a header.
const SHORT_LENGTH_BITS: [u32; 26] = {
    let mut bits = [0; 26];
    let mut index = 0;
    while index < SHORT_LENGTH.len() {
        let [first, second] = *SHORT_LENGTH[index];
        bits[(first - b'A') as usize] |= 1 << (second - b'A');
        index += 1;
    }
    bits
};

/// Has the length of an element with this representation 16 bits?
#[inline(always)]
pub(crate) fn has_short_length([first, second]: Vr) -> bool {
    let word = SHORT_LENGTH_BITS.get(usize::from(first.wrapping_sub(b'A')));
    let bit = u32::from(second.wrapping_sub(b'A'));
    word.is_some_and(|word| bit < 26 && word >> bit & 1 == 1)
}

/// Is this one of the Value Representations of PS3.5 6.2?
pub(crate) fn is_known_vr(vr: Vr) -> bool {
    has_short_length(vr)
        || matches!(
            &vr,
            b"OB"
                | b"OD"
                | b"OF"
                | b"OL"
                | b"OV"
                | b"OW"
                | b"SQ"
                | b"SV"
                | b"UC"
                | b"UN"
                | b"UR"
                | b"UT"
                | b"UV"
        )
}

/// Reads the header at the start of `bytes`; `None` when there are too few bytes (12 always
/// suffice).
///
/// An element whose VR is no two capital letters is taken for implicit even in an explicit
/// dataset: some writers mix the two (Philips private sequences).
#[inline(always)]
pub(crate) fn parse(bytes: &[u8], encoding: Encoding) -> Option<ElementHeader> {
    let b: &[u8; 8] = bytes.first_chunk()?;
    let tag = Tag(encoding.u16([b[0], b[1]]), encoding.u16([b[2], b[3]]));
    let long = |bytes: [u8; 4]| match encoding.u32(bytes) {
        u32::MAX => None,
        length => Some(length),
    };
    let vr = [b[4], b[5]];
    let implicit = !encoding.explicit_vr
        || tag.0 == 0xFFFE
        || !(vr[0].is_ascii_uppercase() && vr[1].is_ascii_uppercase());
    let (vr, header_len, length) = if implicit {
        (NO_VR, 8, long([b[4], b[5], b[6], b[7]]))
    } else if has_short_length(vr) {
        (vr, 8, Some(u32::from(encoding.u16([b[6], b[7]]))))
    } else {
        let rest: &[u8; 12] = bytes.first_chunk()?;
        (vr, 12, long([rest[8], rest[9], rest[10], rest[11]]))
    };
    Some(ElementHeader {
        tag,
        vr,
        header_len,
        length,
    })
}

/// How the dataset that starts with `bytes` is really written, seen from its first element;
/// `declared` is what the Transfer Syntax says and stands where the bytes do not contradict it.
pub(crate) fn detect(bytes: &[u8], declared: Encoding) -> Encoding {
    let Some(b) = bytes.first_chunk::<8>() else {
        return declared;
    };
    // The first group of a dataset is small (0008 nearly always), so that the byte that is zero
    // gives the byte order away.
    let big_endian = match (b[0], b[1]) {
        (0, low) if low != 0 => true,
        (low, 0) if low != 0 => false,
        _ => declared.big_endian,
    };
    let letters = is_known_vr([b[4], b[5]]);
    // In an implicit dataset the same four bytes would be a length of more than 16 KiB (the
    // second letter alone is worth that), which no first element has.
    Encoding {
        explicit_vr: letters,
        big_endian,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: Encoding = Encoding {
        explicit_vr: true,
        big_endian: true,
    };

    fn check(bytes: &[u8], encoding: Encoding, expected: Option<(Tag, &Vr, u8, Option<u32>)>) {
        let parsed = parse(bytes, encoding).map(|h| (h.tag, h.vr, h.header_len, h.length));
        assert_eq!(
            parsed,
            expected.map(|(t, vr, h, l)| (t, *vr, h, l)),
            "{bytes:?}"
        );
    }

    #[test]
    fn headers_of_all_forms() {
        let rows = Tag(0x0028, 0x0010);
        let pixels = Tag(0x7FE0, 0x0010);
        let explicit = Encoding::EXPLICIT_LITTLE;
        check(
            b"\x28\0\x10\0US\x02\0",
            explicit,
            Some((rows, b"US", 8, Some(2))),
        );
        check(
            b"\0\x28\0\x10US\0\x02",
            BIG,
            Some((rows, b"US", 8, Some(2))),
        );
        let implicit = Encoding::IMPLICIT_LITTLE;
        check(
            b"\x28\0\x10\0\x02\0\0\0",
            implicit,
            Some((rows, &NO_VR, 8, Some(2))),
        );
        check(
            b"\xE0\x7F\x10\0OW\0\0\x04\0\0\0",
            explicit,
            Some((pixels, b"OW", 12, Some(4))),
        );
        check(
            b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF",
            explicit,
            Some((pixels, b"OB", 12, None)),
        );
        check(b"\xE0\x7F\x10\0OB\0\0\xFF\xFF", explicit, None);
        check(b"\xE0\x7F\x10\0OB\0", explicit, None);
        // A representation not known yet has a long length.
        check(
            b"\x28\0\x10\0ZZ\0\0\x05\0\0\0",
            explicit,
            Some((rows, b"ZZ", 12, Some(5))),
        );
        // An implicit element within an explicit dataset.
        check(
            b"\x28\0\x10\0\x02\0\0\0",
            explicit,
            Some((rows, &NO_VR, 8, Some(2))),
        );
        // Items have no VR, ever.
        let item = Tag(0xFFFE, 0xE000);
        check(
            b"\xFE\xFF\x00\xE0\x55\x49\0\0",
            explicit,
            Some((item, &NO_VR, 8, Some(0x4955))),
        );
    }

    #[test]
    fn encodings_are_detected_from_the_first_element() {
        let (explicit, implicit) = (Encoding::EXPLICIT_LITTLE, Encoding::IMPLICIT_LITTLE);
        for declared in [explicit, implicit, BIG] {
            assert_eq!(detect(b"\x08\0\x05\0CS\x0A\0", declared), explicit);
            assert_eq!(detect(b"\x08\0\x05\0\x0A\0\0\0", declared), implicit);
            assert_eq!(detect(b"\0\x08\0\x05CS\0\x0A", declared), BIG);
            assert_eq!(detect(b"\x08\0", declared), declared);
        }
    }
}
