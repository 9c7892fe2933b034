//! How long after its last byte a series is shown, with others being read all the while: a
//! distribution, of which `settle` is the part that was asked for.

use super::*;

/// Seconds that the files of a series have to be quiet here.
const QUIET: Duration = Duration::from_secs(1);

const SERIES: usize = 32;

/// From one series to the next.
const APART: Duration = Duration::from_millis(250);

/// Longest beyond `settle`, on a machine on which much else goes on.
const BEYOND_MAX: Duration = Duration::from_secs(20);

/// Has series arrive, by turns in each way that takes no time.
fn arrive(series: &[Series], archive: &Path, elsewhere: &Path, quiet: &Mutex<Vec<Instant>>) {
    let ways: [Arrive; 3] = [copy_at_once, move_files, move_directory];
    for (n, series) in series.iter().enumerate() {
        let files = files_of(series, elsewhere);
        let last = ways[n % ways.len()](&files, &archive.join(&series.uid));
        quiet.lock().expect("no panic").push(last);
        std::thread::sleep(APART);
    }
}

/// When each of them was shown, whole.
fn look(mount: &Mount, series: &[Series]) -> Vec<Instant> {
    let mut shown = vec![None; series.len()];
    let end = Instant::now() + 2 * common::DEADLINE;
    while shown.iter().any(Option::is_none) {
        assert!(Instant::now() < end, "some are not shown");
        for (series, shown) in series.iter().zip(&mut shown) {
            if shown.is_none() && is_shown(mount, &series.uid) {
                *shown = Some(Instant::now());
                state_of(mount, &series.uid, std::slice::from_ref(series));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    shown.into_iter().flatten().collect()
}

#[test]
fn series_are_shown_soon_after_they_are_quiet() {
    if !can_mount("series_are_shown_soon_after_they_are_quiet") {
        return;
    }
    let (archive, elsewhere) = (home(), home());
    let of = |first: usize, count: usize| -> Vec<Series> {
        (first..first + count)
            .map(|n| ct(&format!("2.25.{n}")))
            .collect()
    };
    let (stable, arriving) = (of(8700, 8), of(8800, SERIES));
    for series in &stable {
        series
            .write(&archive.path().join(&series.uid))
            .expect("written");
    }
    let mount = Mount::of(archive.path(), &["--settle", "1"]);
    wait_for_watch(&mount);
    let quiet = Mutex::new(Vec::new());
    let mut beyond_ms = Vec::new();
    while_reading(&mount, &stable, &arriving, || {
        let shown = std::thread::scope(|scope| {
            scope.spawn(|| arrive(&arriving, archive.path(), elsewhere.path(), &quiet));
            look(&mount, &arriving)
        });
        let quiet = quiet.lock().expect("no panic");
        for (quiet, shown) in quiet.iter().zip(shown) {
            let latency = shown.saturating_duration_since(*quiet);
            // Times of files are those of the kernel's last tick.
            assert!(latency >= QUIET * 9 / 10, "shown after {latency:?}");
            beyond_ms.push(latency.saturating_sub(QUIET).as_millis());
        }
    });
    beyond_ms.sort_unstable();
    let at = |percent: usize| beyond_ms[(beyond_ms.len() - 1) * percent / 100];
    println!(
        "{SERIES} series, one each {} ms, beside 8 readers: shown so long after settle={}: \
         p50 {} ms, p90 {} ms, max {} ms",
        APART.as_millis(),
        QUIET.as_secs(),
        at(50),
        at(90),
        at(100)
    );
    assert_eq!(beyond_ms.len(), SERIES);
    assert!(at(100) <= BEYOND_MAX.as_millis());
}
