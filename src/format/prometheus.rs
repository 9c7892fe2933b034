//! The text format that Prometheus reads (exposition format 0.0.4): families of samples. Pure.
//!
//! Each family is written once, whole, with its HELP and TYPE, so that a text made with this is
//! always in order. Knows no metric.

use std::fmt::Write;

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow while a process lives.
    Counter,
    /// They go up and down.
    Gauge,
}

/// A sample: its labels, by name and value, and its number.
pub type Sample<'a> = (Vec<(&'a str, &'a str)>, f64);

/// A text under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Writes a family of one number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(Kind::Counter, name, help, &[(Vec::new(), value)]);
    }

    /// Writes a family of one number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(Kind::Gauge, name, help, &[(Vec::new(), value)]);
    }

    /// Writes a family; one without samples is left out. Of each set of labels there is to be one
    /// sample.
    pub fn family(&mut self, kind: Kind, name: &str, help: &str, samples: &[Sample<'_>]) {
        if samples.is_empty() {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.head(name, help, kind);
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// Writes a histogram: `classes` are upper ends, ascending, each with how many samples are in
    /// its class alone; `above` are those beyond the last.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        classes: &[(f64, u64)],
        above: u64,
        sum: f64,
    ) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (end, count) in classes {
            total += count;
            self.sample(&bucket, &[("le", &number(*end))], total as f64);
        }
        total += above;
        self.sample(&bucket, &[("le", "+Inf")], total as f64);
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], total as f64);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let lead = if n == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', "\\\"");
            let text = text.replace('\n', r"\n");
            let _ = write!(self.text, "{lead}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {}", number(value));
    }
}

/// The shortest text that reads back as the same number.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_format_has_them() {
        let mut text = Exposition::default();
        text.counter("a_total", "What\nit \\ is.", 3.0);
        text.family(
            Kind::Gauge,
            "b_bytes",
            "B.",
            &[
                (vec![("x", "1"), ("y", "a\"b\\c\nd")], 0.5),
                (vec![("x", "2"), ("y", "")], f64::INFINITY),
            ],
        );
        text.family(Kind::Gauge, "empty", "Nothing.", &[]);
        text.histogram("h_seconds", "H.", &[(0.001, 2), (1.0, 3)], 4, 1.25);
        let expected = "\
# HELP a_total What\\nit \\\\ is.
# TYPE a_total counter
a_total 3
# HELP b_bytes B.
# TYPE b_bytes gauge
b_bytes{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.5
b_bytes{x=\"2\",y=\"\"} +Inf
# HELP h_seconds H.
# TYPE h_seconds histogram
h_seconds_bucket{le=\"0.001\"} 2
h_seconds_bucket{le=\"1\"} 5
h_seconds_bucket{le=\"+Inf\"} 9
h_seconds_sum 1.25
h_seconds_count 9
";
        assert_eq!(text.into_text(), expected);
    }
}
