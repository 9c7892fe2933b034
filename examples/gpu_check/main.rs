//! Is a GPU right, and how fast is it: one program for a machine with one, as `docs/gpu.md` says.
//!
//! Needs nothing there but the driver, this program, the `dicomfs` program beside it, and
//! `libnvjpeg2k.so.0` beside them. Decodes every frame of a data set on both sides and compares them,
//! measures each codec against all CPU cores, mounts where that is possible, and writes all of it as
//! Markdown. Ends with 1 if anything differs or the device's process was lost, 2 if it cannot be run.
//!
//! | file | what |
//! |---|---|
//! | `prepare.py` | writes the pictures that are measured with |
//! | `frames.rs` | encoded frames of DICOM files |
//! | `device.rs` | the device's process and its lanes |
//! | `compare.rs` | every frame on both sides |
//! | `volumes.rs` | pictures in each codec, volumes of many frames |
//! | `measure.rs` | all cores, the device, both, neither |
//! | `mounted.rs` | the same through mounts |
//! | `machine.rs`, `report.rs` | what it was measured on; Markdown |

mod compare;
mod device;
mod frames;
mod machine;
mod measure;
mod mounted;
mod report;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use dicomfs::decode::gpu;
use indicatif::{ProgressBar, ProgressStyle};

use device::Device;
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
    /// Rounds of each measurement
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// File for the Markdown document; standard output without it
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
    let program = program(args)?;
    let launch = device::launch(program.clone());
    let report = gpu::probe(args.device, &launch).map_err(anyhow::Error::msg)?;
    let bar = progress();
    bar.set_message(format!("{} is started", report.name));
    let mut device = Device::start(args.device, &launch)?;

    let roots: Vec<&Path> = [Some(args.pictures.as_path()), args.data.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let compared = compare::run(&mut device, &roots, &bar)?;
    let mut is_right =
        compared.different() == 0 && compared.faults.is_empty() && compared.equal() > 0;
    let mut lines = report::compared(&compared);

    if is_right {
        let work = tempfile::tempdir().context("no directory for volumes")?;
        let subjects = volumes::subjects(&args.pictures)?;
        ensure!(
            !subjects.is_empty(),
            "no pictures that a device may decode: see prepare.py"
        );
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
        let (rows, largest) = measure(
            &setting,
            &mut device,
            &subjects,
            work.path(),
            args.quick,
            &bar,
        )?;
        lines.extend(report::measured(&rows, setting.rounds));
        lines.extend(report::goals(&rows));
        match mounted::obstacle() {
            Some(why) => lines.extend([format!("Nothing was mounted: {why}"), String::new()]),
            None => {
                let rows = through_mounts(&setting, &program, &largest, &bar)?;
                let mut readings = rows.iter().flat_map(|row| row.cpu.iter().chain(&row.cuda));
                is_right &= readings.all(|reading| reading.is_equal);
                lines.extend(report::mounted(&rows));
            }
        }
    } else {
        lines.extend([
            "Nothing was measured: the device is not right.".into(),
            String::new(),
        ]);
    }
    bar.finish_and_clear();

    let mut head = vec![format!("## Results: {}", report.name), String::new()];
    head.extend(machine::lines(&report, args.commit.as_deref()));
    head.push(String::new());
    head.append(&mut lines);
    write(args.out.as_deref(), &head.join("\n"))?;
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
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

/// A volume that is read through mounts as well.
struct Largest<'a> {
    subject: &'a Subject,
    written: Written,
    frames: usize,
}

/// A row for each codec, size and number of frames; and of each codec and size the largest volume.
fn measure<'a>(
    setting: &Setting<'_>,
    device: &mut Device,
    subjects: &'a [Subject],
    work: &Path,
    is_quick: bool,
    bar: &ProgressBar,
) -> Result<(Vec<Row>, Vec<Largest<'a>>)> {
    let (mut rows, mut largest) = (Vec::new(), Vec::new());
    for subject in subjects {
        let counts: &[usize] = match subject.frame_len() {
            _ if is_quick => &COUNTS_QUICK,
            LARGE_BYTES.. => &COUNTS_LARGE,
            _ => &COUNTS,
        };
        let mut last = None;
        for &frames in counts {
            bar.set_message(format!(
                "measuring {}, {}, {frames} frames",
                subject.codec,
                subject.size()
            ));
            let written = volumes::write(work, rows.len() + 1, subject, frames)?;
            let row = measure::row(setting, device, subject, frames, &written);
            rows.push(row.with_context(|| format!("{}, {frames} frames", subject.codec))?);
            last = Some(Largest {
                subject,
                written,
                frames,
            });
        }
        largest.extend(last);
    }
    Ok((rows, largest))
}

fn through_mounts(
    setting: &Setting<'_>,
    program: &Path,
    volumes: &[Largest<'_>],
    bar: &ProgressBar,
) -> Result<Vec<Mounted>> {
    let mut rows = Vec::new();
    for Largest {
        subject,
        written,
        frames,
    } in volumes
    {
        let mut row = Mounted {
            codec: subject.codec.to_string(),
            size: subject.size(),
            frames: *frames,
            bytes: frames * subject.frame_len(),
            cpu: Vec::new(),
            cuda: Vec::new(),
        };
        bar.set_message(format!("mounting {}, {}", row.codec, row.size));
        let read = |device: &str| {
            let expected = (0..*frames).map(|frame| subject.decoded(frame));
            mounted::read(program, &written.dir, &written.series_uid, device, expected)
        };
        for _ in 0..setting.rounds {
            row.cpu.push(read("cpu")?);
            row.cuda.push(read(&format!("cuda:{}", setting.ordinal))?);
        }
        rows.push(row);
    }
    Ok(rows)
}

fn write(out: Option<&Path>, text: &str) -> Result<()> {
    match out {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        }
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
