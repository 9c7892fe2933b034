//! Messages with file descriptors between two processes of ours, or of ours and somebody else's.
//!
//! `unsafe` because passing a file descriptor over a socket, and asking who is at its other end, have
//! no safe form in std. Knows nothing of what the messages say.
#![allow(unsafe_code)]

pub mod handout;
pub mod process;

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Most descriptors in one message; the kernel takes 253 (SCM_MAX_FD).
pub const FDS_MAX: usize = 64;

/// Room for [`FDS_MAX`] descriptors in a control message, with its alignment.
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL_BYTES]);

// SAFETY: computes a length, touches no memory.
const CONTROL_BYTES: usize =
    unsafe { libc::CMSG_SPACE((FDS_MAX * mem::size_of::<c_int>()) as u32) } as usize;

/// Two connected sockets that keep the bounds of messages.
///
/// # Errors
///
/// The system has no descriptor left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: an array of ours that outlives the call.
    let result = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened both for us; nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sends one message with copies of `fds`, and waits while earlier ones fill the socket.
///
/// # Errors
///
/// The other end is closed, or more than [`FDS_MAX`] descriptors.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(0, socket, message, fds)
}

/// The same without waiting: for who must not depend on whether the other end reads.
///
/// # Errors
///
/// As of [`send`], and `WouldBlock` where earlier messages were not read.
pub fn send_at_once(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_with(libc::MSG_DONTWAIT, socket, message, fds)
}

fn send_with(
    flags: c_int,
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if fds.len() > FDS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = ControlBuffer([0; CONTROL_BYTES]);
    let mut data = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    // SAFETY: msghdr is plain data; all zeros is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        let fds_len = mem::size_of_val(fds) as u32;
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: computes lengths, touches no memory.
        let (space, len) = unsafe { (libc::CMSG_SPACE(fds_len), libc::CMSG_LEN(fds_len)) };
        header.msg_controllen = space as _;
        // SAFETY: the buffer is aligned and has room for a header and FDS_MAX descriptors, so the
        // first header lies within it, and the numbers written after it too. A BorrowedFd is a c_int.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = len as _;
            let place = libc::CMSG_DATA(first).cast::<c_int>();
            for (n, fd) in fds.iter().enumerate() {
                place.add(n).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: the header points to buffers of ours that outlive the call, which only reads them.
        let sent = unsafe {
            let flags = flags | libc::MSG_NOSIGNAL;
            libc::sendmsg(socket.as_raw_fd(), &header, flags)
        };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Receives one message into `buffer`: its length and its descriptors. Length 0: the other end
/// is closed.
///
/// # Errors
///
/// A message that is longer than `buffer`, or comes with more than [`FDS_MAX`] descriptors.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = ControlBuffer([0; CONTROL_BYTES]);
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data; all zeros is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let len = loop {
        // SAFETY: the header points to buffers of ours that outlive the call.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(received) {
            Ok(len) => break len,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    // Taken before anything is refused, so that none stays open.
    let fds = received_fds(&header);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message that is too long",
        ));
    }
    Ok((len, fds))
}

/// The user at the other end of a connected unix socket, as the kernel noted it at the connection
/// (`SO_PEERCRED`, unix(7)).
///
/// # Errors
///
/// It is no such socket.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: ucred is plain data; all zeros is a value of it.
    let mut peer: libc::ucred = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a struct of ours with its length, both of which outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    match result {
        0 if len as usize == mem::size_of::<libc::ucred>() => Ok(peer.uid),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptors of a message that recvmsg has filled in.
fn received_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    // SAFETY: the kernel has filled the message in; CMSG_FIRSTHDR checks the length it gave.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, so it points to a whole header within the buffer, which is aligned for it.
    let (level, kind, len) = unsafe {
        (
            (*first).cmsg_level,
            (*first).cmsg_type,
            (*first).cmsg_len as usize,
        )
    };
    if level != libc::SOL_SOCKET || kind != libc::SCM_RIGHTS {
        return Vec::new();
    }
    // SAFETY: computes a length, touches no memory.
    let header_len = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = len.saturating_sub(header_len) / mem::size_of::<c_int>();
    // SAFETY: the length says that so many descriptors follow the header, which the kernel has just
    // opened for us; they may lie unaligned.
    let fd = |n| unsafe {
        let data = libc::CMSG_DATA(first).cast::<c_int>();
        OwnedFd::from_raw_fd(data.add(n).read_unaligned())
    };
    (0..count).map(fd).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_bring_descriptors() {
        let (a, b) = pair().expect("pair");
        let (mut reader, writer) = io::pipe().expect("pipe");
        send(a.as_fd(), b"one", &[]).expect("send");
        send(a.as_fd(), b"three", &[writer.as_fd(), b.as_fd()]).expect("send");
        drop(writer);
        let mut buffer = [0; 16];
        let (len, fds) = receive(b.as_fd(), &mut buffer).expect("receive");
        assert_eq!((&buffer[..len], fds.len()), (&b"one"[..], 0));
        let (len, mut fds) = receive(b.as_fd(), &mut buffer).expect("receive");
        assert_eq!((&buffer[..len], fds.len()), (&b"three"[..], 2));
        let mut copy = File::from(fds.swap_remove(0));
        copy.write_all(b"x").expect("write");
        drop(copy);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
    }

    #[test]
    fn a_closed_end_is_no_message() {
        let (a, b) = pair().expect("pair");
        drop(a);
        let (len, fds) = receive(b.as_fd(), &mut [0; 4]).expect("closed");
        assert_eq!((len, fds.len()), (0, 0));
        assert!(send(b.as_fd(), b"x", &[]).is_err());
    }

    #[test]
    fn the_peer_is_known() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().expect("pair");
        assert_eq!(peer_uid(a.as_fd()).expect("a peer"), process::own_uid());
        let (reader, _writer) = io::pipe().expect("pipe");
        assert!(peer_uid(reader.as_fd()).is_err());
    }

    #[test]
    fn as_many_descriptors_as_are_allowed_arrive_in_order() {
        let (a, b) = pair().expect("pair");
        let files: Vec<File> = (0..FDS_MAX as u64)
            .map(|n| {
                let file = tempfile::tempfile().expect("a file");
                file.set_len(n).expect("length");
                file
            })
            .collect();
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        send(a.as_fd(), b"all", &fds).expect("send");
        let (_, fds) = receive(b.as_fd(), &mut [0; 4]).expect("receive");
        let len = |fd| File::from(fd).metadata().expect("metadata").len();
        let lens: Vec<u64> = fds.into_iter().map(len).collect();
        assert_eq!(lens, (0..FDS_MAX as u64).collect::<Vec<_>>());
    }

    #[test]
    fn too_much_is_refused() {
        let (a, b) = pair().expect("pair");
        send(a.as_fd(), b"longer", &[]).expect("send");
        assert!(receive(b.as_fd(), &mut [0; 2]).is_err());
        assert!(send(a.as_fd(), b"x", &[b.as_fd(); FDS_MAX + 1]).is_err());
    }
}
