//! What is known of a device, and what devices may be asked for at all. Pure data.

use serde::{Deserialize, Serialize};

use super::Codec;
use crate::dicom::syntax::{self, CodecFamily};

/// A device and what it can be used with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Number of the device, from 0, in the order of the driver.
    pub ordinal: u32,
    /// Name for people: `NVIDIA H200`.
    pub name: String,
    /// `GPU-` and a UUID, as nvidia-smi writes it.
    pub uuid: String,
    /// All its memory, in bytes.
    pub memory_bytes: u64,
    /// CUDA version of the driver: `12.2`.
    pub driver_version: String,
    /// Compute capability: `9.0`.
    pub compute_capability: String,
    /// Libraries that decode on it, or read files into it.
    pub libraries: Vec<LibraryReport>,
}

/// A library that works on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryReport {
    /// Name for people: [`NVJPEG2K`].
    pub name: String,
    /// Its version, or why it is not used.
    pub version: Result<String, String>,
}

/// The library that decodes JPEG 2000, plain and high-throughput.
pub const NVJPEG2K: &str = "nvJPEG2000";

/// The library that decodes JPEG.
pub const NVJPEG: &str = "nvJPEG";

/// JPEG Baseline and Extended: the processes of two transfer syntaxes of the family (PS3.5 A.4.1).
const SEQUENTIAL_JPEG: [&str; 2] = ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"];

/// The library that reads files into device memory.
pub const CUFILE: &str = "cuFile";

impl Codec {
    /// The way in which a device can undo what this transfer syntax does to a frame; `None`: only
    /// the CPU decodes it. The one place that says so. Of a frame the header says more (`plan`).
    pub fn for_syntax(transfer_syntax_uid: &str) -> Option<Codec> {
        let facts = syntax::by_uid(transfer_syntax_uid)?;
        // The whole data set is one stream: there are no frames before it is undone.
        if facts.deflated {
            return None;
        }
        let big_endian = facts.big_endian;
        match facts.codec {
            CodecFamily::Native | CodecFamily::EncapsulatedNative => {
                Some(Codec::Native { big_endian })
            }
            CodecFamily::Rle => Some(Codec::Rle),
            CodecFamily::JpegDct if SEQUENTIAL_JPEG.contains(&facts.uid) => Some(Codec::Jpeg),
            CodecFamily::JpegLossless => Some(Codec::JpegLossless),
            CodecFamily::Jpeg2000 => Some(Codec::Jpeg2000),
            CodecFamily::HtJ2k => Some(Codec::Htj2k),
            _ => None,
        }
    }

    /// The library that a device needs for it, by its name in [`DeviceReport::libraries`]; `None`:
    /// kernels of our own do it.
    pub fn library(self) -> Option<&'static str> {
        match self {
            Codec::Native { .. } | Codec::Rle | Codec::JpegLossless => None,
            Codec::Jpeg => Some(NVJPEG),
            Codec::Jpeg2000 | Codec::Htj2k => Some(NVJPEG2K),
        }
    }
}

impl DeviceReport {
    /// Whether this device can be asked for a codec.
    ///
    /// # Errors
    ///
    /// Why the library that it needs is not there.
    pub fn can(&self, codec: Codec) -> Result<(), String> {
        let Some(needed) = codec.library() else {
            return Ok(());
        };
        match self.libraries.iter().find(|found| found.name == needed) {
            Some(LibraryReport { version: Ok(_), .. }) => Ok(()),
            Some(LibraryReport {
                version: Err(why), ..
            }) => Err(format!("{needed}: {why}")),
            None => Err(format!("no {needed}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntaxes_have_a_codec_or_none() {
        let little = Codec::Native { big_endian: false };
        let cases = [
            ("1.2.840.10008.1.2", Some(little)),
            ("1.2.840.10008.1.2.1", Some(little)),
            ("1.2.840.10008.1.2.1.98", Some(little)),
            ("1.2.840.10008.1.2.1.99", None),
            (
                "1.2.840.10008.1.2.2",
                Some(Codec::Native { big_endian: true }),
            ),
            ("1.2.840.10008.1.2.5", Some(Codec::Rle)),
            ("1.2.840.10008.1.2.4.50", Some(Codec::Jpeg)),
            ("1.2.840.10008.1.2.4.51", Some(Codec::Jpeg)),
            ("1.2.840.10008.1.2.4.53", None),
            ("1.2.840.10008.1.2.4.57", Some(Codec::JpegLossless)),
            ("1.2.840.10008.1.2.4.70", Some(Codec::JpegLossless)),
            ("1.2.840.10008.1.2.4.80", None),
            ("1.2.840.10008.1.2.4.90", Some(Codec::Jpeg2000)),
            ("1.2.840.10008.1.2.4.91", Some(Codec::Jpeg2000)),
            ("1.2.840.10008.1.2.4.94", None),
            ("1.2.840.10008.1.2.4.201", Some(Codec::Htj2k)),
            ("1.2.840.10008.1.2.8.1", None),
            ("1.2.3", None),
        ];
        for (uid, expected) in cases {
            assert_eq!(Codec::for_syntax(uid), expected, "{uid}");
        }
    }

    #[test]
    fn a_library_is_needed_or_not() {
        let mut report = DeviceReport {
            ordinal: 0,
            name: String::new(),
            uuid: String::new(),
            memory_bytes: 0,
            driver_version: String::new(),
            compute_capability: "8.0".into(),
            libraries: Vec::new(),
        };
        assert_eq!(report.can(Codec::Rle), Ok(()));
        assert!(
            report
                .can(Codec::Htj2k)
                .is_err_and(|why| why.contains(NVJPEG2K))
        );
        let library = |version| LibraryReport {
            name: NVJPEG2K.into(),
            version,
        };
        report.libraries = vec![library(Err("too old".into()))];
        assert!(
            report
                .can(Codec::Htj2k)
                .is_err_and(|why| why.contains("too old"))
        );
        report.libraries = vec![library(Ok("0.11".into()))];
        assert_eq!(report.can(Codec::Htj2k), Ok(()));
    }
}
