//! The configuration: one struct, made from flags, `-o` options and the defaults.
//!
//! After [`Config::resolve`] nothing is unset: every default is decided here and nowhere else.
//! Knows nothing of how any of it is used.

pub mod flags;
pub mod machine;
pub mod options;
pub mod size;
mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use flags::{ArchiveFlags, DeidProfile, Device, Flags, LogLevel, Switch, Watch};
pub use machine::Machine;
pub use size::Size;

use crate::hash::fnv1a;
use crate::mount;

/// Share of the available memory that decoded volumes may take.
const CACHE_SIZE_DEFAULT: Size = Size::Percent(25);

/// Share of the free space that the cache directory may take.
const CACHE_DIR_SIZE_DEFAULT: Size = Size::Percent(10);

/// Share of each GPU's memory that volumes may take there.
const DEVICE_CACHE_SIZE_DEFAULT: Size = Size::Percent(25);

/// Least cache by default, bytes: one large CT. A cache that holds less than what is being read
/// decodes everything twice.
const CACHE_SIZE_MIN_BYTES: u64 = 256 << 20;

/// Permission bits that no file has by default: those of everyone's writing.
const UMASK_DEFAULT: u16 = 0o022;

/// How long a mount waits for the scan: small archives are complete by then, and who mounts a large
/// one sees that it works.
const SCAN_WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// How often an archive is looked at: soon enough for people, seldom enough for a server.
const WATCH_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// How long files are quiet: scanners and networks pause for some seconds within a series.
const SETTLE_DEFAULT: Duration = Duration::from_secs(10);

/// What is wrong with the options. The user's mistake: exit status 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No option has this name.
    #[error("unknown option `{name}`{}", suggestion(.nearest))]
    UnknownOption {
        /// As it was given.
        name: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// `-o name` for an option that needs `=value`.
    #[error("the option `{name}` needs a value: `{name}=...`")]
    OptionNeedsValue {
        /// The option.
        name: String,
    },
    /// `-o name=value` for an option that is only on or off.
    #[error("the option `{name}` takes no value")]
    OptionWithoutValue {
        /// The option.
        name: String,
    },
    /// A value that is out of range.
    #[error("{name}={value} is not possible: {why}")]
    BadValue {
        /// The option.
        name: &'static str,
        /// As it was given.
        value: String,
        /// What would be right.
        why: &'static str,
    },
    /// The current directory is gone, so a relative path has no meaning.
    #[error("cannot make {path} absolute: {why}")]
    NoAbsolutePath {
        /// The path.
        path: String,
        /// The system's error.
        why: String,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// How an archive is read, whatever is done with it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveConfig {
    /// The archive, absolute.
    #[serde(with = "stored::path")]
    pub archive: PathBuf,
    /// The index file, absolute.
    #[serde(with = "stored::path")]
    pub index: PathBuf,
    /// Threads that read headers and decode, at least 1.
    pub decode_threads: usize,
    /// How much is logged.
    pub log_level: LogLevel,
    /// What is shown is de-identified.
    pub deid: Option<Deid>,
}

/// De-identification by the Basic Profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deid {
    /// The file with the key, absolute.
    #[serde(with = "stored::path")]
    pub key_file: PathBuf,
}

/// Where it is written down who opens what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The file, absolute.
    #[serde(with = "stored::path")]
    pub path: PathBuf,
}

/// Where decoded volumes are kept beyond the mount, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheDir {
    /// The directory, absolute.
    #[serde(with = "stored::path")]
    pub path: PathBuf,
    /// Space it may take; a percentage is of what is free there at the start.
    pub size: Size,
}

/// A mount's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How the archive is read.
    pub archive: ArchiveConfig,
    /// Where to mount, absolute.
    #[serde(with = "stored::path")]
    pub mountpoint: PathBuf,
    /// Memory for decoded volumes, bytes.
    pub cache_size_bytes: u64,
    /// Where decoded volumes are kept for the next mount, if anywhere.
    pub cache_dir: Option<CacheDir>,
    /// Memory of each GPU for volumes that programs map there; a percentage is of all its memory.
    pub device_cache_size: Size,
    /// Frames to decode ahead of a reader; `None`: the whole volume.
    pub readahead_frames: Option<u32>,
    /// How long to wait for the scan of the archive once the mount is live.
    pub scan_wait: Duration,
    /// How changes of the archive are followed.
    pub watch: Watch,
    /// How often the archive is looked at where that has to be.
    pub watch_interval: Duration,
    /// How long files have to be quiet.
    pub settle: Duration,
    /// What decodes.
    pub device: Device,
    /// Lossy frames are left to the CPU, so that the values do not depend on the machine.
    pub exact: bool,
    /// Owner of all files.
    pub uid: u32,
    /// Group of all files.
    pub gid: u32,
    /// Permission bits that no file has.
    pub umask: u16,
    /// Where it is written down who opens what, if anywhere.
    pub audit: Option<Audit>,
    /// Other users may read it.
    pub allow_other: bool,
    /// Nothing may be executed from it.
    pub noexec: bool,
    /// SELinux label of all files, if not the one of FUSE mounts.
    pub context: Option<String>,
    /// Stay attached to the terminal.
    pub foreground: bool,
    /// What was given of this, as [`options::given`] has it.
    pub given: BTreeMap<String, String>,
}

impl ArchiveConfig {
    /// Decides what the flags leave open.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn resolve(
        archive: &Path,
        flags: &ArchiveFlags,
        machine: &Machine,
    ) -> Result<ArchiveConfig, Error> {
        let archive = archive_at(absolute(archive)?);
        let index = match &flags.index {
            Some(index) if index.as_os_str().is_empty() => {
                return Err(Error::BadValue {
                    name: "index",
                    value: String::new(),
                    why: "write the name of a file",
                });
            }
            Some(index) => absolute(index)?,
            None => default_index(&archive, &machine.cache_home),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let decode_threads = match flags.decode_threads.unwrap_or(0) {
            0 => cores(),
            count if count > DECODE_THREADS_MAX => {
                return Err(Error::BadValue {
                    name: "decode_threads",
                    value: count.to_string(),
                    why: "at most 1024 threads",
                });
            }
            count => count,
        };
        Ok(ArchiveConfig {
            archive,
            index,
            decode_threads,
            log_level: flags.log_level.unwrap_or_default(),
            deid: deid(flags)?,
        })
    }
}

/// More threads than any machine has cores for is a mistake.
const DECODE_THREADS_MAX: usize = 1024;

impl Config {
    /// Decides what the flags leave open.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn resolve(
        archive: &Path,
        mountpoint: &Path,
        flags: &Flags,
        machine: &Machine,
    ) -> Result<Config, Error> {
        let memory_bytes = machine.memory_available_bytes;
        let cache_size_bytes = match flags.cache_size {
            Some(Size::Bytes(0)) => {
                return Err(Error::BadValue {
                    name: "cache_size",
                    value: "0".into(),
                    why: "decoded frames have to be kept somewhere",
                });
            }
            Some(size) => size.to_bytes(memory_bytes),
            None => cache_size_default_bytes(machine),
        };
        Ok(Config {
            archive: ArchiveConfig::resolve(archive, &flags.archive, machine)?,
            mountpoint: absolute(mountpoint)?,
            cache_size_bytes,
            cache_dir: cache_dir(flags)?,
            device_cache_size: flags.device_cache_size.unwrap_or(DEVICE_CACHE_SIZE_DEFAULT),
            readahead_frames: flags.readahead_frames,
            scan_wait: seconds_or(flags.scan_wait, SCAN_WAIT_DEFAULT),
            watch: flags.watch.unwrap_or_default(),
            watch_interval: match flags.watch_interval {
                Some(0) => {
                    return Err(Error::BadValue {
                        name: "watch_interval",
                        value: "0".into(),
                        why: "at least 1 second; watch=off looks at nothing",
                    });
                }
                seconds => seconds_or(seconds, WATCH_INTERVAL_DEFAULT),
            },
            settle: seconds_or(flags.settle, SETTLE_DEFAULT),
            device: flags.device.clone().unwrap_or_default(),
            exact: flags.exact != Some(Switch::Off),
            uid: flags.uid.unwrap_or(machine.uid),
            gid: flags.gid.unwrap_or(machine.gid),
            umask: flags.umask.unwrap_or(UMASK_DEFAULT),
            audit: audit(flags)?,
            allow_other: flags.allow_other,
            noexec: flags.noexec,
            context: flags.context.clone(),
            foreground: flags.foreground,
            given: BTreeMap::new(),
        })
    }

    /// What the mount layer has to know.
    pub fn mount_options(&self) -> mount::Options {
        let cache_dir = self.cache_dir.iter();
        let cache_dir = cache_dir.map(|dir| ("cache directory", dir.path.clone()));
        let index = ("index", self.archive.index.clone());
        let audit = self.audit.iter();
        let audit = audit.map(|audit| ("audit file", audit.path.clone()));
        mount::Options {
            source: self.archive.archive.clone(),
            mountpoint: self.mountpoint.clone(),
            own_files: cache_dir.chain(audit).chain([index]).collect(),
            allow_other: self.allow_other,
            noexec: self.noexec,
            context: self.context.clone(),
            foreground: self.foreground,
        }
    }
}

fn deid(flags: &ArchiveFlags) -> Result<Option<Deid>, Error> {
    let bad = |name, value: &str, why| {
        Err(Error::BadValue {
            name,
            value: value.into(),
            why,
        })
    };
    match (flags.deid, &flags.deid_key) {
        (Some(DeidProfile::Basic), Some(key)) if !key.as_os_str().is_empty() => Ok(Some(Deid {
            key_file: absolute(key)?,
        })),
        (Some(DeidProfile::Basic), _) => {
            let why = "it takes a key: make one with `dicomfs generate deid-key FILE` and say \
                       deid_key=FILE";
            bad("deid", "basic", why)
        }
        (_, Some(_)) => bad("deid_key", "...", "it takes deid=basic"),
        (_, None) => Ok(None),
    }
}

fn audit(flags: &Flags) -> Result<Option<Audit>, Error> {
    match &flags.audit {
        Some(path) if path.as_os_str().is_empty() => Err(Error::BadValue {
            name: "audit",
            value: String::new(),
            why: "write the name of a file",
        }),
        Some(path) => Ok(Some(Audit {
            path: absolute(path)?,
        })),
        None => Ok(None),
    }
}

/// Memory for decoded volumes where nobody says how much, bytes.
pub fn cache_size_default_bytes(machine: &Machine) -> u64 {
    CACHE_SIZE_DEFAULT
        .to_bytes(machine.memory_available_bytes)
        .max(CACHE_SIZE_MIN_BYTES)
}

fn cache_dir(flags: &Flags) -> Result<Option<CacheDir>, Error> {
    let bad = |name, value: String, why| Err(Error::BadValue { name, value, why });
    let size = flags.cache_dir_size.unwrap_or(CACHE_DIR_SIZE_DEFAULT);
    if size == Size::Bytes(0) {
        let why = "leave cache_dir out to keep nothing";
        return bad("cache_dir_size", "0".into(), why);
    }
    match &flags.cache_dir {
        Some(path) if path.as_os_str().is_empty() => {
            bad("cache_dir", String::new(), "write the name of a directory")
        }
        Some(path) => Ok(Some(CacheDir {
            path: absolute(path)?,
            size,
        })),
        None if flags.cache_dir_size.is_some() => {
            bad("cache_dir_size", size.to_string(), "it takes a cache_dir")
        }
        None => Ok(None),
    }
}

fn seconds_or(seconds: Option<u32>, default: Duration) -> Duration {
    seconds.map_or(default, |seconds| Duration::from_secs(seconds.into()))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::NoAbsolutePath {
        path: path.display().to_string(),
        why: error.to_string(),
    })
}

/// A DICOMDIR (PS3.10 8.6) stands for the directory that it lies in: all files that it names are there,
/// and the scan finds them by what they say themselves.
fn archive_at(path: PathBuf) -> PathBuf {
    let is_named_so = path
        .file_name()
        .is_some_and(|name| name.eq_ignore_ascii_case("DICOMDIR"));
    match path.parent() {
        Some(directory) if is_named_so && path.is_file() => directory.to_owned(),
        _ => path,
    }
}

/// Name of the default index: one for each archive, whatever name the archive is called by.
fn default_index(archive: &Path, cache_home: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // An archive that does not exist is refused later, by whoever opens it.
    let canonical = std::fs::canonicalize(archive).unwrap_or_else(|_| archive.to_path_buf());
    // The name is what remounts find.
    let hash = fnv1a(canonical.as_os_str().as_bytes().iter().copied());
    cache_home
        .join("dicomfs")
        .join(format!("{hash:016x}.sqlite"))
}

#[cfg(test)]
mod tests;
