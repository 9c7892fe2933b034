//! The compressed frames of the data set, as a mount reads them.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::fs::File;
use std::path::Path;

use dicomfs::dicom::syntax::{self, CodecFamily};
use dicomfs::dicom::{FrameTable, Header, ImagePixel, read_full_at, read_header};

use super::common;

/// One encoded frame.
pub struct Frame {
    /// The file under the data set's directory, and the frame's number from 1.
    pub name: String,
    pub uid: String,
    pub image: ImagePixel,
    pub encoded: Vec<u8>,
}

/// All frames in JPEG 2000 and HTJ2K syntaxes; `None` after saying that there is no data set.
pub fn all(test: &str) -> Option<Vec<Frame>> {
    of(test, &[CodecFamily::Jpeg2000, CodecFamily::HtJ2k])
}

/// All frames in the syntaxes of these families; `None` after saying that there is no data set.
pub fn of(test: &str, ours: &[CodecFamily]) -> Option<Vec<Frame>> {
    let dir = common::data_dir(test)?;
    let manifest = std::fs::read_to_string(dir.join("MANIFEST.json")).expect("MANIFEST.json");
    let manifest: Vec<serde_json::Value> = serde_json::from_str(&manifest).expect("a list");
    let mut frames = Vec::new();
    for entry in &manifest {
        let uid = entry["expected"]["transfer_syntax"].as_str();
        let facts = uid.and_then(syntax::by_uid);
        if facts.is_some_and(|facts| ours.contains(&facts.codec)) {
            let name = entry["file"].as_str().expect("a path");
            frames.extend(of_file(&dir, name).unwrap_or_default());
        }
    }
    assert!(!frames.is_empty(), "none of them in the data set");
    Some(frames)
}

/// The frames of one file; `None` where a mount would show none.
fn of_file(dir: &Path, name: &str) -> Option<Vec<Frame>> {
    let file = File::open(dir.join(name)).ok()?;
    let len = file.metadata().ok()?.len();
    let Ok(Header::Instance(instance)) = read_header(&file, len) else {
        return None;
    };
    let (image, location) = (instance.image?, instance.pixel_data?);
    let uid = instance.transfer_syntax_uid;
    let codec = syntax::by_uid(&uid)?.codec;
    let table = FrameTable::read(&file, len, &location, image.number_of_frames, codec).ok()?;
    let mut frames = Vec::new();
    for index in 0..image.number_of_frames {
        let mut encoded = Vec::new();
        for fragment in table.frame(index)?.fragments {
            let at = encoded.len();
            encoded.resize(at + fragment.length_bytes as usize, 0);
            let got = read_full_at(&file, fragment.offset_bytes, &mut encoded[at..]).ok()?;
            encoded.truncate(at + got);
        }
        frames.push(Frame {
            name: format!("{name} {}", index + 1),
            uid: uid.clone(),
            image: image.clone(),
            encoded,
        });
    }
    Some(frames)
}
