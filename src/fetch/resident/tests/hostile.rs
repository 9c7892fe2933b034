//! Who comes to the socket: the lease's user, and all others.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::*;
use crate::ipc;

/// Shows a token: the descriptor it is turned into.
pub(super) fn fetch(path: &str, token: &str) -> Option<OwnedFd> {
    say(path, token.as_bytes())
}

fn say(path: &str, token: &[u8]) -> Option<OwnedFd> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.write_all(token).ok()?;
    stream.write_all(b"\n").ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut answer = [0; 1];
    let (len, mut fds) = ipc::receive(stream.as_fd(), &mut answer).ok()?;
    assert_eq!(len == 1 && answer == [ipc::handout::GIVEN], fds.len() == 1);
    fds.pop()
}

#[test]
fn a_token_is_of_one_lease_as_long_as_it_lives() {
    let bench = Bench::of_frames(100);
    let stream = bench.open("v", 4, Volume::new(4));
    let uid = own_uid();
    let (mine, other) = (
        bench.fetcher.lease(&stream, uid).unwrap(),
        bench.fetcher.lease(&stream, uid).unwrap(),
    );
    let (path, token) = door(&wait(&mine).unwrap());
    let (_, others) = door(&wait(&other).unwrap());
    let ask = |token: &str| say(&path, token.as_bytes());
    assert!(ask(&token).is_some() && ask(&others).is_some());
    let mut wrong = vec![
        String::new(),
        "0".repeat(48),
        token[1..].to_string(),
        format!("{token}0"),
        format!("{}{}", &token[..16], &others[16..]),
        format!("+{}", &token[1..]),
        format!("{}g", &token[..47]),
    ];
    // Each digit counts.
    for at in 0..token.len() {
        let digit = if &token[at..=at] == "0" { "1" } else { "0" };
        wrong.push(format!("{}{digit}{}", &token[..at], &token[at + 1..]));
    }
    for token in wrong {
        assert!(ask(&token).is_none(), "{token}");
    }
    drop(mine);
    assert!(ask(&token).is_none(), "its lease has ended");
    assert!(ask(&others).is_some());
}

#[test]
fn another_user_gets_nothing() {
    let bench = Bench::of_frames(100);
    let stream = bench.open("v", 4, Volume::new(4));
    let lease = bench.fetcher.lease(&stream, own_uid() + 1).unwrap();
    let (path, token) = door(&wait(&lease).unwrap());
    // Root may do what root may.
    assert_eq!(say(&path, token.as_bytes()).is_some(), own_uid() == 0);
    let residences = bench.fetcher.shared.residences.get().unwrap();
    let find = |uid| residences.find(token.as_bytes(), uid).is_some();
    assert!(find(own_uid() + 1) && find(0));
    assert!(!find(own_uid() + 2) && !find(u32::MAX) && !find(65534));
}

#[test]
fn a_token_is_worth_nothing_before_the_volume_is_there() {
    let bench = Bench::of_frames(100);
    let volume = Arc::new(Volume::new(10));
    volume.gate.close();
    let stream = bench.open_shared("v", 10, volume.clone());
    let lease = bench.lease(&stream);
    let residences = bench.fetcher.shared.residences.get().unwrap();
    assert!(
        residences
            .find(lease.token().as_bytes(), own_uid())
            .is_none()
    );
    volume.gate.open();
    wait(&lease).unwrap();
    assert!(
        residences
            .find(lease.token().as_bytes(), own_uid())
            .is_some()
    );
}
