//! Text to UTF-8 by Specific Character Set (0008,0005) (PS3.3 C.12.1.1.2, PS3.5 6.1).
//!
//! Each repertoire is dicom-encoding's; switching between them by escape sequences (ISO 2022,
//! PS3.5 6.1.2.5) is done here.

use std::borrow::Cow;

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

/// The character sets of one dataset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charset {
    initial: SpecificCharacterSet,
}

/// Escape sequences of PS3.3 tables C.12-3 and C.12-4 (without the ESC) and the set they select.
/// ISO_IR 87 keeps its escape: its decoder reads it.
const ESCAPES: &[(&[u8], &str)] = &[
    (b"(B", "ISO_IR 6"),
    (b"(J", "ISO_IR 13"),
    (b")I", "ISO_IR 13"),
    (b"-A", "ISO_IR 100"),
    (b"-B", "ISO_IR 101"),
    (b"-C", "ISO_IR 109"),
    (b"-D", "ISO_IR 110"),
    (b"-F", "ISO_IR 126"),
    (b"-G", "ISO_IR 127"),
    (b"-H", "ISO_IR 138"),
    (b"-L", "ISO_IR 144"),
    (b"-T", "ISO_IR 166"),
    (b"$)C", "ISO_IR 149"),
    (b"$)A", "GB2312"),
    (b"$B", "ISO_IR 87"),
];

const ESC: u8 = 0x1B;

impl Charset {
    /// From the value of (0008,0005); `None` when its first term is not known, and then the
    /// default repertoire is to be used.
    pub(crate) fn from_value(value: &str) -> Option<Charset> {
        let first = value.split('\\').next().unwrap_or_default().trim();
        if first.is_empty() {
            return Some(Charset::default());
        }
        SpecificCharacterSet::from_code(first).map(|initial| Charset { initial })
    }

    /// `bytes` as text.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        // ASCII is the same in all of them, as long as no escape sequence says otherwise.
        if bytes.iter().all(|byte| byte.is_ascii() && *byte != ESC)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Cow::Borrowed(text);
        }
        let mut text = String::new();
        let mut parts = bytes.split(|byte| *byte == ESC);
        text.push_str(&decode_with(
            &self.initial,
            parts.next().unwrap_or_default(),
        ));
        for part in parts {
            text.push_str(&self.decode_escaped(part));
        }
        Cow::Owned(text)
    }

    /// Text that follows an ESC, up to the next.
    fn decode_escaped(&self, part: &[u8]) -> String {
        let known = ESCAPES.iter().find(|(escape, _)| part.starts_with(escape));
        let Some((escape, term)) = known else {
            return decode_with(&self.initial, part);
        };
        let charset = SpecificCharacterSet::from_code(term).unwrap_or_default();
        if *term == "ISO_IR 87" {
            return decode_with(&charset, &[&[ESC][..], part].concat());
        }
        decode_with(&charset, &part[escape.len()..])
    }
}

/// Bytes the set does not have come out as `\ooo` or as U+FFFD, never as an error: text is for
/// people.
fn decode_with(charset: &SpecificCharacterSet, bytes: &[u8]) -> String {
    charset
        .decode(bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(charset: &str, bytes: &[u8], expected: &str) {
        let charset = Charset::from_value(charset).expect("a known term");
        assert_eq!(charset.decode(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn examples_of_the_standard() {
        check("", b"Doe^John", "Doe^John");
        check("ISO_IR 100", b"Buc^J\xE9r\xF4me", "Buc^J\u{e9}r\u{f4}me");
        check("ISO_IR 192", "Wang^\u{5c0f}".as_bytes(), "Wang^\u{5c0f}");
        check("ISO_IR 144", b"\xBB\xEE\xDA", "\u{41b}\u{44e}\u{43a}");
        check("GB18030", b"Wang^\xD0\xA1", "Wang^\u{5c0f}");
        // PS3.5 annex H.3.1 and I.2: Japanese and Korean with code extensions.
        let yamada = b"Yamada=\x1B$B;3ED\x1B(B^x";
        check("\\ISO 2022 IR 87", yamada, "Yamada=\u{5c71}\u{7530}^x");
        let hong = b"Hong=\x1B$)C\xFB\xF3^";
        check("\\ISO 2022 IR 149", hong, "Hong=\u{6d2a}^");
    }

    #[test]
    fn an_unknown_term_is_told() {
        assert!(Charset::from_value("KLINGON").is_none());
        assert_eq!(Charset::default().decode(b"\x1B~x\xE9"), "~x\u{e9}");
    }
}
