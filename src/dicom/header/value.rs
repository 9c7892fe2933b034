//! Values of data elements as numbers, times and text (PS3.5 6.2).
//!
//! Pure. A value that does not say what its representation allows is `Malformed`, which is not
//! the same as absent.

use super::element::{Encoding, Vr};

/// A value breaks the rules of its representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Without the padding around it: spaces and NULs, which PS3.5 6.2 says carry no meaning.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | 0 | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | 0 | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Puts the numbers of a value into `out`; none when the value is empty. More than `max` of them
/// are malformed.
pub(crate) fn numbers(
    vr: Vr,
    value: &[u8],
    enc: Encoding,
    max: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    out.clear();
    match &vr {
        b"US" | b"OW" => chunks(value, max, out, |b| f64::from(enc.u16(b))),
        b"SS" => chunks(value, max, out, |b| f64::from(enc.u16(b) as i16)),
        b"UL" | b"OL" => chunks(value, max, out, |b| f64::from(enc.u32(b))),
        b"SL" => chunks(value, max, out, |b| f64::from(enc.u32(b) as i32)),
        b"FL" | b"OF" => chunks(value, max, out, |b| f64::from(f32::from_bits(enc.u32(b)))),
        b"FD" | b"OD" => chunks(value, max, out, |b| f64::from_bits(enc.u64(b))),
        b"UV" | b"OV" => chunks(value, max, out, |b| enc.u64(b) as f64),
        b"SV" => chunks(value, max, out, |b| enc.u64(b) as i64 as f64),
        _ => decimal_strings(value, max, out),
    }?;
    if out.iter().all(|number| number.is_finite()) {
        Ok(())
    } else {
        Err(Malformed)
    }
}

fn chunks<const N: usize>(
    value: &[u8],
    max: usize,
    out: &mut Vec<f64>,
    number: impl Fn([u8; N]) -> f64,
) -> Result<(), Malformed> {
    let (whole, rest) = value.as_chunks::<N>();
    if !rest.is_empty() || whole.len() > max {
        return Err(Malformed);
    }
    out.extend(whole.iter().map(|bytes| number(*bytes)));
    Ok(())
}

/// DS and IS: numbers in characters between backslashes.
fn decimal_strings(value: &[u8], max: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    let value = trim(value);
    if value.is_empty() {
        return Ok(());
    }
    for part in value.split(|byte| *byte == b'\\') {
        if out.len() == max {
            return Err(Malformed);
        }
        out.push(decimal(trim(part)).ok_or(Malformed)?);
    }
    Ok(())
}

/// One number. Rust's own parser takes words (`inf`, `nan`) that DS does not have.
fn decimal(text: &[u8]) -> Option<f64> {
    if let Some(number) = short_decimal(text) {
        return Some(number);
    }
    let allowed = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(allowed) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number of up to 15 digits and no exponent, which is most of what headers hold. The digits
/// and the power of ten are both exact in f64, so that their quotient is the nearest number.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 16 {
        return None;
    }
    let (mut whole, mut read, mut point_at) = (0i64, 0, None);
    for byte in digits {
        match byte {
            b'0'..=b'9' => whole = whole * 10 + i64::from(byte - b'0'),
            b'.' if point_at.is_none() => {
                point_at = Some(read);
                continue;
            }
            _ => return None,
        }
        read += 1;
    }
    if read == 0 || read > 15 {
        return None;
    }
    let decimals = point_at.map_or(0, |at| read - at);
    let number = whole as f64 / POWERS_OF_TEN[decimals];
    Some(if negative { -number } else { number })
}

const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number that has to be whole, within the range where f64 counts exactly.
pub(crate) fn whole(number: f64) -> Result<i64, Malformed> {
    let exact = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    if exact {
        Ok(number as i64)
    } else {
        Err(Malformed)
    }
}

/// TM as ms of the day. Takes the colons of ACR-NEMA too.
pub(crate) fn time_ms(value: &[u8]) -> Result<Option<f64>, Malformed> {
    let value = first(value);
    if value.is_empty() {
        return Ok(None);
    }
    let mut digits = value.iter().copied().filter(|byte| *byte != b':');
    let mut parts = [0u32; 3];
    let mut read = 0;
    let mut rest = None;
    'parts: for part in &mut parts {
        for _ in 0..2 {
            match digits.next() {
                Some(byte @ b'0'..=b'9') => *part = *part * 10 + u32::from(byte - b'0'),
                Some(byte) => {
                    rest = Some(byte);
                    break 'parts;
                }
                None => break 'parts,
            }
            read += 1;
        }
    }
    let fraction = fraction(rest.or_else(|| digits.next()), digits)?;
    let [hours, minutes, seconds] = parts;
    if read == 0 || read % 2 != 0 || hours > 23 || minutes > 59 || seconds > 60 {
        return Err(Malformed);
    }
    let whole = f64::from(hours * 3600 + minutes * 60 + seconds) * 1000.0;
    Ok(Some(whole + fraction))
}

/// The part of a second after its point, in ms.
fn fraction(point: Option<u8>, digits: impl Iterator<Item = u8>) -> Result<f64, Malformed> {
    match point {
        None => return Ok(0.0),
        Some(b'.') => {}
        Some(_) => return Err(Malformed),
    }
    let (mut micros, mut scale) = (0u32, 100_000u32);
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Malformed);
        }
        micros += u32::from(digit - b'0') * scale;
        scale /= 10;
    }
    Ok(f64::from(micros) / 1000.0)
}

/// DT as ms since the epoch; a value without an offset from UTC is taken as UTC, which is right
/// for differences within a series.
pub(crate) fn date_time_ms(value: &[u8]) -> Result<Option<f64>, Malformed> {
    let value = first(value);
    if value.is_empty() {
        return Ok(None);
    }
    let zone_at = value.iter().position(|byte| matches!(byte, b'+' | b'-'));
    let (local, zone) = value.split_at(zone_at.unwrap_or(value.len()));
    let (date, time) = local.split_at_checked(8).ok_or(Malformed)?;
    let days = date_days(date)?;
    let zone_minutes = match zone {
        [] => 0,
        [sign, rest @ ..] if rest.len() == 4 => {
            let minutes = number(&rest[..2])? * 60 + number(&rest[2..])?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return Err(Malformed),
    };
    let of_day = time_ms(time)?.unwrap_or(0.0);
    Ok(Some(
        days as f64 * 86_400_000.0 + of_day - zone_minutes as f64 * 60_000.0,
    ))
}

/// Days since 1970-01-01 of a date `YYYYMMDD`, in the Gregorian calendar.
fn date_days(date: &[u8]) -> Result<i64, Malformed> {
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[4..6])?,
        number(&date[6..])?,
    );
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Malformed);
    }
    // Years that begin in March put the leap day at their end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    Ok(year * 365 + leaps + of_year - 719_468)
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(digits
        .iter()
        .fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
}

/// The first of several values, trimmed.
fn first(value: &[u8]) -> &[u8] {
    trim(
        value
            .split(|byte| *byte == b'\\')
            .next()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::limits::VALUES_MAX;

    fn check(vr: &Vr, value: &[u8], expected: Result<&[f64], Malformed>) {
        let mut out = vec![99.0];
        let result = numbers(*vr, value, Encoding::EXPLICIT_LITTLE, VALUES_MAX, &mut out);
        assert_eq!(
            result.map(|()| out.as_slice()),
            expected,
            "{vr:?} {value:?}"
        );
    }

    #[test]
    fn numbers_of_each_representation() {
        check(b"US", &[1, 0, 255, 255], Ok(&[1.0, 65535.0]));
        check(b"SS", &[255, 255], Ok(&[-1.0]));
        check(b"UL", &[255, 255, 255, 255], Ok(&[4294967295.0]));
        check(b"SL", &[254, 255, 255, 255], Ok(&[-2.0]));
        check(b"FL", &1.5f32.to_le_bytes(), Ok(&[1.5]));
        check(b"FD", &(-0.1f64).to_le_bytes(), Ok(&[-0.1]));
        check(b"FD", &f64::NAN.to_le_bytes(), Err(Malformed));
        check(b"US", &[1], Err(Malformed));
        check(b"US", &[], Ok(&[]));
        check(b"DS", b"", Ok(&[]));
        check(b"DS", b"  ", Ok(&[]));
        check(b"DS", b"-1.5\\ 2e-3 \\+7\0", Ok(&[-1.5, 0.002, 7.0]));
        check(b"DS", b"0.1", Ok(&[0.1]));
        check(b"DS", b"-0", Ok(&[-0.0]));
        check(b"DS", b"9999999999999999", Ok(&[9999999999999999.0]));
        check(b"DS", b"1\\\\2", Err(Malformed));
        for bad in [
            &b"inf"[..],
            b"nan",
            b"1,5",
            b"0x10",
            b"--1",
            b"1 2",
            b"1e999",
            b"-",
        ] {
            check(b"DS", bad, Err(Malformed));
        }
        check(b"DS", &b"1\\".repeat(VALUES_MAX), Err(Malformed));
        let big = Encoding {
            explicit_vr: true,
            big_endian: true,
        };
        let mut out = Vec::new();
        assert_eq!(numbers(*b"US", &[0, 2], big, 1, &mut out), Ok(()));
        assert_eq!(out, [2.0]);
        let two = numbers(*b"US", &[0, 2, 0, 3], big, 1, &mut out);
        assert_eq!(two, Err(Malformed));
    }

    #[test]
    fn short_decimals_are_the_nearest_numbers() {
        for text in [
            "0.1",
            "-0.0",
            ".5",
            "5.",
            "-0.703125",
            "0.000000000001",
            "123456789012345",
            "12345.6789012345",
            "-999999999999.99",
            "0.30000000000000",
            "1.",
            "-.25",
            "00012.50",
        ] {
            let nearest: f64 = text.parse().expect("a number");
            let number = short_decimal(text.as_bytes()).expect(text);
            assert_eq!(number.to_bits(), nearest.to_bits(), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            "-.",
            "1.2.3",
            "1e5",
            "+1",
            "--1",
            "1234567890123456",
        ] {
            assert_eq!(short_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        assert_eq!(whole(5.0), Ok(5));
        assert_eq!(whole(-5.0), Ok(-5));
        assert_eq!(whole(5.5), Err(Malformed));
        assert_eq!(whole(1e300), Err(Malformed));
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("", Ok(None)),
            ("10", Ok(Some(36_000_000.0))),
            ("1030", Ok(Some(37_800_000.0))),
            ("103015", Ok(Some(37_815_000.0))),
            ("103015.25 ", Ok(Some(37_815_250.0))),
            ("10:30:15", Ok(Some(37_815_000.0))),
            ("000000.000001", Ok(Some(0.001))),
            ("103", Err(Malformed)),
            ("250000", Err(Malformed)),
            ("10x", Err(Malformed)),
            ("10.5x", Err(Malformed)),
            ("noon", Err(Malformed)),
        ] {
            assert_eq!(time_ms(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn dates_with_times() {
        for (text, expected) in [
            ("", Ok(None)),
            ("19700101", Ok(Some(0.0))),
            ("19700102000001.5", Ok(Some(86_401_500.0))),
            ("20000301", Ok(Some(951_868_800_000.0))),
            ("20240229", Ok(Some(1_709_164_800_000.0))),
            ("19700101010000+0100", Ok(Some(0.0))),
            ("19691231", Ok(Some(-86_400_000.0))),
            ("1970", Err(Malformed)),
            ("19701301", Err(Malformed)),
            ("19700101+1", Err(Malformed)),
        ] {
            assert_eq!(date_time_ms(text.as_bytes()), expected, "{text}");
        }
    }
}
