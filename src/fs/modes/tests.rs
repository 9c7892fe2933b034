//! Handles and modes against a model of the kernel, over crashes at any moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::cache::{Cache, Claim, Layout, SlabKey, SlabUse};
use crate::fs::content::Content;
use crate::fs::handles::{Handles, Version};
use crate::fs::{Attr, Kind};

const INODES: u64 = 3;

/// A ledger in memory: what it holds outlives the processes of the test.
#[derive(Default)]
struct Notes {
    next_fh: AtomicU64,
    entries: Mutex<BTreeMap<u32, Entry>>,
}

impl Ledger for Notes {
    fn next_fh(&self) -> u64 {
        self.next_fh.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn add(&self, entry: Entry) -> Option<Place> {
        let mut entries = self.entries.lock().expect("lock");
        let place = (0..).find(|place| !entries.contains_key(place))?;
        entries.insert(place, entry);
        Some(Place(place))
    }

    fn remove(&self, place: Place) {
        let removed = self.entries.lock().expect("lock").remove(&place.0);
        assert!(removed.is_some(), "struck out twice");
    }

    fn entries(&self) -> Vec<(Place, Entry)> {
        let entries = self.entries.lock().expect("lock");
        entries
            .iter()
            .map(|(n, entry)| (Place(*n), *entry))
            .collect()
    }

    fn note_declined(&self, _ino: u64) {}

    fn was_declined_before(&self, _ino: u64) -> bool {
        false
    }
}

/// What the kernel knows.
#[derive(Default)]
struct Kernel {
    backings: Arc<Mutex<HashSet<u32>>>,
    next_backing: u32,
    next_request: u64,
    /// By handle: its inode, and its backing if it has one.
    open: BTreeMap<u64, (u64, Option<u32>)>,
}

impl Kernel {
    /// Takes the answer to an open; it refuses what the real one refuses.
    fn opened(&mut self, fh: u64, ino: u64, mode: &OpenMode) {
        let backing = match mode {
            OpenMode::Passthrough(backing) => Some(backing.id()),
            _ => None,
        };
        if let Some(id) = backing {
            assert!(self.backings.lock().expect("lock").contains(&id), "closed");
        }
        for (other_ino, other) in self.open.values() {
            assert!(*other_ino != ino || *other == backing, "EIO");
        }
        assert!(self.open.insert(fh, (ino, backing)).is_none(), "fh twice");
    }
}

/// A request to open, and what registering a backing does.
struct Asked<'a>(&'a mut Kernel, u64);

impl Opening for Asked<'_> {
    fn register(&mut self, _file: BorrowedFd<'_>) -> io::Result<Backing> {
        self.0.next_backing += 1;
        let id = self.0.next_backing;
        self.0.backings.lock().expect("lock").insert(id);
        Ok(Backing::new(id, closer(self.0)))
    }

    fn request(&self) -> u64 {
        self.1
    }
}

fn closer(kernel: &Kernel) -> impl Fn(u32) + Send + Sync + 'static {
    let backings = kernel.backings.clone();
    move |id| assert!(backings.lock().expect("lock").remove(&id), "closed twice")
}

/// A process that serves.
struct Process {
    modes: Modes,
    handles: Handles,
    cache: Cache,
    slabs: HashMap<u64, SlabUse>,
}

impl Process {
    fn new(notes: &Arc<Notes>, kernel: &Kernel) -> Process {
        let process = Process {
            modes: Modes::default(),
            handles: Handles::default(),
            cache: Cache::new(1 << 20, 100).expect("cache"),
            slabs: HashMap::new(),
        };
        let entries = process.handles.connect(notes.clone());
        let adopt = |id| Backing::adopted(id, closer(kernel));
        process.modes.inherit(notes.clone(), &entries, &adopt);
        process
    }

    fn slab(&mut self, ino: u64) -> &Slab {
        let layout = || Layout {
            header: vec![0; 16],
            frame_len_bytes: 64,
            frame_count: 1,
        };
        let key = SlabKey {
            volume: ino.to_string(),
            variant: "",
            fingerprint: [0; 32],
        };
        let cache = &self.cache;
        let slab = self.slabs.entry(ino);
        slab.or_insert_with(|| cache.open(&key, layout).expect("slab"))
    }

    fn complete(&mut self, ino: u64) {
        if let Claim::Mine(filling) = self.slab(ino).claim(0) {
            filling.commit();
        }
    }

    fn open(&mut self, ino: u64, kernel: &mut Kernel, request: u64) -> (u64, OpenMode) {
        self.slab(ino);
        let slab = &self.slabs[&ino];
        let (mode, open_mode) = self.modes.open(ino, slab, &mut Asked(kernel, request));
        let fh = self.handles.next_fh(Version::of([1; 4]));
        let content = Content::fixed([]);
        let added = self
            .handles
            .add(fh, attr(ino), content, Some((mode, request)));
        assert!(added.is_ok());
        (fh, open_mode)
    }

    fn release(&self, fh: u64) {
        if let Some(released) = self.handles.release(fh) {
            let slab = self.slabs.get(&released.ino).map(|slab| &**slab);
            let mode = released.mode.expect("a mode");
            self.modes.close(released.ino, mode, slab);
        }
    }

    fn repeat_open(&mut self, ino: u64, kernel: &mut Kernel, request: u64) -> (u64, OpenMode) {
        if let Some(released) = self.handles.take_unanswered(request) {
            let mode = released.mode.expect("a mode");
            self.modes.close(released.ino, mode, None);
        }
        self.open(ino, kernel, request)
    }
}

fn attr(ino: u64) -> Attr {
    Attr {
        ino,
        kind: Kind::File,
        size_bytes: 80,
        mtime: SystemTime::UNIX_EPOCH,
        mode: 0o444,
        nlink: 1,
        uid: 0,
        gid: 0,
        ttl: Duration::ZERO,
    }
}

#[derive(Debug, Clone)]
enum Op {
    Open(u64),
    Complete(u64),
    Release(Index),
    Crash,
    /// The process dies when it has opened a file and not said so.
    CrashInOpen(u64),
    /// The process dies when it has closed a file, or was about to.
    CrashInRelease(Index, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let ino = || 0..INODES;
    prop_oneof![
        6 => ino().prop_map(Op::Open),
        2 => ino().prop_map(Op::Complete),
        4 => any::<Index>().prop_map(Op::Release),
        1 => Just(Op::Crash),
        1 => ino().prop_map(Op::CrashInOpen),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(n, done)| Op::CrashInRelease(n, done)),
    ]
}

fn play(ops: Vec<Op>) {
    let notes = Arc::new(Notes::default());
    let mut kernel = Kernel::default();
    let mut process = Process::new(&notes, &kernel);
    // Nothing of a process that dies is dropped.
    let crash = |process: &mut Process, kernel: &Kernel| {
        std::mem::forget(std::mem::replace(process, Process::new(&notes, kernel)));
    };
    let any_fh = |kernel: &Kernel, n: Index| {
        let open: Vec<u64> = kernel.open.keys().copied().collect();
        (!open.is_empty()).then(|| *n.get(&open))
    };
    for op in ops {
        kernel.next_request += 2;
        let request = kernel.next_request;
        match op {
            Op::Open(ino) => {
                let (fh, mode) = process.open(ino, &mut kernel, request);
                kernel.opened(fh, ino, &mode);
            }
            Op::Complete(ino) => process.complete(ino),
            Op::Release(n) => {
                let Some(fh) = any_fh(&kernel, n) else {
                    continue;
                };
                kernel.open.remove(&fh);
                process.release(fh);
            }
            Op::Crash => crash(&mut process, &kernel),
            Op::CrashInOpen(ino) => {
                process.open(ino, &mut kernel, request);
                crash(&mut process, &kernel);
                let (fh, mode) = process.repeat_open(ino, &mut kernel, request);
                kernel.opened(fh, ino, &mode);
            }
            Op::CrashInRelease(n, is_done) => {
                let Some(fh) = any_fh(&kernel, n) else {
                    continue;
                };
                kernel.open.remove(&fh);
                if is_done {
                    process.release(fh);
                }
                crash(&mut process, &kernel);
                process.release(fh);
            }
        }
    }
    for fh in std::mem::take(&mut kernel.open).into_keys() {
        process.release(fh);
    }
    drop(process);
    assert!(kernel.backings.lock().expect("lock").is_empty(), "left");
    assert!(notes.entries().is_empty(), "left: {:?}", notes.entries());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_open_is_ever_refused(ops in prop::collection::vec(op(), 1..60)) {
        play(ops);
    }
}

#[test]
fn an_inherited_backing_serves_new_opens() {
    let notes = Arc::new(Notes::default());
    let mut kernel = Kernel::default();
    let mut first = Process::new(&notes, &kernel);
    first.complete(0);
    let (old, mode) = first.open(0, &mut kernel, 2);
    assert!(matches!(mode, OpenMode::Passthrough(_)));
    kernel.opened(old, 0, &mode);
    std::mem::forget(first);
    let mut second = Process::new(&notes, &kernel);
    let (new, mode) = second.open(0, &mut kernel, 4);
    assert!(matches!(&mode, OpenMode::Passthrough(backing) if backing.id() == 1));
    kernel.opened(new, 0, &mode);
    drop(mode);
    second.release(old);
    assert_eq!(kernel.backings.lock().expect("lock").len(), 1, "in use");
    second.release(new);
    assert!(kernel.backings.lock().expect("lock").is_empty());
}
