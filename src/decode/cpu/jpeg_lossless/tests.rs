//! Round trips through a plain encoder, one stream of another encoder, and broken streams.

mod encoder;

use super::*;
use encoder::{Codes, Job, segment};

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

/// Samples of the job's precision, with the bits that the point transform drops at zero: noise
/// (even seeds) or a slope with little noise.
fn samples(job: &Job, seed: u64) -> Vec<u16> {
    let mut random = Random(seed * 2 + 1);
    let mask = ((1_u32 << job.precision) - (1 << job.point_transform)) as u16;
    let slope = |i: usize| (i / job.components * 3) as u64;
    let sample = |i| {
        let noise = random.next() >> 20;
        (if seed.is_multiple_of(2) {
            noise
        } else {
            slope(i) + noise % 4
        }) as u16
            & mask
    };
    (0..job.len()).map(sample).collect()
}

fn expect(job: &Job) -> Expect {
    Expect {
        rows: job.height as u16,
        columns: job.width as u16,
        components: job.components as u8,
        max_bits: 16,
    }
}

fn decoded(job: &Job, stream: &[u8]) -> Result<Vec<u16>, Error> {
    let mut out = vec![0; job.len()];
    decode(stream, expect(job), &mut out).map(|()| out)
}

/// Encodes, decodes and compares, for each sample type that can hold the precision.
fn check(job: &Job, seed: u64) {
    let original = samples(job, seed);
    let stream = job.encode(&original);
    let header = Header {
        width: job.width as u16,
        height: job.height as u16,
        components: job.components as u8,
        precision: job.precision,
    };
    assert_eq!(read_header(&stream), Ok(header), "{job:?}");
    assert_eq!(decoded(job, &stream).as_ref(), Ok(&original), "{job:?}");
    let mut pairs = vec![[0_u8; 2]; job.len()];
    assert_eq!(decode(&stream, expect(job), &mut pairs), Ok(()));
    assert!(
        pairs
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
            .eq(original.iter().copied())
    );
    let mut bytes = vec![0_u8; job.len()];
    let result = decode(&stream, expect(job), &mut bytes);
    if job.precision <= 8 {
        assert_eq!(result, Ok(()));
        assert!(
            bytes.iter().map(|&byte| u16::from(byte)).eq(original),
            "{job:?}"
        );
    } else {
        assert!(matches!(
            result,
            Err(Error::Mismatch {
                what: "sample precision",
                ..
            })
        ));
    }
}

#[test]
fn every_precision_and_predictor_comes_back() {
    let tables = [Codes::Flat, Codes::Skewed, Codes::SkewedBack, Codes::Long];
    for precision in 2..=16 {
        for selection in 1..=7 {
            for (i, &codes) in tables.iter().enumerate() {
                for (width, height) in [(1, 1), (1, 9), (14, 1), (2, 3), (13, 11)] {
                    let mut job = Job::new(width, height, 1, precision);
                    (job.selection, job.tables) = (selection, vec![codes]);
                    check(&job, i as u64);
                }
            }
        }
    }
}

#[test]
fn components_scans_and_tables_in_every_order_come_back() {
    let orders: [&[&[usize]]; 11] = [
        &[&[0, 1]],
        &[&[0], &[1]],
        &[&[1, 0]],
        &[&[0, 1, 2]],
        &[&[2], &[0], &[1]],
        &[&[1, 2], &[0]],
        &[&[0], &[2, 1]],
        &[&[0, 1, 2, 3]],
        &[&[3], &[0, 2], &[1]],
        &[&[3, 2, 1, 0]],
        &[&[0, 1, 3], &[2]],
    ];
    for scans in orders {
        for (seed, precision) in [(0, 8), (1, 12), (2, 16)] {
            for selection in 1..=7 {
                for tables in [1, 2, 4] {
                    let components = scans.iter().map(|scan| scan.len()).sum();
                    let mut job = Job::new(7, 6, components, precision);
                    job.scans = scans.iter().map(|scan| scan.to_vec()).collect();
                    job.tables = [Codes::Skewed, Codes::Flat, Codes::Long, Codes::SkewedBack]
                        [..tables]
                        .into();
                    (job.selection, job.restart_lines) = (selection, tables - 1);
                    job.clutter = tables == 2;
                    check(&job, seed);
                }
            }
        }
    }
}

#[test]
fn restarts_point_transforms_and_dnl_come_back() {
    for restart_lines in [0, 1, 2, 5, 40] {
        for point_transform in [0, 1, 3, 7] {
            for selection in 1..=7 {
                for components in [1, 3] {
                    let mut job = Job::new(5, 23, components, 8 + 4 * (selection % 3));
                    job.selection = selection;
                    job.restart_lines = restart_lines;
                    job.point_transform = point_transform;
                    job.dnl = components == 1;
                    job.tables_first = selection % 2 == 0;
                    job.clutter = selection == 3;
                    check(&job, u64::from(selection));
                }
            }
        }
    }
}

/// Large enough for the table of pairs, where the components share a table.
#[test]
fn large_scans_come_back() {
    for selection in 1..=7 {
        for (components, precision) in [(1, 12), (1, 16), (2, 16), (3, 8), (4, 12)] {
            for codes in [Codes::Flat, Codes::Skewed, Codes::SkewedBack, Codes::Long] {
                let mut job = Job::new(131, 127 / components + 1, components, precision);
                (job.selection, job.tables) = (selection, vec![codes]);
                assert!(job.len() >= pairs::SAMPLES_MIN);
                check(&job, 1 + u64::from(selection % 2));
                job.restart_lines = 7;
                check(&job, u64::from(selection % 2));
            }
        }
    }
    // Few samples a line.
    for (width, components) in [
        (1, 1),
        (2, 1),
        (3, 1),
        (5, 1),
        (6, 1),
        (1, 3),
        (2, 2),
        (3, 4),
    ] {
        let mut job = Job::new(width, pairs::SAMPLES_MIN / width + 1, components, 12);
        job.selection = 4;
        check(&job, 1);
    }
}

#[test]
fn large_scans_that_are_broken_end_without_panic() {
    let mut random = Random(11);
    for (components, selection) in [(1, 1), (1, 5), (3, 7)] {
        let mut job = Job::new(128, 128 / components + 1, components, 12);
        (job.selection, job.tables) = (selection, vec![Codes::SkewedBack]);
        let original = samples(&job, 1);
        let stream = job.encode(&original);
        for _ in 0..300 {
            let cut = random.next() as usize % (stream.len() - 2);
            assert!(
                decoded(&job, &stream[..cut]).is_err(),
                "{cut} of {}",
                stream.len()
            );
            let mut broken = stream.clone();
            broken[cut] ^= 1 << (random.next() % 8);
            let _ = decoded(&job, &broken);
            for byte in &mut broken[cut..] {
                *byte = random.next() as u8 & 0xFE;
            }
            let _ = decoded(&job, &broken);
        }
    }
}

/// 4 x 3 samples of 12 bits by libjpeg-turbo 3.1, predictor 7.
const FOREIGN: [u8; 91] = [
    0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x10, 0x4A, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01,
    0x00, 0x01, 0x00, 0x00, 0xFF, 0xC3, 0x00, 0x0B, 0x0C, 0x00, 0x03, 0x00, 0x04, 0x01, 0x01, 0x11,
    0x00, 0xFF, 0xC4, 0x00, 0x17, 0x00, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0B, 0x0C, 0x09, 0x0A, 0xFF, 0xDA, 0x00, 0x08, 0x01, 0x01,
    0x00, 0x07, 0x00, 0x00, 0x9F, 0xFE, 0xFF, 0x00, 0xF8, 0x04, 0x5F, 0xBF, 0xBE, 0x81, 0xF5, 0xDE,
    0xA2, 0x0F, 0xB0, 0x5E, 0x60, 0xB6, 0x0C, 0x40, 0x0F, 0xFF, 0xD9,
];

#[test]
fn a_stream_of_another_encoder_is_read() {
    let job = Job::new(4, 3, 1, 12);
    let want = vec![0, 4095, 17, 2048, 1000, 1001, 999, 3, 4095, 0, 2047, 2049];
    assert_eq!(decoded(&job, &FOREIGN), Ok(want));
}

#[test]
fn the_difference_of_32768_is_category_16() {
    let job = Job::new(4, 1, 1, 16);
    let original = [0_u16, 32768, 0, 65535];
    assert_eq!(decoded(&job, &job.encode(&original)), Ok(original.to_vec()));
}

/// Jobs of different makes, small enough to break at every bit.
fn specimens() -> Vec<Job> {
    let mut jobs = vec![Job::new(9, 5, 1, 12); 4];
    (jobs[1].selection, jobs[1].restart_lines) = (7, 2);
    (jobs[2].tables, jobs[2].clutter) = (vec![Codes::Long], true);
    (jobs[3].dnl, jobs[3].point_transform, jobs[3].tables) = (true, 2, vec![Codes::Flat]);
    let mut color = Job::new(4, 3, 3, 8);
    (color.selection, color.tables) = (4, vec![Codes::Skewed, Codes::SkewedBack]);
    jobs.push(color.clone());
    color.scans = vec![vec![0], vec![1], vec![2]];
    jobs.push(color);
    jobs
}

#[test]
fn a_stream_cut_anywhere_is_an_error_until_the_last_sample_is_there() {
    for job in specimens() {
        let original = samples(&job, 1);
        let mut stream = job.encode(&original);
        // What follows the last entropy-coded byte may be missing.
        let end = {
            let tail: usize = if job.clutter { 2 + 18 + 8 + 69 + 1 } else { 0 };
            stream.len() - 2 - tail - if job.dnl { 6 } else { 0 }
        };
        for len in 0..stream.len() {
            let result = decoded(&job, &stream[..len]);
            // The number of lines is known only with the whole DNL segment.
            if len < end + if job.dnl { 6 } else { 0 } {
                assert!(
                    result.is_err(),
                    "{len} of {} bytes of {job:?}",
                    stream.len()
                );
            } else {
                assert_eq!(result.as_ref(), Ok(&original), "{len} of {}", stream.len());
            }
        }
        stream.extend([0; 5]);
        assert_eq!(decoded(&job, &stream), Ok(original));
    }
}

#[test]
fn a_flipped_bit_anywhere_ends_without_panic() {
    let mut caught = 0;
    for job in specimens() {
        let original = samples(&job, 3);
        let stream = job.encode(&original);
        for at in 0..stream.len() * 8 {
            let mut broken = stream.clone();
            broken[at / 8] ^= 1 << (at % 8);
            caught += usize::from(decoded(&job, &broken).is_err());
            let _ = read_header(&broken);
        }
    }
    assert!(caught > 1000, "{caught}");
}

#[test]
fn garbage_after_a_good_header_ends_without_panic() {
    let mut random = Random(99);
    for round in 0..3000_usize {
        for job in specimens() {
            let mut stream = job.encode(&samples(&job, 1));
            let from = round % stream.len();
            for byte in &mut stream[from..] {
                *byte = random.next() as u8;
            }
            let _ = decoded(&job, &stream);
        }
    }
}

/// A stream after `change`, which gets a plain 3 x 2 one: SOI, DHT (2..), SOF3, SOS, data, EOI.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u16>, Error> {
    let job = Job::new(3, 2, 1, 12);
    let mut stream = job.encode(&[1, 2, 3, 4, 5, 6]);
    change(&mut stream);
    decoded(&job, &stream)
}

/// The position of a marker's code in the streams of [`changed`].
fn position(stream: &[u8], marker: u8) -> usize {
    stream
        .windows(2)
        .position(|pair| pair == [0xFF, marker])
        .map_or(0, |at| at + 1)
}

#[test]
fn headers_that_disagree_or_are_not_supported_say_so() {
    let sof = |offset: usize, value: u8| {
        changed(move |stream| {
            let at = position(stream, header::SOF3) + offset;
            stream[at] = value;
        })
        .map_err(|error| error.to_string())
    };
    let says = |result: Result<Vec<u16>, String>, words: &str| match result {
        Err(why) => assert!(why.contains(words), "{why:?} lacks {words:?}"),
        Ok(_) => panic!("accepted, expected {words:?}"),
    };
    assert_eq!(sof(0, 0xC3), Ok(vec![1, 2, 3, 4, 5, 6]));
    says(sof(0, 0xC0), "baseline");
    says(sof(0, 0xC7), "hierarchical");
    says(sof(0, 0xCB), "arithmetic");
    says(sof(0, 0xF7), "JPEG-LS");
    says(sof(0, 0xD8), "FF D8");
    says(sof(3, 1), "precision");
    says(sof(3, 17), "precision");
    says(sof(4, 0xFF), "height 65282, the data set 2");
    says(sof(7, 4), "width 4, the data set 3");
    says(sof(7, 0), "no columns");
    says(sof(8, 2), "too few components");
    says(sof(8, 5), "more than four");
    says(sof(10, 0x50), "sampling factor");
    says(sof(5, 0), "DNL");
    let sos = |offset: usize, value: u8| {
        changed(move |stream| {
            let at = position(stream, header::SOS) + offset;
            stream[at] = value;
        })
        .map_err(|error| error.to_string())
    };
    says(sos(3, 0), "1 to 4 components");
    says(sos(4, 9), "names a component");
    says(sos(5, 0x30), "not defined");
    says(sos(5, 0x40), "above 3");
    says(sos(6, 0), "selection value 0");
    says(sos(6, 8), "above 7");
    says(sos(8, 12), "point transform");
    says(
        changed(|stream| stream[1] = 0).map_err(|e| e.to_string()),
        "FF D8",
    );
    let subsampled = Job::new(4, 2, 3, 8);
    let mut stream = subsampled.encode(&[0; 24]);
    let at = position(&stream, header::SOF3) + 10;
    stream[at] = 0x21;
    assert_eq!(
        decoded(&subsampled, &stream),
        Err(Error::Unsupported("subsampling"))
    );
}

#[test]
fn data_that_goes_on_or_restarts_out_of_order_is_refused() {
    let surplus = changed(|stream| {
        let at = stream.len() - 2;
        stream.splice(at..at, [1, 2, 3]);
    });
    assert_eq!(surplus, Err(Error::Surplus(1)));
    let padded = changed(|stream| {
        let at = stream.len() - 2;
        stream.splice(at..at, [0, 0, 0, 0, 7]);
    });
    assert_eq!(padded, Ok(vec![1, 2, 3, 4, 5, 6]));

    let mut job = Job::new(3, 3, 1, 12);
    job.restart_lines = 1;
    let original = samples(&job, 1);
    let stream = job.encode(&original);
    let second = position(&stream, 0xD1);
    let mut broken = stream.clone();
    broken[second] = 0xD0;
    assert_eq!(decoded(&job, &broken), Err(Error::Restart(2)));
    broken[second] = 0xD9;
    assert_eq!(decoded(&job, &broken), Err(Error::Restart(2)));
    let mut odd_interval = stream.clone();
    let at = position(&stream, header::DRI) + 4;
    odd_interval[at] = 4;
    assert!(matches!(
        decoded(&job, &odd_interval),
        Err(Error::Segment("DRI", _))
    ));
}

#[test]
fn sizes_are_compared_before_anything_else_is_done() {
    let mut stream = vec![0xFF, 0xD8];
    segment(
        &mut stream,
        header::SOF3,
        &[16, 255, 255, 255, 255, 1, 1, 0x11, 0],
    );
    let expect = Expect {
        rows: 1,
        columns: 1,
        components: 1,
        max_bits: 16,
    };
    let mut out = [0_u16; 1];
    let result = decode(&stream, expect, &mut out);
    assert_eq!(
        result,
        Err(Error::Mismatch {
            what: "height",
            found: 65535,
            expected: 1
        })
    );
    let job = Job::new(3, 2, 1, 12);
    let stream = job.encode(&[0; 6]);
    let expect = Expect {
        rows: 2,
        columns: 3,
        components: 1,
        max_bits: 8,
    };
    let result = decode(&stream, expect, &mut [0_u16; 6]);
    let what = "sample precision";
    assert_eq!(
        result,
        Err(Error::Mismatch {
            what,
            found: 12,
            expected: 8
        })
    );
    let result = decode(
        &stream,
        Expect {
            max_bits: 16,
            ..expect
        },
        &mut [0_u16; 5],
    );
    assert_eq!(
        result,
        Err(Error::OutputLength {
            found: 5,
            expected: 6
        })
    );
}
