//! An interruption as a question: work that has something to clean up is asked to end, and nothing
//! else is waited for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::mount::Signals;

/// Watches for signals that ask for the end.
#[derive(Clone)]
pub struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    is_heeded: AtomicBool,
    asked: Mutex<bool>,
    wake: Condvar,
}

impl Interrupt {
    /// Watches from now on. To be called before any other thread is started. Until
    /// [`Interrupt::heed`] a signal ends the process at once, as it would without this; after the
    /// first one that is heeded the next does.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn watch() -> io::Result<Interrupt> {
        let signals = Signals::block(false)?;
        let state = Arc::new(State::default());
        let watched = state.clone();
        let watch = move || {
            loop {
                match signals.wait() {
                    Ok(_) if watched.take() => {}
                    Ok(signal) => std::process::exit(signal.exit_status()),
                    Err(why) => {
                        tracing::error!("cannot wait for signals: {why}");
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(watch)?;
        Ok(Interrupt(state))
    }

    /// From now on the work is asked to end.
    pub fn heed(&self) {
        self.0.is_heeded.store(true, Ordering::SeqCst);
    }

    /// True once it is to end.
    pub fn is_asked(&self) -> bool {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a time, or until the end is asked for: then this is true.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if *asked || left.is_zero() {
                return *asked;
            }
            let waited = self.0.wake.wait_timeout(asked, left);
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Notes a signal; false if it is to end the process.
    fn take(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if *asked || !self.is_heeded.load(Ordering::SeqCst) {
            return false;
        }
        *asked = true;
        self.wake.notify_all();
        true
    }
}
