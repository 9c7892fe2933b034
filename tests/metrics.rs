//! `.dicomfs/metrics.prom`: it is what Prometheus reads, by a strict parser, and its numbers are exact
//! after known reads and those of `stats.json`.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use common::{DEADLINE, Mount, can_mount, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::archive::{self, Source};
use dicomfs::cache::Cache;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::fetch::Fetcher;
use dicomfs::fs::{Cached, Error, Fs, OpenMode, Parts, ReadReply};
use dicomfs::tree::Tree;
use dicomfs::volume;
use serde_json::Value;
use tempfile::TempDir;

const ROOT: u64 = 1;
const UID: &str = "2.25.700";
const SHAPE: [usize; 3] = [6, 16, 16];
const FRAME_BYTES: u64 = 16 * 16 * 2;

/// Samples by name and labels as they are written.
type Samples = BTreeMap<String, f64>;

/// A name by the rules of the format.
fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

/// Labels between braces: names with their values, which are checked for their escapes.
fn labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label");
        assert!(is_name(name), "label {name}");
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().expect("an end of the value") {
                (_, '\\') => match chars.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("escape {c}"),
                },
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_string(), value));
        text = &rest[end + 1..];
        if let Some(more) = text.strip_prefix(',') {
            assert!(!more.is_empty(), "a comma and no label");
            text = more;
        }
    }
    labels
}

/// Classes of a histogram, as far as they have been read.
#[derive(Default)]
struct Classes {
    ends: Vec<f64>,
    counts: Vec<f64>,
    sum: Option<f64>,
    count: Option<f64>,
}

impl Classes {
    fn take(&mut self, suffix: &str, labels: &[(String, String)], value: f64) {
        match suffix {
            "_bucket" => {
                let [(name, end)] = labels else {
                    panic!("labels of a bucket: {labels:?}");
                };
                assert_eq!(name, "le");
                self.ends.push(end.parse().expect("an upper end"));
                self.counts.push(value);
            }
            "_sum" => self.sum = Some(value),
            "_count" => self.count = Some(value),
            _ => panic!("{suffix} of a histogram"),
        }
    }

    fn check(&self) {
        assert!(self.ends.is_sorted_by(|a, b| a < b), "ends ascend");
        assert!(self.counts.is_sorted(), "counts are of all below");
        assert_eq!(self.ends.last(), Some(&f64::INFINITY));
        assert_eq!(self.counts.last(), self.count.as_ref());
        assert!(self.sum.is_some_and(|sum| sum >= 0.0));
    }
}

/// One family from its HELP line on.
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    samples: u32,
    classes: Classes,
}

impl Family<'_> {
    fn end(&self) {
        assert!(self.samples > 0, "{}: no sample", self.name);
        assert_eq!(
            self.kind == "counter",
            self.name.ends_with("_total"),
            "{}",
            self.name
        );
        if self.kind == "histogram" {
            self.classes.check();
        }
    }
}

/// Reads a text of the exposition format 0.0.4, more strictly than anybody has to.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line has no end");
    let (mut samples, mut seen) = (Samples::new(), Vec::new());
    let mut family: Option<Family<'_>> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("HELP says something");
            assert!(is_name(name) && !words.is_empty(), "{line}");
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (typed, kind) = kind.and_then(|k| k.split_once(' ')).expect("TYPE");
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let next = Family {
                name,
                kind,
                samples: 0,
                classes: Classes::default(),
            };
            if let Some(last) = family.replace(next) {
                last.end();
            }
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            assert!(
                comment.trim().is_empty(),
                "a comment that is taken for something: {line}"
            );
            continue;
        }
        let (key, value) = line.rsplit_once(' ').expect("a number");
        let value: f64 = value.parse().expect("a number");
        assert!(!value.is_nan() && value >= 0.0, "{line}");
        let (name, labelled) = match key.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("a brace"))),
            None => (key, Vec::new()),
        };
        let family = family.as_mut().expect("a family");
        let suffix = name.strip_prefix(family.name).expect("of its family");
        match family.kind {
            "histogram" => family.classes.take(suffix, &labelled, value),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        family.samples += 1;
        assert!(
            samples.insert(key.to_string(), value).is_none(),
            "{key} twice"
        );
    }
    family.expect("something").end();
    samples
}

struct World {
    _dir: TempDir,
    sources: Vec<PathBuf>,
    fs: Arc<Fs>,
}

impl World {
    /// One series, one thread, and nothing made ahead.
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let series = Series::ct(UID, uids::RLE_LOSSLESS, SHAPE);
        let sources = series.write(dir.path()).expect("files written");
        let all = archive::read_all(dir.path(), &archive::Options::default(), None, &());
        let all = all.expect("a scan");
        let cache = Arc::new(Cache::new(64 << 20, 64).expect("a cache"));
        let fs = Fs::new(Parts {
            tree: Tree::pinned(volume::build(&all.records), SystemTime::now()).expect("a tree"),
            source: Arc::new(Source::new(all.root)),
            fetcher: Fetcher::new(cache, 1, 0).expect("a worker"),
            uid: 0,
            gid: 0,
            umask: 0,
            config_json: Vec::new(),
            audit: None,
        });
        World {
            _dir: dir,
            sources,
            fs: Arc::new(fs),
        }
    }

    /// Reads part of a file, by one request.
    fn read(&self, path: &str, offset: u64, size: u32) -> Result<Vec<u8>, Error> {
        let mut ino = ROOT;
        for name in path.split('/') {
            ino = self.fs.lookup(ino, OsStr::new(name)).expect(path).ino;
        }
        let mut opening = |_: std::os::fd::BorrowedFd<'_>| Err(io::Error::other("no kernel"));
        let opened = self.fs.open(ino, libc::O_RDONLY, &mut opening).expect(path);
        assert!(!matches!(opened.mode, OpenMode::Passthrough(_)));
        let (send, receive) = mpsc::channel();
        let reply = ReadReply::new(move |answer| send.send(answer.map(<[u8]>::to_vec)).unwrap());
        self.fs
            .read(ino, opened.fh, offset, size, Cached::No, reply);
        let answer = receive.recv_timeout(DEADLINE).expect("an answer");
        self.fs.release(opened.fh);
        answer
    }

    fn volume(&self, file: &str, offset: u64, size: u32) -> Result<Vec<u8>, Error> {
        self.read(&format!("series/{UID}/{file}"), offset, size)
    }

    /// The numbers as Prometheus has them; looking adds an open and a read.
    fn metrics(&self) -> Samples {
        let text = self
            .read(".dicomfs/metrics.prom", 0, 1 << 20)
            .expect("metrics.prom");
        parse(&String::from_utf8(text).expect("text"))
    }

    fn stats(&self) -> Value {
        let text = self
            .read(".dicomfs/stats.json", 0, 1 << 20)
            .expect("stats.json");
        serde_json::from_slice(&text).expect("JSON")
    }
}

#[test]
fn numbers_are_exact_after_known_reads() {
    let world = World::new();
    let first = world.metrics();
    assert_eq!(first["dicomfs_volumes"], 1.0);
    assert_eq!(first["dicomfs_series"], 1.0);
    assert_eq!(first["dicomfs_instances"], 6.0);
    assert_eq!(first["dicomfs_volume_bytes"], 6.0 * FRAME_BYTES as f64);
    assert_eq!(first["dicomfs_reads_total"], 0.0);
    // Two frames that are not there, one of them again with one that is not, then two that are.
    for (at, frames) in [(0, 2), (1, 2), (0, 2)] {
        let bytes = world.volume("volume.raw", at * FRAME_BYTES, frames * FRAME_BYTES as u32);
        assert_eq!(
            bytes.expect("bytes").len() as u64,
            u64::from(frames) * FRAME_BYTES
        );
    }
    let now = world.metrics();
    let maker = r#"{tier="cpu",device="",decoder="RLE",codec="rle"}"#;
    let made = |name: &str| {
        let of = now.iter().find(|(key, _)| {
            key.starts_with(&format!("{name}{{tier=\"cpu\"")) && key.ends_with("codec=\"rle\"}")
        });
        *of.unwrap_or_else(|| panic!("{name}{maker} in {now:?}")).1
    };
    for (name, expected) in [
        ("dicomfs_frame_hits_total", 3.0),
        ("dicomfs_frame_misses_total", 3.0),
        // One is that of the first look.
        ("dicomfs_reads_total", 4.0),
        (r#"dicomfs_opens_total{mode="page_cache"}"#, 3.0),
        (r#"dicomfs_opens_total{mode="direct"}"#, 1.0),
        (r#"dicomfs_opens_total{mode="passthrough"}"#, 0.0),
        ("dicomfs_read_duration_seconds_count", 4.0),
        ("dicomfs_decode_failures_total", 0.0),
        (r#"dicomfs_queue_length{queue="urgent"}"#, 0.0),
    ] {
        assert_eq!(now[name], expected, "{name}");
    }
    assert_eq!(made("dicomfs_frames_made_total"), 3.0);
    assert_eq!(made("dicomfs_made_bytes_total"), 3.0 * FRAME_BYTES as f64);
    assert!(made("dicomfs_made_seconds_total") > 0.0);
    let look = now["dicomfs_read_bytes_total"] - 6.0 * FRAME_BYTES as f64;
    assert_eq!(look, (32 << 10) as f64, "the look before");
    let stats = world.stats();
    for (key, name) in [
        ("frame_hits", "dicomfs_frame_hits_total"),
        ("frame_misses", "dicomfs_frame_misses_total"),
        ("volumes", "dicomfs_volumes"),
        ("instances", "dicomfs_instances"),
        ("opens_cached", r#"dicomfs_opens_total{mode="page_cache"}"#),
        ("cache_budget_bytes", "dicomfs_cache_budget_bytes"),
        ("cache_resident_bytes", "dicomfs_cache_resident_bytes"),
    ] {
        assert_eq!(stats[key].as_f64(), Some(now[name]), "{key}");
    }
    assert_eq!(stats["frames_decoded"], 3);
}

#[test]
fn failures_are_counted_and_counters_only_grow() {
    let world = World::new();
    let mut before = world.metrics();
    let bytes = std::fs::read(&world.sources[0]).expect("a source");
    for source in &world.sources {
        std::fs::write(source, [&bytes[..], b"x"].concat()).expect("changed");
    }
    for round in 1..=3 {
        let failed = world.volume("volume.npy", 4096, 8);
        assert!(matches!(failed, Err(Error::Changed(_))), "{failed:?}");
        let now = world.metrics();
        assert_eq!(
            now[r#"dicomfs_errors_total{errno="ESTALE"}"#],
            f64::from(round)
        );
        assert_eq!(now["dicomfs_decode_failures_total"], f64::from(round));
        assert_eq!(
            now[r#"dicomfs_findings{code="decode_error"}"#], 1.0,
            "one cause"
        );
        for (name, value) in &before {
            let is_counter = name
                .split('{')
                .next()
                .is_some_and(|n| n.ends_with("_total"));
            assert!(!is_counter || now[name] >= *value, "{name}");
        }
        before = now;
    }
}

#[test]
fn the_text_names_nobody() {
    let world = World::new();
    world.volume("volume.npy", 0, 1 << 20).expect("read");
    let text = world
        .read(".dicomfs/metrics.prom", 0, 1 << 20)
        .expect("metrics.prom");
    let text = String::from_utf8(text).expect("text");
    for word in [
        UID,
        "DEMO",
        "PHANTOM",
        world._dir.path().to_str().expect("a path"),
    ] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn promtool_agrees() {
    let test = "promtool_agrees";
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("SKIPPED {test}: no promtool");
        return;
    }
    let world = World::new();
    world.volume("volume.npy", 0, 1 << 20).expect("read");
    let text = world
        .read(".dicomfs/metrics.prom", 0, 1 << 20)
        .expect("metrics.prom");
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(&text).expect("written");
    drop(stdin);
    assert!(child.wait().expect("an end").success());
}

#[test]
fn a_mount_has_it_and_its_size_stays() {
    if !can_mount("a_mount_has_it_and_its_size_stays") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let series = Series::ct(UID, uids::RLE_LOSSLESS, SHAPE);
    series.write(dir.path()).expect("files written");
    let mount = Mount::of(dir.path(), &[]);
    let path = mount.root.join(".dicomfs/metrics.prom");
    let read = || parse(&std::fs::read_to_string(&path).expect("metrics.prom"));
    let len = || std::fs::metadata(&path).expect("metrics.prom").len();
    // It may look once more for what changed while it began to watch.
    wait_until("the scan is done", || {
        read()[r#"dicomfs_scan_state{state="done"}"#] == 1.0
    });
    let (before, first) = (len(), read());
    std::fs::read(mount.series(UID).join("volume.npy")).expect("read");
    std::fs::write(mount.root.join("index.csv"), "").expect_err("read-only");
    assert_eq!(len(), before);
    let now = read();
    let frames = |samples: &Samples| -> f64 {
        let made = samples
            .iter()
            .filter(|(k, _)| k.starts_with("dicomfs_frames_made_total"));
        made.map(|(_, value)| value).sum()
    };
    assert_eq!(frames(&first), 0.0);
    assert_eq!(frames(&now), SHAPE[0] as f64);
    assert_eq!(now["dicomfs_worker_restarts_total"], 0.0);
}

#[test]
#[should_panic(expected = "twice")]
fn the_parser_sees_a_sample_that_is_there_twice() {
    parse("# HELP a A.\n# TYPE a gauge\na 1\na 2\n");
}

#[test]
#[should_panic(expected = "TYPE")]
fn the_parser_sees_a_missing_type() {
    parse("# HELP a A.\na 1\n");
}

#[test]
#[should_panic(expected = "counts are of all below")]
fn the_parser_sees_a_histogram_that_falls() {
    parse(
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
    );
}
