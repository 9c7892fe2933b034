//! For tests only: datasets built element by element, and the real files where they are at hand.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::header::Encoding;

/// Length that says "until the delimiter".
pub(crate) const UNDEFINED: u32 = u32::MAX;

/// Builds a dataset in one encoding.
#[derive(Clone)]
pub(crate) struct Builder {
    encoding: Encoding,
    pub(crate) bytes: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(encoding: Encoding) -> Builder {
        Builder {
            encoding,
            bytes: Vec::new(),
        }
    }

    fn u16(&mut self, number: u16) {
        let big = self.encoding.big_endian;
        let bytes = if big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    fn u32(&mut self, number: u32) {
        let big = self.encoding.big_endian;
        let bytes = if big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    /// An element's header alone.
    pub(crate) fn header(mut self, tag: u32, vr: &str, length: u32) -> Builder {
        self.u16((tag >> 16) as u16);
        self.u16(tag as u16);
        let long = matches!(
            vr,
            "OB" | "OD" | "OF" | "OL" | "OV" | "OW" | "SQ" | "UN" | "UT" | "UC"
        );
        if self.encoding.explicit_vr && !vr.is_empty() {
            self.bytes.extend(vr.as_bytes());
            if long {
                self.bytes.extend([0, 0]);
                self.u32(length);
            } else {
                self.u16(length as u16);
            }
        } else {
            self.u32(length);
        }
        self
    }

    /// An element with these bytes as its value.
    pub(crate) fn raw(self, tag: u32, vr: &str, value: &[u8]) -> Builder {
        let mut builder = self.header(tag, vr, value.len() as u32);
        builder.bytes.extend(value);
        builder
    }

    /// An element of text, padded to an even length.
    pub(crate) fn text(self, tag: u32, vr: &str, value: &str) -> Builder {
        let mut padded = value.as_bytes().to_vec();
        if padded.len() % 2 == 1 {
            padded.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.raw(tag, vr, &padded)
    }

    /// An element of one US.
    pub(crate) fn us(self, tag: u32, value: u16) -> Builder {
        self.words(tag, &[value])
    }

    /// An element of several US.
    pub(crate) fn words(self, tag: u32, values: &[u16]) -> Builder {
        let mut value = self.nested();
        values.iter().for_each(|word| value.u16(*word));
        self.raw(tag, "US", &value.bytes)
    }

    /// An element of one SL.
    pub(crate) fn sl(self, tag: u32, value: i32) -> Builder {
        let mut bytes = self.nested();
        bytes.u32(value as u32);
        self.raw(tag, "SL", &bytes.bytes)
    }

    /// An element of FD.
    pub(crate) fn fd(self, tag: u32, values: &[f64]) -> Builder {
        let big = self.encoding.big_endian;
        let bytes = |value: &f64| {
            if big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let value: Vec<[u8; 8]> = values.iter().map(bytes).collect();
        self.raw(tag, "FD", value.as_flattened())
    }

    /// A sequence with these items, all of undefined or all of defined length.
    pub(crate) fn sequence(self, tag: u32, undefined: bool, items: &[Builder]) -> Builder {
        let mut content = Builder::new(self.encoding);
        for item in items {
            let length = if undefined {
                UNDEFINED
            } else {
                item.bytes.len() as u32
            };
            content = content.header(0xFFFE_E000, "", length);
            content.bytes.extend(&item.bytes);
            if undefined {
                content = content.header(0xFFFE_E00D, "", 0);
            }
        }
        let length = if undefined {
            UNDEFINED
        } else {
            content.bytes.len() as u32
        };
        let mut builder = self.header(tag, "SQ", length);
        builder.bytes.extend(content.bytes);
        if undefined {
            builder.header(0xFFFE_E0DD, "", 0)
        } else {
            builder
        }
    }

    /// A nested dataset in the same encoding.
    pub(crate) fn nested(&self) -> Builder {
        Builder::new(self.encoding)
    }
}

/// Preamble and File Meta Information in front of a dataset.
pub(crate) fn file(transfer_syntax_uid: &str, dataset: &[u8]) -> Vec<u8> {
    let meta = Builder::new(Encoding::EXPLICIT_LITTLE)
        .text(0x0002_0002, "UI", "1.2.840.10008.5.1.4.1.1.2")
        .text(0x0002_0003, "UI", "1.2.3.4")
        .text(0x0002_0010, "UI", transfer_syntax_uid)
        .bytes;
    let length = (meta.len() as u32).to_le_bytes();
    let group_length = Builder::new(Encoding::EXPLICIT_LITTLE).raw(0x0002_0000, "UL", &length);
    [&[0; 128], &b"DICM"[..], &group_length.bytes, &meta, dataset].concat()
}

/// A small CT image, up to Pixel Data.
pub(crate) fn ct(encoding: Encoding) -> Builder {
    Builder::new(encoding)
        .text(0x0008_0005, "CS", "ISO_IR 100")
        .text(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\AXIAL")
        .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2")
        .text(0x0008_0018, "UI", "1.2.3.4.5")
        .text(0x0008_0032, "TM", "101112.5")
        .text(0x0008_0060, "CS", "CT")
        .raw(0x0010_0010, "PN", b"Buc^J\xE9r\xF4me")
        .text(0x0018_0050, "DS", "1.25")
        .text(0x0020_000D, "UI", "1.2.3")
        .text(0x0020_000E, "UI", "1.2.3.1")
        .text(0x0020_0013, "IS", "7")
        .text(0x0020_0032, "DS", "-1.5\\2\\30")
        .text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0")
        .us(0x0028_0002, 1)
        .text(0x0028_0004, "CS", "MONOCHROME2")
        .us(0x0028_0010, 2)
        .us(0x0028_0011, 3)
        .text(0x0028_0030, "DS", "0.5\\0.75")
        .us(0x0028_0100, 16)
        .us(0x0028_0101, 12)
        .us(0x0028_0102, 11)
        .us(0x0028_0103, 1)
        .text(0x0028_1052, "DS", "-1024")
        .text(0x0028_1053, "DS", "1")
}

/// Folder of the real files; `None`, and a line that says so, where it is absent.
pub(crate) fn data_dir() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let dir = std::env::var_os("DICOMFS_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if dir.join("MANIFEST.json").is_file() {
        return Some(dir);
    }
    println!("left out: no real files at {}", dir.display());
    None
}

/// The entries of the real files' manifest that are DICOM: path and what is expected.
pub(crate) fn manifest() -> Vec<(PathBuf, Json)> {
    let Some(dir) = data_dir() else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(dir.join("MANIFEST.json")).expect("readable");
    let entries: Vec<Json> = serde_json::from_str(&text).expect("a list");
    let dicom = entries
        .into_iter()
        .filter(|entry| entry["expected"].is_object());
    dicom
        .map(|entry| {
            (
                dir.join(entry["file"].as_str().expect("a path")),
                entry["expected"].clone(),
            )
        })
        .collect()
}
