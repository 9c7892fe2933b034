//! The end of `volume.json`: which decoder made how many of the volume's frames so far. As long as
//! ever whatever it says, so that the size of the file follows from headers.

use std::collections::BTreeMap;

use super::Error;

/// Bytes from the end of what follows from headers to the end of the file: eight makers or more.
pub const MAKERS_LEN_BYTES: usize = 512;

/// What does not fit is counted as this.
const OTHERS: &str = "others";

/// `,"decoders":{...}`, spaces, `}` and a line feed.
pub(super) fn tail(made: &[(String, u64)]) -> Result<Vec<u8>, Error> {
    const END: &[u8] = b"}\n";
    let mut by_count: Vec<_> = made.iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let (mut shown, mut text) = (by_count.len(), Vec::new());
    loop {
        let mut named: BTreeMap<&str, u64> = BTreeMap::new();
        for (n, (name, count)) in by_count.iter().enumerate() {
            let name = if n < shown { name } else { OTHERS };
            *named.entry(name).or_default() += count;
        }
        text.clear();
        text.extend(b",\"decoders\":");
        serde_json::to_writer(&mut text, &named).map_err(|why| Error::Text {
            format: "json",
            why: why.to_string(),
        })?;
        if text.len() + END.len() <= MAKERS_LEN_BYTES || shown == 0 {
            break;
        }
        shown -= 1;
    }
    text.resize(MAKERS_LEN_BYTES - END.len(), b' ');
    text.extend(END);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(made: &[(String, u64)]) -> serde_json::Value {
        let tail = tail(made).unwrap();
        assert_eq!(tail.len(), MAKERS_LEN_BYTES);
        let document = [b"{\"format\":1", &tail[..]].concat();
        serde_json::from_slice::<serde_json::Value>(&document).unwrap()["decoders"].take()
    }

    #[test]
    fn it_is_json_of_one_length_whatever_it_says() {
        assert_eq!(parsed(&[]), serde_json::json!({}));
        let one = [("cuda:0 \"x\"".to_string(), u64::MAX)];
        assert_eq!(
            parsed(&one),
            serde_json::json!({ "cuda:0 \"x\"": u64::MAX })
        );
        let many: Vec<_> = (0..40)
            .map(|n| (format!("cuda:{n} jpeg 2000"), n))
            .collect();
        let value = parsed(&many);
        let counts = value.as_object().unwrap().values();
        let total: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(total, (0..40).sum::<u64>());
        assert_eq!(value["cuda:39 jpeg 2000"], 39);
        assert!(value["others"].as_u64().is_some());
        let long = [("x".repeat(1000), 3)];
        assert_eq!(parsed(&long), serde_json::json!({ "others": 3 }));
    }
}
