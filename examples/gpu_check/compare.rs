//! Every frame on both sides: what the device makes of it, and what the CPU does.
//!
//! Frames that a device may be asked for with `exact=on` must be the same, byte for byte. Lossy ones
//! may differ by rounding: how far is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dicomfs::decode::gpu::{self, Codec, Fault, Job, Outcome, Refusal, Show, plan};
use dicomfs::decode::values::{self, stored_dtype};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::{ImagePixel, Luts};
use dicomfs::volume::{Dtype, Transform, ValueKind, Values};
use rayon::prelude::*;

use super::device::{self, BATCH_TIME, Device, Part};
use super::document::is_past;
use super::frames::{Frames, files};

/// A batch ends with so many frames or bytes, whichever comes first.
const BATCH_FRAMES: usize = 256;
const BATCH_ENCODED_BYTES: usize = 32 << 20;
const BATCH_OUT_BYTES: usize = 256 << 20;

/// How often what was compared is written down.
const SAVE_AFTER: Duration = Duration::from_secs(5);

/// Differences that are named; more are counted.
const NAMED_MAX: usize = 20;

/// What stands in the outputs' places before: a frame that is not written to is not all zeros.
const UNTOUCHED: u8 = 0xC7;

/// A frame to be made by both.
struct Case {
    /// The file, and the frame's number from 1.
    place: String,
    row: (String, &'static str),
    uid: String,
    image: ImagePixel,
    show: Show,
    codec: Codec,
    is_lossy: bool,
    encoded: Vec<u8>,
    out_len: usize,
}

/// What the CPU makes of it.
enum Truth {
    Values(Vec<u8>),
    /// A value does not fit.
    Overflow,
    Undecodable(String),
}

/// How the frames of one transfer syntax, shown in one way, did.
#[derive(Default)]
pub struct Tally {
    pub equal: u64,
    pub different: u64,
    pub refused: BTreeMap<String, u64>,
    pub failed: BTreeMap<String, u64>,
    /// Lossy frames that are not equal, and the largest difference in stored units.
    pub rounded: u64,
    pub largest: f64,
}

#[derive(Default)]
pub struct Compared {
    /// By transfer syntax and what is shown.
    pub rows: BTreeMap<(String, &'static str), Tally>,
    /// Words on the first that differ.
    pub differences: Vec<String>,
    /// Codecs that the device got wrong.
    pub wrong: BTreeSet<Codec>,
    /// How often the device's process was lost; and at what and how, the first.
    pub lost: u64,
    pub faults: Vec<String>,
    /// It cannot be started any more.
    is_gone: bool,
    pub files: u64,
    /// Files that have no frames, or that nothing here reads.
    pub others: u64,
    /// Files that there was no time for.
    pub left: u64,
}

impl Compared {
    pub fn different(&self) -> u64 {
        self.rows.values().map(|tally| tally.different).sum()
    }

    pub fn equal(&self) -> u64 {
        self.rows.values().map(|tally| tally.equal).sum()
    }

    fn tally(&mut self, row: &(String, &'static str)) -> &mut Tally {
        self.rows.entry(row.clone()).or_default()
    }
}

/// Compares all frames below the directories, until `end`. `save` is told now and then how far it is,
/// and of the end.
pub fn run(
    device: &mut Device,
    roots: &[&Path],
    end: Instant,
    save: impl Fn(&Compared) -> Result<()>,
) -> Result<Compared> {
    let mut work = Work {
        device,
        compared: Compared::default(),
        end,
        turn: 0,
    };
    let mut cases = Vec::new();
    let (mut encoded_bytes, mut out_bytes) = (0, 0);
    let mut saved = Instant::now();
    save(&work.compared)?;
    for root in roots {
        for path in files(root) {
            if work.is_over() {
                work.compared.left += 1;
                continue;
            }
            if saved.elapsed() > SAVE_AFTER {
                save(&work.compared)?;
                saved = Instant::now();
            }
            let Some(frames) = Frames::open(&path) else {
                work.compared.others += 1;
                continue;
            };
            work.compared.files += 1;
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.display().to_string();
            for index in 0..frames.count() {
                let (device, compared) = (&*work.device, &mut work.compared);
                for case in cases_of(&frames, index, &name, device, compared) {
                    encoded_bytes += case.encoded.len();
                    out_bytes += case.out_len;
                    cases.push(case);
                }
                let is_full = cases.len() >= BATCH_FRAMES
                    || encoded_bytes >= BATCH_ENCODED_BYTES
                    || out_bytes >= BATCH_OUT_BYTES;
                if is_full {
                    work.flush(&mut cases)?;
                    (encoded_bytes, out_bytes) = (0, 0);
                }
            }
        }
    }
    work.flush(&mut cases)?;
    save(&work.compared)?;
    Ok(work.compared)
}

/// One frame in all ways that a device may be asked for it; refusals are counted.
fn cases_of(
    frames: &Frames,
    index: u32,
    name: &str,
    device: &Device,
    to: &mut Compared,
) -> Vec<Case> {
    let (uid, image) = (&frames.uid, &frames.image);
    let row = |show| (uid.clone(), show);
    let mut refuse = |show, why: String| {
        *to.tally(&row(show)).refused.entry(why).or_default() += 1;
        Vec::new()
    };
    let Some(codec) = Codec::for_syntax(uid) else {
        return refuse("stored", Refusal::TransferSyntax.to_string());
    };
    if device.report.can(codec).is_err() {
        return refuse("stored", Refusal::NoLibrary.to_string());
    }
    let Some(encoded) = frames.encoded(index) else {
        return refuse("stored", "not whole in its file".into());
    };
    let planned = |show: &Show, exact| plan(uid, image, show, &encoded, exact);
    let case = |show, shown, is_lossy| {
        let dtype = match show {
            Show::Stored => stored_dtype(image)?,
            Show::Offset { dtype, .. } | Show::Linear { dtype, .. } => dtype,
        };
        Some(Case {
            place: format!("{name} frame {}", index + 1),
            row: row(shown),
            uid: uid.clone(),
            image: image.clone(),
            show,
            codec,
            is_lossy,
            encoded: encoded.clone(),
            out_len: image.frame_len_bytes()? / image.sample_len_bytes() * dtype.itemsize(),
        })
    };
    match planned(&Show::Stored, true) {
        Err(Refusal::Lossy) => match planned(&Show::Stored, false) {
            Ok(_) => {
                return case(Show::Stored, "stored, lossy", true)
                    .into_iter()
                    .collect();
            }
            Err(why) => return refuse("stored, lossy", why.to_string()),
        },
        Err(why) => return refuse("stored", why.to_string()),
        Ok(_) => {}
    }
    let mut cases = vec![case(Show::Stored, "stored", false)];
    if matches!(codec, Codec::Native { .. }) {
        for (show, shown) in shows(image) {
            if planned(&show, true).is_ok() {
                cases.push(case(show, shown, false));
            }
        }
    }
    cases.into_iter().flatten().collect()
}

/// Value rules as CT and PET have them.
fn shows(image: &ImagePixel) -> [(Show, &'static str); 2] {
    let dtype = match image.bits_stored {
        0..16 => Dtype::I16,
        _ => Dtype::I32,
    };
    let linear = Show::Linear {
        slope: 1.0 / 3.0,
        intercept: -1024.3,
        dtype: Dtype::F32,
    };
    let intercept = -1024;
    [
        (Show::Offset { intercept, dtype }, "offset"),
        (linear, "linear"),
    ]
}

/// Decodes and shows it as `fetch` does.
fn truth(case: &Case) -> Truth {
    let mut stored = vec![0; case.image.frame_len_bytes().unwrap_or_default()];
    let encoded = Encoded {
        bytes: &case.encoded,
        first_bit: 0,
    };
    if let Err(error) = decode_frame(&case.uid, &case.image, encoded, &mut stored) {
        return Truth::Undecodable(error.to_string());
    }
    let (transform, dtype, frame) = match case.show {
        Show::Stored => return Truth::Values(stored),
        Show::Offset { intercept, dtype } => (Transform::Offset, dtype, (1.0, intercept as f64)),
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
    let mut out = vec![0; case.out_len];
    match values::apply(
        &rule,
        frame,
        &case.image,
        &Luts::default(),
        &stored,
        &mut out,
    ) {
        Ok(()) => Truth::Values(out),
        Err(_) => Truth::Overflow,
    }
}

/// Comparing, under way.
struct Work<'a> {
    device: &'a mut Device,
    compared: Compared,
    end: Instant,
    /// The lane that is next.
    turn: usize,
}

impl Work<'_> {
    fn is_over(&self) -> bool {
        is_past(self.end) || self.compared.is_gone
    }

    /// Has both make the cases, and compares.
    fn flush(&mut self, cases: &mut Vec<Case>) -> Result<()> {
        let mut left: &[Case] = cases;
        while !left.is_empty() {
            let count = self.batch(left)?;
            left = &left[count..];
        }
        cases.clear();
        Ok(())
    }

    /// As many of the cases as one batch takes; how many. Where the device's process is lost with several
    /// they are asked for one by one, so that it is known which of them it does not survive.
    fn batch(&mut self, cases: &[Case]) -> Result<usize> {
        self.turn = (self.turn + 1) % self.device.lanes.len().max(1);
        let lane = self.device.lanes.get_mut(self.turn);
        let lane = lane.context("a device without lanes")?;
        let mut at = 0;
        let jobs = device::load(
            lane,
            cases.iter().map(|case| {
                let start = at;
                at += case.out_len as u64;
                Part {
                    codec: case.codec,
                    image: &case.image,
                    show: case.show,
                    encoded: &case.encoded,
                    out: start..at,
                }
            }),
        );
        let mine = &cases[..jobs.len().max(1)];
        if jobs.is_empty() {
            let refused = &mut self.compared.tally(&mine[0].row).refused;
            *refused.entry(Refusal::TooLarge.to_string()).or_default() += 1;
            return Ok(1);
        }
        let len = jobs.last().map_or(0, |job| job.out.end);
        let slab = slab(len)?;
        let parts = [gpu::Part::new(&jobs, slab.as_fd(), len)];
        match lane.run(&parts, Instant::now() + BATCH_TIME) {
            Ok((outcomes, _)) => judge(mine, &jobs, &outcomes, &slab, &mut self.compared)?,
            Err(fault) => self.lost(mine, &fault)?,
        }
        Ok(mine.len())
    }

    fn lost(&mut self, cases: &[Case], fault: &Fault) -> Result<()> {
        let compared = &mut self.compared;
        let which = match cases {
            [only] => only.place.clone(),
            many => format!("with {} frames", many.len()),
        };
        compared.lost += 1;
        if compared.faults.len() < NAMED_MAX {
            compared.faults.push(format!("{which}: {fault}"));
        }
        compared.is_gone = !self.device.revive();
        if cases.len() > 1 && !self.is_over() {
            for case in cases {
                self.batch(std::slice::from_ref(case))?;
            }
            return Ok(());
        }
        for case in cases {
            let failed = &mut self.compared.tally(&case.row).failed;
            *failed.entry(fault.to_string()).or_default() += 1;
        }
        Ok(())
    }
}

/// A file in memory that is full of what no frame holds throughout.
fn slab(len: u64) -> Result<File> {
    let file = rustix::fs::memfd_create("gpu_check", rustix::fs::MemfdFlags::CLOEXEC);
    let file = File::from(file.context("no memory for a slab")?);
    file.set_len(len)?;
    let piece = vec![UNTOUCHED; 1 << 20];
    for at in (0..len).step_by(piece.len()) {
        let end = (len - at).min(piece.len() as u64) as usize;
        file.write_all_at(&piece[..end], at)
            .context("cannot fill the slab")?;
    }
    Ok(file)
}

fn judge(
    cases: &[Case],
    jobs: &[Job],
    outcomes: &[Outcome],
    slab: &File,
    to: &mut Compared,
) -> Result<()> {
    let truths: Vec<Truth> = cases.par_iter().map(truth).collect();
    for (((case, truth), job), outcome) in cases.iter().zip(&truths).zip(jobs).zip(outcomes) {
        let mut found = vec![0; case.out_len];
        slab.read_exact_at(&mut found, job.out.start)?;
        let tally = to.tally(&case.row);
        let difference = match (outcome, truth) {
            (Outcome::Refused(why), _) => {
                *tally
                    .refused
                    .entry(format!("{why}, by the device"))
                    .or_default() += 1;
                continue;
            }
            (Outcome::Failed(why), _) => {
                *tally.failed.entry(why.clone()).or_default() += 1;
                continue;
            }
            (Outcome::Overflow, Truth::Overflow) => None,
            (Outcome::Overflow, _) => Some("only the device says that a value does not fit".into()),
            (Outcome::Done, Truth::Overflow) => {
                Some("a value does not fit, the device has one".into())
            }
            (Outcome::Done, Truth::Undecodable(why)) => {
                Some(format!("the CPU cannot decode it: {why}"))
            }
            (Outcome::Done, Truth::Values(expected)) if case.is_lossy && *expected != found => {
                tally.rounded += 1;
                tally.largest =
                    tally
                        .largest
                        .max(largest_difference(&case.image, expected, &found));
                continue;
            }
            (Outcome::Done, Truth::Values(expected)) => first_difference(expected, &found),
        };
        match difference {
            None => tally.equal += 1,
            Some(what) => {
                tally.different += 1;
                to.wrong.insert(case.codec);
                if to.differences.len() < NAMED_MAX {
                    let (uid, shown) = &case.row;
                    to.differences
                        .push(format!("{}, {uid}, {shown}: {what}", case.place));
                }
            }
        }
    }
    Ok(())
}

/// Words on the first byte that differs.
fn first_difference(expected: &[u8], found: &[u8]) -> Option<String> {
    let mut pairs = expected.iter().zip(found).enumerate();
    let (at, (expected_byte, found_byte)) =
        pairs.find(|(_, (expected, found))| expected != found)?;
    let count = expected
        .iter()
        .zip(found)
        .filter(|(expected, found)| expected != found)
        .count();
    Some(format!(
        "{count} of {} bytes differ, the first at {at}: CPU {expected_byte:#04x}, device {found_byte:#04x}",
        expected.len()
    ))
}

/// The largest difference between samples, in stored units.
fn largest_difference(image: &ImagePixel, expected: &[u8], found: &[u8]) -> f64 {
    let width = image.sample_len_bytes().clamp(1, 4);
    let value = |sample: &[u8]| {
        let mut wide = [0; 4];
        wide[..width].copy_from_slice(sample);
        let unused = 32 - 8 * width as u32;
        let top = u32::from_le_bytes(wide) << unused;
        match image.signed {
            true => f64::from(top as i32 >> unused),
            false => f64::from(top >> unused),
        }
    };
    let pairs = expected.chunks_exact(width).zip(found.chunks_exact(width));
    pairs
        .map(|(one, other)| (value(one) - value(other)).abs())
        .fold(0.0, f64::max)
}
