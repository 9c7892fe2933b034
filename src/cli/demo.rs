//! `dicomfs demo`: the whole program shown on a small archive it makes itself.
//!
//! Runs the real binary on a real mount and reads through the kernel, as a user would. Leaves
//! nothing behind.

pub mod synthetic;

mod picture;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use dicom_dictionary_std::uids;
use npyz::NpyFile;

use crate::config::{Config, Flags, Machine};
use crate::mount::{self, Mounted};
use synthetic::Series;

/// Arguments of `dicomfs demo`: none.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// What the archive holds: every syntax that can be written without an encoder library.
fn series() -> Vec<(&'static str, Series)> {
    let big = [64, 256, 256];
    let small = [24, 160, 192];
    vec![
        (
            "CT, Explicit VR Little Endian",
            Series::ct("2.25.4001", uids::EXPLICIT_VR_LITTLE_ENDIAN, big),
        ),
        (
            "MR oblique, a slope for each slice, RLE",
            Series::mr("2.25.4002", uids::RLE_LOSSLESS, small),
        ),
        (
            "CT, Implicit VR Little Endian",
            Series::ct("2.25.4003", uids::IMPLICIT_VR_LITTLE_ENDIAN, small),
        ),
        (
            "MR, Deflated Explicit VR",
            Series::mr("2.25.4004", DEFLATED, small),
        ),
        (
            "CT, Explicit VR Big Endian",
            Series::ct("2.25.4005", BIG_ENDIAN, small),
        ),
    ]
}

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Runs the demo, telling `out` what happens.
///
/// # Errors
/// When there is no FUSE to be had (the message says what is missing and how to get it), or when
/// anything read back differs from what was written.
pub fn run(_args: &DemoArgs, out: &mut dyn Write) -> Result<()> {
    if let Err(why) = mount::probe().way() {
        bail!("the demo has to mount, and this machine cannot: {why}");
    }
    let place = tempfile::Builder::new().prefix("dicomfs-demo").tempdir()?;
    let (archive, mountpoint) = (place.path().join("archive"), place.path().join("mnt"));
    std::fs::create_dir(&mountpoint)?;

    writeln!(out, "1. A small archive, its files in no order:")?;
    let all = series();
    for (what, series) in &all {
        let files = series.write(&archive.join(&series.uid))?.len();
        writeln!(out, "     {files:3} files  {what}")?;
    }
    writeln!(
        out,
        "\n2. $ dicomfs mount {} {}",
        archive.display(),
        mountpoint.display()
    )?;
    let start = Instant::now();
    let mounted = mount(&archive, &mountpoint, &place.path().join("index.sqlite"))?;
    writeln!(
        out,
        "     live after {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    )?;

    writeln!(out, "\n3. What a user sees:")?;
    list(out, &mountpoint, 0)?;

    writeln!(
        out,
        "\n4. Every volume read through the mount and compared with what was written:"
    )?;
    for (_, series) in &all {
        check(out, &mountpoint, series)?;
    }
    writeln!(
        out,
        "\n5. A slice of the first one (series/{}/volume.npy):",
        all[0].1.uid
    )?;
    picture::show(out, &slice(&mountpoint, &all[0].1)?, all[0].1.shape[2])?;

    mounted.finish();
    place.close()?;
    writeln!(
        out,
        "\n6. Unmounted and removed. Now with your own: dicomfs mount /archive /mnt"
    )?;
    Ok(())
}

/// Mounts `archive` in this process, with the defaults of `dicomfs mount`.
fn mount(archive: &Path, mountpoint: &Path, index: &Path) -> Result<Mounted> {
    let mut flags = Flags::default();
    flags.archive.index = Some(index.to_path_buf());
    let config = Config::resolve(archive, mountpoint, &flags, &Machine::read())?;
    let options = mount::check(&config.mount_options())?;
    let service = super::mount_command::make_service(&config)?;
    let mounted = Mounted::start(&options, service.fs)?;
    (service.settled)();
    Ok(mounted)
}

/// Lists a directory as a tree: two entries of each kind, three levels deep.
fn list(out: &mut dyn Write, dir: &Path, depth: usize) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let shown = if depth == 0 {
        entries.len()
    } else {
        entries.len().min(if depth == 2 { 6 } else { 1 })
    };
    for entry in &entries[..shown] {
        let name = entry.file_name();
        let indent = " ".repeat(5 + 2 * depth);
        let meta = entry.metadata()?;
        if meta.is_dir() {
            writeln!(out, "{indent}{}/", name.display())?;
            if depth < 2 {
                list(out, &entry.path(), depth + 1)?;
            }
        } else if meta.is_symlink() {
            let target = std::fs::read_link(entry.path())?;
            writeln!(out, "{indent}{} -> {}", name.display(), target.display())?;
        } else {
            writeln!(
                out,
                "{indent}{:<14}{:>10} bytes",
                name.display(),
                meta.len()
            )?;
        }
    }
    if shown < entries.len() {
        writeln!(
            out,
            "{}... {} more",
            " ".repeat(5 + 2 * depth),
            entries.len() - shown
        )?;
    }
    Ok(())
}

fn open(mountpoint: &Path, series: &Series) -> Result<NpyFile<BufReader<File>>> {
    let path = mountpoint
        .join("series")
        .join(&series.uid)
        .join("volume.npy");
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(NpyFile::new(BufReader::with_capacity(1 << 20, file))?)
}

/// Reads a volume as f64, whatever its dtype is.
fn read(mountpoint: &Path, series: &Series) -> Result<(String, Vec<f64>)> {
    let npy = open(mountpoint, series)?;
    let expected: Vec<u64> = series.shape.iter().map(|&n| n as u64).collect();
    ensure!(
        npy.shape() == expected,
        "shape {:?} instead of {expected:?}",
        npy.shape()
    );
    let descr = npy.dtype().descr();
    let values = match descr.trim_matches('\'') {
        "<i2" => npy.into_vec::<i16>()?.into_iter().map(f64::from).collect(),
        "<f4" => npy.into_vec::<f32>()?.into_iter().map(f64::from).collect(),
        other => bail!("unexpected dtype {other}"),
    };
    Ok((descr, values))
}

fn check(out: &mut dyn Write, mountpoint: &Path, series: &Series) -> Result<()> {
    let timed = || -> Result<_> {
        let start = Instant::now();
        let read = read(mountpoint, series)?;
        Ok((read, start.elapsed().as_secs_f64() * 1e3))
    };
    let ((descr, values), cold_ms) = timed()?;
    let [_, rows, columns] = series.shape;
    for (n, &value) in values.iter().enumerate() {
        let (z, y, x) = (n / (rows * columns), n / columns % rows, n % columns);
        let written = series.value(z, y, x);
        // Whole numbers are exact; a fractional slope is rounded once, to float32.
        let exact = if descr.contains("f4") {
            f64::from(written as f32)
        } else {
            written
        };
        ensure!(
            value == exact,
            "series {}: [{z},{y},{x}] is {value}, not {exact}",
            series.uid
        );
    }
    let ((_, again), warm_ms) = timed()?;
    ensure!(
        values == again,
        "series {}: the second read differs",
        series.uid
    );
    let [z, y, x] = series.shape;
    writeln!(
        out,
        "     series/{}/volume.npy  {z}x{y}x{x} {descr}  {} voxels equal, cold {cold_ms:.0} ms, warm {warm_ms:.0} ms",
        series.uid,
        values.len(),
    )?;
    Ok(())
}

fn slice(mountpoint: &Path, series: &Series) -> Result<Vec<f64>> {
    let (_, values) = read(mountpoint, series)?;
    let frame = series.shape[1] * series.shape[2];
    let middle = series.shape[0] / 2;
    Ok(values[middle * frame..(middle + 1) * frame].to_vec())
}
