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
    let (time, zone) = rest.split_at(rest.find(['+', '-']).unwrap_or(rest.len()));
    let is_time = time.is_empty() || is_time_of_day(time);
    (is_time && is_zone(zone)).then(|| format!("{date}{rest}"))
}

/// Is this a TM: hours, and minutes, seconds and a fraction as far as they are said? Longer fractions
/// than the standard has are written.
pub(super) fn is_time_of_day(text: &str) -> bool {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let is_written = |clock: &str| match clock.as_bytes() {
        // As ACR-NEMA wrote it.
        [_, _, b':', _, _] | [_, _, b':', _, _, b':', _, _] => true,
        _ => !clock.contains(':'),
    };
    let digits = clock.replace(':', "");
    let parts = [(0, 23), (2, 59), (4, 60)].into_iter();
    let parts = parts.filter(|(at, _)| *at < digits.len());
    let mut fits = parts.map(|(at, most)| number_in(&digits, at).is_some_and(|n| n <= most));
    let is_fraction = |text: &str| text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    matches!(digits.len(), 2 | 4 | 6)
        && is_written(clock)
        && fits.all(|fits| fits)
        && fraction.is_none_or(|fraction| digits.len() == 6 && is_fraction(fraction))
}

/// Is this the offset from UTC of a DT, or none?
fn is_zone(text: &str) -> bool {
    let fits = |at, most| number_in(text, at).is_some_and(|n| n <= most);
    text.is_empty() || text.len() == 5 && fits(1, 14) && fits(3, 59)
}

/// The two digits there.
fn number_in(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 2)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
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
            ("2020030112-0500", 1, Some("2020022912-0500")),
            ("20200301+0100", 1, Some("20200229+0100")),
            ("202003011234567", 1, None),
            ("20200301101112+12345", 1, None),
            ("20200301101112-5550", 1, None),
        ] {
            assert_eq!(earlier_datetime(time, days).as_deref(), expected, "{time}");
        }
        for time in [
            "10",
            "1011",
            "101112",
            "235960.1",
            "101112.123456789",
            "101112.",
            "10:11",
            "10:11:12.5",
        ] {
            assert!(is_time_of_day(time), "{time}");
        }
        // Names, and numbers of patients and telephones.
        for other in [
            "",
            "Jones",
            "1",
            "101",
            "12345678",
            "555-1234",
            "30",
            "1060",
            "101161",
            "1011.5",
            "101112.1234567890",
            "1:01112",
            "10:1112",
            "::",
            "\u{e9}\u{e9}",
        ] {
            assert!(!is_time_of_day(other), "{other}");
        }
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
