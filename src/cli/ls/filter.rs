//! Which volumes are listed, and in which order. Pure.

use std::cmp::Ordering;

use clap::{Args, ValueEnum};

use super::row::{COLUMNS, Row};

/// The verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Nothing is wrong.
    Ok,
    /// Usable: read the findings.
    Warn,
    /// Geometry is not to be trusted.
    Bad,
}

/// Flags that choose volumes; of several all have to fit.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which volumes")]
pub struct Filter {
    /// Only these modalities: CT,MR
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub modality: Vec<String>,

    /// Only these verdicts: ok,warn
    #[arg(long, value_name = "VERDICTS", value_delimiter = ',')]
    pub status: Vec<Status>,

    /// Only this PatientID; * and ? stand for anything
    #[arg(long, value_name = "ID")]
    pub patient: Option<String>,

    /// Only this Study Instance UID; * and ? stand for anything
    #[arg(long, value_name = "UID")]
    pub study: Option<String>,

    /// Only this SeriesDescription, in capitals or not; * and ? stand for anything: '*chest*'
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,

    /// Only volumes of so many slices or more (frames where there are no slices)
    #[arg(long, value_name = "COUNT")]
    pub min_slices: Option<u64>,

    /// Only studies of this day or later: 2026-11-21; also 2026-11 or 2026
    #[arg(long, value_name = "DATE", value_parser = first_day)]
    pub since: Option<Day>,

    /// Only studies of this day or earlier
    #[arg(long, value_name = "DATE", value_parser = last_day)]
    pub until: Option<Day>,
}

/// A day as YYYYMMDD, whose order is that of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u32);

impl Day {
    /// Of a DICOM date, in the present form or that of ACR-NEMA (1997.04.24).
    fn of_header(text: &str) -> Option<Day> {
        let digits = text.trim().replace('.', "");
        (digits.len() == 8).then(|| digits.parse().ok().map(Day))?
    }
}

fn first_day(text: &str) -> Result<Day, String> {
    day(text, "0101")
}

fn last_day(text: &str) -> Result<Day, String> {
    day(text, "1231")
}

/// `rest` is what a date without a month and a day gets.
fn day(text: &str, rest: &str) -> Result<Day, String> {
    let wrong = || "write a date: 2026-11-21, 20261121, 2026-11 or 2026".to_string();
    let digits = text.replace('-', "");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![4, 6, 8].contains(&digits.len()) {
        return Err(wrong());
    }
    let missing = rest.get(digits.len() - 4..).unwrap_or_default();
    let whole = format!("{digits}{missing}");
    let number: u32 = whole.parse().map_err(|_| wrong())?;
    let (month, day) = (number / 100 % 100, number % 100);
    match (1..=12).contains(&month) && (1..=31).contains(&day) {
        true => Ok(Day(number)),
        false => Err(wrong()),
    }
}

impl Filter {
    /// True if nothing is left out.
    pub fn is_open(&self) -> bool {
        let words = self.modality.is_empty() && self.status.is_empty() && self.study.is_none();
        words && self.min_slices.is_none() && !self.asks_for_persons()
    }

    /// True if it takes what the index of a mount does not tell.
    pub fn asks_for_persons(&self) -> bool {
        let dates = self.since.is_some() || self.until.is_some();
        dates || self.patient.is_some() || self.description.is_some()
    }

    /// True for a row that is to be listed.
    pub fn takes(&self, row: &Row) -> bool {
        let lower = |text: &str| text.to_lowercase();
        let modality = |wanted: &String| glob(&lower(wanted), &lower(&row.modality));
        let status = |wanted: &Status| row.status == status_word(*wanted);
        let person = row.person.clone().unwrap_or_default();
        let is_like = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| glob(pattern, text))
        };
        let description = self.description.as_deref().map(lower);
        let date = Day::of_header(&person.study_date);
        (self.modality.is_empty() || self.modality.iter().any(modality))
            && (self.status.is_empty() || self.status.iter().any(status))
            && is_like(&self.patient, &person.patient_id)
            && is_like(&self.study, &row.study_instance_uid)
            && is_like(&description, &lower(&person.description))
            && self.min_slices.is_none_or(|least| row.slices() >= least)
            && self
                .since
                .is_none_or(|since| date.is_some_and(|date| date >= since))
            && self
                .until
                .is_none_or(|until| date.is_some_and(|date| date <= until))
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Bad => "bad",
    }
}

/// Whether `text` is what `pattern` says, whole: `*` is any signs, `?` is one.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // After the last star: where in the pattern, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// A column to list or to sort by, for clap.
///
/// # Errors
/// There is no such column.
pub fn column(name: &str) -> Result<&'static str, String> {
    let found = COLUMNS.iter().find(|column| **column == name);
    found
        .copied()
        .ok_or_else(|| format!("the columns are {}", COLUMNS.join(", ")))
}

/// Sorts rows by a column, and rows that are equal in it by path.
pub fn sort(rows: &mut [Row], column: &str, is_reverse: bool) {
    let order = |a: &Row, b: &Row| -> Ordering {
        let first = match column {
            "bytes" => a.bytes.cmp(&b.bytes),
            "frames" => a.frames.cmp(&b.frames),
            "shape" => a.shape.cmp(&b.shape),
            "status" => rank(a).cmp(&rank(b)),
            _ => a.text(column).cmp(&b.text(column)),
        };
        let first = if is_reverse { first.reverse() } else { first };
        first.then_with(|| a.path.cmp(&b.path))
    };
    rows.sort_by(order);
}

/// The worst last.
fn rank(row: &Row) -> usize {
    ["ok", "warn", "bad"]
        .iter()
        .position(|word| row.status == *word)
        .unwrap_or(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ls::row::Person;

    #[test]
    fn patterns() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "a", true),
            ("*b*", "abc", true),
            ("*b?", "abbc", true),
            ("*bb", "abab", false),
            ("a*b*c", "axxbyyc", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("?", "", false),
            ("\u{e4}?", "\u{e4}\u{f6}", true),
            (
                "********************************b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(first_day("2026"), Ok(Day(20_260_101)));
        assert_eq!(last_day("2026"), Ok(Day(20_261_231)));
        assert_eq!(last_day("2026-02"), Ok(Day(20_260_231)));
        assert_eq!(first_day("2026-11-21"), Ok(Day(20_261_121)));
        assert_eq!(first_day("20261121"), Ok(Day(20_261_121)));
        for wrong in [
            "",
            "26",
            "2026-13",
            "2026-00-01",
            "yesterday",
            "2026-11-2",
            "+2026011",
        ] {
            assert!(first_day(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Day::of_header("1997.04.24"), Some(Day(19_970_424)));
        assert_eq!(Day::of_header(""), None);
    }

    fn row(modality: &str, status: &str, id: &str, date: &str, slices: u64) -> Row {
        Row {
            path: format!("series/{id}{date}"),
            modality: modality.into(),
            status: status.into(),
            study_instance_uid: format!("1.{id}"),
            axes: "zyx".into(),
            shape: vec![slices, 2, 2],
            person: Some(Person {
                patient_id: id.into(),
                study_date: date.into(),
                description: "Chest AX".into(),
            }),
            ..Row::default()
        }
    }

    #[test]
    fn all_that_is_asked_has_to_fit() {
        let row = row("CT", "warn", "p7", "20260301", 40);
        let takes = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.takes(&row)
        };
        let day = |text| first_day(text).ok();
        type Case<'a> = (bool, &'a dyn Fn(&mut Filter));
        let cases: [Case<'_>; 16] = [
            (true, &|_| {}),
            (true, &|f| f.modality = vec!["mr".into(), "ct".into()]),
            (false, &|f| f.modality = vec!["MR".into()]),
            (true, &|f| f.status = vec![Status::Bad, Status::Warn]),
            (false, &|f| f.status = vec![Status::Ok]),
            (true, &|f| f.patient = Some("p?".into())),
            (false, &|f| f.patient = Some("P7".into())),
            (true, &|f| f.study = Some("1.p7".into())),
            (true, &|f| f.description = Some("*CHEST*".into())),
            (false, &|f| f.description = Some("chest".into())),
            (true, &|f| f.min_slices = Some(40)),
            (false, &|f| f.min_slices = Some(41)),
            (true, &|f| f.since = day("2026-03-01")),
            (false, &|f| f.since = day("2026-03-02")),
            (true, &|f| f.until = last_day("2026-03").ok()),
            (false, &|f| f.until = day("2026-02")),
        ];
        for (n, (expected, change)) in cases.into_iter().enumerate() {
            assert_eq!(takes(change), expected, "case {n}");
        }
        let both = Filter {
            modality: vec!["CT".into()],
            min_slices: Some(41),
            ..Filter::default()
        };
        assert!(!both.takes(&row) && !both.is_open() && Filter::default().is_open());
    }

    #[test]
    fn the_worst_comes_last_and_equals_by_path() {
        let mut rows = [
            row("CT", "bad", "b", "1", 1),
            row("CT", "ok", "c", "1", 9),
            row("CT", "ok", "a", "1", 10),
        ];
        let ids = |rows: &[Row]| {
            rows.iter()
                .map(|r| r.text("patient_id"))
                .collect::<String>()
        };
        sort(&mut rows, "status", false);
        assert_eq!(ids(&rows), "acb");
        sort(&mut rows, "shape", true);
        assert_eq!(ids(&rows), "acb");
        sort(&mut rows, "shape", false);
        assert_eq!(ids(&rows), "bca");
        assert!(column("bytes").is_ok() && column("size").is_err());
    }
}
