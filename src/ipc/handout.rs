//! Descriptors handed out to programs of users: who connects shows a token and gets what it stands for.
//!
//! A listening unix socket and one thread. A peer says one line, the token; the answer is one byte,
//! [`GIVEN`] together with the descriptor or [`REFUSED`], and the connection ends. Anybody may connect,
//! so nobody is trusted: who the peer is says the kernel, a line is short, each peer has a deadline and
//! each user a few places. A peer that says nothing costs a descriptor for a moment, and no thread.
//!
//! Knows nothing of what is handed out, nor to whom it is due: that is asked of who made it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{own_uid, random, wait_any_readable};
use crate::hash::hex;

/// The answer that comes with the descriptor.
pub const GIVEN: u8 = b'+';

/// The answer to whoever is not to have it, for whatever reason.
pub const REFUSED: u8 = b'-';

/// Longest line of a peer, bytes.
const LINE_BYTES_MAX: usize = 128;

/// How long a peer may take to say its line.
const PEER_TIME: Duration = Duration::from_secs(2);

/// Peers at once; one more costs the one that waits for longest its place.
const PEERS_MAX: usize = 64;

/// Peers of one user at once: others always find a place.
const PEERS_OF_USER_MAX: usize = 16;

/// Peers let in before those that are here are heard again: who comes by hundreds makes nobody wait.
const LET_IN_MAX: usize = 8;

/// What the name of a socket begins with until it is listened at.
const NEW: &str = ".";

/// How long nobody is let in when the system has no descriptor for him.
const PAUSE: Duration = Duration::from_millis(100);

/// Gives what the token stands for, if this user may have it. Called on the thread of the socket.
pub type Find = Box<dyn Fn(&[u8], u32) -> Option<OwnedFd> + Send>;

/// A place where tokens are turned into descriptors. Dropped, it is gone, with its directory.
pub struct Handout {
    path: String,
    /// Closed, it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    /// After the thread's end.
    _dir: TempDir,
}

impl Handout {
    /// Opens a place in a directory of its own, which only who is told its name finds: under
    /// `/run/dicomfs` for root, `$XDG_RUNTIME_DIR/dicomfs` for others, or else where temporary files are.
    ///
    /// # Errors
    ///
    /// None of these can be written to, or the system has no thread left.
    pub fn open(find: Find) -> io::Result<Handout> {
        let bases = bases(own_uid());
        let in_bases = bases
            .iter()
            .map(|base| base_dir(base).and_then(|()| Place::new(base, "m-")));
        let in_temporary = || Place::new(&std::env::temp_dir(), "dicomfs-");
        let mut place = None;
        for made in in_bases {
            match made {
                Ok(made) => {
                    place = Some(made);
                    break;
                }
                // Without the path, which names the user.
                Err(why) => tracing::debug!("another directory is tried for a socket: {why}"),
            }
        }
        let place = match place {
            Some(place) => place,
            None => in_temporary()?,
        };
        place.serve(find)
    }

    /// Where it is, as peers connect to it.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Handout {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that hands descriptors out ended by a panic");
        }
    }
}

/// A socket in its directory that nobody serves yet.
struct Place {
    dir: TempDir,
    path: String,
    listener: UnixListener,
}

impl Place {
    fn new(base: &Path, prefix: &str) -> io::Result<Place> {
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o711))
            .tempdir_in(base)?;
        // Whatever the umask is.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
        let name = hex(&random::<16>()?);
        let (path, new) = (
            dir.path().join(&name),
            dir.path().join(NEW.to_string() + &name),
        );
        let listener = UnixListener::bind(&new)?;
        // Who may have what is decided by who connects and what he shows.
        fs::set_permissions(&new, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        // Between bind and listen it looked like what a dead process leaves ([`is_left`]).
        fs::rename(&new, &path)?;
        let path = path.into_os_string().into_string();
        let path = path.map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        Ok(Place {
            dir,
            path,
            listener,
        })
    }

    fn serve(self, find: Find) -> io::Result<Handout> {
        let (stopped, stop) = io::pipe()?;
        let listener = self.listener;
        let serve = move || Peers::new(listener, find).serve(stopped.as_fd());
        let thread = std::thread::Builder::new()
            .name("handout".into())
            .spawn(serve)?;
        Ok(Handout {
            path: self.path,
            stop: Some(stop),
            thread: Some(thread),
            _dir: self.dir,
        })
    }
}

/// Directories that a user's programs keep their sockets in, best first.
fn bases(uid: u32) -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match uid {
        0 => vec!["/run/dicomfs".into()],
        _ => runtime
            .map(|dir| Path::new(&dir).join("dicomfs"))
            .into_iter()
            .collect(),
    }
}

/// Makes a directory that only its owner writes to, or finds it so; what crashed processes have left in
/// it is removed.
fn base_dir(base: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o711).create(base) {
        Ok(()) => fs::set_permissions(base, Permissions::from_mode(0o711))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(base)?;
    if !found.is_dir() || found.uid() != own_uid() || found.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    for entry in fs::read_dir(base)?.filter_map(Result::ok) {
        if is_left(&entry.path())
            && let Err(why) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!("what a process has left stays: {why}");
        }
    }
    Ok(())
}

/// True for a directory with a socket that nobody listens at. Where one is just being made there is
/// none yet, or a [`NEW`] one.
fn is_left(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut sockets = entries.filter(|entry| {
        let is_made = !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(NEW.as_bytes());
        is_made && entry.file_type().is_ok_and(|kind| kind.is_socket())
    });
    sockets.any(|socket| match UnixStream::connect(socket.path()) {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    })
}

struct Peer {
    stream: UnixStream,
    uid: u32,
    line: Vec<u8>,
    deadline: Instant,
}

impl Peer {
    /// The token, once it is said; `None` inside while it is not, and an error if it never will be.
    fn hear(&mut self) -> io::Result<Option<&[u8]>> {
        let mut buffer = [0; LINE_BYTES_MAX + 1];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.line.extend_from_slice(&buffer[..len]);
        if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(&self.line[..end]));
        }
        match self.line.len() > LINE_BYTES_MAX {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(None),
        }
    }

    fn answer(&self, found: Option<OwnedFd>) {
        let sent = match &found {
            Some(fd) => super::send(self.stream.as_fd(), &[GIVEN], &[fd.as_fd()]),
            None => super::send(self.stream.as_fd(), &[REFUSED], &[]),
        };
        if let Err(why) = sent {
            tracing::debug!("a peer is gone before its answer: {why}");
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

struct Peers {
    listener: UnixListener,
    find: Find,
    /// In the order in which they came, and so by deadline.
    list: Vec<Peer>,
    paused_until: Option<Instant>,
}

impl Peers {
    fn new(listener: UnixListener, find: Find) -> Peers {
        Peers {
            listener,
            find,
            list: Vec::new(),
            paused_until: None,
        }
    }

    /// Serves until `stop` is closed at its other end.
    fn serve(mut self, stop: BorrowedFd<'_>) {
        let mut readable = Vec::new();
        loop {
            let now = Instant::now();
            self.list.retain(|peer| peer.deadline > now);
            self.paused_until = self.paused_until.filter(|until| *until > now);
            let first = self.list.first().map(|peer| peer.deadline);
            let next = [first, self.paused_until].into_iter().flatten().min();
            let mut fds = vec![stop];
            fds.extend(self.list.iter().map(|peer| peer.stream.as_fd()));
            if self.paused_until.is_none() {
                fds.push(self.listener.as_fd());
            }
            let timeout = next.map(|next| next.saturating_duration_since(now));
            if let Err(why) = wait_any_readable(&fds, timeout, &mut readable) {
                tracing::error!("descriptors are not handed out any more: {why}");
                return;
            }
            if readable.first() == Some(&true) {
                return;
            }
            let (of_peers, of_listener) = readable[1..].split_at(self.list.len());
            let mut said = of_peers.iter();
            let find = &self.find;
            // Those that have nothing more to say leave.
            self.list.retain_mut(|peer| match said.next() {
                Some(true) => serve_peer(peer, find),
                _ => true,
            });
            if of_listener.first() == Some(&true) {
                self.let_in();
            }
        }
    }

    fn let_in(&mut self) {
        for _ in 0..LET_IN_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(why) = self.add(stream) {
                        tracing::debug!("a peer is not heard: {why}");
                    }
                }
                Err(error) if is_passing(&error) => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("peers wait: {error}");
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    fn add(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let uid = super::peer_uid(stream.as_fd())?;
        let peer = Peer {
            stream,
            uid,
            line: Vec::new(),
            deadline: Instant::now() + PEER_TIME,
        };
        let of_user = self.list.iter().filter(|other| other.uid == uid).count();
        // The one that takes longest goes: this user's others may mean well.
        let leaving = match of_user >= PEERS_OF_USER_MAX {
            true => self.list.iter().position(|other| other.uid == uid),
            false => (self.list.len() >= PEERS_MAX).then_some(0),
        };
        if let Some(leaving) = leaving {
            let mut peer = self.list.remove(leaving);
            // It may have said its line meanwhile.
            if serve_peer(&mut peer, &self.find) {
                peer.answer(None);
            }
        }
        self.list.push(peer);
        Ok(())
    }
}

/// Hears a peer and answers; false when it is done with.
fn serve_peer(peer: &mut Peer, find: &Find) -> bool {
    let uid = peer.uid;
    let found = match peer.hear() {
        Ok(None) => return true,
        Ok(Some(token)) => find(token, uid),
        Err(_) => None,
    };
    peer.answer(found);
    false
}

#[cfg(test)]
mod tests;
