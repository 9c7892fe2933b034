//! Scans of some directories only, and what waits until it has settled.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use crate::archive::scan::run_with;

/// An archive that is scanned again and again.
struct Followed {
    dir: TempDir,
    _home: TempDir,
    index: Index,
    arrivals: Arrivals,
    changed: Vec<String>,
    gone: Vec<String>,
    left: Vec<String>,
    is_linked: bool,
}

impl Followed {
    fn new(rule: Option<Settle>) -> Followed {
        let home = tempfile::tempdir().expect("a directory");
        let mut followed = Followed {
            dir: tempfile::tempdir().expect("a directory"),
            index: index_in(&home),
            _home: home,
            arrivals: Arrivals::new(rule),
            changed: Vec::new(),
            gone: Vec::new(),
            left: Vec::new(),
            is_linked: false,
        };
        followed.scan(&Extent::ByTimes);
        followed
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn scan(&mut self, extent: &Extent) -> Counts {
        clock_moves();
        let left = RefCell::new(Vec::new());
        (self.changed, self.gone) = (Vec::new(), Vec::new());
        let follow = Follow {
            extent,
            arrivals: &mut self.arrivals,
            leaving: &|series| left.borrow_mut().extend_from_slice(series),
        };
        let mut settled = |changed: &[String], gone: &[String]| {
            self.changed.extend_from_slice(changed);
            self.gone.extend_from_slice(gone);
        };
        let root = self.dir.path();
        let scanned = run_with(root, &trusting(), &self.index, follow, &(), &mut settled);
        let scanned = scanned.expect("scanned");
        self.left = left.into_inner();
        self.is_linked = scanned.is_linked;
        scanned.counts
    }

    /// Scans these directories.
    fn look(&mut self, paths: &[&str]) -> Counts {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec());
        self.scan(&Extent::Directories(paths.collect()))
    }

    fn shown(&self) -> Catalog {
        let shelf = self.index.bind(self.dir.path()).expect("bound");
        Catalog {
            root: self.dir.path().to_owned(),
            records: shelf.all_records().expect("readable"),
            findings: shelf.findings().expect("readable"),
            counts: shelf.counts().expect("readable"),
        }
    }

    /// What is known is what a first scan finds.
    fn check(&self) {
        let mut fresh = scan_with(self.dir.path(), None);
        fresh.counts.from_index = 0;
        assert_eq!(self.shown(), fresh);
    }
}

const RULE: Settle = Settle {
    after: Duration::from_millis(200),
    clock_slack: Duration::ZERO,
};

#[test]
fn only_what_is_named_is_looked_at_and_what_is_new_below_it() {
    let mut followed = Followed::new(None);
    followed.write("p1/a/1", &of_series("1.2.3.1", 1));
    followed.write("p1/b/1", &of_series("1.2.3.2", 1));
    followed.write("p2/c/1", &of_series("1.2.3.3", 1));
    followed.write("note", b"not an image");
    assert_eq!(followed.look(&[""]).dicom, 3);
    assert_eq!(followed.changed.len(), 3);
    followed.check();
    // In place: found where it is named, and nowhere else.
    followed.write("p1/a/1", &of_series("1.2.3.1", 2));
    followed.write("p2/c/1", &of_series("1.2.3.3", 2));
    followed.look(&["p1/a"]);
    assert_eq!(
        (&*followed.changed, &*followed.left),
        (&["1.2.3.1".to_owned()][..], &["1.2.3.1".to_owned()][..])
    );
    // The nearest one that is known, for one that is not.
    followed.write("p1/new/deep/1", &of_series("1.2.3.4", 1));
    followed.write("p2/c/2", &of_series("1.2.3.3", 3));
    let counts = followed.look(&["p1/new/deep", "p2/c"]);
    assert_eq!((counts.dicom, counts.files), (5, 6));
    assert_eq!(followed.changed, ["1.2.3.3", "1.2.3.4"]);
    followed.check();
    assert_eq!(followed.look(&["p1", "p2", ""]).dicom, 5);
    assert!(followed.changed.is_empty() && followed.gone.is_empty());
}

/// As if they had been unpacked together: of one size and one time.
#[test]
fn files_that_change_names_with_each_other_are_told_apart() {
    let mut followed = Followed::new(None);
    for (name, number) in [("a/1", 1), ("a/2", 2)] {
        followed.write(name, &of_series("1.2.3.1", number));
        let file = fs::File::options().write(true).open(followed.at(name));
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.and_then(|file| file.set_modified(time)).expect("set");
    }
    followed.look(&[""]);
    let before = followed.shown().records;
    let (one, two, aside) = (followed.at("a/1"), followed.at("a/2"), followed.at("a/x"));
    for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
        fs::rename(from, to).expect("renamed");
    }
    let source = Source::new(followed.dir.path());
    for record in &before {
        let error = source.open(record).expect_err("another file");
        assert!(matches!(error, Error::Changed { .. }), "{error}");
    }
    followed.look(&["a"]);
    assert_eq!(followed.changed, ["1.2.3.1"]);
    followed.check();
    let after = followed.shown().records;
    assert!(after.len() == 2 && after != before);
    assert!(after.iter().all(|record| source.open(record).is_ok()));
}

#[test]
fn directories_that_go_come_and_move_are_noticed_above_them() {
    let mut followed = Followed::new(None);
    for n in 1..=4 {
        followed.write(&format!("p/{n}/x"), &of_series(&format!("1.2.3.{n}"), 1));
    }
    followed.look(&[""]);
    fs::remove_dir_all(followed.at("p/1")).expect("removed");
    fs::rename(followed.at("p/2"), followed.at("p/9")).expect("moved");
    // Another takes its place.
    fs::remove_dir_all(followed.at("p/3")).expect("removed");
    followed.write("p/3/other/y", &of_series("1.2.3.5", 1));
    followed.look(&["p"]);
    assert_eq!(followed.gone, ["1.2.3.1", "1.2.3.3"]);
    assert_eq!(followed.changed, ["1.2.3.2", "1.2.3.5"]);
    followed.check();
    // By their own names alone.
    fs::remove_dir_all(followed.at("p/9")).expect("removed");
    assert_eq!(followed.look(&["p/9"]).dicom, 2);
    assert_eq!(followed.gone, ["1.2.3.2"]);
    followed.look(&["p"]);
    followed.check();
}

/// A file system whose server is gone: whatever is asked of it is ENOTCONN.
struct Dead(std::path::PathBuf);

impl Dead {
    fn over(dir: std::path::PathBuf) -> Option<Dead> {
        // The connection ends with the shell, which alone has it.
        let script = "exec 3<>/dev/fuse && exec mount -i -t fuse \
                      -o fd=3,rootmode=40000,user_id=0,group_id=0 dead \"$0\"";
        let mounted = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(&dir)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Dead(dir));
        }
        let is_required = std::env::var_os("DICOMFS_REQUIRE_FUSE").is_some();
        assert!(!is_required, "no FUSE mount can be made");
        println!("left out: no FUSE mount can be made");
        None
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn what_is_out_of_reach_is_not_gone() {
    let mut followed = Followed::new(None);
    followed.write("p1/a/1", &of_series("1.2.3.1", 1));
    followed.write("p2/c/1", &of_series("1.2.3.2", 1));
    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::create_dir(elsewhere.path().join("d")).expect("made");
    fs::write(elsewhere.path().join("d/1"), of_series("1.2.3.3", 1)).expect("written");
    symlink(elsewhere.path(), followed.at("p3")).expect("linked");
    assert_eq!(followed.scan(&Extent::ByTimes).dicom, 3);
    let before = followed.shown().records;
    let of_link = elsewhere.path().to_owned();
    let (Some(dead), Some(dead_link)) = (Dead::over(followed.at("p1")), Dead::over(of_link)) else {
        return;
    };
    let both = ["p1", "p1/a"].map(|path| path.as_bytes().to_vec());
    for extent in [
        Extent::ByTimes,
        Extent::Everything,
        Extent::Directories(both.into()),
    ] {
        let counts = followed.scan(&extent);
        assert_eq!(counts.dicom, 3, "{extent:?}");
        assert!(counts.unreadable > 0, "{extent:?}");
        assert!(
            followed.changed.is_empty() && followed.gone.is_empty(),
            "{extent:?}"
        );
        let shown = followed.shown();
        assert_eq!(shown.records, before, "{extent:?}");
        assert!(codes(&shown).contains(&("p1", "unreadable")), "{extent:?}");
    }
    drop((dead, dead_link));
    assert_eq!(followed.scan(&Extent::ByTimes).unreadable, 0);
    followed.check();
    fs::remove_file(followed.at("p1/a/1")).expect("removed");
    followed.scan(&Extent::ByTimes);
    assert_eq!(followed.gone, ["1.2.3.1"]);
}

#[test]
fn links_are_known_to_be_there() {
    let mut followed = Followed::new(None);
    followed.write("a/1", &of_series("1.2.3.1", 1));
    followed.look(&[""]);
    assert!(!followed.is_linked);
    symlink("a", followed.at("b")).expect("linked");
    assert_eq!(followed.look(&[""]).dicom, 1);
    assert!(followed.is_linked);
    followed.scan(&Extent::ByTimes);
    assert!(followed.is_linked);
    followed.check();
}

#[test]
fn findings_elsewhere_stay() {
    let mut followed = Followed::new(None);
    followed.write("a/bad", &image(1)[..150]);
    symlink(".", followed.at("loop")).expect("linked");
    followed.scan(&Extent::ByTimes);
    followed.check();
    followed.write("b/1", &of_series("1.2.3.1", 1));
    fs::remove_file(followed.at("loop")).expect("removed");
    followed.look(&[""]);
    followed.check();
    followed.write("a/2", &of_series("1.2.3.1", 2));
    followed.look(&["a"]);
    followed.check();
}

#[test]
fn everything_is_looked_at_where_times_tell_nothing() {
    let mut followed = Followed::new(None);
    followed.write("a/1", &of_series("1.2.3.1", 1));
    followed.write("b/1", &of_series("1.2.3.2", 1));
    followed.scan(&Extent::ByTimes);
    followed.write("b/1", &of_series("1.2.3.2", 2));
    followed.scan(&Extent::ByTimes);
    assert!(followed.changed.is_empty());
    assert_eq!(followed.scan(&Extent::Everything).from_index, 1);
    assert_eq!(followed.changed, ["1.2.3.2"]);
    followed.check();
}

/// Waits until everything has settled.
fn settle(followed: &mut Followed) {
    let (mut changed, mut gone) = (BTreeSet::new(), BTreeSet::new());
    while let Some(due) = followed.arrivals.due() {
        let left = due.saturating_duration_since(std::time::Instant::now());
        std::thread::sleep(left);
        let now = std::time::Instant::now();
        let directories = followed.arrivals.due_directories(now);
        followed.scan(&Extent::Directories(directories));
        changed.extend(followed.changed.drain(..));
        gone.extend(followed.gone.drain(..));
    }
    followed.changed = changed.into_iter().collect();
    followed.gone = gone.into_iter().collect();
}

#[test]
fn what_arrives_in_several_directories_is_told_when_all_of_it_is_there() {
    let mut followed = Followed::new(Some(RULE));
    followed.write("a/1", &of_series("1.2.3.1", 1));
    std::thread::sleep(RULE.after);
    followed.write("b/1", &of_series("1.2.3.1", 2));
    followed.write("b/other", &of_series("1.2.3.2", 2));
    followed.look(&[""]);
    // A part of it is in the index by now.
    assert!(followed.changed.is_empty(), "{:?}", followed.changed);
    assert_eq!(followed.arrivals.series_count(), 2);
    assert_eq!(
        followed.arrivals.untold(),
        &BTreeSet::from(["1.2.3.1".to_owned()])
    );
    settle(&mut followed);
    assert_eq!(followed.changed, ["1.2.3.1", "1.2.3.2"]);
    followed.check();
}

#[test]
fn what_the_index_has_stays_until_the_new_has_settled() {
    let mut followed = Followed::new(None);
    followed.write("a/1", &of_series("1.2.3.1", 1));
    followed.write("a/2", &of_series("1.2.3.1", 2));
    followed.write("a/3", &of_series("1.2.3.2", 3));
    followed.look(&[""]);
    let before = followed.shown();
    followed.arrivals.set_rule(Some(RULE));
    // One more, one changed, one of another series by now, and one gone; and one half written.
    followed.write("a/4", &of_series("1.2.3.1", 4));
    followed.write("a/2", &of_series("1.2.3.1", 5));
    followed.write("a/3", &of_series("1.2.3.1", 6));
    fs::remove_file(followed.at("a/1")).expect("removed");
    followed.write("a/5", &of_series("1.2.3.1", 7)[..150]);
    followed.look(&["a"]);
    assert_eq!(followed.shown().records, before.records);
    assert!(followed.changed.is_empty() && followed.left.is_empty());
    // Again with nothing new: nothing changes.
    followed.look(&["a"]);
    assert_eq!(followed.shown().records, before.records);
    settle(&mut followed);
    assert_eq!(paths(&followed.shown()), ["a/2", "a/3", "a/4"]);
    assert_eq!(
        (&*followed.changed, &*followed.gone),
        (&["1.2.3.1".to_owned()][..], &["1.2.3.2".to_owned()][..])
    );
    followed.check();
}

#[test]
fn what_came_and_went_leaves_no_trace() {
    let mut followed = Followed::new(Some(RULE));
    followed.write("a/1", &of_series("1.2.3.1", 1));
    followed.look(&[""]);
    assert_eq!(followed.arrivals.series_count(), 1);
    fs::remove_dir_all(followed.at("a")).expect("removed");
    followed.look(&[""]);
    assert_eq!(
        (followed.arrivals.series_count(), followed.arrivals.due()),
        (0, None)
    );
    assert!(followed.shown().records.is_empty());
    followed.check();
}

/// Small numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % end
    }

    /// A directory one to three deep.
    fn directory(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names: Vec<&str> = (0..depth).map(|_| ["a", "b", "c"][self.below(3)]).collect();
        names.join("/")
    }
}

fn parent_of(path: &str) -> String {
    path.rsplit_once('/')
        .map_or("", |(parent, _)| parent)
        .to_owned()
}

#[test]
fn whatever_happens_the_places_it_happened_in_are_enough() {
    for seed in 1..=2 {
        let mut dice = Dice(seed);
        let mut followed = Followed::new(None);
        for step in 0..30 {
            let mut touched = BTreeSet::new();
            for _ in 0..=dice.below(4) {
                let directory = dice.directory();
                let file = format!("{directory}/{}", dice.below(3));
                match dice.below(6) {
                    0 if fs::remove_dir_all(followed.at(&directory)).is_ok() => {
                        touched.insert(parent_of(&directory));
                    }
                    1 if fs::remove_file(followed.at(&file)).is_ok() => {
                        touched.insert(directory);
                    }
                    2 => {
                        let to = dice.directory();
                        if fs::rename(followed.at(&directory), followed.at(&to)).is_ok() {
                            touched.extend([parent_of(&directory), parent_of(&to)]);
                        }
                    }
                    _ => {
                        let series = format!("1.2.3.{}", 1 + dice.below(4));
                        followed.write(&file, &of_series(&series, step));
                        touched.insert(directory);
                    }
                }
            }
            let paths: Vec<&str> = touched.iter().map(String::as_str).collect();
            followed.look(&paths);
            followed.check();
            let known: BTreeSet<String> = followed.shown().records.iter().map(series_of).collect();
            assert!(
                followed.changed.iter().all(|series| known.contains(series)),
                "{seed} {step}"
            );
            assert!(
                !followed.gone.iter().any(|series| known.contains(series)),
                "{seed} {step}"
            );
        }
    }
}

fn series_of(record: &std::sync::Arc<Record>) -> String {
    record.instance.series_instance_uid.clone()
}

#[test]
fn a_container_that_is_written_to_is_looked_into_again() {
    let tar = |numbers: std::ops::Range<u16>| {
        let mut bytes = Vec::new();
        for number in numbers {
            let file = of_series("1.2.3.1", number);
            let mut header = [0_u8; 512];
            let name = format!("{number}");
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", file.len()).as_bytes());
            header[136..148].copy_from_slice(b"00000000000\0");
            header[148..156].copy_from_slice(b"        ");
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend(header);
            bytes.extend(&file);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    };
    let mut followed = Followed::new(None);
    followed.write("p/all.tar", &tar(1..3));
    followed.write("q/other.tar", &tar(7..8));
    assert_eq!(followed.look(&[""]).dicom, 3);
    followed.check();
    // In place: nothing of its directory changes.
    followed.write("p/all.tar", &tar(1..5));
    assert_eq!(followed.look(&["p"]).dicom, 5);
    assert_eq!(followed.changed, ["1.2.3.1"]);
    followed.check();
    // It becomes a file as any other, and goes.
    followed.write("p/all.tar", b"no tar file");
    fs::remove_file(followed.at("q/other.tar")).expect("removed");
    assert_eq!(followed.look(&["p", "q"]).dicom, 0);
    followed.check();
    // What is still being written to waits.
    followed.arrivals.set_rule(Some(RULE));
    followed.write("p/new.tar", &tar(1..5));
    followed.look(&["p"]);
    assert!(followed.changed.is_empty() && followed.shown().records.is_empty());
    settle(&mut followed);
    assert_eq!(followed.changed, ["1.2.3.1"]);
    followed.check();
}
