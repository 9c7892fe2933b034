//! Directory names from UIDs that may be anything, and names of numbered files. Pure text.

/// Longest part of a name taken from a UID: leaves room for suffixes below NAME_MAX (255).
const UID_PART_MAX_BYTES: usize = 160;

/// The directory name of a series: the UID itself when it is one (PS3.5 9.1); other bytes are
/// percent-encoded, so that the name is safe, reversible and never meets another series' suffix.
pub(super) fn series_name(series_instance_uid: &str) -> String {
    let mut name = String::with_capacity(series_instance_uid.len());
    for (index, byte) in series_instance_uid.bytes().enumerate() {
        // A leading dot would be hidden, or be "." or "..".
        let plain = byte.is_ascii_alphanumeric() || (byte == b'.' && index > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > UID_PART_MAX_BYTES {
        // 64 characters are the limit of a UID: this is no UID, and a hash is enough to tell.
        return format!("long-{}", hash(&[series_instance_uid]));
    }
    name
}

/// The directory name of an instance that names no series.
pub(super) fn no_series_name(study_instance_uid: &str, instance: &str) -> String {
    format!("no-series-{}", hash(&[study_instance_uid, instance]))
}

/// 128-bit FNV-1a over the parts and their lengths, in hexadecimal: the same on every machine and
/// in every version, which names must be.
fn hash(parts: &[&str]) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    let mut state: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for byte in part.bytes().chain(length) {
            state = (state ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{state:032x}")
}

/// Digits of the numbers in a directory of `count` files: at least four.
pub fn digits(count: usize) -> usize {
    count.max(1).ilog10() as usize + 1.max(4 - count.max(1).ilog10().min(3) as usize)
}

/// The name of the 0-based `n`th file: 1-based, zero-padded.
pub fn numbered(n: u32, width: usize, extension: &str) -> String {
    format!("{:0width$}{extension}", u64::from(n) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "1".repeat(200);
        for (uid, name) in [
            ("1.2.840.113619", "1.2.840.113619"),
            ("..", "%2E."),
            (".", "%2E"),
            ("a/b", "a%2Fb"),
            ("1.2_o2", "1.2%5Fo2"),
            ("no-series-1", "no%2Dseries%2D1"),
            ("1%", "1%25"),
            ("1\u{0}\n", "1%00%0A"),
            ("\u{e9}", "%C3%A9"),
        ] {
            assert_eq!(series_name(uid), name);
        }
        assert_eq!(series_name(&long).len(), "long-".len() + 32);
        assert_ne!(no_series_name("1", "23"), no_series_name("12", "3"));
        assert_eq!(no_series_name("1", "2"), no_series_name("1", "2"));
    }

    #[test]
    fn numbers_have_at_least_four_digits() {
        let table = [
            (0, 4),
            (1, 4),
            (999, 4),
            (9_999, 4),
            (10_000, 5),
            (123_456, 6),
        ];
        for (count, width) in table {
            assert_eq!(digits(count), width, "{count}");
        }
        assert_eq!(numbered(0, 4, ".npy"), "0001.npy");
        assert_eq!(numbered(9_999, 5, ".dcm"), "10000.dcm");
    }
}
