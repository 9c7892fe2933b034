//! mount(8)'s helper on a real mount: every option of the manual with a valid value, what it changes,
//! what a remount may change, and how it refuses.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{can_mount, expected_slab, skip, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::config::options::{GENERIC, own_options};
use tempfile::TempDir;

/// The helper with an archive and a place to mount it.
struct Scene {
    dir: TempDir,
    series: Series,
}

impl Scene {
    fn new(test: &str) -> Option<Scene> {
        if !can_mount(test) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let series = Series::ct("2.25.81", uids::RLE_LOSSLESS, [4, 16, 16]);
        series.write(&dir.path().join("archive")).expect("written");
        fs::create_dir(dir.path().join("mnt")).expect("mkdir");
        for name in ["mount.dicomfs", "mount.fuse.dicomfs"] {
            let link = dir.path().join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dicomfs"), link).expect("symlink");
        }
        Some(Scene { dir, series })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Calls the helper as mount(8) does.
    fn call(&self, name: &str, rest: &[&str]) -> Output {
        Command::new(self.path(name))
            .args([self.path("archive"), self.path("mnt")])
            .args(rest)
            .env("XDG_CACHE_HOME", self.path("cache-home"))
            .stdin(Stdio::null())
            .output()
            .expect("the helper runs")
    }

    fn mount(&self, options: &str) {
        let output = self.call("mount.dicomfs", &["-o", options]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options}: {said}");
    }

    /// What it says in one line, ending with this status.
    fn refusal(&self, rest: &[&str], status: i32) -> String {
        let output = self.call("mount.dicomfs", rest);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{rest:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("mount.dicomfs: "), "{said}");
        said
    }

    fn mountinfo(&self) -> Option<String> {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let place = format!(" {} ", self.path("mnt").display());
        let mut lines = text.lines().filter(|line| line.contains(&place));
        lines.next().map(str::to_string)
    }

    fn check(&self) {
        let volume = self.path("mnt/series").join(&self.series.uid);
        wait_until("the series is there", || volume.exists());
        let bytes = fs::read(volume.join("volume.npy")).expect("volume.npy");
        assert!(bytes[4096..] == expected_slab(&self.series), "wrong bytes");
    }

    fn unmount(&self) {
        let status = Command::new("umount").arg(self.path("mnt")).status();
        if !status.is_ok_and(|status| status.success()) {
            let mut helper = Command::new("fusermount3");
            let status = helper.arg("-u").arg(self.path("mnt")).status();
            assert!(status.expect("fusermount3 runs").success());
        }
        wait_until("its processes end", || {
            common::processes_of(&self.path("mnt")).is_empty()
        });
    }

    fn stat(&self) -> fs::Metadata {
        let volume = self.path("mnt/series").join(&self.series.uid);
        fs::metadata(volume.join("volume.npy")).expect("stat")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.mountinfo().is_some() {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.path("mnt"))
                .status();
        }
    }
}

/// A valid value for each option that takes one, and what else it needs. A new option gets a line here.
fn example(scene: &Scene, name: &str) -> Option<String> {
    let path = |name: &str| scene.path(name).display().to_string();
    Some(match name {
        "index" => path("index.sqlite"),
        "decode_threads" => "3".into(),
        "log_level" => "error".into(),
        "cache_size" => "64MiB".into(),
        "cache_dir" => path("volumes"),
        "cache_dir_size" => format!("5%,cache_dir={}", path("volumes")),
        "device_cache_size" => "10%".into(),
        "readahead_frames" => "2".into(),
        "scan_wait" => "30".into(),
        "device" => "cpu".into(),
        "exact" => "off".into(),
        "uid" => "12".into(),
        "gid" => "34".into(),
        "umask" => "027".into(),
        "watch" => "poll".into(),
        "watch_interval" | "settle" => "1".into(),
        "audit" => path("audit.jsonl"),
        "context" => "system_u:object_r:fusefs_t:s0".into(),
        "deid" => "off".into(),
        "deid_key" => {
            let key = path("key");
            let mut generate = Command::new(env!("CARGO_BIN_EXE_dicomfs"));
            let made = generate.args(["generate", "deid-key"]).arg(&key).status();
            assert!(made.expect("the program runs").success());
            format!("{key},deid=basic")
        }
        _ => return None,
    })
}

/// What an option changed can be seen.
fn check_effect(scene: &Scene, name: &str) {
    let config = fs::read(scene.path("mnt/.dicomfs/config.json")).expect("config.json");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let mount = scene.mountinfo().expect("a mount");
    match name {
        "index" => assert!(scene.path("index.sqlite").is_file()),
        "cache_dir" | "cache_dir_size" => assert!(scene.path("volumes").is_dir()),
        "decode_threads" => assert_eq!(config[name], 3),
        "cache_size" => assert_eq!(config["cache_size_bytes"], 64 << 20),
        "readahead_frames" => assert_eq!(config[name], 2),
        "scan_wait" => assert_eq!(config["scan_wait_s"], 30),
        "device" => assert_eq!(config[name], "cpu"),
        "exact" => assert_eq!(config[name], false),
        "uid" => assert_eq!(scene.stat().uid(), 12),
        "gid" => assert_eq!(scene.stat().gid(), 34),
        "umask" => assert_eq!(scene.stat().mode() & 0o777, 0o440),
        "allow_other" => assert!(mount.contains(",allow_other")),
        "default_permissions" => assert!(mount.contains(",default_permissions")),
        "noexec" => assert!(mount.contains(",noexec")),
        "exec" => assert!(!mount.contains(",noexec")),
        "watch" => assert_eq!(config[name], "Poll"),
        "watch_interval" => assert_eq!(config["watch_interval_s"], 1),
        "settle" => assert_eq!(config["settle_s"], 1),
        "device_cache_size" => assert_eq!(config[name], "10%"),
        "deid" => assert_eq!(config[name], "off"),
        "deid_key" => assert_eq!(config["deid"], "basic"),
        "audit" => {
            assert_eq!(config[name], true);
            let lines = fs::read_to_string(scene.path("audit.jsonl")).expect("audit.jsonl");
            assert!(lines.contains("volume.npy"), "{lines}");
        }
        // What it changes is in the kernel.
        "context" => {}
        // tests/log.rs has it.
        "log_level" => {}
        other => panic!("{other}: what does it change?"),
    }
}

#[test]
fn every_option_of_the_manual_mounts() {
    let Some(scene) = Scene::new("every_option_of_the_manual_mounts") else {
        return;
    };
    let may_all = dicomfs::mount::probe();
    let shown = own_options().into_iter().filter(|option| option.is_shown);
    for option in shown {
        let name = option.name.as_str();
        // Stays attached: tests/mount_lifecycle.rs has it.
        if name == "foreground" {
            continue;
        }
        if name == "allow_other" && !may_all.is_root && !may_all.user_allow_other {
            skip(
                name,
                "user_allow_other is not set",
                "DICOMFS_REQUIRE_INSTALL",
            );
            continue;
        }
        let value = example(&scene, name);
        if name == "context" && !Path::new("/sys/fs/selinux").exists() {
            let list = format!("context={}", value.expect("a label"));
            let said = scene.refusal(&["-o", &list], 32);
            assert!(said.contains("leave context out"), "{said}");
            continue;
        }
        let wanted = option.value_name.is_some();
        assert_eq!(value.is_some(), wanted, "{name}: see example()");
        scene.mount(&value.map_or_else(|| name.into(), |value| format!("{name}={value}")));
        if name == "deid_key" {
            // Under another name, which is what the option is for.
            let series = scene.path("mnt/series");
            let listed = || fs::read_dir(&series).is_ok_and(|entries| entries.count() == 1);
            wait_until("a series is there", listed);
            assert!(!series.join(&scene.series.uid).exists());
        } else if !["uid", "umask"].contains(&name) || may_all.is_root {
            scene.check();
        }
        check_effect(&scene, name);
        scene.unmount();
    }
}

#[test]
fn every_word_of_mount_8_mounts() {
    let Some(scene) = Scene::new("every_word_of_mount_8_mounts") else {
        return;
    };
    for generic in GENERIC {
        scene.mount(&format!("{},x-a=b,X-c,comment=d", generic.names.join(",")));
        scene.check();
        let mount = scene.mountinfo().expect("a mount");
        // Whatever was asked for.
        assert!(mount.contains(" ro,nosuid,nodev,noatime "), "{mount}");
        scene.unmount();
    }
}

#[test]
fn both_names_and_all_flags() {
    let Some(scene) = Scene::new("both_names_and_all_flags") else {
        return;
    };
    for name in ["mount.dicomfs", "mount.fuse.dicomfs"] {
        let fake = scene.call(name, &["-f", "-o", "ro"]);
        assert!(fake.status.success() && scene.mountinfo().is_none());
        let sloppy = ["-snv", "-t", "fuse.dicomfs", "-o", "rw,cheese=3,noexec"];
        let output = scene.call(name, &sloppy);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("`cheese` is left out"), "{said}");
        scene.check();
        scene.unmount();
    }
}

#[test]
fn a_namespace_is_mounted_in() {
    let Some(scene) = Scene::new("a_namespace_is_mounted_in") else {
        return;
    };
    let mut other = Command::new("unshare");
    other.args(["--mount", "--propagation", "private", "sleep", "600"]);
    let mut other = other.spawn().expect("unshare runs");
    let pid = other.id().to_string();
    let own = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    let theirs = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
    // Without rights it ends.
    let mut is_apart = || {
        let ended = other.try_wait().expect("wait").is_some();
        ended || fs::read_link(&theirs).is_ok_and(|theirs| theirs != own)
    };
    wait_until("another namespace", &mut is_apart);
    if other.try_wait().expect("wait").is_some() {
        skip(
            "a_namespace_is_mounted_in",
            "no namespaces here",
            "DICOMFS_REQUIRE_INSTALL",
        );
        return;
    }
    let output = scene.call("mount.dicomfs", &["-N", &pid, "-o", "ro"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(scene.mountinfo().is_none(), "not in this one");
    let there = Path::new("/proc").join(&pid).join("root");
    let there = there.join(
        scene
            .path("mnt/index.csv")
            .strip_prefix("/")
            .expect("absolute"),
    );
    assert!(
        fs::read_to_string(there)
            .expect("index.csv")
            .contains("2.25.81")
    );
    other.kill().expect("killed");
    other.wait().expect("waited for");
    for pid in common::processes_of(&scene.path("mnt")) {
        let _ = Command::new("kill").arg(pid.to_string()).status();
    }
    wait_until("its processes end", || {
        common::processes_of(&scene.path("mnt")).is_empty()
    });
}

#[test]
fn a_remount_changes_what_can_be_changed_and_names_the_rest() {
    let Some(scene) = Scene::new("a_remount_changes_what_can_be_changed_and_names_the_rest") else {
        return;
    };
    let volumes = scene.path("volumes").display().to_string();
    let options = format!("ro,cache_size=64M,cache_dir={volumes},uid=12");
    let none = scene.refusal(&["-o", "remount,ro"], 32);
    assert!(none.contains("mount it first"), "{none}");
    scene.mount(&options);
    // As mount(8) calls it: what the kernel shows, then what is new.
    let kernel = "ro,nosuid,nodev,noatime,remount,user_id=0,group_id=0,default_permissions,\
                  max_read=1048576";
    scene.mount(kernel);
    scene.mount(&format!("{options},remount,nofail"));
    if dicomfs::mount::probe().may_mount {
        scene.mount(&format!("{kernel},noexec"));
        assert!(scene.mountinfo().expect("a mount").contains(",noexec"));
        scene.mount(kernel);
        assert!(!scene.mountinfo().expect("a mount").contains(",noexec"));
    }
    let other = scene.path("other");
    fs::create_dir(&other).expect("mkdir");
    let other = Command::new(scene.path("mount.dicomfs"))
        .args([&other, &scene.path("mnt")])
        .args(["-o", "remount,ro"])
        .output()
        .expect("the helper runs");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("another archive is mounted"), "{said}");
    let changed = format!("{kernel},cache_size=65M,cache_dir={volumes},device=cpu");
    let said = scene.refusal(&["-o", &changed], 32);
    assert!(said.contains("not cache_size, device:"), "{said}");
    let said = scene.refusal(&["-o", "remount,cache_dir=/elsewhere"], 32);
    assert!(said.contains("not cache_dir:"), "{said}");
    let said = scene.refusal(&["-o", "remount,rw"], 32);
    assert!(said.contains("stays read-only"), "{said}");
    let said = scene.refusal(&["-o", "remount,cheese"], 1);
    assert!(said.contains("unknown option `cheese`"), "{said}");
    scene.check();
    let config = fs::read_to_string(scene.path("mnt/.dicomfs/config.json")).expect("config.json");
    assert!(!config.contains(&volumes), "a path may name a patient");
    scene.unmount();
    // Who has mounted with `defaults` may repeat it.
    scene.mount("rw");
    scene.mount("rw,remount,nofail");
    scene.unmount();
}

#[test]
fn an_archive_may_lie_deep() {
    let Some(scene) = Scene::new("an_archive_may_lie_deep") else {
        return;
    };
    // Longer than the kernel takes the source of a mount.
    let deep = scene.path(&["n".repeat(200), "m".repeat(200)].join("/"));
    scene.series.write(&deep).expect("written");
    let call = |options: &str| {
        let output = Command::new(scene.path("mount.dicomfs"))
            .args([&deep, &scene.path("mnt")])
            .args(["-o", options])
            .env("XDG_CACHE_HOME", scene.path("cache-home"))
            .output()
            .expect("the helper runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options}: {said}");
    };
    call("ro");
    scene.check();
    call("ro,remount");
    scene.unmount();
}

#[test]
fn refusals_are_one_line_with_their_status() {
    let Some(scene) = Scene::new("refusals_are_one_line_with_their_status") else {
        return;
    };
    let within = format!("index={}", scene.path("archive/index").display());
    let cases: [(&[&str], i32, &str); 6] = [
        (&["-o", &within], 32, "which is never written to"),
        (&["-o", "cache_siez=1G"], 1, "did you mean `cache_size`?"),
        (&["-o", "umask=9"], 1, "write an octal number"),
        (&["-q"], 1, "usage: mount.dicomfs ARCHIVE"),
        (&["third"], 1, "usage: mount.dicomfs ARCHIVE"),
        (&["-N", "/no/such/namespace"], 32, "/no/such/namespace"),
    ];
    for (args, status, words) in cases {
        let said = scene.refusal(args, status);
        assert!(said.contains(words), "{said}");
    }
    fs::remove_dir(scene.path("mnt")).expect("rmdir");
    assert!(scene.refusal(&[], 32).contains("mkdir -p"));
}
