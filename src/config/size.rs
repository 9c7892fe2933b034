//! Sizes as people write them: `512M`, `2GiB`, `50%`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A size in bytes, or a share of what is available at the start: memory, or space on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Percent of what is available, 1 to 100.
    Percent(u8),
}

impl Size {
    /// The size in bytes where `available_bytes` are available.
    pub fn to_bytes(self, available_bytes: u64) -> u64 {
        match self {
            Size::Bytes(bytes) => bytes,
            // Divided first: the product may not fit. At most 99 bytes are lost.
            Size::Percent(percent) => available_bytes / 100 * u64::from(percent),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            "write a whole number with K, M, G or T (powers of 1024), or a percentage of what \
             is available from 1% to 100%: 512M, 2GiB, 50%"
                .into()
        })
    }
}

fn parse(text: &str) -> Option<Size> {
    let text = text.trim();
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let number: u64 = digits.parse().ok()?;
    if unit == "%" {
        let percent = u8::try_from(number).ok()?;
        return (1..=100)
            .contains(&percent)
            .then_some(Size::Percent(percent));
    }
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    number.checked_mul(1 << (10 * power)).map(Size::Bytes)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(f, "{bytes}"),
            Size::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(Size::Bytes(0))),
            ("4096", Some(Size::Bytes(4096))),
            ("1b", Some(Size::Bytes(1))),
            ("512M", Some(Size::Bytes(512 << 20))),
            ("512mb", Some(Size::Bytes(512 << 20))),
            ("2GiB", Some(Size::Bytes(2 << 30))),
            ("3k", Some(Size::Bytes(3 << 10))),
            (" 1T ", Some(Size::Bytes(1 << 40))),
            ("50%", Some(Size::Percent(50))),
            ("100%", Some(Size::Percent(100))),
            ("0%", None),
            ("101%", None),
            ("256%", None),
            ("", None),
            ("G", None),
            ("-1", None),
            ("1.5G", None),
            ("1 G", None),
            ("1X", None),
            ("18446744073709551615", Some(Size::Bytes(u64::MAX))),
            ("18446744073709551616", None),
            ("18446744073709551615T", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn percentages_are_of_the_memory() {
        assert_eq!(Size::Percent(50).to_bytes(1 << 30), 536_870_900);
        assert_eq!(Size::Percent(100).to_bytes(u64::MAX), u64::MAX / 100 * 100);
        assert_eq!(Size::Bytes(5).to_bytes(1), 5);
    }
}
