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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Device {
    /// A GPU where there is one and it helps, else the CPU.
    #[default]
    Auto,
    /// The CPU only.
    Cpu,
    /// A GPU as well, by index.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| "write auto, cpu, cuda or cuda:0".into()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Permission bits to take away, in octal.
fn parse_umask(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|umask| *umask <= 0o777)
        .ok_or_else(|| "write an octal number from 0 to 777".into())
}

/// Flags about the archive: every command that opens one has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ArchiveFlags {
    /// Index file [default: one per archive under $XDG_CACHE_HOME/dicomfs, for root
    /// /var/cache/dicomfs]
    #[arg(long, value_name = "FILE", help_heading = "Archive")]
    pub index: Option<PathBuf>,

    /// Threads that read headers and decode; 0 is one for each core
    #[arg(long, value_name = "COUNT", help_heading = "Archive")]
    pub decode_threads: Option<usize>,

    /// Replace patient data by pseudonyms
    #[arg(long, hide = true)]
    pub deid: bool,

    /// How much to log on standard error [default: warn]
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

    /// Frames to decode ahead of a reader [default: the whole volume]
    #[arg(long, value_name = "COUNT", help_heading = "Cache")]
    pub readahead_frames: Option<u32>,

    /// Longest to wait for the scan of the archive before it goes on in the background [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Mount")]
    pub scan_wait: Option<u32>,

    /// What decodes: auto or cpu [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Cache")]
    pub device: Option<Device>,

    /// Follow changes of the archive
    #[arg(long, hide = true)]
    pub watch: bool,

    /// Let other users than the one who mounts read it
    #[arg(long, help_heading = "Mount")]
    pub allow_other: bool,

    /// Have the kernel check the mode bits; it always does
    #[arg(long, help_heading = "Mount")]
    pub default_permissions: bool,

    /// Owner of all files, a number [default: who mounts]
    #[arg(long, value_name = "UID", help_heading = "Mount")]
    pub uid: Option<u32>,

    /// Group of all files, a number [default: who mounts]
    #[arg(long, value_name = "GID", help_heading = "Mount")]
    pub gid: Option<u32>,

    /// Permission bits that no file has, in octal [default: 022]
    #[arg(long, value_name = "OCTAL", value_parser = parse_umask, help_heading = "Mount")]
    pub umask: Option<u16>,

    /// Let nothing be executed from the mount
    #[arg(long, help_heading = "Mount")]
    pub noexec: bool,

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
            ("cuda", Some(Device::Cuda(0))),
            ("cuda:3", Some(Device::Cuda(3))),
            ("cuda:", None),
            ("cuda:x", None),
            ("gpu", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
        assert_eq!(Device::Cuda(3).to_string().parse(), Ok(Device::Cuda(3)));
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
