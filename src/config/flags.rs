//! The flags, once: clap reads them from the command line, and [`super::options`] takes the names
//! of the `-o` options from them. Plain data; what they mean together is [`super::Config`]'s.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::size::Size;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is doubtful.
    #[default]
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// And every request, with names: this may log patient data.
    Trace,
}

/// What decodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Device {
    /// All GPUs that can be used, where they help, beside the CPU.
    #[default]
    Auto,
    /// The CPU only.
    Cpu,
    /// These GPUs as well, by the driver's numbers: at least one, none twice.
    Cuda(Vec<u32>),
}

/// More GPUs than any machine has, and larger numbers, are a mistake.
const CUDA_DEVICES_MAX: u32 = 64;

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(vec![0])),
            _ => text
                .strip_prefix("cuda:")
                .and_then(cuda_numbers)
                .map(Device::Cuda)
                .ok_or_else(|| "write auto, cpu, cuda, cuda:0, or cuda:0+1 for several".into()),
        }
    }
}

/// `0+1`; with commas as well, which an `-o` list cannot hold.
fn cuda_numbers(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for number in list.split(['+', ',']) {
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = number.parse().ok().filter(|_| is_plain)?;
        if number >= CUDA_DEVICES_MAX || numbers.contains(&number) {
            return None;
        }
        numbers.push(number);
    }
    Some(numbers)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(f, "cuda:{}", numbers.join("+"))
            }
        }
    }
}

/// A choice of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What is taken out of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeidProfile {
    /// Nothing.
    Off,
    /// What the Basic Application Level Confidentiality Profile says (PS3.15 Annex E).
    Basic,
}

/// How changes of the archive are come to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
pub enum Watch {
    /// The kernel tells; where it cannot, the archive is looked at from time to time.
    #[default]
    On,
    /// The archive is looked at from time to time.
    Poll,
    /// They are found when the archive is mounted again, or when somebody asks for a rescan.
    Off,
}

/// Permission bits to take away, in octal.
fn parse_umask(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|umask| *umask <= 0o777)
        .ok_or_else(|| "write an octal number from 0 to 777".into())
}

/// An id of a user or group.
fn parse_id(text: &str) -> Result<u32, String> {
    let words = "write a number: `id NAME` says which";
    text.parse().map_err(|_| words.into())
}

/// A time.
fn parse_seconds(text: &str) -> Result<u32, String> {
    let words = "write a whole number of seconds";
    text.parse().map_err(|_| words.into())
}

/// Flags about the archive: every command that opens one has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ArchiveFlags {
    /// Index file [default: one per archive under $XDG_CACHE_HOME/dicomfs, for root
    /// /var/cache/dicomfs]
    #[arg(long, value_name = "FILE", help_heading = "Archive")]
    pub index: Option<PathBuf>,

    /// Threads that decode; 0 is one for each core [default: 0]
    #[arg(long, value_name = "COUNT", help_heading = "Archive")]
    pub decode_threads: Option<usize>,

    /// De-identify all that is shown: basic (the Basic Profile of DICOM PS3.15 Annex E, UIDs and
    /// Patient IDs mapped, dates moved) or off [default: off]
    #[arg(long, value_name = "PROFILE", help_heading = "Privacy")]
    pub deid: Option<DeidProfile>,

    /// Key that UIDs, Patient IDs and dates are mapped by, made with `dicomfs generate deid-key FILE`;
    /// whoever has it can tell patients again, so keep it, and keep it to yourself
    #[arg(long, value_name = "FILE", help_heading = "Privacy")]
    pub deid_key: Option<PathBuf>,

    /// How much to log, on standard error or, in the background, in the system's log [default: warn]
    #[arg(long, value_name = "LEVEL", help_heading = "Logging")]
    pub log_level: Option<LogLevel>,
}

/// All flags of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Flags {
    /// About the archive.
    #[command(flatten)]
    pub archive: ArchiveFlags,

    /// Memory for decoded volumes: 512M, 2GiB, 50% of the available memory [default: 25%]
    #[arg(long, value_name = "SIZE", help_heading = "Cache")]
    pub cache_size: Option<Size>,

    /// Keep decoded volumes in this directory too, for the next mount
    #[arg(long, value_name = "DIR", help_heading = "Cache")]
    pub cache_dir: Option<PathBuf>,

    /// Space that may be used in the cache directory, percentages are of the free space [default:
    /// 10%]
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Cache",
        requires = "cache_dir"
    )]
    pub cache_dir_size: Option<Size>,

    /// Memory of each GPU for volumes that programs map there (volume.cuda.json), percentages are of
    /// all its memory; 0 is none [default: 25%]
    #[arg(long, value_name = "SIZE", help_heading = "Cache")]
    pub device_cache_size: Option<Size>,

    /// Frames to decode ahead of a reader [default: the whole volume]
    #[arg(long, value_name = "COUNT", help_heading = "Cache")]
    pub readahead_frames: Option<u32>,

    /// Longest to wait for the scan of the archive before it goes on in the background [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Mount")]
    pub scan_wait: Option<u32>,

    /// What decodes: auto, cpu, cuda, cuda:1, or cuda:0+1 for several GPUs; the CPU does what a GPU
    /// does not [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Decoding")]
    pub device: Option<Device>,

    /// Decode lossy frames on the CPU even where a GPU could: it may round otherwise, and then the
    /// values would depend on the machine [default: on]
    #[arg(long, value_name = "SWITCH", help_heading = "Decoding")]
    pub exact: Option<Switch>,

    /// Follow changes of the archive while it is mounted: on (told by the kernel, or by looking where it
    /// cannot: network file systems, more directories than inotify may watch), poll (by looking), or
    /// off (only `dicomfs rescan` and SIGHUP) [default: on]
    #[arg(long, value_name = "HOW", help_heading = "Changes")]
    pub watch: Option<Watch>,

    /// How often the archive is looked at where the kernel does not tell of changes; at most a tenth
    /// of the time is spent on it [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Changes")]
    pub watch_interval: Option<u32>,

    /// How long the files of a series have to be quiet before it is shown, or shown anew: what is still
    /// arriving is never shown in part [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Changes")]
    pub settle: Option<u32>,

    /// Let other users than the one who mounts read it
    #[arg(long, help_heading = "Mount")]
    pub allow_other: bool,

    /// Have the kernel check the mode bits; it always does
    #[arg(long, help_heading = "Mount")]
    pub default_permissions: bool,

    /// Owner of all files, a number [default: who mounts]
    #[arg(long, value_name = "UID", value_parser = parse_id, help_heading = "Mount")]
    pub uid: Option<u32>,

    /// Group of all files, a number [default: who mounts]
    #[arg(long, value_name = "GID", value_parser = parse_id, help_heading = "Mount")]
    pub gid: Option<u32>,

    /// Permission bits that no file has, in octal [default: 022]
    #[arg(long, value_name = "OCTAL", value_parser = parse_umask, help_heading = "Mount")]
    pub umask: Option<u16>,

    /// Let nothing be executed from the mount
    #[arg(long, help_heading = "Mount", overrides_with = "exec")]
    pub noexec: bool,

    /// Undo `noexec`, where both are given
    #[arg(long, help_heading = "Mount", overrides_with = "noexec")]
    pub exec: bool,

    /// SELinux label of all files; takes root and a kernel with SELinux [default: the one that its policy
    /// has for FUSE mounts]
    #[arg(long, value_name = "LABEL", help_heading = "Mount")]
    pub context: Option<String>,

    /// Append a line to this file for each file of a series that is opened: who, what and when
    #[arg(long, value_name = "FILE", help_heading = "Privacy")]
    pub audit: Option<PathBuf>,

    /// Stay attached to the terminal until it is unmounted
    #[arg(long, short = 'f', help_heading = "Mount")]
    pub foreground: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let cases = [
            ("auto", Some(Device::Auto)),
            ("cpu", Some(Device::Cpu)),
            ("cuda", Some(Device::Cuda(vec![0]))),
            ("cuda:3", Some(Device::Cuda(vec![3]))),
            ("cuda:0+1", Some(Device::Cuda(vec![0, 1]))),
            ("cuda:2,0", Some(Device::Cuda(vec![2, 0]))),
            ("cuda:63", Some(Device::Cuda(vec![63]))),
            ("cuda:64", None),
            ("cuda:", None),
            ("cuda:x", None),
            ("cuda:0+", None),
            ("cuda:0++1", None),
            ("cuda:+1", None),
            ("cuda:-1", None),
            ("cuda:1+1", None),
            ("cuda:99999999999", None),
            ("gpu", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
        for device in [Device::Cuda(vec![3]), Device::Cuda(vec![4, 0, 7])] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
    }

    #[test]
    fn umasks() {
        assert_eq!(parse_umask("022"), Ok(0o22));
        assert_eq!(parse_umask("0777"), Ok(0o777));
        assert!(parse_umask("8").is_err());
        assert!(parse_umask("1000").is_err());
        assert!(parse_umask("").is_err());
    }
}
