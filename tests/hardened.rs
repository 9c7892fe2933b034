//! The systemd units: sound, as hardened as a mount can be, and a mount lives a whole life with what
//! the service leaves it: its user, its capabilities, its system calls.
//!
//! Skips with a printed reason where systemd-analyze is missing, or without root;
//! DICOMFS_REQUIRE_INSTALL=1 makes that a failure.

mod common;
#[path = "hardened/sandbox.rs"]
mod sandbox;
#[path = "hardened/unit.rs"]
mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{DEADLINE, can_mount, expected_slab, program, skip, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use sandbox::{Filter, USER, capability};
use tempfile::TempDir;
use unit::Unit;

const REQUIRED: &str = "DICOMFS_REQUIRE_INSTALL";

/// Exposure that systemd 252 finds is 3.0 (of 10). What is left is what a mount takes: no mount
/// namespace, so none of the settings that need one, and CAP_SYS_ADMIN.
const EXPOSURE_MAX: f64 = 3.2;

/// Settings that give a service a mount namespace of its own (exec_needs_mount_namespace in
/// systemd's src/core/execute.c): nobody else would see what it mounts.
const HIDE_MOUNTS: [&str; 26] = [
    "RootDirectory",
    "RootImage",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "MountImages",
    "ExtensionImages",
    "ExtensionDirectories",
    "MountFlags",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateIPC",
    "ProtectSystem",
    "ProtectHome",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectProc",
    "ProcSubset",
    "DynamicUser",
];

fn has_systemd_analyze(test: &str) -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skip(test, "no systemd-analyze (apt install systemd)", REQUIRED);
    }
    found
}

/// The units as they are installed, under the names of instances, with the program that was built.
fn installed_units() -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let units = [
        ("dicomfs@.service", "dicomfs@mnt-dicom.service"),
        ("examples/mnt-dicom.mount", "mnt-dicom.mount"),
        ("examples/mnt-dicom.automount", "mnt-dicom.automount"),
    ];
    let write = |(name, installed)| {
        let text = fs::read_to_string(from.join(name)).expect(name);
        let text = text.replace("/usr/bin/dicomfs", env!("CARGO_BIN_EXE_dicomfs"));
        let path = dir.path().join(installed);
        fs::write(&path, text).expect("written");
        path
    };
    let paths = units.map(write).into();
    (dir, paths)
}

#[test]
fn the_units_are_sound() {
    if !has_systemd_analyze("the_units_are_sound") {
        return;
    }
    let (_dir, units) = installed_units();
    // Manual pages are installed with the package.
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = said.lines().filter(|line| line.contains("dicom"));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0], "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_service_is_hardened() {
    if !has_systemd_analyze("the_service_is_hardened") {
        return;
    }
    let (_dir, units) = installed_units();
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&units[0])
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.contains("Overall exposure"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    println!("{line}");
    let exposure = line.split_whitespace().find_map(|word| word.parse().ok());
    let exposure: f64 = exposure.expect("a number");
    assert!(exposure <= EXPOSURE_MAX, "{said}");
}

#[test]
fn nothing_hides_the_mount_from_the_host() {
    let unit = Unit::service();
    let keys: BTreeSet<&str> = unit.keys().collect();
    let hiding = HIDE_MOUNTS.iter().filter(|key| keys.contains(*key));
    assert_eq!(hiding.collect::<Vec<_>>(), [&""; 0]);
    // PrivateNetwork= implies it unless it is said otherwise.
    assert_eq!(unit.one("PrivateMounts"), "no");
}

/// What systemd makes of the manual's fstab lines: nothing that a boot waits for.
#[test]
fn no_fstab_line_of_the_manual_holds_up_a_boot() {
    let test = "no_fstab_line_of_the_manual_holds_up_a_boot";
    let generator = Path::new("/usr/lib/systemd/system-generators/systemd-fstab-generator");
    if !generator.exists() {
        skip(
            test,
            "no systemd-fstab-generator (apt install systemd)",
            REQUIRED,
        );
        return;
    }
    let page = program()
        .args(["generate", "man", "mount.dicomfs"])
        .output();
    let page = String::from_utf8(page.expect("it runs").stdout).expect("UTF-8");
    let page = page.replace("\\-", "-");
    let lines = page.lines().filter(|line| line.ends_with(" 0 0"));
    let lines: Vec<&str> = lines.filter(|line| !line.contains("noauto")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fstab = dir.path().join("fstab");
        fs::write(&fstab, format!("{line}\n")).expect("written");
        let units = ["normal", "early", "late"].map(|name| dir.path().join(name));
        units
            .iter()
            .for_each(|dir| fs::create_dir(dir).expect("mkdir"));
        let mut made = Command::new(generator);
        made.env("SYSTEMD_FSTAB", &fstab).args(&units);
        assert!(made.status().expect("the generator runs").success());
        let mount = fs::read_to_string(units[0].join("mnt-dicom.mount")).expect("a mount unit");
        assert!(
            mount.contains("Type=dicomfs") && !mount.contains("Before="),
            "{mount}"
        );
        let is_automount = line.contains("x-systemd.automount");
        assert_eq!(mount.contains("TimeoutSec=1min"), is_automount, "{mount}");
        let entries = fs::read_dir(&units[0]).expect("units");
        let names: Vec<_> = entries.map(|e| e.expect("a unit").file_name()).collect();
        // Wanted, not required.
        let requires = names
            .iter()
            .any(|name| name.to_string_lossy().ends_with(".requires"));
        assert!(!requires, "{names:?}");
    }
}

/// A mount with what the unit leaves it, seen through its namespace.
struct Service {
    dir: TempDir,
    notify: UnixDatagram,
    child: Child,
    all: Vec<Series>,
}

impl Service {
    /// Starts it behind a filter with these system calls.
    fn start(unit: &Unit, calls: &BTreeSet<String>) -> Service {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A directory of root's, as archives are.
        let archive = dir.path().join("archive");
        let all = vec![
            Series::ct("2.25.71", uids::EXPLICIT_VR_LITTLE_ENDIAN, [12, 96, 80]),
            Series::mr("2.25.72", uids::RLE_LOSSLESS, [12, 96, 80]),
        ];
        for series in &all {
            series.write(&archive.join(&series.uid)).expect("written");
        }
        let mode = |path: &Path, mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(path, mode).expect("chmod");
        };
        mode(dir.path(), 0o755);
        mode(&archive, 0o700);
        for name in ["mnt", "scratch", "cache"] {
            fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        let (cache, socket) = (dir.path().join("cache"), dir.path().join("notify"));
        chown(&cache, Some(USER), Some(USER)).expect("chown");
        let notify = UnixDatagram::bind(&socket).expect("bind");
        notify.set_read_timeout(Some(DEADLINE)).expect("timeout");
        mode(&socket, 0o777);
        let options = format!("allow_other,cache_dir={}", cache.join("volumes").display());
        let mut command = program();
        command
            .args(["mount", "--foreground", "-o", &options, "--index"])
            .arg(cache.join("index.sqlite"))
            .args([&archive, &dir.path().join("mnt")])
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let names = unit.one("CapabilityBoundingSet").split(' ');
        let capabilities: Vec<u32> = names.map(capability).collect();
        let scratch = dir.path().join("scratch");
        sandbox::confine(&mut command, &capabilities, Filter::new(calls), &scratch);
        let child = command.spawn().expect("started");
        Service {
            dir,
            notify,
            child,
            all,
        }
    }

    fn hear(&self, wanted: &str) {
        let mut buffer = [0; 4096];
        loop {
            let len = self.notify.recv(&mut buffer).expect("a message");
            let text = String::from_utf8_lossy(&buffer[..len]);
            if text.lines().any(|line| line.contains(wanted)) {
                return;
            }
        }
    }

    /// The mount, as root sees it in the service's namespace.
    fn root(&self) -> PathBuf {
        let place = self.dir.path().join("mnt");
        let place = place.strip_prefix("/").expect("absolute");
        PathBuf::from(format!("/proc/{}/root", self.child.id())).join(place)
    }

    fn processes(&self) -> Vec<i32> {
        common::processes_of(&self.dir.path().join("mnt"))
    }

    fn worker(&self) -> Option<i32> {
        let mut pids = self.processes().into_iter();
        pids.find(|pid| common::is_worker(*pid))
    }

    fn read_all(&self) {
        for series in &self.all {
            let volume = self.root().join("series").join(&series.uid);
            wait_until("the series is there", || volume.exists());
            for name in ["volume.npy", "volume.nii", "volume.raw"] {
                let bytes = fs::read(volume.join(name)).expect(name);
                let header = if name == "volume.raw" { 0 } else { 4096 };
                assert!(bytes[header..] == expected_slab(series), "{name}");
            }
            fs::read(volume.join("preview.png")).expect("a picture");
        }
    }

    fn has_the_rights_of(&self, unit: &Unit) {
        let wanted = unit.one("AmbientCapabilities").split(' ');
        let wanted = wanted.fold(0_u64, |set, name| set | 1 << capability(name));
        let pids = self.processes();
        assert_eq!(pids.len(), 2, "supervisor and worker");
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.expect(name).trim().to_string()
            };
            for set in ["CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(field(set), format!("{wanted:016x}"), "{set}");
            }
            assert_eq!(
                (field("NoNewPrivs:"), field("Seccomp:")),
                ("1".into(), "2".into())
            );
            assert!(field("Uid:").starts_with(&USER.to_string()));
        }
    }

    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        if !signal.is_empty() {
            let sent = Command::new("kill").args([signal, &pid]).status();
            assert!(sent.expect("kill runs").success());
        }
        let mut said = String::new();
        let pipe = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut std::io::BufReader::new(pipe), &mut said).expect("text");
        let status = self.child.wait().expect("wait");
        (status.code(), said)
    }
}

/// The unit and its system calls, or the reason to skip has been printed.
fn unit_to_apply(test: &str) -> Option<(Unit, BTreeSet<String>)> {
    if !has_systemd_analyze(test) || !can_mount(test) {
        return None;
    }
    if dicomfs::mount::effective_user().0 != 0 {
        skip(test, "it takes root to become another user", REQUIRED);
        return None;
    }
    let unit = Unit::service();
    let calls = unit.system_calls().expect("systemd-analyze knows the sets");
    Some((unit, calls))
}

#[test]
fn a_mount_lives_with_what_the_service_leaves_it() {
    let Some((unit, calls)) = unit_to_apply("a_mount_lives_with_what_the_service_leaves_it") else {
        return;
    };
    for setting in [
        "NoNewPrivileges",
        "RestrictNamespaces",
        "MemoryDenyWriteExecute",
    ] {
        assert_eq!(
            unit.one(setting),
            "yes",
            "{setting}: the sandbox of this test has it"
        );
    }
    assert_eq!(unit.one("RestrictAddressFamilies"), "AF_UNIX");
    let service = Service::start(&unit, &calls);
    service.hear("READY=1");
    service.has_the_rights_of(&unit);
    service.read_all();
    // Decoded before: passthrough takes CAP_SYS_ADMIN.
    service.read_all();
    let dead = service.worker().expect("a worker");
    let killed = Command::new("kill")
        .args(["-9", &dead.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    service.hear("1 crashed workers were replaced");
    service.read_all();
    service.has_the_rights_of(&unit);
    let (status, said) = service.end("-TERM");
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn the_filter_of_the_service_bites() {
    let Some((unit, calls)) = unit_to_apply("the_filter_of_the_service_bites") else {
        return;
    };
    for needed in ["fsopen", "move_mount", "pread64"] {
        let mut fewer = calls.clone();
        assert!(fewer.remove(needed), "{needed} is not let through");
        let service = Service::start(&unit, &fewer);
        let (status, said) = service.end("");
        assert_ne!(status, Some(0), "{needed}: {said}");
    }
    for foreign in [
        "mount",
        "mount_setattr",
        "open_tree",
        "bpf",
        "ptrace",
        "setuid",
        "kexec_load",
    ] {
        assert!(!calls.contains(foreign), "{foreign}");
    }
}
