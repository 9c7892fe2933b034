//! The table of Transfer Syntaxes (PS3.6 table A-1).

use super::{CodecFamily, TransferSyntax};

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
