//! The audit file: who opened which file of which series, and when; one JSON line an open.
//!
//! Lines go through a queue of bounded length to a thread that appends them, each with one write, so
//! that no open ever waits for a disk. What does not fit the queue is counted, and a line says how much
//! that was. A file that was renamed away or removed (log rotation) is made anew; nothing is ever cut
//! off. Opens of a zarr array, which is a file for each frame, are one line for each process, volume and
//! minute. Knows names as they are shown: with de-identification, no others.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::Caller;
use crate::dicom::calendar::rfc3339;

#[cfg(test)]
mod tests;

/// Lines that wait to be written at most: some megabytes.
const QUEUE_LINES: usize = 16 << 10;

/// Opens of a zarr array within this time are one line for each process.
const COLLAPSE_TIME: Duration = Duration::from_secs(60);

/// Processes and volumes whose last line is remembered for that.
const COLLAPSED_MAX: usize = 4096;

/// How long the end waits for what is queued.
const END_WAIT: Duration = Duration::from_secs(5);

/// What was opened.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Target<'a> {
    /// Series Instance UID as it is shown.
    pub(super) series: &'a str,
    /// Name of the volume's directory.
    pub(super) volume: &'a str,
    /// `array`, `text`, `preview`, `frame`, `zarr` or `dicom`.
    pub(super) kind: &'static str,
    /// Path below the volume's directory.
    pub(super) file: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    uid: u32,
    gid: u32,
    /// The process; 0 where it is not visible from here.
    pid: u32,
    program: &'a str,
    #[serde(flatten)]
    target: Target<'a>,
}

/// What became of the lines: `lost` are those that found the queue full or could not be written,
/// `failures` the writes that failed.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lines: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) failures: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    End(mpsc::Sender<()>),
}

/// An open audit file.
pub struct Audit {
    queue: SyncSender<Message>,
    counters: Arc<Counters>,
    collapsed: Mutex<HashMap<(u32, String), Instant>>,
}

impl Audit {
    /// Appends to the file at `path` from now on; made with mode 0600 where it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or no thread can be started.
    pub fn open(path: &Path) -> io::Result<Audit> {
        Audit::with_queue(path, QUEUE_LINES)
    }

    fn with_queue(path: &Path, lines: usize) -> io::Result<Audit> {
        let counters = Arc::new(Counters::default());
        let mut writer = Writer {
            path: path.to_owned(),
            open: None,
            is_torn: false,
            has_warned: false,
            lost_told: 0,
            counters: counters.clone(),
        };
        writer.ensure_open()?;
        let (queue, received) = mpsc::sync_channel(lines);
        let thread = thread::Builder::new().name("audit".into());
        thread.spawn(move || writer.run(&received))?;
        Ok(Audit {
            queue,
            counters,
            collapsed: Mutex::default(),
        })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Notes that a file was opened. Never waits; to be called while the caller waits for the answer,
    /// so that its process is there to be asked for its name.
    pub(super) fn opened(&self, caller: Caller, target: Target<'_>) {
        let is_zarr = target.kind == "zarr";
        if is_zarr && !self.is_first(caller.thread, target.volume) {
            return;
        }
        let (pid, program) = process_of(caller.thread);
        if is_zarr && pid != caller.thread && !self.is_first(pid, target.volume) {
            return;
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let line = Line {
            time: rfc3339(since_epoch.unwrap_or_default()),
            uid: caller.uid,
            gid: caller.gid,
            pid,
            program: &program,
            target,
        };
        match serde_json::to_vec(&line) {
            Ok(mut line) => {
                line.push(b'\n');
                self.send(line);
            }
            Err(why) => tracing::error!("a line of the audit file cannot be written: {why}"),
        }
    }

    fn send(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Line(line))
        {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_first(&self, pid: u32, volume: &str) -> bool {
        let now = Instant::now();
        let is_recent = |at: &Instant| now.duration_since(*at) < COLLAPSE_TIME;
        let mut collapsed = self
            .collapsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (pid, volume.to_owned());
        if collapsed.get(&key).is_some_and(is_recent) {
            return false;
        }
        if collapsed.len() >= COLLAPSED_MAX {
            collapsed.retain(|_, at| is_recent(at));
        }
        // More lines than needed do no harm; without end they would.
        if collapsed.len() < COLLAPSED_MAX {
            collapsed.insert(key, now);
        }
        true
    }

    /// Waits, within bounds, until what is queued is written.
    pub(super) fn finish(&self) {
        let (done, end) = mpsc::channel();
        let deadline = Instant::now() + END_WAIT;
        let mut message = Message::End(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() > deadline {
                tracing::warn!("the audit file takes no more lines: some are lost");
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(10));
        }
        // An error says that the writer has ended: there is nothing to wait for.
        let _ = end.recv_timeout(END_WAIT);
    }
}

/// The process that a thread is of, and its name: by procfs, which waits for no disk.
fn process_of(thread: u32) -> (u32, String) {
    let unknown = || (thread, String::new());
    if thread == 0 {
        return unknown();
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else {
        return unknown();
    };
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let pid = field("Tgid:").and_then(|pid| pid.parse().ok());
    let pid = pid.unwrap_or(thread);
    let name = match pid == thread {
        true => field("Name:"),
        false => std::fs::read_to_string(format!("/proc/{pid}/comm")).ok(),
    };
    (pid, name.unwrap_or_default().trim_end().to_owned())
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    open: Option<File>,
    /// The last line was written in part only.
    is_torn: bool,
    has_warned: bool,
    lost_told: u64,
    counters: Arc<Counters>,
}

impl Writer {
    fn run(mut self, received: &Receiver<Message>) {
        for message in received {
            match message {
                Message::Line(line) if self.append(&line) => self.tell_lost(),
                Message::Line(_) => {
                    self.counters.lost.fetch_add(1, Ordering::Relaxed);
                }
                Message::End(done) => {
                    self.tell_lost();
                    // Whoever asked may have waited for long enough.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Says how many lines were lost since it was last said.
    fn tell_lost(&mut self) {
        let lost = self.counters.lost.load(Ordering::Relaxed);
        let more = lost - self.lost_told;
        if more == 0 {
            return;
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = rfc3339(since_epoch.unwrap_or_default());
        let line = format!("{{\"time\":\"{time}\",\"lost\":{more}}}\n");
        if self.append(line.as_bytes()) {
            self.lost_told = lost;
        }
    }

    /// True when the line is written.
    fn append(&mut self, line: &[u8]) -> bool {
        match self.try_append(line) {
            Ok(()) => {
                self.counters.lines.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(why) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                self.open = None;
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!("the audit file cannot be written: {why}");
                }
                false
            }
        }
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        self.ensure_open()?;
        let Some(file) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // What was cut short stays a line of its own.
        let line = if self.is_torn {
            [b"\n", line].concat()
        } else {
            line.to_vec()
        };
        let written = file.write(&line)?;
        self.is_torn = written < line.len();
        match self.is_torn {
            true => Err(io::ErrorKind::WriteZero.into()),
            false => Ok(()),
        }
    }

    /// Opens the file where it is not open, or is not the one of that name any more.
    fn ensure_open(&mut self) -> io::Result<()> {
        if let Some(file) = &self.open {
            let (here, there) = (file.metadata()?, std::fs::metadata(&self.path));
            let is_same =
                |there: &std::fs::Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
            if there.is_ok_and(|there| is_same(&there)) {
                return Ok(());
            }
            self.is_torn = false;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        self.open = Some(file);
        Ok(())
    }
}
