//! Cards, notes and volumes in memory, on records that were never in a file.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use super::*;
use crate::archive::SourceIdentity;
use crate::dicom::{ImagePixel, Instance, Photometric, PixelDataLocation, PixelElement};
use crate::volume::Variant;

/// An index in memory, which counts what it is asked for.
#[derive(Default)]
pub(crate) struct Fake {
    series: Mutex<BTreeMap<String, Vec<Arc<Record>>>>,
    notes: Mutex<HashMap<String, Vec<u8>>>,
    asked: AtomicUsize,
    pub(crate) is_broken: AtomicBool,
    /// A series that makes who asks for it panic.
    panics: Mutex<Option<&'static str>>,
}

impl Fake {
    pub(crate) fn holding(all: &[(&str, u32)]) -> Arc<Fake> {
        let fake = Fake::default();
        for (uid, slices) in all {
            fake.put(uid, *slices, 0);
        }
        Arc::new(fake)
    }

    fn put(&self, uid: &str, slices: u32, mtime_ns: i64) {
        let records = (0..slices).map(|n| record(uid, n, mtime_ns)).collect();
        self.series.lock().unwrap().insert(uid.into(), records);
        self.notes.lock().unwrap().remove(uid);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn record(uid: &str, number: u32, mtime_ns: i64) -> Arc<Record> {
    let mut instance = Instance {
        sop_instance_uid: format!("{uid}.{number}"),
        series_instance_uid: uid.into(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        image: Some(ImagePixel {
            rows: 2,
            columns: 2,
            number_of_frames: 1,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            planar_configuration: 0,
            bits_allocated: 16,
            bits_stored: 16,
            high_bit: 15,
            signed: false,
            element: PixelElement::PixelData,
        }),
        pixel_data: Some(PixelDataLocation {
            offset_bytes: 1000,
            length_bytes: Some(8),
            extended_offset_table: None,
        }),
        ..Instance::default()
    };
    instance.shared.image_position = Some([0.0, 0.0, f64::from(number)]);
    instance.shared.image_orientation = Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    instance.shared.pixel_spacing = Some([1.0, 1.0]);
    Arc::new(Record {
        path: format!("{uid}/{number}").into(),
        inside: None,
        identity: SourceIdentity {
            size_bytes: 1008,
            mtime_ns,
            inode: 0,
        },
        instance,
    })
}

impl Records for Arc<Fake> {
    fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, archive::Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(archive::Error::Index {
                path: "index".into(),
                what: "broken".into(),
            });
        }
        let panics = *self.panics.lock().unwrap();
        assert!(panics != Some(series), "on purpose");
        let all = self.series.lock().unwrap();
        Ok(all.get(series).cloned().unwrap_or_default())
    }

    fn series(&self) -> Result<Vec<String>, archive::Error> {
        Ok(self.series.lock().unwrap().keys().cloned().collect())
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, archive::Error> {
        Ok(self.notes.lock().unwrap().clone().into_iter().collect())
    }

    fn set_notes(&self, notes: &[(String, Vec<u8>)]) -> Result<(), archive::Error> {
        self.notes.lock().unwrap().extend(notes.iter().cloned());
        Ok(())
    }

    fn findings(&self) -> Result<Vec<FileFinding>, archive::Error> {
        Ok(Vec::new())
    }
}

fn show(loaded: &Loaded) -> Shown {
    Shown {
        nodes: loaded.volume.frames.len() as u64,
        ..Shown::default()
    }
}

fn library(fake: &Arc<Fake>, kept_bytes_max: u64) -> Library {
    let source = Arc::new(Source::new("/nowhere"));
    Library::with_budget(Box::new(fake.clone()), source, show, kept_bytes_max)
}

fn settled(fake: &Arc<Fake>, kept_bytes_max: u64) -> Library {
    let library = library(fake, kept_bytes_max);
    library.settle(&fake.series().unwrap(), &[]);
    library
}

fn lengths(volumes: &Volumes) -> Vec<u64> {
    let volumes = volumes.iter().map(|loaded| &loaded.volume);
    volumes.map(|v| v.len_bytes(Variant::Values)).collect()
}

const ALL: [(&str, u32); 4] = [("1.1", 3), ("1.2", 5), ("1.3", 2), ("1.4", 9)];

#[test]
fn what_is_remembered_is_what_was_made() {
    let fake = Fake::holding(&ALL);
    let made = settled(&fake, u64::MAX).holdings();
    assert_eq!(made.series.len(), ALL.len());
    let asked = fake.asked();
    let remembering = library(&fake, u64::MAX);
    remembering.recall().unwrap();
    let recalled = remembering.holdings();
    assert_eq!(recalled.series, made.series);
    assert_eq!(fake.asked(), asked, "cards need no records");
    assert_eq!(remembering.scan_status().course().0, ScanState::Running);
    for (series, (uid, slices)) in recalled.series.iter().zip(ALL) {
        let card = &series.cards[0];
        assert_eq!((&*series.uid, card.shown.nodes), (uid, u64::from(slices)));
        assert_eq!(card.len_bytes, u64::from(slices) * 8);
        assert_eq!(card.index_csv.iter().filter(|b| **b == b'\n').count(), 1);
    }
}

#[test]
fn notes_that_are_damaged_or_of_another_version_are_none() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    let series = &library.holdings().series[1];
    let note = series.to_note([0; 8]);
    assert_eq!(
        Series::from_note("1.2", &note, [0; 8]).as_ref(),
        Some(&**series)
    );
    for at in 0..note.len() {
        // Whatever comes of it, it is no panic and no endless allocation.
        let _ = Series::from_note("1.2", &note[..at], [0; 8]);
        let mut damaged = note.clone();
        damaged[at] ^= 0xff;
        let _ = Series::from_note("1.2", &damaged, [0; 8]);
    }
    let mut other = note.clone();
    other[0] ^= 1;
    assert_eq!(Series::from_note("1.2", &other, [0; 8]), None);
    assert_eq!(Series::from_note("1.2", b"", [0; 8]), None);
    // De-identified with some key, it would be another one.
    assert_eq!(Series::from_note("1.2", &note, [1; 8]), None);
}

#[test]
fn a_series_without_a_note_is_made_at_the_end_of_the_scan() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    fake.put("1.5", 1, 0);
    fake.series.lock().unwrap().remove("1.1");
    library.complete(&[], &Default::default());
    let holdings = library.holdings();
    let uids: Vec<&str> = holdings.series.iter().map(|s| &*s.uid).collect();
    assert_eq!(uids, ["1.2", "1.3", "1.4", "1.5"]);
}

#[test]
fn what_was_let_go_of_is_built_again_the_same() {
    let fake = Fake::holding(&ALL);
    // Too little for two series: one is kept all the same.
    let library = settled(&fake, 1);
    let series = library.holdings().series;
    let first: Vec<Volumes> = series.iter().map(|s| library.volumes(s).unwrap()).collect();
    assert_eq!(library.kept.len(), 1);
    let asked = fake.asked();
    for (series, first) in series.iter().zip(&first).rev() {
        let again = library.volumes(series).unwrap();
        assert_eq!(lengths(&again), lengths(first));
        assert_eq!(again[0].volume.fingerprint, first[0].volume.fingerprint);
        assert_eq!(again[0].json_len_bytes(), first[0].json_len_bytes());
    }
    // The one used last was still there, the others were not.
    assert_eq!(fake.asked() - asked, ALL.len() - 1);
}

#[test]
fn within_the_budget_nothing_is_built_twice() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    let asked = fake.asked();
    for series in library.holdings().series.iter().cycle().take(40) {
        library.volumes(series).unwrap();
    }
    assert_eq!(fake.asked() - asked, ALL.len());
}

#[test]
fn a_small_library_is_loaded_ahead_and_a_large_one_is_not() {
    for (nodes_each, expected) in [(7, ALL.len()), (LOADED_AHEAD_NODES_MAX, 0)] {
        let fake = Fake::holding(&ALL);
        let show: Show = match nodes_each {
            7 => show,
            _ => |loaded| Shown {
                nodes: LOADED_AHEAD_NODES_MAX,
                ..show(loaded)
            },
        };
        let source = Arc::new(Source::new(""));
        let library = Library::new(Box::new(fake.clone()), source, show);
        library.complete(&[], &Default::default());
        let asked = fake.asked();
        library.load_ahead();
        assert_eq!(fake.asked() - asked, expected, "{nodes_each}");
        library.load_ahead();
        assert_eq!(fake.asked() - asked, expected, "once");
    }
}

#[test]
fn sixteen_who_ask_at_once_have_it_built_once() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    let series = library.holdings().series[3].clone();
    let asked = fake.asked();
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(lengths(&library.volumes(&series).unwrap()), [9 * 8]);
            });
        }
    });
    assert_eq!(fake.asked() - asked, 1);
}

#[test]
fn a_series_that_is_not_as_its_card_says_is_refused() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    let old = library.holdings().series[0].clone();
    assert!(library.volumes(&old).is_ok());
    // What is in memory goes with the old card, as long as it stays there.
    fake.put("1.1", 3, 7);
    assert!(library.volumes(&old).is_ok());
    let forgetful = settled(&fake, 1);
    assert_eq!(forgetful.volumes(&old).err(), Some(Error::Changed));
    let note = fake.notes.lock().unwrap()["1.1"].clone();
    assert!(note.is_empty(), "made anew at the next mount");
    library.settle(&["1.1".into()], &[]);
    let new = library.holdings().series[0].clone();
    assert_ne!(new, old);
    let volumes = library.volumes(&new).unwrap();
    assert_eq!(volumes[0].volume.fingerprint, new.cards[0].fingerprint);
}

#[test]
fn a_failure_is_told_and_not_kept() {
    let fake = Fake::holding(&ALL);
    let library = settled(&fake, u64::MAX);
    let series = library.holdings().series[0].clone();
    fake.is_broken.store(true, Ordering::SeqCst);
    assert!(matches!(library.volumes(&series), Err(Error::Index(_))));
    fake.is_broken.store(false, Ordering::SeqCst);
    assert!(library.volumes(&series).is_ok());
}

#[test]
fn a_panic_costs_one_series() {
    let fake = Fake::holding(&ALL);
    *fake.panics.lock().unwrap() = Some("1.2");
    let library = settled(&fake, u64::MAX);
    let uids = || -> Vec<Box<str>> {
        let series = library.holdings().series;
        series.iter().map(|series| series.uid.clone()).collect()
    };
    assert_eq!(
        uids(),
        ["1.1".into(), "1.3".into(), "1.4".into()] as [Box<str>; 3]
    );
    *fake.panics.lock().unwrap() = None;
    library.settle(&["1.2".to_owned()], &[]);
    assert_eq!(uids().len(), ALL.len());
}

#[test]
fn pinned_volumes_stay_whatever_they_weigh() {
    let records: Vec<_> = (0..9).map(|n| record("1.9", n, 0)).collect();
    let built = crate::volume::build(&records);
    let library = Library::pinned(built, show).unwrap();
    let series = library.holdings().series[0].clone();
    assert_eq!(lengths(&library.volumes(&series).unwrap()), [72]);
}
