//! Frames that a device decodes for a volume whose memory it is filling: it leaves them there itself,
//! beside the slab, so that they do not go up again.
//!
//! A residence that is being filled is a [`Target`] for the batches of its device. Each of its frames is
//! written there by one at a time, a batch or who fills. A batch gets a [`Beside`] only where nobody has
//! seen to any of its frames yet, and filling does not end before all frames are seen to: so no batch
//! writes to memory that was shown to anybody. What becomes of a batch is for its lane to say; without a
//! word its frames are to be copied as all others.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{DeviceMemory, Residences};
use crate::cache::SlabKey;
use crate::decode::gpu::ResidentId;

/// How it stands with a frame of a residence that is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody has seen to it.
    Open,
    /// A batch under way may write it.
    Batch,
    /// Who fills has written it, or is about to.
    Filler,
    /// A batch has left it there, and it is right.
    There,
}

/// A residence that is being filled, for the batches of its device.
pub(super) struct Target {
    key: SlabKey,
    memory: Arc<dyn DeviceMemory>,
    id: ResidentId,
    inner: Mutex<Inner>,
    /// A frame is with a batch no more.
    freed: Condvar,
}

struct Inner {
    places: Vec<Place>,
    /// A batch may write at any time, for all that is known: nothing here is of use any more.
    is_spoiled: bool,
}

impl Target {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment, or several of one kind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes frames for a batch: all of them, or none.
    fn take_for_batch(&self, frames: &[usize]) -> bool {
        let mut inner = self.inner();
        let is_open = |frame: &usize| inner.places.get(*frame) == Some(&Place::Open);
        if inner.is_spoiled || !frames.iter().all(is_open) {
            return false;
        }
        for frame in frames {
            inner.places[*frame] = Place::Batch;
        }
        true
    }

    /// Takes a frame for who fills, if nobody has seen to it: what it was.
    pub(super) fn take(&self, frame: usize) -> Place {
        let mut inner = self.inner();
        let Some(place) = inner.places.get_mut(frame) else {
            return Place::Open;
        };
        let was = *place;
        if was == Place::Open {
            *place = Place::Filler;
        }
        was
    }

    /// Takes a run of frames for who fills: those that are not there, in runs of neighbours. Waits for
    /// batches, at most for `time`: `None` while one still has a frame of them.
    pub(super) fn take_run(
        &self,
        frames: Range<usize>,
        time: Duration,
    ) -> Option<Vec<Range<usize>>> {
        let until = Instant::now() + time;
        let mut inner = self.inner();
        while inner.places[frames.clone()].contains(&Place::Batch) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.freed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut own: Vec<Range<usize>> = Vec::new();
        for frame in frames {
            if inner.places[frame] == Place::There {
                continue;
            }
            inner.places[frame] = Place::Filler;
            match own.last_mut() {
                Some(last) if last.end == frame => last.end += 1,
                _ => own.push(frame..frame + 1),
            }
        }
        Some(own)
    }

    /// Gives a frame up that who fills has taken, if he has.
    pub(super) fn give_up(&self, frame: usize) {
        let mut inner = self.inner();
        if let Some(place) = inner.places.get_mut(frame)
            && *place == Place::Filler
        {
            *place = Place::Open;
        }
    }

    /// The first of the frames that is not there.
    pub(super) fn first_missing(&self, mut frames: Range<usize>) -> Option<usize> {
        let inner = self.inner();
        frames.find(|frame| inner.places.get(*frame) != Some(&Place::There))
    }

    /// True once nothing of the memory may be shown.
    pub(super) fn is_spoiled(&self) -> bool {
        self.inner().is_spoiled
    }
}

/// A target as long as its residence is being filled.
pub(super) struct Filling<'r> {
    residences: &'r Residences,
    target: Arc<Target>,
}

impl std::ops::Deref for Filling<'_> {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let mut targets = self.residences.targets();
        targets.retain(|target| !Arc::ptr_eq(target, &self.target));
    }
}

/// A batch's frames of one stream that are left in a residence too. Dropped, those of which nothing was
/// said are for who fills.
pub(in crate::fetch) struct Beside {
    residences: Arc<Residences>,
    target: Arc<Target>,
    frames: HashSet<usize>,
}

impl Beside {
    /// Whose memory.
    pub(in crate::fetch) fn id(&self) -> ResidentId {
        self.target.id
    }

    /// Whether what an answered batch left there is there. Then the device's process had the memory all
    /// the time: it is lost for good with its process, and when it is released.
    pub(in crate::fetch) fn is_held(&self) -> bool {
        self.target.memory.is_held(self.target.id)
    }

    /// A frame is right, and is about to be shown.
    pub(in crate::fetch) fn note(&mut self, frame: usize) {
        if self.set(frame, Place::There) {
            let count = &self.residences.counters.beside_frames;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A frame is another's to make. To be called before he can.
    pub(in crate::fetch) fn leave(&mut self, frame: usize) {
        self.set(frame, Place::Open);
    }

    /// The batch may write at any time.
    pub(in crate::fetch) fn spoil(self) {
        self.target.inner().is_spoiled = true;
    }

    fn set(&mut self, frame: usize, place: Place) -> bool {
        let is_mine = self.frames.remove(&frame);
        if is_mine {
            self.target.inner().places[frame] = place;
            self.target.freed.notify_all();
        }
        is_mine
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        for frame in std::mem::take(&mut self.frames) {
            self.target.inner().places[frame] = Place::Open;
        }
        self.target.freed.notify_all();
    }
}

impl Residences {
    /// Offers the memory of a residence, of as many frames, to the batches of its device.
    pub(super) fn offer(
        &self,
        key: &SlabKey,
        memory: &Arc<dyn DeviceMemory>,
        id: ResidentId,
        frame_count: usize,
    ) -> Filling<'_> {
        let target = Arc::new(Target {
            key: key.clone(),
            memory: memory.clone(),
            id,
            inner: Mutex::new(Inner {
                places: vec![Place::Open; frame_count],
                is_spoiled: false,
            }),
            freed: Condvar::new(),
        });
        self.targets().push(target.clone());
        Filling {
            residences: self,
            target,
        }
    }

    /// Where the device with this number, as the driver counts, is to leave frames of a slab as well. Of
    /// several residences one; the others get copies.
    pub(in crate::fetch) fn beside(
        self: &Arc<Residences>,
        ordinal: u32,
        key: &SlabKey,
        frames: &[usize],
    ) -> Option<Beside> {
        let targets = self.targets();
        let target = targets.iter().find(|target| {
            let is_its = target.id.ordinal == ordinal && target.key == *key;
            is_its && target.take_for_batch(frames)
        });
        Some(Beside {
            residences: self.clone(),
            target: target?.clone(),
            frames: frames.iter().copied().collect(),
        })
    }

    fn targets(&self) -> MutexGuard<'_, Vec<Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
