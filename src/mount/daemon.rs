//! Going into the background: the caller's process returns when the mount is live.
//!
//! Unsafe because fork and setsid have no safe form in std. The fork happens before any
//! thread is started (checked), so the child may go on as an ordinary process. The child says over
//! a pipe whether it came up; until then it keeps the caller's stderr for progress and warnings.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};

use super::{SystemFailure, kernel};

/// First byte of the child's message.
const READY: u8 = 0;
const FAILED: u8 = 1;
const SYSTEM_FAILED: u8 = 2;

/// Longest message the parent reads, bytes: an error in words is far shorter.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// Which of the two processes this is.
pub enum Side {
    /// The caller's process, which waits.
    Parent(Waiter),
    /// The daemon to be.
    Child(Notice),
}

/// The parent's end.
pub struct Waiter {
    pipe: PipeReader,
    child: libc::pid_t,
}

/// The child's end. Dropped without a word, it tells the parent that the child ended.
pub struct Notice {
    pipe: PipeWriter,
}

/// Forks; the child leads a session of its own.
///
/// # Errors
///
/// A thread is running already, or the system has no pipe or process left.
pub fn fork() -> anyhow::Result<Side> {
    let threads = thread_count().context("cannot count the threads of this process")?;
    if threads != 1 {
        bail!("cannot go into the background with {threads} threads running");
    }
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    // SAFETY: there is one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork"),
        0 => {
            drop(reader);
            // SAFETY: takes nothing; a fresh child leads no group, so it cannot fail.
            unsafe { libc::setsid() };
            Ok(Side::Child(Notice { pipe: writer }))
        }
        child => Ok(Side::Parent(Waiter {
            pipe: reader,
            child,
        })),
    }
}

/// This process has let go of its caller.
static IN_BACKGROUND: AtomicBool = AtomicBool::new(false);

/// True from when nobody hears any more what this process says on standard error.
pub fn is_in_background() -> bool {
    IN_BACKGROUND.load(Ordering::Relaxed)
}

/// Lets go of the caller's terminal and directory.
///
/// # Errors
///
/// /dev/null cannot be opened.
pub fn let_go() -> anyhow::Result<()> {
    IN_BACKGROUND.store(true, Ordering::Relaxed);
    std::env::set_current_dir("/").context("cannot change to /")?;
    kernel::silence(io::stdin().as_fd())
        .and_then(|()| kernel::silence(io::stdout().as_fd()))
        .and_then(|()| kernel::silence(io::stderr().as_fd()))
        .context("cannot redirect to /dev/null")
}

fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

impl Waiter {
    /// Waits until the child is ready.
    ///
    /// # Errors
    ///
    /// The child's error in its words, or that it ended without a word.
    pub fn wait(self) -> anyhow::Result<()> {
        let mut message = Vec::new();
        self.pipe
            .take(MESSAGE_BYTES_MAX)
            .read_to_end(&mut message)
            .context("cannot hear from the daemon")?;
        match message.split_first() {
            Some((&READY, _)) => Ok(()),
            Some((&first, text)) => {
                let error = anyhow!("{}", String::from_utf8_lossy(text));
                Err(match first {
                    SYSTEM_FAILED => error.context(SystemFailure),
                    _ => error,
                })
            }
            None => bail!(
                "the daemon ended before the mount was live ({})",
                reap(self.child)
            ),
        }
    }
}

/// How the child ended, in words.
fn reap(child: libc::pid_t) -> String {
    let mut status: c_int = 0;
    // SAFETY: our own child, and a number of ours that outlives the call.
    let reaped = unsafe { libc::waitpid(child, &mut status, 0) };
    if reaped != child {
        return "its fate is unknown".into();
    }
    if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit status {}", libc::WEXITSTATUS(status))
    }
}

impl Notice {
    /// Says that the mount is live, after letting go of the caller's terminal and directory.
    ///
    /// # Errors
    ///
    /// /dev/null cannot be opened, or the parent is gone: it was interrupted, so nobody wants
    /// the mount any more.
    pub fn ready(mut self) -> anyhow::Result<()> {
        let_go()?;
        self.pipe
            .write_all(&[READY])
            .context("the command that asked for the mount is gone")
    }

    /// Hands the parent an error to show.
    pub fn fail(mut self, error: &anyhow::Error) {
        let is_system = error.is::<SystemFailure>();
        let mut message = vec![if is_system { SYSTEM_FAILED } else { FAILED }];
        // Who hears it says "system error" again.
        let causes = error.chain().skip(usize::from(is_system));
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        message.extend(causes.join(": ").into_bytes());
        if let Err(error) = self.pipe.write_all(&message) {
            tracing::error!(%error, "the command that asked for the mount is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A waiter for a message that some child has left; `child` is this process, which is no
    /// child of its own, so nothing can be reaped.
    fn waiter(message: &[u8]) -> Waiter {
        let (pipe, mut writer) = io::pipe().expect("pipe");
        writer.write_all(message).expect("write");
        let child = libc::pid_t::try_from(std::process::id()).expect("pid");
        Waiter { pipe, child }
    }

    #[test]
    fn the_child_s_words_reach_the_parent() {
        assert!(waiter(&[READY]).wait().is_ok());
        let error = waiter(b"\x01no such archive").wait().expect_err("failed");
        assert_eq!(error.to_string(), "no such archive");
        let error = waiter(b"").wait().expect_err("silent");
        assert!(error.to_string().contains("before the mount was live"));
    }

    #[test]
    fn an_error_is_sent_with_its_causes() {
        let (pipe, writer) = io::pipe().expect("pipe");
        let error = anyhow!("no such file").context("cannot read the archive");
        Notice { pipe: writer }.fail(&error);
        let child = libc::pid_t::try_from(std::process::id()).expect("pid");
        let heard = Waiter { pipe, child }.wait().expect_err("failed");
        assert_eq!(heard.to_string(), "cannot read the archive: no such file");
        assert!(!heard.is::<SystemFailure>());
    }

    #[test]
    fn what_the_system_lacks_is_told_from_other_errors() {
        let (pipe, writer) = io::pipe().expect("pipe");
        let error = anyhow!("no process")
            .context("cannot start")
            .context(SystemFailure);
        let words = format!("{error:#}");
        Notice { pipe: writer }.fail(&error);
        let child = libc::pid_t::try_from(std::process::id()).expect("pid");
        let heard = Waiter { pipe, child }.wait().expect_err("failed");
        assert!(heard.is::<SystemFailure>());
        assert_eq!(format!("{heard:#}"), words);
    }

    #[test]
    fn no_fork_with_threads() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        assert!(fork().is_err());
        drop(stop);
        assert!(thread.join().expect("thread").is_err());
    }
}
