//! What the service manager hears (sd_notify(3)), where one listens: that the mount is live, what
//! became of it, and that it ends.

use std::path::Path;

use sd_notify::NotifyState;

/// The mount is live, and this process is the one to signal.
pub fn ready(mountpoint: &Path) {
    let status = format!("serving {}", mountpoint.display());
    tell(&[
        NotifyState::Ready,
        NotifyState::MainPid(std::process::id()),
        NotifyState::Status(&status),
    ]);
}

/// A worker has died, the `deaths`th, and another takes over.
pub fn replaced(deaths: u64) {
    let status = format!("serving; {deaths} crashed workers were replaced");
    tell(&[NotifyState::Status(&status)]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("unmounting")]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET nobody wants to hear it, and that is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
