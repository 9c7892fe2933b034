//! A device's process as its parent sees it: started, heard, killed, reaped.

use std::env;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Launch;
use crate::decode::gpu::wire::{self, Answer, Order};
use crate::decode::gpu::{DeviceReport, cufile, driver};
use crate::ipc;
use crate::ipc::process::wait_readable;

/// Time between two looks at a process that is about to end.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long it is waited for how a process has ended that has let go of its line.
const STATUS_TIME: Duration = Duration::from_millis(200);

/// A running process; killed when dropped, and not waited for then.
pub struct Child {
    process: std::process::Child,
    line: OwnedFd,
}

/// What came of a start.
pub enum Heard {
    /// It decodes.
    Ready(DeviceReport),
    /// There is no device to be used, and why.
    Unfit(String),
    /// It died, hung or broke the rules.
    Failed(String),
    /// The caller was woken.
    Woken,
}

impl Child {
    /// Starts a process and hands it a lane for each memory: the process, and our ends of the lanes and,
    /// behind them, of the line for residents.
    /// It dies with the *thread* that calls this.
    ///
    /// # Errors
    ///
    /// The system has no process or descriptor left.
    pub fn start(
        ordinal: u32,
        launch: &Launch,
        memories: &[OwnedFd],
    ) -> io::Result<(Child, Vec<OwnedFd>)> {
        let (line, theirs) = ipc::pair()?;
        let mut command = Command::new(&launch.program);
        if env::var_os(driver::LOADING_VARIABLE).is_none() {
            command.env(driver::LOADING_VARIABLE, driver::LOADING);
        }
        let process = command
            .args(&launch.args)
            .arg(ordinal.to_string())
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            // It would keep a log that names files.
            .env(cufile::LOG_VARIABLE, cufile::LOG_TO)
            // Speaks for the mount, which it is not.
            .env_remove("NOTIFY_SOCKET")
            // Holds no directory, and none that a library could be put into.
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            // Who reads ours waits for their end; what it has to say it says on the line.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut child = Child { process, line };
        match child.hand_over(ordinal, launch, memories) {
            Ok(lanes) => Ok((child, lanes)),
            Err(error) => {
                child.kill_and_reap(launch.limits.reap);
                Err(error)
            }
        }
    }

    fn hand_over(
        &self,
        ordinal: u32,
        launch: &Launch,
        memories: &[OwnedFd],
    ) -> io::Result<Vec<OwnedFd>> {
        let hello = Order::Hello {
            protocol: wire::PROTOCOL,
            ordinal,
            lanes: memories.len() as u32,
            parent: std::process::id(),
        };
        wire::tell(self.line.as_fd(), &hello, &[])?;
        let len_bytes = launch.limits.lane_bytes;
        let hand_over = |memory: &OwnedFd| {
            let (ours, theirs) = ipc::pair()?;
            let lane = Order::Lane { len_bytes };
            let fds = [theirs.as_fd(), memory.as_fd()];
            wire::tell(self.line.as_fd(), &lane, &fds)?;
            Ok(ours)
        };
        let mut lines: Vec<OwnedFd> = memories.iter().map(hand_over).collect::<io::Result<_>>()?;
        // Who only looks at the device needs none.
        if !lines.is_empty() {
            let (ours, theirs) = ipc::pair()?;
            wire::tell(self.line.as_fd(), &Order::Store, &[theirs.as_fd()])?;
            lines.push(ours);
        }
        Ok(lines)
    }

    /// Its process id, until it is reaped.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it says whether it is ready.
    pub fn ready(&mut self, deadline: Instant, woken: Option<&PipeReader>) -> Heard {
        match self.wait(Some(deadline), woken) {
            Err(error) => return Heard::Failed(error.to_string()),
            Ok(Waited::Woken) => return Heard::Woken,
            Ok(Waited::TimedOut) => return Heard::Failed("its start took too long".into()),
            Ok(Waited::Said) => {}
        }
        match wire::hear::<Answer>(self.line.as_fd()) {
            Ok(Some((Answer::Ready(report), _))) => Heard::Ready(report),
            Ok(Some((Answer::Unfit(why), _))) => Heard::Unfit(wire::clean(&why)),
            Ok(Some(_)) => Heard::Failed("it spoke out of turn".into()),
            Ok(None) => Heard::Failed(self.death("it died when it was started")),
            Err(error) => Heard::Failed(error.to_string()),
        }
    }

    /// Waits for its end, which it announces in no other way than by being gone; why it has ended,
    /// or `None` if the caller was woken.
    pub fn ended(&mut self, woken: &PipeReader) -> Option<String> {
        match self.wait(None, Some(woken)) {
            Ok(Waited::Woken) => None,
            Err(error) => Some(error.to_string()),
            Ok(_) => match wire::hear::<Answer>(self.line.as_fd()) {
                Ok(None) => Some(self.death("it died")),
                Ok(Some(_)) => Some("it spoke out of turn".into()),
                Err(error) => Some(error.to_string()),
            },
        }
    }

    /// These words, and by which signal or with which status: what a driver's crash looks like, or a
    /// system call that the service manager does not allow.
    fn death(&mut self, words: &str) -> String {
        let deadline = Instant::now() + STATUS_TIME;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return format!("{words} ({status})"),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                _ => return words.to_string(),
            }
        }
    }

    fn wait(&self, deadline: Option<Instant>, woken: Option<&PipeReader>) -> io::Result<Waited> {
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let line = self.line.as_fd();
            // What is not waited for is taken by something that is: the array has a fixed length.
            let wake = woken.map_or(line, AsFd::as_fd);
            let [said, woke] = wait_readable([line, wake], left)?;
            match (said, woke) {
                (_, true) if woken.is_some() => return Ok(Waited::Woken),
                (true, _) => return Ok(Waited::Said),
                _ if left.is_some_and(|left| left.is_zero()) => return Ok(Waited::TimedOut),
                _ => {}
            }
        }
    }

    /// Kills it and waits until it is gone: true if it is. False if it is not after `longest`: the
    /// kernel holds it, most likely within the driver, and it may still write to memory that it has.
    pub fn kill_and_reap(&mut self, longest: Duration) -> bool {
        // Fails only for a process that has been waited for.
        let _ = self.process.kill();
        let deadline = Instant::now() + longest;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(Some(status)) => {
                    tracing::debug!(%status, "a device's process has ended");
                    return true;
                }
                Ok(None) => thread::sleep(LOOK_AGAIN),
                Err(error) => {
                    tracing::error!(%error, "cannot wait for a device's process");
                    return false;
                }
            }
        }
        false
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only for a process that has been waited for.
        let _ = self.process.kill();
    }
}

enum Waited {
    Said,
    Woken,
    TimedOut,
}
