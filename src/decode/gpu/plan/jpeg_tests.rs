//! The plan of JPEG of the crate's own encoder; real frames are planned in `tests/gpu_jpeg.rs`.

use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress, compress_progressive, precision};

use super::*;
use crate::decode::cpu::tests::gray;
use crate::dicom::Photometric;

const BASELINE: &str = "1.2.840.10008.1.2.4.50";
const EXTENDED: &str = "1.2.840.10008.1.2.4.51";

fn asked(uid: &str, image: &ImagePixel, encoded: &[u8]) -> Result<Codec, Refusal> {
    plan(uid, image, &Show::Stored, encoded, false)
}

fn colour(photometric: Photometric) -> ImagePixel {
    ImagePixel {
        samples_per_pixel: 3,
        photometric,
        ..gray(16, 16, 8)
    }
}

fn encoded(format: PixelFormat, subsampling: Subsampling) -> Vec<u8> {
    let samples = if format == PixelFormat::Rgb { 3 } else { 1 };
    let pixels: Vec<u8> = (0..256 * samples).map(|at| (at * 7 % 256) as u8).collect();
    compress(&pixels, 16, 16, format, 90, subsampling).expect("compressed")
}

#[test]
fn one_plane_of_eight_bits_is_for_a_device_that_need_not_be_exact() {
    let stream = encoded(PixelFormat::Grayscale, Subsampling::S444);
    let image = gray(16, 16, 8);
    for uid in [BASELINE, EXTENDED] {
        assert_eq!(asked(uid, &image, &stream), Ok(Codec::Jpeg));
        let exact = plan(uid, &image, &Show::Stored, &stream, true);
        assert_eq!(exact, Err(Refusal::Lossy));
    }
    // The same process under a name that allows others.
    let other = asked("1.2.840.10008.1.2.4.53", &image, &stream);
    assert_eq!(other, Err(Refusal::TransferSyntax));
    assert_eq!(asked(BASELINE, &gray(16, 16, 16), &stream), Ok(Codec::Jpeg));
    let signed = ImagePixel {
        signed: true,
        ..gray(16, 16, 8)
    };
    assert_eq!(asked(BASELINE, &signed, &stream), Err(Refusal::Samples));
    assert_eq!(
        asked(BASELINE, &gray(16, 16, 32), &stream),
        Err(Refusal::Samples)
    );
    let padded = [&stream[..], &[0, 1, 2, 0xFF, 0xC0]].concat();
    assert_eq!(asked(BASELINE, &image, &padded), Ok(Codec::Jpeg));
}

#[test]
fn what_the_planes_would_not_show_is_the_cpus() {
    let full = encoded(PixelFormat::Rgb, Subsampling::S444);
    let half = encoded(PixelFormat::Rgb, Subsampling::S422);
    // The encoder writes YCbCr with a JFIF marker, which proves nothing of what was coded.
    for photometric in [Photometric::YbrFull, Photometric::Rgb] {
        let image = colour(photometric.clone());
        assert_eq!(asked(BASELINE, &image, &full), Ok(Codec::Jpeg));
        let subsampled = asked(BASELINE, &image, &half);
        assert_eq!(subsampled, Err(Refusal::Codestream));
    }
    // An Adobe marker does: called RGB, it is converted.
    let mut adobe = vec![0xFF, 0xD8, 0xFF, 0xEE, 0, 14];
    adobe.extend(b"Adobe\0\x64\0\0\0\0\x01");
    adobe.extend(&full[2..]);
    let rgb = colour(Photometric::Rgb);
    assert_eq!(asked(BASELINE, &rgb, &adobe), Err(Refusal::Values));
    let ybr = colour(Photometric::YbrFull);
    assert_eq!(asked(BASELINE, &ybr, &adobe), Ok(Codec::Jpeg));
}

#[test]
fn other_processes_and_broken_headers_are_the_cpus() {
    let image = gray(16, 16, 8);
    let pixels = vec![9; 256];
    let progressive = compress_progressive(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        90,
        Subsampling::S444,
    );
    let progressive = progressive.expect("compressed");
    assert_eq!(
        asked(BASELINE, &image, &progressive),
        Err(Refusal::Codestream)
    );
    let deep = precision::compress_12bit(&[100i16; 256], 16, 16, 1, 90, Subsampling::S444);
    let deep = deep.expect("compressed");
    let sixteen = gray(16, 16, 16);
    assert_eq!(asked(EXTENDED, &sixteen, &deep), Err(Refusal::Samples));
    let stream = encoded(PixelFormat::Grayscale, Subsampling::S444);
    let wider = asked(BASELINE, &gray(16, 17, 8), &stream);
    assert_eq!(wider, Err(Refusal::Codestream));
    let cut = &stream[..stream.len() - 2];
    assert_eq!(asked(BASELINE, &image, cut), Err(Refusal::Codestream));
    // Something behind the scan: a second frame header might be another size.
    let mut twice = cut.to_vec();
    twice.extend([0xFF, 0xC0, 0, 11, 8, 9, 9, 9, 9, 1, 1, 0x11, 0, 0xFF, 0xD9]);
    assert_eq!(asked(BASELINE, &image, &twice), Err(Refusal::Codestream));
    // No prefix of a stream may do worse than be refused.
    for len in 0..stream.len() {
        assert!(asked(BASELINE, &image, &stream[..len]).is_err(), "{len}");
    }
}
