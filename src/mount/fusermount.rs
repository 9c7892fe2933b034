//! Mounting without rights: the setuid helper fusermount3 mounts and hands over the connection.
//!
//! fuser has this path too, but unmounts by name at its end, whoever's mount is there by then.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::ipc;

/// Number of the descriptor on which the helper finds its end of the socket: its standard input.
const SOCKET_FD: &str = "0";

/// Mounts at `mountpoint`; the connection to the kernel.
///
/// # Errors
///
/// What the helper says.
pub fn mount(
    helper: &Path,
    source: &Path,
    mountpoint: &Path,
    allow_other: bool,
    noexec: bool,
) -> anyhow::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
    let child = Command::new(helper)
        .arg("-o")
        .arg(option_text(source, allow_other, noexec))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", SOCKET_FD)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", helper.display()))?;
    // The helper has the only other end: should it fail, this ends with no descriptor.
    let received = receive_fd(&ours);
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {}", helper.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}", explain(said.trim()));
    }
    received
        .context("cannot receive the connection from fusermount3")?
        .with_context(|| format!("fusermount3 handed over no connection ({})", said.trim()))
}

/// Detaches the mount at `mountpoint`; the caller has made sure that it is the right one.
pub fn unmount(helper: &Path, mountpoint: &Path) -> anyhow::Result<()> {
    let output = Command::new(helper)
        .args(["-u", "-z", "--"])
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", helper.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn explain(said: &str) -> String {
    if said.contains("user_allow_other") {
        format!(
            "{said}. Add the line `user_allow_other` to /etc/fuse.conf, or leave allow_other out"
        )
    } else if said.is_empty() {
        "fusermount3 failed and did not say why".into()
    } else {
        said.into()
    }
}

/// The helper's `-o`: commas and backslashes in the source are escaped as it undoes it.
fn option_text(source: &Path, allow_other: bool, noexec: bool) -> OsString {
    let mut text = format!(
        "ro,nosuid,nodev,noatime,default_permissions,max_read={}",
        crate::fuse::REQUEST_BYTES_MAX
    )
    .into_bytes();
    if noexec {
        text.extend(b",noexec");
    }
    if allow_other {
        text.extend(b",allow_other");
    }
    text.extend(b",subtype=dicomfs,fsname=");
    text.extend(escape(source.as_os_str()));
    OsString::from_vec(text)
}

fn escape(source: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(source.len());
    for &byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// Receives one descriptor; `None` if the other end closed without sending one.
fn receive_fd(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let (_, fds) = ipc::receive(socket.as_fd(), &mut [0])?;
    Ok(fds.into_iter().next())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn options_are_spelt_for_the_helper() {
        let text = option_text(Path::new("/a,b\\c"), true, true);
        let text = text.to_str().expect("UTF-8");
        assert!(text.starts_with("ro,nosuid,nodev,"));
        assert!(text.contains(",noexec,allow_other,"));
        assert!(text.ends_with(",subtype=dicomfs,fsname=/a\\,b\\\\c"));
        let text = option_text(Path::new("/a"), false, false);
        let text = text.to_str().expect("UTF-8");
        assert!(!text.contains("allow_other") && !text.contains("noexec"));
    }

    #[test]
    fn no_descriptor_is_told_from_one() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        drop(theirs);
        assert!(receive_fd(&ours).expect("closed").is_none());
        let (ours, mut theirs) = UnixStream::pair().expect("pair");
        theirs.write_all(b"x").expect("write");
        assert!(receive_fd(&ours).expect("a plain byte").is_none());
    }

    #[test]
    fn the_helper_s_words_are_passed_on() {
        assert!(explain("only allowed if 'user_allow_other' is set").contains("/etc/fuse.conf"));
        assert_eq!(explain("bad mount point"), "bad mount point");
        assert!(!explain("").is_empty());
    }

    #[test]
    fn a_helper_that_fails_is_an_error_with_its_words() {
        let directory = tempfile::tempdir().expect("tempdir");
        // `false` stands for a helper that fails and says nothing.
        let failing = ["/bin/false", "/usr/bin/false"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let Some(helper) = failing else {
            println!("skipped: no /bin/false here");
            return;
        };
        let error =
            mount(helper, Path::new("/a"), directory.path(), false, false).expect_err("must fail");
        assert!(error.to_string().contains("did not say why"), "{error:#}");
        assert!(unmount(helper, directory.path()).is_err());
    }
}
