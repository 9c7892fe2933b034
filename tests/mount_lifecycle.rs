//! The life of a real mount, whatever is served in it: it comes up, is refused twice in one place,
//! ends on SIGTERM and on umount, and a dead one is cleared away.
//!
//! Needs /dev/fuse and the right to mount; says so and passes where they are missing, unless
//! DICOMFS_REQUIRE_FUSE=1 makes that a failure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for anything here; a healthy machine takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// An archive without files and a place to mount it.
struct Scene {
    directory: TempDir,
}

impl Scene {
    /// `None` if this machine cannot mount.
    fn new() -> Option<Scene> {
        if let Err(why) = dicomfs::mount::probe().way() {
            assert!(
                std::env::var_os("DICOMFS_REQUIRE_FUSE").is_none_or(|value| value != "1"),
                "DICOMFS_REQUIRE_FUSE=1, but {why}"
            );
            println!("skipped: {why}");
            return None;
        }
        let directory = tempfile::tempdir().expect("tempdir");
        for name in ["archive", "mnt"] {
            std::fs::create_dir(directory.path().join(name)).expect("mkdir");
        }
        Some(Scene { directory })
    }

    fn mountpoint(&self) -> PathBuf {
        let path = self.directory.path().canonicalize().expect("canonicalize");
        path.join("mnt")
    }

    /// `dicomfs mount`, with an index of its own.
    fn mount(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dicomfs"));
        command
            .arg("mount")
            .arg(self.directory.path().join("archive"))
            .arg(self.mountpoint())
            .arg("--index")
            .arg(self.directory.path().join("index"))
            .args(flags)
            .stdin(Stdio::null());
        command
    }

    fn mount_in_foreground(&self) -> Child {
        let child = self.mount(&["-f"]).spawn().expect("spawn");
        until("the mount appears", || self.mount_count() == 1);
        child
    }

    /// How many mounts of ours are at the mountpoint.
    fn mount_count(&self) -> usize {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let place = format!(" {} ", self.mountpoint().display());
        mounts
            .lines()
            .filter(|line| line.contains(&place) && line.contains("- fuse.dicomfs "))
            .count()
    }
}

impl Drop for Scene {
    /// Whatever a failed test has left there.
    fn drop(&mut self) {
        while self.mount_count() > 0 && unmount(&self.mountpoint(), true) {}
    }
}

fn unmount(mountpoint: &Path, lazily: bool) -> bool {
    let run = |program: &str, flags: &[&str]| {
        Command::new(program)
            .args(flags)
            .arg(mountpoint)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let (umount, fusermount): (&[&str], &[&str]) = match lazily {
        true => (&["-l"], &["-u", "-z"]),
        false => (&[], &["-u"]),
    };
    run("umount", umount) || run("fusermount3", fusermount)
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn end_of(mut child: Child) -> ExitStatus {
    let mut status = None;
    until("the daemon ends", || {
        status = child.try_wait().expect("wait");
        status.is_some()
    });
    status.expect("has ended")
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status()
        .expect("sh");
    assert!(status.success());
}

#[test]
fn signals_end_a_mount() {
    let Some(scene) = Scene::new() else { return };
    for name in ["TERM", "INT", "HUP"] {
        let child = scene.mount_in_foreground();
        signal(&child, name);
        let status = end_of(child);
        assert!(status.success(), "SIG{name}: {status}");
        assert_eq!(scene.mount_count(), 0, "after SIG{name}");
    }
}

#[test]
fn umount_from_outside_ends_the_daemon() {
    let Some(scene) = Scene::new() else { return };
    let child = scene.mount_in_foreground();
    assert!(unmount(&scene.mountpoint(), false));
    assert!(end_of(child).success());
    assert_eq!(scene.mount_count(), 0);
}

#[test]
fn a_dead_mount_is_cleared_away() {
    let Some(scene) = Scene::new() else { return };
    let mut child = scene.mount_in_foreground();
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(scene.mount_count(), 1, "left behind");
    let error = std::fs::metadata(scene.mountpoint()).expect_err("nobody answers");
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    let child = scene.mount(&["-f"]).spawn().expect("spawn");
    until("the new mount answers", || {
        let answer = std::fs::metadata(scene.mountpoint());
        scene.mount_count() == 1
            && answer.map_or_else(|e| e.kind() != std::io::ErrorKind::NotConnected, |_| true)
    });
    signal(&child, "TERM");
    assert!(end_of(child).success());
    assert_eq!(scene.mount_count(), 0);
}

#[test]
fn in_the_background_the_command_returns_when_the_mount_is_live() {
    let Some(scene) = Scene::new() else { return };
    let output = scene.mount(&[]).output().expect("run");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(scene.mount_count(), 1);
    let again = scene.mount(&[]).output().expect("run");
    assert_eq!(again.status.code(), Some(32), "{again:?}");
    assert!(!again.stderr.is_empty());
    assert_eq!(scene.mount_count(), 1);
    assert!(unmount(&scene.mountpoint(), false));
}

#[test]
fn errors_reach_the_caller() {
    let Some(scene) = Scene::new() else { return };
    std::fs::remove_dir(scene.directory.path().join("archive")).expect("rmdir");
    let output = scene.mount(&[]).output().expect("run");
    assert_eq!(output.status.code(), Some(32));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no archive"), "{said}");
    assert_eq!(scene.mount_count(), 0);
}
