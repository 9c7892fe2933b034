//! Where nothing can be written, and where something can be written again.

use super::*;

#[test]
fn where_nothing_can_be_written_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    store(&options, &[1]);
    let reader = cache(&options);
    // The writer's directory is taken away; what was there can be read where it is now.
    let moved = dir.path().with_extension("moved");
    fs::rename(dir.path(), &moved).unwrap();
    make_all(&reader, 2);
    wait_for("the writer gives up", || !stats(&reader).is_writing);
    fs::rename(&moved, dir.path()).unwrap();
    assert_eq!(make_all(&reader, 1), FRAMES);
    assert_eq!(make_all(&reader, 3), 0);
    assert_eq!(stats(&reader).stored, 0);
}

#[test]
fn a_full_file_system_switches_writing_off() {
    let Some(full) = SmallFs::new(64 << 10) else {
        eprintln!("SKIPPED a_full_file_system_switches_writing_off: cannot mount a tmpfs");
        return;
    };
    let reader = cache(&options(full.0.path()));
    for n in 1..=3 {
        make_all(&reader, n);
    }
    wait_for("the writer gives up", || !stats(&reader).is_writing);
    assert_eq!(stats(&reader).stored, 1);
    assert!(
        names(full.0.path(), ".part").is_empty(),
        "nothing is left behind"
    );
    drop(reader);
    assert_eq!(make_all(&cache(&options(full.0.path())), 1), FRAMES);
}

#[test]
fn writing_goes_on_when_there_is_room_again() {
    let Some(full) = SmallFs::new(64 << 10) else {
        eprintln!("SKIPPED writing_goes_on_when_there_is_room_again: cannot mount a tmpfs");
        return;
    };
    let others = full.0.path().join("of others");
    fs::write(&others, vec![0; 40 << 10]).unwrap();
    let pause = Duration::from_secs(2);
    let disk = Disk::with_pause(&options(full.0.path()), pause).unwrap();
    let cache = Cache::new(1 << 30, 100).unwrap().with_disk(disk);
    make_all(&cache, 1);
    wait_for("the writer gives up", || !stats(&cache).is_writing);
    fs::remove_file(others).unwrap();
    wait_for("the pause is over", || stats(&cache).is_writing);
    make_all(&cache, 2);
    wait_for("an entry is written", || stats(&cache).stored == 1);
}

/// A file system of a few KiB, in memory.
struct SmallFs(TempDir);

impl SmallFs {
    fn new(size_bytes: u64) -> Option<SmallFs> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "none"])
            .arg(dir.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallFs(dir))
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}
