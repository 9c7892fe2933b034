//! Names: from whatever a header says to a file name, reversibly.

use std::fmt::Write;

/// File names are at most this long (Linux's NAME_MAX).
const NAME_MAX_BYTES: usize = 255;

/// A file name for `text`: '/', '%' and control characters as %XX, a leading '.' too, `fallback`
/// for nothing at all. Reversible by decoding %XX, except where it had to be cut at 255 bytes.
pub fn safe(text: &str, fallback: &str) -> String {
    let text = if text.is_empty() { fallback } else { text };
    let mut name = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c == '/' || c == '%' || c.is_control() || (c == '.' && at == 0) {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(name, "%{byte:02X}");
            }
        } else {
            name.push(c);
        }
    }
    cut(name, NAME_MAX_BYTES)
}

/// Cuts a name to at most `max_bytes`, at a character.
pub(super) fn cut(mut name: String, max_bytes: usize) -> String {
    let mut end = name.len().min(max_bytes);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe() {
        let table = [
            ("AX T1", "AX T1"),
            ("", "none"),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("tab\there\0", "tab%09here%00"),
            ("\u{85}", "%C2%85"),
        ];
        for (text, name) in table {
            assert_eq!(safe(text, "none"), name, "{text:?}");
        }
        let long = "\u{e9}".repeat(300);
        assert_eq!(safe(&long, "none").len(), 254);
    }
}
