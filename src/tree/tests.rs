//! Generations: what stays the same from one to the next, and what the kernel is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::*;
use crate::archive::{self, FileFinding, Record, Source};
use crate::format::preview::tests::volume;
use crate::library::Records;
use crate::volume::Dtype;

/// Series of one image each, by UID and modification time.
#[derive(Default)]
struct Fake(Mutex<BTreeMap<String, i64>>);

impl Fake {
    fn record(uid: &str, mtime_ns: i64) -> Arc<Record> {
        let template = volume("zyx", &[1, 1, 1], Dtype::U16, None);
        let mut record = Record::clone(&template.records[0]);
        record.path = uid.into();
        record.identity.mtime_ns = mtime_ns;
        record.identity.size_bytes = 2000;
        record.instance.series_instance_uid = uid.into();
        record.instance.sop_instance_uid = format!("{uid}.1");
        record.instance.transfer_syntax_uid = "1.2.840.10008.1.2.1".into();
        record.instance.pixel_data = Some(crate::dicom::PixelDataLocation {
            offset_bytes: 1000,
            length_bytes: Some(2),
            extended_offset_table: None,
        });
        Arc::new(record)
    }
}

impl Records for Arc<Fake> {
    fn records(&self, series: &str) -> Result<Vec<Arc<Record>>, archive::Error> {
        let all = self.0.lock().unwrap();
        let found = all.get(series).map(|mtime| Fake::record(series, *mtime));
        Ok(found.into_iter().collect())
    }

    fn series(&self) -> Result<Vec<String>, archive::Error> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
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

struct World {
    fake: Arc<Fake>,
    library: Arc<Library>,
    tree: Tree,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

impl World {
    fn of(all: &[(&str, i64)]) -> World {
        let fake = Arc::new(Fake::default());
        let source = Arc::new(Source::new("/nowhere"));
        let library = Arc::new(Library::new(Box::new(fake.clone()), source, show));
        let tree = Tree::new(library.clone(), at(0)).unwrap();
        let mut world = World {
            fake,
            library,
            tree,
        };
        world.put(all);
        world
    }

    /// Changes or adds series and makes the next generation; what the kernel is told of it.
    fn put(&mut self, all: &[(&str, i64)]) -> Vec<Stale> {
        let uids: Vec<String> = all.iter().map(|(uid, _)| uid.to_string()).collect();
        for (uid, mtime) in all {
            self.fake.0.lock().unwrap().insert(uid.to_string(), *mtime);
        }
        self.library.settle(&uids, &[]);
        self.next()
    }

    fn remove(&mut self, uid: &str) -> Vec<Stale> {
        self.fake.0.lock().unwrap().remove(uid);
        self.library.settle(&[], &[uid.to_string()]);
        self.next()
    }

    fn next(&mut self) -> Vec<Stale> {
        let next = self.tree.next(at(self.tree.serial() + 100)).unwrap();
        let mut stale = next.changes_since(&self.tree);
        stale.sort();
        self.tree = next;
        stale
    }

    fn child(&self, node: Node, name: &str) -> Option<Node> {
        self.tree.child(node, name.as_ref()).unwrap()
    }

    fn ino(&self, uid: &str) -> Option<u64> {
        let node = self.child(Node::Series, uid)?;
        Some(self.tree.ino(node))
    }

    fn names(&self, node: Node) -> Vec<String> {
        let children = (0..).map_while(|n| self.tree.child_at(node, n).unwrap());
        children
            .map(|(name, _)| name.into_string().unwrap())
            .collect()
    }
}

const SERIES: u64 = 2;

fn name(parent: u64, name: &str) -> Stale {
    Stale::Name(parent, name.into())
}

#[test]
fn a_generation_without_changes_is_the_same_in_all() {
    let mut world = World::of(&[("1.1", 1), ("1.2", 1)]);
    let (serial, mtime) = (world.tree.serial(), world.tree.mtime(Node::Series));
    assert_eq!(world.put(&[("1.1", 1)]), []);
    assert_eq!(world.tree.serial(), serial);
    assert_eq!(world.tree.mtime(Node::Series), mtime);
}

#[test]
fn a_new_series_leaves_the_others_as_they_are() {
    let mut world = World::of(&[("1.2", 1)]);
    let (ino, mtime) = (world.ino("1.2"), world.tree.mtime(Node::Series));
    let table = world.tree.ino(Node::Index(IndexFile::Csv));
    let stale = world.put(&[("1.1", 1)]);
    assert_eq!(world.ino("1.2"), ino);
    assert!(stale.contains(&Stale::Contents(SERIES)), "{stale:?}");
    assert!(stale.contains(&name(1, "index.csv")), "{stale:?}");
    assert!(!stale.contains(&name(SERIES, "1.2")), "{stale:?}");
    assert_ne!(world.tree.ino(Node::Index(IndexFile::Csv)), table);
    assert_ne!(world.tree.mtime(Node::Series), mtime);
    assert_eq!(world.names(Node::Series), ["1.1", "1.2"]);
    let csv = world.tree.index_table(IndexFile::Csv).clone();
    let len = world.tree.len_bytes(Node::Index(IndexFile::Csv)).unwrap();
    assert_eq!(
        (csv.len() as u64, csv.split(|b| *b == b'\n').count()),
        (len, 4)
    );
}

#[test]
fn a_changed_volume_is_another_inode_and_its_name_is_stale() {
    let mut world = World::of(&[("1.1", 1), ("1.2", 1)]);
    let (first, other) = (world.ino("1.1"), world.ino("1.2"));
    let stale = world.put(&[("1.1", 2)]);
    assert!(stale.contains(&name(SERIES, "1.1")), "{stale:?}");
    assert!(!stale.contains(&name(SERIES, "1.2")), "{stale:?}");
    let second = world.ino("1.1");
    assert_ne!(second, first);
    assert_eq!(world.ino("1.2"), other);
    assert_eq!(world.tree.node(first.unwrap()).unwrap(), None, "is gone");
    // The number follows from the contents, however they came to be.
    assert_eq!(World::of(&[("1.1", 2)]).ino("1.1"), second);
    world.put(&[("1.1", 1)]);
    assert_eq!(world.ino("1.1"), first);
}

#[test]
fn what_is_gone_is_stale_in_series_and_views() {
    let mut world = World::of(&[("1.1", 1), ("1.2", 1)]);
    let studies = Node::View(ino::STUDIES);
    let study = world.child(studies, "unknown").unwrap();
    assert_eq!(world.names(study).len(), 2);
    let link = world.names(study)[0].clone();
    let stale = world.remove("1.1");
    for expected in [
        name(SERIES, "1.1"),
        Stale::Contents(SERIES),
        name(world.tree.ino(study), &link),
        Stale::Contents(world.tree.ino(study)),
        name(1, "index.jsonl"),
    ] {
        assert!(stale.contains(&expected), "{expected:?} in {stale:?}");
    }
    let stale = world.remove("1.2");
    assert!(stale.contains(&name(ino::STUDIES, "unknown")), "{stale:?}");
    assert_eq!(world.names(Node::Series), [""; 0]);
    assert_eq!(world.tree.node_count(), 2, "studies and patients");
}

#[test]
fn a_listing_goes_on_after_a_name_whatever_became_of_it() {
    let world = World::of(&[("1.2", 1), ("1.4", 1)]);
    for (after, position) in [("1.1", 0), ("1.2", 1), ("1.3", 1), ("1.4", 2), ("1.5", 2)] {
        let found = world.tree.position_after(Node::Series, after.as_ref());
        assert_eq!(found, position, "{after}");
    }
}
