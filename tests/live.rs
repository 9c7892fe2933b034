//! The tree while the archive is being scanned and when it changes, through the kernel.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use common::{Mount, can_mount, expected_slab, wait_until};
use dicom_dictionary_std::uids;
use dicomfs::archive::{self, FileFinding, Index, Options, Record, Source};
use dicomfs::cache::Cache;
use dicomfs::cli::demo::synthetic::Series;
use dicomfs::config::{Config, Flags, Machine};
use dicomfs::fetch::Fetcher;
use dicomfs::fs::{Fs, Parts};
use dicomfs::library::{Library, Records};
use dicomfs::mount::{self, Mounted};
use dicomfs::tree::{self, IndexFile, Node, Tree};
use tempfile::TempDir;

const SHAPE: [usize; 3] = [5, 64, 64];

/// An index whose contents the test decides.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<Arc<Record>>>>>);

impl Records for Shelf {
    fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, archive::Error> {
        let all = self.0.lock().expect("no panic");
        Ok(all.get(series).cloned().unwrap_or_default())
    }

    fn series(&self) -> Result<Vec<String>, archive::Error> {
        Ok(self.0.lock().expect("no panic").keys().cloned().collect())
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, archive::Error> {
        Ok(Vec::new())
    }

    fn set_notes(&self, _notes: &[(String, Vec<u8>)]) -> Result<(), archive::Error> {
        Ok(())
    }

    fn findings(&self) -> Result<Vec<FileFinding>, archive::Error> {
        Ok(Vec::new())
    }
}

/// A mount in this process, of an archive that is scanned when the test says so.
struct Live {
    archive: TempDir,
    shelf: Shelf,
    library: Arc<Library>,
    fs: Arc<Fs>,
    mounted: Option<Mounted>,
    mountpoint: TempDir,
}

impl Live {
    fn start() -> Live {
        let archive = tempfile::tempdir().expect("a temporary directory");
        let mountpoint = tempfile::tempdir().expect("a temporary directory");
        let shelf = Shelf::default();
        let source = Arc::new(Source::new(archive.path()));
        let records = Box::new(shelf.clone());
        let library = Arc::new(Library::new(records, source.clone(), tree::show));
        library.recall().expect("nothing to recall");
        let fs = Arc::new(fs_of(&library));
        let config = Config::resolve(
            archive.path(),
            mountpoint.path(),
            &Flags::default(),
            &Machine::read(),
        );
        let options = config.expect("a configuration").mount_options();
        let options = mount::check(&options).expect("it can be mounted");
        let mounted = Mounted::start(&options, fs.clone()).expect("it mounts");
        Live {
            archive,
            shelf,
            library,
            fs,
            mounted: Some(mounted),
            mountpoint,
        }
    }

    /// Writes a series and has the library know of it, but not the tree.
    fn write(&self, series: &Series) {
        let dir = self.archive.path().join(&series.uid);
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("the old one is removed");
        }
        series.write(&dir).expect("files written");
        let all = archive::read_all(self.archive.path(), &Options::default(), None, &());
        let of_series = |record: &Arc<Record>| record.instance.series_instance_uid == series.uid;
        let records = all.expect("a scan").records.into_iter().filter(of_series);
        let mut shelf = self.shelf.0.lock().expect("no panic");
        shelf.insert(series.uid.clone(), records.collect());
    }

    fn settle(&self, changed: &[&str], gone: &[&str]) {
        let owned = |uids: &[&str]| uids.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.library.settle(&owned(changed), &owned(gone));
        let next = self.fs.tree().next(SystemTime::now()).expect("a tree");
        self.fs.publish(next);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mountpoint.path().join(path)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path(directory))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.finish();
        }
    }
}

fn fs_of(library: &Arc<Library>) -> Fs {
    let cache = Arc::new(Cache::new(1 << 26, 64).expect("a cache"));
    Fs::new(Parts {
        tree: Tree::new(library.clone(), SystemTime::now()).expect("a tree"),
        source: library.source().clone(),
        fetcher: Fetcher::new(cache, 2, usize::MAX).expect("workers"),
        uid: 0,
        gid: 0,
        umask: 0o022,
        config_json: b"{}\n".to_vec(),
        audit: None,
    })
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn ct(uid: &str) -> Series {
    Series::ct(uid, uids::EXPLICIT_VR_LITTLE_ENDIAN, SHAPE)
}

#[test]
fn series_appear_whole_and_at_once() {
    if !can_mount("series_appear_whole_and_at_once") {
        return;
    }
    let live = Live::start();
    assert_eq!(live.names("series"), [""; 0]);
    assert!(fs::metadata(live.path("series/2.25.601")).is_err());
    assert_eq!(live.names("patients"), [""; 0]);
    let all = ["2.25.601", "2.25.602", "2.25.603"];
    for (n, uid) in all.into_iter().enumerate() {
        live.write(&ct(uid));
        assert_eq!(live.names("series").len(), n, "not before it is settled");
        live.settle(&[uid], &[]);
        // The kernel is told on another thread.
        wait_until("the listing is the new one", || {
            live.names("series") == all[..=n]
        });
        let slab = expected_slab(&ct(uid));
        let npy = fs::read(live.path(&format!("series/{uid}/volume.npy"))).expect("volume.npy");
        assert!(npy[4096..] == slab[..], "{uid}");
        let frames = live.names(&format!("series/{uid}/frames"));
        assert_eq!(frames.len(), SHAPE[0], "{uid} is whole");
        wait_until("the table has all rows", || {
            let csv = fs::read_to_string(live.path("index.csv")).expect("index.csv");
            csv.lines().count() == n + 2
        });
        wait_until("the views have all links", || {
            let visits = live.names("patients/PHANTOM");
            live.names(&format!("patients/PHANTOM/{}", visits[0])).len() == n + 1
        });
    }
    live.settle(&[], &["2.25.602"]);
    wait_until("its name is gone", || {
        fs::metadata(live.path("series/2.25.602")).is_err()
    });
    wait_until("the listing is without it", || {
        live.names("series") == ["2.25.601", "2.25.603"]
    });
}

#[test]
fn a_changed_series_has_new_bytes_and_who_has_it_open_the_old() {
    if !can_mount("a_changed_series_has_new_bytes_and_who_has_it_open_the_old") {
        return;
    }
    let live = Live::start();
    let (uid, other) = ("2.25.611", "2.25.612");
    let old = ct(uid);
    live.write(&old);
    live.write(&ct(other));
    live.settle(&[uid, other], &[]);
    wait_until("they are there", || live.names("series").len() == 2);
    let path = live.path(&format!("series/{uid}/volume.npy"));
    let kept = live.path(&format!("series/{other}/volume.npy"));
    let kept_ino = fs::metadata(&kept).expect("stat").ino();
    // One has read it all, one a page of it, and only the page cache serves the second.
    let whole = fs::read(&path).expect("volume.npy");
    let mut half = File::open(&path).expect("it opens");
    let mut bytes = vec![0; 4096 + 100];
    half.read_exact(&mut bytes).expect("a page");

    let mut new = old.clone();
    for value in &mut new.stored {
        *value = value.wrapping_add(1);
    }
    live.write(&new);
    live.settle(&[uid], &[]);
    let slab = expected_slab(&new);
    wait_until("the name stands for the new one", || {
        fs::read(&path).is_ok_and(|bytes| bytes[4096..] == slab[..])
    });
    let mut again = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut again))
        .expect("volume.npy");
    assert!(again[4096..] == slab[..]);
    // To the end and beyond: the size is asked for. What is gone is an error, never new bytes.
    let len = half.metadata().expect("fstat").len();
    assert_eq!(len, whole.len() as u64);
    let mut rest = Vec::new();
    match half.read_to_end(&mut rest) {
        Ok(_) => assert!([bytes, rest].concat() == whole),
        Err(error) => assert_eq!(error.raw_os_error(), Some(116), "ESTALE"),
    }
    let mut bytes = vec![0; slab.len()];
    File::open(&path)
        .and_then(|file| file.read_exact_at(&mut bytes, 4096))
        .expect("read again");
    assert!(bytes == slab, "and the other reader leaves no old page");
    assert_eq!(fs::metadata(&kept).expect("stat").ino(), kept_ino);
}

#[test]
fn a_series_that_changed_behind_its_card_is_estale() {
    if !can_mount("a_series_that_changed_behind_its_card_is_estale") {
        return;
    }
    let live = Live::start();
    let mut series = ct("2.25.621");
    live.write(&series);
    live.settle(&[&series.uid], &[]);
    wait_until("it is there", || live.names("series").len() == 1);
    // Another process's scan has found another series there, and this one has not.
    series.stored.truncate(4 * 64 * 64);
    series.rescale.truncate(4);
    series.shape[0] = 4;
    live.write(&series);
    assert_eq!(live.names("series").len(), 1, "cards are shown");
    let read = fs::read_dir(live.path("series/2.25.621"))
        .and_then(|mut entries| entries.next().expect("an answer").map(drop));
    assert_eq!(read.map_err(|e| e.raw_os_error()), Err(Some(116)));
    live.settle(&[&series.uid], &[]);
    wait_until("its new card is shown", || {
        names_or_none(&live.path("series/2.25.621/frames")) == Some(4)
    });
}

fn names_or_none(directory: &Path) -> Option<usize> {
    Some(fs::read_dir(directory).ok()?.count())
}

/// All that a tree shows: inode number and size by path, and the tables.
fn shown(fs: &Fs) -> (BTreeMap<PathBuf, (u64, u64)>, Vec<u8>) {
    let mut all = BTreeMap::new();
    let mut open = vec![(PathBuf::new(), 1)];
    while let Some((path, ino)) = open.pop() {
        let mut add = |entry: &dicomfs::fs::DirEntry| {
            let name = path.join(&entry.name);
            if entry.name != "." && entry.name != ".." {
                all.insert(name.clone(), (entry.attr.ino, entry.attr.size_bytes));
                if entry.attr.kind == dicomfs::fs::Kind::Directory {
                    open.push((name, entry.attr.ino));
                }
            }
            false
        };
        fs.readdir(ino, 0, &mut add).expect("a directory");
    }
    let tree = fs.tree();
    let tables = [IndexFile::Csv, IndexFile::Jsonl].map(|file| tree.index_table(file).to_vec());
    let findings = tree.findings().to_vec();
    (all, [tables.concat(), findings].concat())
}

#[test]
fn a_remount_shows_from_cards_what_the_first_scan_showed() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let home = tempfile::tempdir().expect("a temporary directory");
    for uid in ["2.25.631", "2.25.632"] {
        let series = Series::mr(uid, uids::RLE_LOSSLESS, SHAPE);
        series.write(&archive.path().join(uid)).expect("written");
    }
    fs::write(archive.path().join("broken"), b"\0").expect("written");
    let opened = || {
        let index = Index::open(&home.path().join("index")).expect("an index");
        let shelf = index.bind(archive.path()).expect("bound");
        let source = Arc::new(Source::new(archive.path()));
        let library = Library::new(Box::new(shelf), source, tree::show);
        library.recall().expect("recalled");
        (Arc::new(library), index)
    };
    let (library, index) = opened();
    let mut settled = 0;
    library
        .scan(archive.path(), &Options::default(), index, &(), &mut || {
            settled += 1;
        })
        .expect("scanned");
    assert!(settled > 1, "on the way and at the end");
    let first = shown(&fs_of(&library));
    assert_eq!(library.holdings().series.len(), 2);
    drop(library);
    let (library, index) = opened();
    let recalled = fs_of(&library);
    assert_eq!(recalled.tree().volume_count(), 2);
    assert!(recalled.tree().is_passing(), "a scan is to follow");
    assert_eq!(shown(&recalled), first);
    let before = recalled.tree().serial();
    library
        .scan(archive.path(), &Options::default(), index, &(), &mut || {})
        .expect("scanned");
    recalled.publish(recalled.tree().next(SystemTime::now()).expect("a tree"));
    assert_eq!(recalled.tree().serial(), before, "nothing has changed");
    assert!(!recalled.tree().is_passing());
    assert_eq!(shown(&recalled), first);
}

#[test]
fn a_listing_that_is_overtaken_names_each_once() {
    let shelf = Shelf::default();
    let source = Arc::new(Source::new("/nowhere"));
    let library = Library::new(Box::new(shelf.clone()), source, tree::show);
    let library = Arc::new(library);
    let archive = tempfile::tempdir().expect("a temporary directory");
    let uids: Vec<String> = (0..9).map(|n| format!("2.25.70{n}")).collect();
    for uid in &uids {
        let series = Series::ct(uid, uids::EXPLICIT_VR_LITTLE_ENDIAN, [1, 8, 8]);
        series.write(&archive.path().join(uid)).expect("written");
    }
    let all = archive::read_all(archive.path(), &Options::default(), None, &()).expect("a scan");
    for record in all.records {
        let uid = record.instance.series_instance_uid.clone();
        let mut shelf = shelf.0.lock().expect("no panic");
        shelf.entry(uid).or_default().push(record);
    }
    let fs = fs_of(&library);
    let settle = |changed: &[String], gone: &[String]| {
        library.settle(changed, gone);
        fs.publish(fs.tree().next(SystemTime::now()).expect("a tree"));
    };
    let series = fs.tree().ino(Node::Series);
    let mut listed = Vec::new();
    let mut offset = 0;
    let mut step = |count: usize| {
        let mut taken = 0;
        let from = offset;
        let mut add = |entry: &dicomfs::fs::DirEntry| {
            if taken == count {
                return true;
            }
            taken += 1;
            offset = entry.next_offset;
            listed.push(entry.name.to_string_lossy().into_owned());
            false
        };
        fs.readdir(series, from, &mut add).expect("a directory");
    };
    settle(&uids[3..6], &[]);
    step(4);
    // Two come before where it is, one of the listed goes, two come after.
    settle(&uids[..2], &uids[3..4]);
    step(1);
    settle(&uids[7..], &[]);
    step(usize::MAX);
    let expected = [
        ".", "..", "2.25.703", "2.25.704", "2.25.705", "2.25.707", "2.25.708",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn a_mount_that_does_not_wait_is_complete_in_the_end() {
    if !can_mount("a_mount_that_does_not_wait_is_complete_in_the_end") {
        return;
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    for n in 0..20 {
        let uid = format!("2.25.64{n:02}");
        ct(&uid).write(&archive.path().join(&uid)).expect("written");
    }
    let mount = Mount::of(archive.path(), &["--scan-wait", "0"]);
    let scan = || -> serde_json::Value {
        let stats = fs::read(mount.root.join(".dicomfs/stats.json")).expect("stats.json");
        let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
        stats["scan"].clone()
    };
    wait_until("the scan is done", || scan()["state"] == "done");
    let done = scan();
    assert_eq!(
        (&done["files_found"], &done["files_done"]),
        (&100.into(), &100.into())
    );
    wait_until("all are listed", || {
        names(&mount.root.join("series")).len() == 20
    });
    assert_eq!(scan()["series"], 20);
    // And at once when it is mounted again, whether the scan has ended or not.
    wait_until("it unmounts", || mount.umount(&[]).status.success());
    wait_until("the daemon ends", || mount.pids().is_empty());
    mount.mount(&["--scan-wait", "0"]);
    assert_eq!(names(&mount.root.join("series")).len(), 20);
}

#[test]
fn the_end_comes_promptly_while_a_scan_runs() {
    if !can_mount("the_end_comes_promptly_while_a_scan_runs") {
        return;
    }
    let archive = tempfile::tempdir().expect("a temporary directory");
    for n in 0..40 {
        let uid = format!("2.25.65{n:02}");
        ct(&uid).write(&archive.path().join(&uid)).expect("written");
    }
    for way in ["umount", "kill"] {
        let mount = Mount::of(archive.path(), &["--scan-wait", "0"]);
        if way == "umount" {
            wait_until("it unmounts", || mount.umount(&[]).status.success());
        } else {
            // Who serves ends with whom it serves for, maybe before it is asked to.
            for pid in mount.pids() {
                std::process::Command::new("kill")
                    .arg(pid.to_string())
                    .status()
                    .expect("kill");
            }
        }
        wait_until("the daemon ends", || mount.pids().is_empty());
        assert!(!mount.is_mounted(), "{way}");
    }
}
