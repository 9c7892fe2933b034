//! A mount that is asked to look at its archive anew: by command and by signal.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Mount, can_mount, program, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;

fn ct(uid: &str) -> Series {
    Series::ct(uid, uids::EXPLICIT_VR_LITTLE_ENDIAN, [5, 32, 32])
}

fn stats(mount: &Mount) -> serde_json::Value {
    let text = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn is_shown(mount: &Mount, uid: &str) -> bool {
    mount.series(uid).join("volume.npy").exists()
}

fn rescan(place: &Path) -> Output {
    program()
        .arg("rescan")
        .arg(place)
        .output()
        .expect("dicomfs runs")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_rescan_waits_until_what_is_new_is_shown_and_says_what_it_is() {
    if !can_mount("a_rescan_waits_until_what_is_new_is_shown_and_says_what_it_is") {
        return;
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    let [kept, changing, going, new] = ["2.25.901", "2.25.902", "2.25.903", "2.25.904"].map(ct);
    for series in [&kept, &changing, &going] {
        series
            .write(&archive.path().join(&series.uid))
            .expect("written");
    }
    let mount = Mount::of(archive.path(), &["-o", "watch=off,settle=1"]);
    assert_eq!(stats(&mount)["watch"]["state"], "off");
    // In place, so that no directory's times tell of it.
    let mut changed = changing.clone();
    changed
        .stored
        .iter_mut()
        .for_each(|value| *value = value.wrapping_add(1));
    changed
        .write(&archive.path().join(&changed.uid))
        .expect("written");
    fs::remove_dir_all(archive.path().join(&going.uid)).expect("removed");
    new.write(&archive.path().join(&new.uid)).expect("written");
    assert_eq!(stats(&mount)["scan"]["series"], 3);
    let output = rescan(&mount.root);
    let (out, err) = said(&output);
    assert_eq!(out, "3 series: 1 new, 1 changed, 1 gone\n", "{err}");
    assert!(output.status.success() && err.is_empty(), "{err}");
    assert!(is_shown(&mount, &new.uid));
    wait_until("the old one is gone", || !is_shown(&mount, &going.uid));
    let path = mount.series(&changed.uid).join("volume.npy");
    let slab = common::expected_slab(&changed);
    wait_until("the kernel knows", || {
        fs::read(&path).is_ok_and(|bytes| bytes[4096..] == slab[..])
    });
    let output = rescan(&mount.root);
    assert_eq!(said(&output).0, "3 series: 0 new, 0 changed, 0 gone\n");
    assert_eq!(stats(&mount)["watch"]["rescans_done"], 2);
}

#[test]
fn sighup_is_a_wish_for_a_rescan_and_reaches_the_worker() {
    if !can_mount("sighup_is_a_wish_for_a_rescan_and_reaches_the_worker") {
        return;
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    ct("2.25.911")
        .write(&archive.path().join("a"))
        .expect("written");
    let mount = Mount::of(archive.path(), &["-o", "watch=off,settle=0"]);
    let (supervisor, worker) = (mount.supervisor(), mount.worker());
    for (n, (pid, uid)) in [(supervisor, "2.25.912"), (worker, "2.25.913")]
        .into_iter()
        .enumerate()
    {
        ct(uid).write(&archive.path().join(uid)).expect("written");
        let pid = pid.expect("it runs").to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill").success());
        wait_until("it is shown", || is_shown(&mount, uid));
        wait_until("it is done", || {
            stats(&mount)["watch"]["rescans_done"] == n + 1
        });
    }
    assert_eq!((mount.supervisor(), mount.worker()), (supervisor, worker));
    assert!(mount.is_mounted());
}

#[test]
fn what_is_no_mount_is_said_to_be_none() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let absent = place.path().join("absent");
    for place in [place.path(), &absent] {
        let output = rescan(place);
        assert_eq!(output.status.code(), Some(32));
        let (_, err) = said(&output);
        assert!(err.contains("is no mount of dicomfs"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn only_who_mounted_may_ask() {
    if !can_mount("only_who_mounted_may_ask") {
        return;
    }
    let nobody = |program: &Path| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ]);
        command.arg(program);
        command
    };
    if !nobody(Path::new("true"))
        .status()
        .is_ok_and(|status| status.success())
    {
        common::skip(
            "only_who_mounted_may_ask",
            "it takes root and setpriv",
            "DICOMFS_REQUIRE_ROOT",
        );
        return;
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    ct("2.25.921")
        .write(&archive.path().join("a"))
        .expect("written");
    // Where others may enter: neither the program's directory nor ours need be such a place.
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opened");
    };
    let bin = tempfile::tempdir().expect("a temporary directory");
    open(bin.path());
    let copy = bin.path().join("dicomfs");
    fs::copy(env!("CARGO_BIN_EXE_dicomfs"), &copy).expect("copied");
    for (options, words) in [
        ("watch=off,allow_other", "only the user who mounted"),
        ("watch=off", "only the user who mounted"),
    ] {
        let mount = Mount::of(archive.path(), &["-o", options]);
        open(mount.dir.path());
        let output = nobody(&copy).arg("rescan").arg(&mount.root).output();
        let output = output.expect("it runs");
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(32), "{err}");
        assert!(err.contains(words), "{err}");
        assert_eq!(stats(&mount)["watch"]["rescans_asked"], 0);
    }
}
