//! A volume as `dicomfs ls` knows it: a row of the index, and beside it what tells who it is of.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::format::table;
use crate::library::Card;

/// A row of `index.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub path: String,
    pub series_instance_uid: String,
    pub study_instance_uid: String,
    pub modality: String,
    pub shape: Vec<u64>,
    pub axes: String,
    pub dtype: String,
    pub spacing_mm: Option<[f64; 3]>,
    pub status: String,
    pub findings: Vec<String>,
    pub bytes: u64,
    pub frames: u64,
    pub transfer_syntax: Vec<String>,
    /// What the index of a mount does not tell.
    #[serde(skip)]
    pub person: Option<Person>,
    /// Lines of `findings.jsonl`: code and detail.
    #[serde(skip)]
    pub details: Vec<(String, String)>,
}

/// What may identify a patient.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    pub patient_id: String,
    /// YYYYMMDD, or whatever is in its place.
    pub study_date: String,
    pub description: String,
}

/// A line of `findings.jsonl`.
#[derive(Deserialize)]
pub struct FindingLine {
    /// `series/<name>`; absent for a file in no volume.
    pub volume: Option<String>,
    pub code: String,
    pub detail: String,
}

/// How many columns `index.csv` has.
pub const INDEX_COLUMNS: usize = table::COLUMNS.len();

/// Those that may identify a patient.
const PERSON_COLUMNS: [&str; 3] = ["patient_id", "study_date", "description"];

/// The columns of `index.csv`, then those that may identify a patient.
pub const COLUMNS: [&str; INDEX_COLUMNS + PERSON_COLUMNS.len()] = {
    let mut all = [""; INDEX_COLUMNS + PERSON_COLUMNS.len()];
    let (index, person) = all.split_at_mut(INDEX_COLUMNS);
    index.copy_from_slice(&table::COLUMNS);
    person.copy_from_slice(&PERSON_COLUMNS);
    all
};

/// The lines of a text that hold something.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// A text from a header as a terminal may have it: no sign in it does anything.
pub fn printable(text: &str) -> String {
    let is_bidi = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c.is_control() || is_bidi(c) {
        true => '?',
        false => c,
    };
    text.chars().map(shown).collect()
}

impl Row {
    /// The row of a card.
    ///
    /// # Errors
    /// The card is damaged.
    pub fn of(card: &Card) -> Result<Row> {
        let mut row = Row::parse(&card.index_jsonl)?;
        for line in lines(&card.findings) {
            let line: FindingLine = serde_json::from_slice(line).context("a damaged card")?;
            row.details.push((line.code, line.detail));
        }
        row.person = Some(Person {
            patient_id: card.shown.patient_id.to_string(),
            study_date: card.shown.study_date.to_string(),
            description: card.shown.description.to_string(),
        });
        Ok(row)
    }

    /// A line of `index.jsonl`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(line: &[u8]) -> Result<Row> {
        serde_json::from_slice(line).context("a damaged row of the index")
    }

    /// Name of the volume's directory.
    pub fn name(&self) -> &str {
        self.path.strip_prefix("series/").unwrap_or(&self.path)
    }

    /// Name and what else tells volumes apart, for a list to choose from.
    pub fn in_short(&self) -> String {
        let modality = printable(&self.modality);
        let shape = self.text("shape");
        format!("{}  {modality} {shape} {}", self.name(), self.status)
    }

    /// Slices: the length of the z axis, or frames where there is none.
    pub fn slices(&self) -> u64 {
        let z = self.axes.find('z');
        let slices = z.and_then(|at| self.shape.get(at));
        slices.copied().unwrap_or(self.frames)
    }

    /// A column as `index.csv` has it.
    pub fn text(&self, column: &str) -> String {
        let person = self.person.as_ref();
        let of_person = |of: fn(&Person) -> &String| person.map(of).cloned().unwrap_or_default();
        match column {
            "path" => self.path.clone(),
            "series_instance_uid" => self.series_instance_uid.clone(),
            "study_instance_uid" => self.study_instance_uid.clone(),
            "modality" => self.modality.clone(),
            "shape" => joined(&self.shape, "x"),
            "axes" => self.axes.clone(),
            "dtype" => self.dtype.clone(),
            "spacing_mm" => self
                .spacing_mm
                .map(|mm| joined(&mm, "x"))
                .unwrap_or_default(),
            "status" => self.status.clone(),
            "findings" => self.findings.join(" "),
            "bytes" => self.bytes.to_string(),
            "frames" => self.frames.to_string(),
            "transfer_syntax" => self.transfer_syntax.join(" "),
            "patient_id" => of_person(|person| &person.patient_id),
            "study_date" => of_person(|person| &person.study_date),
            "description" => of_person(|person| &person.description),
            _ => String::new(),
        }
    }

    /// The row as an object of these columns, in one line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn json(&self, columns: &[&str]) -> Result<String> {
        let whole = serde_json::to_value(self)?;
        let mut text = String::new();
        for (n, column) in columns.iter().enumerate() {
            let lead = if n == 0 { '{' } else { ',' };
            let value = match whole.get(column) {
                Some(value) => value.clone(),
                None => Json::String(self.text(column)),
            };
            // Writing to a String cannot fail.
            let _ = write!(text, "{lead}\"{column}\":{value}");
        }
        text.push('}');
        Ok(text)
    }
}

fn joined<T: ToString>(values: &[T], separator: &str) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_and_written_as_the_index_has_it() {
        let line = r#"{"path":"series/1.2","series_instance_uid":"1.2","study_instance_uid":"1.1","modality":"CT","shape":[2,3,4],"axes":"zyx","dtype":"<i2","spacing_mm":[1.0,0.30000000000000004,0.7],"status":"warn","findings":["a","b"],"bytes":48,"frames":2,"transfer_syntax":["1.2.840"]}"#;
        let mut row = Row::parse(line.as_bytes()).expect("a row");
        assert_eq!(row.json(&COLUMNS[..INDEX_COLUMNS]).expect("written"), line);
        assert_eq!(row.text("spacing_mm"), "1x0.30000000000000004x0.7");
        assert_eq!((row.name(), row.slices()), ("1.2", 2));
        let short = row.json(&["bytes", "patient_id"]).expect("written");
        assert_eq!(short, r#"{"bytes":48,"patient_id":""}"#);
        row.axes = "fyx".into();
        row.frames = 9;
        assert_eq!(row.slices(), 9);
        assert!(Row::parse(b"{}").is_err());
    }

    #[test]
    fn nothing_in_a_header_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d\u{e4}"), "a?[2Jb?c?d\u{e4}");
    }
}
