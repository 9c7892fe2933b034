//! What an open `preview.png` holds: a picture that is made when it is first read.
//!
//! Neither `stat` nor `open` decodes anything. The first read has a worker ask for the frames that
//! the picture needs, a few at a time; each is answered by whoever makes it, and the answer asks for
//! the next. The last one writes the PNG, keeps it for the life of the handle and answers all who
//! wait. The frames come from the volume's own slab, so that they are there for other readers, and
//! no sweep is started. No thread ever waits here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::clamp;
use super::view::stream;
use super::{Error, ReadReply};
use crate::archive::Source;
use crate::fetch::{self, Fetcher, Reader, Stream};
use crate::format::npy;
use crate::format::preview::{Layout, Picture};
use crate::volume::{Variant, Volume};

/// Frames asked for at a time: enough for all cores of most machines, and few enough that frames
/// demanded by other readers meanwhile are not far behind in the queue.
const FRAMES_IN_FLIGHT_MAX: usize = 16;

/// An open `preview.png`.
pub struct Preview(Arc<Job>);

struct Job {
    reader: Reader,
    stream: Arc<Stream>,
    volume: Arc<Volume>,
    /// What `stat` says.
    len_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file, once it is made.
    file: Option<Arc<[u8]>>,
    /// The attempt to make it that is under way.
    attempt: Option<Arc<Attempt>>,
    waiting: Vec<Waiter>,
}

/// One attempt to make the picture.
struct Attempt {
    frames: Vec<usize>,
    progress: Mutex<Progress>,
    /// Until it is complete.
    picture: Mutex<Option<Picture>>,
}

#[derive(Default)]
struct Progress {
    /// Index of the next of the frames to ask for.
    next: usize,
    in_flight: usize,
    /// Some thread is asking: an answer that comes at once must not ask from within.
    is_asking: bool,
    /// Nothing more is wanted: a frame failed.
    is_over: bool,
}

/// A read that waits for the file.
struct Waiter {
    start: usize,
    end: usize,
    reply: Option<ReadReply>,
}

impl Waiter {
    fn answer(mut self, file: &Result<Arc<[u8]>, Error>) {
        if let Some(reply) = self.reply.take() {
            reply.send(match file {
                Ok(file) => Ok(file.get(self.start..self.end).unwrap_or_default()),
                Err(error) => Err(error.clone()),
            });
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Whoever is dropped unanswered was waiting for workers that are gone.
        if let Some(reply) = self.reply.take() {
            reply.send(Err(Error::ShuttingDown));
        }
    }
}

/// An attempt that a worker is to begin; dropped before that, it fails.
struct Start {
    job: Arc<Job>,
    attempt: Arc<Attempt>,
    is_begun: bool,
}

impl Start {
    fn begin(mut self) {
        self.is_begun = true;
        self.job.begin(&self.attempt);
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if !self.is_begun {
            self.job.end(&self.attempt, Err(Error::ShuttingDown));
        }
    }
}

impl Preview {
    /// Opens the preview of a volume.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the volume's array cannot be addressed, [`Error::Io`] when there is
    /// no room for its slab.
    pub fn open(
        fetcher: &Fetcher,
        source: &Arc<Source>,
        volume: &Arc<Volume>,
    ) -> Result<Preview, Error> {
        let stream = stream(fetcher, source, volume, Variant::Values)?;
        Ok(Preview::over(fetcher, stream, volume))
    }

    /// The preview of a volume over the stream of its values.
    fn over(fetcher: &Fetcher, stream: Arc<Stream>, volume: &Arc<Volume>) -> Preview {
        Preview(Arc::new(Job {
            reader: fetcher.reader(),
            stream,
            volume: volume.clone(),
            len_bytes: Layout::of(volume).len_bytes(),
            state: Mutex::default(),
        }))
    }

    /// Reads; answers through `reply`, at once or from a worker. At or past the end of the file the
    /// answer is empty. A frame that fails makes all reads that wait fail with its error; a later
    /// read tries again.
    pub fn read(&self, fetcher: &Fetcher, offset: u64, size_bytes: u64, reply: ReadReply) {
        let (start, end) = clamp(offset, size_bytes, self.0.len_bytes);
        if start == end {
            return reply.send(Ok(&[]));
        }
        let waiter = Waiter {
            start: start as usize,
            end: end as usize,
            reply: Some(reply),
        };
        let mut state = self.0.state();
        if let Some(file) = state.file.clone() {
            drop(state);
            return waiter.answer(&Ok(file));
        }
        state.waiting.push(waiter);
        if state.attempt.is_some() {
            return;
        }
        let attempt = Arc::new(Attempt {
            frames: Layout::of(&self.0.volume).frames().into_iter().collect(),
            progress: Mutex::default(),
            picture: Mutex::default(),
        });
        state.attempt = Some(attempt.clone());
        drop(state);
        let start = Start {
            job: self.0.clone(),
            attempt,
            is_begun: false,
        };
        // Frames that are present answer at once: even then the picture is a worker's business.
        fetcher.run_soon(move || start.begin());
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        // Frames are not made for nobody.
        let attempt = self.0.state().attempt.clone();
        if let Some(attempt) = attempt {
            self.0.end(&attempt, Err(Error::BadHandle));
        }
    }
}

impl Job {
    fn begin(self: &Arc<Job>, attempt: &Arc<Attempt>) {
        let picture = Picture::new(&self.volume);
        if picture.is_complete() {
            return self.end(attempt, self.file(picture));
        }
        *attempt.picture() = Some(picture);
        self.ask(attempt);
    }

    /// Asks for frames until enough are in flight.
    fn ask(self: &Arc<Job>, attempt: &Arc<Attempt>) {
        if std::mem::replace(&mut attempt.progress().is_asking, true) {
            return;
        }
        while let Some(frame) = attempt.next_frame() {
            let (job, asked) = (self.clone(), attempt.clone());
            let take: fetch::Reply = Box::new(move |answer| job.take(&asked, frame, answer));
            let frame_len = self.volume.frame_len_bytes(Variant::Values);
            let start = npy::HEADER_LEN_BYTES as u64 + frame as u64 * frame_len;
            self.reader
                .read(&self.stream, start..start + frame_len, take);
        }
    }

    fn take(
        self: &Arc<Job>,
        attempt: &Arc<Attempt>,
        frame: usize,
        answer: Result<&[u8], fetch::Error>,
    ) {
        let added = answer
            .map_err(Error::from)
            .and_then(|bytes| attempt.add(frame, bytes));
        attempt.progress().in_flight -= 1;
        match added {
            Ok(Some(picture)) => self.end(attempt, self.file(picture)),
            Ok(None) => self.ask(attempt),
            Err(error) => self.end(attempt, Err(error)),
        }
    }

    /// The file of a complete picture, if it is what `stat` promised.
    fn file(&self, picture: Picture) -> Result<Arc<[u8]>, Error> {
        let png = picture
            .png()
            .map_err(|why| Error::Malformed(why.to_string()))?;
        if png.len() as u64 != self.len_bytes {
            return Err(Error::Malformed(format!(
                "the preview is {} bytes long instead of {}",
                png.len(),
                self.len_bytes
            )));
        }
        Ok(png.into())
    }

    /// Ends an attempt, unless it has ended, and answers those who wait.
    fn end(&self, attempt: &Arc<Attempt>, file: Result<Arc<[u8]>, Error>) {
        attempt.progress().is_over = true;
        let waiting = {
            let mut state = self.state();
            if !state
                .attempt
                .as_ref()
                .is_some_and(|a| Arc::ptr_eq(a, attempt))
            {
                return;
            }
            state.attempt = None;
            state.file = file.as_ref().ok().cloned();
            std::mem::take(&mut state.waiting)
        };
        for waiter in waiting {
            waiter.answer(&file);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The next frame to ask for; `None` ends the asking.
    fn next_frame(&self) -> Option<usize> {
        let mut progress = self.progress();
        let frame = self.frames.get(progress.next).copied();
        let frame = frame.filter(|_| progress.in_flight < FRAMES_IN_FLIGHT_MAX);
        match frame.filter(|_| !progress.is_over) {
            Some(frame) => {
                progress.next += 1;
                progress.in_flight += 1;
                Some(frame)
            }
            None => {
                progress.is_asking = false;
                None
            }
        }
    }

    /// Takes a frame; the picture when it was the last.
    fn add(&self, frame: usize, bytes: &[u8]) -> Result<Option<Picture>, Error> {
        let mut picture = self.picture();
        let Some(open) = picture.as_mut() else {
            return Ok(None);
        };
        open.add(frame, bytes)
            .map_err(|why| Error::Malformed(why.to_string()))?;
        Ok(picture.take_if(|open| open.is_complete()))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn picture(&self) -> MutexGuard<'_, Option<Picture>> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
