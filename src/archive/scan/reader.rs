//! A thread that looks at the files of a scan, many at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use super::Message;
use crate::archive::index::lock;
use crate::archive::outcome::Progress;
use crate::archive::read::Looked;
use crate::archive::walk::Job;

/// Takes jobs until there are no more.
pub(super) fn reader(
    waiting: &Mutex<Receiver<Job>>,
    messages: SyncSender<Message>,
    stop: &AtomicBool,
    done: &AtomicU64,
    progress: &dyn Progress,
) {
    loop {
        let job = lock(waiting).recv();
        let Ok(job) = job else {
            return;
        };
        // After a failure jobs are still taken, so that the walk does not wait for ever.
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        let count = job.files.len() as u64;
        let looked = look(&job);
        if messages.send(Message::Looked(job.work, looked)).is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        progress.files_done(done.fetch_add(count, Ordering::Relaxed) + count);
    }
}

/// Looks at files: only at their size and time where those are as known.
fn look(job: &Job) -> Looked {
    let mut looked = match job.work.known.is_empty() {
        true => Looked::with_room(job.files.len()),
        false => Looked::default(),
    };
    for (name, is_link) in &job.files {
        if let Some(known) = job.work.known.get(name)
            && let Ok(state) = job.work.opened.state_of(name)
            && state.is_file
            && known.identity.is_met_by(&state.identity)
            && job.work.opened.member(name) == known.member
        {
            looked.same.push((known.group, known.position));
            continue;
        }
        looked.read(&job.work.opened, name, *is_link);
    }
    looked
}
