//! Dates and times in text (PS3.5 6.2): moved by days, or found to be none.

use crate::dicom::calendar::{date_from_days, days_from_date};

/// A DA some days earlier; `None` for what is no date.
pub(super) fn earlier_date(text: &str, days: u32) -> Option<String> {
    let digits: String = match text.as_bytes() {
        // As ACR-NEMA wrote it.
        [_, _, _, _, b'.', _, _, b'.', _, _] => text.replace('.', ""),
        _ => text.to_owned(),
    };
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| digits[from..to].parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let of_date = days_from_date(i64::from(year), month, day);
    let is_date =
        (1..=12).contains(&month) && date_from_days(of_date) == (i64::from(year), month, day);
    let (year, month, day) = date_from_days(of_date - i64::from(days));
    (is_date && year > 0).then(|| format!("{year:04}{month:02}{day:02}"))
}

/// A DT some days earlier; `None` for what is none, or names no day.
pub(super) fn earlier_datetime(text: &str, days: u32) -> Option<String> {
    let (date, rest) = text.split_at_checked(8)?;
    let date = earlier_date(date, days)?;
    is_time_of_day(rest).then(|| format!("{date}{rest}"))
}

/// Is this a TM, or what follows the day of a DT?
pub(super) fn is_time_of_day(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || b".:+-".contains(&byte);
    text.len() <= 18 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_move() {
        for (date, days, expected) in [
            ("20200301", 1, Some("20200229")),
            ("20210301", 1, Some("20210228")),
            ("20200101", 3650, Some("20100103")),
            ("2020.01.02", 1, Some("20200101")),
            ("20200230", 1, None),
            ("20201301", 1, None),
            ("20200100", 1, None),
            ("00010101", 3650, None),
            ("2020", 1, None),
            ("2020010a", 1, None),
            ("Jones", 1, None),
            ("", 1, None),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", 1, None),
        ] {
            assert_eq!(earlier_date(date, days).as_deref(), expected, "{date}");
        }
    }

    #[test]
    fn times_of_day_stay() {
        for (time, days, expected) in [
            ("20200301", 1, Some("20200229")),
            ("20200301101112.5+0100", 1, Some("20200229101112.5+0100")),
            ("202003", 1, None),
            ("20200301 Jones", 1, None),
            ("2020030110111212345678901234567890", 1, None),
        ] {
            assert_eq!(earlier_datetime(time, days).as_deref(), expected, "{time}");
        }
        assert!(is_time_of_day("101112.123456") && is_time_of_day("10:11:12"));
        assert!(!is_time_of_day("Jones"));
    }

    #[test]
    fn intervals_stay() {
        let shift = |date: &str| earlier_date(date, 777).unwrap();
        assert!(shift("20200229") < shift("20200301"));
        assert_eq!(
            (shift("20200101"), shift("20200131")),
            ("20171115".into(), "20171215".into())
        );
    }
}
