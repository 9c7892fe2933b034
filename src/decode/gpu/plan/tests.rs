//! The plan of made-up headers; real frames are planned in `tests/gpu_jpeg2k.rs`.

use super::*;
use crate::decode::cpu::jpeg2k::tests::{HT_UNSIGNED_12, J2K_COLOUR, J2K_SIGNED_12};
use crate::decode::cpu::tests::gray;
use crate::decode::gpu::nvjpeg2k;
use crate::dicom::Photometric;
use proptest::prelude::*;

const LITTLE: &str = "1.2.840.10008.1.2.1";
const BIG: &str = "1.2.840.10008.1.2.2";
const RLE: &str = "1.2.840.10008.1.2.5";
const J2K: &str = "1.2.840.10008.1.2.4.90";
const J2K_LOSSY: &str = "1.2.840.10008.1.2.4.91";
const HT: &str = "1.2.840.10008.1.2.4.201";

fn rgb(rows: u32, columns: u32) -> ImagePixel {
    ImagePixel {
        samples_per_pixel: 3,
        photometric: Photometric::Rgb,
        ..gray(rows, columns, 8)
    }
}

fn stored(uid: &str, image: &ImagePixel, encoded: &[u8]) -> Result<Codec, Refusal> {
    plan(uid, image, &Show::Stored, encoded, true)
}

fn j2k(bytes: &[u8]) -> Result<Codec, Refusal> {
    stored(J2K, &gray(2, 3, 16), bytes)
}

/// `J2K_SIGNED_12` with another byte at a place that a marker tells: `after` bytes behind it.
fn with(marker: [u8; 2], after: usize, byte: u8) -> Vec<u8> {
    let mut bytes = J2K_SIGNED_12.to_vec();
    let at = bytes.windows(2).position(|two| two == marker);
    bytes[at.expect("the marker") + after] = byte;
    bytes
}

/// `J2K_SIGNED_12` with a marker segment more in its main header.
fn with_segment(segment: &[u8]) -> Vec<u8> {
    let sot = [0xFF, 0x90];
    let at = J2K_SIGNED_12.windows(2).position(|two| two == sot);
    let (head, rest) = J2K_SIGNED_12.split_at(at.expect("a tile-part"));
    [head, segment, rest].concat()
}

const COD: [u8; 2] = [0xFF, 0x52];
const QCD: [u8; 2] = [0xFF, 0x5C];
const SIZ: [u8; 2] = [0xFF, 0x51];

#[test]
fn each_syntax_has_its_codec() {
    let little = Codec::Native { big_endian: false };
    let image = gray(2, 3, 16);
    let words = [0; 12];
    assert_eq!(stored(LITTLE, &image, &words), Ok(little));
    assert_eq!(stored("1.2.840.10008.1.2", &image, &words), Ok(little));
    let big = Codec::Native { big_endian: true };
    assert_eq!(stored(BIG, &image, &words), Ok(big));
    assert_eq!(j2k(&J2K_SIGNED_12), Ok(Codec::Jpeg2000));
    assert_eq!(stored(J2K, &rgb(2, 2), &J2K_COLOUR), Ok(Codec::Jpeg2000));
    assert_eq!(stored(HT, &image, &HT_UNSIGNED_12), Ok(Codec::Htj2k));
    for other in ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.80", "1.2.3"] {
        assert_eq!(
            stored(other, &image, &words),
            Err(Refusal::TransferSyntax),
            "{other}"
        );
    }
}

#[test]
fn samples_beyond_the_kernels_are_refused() {
    let good = gray(2, 3, 16);
    let floats = ImagePixel {
        element: PixelElement::FloatPixelData,
        ..gray(2, 3, 32)
    };
    let two = ImagePixel {
        samples_per_pixel: 2,
        ..good.clone()
    };
    let no_bits = ImagePixel {
        bits_stored: 0,
        ..good.clone()
    };
    let high = ImagePixel {
        high_bit: 16,
        ..good.clone()
    };
    let chroma = ImagePixel {
        photometric: Photometric::YbrFull422,
        ..rgb(2, 4)
    };
    let images = [floats, two, no_bits, high, chroma, gray(2, 3, 64)];
    for image in images.into_iter().chain([gray(2, 3, 1), gray(0, 3, 16)]) {
        assert_eq!(stored(LITTLE, &image, &[0; 100]), Err(Refusal::Samples));
    }
    let bomb = gray(u32::MAX, u32::MAX, 32);
    assert_eq!(stored(LITTLE, &bomb, &[]), Err(Refusal::TooLarge));
    assert_eq!(stored(LITTLE, &good, &[0; 11]), Err(Refusal::Layout));
    let wide = gray(2, 3, 32);
    assert_eq!(stored(J2K, &wide, &J2K_SIGNED_12), Err(Refusal::Samples));
}

#[test]
fn values_are_those_of_the_cpu() {
    let asked = |bits, show| plan(LITTLE, &gray(2, 3, bits), &show, &[0; 24], true);
    let offset = |intercept, dtype| Show::Offset { intercept, dtype };
    let linear = |slope, dtype| Show::Linear {
        slope,
        intercept: 0.0,
        dtype,
    };
    let done = Ok(Codec::Native { big_endian: false });
    assert_eq!(asked(16, offset(-1024, Dtype::I16)), done);
    assert_eq!(asked(32, offset(-1024, Dtype::I32)), done);
    assert_eq!(asked(8, linear(0.5, Dtype::F32)), done);
    assert_eq!(asked(8, linear(0.5, Dtype::F64)), done);
    for show in [
        offset(INTERCEPT_MAX + 1, Dtype::I32),
        offset(i64::MIN, Dtype::I32),
        offset(0, Dtype::U16),
        linear(f64::NAN, Dtype::F32),
        linear(1.0, Dtype::F16),
    ] {
        assert_eq!(asked(16, show), Err(Refusal::Values), "{show:?}");
    }
    assert_eq!(asked(32, offset(0, Dtype::I16)), Err(Refusal::Values));
}

#[test]
fn rle_needs_its_segments() {
    let frame = |words: &[u32]| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(80, 0);
        bytes
    };
    let image = gray(2, 3, 16);
    assert_eq!(stored(RLE, &image, &frame(&[2, 64, 70])), Ok(Codec::Rle));
    for bad in [&[1, 64][..], &[2, 70, 64], &[2, 64, 81], &[2, 60, 64], &[]] {
        let bad = stored(RLE, &image, &frame(bad));
        assert_eq!(bad, Err(Refusal::Codestream));
    }
    assert_eq!(stored(RLE, &image, &[2, 0, 0]), Err(Refusal::Codestream));
}

#[test]
fn lossy_needs_leave() {
    // The 9-7 wavelet, and quantization that goes with it.
    let mut lossy = with(COD, 13, 0);
    let qcd = lossy.windows(2).position(|two| two == QCD).unwrap();
    lossy[qcd + 4] = 0x21;
    let image = gray(2, 3, 16);
    let asked = |uid, bytes: &[u8], exact| plan(uid, &image, &Show::Stored, bytes, exact);
    assert_eq!(asked(J2K_LOSSY, &lossy, true), Err(Refusal::Lossy));
    assert_eq!(asked(J2K, &lossy, true), Err(Refusal::Lossy));
    assert_eq!(asked(J2K_LOSSY, &lossy, false), Ok(Codec::Jpeg2000));
    // Nothing was lost, whatever the syntax allows.
    let whole = asked(J2K_LOSSY, &J2K_SIGNED_12, true);
    assert_eq!(whole, Ok(Codec::Jpeg2000));
    // A bit-plane more than the packets hold: the syntax promises what the codestream does not keep.
    let mut cut = J2K_SIGNED_12;
    let qcd = cut.windows(2).position(|two| two == QCD).unwrap();
    cut[qcd + 5] += 1 << 3;
    assert_eq!(asked(J2K, &cut, true), Err(Refusal::Lossy));
    assert_eq!(asked(J2K, &cut, false), Ok(Codec::Jpeg2000));
}

#[test]
fn packets_must_add_up() {
    // The tile-part ends before its packets do.
    let sot = [0xFF, 0x90];
    let at = J2K_SIGNED_12.windows(2).position(|two| two == sot).unwrap();
    let mut bytes = J2K_SIGNED_12.to_vec();
    let gone = bytes.len() - 5..bytes.len() - 2;
    bytes.drain(gone);
    bytes[at + 9] -= 3;
    assert_eq!(j2k(&bytes), Err(Refusal::Codestream));
    let image = gray(2, 3, 16);
    let lossy = plan(J2K, &image, &Show::Stored, &bytes, false);
    assert_eq!(lossy, Err(Refusal::Codestream));
}

#[test]
fn what_the_library_does_not_do_is_refused() {
    assert_eq!(j2k(&with(COD, 7, 1)), Ok(Codec::Jpeg2000), "one layer");
    let refused: [(&str, Vec<u8>); 17] = [
        ("another size", with(SIZ, 9, 4)),
        ("an origin", with(SIZ, 17, 1)),
        ("Part 2", with(SIZ, 4, 0x80)),
        ("17 bits", with(SIZ, 40, 0x10)),
        ("subsampling", with(SIZ, 41, 2)),
        ("no layer", with(COD, 7, 0)),
        ("33 layers", with(COD, 7, 33)),
        ("component transform of one", with(COD, 8, 1)),
        ("code-blocks of 4096", with(COD, 10, 9)),
        ("bypass", with(COD, 12, 1)),
        ("high throughput", with(COD, 12, 0x40)),
        ("another wavelet", with(COD, 13, 2)),
        ("9-7 without quantization", with(COD, 13, 0)),
        ("5-3 with quantization", with(QCD, 4, 0x22)),
        ("POC", with_segment(&[0xFF, 0x5F, 0, 4, 0, 0])),
        ("RGN", with_segment(&[0xFF, 0x5E, 0, 5, 0, 0, 7])),
        ("NLT", with_segment(&[0xFF, 0x76, 0, 6, 0, 0, 12, 3])),
    ];
    for (what, bytes) in refused {
        assert_eq!(j2k(&bytes), Err(Refusal::Codestream), "{what}");
    }
    let comment = with_segment(&[0xFF, 0x64, 0, 5, 0, 1, b'!']);
    assert_eq!(j2k(&comment), Ok(Codec::Jpeg2000));
    assert_eq!(j2k(&HT_UNSIGNED_12), Err(Refusal::Codestream));
    let in_ht = stored(HT, &gray(2, 3, 16), &J2K_SIGNED_12);
    assert_eq!(in_ht, Err(Refusal::Codestream));
}

#[test]
fn ht_code_blocks_are_of_one_set() {
    let cap = [0xFF, 0x50];
    let at = HT_UNSIGNED_12.windows(2).position(|two| two == cap);
    let at = at.expect("CAP");
    for (high, wanted) in [
        (0x00, Ok(Codec::Htj2k)),
        (0x80, Err(Refusal::Codestream)),
        (0xC0, Err(Refusal::Codestream)),
        (0x20, Err(Refusal::Codestream)),
        (0x10, Err(Refusal::Codestream)),
    ] {
        let mut bytes = HT_UNSIGNED_12;
        bytes[at + 8] = high;
        assert_eq!(stored(HT, &gray(2, 3, 16), &bytes), wanted, "{high:02x}");
    }
    let mut without = HT_UNSIGNED_12.to_vec();
    without.drain(at..at + 10);
    let without = stored(HT, &gray(2, 3, 16), &without);
    assert_eq!(without, Err(Refusal::Codestream));
}

#[test]
fn every_cut_is_refused() {
    for cut in 0..J2K_SIGNED_12.len() - 2 {
        assert!(j2k(&J2K_SIGNED_12[..cut]).is_err(), "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is damaged: no panic, and what is let through is of the size the data set says.
    #[test]
    fn damage_passes_no_other_size(
        which in 0usize..3,
        places in prop::collection::vec((0usize..155, any::<u8>()), 1..6),
        keep in 0usize..400,
        exact: bool,
    ) {
        let (uid, image, bytes): (_, _, &[u8]) = match which {
            0 => (J2K, gray(2, 3, 16), &J2K_SIGNED_12),
            1 => (J2K, rgb(2, 2), &J2K_COLOUR),
            _ => (HT, gray(2, 3, 16), &HT_UNSIGNED_12),
        };
        let mut bytes = bytes.to_vec();
        for (at, byte) in places {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(keep);
        if plan(uid, &image, &Show::Stored, &bytes, exact).is_ok() {
            let planes = nvjpeg2k::expected(&bytes).expect("planned");
            prop_assert_eq!((planes.rows, planes.columns), (image.rows, image.columns));
            prop_assert_eq!(planes.components, u32::from(image.samples_per_pixel));
            prop_assert!(planes.precision <= u32::from(image.bits_allocated));
        }
    }

    /// Bytes of any kind, in every syntax.
    #[test]
    fn noise_is_planned_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        rows in 0u32..20,
        columns in 0u32..20,
        boxes: bool,
    ) {
        let mut bytes = bytes;
        if boxes && bytes.len() > 8 {
            bytes[4..8].copy_from_slice(b"jP  ");
        }
        let image = gray(rows, columns, 16);
        for facts in crate::dicom::syntax::ALL {
            let planned = stored(facts.uid, &image, &bytes);
            let native = matches!(planned, Ok(Codec::Native { .. }));
            let len = image.frame_len_bytes().unwrap_or(usize::MAX);
            prop_assert!(!native || (len > 0 && len <= bytes.len()));
        }
    }
}
