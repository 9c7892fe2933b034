//! A device's memory in this process, whose exported descriptors are anonymous files, and a volume whose
//! frames it can read from a file or leave to who makes them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::decode::cpu::tests::gray;
use crate::decode::gpu::{
    Codec, DirectJob, Exported, Fault, Handle, Job, Outcome, Piece, ReserveError, ResidentId, Show,
};
use crate::fetch::resident::{DeviceMemory, DirectFrame};
use crate::fetch::{Error, Produce, Readiness, Unfit};

pub(crate) const FRAME: usize = 4096;

/// What a device's memory does.
pub(crate) struct Fake {
    pub(crate) memory_bytes: u64,
    /// What it gives out at a time.
    pub(crate) granule_bytes: u64,
    by_ipc: bool,
    pub(crate) readiness: Mutex<Readiness>,
    /// The only volume that it prefers, if it does not prefer all.
    pub(crate) prefers: Option<&'static str>,
    pub(crate) held: Mutex<HashMap<u64, (File, u64)>>,
    next: AtomicU64,
    pub(crate) uploads: AtomicUsize,
    pub(crate) direct_frames: AtomicUsize,
    pub(crate) released: AtomicUsize,
    /// Frames that it reads wrong, and those that it leaves alone and says it has read.
    pub(crate) wrong: Mutex<HashSet<usize>>,
    pub(crate) forgotten: Mutex<HashSet<usize>>,
    /// How many more copies it makes before its process dies once.
    pub(crate) dies_after: Mutex<Option<usize>>,
    pub(crate) gate: Gate,
    /// What happens when it is asked next how much memory it has.
    pub(crate) meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// A door that copies wait at while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
    pub(crate) waiting: AtomicBool,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.is_closed.lock().unwrap();
        while *closed {
            self.waiting.store(true, Ordering::SeqCst);
            closed = self.opened.wait(closed).unwrap();
        }
    }
}

impl Fake {
    pub(crate) fn new(memory_bytes: u64) -> Fake {
        Fake {
            memory_bytes,
            granule_bytes: 1,
            by_ipc: false,
            readiness: Mutex::new(Readiness::Ready),
            prefers: None,
            held: Mutex::default(),
            next: AtomicU64::new(1),
            uploads: AtomicUsize::new(0),
            direct_frames: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            wrong: Mutex::default(),
            forgotten: Mutex::default(),
            dies_after: Mutex::default(),
            gate: Gate::default(),
            meanwhile: Mutex::default(),
        }
    }

    pub(crate) fn by_ipc(memory_bytes: u64) -> Fake {
        Fake {
            by_ipc: true,
            ..Fake::new(memory_bytes)
        }
    }

    /// The process that holds the memory dies, and another one takes its place.
    pub(crate) fn die(&self) {
        self.held.lock().unwrap().clear();
    }

    fn file(&self, id: ResidentId) -> Result<File, Fault> {
        self.gate.pass();
        let mut dies = self.dies_after.lock().unwrap();
        match dies.as_mut() {
            Some(0) => {
                *dies = None;
                drop(dies);
                self.die();
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let held = self.held.lock().unwrap();
        let (file, _) = held
            .get(&id.number)
            .ok_or_else(|| Fault::Lost("its process died".to_string()))?;
        Ok(file.try_clone().unwrap())
    }
}

fn copy(from: &File, at: u64, to: &File, to_at: u64, len: u64) {
    let mut bytes = vec![0; len as usize];
    from.read_exact_at(&mut bytes, at).unwrap();
    to.write_all_at(&bytes, to_at).unwrap();
}

fn open(fd: BorrowedFd<'_>) -> File {
    File::from(fd.try_clone_to_owned().unwrap())
}

impl DeviceMemory for Fake {
    fn ordinal(&self) -> u32 {
        7
    }

    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }

    fn prefers(&self, volume: &str) -> bool {
        self.prefers.is_none_or(|prefers| prefers == volume)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Some(self.memory_bytes)
    }

    fn reserve(&self, len_bytes: u64, _: u64) -> Result<(ResidentId, Exported), ReserveError> {
        let mut held = self.held.lock().unwrap();
        let used: u64 = held.values().map(|(_, len)| len).sum();
        let allocation_bytes = len_bytes.next_multiple_of(self.granule_bytes);
        if allocation_bytes > self.memory_bytes {
            return Err(ReserveError::TooLarge);
        }
        if used + allocation_bytes > self.memory_bytes {
            return Err(ReserveError::NoMemory);
        }
        let memory = rustix::fs::memfd_create("device", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(memory);
        file.set_len(allocation_bytes).unwrap();
        let handle = match self.by_ipc {
            true => Handle::Ipc([0xab; 64]),
            false => Handle::Descriptor(file.try_clone().unwrap().into()),
        };
        let id = ResidentId {
            ordinal: 7,
            process: 1,
            number: self.next.fetch_add(1, Ordering::SeqCst),
        };
        held.insert(id.number, (file, allocation_bytes));
        let exported = Exported {
            device_uuid: "GPU-00000000-0000-0000-0000-000000000007".to_string(),
            len_bytes,
            allocation_bytes,
            handle,
        };
        Ok((id, exported))
    }

    fn is_held(&self, id: ResidentId) -> bool {
        self.held.lock().unwrap().contains_key(&id.number)
    }

    fn upload(
        &self,
        id: ResidentId,
        slab: BorrowedFd<'_>,
        slab_len_bytes: u64,
        pieces: &[Piece],
        _deadline: Duration,
    ) -> Result<(), Fault> {
        let file = self.file(id)?;
        for piece in pieces {
            assert!(piece.file_offset_bytes + piece.len_bytes <= slab_len_bytes);
            let (from, to) = (piece.file_offset_bytes, piece.offset_bytes);
            copy(&open(slab), from, &file, to, piece.len_bytes);
        }
        self.uploads.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn direct(
        &self,
        id: ResidentId,
        files: &[BorrowedFd<'_>],
        jobs: &[DirectJob],
        _deadline: Duration,
    ) -> Result<Vec<Outcome>, Fault> {
        let memory = self.file(id)?;
        let outcome = |job: &DirectJob| {
            let frame = (job.job.out.start / FRAME as u64) as usize;
            if self.forgotten.lock().unwrap().contains(&frame) {
                return Outcome::Done;
            }
            let (from, out) = (open(files[job.file as usize]), &job.job.out);
            let len = out.end - out.start;
            if from.metadata().unwrap().len() < job.file_offset_bytes + len {
                return Outcome::Failed("the file is short".to_string());
            }
            copy(&from, job.file_offset_bytes, &memory, out.start, len);
            if self.wrong.lock().unwrap().contains(&frame) {
                memory.write_all_at(&[0xff], out.start + len / 2).unwrap();
            }
            self.direct_frames.fetch_add(1, Ordering::SeqCst);
            Outcome::Done
        };
        Ok(jobs.iter().map(outcome).collect())
    }

    fn download(
        &self,
        id: ResidentId,
        pieces: &[Piece],
        into: BorrowedFd<'_>,
        _deadline: Duration,
    ) -> Result<(), Fault> {
        let memory = self.file(id)?;
        for piece in pieces {
            let (from, to) = (piece.offset_bytes, piece.file_offset_bytes);
            copy(&memory, from, &open(into), to, piece.len_bytes);
        }
        Ok(())
    }

    fn release(&self, id: ResidentId) {
        self.held.lock().unwrap().remove(&id.number);
        self.released.fetch_add(1, Ordering::SeqCst);
    }
}

/// A volume whose frames are made from a file.
pub(crate) struct Volume {
    file: Arc<File>,
    pub(crate) direct: HashSet<usize>,
    /// Frames that cannot be made.
    pub(crate) broken: HashMap<usize, Error>,
    /// Those whose file is found to have changed after it was read.
    pub(crate) changed: HashSet<usize>,
    pub(crate) made: Mutex<Vec<usize>>,
    pub(crate) gate: Gate,
}

impl Volume {
    pub(crate) fn new(frames: usize) -> Volume {
        let file = tempfile::tempfile().unwrap();
        for frame in 0..frames {
            file.write_all_at(&frame_bytes(frame), (frame * FRAME) as u64)
                .unwrap();
        }
        Volume {
            file: Arc::new(file),
            direct: HashSet::new(),
            broken: HashMap::new(),
            changed: HashSet::new(),
            made: Mutex::default(),
            gate: Gate::default(),
        }
    }

    pub(crate) fn all_direct(frames: usize) -> Volume {
        let mut volume = Volume::new(frames);
        volume.direct = (0..frames).collect();
        volume
    }
}

/// No two bytes of a frame's start are the same, and no two frames.
pub(crate) fn frame_bytes(frame: usize) -> Vec<u8> {
    (0..FRAME).map(|n| (n * 7 + frame * 31) as u8).collect()
}

/// What the memory of a volume has to hold.
pub(crate) fn array(frames: usize) -> Vec<u8> {
    (0..frames).flat_map(frame_bytes).collect()
}

impl Produce for Volume {
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), Error> {
        self.gate.pass();
        self.made.lock().unwrap().push(frame);
        if let Some(error) = self.broken.get(&frame) {
            return Err(error.clone());
        }
        out.copy_from_slice(&frame_bytes(frame));
        Ok(())
    }

    fn describe(&self, frame: usize) -> String {
        format!("frame {}", frame + 1)
    }

    fn is_direct(&self, frame: usize) -> bool {
        self.direct.contains(&frame)
    }

    fn direct(&self, frame: usize) -> Result<DirectFrame<'_>, Unfit> {
        let changed = self.changed.contains(&frame);
        let verify = move || match changed {
            true => Err(Error::Changed("scripted".to_string())),
            false => Ok(()),
        };
        Ok(DirectFrame {
            file: self.file.clone(),
            file_offset_bytes: (frame * FRAME) as u64,
            job: Job {
                codec: Codec::Native { big_endian: false },
                image: gray(1, FRAME as u32 / 2, 16),
                show: Show::Stored,
                encoded: 0..FRAME as u64,
                out: 0..0,
            },
            verify: Box::new(verify),
        })
    }
}
