//! The data set's oracles: what each file must decode to, and how to compare a volume with that.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use md5::{Digest, Md5};
use serde_json::Value;

/// A JSON file.
pub fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The stored frames of a file, by their 1-based number.
pub type Frames = BTreeMap<u64, Vec<u8>>;

/// Adds the frames of a volume, as `volume.json` and `volume.stored.raw` have them, to those of the
/// files they come from. Tiles are put back into the frame that they were cut from.
pub fn gather(json: &Value, slab: &[u8], files: &mut HashMap<String, Frames>) {
    let frames = json["frames"].as_array().expect("frames");
    let frame_len = slab.len() / frames.len();
    let size = |keyword: &str| json["dicom"][keyword].as_u64().expect("a size") as usize;
    let shape = json["shape"].as_array().expect("a shape");
    let columns = shape.last().and_then(Value::as_u64).expect("columns") as usize;
    for (frame, bytes) in frames.iter().zip(slab.chunks(frame_len)) {
        let Some(file) = frame["file"].as_str() else {
            assert!(bytes.iter().all(|byte| *byte == 0), "not stored, not zeros");
            continue;
        };
        let number = frame["frame_number"].as_u64().expect("frame_number");
        let stored = files.entry(file.to_string()).or_default();
        let stored = stored.entry(number).or_default();
        let Some(tile) = frame["tile"].as_array() else {
            stored.extend_from_slice(bytes);
            continue;
        };
        let at = |axis: usize| tile[axis].as_u64().expect("a number") as usize;
        let line_len = frame_len / (shape[shape.len() - 2].as_u64().expect("rows") as usize);
        let sample_len = line_len / columns;
        stored.resize(size("Rows") * size("Columns") * sample_len, 0);
        for (row, line) in bytes.chunks(line_len).enumerate() {
            let start = ((at(0) + row) * size("Columns") + at(1)) * sample_len;
            stored[start..start + line_len].copy_from_slice(line);
        }
    }
}

/// md5 of a file's frames in stored order, whichever volumes they were in.
pub fn digest(frames: &Frames) -> String {
    let mut md5 = Md5::new();
    frames.values().for_each(|bytes| md5.update(bytes));
    format!("{:x}", md5.finalize())
}
