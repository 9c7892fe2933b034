//! The one table from Transfer Syntax UID (PS3.6 A) to decoder.
//!
//! Every syntax that a file of an archive may carry has an entry, also those that are not decoded:
//! `dicomfs doctor` prints this table as it is. Must not know how any decoder works.

use super::cpu::adapters::{JpegLossless, JpegLs, Rle};
use super::cpu::{deflated, jpeg, jpeg2k, jpegxl, native};
use super::{Decoder, Error};

/// One transfer syntax and who decodes it.
pub struct Entry {
    /// Transfer Syntax UID.
    pub uid: &'static str,
    /// Its name, shortened from PS3.6 Table A-1.
    pub name: &'static str,
    /// The decoder, or why there is none.
    pub decoder: Result<&'static dyn Decoder, &'static str>,
}

impl Entry {
    /// The decoder's name, or why there is none.
    pub fn served_by(&self) -> Result<&'static str, &'static str> {
        self.decoder.map(|decoder| decoder.name())
    }

    /// The kind of coding, in one word or two: few syntaxes have one of their own.
    pub fn codec(&self) -> &'static str {
        match self.uid.strip_prefix(DICOM_UIDS).unwrap_or_default() {
            "" | ".1" | ".1.98" | ".1.99" | ".2" => "native",
            ".4.50" | ".4.51" | ".4.53" | ".4.55" => "jpeg",
            ".4.57" | ".4.70" => "jpeg lossless",
            ".4.80" | ".4.81" => "jpeg-ls",
            ".4.90" | ".4.91" | ".4.92" | ".4.93" => "jpeg 2000",
            ".4.110" | ".4.111" | ".4.112" => "jpeg xl",
            ".4.201" | ".4.202" | ".4.203" => "htj2k",
            ".5" => "rle",
            ".8.1" => "deflated",
            _ => "other",
        }
    }
}

/// What the UIDs of the standard's transfer syntaxes begin with.
const DICOM_UIDS: &str = "1.2.840.10008.1.2";

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("uid", &self.uid)
            .field("name", &self.name)
            .field("decoder", &self.served_by())
            .finish()
    }
}

const VIDEO: &str = "video: not decoded, the file is served under dicom/";
const ARITHMETIC: &str = "retired arithmetic-coded or hierarchical JPEG: not decoded";
const REMOTE: &str = "the pixel data is not in the file (JPIP)";
const NO_PIXELS: &str = "retired, and does not hold pixel data in this form";
const PAPYRUS: &str = "retired private format: not decoded";
const GE: &str = "private: its pixel data is big endian and no sample is known to test it";
const STREAMED: &str = "real-time video transport (SMPTE ST 2110), not a file";

const fn served(uid: &'static str, name: &'static str, decoder: &'static dyn Decoder) -> Entry {
    Entry {
        uid,
        name,
        decoder: Ok(decoder),
    }
}

const fn refused(uid: &'static str, name: &'static str, why: &'static str) -> Entry {
    Entry {
        uid,
        name,
        decoder: Err(why),
    }
}

/// All known transfer syntaxes, in the order of PS3.6 Table A-1.
pub fn table() -> &'static [Entry] {
    &TABLE
}

/// The kind of coding of a transfer syntax; `other` for one that is not known.
pub fn codec_of(transfer_syntax_uid: &str) -> &'static str {
    let found = TABLE.iter().find(|entry| entry.uid == transfer_syntax_uid);
    found.map_or("other", Entry::codec)
}

/// The decoder that serves a transfer syntax.
///
/// # Errors
/// [`Error::UnsupportedTransferSyntax`], with what the syntax is where that is known.
pub fn decoder_for(transfer_syntax_uid: &str) -> Result<&'static dyn Decoder, Error> {
    let found = TABLE.iter().find(|entry| entry.uid == transfer_syntax_uid);
    match found.map(|entry| entry.decoder) {
        Some(Ok(decoder)) => Ok(decoder),
        Some(Err(why)) => Err(unsupported(transfer_syntax_uid, why)),
        None => Err(unsupported(transfer_syntax_uid, "unknown transfer syntax")),
    }
}

fn unsupported(uid: &str, why: &'static str) -> Error {
    // An identifier is at most 64 bytes (PS3.5 9.1); a longer one is not worth repeating.
    let uid = uid
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(64)
        .collect();
    Error::UnsupportedTransferSyntax { uid, why }
}

static TABLE: [Entry; 64] = [
    served(
        "1.2.840.10008.1.2",
        "Implicit VR Little Endian",
        &native::LITTLE_ENDIAN,
    ),
    served(
        "1.2.840.10008.1.2.1",
        "Explicit VR Little Endian",
        &native::LITTLE_ENDIAN,
    ),
    served(
        "1.2.840.10008.1.2.1.98",
        "Encapsulated Uncompressed Explicit VR Little Endian",
        &native::LITTLE_ENDIAN,
    ),
    served(
        "1.2.840.10008.1.2.1.99",
        "Deflated Explicit VR Little Endian",
        &native::LITTLE_ENDIAN,
    ),
    served(
        "1.2.840.10008.1.2.2",
        "Explicit VR Big Endian (retired)",
        &native::BIG_ENDIAN,
    ),
    served(
        "1.2.840.10008.1.2.4.50",
        "JPEG Baseline 8-bit (Process 1)",
        &jpeg::DECODER,
    ),
    served(
        "1.2.840.10008.1.2.4.51",
        "JPEG Extended 8- and 12-bit (Processes 2, 4)",
        &jpeg::DECODER,
    ),
    refused(
        "1.2.840.10008.1.2.4.52",
        "JPEG Extended (Processes 3, 5; retired)",
        ARITHMETIC,
    ),
    served(
        "1.2.840.10008.1.2.4.53",
        "JPEG Spectral Selection (Processes 6, 8; retired)",
        &jpeg::DECODER,
    ),
    refused(
        "1.2.840.10008.1.2.4.54",
        "JPEG Spectral Selection (Processes 7, 9; retired)",
        ARITHMETIC,
    ),
    served(
        "1.2.840.10008.1.2.4.55",
        "JPEG Full Progression (Processes 10, 12; retired)",
        &jpeg::DECODER,
    ),
    refused(
        "1.2.840.10008.1.2.4.56",
        "JPEG Full Progression (Processes 11, 13; retired)",
        ARITHMETIC,
    ),
    served(
        "1.2.840.10008.1.2.4.57",
        "JPEG Lossless (Process 14)",
        &JpegLossless,
    ),
    refused(
        "1.2.840.10008.1.2.4.58",
        "JPEG Lossless (Process 15; retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.59",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.60",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.61",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.62",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.63",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.64",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.65",
        "JPEG hierarchical process (retired)",
        ARITHMETIC,
    ),
    refused(
        "1.2.840.10008.1.2.4.66",
        "JPEG Lossless, Hierarchical (retired)",
        ARITHMETIC,
    ),
    served(
        "1.2.840.10008.1.2.4.70",
        "JPEG Lossless, first-order prediction (Process 14, SV 1)",
        &JpegLossless,
    ),
    served("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless", &JpegLs),
    served("1.2.840.10008.1.2.4.81", "JPEG-LS Near-lossless", &JpegLs),
    served(
        "1.2.840.10008.1.2.4.90",
        "JPEG 2000 (lossless only)",
        &jpeg2k::JPEG_2000,
    ),
    served("1.2.840.10008.1.2.4.91", "JPEG 2000", &jpeg2k::JPEG_2000),
    served(
        "1.2.840.10008.1.2.4.92",
        "JPEG 2000 Part 2 multi-component (lossless only)",
        &jpeg2k::JPEG_2000,
    ),
    served(
        "1.2.840.10008.1.2.4.93",
        "JPEG 2000 Part 2 multi-component",
        &jpeg2k::JPEG_2000,
    ),
    refused("1.2.840.10008.1.2.4.94", "JPIP Referenced", REMOTE),
    refused("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", REMOTE),
    refused(
        "1.2.840.10008.1.2.4.100",
        "MPEG2 Main Profile / Main Level",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.100.1",
        "Fragmentable MPEG2 Main Profile / Main Level",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.101",
        "MPEG2 Main Profile / High Level",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.101.1",
        "Fragmentable MPEG2 Main Profile / High Level",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.102",
        "MPEG-4 AVC/H.264 High Profile",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.102.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.103",
        "MPEG-4 AVC/H.264 BD-compatible High Profile",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.103.1",
        "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.104",
        "MPEG-4 AVC/H.264 High Profile for 2D video",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.104.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile for 2D video",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.105",
        "MPEG-4 AVC/H.264 High Profile for 3D video",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.105.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile for 3D video",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.106",
        "MPEG-4 AVC/H.264 Stereo High Profile",
        VIDEO,
    ),
    refused(
        "1.2.840.10008.1.2.4.106.1",
        "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile",
        VIDEO,
    ),
    refused("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile", VIDEO),
    refused(
        "1.2.840.10008.1.2.4.108",
        "HEVC/H.265 Main 10 Profile",
        VIDEO,
    ),
    served(
        "1.2.840.10008.1.2.4.110",
        "JPEG XL Lossless",
        &jpegxl::DECODER,
    ),
    served(
        "1.2.840.10008.1.2.4.111",
        "JPEG XL JPEG Recompression",
        &jpegxl::DECODER,
    ),
    served("1.2.840.10008.1.2.4.112", "JPEG XL", &jpegxl::DECODER),
    served(
        "1.2.840.10008.1.2.4.201",
        "High-Throughput JPEG 2000 (lossless only)",
        &jpeg2k::HTJ2K,
    ),
    served(
        "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000 with RPCL (lossless only)",
        &jpeg2k::HTJ2K,
    ),
    served(
        "1.2.840.10008.1.2.4.203",
        "High-Throughput JPEG 2000",
        &jpeg2k::HTJ2K,
    ),
    refused("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", REMOTE),
    refused(
        "1.2.840.10008.1.2.4.205",
        "JPIP HTJ2K Referenced Deflate",
        REMOTE,
    ),
    served("1.2.840.10008.1.2.5", "RLE Lossless", &Rle),
    refused(
        "1.2.840.10008.1.2.6.1",
        "RFC 2557 MIME encapsulation (retired)",
        NO_PIXELS,
    ),
    refused("1.2.840.10008.1.2.6.2", "XML Encoding (retired)", NO_PIXELS),
    refused(
        "1.2.840.10008.1.2.7.1",
        "SMPTE ST 2110-20 uncompressed progressive video",
        STREAMED,
    ),
    refused(
        "1.2.840.10008.1.2.7.2",
        "SMPTE ST 2110-20 uncompressed interlaced video",
        STREAMED,
    ),
    refused(
        "1.2.840.10008.1.2.7.3",
        "SMPTE ST 2110-30 PCM audio",
        STREAMED,
    ),
    served(
        "1.2.840.10008.1.2.8.1",
        "Deflated Image Frame Compression",
        &deflated::DeflatedFrame,
    ),
    refused(
        "1.2.840.10008.1.20",
        "Papyrus 3 Implicit VR Little Endian (retired)",
        PAPYRUS,
    ),
    refused(
        "1.2.840.113619.5.2",
        "GE private, Implicit VR with big endian pixel data",
        GE,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_syntax_has_one_entry() {
        for (index, entry) in table().iter().enumerate() {
            assert!(
                table()[..index].iter().all(|other| other.uid != entry.uid),
                "{}",
                entry.uid
            );
            assert!(!entry.name.is_empty());
            let found = decoder_for(entry.uid).map(|decoder| decoder.name());
            assert_eq!(found.is_ok(), entry.decoder.is_ok(), "{}", entry.uid);
            let is_named = codec_of(entry.uid) != "other";
            assert!(is_named || found.is_err(), "{}: no codec", entry.uid);
        }
    }

    #[test]
    fn every_known_syntax_is_answered() {
        for facts in crate::dicom::syntax::ALL {
            let entry = table().iter().find(|entry| entry.uid == facts.uid);
            let entry = entry.unwrap_or_else(|| panic!("no entry for {}", facts.uid));
            assert!(!(facts.video && entry.decoder.is_ok()), "{}", facts.uid);
        }
    }

    #[test]
    fn refusals_say_why() {
        let why = |uid| decoder_for(uid).map(|_| ()).unwrap_err().to_string();
        assert!(why("1.2.840.10008.1.2.4.102").contains("video"));
        assert!(why("1.2.3").contains("unknown"));
        assert!(why(&"1\n".repeat(1000)).len() < 150);
    }
}
