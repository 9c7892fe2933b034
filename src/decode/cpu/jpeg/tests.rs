//! JPEG rules, on streams made by the same crate's encoder.

use libjpeg_turbo_rs::{
    PixelFormat, Subsampling, compress, compress_lossless, compress_progressive, precision,
};

use super::super::tests::gray;
use super::*;

fn rgb(rows: u32, columns: u32, photometric: Photometric) -> ImagePixel {
    ImagePixel {
        samples_per_pixel: 3,
        photometric,
        ..gray(rows, columns, 8)
    }
}

fn decode(image: &ImagePixel, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xAA; image.frame_len_bytes().unwrap()];
    DECODER.decode(
        image,
        Encoded {
            bytes,
            first_bit: 0,
        },
        &mut out,
    )?;
    Ok(out)
}

fn flat_colour(colour: [u8; 3]) -> Vec<u8> {
    let pixels: Vec<u8> = colour.into_iter().cycle().take(16 * 16 * 3).collect();
    compress(&pixels, 16, 16, PixelFormat::Rgb, 100, Subsampling::S444).unwrap()
}

fn ramp(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 16 * 10 + i / 16) as u8).collect()
}

fn close(got: &[u8], expected: &[u8], tolerance: u8) {
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(a.abs_diff(*b) <= tolerance, "sample {at}: {a} for {b}");
    }
}

#[test]
fn gray_sequential_and_progressive() {
    let pixels = ramp(256);
    let image = gray(16, 16, 8);
    let stream = compress(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        100,
        Subsampling::S444,
    )
    .unwrap();
    let plain = decode(&image, &stream).unwrap();
    close(&plain, &pixels, 2);
    assert_eq!(
        decode(&image, &[&stream[..], &[0]].concat()).unwrap(),
        plain,
        "padded"
    );
    let progressive = compress_progressive(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        100,
        Subsampling::S444,
    );
    assert_eq!(decode(&image, &progressive.unwrap()).unwrap(), plain);
    let wide = decode(&gray(16, 16, 16), &stream).unwrap();
    let expected: Vec<u8> = plain.iter().flat_map(|&sample| [sample, 0]).collect();
    assert_eq!(wide, expected);
}

#[test]
fn a_lossless_stream_under_a_lossy_label_is_what_it_is() {
    let pixels = ramp(256);
    let stream = compress_lossless(&pixels, 16, 16, PixelFormat::Grayscale).unwrap();
    assert_eq!(decode(&gray(16, 16, 8), &stream).unwrap(), pixels);
    assert!(decode(&gray(16, 15, 8), &stream).is_err());
    // Lossy streams under a lossless label stay refused: the label is a promise.
    let lossy = compress(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        90,
        Subsampling::S444,
    )
    .unwrap();
    let image = gray(16, 16, 8);
    let encoded = Encoded {
        bytes: &lossy,
        first_bit: 0,
    };
    let mut out = vec![0; 256];
    assert!(JpegLossless.decode(&image, encoded, &mut out).is_err());
}

#[test]
fn sampling_factors_of_a_lone_component_mean_nothing() {
    let pixels = ramp(256);
    let mut stream = compress(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        100,
        Subsampling::S444,
    )
    .unwrap();
    let image = gray(16, 16, 8);
    let expected = decode(&image, &stream).unwrap();
    let header = Header::parse(&stream).unwrap();
    let rewritten = header.rewritten(&stream, 0);
    assert_eq!(
        Header::parse(&rewritten).unwrap().components[0].sampling,
        0x11
    );
    let frame_at = stream
        .windows(2)
        .position(|two| two == [0xFF, 0xC0])
        .unwrap();
    stream[frame_at + 11] = 0x22;
    assert_eq!(Header::parse(&stream).unwrap().components[0].sampling, 0x22);
    assert_eq!(decode(&image, &stream).unwrap(), expected);
}

#[test]
fn photometric_interpretation_decides_the_colour() {
    // Pure red is Y 76, Cb 85, Cr 255 (PS3.3 C.7.6.3.1.2). The encoder writes YCbCr with a JFIF
    // marker and no Adobe marker: nothing is converted, whatever the header calls it.
    let stream = flat_colour([255, 0, 0]);
    let coded = [76, 85, 255].repeat(256);
    for photometric in [
        Photometric::YbrFull,
        Photometric::YbrFull422,
        Photometric::Rgb,
    ] {
        close(
            &decode(&rgb(16, 16, photometric), &stream).unwrap(),
            &coded,
            1,
        );
    }
    // With an Adobe marker that says YCbCr, RGB means RGB.
    let header = Header::parse(&stream).unwrap();
    let adobe = header.rewritten(&stream, 1);
    let red = [254, 0, 0].repeat(256);
    close(
        &decode(&rgb(16, 16, Photometric::Rgb), &adobe).unwrap(),
        &red,
        2,
    );
    close(
        &decode(&rgb(16, 16, Photometric::YbrFull), &adobe).unwrap(),
        &coded,
        1,
    );
    let plain = header.rewritten(&stream, 0);
    close(
        &decode(&rgb(16, 16, Photometric::Rgb), &plain).unwrap(),
        &coded,
        1,
    );
}

#[test]
fn twelve_bits() {
    let samples: Vec<i16> = (0..256).map(|i| (i % 16 * 200 + i / 16) as i16).collect();
    let stream = precision::compress_12bit(&samples, 16, 16, 1, 100, Subsampling::S444).unwrap();
    let image = ImagePixel {
        bits_stored: 12,
        high_bit: 11,
        ..gray(16, 16, 16)
    };
    let got = decode(&image, &stream).unwrap();
    for (two, expected) in got.chunks(2).zip(&samples) {
        let sample = i16::from_le_bytes([two[0], two[1]]);
        assert!((sample - expected).abs() <= 4, "{sample} for {expected}");
    }
    assert!(decode(&gray(16, 16, 8), &stream).is_err(), "12 bits in 8");
}

#[test]
fn what_is_not_the_headers_picture_is_refused() {
    let stream = flat_colour([1, 2, 3]);
    for wrong in [
        rgb(15, 16, Photometric::Rgb),
        rgb(16, 17, Photometric::Rgb),
        gray(16, 16, 8),
        gray(16, 48, 8),
    ] {
        assert!(decode(&wrong, &stream).is_err(), "{wrong:?}");
    }
    let mut lossless = stream.clone();
    let frame_at = stream
        .windows(2)
        .position(|two| two == [0xFF, 0xC0])
        .unwrap();
    lossless[frame_at + 1] = 0xC3;
    assert!(decode(&rgb(16, 16, Photometric::Rgb), &lossless).is_err());
}

#[test]
fn every_cut_is_an_error() {
    let pixels = ramp(256);
    let stream = compress(
        &pixels,
        16,
        16,
        PixelFormat::Grayscale,
        90,
        Subsampling::S444,
    )
    .unwrap();
    let image = gray(16, 16, 8);
    for cut in 0..stream.len() {
        assert!(decode(&image, &stream[..cut]).is_err(), "cut at {cut}");
    }
    // A cut inside the scan with an EOI put after it still lacks blocks.
    let scan_at = stream
        .windows(2)
        .position(|two| two == [0xFF, 0xDA])
        .unwrap()
        + 10;
    let short = [&stream[..scan_at + 4], &[0xFF, 0xD9]].concat();
    assert!(decode(&image, &short).is_err(), "missing blocks");
}

#[test]
fn mutated_streams_never_panic() {
    let stream = flat_colour([9, 200, 30]);
    let image = rgb(16, 16, Photometric::YbrFull);
    let mut state = 12345u32;
    for _ in 0..3000 {
        let mut mutated = stream.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % (mutated.len() - 2);
            mutated[at] = (state >> 16) as u8 ^ state as u8;
        }
        let encoded = Encoded {
            bytes: &mutated,
            first_bit: 0,
        };
        let mut out = vec![0; 16 * 16 * 3];
        let outcome =
            crate::decode::decode_frame("1.2.840.10008.1.2.4.50", &image, encoded, &mut out);
        if let Err(error) = outcome {
            assert!(!error.to_string().contains("panicked"), "{error}");
        }
    }
}
