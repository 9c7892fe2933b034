//! What this machine offers for mounting, and what is missing and how to get it.
//!
//! Only looks: opens /dev/fuse and closes it again, mounts nothing.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::kernel;

/// First kernel with FUSE passthrough.
const PASSTHROUGH_KERNEL: (u32, u32) = (6, 9);

/// Bit of CAP_SYS_ADMIN in a capability set (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

/// Searched for fusermount3 after PATH: mount(8) may hand down a short one.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// State of /dev/fuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It can be opened.
    Openable,
    /// There is none.
    Missing,
    /// It is there and cannot be opened: the error in words.
    Refused(String),
}

/// How a mount would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By this process itself (fsopen, fsmount, move_mount).
    Kernel,
    /// By the setuid helper at this path.
    Fusermount(PathBuf),
}

/// What this machine offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// State of /dev/fuse.
    pub device: Device,
    /// The kernel has FUSE built in or loaded.
    pub kernel_has_fuse: bool,
    /// Effective user is root.
    pub is_root: bool,
    /// This process has CAP_SYS_ADMIN: it may mount by itself.
    pub may_mount: bool,
    /// CAP_SYS_ADMIN counts for the whole machine: this is the initial user namespace.
    pub initial_user_namespace: bool,
    /// The setuid helper, if it is installed.
    pub fusermount3: Option<PathBuf>,
    /// `user_allow_other` is set in /etc/fuse.conf: others than root may use `allow_other`.
    pub user_allow_other: bool,
    /// Kernel version, major and minor; `None` if it cannot be told.
    pub kernel_version: Option<(u32, u32)>,
}

/// Looks at this machine.
pub fn probe() -> Probe {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Probe {
        device: probe_device(kernel::open_device().map(drop)),
        kernel_has_fuse: has_fuse(&text("/proc/filesystems")),
        is_root: kernel::effective_user().0 == 0,
        may_mount: has_capability(&text("/proc/self/status"), CAP_SYS_ADMIN),
        initial_user_namespace: is_initial_namespace(&text("/proc/self/uid_map")),
        fusermount3: find_fusermount3(std::env::var_os("PATH")),
        user_allow_other: allows_other(&text("/etc/fuse.conf")),
        kernel_version: parse_version(&text("/proc/sys/kernel/osrelease")),
    }
}

impl Probe {
    /// How a mount would be made, or what is missing and how to get it.
    pub fn way(&self) -> Result<Way, String> {
        match &self.device {
            Device::Openable => {}
            Device::Missing => return Err(self.missing_device()),
            // fusermount3 is no way around this: it opens the device as the user who runs it.
            Device::Refused(why) => {
                return Err(format!(
                    "/dev/fuse cannot be opened ({why}). Run as root, or have an administrator \
                     set its mode to 0666 (udev does where it runs)"
                ));
            }
        }
        if self.may_mount {
            return Ok(Way::Kernel);
        }
        match &self.fusermount3 {
            Some(path) => Ok(Way::Fusermount(path.clone())),
            None => Err(
                "mounting takes root or the program fusermount3, which is not installed. \
                         Get it with `apt install fuse3`, `dnf install fuse3` or `apk add fuse3`, \
                         or run as root"
                    .into(),
            ),
        }
    }

    /// True if complete files can be served straight from their backing file; else why not.
    pub fn passthrough(&self) -> Result<(), String> {
        match self.kernel_version {
            None => return Err("the kernel version cannot be told".into()),
            Some(version) if version < PASSTHROUGH_KERNEL => {
                let (major, minor) = version;
                return Err(format!(
                    "Linux {major}.{minor} has no FUSE passthrough; 6.9 and newer have"
                ));
            }
            Some(_) => {}
        }
        if !self.may_mount || !self.initial_user_namespace {
            return Err("it takes CAP_SYS_ADMIN in the initial user namespace: run as root".into());
        }
        Ok(())
    }

    fn missing_device(&self) -> String {
        if self.kernel_has_fuse {
            "/dev/fuse does not exist although the kernel has FUSE. In a container, start it with \
             `--device /dev/fuse --cap-add SYS_ADMIN`; else `mknod /dev/fuse c 10 229` as root"
                .into()
        } else {
            "the kernel has no FUSE and /dev/fuse does not exist. Load it with `modprobe fuse` as \
             root (in a container: on the host, then start it with `--device /dev/fuse`)"
                .into()
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Kernel => f.write_str("directly (fsopen, fsmount)"),
            Way::Fusermount(path) => write!(f, "through {}", path.display()),
        }
    }
}

fn probe_device(opened: io::Result<()>) -> Device {
    match opened {
        Ok(()) => Device::Openable,
        // ENODEV, ENXIO: a node without a driver behind it.
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Device::Missing,
            _ => Device::Refused(error.to_string()),
        },
    }
}

fn has_fuse(filesystems: &str) -> bool {
    filesystems
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some("fuse"))
}

fn has_capability(status: &str, bit: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> bit & 1 == 1)
}

fn is_initial_namespace(uid_map: &str) -> bool {
    let fields: Vec<&str> = uid_map.split_whitespace().collect();
    fields == ["0", "0", "4294967295"]
}

fn allows_other(fuse_conf: &str) -> bool {
    fuse_conf
        .lines()
        .any(|line| line.trim() == "user_allow_other")
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn find_fusermount3(path: Option<OsString>) -> Option<PathBuf> {
    let path = path.unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::env::split_paths(SYSTEM_PATH))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("fusermount3"))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Probe {
        Probe {
            device: Device::Openable,
            kernel_has_fuse: true,
            is_root: true,
            may_mount: true,
            initial_user_namespace: true,
            fusermount3: None,
            user_allow_other: false,
            kernel_version: Some((6, 9)),
        }
    }

    #[test]
    fn ways_and_what_is_missing() {
        let helper = Some(PathBuf::from("/usr/bin/fusermount3"));
        assert_eq!(full().way(), Ok(Way::Kernel));
        let user = Probe {
            may_mount: false,
            is_root: false,
            ..full()
        };
        let why = user.way().expect_err("no helper");
        assert!(why.contains("fusermount3") && why.contains("apt install fuse3"));
        let user = Probe {
            fusermount3: helper.clone(),
            ..user
        };
        assert_eq!(
            user.way(),
            Ok(Way::Fusermount(helper.clone().unwrap_or_default()))
        );
        let closed = Probe {
            device: Device::Refused("Permission denied".into()),
            ..user
        };
        assert!(
            closed
                .way()
                .expect_err("closed")
                .contains("Permission denied")
        );
        for (kernel_has_fuse, remedy) in [(true, "--device /dev/fuse"), (false, "modprobe fuse")] {
            let none = Probe {
                device: Device::Missing,
                fusermount3: helper.clone(),
                kernel_has_fuse,
                ..full()
            };
            assert!(none.way().expect_err("no device").contains(remedy));
        }
    }

    #[test]
    fn passthrough_takes_a_kernel_and_rights() {
        assert_eq!(full().passthrough(), Ok(()));
        let cases = [
            (Some((6, 8)), true, true, "6.8"),
            (Some((5, 15)), true, true, "5.15"),
            (None, true, true, "cannot be told"),
            (Some((6, 18)), false, true, "CAP_SYS_ADMIN"),
            (Some((7, 0)), true, false, "CAP_SYS_ADMIN"),
        ];
        for (kernel_version, may_mount, initial_user_namespace, word) in cases {
            let probe = Probe {
                kernel_version,
                may_mount,
                initial_user_namespace,
                ..full()
            };
            assert!(probe.passthrough().expect_err(word).contains(word));
        }
    }

    #[test]
    fn texts_of_proc_are_read() {
        assert!(has_fuse("nodev\tproc\nnodev\tfuse\n"));
        assert!(!has_fuse("\tfuseblk\nnodev\tfusectl\n"));
        assert!(has_capability(
            "Name:\tx\nCapEff:\t0000000000200000\n",
            CAP_SYS_ADMIN
        ));
        assert!(!has_capability(
            "CapEff:\tffffffffffdfffff\n",
            CAP_SYS_ADMIN
        ));
        assert!(!has_capability("CapEff:\tzz\n", CAP_SYS_ADMIN));
        assert!(is_initial_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_namespace("         0       1000          1\n"));
        assert!(allows_other("# mount_max = 1000\n user_allow_other \n"));
        assert!(!allows_other("#user_allow_other\n"));
        assert_eq!(parse_version("6.18.44-fc-v669\n"), Some((6, 18)));
        assert_eq!(parse_version("5.15-rc1"), Some((5, 15)));
        assert_eq!(parse_version("mystery"), None);
    }

    #[test]
    fn devices_are_told_apart() {
        let error = |errno| Err(io::Error::from_raw_os_error(errno));
        assert_eq!(probe_device(Ok(())), Device::Openable);
        assert_eq!(probe_device(error(libc::ENOENT)), Device::Missing);
        assert_eq!(probe_device(error(libc::ENXIO)), Device::Missing);
        assert!(matches!(
            probe_device(error(libc::EACCES)),
            Device::Refused(_)
        ));
    }

    #[test]
    fn this_machine_answers() {
        let found = probe();
        assert!(found.kernel_version.is_some());
        // Whatever the answer, it is an answer in words.
        if let Err(why) = found.way() {
            assert!(why.len() > 20, "{why}");
        }
    }
}
