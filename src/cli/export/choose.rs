//! Which volume a user means: its name, a path that has it, or enough of its beginning. Pure.

use anyhow::{Result, bail};

/// Candidates that are shown where a name could mean several.
const SHOWN_MAX: usize = 10;

/// The part of a word that names a volume: what follows `series/` in a path, else the word.
pub fn name_in(word: &str) -> &str {
    let mut parts = word.split('/').filter(|part| !part.is_empty());
    if parts.clone().count() > 1 && parts.any(|part| part == "series") {
        return parts.next().unwrap_or_default();
    }
    word.trim_end_matches('/')
}

/// The one of `names` (sorted) that `word` means.
///
/// # Errors
/// None of them, or several: the error names them, as `describe` has them.
pub fn choose<'a>(
    names: &[&'a str],
    word: &str,
    describe: impl Fn(&str) -> String,
) -> Result<&'a str> {
    let name = name_in(word);
    if name.is_empty() {
        bail!("which series? `dicomfs ls` shows their names");
    }
    if let Some(found) = names.iter().find(|known| **known == name) {
        return Ok(found);
    }
    let like: Vec<&&str> = names.iter().filter(|n| n.starts_with(name)).collect();
    match like[..] {
        [only] => Ok(only),
        [] => bail!("the archive has no series {name}: `dicomfs ls` shows what it has"),
        _ => {
            let mut lines: Vec<String> = like
                .iter()
                .take(SHOWN_MAX)
                .map(|name| format!("  {}", describe(name)))
                .collect();
            let more = like.len().saturating_sub(SHOWN_MAX);
            if more > 0 {
                lines.push(format!("  and {more} more"));
            }
            let lines = lines.join("\n");
            bail!("{} volumes begin with {name}:\n{lines}", like.len())
        }
    }
}

/// Other volumes of the same series: `1.2_e2` beside `1.2`.
pub fn siblings<'a>(names: &[&'a str], chosen: &str) -> Vec<&'a str> {
    let uid = chosen.split('_').next().unwrap_or_default();
    let of_series = |name: &&str| name.split('_').next() == Some(uid) && **name != *chosen;
    names.iter().copied().filter(of_series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["1.2.3", "1.2.3_e2", "1.2.34", "1.2.4", "2.5"];

    fn chosen(word: &str) -> Result<&'static str, String> {
        choose(&NAMES, word, |name| format!("<{name}>")).map_err(|why| why.to_string())
    }

    #[test]
    fn a_name_a_path_or_a_beginning_will_do() {
        let cases = [
            ("1.2.3", "1.2.3"),
            ("1.2.3_e2", "1.2.3_e2"),
            ("1.2.3_", "1.2.3_e2"),
            ("2", "2.5"),
            ("1.2.4/", "1.2.4"),
            ("series/1.2.3", "1.2.3"),
            ("/mnt/dicom/series/1.2.3_e2/volume.f32.npy", "1.2.3_e2"),
            ("series/1.2.34/", "1.2.34"),
        ];
        for (word, name) in cases {
            assert_eq!(chosen(word).as_deref(), Ok(name), "{word}");
        }
    }

    #[test]
    fn what_is_not_one_volume_is_said() {
        let several = chosen("1.2").expect_err("several");
        assert!(several.starts_with("4 volumes begin with 1.2:\n  <1.2.3>"));
        for (word, words) in [
            ("", "which series"),
            ("/", "which series"),
            ("series/", "no series"),
            ("3", "no series 3"),
            ("1.2.3_e3", "no series"),
        ] {
            assert!(chosen(word).expect_err(word).contains(words), "{word}");
        }
        let many: Vec<String> = (10..30).map(|n| format!("1.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let why = choose(&many, "1.", str::to_string).expect_err("many");
        assert!(why.to_string().ends_with("and 10 more"), "{why}");
    }

    #[test]
    fn volumes_of_one_series_know_each_other() {
        assert_eq!(siblings(&NAMES, "1.2.3"), ["1.2.3_e2"]);
        assert_eq!(siblings(&NAMES, "1.2.3_e2"), ["1.2.3"]);
        assert!(siblings(&NAMES, "1.2.34").is_empty());
    }
}
