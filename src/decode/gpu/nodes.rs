//! The files through which NVIDIA's driver is spoken to: whether there are any, and for whom.
//!
//! Looked at before a device is: it costs nothing where there is none. Knows nothing of CUDA.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// NVIDIA's vendor id as /sys/bus/pci shows it.
const VENDOR: &str = "0x10de";

/// Base class of display controllers (PCI Code and ID Assignment, 1.4).
const DISPLAY_CLASS: &str = "0x03";

/// Makes the device files; setuid root where the driver's packages have set it up. The driver calls
/// it by this name itself, which it cannot any more once this process has given up its rights.
const MODPROBE: &str = "/usr/bin/nvidia-modprobe";

/// By which the kernel reads files straight into device memory (GPUDirect Storage). Without it cuFile
/// would read them as any program does.
const DIRECT_STORAGE: &str = "/dev/nvidia-fs0";

/// What CUDA opens first, last and on Windows' kernel.
const CONTROL: &str = "nvidiactl";
const UNIFIED_MEMORY: &str = "nvidia-uvm";
const WSL: &str = "dxg";

/// How many devices this machine may have: by their device files, else by the cards on the bus. With
/// none, no process has to be started to find that out.
pub fn device_count() -> u32 {
    let count = count(Path::new("/dev"), Path::new("/sys/bus/pci/devices"));
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// True where the kernel can read files straight into device memory.
pub fn reads_files() -> bool {
    Path::new(DIRECT_STORAGE).exists()
}

fn count(dev: &Path, bus: &Path) -> usize {
    let entries = fs::read_dir(dev).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let files = names.filter(|name| is_card(name)).count();
    match files {
        0 if dev.join(WSL).exists() => 1,
        // Those of the devices may not be made yet. In a container the bus shows all cards of the
        // machine, and the files those that are the container's.
        0 => cards(bus),
        files => files,
    }
}

/// Graphics cards of NVIDIA, and cards like them without an output.
fn cards(bus: &Path) -> usize {
    let is_card = |entry: &fs::DirEntry| {
        let says = |file: &str, start: &str| {
            let text = fs::read_to_string(entry.path().join(file));
            text.is_ok_and(|text| text.starts_with(start))
        };
        says("vendor", VENDOR) && says("class", DISPLAY_CLASS)
    };
    let all = fs::read_dir(bus).into_iter().flatten();
    all.filter_map(Result::ok).filter(is_card).count()
}

/// True for `nvidia0`, `nvidia1`, ...
fn is_card(name: &str) -> bool {
    let number = name.strip_prefix("nvidia");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
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
        is_card(&name) || [CONTROL, UNIFIED_MEMORY, WSL].contains(&&*name)
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
    fn devices_are_counted_by_their_files_or_on_the_bus() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (dev, bus) = (dir.path().join("dev"), dir.path().join("bus"));
        assert_eq!(count(&dev, &bus), 0, "no such places");
        let card = |name: &str, vendor: &str, class: &str| {
            let dir = bus.join(name);
            fs::create_dir_all(&dir).expect("mkdir");
            fs::write(dir.join("vendor"), vendor).expect("write");
            fs::write(dir.join("class"), class).expect("write");
        };
        card("0000:00:01.0", "0x8086\n", "0x030000\n");
        card("0000:00:02.0", "0x10de\n", "0x040300\n");
        assert_eq!(count(&dev, &bus), 0, "another maker's, and a sound card");
        card("0000:00:03.0", "0x10de\n", "0x030200\n");
        card("0000:00:04.0", "0x10de\n", "0x030000\n");
        assert_eq!(count(&dev, &bus), 2);
        fs::create_dir(&dev).expect("mkdir");
        for other in ["nvidiactl", "nvidia-uvm", "nvidia", "nvidia-caps"] {
            fs::write(dev.join(other), "").expect("write");
        }
        assert_eq!(count(&dev, &bus), 2);
        fs::write(dev.join("nvidia3"), "").expect("write");
        assert_eq!(count(&dev, &bus), 1, "a container's own");
        fs::remove_dir_all(&dev).expect("removed");
        fs::create_dir(&dev).expect("mkdir");
        fs::write(dev.join("dxg"), "").expect("write");
        assert_eq!(count(&dev, &bus), 1);
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
