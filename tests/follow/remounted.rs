//! An archive on a disk of its own, which is unmounted and mounted again below a live mount.

use super::*;

/// A file system that a test mounts, taken away with it.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn mount(&self) {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "disk"])
            .arg(self.0)
            .status();
        assert!(mounted.expect("mount runs").success());
    }

    fn unmount(&self) {
        wait_until("the disk is not busy", || {
            let umount = Command::new("umount").arg(self.0).output();
            umount.expect("umount runs").status.success()
        });
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn an_archive_whose_disk_goes_and_comes_is_followed_on() {
    let test = "an_archive_whose_disk_goes_and_comes_is_followed_on";
    if !can_mount(test) {
        return;
    }
    if !dicomfs::mount::probe().may_mount {
        common::skip(
            test,
            "it takes root to mount a disk",
            "DICOMFS_REQUIRE_INSTALL",
        );
        return;
    }
    let archive = home();
    let disk = Disk(archive.path());
    let all = ["2.25.871", "2.25.872", "2.25.873"].map(ct);
    let write = |series: &Series| {
        let to = archive.path().join(&series.uid);
        series.write(&to).expect("written");
    };
    // As administrators do.
    fs::write(archive.path().join("NOT_MOUNTED"), "the disk is not here").expect("written");
    disk.mount();
    write(&all[0]);
    let mount = Mount::of(archive.path(), &["-o", "settle=1,watch_interval=1"]);
    wait_for_watch(&mount);
    state_of(&mount, &all[0].uid, &all[..1]);

    disk.unmount();
    // Nothing is there now: that is no reason to forget what was.
    wait_until("it says so", || stats(&mount)["scan"]["state"] == "failed");
    assert!(is_shown(&mount, &all[0].uid));
    assert_eq!(stats(&mount)["scan"]["series"], 1);

    disk.mount();
    write(&all[0]);
    write(&all[1]);
    wait_until("what is new is shown", || is_shown(&mount, &all[1].uid));
    for series in &all[..2] {
        state_of(&mount, &series.uid, std::slice::from_ref(series));
    }
    // And the new disk is watched.
    let watch = stats(&mount)["watch"].clone();
    assert_eq!(watch["state"], "inotify");
    write(&all[2]);
    wait_until("what comes later is shown", || {
        is_shown(&mount, &all[2].uid)
    });

    // A disk that is mounted within the archive is a change as any other.
    let inner = archive.path().join("ward");
    fs::create_dir(&inner).expect("made");
    wait_until("the directory is known", || {
        stats(&mount)["watch"]["directories"] == 5
    });
    let inner = Disk(&inner);
    inner.mount();
    let late = ct("2.25.874");
    late.write(&inner.0.join("a")).expect("written");
    wait_until("what the inner disk has is shown", || {
        is_shown(&mount, &late.uid)
    });
    inner.unmount();
    wait_until("it goes with the disk", || !is_shown(&mount, &late.uid));
}
