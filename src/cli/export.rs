//! `dicomfs export`: one volume to a file, without a mount.
//!
//! Builds the file system that a mount serves and reads the volume's file from it, so that the bytes
//! are those of the mount. What is written is complete, or there is nothing.
//!
//! | file | job |
//! |---|---|
//! | `form.rs` | the name of the file to a format and a variant |
//! | `choose.rs` | what the user calls the series to a volume |
//! | `copy.rs` | bytes out of the file system |
//! | `place.rs` | the file put in place whole |

mod choose;
mod copy;
mod form;
mod place;

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::HumanBytes;

use self::copy::{Copier, Entry};
use self::form::{Form, Wanted};
use self::place::Place;
use super::exit::Mistake;
use super::interrupt::Interrupt;
use super::library::{self, Bar};
use super::ls::{self, Row, printable};
use crate::cache::Cache;
use crate::config::{self, ArchiveConfig, ArchiveFlags, Machine};
use crate::decode;
use crate::fetch::Fetcher;
use crate::format::{self, Numbers, metaimage, nifti, nrrd};
use crate::fs::{Fs, Parts};
use crate::tree::{ArrayFile, ArrayFormat, Node, Tree};
use crate::volume::{Variant, Volume};

/// Variants of one volume that are in memory at a time: one, and what is on its way out.
const SLABS_MAX: usize = 4;

const EXAMPLES: &str = "\
Examples:
  dicomfs export /archive 1.2.840.113 ct.npy            the NumPy array (the UID may be cut short)
  dicomfs export /archive 1.2.840.113 ct.nii.gz         NIfTI, compressed
  dicomfs export /archive 1.2.840.113 ct.nhdr           NRRD header, with the numbers in ct.raw
  dicomfs export /archive 1.2.840.113_e2 e2.zarr        the second echo, as a Zarr directory
  dicomfs export /archive 1.2.840.113 f.npy --variant f32

All files have the bytes that a mount would show. A frame that cannot be decoded is an error, and
then nothing is written.";

/// Arguments of `dicomfs export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Directory with DICOM files, or a zip or tar file
    #[arg(value_name = "ARCHIVE")]
    pub source: PathBuf,

    /// Name of the volume as `dicomfs ls` shows it, the beginning of it, or a path with series/NAME
    #[arg(value_name = "SERIES")]
    pub series: String,

    /// File to write; its ending says the format: .npy .raw .nii .nii.gz .nrrd .nhdr .mha .mhd .zarr
    /// .json .png
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Other values than those shown: stored (as in the files), or cast to f32, f16, i16, i32
    #[arg(long, value_name = "VARIANT", value_parser = form::variant, help_heading = "Export")]
    pub variant: Option<Variant>,

    /// Replace FILE if it is there
    #[arg(long, help_heading = "Export")]
    pub force: bool,

    /// About the archive.
    #[command(flatten)]
    pub flags: ArchiveFlags,
}

/// Writes the file and a line about it.
///
/// # Errors
///
/// What keeps it from being written, in words for the user; then there is no file.
pub fn run(config: &ArchiveConfig, args: &ExportArgs, out: &mut dyn Write) -> Result<()> {
    let interrupt = Interrupt::watch().context(crate::mount::SystemFailure)?;
    let wanted = form::wanted(&args.file, args.variant, &args.series)?;
    if ls::is_mount(&config.archive) {
        let advice = "a mount has the files themselves: copy them out of its series/ directory";
        return Err(Mistake(advice.into()).into());
    }
    let place = Place::new(&args.file, &config.archive, args.force)?;
    let opened = library::open(config, None)?;
    let held = opened.library.clone();
    opened.scan(config, &Bar::new(), &mut || {})?;
    let tree = Tree::new(held, SystemTime::now()).context("cannot write the index")?;
    let name = chosen(&tree, &args.series)?;
    let fs = file_system(config, tree)?;
    let volume = volume(&fs, &name)?;
    interrupt.heed();
    let export = Export {
        copier: Copier::new(&fs, &interrupt, std::io::stderr().is_terminal()),
        volume: &volume,
        name: &name,
        wanted,
    };
    let len_bytes = export.to(&place)?;
    drop(export);
    fs.shutdown();
    report(&volume, wanted, &args.file, len_bytes, out)
}

/// The name of the volume that is meant.
fn chosen(tree: &Tree, word: &str) -> Result<String> {
    let holdings = tree.library().holdings();
    let cards = holdings.series.iter().flat_map(|series| &series.cards);
    let mut rows = cards.map(Row::of).collect::<Result<Vec<Row>>>()?;
    rows.sort_by(|a, b| a.name().cmp(b.name()));
    let names: Vec<&str> = rows.iter().map(Row::name).collect();
    let describe = |name: &str| {
        let row = rows.iter().find(|row| row.name() == name);
        row.map_or_else(|| name.to_string(), Row::in_short)
    };
    let name = choose::choose(&names, word, describe)?;
    let siblings = choose::siblings(&names, name);
    if !siblings.is_empty() {
        let siblings = siblings.join(", ");
        eprintln!("dicomfs: the series has other volumes as well: {siblings}");
    }
    Ok(name.to_string())
}

/// The file system that a mount would serve, with nobody to serve it to.
fn file_system(config: &ArchiveConfig, tree: Tree) -> Result<Fs> {
    let budget_bytes = config::cache_size_default_bytes(&Machine::read());
    let cache = Cache::new(budget_bytes, SLABS_MAX)
        .context("cannot make a place for decoded volumes in memory")?;
    let fetcher = Fetcher::new(Arc::new(cache), config.decode_threads, usize::MAX)
        .context("cannot start the decoding threads")?;
    Ok(Fs::new(Parts {
        source: tree.library().source().clone(),
        tree,
        fetcher,
        uid: 0,
        gid: 0,
        umask: 0,
        config_json: Vec::new(),
        audit: None,
    }))
}

fn volume(fs: &Fs, name: &str) -> Result<Arc<Volume>> {
    let tree = fs.tree();
    let found = match tree.child(Node::Series, OsStr::new(name))? {
        Some(Node::Volume(position)) => tree.volume(position)?,
        _ => None,
    };
    found.with_context(|| format!("the series {name} is gone"))
}

/// One volume on its way to a file.
struct Export<'a> {
    copier: Copier<'a>,
    volume: &'a Volume,
    name: &'a str,
    wanted: Wanted,
}

impl Export<'_> {
    /// Writes it; the bytes of its numbers, or of the text.
    fn to(&self, place: &Place) -> Result<u64> {
        let Wanted { form, variant } = self.wanted;
        let array = |format| ArrayFile { variant, format }.name();
        match form {
            Form::Npy => self.one(place, &array(ArrayFormat::Npy)),
            Form::Raw => self.one(place, &array(ArrayFormat::Raw)),
            Form::Nii => self.one(place, &array(ArrayFormat::Nii)),
            Form::Json => self.one(place, "volume.json"),
            Form::Png => self.one(place, "preview.png"),
            Form::NiiGz => {
                let entry = self.find(&array(ArrayFormat::Nii))?;
                let mut file = place.file()?;
                let mut gz = GzEncoder::new(file.as_file_mut(), Compression::default());
                self.copy(entry, &mut gz)?;
                gz.finish().context("cannot write")?;
                place.put(file)?;
                Ok(entry.len_bytes)
            }
            Form::Nrrd | Form::Mha => {
                let header = self.header(Numbers::Behind)?;
                let entry = self.find(&array(ArrayFormat::Raw))?;
                let mut file = place.file()?;
                file.write_all(&header).context("cannot write")?;
                self.copy(entry, &mut file)?;
                place.put(file)?;
                Ok(entry.len_bytes)
            }
            Form::Nhdr | Form::Mhd => self.two(place, &array(ArrayFormat::Raw)),
            Form::Zarr => {
                let entry = self.find("volume.zarr")?;
                let tree = place.tree()?;
                self.copier.expect(self.copier.tree_len_bytes(entry)?);
                self.copier.tree(entry, tree.path())?;
                place.put_tree(tree)?;
                Ok(self.volume.len_bytes(Variant::Values))
            }
        }
    }

    fn one(&self, place: &Place, name: &str) -> Result<u64> {
        let entry = self.find(name)?;
        let mut file = place.file()?;
        self.copy(entry, &mut file)?;
        place.put(file)?;
        Ok(entry.len_bytes)
    }

    /// A header, and the numbers in a file beside it. The header is the last to come and the first to
    /// go, so that none ever stands for numbers that are not its own.
    fn two(&self, place: &Place, raw: &str) -> Result<u64> {
        let name = place.name().to_str().unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let name = format!("{stem}.raw");
        // Headers have no way to quote a name; these words and signs mean something else in them.
        let is_plain = |c: char| !c.is_control() && c != '%';
        let is_word = name.starts_with("LIST") || stem.starts_with("LOCAL") || stem.is_empty();
        if is_word || !name.chars().all(is_plain) || name.trim() != name {
            let why =
                "a header cannot name this file: give it a plain name, or write .nrrd or .mha";
            return Err(Mistake(why.into()).into());
        }
        let beside = place.beside(&name)?;
        let header = self.header(Numbers::Beside {
            name: &name,
            skip_bytes: 0,
        })?;
        let entry = self.find(raw)?;
        let (mut numbers, mut text) = (beside.file()?, place.file()?);
        self.copy(entry, &mut numbers)?;
        text.write_all(&header).context("cannot write")?;
        place.clear()?;
        beside.put(numbers)?;
        place.put(text)?;
        Ok(entry.len_bytes)
    }

    fn header(&self, numbers: Numbers<'_>) -> Result<Vec<u8>> {
        let Wanted { form, variant } = self.wanted;
        let header = match form {
            Form::Nrrd | Form::Nhdr => nrrd::header_of(self.volume, variant, numbers),
            _ => metaimage::header_of(self.volume, variant, numbers),
        };
        header.map_err(|why| self.not_expressible(&why))
    }

    fn copy(&self, entry: Entry, out: &mut dyn Write) -> Result<()> {
        self.copier.expect(entry.len_bytes);
        self.copier.file(entry, out)
    }

    fn find(&self, file: &str) -> Result<Entry> {
        let found = self.copier.find(&["series", self.name, file])?;
        found.ok_or_else(|| self.why_not())
    }

    /// Why the volume has no file of the format.
    fn why_not(&self) -> anyhow::Error {
        let syntaxes = self.volume.records.iter();
        let syntaxes = syntaxes.map(|r| r.instance.transfer_syntax_uid.as_str());
        let decoders: Vec<_> = syntaxes.map(decode::decoder_for).collect();
        if let Some(Err(why)) = decoders
            .iter()
            .all(Result::is_err)
            .then(|| decoders.first())
            .flatten()
        {
            return anyhow!("the pixels cannot be decoded: {why}");
        }
        match nifti::check(self.volume, self.wanted.variant) {
            Err(why) if matches!(self.wanted.form, Form::Nii | Form::NiiGz) => {
                self.not_expressible(&why)
            }
            _ => anyhow!("the volume cannot be shown in this format: write .npy"),
        }
    }

    fn not_expressible(&self, why: &format::Error) -> anyhow::Error {
        anyhow!("{why}: write .npy, which can")
    }
}

/// Says what was written, and what is wrong with it.
fn report(
    volume: &Volume,
    wanted: Wanted,
    file: &Path,
    len_bytes: u64,
    out: &mut dyn Write,
) -> Result<()> {
    let file = file.display();
    if matches!(wanted.form, Form::Json | Form::Png) {
        writeln!(out, "{file}: {}", HumanBytes(len_bytes))?;
        return Ok(());
    }
    let shape: Vec<String> = volume
        .shape(wanted.variant)
        .iter()
        .map(u64::to_string)
        .collect();
    writeln!(
        out,
        "{file}: {} {} ({}), {}",
        shape.join("x"),
        volume.dtype(wanted.variant).descr(),
        volume.axes(wanted.variant),
        HumanBytes(len_bytes),
    )?;
    for finding in &volume.findings {
        writeln!(out, "  {}: {}", finding.code, printable(&finding.detail))?;
    }
    Ok(())
}
