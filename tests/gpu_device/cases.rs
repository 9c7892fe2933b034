//! Frames to be decoded on both sides, and batches of them.

use std::ops::Range;

use dicomfs::decode::gpu::{Codec, Engine, Job, Outcome, Show};
use dicomfs::decode::values::{self, ValueError, stored_dtype};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::{ImagePixel, Luts, Photometric, PixelElement};
use dicomfs::volume::{Dtype, Transform, ValueKind, Values};

pub const LITTLE: Codec = Codec::Native { big_endian: false };
pub const BIG: Codec = Codec::Native { big_endian: true };

/// A frame, as the archive would have it.
#[derive(Debug, Clone)]
pub struct Case {
    pub codec: Codec,
    pub image: ImagePixel,
    pub show: Show,
    pub encoded: Vec<u8>,
}

/// What the CPU makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    Values(Vec<u8>),
    Overflow,
    Undecodable,
}

/// A gray image, unsigned, all bits stored.
pub fn gray(rows: u32, columns: u32, bits: u16) -> ImagePixel {
    ImagePixel {
        rows,
        columns,
        number_of_frames: 1,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        element: PixelElement::PixelData,
    }
}

/// Numbers that look random and are the same in every run (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}

fn syntax(codec: Codec) -> &'static str {
    match codec {
        Codec::Native { big_endian: false } => "1.2.840.10008.1.2.1",
        Codec::Native { big_endian: true } => "1.2.840.10008.1.2.2",
        Codec::Rle => "1.2.840.10008.1.2.5",
        Codec::Jpeg => "1.2.840.10008.1.2.4.50",
        Codec::JpegLossless => "1.2.840.10008.1.2.4.70",
        Codec::Jpeg2000 => "1.2.840.10008.1.2.4.90",
        Codec::Htj2k => "1.2.840.10008.1.2.4.201",
    }
}

impl Case {
    pub fn out_len(&self) -> usize {
        let stored = self.image.frame_len_bytes().unwrap();
        let item = stored_dtype(&self.image).unwrap().itemsize();
        let shown = match self.show {
            Show::Stored => item,
            Show::Offset { dtype, .. } | Show::Linear { dtype, .. } => dtype.itemsize(),
        };
        stored / item * shown
    }

    /// Decodes and shows it as `fetch` does.
    pub fn truth(&self) -> Truth {
        self.truth_of(syntax(self.codec))
    }

    /// The same, of one of the transfer syntaxes that the codec has.
    pub fn truth_of(&self, uid: &str) -> Truth {
        let mut stored = vec![0; self.image.frame_len_bytes().unwrap()];
        let encoded = Encoded {
            bytes: &self.encoded,
            first_bit: 0,
        };
        if decode_frame(uid, &self.image, encoded, &mut stored).is_err() {
            return Truth::Undecodable;
        }
        let (transform, dtype, frame) = match self.show {
            Show::Stored => {
                let dtype = stored_dtype(&self.image).unwrap();
                (Transform::Identity, dtype, (1.0, 0.0))
            }
            Show::Offset { intercept, dtype } => {
                (Transform::Offset, dtype, (1.0, intercept as f64))
            }
            Show::Linear {
                slope,
                intercept,
                dtype,
            } => (Transform::Linear, dtype, (slope, intercept)),
        };
        let rule = Values {
            dtype,
            transform,
            units: None,
            kind: ValueKind::Modality,
        };
        let mut out = vec![0; self.out_len()];
        let luts = Luts::default();
        match values::apply(&rule, frame, &self.image, &luts, &stored, &mut out) {
            Ok(()) => Truth::Values(out),
            Err(ValueError::Overflow(_)) => Truth::Overflow,
            Err(other) => panic!("{other}: {self:?}"),
        }
    }
}

/// How a batch lies in the memory of the caller.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Bytes between encoded frames.
    pub encoded_gap: usize,
    /// Bytes between the values of frames.
    pub out_gap: usize,
    /// The values lie in the order of the jobs, or the other way round.
    pub reversed: bool,
}

pub const DENSE: Spread = Spread {
    encoded_gap: 0,
    out_gap: 0,
    reversed: false,
};

/// The bytes of the slab that belong to no job.
const UNTOUCHED: u8 = 0xC7;

/// A batch, laid out.
pub struct Batch {
    pub jobs: Vec<Job>,
    pub encoded: Vec<u8>,
    pub slab: Vec<u8>,
}

impl Batch {
    pub fn new(cases: &[Case], spread: Spread) -> Batch {
        let mut encoded = vec![0x3C; spread.encoded_gap];
        let mut jobs = Vec::new();
        for case in cases {
            let start = encoded.len() as u64;
            encoded.extend(&case.encoded);
            let end = encoded.len() as u64;
            encoded.resize(encoded.len() + spread.encoded_gap, 0x3C);
            jobs.push(Job {
                codec: case.codec,
                image: case.image.clone(),
                show: case.show,
                encoded: start..end,
                out: 0..0,
            });
        }
        let mut at = spread.out_gap as u64;
        let mut order: Vec<usize> = (0..cases.len()).collect();
        if spread.reversed {
            order.reverse();
        }
        for index in order {
            let len = cases[index].out_len() as u64;
            jobs[index].out = at..at + len;
            at += len + spread.out_gap as u64;
        }
        Batch {
            jobs,
            encoded,
            slab: vec![UNTOUCHED; at as usize],
        }
    }

    pub fn run(&mut self, engine: &mut Engine) -> Vec<Outcome> {
        let outcomes = engine
            .run(&self.jobs, &self.encoded, &mut self.slab)
            .expect("the device is not lost");
        assert_eq!(outcomes.len(), self.jobs.len());
        outcomes
    }

    pub fn values(&self, index: usize) -> &[u8] {
        let Range { start, end } = self.jobs[index].out;
        &self.slab[start as usize..end as usize]
    }

    /// Nothing was written but the values of jobs.
    pub fn assert_rest_untouched(&self) {
        let mut ours = vec![false; self.slab.len()];
        for job in &self.jobs {
            ours[job.out.start as usize..job.out.end as usize].fill(true);
        }
        let wrong = (0..ours.len()).find(|&at| !ours[at] && self.slab[at] != UNTOUCHED);
        assert_eq!(wrong, None, "a byte of nobody was written");
    }
}

/// Runs the cases as one batch and holds every outcome and every value to the CPU's. Returns how
/// many gave values.
pub fn check(engine: &mut Engine, cases: &[Case], spread: Spread) -> usize {
    let mut batch = Batch::new(cases, spread);
    let outcomes = batch.run(engine);
    let mut done = 0;
    for (index, (case, outcome)) in cases.iter().zip(&outcomes).enumerate() {
        let what = || format!("{:?} {:?} {:?}", case.codec, case.image, case.show);
        match (case.truth(), outcome) {
            (Truth::Values(expected), Outcome::Done) => {
                done += 1;
                let at = expected
                    .iter()
                    .zip(batch.values(index))
                    .position(|(expected, got)| expected != got);
                assert_eq!(at, None, "other bytes: {}", what());
            }
            (Truth::Overflow, Outcome::Overflow) | (Truth::Undecodable, Outcome::Refused(_)) => {}
            (truth, outcome) => {
                let truth = match truth {
                    Truth::Values(_) => "values".to_string(),
                    other => format!("{other:?}"),
                };
                panic!("{outcome:?} where the CPU has {truth}: {}", what());
            }
        }
    }
    batch.assert_rest_untouched();
    done
}

/// Packs bytes as RLE does, with packets of all kinds; `random` decides which.
pub fn pack(random: &mut Random, plane: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut at = 0;
    while at < plane.len() {
        let same = plane[at..]
            .iter()
            .take(128)
            .take_while(|&&byte| byte == plane[at])
            .count();
        if random.below(40) == 0 {
            packed.push(128);
        }
        if same >= 2 && random.below(8) != 0 {
            packed.extend([(257 - same) as u8, plane[at]]);
            at += same;
        } else {
            let most = if random.below(4) == 0 { 128 } else { 9 };
            let len = (1 + random.below(most) as usize).min(plane.len() - at);
            packed.push((len - 1) as u8);
            packed.extend(&plane[at..at + len]);
            at += len;
        }
    }
    if packed.len() % 2 == 1 {
        packed.push(0);
    }
    packed
}

/// An RLE frame of these stored words (interleaved, little endian).
pub fn rle(random: &mut Random, image: &ImagePixel, words: &[u8]) -> Vec<u8> {
    let width = image.sample_len_bytes();
    let samples = usize::from(image.samples_per_pixel);
    let planes: Vec<Vec<u8>> = (0..samples * width)
        .map(|plane| {
            let byte = plane / width * width + (width - 1 - plane % width);
            let plane: Vec<u8> = words
                .chunks_exact(samples * width)
                .map(|p| p[byte])
                .collect();
            pack(random, &plane)
        })
        .collect();
    segments(&planes)
}

/// Header and segments.
pub fn segments(planes: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[..4].copy_from_slice(&(planes.len() as u32).to_le_bytes());
    for (number, plane) in planes.iter().enumerate().take(15) {
        let offset = (frame.len() as u32).to_le_bytes();
        frame[4 + 4 * number..][..4].copy_from_slice(&offset);
        frame.extend(plane);
    }
    frame
}

/// Bytes with runs in them, as images have.
pub fn smooth(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let byte = random.next() as u8;
        let run = if random.below(3) == 0 {
            random.below(300)
        } else {
            1
        };
        bytes.extend(std::iter::repeat_n(byte, run as usize + 1));
    }
    bytes.truncate(len);
    bytes
}

/// All rules that there are for stored samples of this dtype.
pub fn shows(from: Dtype) -> Vec<Show> {
    use Dtype::{F32, F64, I8, I16, I32, U8, U16, U32};
    let mut shows = vec![Show::Stored];
    let offsets = |dtype, intercepts: &[i64]| -> Vec<Show> {
        let show = |&intercept| Show::Offset { intercept, dtype };
        intercepts.iter().map(show).collect()
    };
    if matches!(from, U8 | I8 | U16 | I16) {
        let some = [-1024, 0, 32767, -32768, 1 << 40, -70_000];
        shows.extend(offsets(I16, &some));
    }
    if matches!(from, U8 | I8 | U16 | I16 | U32 | I32) {
        let some = [-1024, 1 << 30, i64::from(i32::MIN), (1 << 52), -(1 << 52)];
        shows.extend(offsets(I32, &some));
    }
    if !matches!(from, F32 | F64) {
        for dtype in [F32, F64] {
            for (slope, intercept) in [
                (0.1, -1024.3),
                (1.0 / 3.0, 1e-9),
                (-2.5e300, 1e300),
                (4.9e-324, -0.0),
                (0.0, -0.0),
            ] {
                shows.push(Show::Linear {
                    slope,
                    intercept,
                    dtype,
                });
            }
        }
    }
    shows
}
