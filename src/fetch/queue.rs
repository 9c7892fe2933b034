//! The order of work: demanded frames first, then sweeps, one frame of each stream in turn.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::Stream;

type Work = Box<dyn FnOnce() + Send>;

/// What a worker is to do next.
pub(super) enum Task {
    Work(Work),
    Frame {
        stream: Arc<Stream>,
        frame: usize,
        urgent: bool,
    },
}

enum Urgent {
    Work(Work),
    Frame(Arc<Stream>, usize),
}

/// A frame to be made ahead, as long as somebody is interested.
struct Again {
    stream: Weak<Stream>,
    interest: Weak<()>,
    frame: usize,
}

#[derive(Default)]
struct Lists {
    urgent: VecDeque<Urgent>,
    /// Frames of sweeps that were taken by a device and not made.
    again: VecDeque<Again>,
    /// Weak: a stream that every reader has closed is not swept for nobody.
    sweeps: VecDeque<Weak<Stream>>,
    stopped: bool,
}

/// The queue all workers take from.
#[derive(Default)]
pub(super) struct Queue {
    lists: Mutex<Lists>,
    wake: Condvar,
}

impl Queue {
    /// Adds demanded frames. Returns how much waits for a worker now; `None` once the queue is stopped,
    /// when no worker comes any more.
    pub(super) fn push_urgent(&self, stream: &Arc<Stream>, frames: &[usize]) -> Option<usize> {
        let mut lists = self.lock();
        if lists.stopped {
            return None;
        }
        lists.urgent.extend(
            frames
                .iter()
                .map(|&frame| Urgent::Frame(stream.clone(), frame)),
        );
        let waiting = lists.urgent.len();
        drop(lists);
        self.wake.notify_all();
        Some(waiting)
    }

    /// Adds a demanded frame again that a device was given and has not made: before all others.
    pub(super) fn push_urgent_again(&self, stream: &Arc<Stream>, frame: usize) {
        let frame = Urgent::Frame(stream.clone(), frame);
        self.lock().urgent.push_front(frame);
        self.wake.notify_one();
    }

    /// The demanded frames that no worker has taken yet, in order; none unless they are more than
    /// `workers`, which will take as many at once.
    pub(super) fn waiting(&self, workers: usize) -> Vec<(Arc<Stream>, usize)> {
        let lists = self.lock();
        if lists.urgent.len() <= workers {
            return Vec::new();
        }
        let frame = |urgent: &Urgent| match urgent {
            Urgent::Frame(stream, frame) => Some((stream.clone(), *frame)),
            Urgent::Work(_) => None,
        };
        lists.urgent.iter().filter_map(frame).collect()
    }

    /// Takes demanded frames of a stream away from the workers: those of `frames` that still wait.
    pub(super) fn take_waiting(&self, stream: &Arc<Stream>, frames: &[usize]) -> Vec<usize> {
        let mut taken = Vec::new();
        let mut lists = self.lock();
        lists.urgent.retain(|urgent| match urgent {
            Urgent::Frame(of, frame) if Arc::ptr_eq(of, stream) && frames.contains(frame) => {
                // Not the last of the stream: the caller holds it.
                taken.push(*frame);
                false
            }
            _ => true,
        });
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// Adds work that somebody waits for; once the queue is stopped it is dropped, which tells him.
    pub(super) fn push_work(&self, work: Work) {
        let mut lists = self.lock();
        if lists.stopped {
            // Outside the lock: dropping a piece of work answers whoever waits for it.
            drop(lists);
            drop(work);
            return;
        }
        lists.urgent.push_back(Urgent::Work(work));
        drop(lists);
        self.wake.notify_one();
    }

    pub(super) fn push_sweep(&self, stream: &Arc<Stream>) {
        self.lock().sweeps.push_back(Arc::downgrade(stream));
        self.wake.notify_all();
    }

    /// Adds a frame of a sweep that a device has left, before all sweeps.
    pub(super) fn push_again(&self, stream: &Arc<Stream>, interest: &Weak<()>, frame: usize) {
        self.lock().again.push_back(Again {
            stream: Arc::downgrade(stream),
            interest: interest.clone(),
            frame,
        });
        self.wake.notify_one();
    }

    /// The streams that have something to be made ahead.
    pub(super) fn swept(&self) -> Vec<Arc<Stream>> {
        let lists = self.lock();
        let swept: Vec<Weak<Stream>> = lists.sweeps.iter().cloned().collect();
        drop(lists);
        swept.iter().filter_map(Weak::upgrade).collect()
    }

    /// How much is urgent, and how many streams and frames there are to be made ahead.
    pub(super) fn depth(&self) -> (u64, u64) {
        let lists = self.lock();
        let ahead = lists.sweeps.len() + lists.again.len();
        (lists.urgent.len() as u64, ahead as u64)
    }

    /// Waits for the next task; `None` once the queue is stopped.
    pub(super) fn next(&self) -> Option<Task> {
        let mut lists = self.lock();
        loop {
            if lists.stopped {
                return None;
            }
            match lists.urgent.pop_front() {
                Some(Urgent::Work(work)) => return Some(Task::Work(work)),
                Some(Urgent::Frame(stream, frame)) => {
                    return Some(Task::Frame {
                        stream,
                        frame,
                        urgent: true,
                    });
                }
                None => {}
            }
            if let Some(task) = lists.next_again() {
                return Some(task);
            }
            if let Some(task) = lists.next_sweep() {
                return Some(task);
            }
            lists = self
                .wake
                .wait(lists)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends all waiting; work not begun is dropped.
    pub(super) fn stop(&self) {
        let mut lists = self.lock();
        lists.stopped = true;
        let dropped = std::mem::take(&mut lists.urgent);
        drop(lists);
        // Outside the lock: dropping a piece of work answers whoever waits for it.
        drop(dropped);
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn next_again(&mut self) -> Option<Task> {
        while let Some(again) = self.again.pop_front() {
            if again.interest.strong_count() == 0 {
                continue;
            }
            if let Some(stream) = again.stream.upgrade() {
                return Some(Task::Frame {
                    stream,
                    frame: again.frame,
                    urgent: false,
                });
            }
        }
        None
    }

    fn next_sweep(&mut self) -> Option<Task> {
        while let Some(weak) = self.sweeps.pop_front() {
            let Some(stream) = weak.upgrade() else {
                continue;
            };
            if let Some(frame) = stream.next_sweep_frame() {
                self.sweeps.push_back(weak);
                return Some(Task::Frame {
                    stream,
                    frame,
                    urgent: false,
                });
            }
        }
        None
    }
}
