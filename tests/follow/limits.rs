//! The limits of inotify, met for real: a queue that overflows, and more directories than may be
//! watched.

use super::*;

use std::process::Stdio;

#[test]
fn a_queue_that_overflows_costs_a_look_and_no_change() {
    if !can_mount("a_queue_that_overflows_costs_a_look_and_no_change") {
        return;
    }
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a limit");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 65_536 {
        common::skip(
            "a_queue_that_overflows_costs_a_look_and_no_change",
            "the queue of inotify is too long to be filled soon",
            "DICOMFS_REQUIRE_INSTALL",
        );
        return;
    }
    let archive = home();
    let all = ["2.25.881", "2.25.882"].map(ct);
    all[0].write(&archive.path().join("a")).expect("written");
    let noisy = archive.path().join("noisy");
    fs::create_dir(&noisy).expect("made");
    let mount = Mount::of(archive.path(), &["--settle", "1"]);
    wait_for_watch(&mount);
    let signal = |name: &str| {
        let worker = mount.worker().expect("it serves").to_string();
        let sent = Command::new("kill").args([name, &worker]).status();
        assert!(sent.expect("kill").success());
    };
    // Nobody reads the queue while it fills: made, opened and closed are three events a file.
    signal("-STOP");
    for n in 0..=limit / 3 {
        File::create(noisy.join(n.to_string())).expect("made");
    }
    all[1].write(&archive.path().join("b")).expect("written");
    signal("-CONT");
    wait_until("it is shown", || is_shown(&mount, &all[1].uid));
    for series in &all {
        state_of(&mount, &series.uid, std::slice::from_ref(series));
    }
    wait_until("it is told", || {
        stats(&mount)["watch"]["overflows"].as_u64() >= Some(1)
    });
    assert_eq!(stats(&mount)["watch"]["state"], "inotify");
}

#[test]
fn more_directories_than_may_be_watched_are_looked_at_instead() {
    let test = "more_directories_than_may_be_watched_are_looked_at_instead";
    if !can_mount(test) {
        return;
    }
    // A user namespace has limits of its own.
    let lower = "echo 3 > /proc/sys/user/max_inotify_watches";
    let namespaces = [
        "--user",
        "--map-root-user",
        "--mount",
        "--propagation",
        "private",
    ];
    let mut unshare = Command::new("unshare");
    let tried = unshare.args(namespaces).args(["sh", "-c", lower]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        common::skip(
            test,
            "no limits of one's own here",
            "DICOMFS_REQUIRE_INSTALL",
        );
        return;
    }
    let (archive, place) = (home(), home());
    let all: Vec<Series> = (0..5).map(|n| ct(&format!("2.25.89{n}"))).collect();
    for series in &all[..4] {
        let to = archive.path().join(&series.uid);
        series.write(&to).expect("written");
    }
    let root = place.path().join("mnt");
    fs::create_dir(&root).expect("made");
    let mut child = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", &format!("{lower}; exec \"$0\" \"$@\"")])
        .args([env!("CARGO_BIN_EXE_dicomfs"), "mount", "-f"])
        .args(["-o", "settle=1,watch_interval=1", "--index"])
        .args([&place.path().join("index"), archive.path(), &root])
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let seen = PathBuf::from(format!("/proc/{}/root", child.id()));
    let seen = seen.join(root.strip_prefix("/").expect("absolute"));
    let volume = |series: &Series| seen.join("series").join(&series.uid).join("volume.npy");
    wait_until("it is mounted", || volume(&all[0]).exists());
    let watch = || {
        let text = fs::read(seen.join(".dicomfs/stats.json")).expect("stats.json");
        let stats: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        stats["watch"]["state"].clone()
    };
    wait_until("it is looked at", || watch() == "polling");
    let to = archive.path().join(&all[4].uid);
    all[4].write(&to).expect("written");
    wait_until("what is new is shown", || volume(&all[4]).exists());
    for series in &all {
        let bytes = fs::read(volume(series)).expect("volume.npy");
        assert!(bytes[4096..] == expected_slab(series)[..]);
    }
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.expect("kill").success());
    let mut said = String::new();
    let mut pipe = child.stderr.take().expect("piped");
    pipe.read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("an end").success(), "{said}");
    assert!(
        said.contains("looked at every 1 s: a limit of inotify"),
        "{said}"
    );
}
