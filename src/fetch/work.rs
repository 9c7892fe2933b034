//! A worker: takes what is next in the queue, and what becomes of a frame that is made.
//!
//! A frame that the tier below the cache has is taken from there, any other is made from its source.
//! Whatever happens on the way, who waits for the frame is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use super::queue::Task;
use super::tally::Maker;
use super::{Error, FAILURES_MAX, Failure, Shared, Stream};
use crate::cache::{Claim, Filling};

impl Shared {
    pub(super) fn work(&self) {
        while let Some(task) = self.queue.next() {
            // Whatever is wrong with one frame or one reply, the worker is there for the next.
            match task {
                Task::Work(work) => {
                    if catch_unwind(AssertUnwindSafe(work)).is_err() {
                        tracing::error!("a decode worker survived a panic");
                    }
                }
                Task::Frame {
                    stream,
                    frame,
                    urgent,
                } => {
                    let make = || self.make(&stream, frame, urgent);
                    if catch_unwind(AssertUnwindSafe(make)).is_err() {
                        tracing::error!("a decode worker survived a panic");
                        // Who waits for the frame is not to wait for ever.
                        stream.done(frame, Err(panicked()));
                    }
                }
            }
        }
    }

    fn make(&self, stream: &Arc<Stream>, frame: usize, urgent: bool) {
        if let Err(error) = stream.producer().admit(frame) {
            self.record_failure(stream, frame, &error);
            return stream.done(frame, Err(error));
        }
        let cost_bytes = stream.slab().cost_bytes(frame);
        let room = self.cache.make_room(cost_bytes);
        if !room.fits() && !urgent {
            stream.stop_sweeps();
            return;
        }
        let filling = match stream.slab().claim(frame) {
            Claim::Mine(filling) => filling,
            // Whoever made or makes it sees to those who wait.
            Claim::Present | Claim::Taken => return,
            Claim::Dropping => {
                thread::yield_now();
                self.queue.push_urgent(stream, &[frame]);
                return;
            }
        };
        // From here on the frame itself is counted.
        let fits = room.fits();
        drop(room);
        let outcome = self.fill(stream, frame, filling);
        if let Err(error) = &outcome {
            self.record_failure(stream, frame, error);
        }
        stream.done(frame, outcome);
        if !fits {
            self.cache.trim();
        }
    }

    fn fill(&self, stream: &Stream, frame: usize, mut filling: Filling<'_>) -> Result<(), Error> {
        if stream.slab().has_copy() {
            stream.producer().verify(frame)?;
            if filling.restore() {
                if filling.commit() {
                    stream.slab().complete_copy();
                }
                let len = stream.slab().frame_len_bytes() as u64;
                self.tallies.count(stream.tally(), Maker::CacheDir, len, 0);
                return Ok(());
            }
        }
        let ns = loop {
            match filling.make(|out| self.produce(stream, frame, out)) {
                // Volumes that nobody reads have descriptors that the source file can do with.
                Err(error) if error.is_lack_of_descriptors() && self.cache.shed() => {}
                made => break made?,
            }
        };
        let producer = stream.producer();
        let codec = producer.codec(frame).unwrap_or("other");
        let maker = producer.decoder(frame).map(|name| Maker::Cpu(name, codec));
        self.keep(stream, filling, maker, ns);
        Ok(())
    }

    /// Has the CPU make a frame; ns that it took.
    pub(super) fn produce(
        &self,
        stream: &Stream,
        frame: usize,
        out: &mut [u8],
    ) -> Result<u64, Error> {
        let start = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| stream.producer().produce(frame, out)));
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.frame_ns.fetch_add(ns, Ordering::Relaxed);
        match made {
            Ok(made) => made?,
            Err(_) => return Err(panicked()),
        }
        if let Some(devices) = &self.devices {
            devices.cpu_took(stream, frame, ns);
        }
        Ok(ns)
    }

    /// Shows a frame that was made from its source within `ns`, and counts it.
    pub(super) fn keep(
        &self,
        stream: &Stream,
        filling: Filling<'_>,
        maker: Option<Maker>,
        ns: u64,
    ) {
        let len = stream.slab().frame_len_bytes() as u64;
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters.frame_bytes.fetch_add(len, Ordering::Relaxed);
        filling.commit();
        stream.slab().keep_copy(ns);
        if let Some(maker) = maker {
            self.tallies.count(stream.tally(), maker, len, ns);
        }
    }

    fn record_failure(&self, stream: &Stream, frame: usize, error: &Error) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.record(stream, frame, "decode_error", error.to_string());
    }

    /// Adds a finding about a frame.
    pub(super) fn record(&self, stream: &Stream, frame: usize, code: &'static str, what: String) {
        let failure = Failure {
            volume: stream.volume().to_string(),
            frame: stream.producer().describe(frame),
            code,
            what,
        };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILURES_MAX || failures.contains(&failure) {
            return;
        }
        failures.push(failure.clone());
        drop(failures);
        // Who reads the log may be slow, and who reads the findings does not wait for him.
        let Failure { volume, what, .. } = failure;
        tracing::warn!("{volume} frame {}: {what}", frame + 1);
    }
}

/// What a frame is whose maker panicked: nothing better will come of it.
fn panicked() -> Error {
    Error::Malformed("the decoder gave up by a panic".to_string())
}
