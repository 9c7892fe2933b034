//! When series are told: whole, in parts of the archive, and again when they change.

use std::collections::BTreeMap;

use super::*;

/// What was told, call by call, with how many records the shelf had of each series just then.
type Told = Vec<(BTreeMap<String, usize>, Vec<String>)>;

fn told(root: &Path, index: &Index) -> Told {
    clock_moves();
    let shelf = index.bind(root).expect("bound");
    let mut told = Told::new();
    let mut settled = |changed: &[String], gone: &[String]| {
        let counted = changed.iter().map(|series| {
            let records = shelf.records(series).expect("there");
            (series.clone(), records.len())
        });
        told.push((counted.collect(), gone.to_vec()));
    };
    run(root, &trusting(), index, &(), &mut settled).expect("scanned");
    told
}

fn write(root: &Path, path: &str, series: &str, numbers: std::ops::Range<u16>) {
    fs::create_dir_all(root.join(path)).expect("made");
    for number in numbers {
        let name = format!("{path}/{series} {number}");
        fs::write(root.join(name), of_series(series, number)).expect("written");
    }
}

fn all(told: &Told) -> Vec<(&str, usize)> {
    let all = told.iter().flat_map(|(changed, _)| changed);
    all.map(|(series, count)| (series.as_str(), *count))
        .collect()
}

#[test]
fn series_are_told_whole_part_by_part_and_again() {
    let (dir, home) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let root = dir.path();
    // One directory on the way to the parts.
    write(root, "top/p1/x", "1.2.3.1", 0..70);
    write(root, "top/p1/y", "1.2.3.1", 70..80);
    write(root, "top/p1/y", "1.2.3.2", 0..3);
    write(root, "top/p2", "1.2.3.2", 3..7);
    write(root, "top", "1.2.3.3", 0..2);
    let first = told(root, &index_in(&home));
    let expected = |series: &str| -> Vec<usize> {
        let of_series = all(&first).into_iter().filter(|(key, _)| *key == series);
        of_series.map(|(_, count)| count).collect()
    };
    assert_eq!(expected("1.2.3.1"), [80], "{first:?}");
    assert_eq!(expected("1.2.3.3"), [2], "{first:?}");
    let twice = expected("1.2.3.2");
    assert_eq!(twice.len(), 2, "{first:?}");
    assert_eq!(twice[1], 7, "{first:?}");
    assert!(first.last().expect("told").0.contains_key("1.2.3.3"));
    assert!(told(root, &index_in(&home)).is_empty());
    // One that changes, one that goes, one that is new; the others are not told.
    fs::remove_dir_all(root.join("top/p1/x")).expect("removed");
    fs::remove_dir_all(root.join("top/p1/y")).expect("removed");
    write(root, "top/p3", "1.2.3.4", 0..1);
    let third = told(root, &index_in(&home));
    assert!(all(&third).contains(&("1.2.3.2", 4)), "{third:?}");
    assert!(all(&third).contains(&("1.2.3.4", 1)), "{third:?}");
    assert!(
        !all(&third).iter().any(|(key, _)| *key == "1.2.3.3"),
        "{third:?}"
    );
    assert_eq!(third.last().expect("told").1, ["1.2.3.1"]);
}

#[test]
fn a_series_that_moved_is_where_it_is_now() {
    let (dir, home) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let root = dir.path();
    write(root, "b", "1.2.3.1", 0..5);
    write(root, "c", "1.2.3.2", 0..5);
    told(root, &index_in(&home));
    fs::rename(root.join("b"), root.join("a")).expect("moved");
    let second = told(root, &index_in(&home));
    assert!(second.iter().all(|(_, gone)| gone.is_empty()), "{second:?}");
    assert!(
        all(&second).iter().all(|told| *told == ("1.2.3.1", 5)),
        "{second:?}"
    );
    assert!(!all(&second).is_empty());
    let shelf = index_in(&home).bind(root).expect("bound");
    let records = shelf.records("1.2.3.1").expect("there");
    assert!(records.iter().all(|record| record.path.starts_with("a")));
}

#[test]
fn what_another_scan_did_meanwhile_is_told() {
    let (dir, home) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let root = dir.path();
    write(root, "b", "1.2.3.1", 0..5);
    write(root, "c", "1.2.3.2", 0..5);
    told(root, &index_in(&home));
    let index = index_in(&home);
    index.bind(root).expect("bound");
    fs::remove_dir_all(root.join("b")).expect("removed");
    write(root, "c", "1.2.3.2", 5..6);
    told(root, &index_in(&home));
    // Not bound anew: what it showed its clients is what it knew before the other scan.
    clock_moves();
    let mut seen = Vec::new();
    let mut settled = |changed: &[String], gone: &[String]| {
        seen.extend(changed.iter().map(|key| (key.clone(), true)));
        seen.extend(gone.iter().map(|key| (key.clone(), false)));
    };
    run(root, &trusting(), &index, &(), &mut settled).expect("scanned");
    assert_eq!(
        seen,
        [("1.2.3.2".to_owned(), true), ("1.2.3.1".to_owned(), false)]
    );
}

#[test]
fn a_flat_directory_is_loaded_series_by_series() {
    let (dir, home) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let root = dir.path();
    for number in 0..40_u16 {
        for series in 1..=9 {
            let series = format!("1.2.3.{series}");
            let name = format!("{number} {series}");
            fs::write(root.join(name), of_series(&series, number)).expect("written");
        }
    }
    // More than one group of a series.
    for number in 0..1500_u16 {
        let name = format!("long {number}");
        fs::write(root.join(name), of_series("1.2.3.0", number)).expect("written");
    }
    let first = told(root, &index_in(&home));
    assert_eq!(all(&first).len(), 10, "{first:?}");
    let shelf = index_in(&home).bind(root).expect("bound");
    assert_eq!(shelf.series().expect("readable").len(), 10);
    assert_eq!(shelf.records("1.2.3.0").expect("there").len(), 1500);
    let records = shelf.records("1.2.3.7").expect("there");
    assert_eq!(records.len(), 40);
    assert!(
        records
            .iter()
            .all(|record| record.instance.series_instance_uid == "1.2.3.7")
    );
    // A series that grows file by file does not fall to pieces.
    for number in 100..110_u16 {
        let name = format!("{number} 1.2.3.7");
        fs::write(root.join(name), of_series("1.2.3.7", number)).expect("written");
        let grown = told(root, &index_in(&home));
        let count = usize::from(number - 100) + 41;
        assert_eq!(all(&grown), [("1.2.3.7", count)]);
    }
    let connection = rusqlite::Connection::open(home.path().join("index")).expect("opened");
    let count = "SELECT count(*) FROM groups WHERE series = '1.2.3.7'";
    let groups: i64 = connection
        .query_row(count, [], |row| row.get(0))
        .expect("one");
    assert_eq!(groups, 1);
}
