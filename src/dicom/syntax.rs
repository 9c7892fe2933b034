//! Transfer Syntaxes (PS3.5 annex A, PS3.6 table A-1): which exist and how each encodes.
//!
//! Facts only: which decoder serves one is for [`crate::decode`] to say.

mod table;

pub use table::ALL;

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

/// Implicit VR Little Endian (PS3.5 A.1).
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian (PS3.5 A.2).
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// Explicit VR Big Endian, retired (PS3.5 A.3 of 2016).
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

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
