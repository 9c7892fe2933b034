//! The files through which NVIDIA's driver is spoken to: whether there are any, and for whom.
//!
//! Looked at before a device is: it costs nothing where there is none. Knows nothing of CUDA.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// NVIDIA's vendor id as /sys/bus/pci shows it.
const VENDOR: &str = "0x10de";

/// Makes the device files; setuid root where the driver's packages have set it up. The driver calls
/// it by this name itself, which it cannot any more once this process has given up its rights.
const MODPROBE: &str = "/usr/bin/nvidia-modprobe";

/// What CUDA opens first, last and on Windows' kernel.
const CONTROL: &str = "nvidiactl";
const UNIFIED_MEMORY: &str = "nvidia-uvm";
const WSL: &str = "dxg";

/// True if this machine may have a device: a device file, or a card on the bus. False saves the
/// start of a process at each mount.
pub fn may_have_device() -> bool {
    let has_file = [CONTROL, WSL]
        .iter()
        .any(|name| Path::new("/dev").join(name).exists());
    has_file || has_card(Path::new("/sys/bus/pci/devices"))
}

fn has_card(bus: &Path) -> bool {
    let is_nvidia = |entry: fs::DirEntry| {
        let vendor = fs::read_to_string(entry.path().join("vendor"));
        vendor.is_ok_and(|vendor| vendor.trim() == VENDOR)
    };
    let cards = fs::read_dir(bus).into_iter().flatten();
    cards.filter_map(Result::ok).any(is_nvidia)
}

/// True if every device file of a GPU may be read and written by all users.
pub fn are_for_all() -> bool {
    are_for_all_in(Path::new("/dev"))
}

fn are_for_all_in(dev: &Path) -> bool {
    let entries = fs::read_dir(dev).into_iter().flatten();
    let ours = entries.filter_map(Result::ok).filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("nvidia");
        let is_card =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        is_card || [CONTROL, UNIFIED_MEMORY, WSL].contains(&&*name)
    });
    let paths: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
    paths.iter().all(|path| is_for_all(path))
}

fn is_for_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        let mode = found.permissions().mode();
        found.file_type().is_char_device() && mode & 0o006 == 0o006
    })
}

/// Has the missing device files made, where the driver has a program for that.
pub fn make_missing(ordinal: u32) {
    let is_there = |name: &str| Path::new("/dev").join(name).exists();
    let is_complete = is_there(CONTROL) && is_there(UNIFIED_MEMORY);
    if is_complete || is_there(WSL) || !Path::new(MODPROBE).exists() {
        return;
    }
    let made = Command::new(MODPROBE)
        .args(["-u", "-c", &ordinal.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // What is missing then, the driver says itself.
    tracing::debug!(?made, "device files");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_by_their_maker() {
        let bus = tempfile::tempdir().expect("tempdir");
        let card = |name: &str, vendor: &str| {
            let dir = bus.path().join(name);
            fs::create_dir(&dir).expect("mkdir");
            fs::write(dir.join("vendor"), vendor).expect("write");
        };
        assert!(!has_card(bus.path()) && !has_card(Path::new("/no/such/place")));
        card("0000:00:01.0", "0x8086\n");
        assert!(!has_card(bus.path()));
        card("0000:00:02.0", "0x10de\n");
        assert!(has_card(bus.path()));
    }

    #[test]
    fn only_devices_count_as_device_files() {
        let dev = tempfile::tempdir().expect("tempdir");
        assert!(are_for_all_in(dev.path()), "none is in the way");
        fs::write(dev.path().join("nvidia-caps"), "").expect("write");
        fs::write(dev.path().join("nvidiactl.old"), "").expect("write");
        assert!(are_for_all_in(dev.path()), "not of a GPU");
        fs::write(dev.path().join("nvidia0"), "").expect("write");
        assert!(!are_for_all_in(dev.path()), "not a device");
        assert!(is_for_all(Path::new("/dev/null")));
    }
}
