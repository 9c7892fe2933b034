//! Rows as text: a table for people, csv and json for programs. Pure.

use anyhow::Result;
use clap::ValueEnum;
use console::{measure_text_width, truncate_str};

use super::row::{Row, printable};

/// How the list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people; not made to be parsed.
    #[default]
    Table,
    /// As index.csv of a mount.
    Csv,
    /// One array of objects.
    Json,
    /// As index.jsonl of a mount: an object a line.
    Jsonl,
}

/// A column of the table: its heading, and what stands in it.
type Column = (String, Box<dyn Fn(&Row) -> String>);

/// Widest column but the last, in cells of a terminal; of no meaning where nobody looks.
const COLUMN_CELLS_MAX: usize = 40;

/// What stands for what was cut.
const CUT: &str = "...";

/// Spaces before a finding.
const FINDING_INDENT: &str = "         ";

/// The table. `columns` are those asked for by name; without any the usual ones, `persons` among
/// them or not. `cells` is the width of the terminal, `None` for none.
pub fn table(
    rows: &[Row],
    columns: &[&'static str],
    persons: bool,
    cells: Option<usize>,
) -> String {
    let is_usual = columns.is_empty();
    let columns = match is_usual {
        true => usual(persons),
        false => columns.iter().map(|name| named(name)).collect(),
    };
    let texts: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, of)| printable(&of(row))).collect())
        .collect();
    let most = cells.map_or(usize::MAX, |_| COLUMN_CELLS_MAX);
    let width = |at: usize| {
        let all = texts.iter().filter_map(|row| row.get(at));
        let widest = all.map(|text| measure_text_width(text)).max().unwrap_or(0);
        widest.max(columns[at].0.len()).min(most)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let headings: Vec<String> = columns.iter().map(|(heading, _)| heading.clone()).collect();
    let mut out = line(&headings, &widths);
    for (row, texts) in rows.iter().zip(&texts) {
        out += &line(texts, &widths);
        if is_usual && row.status != "ok" {
            for (code, detail) in &row.details {
                let finding = format!("{FINDING_INDENT}{code}: {}", printable(detail));
                let finding = match cells {
                    Some(cells) => truncate_str(&finding, cells, CUT).into_owned(),
                    None => finding,
                };
                out += &finding;
                out.push('\n');
            }
        }
    }
    out
}

fn usual(persons: bool) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![
        column("STATUS", |row| row.status.clone()),
        column("MOD", |row| row.modality.clone()),
        column("SHAPE", |row| row.text("shape")),
        column("TYPE", |row| row.dtype.clone()),
        column("SPACING (mm)", |row| {
            let text = |mm: [f64; 3]| mm.map(|mm| format!("{mm:.3}")).join(" x ");
            row.spacing_mm.map_or_else(|| "-".into(), text)
        }),
    ];
    if persons {
        columns.push(column("PATIENT", |row| row.text("patient_id")));
        columns.push(column("DATE", |row| row.text("study_date")));
        columns.push(column("DESCRIPTION", |row| row.text("description")));
    }
    columns.push(column("SERIES", |row| row.name().to_string()));
    columns
}

fn column(heading: &str, of: fn(&Row) -> String) -> Column {
    (heading.into(), Box::new(of))
}

fn named(name: &'static str) -> Column {
    (name.to_uppercase(), Box::new(move |row| row.text(name)))
}

/// All but the last padded to their widths, or cut; the last one is what is copied from a terminal.
fn line(texts: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (n, (text, width)) in texts.iter().zip(widths).enumerate() {
        if n + 1 == texts.len() {
            line += text;
            break;
        }
        let text = truncate_str(text, *width, CUT);
        let pad = width.saturating_sub(measure_text_width(&text)) + 1;
        line += &text;
        line.extend(std::iter::repeat_n(' ', pad));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// Rows for programs.
///
/// # Errors
/// They cannot be written.
pub fn records(rows: &[Row], format: Format, columns: &[&str]) -> Result<Vec<u8>> {
    if format == Format::Csv {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns)?;
        for row in rows {
            writer.write_record(columns.iter().map(|column| row.text(column)))?;
        }
        return writer.into_inner().map_err(|why| why.into_error().into());
    }
    let objects = rows.iter().map(|row| row.json(columns));
    let objects = objects.collect::<Result<Vec<String>>>()?;
    let text = match format {
        Format::Json if objects.is_empty() => "[]\n".into(),
        Format::Json => format!("[\n{}\n]\n", objects.join(",\n")),
        _ => objects.iter().map(|object| format!("{object}\n")).collect(),
    };
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ls::row::Person;

    fn rows() -> Vec<Row> {
        let person = |id: &str, description: &str| {
            Some(Person {
                patient_id: id.into(),
                study_date: "20260301".into(),
                description: description.into(),
            })
        };
        let wide = "\u{80f8}\u{90e8}".to_string();
        vec![
            Row {
                path: "series/1.2".into(),
                modality: "CT".into(),
                shape: vec![5, 16, 16],
                dtype: "<i2".into(),
                spacing_mm: Some([2.0, 0.5, 0.5]),
                status: "ok".into(),
                person: person("p1", &wide),
                details: vec![("lossy".into(), "not shown of what is ok".into())],
                ..Row::default()
            },
            Row {
                path: "series/1.3".into(),
                modality: "MR".into(),
                shape: vec![600, 512, 512],
                dtype: "<f4".into(),
                status: "warn".into(),
                person: person("p2", "a,\"b\"\x1b[2J"),
                details: vec![(
                    "missing_slices".into(),
                    "one, and a long story about it".into(),
                )],
                ..Row::default()
            },
        ]
    }

    #[test]
    fn a_table_lines_up_and_names_nobody_unasked() {
        let expected = "\
STATUS MOD SHAPE       TYPE SPACING (mm)          SERIES
ok     CT  5x16x16     <i2  2.000 x 0.500 x 0.500 1.2
warn   MR  600x512x512 <f4  -                     1.3
         missing_slices: one, and a long story about it
";
        assert_eq!(table(&rows(), &[], false, None), expected);
        let narrow = table(&rows(), &[], false, Some(40));
        assert!(
            narrow.contains("\n         missing_slices: one, and a l...\n"),
            "{narrow}"
        );
        let asked = table(&rows(), &[], true, None);
        let lines: Vec<&str> = asked.lines().collect();
        assert!(
            lines[0].ends_with("PATIENT DATE     DESCRIPTION SERIES"),
            "{asked}"
        );
        // Two signs of two cells each.
        assert!(
            lines[1].ends_with("p1      20260301 \u{80f8}\u{90e8}        1.2"),
            "{asked}"
        );
        assert!(lines[2].ends_with("a,\"b\"?[2J   1.3"), "{asked}");
    }

    #[test]
    fn columns_may_be_chosen() {
        let text = table(&rows(), &["bytes", "path"], false, None);
        assert_eq!(text, "BYTES PATH\n0     series/1.2\n0     series/1.3\n");
        let csv = records(&rows(), Format::Csv, &["path", "description"]).expect("csv");
        let csv = String::from_utf8(csv).expect("text");
        assert!(csv.starts_with("path,description\nseries/1.2,"), "{csv}");
        assert!(csv.contains("\"a,\"\"b\"\"\x1b[2J\""), "{csv}");
        let json = records(&rows(), Format::Json, &["path", "shape"]).expect("json");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("an array");
        assert_eq!(json[1]["shape"][0], 600);
        let none = records(&[], Format::Json, &["path"]).expect("json");
        assert_eq!(none, b"[]\n");
    }
}
