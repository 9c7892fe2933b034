//! Round trips against the literal encoder, and the worked example of T.87.

mod encoder;
mod hostile;

use super::*;
use encoder::{Image, Options, encode};

/// The 4x4 image of T.87 H.3 and its stream.
const H3_IMAGE: [u8; 16] = [
    0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145,
];
const H3_STREAM: [u8; 56] = [
    0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00, 0xFF,
    0xDA, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E,
    0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00, 0x6E, 0xE6, 0x00, 0x00, 0x01, 0xBC, 0x18, 0x00,
    0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60, 0xFF,
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as u32) % bound
    }
}

/// What the samples of a test image look like.
#[derive(Debug, Clone, Copy)]
enum Content {
    Noise,
    Smooth,
    Runs,
}

fn image(size: (usize, usize), components: usize, precision: u8, content: Content) -> Image {
    let (width, height) = size;
    let mut random = Random(0x9E37_79B9 + (width * 31 + height) as u64 + u64::from(precision));
    let bound = 1u32 << precision;
    let mut level = 0;
    let samples = (0..width * height * components)
        .map(|index| {
            let x = (index / components % width) as u32;
            let y = (index / components / width) as u32;
            let value = match content {
                Content::Noise => random.below(bound),
                Content::Smooth => {
                    let slope = (x * 3 + y * 5 + index as u32 % 3) * bound / 512;
                    slope + random.below(bound / 32 + 2)
                }
                Content::Runs => {
                    if random.below(9) == 0 {
                        level = random.below(bound);
                    }
                    if x > 4 * y { bound / 2 } else { level }
                }
            };
            value.min(bound - 1) as u16
        })
        .collect();
    Image {
        width,
        height,
        components,
        samples,
    }
}

fn expect(image: &Image, precision: u8) -> Expect {
    Expect {
        rows: image.height as u32,
        columns: image.width as u32,
        components: image.components as u8,
        bits_max: 16,
        sample_bytes: if precision <= 8 { 1 } else { 2 },
        bits_stored: precision,
        signed: false,
    }
}

fn samples(expect: &Expect, bytes: &[u8]) -> Vec<u16> {
    match expect.sample_bytes {
        1 => bytes.iter().map(|&byte| u16::from(byte)).collect(),
        _ => bytes
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect(),
    }
}

fn decoded(stream: &[u8], expect: &Expect) -> Result<Vec<u16>, Error> {
    let mut out = vec![0xA5; expect.frame_len_bytes().unwrap()];
    decode(stream, expect, &mut out).map(|_| samples(expect, &out))
}

/// Encodes, decodes, compares; returns the stream.
fn check(image: &Image, options: &Options) -> Vec<u8> {
    let (stream, seen) = encode(image, options);
    let context = format!("{}x{} {options:?}", image.width, image.height);
    let got = decoded(&stream, &expect(image, options.precision)).expect(&context);
    assert_eq!(got, seen, "{context}");
    let near = options.near as u16;
    let close = got
        .iter()
        .zip(&image.samples)
        .all(|(a, b)| a.abs_diff(*b) <= near);
    assert!(close, "{context}");
    stream
}

#[test]
fn worked_example_of_the_standard() {
    let image = Image {
        width: 4,
        height: 4,
        components: 1,
        samples: H3_IMAGE.map(u16::from).to_vec(),
    };
    let (stream, _) = encode(&image, &Options::new(8, 0, 1, 0));
    assert_eq!(stream[..H3_STREAM.len()], H3_STREAM);
    // Without EOI, as here, it is whole all the same.
    let stream = &H3_STREAM[..55];
    assert_eq!(decoded(stream, &expect(&image, 8)), Ok(image.samples));
}

#[test]
fn every_precision_and_near() {
    for precision in 2..=16 {
        let half = ((1i32 << precision) - 1) / 2;
        for near in [0, 1, 2, 3, 10, 127, 255] {
            if near > half {
                continue;
            }
            for content in [Content::Noise, Content::Smooth, Content::Runs] {
                let image = image((61, 40), 1, precision, content);
                check(&image, &Options::new(precision, near, 1, 0));
            }
        }
    }
}

#[test]
fn every_interleaving_and_number_of_components() {
    for precision in [2, 7, 8, 12, 16] {
        for components in 1..=4 {
            for interleave in 0..=2 {
                for near in [0, 1] {
                    for content in [Content::Noise, Content::Smooth, Content::Runs] {
                        let image = image((37, 23), components, precision, content);
                        let options = Options::new(precision, near, components, interleave);
                        check(&image, &options);
                    }
                }
            }
        }
    }
}

#[test]
fn every_shape() {
    for size in [
        (1, 1),
        (1, 9),
        (9, 1),
        (2, 2),
        (3, 5),
        (300, 7),
        (7, 300),
        (4099, 3),
    ] {
        for content in [Content::Noise, Content::Smooth, Content::Runs] {
            for (components, interleave) in [(1, 0), (3, 0), (3, 1), (3, 2)] {
                let image = image(size, components, 12, content);
                check(&image, &Options::new(12, 0, components, interleave));
                check(&image, &Options::new(12, 3, components, interleave));
            }
        }
    }
}

#[test]
fn long_runs_reach_the_last_run_length_order() {
    let mut flat = image((60_000, 9), 1, 8, Content::Smooth);
    flat.samples.fill(0);
    flat.samples[500_000] = 9;
    let stream = check(&flat, &Options::new(8, 0, 1, 0));
    assert!(stream.len() < 200, "{} bytes", stream.len());
}

#[test]
fn preset_parameters() {
    for (precision, near, preset) in [
        (8, 0, [0, 0, 0, 0, 0]),
        (8, 0, [255, 9, 9, 9, 31]),
        (8, 0, [200, 0, 0, 0, 0]),
        (8, 2, [201, 5, 20, 200, 3]),
        (12, 0, [4000, 10, 20, 3000, 255]),
        (12, 0, [0, 0, 0, 0, 4095]),
        (16, 0, [65_535, 18, 67, 276, 65_535]),
        (16, 5, [50_000, 0, 0, 50_000, 7]),
        (16, 0, [1, 1, 1, 1, 64]),
        (16, 0, [300, 0, 0, 0, 0]),
    ] {
        for content in [Content::Noise, Content::Smooth, Content::Runs] {
            let mut image = image((50, 41), 3, precision, content);
            if preset[0] > 0 {
                image
                    .samples
                    .iter_mut()
                    .for_each(|s| *s = (*s).min(preset[0]));
            }
            for interleave in 0..=2 {
                let mut options = Options::new(precision, near, 3, interleave);
                options.preset = Some(preset);
                check(&image, &options);
            }
        }
    }
}

#[test]
fn preset_parameters_out_of_bounds_are_refused() {
    let image = image((5, 5), 1, 8, Content::Noise);
    for preset in [
        [256, 0, 0, 0, 0],
        [0, 20, 10, 30, 0],
        [0, 3, 7, 256, 0],
        [0, 0, 0, 0, 2],
        [0, 0, 0, 0, 256],
    ] {
        let mut options = Options::new(8, 0, 1, 0);
        options.preset = Some([0; 5]);
        let (mut stream, _) = encode(&image, &options);
        let at = stream
            .windows(2)
            .position(|pair| pair == [0xFF, 0xF8])
            .unwrap()
            + 5;
        for (index, value) in preset.iter().enumerate() {
            stream[at + 2 * index..][..2].copy_from_slice(&u16::to_be_bytes(*value));
        }
        let result = decoded(&stream, &expect(&image, 8));
        assert!(
            matches!(result, Err(Error::Malformed { .. })),
            "{preset:?}: {result:?}"
        );
    }
}

#[test]
fn restart_intervals() {
    for content in [Content::Noise, Content::Smooth, Content::Runs] {
        for restart_lines in [1, 2, 5, 29, 30, 1000] {
            for (components, interleave) in [(1, 0), (3, 0), (3, 1), (3, 2)] {
                let image = image((17, 30), components, 10, content);
                let mut options = Options::new(10, 1, components, interleave);
                options.restart_lines = restart_lines;
                check(&image, &options);
            }
        }
    }
}

#[test]
fn a_restart_marker_out_of_turn_is_an_error() {
    let image = image((17, 30), 1, 10, Content::Noise);
    let mut options = Options::new(10, 0, 1, 0);
    options.restart_lines = 10;
    let (mut stream, _) = encode(&image, &options);
    let at = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xD1])
        .unwrap();
    stream[at + 1] = 0xD3;
    assert_eq!(
        decoded(&stream, &expect(&image, 10)),
        Err(Error::Malformed {
            what: "a restart marker is missing or out of turn"
        })
    );
}

#[test]
fn scans_in_any_order_and_grouping() {
    let image = image((20, 11), 4, 8, Content::Smooth);
    for scans in [
        vec![(vec![3], 0), (vec![1], 0), (vec![0], 0), (vec![2], 0)],
        vec![(vec![2, 0, 3], 2), (vec![1], 0)],
        vec![(vec![3, 1], 1), (vec![0, 2], 2)],
        vec![(vec![3, 2, 1, 0], 2)],
    ] {
        let mut options = Options::new(8, 0, 4, 0);
        options.scans = scans;
        check(&image, &options);
    }
    let mut options = Options::new(8, 0, 4, 0);
    for (scans, error) in [
        (
            vec![(vec![0, 1, 2], 2)],
            "the stream lacks the scan of a component",
        ),
        (
            vec![(vec![0, 1], 1), (vec![1, 2], 1)],
            "a component is coded twice",
        ),
    ] {
        options.scans = scans;
        let (stream, _) = encode(&image, &options);
        let result = decoded(&stream, &expect(&image, 8));
        assert_eq!(result, Err(Error::Malformed { what: error }));
    }
}

#[test]
fn colour_transforms_are_undone() {
    for precision in [8, 16] {
        let range = 1i32 << precision;
        let wrap = |value: i32| (value & (range - 1)) as u16;
        for code in 0..=3 {
            let rgb = image((31, 9), 3, precision, Content::Noise);
            let mut coded = rgb.clone();
            for pixel in coded.samples.chunks_mut(3) {
                let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
                let half = range / 2;
                let (red, blue) = (wrap(r - g + half), wrap(b - g + half));
                let transformed = match code {
                    0 => [r as u16, g as u16, b as u16],
                    1 => [red, g as u16, blue],
                    2 => [red, g as u16, wrap(b - ((r + g) >> 1) + half)],
                    _ => {
                        let quarter = (i32::from(blue) + i32::from(red)) >> 2;
                        [wrap(g + quarter - range / 4), blue, red]
                    }
                };
                pixel.copy_from_slice(&transformed);
            }
            for interleave in 1..=2 {
                let mut options = Options::new(precision, 0, 3, interleave);
                options.transform = Some(code);
                let (stream, _) = encode(&coded, &options);
                let got = decoded(&stream, &expect(&rgb, precision));
                assert_eq!(
                    got.as_ref(),
                    Ok(&rgb.samples),
                    "{precision} bits, code {code}"
                );
            }
        }
    }
    let gray = image((3, 3), 1, 8, Content::Noise);
    let mut options = Options::new(8, 0, 1, 0);
    for code in [1, 4] {
        options.transform = Some(code);
        let (stream, _) = encode(&gray, &options);
        let result = decoded(&stream, &expect(&gray, 8));
        assert!(
            matches!(result, Err(Error::Unsupported { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn output_width_sign_and_mask() {
    let image = Image {
        width: 4,
        height: 1,
        components: 1,
        samples: vec![0, 5, 64, 127],
    };
    let (stream, _) = encode(&image, &Options::new(7, 0, 1, 0));
    for (sample_bytes, bits_stored, signed, want) in [
        (1, 7, false, &[0u8, 5, 64, 127][..]),
        (1, 7, true, &[0, 5, 0xC0, 0xFF]),
        (1, 6, false, &[0, 5, 0, 63]),
        (2, 7, true, &[0, 0, 5, 0, 0xC0, 0xFF, 0xFF, 0xFF]),
        (2, 12, true, &[0, 0, 5, 0, 64, 0, 127, 0]),
    ] {
        let expect = Expect {
            sample_bytes,
            bits_stored,
            signed,
            ..expect(&image, 7)
        };
        let mut out = vec![0xA5; want.len()];
        let header = decode(&stream, &expect, &mut out);
        assert_eq!(out, want);
        assert_eq!(header.map(|h| h.precision), Ok(7));
    }
}
