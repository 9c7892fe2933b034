//! Round trips through a plain encoder, a published stream, and broken frames.

use super::*;

/// A small generator (xorshift64), so that failures repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// PackBits in one of the ways that an encoder may choose.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// Runs of two and more, literals between.
    Usual,
    /// Literals only.
    Literals,
    /// As usual, with a no-operation byte before each packet.
    NoOps,
}

fn packed(plane: &[u8], style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    let run_at = |at: usize| {
        let same = plane[at..]
            .iter()
            .take_while(|&&byte| byte == plane[at])
            .count();
        if matches!(style, Style::Literals) {
            1
        } else {
            same.min(128)
        }
    };
    let mut at = 0;
    while at < plane.len() {
        if matches!(style, Style::NoOps) {
            out.push(128);
        }
        let run = run_at(at);
        if run > 1 {
            out.extend([(257 - run) as u8, plane[at]]);
            at += run;
        } else {
            let mut len = 1;
            while len < 128 && at + len < plane.len() && run_at(at + len) == 1 {
                len += 1;
            }
            out.push(len as u8 - 1);
            out.extend(&plane[at..at + len]);
            at += len;
        }
    }
    if out.len() % 2 == 1 {
        out.push(0);
    }
    out
}

/// A frame of ready segments.
fn frame(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut header = vec![0_u32; 16];
    header[0] = segments.len() as u32;
    let mut offset = HEADER_LEN_BYTES as u32;
    for (slot, segment) in header[1..].iter_mut().zip(segments) {
        *slot = offset;
        offset += segment.len() as u32;
    }
    let header = header.into_iter().flat_map(u32::to_le_bytes);
    header.chain(segments.iter().flatten().copied()).collect()
}

/// PS3.5 G.2: the planes of interleaved little-endian pixels, most significant byte first.
fn encode(pixels: &[u8], expect: Expect, style: Style) -> Vec<u8> {
    let bytes = usize::from(expect.bits_allocated.div_ceil(8));
    let pixel_len = usize::from(expect.samples) * bytes;
    let mut planes = Vec::new();
    for sample in 0..usize::from(expect.samples) {
        for byte in (0..bytes).rev() {
            let at = sample * bytes + byte;
            let plane: Vec<u8> = pixels.iter().skip(at).step_by(pixel_len).copied().collect();
            planes.push(packed(&plane, style));
        }
    }
    frame(&planes)
}

/// Runs and noise mixed.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed + 1);
    let mut out = Vec::new();
    while out.len() < len {
        let word = random.next();
        let count = (word >> 8) as usize % if seed.is_multiple_of(3) { 300 } else { 40 } + 1;
        if word.is_multiple_of(3) {
            out.extend(std::iter::repeat_n((word >> 32) as u8, count));
        } else {
            out.extend((0..count).map(|_| random.next() as u8));
        }
    }
    out.truncate(len);
    out
}

fn decoded(encoded: &[u8], expect: Expect) -> Result<Vec<u8>, Error> {
    let pixels = usize::from(expect.rows) * usize::from(expect.columns);
    let bytes = usize::from(expect.bits_allocated.div_ceil(8));
    let mut out = vec![0xA5; pixels * bytes * usize::from(expect.samples)];
    decode(encoded, expect, &mut out).map(|()| out)
}

#[test]
fn every_depth_and_size_comes_back() {
    let kinds = [
        (8, 1),
        (8, 2),
        (8, 3),
        (8, 4),
        (8, 15),
        (16, 1),
        (16, 2),
        (16, 3),
        (16, 7),
        (32, 1),
        (32, 3),
        (64, 1),
    ];
    for (bits_allocated, samples) in kinds {
        for (rows, columns) in [(1, 1), (1, 5), (7, 1), (31, 33), (64, 64), (90, 71)] {
            for style in [Style::Usual, Style::Literals, Style::NoOps] {
                for seed in 0..3 {
                    let expect = Expect {
                        rows,
                        columns,
                        samples,
                        bits_allocated,
                    };
                    let pixel_len = usize::from(samples) * usize::from(bits_allocated / 8);
                    let len = usize::from(rows) * usize::from(columns) * pixel_len;
                    let pixels = content(len, seed);
                    let encoded = encode(&pixels, expect, style);
                    assert_eq!(
                        decoded(&encoded, expect).as_ref(),
                        Ok(&pixels),
                        "{expect:?}"
                    );
                    // Padding of the whole frame is not the last segment's business.
                    let padded = [&encoded[..], &[0]].concat();
                    assert_eq!(decoded(&padded, expect), Ok(pixels), "{expect:?}");
                }
            }
        }
    }
}

#[test]
fn bits_are_unpacked_from_the_least_significant_one() {
    let expect = Expect {
        rows: 2,
        columns: 5,
        samples: 1,
        bits_allocated: 1,
    };
    let encoded = frame(&[packed(&[0b1000_0011, 0b10], Style::Usual)]);
    assert_eq!(
        decoded(&encoded, expect),
        Ok(vec![1, 1, 0, 0, 0, 0, 0, 1, 0, 1])
    );
    for (rows, columns) in [(1, 1), (1, 8), (3, 3), (17, 19)] {
        let expect = Expect {
            rows,
            columns,
            samples: 1,
            bits_allocated: 1,
        };
        let count = usize::from(rows) * usize::from(columns);
        let pixels: Vec<u8> = content(count, 1).iter().map(|byte| byte & 1).collect();
        let byte = |bits: &[u8]| (0..bits.len()).fold(0, |byte, i| byte | bits[i] << i);
        let plane: Vec<u8> = pixels.chunks(8).map(byte).collect();
        assert_eq!(
            decoded(&frame(&[packed(&plane, Style::Usual)]), expect),
            Ok(pixels)
        );
    }
}

/// The example of Apple's Technical Note TN1023.
#[test]
fn a_published_stream_is_read() {
    let stream = [
        0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7, 0xAA,
    ];
    let want = [
        0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22, 0xAA,
        0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
    ];
    let expect = Expect {
        rows: 4,
        columns: 6,
        samples: 1,
        bits_allocated: 8,
    };
    assert_eq!(
        decoded(&frame(&[stream.to_vec()]), expect),
        Ok(want.to_vec())
    );
}

#[test]
fn what_goes_beyond_the_plane_is_ignored_and_what_is_missing_is_not() {
    let expect = Expect {
        rows: 1,
        columns: 4,
        samples: 1,
        bits_allocated: 16,
    };
    let case = |high: &[u8], low: &[u8]| decoded(&frame(&[high.to_vec(), low.to_vec()]), expect);
    let want = Ok(vec![1, 9, 2, 9, 3, 9, 4, 9]);
    assert_eq!(case(&[253, 9], &[3, 1, 2, 3, 4]), want);
    // A run and a literal that say more than the plane holds; the literal is cut off behind it.
    assert_eq!(case(&[200, 9], &[9, 1, 2, 3, 4]), want);
    assert_eq!(case(&[253, 9, 253, 9], &[3, 1, 2, 3, 4, 128]), want);
    let early = |segment| Err(Error::EndsEarly { segment });
    assert_eq!(case(&[254, 9], &[3, 1, 2, 3, 4]), early(0));
    assert_eq!(case(&[253], &[3, 1, 2, 3, 4]), early(0));
    assert_eq!(case(&[], &[3, 1, 2, 3, 4]), early(0));
    assert_eq!(case(&[253, 9], &[3, 1, 2, 3]), early(1));
    assert_eq!(case(&[253, 9], &[128, 128, 128]), early(1));
    assert_eq!(case(&[253, 9], &[]), early(1));
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let expect = Expect {
        rows: 2,
        columns: 2,
        samples: 1,
        bits_allocated: 16,
    };
    let good = encode(&[1, 2, 3, 4, 5, 6, 7, 8], expect, Style::Usual);
    assert_eq!(decoded(&good, expect), Ok(vec![1, 2, 3, 4, 5, 6, 7, 8]));
    let with = |at: usize, value: u32| {
        let mut frame = good.clone();
        frame[at * 4..][..4].copy_from_slice(&value.to_le_bytes());
        decoded(&frame, expect)
    };
    assert_eq!(decoded(&good[..63], expect), Err(Error::NoHeader(63)));
    for found in [0, 1, 3, 15, 16, u32::MAX] {
        assert_eq!(
            with(0, found),
            Err(Error::SegmentCount { found, expected: 2 })
        );
    }
    for (segment, offset) in [
        (0, 0),
        (0, 63),
        (0, 99),
        (1, 0),
        (1, u32::MAX),
        (0, u32::MAX),
    ] {
        assert_eq!(
            with(1 + segment, offset),
            Err(Error::Offset { segment, offset })
        );
    }
    for (bits, samples) in [
        (0, 1),
        (12, 1),
        (24, 1),
        (8, 0),
        (8, 16),
        (64, 2),
        (1, 3),
        (32, 4),
    ] {
        let expect = Expect {
            rows: 0,
            columns: 0,
            samples,
            bits_allocated: bits,
        };
        assert_eq!(
            decode(&good, expect, &mut []),
            Err(Error::Unsupported { samples, bits })
        );
    }
    let result = decode(&good, expect, &mut [0; 7]);
    assert_eq!(
        result,
        Err(Error::OutputLength {
            found: 7,
            expected: 8
        })
    );
}

#[test]
fn broken_frames_end_without_panic() {
    let mut random = Random(5);
    for (bits_allocated, samples) in [(1, 1), (8, 1), (8, 3), (16, 1), (16, 2), (32, 1), (64, 1)] {
        let expect = Expect {
            rows: 9,
            columns: 23,
            samples,
            bits_allocated,
        };
        let pixel_len = usize::from(samples) * usize::from(bits_allocated.div_ceil(8));
        let pixels = content(9 * 23 * pixel_len, 2);
        let good = encode(&pixels, expect, Style::Usual);
        for len in 0..good.len() {
            // Of the last segment only the padding byte can be spared; of 1-bit frames, which need
            // an eighth of these planes, more.
            let result = decoded(&good[..len], expect);
            assert!(
                bits_allocated == 1 || len + 1 == good.len() || result.is_err(),
                "{len}"
            );
        }
        for at in 0..good.len() * 8 {
            let mut broken = good.clone();
            broken[at / 8] ^= 1 << (at % 8);
            let _ = decoded(&broken, expect);
        }
        for round in 0..2000 {
            let mut broken = good.clone();
            for byte in &mut broken[HEADER_LEN_BYTES + round % 64..] {
                *byte = random.next() as u8;
            }
            let _ = decoded(&broken, expect);
            for byte in &mut broken[4..HEADER_LEN_BYTES] {
                *byte = if random.next().is_multiple_of(2) {
                    0
                } else {
                    random.next() as u8
                };
            }
            let _ = decoded(&broken, expect);
        }
    }
}

#[test]
fn segment_ranges_are_those_that_are_decoded() {
    let mut frame = vec![0; 64];
    frame[0] = 3;
    for (number, offset) in [64u8, 64, 70].into_iter().enumerate() {
        frame[4 + 4 * number] = offset;
    }
    frame.extend([1; 10]);
    assert_eq!(segment_ranges(&frame, 3), Ok(vec![64..64, 64..70, 70..74]));
    assert!(segment_ranges(&frame, 2).is_err());
    assert!(segment_ranges(&frame, 16).is_err());
    assert!(segment_ranges(&frame[..69], 3).is_err());
    assert!(segment_ranges(&[], 1).is_err());
}
