//! The system's log: a datagram a line to /dev/log, as syslog(3) sends it, where journald, rsyslog and
//! their kind listen. Never waits for them, and goes without them where there are none.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where the system's log listens.
const LOG: &str = "/dev/log";

/// The facility of daemons, syslog(3)'s LOG_DAEMON.
const FACILITY: u8 = 3 << 3;

/// Writes lines to the system's log, which is looked up for each: it may be started anew meanwhile.
pub(super) struct SystemLog(pub(super) PathBuf);

impl Default for SystemLog {
    fn default() -> SystemLog {
        SystemLog(LOG.into())
    }
}

/// What stands before a line: its priority, and who says it.
pub(super) fn head(priority: u8) -> String {
    format!("<{}>dicomfs[{}]: ", FACILITY | priority, std::process::id())
}

impl Write for SystemLog {
    /// All of a line. One that cannot be taken at once is lost: no reader waits for a log.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to(line.trim_ascii_end(), &self.0)
        };
        let _ = send();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
