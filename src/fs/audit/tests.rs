//! The audit file by itself: lines, rotation, a queue that is full, a disk that is.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value as Json;

use super::*;

fn caller() -> Caller {
    Caller {
        uid: 7,
        gid: 8,
        thread: std::process::id(),
    }
}

fn target(kind: &'static str) -> Target<'static> {
    Target {
        series: "1.2.3",
        volume: "1.2.3_e2",
        kind,
        file: "volume.npy",
    }
}

fn lines(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_says_who_and_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    audit.opened(caller(), target("array"));
    let thread = thread::spawn(|| std::fs::read_to_string("/proc/thread-self/stat").unwrap());
    let stat = thread.join().unwrap();
    assert!(!stat.is_empty());
    audit.finish();
    let lines = lines(&path);
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(
        (&line["uid"], &line["gid"]),
        (&Json::from(7), &Json::from(8))
    );
    assert_eq!(line["pid"], std::process::id());
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(line["program"], comm.trim_end());
    assert_eq!(line["series"], "1.2.3");
    assert_eq!(line["volume"], "1.2.3_e2");
    assert_eq!(
        (&line["kind"], &line["file"]),
        (&"array".into(), &"volume.npy".into())
    );
    let time = line["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 24, "{time}");
    // Opened again, it is appended to.
    drop(audit);
    let audit = Audit::open(&path).unwrap();
    audit.opened(caller(), target("dicom"));
    audit.finish();
    assert_eq!(self::lines(&path).len(), 2);
    assert_eq!(audit.counters().lines.load(Ordering::Relaxed), 1);
}

#[test]
fn a_thread_is_told_as_its_process() {
    let (send, receive) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        let id: u32 = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
        send.send(id).unwrap();
        stopped.recv().unwrap_err();
    });
    let id = receive.recv().unwrap();
    assert_ne!(id, std::process::id());
    let (pid, name) = process_of(id);
    assert_eq!(pid, std::process::id());
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(name, comm.trim_end());
    drop(stop);
    thread.join().unwrap();
    assert_eq!(process_of(0), (0, String::new()));
}

#[test]
fn a_zarr_array_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open(&path).unwrap();
    for _ in 0..100 {
        audit.opened(caller(), target("zarr"));
        audit.opened(caller(), target("frame"));
    }
    audit.finish();
    let lines = lines(&path);
    let of = |kind| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!((of("zarr"), of("frame")), (1, 100));
}

#[test]
fn rotation_makes_a_new_file_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open(&path).unwrap();
    for round in 0..5 {
        for _ in 0..10 {
            audit.opened(caller(), target("array"));
        }
        audit.finish();
        assert_eq!(lines(&path).len(), 10);
        std::fs::rename(&path, dir.path().join(format!("audit.{round}"))).unwrap();
    }
    // Removed is like renamed away.
    audit.opened(caller(), target("array"));
    audit.finish();
    assert_eq!(lines(&path).len(), 1);
    std::fs::remove_file(&path).unwrap();
    audit.opened(caller(), target("array"));
    audit.finish();
    assert_eq!(lines(&path).len(), 1);
    for round in 0..5 {
        assert_eq!(lines(&dir.path().join(format!("audit.{round}"))).len(), 10);
    }
}

#[test]
fn a_full_queue_is_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::with_queue(&path, 1).unwrap();
    const OPENS: u64 = 20_000;
    for _ in 0..OPENS {
        audit.send(b"{}\n".to_vec());
    }
    audit.finish();
    let lines = lines(&path);
    let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    let told = lines.iter().filter(|line| line["lost"].is_null()).count() as u64;
    assert_eq!(lost, audit.counters().lost.load(Ordering::Relaxed));
    assert_eq!(told + lost, OPENS);
}

#[test]
fn what_cannot_be_written_is_counted() {
    // A device that is always full.
    let full = Path::new("/dev/full");
    assert!(Audit::open(full).is_err(), "no regular file");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone").join("audit.jsonl");
    assert!(Audit::open(&path).is_err());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let audit = Audit::open(&path).unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    audit.opened(caller(), target("array"));
    audit.opened(caller(), target("array"));
    audit.finish();
    assert!(audit.counters().failures.load(Ordering::Relaxed) >= 2);
    assert_eq!(audit.counters().lost.load(Ordering::Relaxed), 2);
    // It is tried again.
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    audit.opened(caller(), target("array"));
    audit.finish();
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["kind"], &lines[1]["lost"]),
        (&"array".into(), &2.into())
    );
}
