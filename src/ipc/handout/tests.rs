//! Peers of all kinds at a handout: those that know the token, and those that should get nothing.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const TOKEN: &[u8] = b"0123";

fn open(asked: &Arc<AtomicUsize>) -> Handout {
    let base = std::env::temp_dir();
    let place = Place::new(&base, "dicomfs-test-").expect("a place");
    place.serve(find(asked)).expect("served")
}

/// Gives a file to who shows the token, and counts who asks.
fn find(asked: &Arc<AtomicUsize>) -> Find {
    let asked = asked.clone();
    let find = move |token: &[u8], uid: u32| {
        asked.fetch_add(1, Ordering::SeqCst);
        let good = token == TOKEN && uid == own_uid();
        good.then(|| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(b"what it stands for").expect("write");
            file.into()
        })
    };
    Box::new(find)
}

/// Says something and gives the answer: nothing when the connection was closed.
fn ask(path: &str, line: &[u8]) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.write_all(line).expect("said");
    hear(&stream)
}

fn hear(stream: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut buffer = [0; 8];
    match crate::ipc::receive(stream.as_fd(), &mut buffer) {
        Ok((len, fds)) => (buffer[..len].to_vec(), fds),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Default::default(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_token_is_turned_into_its_descriptor() {
    let handout = open(&Arc::default());
    for _ in 0..3 {
        let (answer, mut fds) = ask(handout.path(), b"0123\nand more");
        assert_eq!((&answer[..], fds.len()), (&[GIVEN][..], 1));
        let file = File::from(fds.remove(0));
        let mut bytes = [0; 18];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"what it stands for");
    }
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
    let path = PathBuf::from(handout.path());
    let dir = path.parent().expect("a directory").to_path_buf();
    assert_eq!((mode(&path), mode(&dir)), (0o666, 0o711));
    assert!(path.file_name().is_some_and(|name| name.len() == 32));
    drop(handout);
    assert!(!dir.exists(), "nothing is left");
}

#[test]
fn who_has_no_token_gets_nothing() {
    let handout = open(&Arc::default());
    for line in [
        &b"0124\n"[..],
        b"\n",
        b"\0\xff\n",
        b"01234\n",
        &[b'0'; 4096],
    ] {
        let (answer, fds) = ask(handout.path(), line);
        assert!(answer.is_empty() || answer == [REFUSED], "{answer:?}");
        assert!(fds.is_empty());
    }
}

#[test]
fn peers_that_say_nothing_keep_nobody_out() {
    let asked = Arc::default();
    let handout = open(&asked);
    let silent: Vec<UnixStream> = (0..200)
        .map(|_| UnixStream::connect(handout.path()).expect("connected"))
        .collect();
    let mut slow = UnixStream::connect(handout.path()).expect("connected");
    slow.write_all(b"01").expect("said");
    let (answer, _) = ask(handout.path(), b"0123\n");
    assert_eq!(answer, [GIVEN]);
    slow.write_all(b"23\n").expect("said");
    assert_eq!(hear(&slow).0, [GIVEN], "a line may come in pieces");
    let start = Instant::now();
    for peer in &silent {
        let (answer, fds) = hear(peer);
        assert!(answer.is_empty() || answer == [REFUSED]);
        assert!(fds.is_empty());
    }
    assert!(start.elapsed() < 8 * PEER_TIME, "a deadline for all");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn more_programs_of_a_user_than_places_come_at_once_and_all_are_served() {
    let place = Place::new(&std::env::temp_dir(), "dicomfs-test-").expect("a place");
    let path = place.path.clone();
    let come = || {
        let mut stream = UnixStream::connect(&path).expect("connected");
        stream.write_all(b"0123\n").expect("said");
        stream
    };
    // As many as a training has, before the thread of the socket gets its turn.
    let peers: Vec<UnixStream> = std::iter::repeat_with(come).take(100).collect();
    let _handout = place.serve(find(&Arc::default())).expect("served");
    for (n, peer) in peers.iter().enumerate() {
        let (answer, fds) = hear(peer);
        assert_eq!((&answer[..], fds.len()), (&[GIVEN][..], 1), "peer {n}");
    }
}

#[test]
fn root_has_a_place_of_its_own_and_others_their_session() {
    assert_eq!(bases(0), [PathBuf::from("/run/dicomfs")]);
    let session = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let expected = session.map(|dir| PathBuf::from(dir).join("dicomfs"));
    assert_eq!(bases(1000), Vec::from_iter(expected));
    let handout = Handout::open(Box::new(|_, _| None)).expect("some place");
    let (answer, fds) = ask(handout.path(), b"0123\n");
    assert!(answer == [REFUSED] && fds.is_empty());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_lives_stays() {
    let base = tempfile::tempdir().expect("a directory");
    let base = base.path().join("dicomfs");
    base_dir(&base).expect("made");
    let dead = base.join("m-dead");
    fs::create_dir(&dead).expect("made");
    drop(UnixListener::bind(dead.join("socket")).expect("bound"));
    let fresh = base.join("m-fresh");
    fs::create_dir(&fresh).expect("made");
    let alive = Place::new(&base, "m-").expect("a place");
    // As a place is between bind and listen.
    let half = base.join("m-half");
    fs::create_dir(&half).expect("made");
    let socket = UnixListener::bind(half.join(".socket")).expect("bound");
    drop(socket);
    base_dir(&base).expect("found");
    assert!(half.exists(), "somebody is making it");
    assert!(!dead.exists() && fresh.exists() && alive.dir.path().exists());
    fs::set_permissions(&base, Permissions::from_mode(0o777)).expect("set");
    assert!(base_dir(&base).is_err(), "others may write to it");
}
