//! The life of a real mount, whatever is served in it: it comes up, is refused twice in one place,
//! ends on SIGTERM and on umount with both its processes, says so to the service manager, goes on
//! when one of the two is killed, gives up when it is hopeless, and a dead one is cleared away.
//!
//! Needs /dev/fuse and the right to mount; says so and passes where they are missing, unless
//! DICOMFS_REQUIRE_FUSE=1 makes that a failure.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixDatagram;
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

    /// The process that answers.
    fn worker(&self) -> Option<u32> {
        let pids = common::processes_of(&self.mountpoint());
        let pid = pids.into_iter().find(|pid| common::is_worker(*pid))?;
        u32::try_from(pid).ok()
    }

    fn has_ended(&self) {
        until("no process is left", || {
            common::processes_of(&self.mountpoint()).is_empty()
        });
        assert_eq!(self.mount_count(), 0);
    }

    /// Mounts in the background, and kills who holds the mount as soon as both are settled.
    fn mount_without_supervisor(&self) {
        let output = self.mount(&[]).output().expect("run");
        assert!(output.status.success(), "{output:?}");
        let supervisor = || {
            let pids = common::processes_of(&self.mountpoint());
            pids.into_iter().find(|pid| !common::is_worker(*pid))
        };
        let pid = supervisor().expect("a supervisor");
        kill("KILL", u32::try_from(pid).expect("a process"));
        until("the supervisor is dead", || supervisor().is_none());
    }

    /// Kills the worker that answers now.
    fn crash(&self) {
        let mut dead = None;
        until("a worker", || {
            dead = self.worker();
            dead.is_some()
        });
        kill("KILL", dead.expect("a worker"));
        until("it is dead", || self.worker() != dead);
    }

    fn version(&self) -> std::io::Result<String> {
        fs::read_to_string(self.mountpoint().join(".dicomfs/version"))
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
    kill(name, child.id());
}

fn kill(name: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("sh");
    assert!(status.success());
}

#[test]
fn signals_end_a_mount() {
    let Some(scene) = Scene::new() else { return };
    for name in ["TERM", "INT"] {
        let child = scene.mount_in_foreground();
        signal(&child, name);
        let status = end_of(child);
        assert!(status.success(), "SIG{name}: {status}");
        scene.has_ended();
    }
}

#[test]
fn umount_from_outside_ends_the_daemon() {
    let Some(scene) = Scene::new() else { return };
    let child = scene.mount_in_foreground();
    assert!(unmount(&scene.mountpoint(), false));
    assert!(end_of(child).success());
    scene.has_ended();
}

#[test]
fn a_dead_mount_is_cleared_away() {
    let Some(scene) = Scene::new() else { return };
    // First who would start another.
    scene.mount_without_supervisor();
    scene.crash();
    assert_eq!(scene.mount_count(), 1, "left behind");
    // A question that was on its way when the process died fails in another way.
    until("nobody answers", || {
        let answer = std::fs::metadata(scene.mountpoint());
        answer.is_err_and(|e| e.kind() == std::io::ErrorKind::NotConnected)
    });
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

#[test]
fn a_signal_to_the_worker_alone_ends_both() {
    let Some(scene) = Scene::new() else { return };
    let child = scene.mount_in_foreground();
    kill("TERM", scene.worker().expect("a worker"));
    assert!(end_of(child).success());
    scene.has_ended();
}

#[test]
fn open_files_are_served_until_they_are_closed() {
    let Some(scene) = Scene::new() else { return };
    for to_all in [false, true] {
        let child = scene.mount_in_foreground();
        let mut file = File::open(scene.mountpoint().join("index.csv")).expect("open");
        let worker = scene.worker().expect("a worker");
        // A service manager signals every process: that is one wish and not two.
        if to_all {
            kill("TERM", worker);
        }
        signal(&child, "TERM");
        until("it is detached", || scene.mount_count() == 0);
        let mut text = String::new();
        file.read_to_string(&mut text).expect("still served");
        assert!(text.starts_with("path,") || text.contains(','), "{text}");
        drop(file);
        assert!(end_of(child).success());
        scene.has_ended();
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let Some(scene) = Scene::new() else { return };
    let child = scene.mount_in_foreground();
    let file = File::open(scene.mountpoint().join("index.csv")).expect("open");
    signal(&child, "INT");
    until("it is detached", || scene.mount_count() == 0);
    let start = Instant::now();
    signal(&child, "INT");
    assert!(end_of(child).success());
    assert!(start.elapsed() < Duration::from_secs(10), "it waited");
    drop(file);
    scene.has_ended();
}

#[test]
fn a_crash_loop_is_given_up() {
    let Some(scene) = Scene::new() else { return };
    let mut mount = scene.mount(&["-f"]);
    let child = mount.stderr(Stdio::piped()).spawn().expect("spawn");
    until("the mount appears", || scene.mount_count() == 1);
    for _ in 0..5 {
        scene.crash();
    }
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(32), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("keeps dying"), "{said}");
    scene.has_ended();
}

#[test]
fn a_worker_without_supervisor_serves_on() {
    let Some(scene) = Scene::new() else { return };
    for by_signal in [false, true] {
        scene.mount_without_supervisor();
        assert!(!scene.version().expect("still served").is_empty());
        match by_signal {
            true => kill("TERM", scene.worker().expect("a worker")),
            false => assert!(unmount(&scene.mountpoint(), false)),
        }
        scene.has_ended();
    }
}

#[test]
fn a_worker_is_not_started_by_hand() {
    let output = Command::new(env!("CARGO_BIN_EXE_dicomfs"))
        .args(["worker", "/a", "/m"])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(32), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("dicomfs mount"), "{said}");
}

#[test]
fn what_fails_in_the_worker_reaches_the_caller() {
    let Some(scene) = Scene::new() else { return };
    // It is there, so the mount begins; only who reads it notices what it is.
    let archive = scene.directory.path().join("archive");
    fs::remove_dir(&archive).expect("rmdir");
    fs::write(&archive, "no directory").expect("write");
    for flags in [&[][..], &["-f"]] {
        let output = scene.mount(flags).output().expect("run");
        assert_eq!(output.status.code(), Some(32), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("cannot read the archive"), "{said}");
        assert_eq!(said.matches("cannot read").count(), 1, "once: {said}");
        scene.has_ended();
    }
}

#[test]
fn the_service_manager_hears_of_it() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let len = socket.recv(&mut buffer).expect("a message");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return text;
            }
        }
        panic!("never heard {wanted}");
    };
    let mut mount = scene.mount(&["-f"]);
    let child = mount.env("NOTIFY_SOCKET", &path).spawn().expect("spawn");
    let ready = hear("READY=1");
    assert_eq!(scene.mount_count(), 1, "ready means mounted");
    let pid = format!("MAINPID={}", child.id());
    assert!(ready.lines().any(|line| line == pid), "{ready}");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    scene.crash();
    hear("STATUS=serving; 1 crashed workers were replaced");
    signal(&child, "TERM");
    hear("STOPPING=1");
    assert!(end_of(child).success());
    scene.has_ended();
}
