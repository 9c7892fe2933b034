//! Is a GPU right, and how fast is it: one program for a machine with one, as `docs/gpu.md` says.
//!
//! Needs nothing there but the driver, this program, the `dicomfs` program beside it, and
//! `libnvjpeg2k.so.0` beside them. Decodes every frame of a data set on both sides and compares them,
//! measures each codec against all CPU cores, mounts where that is possible, and writes all of it as
//! Markdown, anew after every step: such a machine may be there for a quarter of an hour. What matters
//! most comes first, and what there is no time for is named. Ends with 1 if anything differs or went
//! wrong, 2 if it cannot be run.
//!
//! | file | what |
//! |---|---|
//! | `prepare.py` | writes the pictures that are measured with |
//! | `document.rs` | the document, and the time there is |
//! | `frames.rs` | encoded frames of DICOM files |
//! | `device.rs` | the device's process and its lanes |
//! | `compare.rs` | every frame on both sides |
//! | `volumes.rs` | pictures in each codec, volumes of many frames |
//! | `measure.rs` | all cores, the device, both, neither |
//! | `mounted.rs` | the same through mounts |
//! | `machine.rs`, `report.rs` | what it was measured on; Markdown |

mod compare;
mod device;
mod document;
mod frames;
mod machine;
mod measure;
mod mounted;
mod report;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use dicomfs::decode::gpu;
use indicatif::{ProgressBar, ProgressStyle};

use compare::Compared;
use device::Device;
use document::{Clock, Document, Part, is_past};
use measure::{Row, Setting};
use report::Mounted;
use volumes::{Subject, Written};

/// Frames of the volumes that are measured: of small pictures, and of large ones.
const COUNTS: [usize; 4] = [1, 16, 64, 300];
const COUNTS_LARGE: [usize; 2] = [1, 8];
const COUNTS_QUICK: [usize; 2] = [1, 40];

/// Bytes from which a decoded frame is a large one.
const LARGE_BYTES: usize = 4 << 20;

/// Volumes that a fetcher sees before it is measured; with `--quick`.
const CALIBRATIONS: usize = 7;
const CALIBRATIONS_QUICK: usize = 1;

/// Shares of the time after which nothing is compared, nothing is measured any more. Mounts have the rest.
const COMPARE_UNTIL: f64 = 0.3;
const MEASURE_UNTIL: f64 = 0.8;

/// A row has so much time at least, once it is begun.
const ROW_TIME_MIN: Duration = Duration::from_secs(2);

/// Rounds of mounts at most: each mount starts a device's process.
const MOUNT_ROUNDS_MAX: usize = 3;

/// Decodes on a GPU and on the CPU, compares every frame, and measures both
#[derive(Debug, Parser)]
struct Args {
    /// Directory with the pictures to measure with, as prepare.py writes them
    pictures: PathBuf,
    /// Directory with more DICOM files to be compared
    data: Option<PathBuf>,
    /// Number of the device
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: u32,
    /// Rounds of each measurement, where there is time for them
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Minutes that all of it takes at most, but for what is under way then
    #[arg(long, value_name = "M", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// File for the Markdown document, written anew after every step; standard output at the end without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Commit that the programs were built from, where its sources are not at hand
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// The dicomfs program; beside this one without it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Few frames and rounds: shows that all of it works, and no figures
    #[arg(long, hide = true)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gpu_check: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when all is right.
fn run(args: &Args) -> Result<bool> {
    let clock = Clock::new(args.minutes);
    let program = program(args)?;
    let launch = device::launch(program.clone());
    let report = gpu::probe(args.device, &launch).map_err(anyhow::Error::msg)?;
    let document = Document::new(args.out.clone());
    let head = || {
        let mut lines = vec![format!("## Results: {}", report.name), String::new()];
        lines.extend(machine::lines(&report, args.commit.as_deref()));
        lines.push(format!(
            "- Took {:.0} s of {} min",
            clock.elapsed().as_secs_f64(),
            args.minutes
        ));
        lines.push(String::new());
        lines
    };
    document.set(Part::Head, head())?;
    document.end_after(&clock, mounted::leave)?;
    let bar = progress();
    bar.set_message(format!("{} is started", report.name));
    let device = Device::start(args.device, &launch)?;
    let setting = Setting {
        launch: &launch,
        ordinal: args.device,
        rounds: if args.quick { 1 } else { args.rounds.into() },
        calibrations: if args.quick {
            CALIBRATIONS_QUICK
        } else {
            CALIBRATIONS
        },
        pool: &rayon::ThreadPoolBuilder::new()
            .num_threads(machine::cores())
            .build()?,
    };
    let mut check = Check {
        args,
        clock,
        program,
        setting,
        device,
        document,
        bar,
    };
    let compared = check.compare()?;
    let is_equal = compared.different() == 0 && compared.lost == 0 && compared.equal() > 0;
    // What is right of it is measured also where something is not.
    let is_right = check.measure_and_mount(&compared)? && is_equal;
    check.bar.finish_and_clear();
    check.document.set(Part::Head, head())?;
    check.document.finish()?;
    Ok(is_right)
}

/// The program that a mount would be.
fn program(args: &Args) -> Result<PathBuf> {
    let beside = || -> Result<PathBuf> {
        let own = std::env::current_exe().context("this program has no name")?;
        let dir = own.parent().context("this program is nowhere")?;
        Ok(dir.join("dicomfs"))
    };
    let program = args.program.clone().map_or_else(beside, Ok)?;
    ensure!(
        program.is_file(),
        "no {}: put the dicomfs program beside this one",
        program.display()
    );
    // It is started from another directory.
    program
        .canonicalize()
        .context("cannot find the dicomfs program")
}

/// Shown on a terminal only.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{elapsed}] {msg}");
    let bar = ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A volume that is read through mounts as well.
struct Largest<'a> {
    subject: &'a Subject,
    written: Written,
    frames: usize,
}

/// The steps, and what they share.
struct Check<'a> {
    args: &'a Args,
    clock: Clock,
    program: PathBuf,
    setting: Setting<'a>,
    device: Device,
    document: Document,
    bar: ProgressBar,
}

impl Check<'_> {
    /// Every frame on both sides.
    fn compare(&mut self) -> Result<Compared> {
        let roots: Vec<&Path> = [
            Some(self.args.pictures.as_path()),
            self.args.data.as_deref(),
        ]
        .into_iter()
        .flatten()
        .collect();
        let end = self.clock.at(COMPARE_UNTIL);
        let (document, bar) = (&self.document, &self.bar);
        let save = |compared: &Compared| {
            bar.set_message(format!(
                "comparing: {} files, {} equal",
                compared.files,
                compared.equal()
            ));
            document.set(Part::Compared, report::compared(compared))
        };
        compare::run(&mut self.device, &roots, end, save)
    }

    /// All the rest: true if nothing has gone wrong.
    fn measure_and_mount(&mut self, compared: &Compared) -> Result<bool> {
        let work = tempfile::tempdir().context("no directory for volumes")?;
        let subjects = volumes::subjects(&self.args.pictures);
        ensure!(
            !subjects.is_empty(),
            "no pictures that a device may decode: see prepare.py"
        );
        let (largest, is_measured) = self.measure(&subjects, compared, work.path())?;
        if let Some(why) = mounted::obstacle() {
            let lines = vec![format!("Nothing was mounted: {why}"), String::new()];
            self.document.set(Part::Mounted, lines)?;
            return Ok(is_measured);
        }
        Ok(self.through_mounts(&largest)? && is_measured)
    }

    /// A row for each codec, size and number of frames; and of each codec and size the largest volume.
    fn measure<'s>(
        &mut self,
        subjects: &'s [Subject],
        compared: &Compared,
        work: &Path,
    ) -> Result<(Vec<Largest<'s>>, bool)> {
        let counts = |subject: &Subject| -> &'static [usize] {
            match subject.frame_len() {
                _ if self.args.quick => &COUNTS_QUICK,
                LARGE_BYTES.. => &COUNTS_LARGE,
                _ => &COUNTS,
            }
        };
        let wanted: Vec<(&Subject, usize)> = subjects
            .iter()
            .flat_map(|subject| counts(subject).iter().map(move |frames| (subject, *frames)))
            .collect();
        let end = self.clock.at(MEASURE_UNTIL);
        let (mut rows, mut missing): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
        let (mut largest, mut is_right): (Vec<Largest<'_>>, bool) = (Vec::new(), true);
        for (number, &(subject, frames)) in wanted.iter().enumerate() {
            let name = format!("{}, {}, {frames} frames", subject.codec, subject.size());
            let why = match compared.wrong.contains(&subject.codec) {
                true => Some("its frames differ"),
                false => is_past(end).then_some("there was no time left"),
            };
            if let Some(why) = why {
                missing.push(format!("{name}: {why}"));
                self.say_measured(&rows, &missing)?;
                continue;
            }
            self.bar.set_message(format!("measuring {name}"));
            let left = end.saturating_duration_since(Instant::now());
            let mine = (left / (wanted.len() - number) as u32).max(ROW_TIME_MIN);
            match self.row(work, number, subject, frames, Instant::now() + mine) {
                Ok((row, written)) => {
                    rows.push(row);
                    largest.retain(|other| !std::ptr::eq(other.subject, subject));
                    largest.push(Largest {
                        subject,
                        written,
                        frames,
                    });
                }
                Err(error) => {
                    is_right = false;
                    missing.push(format!("**{name}: {error:#}**"));
                }
            }
            self.say_measured(&rows, &missing)?;
        }
        Ok((largest, is_right))
    }

    fn row(
        &mut self,
        work: &Path,
        number: usize,
        subject: &Subject,
        frames: usize,
        end: Instant,
    ) -> Result<(Row, Written)> {
        let written = volumes::write(work, number, subject, frames)?;
        ensure!(self.device.revive(), "the device is gone");
        let row = measure::row(
            &self.setting,
            &mut self.device,
            subject,
            frames,
            &written,
            end,
        )?;
        Ok((row, written))
    }

    fn say_measured(&self, rows: &[Row], missing: &[String]) -> Result<()> {
        let mut lines = report::measured(rows);
        lines.extend(report::missing("not measured", missing));
        lines.extend(report::goals(rows));
        self.document.set(Part::Measured, lines)
    }

    /// True if all bytes were right and nothing has failed. What fails once would most likely fail again:
    /// then the others are not tried.
    fn through_mounts(&mut self, volumes: &[Largest<'_>]) -> Result<bool> {
        let (mut rows, mut missing) = (Vec::new(), Vec::new());
        let (mut is_right, mut has_failed) = (true, false);
        for volume in volumes {
            let name = volume.name();
            self.bar.set_message(format!("mounting {name}"));
            let (row, failure) = match has_failed {
                true => (volume.unread(), None),
                false => self.mounted(volume),
            };
            is_right &= row.is_equal() && failure.is_none();
            has_failed |= failure.is_some();
            if let Some(error) = failure {
                missing.push(format!("**{name}: {error:#}**"));
            } else if has_failed {
                missing.push(format!("{name}: not tried after that"));
            } else if row.cpu.is_empty() {
                missing.push(format!("{name}: there was no time left"));
            }
            if !row.cpu.is_empty() {
                rows.push(row);
            }
            let mut lines = report::mounted(&rows);
            lines.extend(report::missing("not read", &missing));
            self.document.set(Part::Mounted, lines)?;
        }
        Ok(is_right)
    }

    /// Reads one volume through mounts, and what went wrong at last.
    fn mounted(&self, volume: &Largest<'_>) -> (Mounted, Option<anyhow::Error>) {
        let mut row = volume.unread();
        let Largest {
            subject, written, ..
        } = volume;
        let read = |device: &str| {
            let expected = (0..volume.frames).map(|frame| subject.decoded(frame));
            let (dir, uid) = (&written.dir, &written.series_uid);
            mounted::read(&self.program, dir, uid, device, expected)
        };
        let cuda = format!("cuda:{}", self.setting.ordinal);
        for _ in 0..self.setting.rounds.min(MOUNT_ROUNDS_MAX) {
            if is_past(self.clock.at(1.0)) {
                break;
            }
            match read("cpu").and_then(|cpu| Ok((cpu, read(&cuda)?))) {
                Ok((cpu, cuda)) => {
                    row.cpu.push(cpu);
                    row.cuda.push(cuda);
                }
                Err(error) => return (row, Some(error)),
            }
        }
        (row, None)
    }
}

impl Largest<'_> {
    fn name(&self) -> String {
        let (codec, size) = (self.subject.codec, self.subject.size());
        format!("{codec}, {size}, {} frames", self.frames)
    }

    fn unread(&self) -> Mounted {
        Mounted {
            codec: self.subject.codec.to_string(),
            size: self.subject.size(),
            frames: self.frames,
            bytes: self.frames * self.subject.frame_len(),
            cpu: Vec::new(),
            cuda: Vec::new(),
        }
    }
}
