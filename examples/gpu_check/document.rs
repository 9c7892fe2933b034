//! The document, written anew after every step: whoever has to end the program, or loses the machine,
//! has all that was found until then. Also the clock that steps are held to.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The document's parts, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Head,
    Compared,
    Measured,
    Mounted,
    End,
}

/// What the last part says until all is done.
const UNFINISHED: &str = "**Not finished: written while the program was at work.**";

/// How long something that was begun in time may take beyond it.
const GRACE: Duration = Duration::from_secs(120);

/// The time that all of it may take.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    all: Duration,
}

impl Clock {
    pub fn new(minutes: u32) -> Clock {
        Clock {
            start: Instant::now(),
            all: Duration::from_secs(60 * u64::from(minutes)),
        }
    }

    /// When so much of the time, from 0 to 1, is over.
    pub fn at(&self, share: f64) -> Instant {
        self.start + self.all.mul_f64(share)
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// True when it is that time.
pub fn is_past(end: Instant) -> bool {
    Instant::now() >= end
}

#[derive(Default)]
struct Text {
    /// Standard output, at the end, without one.
    out: Option<PathBuf>,
    parts: BTreeMap<Part, Vec<String>>,
}

#[derive(Clone, Default)]
pub struct Document(Arc<Mutex<Text>>);

impl Document {
    pub fn new(out: Option<PathBuf>) -> Document {
        let text = Text {
            out,
            ..Text::default()
        };
        Document(Arc::new(Mutex::new(text)))
    }

    /// Puts lines in the place of what a part says, and writes all of it.
    pub fn set(&self, part: Part, lines: Vec<String>) -> Result<()> {
        let mut text = self.lock();
        text.parts.insert(part, lines);
        text.parts.entry(Part::End).or_insert_with(|| {
            let unfinished = String::from(UNFINISHED);
            vec![unfinished, String::new()]
        });
        text.save()
    }

    /// Says that all is done, and prints what no file was named for.
    pub fn finish(&self) -> Result<()> {
        self.set(Part::End, Vec::new())?;
        let text = self.lock();
        if text.out.is_none() {
            print!("{}", text.all());
        }
        Ok(())
    }

    /// Ends the program with 1 where it hangs for longer than it may; `last` is done before.
    pub fn end_after(&self, clock: &Clock, last: impl FnOnce() + Send + 'static) -> Result<()> {
        let (document, end) = (self.clone(), clock.at(1.0) + GRACE);
        let watch = move || {
            thread::sleep(end.saturating_duration_since(Instant::now()));
            eprintln!("gpu_check: it hangs; what was found until now is written");
            let text = document.lock();
            if text.out.is_none() {
                print!("{}", text.all());
            }
            last();
            std::process::exit(1);
        };
        let named = thread::Builder::new().name("clock".into());
        named.spawn(watch).context("no thread")?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    fn all(&self) -> String {
        let lines: Vec<&str> = self.parts.values().flatten().map(String::as_str).collect();
        lines.join("\n") + "\n"
    }

    /// Whole or not at all, whenever somebody looks.
    fn save(&self) -> Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        let mut new = out.clone().into_os_string();
        new.push(".new");
        let written = fs::write(&new, self.all()).and_then(|()| fs::rename(&new, out));
        written.with_context(|| format!("cannot write {}", out.display()))
    }
}
