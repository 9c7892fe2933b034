//! Transfer Syntaxes (PS3.5 annex A, PS3.6 table A-1): which exist and how each encodes.
//!
//! Facts only: which decoder serves one is for [`crate::decode`] to say.

/// How a Transfer Syntax encodes a dataset and its pixel element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferSyntax {
    /// Transfer Syntax UID.
    pub uid: &'static str,
    /// Name in PS3.6.
    pub name: &'static str,
    /// What the bytes of a frame are.
    pub codec: CodecFamily,
    /// Numbers of the dataset are big endian.
    pub big_endian: bool,
    /// Data elements carry their Value Representation.
    pub explicit_vr: bool,
    /// The pixel element is a sequence of fragments (PS3.5 A.4).
    pub encapsulated: bool,
    /// All that follows the File Meta Information is one deflate stream (PS3.5 A.5).
    pub deflated: bool,
    /// The syntax cannot lose anything. False where it may, as with JPEG 2000 (.91).
    pub lossless: bool,
    /// The pixel element is one video stream, not frames.
    pub video: bool,
}

/// What the bytes of an encoded frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecFamily {
    /// Samples as they are, one frame after the other (PS3.5 8.1).
    Native,
    /// Samples as they are, a fragment for each frame (PS3.5 A.4.11).
    EncapsulatedNative,
    /// RLE (PS3.5 annex G).
    Rle,
    /// A deflate stream for each frame (PS3.5 A.4.12).
    DeflatedFrame,
    /// JPEG with DCT: baseline, extended, progressive.
    JpegDct,
    /// JPEG Lossless (ISO 10918-1 process 14 and 15).
    JpegLossless,
    /// JPEG, hierarchical: retired and never decoded.
    JpegHierarchical,
    /// JPEG-LS (ISO 14495-1).
    JpegLs,
    /// JPEG 2000 (ISO 15444-1 and -2).
    Jpeg2000,
    /// High-Throughput JPEG 2000 (ISO 15444-15).
    HtJ2k,
    /// JPEG XL (ISO 18181).
    JpegXl,
    /// MPEG-2 video.
    Mpeg2,
    /// H.264 video.
    H264,
    /// HEVC video.
    Hevc,
    /// Pixels lie elsewhere (JPIP).
    Referenced,
    /// Anything else.
    Other,
}

const BIG_ENDIAN: u8 = 1;
const IMPLICIT: u8 = 2;
const ENCAPSULATED: u8 = 4;
const DEFLATED: u8 = 8;
const LOSSLESS: u8 = 16;
const VIDEO: u8 = 32;

const fn ts(
    uid: &'static str,
    name: &'static str,
    codec: CodecFamily,
    flags: u8,
) -> TransferSyntax {
    TransferSyntax {
        uid,
        name,
        codec,
        big_endian: flags & BIG_ENDIAN != 0,
        explicit_vr: flags & IMPLICIT == 0,
        encapsulated: flags & ENCAPSULATED != 0,
        deflated: flags & DEFLATED != 0,
        lossless: flags & LOSSLESS != 0,
        video: flags & VIDEO != 0,
    }
}

/// Implicit VR Little Endian (PS3.5 A.1).
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian (PS3.5 A.2).
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// Explicit VR Big Endian, retired (PS3.5 A.3 of 2016).
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// All that are known by name: decoded or not.
pub const ALL: &[TransferSyntax] = &[
    ts(
        "1.2.840.10008.1.2",
        "Implicit VR Little Endian",
        CodecFamily::Native,
        IMPLICIT | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.1",
        "Explicit VR Little Endian",
        CodecFamily::Native,
        LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.1.98",
        "Encapsulated Uncompressed Explicit VR Little Endian",
        CodecFamily::EncapsulatedNative,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.1.99",
        "Deflated Explicit VR Little Endian",
        CodecFamily::Native,
        DEFLATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.2",
        "Explicit VR Big Endian",
        CodecFamily::Native,
        BIG_ENDIAN | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.5",
        "RLE Lossless",
        CodecFamily::Rle,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.8.1",
        "Deflated Image Frame Compression",
        CodecFamily::DeflatedFrame,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.50",
        "JPEG Baseline (Process 1)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.51",
        "JPEG Extended (Process 2 and 4)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.52",
        "JPEG Extended (Process 3 and 5) (Retired)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.53",
        "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8) (Retired)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.54",
        "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9) (Retired)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.55",
        "JPEG Full Progression, Non-Hierarchical (Process 10 and 12) (Retired)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.56",
        "JPEG Full Progression, Non-Hierarchical (Process 11 and 13) (Retired)",
        CodecFamily::JpegDct,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.57",
        "JPEG Lossless, Non-Hierarchical (Process 14)",
        CodecFamily::JpegLossless,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.58",
        "JPEG Lossless, Non-Hierarchical (Process 15) (Retired)",
        CodecFamily::JpegLossless,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.59",
        "JPEG Extended, Hierarchical (Process 16 and 18) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.60",
        "JPEG Extended, Hierarchical (Process 17 and 19) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.61",
        "JPEG Spectral Selection, Hierarchical (Process 20 and 22) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.62",
        "JPEG Spectral Selection, Hierarchical (Process 21 and 23) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.63",
        "JPEG Full Progression, Hierarchical (Process 24 and 26) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.64",
        "JPEG Full Progression, Hierarchical (Process 25 and 27) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.65",
        "JPEG Lossless, Hierarchical (Process 28) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.66",
        "JPEG Lossless, Hierarchical (Process 29) (Retired)",
        CodecFamily::JpegHierarchical,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.70",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
        CodecFamily::JpegLossless,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.80",
        "JPEG-LS Lossless Image Compression",
        CodecFamily::JpegLs,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.81",
        "JPEG-LS Lossy (Near-Lossless) Image Compression",
        CodecFamily::JpegLs,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.90",
        "JPEG 2000 Image Compression (Lossless Only)",
        CodecFamily::Jpeg2000,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.91",
        "JPEG 2000 Image Compression",
        CodecFamily::Jpeg2000,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.92",
        "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)",
        CodecFamily::Jpeg2000,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.93",
        "JPEG 2000 Part 2 Multi-component Image Compression",
        CodecFamily::Jpeg2000,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.94",
        "JPIP Referenced",
        CodecFamily::Referenced,
        0,
    ),
    ts(
        "1.2.840.10008.1.2.4.95",
        "JPIP Referenced Deflate",
        CodecFamily::Referenced,
        DEFLATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.100",
        "MPEG2 Main Profile / Main Level",
        CodecFamily::Mpeg2,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.100.1",
        "Fragmentable MPEG2 Main Profile / Main Level",
        CodecFamily::Mpeg2,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.101",
        "MPEG2 Main Profile / High Level",
        CodecFamily::Mpeg2,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.101.1",
        "Fragmentable MPEG2 Main Profile / High Level",
        CodecFamily::Mpeg2,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.102",
        "MPEG-4 AVC/H.264 High Profile / Level 4.1",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.102.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.103",
        "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.103.1",
        "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.104",
        "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.104.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.105",
        "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.105.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.106",
        "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.106.1",
        "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
        CodecFamily::H264,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.107",
        "HEVC/H.265 Main Profile / Level 5.1",
        CodecFamily::Hevc,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.108",
        "HEVC/H.265 Main 10 Profile / Level 5.1",
        CodecFamily::Hevc,
        ENCAPSULATED | VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.4.110",
        "JPEG XL Lossless",
        CodecFamily::JpegXl,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.111",
        "JPEG XL JPEG Recompression",
        CodecFamily::JpegXl,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.112",
        "JPEG XL",
        CodecFamily::JpegXl,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.201",
        "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
        CodecFamily::HtJ2k,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
        CodecFamily::HtJ2k,
        ENCAPSULATED | LOSSLESS,
    ),
    ts(
        "1.2.840.10008.1.2.4.203",
        "High-Throughput JPEG 2000 Image Compression",
        CodecFamily::HtJ2k,
        ENCAPSULATED,
    ),
    ts(
        "1.2.840.10008.1.2.4.204",
        "JPIP HTJ2K Referenced",
        CodecFamily::Referenced,
        0,
    ),
    ts(
        "1.2.840.10008.1.2.4.205",
        "JPIP HTJ2K Referenced Deflate",
        CodecFamily::Referenced,
        DEFLATED,
    ),
    ts(
        "1.2.840.10008.1.2.6.1",
        "RFC 2557 MIME encapsulation (Retired)",
        CodecFamily::Other,
        0,
    ),
    ts(
        "1.2.840.10008.1.2.6.2",
        "XML Encoding (Retired)",
        CodecFamily::Other,
        0,
    ),
    ts(
        "1.2.840.10008.1.2.7.1",
        "SMPTE ST 2110-20 Uncompressed Progressive Active Video",
        CodecFamily::Other,
        VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.7.2",
        "SMPTE ST 2110-20 Uncompressed Interlaced Active Video",
        CodecFamily::Other,
        VIDEO,
    ),
    ts(
        "1.2.840.10008.1.2.7.3",
        "SMPTE ST 2110-30 PCM Digital Audio",
        CodecFamily::Other,
        0,
    ),
    ts(
        "1.2.840.10008.1.20",
        "Papyrus 3 Implicit VR Little Endian (Retired)",
        CodecFamily::Other,
        IMPLICIT,
    ),
    ts(
        "1.2.840.113619.5.2",
        "GE private Implicit VR, big endian Pixel Data",
        CodecFamily::Other,
        IMPLICIT | LOSSLESS,
    ),
];

/// The Transfer Syntax with this UID.
pub fn by_uid(uid: &str) -> Option<&'static TransferSyntax> {
    // From the end: what tells them apart is there.
    let same = |syntax: &&TransferSyntax| {
        syntax.uid.len() == uid.len() && syntax.uid.bytes().rev().eq(uid.bytes().rev())
    };
    ALL.iter().find(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_encoding::TransferSyntaxIndex;
    use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

    #[test]
    fn uids_are_unique() {
        for (index, syntax) in ALL.iter().enumerate() {
            assert_eq!(by_uid(syntax.uid), Some(&ALL[index]), "{}", syntax.uid);
        }
    }

    #[test]
    fn agrees_with_the_registry_of_dicom_rs() {
        let mut compared = 0;
        for syntax in ALL {
            let Some(theirs) = TransferSyntaxRegistry.get(syntax.uid) else {
                continue;
            };
            compared += 1;
            if matches!(syntax.codec, CodecFamily::Referenced | CodecFamily::Other) {
                // They count pixels that lie elsewhere, or in RTP streams, as encapsulated.
                continue;
            }
            assert_eq!(
                syntax.encapsulated,
                theirs.is_encapsulated_pixel_data(),
                "{}",
                syntax.uid
            );
            assert_eq!(
                syntax.big_endian,
                theirs.endianness() == dicom_encoding::Endianness::Big,
                "{}",
                syntax.uid
            );
        }
        assert!(compared > 30, "only {compared} compared");
    }

    #[test]
    fn known_rows() {
        let implicit = by_uid(IMPLICIT_VR_LITTLE_ENDIAN).expect("known");
        assert!(!implicit.explicit_vr && !implicit.encapsulated && implicit.lossless);
        assert!(by_uid(EXPLICIT_VR_BIG_ENDIAN).is_some_and(|ts| ts.big_endian && ts.explicit_vr));
        let deflated = by_uid("1.2.840.10008.1.2.1.99").expect("known");
        assert!(deflated.deflated && deflated.codec == CodecFamily::Native);
        let lossy = by_uid("1.2.840.10008.1.2.4.91").expect("known");
        assert!(lossy.encapsulated && !lossy.lossless);
        assert!(by_uid("1.2.840.10008.1.2.4.102").is_some_and(|ts| ts.video));
        assert_eq!(by_uid("1.2.3"), None);
    }
}
